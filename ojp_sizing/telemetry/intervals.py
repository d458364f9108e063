"""95 % ranges of what is fitted, from the few moments that statistics keep. ``docs/fit.md`` has their measured coverage."""

from __future__ import annotations

from math import exp, inf, isfinite, sqrt

from ojp_sizing.uncertain import Range

#: The coefficient of variation where nothing tells it: low, mid, high (assumed; pgbench's statements had 0.16 to 1.7).
UNKNOWN_CV = (0.3, 1.0, 3.0)
#: No range is wider than so many times its mid, or its part: two calls tell next to nothing, but not that little.
MOST_FACTOR = 10.0
#: A range whose ends are nearer to its mid than this is one number: no decision hangs on it.
NARROW = 0.02
_Z = 1.959964
_DIGITS = 4


def mean_range(mean: float, cv: float, n: float) -> float:
    """Of the mean of ``n`` independent values with this coefficient of variation.

    Student's interval on the scale of the logarithm, its upper end further by the skewness that a lognormal has (cv^3 + 3 cv)
    over n: the mean of few values of a long tail is too small more often than it is too large.
    """
    error = cv / sqrt(n) if n > 0 else inf
    t = student(n - 1)
    skewed = min((cv**3 + 3.0 * cv) / sqrt(n), t) if n > 0 else t
    return around(mean, t * error, (t + skewed) * error)


def cv_range(cv: float, n: float) -> float:
    """Of the coefficient of variation of ``n`` independent values: the delta method for a lognormal's moments."""
    if n < 2 or not isfinite(cv):
        return Range(*UNKNOWN_CV)
    w = 1.0 + cv * cv
    skewness, kurtosis = cv**3 + 3.0 * cv, w**4 + 2.0 * w**3 + 3.0 * w**2 - 3.0
    variance = (kurtosis - 1.0) / 4.0 - skewness * cv + cv * cv
    half = student(n - 1) * sqrt(max(variance, 0.0) / n)
    return around(cv, half, half)


def share_range(part: float, whole: float) -> float:
    """Of a share that ``part`` of ``whole`` independent draws show: Wilson's interval (1927)."""
    share, z2 = part / whole, _Z * _Z
    middle = (share + z2 / (2.0 * whole)) / (1.0 + z2 / whole)
    half = _Z * sqrt(share * (1.0 - share) / whole + z2 / (4.0 * whole * whole)) / (1.0 + z2 / whole)
    return ordered(max(0.0, middle - half), share, min(1.0, middle + half))


def around(mid: float, below: float, above: float) -> float:
    """A range whose ends are ``exp`` of these distances from its mid; at most ``MOST_FACTOR`` times as far."""
    low = mid * max(exp(-min(below, 700.0)), 1.0 / MOST_FACTOR)
    return ordered(low, mid, mid * min(exp(min(above, 700.0)), MOST_FACTOR))


def ordered(low: float, mid: float, high: float) -> float:
    """The range, in four digits; a plain number for one of no width. The mid always lies between its ends."""
    low, mid, high = (float(f"{end:.{_DIGITS}g}") for end in (low, mid, high))
    low, high = min(low, mid), max(high, mid)
    return Range(low, mid, high) if low < high else mid


def stated(value: float) -> float:
    """The range where it is wide enough to matter to a decision, else its mid."""
    if isinstance(value, Range) and max(value.mid - value.low, value.high - value.mid) <= NARROW * value.mid:
        return value.mid
    return value


def ends_of(value: float) -> tuple[float, float, float]:
    """Low, mid and high of a range; three times the same of a plain number."""
    return (value.low, value.mid, value.high) if isinstance(value, Range) else (value, value, value)


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t: Hill's expansion (1970), and what is exact for few degrees."""
    few = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}
    if freedom < 1:
        return few[1]
    if freedom < 5:
        return few[int(freedom)]
    z, n = _Z, freedom
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
