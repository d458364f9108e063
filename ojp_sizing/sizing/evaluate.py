"""Is a deployment shown to meet the objectives? Independent replications until the intervals say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from numpy.random import Generator, SeedSequence, default_rng

from ojp_sizing.demand.trace import sample_trace
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import (
    DatabaseTrouble,
    Disruption,
    RollingUpdate,
    parts_of,
    sample_node_loss,
    sample_pod_loss,
    sample_pod_stop,
    sample_rolling_update,
    sample_two_losses,
)
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.measure import Replication, measure, measure_replication, run_on_s, tail_of
from ojp_sizing.measurement.objectives import (
    Judgement,
    Objectives,
    Situation,
    Verdict,
    judge_one,
    objectives_of,
    overall,
)
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.outcomes import HAZARD_NAMES
from ojp_sizing.simulation.simulate import Engine, simulate
from ojp_sizing.sizing.resources import memory_of
from ojp_sizing.sizing.workers import Workers

#: A disruption begins this long after the start, by when the warm start has settled.
LEAD_S = 5.0
#: What is allowed for each stop of a pod at first.
STOP_S = 4.0
#: A steady run is at least this long, and long enough for this many slow units.
STEADY_S = 20.0
SLOW_UNITS = 1000
LONGEST_STEADY_S = 120.0
#: Replications: a first look, the fewest behind a verdict, and the steps to the most before "undecided" is the answer.
FIRST, ENOUGH, STEPS = 2, 3, (5, 10)
#: At steady peak the mean latency of a run's second half may be so many times that of its first.
MOST_DRIFT = 1.5
#: An interval is about so many times as wide at the next step (Student's quantile over the root of n: 3, 5, 10).
NEXT_INTERVAL = 0.58
#: Steps of a scout: pods of the update, and the replications from and to.
SCOUTS = ((1, 0, 2), (2, 0, 2), (2, 2, 4))
#: A scout passes below this part of the limit.
SCOUT_MARGIN = 0.85
#: In what every deployment is judged; the longest first, so that workers end together.
SITUATIONS = (Situation.ROLLING_UPDATE, Situation.POD_LOST, Situation.STEADY)


def situations_with(also: Sequence[Situation]) -> tuple[Situation, ...]:
    """Those in which every deployment is judged, and others that are asked for."""
    return tuple(dict.fromkeys((*SITUATIONS, *also)))


@dataclass(frozen=True, slots=True)
class Task:
    """One replication, complete in itself, so that any worker can run it and get the same."""

    workload: Workload
    rate: float
    deployment: Deployment
    situation: Situation
    recovery_s: float
    tail_s: float
    seed: int
    replication: int
    engine: Engine
    pods: int = 0
    """Of a rolling update, only the first so many pods; 0: all."""
    checked: bool | None = None
    """Whether the model's laws are held against it as it goes; None: as ``Clock.checked`` says where it is run."""


@dataclass(frozen=True, slots=True)
class HazardMet:
    """A trap of OJP over the runs of a situation: in how many of them, how often in all, and its earliest instant."""

    name: str
    runs: int
    count: int
    first_s: float


