"""How long a server takes for the first connect that a client's key meets: on a cold server, and on a warm one."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ojp_sizing.deployment.deployment import ServerSettings
from tests.real_server.artifacts import DRIVER, java_home
from tests.real_server.cpu import class_path
from tests.real_server.measure import machine, wait_until_ready
from tests.real_server.postgres import PASSWORD, USER, postgres
from tests.real_server.processes import running
from tests.real_server.recorded import DATA, write_json
from tests.real_server.servers import Node, running_server, servers

RECORD = DATA / "first-pools" / "measured.json"
STARTS, IDLE_S, SETTLE_S = 10, 2.0, 8.0
#: Cores that the server's process may use: all, or one (``taskset``; the JVM then sees one).
CORES = (None, 1)


def measure_first_pools(port: int) -> None:
    """Start servers anew, and let a warm client connect to each: first while it is cold, then by a second key."""
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ojp-validate-")))
        database = stack.enter_context(postgres(room, port))
        path = class_path(room)
        # Another server, on which clients warm up: their own classes are then loaded when they meet the new one.
        stack.enter_context(servers(ServerSettings(), [port + 1], room))
        address = f"postgresql://{database.address}"
        other, url = (f"jdbc:ojp[localhost:{port + n}]_{address}" for n in (1, 2))
        starts = []
        for cores in CORES:
            for _ in range(STARTS):
                with servers(ServerSettings(), [port + 2], room, cores=cores) as [node]:
                    node.log.write_text("")
                    time.sleep(IDLE_S)
                    cold = _connect(node, room, path, url, other, 1.0)
                    warm = _connect(node, room, path, f"{url}?ApplicationName=second", url, SETTLE_S)
                    load = round(os.getloadavg()[0], 2)
                    starts.append(
                        {"cores": cores, "start_s": node.started_s[0], "cold": cold, "warm": warm, "load_average": load}
                    )
        record = {
            "machine": machine(),
            "versions": {"driver": DRIVER, **running_server(), "database": "PostgreSQL 15"},
            "idle_after_start_s": IDLE_S, "warm_up_s": SETTLE_S, "starts": starts,
        }  # fmt: skip
    write_json(RECORD, record)


def _connect(node: Node, room: Path, path: str, url: str, warm_url: str, settle_s: float) -> dict[str, Any]:
    """One connect by a warm client: as the client, the server's metrics and its pool saw it, s."""
    (room / "trace.csv").write_text("unit,due_s,transaction,text,write,sleep_s,think_s\n0,0.2,0,-1,0,0.0,0.0\n")
    words = {
        "--url": url, "--warm-url": warm_url, "--warm": 5, "--settle": settle_s, "--user": USER, "--password": PASSWORD,
        "--texts": room / "texts.sql", "--trace": room / "trace.csv", "--out": room / "units.csv",
        "--threads": 1, "--until": 20.0,
    }  # fmt: skip
    command = [java_home(17) / "bin" / "java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Xmx512m"]
    command += ["-cp", path, "LoadGenerator", *(str(word) for pair in words.items() for word in pair)]
    with running(command, room / "client.log", stdin=subprocess.PIPE, output=subprocess.PIPE) as client:
        wait_until_ready(client, room)
        before, pools = node.calls().get("connect", (0, 0.0)), len(node.builds())
        assert client.stdin is not None
        client.stdin.write(f"{round(time.time() * 1000) + 500}\n")
        client.stdin.flush()
        client.wait(60.0)
    _, _, started, connected, _, _, error = (room / "units.csv").read_text().splitlines()[1].split(",")
    if error:
        raise RuntimeError(f"the connect failed: {error}")
    after = node.calls()["connect"]
    [(_, pool_s)] = node.builds()[pools:]
    if after[0] - before[0] != 1:
        raise RuntimeError(f"{after[0] - before[0]} connects were counted")
    return {
        "client_s": round(float(connected) - float(started), 6),
        "connect_s": round((after[1] - before[1]) / 1000.0, 6),
        "pool_s": pool_s,
    }
