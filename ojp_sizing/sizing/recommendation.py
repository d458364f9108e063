"""The answer as one value: what to deploy, what was shown of it, what else was looked at and what holds that back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, isfinite
from pathlib import Path

from ojp_sizing.bounds import take_for
from ojp_sizing.demand.workload import Lane, Workload
from ojp_sizing.deployment.constants import Constants
from ojp_sizing.deployment.deployment import DEFAULT_VERSION, Deployment, describe
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.deployment.rules import Finding, Subject, check_version, warnings_of
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.deployment.versions import traits_of
from ojp_sizing.errors import InputError
from ojp_sizing.measurement.objectives import Judgement, Objectives, Verdict
from ojp_sizing.quantities import MOST_SECONDS
from ojp_sizing.showing import ShownAnswer
from ojp_sizing.simulation.simulate import clock_class
from ojp_sizing.sizing.evidence import (
    EXPLORATION,
    FIRST_LOOK,
    VERDICT,
    Bench,
    Evaluation,
    Meter,
    Rejection,
    verdicts,
)
from ojp_sizing.sizing.folk import formulas, simulated_day, tried_out
from ojp_sizing.sizing.knobs import Knob, best_percentage, cut, knobs
from ojp_sizing.sizing.locking import can_lock, lock_warnings
from ojp_sizing.sizing.over_ranges import (
    End,
    OverRanges,
    ends_of,
    inputs_of,
    over_ranges,
    settled_deployment,
    settled_question,
)
from ojp_sizing.sizing.question import Execution, Question, cold
from ojp_sizing.sizing.reach import Growth, Reach, carried_rate, growth_of, most_jvms
from ojp_sizing.sizing.resources import Resources, memory_of, request_milli
from ojp_sizing.sizing.screen import LEAST_POOL_PER_POD, collapses, disputed, pod_cpu_cores, undivided_pool
from ojp_sizing.sizing.space import Space, check_space, limit_below, with_segregation
from ojp_sizing.sizing.strategy import (
    INTERRUPTED,
    MOST_CONTESTANTS,
    SHOWN,
    Listener,
    Search,
    shapes_of,
    stopwatch,
    unheard,
)
from ojp_sizing.sizing.workers import Workers, workers_for
from ojp_sizing.theory.offered import bare_latency_s, connect_cores

_TAKE_QUESTION, _TAKE_EXECUTION = take_for(Question), take_for(Execution | None)
_TAKE_DEPLOYMENT = take_for(Deployment)
#: More cores of each pod than this for connects alone are worth a word where nothing is left.
CONNECTS_CORES = 4.0
#: A neighbour is worth the runs of a verdict where it costs so much less.
WORTH = 0.95
#: Segregation that costs at most so much more is taken where it can't lock: it is OJP's default.
SEGREGATION_WORTH = 1.05
#: The nearest ask is so much above what a rejected deployment kept: a limit at what one run had would be luck.
HEADROOM = 1.15
#: So often it is loosened further where that isn't shown either.
NEAREST_ROUNDS = 3
#: Why an answer over ranges is none.
BROKEN_BETWEEN = "what was sized at the hard ends of all ranges broke a limit elsewhere in them"


@dataclass(frozen=True, slots=True)
class DatabaseNeed:
    """What the answer asks of the database. ``stated`` says whether each bound was given or is a demand.

    ``shared_connections`` are the pools' shares at the worst instant; ``open_connections`` the most that any run had open,
    where that is more: pools that were built twice (reference 1.1) and XA connections are in no share.
    """

    cores: float
    cores_stated: bool
    busy_cores: float
    shared_connections: int
    open_connections: int
    max_connections: int
    connections_stated: bool


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A deployment beside the answer: what changes, what a few runs showed of it, or the rule that forbids it.

    ``outcome`` None: nothing was simulated, as ``rule`` says.
    """

    change: str
    deployment: Deployment
    cost: float
    outcome: Evaluation | Rejection | None
    rule: str = ""

    @property
    def passes(self) -> bool:
        """Whether its few runs broke no limit."""
        return isinstance(self.outcome, Evaluation)

    @property
    def on_edge(self) -> bool:
        """Whether they came near to one."""
        return isinstance(self.outcome, Evaluation) and self.outcome.on_edge


