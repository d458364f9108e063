"""Demand over time as monitoring keeps it, in one shape: how many came in each step. Read from files here.

Taken are the JSON of a Prometheus range query, tables with a column of times (what Grafana saves as CSV, counts per minute of
any tool), and logs with an instant on each line (access logs, PostgreSQL's, a recording).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.demand.instants import IN_A_LINE, parse_instant
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_duration, shown
from ojp_sizing.telemetry.figures import has_decimal_comma, is_nothing, number
from ojp_sizing.telemetry.tables import MOST_ROWS, Table, parse_table, read_any_text

Floats = NDArray[np.float64]
#: What the values of a series are: so many each second, so many in each step, or all since a beginning.
Values = Literal["rate", "count", "counter"]

_TIMES = frozenset({"time", "at", "timestamp", "@timestamp", "ts", "datetime", "date", "minute", "hour", "_time"})
#: Names of counts; everything else is taken for a rate.
_COUNTS = re.compile(r"\b(?:count|counts|number|hits|total|requests per minute|rpm)\b", re.IGNORECASE)
_COUNTER = re.compile(r"_(?:total|count|sum)$")
#: A value as Grafana shows it.
_WITH_UNIT = re.compile(
    r"\s*([0-9.,eE+-]+)\s*([KkMm]?)\s*(?:(?:req|ops|requests|calls|c|rps|qps|p?s|/s|/sec)[a-z/]*)?\s*"
)
#: Lines of a log that have no instant (the rest of a statement) may be so many.
_LEAST_DATED = 0.01
#: Logs are counted in steps of a second where they are short, of a minute where they aren't.
_SHORT_LOG_S = 6 * 3600.0
_FIX = "save a range query's JSON, a table with a column Time, or a log with an instant on each line"


@dataclass(frozen=True, slots=True)
class Series:
    """How many came in each step of ``step_s``, from ``start_s`` (seconds since 1970) on; nan where nobody counted.

    ``at_s``: each single arrival, where the source has them. ``notes``: what had to be assumed.
    """

    place: str
    start_s: float
    step_s: float
    counts: Floats
    at_s: Floats | None = None
    notes: tuple[str, ...] = ()

    @property
    def covered_s(self) -> float:
        """The time for which there are counts."""
        return self.step_s * int(np.isfinite(self.counts).sum())


def read_series(path: str | Path, values: Values | None = None) -> Series:
    """The series in a file; several are added up. ``values`` says what they are where their names don't tell."""
    text, place, notes = read_any_text(Path(path))
    bare = text.lstrip("\ufeff \t\r\n")
    if bare[:1] == "{" and '"values"' in bare:
        return series_of_json(text, place, values)
    first = bare.splitlines()[0] if bare else ""
    if _is_time(first.split(",")[0].split(";")[0].split("\t")[0]) or bare[:1] in ("[", "{"):
        table = parse_table(text, place, _is_time)
        found = _from_table(table, values)
    else:
        found = _from_log(text, place)
    return replace(found, notes=(*notes, *found.notes))


