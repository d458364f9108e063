"""From records of statements to a workload: what is no application's is left out, what OJP takes for one text is one.

What the statistics can't tell, and what stands in:

* which statements make up a unit of work. Say it in a file (``docs/fit.md``). Without it every unit draws its statements by
  their calls: as many as there are calls per COMMIT or ROLLBACK, in a transaction, where that is 1 to 20; else one, in
  auto-commit. Prepared COMMITs may be counted once per session only, so that the count can be too low.
* think time, clients and network: the defaults.
* the time between a COMMIT and the flush of the log, which is in no row, and planning, which is kept in columns of its own;
  neither is part of the times here.
* whether times were inflated by waits in the database: export at a moderate load.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

from ojp_sizing.demand.reading import workload_from_tree
from ojp_sizing.demand.workload import Workload, normalised_sql
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_duration, format_number, parse_whole, shown
from ojp_sizing.reading import load_tree, read_text
from ojp_sizing.telemetry import sql
from ojp_sizing.telemetry.intervals import UNKNOWN_CV, around, cv_range, mean_range, share_range, stated
from ojp_sizing.telemetry.records import Record, Records
from ojp_sizing.uncertain import Range

#: Above this, the COMMITs cannot belong to most statements: auto-commit prevails.
MOST_STATEMENTS_PER_COMMIT = 20
#: So many calls for each transaction that the database counted make transactions of several calls.
LEAST_PER_TRANSACTION = 1.2
#: How far calls in the export may be from what the counted units make.
COUNT_TOLERANCE = 0.05
#: The part of all calls that no unit need account for.
UNEXPLAINED_CALLS = 0.01
#: So much of the calls or of the time may have hidden texts.
MOST_HIDDEN = 0.05
#: So many texts are kept; the rest, which is rare and quick, is put together.
MOST_TEXTS = 200
#: Longer texts are cut: a file of them should stay readable.
MOST_TEXT = 2000
#: Below the resolution of the server's clock.
_LEAST_MEAN_S = 1e-6
NESTED = "ran inside of functions: their time is in the call that ran them"
HIDDEN = "hidden texts"


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of an export, their calls and their time in the database (s)."""

    what: str
    rows: int
    calls: float
    time_s: float


@dataclass(frozen=True, slots=True)
class TextClass:
    """What OJP takes for one text: pooled calls and times (s). ``cv`` is None where no row told it; ``rows`` are per call."""

    text: str
    calls: float
    mean_s: float
    cv: float | None
    rows: float | None
    errors: float
    name: str = ""
    merged: int = 1

    @property
    def total_s(self) -> float:
        return self.calls * self.mean_s


@dataclass(frozen=True, slots=True)
class StatementFit:
    """A workload, and how it came about. ``classes`` are its statements as they were counted, the busiest first.

    ``taken`` is what a client sent and the workload has, ``left_out`` what it hasn't. ``window_s``: the time in which the
    calls came, where it is known. ``ends``: calls of COMMIT and ROLLBACK. ``notes``: what had to be assumed.
    """

    workload: Workload
    classes: tuple[TextClass, ...]
    taken: Tally
    left_out: tuple[Tally, ...]
    ends: float
    window_s: float | None
    are_counts: bool
    notes: tuple[str, ...]

    @property
    def units_per_s(self) -> float | None:
        """Units of work a second in the mean of the window, where that is known; a range by the number of them alone."""
        if not self.window_s:
            return None
        each = sum(
            unit.share * (unit.statements if isinstance(unit.statements, int) else len(unit.statements))
            for unit in self.workload.units
        )
        units = self.taken.calls / float(each)
        error = 1.959964 / sqrt(units) if self.are_counts else 0.0
        return around(units / self.window_s, error, error)


