"""A closer look at one deployment: over demand, over numbers of pods, in a few runs, or second by second in one.

No verdict comes from here; the decision has its own runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf

from numpy.random import SeedSequence, default_rng

from ojp_sizing.bounds import Number, take_for
from ojp_sizing.demand.trace import stream_of
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import Disruption
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import Estimate, clopper_pearson, mean_estimate
from ojp_sizing.measurement.measure import measure, tail_of
from ojp_sizing.measurement.objectives import Objectives, Verdict, judge_one, objectives_of
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.simulation.simulate import clock_class, simulate
from ojp_sizing.sizing.evaluate import expected_end_s
from ojp_sizing.sizing.evidence import Bench, Evaluation, broken_by, busiest_of, result_of
from ojp_sizing.sizing.knobs import cut
from ojp_sizing.sizing.question import Execution, Question
from ojp_sizing.sizing.reach import least_impossible_rate
from ojp_sizing.sizing.recommendation import Judged
from ojp_sizing.sizing.resources import memory_of
from ojp_sizing.sizing.workers import workers_for
from ojp_sizing.theory.offered import LEAD_S, early_units

#: Parts of the asked rate at which a curve begins, and steps from there up to the rate that closed forms exclude.
PARTS, STEPS = (0.4, 0.6, 0.8, 1.0), 5
#: The cliff is looked for until it lies between two rates of this ratio.
CLIFF_RATIO = 1.06
#: What is looked at begins so long after the run does.
BEFORE_S = 10.0
_RUNS = Number(2, 1000, whole=True)


@dataclass(frozen=True, slots=True)
class DemandPoint:
    """Steady measures (as ``measurement.measure`` names them) at ``rate`` units of work per second."""

    rate: float
    measures: Mapping[str, Estimate]

    def verdict(self, objectives: Objectives) -> Verdict:
        """What the intervals alone say of the steady limits, the model's known error not in them."""
        asked = objectives_of(objectives, Situation.STEADY)
        found = {judge_one(one, self.measures[one.measure]).verdict for one in asked if one.measure in self.measures}
        if Verdict.NOT_MET in found:
            return Verdict.NOT_MET
        return Verdict.MET if found <= {Verdict.MET, Verdict.NOT_MEASURED} else Verdict.UNDECIDED


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """Of ``runs`` updates of a deployment, ``broken`` broke a limit (the model's known error in it)."""

    deployment: Deployment
    broken: int
    runs: int
    fast_p99_s: Estimate
    cost: float

    @property
    def share(self) -> Estimate:
        """The share of broken updates with its exact 95 % interval (Clopper and Pearson)."""
        return Estimate(self.broken / self.runs, *clopper_pearson(self.broken, self.runs), self.runs)


@dataclass(frozen=True, slots=True)
class Watched:
    """One run of a deployment through a situation, to be looked at second by second."""

    question: Question
    deployment: Deployment
    situation: Situation
    disruption: Disruption
    outcomes: Outcomes


@contextmanager
def _bench(question: Question, deployment: Deployment, execution: Execution | None) -> Iterator[Bench]:
    take_for(Question)(question, "question")
    execution = take_for(Execution | None)(execution, "execution") or Execution()
    question = replace(question, constants=deployment.constants, version=deployment.version)
    with workers_for(execution.engine, execution.workers, execution.scheduler) as pool:
        yield Bench(question, execution, pool)


def demand_points(
    question: Question,
    deployment: Deployment,
    rates: Sequence[float],
    execution: Execution | None = None,
    *,
    runs: int = 5,
) -> tuple[DemandPoint, ...]:
    """The steady situation at each of ``rates`` (units of work/s), by ``runs`` runs each (2 to 1000).

    Raises InputError for a rate or a number of runs out of bounds.
    """
    _RUNS.take(runs, "runs")
    with _bench(question, deployment, execution) as bench:
        return tuple(_demand_point(bench, deployment, rate, runs) for rate in rates)


def demand_curve(
    question: Question, deployment: Deployment, execution: Execution | None = None, *, runs: int = 5
) -> tuple[DemandPoint, ...]:
    """The steady situation from 40 % of the asked rate on until a limit is broken for certain: the cliff.

    The last rates lie on both sides of it, 6 % apart or less, unless closed forms exclude all that is more.
    """
    _RUNS.take(runs, "runs")
    with _bench(question, deployment, execution) as bench:
        limits = bench.question.objectives
        points = [_demand_point(bench, deployment, part * question.rate, runs) for part in PARTS]
        low = question.rate
        high = least_impossible_rate(bench.question, deployment) * 1.02
        step = (high / low) ** (1 / STEPS)
        while points[-1].verdict(limits) is not Verdict.NOT_MET and low < 0.999 * high:
            low *= step
            points.append(_demand_point(bench, deployment, low, runs))
        over = [point for point in points if point.verdict(limits) is Verdict.NOT_MET]
        while over:
            fails = min(point.rate for point in over)
            below = [point.rate for point in points if point.rate < fails]
            if not below or fails <= CLIFF_RATIO * max(below):
                break
            point = _demand_point(bench, deployment, (fails * max(below)) ** 0.5, runs)
            points.append(point)
            if point.verdict(limits) is Verdict.NOT_MET:
                over.append(point)
        return tuple(sorted(points, key=lambda point: point.rate))


