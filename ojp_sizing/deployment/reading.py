"""Read a deployment from YAML, and write one. The format is described in ``docs/deployment.md``.

The server's part is the chart's own: a ``values.yaml`` is a deployment file. Which keys there are, and what values they
take, is read from the table of settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import PlainValidator, ValidationError

from ojp_sizing.bounds import LINE, take_path, told_as
from ojp_sizing.deployment.constants import Constants, constant_table, default_constants
from ojp_sizing.deployment.deployment import (
    DEFAULT_VERSION,
    LANES,
    PERCENTAGE,
    POOL,
    ClientPool,
    Database,
    Deployment,
    ServerSettings,
    Stated,
)
from ojp_sizing.deployment.layers import CHART_NAME, GUIDE, IGNORED, Layer, merged, parse_layer, read_layer
from ojp_sizing.deployment.properties import parse_properties
from ojp_sizing.deployment.rules import (
    CHART_IMAGE_VERSION,
    SINGLE_NODE_MODEL,
    SINGLE_NODE_VERSIONS,
    Action,
    Finding,
    Subject,
    check_version,
    warnings_of,
)
from ojp_sizing.deployment.versions import row_for
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_bytes, format_cores, format_number, parse_bytes, parse_cores, shown
from ojp_sizing.reading import (
    Edge,
    Name,
    SetConstants,
    at,
    did_you_mean,
    flag_of,
    input_error,
    join_path,
    read_text,
    text_of,
    whole_number,
    yaml_constants,
    yaml_text,
)
from ojp_sizing.settings import JAVA_BOUNDS, Setting, Value, by_helm_path, check, settings

PROPERTIES_FILE = "ojp.properties"
#: Settings with a rule of their own, which says more than the table's bounds.
_RULED = frozenset({"ojp.server.circuitBreakerThreshold", PERCENTAGE.key})
#: A key that the chart lacks is a slip of the pen where it is so much like one that it has.
_SLIP = 0.75
#: Below it Kubernetes' own fields stand, of which the chart hands on whatever there is.
_RESOURCES = "resources"


@dataclass(frozen=True, slots=True)
class DeploymentFile:
    """What a deployment file says, and nothing that it doesn't.

    ``settings``: values in their own units by key of the settings table, of the chart, the server and the client.
    ``version`` and ``limit_cores`` None, ``database`` infinite, ``constants`` empty: the file is silent.
    ``client_file``: the ``ojp.properties`` that was read along, "" for none. ``layers``: the files in their order, ``values``
    what Helm makes of them, ``notes`` the keys that have no effect.
    """

    source: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    version: str | None = None
    limit_cores: float | None = None
    memory_limit_bytes: int | None = None
    database: Database = field(default_factory=Database)
    constants: tuple[tuple[str, float], ...] = ()
    client_file: str = ""
    layers: tuple[Layer, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[Finding, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that was read."""
        layers = [layer.source for layer in self.layers] or [self.source]
        return tuple(name for name in (*layers, self.client_file) if name)

    @property
    def replicas(self) -> int | None:
        """The number of pods; None: the file states no deployment, only what holds for the search of one."""
        replicas = self.settings.get("replicaCount")
        return replicas if isinstance(replicas, int) else None

    def constants_over(self, constants: Constants) -> Constants:
        """These constants with the file's own over them."""
        return constants.with_values(self.constants, self.source)

    def version_for(self, most_replicas: int) -> str:
        """The server that a search of up to so many pods takes. Raises InputError where it can't be simulated."""
        version = self.version or DEFAULT_VERSION
        check_version(version, most_replicas, self.source)
        return _modelled(version)

    def judged(
        self, constants: Constants | None = None, database: Database | None = None
    ) -> tuple[Deployment, tuple[Finding, ...]]:
        """The deployment that the file states, with OJP's defaults where it is silent, and the rules' warnings.

        ``constants`` are those below the file's own (None: the table's); ``database`` is that of the flags, over the
        file's. Raises InputError where the file states no whole deployment, or a rule refuses it.
        """
        deployment = self.deployment(constants, database)
        warnings = warnings_of(self.subject(deployment), self.source)
        return deployment, (*self.notes, *self.silences(deployment.database), *warnings)

    def deployment(self, constants: Constants | None = None, database: Database | None = None) -> Deployment:
        """The deployment that the file states, whatever the rules think of it."""
        if self.replicas is None:
            raise InputError(self.source, "no replicaCount", "write the number of pods")
        if self.limit_cores is None:
            fix = "write for example 2: without it nothing says how fast a pod is"
            raise InputError(at(self.source, "resources.limits.cpu"), "missing", fix)
        version = self.version or CHART_IMAGE_VERSION
        check_version(version, self.replicas, self.source)
        return Deployment(
            replicas=self.replicas,
            limit_cores=self.limit_cores,
            pool=self._pool(),
            server=self._server(),
            database=database or self.database,
            version=_modelled(version),
            constants=self.constants_over(constants or default_constants()),
            memory_limit_bytes=inf if self.memory_limit_bytes is None else self.memory_limit_bytes,
        )

    def subject(self, deployment: Deployment) -> Subject:
        """What the rules look at."""
        return Subject(deployment, self.settings, self.version or CHART_IMAGE_VERSION)

    def silences(self, database: Database) -> Iterator[Finding]:
        """What weighs most where the file is silent."""
        if database.cores == inf:
            yield Finding(
                "no-database-cores",
                Action.WARN,
                "database.cores",
                "nothing says how many cores the database has: statements never share them, which is optimistic",
                "write database: {cores: ...}, or --db-cores",
                "reference 13 row 4, PREDICTED",
            )
        if not any(key.startswith(POOL) for key in self.settings):
            size = settings()[f"{POOL}.maximumPoolSize"].default
            yield Finding(
                "no-client",
                Action.WARN,
                "client",
                f"nothing says how large the clients' pool is: OJP's default of {size} for the whole cluster is taken",
                f"write client: with {POOL}.maximumPoolSize, or the name of an {PROPERTIES_FILE}",
                "reference 5, CODE",
            )

    def _value(self, key: str) -> Value:
        return self.settings.get(key, settings()[key].default)

    def _whole(self, key: str) -> int:
        return int(str(self._value(key)))

    def _seconds(self, key: str) -> float:
        return self._whole(key) / 1000.0

    def _server(self) -> ServerSettings:
        # Each value was looked at where it stands; what they must be together is looked at here.
        with told_as(lambda _: at(self.source, settings()[PERCENTAGE.key].helm_path)):
            return ServerSettings(
                segregation=self._value(f"{LANES}.enabled") is True,
                slow_slot_percentage=self._whole(PERCENTAGE.key),
                breaker_threshold=self._whole("ojp.server.circuitBreakerThreshold"),
                **self._stated(ServerSettings),
            )

    def _pool(self) -> ClientPool:
        return ClientPool(**self._stated(ClientPool, ("maximum_size", "minimum_idle", "connection_timeout_s")))

    def _stated(self, kind: type[ServerSettings | ClientPool], names: Sequence[str] = ()) -> dict[str, Any]:
        """The fields of a class that are settings, with their values in the field's own unit."""
        hints = get_type_hints(kind, include_extras=True)
        return {
            name: bound.in_field(self._whole(bound.key))
            for name in names or hints
            for bound in get_args(hints[name])[1:]
            if isinstance(bound, Stated)
        }


