"""Everything that is wrong with files of values and what belongs to them, at once, each at its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.layers import GUIDE, Layer, layer_of
from ojp_sizing.deployment.reading import DeploymentFile, read_layers
from ojp_sizing.deployment.rules import Action, Finding, examine
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_bytes, parse_bytes, parse_cores, shown
from ojp_sizing.reading import load_tree, read_text
from ojp_sizing.sizing.resources import memory_of

JVM_FILE = "jvm-config.yaml"
URL_FILE = "jdbc-url.txt"
JVM_FLAGS = "JAVA_TOOL_OPTIONS"
#: Databases whose drivers OJP's image has (reference 12: in the jar up to 0.3.1, in the image's ojp-libs after it).
BUNDLED = ("h2", "mariadb", "mysql", "postgresql")
_HEAP = re.compile(r"(?:^|\s)-Xmx([0-9]{1,15})([kKmMgGtT]?)(?=\s|$)")
_SHARE = re.compile(r"-XX:MaxRAMPercentage=([0-9]{1,3}(?:\.[0-9]{1,6})?)(?=\s|$)")
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class Level(StrEnum):
    """An error keeps the deployment from being judged, or from working; a note says what was taken for granted."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing to be said of the files: where (``line`` None: of the file as a whole), what, and how to mend it."""

    level: Level
    name: str
    file: str
    line: int | None
    path: str
    text: str
    fix: str
    source: str = ""

    @property
    def place(self) -> str:
        """File, line and key."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where} {self.path}".strip()


@dataclass(frozen=True, slots=True)
class Given:
    """What was given, read as far as it could be. ``deployment`` None: there is none that could be judged."""

    file: DeploymentFile
    complaints: tuple[Complaint, ...]
    deployment: Deployment | None
    silences: tuple[Finding, ...]

    @property
    def refused(self) -> bool:
        """Whether something is wrong that a simulation would not show."""
        return self.deployment is None or any(one.level is Level.ERROR for one in self.complaints)


@dataclass(frozen=True, slots=True)
class _Jvm:
    """The ConfigMap with the JVM's flags."""

    source: str
    name: str
    flags: str


def read_given(paths: Sequence[Path], workload: Workload, database_url: str | None = None) -> Given:
    """The layers in Helm's order, with ``ojp.properties``, the JVM's ConfigMap and the clients' URL beside the first of them.

    Raises InputError for what is no file of values at all; all else is a complaint.
    """
    errors: list[InputError] = []
    file = read_layers(paths, errors.append)
    complaints = [_from_error(error, file.layers) for error in errors]
    complaints += [_from_finding(note, file.layers) for note in file.notes]
    try:
        deployment = file.deployment()
    except InputError as error:
        complaints.append(_from_error(error, file.layers))
        deployment = None
    silences: tuple[Finding, ...] = ()
    if deployment is not None:
        silences = tuple(file.silences(deployment.database))
        complaints += [_from_finding(finding, file.layers) for finding in examine(file.subject(deployment))]
    beside = paths[0].parent
    complaints += _requests_above_limits(file)
    complaints += _heap(file, deployment, workload, _read_jvm(beside / JVM_FILE))
    complaints += _url(file, _read_url(beside / URL_FILE, database_url))
    unique = dict.fromkeys(complaints)
    return Given(file, tuple(sorted(unique, key=lambda one: list(Level).index(one.level))), deployment, silences)


def _at(
    level: Level, name: str, layers: Sequence[Layer], path: str, text: str, fix: str, source: str = ""
) -> Complaint:
    layer = layer_of(layers, path)
    return Complaint(level, name, layer.source, layer.line(path), path, text, fix, source)


def _from_error(error: InputError, layers: Sequence[Layer]) -> Complaint:
    for layer in layers:
        if error.place == layer.source or error.place.startswith(f"{layer.source}: "):
            path = error.place[len(layer.source) :].removeprefix(": ")
            return _at(Level.ERROR, "bad-value", layers, path, error.problem, error.fix)
    file, _, path = error.place.partition(": ")
    return Complaint(Level.ERROR, "bad-value", file, None, path, error.problem, error.fix)


