"""Estimates with their intervals, 95 % where nothing else is said, over independent replications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan, sqrt

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, and the number of replications behind it. NaN: nothing to measure."""

    value: float
    low: float
    high: float
    replications: int


def half_width(replications: int, confidence: float = CONFIDENCE) -> float:
    """Half of Student's interval of a mean, in sample standard deviations."""
    from scipy.special import stdtrit  # noqa: PLC0415 - only where an interval is made

    return float(stdtrit(replications - 1, 0.5 + confidence / 2)) / sqrt(replications)


def mean_estimate(
    values: Sequence[float], *, floor: float = -inf, ceiling: float = inf, confidence: float = CONFIDENCE
) -> Estimate:
    """Mean over replications with Student's interval (Law, Simulation Modeling and Analysis, 4.5).

    One replication gives no interval (-inf to inf, within ``floor`` and ``ceiling``). NaN replications had nothing to
    measure and are left out; an infinite one makes the estimate infinite, with a lower end from the finite ones.
    """
    kept = [value for value in values if not isnan(value)]
    n = len(kept)
    if n == 0:
        return Estimate(nan, nan, nan, 0)
    finite = np.array([value for value in kept if isfinite(value)])
    if len(finite) < n:
        return Estimate(inf, float(finite.min()) if len(finite) else inf, inf, n)
    mean = float(finite.mean())
    if n == 1:
        return Estimate(mean, floor, ceiling, 1)
    half = half_width(n, confidence) * float(finite.std(ddof=1))
    return Estimate(mean, max(floor, mean - half), min(ceiling, mean + half), n)


@dataclass(frozen=True, slots=True)
class Count:
    """How many of a run's units did something (failed): sums of their weights, and of all units' squared weights."""

    hits: float
    total: float
    squares: float


def clopper_pearson(hits: float, total: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv  # noqa: PLC0415

    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, total - hits + 1, tail))
    high = 1.0 if hits == total else float(betaincinv(hits + 1, total - hits, 1 - tail))
    return low, high


def share_estimate(counts: Sequence[Count], confidence: float = CONFIDENCE) -> Estimate:
    """A share (failed units of all units) over replications.

    The wider end of two intervals on each side: Clopper and Pearson (1934) of the pooled counts, which is honest where
    nothing failed, and Student's of the replications' shares, which is honest where failures come in bursts. Weighted
    units count as (sum of weights)^2 / (sum of squares) of them (Kish 1965).
    """
    total = sum(c.total for c in counts)
    if total == 0:
        return Estimate(nan, nan, nan, 0)
    share = sum(c.hits for c in counts) / total
    n = total**2 / sum(c.squares for c in counts)
    low, high = clopper_pearson(n if share == 1.0 else share * n, n, confidence)
    shares = [c.hits / c.total for c in counts if c.total > 0]
    if len(shares) > 1:
        spread = mean_estimate(shares, floor=0.0, ceiling=1.0, confidence=confidence)
        low, high = min(low, spread.low), max(high, spread.high)
    return Estimate(share, low, high, len(shares))
