"""The answer's tables, as values: the terminal, the page and a notebook show the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from ojp_sizing.behaviour.arithmetic import share_of_pool
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import SET
from ojp_sizing.deployment.deployment import Deployment, describe
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.deployment.rules import Finding
from ojp_sizing.deployment.situations import Situation, in_order
from ojp_sizing.measurement.objectives import Judgement, Verdict
from ojp_sizing.quantities import format_bytes, format_cores
from ojp_sizing.report.bands import against
from ojp_sizing.report.hazards import hazards_by_name
from ojp_sizing.report.words import (
    COLLAPSE,
    by_model_words,
    carried_words,
    finding,
    growth_words,
    held_back,
    jvms_words,
    knob_words,
    ranges_words,
    risk_words,
    shown_number,
    when_back,
    with_interval,
)
from ojp_sizing.showing import Shown
from ojp_sizing.sizing.evidence import Evaluation, SituationResult
from ojp_sizing.sizing.locking import can_lock
from ojp_sizing.sizing.recommendation import Judged, Neighbour, Recommendation
from ojp_sizing.theory.offered import connect_cores, pod_cores

if TYPE_CHECKING:
    from pandas import DataFrame

Answer = Recommendation | Judged
Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Table(Shown):
    """Rows of text under headings. A notebook shows it; ``frame`` is for further work."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def frame(self) -> DataFrame:
        """The same as a pandas table of text, its first column as the index."""
        import pandas as pd  # noqa: PLC0415 - heavy, and only where it is asked for

        return pd.DataFrame(list(self.rows), columns=list(self.columns)).set_index(self.columns[0])


def _table(title: str, columns: Sequence[str], rows: Rows) -> Table:
    return Table(title, tuple(columns), tuple(rows))


#: So many of what was turned away are shown.
LAST_REJECTED = 5
#: Rows of the table of measures: shown name, measure, factor.
ROWS = (
    ("fast units: p50, ms", "fast_p50_s", 1e3),
    ("fast units: p95, ms", "fast_p95_s", 1e3),
    ("fast units: p99, ms", "fast_p99_s", 1e3),
    ("fast units: p99 after it, ms", "recovered_fast_p99_s", 1e3),
    ("slow units: p50, ms", "slow_p50_s", 1e3),
    ("slow units: p95, ms", "slow_p95_s", 1e3),
    ("slow units: p99, ms", "slow_p99_s", 1e3),
    ("slow units: p99 after it, ms", "recovered_slow_p99_s", 1e3),
    ("failed units, %", "failed_share", 100.0),
    ("failed units after it, %", "recovered_failed_share", 100.0),
    ("CPU use of the limit, %", "cpu_use", 100.0),
    ("CPU in the worst second, cores", "cpu_peak_cores", 1.0),
    ("CPU throttled, % of the time", "cpu_throttled_share", 100.0),
    ("containers killed for their memory", "memory_kills", 1.0),
    ("threads in use, %", "threads_use", 100.0),
    ("fast slots in use, %", "fast_slots_use", 100.0),
    ("slow slots in use, %", "slow_slots_use", 100.0),
    ("connections in use, %", "connections_use", 100.0),
    ("database cores busy", "database_cores", 1.0),
)

#: Rows that are shown only where there is something.
TROUBLES = {"cpu_throttled_share", "memory_kills"}
SETTING = ("setting", "value")


def tables_of(answer: Answer) -> dict[str, Table]:
    """Every table of an answer by name, the first ones those to act on; those without a row are left out."""
    return {name: table for name, table in _tables(answer) if table.rows}


