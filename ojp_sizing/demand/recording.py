"""Read a recorded trace of arrivals from CSV text. The format is described in ``docs/workload.md``; the text is untrusted."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from ojp_sizing.demand.arrivals import Replay
from ojp_sizing.demand.instants import parse_instant
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import parse_whole, shown

MOST_RECORDING_BYTES = 64 * 2**20
MOST_RECORDED = 1_000_000
COLUMNS = ("at", "unit", "jvm")
#: What other programs call the instant.
_AT = frozenset({"at", "time", "timestamp", "@timestamp", "ts", "datetime"})
#: From so many arrivals on, of which more than this part shares its second, whole seconds are taken for a coarse clock.
_COARSE_FROM, _COARSE_SHARE = 100, 0.1
_FIX = "write at,unit,jvm; of rates or counts over time 'ojp-size fit demand' makes arrivals"


def parse_recording(text: str, place: str, file: str, units: Sequence[str], jvms: int) -> Replay:
    """The arrivals in a recording: ``at``, and as far as they are there ``unit`` (a name in ``units``) and ``jvm``.

    Rows may be in any order; those of one instant keep theirs. Where the clock shows whole seconds only, the arrivals of each
    second are spread evenly over it: at one instant they would be a burst that nobody saw.
    """
    if text.lstrip()[:1] in ("{", "["):
        raise InputError(f"{place}: line 1", "JSON, and no recording of arrivals", _FIX)
    number = {name: index for index, name in enumerate(units)}
    rows: list[tuple[float, int, int]] = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        header = ["at" if name.lower() in _AT and "at" not in header else name for name in header]
        for name in header:
            if name not in COLUMNS or header.count(name) > 1:
                raise InputError(f"{place}: line 1", f"{shown(name)} is no column of a recording", _FIX)
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
    return Replay(
        file,
        _since_the_first([at_s for at_s, _, _ in rows]),
        tuple(unit for _, unit, _ in rows) if "unit" in header else (),
        tuple(jvm for _, _, jvm in rows) if "jvm" in header else (),
    )


def _since_the_first(at_s: list[float]) -> tuple[float, ...]:
    times = np.array(at_s)
    whole = bool((times == np.floor(times)).all())
    if whole and len(times) >= _COARSE_FROM and 1 - len(np.unique(times)) / len(times) > _COARSE_SHARE:
        _, firsts, counts = np.unique(times, return_index=True, return_counts=True)
        times += (np.arange(len(times)) - np.repeat(firsts, counts)) / np.repeat(counts, counts)
    return tuple((times - times[0]).tolist())


def _row(row: dict[str, str], number: dict[str, int], jvms: int) -> tuple[float, int, int]:
    at_s = parse_instant(row["at"])
    unit = row.get("unit")
    if unit is not None and unit not in number:
        raise InputError("unit", f"no unit {shown(unit)}", f"known: {', '.join(list(number)[:12])}")
    jvm = parse_whole(row["jvm"], "jvm", 0, jvms - 1) if "jvm" in row else 0
    return at_s, number[unit] if unit is not None else 0, jvm
