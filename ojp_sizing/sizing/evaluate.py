"""One replication: what is sampled, simulated and measured of a deployment in a situation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, nan

from numpy.random import SeedSequence, default_rng

from ojp_sizing.demand.trace import Early, stream_of
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import (
    DatabaseTrouble,
    Disruption,
    RollingUpdate,
    parts_of,
)
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.measure import (
    PERCENTILES,
    Part,
    Replication,
    measure_disruption,
    measure_steady,
    tail_of,
)
from ojp_sizing.measurement.objectives import Objectives, objectives_of
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
from ojp_sizing.theory.offered import LEAD_S, early_units, mean_load

#: What is allowed for each stop of a pod at first: callers inside may wait their 10 s for connections of others, who can't
#: give them back to a pod that stops.
STOP_S = 12.0


@dataclass(frozen=True, slots=True)
class Span:
    """How long something is measured: until so many units came, and so many slow ones, within bounds."""

    slow_units: int
    least_s: float
    most_s: float
    units: int = 0

    def seconds(self, workload: Workload, rate: float) -> float:
        """Its length at this rate of units per second."""
        slow_rate = rate * slow_share(workload)
        slow_s = self.slow_units / slow_rate if slow_rate > 0 else 0.0
        return min(self.most_s, max(self.least_s, slow_s, self.units / rate))


#: So many units show a percentile at all: of 100 the largest is their p99.
OF_PERCENTILE = round(100 / (100 - max(PERCENTILES)))
#: Units in a run of steady peak that can show 0.1 % of failures not to be reached, with five runs in which none fails.
ENOUGH_UNITS = 1000
STEADY_SPAN = Span(6 * OF_PERCENTILE, 5.0, 120.0, ENOUGH_UNITS)
#: At steady peak a run has so many units at least, over the square of the idle share of its busiest resource: waits that follow
#: each other are alike for so long (Whitt 1989). The study of docs/decision.md shows that the intervals hold then.
UNITS_IDLE, MOST_BUSY = 2500, 0.9
#: The quiet rest of an absence. One run's percentile is the noisier the shorter it is, which breaks limits rather than keeps
#: them.
QUIET_SPAN = Span(OF_PERCENTILE // 2, 0.5, 10.0)
#: The time after a disruption in which all is to be well again.
RECOVERED_SPAN = Span(OF_PERCENTILE // 2, 1.0, 20.0, ENOUGH_UNITS)


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
    factors: tuple[tuple[str, float], ...] = ()
    """The model's known error by measure: a value is held against its limit times this."""
    first_look: bool = False
    """Only the first pod of a rolling update, without what comes after it."""
    use: float = 0.0
    """Of the busiest resource at steady peak, by the closed forms."""
    checked: bool | None = None
    """Whether the model's laws are held against it as it goes; None: as ``Clock.checked`` says where it is run."""


def steady_units(use: float) -> int:
    """So many units a run of steady peak has at least where this share of the busiest resource is in use."""
    return round(UNITS_IDLE / (1.0 - min(use, MOST_BUSY)) ** 2)


@lru_cache(maxsize=64)
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
            lasts_s = part.away_s
        end_s = max(end_s, part.at_s + lasts_s)
    return end_s


def run_task(task: Task) -> Replication:
    """Sample, simulate, measure: one replication.

    A deployment that states no memory limit runs with the one that it would be given. A disruption is abridged where that
    may be done; where the database's connections would not last for the whole of it, or units stay for long, the whole is
    simulated (sessions that went with a pod are found lost while the next ones stop). Recovery is
    looked at as soon as all may be well; where it isn't yet, at half of the allowed time, which is still stricter than asked.
    """
    deployment = task.deployment
    if deployment.memory_limit_bytes == inf:
        deployment = replace(deployment, memory_limit_bytes=memory_of(task.workload, deployment).limit)
    key = (task.situation.seed_key, task.replication)
    trace_seed = SeedSequence(task.seed, spawn_key=(*key, 0))
    early = early_units(task.workload)
    rng = default_rng(SeedSequence(task.seed, spawn_key=(*key, 1)))
    whole = task.situation.sample(deployment, early.until_s + LEAD_S, rng)
    if whole is None:
        return _steady(task, deployment, trace_seed, early)
    run = DisruptedRun(task, deployment, whole, trace_seed)
    quiet_s = QUIET_SPAN.seconds(task.workload, task.rate)
    if task.first_look and can_be_abridged(task.workload):
        return run.replication(abridged(whole, run.transients, quiet_s, 1), None)[0]
    if early.kinds or not can_be_abridged(task.workload):
        return run.replication(whole, run.late_s)[0]
    short = abridged(whole, run.transients, quiet_s)
    replication, can_stand = run.replication(short, run.early_s)
    if not _is_within(replication, task, ("fast", "slow", "failed")):
        return replication
    if not can_stand and short != whole:
        short = whole
        replication, _ = run.replication(short, run.early_s)
    if run.early_s < run.late_s and not _is_within(replication, task, ("recovered",)):
        replication, _ = run.replication(short, run.late_s)
    return replication


def _steady(task: Task, deployment: Deployment, trace_seed: SeedSequence, early: Early) -> Replication:
    """A run at steady peak. Where units stay for long it also lasts for long: connections change hands as slowly."""
    tail_s = tail_of(task.objectives, task.situation)
    span_s = max(
        STEADY_SPAN.seconds(task.workload, task.rate),
        min(early.until_s, STEADY_SPAN.most_s),
        steady_units(task.use) / task.rate,
    )
    last_s = early.until_s + LEAD_S + span_s
    demand = stream_of(task.workload, task.rate, last_s + tail_s, trace_seed, early=early)
    outcomes = simulate(demand, deployment, engine=task.engine, tail_s=tail_s, checked=task.checked)
    replication = measure_steady(outcomes, deployment, last_s, early.until_s + LEAD_S)
    held = replication.values["units_per_s"] * mean_load(task.workload, deployment.constants, deployment.traits).hold_s
    pooled = replication.values["pooled_connections"]
    # Where every pod was down for want of memory there is no pool.
    offered = held / pooled if pooled > 0 else nan
    return replace(replication, values={**replication.values, "connections_offered": offered})


def _is_within(replication: Replication, task: Task, prefixes: tuple[str, ...]) -> bool:
    """Whether what this one run says of measures that begin so is within their limits, the model's known error in it."""
    factors = dict(task.factors)
    return all(
        not replication.least(objective.measure) * factors.get(objective.measure, 1.0) > objective.limit
        for objective in objectives_of(task.objectives, task.situation)
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
        """How long the loud parts last: also until the clients of lost sessions have found out."""
        return transients_of(self.deployment, self.task.workload, self.task.rate, self._early.until_s)

    @property
    def late_s(self) -> float:
        """Half of the recovery time, less the time for which is measured; where units stay for long, when the last of them has
        found its session lost, but at most the whole recovery time."""
        recovery_s = self.task.objectives.recovery_s
        return max(0.0, recovery_s / 2 - self._recovered_s, min(recovery_s, self._early.until_s))

    @property
    def early_s(self) -> float:
        """When all may be well again after the last pod is back, but at most ``late_s``."""
        return min(self.late_s, self.transients.back_s)

    @property
    def _early(self) -> Early:
        """What stays for long, and comes at first."""
        return early_units(self.task.workload)

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
            demand = stream_of(task.workload, task.rate, duration_s, self.trace_seed, goes_on=True, early=self._early)
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
