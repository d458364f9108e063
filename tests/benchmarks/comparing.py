"""Contestants side by side: they take turns, and what counts is the ratio of each turn."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Work = Callable[[], object]
Stopwatch = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long the first contestant takes as the second: median, least and greatest of the turns.

    ``first_s`` and ``second_s`` are the medians of their times, true of this machine at this time only.
    """

    median: float
    low: float
    high: float
    first_s: float
    second_s: float

    def times(self, factor: float) -> Ratio:
        """The same where the second contestant did ``factor`` times as much as the first."""
        return Ratio(self.median * factor, self.low * factor, self.high * factor, self.first_s, self.second_s / factor)

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def take_turns(contestants: Sequence[Work], turns: int, stopwatch: Stopwatch = time.process_time) -> list[list[float]]:
    """Seconds of each contestant in each turn, after one turn that doesn't count.

    The stopwatch is this process's CPU time, which neighbours on the machine disturb less than the wall's.
    """
    times: list[list[float]] = [[] for _ in contestants]
    for turn in range(turns + 1):
        for work, mine in zip(contestants, times, strict=True):
            # Nobody clears up after another.
            gc.collect()
            began = stopwatch()
            work()
            if turn > 0:
                mine.append(stopwatch() - began)
    return times


def ratio(first_s: Sequence[float], second_s: Sequence[float]) -> Ratio:
    """Of the times of two contestants in the same turns."""
    ratios = [one / other for one, other in zip(first_s, second_s, strict=True)]
    return Ratio(
        statistics.median(ratios), min(ratios), max(ratios), statistics.median(first_s), statistics.median(second_s)
    )


def side_by_side(first: Work, second: Work, turns: int, stopwatch: Stopwatch = time.process_time) -> Ratio:
    """Two contestants, turn by turn."""
    first_s, second_s = take_turns((first, second), turns, stopwatch)
    return ratio(first_s, second_s)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    what: str
    result: str
    target: str = ""
    remark: str = ""


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | measured | at least | remark |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.result} | {row.target} | {row.remark} |" for row in rows]
    return "\n".join(lines)
