"""OJP's arithmetic, where closed forms and the kernel need the same: plain Python, without numba.

What uses one of these in a transition marks it as one (``transition``).
"""

from __future__ import annotations

#: A text is slow from so many times the overall average on (reference 3.1, CODE+RUN).
SLOW_RATIO = 2.0
#: And none where that is at most this (reference 3.1).
SEGREGATION_FLOOR_S = 0.001


def share_of_pool(size: int, pods: int) -> int:
    """Divide a pool as OJP does: ``ceil(size / pods)`` on each pod (reference 5, CODE+RUN)."""
    return -(-size // pods)


def split_slots(total: int, slow_percentage: int) -> tuple[int, int]:
    """``(fast, slow)``: the slow lane gets ``max(1, floor(total * pct / 100))`` (reference 2, CODE+RUN)."""
    slow = max(1, total * slow_percentage // 100)
    return total - slow, slow


def slots_of(total: int, slow_percentage: int, segregation: bool, always_on: bool) -> tuple[int, int]:
    """``(fast, slow)`` of a pool with so many connections. Where admission is ``always_on`` (from 0.4.14) and nothing is
    segregated, one lane has them all."""
    if always_on and (not segregation or slow_percentage == 0):
        return total, 0
    return split_slots(total, slow_percentage)


def slow_by_mean(average: float, overall: float, floor: float) -> bool:
    """The classifier's rule up to 0.4.18; ``floor`` is SEGREGATION_FLOOR_S in the unit of the averages."""
    return overall > floor and average >= SLOW_RATIO * overall
