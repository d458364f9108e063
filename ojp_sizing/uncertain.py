"""Numbers that are only known to lie within a range. As a number, each is its mid: what doesn't ask doesn't notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from math import isfinite
from typing import Any, Self, TypeVar

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown

N = TypeVar("N", float, int)


class Range(float):
    """A number that lies between ``low`` and ``high``, most likely at ``mid``. Raises InputError for other orders."""

    low: float
    mid: float
    high: float

    def __new__(cls, low: float, mid: float, high: float) -> Self:
        """Its value is ``mid``."""
        _check_order(low, mid, high)
        found = super().__new__(cls, mid)
        found.low, found.mid, found.high = float(low), float(mid), float(high)
        return found

    def __reduce__(self) -> tuple[type[Range], tuple[float, float, float]]:
        return type(self), (self.low, self.mid, self.high)

    def __repr__(self) -> str:
        return f"Range({self.low!r}, {self.mid!r}, {self.high!r})"


class WholeRange(int):
    """The same for a whole number: client JVMs, rows."""

    low: int
    mid: int
    high: int

    def __new__(cls, low: int, mid: int, high: int) -> Self:
        """Its value is ``mid``."""
        _check_order(low, mid, high)
        found = super().__new__(cls, mid)
        found.low, found.mid, found.high = int(low), int(mid), int(high)
        return found

    def __reduce__(self) -> tuple[type[WholeRange], tuple[int, int, int]]:
        return type(self), (self.low, self.mid, self.high)

    def __repr__(self) -> str:
        return f"WholeRange({self.low}, {self.mid}, {self.high})"

    def __str__(self) -> str:
        return f"{self.low}..{self.mid}..{self.high}"


RANGES = (Range, WholeRange)


def _check_order(low: float, mid: float, high: float) -> None:
    if not (isfinite(low) and isfinite(high) and low <= mid <= high):
        raise InputError("", f"{low:g}..{mid:g}..{high:g} is not in order", "write low..mid..high, for example 1..2..5")


def parse_range(text: str, parse: Callable[[str], N], place: str = "") -> N:
    """A number as ``parse`` reads it, or ``low..mid..high`` of three. Raises InputError where they aren't in order."""
    ends = text.split("..")
    if len(ends) == 1:
        return parse(text)
    if len(ends) != 3:
        raise InputError(place, f"{shown(text)} is not low..mid..high", "write for example 1ms..2ms..5ms")
    low, mid, high = (parse(end) for end in ends)
    try:
        return WholeRange(low, mid, high) if isinstance(low, int) else Range(low, mid, high)  # type: ignore[arg-type] # three of a kind
    except InputError as error:
        raise InputError(
            place, f"{shown(text)} is not in order", "write the low end, the mid and the high end"
        ) from error


def ranges_in(value: object, path: str = "") -> Iterator[tuple[str, Range | WholeRange]]:
    """Every range inside of nested dataclasses and tuples of them, with its path: ``units[page].think.mean_s``."""
    if isinstance(value, Range | WholeRange):
        yield path, value
    elif isinstance(value, tuple):
        # Of a long row of plain numbers (a recording) none is a range.
        for index, item in enumerate(value):
            if is_dataclass(item):
                yield from ranges_in(item, f"{path}[{getattr(item, 'name', index)}]")
    elif is_dataclass(value):
        for field in fields(value):
            yield from ranges_in(getattr(value, field.name), f"{path}.{field.name}" if path else field.name)


def settled(value: Any, chosen: Mapping[str, float], path: str = "") -> Any:
    """The same without ranges: each is what is chosen for its path, or else its mid."""
    if isinstance(value, Range | WholeRange):
        return chosen.get(path, value.mid)
    if isinstance(value, tuple):
        items = tuple(
            settled(item, chosen, f"{path}[{getattr(item, 'name', index)}]") if is_dataclass(item) else item
            for index, item in enumerate(value)
        )
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if is_dataclass(value) and not isinstance(value, type):
        changes = {}
        for field in fields(value):
            old = getattr(value, field.name)
            new = settled(old, chosen, f"{path}.{field.name}" if path else field.name)
            if new is not old:
                changes[field.name] = new
        return replace(value, **changes) if changes else value
    return value
