"""A place for experiments on one server with a CPU limit: everything started, a trace played, and who used what."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray

from ojp_sizing.deployment.deployment import ClientPool
from tests.real_server import pgbench
from tests.real_server.artifacts import DRIVER, LIBRARIES, compiled, jar, java_home, server_jar
from tests.real_server.groups import REST_SHARES, Group, group
from tests.real_server.measure import wait_until_ready
from tests.real_server.postgres import PASSWORD, USER, Postgres, postgres
from tests.real_server.processes import busy_s, cpu_s, resident_bytes, running
from tests.real_server.recorded import Columns
from tests.real_server.servers import Node, running_server

LIMITED_BY = "cgroup v1, a quota in periods of 100 ms; PostgreSQL and the load generator weigh 8 times as much"
Units = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Units of a trace: when each is due (s), and the number of its kind."""


@dataclass(frozen=True, slots=True)
class Stage:
    """PostgreSQL with pgbench's tables and a place to work; everything but the servers is in the group ``rest``."""

    room: Path
    port: int
    database: Postgres
    rest: Group
    class_path: str


@contextmanager
def stage(port: int, pool: ClientPool, *, statistics: bool = False) -> Iterator[Stage]:
    """Everything but a server and a client."""
    for needed in (*LIBRARIES, DRIVER):
        jar(needed)
    server_jar()
    with ExitStack() as stack:
        room = Path(stack.enter_context(TemporaryDirectory(prefix="ojp-validate-")))
        rest = stack.enter_context(group("rest", REST_SHARES))
        settings = pgbench.STATISTICS if statistics else pgbench.TABLES
        database = stack.enter_context(postgres(room, port, enter=rest.enter, more=settings))
        pgbench.make_tables(database, room)
        classes = compiled(room)
        (classes / "ojp.properties").write_text(
            f"ojp.connection.pool.maximumPoolSize={pool.maximum_size}\n"
            f"ojp.connection.pool.minimumIdle={pool.minimum_idle}\n"
        )
        pgbench.write_texts(room / "texts.sql")
        path = os.pathsep.join(map(str, (classes, jar(DRIVER), *map(jar, LIBRARIES))))
        yield Stage(room, port, database, rest, path)


def url(place: Stage) -> str:
    """Through OJP's server, which listens one port above the database."""
    return f"jdbc:ojp[localhost:{place.port + 1}]_postgresql://{place.database.address}"


def play(
    place: Stage,
    address: str,
    threads: int,
    until_s: float,
    marks: Sequence[tuple[float, Callable[[int], None]]] = (),
    more: Sequence[str] = (),
) -> Columns:
    """Play ``trace.csv`` of the stage; each mark (instant, what to do then) is given the client's process id.

    Delays from the due time in us, -1 where it never came to that, by units.
    """
    words = {
        "--url": address, "--user": USER, "--password": PASSWORD, "--texts": place.room / "texts.sql",
        "--trace": place.room / "trace.csv", "--out": place.room / "units.csv", "--threads": threads, "--until": until_s,
    }  # fmt: skip
    quiet = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Xmx1g"]
    command = [*place.rest.enter, java_home(17) / "bin" / "java", *quiet, "-cp", place.class_path, "LoadGenerator"]
    command += [str(word) for pair in words.items() for word in pair] + list(more)
    with running(command, place.room / "client.log", stdin=subprocess.PIPE, output=subprocess.PIPE) as client:
        wait_until_ready(client, place.room)
        zero = time.time() + 1.0
        assert client.stdin is not None
        client.stdin.write(f"{round(zero * 1000)}\n")
        client.stdin.flush()
        for at_s, act in marks:
            time.sleep(max(0.0, zero + at_s - time.time()))
            act(client.pid)
        client.wait(max(1.0, zero + until_s + 30.0 - time.time()))
    rows = [line.split(",") for line in (place.room / "units.csv").read_text().splitlines()[1:]]
    due_us = np.array([round(float(row[1]) * 1e6) for row in rows])

    def delays(column: int) -> NDArray[np.int64]:
        at_us = np.array([round(float(row[column]) * 1e6) if row[column] else -1 for row in rows])
        return np.where(at_us < 0, -1, at_us - due_us)

    return {
        "due_us": due_us, "started_us": delays(2), "connected_us": delays(3), "ended_us": delays(4),
        "error": np.array([row[6] for row in rows], dtype=object),
    }  # fmt: skip


def facts(place: Stage, node: Node | None, client: int) -> dict[str, Any]:
    """What everybody has used up to now."""
    backends = place.database.backends()
    told: dict[str, Any] = {
        "client_cpu_s": cpu_s(client),
        "database_cpu_s": round(sum(cpu_s(pid) for pid in backends), 2),
        "machine_cpu_s": busy_s(),
        "backends": len(backends),
    }
    if node is not None and node.process is not None:
        told |= {
            "cpu_s": cpu_s(node.process.pid),
            "resident_bytes": resident_bytes(node.process.pid),
            "calls": {method: count for method, (count, _) in node.calls().items()},
        }
        if node.group is not None:
            told |= node.group.throttled()
    return told


def versions() -> dict[str, str]:
    """What ran."""
    return {"driver": DRIVER, **running_server(), "libraries": ", ".join(LIBRARIES), "database": "PostgreSQL 15"}


def used_between(before: dict[str, Any], after: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What was used between two looks."""
    calls = {method: count - before["calls"].get(method, 0) for method, count in after["calls"].items()}
    parties = ("cpu_s", "client_cpu_s", "database_cpu_s", "machine_cpu_s")
    spent = {name: round((after[name] - before[name]) / seconds, 4) for name in parties}
    return {
        "cores": spent["cpu_s"], "client_cores": spent["client_cpu_s"], "database_cores": spent["database_cpu_s"],
        "all_cores": spent["machine_cpu_s"],
        "calls": {method: count for method, count in calls.items() if count},
        "cpu_s": round(after["cpu_s"] - before["cpu_s"], 2),
        "throttled_periods": after["throttled"] - before["throttled"], "periods": after["periods"] - before["periods"],
        "resident_bytes": after["resident_bytes"], "backends": after["backends"],
    }  # fmt: skip


def poisson(rate: float, duration_s: float, seed: SeedSequence, kinds: int) -> Units:
    """Arrivals of a Poisson process, all kinds alike."""
    rng = default_rng(seed)
    at_s = np.cumsum(rng.exponential(1.0 / rate, round(rate * duration_s * 1.5) + 100))
    at_s = at_s[at_s < duration_s]
    return at_s, rng.integers(0, kinds, len(at_s))


def warming(drawn: Units, seed: SeedSequence) -> Units:
    """The first unit alone: all that come to a server without a pool build one, and cold ones build for seconds.

    For half of the time the rate rises, since a server whose code isn't compiled yet can do a tenth.
    """
    due_s, kind = drawn
    begins_s, slow_s = 4.0, due_s[-1] / 2.0
    thinned = default_rng(seed).random(len(due_s)) < due_s / slow_s
    kept = (due_s > begins_s) & thinned
    kept[0] = True
    return due_s[kept], kind[kept]
