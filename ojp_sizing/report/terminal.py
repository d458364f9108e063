"""The answer on a terminal: verdict first, numbers second."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ojp_sizing.behaviour.arithmetic import share_of_pool
from ojp_sizing.deployment.constants import SET
from ojp_sizing.deployment.deployment import Deployment, describe
from ojp_sizing.deployment.rules import Finding
from ojp_sizing.emit.release import Release
from ojp_sizing.emit.writing import Written
from ojp_sizing.measurement.objectives import Judgement, Situation, Verdict
from ojp_sizing.quantities import format_bytes, format_cores
from ojp_sizing.report.bands import against
from ojp_sizing.report.hazards import hazards_by_name
from ojp_sizing.report.words import (
    COLLAPSE,
    by_model_words,
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
from ojp_sizing.sizing.evidence import Evaluation, SituationResult
from ojp_sizing.sizing.locking import can_lock
from ojp_sizing.sizing.recommendation import Judged, Neighbour, Recommendation
from ojp_sizing.theory.offered import connect_cores, pod_cores

STYLES = {
    Verdict.MET: "bold green",
    Verdict.MET_BY_MODEL: "bold green",
    Verdict.NOT_MET: "bold red",
    Verdict.UNDECIDED: "bold yellow",
}

#: Rows of the table of measures: shown name, measure, factor.
ROWS = (
    ("fast units: p50, ms", "fast_p50_s", 1e3),
    ("            p95, ms", "fast_p95_s", 1e3),
    ("            p99, ms", "fast_p99_s", 1e3),
    ("            p99 after it, ms", "recovered_fast_p99_s", 1e3),
    ("slow units: p50, ms", "slow_p50_s", 1e3),
    ("            p95, ms", "slow_p95_s", 1e3),
    ("            p99, ms", "slow_p99_s", 1e3),
    ("            p99 after it, ms", "recovered_slow_p99_s", 1e3),
    ("failed units, %", "failed_share", 100.0),
    ("             after it, %", "recovered_failed_share", 100.0),
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


def headline(recommendation: Recommendation | Judged) -> Text:
    """One line: the verdict, and what it is about."""
    question = recommendation.question
    jvms = question.workload.clients.jvms
    rate = f"{question.rate:,.6g} units of work/s of {question.workload.name} from {jvms} client JVM{'s' * (jvms > 1)}"
    verdict = recommendation.verdict
    text = Text()
    text.append(verdict.value.upper(), style=STYLES[verdict])
    if verdict.is_met:
        text.append(f"  {describe(recommendation.deployment)} carry {rate}")
    elif isinstance(recommendation, Judged):
        words = "do not carry" if verdict is Verdict.NOT_MET else "were not shown to carry"
        text.append(f"  {describe(recommendation.deployment)} {words} {rate}")
    elif verdict is Verdict.NOT_MET:
        none = (
            f"none of the {recommendation.tried} deployments tried carries"
            if recommendation.tried
            else "nothing can carry"
        )
        text.append(f"  {none} {rate}: {recommendation.stopped}")
    else:
        text.append(f"  no deployment was shown to carry {rate}: {recommendation.stopped}")
    return text


def evidence_table(answer: Recommendation | Judged) -> Table:
    """What was shown, in the first lines: risks, steady peak, and where it is the model's word alone."""
    evaluation = answer.evaluation
    assert evaluation is not None  # noqa: S101
    rows: list[tuple[str, str]] = []
    for situation in sorted(evaluation.results, key=list(Situation).index):
        result = evaluation.results[situation]
        words = risk_words(result) or f"{result.replications} runs: {_steady_words(result)}"
        rows.append((situation.value, f"{words}; {result.reason}" if result.reason else words))
    rows.append(("client JVMs", jvms_words(answer.question, answer.client_jvms)))
    if answer.verdict.is_met and not answer.deployment.stays_undivided:
        rows.append(("", COLLAPSE))
    if answer.growth is not None:
        rows.append(("growth", growth_words(answer.growth)))
    unseen = by_model_words(evaluation)
    if unseen:
        rows.append(("by the model only", f"no real server was measured there: {unseen}"))
    return _pairs(rows)


def _steady_words(result: SituationResult) -> str:
    known = [j for j in result.judgements if j.verdict is not Verdict.NOT_MEASURED]
    open_ones = [j for j in known if not j.verdict.is_met]
    if not open_ones:
        return "every limit holds by its whole interval"
    return "; ".join(f"{j.objective.measure.replace('_', ' ').removesuffix(' s')} {j.verdict.value}" for j in open_ones)


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text("  " + name), Text(value))
    return table


