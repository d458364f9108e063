"""From outcomes to measures: percentiles, failed shares and use of every resource, per replication and over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.world import ENDINGS, OK, UNFINISHED
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.measurement.intervals import Estimate, mean_estimate, share_estimate
from ojp_sizing.measurement.objectives import Objectives, Situation
from ojp_sizing.measurement.warmup import warm_up_s
from ojp_sizing.simulation.outcomes import Hazard, Outcomes

#: The least time that a run goes on after the last unit that is measured.
LEAST_TAIL_S = 2.0
#: Recovery is judged on the units that arrive in so many seconds before half of the recovery time is over:
#: stricter than asked, and every run ends that much earlier.
RECOVERED_S = 20.0
PERCENTILES = (50, 95, 99)


def tail_of(objectives: Objectives) -> float:
    """How long a run goes on after the last unit that is measured: a unit within its limit must be able to end."""
    return max(LEAST_TAIL_S, objectives.slow_p99_s * objectives.disruption_factor)


def run_on_s(recovery_s: float, tail_s: float) -> float:
    """How long a run goes on after a disruption."""
    return recovery_s / 2 + tail_s


@dataclass(frozen=True, slots=True)
class Replication:
    """What one run gives: plain measures by name, the counts behind its shares ``(hits, total)``, how units failed in the
    window, and the traps of OJP that the run met.
    """

    values: Mapping[str, float]
    counts: Mapping[str, tuple[int, int]]
    units: int
    failures: Mapping[str, int]
    hazards: tuple[Hazard, ...]


def _percentiles(latency_s: NDArray[np.float64], name: str) -> dict[str, float]:
    if len(latency_s) == 0:
        return {f"{name}_p{p}_s": nan for p in PERCENTILES}
    # 'higher': an observed latency, never a mean of one with an unfinished unit's infinity.
    found = np.percentile(latency_s, PERCENTILES, method="higher")
    return {f"{name}_p{p}_s": float(value) for p, value in zip(PERCENTILES, found, strict=True)}


def _window(outcomes: Outcomes, begin_s: float, end_s: float) -> slice:
    """The units that are due in [begin, end)."""
    first, last = np.searchsorted(outcomes.arrival_s, (begin_s, end_s))
    return slice(int(first), int(min(last, outcomes.arrived)))


def _failures(outcomes: Outcomes, begin_s: float, end_s: float) -> dict[str, int]:
    """How many units that arrive in a window end in each way but well, the most frequent first."""
    outcome = outcomes.outcome[_window(outcomes, begin_s, end_s)]
    counts = np.bincount(outcome[outcome > OK], minlength=len(ENDINGS))
    return {ENDINGS[ending]: int(counts[ending]) for ending in np.argsort(-counts, kind="stable") if counts[ending]}


def _of_units(
    outcomes: Outcomes, begin_s: float, end_s: float, prefix: str
) -> tuple[dict[str, float], tuple[int, int]]:
    """Latency percentiles of the units that arrive in a window and don't fail, and how many fail."""
    window = _window(outcomes, begin_s, end_s)
    outcome, slow = outcomes.outcome[window], outcomes.slow[window]
    latency_s = outcomes.latency_s[window]
    kept = (outcome == OK) | (outcome == UNFINISHED)
    values = {
        **_percentiles(latency_s[kept & ~slow], f"{prefix}fast"),
        **_percentiles(latency_s[kept & slow], f"{prefix}slow"),
    }
    return values, (int((~kept).sum()), len(outcome))


def _drift(outcomes: Outcomes, begin_s: float, end_s: float) -> float:
    """Mean latency of the units that arrive in the second half of a window over that of the first; inf for a growing queue."""
    first, middle, last = np.searchsorted(outcomes.arrival_s, (begin_s, (begin_s + end_s) / 2, end_s))
    early, late = outcomes.latency_s[first:middle], outcomes.latency_s[middle:last]
    if len(early) == 0 or len(late) == 0:
        return nan
    return float(np.mean(late) / np.mean(early)) if np.isfinite(np.mean(early)) else inf


