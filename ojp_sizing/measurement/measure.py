"""From outcomes to measures: percentiles, failed shares and use of every resource, per replication and over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.kinds import ENDINGS, Ending, Side
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import (
    CONFIDENCE,
    Count,
    Estimate,
    clopper_pearson,
    mean_estimate,
    share_estimate,
)
from ojp_sizing.measurement.objectives import Objectives
from ojp_sizing.measurement.warmup import warm_up_s
from ojp_sizing.simulation.outcomes import Hazard, Outcomes

#: The least time that a run may go on for the last units that are measured.
LEAST_TAIL_S = 2.0
PERCENTILES = (50, 95, 99)


def tail_of(objectives: Objectives, situation: Situation) -> float:
    """How long a run may go on for the last units that are measured: a unit within its limit must be able to end."""
    factor = objectives.disruption_factor if situation.is_disruption else 1.0
    return max(LEAST_TAIL_S, objectives.slow_p99_s * factor)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run: each unit that counts in [begin, end) stands for ``weight`` units of the whole situation."""

    begin_s: float
    end_s: float
    weight: float = 1.0

    @property
    def stands_for_s(self) -> float:
        """The time of the whole situation that this part stands for."""
        return (self.end_s - self.begin_s) * self.weight


def _weights(parts: Sequence[Part], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight at each of these instants, which lie within the parts."""
    index = np.searchsorted([part.begin_s for part in parts], times, side="right") - 1
    return np.array([part.weight for part in parts])[np.maximum(index, 0)]


@dataclass(frozen=True, slots=True)
class Replication:
    """What one run gives: plain measures by name, the counts behind its shares, how the units failed that were simulated in
    its window, and the traps of OJP that the run met.
    """

    values: Mapping[str, float]
    counts: Mapping[str, Count]
    units: int
    failures: Mapping[str, int]
    hazards: tuple[Hazard, ...]

    def least(self, name: str) -> float:
        """What this run shows a measure to be at least. After a disruption its units are a sample of a state that lasts, so that
        this is the lower end of a 97.5 % interval; else it is the value."""
        if name in self.counts and name.startswith("recovered_"):
            count = self.counts[name]
            return clopper_pearson(count.hits, count.total)[0] if count.total else nan
        return self.values.get(name.replace("_p99_s", "_p99_least_s"), self.value(name))

    def value(self, name: str) -> float:
        """A measure, or the share behind a count, of this run alone; NaN where there is none."""
        found = self.counts.get(name)
        if found is None:
            return self.values.get(name, nan)
        return found.hits / found.total if found.total else nan


def _percentiles(latency_s: NDArray[np.float64], weights: NDArray[np.float64], name: str) -> dict[str, float]:
    """Weighted percentiles: the least observed latency up to which so much of the weight lies (the inverse of the ECDF)."""
    if len(latency_s) == 0:
        return {f"{name}_p{p}_s": nan for p in PERCENTILES}
    order = np.argsort(latency_s, kind="stable")
    weight = np.cumsum(weights[order])
    # A hair less, so that rounding in the sum doesn't move a percentile by one unit.
    wanted = np.array(PERCENTILES) / 100 * weight[-1] * (1 - 1e-12)
    found = latency_s[order[np.searchsorted(weight, wanted)]]
    return {f"{name}_p{p}_s": float(value) for p, value in zip(PERCENTILES, found, strict=True)}


def _least_p99_s(latency_s: NDArray[np.float64]) -> float:
    """The lower end of a 97.5 % interval of the p99 of which these are a sample: an order statistic, its rank by the normal
    approximation of the binomial distribution (Hahn and Meeker 1991, 5.2)."""
    size = len(latency_s)
    if size == 0:
        return nan
    rank = floor(0.99 * size - 1.96 * sqrt(size * 0.99 * 0.01))
    return float(np.partition(latency_s, max(0, rank - 1))[max(0, rank - 1)])


def _window(outcomes: Outcomes, begin_s: float, end_s: float) -> NDArray[np.intp]:
    """The units that count in [begin, end): see ``Outcomes.counts_s``."""
    counts_s = outcomes.counts_s
    return np.flatnonzero((counts_s >= begin_s) & (counts_s < end_s))


def _failures(outcomes: Outcomes, begin_s: float, end_s: float) -> dict[str, int]:
    """How many units that count in a window end in each way but well, the most frequent first."""
    outcome = outcomes.outcome[_window(outcomes, begin_s, end_s)]
    counts = np.bincount(outcome[outcome > Ending.OK], minlength=len(ENDINGS))
    return {ENDINGS[ending]: int(counts[ending]) for ending in np.argsort(-counts, kind="stable") if counts[ending]}


def _of_units(outcomes: Outcomes, parts: Sequence[Part], prefix: str) -> tuple[dict[str, float], Count]:
    """Latency percentiles of the units that count in these parts and don't fail, and how many fail."""
    window = _window(outcomes, parts[0].begin_s, parts[-1].end_s)
    outcome, slow = outcomes.outcome[window], outcomes.slow[window]
    latency_s, weights = outcomes.latency_s[window], _weights(parts, outcomes.counts_s[window])
    kept = (outcome == Ending.OK) | (outcome == Ending.UNFINISHED)
    fast, slow = kept & ~slow, kept & slow
    values = {
        **_percentiles(latency_s[fast], weights[fast], f"{prefix}fast"),
        **_percentiles(latency_s[slow], weights[slow], f"{prefix}slow"),
    }
    failed = Count(float(weights[~kept].sum()), float(weights.sum()), float((weights**2).sum()))
    return values, failed


def _drift(outcomes: Outcomes, begin_s: float, end_s: float) -> float:
    """Mean latency of the units that count in the second half of a window over that of the first; inf for a growing queue."""
    middle_s = (begin_s + end_s) / 2
    early = outcomes.latency_s[_window(outcomes, begin_s, middle_s)]
    late = outcomes.latency_s[_window(outcomes, middle_s, end_s)]
    if len(early) == 0 or len(late) == 0:
        return nan
    return float(np.mean(late) / np.mean(early)) if np.isfinite(np.mean(early)) else inf


def _of_resources(outcomes: Outcomes, deployment: Deployment, parts: Sequence[Part]) -> dict[str, float]:
    """Use of threads, slots, connections and CPU over the parts: mean over pods and time, and the worst second.

    That of connections is of those that the pools may have open then, of which pods that are missing have none and the
    others more; that of the rest is of what there is while all pods are up.
    """
    times = outcomes.sample_s
    first, last = np.searchsorted(times, (parts[0].begin_s, parts[-1].end_s), side="left")
    first, last = int(first), int(min(last, len(times) - 1))
    if last <= first:
        return {}
    pods, stations = outcomes.samples["pods"], outcomes.samples["stations"]
    edges = times[first : last + 1]
    steps_s = np.diff(edges)[:, None]
    # Each step's part of the whole situation.
    shares = steps_s * _weights(parts, (edges[1:] + edges[:-1]) / 2)[:, None]
    shares /= shares.sum()
    # Each kind of client has slots of its own, XA too.
    slots = outcomes.samples["lanes"]["total"][last].reshape(-1, 2).sum(axis=0)

    def rates(table: NDArray[Any], field: str) -> NDArray[np.float64]:
        """What grew by so much a second in each step: (steps, rows)."""
        found: NDArray[np.float64] = np.diff(table[field][first : last + 1], axis=0) / steps_s
        return found

    values: dict[str, float] = {}
    there = {
        "threads": ("thread_s", float(deployment.replicas * deployment.server.thread_pool_size)),
        "connections": ("connection_s", float((rates(pods, "pooled_s") * shares).sum())),
        "fast_slots": ("fast_slot_s", float(slots[Side.FAST])),
        "slow_slots": ("slow_slot_s", float(slots[Side.SLOW])),
    }
    for name, (field, size) in there.items():
        busy = rates(pods, field)
        values[f"{name}_use"] = float((busy * shares).sum() / size) if size > 0 else 0.0
        values[f"{name}_peak"] = float(busy.max())
    values["pooled_connections"] = there["connections"][1]
    cpu = rates(stations, "busy_s")
    pod_cpu, database = cpu[:, :-1], cpu[:, -1:]
    values["cpu_cores"] = float((pod_cpu * shares).sum() / deployment.replicas)
    values["cpu_use"] = values["cpu_cores"] / deployment.limit_cores
    values["cpu_peak_cores"] = float(pod_cpu.max())
    throttled = rates(stations, "throttled_s")[:, :-1]
    values["cpu_throttled_share"] = float((throttled * shares).sum() / deployment.replicas)
    values["database_cores"] = float((database * shares).sum())
    values["database_use"] = values["database_cores"] / deployment.database.cores
    values["executor_queue"] = float((rates(pods, "queue_s") * shares).sum())
    values["memory_kills"] = float(pods["kills"][last].sum())
    values["inside_peak"] = float(pods["inside_peak"][last].max())
    attempts = outcomes.attempts[_window(outcomes, parts[0].begin_s, parts[-1].end_s)]
    values["attempts_per_unit"] = float(attempts.mean()) if len(attempts) else nan
    values["open_connections"] = float(outcomes.samples["state"]["connections_peak"][-1].max())
    return values


def measure_steady(outcomes: Outcomes, deployment: Deployment, last_s: float, begin_s: float = 0.0) -> Replication:
    """A run without disruption: from ``begin_s``, when the start is over, to ``last_s``, before the run's end.

    The begin is the same for every run: one that is found in the run itself throws busy starts away, and a p99 is then too low by
    up to 8 % (docs/decision.md). MSER-5 looks at what is left: ``stationary`` is 0 where it finds no steady state.
    """
    latency_s = outcomes.latency_s[: outcomes.arrived]
    warm_s = warm_up_s(outcomes.counts_s - begin_s, latency_s, last_s - begin_s)
    parts = (Part(begin_s, last_s),)
    values, failed = _of_units(outcomes, parts, "")
    values |= _of_resources(outcomes, deployment, parts)
    values["units_per_s"] = len(_window(outcomes, begin_s, last_s)) / (last_s - begin_s)
    values |= {"warm_up_s": begin_s, "stationary": float(warm_s < inf), "drift": _drift(outcomes, begin_s, last_s)}
    failures = _failures(outcomes, begin_s, last_s)
    return Replication(values, {"failed_share": failed}, outcomes.arrived, failures, outcomes.hazards)


def measure_disruption(
    outcomes: Outcomes, deployment: Deployment, parts: Sequence[Part], recovered: Part | None
) -> Replication:
    """A disrupted run: the units that count in ``parts``, which make up its window; measures that begin with
    ``recovered_`` are of the part in which all is to be well again.

    Raises ValueError where the trace ended before the disruption did.
    """
    if outcomes.window_s is None or outcomes.window_s[1] == inf:
        raise ValueError("the trace ended before the disruption did")
    begin_s, ready_s = outcomes.window_s
    values, failed = _of_units(outcomes, parts, "")
    counts = {"failed_share": failed}
    values |= _of_resources(outcomes, deployment, parts)
    values |= {"window_s": sum(part.stands_for_s for part in parts), "simulated_window_s": ready_s - begin_s}
    if recovered is not None:
        after, counts["recovered_failed_share"] = _of_units(outcomes, (recovered,), "recovered_")
        values |= after | _least_after(outcomes, recovered)
    return Replication(values, counts, outcomes.arrived, _failures(outcomes, begin_s, ready_s), outcomes.hazards)


def _least_after(outcomes: Outcomes, part: Part) -> dict[str, float]:
    """What the p99s after a disruption are at least: its units are a sample of a state that lasts."""
    window = _window(outcomes, part.begin_s, part.end_s)
    outcome, slow, latency_s = outcomes.outcome[window], outcomes.slow[window], outcomes.latency_s[window]
    kept = (outcome == Ending.OK) | (outcome == Ending.UNFINISHED)
    return {
        "recovered_fast_p99_least_s": _least_p99_s(latency_s[kept & ~slow]),
        "recovered_slow_p99_least_s": _least_p99_s(latency_s[kept & slow]),
    }


def measure(replications: Sequence[Replication], confidence: float = CONFIDENCE) -> dict[str, Estimate]:
    """Every measure over the replications, with its interval."""
    names = list(dict.fromkeys(name for replication in replications for name in replication.values))
    estimates = {
        name: mean_estimate(
            [replication.values.get(name, nan) for replication in replications], floor=0.0, confidence=confidence
        )
        for name in names
    }
    for name in dict.fromkeys(name for replication in replications for name in replication.counts):
        estimates[name] = share_estimate([replication.counts[name] for replication in replications], confidence)
    return estimates
