"""Where the start of a run ends: MSER-5 (White 1997; Hoad, Robinson, Davies 2010).

The run is cut into equal buckets of time; the mean latency of the units that arrive in each, in batches of five, is the
series. The truncation is the one that gives the least marginal standard error of what is left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BUCKETS = 200
BATCH = 5


def mser5(series: NDArray[np.float64]) -> int:
    """Number of points to drop from the front of a series, a multiple of 5.

    A least error at the very middle means that no steady state was found: the length of the series is returned.
    """
    batches = len(series) // BATCH
    if batches < 2:
        return 0
    means = series[: batches * BATCH].reshape(batches, BATCH).mean(axis=1)
    # Centred, so that the difference of squares below isn't made of rounding alone.
    means = means - means.mean()
    left = np.arange(batches, 0, -1)
    tail_sum = np.cumsum(means[::-1])[::-1]
    tail_square = np.cumsum((means**2)[::-1])[::-1]
    error = (tail_square - tail_sum**2 / left) / left**2
    # Only the first half: near the end, few batches have little spread by chance.
    candidates = error[: batches // 2 + 1]
    # The first that is as good as the least, but for rounding.
    drop = int(np.argmax(candidates <= candidates.min() + 1e-12 * float(np.max(series) ** 2) / batches))
    return len(series) if drop == batches // 2 else drop * BATCH


def warm_up_s(arrival_s: NDArray[np.float64], latency_s: NDArray[np.float64], end_s: float) -> float:
    """Length of the warm-up (s) of a run of length ``end_s``; ``inf`` where no steady state was found."""
    known = np.isfinite(latency_s)
    edges = np.linspace(0.0, end_s, BUCKETS + 1)
    counts, _ = np.histogram(arrival_s[known], edges)
    sums, _ = np.histogram(arrival_s[known], edges, weights=latency_s[known])
    filled = counts > 0
    if not filled.any():
        return float("inf")
    series = sums[filled] / counts[filled]
    drop = mser5(series)
    return float("inf") if drop >= len(series) else float(edges[:-1][filled][drop])