def deploy_table(recommendation: Recommendation) -> Table:
    """What to deploy."""
    deployment, resources = recommendation.deployment, recommendation.resources
    assert resources is not None  # noqa: S101 - an answer has resources
    server, memory = deployment.server, resources.memory
    segregation = "" if server.segregation else "; without effect: segregation is OFF in values.yaml, see below"
    fast, slow = deployment.slots_per_pod
    slots = (
        f" ({fast} fast and {slow} slow slots a pod{segregation})" if server.segregation else f" ({segregation[2:]})"
    )
    return _pairs(
        [
            ("replicaCount", f"{deployment.replicas}"),
            (
                "CPU request, limit",
                f"{format_cores(resources.request_cores)}, {format_cores(resources.limit_cores)} a pod",
            ),
            (
                "memory request = limit",
                f"{format_bytes(memory.limit)} a pod; heap {format_bytes(memory.heap)}",
            ),
            ("threadPoolSize", f"{server.thread_pool_size}"),
            ("circuitBreakerTimeout", f"{server.breaker_open_s * 1e3:.0f} ms"),
            ("slowSlotPercentage", f"{server.slow_slot_percentage}{slots}"),
            ("client maximumPoolSize", f"{deployment.pool.maximum_size} ({_pool_share(deployment)})"),
            ("client minimumIdle", f"{deployment.pool.minimum_idle}"),
        ]
    )


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
    return _pairs(
        [
            ("database cores", f"{cores}; {shown_number(need.busy_cores)} busy at steady peak{fixed}"),
            ("max_connections", f"{most}{connections}; the pools' shares alone make {need.shared_connections}"),
        ]
    )


def measures_table(recommendation: Recommendation | Judged) -> Table:
    """Every measure in every situation, with its interval and what was asked."""
    assert recommendation.evaluation is not None  # noqa: S101
    results = recommendation.evaluation.results
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Predicted, value [95 % interval]", title_justify="left")
    table.add_column("latency is that of the unit of work")
    shown = [situation for situation in Situation if situation in results]
    for situation in shown:
        table.add_column(situation.value, justify="right", no_wrap=True)
    judged = {
        (situation, judgement.objective.measure): judgement
        for situation in shown
        for judgement in results[situation].judgements
    }
    segregation = recommendation.deployment.server.segregation
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
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    return table


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


def _when_back(recommendation: Recommendation | Judged) -> tuple[str, Table]:
    """What the answer assumes of a pod that comes back, in an update or after a loss."""
    deployment = recommendation.deployment
    return "When a pod comes back", _pairs([("required" if deployment.warm_pools else "", when_back(deployment))])


def _against_server(recommendation: Recommendation | Judged) -> tuple[str, Table]:
    """How far the model was from a real server where this answer is."""
    return "Against a real server (docs/validation.md)", _pairs(list(against(recommendation.evaluation).items()))


def notes(recommendation: Recommendation | Judged) -> Table:
    """What the numbers mean and rest on."""
    runs = ", ".join(
        f"{result.replications} of {situation.value}{_abridged(result)}"
        for situation, result in (recommendation.evaluation.results.items() if recommendation.evaluation else ())
    )
    return _pairs(
        [
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
            ("connects", _connects_words(recommendation)),
            (
                "behind it",
                f"{recommendation.units:,} units simulated (seed {recommendation.execution.seed}); runs: {runs}",
            ),
            ("engine", _ENGINES[recommendation.engine]),
            (
                "measured",
                "CPU per RPC, start-up, first pools, memory: one machine, OJP 0.3.1-beta (docs/validation.md)",
            ),
            (
                "predicted",
                "the network, and the CPU of result rows: OJP's own book or assumptions" + _set_words(recommendation),
            ),
        ]
    )


def _connects_words(recommendation: Recommendation | Judged) -> str:
    """How much of a pod's CPU is there for connects, which more pods don't divide."""
    question = recommendation.question
    if question.traits.connect_cached:
        return "getConnection() calls no pod but a JVM's first time: all of a pod's CPU is divided among the pods"
    every = connect_cores(question.load, question.rate, question.known)
    text = (
        f"every getConnection() calls every pod: that takes {shown_number(every)} cores of each, however many there are"
    )
    if recommendation.evaluation is None:
        return text
    rest = pod_cores(question.load, question.rate, recommendation.deployment.replicas, question.known) - every
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
        (situation.value, ", ".join(f"{count:,} {ending}" for ending, count in result.failures.items()))
        for situation, result in evaluation.results.items()
        if result.failures
    ]
    return _pairs(rows or [("none", "in no run of any situation")])


