"""CPU and memory of a real server: what its process uses for units of known composition, counted by its own metrics."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ojp_sizing.demand.workload import Clients, Duration, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import DEFAULT_VERSION, ServerSettings
from ojp_sizing.deployment.versions import traits_of
from ojp_sizing.theory.offered import load_of, pod_cores
from tests.real_server.artifacts import LIBRARIES, compiled, driver_jar, driver_origin, jar, java_home
from tests.real_server.experiments import READ, WRITE
from tests.real_server.measure import machine, wait_until_ready
from tests.real_server.postgres import PASSWORD, USER, postgres
from tests.real_server.processes import cpu_s, resident_bytes, running
from tests.real_server.recorded import DATA, read_json, write_json
from tests.real_server.servers import Node, running_server, servers

RECORD = DATA / "cpu" / "measured.json"
TEXTS = (READ.format(name="r"), WRITE.format(name="w"))
SLEEP_S, RATE, PLAYED_S, WARM_S, IDLE_S = 0.001, 100, 10.0, 30.0, 5.0
#: The first round only warms up: it is recorded, and not used.
ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Composition:
    """Units that connect, run these texts in a row (0 reads, 1 writes) and close."""

    name: str
    texts: tuple[int, ...]
    transaction: bool = False

    @property
    def workload(self) -> Workload:
        """As the model is told of it."""
        kinds, duration = ("read", "write"), Duration(SLEEP_S, 1.0, "constant")
        statements = tuple(StatementClass(kind, kind, kind, duration) for kind in kinds)
        unit = UnitOfWork("unit", 1.0, tuple(kinds[text] for text in self.texts), self.transaction, Duration(0.0))
        return Workload("cpu", statements, (unit,), clients=Clients(1, 100))


COMPOSITIONS = (
    Composition("connect, close", ()),
    Composition("connect, query, close", (0,)),
    Composition("connect, update, close", (1,)),
    Composition("connect, transaction of two queries and two updates, close", (0, 1, 0, 1), transaction=True),
)


def measure_cpu(port: int, version: str = DEFAULT_VERSION, path: Path = RECORD, rounds: int = ROUNDS) -> None:
    """Play each composition so many times at one warm server, and write down its CPU and its calls."""
    with (
        tempfile.TemporaryDirectory(prefix="ojp-validate-") as name,
        postgres(Path(name), port) as database,
        servers(_defaults(version), [port + 1], Path(name), version=version) as [node],
    ):
        room = Path(name)
        time.sleep(IDLE_S)
        fresh = resident_bytes(_pid(node))
        classes = class_path(room, version)
        url = f"jdbc:ojp[localhost:{port + 1}]_postgresql://{database.address}"
        grow = ("--grow", "20") if traits_of(version).fail_fast_borrow_s else ()
        _play(room, classes, url, COMPOSITIONS[0], 1, ("--warm", "20", "--settle", str(WARM_S), *grow))
        played = [
            {"round": number, **_one(node, room, classes, url, composition)}
            for number in range(rounds)
            for composition in COMPOSITIONS
        ]
        before = cpu_s(_pid(node))
        time.sleep(IDLE_S)
        record = {
            "machine": machine(),
            "versions": {
                "driver": driver_origin(version), **running_server(version), "database": "PostgreSQL 15",
            },
            "settings": "OJP's defaults, the JVM's defaults (a quarter of the machine's memory as largest heap)",
            "rate": RATE, "sleep_s": SLEEP_S, "warm_up_s": WARM_S,
            "idle": {
                "resident_bytes_before_the_first_call": fresh,
                "resident_bytes_at_the_end": resident_bytes(_pid(node)),
                "cpu_s": round(cpu_s(_pid(node)) - before, 3),
                "seconds": IDLE_S,
            },
            "start_s": node.started_s,
            "played": played,
        }  # fmt: skip
    write_json(path, record)


def _defaults(version: str) -> ServerSettings:
    return ServerSettings(segregation=traits_of(version).segregation_default)


def predict_cpu(version: str, path: Path) -> None:
    """What the model says of a unit of each composition, core seconds, on this version and on the default one."""
    document = {
        "rate": RATE,
        **{
            known: {composition.name: round(modelled_s(composition, known), 7) for composition in COMPOSITIONS}
            for known in (version, DEFAULT_VERSION)
        },
    }
    write_json(path, document)


def modelled_s(composition: Composition, version: str) -> float:
    """Core seconds of one unit at the rate that is played."""
    constants, workload = default_constants(), composition.workload
    load = load_of(workload, workload.units[0], constants, traits_of(version))
    return pod_cores(load, RATE, 1.0, constants) / RATE


def _pid(node: Node) -> int:
    assert node.process is not None
    return node.process.pid


def class_path(room: Path, version: str = DEFAULT_VERSION) -> str:
    """What a load generator runs with: its classes, the driver, and a pool of 20."""
    classes = compiled(room)
    (classes / "ojp.properties").write_text("ojp.connection.pool.maximumPoolSize=20\n")
    (room / "texts.sql").write_text("".join(text + "\n" for text in TEXTS))
    return os.pathsep.join(map(str, (classes, driver_jar(version), *map(jar, LIBRARIES))))


def _one(node: Node, room: Path, path: str, url: str, composition: Composition) -> dict[str, Any]:
    units = round(RATE * PLAYED_S)
    used_s, began_s, calls = cpu_s(_pid(node)), time.monotonic(), node.calls()
    _play(room, path, url, composition, units)
    failed = sum(not line.endswith(",") for line in (room / "units.csv").read_text().splitlines()[1:])
    return {
        "composition": composition.name,
        "units": units,
        "failed": failed,
        "seconds": round(time.monotonic() - began_s, 3),
        "cpu_s": round(cpu_s(_pid(node)) - used_s, 3),
        "calls": {method: count - calls.get(method, (0, 0.0))[0] for method, (count, _) in node.calls().items()},
        "resident_bytes": resident_bytes(_pid(node)),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _play(room: Path, path: str, url: str, composition: Composition, units: int, more: tuple[str, ...] = ()) -> None:
    rows = ["unit,due_s,transaction,text,write,sleep_s,think_s"]
    rows += [
        f"{unit},{unit / RATE:.6f},{int(composition.transaction)},{text},{int(text == 1)},{SLEEP_S},0.0"
        for unit in range(units)
        for text in composition.texts or (-1,)
    ]
    (room / "trace.csv").write_text("\n".join(rows) + "\n")
    words = {
        "--url": url, "--user": USER, "--password": PASSWORD, "--texts": room / "texts.sql",
        "--trace": room / "trace.csv", "--out": room / "units.csv", "--threads": 100, "--until": PLAYED_S + 20.0,
    }  # fmt: skip
    command = [java_home(17) / "bin" / "java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Xmx512m"]
    command += ["-cp", path, "LoadGenerator", *(str(word) for pair in words.items() for word in pair), *more]
    with running(command, room / "client.log", stdin=subprocess.PIPE, output=subprocess.PIPE) as client:
        wait_until_ready(client, room)
        assert client.stdin is not None
        client.stdin.write(f"{round(time.time() * 1000)}\n")
        client.stdin.flush()
        client.wait(PLAYED_S + 60.0)


# What it says ----------------------------------------------------------------------------------------------------

#: The calls that the model charges with ``statement_cpu_s``; every other one is a small call to it.
STATEMENTS = ("executeQuery", "executeUpdate")
FIRST_AND_LAST = ("connect", "terminateSession")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A mean over rounds, core seconds, with its 95 % interval (Student)."""

    value: float
    low: float
    high: float
    rounds: int


