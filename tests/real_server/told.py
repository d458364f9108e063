"""What the model is told of a statement and of the way to a server, measured apart from the runs by which it is judged.

``statements`` says what PostgreSQL and JDBC add to a statement's sleep; ``idle-server`` what a message costs between its
server and the caller: loopback, gRPC and the driver's CPU. Nothing here is fitted to any other run.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from math import exp, log, sqrt
from typing import Any

import numpy as np
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray

from ojp_sizing.demand.trace import Trace
from ojp_sizing.demand.workload import Network
from ojp_sizing.deployment.constants import default_constants
from tests.real_server.experiments import EXPERIMENTS, Experiment
from tests.real_server.recorded import SEED, folder, read_columns, read_trace, trace_path

CALIBRATIONS = ("generator", "statements", "idle-server")


@cache
def beyond_s() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What single statements took beside their sleep in PostgreSQL and JDBC, s: reads, and writes."""
    units, rows = _recorded("statements")
    beyond_s = (units["ended_us"] - units["connected_us"]) / 1e6 - rows["sleep_s"]
    return beyond_s[rows["write"] == 0], beyond_s[rows["write"] == 1]


#: Messages of a unit with one query, and with one update: both ways of connect, the statement, and the close of a result set
#: (query only). Nobody waits for terminateSession.
MESSAGES = (6, 4)


@cache
def network() -> Network:
    """One message between a caller and an idle server, by the method of moments.

    A unit's time beside its sleep, less the statement's (above) and the CPU that the model charges, is that of its messages:
    their mean and their variance, if all are alike and independent, are those of this lognormal.
    """
    units, rows = _recorded("idle-server")
    took_s = (units["ended_us"] - units["started_us"]) / 1e6 - rows["sleep_s"]
    mean_s = variance = 0.0
    for write, cpu_s in enumerate(_cpu_s(rows)):
        mine_s = took_s[rows["write"] == write]
        mean_s += float(mine_s.mean() - beyond_s()[write].mean() - cpu_s) / sum(MESSAGES)
        variance += float(mine_s.var() - beyond_s()[write].var()) / sum(MESSAGES)
    sigma = sqrt(log(1.0 + variance / mean_s**2))
    return Network(round(mean_s / exp(sigma**2 / 2), 7), round(sigma, 3))


#: From one call of a unit to its next where nothing lies between, as far as waking a server is concerned.
BETWEEN_S = 5e-4


def _cpu_s(rows: dict[str, NDArray[Any]]) -> tuple[float, float]:
    """CPU that the model charges for the calls that a query's caller waits for, and an update's: connect, statement, close.

    Each pays for the pause before it: units come one by one, and a statement sleeps before its result set is closed.
    """
    known, begun_s = default_constants(), rows["due_s"]
    ended_s = begun_s + rows["sleep_s"] + BETWEEN_S
    reads = rows["write"] == 0
    calls_s = np.stack(
        [begun_s, begun_s + BETWEEN_S, np.where(reads, ended_s + BETWEEN_S, 1e9), ended_s + 2 * BETWEEN_S]
    )
    order = np.argsort(calls_s, axis=None, kind="stable")
    pauses_s = np.full(calls_s.size, known.wake_after_s)
    pauses_s[order[1:]] = np.diff(calls_s.ravel()[order])
    woken_s = known.wake_cpu_s * np.minimum(1.0, pauses_s.reshape(calls_s.shape) / known.wake_after_s)
    each_s = known.connect_cpu_s + known.statement_cpu_s + 2 * known.hand_over_cpu_s + woken_s[0] + woken_s[1]
    close_s = known.small_rpc_cpu_s + known.hand_over_cpu_s + woken_s[2]
    return float((each_s + close_s)[reads].mean()), float(each_s[~reads].mean())


@cache
def generator_s() -> float:
    """What a statement took beside its sleep in ``generator``, median. Like the pool alone, it was measured beside other work."""
    units, rows = _recorded("generator")
    return round(float(np.median((units["ended_us"] - units["connected_us"]) / 1e6 - rows["sleep_s"])), 6)


def told_trace(experiment: Experiment, number: int) -> Trace:
    """A band's recorded arrivals as the model is told them: resampled overheads (seeded), and the network's latency."""
    return as_told(experiment, read_trace(trace_path(experiment, number), experiment), number)


def as_told(experiment: Experiment, trace: Trace, number: int) -> Trace:
    """The same for any trace of the experiment; ``number`` tells the draws of several apart."""
    if experiment.route != "ojp":
        return replace(trace, database_s=trace.database_s + generator_s())
    reads_s, writes_s = beyond_s()
    rng = default_rng(SeedSequence(SEED, spawn_key=(number, *experiment.name.encode(), 1)))
    drawn_s = np.where(trace.writes > 0, rng.choice(writes_s, len(trace.text)), rng.choice(reads_s, len(trace.text)))
    means_s = [(writes_s if text.kind == "write" else reads_s).mean() for text in experiment.workload.statements]
    way = network()
    return replace(
        trace,
        database_s=trace.database_s + drawn_s,
        typical_ms=trace.typical_ms + 1000.0 * np.array(means_s),
        latencies_s=rng.lognormal(np.log(way.one_way_s), way.sigma, len(trace.latencies_s)),
    )


def told(experiment: Experiment) -> dict[str, object]:
    """The same in short, for a prediction's record: medians."""
    if experiment.route != "ojp":
        return {"statement_beyond_its_sleep_s": generator_s()}
    reads_s, writes_s = beyond_s()
    return {
        "read_beyond_its_sleep_s": np.median(reads_s),
        "write_beyond_its_sleep_s": np.median(writes_s),
        **asdict(network()),
    }


def _recorded(name: str) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Units and trace of a calibration: a row of each for each unit, which has one statement."""
    where = folder(EXPERIMENTS[name])
    return read_columns(where / "measured-0.csv.xz"), read_columns(where / "trace-0.csv.xz")
