"""Is a deployment shown to meet the objectives? Independent replications until the intervals say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from numpy.random import Generator, SeedSequence, default_rng

from ojp_sizing.demand.trace import stream_of
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
from ojp_sizing.measurement.intervals import Estimate, half_width
from ojp_sizing.measurement.measure import (
    Part,
    Replication,
    measure,
    measure_disruption,
    measure_steady,
    tail_of,
)
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
from ojp_sizing.sizing.abridge import (
    Transients,
    abridged,
    can_be_abridged,
    is_calm,
    parts_of_run,
    transients_of,
    unseen_connections,
)
from ojp_sizing.sizing.resources import memory_of
from ojp_sizing.sizing.workers import Workers

#: A disruption begins this long after the start, by when the warm start has settled.
LEAD_S = 2.0
#: What is allowed for each stop of a pod at first: callers inside may wait their 10 s for connections of others, who can't
#: give them back to a pod that stops.
STOP_S = 12.0


@dataclass(frozen=True, slots=True)
class Span:
    """How long something is measured: until so many slow units came, within bounds."""

    slow_units: int
    least_s: float
    most_s: float

    def seconds(self, workload: Workload, rate: float) -> float:
        """Its length at this rate of units per second."""
        slow_rate = rate * slow_share(workload)
        return min(self.most_s, max(self.least_s, self.slow_units / slow_rate if slow_rate > 0 else 0.0))


STEADY_SPAN = Span(600, 5.0, 120.0)
#: The quiet rest of an absence, and the time after a disruption in which all is to be well again.
QUIET_SPAN, RECOVERED_SPAN = Span(300, 3.0, 20.0), Span(400, 4.0, 20.0)
#: Replications: of a first look, the fewest behind a verdict, and the steps to the most before "undecided" is the answer.
FIRST, ENOUGH, STEPS = 2, 3, (5, 10)
#: At steady peak the mean latency of a run's second half may be so many times that of its first.
MOST_DRIFT = 1.5
#: The first look passes below this part of a limit, and is over where the first run has so much of one.
FIRST_LOOK_MARGIN, CLEAR_MISS = 0.85, 1.25
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
    objectives: Objectives
    seed: int
    replication: int
    engine: Engine
    first_look: bool = False
    """Only the first pod of a rolling update, without what comes after it."""
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


def slow_share(workload: Workload) -> float:
    """Which share of the units have a slow statement, at least on the mean."""
    slow = {statement.name for statement in workload.statements if workload.lane_of(statement) == "slow"}
    drawn = sum(statement.share for statement in workload.statements if statement.name in slow)
    return sum(
        unit.share * (drawn if isinstance(unit.statements, int) else float(not slow.isdisjoint(unit.statements)))
        for unit in workload.units
    )


def expected_end_s(disruption: Disruption) -> float:
    """When a disruption will be over, stops not counted."""
    end_s = 0.0
    for part in parts_of(disruption):
        if isinstance(part, RollingUpdate):
            lasts_s = part.lasts_s()
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

    A deployment that states no memory limit runs with the one that it would be given. A disruption is abridged where that
    may be done; where the database's connections would not last for the whole of it, the whole is simulated. Recovery is
    looked at as soon as all may be well; where it isn't yet, at half of the allowed time, which is still stricter than asked.
    """
    deployment = task.deployment
    if deployment.memory_limit_bytes == inf:
        deployment = replace(deployment, memory_limit_bytes=memory_of(task.workload, deployment).limit)
    key = (task.situation.seed_key, task.replication)
    trace_seed = SeedSequence(task.seed, spawn_key=(*key, 0))
    whole = sample_disruption(task.situation, deployment, default_rng(SeedSequence(task.seed, spawn_key=(*key, 1))))
    if whole is None:
        tail_s = tail_of(task.objectives, task.situation)
        last_s = LEAD_S + STEADY_SPAN.seconds(task.workload, task.rate)
        demand = stream_of(task.workload, task.rate, last_s + tail_s, trace_seed)
        outcomes = simulate(demand, deployment, engine=task.engine, tail_s=tail_s, checked=task.checked)
        return measure_steady(outcomes, deployment, last_s)
    run = DisruptedRun(task, deployment, whole, trace_seed)
    if not can_be_abridged(task.workload):
        return run.replication(whole, run.late_s)[0]
    quiet_s = QUIET_SPAN.seconds(task.workload, task.rate)
    if task.first_look:
        return run.replication(abridged(whole, run.transients, quiet_s, 1), None)[0]
    short = abridged(whole, run.transients, quiet_s)
    replication, can_stand = run.replication(short, run.early_s)
    if not can_stand and short != whole and _is_within(replication, task.objectives, ("fast", "slow", "failed")):
        short = whole
        replication, _ = run.replication(short, run.early_s)
    if run.early_s < run.late_s and not _is_within(replication, task.objectives, ("recovered",)):
        replication, _ = run.replication(short, run.late_s)
    return replication


