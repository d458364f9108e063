"""A throw-away PostgreSQL 15 on loopback, with a password as in production (SCRAM), unprivileged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ojp_sizing.errors import InputError
from tests.real_server.processes import LOOPBACK, cpu_s, need_free, running, wait_for_port

USER, PASSWORD, DATABASE = "bench", "bench", "postgres"
LIMIT_S = 60


def programs() -> Path:
    """Where PostgreSQL's programs are."""
    directory = Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin"))
    if not (directory / "initdb").exists():
        raise InputError("PostgreSQL", f"no initdb in {directory}", "install postgresql-15, or set PG_BIN")
    return directory


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server. ``log`` also receives what psql prints on its error channel."""

    port: int
    pid: int

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}/{DATABASE}"

    def psql(self, sql: str) -> str:
        """Run SQL, return its rows as text."""
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        command = [programs() / "psql", "-h", LOOPBACK, "-p", str(self.port), "-U", USER, "-d", DATABASE, "-qXAt"]
        result = subprocess.run(
            [*command, "-c", sql], env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=True
        )
        return result.stdout.strip()

    def backends(self) -> list[int]:
        """Process ids of the clients' sessions. PostgreSQL itself isn't asked: it may have no connection left."""
        title = f"postgres: {USER} ".encode()
        return [pid for pid in self._children() if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title)]

    def cpu_s(self) -> float:
        """User and system time of all its processes, those that have ended included."""
        total_s = cpu_s(self.pid, ended_children=True)
        for child in self._children():
            with suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
                total_s += cpu_s(child)
        return total_s

    def _children(self) -> list[int]:
        return list(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))


def _wait_until_ready(database: Postgres) -> None:
    """It listens some instants before it lets anybody in."""
    began = time.monotonic()
    while True:
        try:
            database.psql("select 1")
            return
        except subprocess.CalledProcessError:
            if time.monotonic() - began > LIMIT_S:
                raise
            time.sleep(0.1)


@contextmanager
def postgres(
    room: Path, port: int, *, enter: Sequence[str] = (), more: Mapping[str, object] | None = None
) -> Iterator[Postgres]:
    """PostgreSQL in a directory of its own within ``room``. It doesn't wait for the disk: only its time counts here.

    ``enter``: words that put it into a control group; ``more``: other settings.
    """
    need_free(port)
    directory = room / "postgres"
    directory.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "KILL", "--"]
        room.chmod(0o711)
        shutil.chown(directory, "postgres", "postgres")
    password = directory / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    initdb = [*as_user, programs() / "initdb", "-D", directory / "data", "-U", USER, "--pwfile", password]
    subprocess.run(
        [*initdb, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"],
        cwd=directory, capture_output=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    settings = {
        "listen_addresses": LOOPBACK, "port": port, "unix_socket_directories": directory, "max_connections": 1000,
        "fsync": "off", "synchronous_commit": "off", "jit": "off", "autovacuum": "off", **(more or {}),
    }  # fmt: skip
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = [*enter, *as_user, programs() / "postgres", "-D", directory / "data", *flags]
    with running(command, room / "postgres.log", stop=signal.SIGINT) as server:
        wait_for_port(port, server, LIMIT_S)
        database = Postgres(port, server.pid)
        _wait_until_ready(database)
        database.psql("create unlogged table sink (v int)")
        yield database
