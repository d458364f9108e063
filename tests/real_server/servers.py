"""OJP's own servers: started from their jar, and whatever is done to them."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ojp_sizing.deployment.deployment import ServerSettings
from tests.real_server.artifacts import java_home, server_jar
from tests.real_server.experiments import Signal
from tests.real_server.processes import need_free, running, send, wait_for_port

START_LIMIT_S = 60


def properties(server: ServerSettings, port: int, metrics_port: int) -> dict[str, object]:
    """System properties of OJP 0.3.x (reference 9)."""
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

    def start(self) -> None:
        """Start it, and note how long it took to listen. Its ports must be free."""
        need_free(self.port)
        need_free(self.port + 100)
        flags = [f"-D{name}={value}" for name, value in properties(self.settings, self.port, self.port + 100).items()]
        # Options stand before -jar; after it they would be the program's arguments.
        command = [java_home(21) / "bin" / "java", *flags, "-jar", server_jar()]
        self.context = running(command, self.room / f"server-{self.port}.log")
        self.process = self.context.__enter__()
        self.started_s.append(wait_for_port(self.port, self.process, START_LIMIT_S))

    def suffer(self, what: Signal) -> None:
        """Let a signal of the experiment happen."""
        if what.what == "start":
            self.end()
            self.start()
        elif self.process is not None:
            send(self.process, signal.Signals[f"SIG{what.what}"])

    def end(self) -> None:
        """End it and wait for it."""
        if self.context is not None:
            self.context.__exit__(None, None, None)
            self.context = self.process = None


@contextmanager
def servers(settings: ServerSettings, ports: list[int], room: Path) -> Iterator[list[Node]]:
    """That many servers, all listening."""
    nodes = [Node(settings, port, room) for port in ports]
    try:
        for node in nodes:
            node.start()
        yield nodes
    finally:
        for node in nodes:
            node.end()


def play(nodes: list[Node], signals: tuple[Signal, ...], zero: float) -> None:
    """Do each signal at its instant."""
    for what in signals:
        time.sleep(max(0.0, zero + what.at_s - time.time()))
        nodes[what.node].suffer(what)