def _is_within(replication: Replication, objectives: Objectives, prefixes: tuple[str, ...]) -> bool:
    """Whether what this one run says of measures that begin so is within their limits."""
    return all(
        not replication.value(objective.measure) > objective.limit
        for objective in objectives_of(objectives, Situation.ROLLING_UPDATE)
        if objective.measure.startswith(prefixes)
    )


@dataclass(frozen=True, slots=True)
class DisruptedRun:
    """A task's disruption, to be simulated whole or in part."""

    task: Task
    deployment: Deployment
    whole: Disruption
    trace_seed: SeedSequence

    @property
    def transients(self) -> Transients:
        """How long the loud parts last."""
        return transients_of(self.deployment, self.task.workload, self.task.rate)

    @property
    def late_s(self) -> float:
        """Half of the recovery time, less the time for which is measured."""
        return max(0.0, self.task.objectives.recovery_s / 2 - self._recovered_s)

    @property
    def early_s(self) -> float:
        """When all may be well again after the last pod is back, but at most ``late_s``."""
        return min(self.late_s, self.transients.back_s)

    @property
    def _recovered_s(self) -> float:
        return RECOVERED_SPAN.seconds(self.task.workload, self.task.rate)

    def replication(self, disruption: Disruption, back_s: float | None) -> tuple[Replication, bool]:
        """Simulate this in place of the whole: what it measures, and whether it can stand for the whole.

        Recovery is measured from ``back_s`` after its end (None: not at all), or later while a breaker is open.
        """
        task = self.task
        tail_s = tail_of(task.objectives, task.situation)
        recovered_s = 0.0 if back_s is None else self._recovered_s
        well_within_s = (0.0, 0.0) if back_s is None else (back_s, self.late_s)
        # How long it lasts says what part of a day or of a recording is looked at. A stop lasts as long as the longest RPC
        # inside.
        stops_s = STOP_S * (disruption.pods if isinstance(disruption, RollingUpdate) else 1)
        duration_s = expected_end_s(disruption) + stops_s + well_within_s[1] + recovered_s + tail_s
        while True:
            demand = stream_of(task.workload, task.rate, duration_s, self.trace_seed, goes_on=True)
            outcomes = simulate(
                demand,
                self.deployment,
                disruption,
                engine=task.engine,
                recovery_s=recovered_s,
                tail_s=tail_s,
                well_within_s=well_within_s,
                checked=task.checked,
            )
            last_s = outcomes.well_s + recovered_s + tail_s
            if last_s <= demand.head.duration_s:
                break
            # Only a recording ends before the run does: another part of it, then, of more than that length.
            duration_s = demand.head.duration_s + 5.0 if last_s == inf else last_s
        recovered = None if back_s is None else Part(outcomes.well_s, outcomes.well_s + recovered_s)
        parts = parts_of_run(outcomes, self.whole, disruption, self.transients)
        replication = measure_disruption(outcomes, self.deployment, parts, recovered)
        open_connections = replication.values["open_connections"] + unseen_connections(outcomes, self.whole, disruption)
        replication = replace(replication, values={**replication.values, "open_connections": open_connections})
        can_stand = not isinstance(self.whole, RollingUpdate) or is_calm(outcomes, self.deployment)
        return replication, can_stand and open_connections <= self.deployment.database.max_connections


