"""What a server takes before it does anything: memory for each connection that it keeps, and time to start."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import default_rng
from scipy import stats

from ojp_sizing.deployment.deployment import ClientPool, ServerSettings
from tests.real_server import pgbench
from tests.real_server.artifacts import DRIVER, LIBRARIES, java_home
from tests.real_server.measure import machine, wait_until_ready
from tests.real_server.postgres import PASSWORD, USER
from tests.real_server.processes import private_bytes, resident_bytes, running
from tests.real_server.recorded import DATA, SEED, read_json, write_json
from tests.real_server.servers import Node, running_server, servers
from tests.real_server.stage import LIMITED_BY, Stage, play, stage, url

MEMORY, STARTS, OPENINGS = (DATA / name / "measured.json" for name in ("memory", "starts", "openings"))
POOLS, ROUNDS, LIMIT_CORES = (5, 20, 60), 3, 1.0
#: The same number of units for each size of the pool, so that the rest of the server is as warm.
UNITS, PLAYED_S, REST_S = 1200, 8.0, 2.0
LIMITS, STARTED = (None, 1.0, 0.5), 10


# Memory ----------------------------------------------------------------------------------------------------------


def measure_memory(port: int) -> None:
    """New servers with pools of different sizes, every connection used by every text, then at rest."""
    rested = []
    for number in range(ROUNDS):
        for size in POOLS:
            pool = ClientPool(size, size)
            with (
                stage(port, pool) as place,
                servers(ServerSettings(), [port + 1], place.room, limit_cores=LIMIT_CORES) as [node],
            ):
                fresh = _server_bytes(node)
                _use_all(place, size, number)
                time.sleep(REST_S)
                sessions = [private_bytes(pid) for pid in place.database.backends()]
                rested.append(
                    {"pool": size, "connections": len(sessions), "sessions_private_bytes": sum(sessions)}
                    | {f"{name}_before_the_first_call": value for name, value in fresh.items()}
                    | _server_bytes(node)
                    | {"load_average": round(os.getloadavg()[0], 2)}
                )
    document = {
        "machine": machine(), "versions": {"driver": DRIVER, **running_server(), "database": "PostgreSQL 15"},
        "limit_cores": LIMIT_CORES, "units": UNITS, "seconds": PLAYED_S, "rested": rested,
    }  # fmt: skip
    write_json(MEMORY, document)


def _use_all(place: Stage, size: int, number: int) -> None:
    """As many transactions at once as there are connections, again and again; the first unit alone, to build the pool."""
    due_s = np.concatenate([[0.1], 3.0 + np.repeat(np.arange(UNITS // size) * PLAYED_S * size / UNITS, size)])
    rng = default_rng([SEED, size, number])
    pgbench.write_trace(place.room / "trace.csv", due_s, np.ones(len(due_s), np.int64), rng)
    units = play(place, url(place), size, 3.0 + PLAYED_S + 20.0)
    if (units["error"] != "").any():
        raise RuntimeError(f"a unit failed: {set(units['error'].tolist())}")


def _server_bytes(node: Node) -> dict[str, int]:
    """Resident memory as it is; then what lives on the heap after a full collection."""
    assert node.process is not None
    resident = resident_bytes(node.process.pid)
    jcmd = [java_home(21) / "bin" / "jcmd", str(node.process.pid)]
    subprocess.run([*jcmd, "GC.run"], capture_output=True, timeout=30, check=True)
    told = subprocess.run([*jcmd, "GC.heap_info"], capture_output=True, text=True, timeout=30, check=True).stdout
    # A line for each generation: "DefNew total 118016K, used 8394K ..."
    used_kib = [int(used) for used in re.findall(r"total \d+K, used (\d+)K", told)]
    return {"resident_bytes": resident, "live_heap_bytes": 1024 * sum(used_kib)}


@dataclass(frozen=True, slots=True)
class Slope:
    """Bytes for each connection more, with the 95 % interval (least squares, Student); and those of none."""

    value: float
    low: float
    high: float
    at_none: float


def per_connection(of: str) -> Slope:
    """``resident_bytes`` or ``live_heap_bytes`` of the server, or ``sessions_private_bytes`` of PostgreSQL."""
    rested = read_json(MEMORY)["rested"]
    connections, found = (np.array([rest[name] for rest in rested], dtype=float) for name in ("connections", of))
    line = stats.linregress(connections, found)
    half = float(stats.t.ppf(0.975, len(rested) - 2) * line.stderr)
    return Slope(float(line.slope), float(line.slope) - half, float(line.slope) + half, float(line.intercept))


# Openings --------------------------------------------------------------------------------------------------------

#: Looks after so many connections of a process.
OPENED = (1, 2, 5, 10, 20, 50, 100, 200, 400, 800)


def measure_openings(port: int) -> None:
    """New processes that open connections one after the other: CPU and time of each, by how many came before."""
    rounds = []
    with stage(port, ClientPool()) as place:
        for _ in range(ROUNDS):
            command = [java_home(21) / "bin" / "java", "-cp", place.class_path, "Openings"]
            words = [f"jdbc:postgresql://{place.database.address}", USER, PASSWORD, *map(str, OPENED)]
            told = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120, check=True).stdout
            lines = [line.split(",") for line in told.splitlines()]
            counts = np.diff([0, *(int(line[0]) for line in lines)])
            rounds.append([
                {"opened": int(line[0]), "cpu_s": round(float(line[1]) / n, 6), "clock_s": round(float(line[2]) / n, 6)}
                for line, n in zip(lines, counts.tolist(), strict=True)
            ])  # fmt: skip
    document = {
        "measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(),
        "versions": {
            "jdk": running_server()["jdk of the server"], "libraries": ", ".join(LIBRARIES), "database": "PostgreSQL 15",
        },
        "rounds": rounds, "load_average": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    write_json(OPENINGS, document)


def opening_rows() -> list[tuple[int, float, float]]:
    """(connections so far, core seconds of each since the look before, its time), medians of the rounds."""
    rounds = read_json(OPENINGS)["rounds"]
    return [
        (looks[0]["opened"], *(float(np.median([look[of] for look in looks])) for of in ("cpu_s", "clock_s")))
        for looks in zip(*rounds, strict=True)
    ]


# Starts ----------------------------------------------------------------------------------------------------------


def measure_starts(port: int) -> None:
    """New processes, each asked by a warm client at the instant at which it listens."""
    with stage(port, ClientPool()) as place, servers(ServerSettings(), [port + 1], place.room):
        started = [{"limit_cores": limit, **_start(place, port + 2, limit)} for limit in LIMITS for _ in range(STARTED)]
    document = {
        "machine": machine(), "versions": {"driver": DRIVER, **running_server(), "database": "PostgreSQL 15"},
        "limited_by": LIMITED_BY, "started": started,
    }  # fmt: skip
    write_json(STARTS, document)


def _start(place: Stage, port: int, limit_cores: float | None) -> dict[str, Any]:
    (place.room / "trace.csv").write_text("unit,due_s,transaction,text,write,sleep_s,think_s\n0,0.0,0,-1,0,0.0,0.0\n")
    (place.room / "warm.sql").write_text("select ?::float8\n")
    words = {
        "--url": f"jdbc:ojp[localhost:{port}]_postgresql://{place.database.address}", "--warm-url": url(place),
        "--warm": 5, "--settle": 1, "--user": USER, "--password": PASSWORD, "--texts": place.room / "warm.sql",
        "--trace": place.room / "trace.csv", "--out": place.room / "units.csv", "--threads": 1, "--until": 60.0,
    }  # fmt: skip
    command = [*place.rest.enter, java_home(17) / "bin" / "java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
    command += ["-cp", place.class_path, "LoadGenerator", *(str(word) for pair in words.items() for word in pair)]
    with running(command, place.room / "client.log", stdin=subprocess.PIPE, output=subprocess.PIPE) as client:
        wait_until_ready(client, place.room)
        (place.room / f"server-{port}.log").unlink(missing_ok=True)
        with servers(ServerSettings(), [port], place.room, limit_cores=limit_cores) as [node]:
            listens = time.time()
            assert client.stdin is not None
            client.stdin.write(f"{round(listens * 1000)}\n")
            client.stdin.flush()
            client.wait(90.0)
            [(_, pool_s)] = node.builds()
            fresh = resident_bytes(node.process.pid) if node.process else 0
    _, _, _, connected, _, _, error = (place.room / "units.csv").read_text().splitlines()[1].split(",")
    if error:
        raise RuntimeError(f"the connect failed: {error}")
    return {
        "listening_s": round(node.started_s[0], 3), "first_connect_s": round(node.started_s[0] + float(connected), 3),
        "pool_s": pool_s, "resident_bytes": fresh, "load_average": round(os.getloadavg()[0], 2),
    }  # fmt: skip
