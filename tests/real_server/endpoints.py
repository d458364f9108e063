"""Endpoints with no server behind them: ports that refuse, accept without a word, or drop what comes.

They imitate no server: they are what a client's kernel meets where a server is dead, frozen or out of reach.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.real_server.experiments import Endpoint
from tests.real_server.processes import LOOPBACK


class Listener:
    """One endpoint. ``accepted``: wall-clock instants at which a TCP connection came, once it listens for them."""

    def __init__(self, endpoint: Endpoint, port: int) -> None:
        self.endpoint = endpoint
        self.accepted: list[float] = []
        self.listens_since = float("inf")
        self._kept: list[socket.socket] = []
        self._ended = threading.Event()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((LOOPBACK, port))  # bound and not listening: the kernel refuses
        self._thread: threading.Thread | None = None
        if endpoint.kind == "frozen":
            self._listen()
        elif endpoint.kind == "silent":
            self._fill(port)

    def _fill(self, port: int) -> None:
        """A queue of connections that nobody takes is full after a few; Linux then drops what else comes."""
        self._socket.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((LOOPBACK, port))
            self._kept.append(filler)
        time.sleep(0.2)

    def _listen(self) -> None:
        self._socket.listen(1000)
        self._socket.settimeout(0.2)
        self.listens_since = time.time()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            self.accepted.append(time.time())
            self._kept.append(client)

    def begin(self, zero: float) -> None:
        """Time zero of the run is known: an endpoint that returns does so in time."""
        if self.endpoint.returns_s is not None:
            timer = threading.Timer(zero + self.endpoint.returns_s - time.time(), self._listen)
            timer.daemon = True
            timer.start()

    def close(self) -> None:
        """Let go of every socket."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        for kept in (*self._kept, self._socket):
            kept.close()


@contextmanager
def listeners(endpoints: Sequence[Endpoint], ports: Sequence[int]) -> Iterator[list[Listener]]:
    """The endpoints of an experiment."""
    with ExitStack() as stack:
        made = []
        for endpoint, port in zip(endpoints, ports, strict=False):  # none: servers stand there
            made.append(Listener(endpoint, port))
            stack.callback(made[-1].close)
        yield made
