"""``python forward.py host:port[,port...] target``: forwards TCP connections to a port of loopback, for ``gates.py``.

SIGTERM: nobody is let in any more; connections that are open go on. It ends with the last of them.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

_open: set[_End] = set()


class _End(asyncio.Protocol):
    """One end of a forwarded connection: what it is sent goes to the other end, and so does its own ending."""

    def __init__(self, target: int | None = None, other: _End | None = None) -> None:
        self.target, self.other = target, other
        self.connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        _open.add(self)
        if self.target is not None:
            self.transport.pause_reading()
            self.connecting = asyncio.create_task(self._connect(self.target))

    async def _connect(self, target: int) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, self.other = await loop.create_connection(lambda: _End(other=self), "127.0.0.1", target)
        except OSError:
            self.transport.abort()
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def connection_lost(self, problem: Exception | None) -> None:
        _open.discard(self)
        if self.other is not None and problem is not None:
            self.other.transport.abort()
        elif self.other is not None:
            self.other.transport.close()


async def _forward(host: str, ports: list[int], target: int) -> None:
    loop, shut = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, shut.set)
    servers = [await loop.create_server(lambda: _End(target), host, port) for port in ports]
    await shut.wait()
    for server in servers:
        server.close()
    while _open:
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    where, to = sys.argv[1:]
    name, _, numbers = where.partition(":")
    asyncio.run(_forward(name, [int(number) for number in numbers.split(",")], int(to)))
