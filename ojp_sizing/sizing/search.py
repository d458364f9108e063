"""The search: cheapest candidate first, until one is shown to meet every objective, and then: why not a smaller one?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.deployment import DEFAULT_VERSION, Database, Deployment
from ojp_sizing.measurement.objectives import Judgement, Objectives, Situation, Verdict
from ojp_sizing.simulation.simulate import Engine
from ojp_sizing.sizing.candidates import (
    LEAST_POOL_PER_POD,
    LIMITS_CORES,
    MOST_REPLICAS,
    Candidate,
    Demand,
    candidates,
    cost_cores,
    pod_cpu_cores,
)
from ojp_sizing.sizing.evaluate import Bench, Evaluation, Scouting, evaluate, scout, situations_with
from ojp_sizing.sizing.workers import workers_for


class Stage(StrEnum):
    """How far a deployment got."""

    SCOUT = "scout"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A deployment that was not shown to meet the objectives, and the judgements that say so."""

    deployment: Deployment
    stage: Stage
    judgements: tuple[Judgement, ...]
    replications: int


@dataclass(frozen=True, slots=True)
class Smaller:
    """A neighbour that is smaller in one respect, with what holds it back: a rejection, or a rule of the sizer.

    Neither where it, too, is shown to do.
    """

    change: str
    deployment: Deployment
    rejection: Rejection | None
    rule: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """``answer`` is None where no candidate was shown to do. ``stopped`` says why the search ended."""

    demand: Demand
    answer: Evaluation | None
    rejections: tuple[Rejection, ...]
    smaller: tuple[Smaller, ...]
    screened: int
    units: int
    stopped: str

    @property
    def verdict(self) -> Verdict:
        """Met; not met where every candidate tried misses something by its whole interval; else undecided."""
        if self.answer is not None:
            return Verdict.MET
        if self.stopped != "every candidate was tried":
            return Verdict.UNDECIDED
        sure = all(any(j.verdict is Verdict.NOT_MET for j in rejection.judgements) for rejection in self.rejections)
        return Verdict.NOT_MET if sure else Verdict.UNDECIDED


Listener = Callable[[str, int, int], None]
"""Called with what is under way, candidates tried so far, and candidates in all."""


def unheard(what: str, tried: int, total: int) -> None:
    pass


def describe(deployment: Deployment) -> str:
    """A deployment in a few words."""
    lanes = (
        f"{deployment.server.slow_slot_percentage} % slow slots" if deployment.server.segregation else "no segregation"
    )
    return (
        f"{deployment.replicas} pods x {deployment.limit_cores:g} cores, pool {deployment.pool.maximum_size}, {lanes}, "
        f"{deployment.server.thread_pool_size} threads"
    )


#: A candidate whose pods never used this part of their CPU limit, and were never throttled, doesn't want for CPU.
HOT_CPU = 0.9


@dataclass(slots=True)
class _Search:
    """One search: what has been looked at, what was turned away, and how much was simulated."""

    bench: Bench
    rejections: list[Rejection] = field(default_factory=list)
    scouted: dict[Deployment, Scouting] = field(default_factory=dict)
    tried: dict[Deployment, Evaluation | Rejection] = field(default_factory=dict)
    units: int = 0

    def scout(self, deployment: Deployment) -> Scouting:
        """The first look, taken once."""
        if deployment not in self.scouted:
            scouting = self.scouted[deployment] = scout(self.bench, deployment)
            if scouting.over:
                self._reject(Rejection(deployment, Stage.SCOUT, scouting.over, scouting.replications))
        return self.scouted[deployment]

    def like(self, deployment: Deployment) -> Deployment:
        """One that was already tried with as many pods of the same limit, whatever its pool, or the deployment itself."""
        alike = (
            other
            for other in self.tried
            if (other.replicas, other.limit_cores, other.server.segregation)
            == (deployment.replicas, deployment.limit_cores, deployment.server.segregation)
        )
        return next(alike, deployment)

    def try_out(self, deployment: Deployment) -> Evaluation | Rejection:
        """First look and full evaluation, taken once."""
        if not self.scout(deployment).over and deployment not in self.tried:
            self._evaluate(deployment)
        return self.tried[deployment]

    def _evaluate(self, deployment: Deployment) -> None:
        evaluation = evaluate(self.bench, deployment)
        self.units += sum(result.units for result in evaluation.results.values())
        if evaluation.verdict is Verdict.MET:
            self.tried[deployment] = evaluation
            return
        missed = [
            j for result in evaluation.results.values() for j in result.judgements if j.verdict is not Verdict.MET
        ]
        replications = min(result.replications for result in evaluation.results.values())
        self._reject(Rejection(deployment, Stage.FULL, tuple(missed), replications))

    def _reject(self, rejection: Rejection) -> None:
        self.tried[rejection.deployment] = rejection
        self.rejections.append(rejection)


