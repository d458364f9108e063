"""Servers that end and come back under many client JVMs: does it collapse, and does it recover? Model and real servers.

A JVM is a class loader with a copy of the driver, since what a driver knows of the servers is static. Each server has one core
by a quota, its pool stands, and its code is warm, before clients reach it (docs/restarts.md).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ojp_sizing.demand.workload import Clients, Duration, Network, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.deployment import ClientPool, ServerSettings
from tests.real_server.artifacts import DRIVER, jar, java_home
from tests.real_server.experiments import READ, Band, Experiment, Signal
from tests.real_server.gates import Gate, Way
from tests.real_server.groups import REST_SHARES, group
from tests.real_server.measure import (
    class_path,
    database_url,
    machine,
    read_units,
    versions,
    wait_until_ready,
    write_plain,
)
from tests.real_server.postgres import PASSWORD, USER, postgres
from tests.real_server.processes import running
from tests.real_server.recorded import DATA, draw_trace, read_columns, read_json, trace_path, write_json, write_trace
from tests.real_server.servers import play, servers
from tests.real_server.verdicts import WINDOW_S, Verdict, judged, simulated

FOLDER = DATA / "many-clients"
PREDICTION, RECORD = FOLDER / "prediction.json", FOLDER / "measured.json"
ASKS = "Do servers that end and come back bring many client JVMs to a collapse, and do they recover?"
#: More than this share of all units failed: a collapse. Of those that were due in the last seconds: it lasts.
COLLAPSED_SHARE, LAST_S = 0.05, 10.0
SEEDS = 5
#: So many client threads in all, whatever the number of JVMs.
THREADS = 800
#: Times for opening a connection that the model is told: its default, and what was seen on a busy core in rough trials.
OPENS_S = (0.015, 0.07)
#: The first client warms the servers up for so long, each other one meets them for that long.
SETTLE_S, EACH_S = 20.0, 0.3

_NO_SLOTS = ServerSettings(segregation=False)
#: Stopped at 10 s; each next one is stopped before the last one can be reached again, as a StatefulSet's update does it where
#: clients have not yet found the last one.
FLAP = (
    Signal(10.0, 2, "TERM"), Signal(11.0, 2, "begin"), Signal(21.7, 1, "TERM"), Signal(22.7, 2, "open"),
    Signal(23.2, 1, "begin"), Signal(33.4, 0, "TERM"), Signal(34.4, 1, "open"), Signal(34.9, 0, "begin"),
    Signal(46.0, 0, "open"),
)  # fmt: skip
#: Each next one is stopped a while after the last one is back.
ONE_BY_ONE = (
    Signal(10.0, 2, "TERM"), Signal(11.0, 2, "begin"), Signal(20.0, 2, "open"), Signal(27.0, 1, "TERM"),
    Signal(28.0, 1, "begin"), Signal(37.0, 1, "open"), Signal(44.0, 0, "TERM"), Signal(45.0, 0, "begin"),
    Signal(54.0, 0, "open"),
)  # fmt: skip
KILL = (Signal(10.0, 2, "KILL"), Signal(12.0, 2, "begin"), Signal(27.0, 2, "open"))


def _workload(jvms: int) -> Workload:
    """A query of 70 ms and 10 ms of thinking."""
    text = StatementClass("t0", READ.format(name="t0"), "read", Duration(0.07, 1.0, "exponential"))
    unit = UnitOfWork("unit", 1.0, ("t0",), False, Duration(0.01, 1.0, "constant"))
    return Workload(
        "many", (text,), (unit,), clients=Clients(jvms, THREADS // jvms), network=Network(0.0001, 0.0)
    )  # fmt: skip


def _cell(name: str, jvms: int, signals: tuple[Signal, ...], duration_s: float = 75.0, **more: Any) -> Experiment:
    """Three servers of one core, half of what they carry."""
    settings = {"pool": ClientPool(20, 5), "nodes": 3, "limit_cores": 1.0, "bands": (Band(100.0),)} | more
    return Experiment(
        f"many-clients/{name}-{jvms}", ASKS, "ojp", _workload(jvms), duration_s=duration_s, server=_NO_SLOTS,
        signals=signals, gated=True, warm_calls=5000, tail_s=20.0, settle_s=SETTLE_S, **settings,
    )  # fmt: skip


CELLS = (
    *(_cell("rolling", jvms, FLAP) for jvms in (2, 8, 16, 32, 64)),
    *(_cell("one-by-one", jvms, ONE_BY_ONE) for jvms in (2, 32)),
    *(_cell("kill", jvms, KILL, 50.0) for jvms in (2, 64)),
    # Six servers with two connections each, whether none, one or two are missing: no pool is ever emptied.
    _cell("rolling-undivided", 64, FLAP, pool=ClientPool(8, 5), nodes=6, limit_cores=0.5, bands=(Band(60.0),)),
)


def collapses(found: Verdict) -> bool:
    """Whether so many units failed that it was more than what was in flight."""
    return found.failed > COLLAPSED_SHARE * found.units


def recovers(found: Verdict, units_per_s: float) -> bool:
    """Whether those that were due last ended well."""
    last = sum(found.failed_by_window[-int(LAST_S / WINDOW_S) :])
    return last <= COLLAPSED_SHARE * units_per_s * LAST_S


# The model -------------------------------------------------------------------------------------------------------


def predicted(cell: Experiment, open_s: float) -> dict[str, Any]:
    """Of the trace that is played, and of traces drawn anew."""
    values, rate = {"connection_open_s": open_s}, cell.bands[0].rate
    played, endings = simulated(cell, values=values)
    anew = [simulated(cell, number, values)[0] for number in range(1, SEEDS + 1)]
    return {
        "collapses": collapses(played), "recovers": recovers(played, rate), **asdict(played), "endings": endings,
        "collapses_of_seeds": sum(map(collapses, anew)), "recovers_of_seeds": sum(recovers(one, rate) for one in anew),
        "failed_of_seeds": sorted(one.failed for one in anew),
    }  # fmt: skip


def predict_many_clients() -> None:
    """Write the traces, where there are none yet, and ``prediction.json``."""
    for cell in CELLS:
        if not trace_path(cell, 0).exists():
            write_trace(trace_path(cell, 0), draw_trace(cell, cell.bands[0]))
    cells = {
        f"connection_open_s {open_s:g}": {cell.name.rpartition("/")[2]: predicted(cell, open_s) for cell in CELLS}
        for open_s in OPENS_S
    }
    write_json(PREDICTION, {"asks": ASKS, "by": cells})


# The measurement -------------------------------------------------------------------------------------------------


def measure_many_clients(port: int, tell: Callable[[str], None], cells: Sequence[Experiment] = CELLS) -> None:
    """Each cell on servers of its own. What is measured is written down cell by cell."""
    document: dict[str, Any] = {
        "asks": ASKS, "measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(),
        "versions": versions(cells[0]), "cells": read_json(RECORD)["cells"] if RECORD.exists() else {},
    }  # fmt: skip
    for cell in cells:
        began_load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="ojp-validate-") as room:
            found = _measured(cell, Path(room), port)
        found["load_average"] = [round(began_load, 2), round(os.getloadavg()[0], 2)]
        name = cell.name.rpartition("/")[2]
        document["cells"][name] = found
        tell(f"{name}: {found}")
        write_json(RECORD, document)


def _measured(cell: Experiment, room: Path, port: int) -> dict[str, Any]:
    jvms = cell.workload.clients.jvms
    with ExitStack() as stack:
        ports = [port + 1 + number for number in range(cell.nodes)]
        enter = stack.enter_context(group("rest", REST_SHARES)).enter
        database = stack.enter_context(postgres(room, port, enter=enter))
        path = class_path(cell, room)
        way = Way(database_url(cell, database, ports), tuple(ports), path, enter, cell.warm_calls)
        gates = [Gate(way, number, room) for number in range(cell.nodes)]
        nodes = stack.enter_context(
            servers(cell.server, ports, room, limit_cores=cell.limit_cores, gates=gates, options=(_POOL_LOG,))
        )
        client = stack.enter_context(
            running(
                _command(cell, room, path, way.url, enter), room / "client.log",
                stdin=subprocess.PIPE, output=subprocess.PIPE,
            )
        )  # fmt: skip
        wait_until_ready(client, room)
        still = [node.group.throttled() for node in nodes if node.group]
        zero = time.time() + 1.0
        assert client.stdin is not None
        client.stdin.write(f"{round(zero * 1000)}\n")
        client.stdin.flush()
        play(nodes, cell.signals, zero)
        time.sleep(max(0.0, zero + cell.duration_s - time.time()))
        opened_s = _opened_s([node.log.read_text(encoding="utf-8") for node in nodes], zero)
        throttled = [
            round(now["stood_still_s"] - before["stood_still_s"], 1)
            for now, before in zip((node.group.throttled() for node in nodes if node.group), still, strict=True)
        ]
        client.wait(cell.tail_s + 60.0)
        found, endings, late_s = judged(read_units(room, jvms), cell.duration_s)
        return {
            "collapses": collapses(found), "recovers": recovers(found, cell.bands[0].rate), **asdict(found),
            "endings": endings, "started_late_s": late_s, "gate_opened_s": [gate.opened_s for gate in gates],
            "stood_still_s": throttled, "opening_s": _quartiles(opened_s), "openings": len(opened_s),
        }  # fmt: skip


#: HikariCP's own lines, of which one says that a connection was added.
_POOL_LOG = "-Dorg.slf4j.simpleLogger.log.com.zaxxer.hikari.pool.HikariPool=debug"
_ADDED = re.compile(r"^(\d{4}-\S+) \[(.*connection.adder.*)\] .* Added connection ", re.M)
#: Hikari's adder rests for so long after an opening where others wait; later ones aren't of one burst.
_BURST_S = 0.5


def _opened_s(logs: Sequence[str], zero: float) -> list[float]:
    """From one added connection to the next by the same thread, where it worked without a pause, after time zero."""
    gaps = []
    for log in logs:
        at: dict[str, float] = {}
        for text, thread in _ADDED.findall(log):
            now = datetime.fromisoformat(text).timestamp()
            if thread in at and now > zero and now - at[thread] < _BURST_S:
                gaps.append(now - at[thread])
            at[thread] = now
    return gaps


def _quartiles(values: Sequence[float]) -> list[float]:
    return [round(float(np.quantile(values, q)), 4) for q in (0.25, 0.5, 0.75)] if values else []


def _command(cell: Experiment, room: Path, path: str, url: str, enter: Sequence[str]) -> list[str | Path]:
    """The load generator with all JVMs; files of their own for each."""
    trace, jvms = read_columns(trace_path(cell, 0)), cell.workload.clients.jvms
    for jvm in range(jvms):
        own = {name: column[trace["jvm"] == jvm] for name, column in trace.items()}
        _, own["unit"] = np.unique(own["unit"], return_inverse=True)
        write_plain(room / f"trace-{jvm}.csv", own)
    texts = room / "texts.sql"
    texts.write_text("".join(statement.sql + "\n" for statement in cell.workload.statements))
    words = {
        "--driver-jar": jar(DRIVER), "--url": url, "--user": USER, "--password": PASSWORD, "--texts": texts,
        "--trace": room / "trace", "--out": room / "units", "--threads": cell.workload.clients.threads,
        "--until": cell.duration_s + cell.tail_s, "--warm": max(1, cell.pool.maximum_size // cell.nodes),
        "--settle": SETTLE_S, "--each": EACH_S,
    }  # fmt: skip
    flags = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-Xmx1200m", "-XX:+UseSerialGC"]
    return [
        *[*enter, java_home(17) / "bin" / "java", *flags, "-cp", path, "LoadGenerator"],
        *(str(word) for pair in words.items() for word in pair),
    ]
