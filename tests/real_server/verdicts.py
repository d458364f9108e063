"""What became of a run's units, told in the same words of the model and of real servers: how many failed, when, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.kinds import ENDINGS, Ending
from tests.real_server.experiments import Experiment
from tests.real_server.predict import simulate_experiment
from tests.real_server.recorded import Columns, draw_trace
from tests.real_server.told import as_told, told_trace

#: A unit that takes more than this has waited for something that timed out; failures are counted by due time, in windows, s.
LONG_S, WINDOW_S = 5.0, 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a cell's units. ``failed``: those that never ended, too. ``long``: took more than 5 s or never ended."""

    units: int
    failed: int
    long: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    failed_by_window: list[int]


def verdict(
    due_s: NDArray[np.float64], latency_s: NDArray[np.float64], well: NDArray[np.bool_], duration_s: float
) -> Verdict:
    """``latency_s``: from the instant at which a unit was due, inf where it never ended."""
    quantiles = [
        round(float(np.quantile(latency_s[well], q, method="inverted_cdf")), 4) if well.any() else None
        for q in (0.5, 0.95, 0.99)
    ]
    edges = np.arange(0.0, duration_s + WINDOW_S / 2, WINDOW_S)
    by_window = [int(count) for count in np.histogram(due_s[~well], edges)[0]]
    return Verdict(len(due_s), int((~well).sum()), int((latency_s > LONG_S).sum()), *quantiles, by_window)


def simulated(
    cell: Experiment, replication: int = 0, values: Mapping[str, float] | None = None
) -> tuple[Verdict, dict[str, int]]:
    """What the model says of the trace that is played (0), or of one that is drawn anew; and how units failed.

    ``values``: other constants.
    """
    drawn = draw_trace(cell, cell.bands[0], replication) if replication else None
    trace = as_told(cell, drawn, replication) if drawn else told_trace(cell, 0)
    outcomes = simulate_experiment(cell, trace, values=values)
    units = len(trace.arrival_s)
    outcome, latency_s = outcomes.outcome[:units], outcomes.latency_s[:units]
    latency_s = np.where(outcome < 0, np.inf, latency_s)
    found = verdict(outcomes.arrival_s[:units], latency_s, outcome == Ending.OK, cell.duration_s)
    endings = {name: int((outcome == code).sum()) for code, name in enumerate(ENDINGS) if code != Ending.OK}
    return found, {name: count for name, count in endings.items() if count} | {"unfinished": int((outcome < 0).sum())}


def judged(units: Columns, duration_s: float) -> tuple[Verdict, dict[str, int], dict[str, float]]:
    """Of what the load generator wrote: verdict, how units failed, and how late they were started."""
    well = units["error"] == ""
    taken_us = (units["ended_us"] - units["thought_us"]).astype(float)
    latency_s = np.where(units["ended_us"] >= 0, taken_us / 1e6, np.inf)
    errors, counts = np.unique(units["error"][~well].astype(str), return_counts=True)
    endings: dict[str, int] = {}
    for error, count in zip(errors.tolist(), counts.tolist(), strict=True):
        kind = next((words for words in _KINDS if words in error), error[:60])
        endings[kind] = endings.get(kind, 0) + count
    late_s = units["started_us"][units["started_us"] >= 0].astype(float) / 1e6
    late = {name: round(float(np.quantile(late_s, q)), 4) for name, q in (("p50", 0.5), ("p99", 0.99))}
    return verdict(units["due_us"].astype(float) / 1e6, latency_s, well, duration_s), endings, late


_KINDS = (
    "unfinished", "is bound to", "UNAVAILABLE", "Connection acquisition failed", "Timeout waiting for fast operation slot",
    "Timeout waiting for slow operation slot", "Connection is not available", "Circuit breaker",
)  # fmt: skip