def _from_finding(finding: Finding, layers: Sequence[Layer]) -> Complaint:
    level = Level.ERROR if finding.action is Action.REFUSE else Level.WARNING
    level = Level.NOTE if finding.name == "ignored" else level
    path = "image.tag" if finding.place == "version" else finding.place.removeprefix("client: ")
    return _at(level, finding.name, layers, path, finding.text, finding.fix, finding.source)


def _value(file: DeploymentFile, path: str) -> object:
    node: object = file.values
    for step in path.split("."):
        node = node.get(step) if isinstance(node, Mapping) else None
    return node


def _requests_above_limits(file: DeploymentFile) -> Iterator[Complaint]:
    for name, parse, limit in (
        ("cpu", parse_cores, file.limit_cores),
        ("memory", parse_bytes, file.memory_limit_bytes),
    ):
        path = f"resources.requests.{name}"
        stated = _value(file, path)
        if not isinstance(stated, str):
            if file.replicas is not None:
                text = (
                    "nothing is requested: the scheduler keeps nothing free"
                    if limit is None
                    else "not stated: as the limit"
                )
                level = Level.WARNING if limit is None else Level.NOTE
                yield _at(level, "no-request", file.layers, "resources", f"{name}: {text}", f"write {path}", "GENERAL")
            continue
        try:
            requested = parse(stated, path)
        except InputError as error:
            yield _at(Level.ERROR, "bad-value", file.layers, path, error.problem, error.fix)
            continue
        if limit is not None and requested > limit:
            text = f"{shown(stated)} is more than the limit: Kubernetes refuses the pod"
            yield _at(
                Level.ERROR, "request-above-limit", file.layers, path, text, "lower it, or raise the limit", "GENERAL"
            )


# --- the JVM's flags ------------------------------------------------------------------------------------------------