@dataclass(frozen=True, slots=True)
class Recommendation(ShownAnswer):
    """A sized deployment with its evidence; a notebook shows it, ``tables()`` and ``files()`` give the rest.

    ``evaluation``, ``resources`` and ``database`` are None without an answer. Of an interrupted search ``evaluation`` may be
    what was known of a deployment, without the rest. ``smaller`` are neighbours that cost less, ``knobs`` what one more of each
    thing buys, ``others`` the same with segregation the other way and cold pools, ``folk`` what formulas in use today would
    deploy; ``knobs`` and ``folk`` only where the execution explains. ``growth`` and ``client_jvms``: how far the answer
    reaches, None where that wasn't looked at. ``ranges``: of a question with ranges; then ``question`` is the one at their
    hard ends, where the answer was shown to do.
    ``frontier``: all that passed, by cost, as long as each is better in p99 or in connections than the cheaper ones.
    """

    question: Question
    execution: Execution
    engine: str
    verdict: Verdict
    evaluation: Evaluation | None
    resources: Resources | None
    database: DatabaseNeed | None
    cost: float | None
    smaller: tuple[Neighbour, ...]
    knobs: tuple[Knob, ...]
    others: tuple[Neighbour, ...]
    frontier: tuple[Neighbour, ...]
    rejections: tuple[Rejection, ...]
    tried: int
    attempts: int
    stopped: str
    nearest: str
    units: int
    warnings: tuple[Finding, ...] = ()
    folk: tuple[Neighbour, ...] = ()
    growth: Growth | None = None
    client_jvms: Reach | None = None
    ranges: OverRanges | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the user ended the search: the answer is the best so far, and may be undecided."""
        return self.stopped == INTERRUPTED

    @property
    def deployment(self) -> Deployment:
        """The recommended deployment; raises LookupError where there is none."""
        if self.evaluation is None:
            raise LookupError(f"no deployment was shown to do: {self.stopped}")
        return self.evaluation.deployment

    def files(self, **names: str) -> dict[str, str]:
        """The text of every file that ``ojp-size`` writes, by its name.

        ``names``: ``name`` and ``namespace`` of the Helm release, and ``database_url``. Raises LookupError where there is no
        answer, InputError for a name that Kubernetes or Helm doesn't take.
        """
        from ojp_sizing.emit.from_recommendation import files_of, release_of  # noqa: PLC0415 - it reads this class

        return files_of(self, release_of(self, **names))

    def save(self, directory: str | Path, *, force: bool = False, **names: str) -> list[Path]:
        """Write ``files(**names)`` into a directory, all or none; returns their paths.

        Raises InputError where a file that differs is there already (``force`` replaces it) or it can't be written.
        """
        from ojp_sizing.emit.writing import write_files  # noqa: PLC0415

        return [written.path for written in write_files(Path(directory), self.files(**names), force)]


@dataclass(frozen=True, slots=True)
class Judged(ShownAnswer):
    """A given deployment as it is; a notebook shows it.

    ``warnings`` are those of the rules for bad input, ``files`` those that it was read from.
    """

    question: Question
    execution: Execution
    engine: str
    evaluation: Evaluation
    warnings: tuple[Finding, ...] = ()
    files: tuple[str, ...] = ()
    growth: Growth | None = None
    client_jvms: Reach | None = None
    ranges: OverRanges | None = None
    carries: Reach | None = None

    @property
    def deployment(self) -> Deployment:
        """What was judged."""
        return self.evaluation.deployment

    @property
    def verdict(self) -> Verdict:
        """Met only where every objective of every situation is shown to be met."""
        return self.evaluation.verdict

    @property
    def units(self) -> int:
        """How many units of work were simulated."""
        return self.evaluation.units


def check_objectives(
    workload: Workload, objectives: Objectives, replicas: int, constants: Constants, version: str = DEFAULT_VERSION
) -> None:
    """Refuse limits below the time that the work itself takes. Raises InputError with the flag and the least value."""
    sides: tuple[tuple[Lane, float, str], ...] = (
        ("fast", objectives.fast_p99_s, "--fast-p99"),
        ("slow", objectives.slow_p99_s, "--slow-p99"),
    )
    for lane, limit_s, flag in sides:
        traits = traits_of(version)
        bare = (bare_latency_s(workload, unit, lane, replicas, constants, traits) for unit in workload.units)
        least_s = max((seconds for seconds in bare if seconds is not None), default=0.0)
        if limit_s < least_s:
            raise InputError(
                flag,
                f"{limit_s * 1e3:g} ms is below the {least_s * 1e3:.1f} ms that {lane} units take without any wait",
                "raise it well above that: a p99 is more than a mean",
            )


def database_need(question: Question, evaluation: Evaluation) -> DatabaseNeed:
    """Cores and connections of the database behind an answer."""
    deployment = evaluation.deployment
    steady = evaluation.results[Situation.STEADY].measures
    shared = connections_at_most(deployment.pool.maximum_size, deployment.replicas)
    seen = max(result.measures["open_connections"].high for result in evaluation.results.values())
    open_connections = max(shared, ceil(seen))
    return DatabaseNeed(
        cores=deployment.database.cores,
        cores_stated=question.database.cores < inf,
        busy_cores=steady["database_cores"].value,
        shared_connections=shared,
        open_connections=open_connections,
        max_connections=open_connections + int(deployment.constants.database_reserve_connections),
        connections_stated=question.database.max_connections < inf,
    )


def resources_of(workload: Workload, evaluation: Evaluation) -> Resources:
    """Requests and limits of one pod."""
    deployment = evaluation.deployment
    steady_cores = evaluation.results[Situation.STEADY].measures["cpu_cores"].high
    limit = round(deployment.limit_cores * 1000)
    return Resources(request_milli(steady_cores, deployment), limit, memory_of(workload, deployment))


# Beside the answer ---------------------------------------------------------------------------------------------------


#: Why a cheaper neighbour is left out.
DISPUTED = "clients that disagree would empty its pools in every update: real servers collapsed with such pools"


def smaller_neighbours(question: Question, deployment: Deployment) -> Iterator[tuple[str, Deployment, str]]:
    """One step down in each respect: what changes, the deployment, and the rule that forbids it ("" where none does)."""
    for change, smaller, rule in _one_step_down(question, deployment):
        newly_disputed = disputed(question, smaller) and not disputed(question, deployment)
        yield change, smaller, rule or (DISPUTED if newly_disputed else "")


def _one_step_down(question: Question, deployment: Deployment) -> Iterator[tuple[str, Deployment, str]]:
    replicas, constants = deployment.replicas, deployment.constants
    if replicas > 1:
        per_pod = deployment.pool_per_pod
        most = (replicas - 2) // 2
        shares = [share for share in range(most, LEAST_POOL_PER_POD - 1, -1) if undivided_pool(share, replicas - 1)]
        if deployment.stays_undivided and shares:
            per_pod = shares[0]
        fewer = replace(deployment, replicas=replicas - 1, pool=cut(deployment, replicas - 1, per_pod))
        least = question.least_replicas
        rule = f"fewer than {least} replicas (--min-replicas)" if replicas <= least else ""
        yield f"replicaCount {replicas - 1}", fewer, rule
    below = limit_below(deployment.limit_cores)
    if below > 0:
        use = pod_cpu_cores(question, replicas) / below
        lost = pod_cpu_cores(question, max(1, replicas - 1)) / below
        rule = ""
        if use > constants.cpu_most_use:
            rule = f"CPU use at steady peak would be {use:.0%}, more than {constants.cpu_most_use:.0%} (cpu_most_use)"
        elif lost >= 1:
            rule = f"CPU use with one pod lost would be {lost:.0%}"
        yield f"CPU limit {below:g}", replace(deployment, limit_cores=below), rule
    per_pod = deployment.pool_per_pod - 1
    if per_pod >= LEAST_POOL_PER_POD:
        pool = cut(deployment, replicas, per_pod)
        yield f"maximumPoolSize {pool.maximum_size}", replace(deployment, pool=pool), ""


def _segregated(question: Question, deployment: Deployment) -> Iterator[Deployment]:
    """The same pods with segregation on, with pools that may suit it, the smallest first."""
    shapes = Space(question).shapes(deployment.replicas, segregation=True, warm_pools=deployment.warm_pools)
    found = sorted(shapes, key=lambda shape: shape.pool_size)
    for shape in found:
        pool = replace(deployment.pool, maximum_size=shape.pool_size, minimum_idle=shape.minimum_idle)
        yield with_segregation(deployment, True, pool, shape.slow_slot_percentage)


# The answer ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sizing:
    """One sizing under way."""

    question: Question
    execution: Execution
    search: Search

    def neighbour(self, change: str, deployment: Deployment, rule: str = "") -> Neighbour:
        outcome = None if rule else self.search.try_out(deployment)
        return Neighbour(change, deployment, self.question.cost(deployment), outcome, rule)

    def answer(self) -> Evaluation | None:
        """The cheapest that is shown to do, by what the question leaves open."""
        question = self.question
        segregation = question.segregation == "on"
        warm = question.warm_pools != "off"
        return self.search.cheapest(shapes_of(question, segregation=segregation, warm_pools=warm))

    def segregated(self, answer: Evaluation) -> Neighbour | None:
        """Its best with segregation on: the smallest pool whose few runs break nothing, else the last one tried."""
        if self.question.segregation == "off" or answer.deployment.server.segregation:
            return None
        tried: Neighbour | None = None
        for deployment in _segregated(self.question, answer.deployment):
            tried = self.neighbour("slowQuerySegregation on", deployment)
            if tried.passes:
                break
        return tried

    def own_best(self, answer: Evaluation) -> list[Neighbour]:
        """The cheapest of all, few runs each, with segregation on and with cold pools, where the answer has neither."""
        question, found = self.question, []
        if question.segregation == "either" and not answer.deployment.server.segregation:
            shapes = shapes_of(question, segregation=True, warm_pools=answer.deployment.warm_pools)
            found.append(("slowQuerySegregation on, its own best", self.search.cheapest_explored(shapes)))
        if question.warm_pools == "either" and answer.deployment.warm_pools:
            shapes = shapes_of(question, segregation=answer.deployment.server.segregation, warm_pools=False)
            found.append(("without the warm-up, its own best", self.search.cheapest_explored(shapes)))
        return [
            Neighbour(change, one.deployment, question.cost(one.deployment), one)
            for change, one in found
            if one is not None
        ]

    def with_cold_pools(self, answer: Evaluation) -> Neighbour | None:
        """The same without anybody who builds a pod's pools before clients reach it."""
        if self.question.warm_pools == "on" or not answer.deployment.warm_pools:
            return None
        return self.neighbour("without the warm-up", cold(answer.deployment))

    def reach(self, answer: Evaluation) -> tuple[Reach | None, Growth | None]:
        """With how many client JVMs, and until when, the answer does."""
        bench = self.search.bench
        jvms, growth = most_jvms(bench, answer), growth_of(bench, answer.deployment)
        return jvms, growth

    def folk(self, warm_pools: bool) -> list[Neighbour]:
        """What the formulas in use today would deploy; what a few runs don't turn away gets a verdict, each by itself."""
        bench = self.search.bench
        day = simulated_day(bench, warm_pools)
        return [
            Neighbour(name, deployment, self.question.cost(deployment), tried_out(bench, deployment))
            for name, deployment in formulas(self.question, warm_pools, day)
        ]