def series_of_json(text: str, place: str, values: Values | None = None) -> Series:
    """Of the answer to a range query (``resultType`` matrix)."""
    try:
        tree = json.loads(text)
        results = tree["data"]["result"]
        tracks = [
            (str(one["metric"].get("__name__", "")), [(float(at), float(value)) for at, value in one["values"]])
            for one in results
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(place, "no answer to a range query", "ask /api/v1/query_range") from error
    names = {name for name, _ in tracks}
    kind = values or ("counter" if names and all(_COUNTER.search(name) for name in names) else "rate")
    return series_of_points([points for _, points in tracks], place, kind)


def series_of_points(
    tracks: Sequence[Sequence[tuple[float, float]]], place: str, values: Values, step_s: float | None = None
) -> Series:
    """The sum of tracks of (seconds since 1970, value), each of which may have gaps; a counter may begin anew."""
    arrays = [np.array(sorted(track), dtype=float).reshape(-1, 2) for track in tracks if len(track)]
    times = np.unique(np.concatenate([track[:, 0] for track in arrays])) if arrays else np.zeros(0)
    if len(times) < 3:
        raise InputError(place, f"{len(times)} points in time", "ask for a longer range")
    step = step_s or float(np.median(np.diff(times)))
    cells = np.rint((times[-1] - times[0]) / step)
    if not np.isfinite(cells) or cells > MOST_ROWS:
        raise InputError(place, "points lie too far apart", "ask for a shorter range or a longer step")
    total, seen = np.zeros(int(cells) + 1), np.zeros(int(cells) + 1, dtype=bool)
    for track in arrays:
        at, counts = _counted(track, values, step)
        into = np.rint((at - times[0]) / step).astype(int)
        good = np.isfinite(counts) & (into >= 0) & (into < len(total))
        np.add.at(total, into[good], counts[good])
        seen[into[good]] = True
    if not seen.any():
        raise InputError(place, "no number in it", "ask for a range in which something was counted")
    if (total < 0).any():
        raise InputError(place, "values below 0", "save counts or rates")
    notes = [f"{len(arrays)} series were added up"] if len(arrays) > 1 else []
    first, last = np.flatnonzero(seen)[[0, -1]]
    total, seen = total[first : last + 1], seen[first : last + 1]
    if gaps := int((~seen).sum()):
        notes.append(
            f"nothing was counted in {gaps} of {len(seen)} steps of {format_duration(step, 4)}: they are left out"
        )
    # A point stands for the step before it.
    start_s = float(times[0] + (first - 1) * step)
    return Series(place, start_s, step, np.where(seen, total, np.nan), notes=tuple(notes))


def _counted(track: Floats, values: Values, step_s: float) -> tuple[Floats, Floats]:
    at, value = track[:, 0], track[:, 1]
    if values == "rate":
        return at, value * step_s
    if values == "count":
        return at, value
    # A counter that falls has begun anew, so that all of it is new; over a gap nobody knows when it came.
    steps = np.diff(value)
    grown = np.where(steps >= 0, steps, value[1:])
    return at[1:], np.where(np.diff(at) <= 1.5 * step_s, grown, np.nan)


# --- tables and logs -------------------------------------------------------------------------------------------------


def _is_time(name: str) -> bool:
    return name.strip().strip('"').lower() in _TIMES


def _from_table(table: Table, values: Values | None) -> Series:
    """One column of times; all other columns whose cells are numbers are added up, or there is none: single arrivals."""
    at_index = next((i for i, name in enumerate(table.columns) if _is_time(name)), None)
    if at_index is None:
        raise InputError(table.place, "no column of times", _FIX)
    times, kept = [], []
    for row, cells in table.rows:
        if is_nothing(cells[at_index]):
            continue
        try:
            times.append(parse_instant(cells[at_index] or ""))
        except InputError as error:
            at = f"{table.place}: row {row}: {table.columns[at_index]}"
            raise InputError(at, error.problem, error.fix) from error
        kept.append(cells)
    columns = [
        i for i in range(len(table.columns)) if i != at_index and table.columns[i] not in ("unit", "jvm", "Series")
    ]
    if not columns:
        return _of_arrivals(np.array(times), table.place)
    comma = has_decimal_comma((cells[i] or "" for cells in kept for i in columns), table.delimiter)
    tracks = []
    for i in columns:
        place = f"{table.place}: {shown(table.columns[i])}"
        found = [
            (at, number(_plain(cells[i]), comma, place))
            for at, cells in zip(times, kept, strict=True)
            if not is_nothing(cells[i])
        ]
        if found:
            tracks.append(found)
    names = ", ".join(shown(table.columns[i]) for i in columns[:4])
    if values is None:
        values = "count" if all(_COUNTS.search(table.columns[i].replace("_", " ")) for i in columns) else "rate"
    series = series_of_points(tracks, table.place, values)
    each = {"rate": "a rate, so many each second", "count": "counts in each step", "counter": "a running total"}[values]
    return replace(series, notes=(f"{names} is taken for {each}", *series.notes))


def _plain(cell: str | None) -> str:
    """Grafana writes its unit behind a value: ``20 req/s``, ``1.2 K``."""
    match = re.fullmatch(
        r"\s*([0-9.,eE+-]+)\s*([KkMm]?)\s*(?:(?:req|ops|requests|calls|c|rps|qps|p?s|/s|/sec)[a-z/]*)?\s*", cell or ""
    )
    if match is None:
        return cell or ""
    factor = {"k": "e3", "m": "e6"}.get(match[2].lower(), "")
    return match[1] + factor


def _from_log(text: str, place: str) -> Series:
    lines = text.splitlines()
    found = [match[0] for line in lines if (match := IN_A_LINE.search(line[:400]))]
    if len(found) < 3 or len(found) < _LEAST_DATED * len(lines):
        raise InputError(place, f"an instant on {len(found):,} of {len(lines):,} lines", _FIX)
    times = []
    for instant in found:
        try:
            times.append(parse_instant(instant))
        except InputError as error:
            raise InputError(place, error.problem, error.fix) from error
    rest = len(lines) - len(found)
    notes = (f"each line with an instant is taken for one arrival; {rest:,} lines have none",)
    return replace(_of_arrivals(np.array(times), place), notes=notes)


def _of_arrivals(times: Floats, place: str) -> Series:
    times = np.sort(times)
    if len(times) < 3 or times[0] == times[-1]:
        raise InputError(place, "fewer than three instants", "record ten minutes or more of the peak")
    length_s = float(times[-1] - times[0])
    step = 1.0 if length_s <= _SHORT_LOG_S else 60.0
    start = float(np.floor(times[0] / step) * step)
    cells = (times[-1] - start) / step
    if cells > MOST_ROWS:
        raise InputError(place, "instants lie too far apart", "cut out some days")
    counts = np.bincount(((times - start) / step).astype(int), minlength=1).astype(float)
    if len(counts) > 2:
        # The first and the last step are cut by the recording's ends.
        counts, start = counts[1:-1], start + step
    return Series(place, start, step, counts, times)
