"""Quantities with suffixes ("5k", "50ms", "250m", "2Gi", "0.1%") to numbers, and back.

They exist at the edge only (flags, YAML, printed text). Inside, times are seconds, memory is bytes, CPU is cores.
Arithmetic is decimal, so that what a ``format_*`` function prints reads back as the very same number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal

from ojp_sizing.errors import InputError

#: Bounds of this tool, not of OJP: beyond them a figure is a slip of the pen.
MOST_RPS = 10_000_000.0
MOST_SECONDS = 86_400.0
MOST_BYTES = 2**46
MOST_CORES = 4096.0
MOST_CHARACTERS = 48


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of quantity: its name, suffixes and their factors, upper bound, and examples for the fix."""

    what: str
    suffixes: Mapping[str, Decimal]
    most: float
    examples: str


def _factors(**suffixes: str) -> dict[str, Decimal]:
    return {suffix: Decimal(factor) for suffix, factor in suffixes.items()}


_BARE = {"": Decimal(1)}
_RATE = _Kind("rate", _BARE | _factors(k="1e3", M="1e6"), MOST_RPS, "5000, 5k or 1.2M (per second)")
_DURATION = _Kind(
    "duration",
    _factors(us="0.000001", ms="0.001", s="1", m="60", min="60", h="3600"),
    MOST_SECONDS,
    "50ms, 1.5s or 5m",
)
# The suffixes of Kubernetes' resource.Quantity, as far as they make sense for a pod.
_BYTES = _Kind(
    "memory size",
    _BARE
    | {suffix: Decimal(1024**power) for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti"), start=1)}
    | _factors(k="1e3", M="1e6", G="1e9", T="1e12"),
    MOST_BYTES,
    "512Mi or 2Gi",
)
_CORES = _Kind("number of cores", _BARE | _factors(m="0.001"), MOST_CORES, "250m, 0.5 or 2")
_FRACTION = _Kind("fraction", _BARE | {"%": Decimal("0.01")}, 1, "0.1% or 0.001 (0 to 1)")
_NUMBER = _Kind("number", _BARE, 1e9, "a plain number, for example 0.5")

# ASCII digits only: \d and float() would also take those of every other script.
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)((?:[eE][+-]?[0-9]{1,3}(?![0-9]))?) ?([^\s0-9.]*)")


def shown(text: str) -> str:
    """Untrusted text for an error message: quoted, on one line, short."""
    short = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."
    return "'" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short) + "'"


def _parse(text: str, place: str, kind: _Kind) -> Decimal:
    fix = f"write {kind.examples}"
    stripped = text.strip(" ")
    if not stripped:
        raise InputError(place, f"the {kind.what} is empty", fix)
    match = _QUANTITY.fullmatch(stripped) if len(stripped) <= MOST_CHARACTERS else None
    if match is None:
        negative = stripped.startswith("-") and _QUANTITY.fullmatch(stripped[1:]) is not None
        raise InputError(place, f"{shown(text)} is " + ("below zero" if negative else f"not a {kind.what}"), fix)
    number, exponent, suffix = match.groups()
    if suffix not in kind.suffixes:
        known = ", ".join(s for s in kind.suffixes if s)
        raise InputError(place, f"{shown(text)}: unknown suffix {shown(suffix)}", f"known: {known}" if known else fix)
    value = Decimal(number + exponent) * kind.suffixes[suffix]
    if value > Decimal(kind.most):
        raise InputError(place, f"{shown(text)} is above the most that makes sense, {kind.most:,.10g}", fix)
    return value


def parse_rate(text: str, place: str = "rate") -> float:
    """Requests per second: "5000", "5k", "1.2M", also with "/s" or "rps" behind. At most 10 million."""
    bare = re.sub(r" ?(?:/s|rps)$", "", text.strip(" "))
    return float(_parse(bare, place, _RATE))


def parse_duration(text: str, place: str = "duration", most_s: float = MOST_SECONDS) -> float:
    """Seconds: "250us", "50ms", "30s", "5m" or "5min", "1h"; without a unit only "0". At most a day."""
    bare = text.strip(" ")
    number = _QUANTITY.fullmatch(bare)
    if number is not None and len(bare) <= MOST_CHARACTERS and not number[3]:
        if not Decimal(number[1]):
            return 0.0
        raise InputError(place, f"{shown(text)} has no unit", f"write {bare}ms or {bare}s")
    return float(_parse(text, place, replace(_DURATION, most=most_s)))


def parse_span(text: str, place: str = "time", most_s: float = 400 * MOST_SECONDS) -> float:
    """Seconds of a longer time: "14d", "2w", or what ``parse_duration`` takes. At most 400 days."""
    days = re.fullmatch(r"([0-9]{1,3})([dw])", text.strip(" "))
    value = int(days[1]) * MOST_SECONDS * (7 if days[2] == "w" else 1) if days else parse_duration(text, place, most_s)
    if not 0 < value <= most_s:
        raise InputError(
            place, f"{shown(text)} is not above 0 and at most 400 days", "write for example 14d, 36h or 90m"
        )
    return value