def _tables(answer: Answer) -> Iterator[tuple[str, Table]]:
    evaluation = answer.evaluation
    has_runs = evaluation is not None and bool(evaluation.results)
    if has_runs:
        yield "shown", evidence_table(answer)
    if answer.ranges:
        yield "ranges", _table("Over the ranges of your inputs", ("input", "finding"), ranges_words(answer.ranges))
    if evaluation is not None:
        back = ("required" if evaluation.deployment.warm_pools else "as OJP does it", when_back(evaluation.deployment))
        yield "back", _table("When a pod comes back", ("", ""), [back])
    if isinstance(answer, Judged):
        yield "given", given_table(answer.deployment, ", ".join(answer.files) or "by the calling program")
        if answer.carries:
            yield "carries", _table("Largest demand", ("", ""), [("as given", carried_words(answer.carries))])
    elif answer.resources is not None and answer.database is not None:
        yield "deploy", deploy_table(answer)
        yield "database", database_table(answer)
    if evaluation is not None and has_runs:
        yield "measures", measures_table(answer)
    yield (
        "server",
        _table(
            "Against a real server (docs/validation.md)",
            ("where", "error of the model"),
            list(against(evaluation).items()),
        ),
    )
    if evaluation is not None and has_runs:
        yield "failures", failures_table(evaluation)
        yield "traps", traps_table(evaluation)
    yield "warnings", warnings_table(answer.warnings)
    if isinstance(answer, Recommendation):
        if answer.resources is not None:
            yield "cost", cost_table(answer)
            yield "smaller", smaller_table(answer)
            yield "knobs", knobs_table(answer)
            yield "others", others_table(answer)
            yield "folk", folk_table(answer)
        else:
            yield "rejected", rejected_table(answer)
    if has_runs:
        yield "notes", notes(answer)


def evidence_table(answer: Answer) -> Table:
    """What was shown: risks, steady peak, and where it is the model's word alone."""
    evaluation = answer.evaluation
    assert evaluation is not None  # noqa: S101
    rows: list[tuple[str, str]] = []
    for situation in in_order(evaluation.results):
        result = evaluation.results[situation]
        words = risk_words(result) or f"{result.replications} runs: {_steady_words(result)}"
        rows.append((situation.words, f"{words}; {result.reason}" if result.reason else words))
    rows.append(("client JVMs", jvms_words(answer.question, answer.client_jvms)))
    if answer.verdict.is_met and not answer.deployment.stays_undivided:
        rows.append(("", COLLAPSE))
    if answer.growth is not None:
        rows.append(("growth", growth_words(answer.growth)))
    unseen = by_model_words(evaluation)
    if unseen:
        rows.append(("by the model only", f"no real server was measured there: {unseen}"))
    return _table("What was shown", ("situation", "finding"), rows)


def _steady_words(result: SituationResult) -> str:
    known = [j for j in result.judgements if j.verdict is not Verdict.NOT_MEASURED]
    open_ones = [j for j in known if not j.verdict.is_met]
    if not open_ones:
        return "every limit holds by its whole interval"
    return "; ".join(f"{j.objective.measure.replace('_', ' ').removesuffix(' s')} {j.verdict.value}" for j in open_ones)


def deploy_table(recommendation: Recommendation) -> Table:
    """What to deploy."""
    deployment, resources = recommendation.deployment, recommendation.resources
    assert resources is not None  # noqa: S101 - an answer has resources
    server, memory = deployment.server, resources.memory
    rows = [
        ("replicaCount", f"{deployment.replicas}"),
        (
            "CPU request, limit",
            f"{format_cores(resources.request_cores)}, {format_cores(resources.limit_cores)} a pod",
        ),
        ("memory request = limit", f"{format_bytes(memory.limit)} a pod; heap {format_bytes(memory.heap)}"),
        ("threadPoolSize", f"{server.thread_pool_size}"),
        ("circuitBreakerTimeout", f"{server.breaker_open_s * 1e3:.0f} ms"),
        ("slowSlotPercentage", f"{server.slow_slot_percentage} ({slots_words(deployment)})"),
        ("client maximumPoolSize", f"{deployment.pool.maximum_size} ({_pool_share(deployment)})"),
        ("client minimumIdle", f"{deployment.pool.minimum_idle}"),
    ]
    return _table("Deploy", SETTING, rows)


def slots_words(deployment: Deployment) -> str:
    """A pod's slots, or that there are none."""
    fast, slow = deployment.slots_per_pod
    if not deployment.server.segregation:
        return "without effect: segregation is off"
    return f"{fast} fast and {slow} slow slots a pod"


