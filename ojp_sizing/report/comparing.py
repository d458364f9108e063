"""Two releases side by side, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ojp_sizing.deployment.deployment import DEFAULT_VERSION, describe
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.report.tables import Table
from ojp_sizing.report.words import shown_number, with_interval
from ojp_sizing.sizing.comparing import STEADY_RUNS, UPDATE_RUNS, Comparison, Figures, measured
from ojp_sizing.sizing.recommendation import Recommendation
from ojp_sizing.sizing.space import first_guess

#: Measures in both columns: situation, measure, factor, what it is.
MEASURES = (
    (Situation.STEADY, "fast_p99_s", 1e3, "p99 of fast units at steady peak, ms"),
    (Situation.POD_LOST, "fast_p99_s", 1e3, "with one pod lost, ms"),
    (Situation.ROLLING_UPDATE, "fast_p99_s", 1e3, "over a rolling update, ms"),
    (Situation.POD_LOST, "failed_share", 100.0, "units that fail with one pod lost, %"),
    (Situation.ROLLING_UPDATE, "failed_share", 100.0, "over a rolling update, %"),
)


#: What the bare answer for the default release is compared with.
LATER = "0.4.21-beta"


def upgrade_words(answer: Recommendation) -> str:
    """One line below an answer for the default release: what a later one would take, by closed forms: it costs nothing."""
    if answer.question.version != DEFAULT_VERSION or answer.cost is None:
        return ""
    question = replace(answer.question, version=LATER)
    guess = first_guess(question)
    if guess is None:
        return ""
    cost, was, short = question.cost(guess), answer.cost, LATER.removesuffix("-beta")
    return (
        f"OJP {short} would take about {describe(guess)}: cost {shown_number(cost)}, here {shown_number(was)} (by closed forms,"
        f" not simulated; ojp-size compare {DEFAULT_VERSION.removesuffix('-beta')} {short} --peak-rps {question.rate:.6g}"
        " judges both)"
    )


def comparison_tables(comparison: Comparison) -> list[Table]:
    """The answers side by side, then what each trait does."""
    return [_side_by_side(comparison), *_traits(comparison)]


def _side_by_side(comparison: Comparison) -> Table:
    answers = (comparison.older, comparison.newer)
    columns = [dict(_column(answer)) for answer in answers]
    rows = tuple((name, *(column.get(name, "-") for column in columns)) for name in columns[0] | columns[1])
    return Table("Side by side", ("", *(answer.question.version for answer in answers)), rows)


def _column(answer: Recommendation) -> Iterator[tuple[str, str]]:
    yield "verdict", answer.verdict.value
    yield "measured on real servers", "yes" if measured(answer.question.version) else "never"
    if answer.evaluation is None or answer.database is None or answer.cost is None:
        return
    deployment = answer.deployment
    yield "pods x CPU limit", f"{deployment.replicas} x {deployment.limit_cores:g}"
    yield "maximumPoolSize, threads", f"{deployment.pool.maximum_size}, {deployment.server.thread_pool_size}"
    yield "segregation", "on" if deployment.server.segregation else "off"
    yield "max_connections", str(answer.database.max_connections)
    unit = "a month" if answer.question.prices.in_money else "core equivalents"
    yield f"cost, {unit}", shown_number(answer.cost)
    for situation, measure, factor, words in MEASURES:
        result = answer.evaluation.results.get(situation)
        if result is not None:
            yield words, with_interval(result.measures[measure], factor)
    for situation in (Situation.POD_LOST, Situation.ROLLING_UPDATE):
        result = answer.evaluation.results.get(situation)
        if result is not None and result.risk is not None:
            yield f"{situation.words}: limits broken", f"{result.risk.broken} of {result.risk.runs}"


def _traits(comparison: Comparison) -> Iterator[Table]:
    older, newer = comparison.older.question.version, comparison.newer.question.version
    if comparison.base is not None:
        acting = [one for one in comparison.switched if one.figures is not None]
        rows = [("as it is", "", *_shown(comparison.base))]
        rows += [
            (one.trait, f"{_value(one.before)} to {_value(one.after)}", *_shown(one.figures))
            for one in acting
            if one.figures
        ]
        columns = ("trait", "value", "cores in use", "p99, ms", "p99 over an update, ms", "failed over it, %")
        title = (
            f"The deployment for {older} ({describe(comparison.older.deployment)}) with one trait of {newer} at a time:"
            f" {STEADY_RUNS} runs of steady peak and {UPDATE_RUNS} updates each, no verdict; the savings don't add up"
        )
        yield Table(title, columns, tuple(rows))
        idle = [one.trait for one in comparison.switched if one.figures is None]
        if idle:
            yield Table("Without effect in these runs, each by itself", ("", ""), (("traits", ", ".join(idle)),))
    if comparison.unseen:
        yield Table("Differ, and aren't simulated", ("", ""), (("traits", ", ".join(comparison.unseen)),))


def _shown(figures: Figures) -> tuple[str, ...]:
    return (
        shown_number(figures.cores),
        shown_number(1e3 * figures.steady_p99_s),
        shown_number(1e3 * figures.update_p99_s),
        shown_number(100.0 * figures.failed_share),
    )


def _value(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