def parse_bytes(text: str, place: str = "memory") -> int:
    """Bytes: "2Gi", "512Mi", "1G", "1048576"; a fraction of a byte counts as one, as in Kubernetes. At most 64 TiB."""
    value = _parse(text, place, _BYTES)
    return int(value.to_integral_value(ROUND_CEILING))


def parse_cores(text: str, place: str = "cpu") -> float:
    """CPU cores: "250m", "2", "0.5". At most 4096, in steps of 1m as in Kubernetes."""
    value = _parse(text, place, _CORES)
    if value * 1000 % 1:
        raise InputError(place, f"{shown(text)} is finer than 1m", "write a whole number of millicores")
    return float(value)


def parse_fraction(text: str, place: str = "fraction") -> float:
    """A part of the whole, 0 to 1: "0.1%" or "0.001"."""
    return float(_parse(text, place, _FRACTION))


def parse_growth(text: str, place: str = "growth") -> float:
    """A part of the whole by which something grows each month: "5%/month". Above 0, at most 1."""
    share, slash, month = text.strip(" ").partition("/")
    fix = "write above 0 to 100%, for example 5%/month"
    if not slash or month.strip(" ") != "month":
        raise InputError(place, f"{shown(text)} is not a share of each month", fix)
    try:
        value = parse_fraction(share, place)
    except InputError as error:
        raise InputError(place, error.problem, fix) from error
    if value <= 0:
        raise InputError(place, f"{shown(text)} is no growth", fix)
    return value


def parse_number(text: str, place: str = "number", most: float = 1e9) -> float:
    """A plain number without a unit, 0 to ``most``."""
    return float(_parse(text, place, replace(_NUMBER, most=most)))


def parse_whole(text: str, place: str = "number", least: int = 0, most: int = 10**9) -> int:
    """A whole number in plain digits, ``least`` to ``most``."""
    bare = text.strip(" ")
    if not re.fullmatch(r"[0-9]{1,18}", bare) or not least <= int(bare) <= most:
        raise InputError(
            place, f"{shown(text)} is not a whole number from {least} to {most}", f"write for example {max(least, 1)}"
        )
    return int(bare)


def _plain(value: Decimal) -> str:
    """Without an exponent and trailing zeros, unless that would print a long row of zeros."""
    short = value.normalize()
    return f"{short:f}" if not short or abs(short.adjusted()) < 18 else str(short)


def _decimal(value: float, significant: int | None) -> Decimal:
    return Decimal(repr(float(value)) if significant is None else f"{value:.{significant}g}")


def _ends(value: float) -> tuple[float, ...]:
    """Low, mid and high of a range (``uncertain.py``, which needs this module), nothing of a plain number."""
    return tuple(getattr(value, end) for end in ("low", "mid", "high") if hasattr(value, end))


def format_number(value: float) -> str:
    """A plain number, exact; the three of a range."""
    ends = _ends(value)
    return "..".join(map(format_number, ends)) if ends else _plain(_decimal(value, None))


def format_rate(rps: float, significant: int | None = None) -> str:
    """5000.0 -> "5k". Exact, or rounded to so many significant digits."""
    value = _decimal(rps, significant)
    suffix = "M" if value >= _RATE.suffixes["M"] else "k" if value >= _RATE.suffixes["k"] else ""
    return _plain(value / _RATE.suffixes[suffix]) + suffix


def format_duration(seconds: float, significant: int | None = None) -> str:
    """0.05 -> "50ms", in us, ms or s. Exact, or rounded to so many significant digits; the three of a range."""
    if ends := _ends(seconds):
        return "..".join(format_duration(end, significant) for end in ends)
    value = _decimal(seconds, significant)
    suffix = "s" if value >= 1 or not value else "ms" if value >= _DURATION.suffixes["ms"] else "us"
    return _plain(value / _DURATION.suffixes[suffix]) + suffix


def format_bytes(size: int) -> str:
    """A Kubernetes quantity for exactly so many bytes: 2147483648 -> "2Gi", 1610612736 -> "1536Mi"."""
    for suffix in ("Gi", "Mi", "Ki"):
        if size and size % int(_BYTES.suffixes[suffix]) == 0:
            return f"{size // int(_BYTES.suffixes[suffix])}{suffix}"
    return str(size)


def format_cores(cores: float) -> str:
    """A Kubernetes quantity: 2.0 -> "2", 1.5 -> "1500m"; rounded up to a whole millicore."""
    milli = int((_decimal(cores, None) * 1000).to_integral_value(ROUND_CEILING))
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"