def _modelled(version: str) -> str:
    return SINGLE_NODE_MODEL if version in SINGLE_NODE_VERSIONS else row_for(version) or version


# --- text -> checked values -----------------------------------------------------------------------------------------


@cache
def _most() -> Mapping[str, int]:
    """The most that makes sense, by key of the settings that are fields of a deployment."""
    kinds = (Deployment, ServerSettings, ClientPool)
    hints = (hint for kind in kinds for hint in get_type_hints(kind, include_extras=True).values())
    stated = (note for hint in hints for note in get_args(hint)[1:] if isinstance(note, Stated))
    return {bound.key: bound.most for bound in stated if bound.most is not None}


def _value_of(setting: Setting, value: object, place: str) -> Value:
    """A setting's value from text, by its type and bounds in the table. Raises InputError at ``place``."""
    text = _plain(value, place)
    if setting.type in JAVA_BOUNDS:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            fix = f"write a whole number of {setting.unit}; OJP would silently take its default, {setting.default}"
            raise InputError(place, f"{shown(text)} is not a whole number", fix)
        low, high = JAVA_BOUNDS[setting.type]
        if setting.key not in _RULED or not low <= int(text) <= high:
            check(setting.key, int(text), place)
        most = _most().get(setting.key)
        if most is not None and int(text) > most:
            raise InputError(place, f"{text} is above the most that makes sense, {most:,}", "write a smaller number")
        return int(text)
    if setting.type == "bool":
        try:
            return flag_of(text)
        except InputError as error:
            raise InputError(place, error.problem, error.fix) from error
    if setting.type == "float":
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            raise InputError(place, f"{shown(text)} is not a number", "write for example 0.75")
        check(setting.key, float(text), place)
        return float(text)
    check(setting.key, text, place)
    return text