def size(question: Question, execution: Execution | None = None, listener: Listener = unheard) -> Recommendation:
    """Size an OJP deployment: the cheapest that was shown to hold every objective, of those that were tried.

    The answer is the same whoever works. An interruption (KeyboardInterrupt) ends it with what there is. Raises InputError for
    limits below the bare service time, for a server version that isn't modelled, and for a space that admits nothing.
    """
    _TAKE_QUESTION(question, "question")
    execution = _TAKE_EXECUTION(execution, "execution") or Execution()
    check_version(question.version, question.most_replicas)
    check_space(question)
    check_objectives(question.workload, question.objectives, question.least_replicas, question.known, question.version)
    out_of_time = stopwatch(execution.budget_s)
    with workers_for(execution.engine, execution.workers, execution.scheduler) as pool:
        if inputs_of(question):
            return _size_over_ranges(question, execution, pool, listener, out_of_time)
        return _size(question, execution, pool, listener, out_of_time, Meter())


def _size_over_ranges(
    question: Question, execution: Execution, pool: Workers, listener: Listener, out_of_time: Callable[[], bool]
) -> Recommendation:
    """A size at the mids, and a verdict on it at the hard ends of all ranges; where it doesn't hold, a size for these."""
    mids = replace(settled_question(question, {}), growth=None)
    meter = Meter()
    answer = _size(mids, execution, pool, listener, out_of_time, meter)
    if not answer.verdict.is_met or answer.interrupted:
        return replace(answer, ranges=OverRanges(question, inputs_of(question), (), {}, "", None, None))
    bench = Bench(mids, execution, pool, lambda what: listener(f"ends of ranges, {what}", answer.tried, 0), meter)
    over = over_ranges(question, ends_of(bench, question, answer.deployment), answer.deployment, answer.cost)
    hard = settled_question(question, over.hard)
    spent = answer.attempts
    if not any(end.broke for end in over.ends):
        at_hard = replace(bench, question=hard)
        *_, evaluation = verdicts(at_hard, settled_deployment(answer.deployment, hard), attempt=spent)
        spent += 1
        if evaluation.verdict.is_met:
            jvms, growth = most_jvms(at_hard, evaluation), growth_of(at_hard, evaluation.deployment)
            return replace(
                answer,
                question=hard,
                verdict=evaluation.verdict,
                evaluation=evaluation,
                resources=resources_of(hard.workload, evaluation),
                database=database_need(hard, evaluation),
                cost=hard.cost(evaluation.deployment),
                attempts=spent,
                units=meter.units,
                growth=growth,
                client_jvms=jvms,
                ranges=over,
            )
    again = _size(hard, execution, pool, listener, out_of_time, meter, attempts=spent)
    broken: tuple[End, ...] = ()
    if again.verdict.is_met:
        broken = tuple(end for end in ends_of(bench, question, again.deployment) if end.broke)
    over = replace(over, resized=True, broken_ends=broken)
    again = replace(again, units=meter.units, ranges=over)
    if broken:
        return replace(again, verdict=Verdict.UNDECIDED, resources=None, stopped=BROKEN_BETWEEN)
    return again


