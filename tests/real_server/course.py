"""A course: one server with a CPU limit that is warmed up and then meets bands of rising load, each from rest."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import SeedSequence, default_rng

from ojp_sizing.behaviour.kinds import ENDINGS, Ending
from ojp_sizing.demand.trace import Trace, sample_trace
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import Constants
from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.simulation.simulate import simulate
from tests.real_server import pgbench
from tests.real_server.measure import machine
from tests.real_server.predict import summary
from tests.real_server.processes import private_bytes, resident_bytes
from tests.real_server.recorded import DATA, SEED, read_columns, read_json, write_columns, write_json
from tests.real_server.servers import servers
from tests.real_server.stage import (
    LIMITED_BY,
    Units,
    facts,
    play,
    poisson,
    stage,
    url,
    used_between,
    versions,
    warming,
)

BAND_S, REST_S, LATE_S = 30.0, 4.0, 15.0


@dataclass(frozen=True, slots=True)
class Course:
    """``rates``: units per second of the bands; ``loads``: shares of the largest throughput, or of the limit's CPU.

    The client has as many threads as the pool has connections: a server that is still slow is never asked for more, which
    would wait 10 s, fail, and lose its connection for good (reference 1.6). Units that are due wait for a thread instead.

    ``changes``: constants measured apart, with which the model is asked as well as with the project's own.
    """

    name: str
    asks: str
    limit_cores: float
    loads: tuple[float, ...]
    units: Mapping[str, tuple[str, ...]]
    rates: Callable[[], tuple[float, ...]]
    workload: Callable[[], Workload]
    constants: Callable[[], Constants]
    changes: Callable[[], Mapping[str, float]]
    warm_rate: float
    warm_s: float = 90.0
    pool: ClientPool = field(default_factory=ClientPool)
    server: ServerSettings = field(default_factory=ServerSettings)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return DATA / self.name

    def seed(self, *key: int) -> SeedSequence:
        """Of one of its draws."""
        return SeedSequence(SEED, spawn_key=(*key, *self.name.encode()))


# Demand and model ------------------------------------------------------------------------------------------------


def band_trace(course: Course, number: int) -> Trace:
    """A band's arrivals, with the times in the database that the model draws."""
    trace = sample_trace(course.workload(), course.rates()[number], BAND_S, course.seed(number))
    return replace(trace, arrival_s=np.round(trace.arrival_s, 6), duration_s=BAND_S + LATE_S)


def recorded_units(course: Course, number: int) -> Units:
    """A band's units, as recorded before it was predicted."""
    columns = read_columns(course.folder / f"trace-{number}.csv.xz")
    return np.cumsum(columns["gap_us"]) / 1e6, columns["kind"]


def predict_course(course: Course) -> None:
    """Record the arrivals where there are none yet, and what the model says of them with both sets of constants."""
    for number in range(len(course.loads)):
        path = course.folder / f"trace-{number}.csv.xz"
        if not path.exists():
            trace = band_trace(course, number)
            gap_us = np.diff(np.round(trace.arrival_s * 1e6).astype(int), prepend=0)
            write_columns(path, {"gap_us": gap_us, "kind": trace.kind})
    known, changes = course.constants(), dict(course.changes())
    bands = range(len(course.loads))
    document = {
        "asks": course.asks, "limit_cores": course.limit_cores, "node_cores": known.node_cores,
        "one_way_s": course.workload().network.one_way_s, "commit_database_s": known.commit_database_s,
        "measured_apart": changes,
        "cpu_of_a_unit_s": {"constants": cpu_of_a_unit_s(course), "measured apart": cpu_of_a_unit_s(course, **changes)},
        "bands": [told(course, number) for number in bands],
        "bands_measured_apart": [told(course, number, **changes) for number in bands],
    }  # fmt: skip
    write_json(course.folder / "prediction.json", document)


def cpu_of_a_unit_s(course: Course, **changes: float) -> float:
    """Mean, by the constants: the calls of each kind of unit, on one server."""
    known = replace(course.constants(), **changes)
    each = [
        2 * known.connect_cpu_s
        + len(texts) * known.statement_cpu_s
        + (sum(text.startswith("s") for text in texts) + 2 * (len(texts) > 1)) * known.small_rpc_cpu_s
        + sum(text.startswith("s") for text in texts) * known.row_block_cpu_s / 100.0
        for texts in course.units.values()
    ]
    return float(np.average(each, weights=[unit.share for unit in course.workload().units]))