def _pool_share(deployment: Deployment) -> str:
    """What a pod has of the pool, and whether that changes while pods are missing."""
    share, replicas = deployment.pool_per_pod, deployment.replicas
    missing_two = share_of_pool(deployment.pool.maximum_size, max(1, replicas - 2))
    if deployment.stays_undivided:
        return f"{share} a pod, the same while up to two pods are missing: no pool is emptied and rebuilt"
    return f"{share} a pod, {missing_two} while two are missing: pools are emptied when they shrink back"


def database_table(recommendation: Recommendation) -> Table:
    """What the database must bear."""
    need = recommendation.database
    assert need is not None  # noqa: S101 - an answer has a database
    cores = f"{need.cores:g}, as given" if need.cores_stated else f"at least {need.cores:g}"
    fixed = "" if need.cores_stated else "; pass --db-cores to size for a fixed database"
    reserve = need.max_connections - need.open_connections
    most = f"at least {need.max_connections} = peak {need.open_connections} + {reserve} reserved"
    connections = ", fits into what was given" if need.connections_stated else ""
    rows = [
        ("database cores", f"{cores}; {shown_number(need.busy_cores)} busy at steady peak{fixed}"),
        ("max_connections", f"{most}{connections}; the pools' shares alone make {need.shared_connections}"),
    ]
    return _table("Database", SETTING, rows)


def measures_table(answer: Answer) -> Table:
    """Every measure in every situation, with its interval and what was asked."""
    assert answer.evaluation is not None  # noqa: S101
    results = answer.evaluation.results
    shown = in_order(results)
    judged = {
        (situation, judgement.objective.measure): judgement
        for situation in shown
        for judgement in results[situation].judgements
    }
    segregation = answer.evaluation.deployment.server.segregation
    rows: list[tuple[str, ...]] = []
    for name, measure, scale in ROWS:
        known = [result.measures[measure].value for result in results.values() if measure in result.measures]
        if all(isnan(value) for value in known) or ("_slots_" in measure and not segregation):
            continue
        if measure in TROUBLES and not any(known):
            continue
        cells: list[str] = []
        for situation in shown:
            estimate = results[situation].measures.get(measure)
            cell = with_interval(estimate, scale) if estimate else ""
            cells.append(cell + _against_limit(judged.get((situation, measure)), scale) if cell else "")
        rows.append((name, *cells))
    columns = ("latency is that of the unit of work", *(situation.words for situation in shown))
    return _table("Predicted, value [95 % interval]", columns, rows)


def _against_limit(judgement: Judgement | None, scale: float) -> str:
    """The limit, and the upper end with the model's known error where that is more."""
    if judgement is None:
        return ""
    sign = "<=" if judgement.widened <= judgement.objective.limit else "vs"
    limit = f" {sign} {shown_number(judgement.objective.limit * scale)}"
    known = (
        f" to {shown_number(judgement.widened * scale)}" if judgement.widened > 1.001 * judgement.estimate.high else ""
    )
    return known + limit


def notes(answer: Answer) -> Table:
    """What the numbers mean and rest on."""
    runs = ", ".join(
        f"{result.replications} of {situation.words}{_abridged(result)}"
        for situation, result in (answer.evaluation.results.items() if answer.evaluation else ())
    )
    rows = [
        (
            "latency",
            "from the instant a unit is due (it asks for its connection) to its close, less client think time;"
            " fast or slow by its slowest statement",
        ),
        (
            "known error",
            "'to N': the upper end with the largest error that real servers have shown the model to have there;"
            " that end is held against the limit",
        ),
        ("one request", "one unit of work: open a JDBC connection, its statements, close"),
        ("connects", _connects_words(answer)),
        ("behind it", f"{answer.units:,} units simulated (seed {answer.execution.seed}); runs: {runs}"),
        ("engine", _ENGINES[answer.engine]),
        ("measured", "CPU per RPC, start-up, first pools, memory: one machine, OJP 0.3.1-beta (docs/validation.md)"),
        (
            "predicted",
            "the network, and the CPU of result rows: OJP's own book or assumptions" + _set_words(answer),
        ),
    ]
    return _table("How to read it", ("term", "meaning"), rows)


