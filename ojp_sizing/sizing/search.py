"""The search: cheapest candidate first, until one is shown to meet every objective, and then: why not a smaller one?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
    connections_per_pod,
    cost_cores,
    likely_rung,
    pod_cpu_cores,
    rungs_of,
    undivided_pool,
)
from ojp_sizing.sizing.evaluate import (
    Bench,
    Evaluation,
    SituationResult,
    evaluations,
    first_look,
    situations_with,
)
from ojp_sizing.sizing.workers import workers_for


@dataclass(frozen=True, slots=True)
class Rejection:
    """A deployment that was not shown to meet the objectives, and the judgements that say so."""

    deployment: Deployment
    judgements: tuple[Judgement, ...]
    replications: int
    first_look: bool
    """Turned away by what a first look has seen."""
    short_of_cpu: bool
    """Some pod used nearly all of its CPU limit, or was throttled: a larger one may do."""
    doubts: tuple[str, ...] = ()
    """Why runs didn't show what they should (``SituationResult.doubt``): then there may be no judgement against it."""


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
    """``answer`` is None where no candidate was shown to do; of an interrupted search it may be what was known of one.

    ``stopped`` says why the search ended.
    """

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
            return self.answer.verdict
        if self.stopped != ALL_TRIED:
            return Verdict.UNDECIDED
        sure = all(any(j.verdict is Verdict.NOT_MET for j in rejection.judgements) for rejection in self.rejections)
        return Verdict.NOT_MET if sure else Verdict.UNDECIDED


#: Why a search ended.
SHOWN = "a deployment was shown to do, and each that is one step smaller was looked at"
ALL_TRIED = "every candidate was tried"
OUT_OF_TIME = "the time budget of {:g} s was used up"
INTERRUPTED = "it was interrupted"

Listener = Callable[[str, int, int], None]
"""Called with what is under way, candidates tried so far, and candidates in all."""


def unheard(what: str, tried: int, total: int) -> None:
    pass


#: A candidate whose pods never used this part of their CPU limit, and were never throttled, doesn't want for CPU.
HOT_CPU = 0.9


@dataclass(slots=True)
class _Search:
    """One search: what has been looked at, what was turned away, and how much was simulated."""

    bench: Bench
    rejections: list[Rejection] = field(default_factory=list)
    tried: dict[Deployment, Evaluation | Rejection] = field(default_factory=dict)
    under_way: Evaluation | None = None
    units: int = 0

    def try_out(self, deployment: Deployment, *, look_first: bool = True) -> Evaluation | Rejection:
        """A first look, unless it is likely to pass, and the full evaluation, taken once."""
        if deployment not in self.tried:
            outcome = (self._look(deployment) if look_first else None) or self._evaluate(
                deployment, likely=not look_first
            )
            self.tried[deployment] = outcome
            if isinstance(outcome, Rejection):
                self.rejections.append(outcome)
        return self.tried[deployment]

    def like(self, deployment: Deployment) -> Deployment:
        """One that was already tried with as many pods of the same limit, whatever its pool, or the deployment itself."""
        alike = (
            other
            for other in self.tried
            if (other.replicas, other.limit_cores, other.server.segregation)
            == (deployment.replicas, deployment.limit_cores, deployment.server.segregation)
        )
        return next(alike, deployment)

    def best(self) -> Evaluation | None:
        """The cheapest that was shown to do, else what is known of the one under way."""
        shown = [outcome for outcome in self.tried.values() if isinstance(outcome, Evaluation)]
        return min(shown, key=self.cost_cores, default=self.under_way)

    def cost_cores(self, evaluation: Evaluation) -> float:
        return cost_cores(self.bench.workload, evaluation.deployment)

    def _look(self, deployment: Deployment) -> Rejection | None:
        result = first_look(self.bench, deployment)
        self.units += result.units
        if not result.judgements:
            return None
        return Rejection(deployment, result.judgements, result.replications, True, _short_of_cpu(deployment, result))

    def _evaluate(self, deployment: Deployment, *, likely: bool) -> Evaluation | Rejection:
        evaluation, before = Evaluation(deployment, self.bench.situations), self.units
        for evaluation in evaluations(self.bench, deployment, likely=likely):
            self.under_way = evaluation
            self.units = before + sum(result.units for result in evaluation.results.values())
        results = evaluation.results.values()
        if evaluation.verdict is Verdict.MET:
            return evaluation
        missed = [j for result in results for j in result.judgements if j.verdict is not Verdict.MET]
        replications = min(result.replications for result in results)
        short = any(_short_of_cpu(deployment, result) for result in results)
        doubts = tuple(f"{result.situation.value}: {result.doubt}" for result in results if result.doubt)
        return Rejection(deployment, tuple(missed), replications, False, short, doubts)


def _short_of_cpu(deployment: Deployment, result: SituationResult) -> bool:
    peak_cores, throttled = (result.measures[name].value for name in ("cpu_peak_cores", "cpu_throttled_share"))
    return peak_cores >= HOT_CPU * deployment.limit_cores or throttled > 0.0