def hazards_table(evaluation: Evaluation) -> Table:
    """The traps of OJP that the runs met, with their fix."""
    rows: list[tuple[str, str]] = []
    for text, met in hazards_by_name(evaluation):
        where = "; ".join(
            f"{situation.value}: {hazard.count:,} in {hazard.runs} of {runs} runs, first at {hazard.first_s:.1f} s"
            for situation, runs, hazard in met
        )
        rows += [(text.title, where), ("", f"{text.what} ({text.source})"), ("", f"fix: {text.fix}")]
    return _pairs(rows or [("none", "in no run of any situation")])


def _set_words(recommendation: Recommendation | Judged) -> str:
    """How many of the constants the user has set, and where."""
    rows = recommendation.question.known.rows()
    sources = [row.source for row in rows.values() if row.status == SET]
    files = ", ".join(dict.fromkeys(sources))
    return f"; {len(sources)} of {len(rows)} constants set by you ({files})" if sources else ""


def given_table(deployment: Deployment) -> Table:
    """What was judged, with OJP's defaults where its file is silent."""
    server, pool = deployment.server, deployment.pool
    fast, slow = deployment.slots_per_pod
    slots = f"{fast} fast and {slow} slow slots a pod" if server.segregation else "without effect: segregation is off"
    return _pairs(
        [
            ("version", deployment.version),
            ("replicaCount", f"{deployment.replicas}"),
            ("CPU limit", f"{format_cores(deployment.limit_cores)} a pod"),
            ("threadPoolSize", f"{server.thread_pool_size}"),
            ("circuitBreakerTimeout", f"{server.breaker_open_s * 1e3:.0f} ms"),
            ("slowSlotPercentage", f"{server.slow_slot_percentage} ({slots})"),
            ("client maximumPoolSize", f"{pool.maximum_size} ({_pool_share(deployment)})"),
            ("client minimumIdle", f"{pool.minimum_idle}"),
        ]
    )


def warnings_table(warnings: Sequence[Finding]) -> Table:
    """What the rules warn about, with the fix and the rule's source."""
    return _pairs([(w.place, f"{w.text}; {w.fix} [{w.name}: {w.source}]") for w in warnings])


def smaller_table(recommendation: Recommendation) -> Table:
    """What holds the next smaller choice back."""
    rows = [(smaller.change, held_back(smaller)) for smaller in recommendation.smaller]
    return _pairs(rows or [("none", "nothing smaller is allowed")])


def cost_table(recommendation: Recommendation) -> Table:
    """What the answer costs, and what else passed for more."""
    unit = "a month" if recommendation.question.prices.in_money else "core equivalents"
    rows = [("this answer", f"{recommendation.cost:,.4g} {unit}")]
    rows += [
        (f"{neighbour.cost:,.4g}", f"{neighbour.change}{_p99_words(neighbour)}")
        for neighbour in recommendation.frontier
        if neighbour.deployment != recommendation.deployment
    ]
    return _pairs(rows)


def _p99_words(neighbour: Neighbour) -> str:
    if not isinstance(neighbour.outcome, Evaluation):
        return ""
    p99 = neighbour.outcome.results[Situation.STEADY].measures["fast_p99_s"]
    explored = ", few runs" if neighbour.outcome.explored else ""
    return f": p99 of fast units {with_interval(p99, 1e3)} ms at steady peak{explored}"


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
    return _pairs(rows)


def _other_words(recommendation: Recommendation, one: Neighbour) -> str:
    assert recommendation.cost is not None  # noqa: S101
    if one.deployment == recommendation.deployment:
        return "is the answer"
    more = one.cost - recommendation.cost
    cost = f"costs {more:+.3g}" if abs(more) >= 0.005 else "costs the same"
    return f"{describe(one.deployment)}, {cost}: {held_back(one)}{_p99_words(one)}"


def knobs_table(recommendation: Recommendation) -> Table:
    """What one more of each thing costs and buys: changes of p99 by pairs of runs."""
    return _pairs([(knob.change, knob_words(knob)) for knob in recommendation.knobs])


def folk_table(recommendation: Recommendation) -> Table:
    """What the formulas in use today would deploy, and what became of it."""
    if not recommendation.folk:
        return _pairs([("not simulated", "--explain does; docs/folk.md has them for 45 demands")])
    return _pairs([(one.change, _other_words(recommendation, one)) for one in recommendation.folk])