def _connects_words(answer: Answer) -> str:
    """How much of a pod's CPU is there for connects, which more pods don't divide."""
    question = answer.question
    if question.traits.connect_cached:
        return "getConnection() calls no pod but a JVM's first time: all of a pod's CPU is divided among the pods"
    every = connect_cores(question.load, question.rate, question.known)
    text = (
        f"every getConnection() calls every pod: that takes {shown_number(every)} cores of each, however many there are"
    )
    if answer.evaluation is None:
        return text
    rest = pod_cores(question.load, question.rate, answer.evaluation.deployment.replicas, question.known) - every
    return f"{text}; the rest, {shown_number(rest)} cores, is divided among them"


_ENGINES = {
    "compiled": "compiled clock (numba)",
    "simpy": "SimPy clock: the same results as the compiled one, far slower; pip install numba brings that",
}


def _abridged(result: SituationResult) -> str:
    """How much of a disruption was simulated in each run, where that isn't all of it."""
    whole = result.measures.get("window_s")
    if whole is None or isnan(whole.value):
        return ""
    simulated_s = result.measures["simulated_window_s"].value
    return f" ({simulated_s:.0f} s of {whole.value:.0f} s, weighted)" if simulated_s < 0.99 * whole.value else ""


def failures_table(evaluation: Evaluation) -> Table:
    """How the failed units of all runs failed, as they were simulated."""
    rows = [
        (situation.words, ", ".join(f"{count:,} {ending}" for ending, count in result.failures.items()))
        for situation, result in evaluation.results.items()
        if result.failures
    ]
    found = rows or [("none", "in no run of any situation")]
    return _table("How units failed, all runs", ("situation", "units"), found)


def traps_table(evaluation: Evaluation) -> Table:
    """The traps of OJP that the runs met, with their fix."""
    rows: list[tuple[str, str]] = []
    for text, met in hazards_by_name(evaluation):
        where = "; ".join(
            f"{situation.words}: {hazard.count:,} in {hazard.runs} of {runs} runs, first at {hazard.first_s:.1f} s"
            for situation, runs, hazard in met
        )
        rows += [(text.title, where), ("", f"{text.what} ({text.source})"), ("", f"fix: {text.fix}")]
    found = rows or [("none", "in no run of any situation")]
    return _table("Traps of OJP that the runs met", ("trap", "where, why, and the fix"), found)


def _set_words(answer: Answer) -> str:
    """How many of the constants the user has set, and where."""
    rows = answer.question.known.rows()
    sources = [row.source for row in rows.values() if row.status == SET]
    files = ", ".join(dict.fromkeys(sources))
    return f"; {len(sources)} of {len(rows)} constants set by you ({files})" if sources else ""


def given_table(deployment: Deployment, source: str = "") -> Table:
    """A deployment as it is given, with OJP's defaults where its file is silent."""
    server, pool = deployment.server, deployment.pool
    rows = [
        ("version", deployment.version),
        ("replicaCount", f"{deployment.replicas}"),
        ("CPU limit", f"{format_cores(deployment.limit_cores)} a pod"),
        ("threadPoolSize", f"{server.thread_pool_size}"),
        ("circuitBreakerTimeout", f"{server.breaker_open_s * 1e3:.0f} ms"),
        ("slowSlotPercentage", f"{server.slow_slot_percentage} ({slots_words(deployment)})"),
        ("client maximumPoolSize", f"{pool.maximum_size} ({_pool_share(deployment)})"),
        ("client minimumIdle", f"{pool.minimum_idle}"),
    ]
    return _table(f"As given ({source})" if source else "Deployment", SETTING, rows)


def warnings_table(warnings: Sequence[Finding]) -> Table:
    """What the rules warn about, with the fix and the rule's source."""
    rows = [(w.place, f"{w.text}; {w.fix} [{w.name}: {w.source}]") for w in warnings]
    return _table("Warnings", ("setting", "warning"), rows)


def smaller_table(recommendation: Recommendation) -> Table:
    """What holds the next smaller choice back."""
    rows = [(smaller.change, held_back(smaller)) for smaller in recommendation.smaller]
    return _table("Why not smaller", ("instead", "finding"), rows or [("none", "nothing smaller is allowed")])


