"""Slots and connections that wait for each other: with segregation and without it, the same arrivals, model and real servers.

A unit's first statement holds a slot and waits for a connection; a later one holds its connection and waits for a slot
(reference 1.2). Each cell asks whether that locks.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ojp_sizing.behaviour.arithmetic import split_slots
from ojp_sizing.demand.workload import Clients, Duration, Network, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.deployment import ClientPool, ServerSettings
from tests.real_server.artifacts import java_home
from tests.real_server.experiments import READ, WRITE, Band, Experiment, Signal
from tests.real_server.measure import class_path, clients, database_url, machine, read_units, versions, wait_until_ready
from tests.real_server.postgres import PASSWORD, USER, postgres
from tests.real_server.processes import running
from tests.real_server.recorded import DATA, draw_trace, read_json, trace_path, write_json, write_trace
from tests.real_server.servers import play, servers
from tests.real_server.verdicts import Verdict, judged, simulated

FOLDER = DATA / "locks"
PREDICTION, RECORD = FOLDER / "prediction.json", FOLDER / "measured.json"
ASKS = "Do slots and connections wait for each other for good, with segregation and without it?"
#: A cell has locked when more than this share of its units failed or took longer than 5 s.
LOCKED_SHARE = 0.05
#: The model draws so many traces anew for each cell: a lock is a matter of chance near its edge.
SEEDS = 10
#: Another client, with a pool of its own, has the server's code compiled before the cell's client comes.
COMPILE_S = 15.0

_ON, _OFF = ServerSettings(breaker_open_s=5.0), ServerSettings(segregation=False, breaker_open_s=5.0)
_NETWORK = Network(0.0001, 0.0)


def _text(name: str, mean_s: float, kind: str = "read", cv: float = 0.0) -> StatementClass:
    sql = (READ if kind == "read" else WRITE).format(name=name)
    duration = Duration(mean_s, cv, "lognormal") if cv else Duration(mean_s, 1.0, "constant")
    return StatementClass(name, sql, kind, duration)  # type: ignore[arg-type]


def _workload(texts: Sequence[StatementClass], units: Sequence[UnitOfWork]) -> Workload:
    return Workload("locks", tuple(texts), tuple(units), clients=Clients(1, 400), network=_NETWORK)


def _queries(sleep_s: float, think_s: float) -> Workload:
    """Units of two queries: the first may wait for a connection, the second for a slot."""
    think = Duration(think_s, 1.0, "exponential")
    texts = [_text(name, sleep_s) for name in ("a", "b")]
    return _workload(texts, [UnitOfWork("two", 1.0, ("a", "b"), False, think)])


def _transactions(single_share: float) -> Workload:
    """Transactions of four statements, whose start takes a connection and no slot, and single queries beside them."""
    think = Duration(0.0125, 1.0, "exponential")
    texts = [_text("a", 0.05), _text("b", 0.05), _text("w", 0.05, "write"), _text("x", 0.05, "write"), _text("s", 0.05)]
    whole = UnitOfWork("transaction", 1.0 - single_share, ("a", "w", "b", "x"), True, think)
    if not single_share:
        return _workload(texts[:4], [whole])
    return _workload(texts, [whole, UnitOfWork("single", single_share, ("s",), False, think)])


def _slow_oltp() -> Workload:
    """web-oltp, ten times slower."""
    think = Duration(0.02, 1.0, "exponential")
    milliseconds = {
        "user": 10.0, "product": 12.0, "cart": 15.0, "orders": 25.0, "reviews": 20.0, "lock": 15.0, "insert": 20.0,
        "update": 15.0, "sales": 800.0, "customers": 1200.0,
    }  # fmt: skip
    shares = {"user": 0.35, "product": 0.35, "cart": 0.15, "orders": 0.15}
    texts = [
        replace(
            _text(name, mean_ms / 1000.0, "write" if name in ("insert", "update") else "read", 0.8),
            share=shares.get(name, 0.0),
        )
        for name, mean_ms in milliseconds.items()
    ]
    return _workload(
        texts,
        [
            UnitOfWork("page", 0.6, 1, False, think),
            UnitOfWork("product_page", 0.22, ("product", "reviews"), False, think),
            UnitOfWork("checkout", 0.16, ("lock", "insert", "update"), True, think),
            UnitOfWork("sales_report", 0.014, ("sales",), False, think),
            UnitOfWork("customer_report", 0.006, ("customers",), False, think),
        ],
    )


def _cell(
    name: str,
    of: str,
    workload: Workload,
    rate: float,
    connections: int,
    *,
    pods: int = 1,
    on: bool = True,
    **more: Any,
) -> Experiment:
    pool = ClientPool(connections, min(connections, 6 * pods) if pods > 1 else connections)
    # A burst's run can be shorter: nobody comes after the last one.
    return Experiment(
        f"locks/{name}", ASKS, "ojp", workload, (Band(rate),), pool=pool, server=_ON if on else _OFF, nodes=pods,
        arrivals_of=f"locks/{of}", tail_s=30.0, settle_s=8.0, **({"duration_s": 60.0} | more),
    )  # fmt: skip


#: A unit of two queries of 100 ms holds its connection for so long: two statements, two thinks, and its calls.
_HOLDS_S = 0.256
#: So many callers at once, at these instants.
_BURSTS = ((1.0, 30), (4.0, 38), (7.0, 46), (10.0, 60))


def _both(name: str, *rest: Any, **more: Any) -> tuple[Experiment, Experiment]:
    """With segregation and without it."""
    return _cell(name, *rest, **more), _cell(f"{name}-off", *rest, on=False, **more)


def _two(connections: int, load: float, pool: int | None = None) -> tuple[str, Workload, float, int]:
    """Of units of two queries: their arrivals' name, the workload, a rate by the load of so many connections, the pool."""
    of, rate = f"two-{connections}-{load:.0%}".rstrip("%"), round(connections / _HOLDS_S * load, 1)
    return of, _queries(0.1, 0.025), rate, pool or connections