def smaller_neighbours(
    deployment: Deployment, demand: Demand, least_replicas: int
) -> Iterator[tuple[str, Deployment, str]]:
    """One step down in each respect: what changes, the deployment, and the rule that forbids it ("" where none does)."""
    replicas, constants = deployment.replicas, deployment.constants
    load = demand.load(constants)
    if replicas > least_replicas:
        pool = replace(deployment.pool, maximum_size=deployment.pool_per_pod * (replicas - 1))
        yield f"replicaCount {replicas - 1}", replace(deployment, replicas=replicas - 1, pool=pool), ""
    elif replicas > 1:
        pool = replace(deployment.pool, maximum_size=deployment.pool_per_pod * (replicas - 1))
        fewer = replace(deployment, replicas=replicas - 1, pool=pool)
        yield f"replicaCount {replicas - 1}", fewer, f"fewer than {least_replicas} replicas (--min-replicas)"
    below = [limit for limit in LIMITS_CORES if limit < deployment.limit_cores]
    if below:
        use = pod_cpu_cores(demand, load, replicas) / below[-1]
        lost = pod_cpu_cores(demand, load, max(1, replicas - 1)) / below[-1]
        rule = ""
        if use > constants.cpu_most_use:
            rule = f"CPU use at steady peak would be {use:.0%}, more than {constants.cpu_most_use:.0%} (cpu_most_use)"
        elif lost >= 1:
            rule = f"CPU use with one pod lost would be {lost:.0%}"
        yield f"CPU limit {below[-1]:g}", replace(deployment, limit_cores=below[-1]), rule
    per_pod = deployment.pool_per_pod - 1
    if per_pod >= LEAST_POOL_PER_POD:
        pool = replace(deployment.pool, maximum_size=per_pod * replicas)
        use = demand.rate * load.hold_s / replicas / per_pod
        most = constants.connections_most_use
        rule = f"connection use at steady peak would be {use:.0%}, more than {most:.0%} (connections_most_use)"
        yield f"maximumPoolSize {per_pod * replicas}", replace(deployment, pool=pool), rule if use > most else ""


def with_segregation(deployment: Deployment, segregation: bool) -> Deployment:
    """The same with OJP's slow/fast segregation on (its default) or off."""
    return replace(deployment, server=replace(deployment.server, segregation=segregation))


def segregation_survives(state: _Search, found: list[Candidate]) -> bool:
    """Whether the candidate of middle cost survives the stop of a pod with segregation on.

    In 0.3.x slots and connections are as many, and taken in either order: a transient shortage can lock them against
    each other until time-outs (reference 1.2). Where the middle one locks, the rest aren't tried.
    """
    return not state.scout(found[len(found) // 2].deployment).over


def search(
    workload: Workload,
    rate: float,
    database: Database,
    objectives: Objectives,
    *,
    seed: int,
    engine: Engine = "auto",
    least_replicas: int = 3,
    most_replicas: int = MOST_REPLICAS,
    constants: Constants | None = None,
    version: str = DEFAULT_VERSION,
    budget_s: float = inf,
    also: Sequence[Situation] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    listener: Listener = unheard,
) -> SearchResult:
    """Find the cheapest deployment that is shown to meet every objective in every situation.

    ``budget_s`` bounds the time to a first answer; within it the result depends on the inputs and the seed only.
    """
    demand = Demand(workload, rate, database, version)
    began = time.monotonic()
    constants = constants or default_constants()
    bounds = (least_replicas, most_replicas)
    found = candidates(demand, constants, *bounds, segregation=False)
    segregated = candidates(demand, constants, *bounds, segregation=True)
    screened = len(found) + len(segregated)
    answer: Evaluation | None = None
    smaller: tuple[Smaller, ...] = ()
    stopped = "every candidate was tried"
    tried = 0

    with workers_for(engine, workers, scheduler) as pool:
        situations = situations_with(also)
        bench = Bench(
            workload, rate, objectives, seed, engine, pool, situations, lambda what: listener(what, tried, len(found))
        )
        state = _Search(bench)
        if segregated and segregation_survives(state, segregated):
            # At equal cost OJP's default comes first.
            found = sorted(segregated + found, key=lambda candidate: candidate.cost_cores)
        content_with_cpu: set[tuple[int, bool]] = set()
        for candidate in found:
            deployment = candidate.deployment
            kind = (deployment.replicas, deployment.server.segregation)
            if time.monotonic() - began > budget_s:
                stopped = f"the time budget of {budget_s:g} s was used up"
                break
            tried += 1
            if kind in content_with_cpu:
                continue
            outcome = state.try_out(deployment)
            if isinstance(outcome, Evaluation):
                answer = outcome
                stopped = "the cheapest candidate that is shown to do was found"
                break
            scouting = state.scout(deployment)
            if scouting.cpu_peak_cores < HOT_CPU * deployment.limit_cores and scouting.cpu_throttled_share == 0.0:
                content_with_cpu.add(kind)
        # A neighbour between two candidates may do as well and cost less: then it is the answer.
        while answer is not None:
            smaller, better = _neighbourhood(state, answer, demand, least_replicas)
            if better is None:
                break
            answer = better
    return SearchResult(demand, answer, tuple(state.rejections), smaller, screened, state.units, stopped)


def _neighbourhood(
    state: _Search, answer: Evaluation, demand: Demand, least_replicas: int
) -> tuple[tuple[Smaller, ...], Evaluation | None]:
    """Why not smaller? The neighbours with what holds each back, and the first that does as well and costs less."""
    best = answer.deployment
    neighbours = list(smaller_neighbours(best, demand, least_replicas))
    if not best.server.segregation:
        neighbours.append(("slowQuerySegregation on", with_segregation(best, True), ""))
    smaller: list[Smaller] = []
    for change, cut, rule in neighbours:
        neighbour = state.like(cut) if change.startswith("replicaCount") and not rule else cut
        outcome = None if rule else state.try_out(neighbour)
        if isinstance(outcome, Evaluation):
            smaller.append(Smaller(change, neighbour, None, ""))
            if cost_cores(demand.workload, neighbour) < cost_cores(demand.workload, best):
                return tuple(smaller), outcome
        else:
            smaller.append(Smaller(change, neighbour, outcome, rule))
    return tuple(smaller), None
