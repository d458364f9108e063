"""Measures and findings in words, for the terminal and for comments in files."""

from __future__ import annotations

from math import inf, isnan

from ojp_sizing.deployment.deployment import Deployment, describe
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.objectives import Judgement, Verdict
from ojp_sizing.quantities import format_duration
from ojp_sizing.sizing.evidence import FIRST_LOOK, Evaluation, Rejection, SituationResult
from ojp_sizing.sizing.knobs import PAIRS, Knob
from ojp_sizing.sizing.over_ranges import End, OverRanges
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.reach import Growth, Reach
from ojp_sizing.sizing.recommendation import Judged, Neighbour, Recommendation

#: Shown name, factor and unit of each measure that an objective can be about.
NAMES = {
    "fast_p99_s": ("p99 of fast units", 1e3, "ms"),
    "slow_p99_s": ("p99 of slow units", 1e3, "ms"),
    "failed_share": ("failed units", 100.0, "%"),
}


def headline(answer: Recommendation | Judged) -> str:
    """One line: the verdict, and what it is about."""
    question, verdict = answer.question, answer.verdict
    jvms = question.workload.clients.jvms
    rate = f"{question.rate:,.6g} units of work/s of {question.workload.name} from {jvms} client JVM{'s' * (jvms > 1)}"
    word = verdict.value.upper()
    if verdict.is_met:
        return f"{word}  {describe(answer.deployment)} carry {rate}"
    if isinstance(answer, Judged):
        if answer.evaluation.explored:
            return f"{word}  by few runs, no verdict: {describe(answer.deployment)} for {rate}"
        words = "do not carry" if verdict is Verdict.NOT_MET else "were not shown to carry"
        return f"{word}  {describe(answer.deployment)} {words} {rate}"
    if verdict is Verdict.NOT_MET:
        none = f"none of the {answer.tried} deployments tried carries" if answer.tried else "nothing can carry"
        return f"{word}  {none} {rate}: {answer.stopped}"
    return f"{word}  no deployment was shown to carry {rate}: {answer.stopped}"


def shown_number(value: float) -> str:
    """Three significant digits, without exponent."""
    if isnan(value):
        return "-"
    if value in (inf, -inf):
        return "no end" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.2g}" if abs(value) >= 1e-3 else f"{value:.4f}"


def with_interval(estimate: Estimate, scale: float = 1.0) -> str:
    """``value [low, high]``; "-" where there was nothing to measure."""
    if isnan(estimate.value):
        return "-"
    low, high = shown_number(estimate.low * scale), shown_number(estimate.high * scale)
    return f"{shown_number(estimate.value * scale)} [{low}, {high}]"


def _plain(estimate: Estimate, scale: float) -> str:
    return shown_number(estimate.value * scale) if estimate.replications == 1 else with_interval(estimate, scale)


def judgement_words(judgement: Judgement) -> str:
    """What was measured against what was asked."""
    measure = judgement.objective.measure
    name, scale, unit = NAMES[measure.removeprefix("recovered_")]
    after = " after it" if measure.startswith("recovered_") else ""
    estimate = judgement.estimate
    known = (
        f", {shown_number(judgement.widened * scale)} with the model's known error"
        if judgement.widened > 1.001 * estimate.high
        else ""
    )
    limit = shown_number(judgement.objective.limit * scale)
    if estimate.value == inf:
        return f"{judgement.objective.situation.words}: {name}{after}: units hang (limit {limit} {unit})"
    return f"{judgement.objective.situation.words}: {name}{after} {_plain(estimate, scale)} {unit}{known} (limit {limit} {unit})"


def held_back(neighbour: Neighbour) -> str:
    """What holds a neighbour back, or what its few runs showed."""
    if isinstance(neighbour.outcome, Rejection):
        return finding(neighbour.outcome)
    if isinstance(neighbour.outcome, Evaluation) and not neighbour.outcome.explored:
        shown = "; ".join(filter(None, map(risk_words, neighbour.outcome.results.values())))
        return f"{neighbour.outcome.verdict.value}: {shown}"
    if isinstance(neighbour.outcome, Evaluation):
        runs = sum(result.replications for result in neighbour.outcome.results.values())
        if neighbour.outcome.on_edge:
            return f"came near to a limit in {runs} runs; no verdict, since another stands clear of them (--precision high)"
        return f"no limit was broken in {runs} runs, too few for a verdict"
    return neighbour.rule


