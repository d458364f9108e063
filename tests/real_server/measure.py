"""One experiment, run for real: everything is started, the trace is played, and what happened is written down."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.deployment.deployment import split_slots
from ojp_sizing.deployment.versions import traits_of
from tests.real_server.artifacts import LIBRARIES, compiled, driver_jar, driver_origin, jar, java_home, server_jar
from tests.real_server.endpoints import Listener, listeners
from tests.real_server.experiments import Experiment
from tests.real_server.gates import Gate, Way
from tests.real_server.groups import REST_SHARES, group
from tests.real_server.postgres import PASSWORD, USER, Postgres, postgres
from tests.real_server.predict import summary
from tests.real_server.processes import cpu_s, private_bytes, resident_bytes, running
from tests.real_server.recorded import Columns, folder, read_columns, trace_path, write_columns, write_json
from tests.real_server.servers import Node, play, running_server, servers

PORT = 21059


def measure(experiment: Experiment, port: int = PORT) -> None:
    """Run every band and record it in ``data/validation``. The traces must have been recorded before (predict)."""
    for needed in LIBRARIES:
        jar(needed)  # before anything is started
    if _through_ojp(experiment):
        driver_jar(experiment.version)
    if experiment.route == "ojp":
        server_jar(experiment.version)
    bands = []
    for number, band in enumerate(experiment.bands):
        began_load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="ojp-validate-") as room:
            record = _run(experiment, number, Path(room), port)
        record["load_average"] = [round(began_load, 2), round(os.getloadavg()[0], 2)]
        bands.append({"rate": band.rate, "load": band.load, **record})
    write_json(
        folder(experiment) / "measured.json",
        {
            "experiment": experiment.name,
            "measured_on": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": machine(),
            "versions": versions(experiment),
            "bands": bands,
        },
    )


def _run(experiment: Experiment, number: int, room: Path, port: int) -> dict[str, Any]:
    with ExitStack() as stack:
        # Endpoints without a server behind them are a client's own, so that we see which client came when.
        clients_apart = experiment.workload.clients.jvms if experiment.endpoints else 1
        ports = [port + 1 + number for number in range(experiment.nodes * clients_apart)]
        limited = experiment.limit_cores is not None
        enter = stack.enter_context(group("rest", REST_SHARES)).enter if limited else []
        database = stack.enter_context(postgres(room, port, enter=enter)) if experiment.route != "driver" else None
        path = class_path(experiment, room)
        gates = []
        if experiment.gated:
            way = Way(database_url(experiment, database, ports), tuple(ports), path, enter, experiment.warm_calls)
            gates = [Gate(way, number, room) for number in range(experiment.nodes)]
        nodes = (
            stack.enter_context(
                servers(
                    experiment.server,
                    ports,
                    room,
                    limit_cores=experiment.limit_cores,
                    gates=gates,
                    version=experiment.version,
                )
            )
            if experiment.route == "ojp"
            else []
        )
        ends = stack.enter_context(listeners(experiment.endpoints * clients_apart, ports))
        generators = clients(experiment, number, room, database, ports, stack, path, enter)
        before = [cpu_s(node.process.pid) for node in nodes if node.process]
        still = [node.group.throttled() for node in nodes if node.group]
        zero = time.time() + 1.0
        for client in generators:
            assert client.stdin is not None
            client.stdin.write(f"{round(zero * 1000)}\n")
            client.stdin.flush()
        for end in ends:
            end.begin(zero)
        play(nodes, experiment.signals, zero)
        limit_s = experiment.duration_s + experiment.tail_s
        time.sleep(max(0.0, zero + experiment.duration_s - time.time()))
        extra = _facts(database, nodes, before, zero)
        if limited:
            extra["limited"] = {
                "cores": experiment.limit_cores, "by": "cgroup v1, a quota in periods of 100 ms",
                "shares": "8 to 1 for PostgreSQL and the load generators", "before": still,
                "at_the_end": [node.group.throttled() for node in nodes if node.group],
            }  # fmt: skip
        for client in generators:
            client.wait(max(1.0, zero + limit_s + 30 - time.time()))
        units = read_units(room, len(generators))
        if (room / "gauge.csv").exists():
            _keep_gauge(experiment, number, room)
        record = _summary(experiment, units) | extra | _listened(ends, zero)
        write_columns(folder(experiment) / f"measured-{number}.csv.xz", units)
        return record


def clients(
    experiment: Experiment,
    number: int,
    room: Path,
    database: Postgres | None,
    ports: list[int],
    stack: ExitStack,
    path: str,
    enter: Sequence[str] = (),
) -> list[subprocess.Popen[str]]:
    """A load generator for each client JVM; each has said that it is ready."""
    texts = room / "texts.sql"
    texts.write_text("".join(statement.sql + "\n" for statement in experiment.workload.statements))
    pool = experiment.pool
    options = {
        "--user": USER, "--password": PASSWORD, "--texts": texts,
        "--threads": experiment.workload.clients.threads, "--until": experiment.duration_s + experiment.tail_s,
    }  # fmt: skip
    if experiment.route == "pool":
        options["--pool"] = f"{pool.maximum_size},{pool.minimum_idle},{round(pool.connection_timeout_s * 1000)}"
        options["--gauge"] = room / "gauge.csv"
        options["--resizes"] = ";".join(f"{r.at_s},{r.maximum},{r.minimum_idle}" for r in experiment.resizes)
    if experiment.warm and experiment.route != "driver":
        # A client must fit into one server's share of the pool, or its warm-up would wait for it; they warm up in turn.
        traits, server, callers = traits_of(experiment.version), experiment.server, pool.maximum_size
        if (
            traits.session_permits and server.segregation
        ):  # callers that stay hold fast permits, and no slow one is lent
            callers, _ = split_slots(callers, server.slow_slot_percentage)
        options["--warm"] = max(1, callers // experiment.nodes)
        if traits.fail_fast_borrow_s:
            options["--grow"] = callers
        if experiment.route != "direct":
            options["--settle"] = experiment.settle_s
            options["--settle-threads"] = pool.maximum_size
        if experiment.route == "ojp" and experiment.server.segregation:
            # What a text takes first sets the mean of means for 300 s (reference 3.1): 1 ms would make all slow.
            means_s = (statement.database_time.mean_s for statement in experiment.workload.statements)
            options["--warm-sleeps"] = ",".join(map(str, means_s))
    trace = read_columns(trace_path(experiment, number))
    quiet = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Xmx512m"]
    generators = []
    for jvm in range(experiment.workload.clients.jvms):
        own = {name: column[trace["jvm"] == jvm] for name, column in trace.items()}
        _, own["unit"] = np.unique(own["unit"], return_inverse=True)
        own_ports = ports[jvm * experiment.nodes :] if experiment.endpoints else ports
        url = database_url(experiment, database, own_ports[: experiment.nodes])
        mine = {"--url": url, "--trace": room / f"trace-{jvm}.csv", "--out": room / f"units-{jvm}.csv"}
        write_plain(mine["--trace"], own)
        words = [str(word) for pair in (options | mine).items() for word in pair]
        command = [*enter, java_home(17) / "bin" / "java", *quiet, "-cp", path, "LoadGenerator", *words]
        log = room / f"client-{jvm}.log"
        client = stack.enter_context(running(command, log, stdin=subprocess.PIPE, output=subprocess.PIPE))
        generators.append(client)
        # One after the other: warming up at once, two of them hold all connections and wait for each other's.
        wait_until_ready(client, room)
    return generators


def _through_ojp(experiment: Experiment) -> bool:
    return experiment.route in ("ojp", "driver")


def class_path(experiment: Experiment, room: Path) -> str:
    """The class path of all that is a client: the load generator, the pool's settings, the drivers."""
    classes, pool = compiled(room), experiment.pool
    libraries = [*map(jar, LIBRARIES)]
    if _through_ojp(experiment):
        libraries = [driver_jar(experiment.version), *libraries]
        (classes / "ojp.properties").write_text(
            f"ojp.connection.pool.maximumPoolSize={pool.maximum_size}\n"
            f"ojp.connection.pool.minimumIdle={pool.minimum_idle}\n"
            f"ojp.connection.pool.connectionTimeout={round(pool.connection_timeout_s * 1000)}\n"
        )
    return os.pathsep.join(str(item) for item in (classes, *libraries))


