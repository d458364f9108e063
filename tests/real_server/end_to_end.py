"""End to end: pgbench's tables and units through OJP's driver and one real server with a CPU limit, at rising load.

In this order: ``calibrate`` (what the model is told, and the largest throughput), ``predict``, ``measure``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.random import SeedSequence, default_rng

from ojp_sizing.demand.ranges import settled_workload
from ojp_sizing.demand.workload import Clients, Network, Workload
from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.deployment import ClientPool, ServerSettings
from ojp_sizing.telemetry.records import read_records
from ojp_sizing.telemetry.statements import fit_statements
from tests.real_server import pgbench
from tests.real_server.course import REST_S, Course
from tests.real_server.cpu import FIRST_AND_LAST, STATEMENTS, Fitted, interval
from tests.real_server.measure import machine
from tests.real_server.predict import MACHINE_CORES
from tests.real_server.recorded import DATA, SEED, read_json, write_json
from tests.real_server.servers import servers
from tests.real_server.stage import LIMITED_BY, facts, play, poisson, stage, url, used_between, versions, warming

FOLDER = DATA / "end-to-end"
LIMIT_CORES = 0.5
POOL, SETTINGS = ClientPool(), ServerSettings()
WARM_RATE, WARM_S = 600.0, 90.0
#: More than it can do: as many callers as the pool has connections, each with the next unit as soon as one has ended.
SATURATED_S, SATURATING_RATE = (70.0, 100.0), 1500.0
#: Statements directly, through a pool of PostgreSQL's driver, at a rate at which they don't wait for each other.
DIRECT_RATE, DIRECT_S, DIRECT_WARM_S, DIRECT_POOL = 40.0, 40.0, 15.0, 5
#: Units of known composition, to tell the CPU of a call.
ROUNDS, BLOCK_RATE, BLOCK_S = 5, 400.0, 5.0


def _seed(*key: int) -> SeedSequence:
    return SeedSequence(SEED, spawn_key=(*key, *b"end-to-end"))


# What the model is told ------------------------------------------------------------------------------------------


def calibrate_statements(port: int) -> None:
    """Units directly on PostgreSQL: its own statistics of the texts, and what a unit takes a direct client."""
    with stage(port, POOL, statistics=True) as place:
        due_s, kind = poisson(DIRECT_RATE, DIRECT_WARM_S + DIRECT_S, _seed(100), 2)
        pgbench.write_trace(place.room / "trace.csv", due_s, kind, default_rng(_seed(101)))
        pgbench.begin_statistics(place.database)
        begins_s = DIRECT_WARM_S
        pool = ["--pool", f"{DIRECT_POOL},{DIRECT_POOL},10000", "--gauge", str(place.room / "gauge.csv")]
        exported: list[str] = []
        commits: list[float] = []

        def begin(_: int) -> None:
            # pg_stat_statements 1.10 counts a session's prepared COMMIT once: there are none after a reset.
            commits.append(pgbench.commit_s(place.database))
            pgbench.begin_statistics(place.database)

        marks = (
            (begins_s, begin),
            (begins_s + DIRECT_S + 1.0, lambda _: exported.append(pgbench.export_statistics(place.database))),
        )
        units = play(place, f"jdbc:postgresql://{place.database.address}", 20, begins_s + DIRECT_S + 3.0, marks, pool)
    kept = units["due_us"] >= begins_s * 1e6
    names = list(pgbench.UNITS)
    counts = {name: int((kind[kept] == number).sum()) for number, name in enumerate(names)}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "pg_stat_statements.csv").write_text(exported[0])
    (FOLDER / "units.yaml").write_text(_units_yaml(counts))
    took_s = (units["ended_us"] - units["started_us"]) / 1e6
    document = {
        "machine": machine(), "rate": DIRECT_RATE, "seconds": DIRECT_S, "connections": DIRECT_POOL,
        "commit_s": commits[0], "load_average": round(os.getloadavg()[0], 2), "failed": int((units["error"] != "").sum()),
        "unit_s": {
            name: {
                "units": counts[name],
                **{f"p{q}": round(float(np.quantile(took_s[kept & (kind == number)], q / 100)), 6) for q in (50, 95)},
            }
            for number, name in enumerate(names)
        },
    }  # fmt: skip
    write_json(FOLDER / "statements.json", document)


def _units_yaml(counts: dict[str, int]) -> str:
    lines = [
        "# What pgbench's two built-in scripts do, and how often each ran (python -m tests.real_server calibrate)."
    ]
    lines += ["name: end-to-end", "units:"]
    for name, texts in pgbench.UNITS.items():
        lines += [f"  - name: {name}", f"    count: {counts[name]}", f"    statements: [{', '.join(texts)}]"]
        lines += [f"    transaction: {str(len(texts) > 1).lower()}", "    think: 0s"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Composition:
    """Units that connect, run these texts in a row, in a transaction or not, and close."""

    texts: tuple[str, ...]
    transaction: bool = False


COMPOSITIONS = (
    Composition(()),
    Composition(("select_pgbench_accounts",)),
    Composition(("update_pgbench_tellers",)),
    Composition(("select_pgbench_accounts", "update_pgbench_tellers") * 2, transaction=True),
)


def calibrate_calls(port: int) -> None:
    """CPU of calls, and what a connect takes a client: units of known composition on one warm server, in turn."""
    blocks = [composition for _ in range(ROUNDS) for composition in COMPOSITIONS]
    begins_s = [WARM_S + REST_S + number * (BLOCK_S + 1.0) for number in range(len(blocks))]
    with stage(port, POOL) as place, servers(SETTINGS, [port + 1], place.room, limit_cores=LIMIT_CORES) as [node]:
        warm_s, warm_kind = warming(poisson(WARM_RATE, WARM_S, _seed(110), 2), _seed(99))
        pgbench.write_trace(place.room / "trace.csv", warm_s, warm_kind, default_rng(_seed(111)))
        units = len(warm_s)
        with (place.room / "trace.csv").open("a") as trace:
            for number, (begin, block) in enumerate(zip(begins_s, blocks, strict=True)):
                due_s, _ = poisson(BLOCK_RATE, BLOCK_S, _seed(112, number), 2)
                rows = pgbench.rows(
                    units, begin + due_s, block.texts, block.transaction, default_rng(_seed(113, number))
                )
                trace.writelines(row + "\n" for row in rows)
                units += len(due_s)
        looks: list[dict[str, Any]] = []
        marks = [
            (at_s, lambda client: looks.append(facts(place, node, client)))
            for begin in begins_s
            for at_s in (begin - 0.2, begin + BLOCK_S + 0.3)
        ]
        played = play(place, url(place), POOL.maximum_size, begins_s[-1] + BLOCK_S + 2.0, marks)
    recorded = []
    for number, (begin, block) in enumerate(zip(begins_s, blocks, strict=True)):
        mine = (played["due_us"] >= begin * 1e6) & (played["due_us"] < (begin + BLOCK_S) * 1e6)
        used = used_between(looks[2 * number], looks[2 * number + 1], BLOCK_S + 0.5)
        connect_s = (played["connected_us"] - played["started_us"])[mine] / 1e6
        took_s = played["ended_us"][mine] / 1e6
        recorded.append({
            "texts": block.texts, "transaction": block.transaction, "units": int(mine.sum()), "cpu_s": used["cpu_s"],
            "calls": used["calls"], "failed": int((played["error"][mine] != "").sum()),
            "connect_p50_s": round(float(np.median(connect_s)), 6), "unit_p50_s": round(float(np.median(took_s)), 6),
            "throttled_periods": used["throttled_periods"], "all_cores": used["all_cores"],
        })  # fmt: skip
    document = {
        "machine": machine(), "versions": versions(), "limit_cores": LIMIT_CORES, "rate": BLOCK_RATE,
        "warm_up_s": WARM_S, "block_s": BLOCK_S, "load_average": round(os.getloadavg()[0], 2), "blocks": recorded,
    }  # fmt: skip
    write_json(FOLDER / "calls.json", document)


def calibrate_most(port: int) -> None:
    """The largest throughput: as many callers as connections, each with the next unit as soon as one has ended."""
    begin_s, end_s = SATURATED_S
    with stage(port, POOL) as place, servers(SETTINGS, [port + 1], place.room, limit_cores=LIMIT_CORES) as [node]:
        due_s, kind = warming(poisson(SATURATING_RATE, end_s, _seed(120), 2), _seed(99))
        pgbench.write_trace(place.room / "trace.csv", due_s, kind, default_rng(_seed(121)))
        told: list[dict[str, Any]] = []
        marks = [(at_s, lambda client: told.append(facts(place, node, client))) for at_s in SATURATED_S]
        units = play(place, url(place), POOL.maximum_size, end_s + 1.0, marks)
    ended_s = (units["due_us"] + units["ended_us"])[units["ended_us"] >= 0] / 1e6
    kept = (ended_s >= begin_s) & (ended_s < end_s)
    by_second = np.bincount(np.floor(ended_s[ended_s < end_s]).astype(int))
    rate = kept.sum() / (end_s - begin_s)
    before, after = told
    document = {
        "machine": machine(), "versions": versions(), "limit_cores": LIMIT_CORES,
        "limited_by": LIMITED_BY, "callers": POOL.maximum_size, "units_per_second": rate,
        "from_to_s": SATURATED_S, "by_second": by_second.tolist(),
        "failed": int(((units["error"] != "") & (units["error"] != "unfinished")).sum()),
        "load_average": round(os.getloadavg()[0], 2), "used": used_between(before, after, end_s - begin_s),
    }  # fmt: skip
    write_json(FOLDER / "most.json", document)


@cache
def calls() -> dict[str, Fitted]:
    """Core seconds of a call, under the names of the constants: least squares in each round on its compositions."""
    blocks = read_json(FOLDER / "calls.json")["blocks"]
    found = []
    for begin in range(len(COMPOSITIONS), len(blocks), len(COMPOSITIONS)):  # the first round warms up
        mine = blocks[begin : begin + len(COMPOSITIONS)]
        counts = np.array([per_unit_calls(block["calls"], block["units"]) for block in mine])
        used = np.array([block["cpu_s"] / block["units"] for block in mine])
        found.append(np.linalg.lstsq(counts, used, rcond=None)[0])
    names = ("connect_cpu_s", "small_rpc_cpu_s", "statement_cpu_s")
    return {name: interval(column) for name, column in zip(names, np.array(found).T, strict=True)}


def per_unit_calls(counted: dict[str, int], units: int) -> list[float]:
    """Calls per unit: connects and terminates, other small ones, statements."""
    ends = sum(counted.get(method, 0) for method in FIRST_AND_LAST)
    statements = sum(counted.get(method, 0) for method in STATEMENTS)
    return [ends / units, (sum(counted.values()) - ends - statements) / units, statements / units]


@cache
def workload() -> Workload:
    """What a user of ``ojp_sizing.telemetry`` gets from those statistics; one JVM, and the network as measured apart."""
    fit = fit_statements(read_records(FOLDER / "pg_stat_statements.csv"), FOLDER / "units.yaml")
    read = settled_workload(fit.workload, {})
    return replace(read, clients=Clients(1, POOL.maximum_size), network=Network(one_way_s(), 0.0))


def one_way_s() -> float:
    """Half of what a connect to an idle server takes beyond its CPU."""
    blocks = read_json(FOLDER / "calls.json")["blocks"]
    took_s = float(np.median([block["connect_p50_s"] for block in blocks if not block["texts"]]))
    return round(max(0.0, took_s - calls()["connect_cpu_s"].value) / 2.0, 6)


def commit_s() -> float:
    """Mean time of a COMMIT by PostgreSQL: nothing waits for a disk here."""
    return float(read_json(FOLDER / "statements.json")["commit_s"])


def constants() -> Constants:
    """The project's; the machine's cores and the database's commits are known."""
    return replace(default_constants(), node_cores=MACHINE_CORES, commit_database_s=commit_s())


def measured_calls() -> dict[str, float]:
    """The constants that ``calls`` measured, instead of the table's, to 10 ns: the last bit of a fit hangs on the processor."""
    return {name: round(fitted.value, 8) for name, fitted in calls().items()}


#: Of the largest throughput.
LOADS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95)


def rates() -> tuple[float, ...]:
    """Units per second of each band."""
    most = float(read_json(FOLDER / "most.json")["units_per_second"])
    return tuple(round(load * most, 1) for load in LOADS)


END_TO_END = Course(
    "end-to-end", "pgbench's units through one server, from a tenth to 95 % of the largest throughput",
    LIMIT_CORES, LOADS, pgbench.UNITS, rates, workload, constants, measured_calls, WARM_RATE, WARM_S, POOL, SETTINGS,
)  # fmt: skip