@dataclass(frozen=True, slots=True)
class SituationResult:
    """Measures and judgements of one situation."""

    situation: Situation
    measures: dict[str, Estimate]
    judgements: tuple[Judgement, ...]
    replications: int
    units: int
    failures: Mapping[str, int]
    hazards: tuple[HazardMet, ...]

    @property
    def verdict(self) -> Verdict:
        """By the objectives; steady peak is undecided at best where the latency still grew during the runs."""
        verdict = overall(self.judgements)
        drifts = "drift" in self.measures and self.measures["drift"].value > MOST_DRIFT
        return Verdict.UNDECIDED if drifts and verdict is Verdict.MET else verdict


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A deployment and what its simulations showed. Situations that were not reached are missing."""

    deployment: Deployment
    situations: tuple[Situation, ...]
    results: dict[Situation, SituationResult] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        verdicts = {result.verdict for result in self.results.values()}
        if Verdict.NOT_MET in verdicts:
            return Verdict.NOT_MET
        verdict = Verdict.UNDECIDED if Verdict.UNDECIDED in verdicts else Verdict.MET
        return Verdict.UNDECIDED if verdict is Verdict.MET and len(self.results) < len(self.situations) else verdict


def steady_duration_s(workload: Workload, rate: float, tail_s: float) -> float:
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
    return min(LONGEST_STEADY_S, max(STEADY_S, wanted_s)) + LEAD_S + tail_s


def expected_end_s(disruption: Disruption) -> float:
    """When a disruption will be over, stops not counted."""
    end_s = 0.0
    for part in parts_of(disruption):
        if isinstance(part, RollingUpdate):
            last = len(part.restart_s) - part.pods
            lasts_s = sum(part.restart_s[last:]) + sum(part.ready_s[last:])
        elif isinstance(part, DatabaseTrouble):
            lasts_s = part.for_s
        else:
            lasts_s = part.absent_s + part.ready_s
        end_s = max(end_s, part.at_s + lasts_s)
    return end_s


def sample_disruption(situation: Situation, deployment: Deployment, rng: Generator) -> Disruption:
    """The disruption of a situation, ``LEAD_S`` after the start."""
    constants = deployment.constants
    trouble = DatabaseTrouble(LEAD_S, constants.database_trouble_s)
    match situation:
        case Situation.POD_LOST:
            return sample_pod_loss(deployment, LEAD_S, rng)
        case Situation.ROLLING_UPDATE:
            return sample_rolling_update(deployment, LEAD_S, rng)
        case Situation.POD_STOPPED:
            return sample_pod_stop(deployment, LEAD_S, rng)
        case Situation.NODE_LOST:
            return sample_node_loss(deployment, LEAD_S, rng)
        case Situation.TWO_LOST:
            return sample_two_losses(deployment, LEAD_S, rng)
        case Situation.DATABASE_SLOW:
            return replace(trouble, slowdown=constants.database_slowdown)
        case Situation.DATABASE_FULL:
            return replace(trouble, full=True)
        case _:
            return None


def run_task(task: Task) -> Replication:
    """Sample, simulate, measure: one replication.

    A deployment that states no memory limit runs with the one that it would be given.
    """
    deployment = task.deployment
    if deployment.memory_limit_bytes == inf:
        deployment = replace(deployment, memory_limit_bytes=memory_of(task.workload, deployment).limit)
    key = (list(Situation).index(task.situation), task.replication)
    trace_seed = SeedSequence(task.seed, spawn_key=(*key, 0))
    disruption_rng = default_rng(SeedSequence(task.seed, spawn_key=(*key, 1)))
    duration_s = steady_duration_s(task.workload, task.rate, task.tail_s)
    disruption = sample_disruption(task.situation, task.deployment, disruption_rng)
    if isinstance(disruption, RollingUpdate) and task.pods:
        disruption = replace(disruption, pods=min(task.pods, disruption.pods))
    # A stop lasts as long as the longest RPC inside; a longer trace costs nothing, since the run ends by itself.
    stops_s = STOP_S * task.deployment.replicas
    after_s = run_on_s(task.recovery_s, task.tail_s)
    while True:
        if disruption is not None:
            duration_s = expected_end_s(disruption) + stops_s + after_s
        trace = sample_trace(task.workload, task.rate, duration_s, trace_seed)
        outcomes = simulate(trace, deployment, disruption, engine=task.engine, recovery_s=after_s, checked=task.checked)
        window_s = outcomes.window_s
        if window_s is None or window_s[1] + after_s <= duration_s:
            return measure_replication(outcomes, task.deployment, task.situation, task.recovery_s, task.tail_s)
        # Running RPCs kept stopping pods alive, and the trace was too short; a longer one begins with the same units.
        stops_s = window_s[1] - expected_end_s(disruption) if window_s[1] < inf else 2 * stops_s + 5.0


def judge(measures: dict[str, Estimate], objectives: Objectives, situation: Situation) -> tuple[Judgement, ...]:
    """Every objective of the situation against its measure."""
    return tuple(
        judge_one(objective, measures[objective.measure]) for objective in objectives_of(objectives, situation)
    )


Progress = Callable[[str], None]


def _silent(what: str) -> None:
    pass


Runs = dict[Situation, list[Replication]]


@dataclass(frozen=True, slots=True)
class Bench:
    """What every simulation of one sizing shares: demand, objectives, seed, engine and workers."""

    workload: Workload
    rate: float
    objectives: Objectives
    seed: int
    engine: Engine
    pool: Workers
    situations: tuple[Situation, ...] = SITUATIONS
    progress: Progress = _silent

    def run(
        self, deployment: Deployment, wanted: Sequence[tuple[Situation, int]], *, pods: int = 0
    ) -> list[Replication]:
        """The wanted replications, by situation and number, in the order asked whatever the workers do.

        ``pods``: a scout's look at so many pods of an update, without the recovery.
        """
        recovery_s = 0.0 if pods else self.objectives.recovery_s
        tail_s = tail_of(self.objectives)
        tasks = [
            Task(
                self.workload,
                self.rate,
                deployment,
                situation,
                recovery_s,
                tail_s,
                self.seed,
                number,
                self.engine,
                pods,
                Clock.checked,
            )
            for situation, number in wanted
        ]
        done: list[Replication] = []
        for task, replication in zip(tasks, self.pool.map(run_task, tasks), strict=True):
            done.append(replication)
            self.progress(f"{'scouting' if pods else task.situation.value} {task.replication + 1}")
        return done


def _over(judgements: Sequence[Judgement], margin: float = 1.0) -> tuple[Judgement, ...]:
    """Those whose very estimate is over so much of the limit: more replications would hardly show that it is met."""
    return tuple(j for j in judgements if j.estimate.value > margin * j.objective.limit)


@dataclass(frozen=True, slots=True)
class Scouting:
    """A first look: what turns a deployment away, if anything, its busiest pod's CPU, its throttling, and how many runs."""

    over: tuple[Judgement, ...]
    cpu_peak_cores: float
    cpu_throttled_share: float
    replications: int