def smaller_neighbours(
    deployment: Deployment, demand: Demand, least_replicas: int
) -> Iterator[tuple[str, Deployment, str]]:
    """One step down in each respect: what changes, the deployment, and the rule that forbids it ("" where none does)."""
    replicas, constants = deployment.replicas, deployment.constants
    load = demand.load(constants)
    if replicas > least_replicas:
        per_pod, _ = connections_per_pod(demand, load, replicas - 1, constants, deployment.server.segregation)
        size = undivided_pool(per_pod, replicas - 1)
        rule = "no pool that is large enough stays undivided while two of them are missing: it would be emptied"
        pool = replace(deployment.pool, maximum_size=size or per_pod * (replicas - 1))
        fewer = replace(deployment, replicas=replicas - 1, pool=pool)
        yield f"replicaCount {replicas - 1}", fewer, rule if deployment.stays_undivided and size is None else ""
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
        size = (undivided_pool(per_pod, replicas) if deployment.stays_undivided else None) or per_pod * replicas
        pool = replace(deployment.pool, maximum_size=size)
        use = demand.rate * load.hold_s / replicas / per_pod
        most = constants.connections_most_use
        rule = f"connection use at steady peak would be {use:.0%}, more than {most:.0%} (connections_most_use)"
        yield f"maximumPoolSize {size}", replace(deployment, pool=pool), rule if use > most else ""


def with_segregation(deployment: Deployment, segregation: bool) -> Deployment:
    """The same with OJP's slow/fast segregation on (its default) or off."""
    return replace(deployment, server=replace(deployment.server, segregation=segregation))


@dataclass(slots=True)
class _Climb:
    """A walk over one ladder, from its likely rung: up until a rung does, then down as long as lower ones do and cost less.

    Fewer pods make a disruption harder (each carries more, and pools that are divided anew are larger), so that below a
    rung that fails none is tried while one above does; where no rung does, all are tried.
    """

    state: _Search
    ladder: Sequence[Sequence[Candidate]]
    out_of_time: Callable[[], bool]
    tried: int = 0

    def best(self) -> Evaluation | None:
        """The cheapest answer that is found."""
        if not self.ladder:
            return None
        start = likely_rung(self.ladder)
        best = self._first(range(start, len(self.ladder)), inf)
        if best is None:
            return self._first(range(start - 1, -1, -1), inf)
        if best.deployment.replicas == self.ladder[start][0].deployment.replicas:
            for index in range(start - 1, -1, -1):
                lower = self._try(index, self.state.cost_cores(best))
                if lower is None:
                    break
                best = lower
        return best

    def _first(self, indices: range, below_cores: float) -> Evaluation | None:
        return next((found for index in indices if (found := self._try(index, below_cores)) is not None), None)

    def _try(self, index: int, below_cores: float) -> Evaluation | None:
        """The cheapest of a rung that does and costs less. A larger limit is tried only where CPU was short."""
        for candidate in self.ladder[index]:
            if candidate.cost_cores >= below_cores or self.out_of_time():
                return None
            self.tried += 1
            outcome = self.state.try_out(candidate.deployment, look_first=self.tried > 1)
            if isinstance(outcome, Evaluation):
                return outcome
            if not outcome.short_of_cpu:
                return None
        return None


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
    warm_pools: bool = True,
    budget_s: float = inf,
    also: Sequence[Situation] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    listener: Listener = unheard,
) -> SearchResult:
    """Find a deployment that is shown to meet every objective in every situation, and that no cheaper one is known to match.

    ``budget_s`` bounds the time to a first answer; within it the result depends on the inputs and the seed only. An
    interruption (KeyboardInterrupt) ends the search with what it has: ``stopped`` says so.
    """
    demand = Demand(workload, rate, database, version, warm_pools)
    began = time.monotonic()
    constants = constants or default_constants()
    bounds = (least_replicas, most_replicas)
    # OJP's default, segregation on, is tried on the answer itself; where none is found without, with it from the start.
    ladders = [rungs_of(candidates(demand, constants, *bounds, segregation=on)) for on in (False, True)]
    screened = sum(len(rung) for ladder in ladders for rung in ladder)
    answer: Evaluation | None = None
    smaller: tuple[Smaller, ...] = ()

    def out_of_time() -> bool:
        return time.monotonic() - began > budget_s

    with workers_for(engine, workers, scheduler) as pool:

        def hear(what: str) -> None:
            listener(what, len(state.tried), screened)

        state = _Search(Bench(workload, rate, objectives, seed, engine, pool, situations_with(also), hear))
        try:
            for ladder in ladders:
                answer = answer or _Climb(state, ladder, out_of_time).best()
            # A neighbour may do as well and cost less: then it is the answer.
            while answer is not None:
                smaller, better = _neighbourhood(state, answer, demand, least_replicas)
                if better is None:
                    break
                answer = better
            stopped = SHOWN if answer else OUT_OF_TIME.format(budget_s) if out_of_time() else ALL_TRIED
        except KeyboardInterrupt:
            answer, stopped = answer or state.best(), INTERRUPTED
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
            # At equal cost OJP's default, segregation on, is the answer.
            if neighbour.server.segregation > best.server.segregation or state.cost_cores(outcome) < state.cost_cores(
                answer
            ):
                return tuple(smaller), outcome
        else:
            smaller.append(Smaller(change, neighbour, outcome, rule))
    return tuple(smaller), None
