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
from ojp_sizing.sizing.candidates import LEAST_POOL_PER_POD, LIMITS_CORES, MOST_REPLICAS, Demand, candidates, cost_cores
from ojp_sizing.sizing.evaluate import FIRST, Bench, Evaluation, evaluate, scout, workers
from ojp_sizing.simulation.simulate import Engine


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


def _unheard(what: str, tried: int, total: int) -> None:
    pass


def describe(deployment: Deployment) -> str:
    """A deployment in a few words."""
    lanes = f"{deployment.server.slow_slot_percentage} % slow slots" if deployment.server.segregation else "no segregation"
    return (
        f"{deployment.replicas} pods x {deployment.limit_cores:g} cores, pool {deployment.pool.maximum_size}, {lanes}, "
        f"{deployment.server.thread_pool_size} threads"
    )


def _try(bench: Bench, deployment: Deployment) -> tuple[Evaluation | None, Rejection | None, int]:
    """Scout, then evaluate: ``(evaluation if met, rejection if not, units simulated)``."""
    reasons = scout(bench, deployment)
    if reasons:
        return None, Rejection(deployment, Stage.SCOUT, reasons, FIRST), 0
    evaluation = evaluate(bench, deployment)
    units = sum(result.units for result in evaluation.results.values())
    if evaluation.verdict is Verdict.MET:
        return evaluation, None, units
    last = list(evaluation.results.values())[-1]
    missed = tuple(j for j in last.judgements if j.verdict is not Verdict.MET)
    return None, Rejection(deployment, Stage.FULL, missed, last.replications), units


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


def segregated(deployment: Deployment) -> Deployment:
    """The same with OJP's default, slow/fast segregation."""
    return replace(deployment, server=replace(deployment.server, segregation=True))


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
    listener: Listener = _unheard,
) -> SearchResult:
    """Find the cheapest deployment that is shown to meet every objective in every situation.

    ``budget_s`` bounds the time to a first answer; within it the result depends on the inputs and the seed only.
    """
    constants = constants or default_constants()
    demand = Demand(workload, rate, database)
    began = time.monotonic()
    found = candidates(demand, constants, least_replicas, most_replicas)
    rejections: list[Rejection] = []
    units = 0
    answer: Evaluation | None = None
    stopped = "every candidate was tried"
    smaller: list[Smaller] = []
    with workers(engine) as pool:
        tried = 0

        def tell(what: str, replications: int) -> None:
            listener(f"{describe(current)}: {what} {replications}", tried, len(found))

        bench = Bench(workload, rate, objectives, seed, engine, pool, tell)
        for current in found:
            if time.monotonic() - began > budget_s:
                stopped = f"the time budget of {budget_s:g} s was used up"
                break
            evaluation, rejection, simulated = _try(bench, current)
            units += simulated
            tried += 1
            if rejection is not None:
                rejections.append(rejection)
            if evaluation is not None:
                answer = evaluation
                stopped = "the cheapest candidate that is shown to do was found"
                break
        while answer is not None:
            best = answer.deployment
            neighbours = list(smaller_neighbours(best, least_replicas))
            if not best.server.segregation:
                neighbours.append(("slowQuerySegregation on", segregated(best)))
            smaller = []
            better: Evaluation | None = None
            for change, current in neighbours:
                evaluation, rejection, simulated = _try(bench, current)
                units += simulated
                smaller.append(Smaller(change, current, rejection))
                if evaluation is not None and cost_cores(workload, current) < cost_cores(workload, best):
                    better = evaluation
                    break
            if better is None:
                break
            answer = better
    return SearchResult(demand, answer, tuple(rejections), tuple(smaller), len(found), units, stopped)
