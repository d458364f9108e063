"""What a fit says of itself, in lines for a terminal and for the head of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ojp_sizing.demand.reading import workload_yaml
from ojp_sizing.quantities import format_duration
from ojp_sizing.telemetry.statements import NESTED, StatementFit


def statement_lines(fit: StatementFit) -> Iterator[str]:
    """What was left out comes first."""
    missing = [tally for tally in fit.left_out if tally.what != NESTED]
    calls = fit.taken.calls + sum(tally.calls for tally in missing)
    time_s = fit.taken.time_s + sum(tally.time_s for tally in missing)
    counted = "calls" if fit.are_counts else "calls/s"
    for tally in fit.left_out:
        # What is in another call already is no part of the whole.
        share = "" if tally.what == NESTED else f" ({tally.calls / calls:.2%}, {tally.time_s / (time_s or 1.0):.2%})"
        yield f"left out: {tally.calls:,.6g} {counted}, {_time(tally.time_s)} in the database{share}: {tally.what}"
    if not fit.left_out:
        yield "left out: nothing"
    texts = len(fit.workload.statements)
    yield (
        f"taken: {fit.taken.calls:,.6g} {counted}, {_time(fit.taken.time_s)} in the database, of {texts} text{'s' * (texts > 1)}"
    )
    if fit.are_counts and fit.statements_per_s:
        yield f"rate: {fit.statements_per_s:,.4g} statements/s in the mean of {format_duration(fit.window_s or 0.0, 4)}"
    unit = fit.workload.units[0]
    if len(fit.workload.units) == 1 and isinstance(unit.statements, int):
        how = f"{fit.ends:,.6g} COMMITs and ROLLBACKs" if unit.transaction else "no COMMITs that fit"
        in_what = "in a transaction" if unit.transaction else "in auto-commit"
        each = f"{unit.statements} statement{'s' * (unit.statements > 1)} drawn by share"
        yield f"assumed: a unit of work is {each}, {in_what} ({how})"
    yield "assumed: think time, order of statements, clients and network, which no statistics tell: the defaults"
    for note in fit.notes:
        yield f"assumed: {note}"


def with_head(fit: StatementFit, place: str, lines: Iterable[str]) -> str:
    """The workload file, headed by where it comes from."""
    return "".join(f"# {line}\n" for line in (f"Fitted from {place}.", *lines)) + workload_yaml(fit.workload)


def _time(seconds: float) -> str:
    return f"{seconds:,.4g} s"