def print_answer(
    console: Console,
    recommendation: Recommendation,
    release: Release | None,
    written: Sequence[Written],
    helm_command: str,
) -> None:
    """Print the whole answer."""
    if recommendation.interrupted:
        _print_interrupted(console, recommendation)
        return
    console.print(headline(recommendation))
    if recommendation.evaluation is None or release is None:
        _print_no_answer(console, recommendation)
        return
    sections: list[tuple[str, RenderableType]] = [
        ("What was shown", evidence_table(recommendation)),
        *_over_ranges(recommendation),
        _when_back(recommendation),
        ("Deploy", deploy_table(recommendation)),
        ("Database", database_table(recommendation)),
        ("", measures_table(recommendation)),
        _against_server(recommendation),
        *_troubles(recommendation.evaluation),
        *_warnings(recommendation.warnings),
        ("Cost", cost_table(recommendation)),
        ("Why not smaller", smaller_table(recommendation)),
        *([("What more would buy", knobs_table(recommendation))] if recommendation.knobs else []),
        ("Slow slots, and the warm-up", others_table(recommendation)),
        ("How to read it", notes(recommendation)),
        ("What formulas in use today would deploy", folk_table(recommendation)),
        ("Files", _pairs([(str(item.path), item.change) for item in written] or [("none", "")])),
    ]
    _print_sections(console, sections)
    console.print()
    console.print(Text("Apply", style="bold"))
    # A command is to be copied: never wrapped.
    console.print(escape(helm_command.strip()), soft_wrap=True, highlight=False)


def print_judged(console: Console, judged: Judged) -> None:
    """Print the judgement of a given deployment."""
    console.print(headline(judged))
    sections: list[tuple[str, RenderableType]] = [
        ("What was shown", evidence_table(judged)),
        *_over_ranges(judged),
        _when_back(judged),
        (f"As given ({', '.join(judged.files) or 'by the calling program'})", given_table(judged.deployment)),
        ("", measures_table(judged)),
        _against_server(judged),
        *_troubles(judged.evaluation),
        *_warnings(judged.warnings),
        ("How to read it", notes(judged)),
    ]
    _print_sections(console, sections)
    console.print()
    console.print("No file was written.")


def _print_interrupted(console: Console, recommendation: Recommendation) -> None:
    """The best so far, with what is known of it."""
    if recommendation.evaluation is None:
        console.print(
            f"INTERRUPTED  there is no answer yet: no deployment is known to do ({recommendation.units:,} units simulated)"
        )
        return
    verdict, rate = recommendation.evaluation.verdict, f"{recommendation.question.rate:,.6g} units of work/s"
    text = Text("INTERRUPTED  the best so far: ")
    text.append(verdict.value.upper(), style=STYLES[verdict])
    text.append(f"  {describe(recommendation.deployment)}, for {rate} of {recommendation.question.workload.name}")
    console.print(text)
    missing = [s.value for s in recommendation.evaluation.situations if s not in recommendation.evaluation.results]
    if missing:
        console.print(f"  not simulated yet: {', '.join(missing)}")
    if recommendation.evaluation.results:
        evidence = [
            _when_back(recommendation),
            ("", measures_table(recommendation)),
            _against_server(recommendation),
        ]
        _print_sections(console, [*evidence, ("How to read it", notes(recommendation))])


def _over_ranges(answer: Recommendation | Judged) -> list[tuple[str, RenderableType]]:
    return [("Over the ranges of your inputs", _pairs(ranges_words(answer.ranges)))] if answer.ranges else []


def _troubles(evaluation: Evaluation) -> list[tuple[str, RenderableType]]:
    return [
        ("How units failed, all runs", failures_table(evaluation)),
        ("Traps of OJP that the runs met", hazards_table(evaluation)),
    ]


def _warnings(warnings: Sequence[Finding]) -> list[tuple[str, RenderableType]]:
    return [("Warnings", warnings_table(warnings))] if warnings else []


def _print_sections(console: Console, sections: Sequence[tuple[str, RenderableType]]) -> None:
    for title, body in sections:
        console.print()
        console.print(Group(Text(title, style="bold"), body) if title else body)


def _print_no_answer(console: Console, recommendation: Recommendation) -> None:
    if recommendation.nearest:
        console.print(f"  closest request that might be met: {escape(recommendation.nearest)}", highlight=False)
    shown = recommendation.rejections[-5:]
    if shown:
        console.print()
        console.print(
            Text(f"Turned away ({len(recommendation.rejections)} in all, the last {len(shown)})", style="bold")
        )
        console.print(_pairs([(describe(r.deployment), finding(r)) for r in shown]))
    _print_sections(console, [*_over_ranges(recommendation), _against_server(recommendation)])
    console.print("No file was written.")
