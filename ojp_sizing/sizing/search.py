"""The search: cheapest candidate first, until one is shown to meet every objective, and then: why not a smaller one?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, inf

from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.deployment import Database, Deployment
from ojp_sizing.measurement.objectives import Judgement, Objectives, Verdict
from ojp_sizing.simulation.simulate import Engine
from ojp_sizing.sizing.candidates import (
    LEAST_POOL_PER_POD,
    LIMITS_CORES,
    MOST_REPLICAS,
    Candidate,
    Demand,
    candidates,
    cost_cores,
)
from ojp_sizing.sizing.evaluate import Bench, Evaluation, evaluate, scout, workers


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
    """A neighbour that is smaller in one respect. ``rejection`` is None where it, too, is shown to do."""

    change: str
    deployment: Deployment
    rejection: Rejection | None


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
        """Met; not met where every candidate missed something for certain or by far; else undecided."""
        if self.answer is not None:
            return Verdict.MET
        if self.stopped != "every candidate was tried":
            return Verdict.UNDECIDED
        sure = all(
            rejection.stage is Stage.SCOUT or any(j.verdict is Verdict.NOT_MET for j in rejection.judgements)
            for rejection in self.rejections
        )
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


@dataclass(slots=True)
class _Search:
    """The state of one search: what was turned away, and how much was simulated."""

    bench: Bench
    rejections: list[Rejection]
    units: int = 0

    def passes_scout(self, deployment: Deployment) -> bool:
        over, replications = scout(self.bench, deployment)
        if over:
            self.rejections.append(Rejection(deployment, Stage.SCOUT, over, replications))
        return not over

    def shown(self, deployment: Deployment) -> Evaluation | None:
        """The evaluation, if every objective is shown to be met."""
        evaluation = evaluate(self.bench, deployment)
        self.units += sum(result.units for result in evaluation.results.values())
        if evaluation.verdict is Verdict.MET:
            return evaluation
        missed = [
            j for result in evaluation.results.values() for j in result.judgements if j.verdict is not Verdict.MET
        ]
        replications = min(result.replications for result in evaluation.results.values())
        self.rejections.append(Rejection(deployment, Stage.FULL, tuple(missed), replications))
        return None

    def first_shown(self, candidate: Candidate, segregation: bool) -> Evaluation | None:
        """Scout the candidate, and its tighter cut; evaluate in full what passes, the tighter one first."""
        deployment = with_segregation(candidate.deployment, segregation)
        if not self.passes_scout(deployment):
            return None
        if candidate.tighter is not None:
            tighter = with_segregation(candidate.tighter, segregation)
            if self.passes_scout(tighter) and (evaluation := self.shown(tighter)) is not None:
                return evaluation
        return self.shown(deployment)


def smaller_neighbours(deployment: Deployment, least_replicas: int) -> Iterator[tuple[str, Deployment]]:
    """One step down in each respect, the others as they are."""
    replicas = deployment.replicas
    if replicas > least_replicas:
        pool = replace(deployment.pool, maximum_size=deployment.pool_per_pod * (replicas - 1))
        yield f"replicaCount {replicas - 1}", replace(deployment, replicas=replicas - 1, pool=pool)
    below = [limit for limit in LIMITS_CORES if limit < deployment.limit_cores]
    if below:
        yield f"CPU limit {below[-1]:g}", replace(deployment, limit_cores=below[-1])
    per_pod = max(LEAST_POOL_PER_POD, ceil(deployment.pool_per_pod * 0.75))
    if per_pod < deployment.pool_per_pod:
        pool = replace(deployment.pool, maximum_size=per_pod * replicas)
        yield f"maximumPoolSize {per_pod * replicas}", replace(deployment, pool=pool)


def with_segregation(deployment: Deployment, segregation: bool) -> Deployment:
    """The same with OJP's slow/fast segregation on (its default) or off."""
    return replace(deployment, server=replace(deployment.server, segregation=segregation))


def segregation_survives(state: _Search, found: list[Candidate]) -> bool:
    """Whether some candidate, up to the largest, survives the stop of a pod with segregation on.

    In 0.3.x slots and connections are as many, and taken in either order: a transient shortage can lock them against
    each other until time-outs (reference 1.2). Where even ample candidates lock, the rest aren't tried.
    """
    probes = {len(found) // 4, len(found) // 2, len(found) - 1}
    return any(state.passes_scout(with_segregation(found[probe].deployment, True)) for probe in sorted(probes))


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
    budget_s: float = inf,
    listener: Listener = unheard,
) -> SearchResult:
    """Find the cheapest deployment that is shown to meet every objective in every situation.

    ``budget_s`` bounds the time to a first answer; within it the result depends on the inputs and the seed only.
    """
    demand = Demand(workload, rate, database)
    began = time.monotonic()
    found = candidates(demand, constants or default_constants(), least_replicas, most_replicas)
    answer: Evaluation | None = None
    smaller: tuple[Smaller, ...] = ()
    stopped = "every candidate was tried"
    tried = 0

    with workers(engine) as pool:
        bench = Bench(workload, rate, objectives, seed, engine, pool, lambda what: listener(what, tried, len(found)))
        state = _Search(bench, [])
        modes = [True, False] if found and segregation_survives(state, found) else [False]
        for candidate in found:
            if time.monotonic() - began > budget_s:
                stopped = f"the time budget of {budget_s:g} s was used up"
                break
            tried += 1
            answer = next((e for mode in modes if (e := state.first_shown(candidate, mode)) is not None), None)
            if answer is not None:
                stopped = "the cheapest candidate that is shown to do was found"
                break
        # A neighbour between two candidates may do as well and cost less: then it is the answer.
        rejections = tuple(state.rejections)
        while answer is not None:
            smaller, better = _neighbourhood(state, answer, least_replicas)
            if better is None:
                break
            answer = better
    return SearchResult(demand, answer, rejections, smaller, len(found), state.units, stopped)


def _neighbourhood(
    state: _Search, answer: Evaluation, least_replicas: int
) -> tuple[tuple[Smaller, ...], Evaluation | None]:
    """Why not smaller? The neighbours with what holds each back, and the first that does as well and costs less."""
    best, workload = answer.deployment, state.bench.workload
    neighbours = list(smaller_neighbours(best, least_replicas))
    if not best.server.segregation:
        neighbours.append(("slowQuerySegregation on", with_segregation(best, True)))
    smaller: list[Smaller] = []
    for change, neighbour in neighbours:
        evaluation = state.shown(neighbour) if state.passes_scout(neighbour) else None
        smaller.append(Smaller(change, neighbour, None if evaluation else state.rejections[-1]))
        if evaluation is not None and cost_cores(workload, neighbour) < cost_cores(workload, best):
            return tuple(smaller), evaluation
    return tuple(smaller), None
