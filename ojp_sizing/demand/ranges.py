"""A workload whose numbers are ranges, at values of these: shares that make a whole go on doing so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import fsum
from typing import TypeVar

from ojp_sizing.demand.workload import StatementClass, UnitOfWork, Workload, check_whole
from ojp_sizing.uncertain import Range, ranges_in, settled

S = TypeVar("S", StatementClass, UnitOfWork)


def settled_workload(workload: Workload, chosen: Mapping[str, float]) -> Workload:
    """The workload with each range at the value that is chosen for its path, or else at its mid.

    Where a share isn't at its mid, the other shares give way in proportion. Rows of the constants table that the file sets
    are left to ``Question.constants``.
    """
    found: Workload = settled(workload, chosen)
    return replace(
        found,
        statements=_shared(workload.statements, found.statements),
        units=_shared(workload.units, found.units),
        constants=tuple((name, float(value)) for name, value in found.constants),
    )


def check_ends(workload: Workload) -> None:
    """What the workload must be as a whole, it must be at each end of each range, too. Raises InputError as ``check_whole``."""
    for path, found in ranges_in(workload):
        for end in (found.low, found.high):
            check_whole(settled_workload(workload, {path: end}))


def _shared(before: Sequence[S], after: Sequence[S]) -> tuple[S, ...]:
    """The parts with shares whose sum is what it was: those that are no ranges give way, or all where that isn't enough."""
    ranged = [isinstance(part.share, Range) for part in before]
    whole = fsum(part.share for part in before)
    if not any(ranged) or fsum(part.share for part in after) == whole:
        return tuple(after)
    kept = fsum(part.share for part, is_ranged in zip(after, ranged, strict=True) if is_ranged)
    rest = fsum(part.share for part, is_ranged in zip(after, ranged, strict=True) if not is_ranged)
    if rest > 0 and kept <= whole:
        factors = [1.0 if is_ranged else (whole - kept) / rest for is_ranged in ranged]
    else:
        factors = [whole / (kept + rest)] * len(after)
    return tuple(
        replace(part, share=part.share * factor) if factor != 1.0 else part
        for part, factor in zip(after, factors, strict=True)
    )
