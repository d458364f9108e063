"""How a record is defined: a class with one annotated field each, from which all else is made.

The class is what mypy knows, and what SimPy's clock makes its objects of; ``layout`` is the numpy row of the compiled clock,
with the fields in the order in which they are written; ``renewing`` makes the transition that has fields as they were at first,
``new_rows`` the rows of a new world; ``docs/records.md`` is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Flag, IntEnum, auto
from math import inf
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.transition import transition

Real = Annotated[float, np.float64]
Whole = Annotated[int, np.int64]
Narrow = Annotated[int, np.int32]
Small = Annotated[int, np.int8]


class Reset(Flag):
    """What makes a field fresh again."""

    NEVER = 0
    #: The server process that it is of, or that its RPC is in, has ended.
    PROCESS = auto()
    #: The thread begins a unit of work.
    UNIT = auto()


@dataclass(frozen=True, slots=True)
class Setting:
    """A fresh value: this field of the run's settings."""

    name: str


@dataclass(frozen=True, slots=True)
class Own:
    """A fresh value: that of another field of the same record."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """A field: what it means, its value at first (None: whoever makes the world gives it), and what brings that back."""

    meaning: str
    fresh: float | Setting | Own | None
    resets: Reset


def field(meaning: str, fresh: float | Setting | Own | None = None, resets: Reset = Reset.NEVER) -> Any:
    """A field of a record. Any: its type is the annotation's."""
    if fresh is None and resets:
        raise TypeError(f"no fresh value to go back to: {meaning}")
    return Field(meaning, fresh, resets)


class Record:
    """One record: an object with the same fields as a row of ``layout``."""

    __slots__ = ()
    fields: ClassVar[Mapping[str, Field]]
    layout: ClassVar[np.dtype[Any]]


R = TypeVar("R", bound=Record)


def record(written: type[R]) -> type[R]:
    """Make a record of a class whose every annotation has a ``field``."""
    kinds = {name: get_args(hint)[-1] for name, hint in get_type_hints(written, include_extras=True).items()
             if name in written.__annotations__}  # fmt: skip
    attributes = {
        name: value for name, value in vars(written).items() if name not in (*kinds, "__dict__", "__weakref__")
    }
    attributes |= {
        "__slots__": tuple(kinds),
        "fields": {name: vars(written)[name] for name in kinds},
        "layout": np.dtype(list(kinds.items()), align=True),
    }
    return type(written.__name__, written.__bases__, attributes)


def new_rows(
    of: type[Record], rows: int | tuple[int, ...], settings: NDArray[Any] | None = None, /, **given: Any
) -> NDArray[np.void]:
    """So many fresh rows, with these columns given. ``settings``: those of the run, where a fresh value is one of them."""
    records = np.zeros(rows, of.layout)
    for name, column in given.items():
        records[name] = column
    for name, found in of.fields.items():
        if name not in given and found.fresh is not None:
            if isinstance(found.fresh, Setting):
                assert settings is not None, name  # noqa: S101 - a type for the checker
                records[name] = settings[found.fresh.name][0]
            else:
                records[name] = records[found.fresh.name] if isinstance(found.fresh, Own) else found.fresh
    return records


def renewing(of: type[R], reset: Reset) -> Callable[[Any, R], None]:
    """The transition ``(world, record)`` that gives every field that ``reset`` resets its fresh value."""
    lines = [f"    r.{name} = {_code(found)}\n" for name, found in of.fields.items() if found.resets & reset]
    if not lines:
        raise TypeError(f"nothing of {of.__name__} is reset by {reset.name}")
    namespace: dict[str, Any] = {"inf": inf}
    # numba can't go through the fields of a row by name, so that the text is what one would write by hand.
    exec("def renew(w, r):\n" + "".join(lines), namespace)  # noqa: S102
    return transition(namespace["renew"])  # type: ignore[no-any-return]


def _code(found: Field) -> str:
    if isinstance(found.fresh, Setting):
        return f"w.settings[0].{found.fresh.name}"
    if isinstance(found.fresh, Own):
        return f"r.{found.fresh.name}"
    return repr(found.fresh.value if isinstance(found.fresh, IntEnum) else found.fresh)
