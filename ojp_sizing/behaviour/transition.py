"""The one definition of how OJP acts is plain Python in the subset that numba compiles.

``transition`` marks such a function: SimPy's clock calls it as it is, the compiled clock compiles it.
Rules for a transition: it gets the ``World`` and indices; it reads and writes records by field name; it tells the
future by ``post`` only; it never calls back up the chain that called it (numba resolves no cycles), but posts an
event for the present instant instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

try:
    from numba.extending import register_jitable

    COMPILER = True
except ImportError:  # the compiled clock is an extra; without it SimPy's clock runs the same text
    COMPILER = False


def transition(function: F) -> F:
    """Mark a function as part of the shared definition."""
    return register_jitable(function) if COMPILER else function
