"""Numbers and times as programs print them: ``90,000``, ``1.5``, ``1,5``, ``9e+04``, ``00:03:00.0``, ``1.23 ms``, ``NULL``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown

#: What stands for nothing.
_NOTHING = frozenset({"", "null", "nan", "none", "n/a", "na", "-", "\\n", "(null)", "<null>", "[null]"})
_BLANKS = str.maketrans("", "", " \u00a0\u202f\u2009'_")
_POINT = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")
_COMMA = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+)?(?:,[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")
#: These only have a decimal comma: not three digits behind a single one, or points before it.
_SURELY_COMMA = re.compile(r"[+-]?(?:[0-9]+,(?![0-9]{3}(?![0-9]))[0-9]+|0,[0-9]+|[0-9.]*\.[0-9]{3},[0-9]+)")
_SURELY_POINT = re.compile(r"[+-]?(?:[0-9]+\.(?![0-9]{3}(?![0-9]))[0-9]+|0\.[0-9]+|[0-9,]*,[0-9]{3}\.[0-9]+)")
_MOST = 1e18

#: Names of units, and seconds in each; what PostgreSQL, MySQL's sys schema and monitoring tools print.
UNITS_S = {
    "ps": 1e-12, "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "secs": 1.0,
    "second": 1.0, "seconds": 1.0, "m": 60.0, "min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0,
    "hour": 3600.0, "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
_CLOCK = re.compile(r"(?:(?:@\s*)?([0-9]+) days?,? *)?([0-9]{1,6}):([0-5]?[0-9]):([0-5]?[0-9](?:[.,][0-9]+)?)")
_PARTS = re.compile(r"(?:@\s*)?((?:[0-9]+(?:\.[0-9]+)?\s*[A-Za-zµμ]+\s*)+)")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµμ]+)")


def is_nothing(cell: str | None) -> bool:
    """Whether a cell says that there is no value."""
    return cell is None or cell.strip().lower() in _NOTHING


def has_decimal_comma(cells: Iterable[str], delimiter: str) -> bool:
    """Whether a comma in these numbers divides whole from parts: where a cell shows it, or else none shows a point and
    cells are divided by semicolons, as a program writes them where the comma is taken."""
    shows_point = False
    for cell in cells:
        bare = cell.translate(_BLANKS)
        if _SURELY_COMMA.fullmatch(bare):
            return True
        shows_point = shows_point or _SURELY_POINT.fullmatch(bare) is not None
    return delimiter == ";" and not shows_point


def number(cell: str, decimal_comma: bool, place: str) -> float:
    """A number of 0 or more. Raises InputError for anything else."""
    bare = cell.translate(_BLANKS).removesuffix("%")
    if not (_COMMA if decimal_comma else _POINT).fullmatch(bare) or not any(c.isdigit() for c in bare):
        raise InputError(place, f"{shown(cell)} is not a number of 0 or more", "export anew")
    found = float(bare.replace(".", "").replace(",", ".") if decimal_comma else bare.replace(",", ""))
    if not (0 <= found <= _MOST) or not isfinite(found):
        raise InputError(place, f"{shown(cell)} is not a number of 0 or more", "export anew")
    return found


def seconds(cell: str, unit_s: float, decimal_comma: bool, place: str) -> float:
    """A time: a clock's (``00:03:00.0``), one with its unit (``1.23 ms``), or a plain number of ``unit_s``."""
    bare = cell.strip()
    if clock := _CLOCK.fullmatch(bare):
        days, hours, minutes, rest = clock.groups()
        return 86400.0 * int(days or 0) + 3600.0 * int(hours) + 60.0 * int(minutes) + float(rest.replace(",", "."))
    if len(bare) <= 80 and _PARTS.fullmatch(bare):
        parts = _PART.findall(bare)
        if all(unit in UNITS_S for _, unit in parts):
            return sum(float(value) * UNITS_S[unit] for value, unit in parts)
    return number(cell, decimal_comma, place) * unit_s
