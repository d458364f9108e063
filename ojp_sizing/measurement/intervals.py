"""Estimates with their 95 % intervals, over independent replications."""

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


def mean_estimate(values: Sequence[float], *, floor: float = -inf, ceiling: float = inf) -> Estimate:
    """Mean over replications with Student's interval (Law, Simulation Modeling and Analysis, 4.5).

    One replication gives no interval (-inf to inf, within ``floor`` and ``ceiling``). NaN replications had nothing to
    measure and are left out; an infinite one makes the estimate infinite, with a lower end from the finite ones.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - only where an interval is made

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
    half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * float(finite.std(ddof=1)) / sqrt(n)
    return Estimate(mean, max(floor, mean - half), min(ceiling, mean + half), n)


def share_estimate(hits: Sequence[int], totals: Sequence[int]) -> Estimate:
    """A share (failed units of all units) over replications.

    The wider end of two intervals on each side: Clopper and Pearson (1934) of the pooled counts, which is honest where
    nothing failed, and Student's of the replications' shares, which is honest where failures come in bursts.
    """
    from scipy.special import betaincinv  # noqa: PLC0415

    x, n = sum(hits), sum(totals)
    if n == 0:
        return Estimate(nan, nan, nan, 0)
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if x == 0 else float(betaincinv(x, n - x + 1, tail))
    high = 1.0 if x == n else float(betaincinv(x + 1, n - x, 1 - tail))
    shares = [hit / total for hit, total in zip(hits, totals, strict=True) if total > 0]
    if len(shares) > 1:
        spread = mean_estimate(shares, floor=0.0, ceiling=1.0)
        low, high = min(low, spread.low), max(high, spread.high)
    return Estimate(x / n, low, high, len(shares))
