"""What a value may be, declared beside its field: files and Python are held to the same.

    class Clients(Checked):
        jvms: Annotated[int, Number(1, 10_000, whole=True)] = 16

``Checked`` looks at every field where the value is made, ``taken`` at a function's arguments, and the readers of files ask
``bound_of`` how a field is read. What follows from the type alone (a flag, one of some words, a value of a class) needs no
bound. Numbers of numpy are kept as Python's, lists as tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import inf
from numbers import Integral, Real
from os import PathLike
from sys import float_info
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import MOST_RPS, format_number, shown
from ojp_sizing.uncertain import RANGES

MOST_NAME = 64
MOST_LINE = 1000
MOST_TIME_S = 3600.0
#: Nothing that is stated in seconds lasts longer: what Java holds in milliseconds.
MOST_JAVA_S = (2**63 - 1) / 1000.0

#: From a value and its place to the value as it is kept; raises InputError at the place.
Take = Callable[[Any, str], Any]


class Bound(Protocol):
    """What a field may hold."""

    def take(self, value: Any, place: str) -> Any:
        """The value as it is kept. Raises InputError at ``place``, which names the bound and the fix."""


def said(value: object) -> str:
    """Any value for an error message: short, on one line."""
    if isinstance(value, str):
        return shown(value)
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    if isinstance(value, int):
        # Python prints no number of more than 4,300 digits.
        return str(value) if value.bit_length() <= 128 else f"a number of {value.bit_length():,} bits"
    return f"a value of type {shown(type(value).__name__)[1:-1]}"


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else format_number(value)


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``least`` to ``most``; ``above``: more than the least. ``infinite``: inf is taken, too.

    ``whole``: without a fraction. ``unit``: "s", "share" (of the whole), or as the field's words have it.
    """

    least: float = 0.0
    most: float = float_info.max
    unit: str = ""
    whole: bool = False
    above: bool = False
    infinite: bool = False

    def take(self, value: Any, place: str) -> Any:
        kind = type(value)
        if kind in RANGES:
            # It is kept as it is; Checked says where a range may stand.
            for end in (value.low, value.mid, value.high):
                self.take(end, place)
            return value
        if kind is not int and (self.whole or kind is not float):
            value = self._plain(value, place)
        if (value > self.least or (value == self.least and not self.above)) and value <= self.most:
            return value
        if value == inf and self.infinite:
            return value
        if value != value:  # noqa: PLR0124 - nan; an int may be too large for isnan
            raise InputError(place, "nan is not a number", self._mend())
        below = value < self.least or (value == self.least and self.above)
        edge = "not above" if value == self.least else "below" if below else "above"
        problem = f"{said(value)} is {edge} {_figure(self.least if below else self.most)}"
        raise InputError(place, "inf is not taken" if value == inf else problem, self._mend())

    def _plain(self, value: object, place: str) -> float:
        if not isinstance(value, bool):
            if isinstance(value, Integral):
                return int(value)
            if isinstance(value, Real) and not self.whole:
                return float(value)
        what = "a whole number" if self.whole else "a number"
        raise InputError(place, f"{said(value)} is not {what}", self._mend())

    def _mend(self) -> str:
        unit = f" {self.unit}" if self.unit not in ("", "share") else ""
        least = f"more than {_figure(self.least)}" if self.above else _figure(self.least)
        or_inf = ", or inf" if self.infinite else ""
        if self.most == float_info.max:
            return f"write {least}{'' if self.above else ' or more'}{unit}"
        return f"write {least}{' and at most' if self.above else ' to'} {_figure(self.most)}{unit}{or_inf}"


SHARE = Number(0.0, 1.0, "share")
TIME = Number(0.0, MOST_TIME_S, "s")
INSTANT = Number(unit="s")
RATE = Number(0.0, MOST_RPS, "units of work per second", above=True)
SEED = Number(0, 2**63 - 1, whole=True)


@dataclass(frozen=True, slots=True)
class Text:
    """Printable text on one line, ``least`` to ``most`` characters; a ``name`` has no blank at either end."""

    most: int = MOST_LINE
    least: int = 0
    name: bool = False

    def take(self, value: Any, place: str) -> str:
        if not isinstance(value, str):
            raise InputError(place, f"{said(value)} is not text", "write text in quotes")
        if self.least <= len(value) <= self.most and value.isprintable() and not (self.name and value != value.strip()):
            return value
        if self.name:
            fix = f"write {self.least} to {self.most} printable characters without a blank at either end"
            raise InputError(place, f"{shown(value)} is not a name", fix)
        raise InputError(
            place, f"{shown(value)} is not a line of text", f"write up to {self.most} printable characters"
        )


NAME = Text(MOST_NAME, 1, name=True)
LINE = Text()


# From a type to what it takes ---------------------------------------------------------------------------------------


def _take_flag(value: Any, place: str) -> bool:
    if isinstance(value, bool) or type(value).__name__ == "bool":  # numpy's, too
        return bool(value)
    raise InputError(place, f"{said(value)} is neither True nor False", "write True or False")