def _size(
    question: Question,
    execution: Execution,
    pool: Workers,
    listener: Listener,
    out_of_time: Callable[[], bool],
    meter: Meter,
    attempts: int = 0,
) -> Recommendation:
    """Size for numbers that are none of them ranges; ``attempts`` contestants have spent of the evidence before."""

    def hear(what: str) -> None:
        listener(what, len(search.explored), 0)

    bench = Bench(question, execution, pool, hear, meter)
    search = Search(bench, Space(question), out_of_time, hear, attempts=attempts)
    sizing = _Sizing(question, execution, search)
    answer: Evaluation | None = None
    smaller: list[Neighbour] = []
    prices: tuple[Knob, ...] = ()
    others: list[Neighbour] = []
    folk: list[Neighbour] = []
    jvms: Reach | None = None
    growth: Growth | None = None
    nearest = ""
    try:
        answer = sizing.answer()
        stopped = search.stopped
        if answer is not None:
            answer, others, prices = _alternatives(sizing, _smallest(sizing, answer))
            smaller = [sizing.neighbour(*one) for one in smaller_neighbours(question, answer.deployment)]
            if execution.explain:
                others += sizing.own_best(answer)
                prices = knobs(search.bench, answer.deployment)
                folk = sizing.folk(answer.deployment.warm_pools)
            if answer.verdict.is_met:
                jvms, growth = sizing.reach(answer)
        else:
            nearest = _nearest(sizing)
    except KeyboardInterrupt:
        answer, stopped = answer or search.under_way, INTERRUPTED
    shown = answer if answer and answer.verdict.is_met else None
    return Recommendation(
        question=question,
        execution=execution,
        engine=clock_class(execution.engine).name,
        verdict=answer.verdict if answer else _verdict_without(search),
        evaluation=answer,
        resources=resources_of(question.workload, shown) if shown else None,
        database=database_need(question, shown) if shown else None,
        cost=question.cost(answer.deployment) if answer else None,
        smaller=tuple(smaller),
        knobs=prices,
        others=tuple(others),
        frontier=frontier(question, [*search.explored.values(), *([shown] if shown else [])]),
        rejections=tuple(search.rejections),
        tried=len(search.explored),
        attempts=search.attempts,
        stopped=stopped,
        nearest=nearest,
        units=search.bench.meter.units,
        warnings=(*warnings_of(Subject(answer.deployment)), *lock_warnings(question, answer.deployment))
        if answer
        else (),
        folk=tuple(folk),
        growth=growth,
        client_jvms=jvms,
    )


