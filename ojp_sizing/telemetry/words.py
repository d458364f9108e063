"""What a fit says of itself, in lines for a terminal and for the head of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from ojp_sizing.demand.reading import workload_yaml
from ojp_sizing.demand.workload import Workload
from ojp_sizing.quantities import format_duration
from ojp_sizing.telemetry.demand import DemandFit
from ojp_sizing.telemetry.intervals import ends_of
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
    if fit.units_per_s:
        over = "in the mean" + (f" of {format_duration(fit.window_s or 0.0, 4)}" if fit.are_counts else "")
        yield f"rate: --peak-rps {_rate(fit.units_per_s)} units/s {over}; monitoring tells the peak (fit demand, prometheus)"
    unit = fit.workload.units[0]
    if len(fit.workload.units) == 1 and isinstance(unit.statements, int):
        how = f"{fit.ends:,.6g} COMMITs and ROLLBACKs" if unit.transaction else "no COMMITs that fit"
        in_what = "in a transaction" if unit.transaction else "in auto-commit"
        each = f"{unit.statements} statement{'s' * (unit.statements > 1)} drawn by share"
        yield f"assumed: a unit of work is {each}, {in_what} ({how})"
    yield "assumed: think time, order of statements, clients and network, which no statistics tell: the defaults"
    for note in fit.notes:
        yield f"assumed: {note}"


def demand_lines(fit: DemandFit) -> Iterator[str]:
    """The rate to size for comes first, as a flag."""
    series = fit.series
    yield (
        f"peak: --peak-rps {_rate(fit.peak)} units/s, which {fit.quantile:.4g} of {len(fit.rates):,} windows of"
        f" {format_duration(fit.window_s, 4)} don't pass; mean {fit.mean:,.4g}, busiest window {fit.busiest:,.4g}"
    )
    until = series.start_s + series.step_s * len(series.counts)
    since, last = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (series.start_s, until))
    yield f"record: {since} to {last} UTC, {len(series.counts):,} steps of {format_duration(series.step_s, 4)}"
    if fit.profile:
        quiet, busy = (pick(fit.profile, key=lambda point: point[1]) for pick in (min, max))
        hours = [f"{point[0] // 3600:02.0f}:00" for point in (busy, quiet)]
        yield f"day: busiest from {hours[0]} UTC, quietest from {hours[1]} at {quiet[1]:.0%} of that"
    for note in fit.notes:
        yield f"assumed: {note}"


def _rate(value: float) -> str:
    return "..".join(dict.fromkeys(f"{end:.4g}" for end in ends_of(value)))


def with_head(workload: Workload, place: str, lines: Iterable[str]) -> str:
    """The workload file, headed by where it comes from."""
    return "".join(f"# {line}\n" for line in (f"Fitted from {place}.", *lines)) + workload_yaml(workload)


def _time(seconds: float) -> str:
    return f"{seconds:,.4g} s"
