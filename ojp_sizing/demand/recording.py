"""Read a recorded trace of arrivals from CSV text. The format is described in ``docs/workload.md``; the text is untrusted."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from ojp_sizing.demand.arrivals import Replay
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import parse_whole, shown

MOST_RECORDING_BYTES = 64 * 2**20
MOST_RECORDED = 1_000_000
COLUMNS = ("at", "unit", "jvm")
_EPOCH = datetime.fromtimestamp(0, UTC)


def _seconds(text: str) -> float:
    """Seconds, or an ISO 8601 instant as seconds since 1970; without an offset it counts as UTC."""
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        return float(text)
    try:
        instant = datetime.fromisoformat(text)
        return ((instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
    except (ValueError, OverflowError) as error:
        raise InputError("", f"{shown(text)} is no time", "write seconds, or 2026-03-01T12:00:00.250Z") from error


def parse_recording(text: str, place: str, file: str, units: Sequence[str], jvms: int) -> Replay:
    """The arrivals in a recording: ``at``, and as far as they are there ``unit`` (a name in ``units``) and ``jvm``.

    Rows may be in any order; those of one instant keep theirs.
    """
    number = {name: index for index, name in enumerate(units)}
    rows: list[tuple[float, int, int]] = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        for name in header:
            if name not in COLUMNS or header.count(name) > 1:
                raise InputError(f"{place}: line 1", f"{shown(name)} is no column of a recording", "write at,unit,jvm")
        if "at" not in header:
            raise InputError(f"{place}: line 1", "no column 'at'", "begin with a header: at,unit,jvm (or at alone)")
        for row in reader:
            if len(rows) == MOST_RECORDED:
                raise InputError(place, f"more than {MOST_RECORDED:,} arrivals", "cut out the busiest hour")
            if len(row) != len(header):
                problem = f"{len(row)} fields under a header of {len(header)}"
                raise InputError(f"{place}: line {reader.line_num}", problem, "write one value for each column")
            try:
                rows.append(_row(dict(zip(header, row, strict=True)), number, jvms))
            except InputError as error:
                at = f"{place}: line {reader.line_num}: {error.place}".removesuffix(": ")
                raise InputError(at, error.problem, error.fix) from error
    except csv.Error as error:
        raise InputError(place, f"not CSV: {shown(str(error))}", "begin with a header: at,unit,jvm") from error
    rows.sort(key=lambda row: row[0])
    if not rows or rows[0][0] == rows[-1][0]:
        raise InputError(place, "fewer than two instants", "record a minute or more of the peak")
    first_s = rows[0][0]
    return Replay(
        file,
        tuple(at_s - first_s for at_s, _, _ in rows),
        tuple(unit for _, unit, _ in rows) if "unit" in header else (),
        tuple(jvm for _, _, jvm in rows) if "jvm" in header else (),
    )


def _row(row: dict[str, str], number: dict[str, int], jvms: int) -> tuple[float, int, int]:
    at_s = _seconds(row["at"].strip())
    unit = row.get("unit")
    if unit is not None and unit not in number:
        raise InputError("unit", f"no unit {shown(unit)}", f"known: {', '.join(list(number)[:12])}")
    jvm = parse_whole(row["jvm"], "jvm", 0, jvms - 1) if "jvm" in row else 0
    return at_s, number[unit] if unit is not None else 0, jvm