def per_unit(path: Path = RECORD) -> dict[str, Fitted]:
    """Core seconds per unit of each composition, idling taken off; over the rounds after the first."""
    used = _used(path)
    return {name: interval(column) for name, column in zip((c.name for c in COMPOSITIONS), used.T, strict=True)}


def fit() -> dict[str, Fitted]:
    """Core seconds per connect with terminateSession, per other small call, and per statement.

    Least squares in each round on its compositions. Four equations for three numbers: what doesn't fit is in no interval.
    """
    counts = np.array([_counts(run) for run in read_json(RECORD)["played"][: len(COMPOSITIONS)]])
    found = np.array([np.linalg.lstsq(counts, used, rcond=None)[0] for used in _used()])
    names = ("connect and terminateSession together", "other small call", "statement")
    return {name: interval(column) for name, column in zip(names, found.T, strict=True)}


def _used(path: Path = RECORD) -> NDArray[np.float64]:
    """Core seconds per unit: rows are rounds, columns compositions."""
    record = read_json(path)
    idle = record["idle"]["cpu_s"] / record["idle"]["seconds"]
    used = [(run["cpu_s"] - idle * run["seconds"]) / run["units"] for run in record["played"]]
    return np.array(used).reshape(-1, len(COMPOSITIONS))[1:]


def _counts(run: dict[str, Any]) -> list[float]:
    """(pairs of connect and terminateSession, other small calls, statements) per unit."""
    calls = {method: count / run["units"] for method, count in run["calls"].items()}
    ends = sum(calls[method] for method in FIRST_AND_LAST)
    statements = sum(calls[method] for method in STATEMENTS)
    return [ends / 2, sum(calls.values()) - ends - statements, statements]


def interval(values: NDArray[np.float64]) -> Fitted:
    """The mean of independent values."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    mean = float(values.mean())
    return Fitted(mean, mean - half, mean + half, len(values))