def _one_of(choices: tuple[object, ...]) -> Take:
    known = ", ".join(map(repr, choices))

    def take(value: Any, place: str) -> Any:
        if isinstance(value, str) and value in choices:
            return value
        raise InputError(place, f"{said(value)} is not known here", f"write one of {known}")

    return take


def _value_of(classes: tuple[type, ...]) -> Take:
    known = " or ".join(kind.__name__ for kind in classes)

    def take(value: Any, place: str) -> Any:
        if isinstance(value, classes):
            return value
        raise InputError(place, f"{said(value)} is not of type {known}", f"write {known}(...), or a member of it")

    return take


def _optional(inner: Take) -> Take:
    return lambda value, place: None if value is None else inner(value, place)


def _items(takes: Callable[[int], tuple[Take, ...]], words: str) -> Take:
    def take(value: Any, place: str) -> tuple[Any, ...]:
        if not isinstance(value, (tuple, list)) or len(inner := takes(len(value))) != len(value):
            raise InputError(place, f"{said(value)} is not a tuple{words}", "write the values in parentheses")
        kept = tuple(one(item, f"{place}[{i}]") for i, (one, item) in enumerate(zip(inner, value, strict=True)))
        if isinstance(value, tuple) and all(new is old for new, old in zip(kept, value, strict=True)):
            return value
        return kept

    return take


def take_for(hint: Any) -> Take:
    """What a field with this annotation takes."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        take: Take = next(note.take for note in inner[1:] if hasattr(note, "take"))
        return take
    if origin is Literal:
        return _one_of(inner)
    if origin in (Union, UnionType):
        rest = tuple(kind for kind in inner if kind is not NoneType)
        some = take_for(rest[0]) if len(rest) == 1 else _value_of(rest)
        return _optional(some) if NoneType in inner else some
    if origin is tuple and inner[-1] is Ellipsis:
        one = take_for(inner[0])
        return _items(lambda length: (one,) * length, "")
    if origin is tuple:
        some_takes = tuple(map(take_for, inner))
        return _items(lambda _: some_takes, f" of {len(inner)}")
    plain: dict[type, Take] = {
        bool: _take_flag,
        str: LINE.take,
        int: Number(-float_info.max, whole=True).take,
        float: Number(-float_info.max).take,
    }
    return plain[hint] if hint in plain else _value_of((hint,))


#: Of each checked class, once one was made: its fields' names, their places, and what they take.
_TAKES: dict[type, tuple[tuple[str, str, Take], ...]] = {}


def _takes_of(kind: type[Any]) -> tuple[tuple[str, str, Take], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((field.name, f"{kind.__name__}.{field.name}", take_for(hints[field.name])) for field in fields(kind))


class Checked:
    """A frozen dataclass whose fields are held to what is declared beside them, whoever makes it.

    An InputError's place is ``Class.field``; ``agree`` is for what several fields must be together.
    """

    __slots__ = ()
    #: The fields that may be ranges (``uncertain.py``); of all others a range is refused.
    may_be_ranges: ClassVar[Container[str]] = ()

    def __post_init__(self) -> None:
        kind = type(self)
        for name, place, take in _TAKES.get(kind) or _TAKES.setdefault(kind, _takes_of(kind)):
            value = getattr(self, name)
            if type(value) in RANGES and name not in self.may_be_ranges:
                fix = "write one number: the rate, a workload and constants may have ranges"
                raise InputError(place, "it can't be a range", fix)
            kept = take(value, place)
            if kept is not value:
                object.__setattr__(self, name, kept)
        self.agree()

    def agree(self) -> None:
        """Raise InputError where fields don't go together."""

    def refuse(self, name: str, problem: str, fix: str) -> InputError:
        """The error at a field, "" for the value as a whole."""
        return InputError(f"{type(self).__name__}.{name}".rstrip("."), problem, fix)


class _All:
    def __contains__(self, name: object) -> bool:
        return True


class Demanded(Checked):
    """What may be known as a range only, in every field."""

    __slots__ = ()
    may_be_ranges: ClassVar[Container[str]] = _All()


def bound_of(kind: type, name: str) -> Any:
    """The bound that is declared beside a field."""
    return get_args(get_type_hints(kind, include_extras=True)[name])[1]


def taken(takes: Mapping[str, Take], **arguments: object) -> tuple[Any, ...]:
    """The arguments as they are kept, in their order, each by the function of its name."""
    return tuple(takes[name](value, name) for name, value in arguments.items())


def take_path(value: Any, place: str) -> str | PathLike[str]:
    """The name of a file."""
    if isinstance(value, (str, PathLike)):
        return value
    raise InputError(place, f"{said(value)} is not the name of a file", "write its path as text")


@contextmanager
def told_as(place: Callable[[str], str]) -> Iterator[None]:
    """What is wrong with a value that is made in here is told at ``place(field)``: the user's words for ``Class.field``."""
    try:
        yield
    except InputError as error:
        raise InputError(place(error.place.partition(".")[2]), error.problem, error.fix) from error
