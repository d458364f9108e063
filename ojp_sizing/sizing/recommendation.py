"""The answer as one value: what to deploy, what was measured, what holds the next smaller choice back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf

from ojp_sizing.demand.reading import read_workload
from ojp_sizing.demand.workload import Lane, Workload
from ojp_sizing.deployment.constants import Constants, check_constants, default_constants
from ojp_sizing.deployment.deployment import DEFAULT_VERSION, Database, Deployment, describe
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.deployment.rules import Finding, Subject, check_version, warnings_of
from ojp_sizing.errors import InputError
from ojp_sizing.measurement.objectives import Objectives, Situation, Verdict
from ojp_sizing.simulation.simulate import Engine, clock_class
from ojp_sizing.sizing.arguments import checked
from ojp_sizing.sizing.candidates import MOST_REPLICAS, Demand, candidates, constants_of, cost_cores
from ojp_sizing.sizing.evaluate import Bench, Evaluation, evaluations, situations_with
from ojp_sizing.sizing.resources import Resources, memory_of, request_cores
from ojp_sizing.sizing.search import INTERRUPTED, Listener, Rejection, SearchResult, Smaller, search, unheard
from ojp_sizing.sizing.workers import workers_for
from ojp_sizing.theory.offered import bare_latency_s

#: More cores of each pod than this for connects alone are worth a word where nothing passes the screen.
CONNECTS_CORES = 4.0
#: The least number of pods that survives a rolling update with one to spare (reference 7.3: two can be missing).
LEAST_REPLICAS = 3


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
class Recommendation:
    """A sized deployment with its evidence; ``evaluation``, ``resources`` and ``database`` are None without an answer.

    Of an interrupted search ``evaluation`` may be what was known of a deployment, without the rest.
    """

    workload: Workload
    rate: float
    objectives: Objectives
    seed: int
    engine: str
    verdict: Verdict
    evaluation: Evaluation | None
    resources: Resources | None
    database: DatabaseNeed | None
    cost_cores: float | None
    smaller: tuple[Smaller, ...]
    rejections: tuple[Rejection, ...]
    screened: int
    stopped: str
    nearest: str
    units: int
    constants: Constants = field(default_factory=default_constants)
    warnings: tuple[Finding, ...] = ()

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


@dataclass(frozen=True, slots=True)
class Judged:
    """A given deployment as it is, in the three situations; ``warnings`` are those of the rules for bad input.

    ``files`` are those that the deployment was read from.
    """

    workload: Workload
    rate: float
    objectives: Objectives
    seed: int
    engine: str
    evaluation: Evaluation
    warnings: tuple[Finding, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def deployment(self) -> Deployment:
        """What was judged."""
        return self.evaluation.deployment

    @property
    def constants(self) -> Constants:
        """The values in force."""
        return self.deployment.constants

    @property
    def verdict(self) -> Verdict:
        """Met only where every objective of every situation is shown to be met."""
        return self.evaluation.verdict

    @property
    def units(self) -> int:
        """How many units of work were simulated."""
        return sum(result.units for result in self.evaluation.results.values())


def check_objectives(workload: Workload, objectives: Objectives, replicas: int, constants: Constants) -> None:
    """Refuse limits below the time that the work itself takes. Raises InputError with the flag and the least value."""
    sides: tuple[tuple[Lane, float, str], ...] = (
        ("fast", objectives.fast_p99_s, "--fast-p99"),
        ("slow", objectives.slow_p99_s, "--slow-p99"),
    )
    for lane, limit_s, flag in sides:
        bare = (bare_latency_s(workload, unit, lane, replicas, constants) for unit in workload.units)
        least_s = max((seconds for seconds in bare if seconds is not None), default=0.0)
        if limit_s < least_s:
            raise InputError(
                flag,
                f"{limit_s * 1e3:g} ms is below the {least_s * 1e3:.1f} ms that {lane} units take without any wait",
                "raise it well above that: a p99 is more than a mean",
            )


def database_need(demand: Demand, deployment: Deployment, evaluation: Evaluation) -> DatabaseNeed:
    """Cores and connections of the database behind an answer."""
    constants = deployment.constants
    steady = evaluation.results[Situation.STEADY].measures
    shared = connections_at_most(deployment.pool.maximum_size, deployment.replicas)
    seen = max(result.measures["open_connections"].high for result in evaluation.results.values())
    open_connections = max(shared, ceil(seen))
    return DatabaseNeed(
        cores=deployment.database.cores,
        cores_stated=demand.database.cores < inf,
        busy_cores=steady["database_cores"].value,
        shared_connections=shared,
        open_connections=open_connections,
        max_connections=open_connections + int(constants.database_reserve_connections),
        connections_stated=demand.database.max_connections < inf,
    )


def _resources(workload: Workload, evaluation: Evaluation) -> Resources:
    deployment = evaluation.deployment
    steady_cores = evaluation.results[Situation.STEADY].measures["cpu_cores"].high
    return Resources(request_cores(steady_cores, deployment), deployment.limit_cores, memory_of(workload, deployment))


def _screened_rate(demand: Demand, constants: Constants, least_replicas: int, most_replicas: int) -> float:
    """The largest rate, to 1 %, at which some deployment passes the closed-form screen; 0 where none does."""
    low, high = 0.0, demand.rate
    while high - low > 0.01 * high and high >= 1.0:
        middle = (low + high) / 2
        if candidates(replace(demand, rate=middle), constants, least_replicas, most_replicas, segregation=False):
            low = middle
        else:
            high = middle
    return low


def _nearest(
    demand: Demand, result: SearchResult, objectives: Objectives, constants: Constants, bounds: tuple[int, int]
) -> str:
    """The nearest ask that may do, from what was tried; empty where there is an answer."""
    if result.answer is not None or result.stopped == INTERRUPTED:
        return ""
    if not result.rejections:
        rate = int(_screened_rate(demand, constants, *bounds))
        load = demand.load(constants)
        connects_cores = demand.rate * load.every_pod_cpu_s
        if connects_cores > CONNECTS_CORES:
            return (
                f"--peak-rps {rate} (by the closed-form screen, not simulated), or units that keep their connection for more"
                f" work: every getConnection() calls every pod, and at {demand.rate:,.0f}/s these calls alone take"
                f" {connects_cores:.0f} cores of each pod, however many there are"
            )
        if rate < 1:
            return "none at any rate within these bounds: allow more replicas, or more database connections or cores"
        return f"--peak-rps {rate} (by the closed-form screen, not simulated), or more database cores, connections or replicas"
    asked = {"fast_p99_s": objectives.fast_p99_s, "slow_p99_s": objectives.slow_p99_s}
    best: tuple[float, Rejection] | None = None
    for rejection in result.rejections:
        ratio = max(judgement.estimate.high / judgement.objective.limit for judgement in rejection.judgements)
        if ratio < inf and (best is None or ratio < best[0]):
            best = ratio, rejection
    if best is None:
        if not demand.warm_pools:
            return "pools that are built before clients reach a pod (docs/restarts.md): without --cold-pools"
        return f"a lower rate: units hang in a disruption with every candidate; try --peak-rps {int(demand.rate / 2)}"
    wanted: dict[str, float] = {}
    for judgement in best[1].judgements:
        objective = judgement.objective
        name = objective.measure.removeprefix("recovered_")
        ratio = max(1.0, judgement.estimate.high / objective.limit)
        if name == "failed_share":
            asks = objective.limit * ratio
        elif objective.situation is Situation.STEADY or name != objective.measure:
            asks = asked[name] * ratio
        else:
            name, asks = "factor", objectives.disruption_factor * ratio
        wanted[name] = max(wanted.get(name, 0.0), asks)
    flags = {
        "factor": lambda limit: f"--disruption-factor {ceil(limit)}",
        "fast_p99_s": lambda limit: f"--fast-p99 {ceil(limit * 1e3)}ms",
        "slow_p99_s": lambda limit: f"--slow-p99 {ceil(limit * 1e3)}ms",
        "failed_share": lambda limit: f"--failed {limit:.2%} --disruption-failed {limit:.2%}",
    }
    words = " ".join(flags[name](limit) for name, limit in sorted(wanted.items()))
    return f"{words} (what {describe(best[1].deployment)} kept in {best[1].replications} runs)"


def size(
    workload: Workload | str,
    peak_rps: float,
    *,
    database: Database | None = None,
    objectives: Objectives | None = None,
    seed: int = 1,
    engine: Engine = "auto",
    least_replicas: int = LEAST_REPLICAS,
    most_replicas: int = MOST_REPLICAS,
    constants: Constants | None = None,
    version: str = DEFAULT_VERSION,
    warm_pools: bool = True,
    budget_s: float = inf,
    also: Sequence[Situation] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    listener: Listener = unheard,
) -> Recommendation:
    """Size an OJP deployment for ``peak_rps`` units of work per second.

    ``workload`` may be a preset's name; ``constants`` None: the table's with the workload's own over them; ``warm_pools`` False:
    the pools of a pod that comes back are built by whoever comes first, as OJP does it (docs/restarts.md); ``also`` names
    situations to be judged beside the three; ``workers`` None: one per core; ``scheduler``: that of a Dask cluster,
    ``tcp://host:port``. The answer is the same whoever works. Raises InputError for limits below the bare service
    time, and for a server version that isn't modelled.
    """
    work = read_workload(workload) if isinstance(workload, str) else workload
    (
        work, peak_rps, database, objectives, seed, engine, least_replicas, most_replicas, constants, warm_pools, budget_s,
        also, workers, scheduler,
    ) = checked(
        workload=work, peak_rps=peak_rps, database=database, objectives=objectives, seed=seed, engine=engine,
        least_replicas=least_replicas, most_replicas=most_replicas, constants=constants, warm_pools=warm_pools,
        budget_s=budget_s, also=also, workers=workers, scheduler=scheduler,
    )  # fmt: skip
    constants = constants or constants_of(work)
    check_version(version, most_replicas)
    objectives = objectives or Objectives()
    database = database or Database()
    check_objectives(work, objectives, least_replicas, constants)
    result = search(
        work, peak_rps, database, objectives, seed=seed, engine=engine, least_replicas=least_replicas,
        most_replicas=most_replicas, constants=constants, version=version, warm_pools=warm_pools,
        budget_s=budget_s, also=also, workers=workers, scheduler=scheduler, listener=listener,
    )  # fmt: skip
    answer = result.answer
    shown = answer if answer and answer.verdict is Verdict.MET else None
    return Recommendation(
        workload=work,
        rate=peak_rps,
        objectives=objectives,
        seed=seed,
        engine=clock_class(engine).name,
        verdict=result.verdict,
        evaluation=answer,
        resources=_resources(work, shown) if shown else None,
        database=database_need(result.demand, shown.deployment, shown) if shown else None,
        cost_cores=cost_cores(work, answer.deployment) if answer else None,
        smaller=result.smaller,
        rejections=result.rejections,
        screened=result.screened,
        stopped=result.stopped,
        nearest=_nearest(result.demand, result, objectives, constants, (least_replicas, most_replicas)),
        units=result.units,
        constants=constants,
        warnings=warnings_of(Subject(answer.deployment)) if answer else (),
    )


def check(
    workload: Workload | str,
    peak_rps: float,
    deployment: Deployment,
    *,
    objectives: Objectives | None = None,
    seed: int = 1,
    engine: Engine = "auto",
    also: Sequence[Situation] = (),
    warnings: tuple[Finding, ...] | None = None,
    files: tuple[str, ...] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    listener: Listener = unheard,
) -> Judged:
    """Judge one given deployment in the three situations, and in those of ``also``, by the deployment's constants.

    ``warnings`` are those that reading its file gave; None: the rules look at the deployment. Raises InputError where a
    rule refuses it, and for limits below the bare service time.
    """
    work = read_workload(workload) if isinstance(workload, str) else workload
    work, peak_rps, deployment, objectives, seed, engine, also, workers, scheduler = checked(
        workload=work, peak_rps=peak_rps, deployment=deployment, objectives=objectives, seed=seed, engine=engine,
        also=also, workers=workers, scheduler=scheduler,
    )  # fmt: skip
    check_constants(deployment.constants, "deployment.constants")
    objectives = objectives or Objectives()
    if warnings is None:
        warnings = warnings_of(Subject(deployment))
    check_objectives(work, objectives, deployment.replicas, deployment.constants)
    with workers_for(engine, workers, scheduler) as pool:
        situations = situations_with(also)
        bench = Bench(work, peak_rps, objectives, seed, engine, pool, situations, lambda what: listener(what, 1, 1))
        *_, evaluation = evaluations(bench, deployment, thorough=True)
    return Judged(work, peak_rps, objectives, seed, clock_class(engine).name, evaluation, warnings, files)