def _demand_point(bench: Bench, deployment: Deployment, rate: float, runs: int) -> DemandPoint:
    there = replace(bench, question=replace(bench.question, rate=rate))
    wanted = [(Situation.STEADY, number) for number in range(runs)]
    return DemandPoint(there.question.rate, measure(list(there.run(deployment, wanted))))


def with_replicas(deployment: Deployment, replicas: int) -> Deployment:
    """The same with another number of pods, each with as many connections as before where a pool can be so divided."""
    return replace(deployment, replicas=replicas, pool=cut(deployment, replicas, deployment.pool_per_pod))


def risk_points(
    question: Question, deployments: Sequence[Deployment], execution: Execution | None = None, *, updates: int = 20
) -> tuple[RiskPoint, ...]:
    """Each deployment through ``updates`` rolling updates (2 to 1000): how many of them break a limit."""
    _RUNS.take(updates, "updates")
    points = []
    for deployment in deployments:
        with _bench(question, deployment, execution) as bench:
            update = Situation.ROLLING_UPDATE
            runs = list(bench.run(deployment, [(update, number) for number in range(updates)]))
            broken = sum(bool(broken_by(bench, deployment, update, run)) for run in runs)
            p99_s = mean_estimate([run.value("fast_p99_s") for run in runs], floor=0.0)
            points.append(RiskPoint(deployment, broken, updates, p99_s, bench.question.cost(deployment)))
    return tuple(points)


def look(question: Question, deployment: Deployment, execution: Execution | None = None, *, runs: int = 3) -> Judged:
    """A few runs of each situation (2 to 1000): what they measure, and no verdict but "not met" or "undecided".

    For moving a slider; ``check`` judges.
    """
    _RUNS.take(runs, "runs")
    with _bench(question, deployment, execution) as bench:
        situations = bench.question.situations
        wanted = [(situation, number) for situation in situations for number in range(runs)]
        found = list(bench.run(deployment, wanted))
        by_situation = {s: found[i * runs : (i + 1) * runs] for i, s in enumerate(situations)}
        steady = Situation.STEADY
        at_peak = {steady: result_of(bench, deployment, steady, by_situation[steady], None)}
        use = busiest_of(Evaluation(deployment, situations, at_peak))
        results = {s: result_of(bench, deployment, s, some, use) for s, some in by_situation.items()}
        evaluation = Evaluation(deployment, situations, results, explored=True)
        return Judged(bench.question, bench.execution, clock_class(bench.execution.engine).name, evaluation)


def watch(
    question: Question,
    deployment: Deployment,
    situation: Situation = Situation.ROLLING_UPDATE,
    execution: Execution | None = None,
    *,
    after_s: float = 30.0,
    follow: int | None = None,
) -> Watched:
    """One whole run through a situation that begins after some seconds, and ``after_s`` of what comes after it.

    ``follow``: the number of a unit whose steps are wanted, too (see ``simulate``).

    A deployment that states no memory limit gets the one that a sizing would give it.
    """
    execution = execution or Execution()
    deployment = replace(deployment)
    if deployment.memory_limit_bytes == inf:
        deployment = replace(deployment, memory_limit_bytes=memory_of(question.workload, deployment).limit)
    seed = SeedSequence(execution.seed, spawn_key=(situation.seed_key, 0))
    early = early_units(question.workload)
    begin_s = early.until_s + max(LEAD_S, BEFORE_S)
    disruption = situation.sample(deployment, begin_s, default_rng(seed.spawn(1)[0]))
    tail_s = tail_of(question.objectives, situation)
    end_s = expected_end_s(disruption) if disruption is not None else begin_s
    demand = stream_of(
        question.workload, question.rate, end_s + after_s + tail_s, seed, goes_on=disruption is not None, early=early
    )
    outcomes = simulate(
        demand, deployment, disruption, engine=execution.engine, recovery_s=after_s, tail_s=tail_s, follow=follow
    )
    return Watched(question, deployment, situation, disruption, outcomes)
