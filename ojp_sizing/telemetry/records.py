"""From a table of any known tool to records of statements: the one shape that all of them are read into.

One vocabulary names the columns of PostgreSQL's ``pg_stat_statements`` (12 to 17), pghero's ``query_stats``, the outliers and
calls that Heroku's command line prints, Amazon's Performance Insights, and MySQL's ``events_statements_summary_by_digest`` and
``sys.statement_analysis``. Sources: the manuals of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown
from ojp_sizing.telemetry.figures import UNITS_S, has_decimal_comma, is_nothing, number, seconds
from ojp_sizing.telemetry.tables import Row, Table, read_table

#: Total over calls and the mean may differ by so much: they are rounded where they are printed.
MEAN_TOLERANCE = 0.05
_MS, _PS, _MIN = 1e-3, 1e-12, 60.0

#: What a column holds, the names that it has, and seconds in its unit where it is a time without one.
VOCABULARY: tuple[tuple[str, str, float], ...] = (
    ("text", "query sql sql_statements digest_text query_text sql_text qry statement normalized_query", 0),
    ("calls", "calls ncalls count_star exec_count executions total_calls", 0),
    ("calls_per_s", "calls_sec calls_per_sec calls_per_second", 0),
    ("total", "total_exec_time total_time exec_time", _MS),
    ("total", "sum_timer_wait total_latency", _PS),
    ("total", "total_minutes", _MIN),
    ("mean", "mean_exec_time mean_time avg_time average_time avg_exec_time avg_latency_ms_call", _MS),
    ("mean", "avg_timer_wait avg_latency", _PS),
    ("deviation", "stddev_exec_time stddev_time", _MS),
    ("rows", "rows sum_rows_sent rows_sent", 0),
    ("rows_per_call", "rows_call rows_per_call rows_sent_avg", 0),
    ("toplevel", "toplevel", 0),
    ("database", "dbid datname database schema_name db", 0),
    ("errors", "sum_errors err_count", 0),
)
_COLUMN = {name: (field, unit_s) for field, names, unit_s in VOCABULARY for name in names.split()}
_TIMES = ("total", "mean", "deviation")
_HIDDEN = ("<insufficient privilege>", "<command text not available>")
#: Said where no deviation is known: ``intervals.UNKNOWN_CV``.
_STAND_IN = "a coefficient of variation of 1, from 0.3 to 3, stands in"
_FALSE = frozenset({"f", "false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Record:
    """One statement as its source counts it; times in s. None: the source doesn't say.

    ``rows``: all that its calls read or changed. ``toplevel``: a client sent it, and no function. ``errors``: calls refused.
    """

    text: str
    calls: float
    mean_s: float
    deviation_s: float | None = None
    rows: float | None = None
    toplevel: bool = True
    database: str = ""
    errors: float = 0.0

    @property
    def is_hidden(self) -> bool:
        """Whether the server kept the text from whoever exported it."""
        return self.text.strip().lower() in _HIDDEN or not self.text.strip()

    @property
    def total_s(self) -> float:
        return self.calls * self.mean_s


@dataclass(frozen=True, slots=True)
class Records:
    """What was read, in the order of the source.

    ``window_s``: the calls are those of so many seconds, where that is known. ``are_counts``: calls were counted; otherwise
    only their frequency is known, and no range follows from their number. ``notes``: what had to be assumed, a sentence each.
    ``transactions``: how many the database counted in that time, each call outside of one among them.
    """

    place: str
    records: tuple[Record, ...]
    window_s: float | None = None
    are_counts: bool = True
    notes: tuple[str, ...] = ()
    transactions: float | None = None


def field_of(name: str) -> tuple[str, float] | None:
    """What a column of this name holds, and seconds in its unit; None where nothing that is looked for."""
    plain = re.sub(r"[^a-z0-9µμ]+", "_", name.strip().lower()).strip("_")
    if plain in _COLUMN:
        return _COLUMN[plain]
    base, _, unit = plain.rpartition("_")
    if unit in UNITS_S and base in _COLUMN and _COLUMN[base][0] in _TIMES:
        return _COLUMN[base][0], UNITS_S[unit]
    return None


def read_records(path: str | Path) -> Records:
    """The statements in an export. Raises InputError where it is no table, or lacks what nothing can stand in for."""
    return records_of(read_table(Path(path), lambda name: field_of(name) is not None))


def records_of(table: Table) -> Records:
    """The statements in a table."""
    columns = _columns(table)
    _check_columns(columns, table)
    figures = [c for c in columns.values() if c.field not in ("text", "toplevel", "database")]
    cells = (cell for _, row in table.rows for c in figures if (cell := row[c.index]) is not None)
    reader = _Reader(table.place, columns, has_decimal_comma(cells, table.delimiter))
    read = [found for row in table.rows if (found := reader.record(row)) is not None]
    notes = [*table.notes, *_notes(columns, [record for record, _ in read])]
    if apart := sum(is_apart for _, is_apart in read):
        notes.append(
            f"mean and total / calls are more than {MEAN_TOLERANCE:.0%} apart in {apart} rows: the mean was taken"
        )
    are_counts = "calls" in columns
    if not are_counts:
        notes.append("no number of calls, only calls per second: shares and times have no range that follows from it")
    return Records(
        table.place, tuple(record for record, _ in read), None if are_counts else 1.0, are_counts, tuple(notes)
    )


@dataclass(frozen=True, slots=True)
class _Column:
    field: str
    index: int
    name: str
    unit_s: float


def _columns(table: Table) -> dict[str, _Column]:
    """The columns that are looked for, by what they hold; where two hold the same, the first in the vocabulary."""
    found: dict[str, _Column] = {}
    order = {field: i for i, field in enumerate(_COLUMN)}
    for index, name in enumerate(table.columns):
        known = field_of(name)
        if known is None:
            continue
        rank = order.get(name.strip().lower(), len(order))
        mine = _Column(known[0], index, name, known[1])
        if known[0] not in found or rank < order.get(found[known[0]].name.strip().lower(), len(order)):
            found[known[0]] = mine
    return found


def _check_columns(columns: Mapping[str, _Column], table: Table) -> None:
    wanted = {
        "the text (query)": {"text"},
        "calls": {"calls", "calls_per_s"},
        "mean_exec_time or total_exec_time": {"mean"} | ({"total"} if "calls" in columns else set()),
    }
    missing = [name for name, fields in wanted.items() if not fields & columns.keys()]
    if missing:
        seen = ", ".join(shown(name) for name in table.columns[:8])
        problem = f"no column for {', '.join(missing)} among {seen}" + (" ..." if len(table.columns) > 8 else "")
        raise InputError(table.place, problem, "export the columns listed in docs/fit.md")


def _notes(columns: Mapping[str, _Column], records: list[Record]) -> list[str]:
    notes = []
    if "mean" not in columns:
        notes.append("no mean: total time / calls was taken")
    lacking = sum(1 for record in records if record.deviation_s is None)
    if "deviation" not in columns:
        notes.append("no standard deviation: {_STAND_IN}")
    elif lacking:
        notes.append(f"no standard deviation in {lacking} of {len(records)} rows: {_STAND_IN}")
    if not {"rows", "rows_per_call"} & columns.keys():
        notes.append("no rows: 1 for each read stands in")
    name = columns["total"].name if "total" in columns else columns["mean"].name
    if "toplevel" not in columns and "exec_time" in name.lower():
        notes.append(
            "no column toplevel: if the server tracks what runs inside functions (track = all), that counts twice here"
        )
    return notes


@dataclass(frozen=True, slots=True)
class _Reader:
    place: str
    columns: Mapping[str, _Column]
    decimal_comma: bool

    def record(self, row: Row) -> tuple[Record, bool] | None:
        """The statement of a row, and whether its mean contradicts its total; None where it was never called."""
        calls = self._number(row, "calls" if "calls" in self.columns else "calls_per_s")
        text = self._cell(row, "text") or ""
        if not calls:
            return None
        total_s, mean_s = self._time(row, "total"), self._time(row, "mean")
        is_apart = False
        if mean_s is None:
            if total_s is None:
                raise InputError(self._at(row, "mean"), "neither a mean nor a total", "export anew")
            mean_s = total_s / calls
        elif total_s is not None and "calls" in self.columns:
            # What is printed with few digits is off by half of its last one, which a small number feels.
            is_apart = abs(total_s / calls - mean_s) > MEAN_TOLERANCE * mean_s + 1e-6
        rows = self._number(row, "rows")
        each = self._number(row, "rows_per_call")
        toplevel = (self._cell(row, "toplevel") or "t").strip().lower() not in _FALSE
        record = Record(
            text.strip(), calls, mean_s, self._time(row, "deviation"), rows if each is None else each * calls, toplevel,
            (self._cell(row, "database") or "").strip(), self._number(row, "errors") or 0.0,
        )  # fmt: skip
        return record, is_apart

    def _cell(self, row: Row, field: str) -> str | None:
        return row[1][self.columns[field].index] if field in self.columns else None

    def _at(self, row: Row, field: str) -> str:
        column = self.columns.get(field)
        return f"{self.place}: row {row[0]}" + (f": {column.name}" if column else "")

    def _number(self, row: Row, field: str) -> float | None:
        cell = self._cell(row, field)
        return None if cell is None or is_nothing(cell) else number(cell, self.decimal_comma, self._at(row, field))

    def _time(self, row: Row, field: str) -> float | None:
        cell = self._cell(row, field)
        if cell is None or is_nothing(cell):
            return None
        return seconds(cell, self.columns[field].unit_s, self.decimal_comma, self._at(row, field))


def of_database(records: Records, wanted: tuple[str, ...], flag: str) -> Records:
    """Those of the databases that are wanted. Raises InputError where nothing is wanted and there are several."""
    calls: dict[str, float] = {}
    for record in records.records:
        calls[record.database] = calls.get(record.database, 0.0) + record.calls
    total = sum(calls.values())
    said = ", ".join(
        f"{shown(name)} ({count / total:.0%} of the calls)"
        for name, count in sorted(calls.items(), key=lambda c: -c[1])[:8]
    )
    for name in wanted:
        if name not in calls:
            raise InputError(flag, f"no database {shown(name)} in {records.place}", f"there are {said}")
    if len(calls.keys() - {""}) > 1 and not wanted:
        problem = f"statements of several databases: {said}"
        raise InputError(records.place, problem, f"say which OJP will stand before with {flag}, once for each")
    if not wanted:
        return records
    return replace(records, records=tuple(record for record in records.records if record.database in ("", *wanted)))