def _alternatives(sizing: _Sizing, answer: Evaluation) -> tuple[Evaluation, list[Neighbour], tuple[Knob, ...]]:
    """The answer with segregation, its slow slots and cold pools as they suit it best, and what was looked at for that."""
    question, search = sizing.question, sizing.search
    others: list[Neighbour] = []
    on = sizing.segregated(answer)
    if on is not None:
        others.append(on)
        cheap = on.cost <= SEGREGATION_WORTH * question.cost(answer.deployment)
        if on.passes and cheap and not can_lock(question.workload):
            answer = search.verdict_on(on.deployment) or answer
    without = sizing.with_cold_pools(answer)
    if without is not None:
        others.append(without)
        if without.passes:
            answer = search.verdict_on(without.deployment) or answer
    percentages: tuple[Knob, ...] = ()
    if answer.deployment.server.segregation:
        better, percentages = best_percentage(search.bench, answer.deployment)
        if better != answer.deployment:
            answer = search.verdict_on(better) or answer
    return answer, others, percentages


def _smallest(sizing: _Sizing, answer: Evaluation) -> Evaluation:
    """The answer, or the neighbour below it that is met as well, and so on."""
    question, search = sizing.question, sizing.search
    while True:
        found = [sizing.neighbour(*one) for one in smaller_neighbours(question, answer.deployment)]
        judged = {rejection.deployment for rejection in search.rejections if rejection.stage == VERDICT}
        better = None
        for one in sorted(found, key=lambda neighbour: neighbour.cost):
            cheaper = one.cost < WORTH * question.cost(answer.deployment)
            if (
                one.passes
                and not one.on_edge
                and cheaper
                and one.deployment not in judged
                and not collapses(question, one.deployment)
                and search.attempts < MOST_CONTESTANTS
            ):
                better = better or search.verdict_on(one.deployment)
        if better is None:
            return answer
        answer = better