def told(course: Course, number: int, **changes: float) -> dict[str, Any]:
    """What the model says of a band; ``changes`` of constants."""
    trace = band_trace(course, number)
    due_s, kind = recorded_units(course, number)
    if not (np.array_equal(kind, trace.kind) and np.allclose(due_s, trace.arrival_s, atol=2e-6)):
        raise RuntimeError("the recorded arrivals are not those that are drawn now")
    constants = replace(course.constants(), **changes)
    deployment = Deployment(1, course.limit_cores, course.pool, course.server, constants=constants)
    outcomes = simulate(trace, deployment, recovery_s=1e6, tail_s=0.0)
    ok = outcomes.outcome == Ending.OK
    endings = {name: int((outcomes.outcome == code).sum()) for code, name in enumerate(ENDINGS) if code != Ending.OK}
    endings["unfinished"] = int((outcomes.outcome < 0).sum())
    last = int(np.searchsorted(outcomes.sample_s, BAND_S)) - 1
    cores = float(outcomes.samples["stations"]["busy_s"][last, 0]) / float(outcomes.sample_s[last])
    by_kind = {
        name: round(float(np.median(outcomes.latency_s[ok & (trace.kind == code)])), 6)
        for code, name in enumerate(course.units)
    }
    return {
        "rate": course.rates()[number], "load": course.loads[number],
        **summary(outcomes.latency_s[ok], endings, BAND_S), "p50_by_kind_s": by_kind, "cores": round(cores, 4),
    }  # fmt: skip


def measured_bands(course: Course) -> list[dict[str, Any]] | None:
    """What was measured, where it was."""
    path = course.folder / "measured.json"
    return list(read_json(path)["bands"]) if path.exists() else None


# The measurement -------------------------------------------------------------------------------------------------


def measure_course(course: Course, port: int) -> None:
    """One server for all bands."""
    bands = range(len(course.loads))
    with (
        stage(port, course.pool) as place,
        servers(course.server, [port + 1], place.room, limit_cores=course.limit_cores) as [node],
    ):
        fresh = resident_bytes(node.process.pid) if node.process else 0
        drawn = poisson(course.warm_rate, course.warm_s, course.seed(130), len(course.units))
        warm_s, warm_kind = warming(drawn, course.seed(131))
        begins_s = [course.warm_s + REST_S + number * (BAND_S + REST_S) for number in bands]
        played = [recorded_units(course, number) for number in bands]
        due_s = np.concatenate([warm_s, *(begin + due for begin, (due, _) in zip(begins_s, played, strict=True))])
        kinds = np.concatenate([warm_kind, *(kind for _, kind in played)])
        rng = default_rng(course.seed(132))
        pgbench.write_trace(place.room / "trace.csv", due_s, kinds, rng, course.units)
        looks: list[dict[str, Any]] = []

        def look(client: int) -> None:
            looks.append(facts(place, node, client) | {"load_average": round(os.getloadavg()[0], 2)})

        marks = [(at_s, look) for begin in begins_s for at_s in (begin, begin + BAND_S)]
        units = play(place, url(place), course.pool.maximum_size, begins_s[-1] + BAND_S + LATE_S, marks)
        time.sleep(5.0)
        rested = resident_bytes(node.process.pid) if node.process else 0
        sessions = sorted(private_bytes(pid) for pid in place.database.backends())
    recorded = []
    for number, begin in enumerate(begins_s):
        mine = (units["due_us"] >= begin * 1e6 - 1) & (units["due_us"] < (begin + BAND_S) * 1e6 - 1)
        due, kind = played[number]
        if mine.sum() != len(due):
            raise RuntimeError(f"{mine.sum()} units were played in a band of {len(due)}")
        band = {name: column[mine] for name, column in units.items()}
        ok = band["error"] == ""
        latency_s = band["ended_us"] / 1e6
        connect_s = (band["connected_us"] - band["started_us"])[ok] / 1e6
        late_s = band["started_us"][band["started_us"] >= 0] / 1e6
        recorded.append({
            "rate": course.rates()[number], "load": course.loads[number], "units": len(due),
            **summary(latency_s[ok], Counter(band["error"][~ok].tolist()), BAND_S),
            "p50_by_kind_s": {
                name: round(float(np.median(latency_s[ok & (kind == code)])), 6)
                for code, name in enumerate(course.units)
            },
            "connect_s": {f"p{q}": round(float(np.quantile(connect_s, q / 100)), 6) for q in (50, 95, 99)},
            "started_late_s": {f"p{q}": round(float(np.quantile(late_s, q / 100)), 6) for q in (50, 99)},
            **used_between(looks[2 * number], looks[2 * number + 1], BAND_S),
            "load_average": looks[2 * number + 1]["load_average"],
        })  # fmt: skip
        # In order of size, since they take a third of the room so: what is compared is distributions.
        order = np.lexsort((band["ended_us"][ok], kind[ok]))
        more_us = np.diff(band["ended_us"][ok][order], prepend=0)
        write_columns(course.folder / f"measured-{number}.csv.xz", {"kind": kind[ok][order], "more_us": more_us})
    document = {
        "measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(), "versions": versions(),
        "limit_cores": course.limit_cores, "limited_by": LIMITED_BY,
        "start_s": node.started_s, "warm_up_s": course.warm_s, "rest_s": REST_S,
        "resident_bytes": {"before the first call": fresh, "at rest, after the last band": rested},
        "session_private_bytes": sessions, "bands": recorded,
    }  # fmt: skip
    write_json(course.folder / "measured.json", document)
