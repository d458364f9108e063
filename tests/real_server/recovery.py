"""A server that ends and comes back: when it is found out, when it is well again, and what fails; model against measurement.

The same definitions for both, on units alone: when each was due, when it ended, and how.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.trace import Trace
from ojp_sizing.simulation.simulate import simulate
from tests.real_server.experiments import Experiment
from tests.real_server.later import ALL, FOLDER
from tests.real_server.predict import deployment_of, disruption_of
from tests.real_server.recorded import draw_trace, folder, read_columns, read_json, write_json
from tests.real_server.told import as_told

NAMES = ("kill", "stop", "rolling", "kill-warmed", "rolling-warmed")
LATER_NAMES = tuple(f"{FOLDER}/{name}" for name in ("kill", "kill-updates", "rolling"))
REPLICATIONS = 20
QUANTITIES = ("found_s", "pool_s", "well_s", "failed")
#: The first seconds of a run aren't steady yet; a window of due times, s; how much worse than steady is still well.
FROM_S, WINDOW_S, FACTOR = 3.0, 1.0, 2.0
SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Recovery:
    """``found_s``: from the first signal to the end of the last unit that fails before a server is back (0: none does).
    ``pool_s``: from a server's listening to its first pool, the longest. ``well_s``: from the last server's listening to
    the end of the last second in which units fail, or their p95 is more than twice the steady one (inf: the run ends
    first). ``failed``: failed units, and those that never ended. A server behind a gate listens when that opens."""

    found_s: float
    pool_s: float
    well_s: float
    failed: int


def recovered(
    experiment: Experiment,
    due_s: NDArray[np.float64],
    latency_s: NDArray[np.float64],
    well: NDArray[np.bool_],
    listens_s: list[float],
    pools_s: list[float],
) -> Recovery:
    """``latency_s`` from the due time, also of failed units (inf: never ended); instants by the run's clock."""
    first_s = min(signal.at_s for signal in experiment.signals)
    back_s = min(signal.at_s for signal in experiment.signals if signal.what == "start")
    early = ~well & (due_s < back_s) & np.isfinite(latency_s)
    found_s = max(0.0, float((due_s + latency_s)[early].max()) - first_s) if early.any() else 0.0
    steady = latency_s[(due_s >= FROM_S) & (due_s < first_s)]
    limit_s = FACTOR * float(np.quantile(steady, 0.95, method="inverted_cdf"))
    bad_s = 0.0
    for begin_s in np.arange(listens_s[-1], experiment.duration_s, WINDOW_S):
        mine = (due_s >= begin_s) & (due_s < begin_s + WINDOW_S)
        if mine.any() and (not well[mine].all() or np.quantile(latency_s[mine], 0.95, method="inverted_cdf") > limit_s):
            bad_s = begin_s + WINDOW_S
    well_s = np.inf if bad_s >= experiment.duration_s else max(0.0, bad_s - listens_s[-1])
    waits_s = [max(0.0, pool - listens) for pool, listens in zip(pools_s, listens_s, strict=True)]
    return Recovery(found_s, max(waits_s, default=np.inf), float(well_s), int((~well).sum()))


def measured_recovery(name: str) -> Recovery:
    """What the real servers did."""
    experiment = ALL[name]
    units = read_columns(folder(experiment) / "measured-0.csv.xz")
    servers = read_json(folder(experiment) / "measured.json")["bands"][0]["servers"]
    listens_s, pools_s = [], []
    for signal in experiment.signals:
        if signal.what == "start":
            opened_s = servers["gate_opened_s"][signal.node][1] if experiment.gated else 0.0
            listens_s.append(signal.at_s + servers["start_s"][signal.node][1] + opened_s)
            built = [at for at, took in servers["built_at_and_took_s"][signal.node] if at - took >= signal.at_s]
            pools_s.append(min(built, default=np.inf))
    latency_s = np.where(units["ended_us"] >= 0, (units["ended_us"] - units["thought_us"]) / 1e6, np.inf)
    return recovered(experiment, units["due_us"] / 1e6, latency_s, units["error"] == "", listens_s, pools_s)


def modelled_recovery(experiment: Experiment, trace: Trace) -> Recovery:
    """What the model says of one trace."""
    outcomes = simulate(
        trace,
        deployment_of(experiment),
        disruption_of(experiment),
        sample_every_s=SAMPLE_S,
        recovery_s=1e6,
        tail_s=0.0,
    )
    listens_s, pools_s = [], []
    for change in outcomes.changes:
        if change.state == "listening":
            listens_s.append(change.time_s)
            has = outcomes.samples["pools"]["created"][:, change.pod] == 1
            stands_s = outcomes.sample_s[has & (outcomes.sample_s >= change.time_s)]
            pools_s.append(float(stands_s[0]) if len(stands_s) else np.inf)
    units = outcomes.arrived
    return recovered(
        experiment,
        outcomes.arrival_s[:units],
        outcomes.latency_s[:units],
        outcomes.outcome[:units] == Ending.OK,
        listens_s,
        pools_s,
    )


@cache
def replication(name: str, number: int) -> dict[str, float]:
    """What the model says of one trace that is drawn anew."""
    experiment = ALL[name]
    trace = as_told(experiment, draw_trace(experiment, experiment.bands[0], number), number)
    found = modelled_recovery(experiment, trace)
    return {quantity: round(float(getattr(found, quantity)), 3) for quantity in QUANTITIES}


def replicate(name: str) -> dict[str, list[float]]:
    """The same of ``REPLICATIONS`` traces, each quantity in their order."""
    found = [replication(name, number) for number in range(1, REPLICATIONS + 1)]
    return {quantity: [one[quantity] for one in found] for quantity in QUANTITIES}


def record_replications() -> None:
    """Keep what the model says now: it takes a minute or two, and the page and the tests look at it often."""
    for name in NAMES + LATER_NAMES:
        write_json(_kept(name), replicate(name))


@cache
def kept_replications(name: str) -> dict[str, list[float]]:
    """What was kept, in the order of the traces."""
    return dict(read_json(_kept(name)))


def replicated(name: str) -> dict[str, list[float]]:
    """What was kept, each quantity sorted."""
    return {quantity: sorted(values) for quantity, values in kept_replications(name).items()}


def _kept(name: str) -> Path:
    return folder(ALL[name]) / "replications.json"
