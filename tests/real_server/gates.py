"""A gate before a server: clients reach it only once its pool stands, as through a Service before a pod that isn't ready.

``data/warm-up/WarmUp.java`` has the pool built; it comes to the server by a door of its own (docs/restarts.md).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.real_server.artifacts import java_home
from tests.real_server.postgres import PASSWORD, USER
from tests.real_server.processes import LOOPBACK, need_free, running, wait_for_port

#: The server's own port lies so far above the clients', and the one that says that its pool stands.
OWN, STANDS = 200, 250
LIMIT_S = 60
_FORWARD = Path(__file__).with_name("forward.py")


@dataclass(frozen=True, slots=True)
class Way:
    """How a warm-up comes to the servers: the clients' URL and the ports in it, its class path, words before commands, and how
    many calls it makes besides its first connection."""

    url: str
    ports: tuple[int, ...]
    class_path: str
    enter: Sequence[str]
    calls: int = 0


@dataclass(slots=True)
class Gate:
    """The gate at a port of the clients, of those of ``way``."""

    way: Way
    number: int
    room: Path
    opened_s: list[float] = field(default_factory=list)
    """From a server's listening until clients could come."""
    began: float = 0.0
    running: dict[str, tuple[AbstractContextManager[subprocess.Popen[str]], subprocess.Popen[str]]] = field(
        default_factory=dict
    )

    @property
    def port(self) -> int:
        """The clients' port."""
        return self.way.ports[self.number]

    @property
    def door(self) -> str:
        """Where every server's name leads in the warm-up's process: another address of loopback."""
        return f"127.0.0.{2 + self.number}"

    def prepare(self) -> None:
        """A fresh warm-up begins to wait for the server, as one of a new pod does; after a crash it is there still."""
        if "warm-up" not in self.running:
            need_free(self.port + STANDS)
            java = java_home(17) / "bin" / "java"
            self._start(
                "warm-up",
                [
                    *["env", f"OJP_URL={self.way.url}", f"OJP_USER={USER}", f"OJP_PASSWORD={PASSWORD}"],
                    f"OJP_WARM_UP_CALLS={self.way.calls}",
                    *[java, "-Xmx64m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"],
                    *["-cp", self.way.class_path, "WarmUp", self.door, str(self.port + STANDS)],
                ],
            )

    def admit(self) -> None:
        """The server listens: the warm-up may come, and has its pool built."""
        self.began = time.monotonic()
        need_free(self.port)
        self._forward("door", self.door, self.way.ports)

    def open(self) -> None:
        """Once its pool stands clients may come."""
        wait_for_port(self.port + STANDS, self.running["warm-up"][1], LIMIT_S)
        self._forward("gate", LOOPBACK, (self.port,))
        wait_for_port(self.port, self.running["gate"][1], LIMIT_S)
        self.opened_s.append(round(time.monotonic() - self.began, 3))

    def shut(self, *, pod_ends: bool) -> None:
        """The server has ended, or is about to: nobody comes in any more. What is connected is cut by the server's end."""
        for name in ("gate", "door"):
            if name in self.running:
                self.running[name][1].send_signal(signal.SIGTERM)
        if pod_ends:
            self._end("warm-up")

    def end(self) -> None:
        """End all that belongs to it."""
        for name in list(self.running):
            self._end(name)

    def _forward(self, name: str, host: str, ports: tuple[int, ...]) -> None:
        self._end(name)
        listen = f"{host}:{','.join(map(str, ports))}"
        self._start(name, [sys.executable, _FORWARD, listen, str(self.port + OWN)])

    def _start(self, name: str, command: list[str | Path]) -> None:
        context = running([*self.way.enter, *command], self.room / f"{name}-{self.port}.log", stop=signal.SIGKILL)
        self.running[name] = (context, context.__enter__())

    def _end(self, name: str) -> None:
        if name in self.running:
            self.running.pop(name)[0].__exit__(None, None, None)