def _mixed(single_share: float) -> tuple[str, Workload, float, int]:
    """Transactions and single queries, at 70 % of what six connections carry."""
    workload = _transactions(single_share)
    holds_s = (1.0 - single_share) * (4 * 0.0625 + 0.010) + single_share * (0.0625 + 0.005)
    return f"transactions-{1.0 - single_share:.0%}".rstrip("%"), workload, round(6 / holds_s * 0.7, 1), 6


#: A server stands still for so long: SIGSTOP and SIGCONT. Callers that come meanwhile are inside at once afterwards.
STALL_AT_S = 20.0


def _stalled(name: str, stall_s: float, *, on: bool = True) -> Experiment:
    """At 70 % of 20 connections, where nothing locks by itself."""
    signals = (Signal(STALL_AT_S, 0, "STOP"), Signal(STALL_AT_S + stall_s, 0, "CONT"))
    return _cell(name, *_two(20, 0.7), on=on, signals=signals)


#: The model has no process that stands still: the rule of ``sizing.locking`` predicts them, callers against P + F.
STALLS = (
    _stalled("stall-200", 0.2),
    _stalled("stall-500", 0.5),
    _stalled("stall-700", 0.7),
    _stalled("stall-700-off", 0.7, on=False),
)
CELLS = (
    _cell("two-6-50", *_two(6, 0.5)),
    *_both("two-6-70", *_two(6, 0.7)),
    *_both("two-12-of-6-90", *_two(6, 0.9, pool=12)),
    _cell("two-20-70", *_two(20, 0.7)),
    _cell("two-20-80", *_two(20, 0.8)),
    *_both("two-20-90", *_two(20, 0.9)),
    *_both("burst-20", "burst", _queries(0.02, 0.005), 30.0, 20, duration_s=30.0, bursts=_BURSTS),
    _cell("burst-40", "burst", _queries(0.02, 0.005), 30.0, 40, duration_s=30.0, bursts=_BURSTS),
    *_both("transactions-100", *_mixed(0.0)),
    *_both("transactions-50", *_mixed(0.5)),
    *_both("slow-oltp-6", "slow-oltp", _slow_oltp(), 14.2, 6, pods=2, duration_s=80.0),
    *(
        _cell(f"slow-oltp-{size}", "slow-oltp", _slow_oltp(), 14.2, size, pods=2, duration_s=80.0)
        for size in (10, 20, 40)
    ),
)


def locks(found: Verdict) -> bool:
    """Whether slots and connections waited for each other for good, or for long."""
    return max(found.failed, found.long) > LOCKED_SHARE * found.units


# The model -------------------------------------------------------------------------------------------------------


def predict_locks() -> None:
    """Write the traces, where there are none yet, and ``prediction.json``."""
    for cell in CELLS:
        if not trace_path(cell, 0).exists():
            write_trace(trace_path(cell, 0), draw_trace(cell, cell.bands[0]))
    found = {cell.name.rpartition("/")[2]: predicted(cell) for cell in CELLS}
    stalls = {cell.name.rpartition("/")[2]: predicted_by_rule(cell) for cell in STALLS}
    write_json(PREDICTION, {"asks": ASKS, "cells": found, "stalls": stalls})