def fit_statements(records: Records, units: str | Path | None = None, most_left_out: float = 0.5) -> StatementFit:
    """The workload that these statements make.

    ``units`` names a YAML file that states the units of work. Raises InputError where more than ``most_left_out`` of the calls
    or of the time would be left out, or texts are hidden.
    """
    taken, ends, left_out = _sorted_out(records)
    _check_left_out(records, taken, left_out, most_left_out)
    if not ends and records.transactions:
        # COMMITs that the statistics don't keep: where a call is a transaction of its own, there are as many as calls.
        calls = sum(record.calls for record in taken)
        ends = records.transactions if calls > LEAST_PER_TRANSACTION * records.transactions else 0.0
    classes, notes = _shortened(_pooled(taken))
    if units is None:
        tree = _assumed_units(sum(one.calls for one in classes), ends, left_out)
        place, folder = records.place, Path()
    else:
        text, place = read_text(Path(units))
        folder, composition = Path(units).parent, load_tree(text, place)
        classes = _explained(classes, composition, place)
        tree = _described() | composition
    workload = workload_from_tree(tree | _statements(classes, records.are_counts), place, folder)
    tally = Tally("taken", len(taken), sum(r.calls for r in taken), sum(r.total_s for r in taken))
    return StatementFit(
        workload, tuple(classes), tally, left_out, ends, records.window_s, records.are_counts, (*records.notes, *notes)
    )


# --- what a client of the application sent ---------------------------------------------------------------------------


def _sorted_out(records: Records) -> tuple[list[Record], float, tuple[Tally, ...]]:
    """The statements of the application, the calls that ended a transaction, and what is neither."""
    taken: list[Record] = []
    ends = 0.0
    rest: dict[str, list[Record]] = {}
    for record in records.records:
        if not record.toplevel:
            reason: str | None = NESTED
        elif record.is_hidden:
            reason = HIDDEN
        else:
            reason = sql.reason_left_out(record.text)
        if reason is not None:
            rest.setdefault(reason, []).append(record)
            continue
        verb = sql.verb(record.text)
        if verb in sql.ENDS:
            ends += 0.0 if " to " in normalised_sql(record.text)[:40] else record.calls
        elif verb not in sql.BEGINS | sql.WITHIN:
            taken.append(record)
    tallies = (
        Tally(reason, len(found), sum(r.calls for r in found), sum(r.total_s for r in found))
        for reason, found in rest.items()
    )
    return taken, ends, tuple(sorted(tallies, key=lambda tally: (-tally.time_s, tally.what)))


def _check_left_out(records: Records, taken: Sequence[Record], left_out: Iterable[Tally], most: float) -> None:
    # What ran inside of a call is in it: it is not missing.
    missing = [tally for tally in left_out if tally.what != NESTED]
    calls, time_s = sum(r.calls for r in taken), sum(r.total_s for r in taken)
    all_calls, all_s = calls + sum(t.calls for t in missing), time_s + sum(t.time_s for t in missing)

    def part(tally: Tally) -> float:
        return max(tally.calls / all_calls, tally.time_s / all_s if all_s else 0.0)

    for tally in missing:
        if tally.what == HIDDEN and part(tally) > MOST_HIDDEN:
            shares = f"{tally.calls / all_calls:.1%} of the calls and {_of(tally.time_s, all_s)} of the time"
            problem = f"hidden SQL texts make {shares}"
            raise InputError(records.place, problem, "export as a member of pg_read_all_stats")
    if not taken:
        raise InputError(
            records.place, "no SELECT, INSERT, UPDATE, DELETE, MERGE or CALL in it", "export while the application runs"
        )
    if max(1 - calls / all_calls, 1 - time_s / all_s if all_s else 0.0) > most:
        why = max(missing, key=part)
        problem = (
            f"{1 - calls / all_calls:.0%} of the calls and {_of(all_s - time_s, all_s)} of the time would be left out,"
            f" most of it {why.what}"
        )
        raise InputError(records.place, problem, "export the application's busy hour, or pass --most-left-out 100%")


def _of(part: float, whole: float) -> str:
    return f"{part / whole if whole else 0.0:.0%}"


# --- one class for each text that OJP tells apart --------------------------------------------------------------------