def _read_jvm(path: Path) -> _Jvm | None:
    if not path.is_file():
        return None
    text, place = read_text(path)
    tree = load_tree(text, place, GUIDE)
    data, metadata = tree.get("data"), tree.get("metadata")
    flags = data.get(JVM_FLAGS) if isinstance(data, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if tree.get("kind") != "ConfigMap" or not isinstance(flags, str) or not isinstance(name, str):
        raise InputError(place, f"no ConfigMap with {JVM_FLAGS}", "name the file otherwise, or run ojp-size anew")
    return _Jvm(place, name, flags)


def _sources(tree: Mapping[str, object]) -> list[str]:
    """The names in ``envFrom``, of ConfigMaps and Secrets."""
    entries = tree.get("envFrom")
    found = []
    for entry in entries if isinstance(entries, list) else []:
        for reference in entry.values() if isinstance(entry, dict) else []:
            name = reference.get("name") if isinstance(reference, dict) else None
            if isinstance(name, str):
                found.append(name)
    return found


def _heap(
    file: DeploymentFile, deployment: Deployment | None, workload: Workload, jvm: _Jvm | None
) -> Iterator[Complaint]:
    sources = _sources(file.values)
    lost = [name for layer in file.layers for name in _sources(layer.tree) if name not in sources]
    limit = file.memory_limit_bytes
    quarter = f": {format_bytes(limit // 4 // 2**20 * 2**20)}" if limit else ""
    without = f"the heap is a quarter of the memory limit{quarter}"
    place = "reference 7.1, GENERAL"
    if lost:
        names = ", ".join(dict.fromkeys(lost))
        has_flags = " and with it the JVM's flags" if jvm and jvm.name in lost else ""
        text = f"replaces that of the layer before, since Helm doesn't join lists; {names} is gone{has_flags}"
        text += f"; {without}" if has_flags else ""
        yield _at(Level.ERROR, "env-from-replaced", file.layers, "envFrom", text, f"repeat the entry of {names}", place)
        return
    if jvm is None or jvm.name not in sources:
        if jvm is not None:
            text = f"{jvm.source} is {shown(jvm.name)}, which envFrom doesn't name; {without}"
            fix = "name it in envFrom, or take the values.yaml of the same run"
            yield _at(Level.ERROR, "flags-not-taken", file.layers, "envFrom", text, fix, place)
        elif sources:
            text = f"whether {', '.join(sources)} has JVM flags can't be seen from here; without them {without}"
            yield _at(Level.NOTE, "flags-unseen", file.layers, "envFrom", text, f"put {JVM_FILE} beside", place)
        elif file.replicas is not None:
            fix = f"set -Xmx by {JVM_FLAGS} in a ConfigMap of envFrom"
            yield _at(Level.WARNING, "no-heap", file.layers, "envFrom", f"no JVM flags: {without}", fix, place)
        return
    yield from _heap_against_limit(deployment, workload, jvm, limit)


def _heap_against_limit(
    deployment: Deployment | None, workload: Workload, jvm: _Jvm, limit: int | None
) -> Iterator[Complaint]:
    def complain(level: Level, name: str, text: str, fix: str) -> Complaint:
        return Complaint(
            level, name, jvm.source, None, f"data.{JVM_FLAGS}", text, fix, "reference 7.1; docs/validation.md"
        )

    heaps = _HEAP.findall(jvm.flags)
    shares = _SHARE.findall(jvm.flags)
    if heaps:
        number, unit = heaps[-1]  # the JVM takes the last
        heap = int(number) * _UNITS[unit.lower()]
    elif shares and limit:
        heap = int(limit * float(shares[-1]) / 100)
    else:
        yield complain(Level.WARNING, "no-heap", "no -Xmx: the heap is a quarter of the memory limit", "write -Xmx")
        return
    if limit is None:
        return
    if heap >= limit:
        text = f"a heap of {format_bytes(heap)} in a limit of {format_bytes(limit)}: the pod is killed before the heap is full"
        yield complain(Level.ERROR, "heap-above-limit", text, "lower -Xmx, or raise resources.limits.memory")
        return
    if deployment is None:
        return
    memory = memory_of(workload, deployment)
    if heap + memory.native > limit:
        text = (
            f"a heap of {format_bytes(heap)} and some {format_bytes(memory.native // 2**20 * 2**20)} of native memory"
            f" are more than the limit of {format_bytes(limit)}"
        )
        yield complain(Level.WARNING, "heap-tight", text, "lower -Xmx, or raise resources.limits.memory")
    if heap < memory.heap:
        text = f"a heap of {format_bytes(heap)}; this tool would give it {format_bytes(memory.heap)}"
        yield complain(Level.WARNING, "heap-small", text, "raise -Xmx")


# --- the clients' URL -----------------------------------------------------------------------------------------------


def _read_url(path: Path, database_url: str | None) -> tuple[str, str] | None:
    """A JDBC or a database's URL, and where it is from."""
    if database_url is not None:
        return database_url, "--database-url"
    if not path.is_file():
        return None
    text, place = read_text(path)
    return text.strip(), place


def _url(file: DeploymentFile, given: tuple[str, str] | None) -> Iterator[Complaint]:
    if given is None:
        return
    url, place = given
    whole = re.fullmatch(r"jdbc:ojp\[([^\]]+)\]_(.+)", url)
    if whole and file.replicas is not None:
        hosts = len(whole[1].split(","))
        if hosts != file.replicas:
            text = f"{hosts} servers in the URL, {file.replicas} pods: one left out gets no clients, one too many fails them"
            yield Complaint(
                Level.ERROR, "url-pods", place, None, "", text, "list every pod, in the same order", "reference 7.2"
            )
    scheme = (whole[2] if whole else url.removeprefix("jdbc:")).partition(":")[0].lower()
    if scheme not in BUNDLED:
        text = f"OJP's image has no driver for {shown(scheme)}: the first connect of every client fails"
        fix = f"put its jar into ojp-libs by an image or a volume of your own; the image has {', '.join(BUNDLED)}"
        yield Complaint(Level.WARNING, "no-driver", place, None, "", text, fix, "reference 12")
