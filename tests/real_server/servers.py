"""OJP's own servers: started from their jar, and whatever is done to them."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

from ojp_sizing.deployment.deployment import DEFAULT_VERSION, ServerSettings
from ojp_sizing.deployment.versions import number_of
from tests.real_server.artifacts import POSTGRESQL, jar, java_home, server_jar, server_origin
from tests.real_server.experiments import Signal
from tests.real_server.gates import OWN, Gate
from tests.real_server.groups import SERVER_SHARES, Group, group
from tests.real_server.processes import LOOPBACK, need_free, running, send, wait_for_port

START_LIMIT_S = 60
#: What OJP's published image passes (jib's jvmFlags in the server's POM at 0.3.1-beta); and two lines with the time for
#: each pool that is built, which no other code writes.
LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    "-Dorg.slf4j.simpleLogger.log.com.zaxxer.hikari.HikariDataSource=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)
_BUILDS = re.compile(r"^(\d{4}-\S+) (\[.*\]) .* - (Starting\.\.\.|Start completed\.)$", re.M)
#: The metrics' port lies so far above the server's.
METRICS = 100
#: From here on a server has no driver of a database in its jar, and logs by Logback, at INFO as its published image does.
LATER = (0, 4, 0)
#: Lines that ``_BUILDS`` reads.
PATTERN = "%d{yyyy-MM-dd'T'HH:mm:ss.SSSZ} [%thread] %level %logger - %msg%n"


def logging(version: str) -> tuple[str, ...]:
    """Flags of the JVM that aren't a setting of OJP."""
    return LOGGING if number_of(version) < LATER else (f"-Dojp.server.log.pattern={PATTERN}",)


def properties(server: ServerSettings, port: int, metrics_port: int) -> dict[str, object]:
    """System properties of OJP (reference 9; later versions 8 changes none of these names)."""
    segregation = "ojp.server.slowQuerySegregation"
    return {
        "user.timezone": "UTC",
        "ojp.server.port": port,
        "ojp.prometheus.port": metrics_port,
        "ojp.server.threadPoolSize": server.thread_pool_size,
        "ojp.server.circuitBreakerTimeout": round(server.breaker_open_s * 1000),
        "ojp.server.circuitBreakerThreshold": server.breaker_threshold,
        f"{segregation}.enabled": str(server.segregation).lower(),
        f"{segregation}.slowSlotPercentage": server.slow_slot_percentage,
        f"{segregation}.idleTimeout": round(server.idle_timeout_s * 1000),
        f"{segregation}.fastSlotTimeout": round(server.fast_slot_timeout_s * 1000),
        f"{segregation}.slowSlotTimeout": round(server.slow_slot_timeout_s * 1000),
        f"{segregation}.updateGlobalAvgInterval": round(server.update_global_average_s),
    }