def _plain(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise InputError(place, "not a single value", "write one value")
    return LINE.take(value, place)


def _names_below(path: str) -> list[str]:
    """The chart's keys below a path ("" for the top)."""
    start = f"{path}." if path else ""
    paths = [s.helm_path for s in settings().values() if s.helm_path.startswith(start) and s.helm_path != path]
    return list(dict.fromkeys(found[len(start) :].partition(".")[0] for found in paths if found))


#: Who is told of what is wrong; to raise it stops at the first.
Told = Callable[[InputError], None]


def _raise(error: InputError) -> None:
    raise error


def _no_effect(name: str, path: str, text: str, fix: str) -> Finding:
    return Finding(name, Action.WARN, path, text, fix, "reference 9, CODE")


class _ChartValues:
    """The chart's values that are single ones, by the table's key. Lists and maps have no effect on capacity.

    ``settings`` has what was read, ``notes`` the keys that nothing reads; what is wrong is told.
    """

    def __init__(self, place: str, told: Told) -> None:
        self.place, self.told = place, told
        self.settings: dict[str, Value] = {}
        self.notes: list[Finding] = []

    def take(self, tree: Mapping[str, object], path: str = "") -> None:
        known = _names_below(path)
        for key, value in tree.items():
            here = f"{path}.{key}" if path else key
            if key not in known:
                if path.partition(".")[0] != _RESOURCES:
                    self._unknown(key, here, [*known, *([] if path else _Own.model_fields)], path)
            elif value is not None:
                try:
                    self._known(here, value, at(self.place, join_path(path, key)))
                except InputError as error:
                    self.told(error)

    def _known(self, here: str, value: object, where: str) -> None:
        setting = by_helm_path(here)
        if _names_below(here):
            if not isinstance(value, dict):
                raise InputError(
                    where, "not a mapping of keys to values", f"known keys: {', '.join(_names_below(here))}"
                )
            self.take(value, here)
        elif setting is not None and setting.type in ("list", "map"):
            if not isinstance(value, {"list": list, "map": dict}[setting.type]):
                raise InputError(where, f"not a {setting.type}", "write it as Kubernetes takes it")
        elif setting is not None:
            found = self.settings[setting.key] = _value_of(setting, value, where)
            if not setting.is_read and found != setting.default:
                why = setting.effect.removeprefix("Nothing reads it: ").removesuffix(".")
                self.notes.append(_no_effect("ignored", here, f"the chart ignores it: {why}", "remove it"))

    def _unknown(self, key: str, here: str, choices: list[str], path: str) -> None:
        """Helm ignores it; where it looks like a slip of the pen, it is refused."""
        if here in IGNORED:
            self.notes.append(_no_effect("ignored", here, f"the chart ignores it: {IGNORED[here]}", "remove it"))
            return
        fix = did_you_mean(key, choices)
        if by_helm_path(key) is not None:
            fix = f"write {key.replace('.', ': {')}{': ...' + '}' * key.count('.')}, each key below the other"
        elif not get_close_matches(key, choices, 1, cutoff=_SLIP):
            text = "the chart has no such key, and Helm ignores it"
            self.notes.append(_no_effect("unknown-key", here, text, fix))
            return
        self.told(InputError(at(self.place, join_path(path, key)), "the chart has no such key", fix))


def _client_settings(values: Mapping[str, object], place: str, told: Told = _raise) -> dict[str, Value]:
    """Client settings by key, from a mapping or a properties file."""
    known = [setting.key for setting in settings().values() if setting.side == "client"]
    found: dict[str, Value] = {}
    for key, value in values.items():
        where = at(place, join_path("", key))
        try:
            if key not in known:
                raise InputError(where, "OJP's driver has no such key", did_you_mean(key, known))
            if value is not None:
                found[key] = _value_of(settings()[key], value, where)
        except InputError as error:
            told(error)
    return found


def _client(value: object) -> str | dict[str, Value]:
    return _client_settings(value, "") if isinstance(value, dict) else text_of(value)


def _positive_cores(value: object) -> float:
    cores = parse_cores(text_of(value), "")
    if cores <= 0:
        raise InputError("", "no cores", "write for example 16")
    return cores


class _Database(Edge):
    cores: Annotated[float, PlainValidator(_positive_cores)] = inf
    max_connections: Annotated[int, whole_number(1, 1_000_000)] | None = None

    def database(self) -> Database:
        return Database(self.cores, inf if self.max_connections is None else float(self.max_connections))


class _Own(Edge):
    """What stands beside the chart's values."""

    version: Name | None = None
    client: Annotated[str | dict[str, Value] | None, PlainValidator(_client)] = None
    database: _Database = _Database()
    constants: SetConstants = ()


# --- the doors ------------------------------------------------------------------------------------------------------


def parse_deployment(text: str, place: str = "deployment", directory: Path | None = None) -> DeploymentFile:
    """A deployment file from YAML text. ``place`` (a file name) begins every message.

    An ``ojp.properties`` that it names is looked for in ``directory``; so is the one beside it where the file states a
    deployment without ``client``. None: no other file is read.
    """
    return from_layers([parse_layer(text, place, directory, _Own.model_fields)], directory)


def from_layers(layers: Sequence[Layer], directory: Path | None, told: Told = _raise) -> DeploymentFile:
    """What files of values say together, in Helm's order. ``told`` hears of all that is wrong; by default the first is raised."""
    place = layers[-1].source
    tree = merged(layers)
    try:
        own = _Own.model_validate({key: tree[key] for key in _Own.model_fields if key in tree})
    except ValidationError as error:
        told(input_error(error, place, GUIDE))
        own = _Own()
    values = {key: value for key, value in tree.items() if key not in _Own.model_fields}
    read = _ChartValues(place, told)
    read.take(values)
    _refuse_another_chart(values, read, place)
    stated = read.settings
    cpu = stated.pop("resources.limits.cpu", None)
    memory = stated.pop("resources.limits.memory", None)
    for key in ("resources.requests.cpu", "resources.requests.memory"):
        stated.pop(key, None)
    client, client_file = _read_client(own.client, "replicaCount" in stated, place, directory, told)
    if "replicaCount" not in stated:
        _refuse_unused({**stated, **client} | ({"resources.limits.cpu": cpu} if cpu is not None else {}), place)
    return DeploymentFile(
        source=place,
        settings=MappingProxyType({**stated, **client}),
        version=_version(own.version, stated.get("image.tag"), place),
        limit_cores=_limit(parse_cores, cpu, at(place, "resources.limits.cpu"), told),
        memory_limit_bytes=_whole(_limit(parse_bytes, memory, at(place, "resources.limits.memory"), told)),
        database=own.database.database(),
        constants=own.constants,
        client_file=client_file,
        layers=tuple(layers),
        values=MappingProxyType(values),
        notes=tuple(read.notes),
    )


def _refuse_another_chart(values: Mapping[str, object], read: _ChartValues, place: str) -> None:
    """Names like ``image`` are every chart's; where most keys are foreign and none is OJP's alone, the file is another's."""
    foreign = [note.place for note in read.notes if note.name == "unknown-key" and "." not in note.place]
    is_ours = isinstance(values.get("server"), dict) and any(key.startswith("ojp.") for key in read.settings)
    if len(foreign) > len(values) - len(foreign) and not is_ours:
        fix = f"give a values.yaml of chart {CHART_NAME}"
        raise InputError(place, f"{', '.join(foreign[:3])}: these are another chart's values", fix)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _limit(parse: Callable[[str, str], float], stated: Value, place: str, told: Told) -> float | None:
    if stated is None:
        return None
    try:
        value = parse(str(stated), place)
        if value <= 0:
            raise InputError(place, "a limit of 0", "write for example 2 cores or 1Gi")
    except InputError as error:
        told(error)
        return None
    return value


def _version(stated: str | None, tag: Value, place: str) -> str | None:
    """The server's version from ``version`` or the image's tag; an empty tag is the chart's own image (reference 7.2)."""
    if tag is None:
        return stated
    # A digest says which image, not which version.
    version = str(tag).partition("@")[0] or (CHART_IMAGE_VERSION if not tag else "")
    known = row_for(version) or version in SINGLE_NODE_VERSIONS
    if stated is not None and not known:
        return stated
    if stated is not None and version.removeprefix("v") != stated.removeprefix("v"):
        raise InputError(
            at(place, "version"), f"{shown(stated)}, but image.tag {shown(version)}", "remove one of the two"
        )
    if not known:
        fix = "write version: beside it, the server's that this image has"
        raise InputError(at(place, "image.tag"), f"{shown(version or str(tag))} tells no version of the server", fix)
    return version


def _refuse_unused(stated: Mapping[str, Value], place: str) -> None:
    """Without replicaCount the sizer chooses these; to take no notice of what somebody wrote would be worse."""
    for key in stated:
        if settings()[key].affects_capacity and not key.startswith("image."):
            path = settings()[key].helm_path or f"client.{key}"
            fix = "add replicaCount to have this deployment judged, or remove the key to have one found"
            raise InputError(at(place, path), "without replicaCount this would have no effect", fix)


def _read_client(
    client: str | dict[str, Value] | None, states_deployment: bool, place: str, directory: Path | None, told: Told
) -> tuple[dict[str, Value], str]:
    """Client settings and the name of the file that they are from, "" for none."""
    if isinstance(client, dict):
        return client, ""
    if client is None:
        if directory is None or not states_deployment or not (directory / PROPERTIES_FILE).is_file():
            return {}, ""
        client = PROPERTIES_FILE
    elif directory is None:
        raise InputError(
            at(place, "client"), "another file can't be read from here", f"write the keys of {PROPERTIES_FILE}"
        )
    if Path(client).is_absolute() or ".." in Path(client).parts:
        fix = "name a file in the same directory or below"
        raise InputError(at(place, "client"), f"{shown(client)} leads out of the directory", fix)
    text, named = read_text(
        directory / client, f"write the keys of {PROPERTIES_FILE} below client:", encoding="latin-1"
    )
    return _client_settings(parse_properties(text, named), named, told), named


def read_deployment(path: str | Path) -> DeploymentFile:
    """A deployment file: see ``docs/deployment.md``. Raises InputError in one line."""
    return read_layers([path])


def read_layers(paths: Sequence[str | Path], told: Told = _raise) -> DeploymentFile:
    """Files of values in the order in which Helm is given them; ``ojp.properties`` is looked for beside the first."""
    taken = [Path(take_path(path, "deployment")) for path in paths]
    return from_layers([read_layer(path, _Own.model_fields) for path in taken], taken[0].parent, told)


# --- and back to YAML -----------------------------------------------------------------------------------------------


def _yaml_lines(deployment: Deployment) -> Iterator[str]:
    server, pool, database = deployment.server, deployment.pool, deployment.database
    yield "# A deployment for ojp-size. Every field is described in docs/deployment.md."
    yield f"version: {yaml_text(deployment.version)}"
    yield f"replicaCount: {deployment.replicas}"
    yield "resources:"
    limit_bytes = deployment.memory_limit_bytes
    memory = "" if limit_bytes == inf else f", memory: {format_bytes(int(limit_bytes))}"
    yield f"  limits: {{cpu: {format_cores(deployment.limit_cores)}{memory}}}"
    yield "server:"
    yield f"  threadPoolSize: {server.thread_pool_size}"
    yield f"  circuitBreakerTimeout: {_milliseconds(server.breaker_open_s)} # ms"
    yield f"  circuitBreakerThreshold: {server.breaker_threshold}"
    yield "  slowQuerySegregation:"
    yield f"    enabled: {str(server.segregation).lower()}"
    yield f"    slowSlotPercentage: {server.slow_slot_percentage} # %"
    yield f"    idleTimeout: {_milliseconds(server.idle_timeout_s)} # ms"
    yield f"    slowSlotTimeout: {_milliseconds(server.slow_slot_timeout_s)} # ms"
    yield f"    fastSlotTimeout: {_milliseconds(server.fast_slot_timeout_s)} # ms"
    yield f"    updateGlobalAvgInterval: {round(server.update_global_average_s)} # s"
    yield "client:"
    yield f"  {POOL}.maximumPoolSize: {pool.maximum_size} # of the whole cluster"
    yield f"  {POOL}.minimumIdle: {pool.minimum_idle} # of the whole cluster"
    yield f"  {POOL}.connectionTimeout: {_milliseconds(pool.connection_timeout_s)} # ms"
    stated = {"cores": database.cores, "max_connections": database.max_connections}
    pairs = [f"{name}: {format_number(value)}" for name, value in stated.items() if value < inf]
    if pairs:
        yield f"database: {{{', '.join(pairs)}}}"
    table = constant_table()
    in_force = deployment.constants.rows()
    yield from yaml_constants((name, row.value) for name, row in in_force.items() if row.value != table[name].value)


def _milliseconds(seconds: float) -> int:
    """OJP takes its time-outs in whole milliseconds."""
    return round(seconds * 1000)


def deployment_yaml(deployment: Deployment) -> str:
    """A commented YAML file that reads back as an equal deployment (times in whole ms, CPU in whole millicores)."""
    return "\n".join(_yaml_lines(deployment)) + "\n"