def judge(measures: dict[str, Estimate], objectives: Objectives, situation: Situation) -> tuple[Judgement, ...]:
    """Every objective of the situation against its measure; a first look has measured none of what comes after."""
    return tuple(
        judge_one(objective, measures[objective.measure])
        for objective in objectives_of(objectives, situation)
        if objective.measure in measures
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
        self, deployment: Deployment, wanted: Sequence[tuple[Situation, int]], *, first_look: bool = False
    ) -> Iterator[Replication]:
        """The wanted replications, by situation and number, in the order asked whatever the workers do."""
        tasks = [
            Task(
                self.workload, self.rate, deployment, situation, self.objectives, self.seed, number, self.engine, first_look,
                Clock.checked,
            )
            for situation, number in wanted
        ]  # fmt: skip
        for task, replication in zip(tasks, self.pool.map(run_task, tasks), strict=True):
            self.progress(f"{'first look' if first_look else task.situation.value} {task.replication + 1}")
            yield replication


def _over(judgements: Sequence[Judgement], margin: float = 1.0) -> tuple[Judgement, ...]:
    """Those whose very estimate is over so much of the limit: more replications would hardly show that it is met."""
    return tuple(j for j in judgements if j.estimate.value > margin * j.objective.limit)


def first_look(bench: Bench, deployment: Deployment) -> SituationResult:
    """The hardest thing first, and as little of it as can tell: the first pod of a rolling update.

    Its judgements are those that turn a deployment away. What comes too near the limit is turned away too: the update's
    later pods are harder still, and with many replications at best it could be shown to do.
    """
    situation = Situation.ROLLING_UPDATE
    replications: list[Replication] = []
    for number in range(FIRST):
        replications += bench.run(deployment, [(situation, number)], first_look=True)
        result = _result(bench, situation, replications)
        if _over(result.judgements, CLEAR_MISS):
            break
    return replace(result, judgements=_over(result.judgements, FIRST_LOOK_MARGIN))


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
    """Whether the next step of replications would probably show what is undecided, by its narrower intervals."""
    next_step = next((step for step in (ENOUGH, *STEPS) if step > result.replications), None)
    if next_step is None:
        return False
    narrower = half_width(next_step) / half_width(result.replications)
    return all(
        j.estimate.value + (j.estimate.high - j.estimate.value) * narrower <= j.objective.limit
        for j in result.judgements
        if j.verdict is Verdict.UNDECIDED
    )


def evaluations(
    bench: Bench, deployment: Deployment, *, thorough: bool = False, likely: bool = False
) -> Iterator[Evaluation]:
    """Replications of every situation until the verdicts are clear, or more of them would hardly help: step by step.

    It begins with the rolling update, where most candidates fail, and ends there where one does; a ``likely`` one has all
    situations at once. ``thorough`` goes on to the last step.
    """
    situations = bench.situations
    runs: Runs = {situation: [] for situation in situations}
    results: dict[Situation, SituationResult] = {}
    first = {} if likely or thorough else {situations[0]: FIRST}
    plans = [plan for plan in (first, *(dict.fromkeys(situations, step) for step in (ENOUGH, *STEPS))) if plan]
    for plan in plans:
        # The later plans are for what is still undecided.
        wanted = [
            (situation, number)
            for situation, target in plan.items()
            if target <= ENOUGH or results[situation].verdict is Verdict.UNDECIDED
            for number in range(len(runs[situation]), target)
        ]
        for (situation, _), replication in zip(wanted, bench.run(deployment, wanted), strict=True):
            runs[situation].append(replication)
            results = {**results, situation: _result(bench, situation, runs[situation])}
            yield Evaluation(deployment, situations, results)
        settled = [result for result in results.values() if result.replications >= ENOUGH]
        undecided = [result for result in settled if result.verdict is Verdict.UNDECIDED]
        if not undecided and len(settled) == len(situations):
            break
        hopeless = any(_over(result.judgements) for result in results.values()) or not all(map(_promising, undecided))
        if hopeless and not thorough:
            break