def finding(rejection: Rejection) -> str:
    """Why a deployment was turned away: its worst miss, after how many runs, and what its pods were short of."""
    runs = "1 run" if rejection.replications == 1 else f"{rejection.replications} runs"
    how = "first look, " if rejection.stage == FIRST_LOOK else ""
    short = f"; short of {', '.join(rejection.short)}" if rejection.short else ""
    if not rejection.judgements:
        return f"{'; '.join(('not shown to be met', *rejection.reasons))} [{runs}]{short}"
    worst = max(rejection.judgements, key=lambda j: j.widened / j.objective.limit if j.objective.limit else inf)
    broke = "a run broke a limit" if worst.verdict is Verdict.NOT_MET else "not shown to be met"
    return f"{broke}; {judgement_words(worst)} [{how}{runs}]{short}"


def risk_words(result: SituationResult) -> str:
    """ "0 of 29 broke a limit: at most 10 % do", for a disruption; empty for steady peak."""
    risk = result.risk
    if risk is None:
        return ""
    counted = f"{risk.broken} of {risk.runs} {result.situation.runs} broke a limit"
    sure = f"{100 * (1 - risk.level):.4g} % sure"
    most = f"{100 * risk.limit:.3g} %"
    if risk.verdict is Verdict.MET:
        return f"{counted}: at most {most} do ({sure})"
    if risk.verdict is Verdict.NOT_MET:
        return f"{counted}: more than {most} do ({sure})"
    return f"{counted}: too few runs to say whether at most {most} do"


def knob_words(knob: Knob) -> str:
    """What one step of a setting costs, and what it changes."""
    sides = (
        ("steady peak, fast", knob.steady_fast_s),
        ("slow", knob.steady_slow_s),
        ("over an update, fast", knob.update_fast_s),
    )
    changes = ", ".join(f"{name} {with_interval(change, 1e3)}" for name, change in sides if not isnan(change.value))
    broken = f"; {knob.broken} of {PAIRS} updates break a limit, {knob.broken_before} without"
    cost = f"costs {knob.cost:+.3g}" if abs(knob.cost) >= 0.0005 else "costs nothing"
    return f"{cost}; change of p99 in ms: {changes}{broken if knob.broken or knob.broken_before else ''}"


def by_model_words(evaluation: Evaluation) -> str:
    """Where nobody has held the model against a real server; empty where somebody has, for all of it."""
    found: dict[str, list[str]] = {}
    for result in evaluation.results.values():
        for words in result.unvalidated:
            found.setdefault(words, []).append(result.situation.words)
    return "; ".join(f"{words} ({', '.join(where)})" for words, where in found.items())


def runs_words(reach: Reach) -> str:
    """On how little it rests."""
    return f"by few runs, no verdict: {reach.runs} in all for {reach.points} tried"


def jvms_words(question: Question, reach: Reach | None) -> str:
    """How many client JVMs were simulated, who says so, and from how many on the answer wouldn't hold."""
    asked = question.workload.clients.jvms
    if question.client_jvms is not None:
        text = f"{asked}, as asked"
    else:
        text = f"{asked}, assumed by workload {question.workload.name}: pass yours with --client-jvms"
    if reach is None:
        return text
    if reach.fails is None:
        return f"{text}; holds with up to {reach.holds:.0f}, the most tried ({runs_words(reach)})"
    assert reach.rejection is not None  # noqa: S101 - only a run ends the doubling
    between = " (between them: not tried, --explain does)" if reach.fails > 2 * reach.holds else ""
    text = f"{text}; holds with {reach.holds:.0f}, not with {reach.fails:.0f}{between} ({runs_words(reach)})"
    return f"{text}: {finding(reach.rejection)}"


