"""What a release needs beside values.yaml: the JVM's flags, the clients' properties and URL, the commands."""

from __future__ import annotations

import io
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from ojp_sizing.emit.release import (
    CHART_NAME,
    CHART_REPOSITORY,
    CHART_VERSION,
    JVM_FLAGS,
    SERVER_PORT,
    Release,
    comment_text,
    milliseconds,
)
from ojp_sizing.settings import settings

VALUES_FILE = "values.yaml"
CONFIG_MAP_FILE = "jvm-config.yaml"
PROPERTIES_FILE = "ojp.properties"

#: Below it the JVM would take the serial collector by itself (reference 7.1, GENERAL).
_G1_CORES = 2.0
_COMMENT_WIDTH = 100


def jvm_flags(release: Release) -> str:
    """The value of ``JAVA_TOOL_OPTIONS``."""
    kibibytes = release.heap_bytes // 1024
    heap = f"{kibibytes // 1024}m" if kibibytes % 1024 == 0 else f"{kibibytes}k"
    collector = "G1" if release.limit_cores >= _G1_CORES else "Serial"
    return f"-Xms{heap} -Xmx{heap} -XX:+Use{collector}GC -XX:+ExitOnOutOfMemoryError -Duser.timezone=UTC"


def comment_lines(texts: Iterable[str], width: int = _COMMENT_WIDTH) -> list[str]:
    """Texts as lines of a comment, without the mark; a text that is too long is wrapped."""
    lines: list[str] = []
    for text in texts:
        lines += textwrap.wrap(comment_text(text), width, break_on_hyphens=False, break_long_words=False) or [""]
    return lines


def commented(texts: Iterable[str]) -> str:
    """Texts as whole comment lines of YAML or of a properties file."""
    return "".join(f"# {line}".rstrip() + "\n" for line in comment_lines(texts))


def _flag_notes(release: Release) -> list[str]:
    reason = release.reasons.get(JVM_FLAGS)
    collector = (
        "G1: from 2 cores on its pauses are the shorter ones."
        if release.limit_cores >= _G1_CORES
        else "Serial: below 2 cores G1's helper threads would compete with requests."
    )
    return [
        f"Flags for the JVM of {release.full_name}. The image reads {JVM_FLAGS}; JAVA_OPTS has no effect on it.",
        *([f"Heap: {reason}"] if reason else []),
        "-Xms = -Xmx: the memory request covers the whole heap anyway, so it needn't grow under load. Without these"
        " flags the JVM takes a quarter of the memory limit.",
        f"{collector} Stated, because the JVM's own choice depends on the limits.",
        "ExitOnOutOfMemoryError: the chart has no liveness probe; a pod that ran out of heap must end to be replaced.",
        "user.timezone: as OJP asks for, so that dates don't depend on the node.",
    ]


def config_map_yaml(release: Release) -> str:
    """The companion ConfigMap: ``JAVA_TOOL_OPTIONS``, which values.yaml refers to in ``envFrom``."""
    quoted = DoubleQuotedScalarString
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": quoted(release.config_map_name), "namespace": quoted(release.namespace)},
        "data": {JVM_FLAGS: quoted(jvm_flags(release))},
    }
    yaml = YAML()
    yaml.width = 10_000  # one value, one line
    body = io.StringIO()
    yaml.dump(document, body)
    return commented([*release.heading, *_flag_notes(release)]) + body.getvalue()


def _escaped(text: str, is_key: bool) -> str:
    """Text as a key or value of a Java properties file (Latin-1, with escapes)."""
    named = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f", "\\": "\\\\"}
    result = []
    for place, c in enumerate(text):
        if c in named:
            result.append(named[c])
        elif (c in "=:#!") or (c == " " and (is_key or place == 0)):
            result.append("\\" + c)
        elif " " <= c <= "~":
            result.append(c)
        else:
            units = c.encode("utf-16-be", "surrogatepass").hex()
            result += ["\\u" + units[at : at + 4] for at in range(0, len(units), 4)]
    return "".join(result)


def ojp_properties(release: Release) -> str:
    """``ojp.properties`` for the clients' class path (reference 5): the pool's size is set there, nowhere else."""
    pool = "ojp.connection.pool"
    defaults = settings()
    values: dict[str, object] = {
        f"{pool}.maximumPoolSize": release.pool_size,
        f"{pool}.minimumIdle": release.minimum_idle,
        f"{pool}.connectionTimeout": milliseconds(release.connection_timeout_s),
        **{key: defaults[key].default for key in (f"{pool}.idleTimeout", f"{pool}.maxLifetime")},
    }
    notes = {
        f"{pool}.maximumPoolSize": (
            f"For the whole cluster: each of {release.replicas} pods opens at most"
            f" {-(-release.pool_size // release.replicas)} connections while all are up."
        ),
        f"{pool}.minimumIdle": "For the whole cluster.",
        f"{pool}.connectionTimeout": "Longest wait for a database connection, in ms.",
        f"{pool}.idleTimeout": "ms; the driver's default.",
        f"{pool}.maxLifetime": "ms; the driver's default.",
    }
    general = [
        "All clients need the same file, URL, user and password: another one is another pool of full size on each pod.",
        "Switch the application's own connection pool off: it would pin one database connection per pooled one.",
        f"URL: {jdbc_url(release)}",
    ]
    # Latin-1 is what Java reads here, in comments too.
    lines = [commented([*release.heading, *general]).encode("ascii", "backslashreplace").decode()]
    for key, value in values.items():
        texts = [text for text in (release.reasons.get(key), notes.get(key)) if text]
        lines.append(commented(texts).encode("ascii", "backslashreplace").decode())
        lines.append(f"{_escaped(key, is_key=True)}={_escaped(str(value), is_key=False)}\n")
    return "".join(lines)


def jdbc_url(release: Release) -> str:
    """The clients' URL: the stable name of every pod's own Service. The order must be the same for all clients."""
    domain = f"{release.namespace}.svc.cluster.local:{SERVER_PORT}"
    pods = ",".join(f"{release.full_name}-{ordinal}.{domain}" for ordinal in range(release.replicas))
    return f"jdbc:ojp[{pods}]_{release.database_url}"


def helm_command(release: Release, directory: Path) -> str:
    """The commands that install or upgrade the release from the files in ``directory``, for a POSIX shell.

    The ConfigMap comes first: a pod does not start while what ``envFrom`` names is missing.
    """
    quote = shlex.quote
    # A relative directory whose name begins with "-" must not be taken for an option.
    folder = f"./{directory}" if str(directory).startswith("-") else str(directory)
    files = {name: quote(f"{folder.rstrip('/')}/{name}") for name in (CONFIG_MAP_FILE, VALUES_FILE)}
    return "\n".join(
        (
            f"kubectl create namespace {quote(release.namespace)} --dry-run=client -o yaml | kubectl apply -f - && \\",
            f"kubectl apply -f {files[CONFIG_MAP_FILE]} && \\",
            f"helm repo add --force-update ojp {quote(CHART_REPOSITORY)} && \\",
            f"helm upgrade --install {quote(release.name)} ojp/{CHART_NAME} --version {CHART_VERSION} \\",
            f"    --namespace {quote(release.namespace)} --create-namespace --values {files[VALUES_FILE]}",
        )
    )