def _of_resources(outcomes: Outcomes, deployment: Deployment, begin_s: float, end_s: float) -> dict[str, float]:
    """Use of threads, slots, connections and CPU between two samples: mean over pods and time, and the worst second."""
    times = outcomes.sample_s
    first, last = np.searchsorted(times, (begin_s, end_s), side="left")
    first, last = int(first), int(min(last, len(times) - 1))
    if last <= first:
        return {}
    pods, stations = outcomes.samples["pods"], outcomes.samples["stations"]
    elapsed_s = times[last] - times[first]
    steps_s = np.diff(times[first : last + 1])[:, None]
    fast_slots, slow_slots = deployment.slots_per_pod
    per_pod = {
        "threads": ("thread_s", deployment.server.thread_pool_size),
        "connections": ("connection_s", deployment.pool_per_pod),
        "fast_slots": ("fast_slot_s", fast_slots),
        "slow_slots": ("slow_slot_s", slow_slots),
    }
    values: dict[str, float] = {}
    for name, (field, size) in per_pod.items():
        busy = np.diff(pods[field][first : last + 1], axis=0) / steps_s
        values[f"{name}_use"] = float((busy * steps_s).sum() / elapsed_s / deployment.replicas / max(1, size))
        values[f"{name}_peak"] = float(busy.max())
    cpu = np.diff(stations["busy_s"][first : last + 1], axis=0) / steps_s
    pod_cpu, database = cpu[:, :-1], cpu[:, -1]
    values["cpu_cores"] = float((pod_cpu * steps_s).sum() / elapsed_s / deployment.replicas)
    values["cpu_use"] = values["cpu_cores"] / deployment.limit_cores
    values["cpu_peak_cores"] = float(pod_cpu.max())
    throttled_s = np.diff(stations["throttled_s"][[first, last], :-1], axis=0)
    values["cpu_throttled_share"] = float(throttled_s.sum() / elapsed_s / deployment.replicas)
    values["database_cores"] = float((database[:, None] * steps_s).sum() / elapsed_s)
    values["database_use"] = values["database_cores"] / deployment.database.cores
    values["executor_queue"] = float((np.diff(pods["queue_s"][[first, last]], axis=0)).sum() / elapsed_s)
    values["memory_kills"] = float(pods["kills"][last].sum())
    values["inside_peak"] = float(pods["inside_peak"][last].max())
    attempts = outcomes.attempts[_window(outcomes, begin_s, end_s)]
    values["attempts_per_unit"] = float(attempts.mean()) if len(attempts) else nan
    values["open_connections"] = float(outcomes.samples["state"]["connections_peak"][last].max())
    return values


def measure_replication(
    outcomes: Outcomes, deployment: Deployment, situation: Situation, recovery_s: float, tail_s: float
) -> Replication:
    """One run's measures.

    Steady: from the end of the warm-up (MSER-5) to ``tail_s`` before the end. A disruption: units that arrive in
    its window; measures that begin with ``recovered_`` are of ``RECOVERED_S`` at half the recovery time.
    """
    if situation is Situation.STEADY:
        # The end is cut first, so that units in flight there don't look like a drift.
        last_s = outcomes.end_s - tail_s
        warm_s = warm_up_s(outcomes.arrival_s[: outcomes.arrived], outcomes.latency_s[: outcomes.arrived], last_s)
        begin_s = warm_s if warm_s < inf else last_s / 2
        values, failed = _of_units(outcomes, begin_s, last_s, "")
        values |= _of_resources(outcomes, deployment, begin_s, last_s)
        values |= {"warm_up_s": begin_s, "stationary": float(warm_s < inf), "drift": _drift(outcomes, begin_s, last_s)}
        failures = _failures(outcomes, begin_s, last_s)
        return Replication(values, {"failed_share": failed}, failed[1], failures, outcomes.hazards)
    if outcomes.window_s is None or outcomes.window_s[1] == inf:
        raise ValueError("the trace ended before the disruption did")
    begin_s, ready_s = outcomes.window_s
    values, failed = _of_units(outcomes, begin_s, ready_s, "")
    values |= _of_resources(outcomes, deployment, begin_s, ready_s)
    back_s = ready_s + recovery_s / 2
    recovered, recovered_failed = _of_units(outcomes, max(ready_s, back_s - RECOVERED_S), back_s, "recovered_")
    values |= recovered | {"window_s": ready_s - begin_s}
    counts = {"failed_share": failed, "recovered_failed_share": recovered_failed}
    return Replication(values, counts, outcomes.arrived, _failures(outcomes, begin_s, ready_s), outcomes.hazards)


def measure(replications: Sequence[Replication]) -> dict[str, Estimate]:
    """Every measure over the replications, with its interval."""
    names = list(dict.fromkeys(name for replication in replications for name in replication.values))
    estimates = {
        name: mean_estimate([replication.values.get(name, nan) for replication in replications], floor=0.0)
        for name in names
    }
    for name in dict.fromkeys(name for replication in replications for name in replication.counts):
        counts = [replication.counts[name] for replication in replications]
        estimates[name] = share_estimate([hits for hits, _ in counts], [total for _, total in counts])
    return estimates
