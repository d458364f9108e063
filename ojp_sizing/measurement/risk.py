"""How often a disruption breaks a limit: shown to be seldom by a sequential test whose error is exact.

Collapses are bimodal: a mean over a few updates says nothing of the one in ten that never recovers. So what is judged is the
share of runs in which any limit is broken. After each run the count of broken ones is held against two boundaries, which
spend an error on accepting and one on rejecting as the runs go on (Lan and DeMets 1983); the error that each step spends is
computed exactly, by carrying the binomial distribution of the paths that go on (Armitage, McPherson and Rowe 1969).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, inf, log

import numpy as np

from ojp_sizing.measurement.intervals import Estimate, clopper_pearson
from ojp_sizing.measurement.objectives import Verdict

#: In all, over every deployment that one answer holds against its objectives (``level_of``).
WRONG_MET = 0.05
#: What of it the first deployment may spend. With the default risk of 10 % that is 29 runs without a break, with 5 % 59.
FIRST_LEVEL = 0.049
#: A test that goes on after a break ends undecided after so many times the runs that it wants without one.
MOST_TIMES = 8


def level_of(attempt: int) -> float:
    """The error that the test of an answer's n-th contestant (from 0) may spend; ``WRONG_MET`` for all there can be.

    By Bonferroni's inequality the wrong ones among all contestants are fewer than that together, however they were chosen.
    """
    return FIRST_LEVEL if attempt == 0 else (WRONG_MET - FIRST_LEVEL) / 2**attempt


def clean_runs(risk: float, level: float) -> int:
    """How many runs, none of them broken, show at this level that fewer than ``risk`` of them are: ``(1 - risk)^n <= level``."""
    return ceil(log(level) / log(1.0 - risk) - 1e-9)


@dataclass(frozen=True, slots=True)
class RiskTest:
    """Is the share of broken runs at most ``risk``?

    ``level`` bounds the probability of "met" where the share is ``risk`` or more, and that of "not met" where it is ``risk`` or
    less. The test ends undecided after ``most_runs``.
    """

    risk: float
    level: float
    most_runs: int

    @property
    def least_runs(self) -> int:
        """Runs without a break after which it says "met"."""
        return clean_runs(self.risk, self.level)

    def runs_for(self, broken: int) -> float:
        """After how many runs it says "met" at the earliest, with so many broken ones by then; inf where it can't any more."""
        accept, _ = _boundaries(self.risk, self.level, self.most_runs)
        return next((run for run, most in enumerate(accept) if most >= broken), inf)

    def decide(self, broken: Sequence[bool]) -> tuple[Verdict, int]:
        """``(verdict, runs)``: what the runs say, in the order of their numbers, and how many of them it took."""
        accept, reject = _boundaries(self.risk, self.level, self.most_runs)
        count = 0
        for run, breaks in enumerate(broken[: self.most_runs], start=1):
            count += breaks
            if count <= accept[run]:
                return Verdict.MET, run
            if count >= reject[run]:
                return Verdict.NOT_MET, run
        return Verdict.UNDECIDED, min(len(broken), self.most_runs)


def risk_test(risk: float, level: float) -> RiskTest:
    """The test for this risk at this level."""
    return RiskTest(risk, level, MOST_TIMES * clean_runs(risk, level))


@cache
def _boundaries(risk: float, level: float, most_runs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """By number of runs: the most broken ones with which it is accepted (-1: none), and the fewest with which it is rejected.

    Accepting spends what the first possible end takes, and the rest evenly over the runs after it; rejecting spends evenly
    over all. ``going_on[k]``: probability, at a share of just ``risk``, of k broken ones and no end yet.
    """
    least = clean_runs(risk, level)
    first = (1.0 - risk) ** least
    accept, reject = [-1], [most_runs + 1]
    going_on = np.zeros(most_runs + 2)
    going_on[0] = 1.0
    accepted = rejected = 0.0
    for run in range(1, most_runs + 1):
        going_on[1:] = going_on[1:] * (1.0 - risk) + going_on[:-1] * risk
        going_on[0] *= 1.0 - risk
        may_accept = 0.0
        if run >= least:
            may_accept = first + (level - first) * (run - least) / max(1, most_runs - least)
        lowest = -1
        # A hair more, so that rounding doesn't cost the first end its run.
        while accepted + going_on[lowest + 1] <= may_accept * (1 + 1e-12) and lowest + 1 <= run:
            lowest += 1
            accepted += going_on[lowest]
            going_on[lowest] = 0.0
        highest = run + 1
        while highest - 1 > lowest and rejected + going_on[highest - 1] <= level * run / most_runs:
            highest -= 1
            rejected += going_on[highest]
            going_on[highest] = 0.0
        accept.append(lowest)
        reject.append(highest)
    return tuple(accept), tuple(reject)


@dataclass(frozen=True, slots=True)
class Risk:
    """What the runs of one disruption say of ``limit``, the share of them that may break something.

    ``broken`` of ``runs``, with the verdict of the test at ``level``; ``by_measure`` counts the broken runs by what they broke.
    """

    broken: int
    runs: int
    limit: float
    level: float
    verdict: Verdict
    by_measure: tuple[tuple[str, int], ...]

    @property
    def estimate(self) -> Estimate:
        """The share of broken runs, with Clopper and Pearson's interval (95 %) as if their number had been fixed."""
        low, high = clopper_pearson(self.broken, self.runs)
        return Estimate(self.broken / self.runs, low, high, self.runs)