def database_url(experiment: Experiment, database: Postgres | None, ports: Sequence[int]) -> str:
    """The clients' JDBC URL."""
    inner = f"postgresql://{database.address if database else 'localhost:1/none'}"
    endpoints = ",".join(f"localhost:{port}" for port in ports)
    return f"jdbc:ojp[{endpoints}]_{inner}" if _through_ojp(experiment) else f"jdbc:{inner}"


def wait_until_ready(client: subprocess.Popen[str], room: Path) -> None:
    """Wait for the load generator's word; RuntimeError with the logs where it ended before."""
    assert client.stdout is not None
    line = client.stdout.readline()
    if line.strip() != "READY":
        logs = "\n".join(log.read_text()[-2000:] for log in sorted(room.glob("*.log")))
        raise RuntimeError(f"the load generator ended before it was ready:\n{logs}")


def write_plain(path: Path, columns: Columns) -> None:
    """A CSV as the load generator reads it."""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")


def read_units(room: Path, generators: int) -> dict[str, NDArray[Any]]:
    """The units of all clients by due time: delays from then in microseconds, -1 where it never came to that."""
    rows: list[tuple[int, int, int, int, int, str]] = []
    for jvm in range(generators):
        for line in (room / f"units-{jvm}.csv").read_text().splitlines()[1:]:
            _, due, *at, thought, error = line.split(",")
            delays = [round((float(t) - float(due)) * 1e6) if t else -1 for t in at]
            # Numbers in a message (times, ports) would make a kind of its own of every failure.
            kind = re.sub(r"\d+", "N", error)
            rows.append((round(float(due) * 1e6), *delays, round(float(thought) * 1e6), kind))
    rows.sort(key=lambda row: row[0])
    names = ("due_us", "started_us", "connected_us", "ended_us", "thought_us", "error")
    return {name: np.array(column, dtype=object) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _summary(experiment: Experiment, units: Columns) -> dict[str, Any]:
    ok = units["error"] == ""
    latency_s = (units["ended_us"][ok] - units["thought_us"][ok]).astype(float) / 1e6
    late_s = units["started_us"][units["started_us"] >= 0].astype(float) / 1e6
    return {
        "units": len(ok),
        **summary(latency_s, Counter(units["error"][~ok].tolist()), experiment.duration_s),
        "started_late_s": {
            "p50": round(float(np.median(late_s)), 6),
            "p99": round(float(np.quantile(late_s, 0.99)), 6),
        },
    }


def _facts(database: Postgres | None, nodes: list[Node], before: list[float], zero: float) -> dict[str, Any]:
    """What is looked at when the last unit is due."""
    facts: dict[str, Any] = {}
    if database is not None:
        backends = database.backends()
        private = [private_bytes(pid) for pid in backends]
        facts["backends"] = {"count": len(backends), "private_bytes": sorted(private)}
    if nodes:
        alive = [node.process.pid for node in nodes if node.process and node.process.poll() is None]
        facts["servers"] = {
            "start_s": [node.started_s for node in nodes],
            **({"gate_opened_s": [node.gate.opened_s for node in nodes if node.gate]} if nodes[0].gate else {}),
            "cpu_s": [cpu_s(pid) for pid in alive],
            "cpu_before_s": before,
            "resident_bytes": [resident_bytes(pid) for pid in alive],
            "pools_built": [len(node.builds()) for node in nodes],
            "built_at_and_took_s": [[[round(at - zero, 3), took] for at, took in node.builds()] for node in nodes],
            "calls": [node.calls() for node in nodes],
        }
    return facts


def _listened(ends: list[Listener], zero: float) -> dict[str, Any]:
    if not ends:
        return {}
    return {"tcp_connections_s": [[round(at - zero, 3) for at in end.accepted] for end in ends]}


def _keep_gauge(experiment: Experiment, number: int, room: Path) -> None:
    lines = [line.split(",") for line in (room / "gauge.csv").read_text().splitlines()]
    columns = zip(*lines[1:], strict=True)
    write_columns(
        folder(experiment) / f"gauge-{number}.csv.xz",
        {name: np.array(column, dtype=object) for name, column in zip(lines[0], columns, strict=True)},
    )


def machine() -> dict[str, Any]:
    """What a reader must know of the machine; nothing that names it."""
    information = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in information if line.startswith("model name")), "unknown")
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / 2**20, 1),
        **_shares(),
        "system": platform.system(),
    }


def _shares() -> dict[str, int]:
    """What the run's control group weighs where it has one of its own; whoever else is on the machine weighs 1,024."""
    group = re.search(r"^\d+:(?:\w+,)*cpu(?:,\w+)*:(/.+)$", Path("/proc/self/cgroup").read_text(), re.M)
    shares = Path(f"/sys/fs/cgroup/cpu{group[1]}/cpu.shares") if group else None
    return {"cpu_shares": int(shares.read_text())} if shares and shares.exists() else {}


def versions(experiment: Experiment) -> dict[str, str]:
    """What ran."""
    java = (java_home(17) / "release").read_text()
    kept = {"jdk of the load generator": next(line for line in java.splitlines() if line.startswith("JAVA_VERSION="))}
    if _through_ojp(experiment):
        kept["driver"] = driver_origin(experiment.version)
    if experiment.route == "ojp":
        kept |= running_server(experiment.version)
    return kept | {"libraries": ", ".join(LIBRARIES), "database": "PostgreSQL 15"}
