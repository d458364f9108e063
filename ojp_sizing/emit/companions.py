"""What a release needs beside values.yaml: the JVM's flags, the clients' properties and their URL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ojp_sizing.emit.release import JVM_FLAGS, SERVER_PORT, Release, milliseconds
from ojp_sizing.emit.text import commented, document
from ojp_sizing.settings import settings

CONFIG_MAP_FILE = "jvm-config.yaml"
PROPERTIES_FILE = "ojp.properties"


def _flag_notes(release: Release) -> list[str]:
    reason = release.reasons.get(JVM_FLAGS)
    collector = (
        "G1: from 2 cores on its pauses are the shorter ones."
        if release.collector == "G1"
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


def config_map(release: Release, name: str, data: Mapping[str, str], notes: Iterable[str]) -> str:
    """A ConfigMap of the release, as a YAML document."""
    kept = (
        "Helm keeps it at an upgrade (resource-policy): a pod of the revision before that starts again while the update runs"
        " still needs it. Remove what is left with: kubectl delete configmap"
        f" --namespace {release.namespace} --selector app.kubernetes.io/instance={release.name},ojp-sizing=kept"
    )
    return document(
        [*release.heading, *notes, kept],
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": release.namespace,
                "labels": {**release.labels, "ojp-sizing": "kept"},
                "annotations": {"helm.sh/resource-policy": "keep"},
            },
            "data": data,
        },
    )


def config_map_yaml(release: Release) -> str:
    """``JAVA_TOOL_OPTIONS``, which values.yaml refers to in ``envFrom``."""
    return config_map(release, release.config_map_name, {JVM_FLAGS: release.jvm_flags}, _flag_notes(release))


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


def _client_values(release: Release) -> dict[str, object]:
    pool = "ojp.connection.pool"
    defaults = settings()
    return {
        f"{pool}.maximumPoolSize": release.pool_size,
        f"{pool}.minimumIdle": release.minimum_idle,
        f"{pool}.connectionTimeout": milliseconds(release.connection_timeout_s),
        **{key: defaults[key].default for key in (f"{pool}.idleTimeout", f"{pool}.maxLifetime")},
    }


def _line(key: str, value: object) -> str:
    return f"{_escaped(key, is_key=True)}={_escaped(str(value), is_key=False)}\n"


def bare_properties(release: Release) -> str:
    """``ojp.properties`` without a comment: the same text for the same values."""
    return "".join(_line(key, value) for key, value in _client_values(release).items())


def ojp_properties(release: Release) -> str:
    """``ojp.properties`` for the clients' class path (reference 5): the pool's size is set there, nowhere else."""
    pool = "ojp.connection.pool"
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
    for key, value in _client_values(release).items():
        texts = [text for text in (release.reasons.get(key), notes.get(key)) if text]
        lines.append(commented(texts).encode("ascii", "backslashreplace").decode())
        lines.append(_line(key, value))
    return "".join(lines)


def jdbc_url(release: Release) -> str:
    """The clients' URL: the stable name of every pod's own Service. The order must be the same for all clients."""
    domain = f"{release.namespace}.svc.cluster.local:{SERVER_PORT}"
    pods = ",".join(f"{release.full_name}-{ordinal}.{domain}" for ordinal in range(release.replicas))
    return f"jdbc:ojp[{pods}]_{release.database_url}"