def scout(bench: Bench, deployment: Deployment) -> Scouting:
    """A first look at the hardest thing: the first pod of a rolling update, then the first two.

    The second is stopped while clients may still miss the first. The window is like a part of the whole update, and so
    is the p99 over it. What comes too near the limit is turned away too: it could be shown to do only with very many
    replications, if at all.
    """
    situation = Situation.ROLLING_UPDATE
    replications: list[Replication] = []
    for pods, first, last in SCOUTS:
        wanted = [(situation, number) for number in range(first, last)]
        replications = replications[:first] + bench.run(deployment, wanted, pods=pods)
        measures = measure(replications)
        judged = judge(measures, bench.objectives, situation)
        over = _over([j for j in judged if not j.objective.measure.startswith("recovered")], SCOUT_MARGIN)
        if any(j.estimate.value > 1.25 * j.objective.limit for j in over):
            break
    cpu_peak_cores, throttled = measures["cpu_peak_cores"].value, measures["cpu_throttled_share"].value
    return Scouting(over, cpu_peak_cores, throttled, len(replications))


def _result(bench: Bench, situation: Situation, replications: Sequence[Replication]) -> SituationResult:
    measures = measure(replications)
    units = sum(replication.units for replication in replications)
    judgements = judge(measures, bench.objectives, situation)
    failures: Counter[str] = Counter()
    for replication in replications:
        failures.update(replication.failures)
    return SituationResult(
        situation,
        measures,
        judgements,
        len(replications),
        units,
        dict(failures.most_common()),
        hazards_met(replications),
    )


def hazards_met(replications: Sequence[Replication]) -> tuple[HazardMet, ...]:
    """The traps that any run met, in the order of their table."""
    met: dict[str, HazardMet] = {}
    for replication in replications:
        for hazard in replication.hazards:
            before = met.get(hazard.name, HazardMet(hazard.name, 0, 0, inf))
            first_s = min(before.first_s, hazard.first_s)
            met[hazard.name] = HazardMet(hazard.name, before.runs + 1, before.count + hazard.count, first_s)
    return tuple(met[name] for name in HAZARD_NAMES if name in met)


def _promising(result: SituationResult) -> bool:
    """Whether the next step of replications would probably show what is undecided."""
    return all(
        j.estimate.value + (j.estimate.high - j.estimate.value) * NEXT_INTERVAL <= j.objective.limit
        for j in result.judgements
        if j.verdict is Verdict.UNDECIDED
    )


def evaluate(bench: Bench, deployment: Deployment, *, thorough: bool = False) -> Evaluation:
    """Replications of every situation until the verdicts are clear, or more of them would hardly help.

    It begins with the rolling update, where most candidates fail, and ends there where one does; ``thorough`` goes on to
    the other situations and to the last step. A verdict of "met" rests on ``ENOUGH`` replications.
    """
    situations = bench.situations
    runs: Runs = {situation: [] for situation in situations}
    plans: tuple[dict[Situation, int], ...] = (
        {situations[0]: FIRST},
        dict.fromkeys(situations, ENOUGH),
        *(dict.fromkeys(situations, step) for step in STEPS),
    )
    results: dict[Situation, SituationResult] = {}
    for plan in plans:
        # The later plans are for what is still undecided.
        wanted = [
            (situation, number)
            for situation, target in plan.items()
            if target <= ENOUGH or results[situation].verdict is Verdict.UNDECIDED
            for number in range(len(runs[situation]), target)
        ]
        if not wanted:
            break
        for (situation, _), replication in zip(wanted, bench.run(deployment, wanted), strict=True):
            runs[situation].append(replication)
        results = {situation: _result(bench, situation, done) for situation, done in runs.items() if done}
        settled = [result for result in results.values() if result.replications >= ENOUGH]
        hopeless = any(_over(result.judgements) for result in results.values()) or not all(map(_promising, settled))
        if hopeless and not thorough:
            break
    return Evaluation(deployment, situations, results)