def _pooled(records: Iterable[Record]) -> list[TextClass]:
    """The busiest first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(normalised_sql(record.text), []).append(record)
    classes = [_one_class(group) for group in groups.values()]
    return sorted(classes, key=lambda one: (-one.calls, normalised_sql(one.text)))


def _one_class(group: Sequence[Record]) -> TextClass:
    """Moments of the whole from those of its parts. A part without a deviation is taken for one of a cv of 1."""
    calls = sum(r.calls for r in group)
    mean_s = sum(r.total_s for r in group) / calls
    known = [r for r in group if r.deviation_s is not None]
    cv = None
    # A single call has no spread, and a mean below the clock's resolution tells none.
    if 2 * sum(r.calls for r in known) > calls > 1 and mean_s > 0:
        squares = sum(
            r.calls * (r.mean_s**2 + (r.mean_s if r.deviation_s is None else r.deviation_s) ** 2) for r in group
        )
        cv = max(0.0, squares / calls - mean_s**2) ** 0.5 / mean_s
    rows = sum(r.rows for r in group if r.rows is not None) / calls if any(r.rows is not None for r in group) else None
    return TextClass(
        group[0].text, calls, max(mean_s, _LEAST_MEAN_S), cv, rows, min(calls, sum(r.errors for r in group))
    )


def _shortened(classes: list[TextClass]) -> tuple[list[TextClass], list[str]]:
    """At most ``MOST_TEXTS`` of at most ``MOST_TEXT`` characters, with their names, and what was put together or cut."""
    notes = []
    if len(classes) > MOST_TEXTS:
        calls, time_s = sum(c.calls for c in classes), sum(c.total_s for c in classes) or 1.0
        ranked = sorted(classes, key=lambda c: -max(c.calls / calls, c.total_s / time_s))
        kept, rest = ranked[: MOST_TEXTS - 3], ranked[MOST_TEXTS - 3 :]
        notes.append(
            f"{len(rest)} rare texts ({sum(c.calls for c in rest) / calls:.2%} of the calls,"
            f" {sum(c.total_s for c in rest) / time_s:.2%} of the time) are put together by their kind:"
            " OJP tells slow from fast text by text, so look at lanes by hand"
        )
        for kind in ("read", "write", "call"):
            if alike := [c for c in rest if sql.kind_of(c.text) == kind]:
                kept.append(_merged(alike))
        classes = sorted(kept, key=lambda c: (-c.calls, normalised_sql(c.text)))
    names = sql.names_of([c.text for c in classes])
    cut = 0
    named = []
    for one, name in zip(classes, names, strict=True):
        text = one.text
        if len(text) > MOST_TEXT:
            cut += 1
            text = f"{text[:MOST_TEXT]} /* cut, {zlib.crc32(text.encode('utf-8', 'replace')):08x} */"
        named.append(replace(one, text=text, name=name if one.merged == 1 else f"rare_{name}"[:60]))
    if cut:
        notes.append(f"{cut} texts of more than {MOST_TEXT:,} characters are cut in the file")
    return named, notes


def _merged(classes: Sequence[TextClass]) -> TextClass:
    return replace(_one_class([_as_record(one) for one in classes]), merged=len(classes))


def _as_record(one: TextClass) -> Record:
    deviation_s = None if one.cv is None else one.cv * one.mean_s
    rows = None if one.rows is None else one.rows * one.calls
    return Record(one.text, one.calls, one.mean_s, deviation_s, rows, errors=one.errors)


# --- the tree of a workload file -------------------------------------------------------------------------------------


def _statements(classes: Sequence[TextClass], are_counts: bool) -> dict[str, object]:
    total = sum(one.calls for one in classes)
    return {"statements": [_statement(one, total, are_counts) for one in classes]}


def _statement(one: TextClass, total: float, are_counts: bool) -> dict[str, object]:
    mean, cv, share = fitted(one, total, are_counts)
    rows = 1.0 if one.rows is None else one.rows
    found: dict[str, object] = {
        "name": one.name,
        "sql": one.text,
        "kind": sql.kind_of(one.text),
        "share": _share_text(share, one.calls / total),
        "database_time": {
            "mean": format_duration(stated(mean), significant=4), "cv": format_number(stated(cv)),
        },
        "rows": str(min(round(rows), 1_000_000) if sql.sends_rows(one.text) else 0),
    }  # fmt: skip
    if one.errors:
        found["error_share"] = f"{one.errors / one.calls:.4g}"
    return found


def fitted(one: TextClass, total: float, are_counts: bool) -> tuple[float, float, float]:
    """Mean (s), coefficient of variation and share of the calls, each a range as wide as the number of calls leaves it."""
    cv: float = Range(*UNKNOWN_CV)
    if one.cv is not None:
        cv = float(f"{round(one.cv, 4):.3g}")
        cv = cv_range(cv, one.calls) if are_counts else cv
    if not are_counts:
        return one.mean_s, cv, one.calls / total
    return mean_range(one.mean_s, float(cv), one.calls), cv, share_range(one.calls, total)


def _share_text(share: float, exact: float) -> str:
    """The mids add up to 1, so they have all their digits."""
    if isinstance(stated(share), Range) and isinstance(share, Range):
        return "..".join(f"{end:.9g}" for end in (min(share.low, exact), exact, max(share.high, exact)))
    return f"{exact:.9g}"


def _described() -> dict[str, object]:
    return {
        "name": "fitted",
        "description": "taken from the statistics of a database",
        "source": "measured - statement times, counts and rows; assumed - think time, clients and network",
    }


def _assumed_units(calls: float, ends: float, left_out: Sequence[Tally]) -> dict[str, object]:
    """Without a statement of the units: alike transactions where the COMMITs allow it, else single statements."""
    per_end = round(calls / ends) if ends else 0
    transaction = 1 <= per_end <= MOST_STATEMENTS_PER_COMMIT
    unit = {"name": "transaction", "statements": str(per_end)} if transaction else {"name": "statement"}
    source = "measured - statement times, counts and rows; assumed - units of work, think time, clients and network"
    return _described() | {"source": source, "units": [unit | {"transaction": str(transaction).lower()}]}


def _explained(classes: list[TextClass], composition: dict[str, object], place: str) -> list[TextClass]:
    """Turn the counts of the units into shares, and keep the statements that the units run."""
    if "statements" in composition:
        raise InputError(f"{place}: statements", "they come from the export", "remove the key")
    units = composition.get("units")
    if not units or not isinstance(units, list) or not all(isinstance(unit, dict) for unit in units):
        return classes  # the reader of workloads says what is wrong
    expected = _counted(units, place)
    lists = [unit.get("statements") for unit in units]
    if not all(isinstance(steps, list) for steps in lists):
        return classes
    named = {str(name) for steps in lists if isinstance(steps, list) for name in steps}
    left_out = [one for one in classes if one.name not in named]
    if sum(one.calls for one in left_out) > UNEXPLAINED_CALLS * sum(one.calls for one in classes):
        raise InputError(f"{place}: units", f"no unit runs {shown(left_out[0].name)}", "name it in a unit")
    _compare(classes, expected, place)
    return [one for one in classes if one.name in named]


def _counted(units: list[dict[str, object]], place: str) -> Counter[str]:
    """Replace every ``count`` by a ``share``; the calls per statement that the counts make."""
    if not any("count" in unit for unit in units):
        return Counter()
    counts = [
        parse_whole(str(unit.pop("count", "")), f"{place}: units[{index}].count", least=1)
        for index, unit in enumerate(units)
    ]
    expected: Counter[str] = Counter()
    for unit, count in zip(units, counts, strict=True):
        unit["share"] = _share_text(share_range(count, sum(counts)), count / sum(counts))
        steps = unit.get("statements")
        for name in steps if isinstance(steps, list) else []:
            expected[str(name)] += count
    return expected


def _compare(classes: Sequence[TextClass], expected: Counter[str], place: str) -> None:
    for one in classes:
        counted = expected[one.name]
        if counted and abs(one.calls - counted) > COUNT_TOLERANCE * counted:
            problem = f"{one.calls:,.0f} calls of {shown(one.name)} in the export, but the units make {counted:,}"
            raise InputError(f"{place}: units", problem, "count both over the same time")