def _verdict_without(search: Search) -> Verdict:
    """Not met where everything that was tried broke a limit, or nothing was possible; else undecided."""
    if search.attempts or search.out_of_time() or search.stopped == SHOWN:
        return Verdict.UNDECIDED
    return Verdict.NOT_MET


def frontier(question: Question, outcomes: Sequence[Evaluation | Rejection]) -> tuple[Neighbour, ...]:
    """All that passed, by cost, as long as each has a lower p99 of fast units at steady peak, or fewer connections."""
    passed: dict[Deployment, Evaluation] = {}
    for outcome in outcomes:
        if isinstance(outcome, Evaluation) and Situation.STEADY in outcome.results:
            passed[outcome.deployment] = outcome
    found: list[Neighbour] = []
    least_p99_s, least_connections = inf, inf
    for outcome in sorted(passed.values(), key=lambda one: question.cost(one.deployment)):
        deployment = outcome.deployment
        p99_s = outcome.results[Situation.STEADY].measures["fast_p99_s"].value
        connections = connections_at_most(deployment.pool.maximum_size, deployment.replicas)
        if p99_s < least_p99_s or connections < least_connections:
            found.append(Neighbour(describe(deployment), deployment, question.cost(deployment), outcome))
        least_p99_s, least_connections = min(least_p99_s, p99_s), min(least_connections, connections)
    return tuple(found)


# Where there is no answer ----------------------------------------------------------------------------------------------


def _nearest(sizing: _Sizing) -> str:
    """The nearest ask that was shown to do, or why none is known: what the best rejected deployment kept, simulated anew."""
    question, search = sizing.question, sizing.search
    if not search.rejections:
        return _nearest_rate(question)
    # Of one that got further more is known.
    stages = (VERDICT, EXPLORATION, FIRST_LOOK)
    best = min(search.rejections, key=lambda one: (not isfinite(one.excess), stages.index(one.stage), one.excess))
    if not isfinite(best.excess):
        fix = "build pools before clients reach a pod (docs/restarts.md)" if question.warm_pools == "off" else ""
        return fix or f"a lower rate: units hang with every deployment tried; try --peak-rps {question.rate / 2:g}"
    changes: dict[str, float] = {}
    missed = best.judgements
    for _ in range(NEAREST_ROUNDS):
        changes = _loosened(missed, changes)
        asked = replace(question, objectives=replace(question.objectives, **changes))
        *_, evaluation = verdicts(replace(search.bench, question=asked), best.deployment)
        words = f"{_flags(changes)}: {describe(best.deployment)}"
        if evaluation.verdict.is_met:
            return f"{words} was simulated again and holds that"
        missed = evaluation.missed
    return f"{words} came nearest, not shown to hold that"