@dataclass(slots=True)
class Node:
    """One server: its process now, and what it did when (wall clock)."""

    settings: ServerSettings
    port: int
    room: Path
    process: subprocess.Popen[str] | None = None
    context: AbstractContextManager[subprocess.Popen[str]] | None = None
    started_s: list[float] = field(default_factory=list)
    options: tuple[str, ...] = ()
    enter: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()
    """Options of its JVM, words before its command, and other system properties."""
    cores: int | None = None
    group: Group | None = None
    """The machine's cores that it may use (``taskset``), or a control group with a limit."""
    gate: Gate | None = None
    """What clients must pass; it has their port then."""
    version: str = DEFAULT_VERSION

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.room / f"server-{self.port}.log"

    def start(self, *, opens: bool = True) -> None:
        """Start it, and note how long it took to listen. Its ports must be free. ``opens``: its gate, if it has one, too."""
        if self.gate:
            self.gate.prepare()
        need_free(self.port)
        need_free(self.port + METRICS)
        named = properties(self.settings, self.port, self.port + METRICS) | self._places() | dict(self.more)
        flags = [f"-D{name}={value}" for name, value in named.items()]
        # Options stand before -jar; after it they would be the program's arguments.
        pinned = [] if self.cores is None else ["taskset", "-c", f"0-{self.cores - 1}"]
        entered = self.group.enter if self.group else []
        command = [
            *entered,
            *self.enter,
            *pinned,
            java_home(21) / "bin" / "java",
            *logging(self.version),
            *self.options,
            *flags,
            "-jar",
            server_jar(self.version),
        ]
        self.context = running(command, self.log)
        self.process = self.context.__enter__()
        self.started_s.append(wait_for_port(self.port, self.process, START_LIMIT_S))
        if self.gate:
            self.gate.admit()
            if opens:
                self.gate.open()

    def _places(self) -> dict[str, object]:
        """Where a later server finds the database's driver, and writes besides: 0.3.x needs neither."""
        if number_of(self.version) < LATER:
            return {}
        libraries, driver = self.room / "libraries", jar(POSTGRESQL)
        libraries.mkdir(exist_ok=True)
        if not (libraries / driver.name).exists():
            (libraries / driver.name).symlink_to(driver)
        return {"ojp.libs.path": libraries, "ojp.server.log.file": self.room / f"server-{self.port}.rolled"}

    def suffer(self, what: Signal) -> None:
        """Let a signal of the experiment happen."""
        if what.what in ("start", "begin"):
            self.end()
            self.start(opens=what.what == "start")
        elif what.what == "open":
            assert self.gate is not None
            self.gate.open()
        elif self.process is not None:
            if self.gate and what.what in ("KILL", "TERM"):
                self.gate.shut(pod_ends=what.what == "TERM")
            send(self.process, signal.Signals[f"SIG{what.what}"])

    def builds(self) -> list[tuple[float, float]]:
        """(wall clock, s it took) of each pool that it has built since the experiment began, by HikariCP's own lines."""
        begun: dict[str, float] = {}  # by thread: two pools of one millisecond have one name
        built = []
        for at, thread, what in _BUILDS.findall(self.log.read_text(encoding="utf-8")):
            at_s = datetime.fromisoformat(at).timestamp()
            if what == "Starting...":
                begun[thread] = at_s
            else:
                built.append((at_s, round(at_s - begun.pop(thread), 3)))
        return built

    def calls(self) -> dict[str, tuple[int, float]]:
        """By its own metrics (reference 12): calls that it has answered, by method, and their time in all, ms."""
        try:
            with urlopen(f"http://{LOOPBACK}:{self.port + METRICS}/metrics", timeout=2.0) as answer:
                text = answer.read().decode()
        except OSError:  # it is dead or frozen
            return {}
        found: dict[str, tuple[int, float]] = {}
        for method in sorted(set(re.findall(r'rpc_method="(\w+)"', text))):
            lines = re.findall(
                rf'^rpc_server_duration_milliseconds_(count|sum){{.*rpc_method="{method}".*}} (.+)$', text, re.M
            )
            count = sum(float(value) for kind, value in lines if kind == "count")
            found[method] = (int(count), round(sum(float(value) for kind, value in lines if kind == "sum"), 3))
        return found

    def end(self) -> None:
        """End it and wait for it."""
        if self.context is not None:
            self.context.__exit__(None, None, None)
            self.context = self.process = None


def running_server(version: str = DEFAULT_VERSION) -> dict[str, str]:
    """What a record says of the server: its jar, its JDK, and the flags that aren't a setting of OJP."""
    java = (java_home(21) / "release").read_text()
    return {
        "server": server_origin(version),
        "jdk of the server": next(line for line in java.splitlines() if line.startswith("JAVA_VERSION=")),
        "flags of the server": " ".join(logging(version)),
    }


@contextmanager
def servers(
    settings: ServerSettings,
    ports: list[int],
    room: Path,
    *,
    cores: int | None = None,
    limit_cores: float | None = None,
    gates: Sequence[Gate] = (),
    options: tuple[str, ...] = (),
    enter: tuple[str, ...] = (),
    version: str = DEFAULT_VERSION,
) -> Iterator[list[Node]]:
    """That many servers, all listening; each on so many of the machine's cores, or with a CPU limit by a quota.

    Behind gates they listen on ports of their own; ``ports`` are those of the gates then. ``options``: of their JVMs; ``enter``:
    words before their commands.
    """
    with ExitStack() as stack:
        nodes = [
            Node(settings, port, room, cores=cores, options=options, enter=enter, version=version) for port in ports
        ]
        for node, gate in zip(nodes, gates, strict=False):
            node.gate, node.port = gate, gate.port + OWN
            stack.callback(gate.end)
        for node in nodes:
            if limit_cores is not None:
                node.group = stack.enter_context(group(str(node.port), SERVER_SHARES, limit_cores))
            stack.callback(node.end)
        for node in nodes:
            node.start()
        yield nodes


def play(nodes: list[Node], signals: tuple[Signal, ...], zero: float) -> None:
    """Do each signal at its instant."""
    for what in signals:
        time.sleep(max(0.0, zero + what.at_s - time.time()))
        nodes[what.node].suffer(what)
