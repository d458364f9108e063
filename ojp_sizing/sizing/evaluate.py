"""Is a deployment shown to meet the objectives? Independent replications until the intervals say so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from numpy.random import SeedSequence, default_rng

from ojp_sizing.behaviour.transition import COMPILER
from ojp_sizing.demand.trace import sample_trace
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import Disruption, PodLoss, RollingUpdate, sample_pod_loss, sample_rolling_update
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.measure import RECOVERED_S, TAIL_S, Replication, measure, measure_replication
from ojp_sizing.measurement.objectives import (
    Judgement,
    Objectives,
    Situation,
    Verdict,
    judge_one,
    objectives_of,
    overall,
)
from ojp_sizing.simulation.simulate import Engine, simulate

#: A disruption begins this long after the start, by when the warm start has settled.
LEAD_S = 5.0
#: A steady run is at least this long, and long enough for this many slow units.
STEADY_S = 20.0
SLOW_UNITS = 1000
LONGEST_STEADY_S = 120.0
#: Replications: first look, first verdict, and the most before "undecided" is the answer.
FIRST, ENOUGH, MOST = 2, 5, 20
SITUATIONS = (Situation.STEADY, Situation.ROLLING_UPDATE, Situation.POD_LOST)


@dataclass(frozen=True, slots=True)
class Task:
    """One replication, complete in itself, so that any worker can run it and get the same."""

    workload: Workload
    rate: float
    deployment: Deployment
    situation: Situation
    recovery_s: float
    seed: int
    replication: int
    engine: Engine


@dataclass(frozen=True, slots=True)
class SituationResult:
    """Measures and judgements of one situation."""

    situation: Situation
    measures: dict[str, Estimate]
    judgements: tuple[Judgement, ...]
    replications: int
    units: int

    @property
    def verdict(self) -> Verdict:
        return overall(self.judgements)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A deployment and what its simulations showed. Situations that were not reached are missing."""

    deployment: Deployment
    results: dict[Situation, SituationResult] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        judgements = [judgement for result in self.results.values() for judgement in result.judgements]
        verdict = overall(judgements)
        return Verdict.UNDECIDED if verdict is Verdict.MET and len(self.results) < len(SITUATIONS) else verdict


def steady_duration_s(workload: Workload, rate: float) -> float:
    """Long enough for a p99 of the slow units, within bounds."""
    slow_share = sum(
        unit.share
        for unit in workload.units
        if not isinstance(unit.statements, int)
        and any(workload.lane_of(s) == "slow" for s in workload.statements if s.name in unit.statements)
    )
    drawn = sum(s.share for s in workload.statements if workload.lane_of(s) == "slow")
    slow_share += drawn * sum(unit.share for unit in workload.units if isinstance(unit.statements, int))
    wanted_s = SLOW_UNITS / (rate * slow_share) if slow_share > 0 else 0.0
    return min(LONGEST_STEADY_S, max(STEADY_S, wanted_s)) + LEAD_S + TAIL_S


def expected_end_s(disruption: Disruption) -> float:
    """When a disruption will be over, stops not counted."""
    if isinstance(disruption, PodLoss):
        return disruption.at_s + disruption.absent_s + disruption.ready_s
    if isinstance(disruption, RollingUpdate):
        return disruption.at_s + sum(disruption.restart_s) + sum(disruption.ready_s)
    return 0.0


def run_task(task: Task) -> Replication:
    """Sample, simulate, measure: one replication."""
    key = (list(Situation).index(task.situation), task.replication)
    trace_seed = SeedSequence(task.seed, spawn_key=(*key, 0))
    disruption_rng = default_rng(SeedSequence(task.seed, spawn_key=(*key, 1)))
    disruption: Disruption = None
    duration_s = steady_duration_s(task.workload, task.rate)
    if task.situation is Situation.POD_LOST:
        disruption = sample_pod_loss(task.deployment, LEAD_S, disruption_rng)
    elif task.situation is Situation.ROLLING_UPDATE:
        disruption = sample_rolling_update(task.deployment, LEAD_S, disruption_rng)
    stops_s = 0.0
    while True:
        if disruption is not None:
            duration_s = expected_end_s(disruption) + stops_s + task.recovery_s
        trace = sample_trace(task.workload, task.rate, duration_s, trace_seed)
        outcomes = simulate(trace, task.deployment, disruption, engine=task.engine, recovery_s=task.recovery_s)
        window_s = outcomes.window_s
        if window_s is None or window_s[1] + task.recovery_s <= duration_s:
            return measure_replication(outcomes, task.deployment, task.situation, task.recovery_s)
        # Running RPCs kept stopping pods alive, and the trace was too short; a longer one begins with the same units.
        stops_s = window_s[1] - expected_end_s(disruption) if window_s[1] < inf else 2 * stops_s + 5.0


@contextmanager
def workers(engine: Engine) -> Iterator[Executor]:
    """One worker per core: threads for the compiled clock, which leaves the GIL alone; processes for SimPy."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    compiled = engine == "compiled" or (engine == "auto" and COMPILER)
    pool: Executor = ThreadPoolExecutor(count) if compiled else ProcessPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def judge(measures: dict[str, Estimate], objectives: Objectives, situation: Situation) -> tuple[Judgement, ...]:
    """Every objective of the situation against its measure."""
    return tuple(
        judge_one(objective, measures[objective.measure]) for objective in objectives_of(objectives, situation)
    )


def clearly_over(replications: Sequence[Replication], objectives: Objectives, situation: Situation) -> bool:
    """A first look: some percentile is at least a quarter over its limit in every replication so far."""
    return any(
        all(replication.values.get(objective.measure, 0.0) > 1.25 * objective.limit for replication in replications)
        for objective in objectives_of(objectives, situation)
    )


Progress = Callable[[str, int], None]


def evaluate(
    demand: tuple[Workload, float],
    deployment: Deployment,
    objectives: Objectives,
    *,
    seed: int,
    engine: Engine,
    pool: Executor,
    progress: Progress = lambda what, replications: None,
    situations: Sequence[Situation] = SITUATIONS,
) -> Evaluation:
    """Simulate situation after situation until one is not met, or all are, or the most replications are used.

    A first look of two replications spares candidates that are far off the rest; every verdict that is shown for the
    answer itself rests on at least ``ENOUGH``.
    """
    results: dict[Situation, SituationResult] = {}
    for situation in situations:
        replications: list[Replication] = []
        target = FIRST
        while True:
            tasks = [
                Task(*demand, deployment, situation, objectives.recovery_s, seed, number, engine)
                for number in range(len(replications), target)
            ]
            for replication in pool.map(run_task, tasks):
                replications.append(replication)
                progress(situation.value, len(replications))
            measures = measure(replications)
            judgements = judge(measures, objectives, situation)
            over = target == FIRST and clearly_over(replications, objectives, situation)
            if target < ENOUGH and not over:
                target = ENOUGH
            elif over or target >= MOST or overall(judgements) is not Verdict.UNDECIDED:
                break
            else:
                target = min(MOST, 2 * target)
        results[situation] = SituationResult(
            situation, measures, judgements, len(replications), sum(replication.units for replication in replications)
        )
        if over or overall(judgements) is not Verdict.MET:
            break
    return Evaluation(deployment, results)


assert RECOVERED_S > TAIL_S  # noqa: S101 - recovery is judged on what lies between