def _loosened(missed: Sequence[Judgement], before: Mapping[str, float]) -> dict[str, float]:
    """The limits of the objectives by name, with the missed ones at what was had, and a little more, in whole ms and 0.01 %."""
    changes = dict(before)
    for judgement in missed:
        objective = judgement.objective
        asks = max(judgement.widened * HEADROOM, objective.limit)
        name = objective.measure.removeprefix("recovered_")
        steady = not objective.situation.is_disruption or name != objective.measure
        if not isfinite(asks):
            continue
        if name == "failed_share":
            name = "failed_share" if steady else "disruption_failed_share"
        elif not steady:
            name = f"disruption_{name}"
        digits, most = (10_000, 1.0) if name.endswith("share") else (1000, MOST_SECONDS)
        changes[name] = max(changes.get(name, 0.0), min(most, ceil(asks * digits) / digits))
    return changes


def _flags(changes: Mapping[str, float]) -> str:
    flags = {
        "fast_p99_s": "--fast-p99", "slow_p99_s": "--slow-p99", "failed_share": "--failed",
        "disruption_fast_p99_s": "--disruption-fast-p99", "disruption_slow_p99_s": "--disruption-slow-p99",
        "disruption_failed_share": "--disruption-failed",
    }  # fmt: skip
    return " ".join(
        f"{flags[name]} {value:.2%}" if name.endswith("share") else f"{flags[name]} {value * 1e3:.0f}ms"
        for name, value in changes.items()
    )


def _nearest_rate(question: Question) -> str:
    """Where the closed forms leave nothing: the largest rate, to 1 %, at which they would."""
    connects_cores = connect_cores(question.load, question.rate, question.known)
    low, high = 0.0, question.rate
    while high - low > 0.01 * high and high >= 1.0:
        middle = (low + high) / 2
        lower = replace(question, rate=middle)
        space = Space(lower)
        warm = question.warm_pools != "off"
        shapes = shapes_of(lower, segregation=question.segregation == "on", warm_pools=warm)
        if any(space.least_limit(shape) is not None for shape in shapes):
            low = middle
        else:
            high = middle
    if connects_cores > CONNECTS_CORES and low >= 1:
        return (
            f"--peak-rps {int(low)} (by the closed forms, not simulated), or units that keep their connection for more"
            f" work: every getConnection() calls every pod, and at {question.rate:,.0f}/s these calls alone take"
            f" {connects_cores:.0f} cores of each pod, however many there are"
        )
    if low < 1:
        return "none at any rate within these bounds: allow more replicas, or more database connections or cores"
    return (
        f"--peak-rps {int(low)} (by the closed forms, not simulated), or more database cores, connections or replicas"
    )


def check(
    question: Question,
    deployment: Deployment,
    execution: Execution | None = None,
    *,
    warnings: tuple[Finding, ...] | None = None,
    files: tuple[str, ...] = (),
    carries: bool = False,
    listener: Listener = unheard,
) -> Judged:
    """Judge one given deployment against the question's objectives, by the deployment's constants and pools.

    ``warnings`` are those that reading its file gave; None: the rules look at the deployment. Raises InputError where a
    rule refuses it, and for limits below the bare service time. Where inputs are ranges, the verdict is that at their hard
    ends. ``carries``: the largest rate is looked for too.
    """
    _TAKE_QUESTION(question, "question")
    _TAKE_DEPLOYMENT(deployment, "deployment")
    execution = _TAKE_EXECUTION(execution, "execution") or Execution()
    if warnings is None:
        warnings = warnings_of(Subject(deployment))
    question = replace(question, constants=deployment.constants, version=deployment.version)
    check_objectives(
        question.workload, question.objectives, deployment.replicas, deployment.constants, deployment.version
    )
    with workers_for(execution.engine, execution.workers, execution.scheduler) as pool:
        over: OverRanges | None = None
        bench = Bench(settled_question(question, {}), execution, pool, lambda what: listener(what, 1, 1))
        if inputs_of(question):
            over = over_ranges(question, ends_of(bench, question, deployment), None, None)
            question = settled_question(question, over.hard)
            deployment, bench = settled_deployment(deployment, question), replace(bench, question=question)
        warnings += lock_warnings(question, deployment)
        *_, evaluation = verdicts(bench, deployment)
        growth = growth_of(bench, deployment) if evaluation.verdict.is_met else None
        jvms = most_jvms(bench, evaluation) if evaluation.verdict.is_met else None
        largest = carried_rate(bench, deployment, evaluation.verdict.is_met) if carries else None
    return Judged(
        question,
        execution,
        clock_class(execution.engine).name,
        evaluation,
        warnings,
        files,
        growth,
        jvms,
        over,
        largest,
    )