def cost_table(recommendation: Recommendation) -> Table:
    """What the answer costs, and what else passed: the frontier."""
    unit = "a month" if recommendation.question.prices.in_money else "core equivalents"
    rows = [
        (
            f"{one.cost:,.4g}",
            ("the answer: " if one.deployment == recommendation.deployment else "") + one.change,
            _p99(one),
            f"{connections_at_most(one.deployment.pool.maximum_size, one.deployment.replicas)}",
            _runs_words(one),
        )
        for one in recommendation.frontier
    ]
    columns = (f"cost, {unit}", "deployment", "p99 fast, ms", "connections", "runs")
    return _table("Cost: the answer, and what else passed", columns, rows)


def _p99(neighbour: Neighbour) -> str:
    """At steady peak, where it was simulated."""
    if not isinstance(neighbour.outcome, Evaluation):
        return ""
    return with_interval(neighbour.outcome.results[Situation.STEADY].measures["fast_p99_s"], 1e3)


def _runs_words(neighbour: Neighbour) -> str:
    if not isinstance(neighbour.outcome, Evaluation):
        return ""
    runs = sum(result.replications for result in neighbour.outcome.results.values())
    return f"{runs}, no verdict" if neighbour.outcome.explored else f"{runs}"


def others_table(recommendation: Recommendation) -> Table:
    """Segregation the other way, and cold pools: what each would cost and do."""
    rows = [(one.change, _other_words(recommendation, one)) for one in recommendation.others]
    if not recommendation.deployment.server.segregation:
        locks = can_lock(recommendation.question.workload)
        why = (
            "off is the answer: units of this workload mix first statements without a session and statements inside one, so that"
            " slots and connections can lock each other (seen on real servers with small pools)"
            if locks
            else "these units can't lock slots and connections; on is the answer where it costs no more"
        )
        rows.append(("segregation", why))
    return _table("Slow slots, and the warm-up", ("instead", "finding"), rows)


def _other_words(recommendation: Recommendation, one: Neighbour) -> str:
    assert recommendation.cost is not None  # noqa: S101
    if one.deployment == recommendation.deployment:
        return "is the answer"
    more = one.cost - recommendation.cost
    cost = f"costs {more:+.3g}" if abs(more) >= 0.005 else "costs the same"
    p99 = _p99(one)
    at_peak = f": p99 of fast units {p99} ms at steady peak" if p99 else ""
    explored = ", few runs" if isinstance(one.outcome, Evaluation) and one.outcome.explored else ""
    return f"{describe(one.deployment)}, {cost}: {held_back(one)}{at_peak}{explored}"


def knobs_table(recommendation: Recommendation) -> Table:
    """What one more of each thing costs and buys: changes of p99 by pairs of runs."""
    rows = [(knob.change, knob_words(knob)) for knob in recommendation.knobs]
    return _table("What more would buy", ("one step", "cost and effect"), rows)


def folk_table(recommendation: Recommendation) -> Table:
    """What the formulas in use today would deploy, and what became of it."""
    rows = [(one.change, _other_words(recommendation, one)) for one in recommendation.folk]
    rows = rows or [("not simulated", "--explain does; docs/folk.md has them for 45 demands")]
    return _table("What formulas in use today would deploy", ("formula", "finding"), rows)


def rejected_table(recommendation: Recommendation) -> Table:
    """The last deployments that were turned away, where none was shown to do."""
    shown = recommendation.rejections[-LAST_REJECTED:]
    rows = [(describe(r.deployment), finding(r)) for r in shown]
    return _table(
        f"Turned away ({len(recommendation.rejections)} in all, the last {len(shown)})", ("deployment", "finding"), rows
    )


def statements_table(workload: Workload) -> Table:
    """What arrives: the statements of a workload."""
    rows = [
        (
            statement.name,
            statement.kind,
            shown_number(statement.database_time.mean_s * 1e3),
            statement.database_time.family,
            f"{statement.rows:,}",
            workload.lane_of(statement),
        )
        for statement in workload.statements
    ]
    columns = ("statement", "kind", "database time, mean ms", "distribution", "rows", "judged as")
    return _table(f"Statements of {workload.name}", columns, rows)
