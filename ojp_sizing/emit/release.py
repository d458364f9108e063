"""What is emitted: a sized Helm release as plain values, checked when it is made."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_bytes, format_cores, shown
from ojp_sizing.settings import by_helm_path, check, settings

CHART_NAME = "ojp-server"
CHART_VERSION = "0.1.5"
CHART_REPOSITORY = "https://Open-J-Proxy.github.io/ojp-helm"
#: Port of gRPC and of the metrics, which the readiness probe asks (reference 9, CODE).
SERVER_PORT = 1059
METRICS_PORT = 9159
#: The port that the warm-up holds open while the pod may have clients.
WARM_UP_PORT = 1061
#: The environment variable whose flags every JVM takes up; also the key of its reason.
JVM_FLAGS = "JAVA_TOOL_OPTIONS"

#: Kubernetes (GENERAL): Services are DNS-1035 labels, namespaces DNS-1123 labels, both of at most 63 characters.
_SERVICE_NAME = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_MOST_LABEL = 63
#: A StatefulSet's pods carry the label ``<name>-<hash of 10>``. That leaves room for "-<ordinal>" as well, and Helm
#: takes no release name above 53.
_MOST_FULL_NAME = _MOST_LABEL - 11
_IMAGE_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
#: What may stand behind ``jdbc:ojp[...]_``: a database's own URL without ``jdbc:``, in plain visible characters.
_DATABASE_URL = re.compile(r"[a-z][a-z0-9]*:[!-~]+")
#: What a container's image may be called, a digest included (GENERAL).
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,254}")
#: Below it the JVM would take the serial collector by itself (reference 7.1, GENERAL).
_G1_CORES = 2.0


def comment_text(text: str) -> str:
    """Any text as one line that is safe in a YAML or properties comment: no control, line break or odd character."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _wants(place: str, is_good: bool, problem: str, fix: str) -> None:
    if not is_good:
        raise InputError(place, problem, fix)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The container that builds a pod's pool and warms its code before clients reach it (docs/restarts.md)."""

    image: str
    calls: int

    def __post_init__(self) -> None:
        fix = "write for example registry.example/ojp-warm-up:0.3.1-beta"
        _wants("warm-up image", bool(_IMAGE.fullmatch(self.image)), f"{shown(self.image)} is no image", fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A sized deployment. Times in s, memory in bytes, CPU in cores of one pod; pools are for the whole cluster.

    ``reasons`` gives the number behind a value, by Helm path or client key (or ``JAVA_TOOL_OPTIONS`` for the heap);
    ``heading`` stands at the top of every file: verdict, demand, seed, version of this tool.
    """

    name: str = CHART_NAME
    namespace: str = "ojp"
    image_tag: str = "0.3.1-beta"
    replicas: int
    request_cores: float
    limit_cores: float
    request_bytes: int
    limit_bytes: int
    heap_bytes: int
    thread_pool_size: int
    slow_slot_percentage: int
    pool_size: int
    minimum_idle: int
    connection_timeout_s: float
    segregation: bool = True
    slot_idle_timeout_s: float = 10.0
    slow_slot_timeout_s: float = 120.0
    fast_slot_timeout_s: float = 60.0
    update_global_average_s: float = 300.0
    breaker_threshold: int = 3
    breaker_open_s: float = 60.0
    database_url: str = "postgresql://db.example.com:5432/mydb"
    warm_up: WarmUp | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    heading: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_names()
        self._check_settings()
        self._check_resources()
        for key in self.reasons:
            if key != JVM_FLAGS and key not in settings() and by_helm_path(key) is None:
                raise ValueError(f"a reason for {key!r}, which is neither a Helm value nor a client key")
        clean = {key: comment_text(text) for key, text in self.reasons.items()}
        object.__setattr__(self, "reasons", MappingProxyType(clean))
        object.__setattr__(self, "heading", tuple(comment_text(line) for line in self.heading))

    def _check_names(self) -> None:
        dns = "use lower-case letters, digits and '-', with a letter first and no '-' last"
        _wants("release name", bool(_SERVICE_NAME.fullmatch(self.name)), f"{shown(self.name)} is no DNS label", dns)
        full = self.full_name
        _wants(
            "release name",
            len(full) <= _MOST_FULL_NAME,
            f"{shown(full)} has {len(full)} characters, at most {_MOST_FULL_NAME} leave room for the pods' labels",
            "shorten it" if full == self.name else f"shorten it, or let it contain {CHART_NAME!r}",
        )
        good = bool(_NAMESPACE.fullmatch(self.namespace)) and len(self.namespace) <= _MOST_LABEL
        dns = f"use at most {_MOST_LABEL} lower-case letters, digits and '-', with no '-' first or last"
        _wants("namespace", good, f"{shown(self.namespace)} is no DNS label", dns)
        good = bool(_IMAGE_TAG.fullmatch(self.image_tag))
        _wants("image tag", good, f"{shown(self.image_tag)} is no image tag", "write for example 0.3.1-beta")
        good = bool(_DATABASE_URL.fullmatch(self.database_url)) and not self.database_url.startswith(("jdbc:", "ojp["))
        fix = "write the part behind 'jdbc:', for example postgresql://db.example.com:5432/mydb"
        _wants("database URL", good, f"{shown(self.database_url)} is no database URL", fix)

    def _check_settings(self) -> None:
        check("replicaCount", self.replicas, "replicas")
        check("ojp.server.threadPoolSize", self.thread_pool_size, "thread pool")
        check("ojp.server.circuitBreakerThreshold", self.breaker_threshold, "breaker threshold")
        lanes = "ojp.server.slowQuerySegregation"
        check(f"{lanes}.slowSlotPercentage", self.slow_slot_percentage, "slow slot percentage")
        for key, seconds in (
            (f"{lanes}.idleTimeout", self.slot_idle_timeout_s),
            (f"{lanes}.slowSlotTimeout", self.slow_slot_timeout_s),
            (f"{lanes}.fastSlotTimeout", self.fast_slot_timeout_s),
            ("ojp.server.circuitBreakerTimeout", self.breaker_open_s),
            ("ojp.connection.pool.connectionTimeout", self.connection_timeout_s),
        ):
            check(key, milliseconds(seconds), key.rpartition(".")[2])
        check(f"{lanes}.updateGlobalAvgInterval", round(self.update_global_average_s), "updateGlobalAvgInterval")
        check("ojp.connection.pool.maximumPoolSize", self.pool_size, "pool size")
        check("ojp.connection.pool.minimumIdle", self.minimum_idle, "minimum idle")
        idle = f"{self.minimum_idle} is above the pool size, {self.pool_size}"
        _wants("minimum idle", self.minimum_idle <= self.pool_size, idle, "lower it")

    def _check_resources(self) -> None:
        cores = f"{format_cores(self.request_cores)} of at most {format_cores(self.limit_cores)} cores"
        _wants("cpu", 0 < self.request_cores <= self.limit_cores, f"{cores} requested", "raise the limit")
        memory = f"{format_bytes(self.request_bytes)} of at most {format_bytes(self.limit_bytes)} requested"
        _wants("memory", 0 < self.request_bytes <= self.limit_bytes, memory, "raise the limit")
        heap = f"{format_bytes(self.heap_bytes)} don't fit into the limit of {format_bytes(self.limit_bytes)}"
        # The JVM refuses a heap below 2 MiB (GENERAL).
        _wants("heap", 2 * 2**20 <= self.heap_bytes < self.limit_bytes, heap, "leave room for native memory")

    @property
    def full_name(self) -> str:
        """The name of all that the chart makes (reference 7.2, CODE): that of the release, if it names the chart."""
        return self.name if CHART_NAME in self.name else f"{self.name}-{CHART_NAME}"

    @property
    def labels(self) -> Mapping[str, str]:
        """What the chart's objects and pods are found by."""
        return {"app.kubernetes.io/name": CHART_NAME, "app.kubernetes.io/instance": self.name}

    @property
    def collector(self) -> str:
        """The JVM's garbage collector, by the name in its flag."""
        return "G1" if self.limit_cores >= _G1_CORES else "Serial"

    @property
    def jvm_flags(self) -> str:
        """The value of ``JAVA_TOOL_OPTIONS``."""
        kibibytes = self.heap_bytes // 1024
        heap = f"{kibibytes // 1024}m" if kibibytes % 1024 == 0 else f"{kibibytes}k"
        return f"-Xms{heap} -Xmx{heap} -XX:+Use{self.collector}GC -XX:+ExitOnOutOfMemoryError -Duser.timezone=UTC"

    @property
    def config_map_name(self) -> str:
        """The ConfigMap with the JVM's flags: other flags are in another one, so that no two revisions share it."""
        return f"{self.name}-jvm-{content_hash(self.jvm_flags)}"

    @property
    def secret_name(self) -> str:
        """The Secret with the database's user and password, which the warm-up needs and nobody emits."""
        return f"{self.name}-warm-up"


def content_hash(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def milliseconds(seconds: float) -> int:
    """OJP takes its time-outs in whole milliseconds."""
    return round(seconds * 1000)