#: Where pools are divided, the model shows only in part how many JVMs are too many.
COLLAPSE = (
    "its pools are divided among the pods: over such updates real servers held with 2 and 8 client JVMs and collapsed with 32"
    " (on a busy machine with 16), which the model shows in some runs only (docs/validation.md)"
)


def carried_words(reach: Reach) -> str:
    """The largest demand that was seen to hold."""
    if not reach.holds:
        return f"no rate that was tried holds, down to {reach.fails or 0.0:,.4g} units/s ({runs_words(reach)})"
    why = f"; at {reach.fails:,.4g}/s {finding(reach.rejection)}" if reach.rejection else ""
    return f"carries {reach.holds:,.4g} units of work/s, by few runs and no verdict ({runs_words(reach)}){why}"


def growth_words(growth: Growth) -> str:
    """The month in which an answer ends."""
    reach = growth.reach
    if reach.holds == reach.asked:
        carries = "more than the asked rate was not seen to hold"
    else:
        carries = f"holds up to {reach.holds:,.4g} units/s, reached after {growth.months:.1f} months"
    why = f"; at {reach.fails:,.4g}/s {finding(reach.rejection)}" if reach.rejection else ""
    where = "" if reach.rejection else "; beyond that more is asked of something than there is of it"
    return (
        f"{100 * growth.share:.3g} % a month: the answer ends in month {growth.ends_in_month}; it {carries}"
        f" ({runs_words(reach)}){why}{where}"
    )


def input_words(name: str) -> str:
    """An input as its file has it: times have no suffix there, and patience is the clients'."""
    if name.startswith("constants."):
        return name
    return name.removesuffix("_s").replace("patience.", "clients.").replace("rate", "--peak-rps")


def _input_value(name: str, value: float) -> str:
    return format_duration(value, 4) if name.endswith("_s") else f"{value:.5g}"


def _end_words(end: End) -> str:
    side = "high end" if end.is_high else "low end"
    if isinstance(end.outcome, Rejection):
        return f"{side}: {finding(end.outcome)}"
    runs = sum(result.replications for result in end.outcome.results.values())
    return f"{side}: no limit broken in {runs} runs"


def ranges_words(over: OverRanges) -> list[tuple[str, str]]:
    """What the answer rests on where inputs are ranges, the input that decides first."""
    rows: list[tuple[str, str]] = []
    if not over.ends:
        return [("not held", "the mids already are no answer; the ends were not tried")]
    hard = ", ".join(f"{input_words(name)} {_input_value(name, value)}" for name, value in over.hard.items())
    if over.at_mids is None:
        rows.append(("judged at", f"the hard ends of all together: {hard}"))
    elif over.resized:
        size = f"{describe(over.at_mids)}, which costs {over.cost_at_mids:.4g}"
        rows.append(("sized at", f"the hard ends of all together: {hard}; the mids alone would take {size}"))
    else:
        rows.append(("sized at", f"the mids, and shown to do at the hard ends of all together, too: {hard}"))
    rows.append(("decides", f"{input_words(over.decides)}: measure it first"))
    tried = "each alone at an end, the others at their mids" + (", with the size at the mids" if over.resized else "")
    rows.append(("tried", tried))
    for name in over.inputs:
        words = "; ".join(_end_words(end) for end in over.ends if end.name == name)
        ends = over.inputs[name]
        span = "..".join(_input_value(name, value) for value in (ends.low, ends.mid, ends.high))
        rows.append(("", f"{input_words(name)} {span}: {words}"))
    rows += [("not held", f"{input_words(end.name)}: {_end_words(end)}") for end in over.broken_ends]
    return rows


#: What an answer with warm pools asks of whoever runs the cluster; what OJP does by itself.
WARM_POOLS = (
    "before a restarted pod takes traffic, open one connection to it and make the warm-up calls (docs/restarts.md). This sizing"
    " assumes it; without it the cluster can hang. --cold-pools judges the cluster without it"
)
COLD_POOLS = "its pools are built by the clients that come first, as OJP does it (--cold-pools)"


def when_back(deployment: Deployment) -> str:
    """What is assumed of a pod that comes back."""
    return WARM_POOLS if deployment.warm_pools else COLD_POOLS