def predicted_by_rule(cell: Experiment) -> dict[str, Any]:
    """Callers inside after the stall, in the mean, and so many as lock: every connection and every fast slot."""
    fast, _ = split_slots(cell.pool.maximum_size, cell.server.slow_slot_percentage)
    stall_s = cell.signals[1].at_s - cell.signals[0].at_s
    callers = cell.bands[0].rate * (_HOLDS_S + stall_s)
    enough = cell.pool.maximum_size + fast
    return {"callers": round(callers, 1), "enough": enough, "locked": cell.server.segregation and callers >= enough}


def predicted(cell: Experiment) -> dict[str, Any]:
    """Of the trace that is played, and of traces drawn anew."""
    played, endings = simulated(cell)
    anew = [simulated(cell, number)[0] for number in range(1, SEEDS + 1)]
    return {
        "locked": locks(played), **asdict(played), "endings": endings,
        "locked_of_seeds": sum(map(locks, anew)), "failed_of_seeds": sorted(one.failed for one in anew),
    }  # fmt: skip


# The measurement -------------------------------------------------------------------------------------------------


def measure_locks(port: int, tell: Callable[[str], None], cells: Sequence[Experiment] = CELLS) -> None:
    """Each cell on servers of its own. What is measured is written down cell by cell."""
    document: dict[str, Any] = {
        "asks": ASKS, "measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(),
        "versions": versions(cells[0]), "cells": read_json(RECORD)["cells"] if RECORD.exists() else {},
    }  # fmt: skip
    for cell in cells:
        began_load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="ojp-validate-") as room:
            found, endings, started_late_s = _measured(cell, Path(room), port)
        name = cell.name.rpartition("/")[2]
        document["cells"][name] = {
            "locked": locks(found), **asdict(found), "endings": endings, "started_late_s": started_late_s,
            "load_average": [round(began_load, 2), round(os.getloadavg()[0], 2)],
        }  # fmt: skip
        tell(f"{name}: {found.failed} of {found.units} failed, p50 {found.p50_s}, p99 {found.p99_s}, {endings}")
        write_json(RECORD, document)


def _measured(cell: Experiment, room: Path, port: int) -> tuple[Verdict, dict[str, int], dict[str, float]]:
    with ExitStack() as stack:
        ports = [port + 1 + number for number in range(cell.nodes)]
        database = stack.enter_context(postgres(room, port))
        path = class_path(cell, room)
        nodes = stack.enter_context(servers(cell.server, ports, room))
        _compile(cell, database_url(cell, database, ports), path, room)
        (client,) = clients(cell, 0, room, database, ports, stack, path)
        assert client.stdin is not None
        zero = time.time() + 1.0
        client.stdin.write(f"{round(zero * 1000)}\n")
        client.stdin.flush()
        play(nodes, cell.signals, zero)
        client.wait(max(1.0, zero + cell.duration_s + cell.tail_s + 40.0 - time.time()))
        return judged(read_units(room, 1), cell.duration_s)


def _compile(cell: Experiment, url: str, path: str, room: Path) -> None:
    """A client with another hash, that is with a pool, slots and a classifier of its own, and ended before the cell's comes."""
    connections = max(1, cell.pool.maximum_size // cell.nodes)
    texts, trace = room / "texts.sql", room / "trace-compile.csv"
    texts.write_text("".join(statement.sql + "\n" for statement in cell.workload.statements))
    trace.write_text("unit,due_s,transaction,text,write,sleep_s,think_s\n0,0.0,0,-1,0,0.0,0.0\n")
    words = {
        "--url": f"{url}?ApplicationName=compile", "--user": USER, "--password": PASSWORD, "--texts": texts,
        "--threads": 2, "--until": 1.0, "--trace": trace, "--out": room / "compile.csv", "--warm": connections,
        "--settle": COMPILE_S, "--settle-threads": connections,
    }  # fmt: skip
    command = [
        *[java_home(17) / "bin" / "java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Xmx512m", "-cp", path],
        *["LoadGenerator", *(str(word) for pair in words.items() for word in pair)],
    ]
    with running(command, room / "compile.log", stdin=subprocess.PIPE, output=subprocess.PIPE) as client:
        wait_until_ready(client, room)
