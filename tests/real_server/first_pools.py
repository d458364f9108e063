"""What first connects cost that come at once: on a cold server, and on a warm one by a second key. Each builds a pool."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ojp_sizing.deployment.deployment import ServerSettings
from tests.real_server.artifacts import DRIVER, java_home
from tests.real_server.cpu import class_path
from tests.real_server.measure import machine, wait_until_ready
from tests.real_server.postgres import PASSWORD, USER, Postgres, postgres
from tests.real_server.processes import cpu_s, running
from tests.real_server.recorded import DATA, read_json, write_json
from tests.real_server.servers import Node, running_server, servers

RECORD = DATA / "first-pools" / "measured.json"
IDLE_S, SETTLE_S, AFTER_S, LIMIT_S = 2.0, 8.0, 3.0, 60.0
#: Cores that the server's process may use: all, or one (``taskset``; the JVM then sees one).
CORES = (None, 1)
#: (first connects at once on a cold server, and by a second key when it is warm; how many new servers).
STARTS = ((10, 0, 3), (40, 0, 3), (100, 0, 3), (200, 0, 3), (1, 1, 5), (1, 40, 3), (1, 200, 3))
#: Each pool keeps five connections, and 200 pools are of one server.
CONNECTIONS = 1500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a burst happens: one new server, its database, and what a client needs."""

    node: Node
    database: Postgres
    room: Path
    class_path: str


def measure_first_pools(port: int, cores: tuple[int | None, ...] = CORES, starts: tuple[Any, ...] = STARTS) -> None:
    """Start servers anew and let warm clients connect. What is on record for other (cores, numbers of clients) stays."""
    made = []
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ojp-validate-")))
        database = stack.enter_context(postgres(room, port, more={"max_connections": CONNECTIONS}))
        path = class_path(room)
        # Another server, on which clients warm up: their own classes are then loaded when they meet the new one.
        stack.enter_context(servers(ServerSettings(), [port + 1], room))
        other, url = (f"jdbc:ojp[localhost:{port + n}]_postgresql://{database.address}" for n in (1, 2))
        for limit, cold, warm in [(limit, *two) for limit in cores for *two, times in starts for _ in range(times)]:
            with servers(ServerSettings(), [port + 2], room, cores=limit) as [node]:
                node.log.write_text("")
                time.sleep(IDLE_S)
                place = Place(node, database, room, path)
                start = {"cores": limit, "start_s": node.started_s[0], "cold": _burst(place, cold, url, other, 1.0)}
                if warm:
                    start["warm"] = _burst(place, warm, f"{url}?ApplicationName=second", url, SETTLE_S)
                made.append(start | {"load_average": round(os.getloadavg()[0], 2)})
    kinds = {_kind(start) for start in made}
    kept = [start for start in read_json(RECORD)["starts"] if _kind(start) not in kinds] if RECORD.exists() else []
    record = {
        "machine": machine(),
        "versions": {"driver": DRIVER, **running_server(), "database": "PostgreSQL 15"},
        "idle_after_start_s": IDLE_S, "warm_up_s": SETTLE_S, "after_s": AFTER_S,
        "starts": sorted(kept + made, key=lambda start: [number or 0 for number in _kind(start)]),
    }  # fmt: skip
    write_json(RECORD, record)


def _kind(start: dict[str, Any]) -> tuple[int | None, int, int]:
    return start["cores"], start["cold"]["connects"], start["warm"]["connects"] if "warm" in start else 0


def _burst(place: Place, connects: int, url: str, warm_url: str, settle_s: float) -> dict[str, Any]:
    """So many connects at once by a warm client: what they took, s, and whose CPU, core s."""
    rows = [f"{unit},0.2,0,-1,0,0.0,0.0" for unit in range(connects)]
    (place.room / "trace.csv").write_text(
        "\n".join(["unit,due_s,transaction,text,write,sleep_s,think_s", *rows]) + "\n"
    )
    words = {
        "--url": url, "--warm-url": warm_url, "--warm": 5, "--settle": settle_s, "--user": USER, "--password": PASSWORD,
        "--texts": place.room / "texts.sql", "--trace": place.room / "trace.csv", "--out": place.room / "units.csv",
        "--threads": connects, "--until": LIMIT_S,
    }  # fmt: skip
    command = [java_home(17) / "bin" / "java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Xmx512m"]
    command += ["-cp", place.class_path, "LoadGenerator", *(str(word) for pair in words.items() for word in pair)]
    node = place.node
    with running(command, place.room / "client.log", stdin=subprocess.PIPE, output=subprocess.PIPE) as client:
        wait_until_ready(client, place.room)
        before, pools = node.calls().get("connect", (0, 0.0)), len(node.builds())
        zero = round(time.time() * 1000) + 500
        assert client.stdin is not None
        client.stdin.write(f"{zero}\n")
        client.stdin.flush()
        time.sleep(max(0.0, zero / 1000 - time.time()))
        begun = _cpu_s(place, client)
        # As a zombie it still tells its CPU.
        while node.log.read_text().count("Start completed") < pools + connects and not os.waitid(
            os.P_PID, client.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            time.sleep(0.02)
        built_by = _cpu_s(place, client)
        os.waitid(os.P_PID, client.pid, os.WEXITED | os.WNOWAIT)  # a limit of its own: --until
        time.sleep(AFTER_S)  # each pool opens its other connections meanwhile
        rested = _cpu_s(place, client)
    units = [line.split(",") for line in (place.room / "units.csv").read_text().splitlines()[1:]]
    after, built = node.calls()["connect"], node.builds()[pools:]
    asked_s = zero / 1000 + min(float(started) for _, _, started, *_ in units)
    took_s = sorted(float(connected) - float(started) for _, _, started, connected, *_ in units if connected)
    return {
        "connects": connects,
        "failed": sum(bool(error) for *_, error in units),
        "pools": len(built),
        "cpu_s": {name: round(value - begun[name], 3) for name, value in built_by.items()},
        "cpu_until_at_rest_s": {name: round(value - begun[name], 3) for name, value in rested.items()},
        "first_pool_s": round(min(at for at, _ in built) - asked_s, 3),
        "last_pool_s": round(max(at for at, _ in built) - asked_s, 3),
        "client_s": [round(value, 6) for value in (took_s[0], took_s[-1])],
        "connect_s": round((after[1] - before[1]) / 1000.0 / (after[0] - before[0]), 6),
        "pool_s": [min(took for _, took in built), max(took for _, took in built)],
        "backends": len(place.database.backends()),
    }


def _cpu_s(place: Place, client: subprocess.Popen[str]) -> dict[str, float]:
    assert place.node.process is not None
    return {
        "server": cpu_s(place.node.process.pid), "database": place.database.cpu_s(), "client": cpu_s(client.pid)
    }  # fmt: skip
