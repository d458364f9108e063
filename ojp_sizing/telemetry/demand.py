"""A peak rate, a daily profile and a dispersion from how many came in each step."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, sqrt

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.demand.arrivals import DAY_S, Arrivals, Bursts, DailyProfile, Poisson
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_duration
from ojp_sizing.telemetry.intervals import around, ends_of, ordered, stated, student
from ojp_sizing.telemetry.series import Floats, Series

#: The part of the time that bursts take up, which counts don't tell apart from how high they are (assumed).
BURST_SHARE = 0.2
#: From this dispersion on, by its low end, arrivals are taken for bursts.
LEAST_DISPERSION = 1.2
#: Steps up to this length show bursts of seconds; in longer ones a rate that changes looks the same.
MOST_BURST_STEP_S = 5.0
#: Single instants are counted in steps of this length.
_FINE_STEP_S = 0.1
#: A record is cut into so many parts, whose dispersions tell how sure the whole one's is; each has so many steps at least.
_PARTS, _LEAST_STEPS = 10, 64
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class DemandFit:
    """What a series says. ``peak``: this quantile of the rates (1/s) in windows of ``window_s``; ``busiest`` the largest.

    ``profile``: factors of the highest hour by hour of the day (UTC), None below a day. ``spread``: None where it can't be known.
    ``rates``: those of the windows.
    """

    series: Series
    quantile: float
    window_s: float
    peak: float
    busiest: float
    mean: float
    profile: tuple[tuple[float, float], ...] | None
    spread: Spread | None
    arrivals: Arrivals
    rates: Floats
    notes: tuple[str, ...]


def fit_demand(series: Series, window_s: float = 60.0, quantile: float = 0.99) -> DemandFit:
    """The peak is the ``quantile`` of the rates in all windows of ``window_s``."""
    notes = list(series.notes)
    if window_s < series.step_s:
        notes.append(f"windows are as long as the steps, {format_duration(series.step_s, 4)}")
        window_s = series.step_s
    rates = windowed(series, window_s)
    if len(rates) < 2:
        problem = f"counts for {format_duration(series.covered_s, 3)} make {len(rates)} windows of {format_duration(window_s, 3)}"
        raise InputError(series.place, problem, "take a longer record, or a shorter --window")
    peak = quantile_range(rates, quantile)
    if not float(peak) > 0:
        raise InputError(series.place, "next to nothing came", "take a busier record")
    profile = daily_profile(series)
    spread = spread_of(series)
    arrivals, said = _arrivals(spread, profile, float(peak))
    return DemandFit(
        series, quantile, window_s, peak, float(rates.max()), float(rates.mean()), profile, spread, arrivals, rates,
        (*notes, said),
    )  # fmt: skip


def windowed(series: Series, window_s: float) -> Floats:
    """Rates (1/s) in windows one after the other, each of which has all of its steps."""
    each = max(1, round(window_s / series.step_s))
    whole = len(series.counts) // each * each
    sums = series.counts[:whole].reshape(-1, each).sum(axis=1)
    return np.asarray(sums[np.isfinite(sums)] / (each * series.step_s))


def quantile_range(values: Floats, quantile: float) -> float:
    """A quantile, between those whose ranks a binomial number puts around it (David and Nagaraja 2003, 7.1).

    Values that go together in time tell less than as many that don't: their number counts less by the sum of their
    autocorrelations, up to the first that isn't above 0. A rank past the last value is the last one: what was never seen
    isn't in the range.
    """
    effective = len(values) / correlation_length(values)
    half = _Z * sqrt(quantile * (1.0 - quantile) / effective)
    low, mid, high = np.quantile(values, [max(0.0, quantile - half), quantile, min(1.0, quantile + half)])
    return ordered(float(low), float(mid), float(high))


def correlation_length(values: Floats) -> float:
    """How many values in a row tell as much as one: 1 + 2 x the sum of the autocorrelations (Geyer's initial sequence)."""
    n = len(values)
    centred = values - values.mean()
    variance = float(centred @ centred)
    if variance <= 0 or n < 4:
        return 1.0
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum), size)[: n // 2] / variance
    total = 1.0
    for lag in range(1, len(correlation)):
        if correlation[lag] <= 0:
            break
        total += 2.0 * float(correlation[lag])
    return min(max(1.0, total), n / 2.0)


def daily_profile(series: Series) -> tuple[tuple[float, float], ...] | None:
    """Factors of the busiest hour by hour of the day (UTC), where each of them was seen."""
    at = series.start_s + series.step_s * (np.arange(len(series.counts)) + 0.5)
    hours = (at % DAY_S // 3600.0).astype(int)
    good = np.isfinite(series.counts)
    sums, seen = (np.bincount(hours[good], weights, 24) for weights in (series.counts[good], np.ones(int(good.sum()))))
    if series.step_s > 3600.0 or not seen.all() or series.covered_s < 0.95 * DAY_S:
        return None
    means = sums / seen
    factors = np.round(means / means.max(), 3)
    return tuple((3600.0 * hour + 1800.0, float(factor)) for hour, factor in enumerate(factors))


@dataclass(frozen=True, slots=True)
class Spread:
    """How bursty counts are: the limit of variance over mean for long intervals, and the time (s) in which they forget."""

    dispersion: float
    forgets_s: float


def spread_of(series: Series) -> Spread | None:
    """The dispersion of a two-state Markov-modulated Poisson process whose counts differ from one interval to the next as these.

    For intervals of t its variance over mean is ``1 + (D - 1) (1 - (1 - exp(-t/f)) / (t/f))`` (Heffes and Lucantoni 1986). What
    two intervals in a row differ by takes a slow course of the rate off: half its mean square over the mean is
    ``2 I(t) - I(2t)``. f is the one of a grid that fits best over t, D follows by least squares; its range is by the jackknife
    over ten parts of the record. None where there are too few counts, or steps too long to show bursts.
    """
    step_s, counts = series.step_s, series.counts
    if series.at_s is not None and len(series.at_s) > 1:
        # A clock of whole seconds shows nothing finer.
        step_s = 1.0 if (series.at_s == np.floor(series.at_s)).all() else _FINE_STEP_S
        counts = np.bincount(((series.at_s - series.at_s[0]) / step_s).astype(int)).astype(float)
    if step_s > MOST_BURST_STEP_S or len(counts) < _PARTS * _LEAST_STEPS:
        return None
    parts = np.array_split(counts, _PARTS)
    lengths = 2 ** np.arange(int(np.log2(len(parts[-1]) / 4)) + 1)
    sums = np.array([_differences(part, lengths) for part in parts])
    forgets = step_s * 2.0 ** np.arange(-2, np.log2(lengths[-1]) + 1, 0.25)
    shapes = [(_shape(lengths * step_s, float(f)), float(f)) for f in forgets]
    whole = sums.sum(axis=0)
    if not (whole[:, 1] > 0).all():
        return None
    dispersion, forgets_s = _best(whole, shapes)
    # The jackknife, on the scale of the logarithm: what is left when each part in turn is left out.
    without = np.log([_best(whole - part, shapes)[0] for part in sums])
    error = student(_PARTS - 1) * sqrt((_PARTS - 1) * float(np.var(without)))
    low, mid, high = ends_of(around(dispersion, error, error))
    return Spread(ordered(max(1.0, low), mid, high), forgets_s)


def _differences(counts: Floats, lengths: NDArray[np.int64]) -> Floats:
    """For intervals of so many steps: squares of what two in a row differ by, their sum, and the number of pairs."""
    found = np.zeros((len(lengths), 3))
    for row, length in zip(found, lengths, strict=True):
        whole = len(counts) // length * length
        sums = counts[:whole].reshape(-1, length).sum(axis=1)
        pairs = np.isfinite(sums[:-1]) & np.isfinite(sums[1:])
        left, right = sums[:-1][pairs], sums[1:][pairs]
        row[:] = ((left - right) ** 2).sum(), (left + right).sum(), len(left)
    return found


def _best(sums: Floats, shapes: list[tuple[Floats, float]]) -> tuple[float, float]:
    """The dispersion and the time in which counts forget that fit these sums best."""
    used = sums[:, 1] > 0
    ratios, weights = sums[used, 0] / sums[used, 1], sums[used, 2]
    tries = [(_least_squares(ratios, weights, shape[used]), forgets_s) for shape, forgets_s in shapes]
    (_, excess), forgets_s = min(tries, key=lambda one: one[0][0])
    return 1.0 + max(0.0, excess), forgets_s


def _shape(t_s: NDArray[np.floating], forgets_s: float) -> Floats:
    """(2 I(t) - I(2t) - 1) / (D - 1)."""
    x = t_s / forgets_s
    return np.asarray(2.0 * (1.0 - (1.0 - np.exp(-x)) / x) - (1.0 - (1.0 - np.exp(-2.0 * x)) / (2.0 * x)))


def _least_squares(found: Floats, weights: Floats, shape: Floats) -> tuple[float, float]:
    """What is left, and D - 1; relative errors count, which fall with the number of pairs."""
    w = weights / np.maximum(found, 1.0) ** 2
    excess = float((w * shape * (found - 1.0)).sum() / (w * shape * shape).sum())
    return float((w * (found - 1.0 - excess * shape) ** 2).sum()), excess


def _arrivals(
    spread: Spread | None, profile: tuple[tuple[float, float], ...] | None, peak: float
) -> tuple[Arrivals, str]:
    """Bursts where the counts show them, else a profile of a day or more, else Poisson; and what is to be said of it."""
    if spread is None:
        said = "how bursty arrivals are can't be known from such steps: Poisson within them (counts by the second tell)"
    elif getattr(spread.dispersion, "low", spread.dispersion) <= LEAST_DISPERSION:
        said = f"counts spread {float(spread.dispersion):.3g} times as much as Poisson's: taken for Poisson"
    else:
        mean_s = spread.forgets_s / (1.0 - BURST_SHARE)
        most = 1.0 + 2.0 * mean_s * (1.0 - BURST_SHARE) ** 2 * peak / BURST_SHARE
        ends = [floor(min(end, most) * 1000) / 1000 for end in ends_of(spread.dispersion)]
        said = (
            f"counts spread {float(spread.dispersion):.3g} times as much as Poisson's, in bursts of {format_duration(mean_s, 3)}"
            f" in {BURST_SHARE:.0%} of the time, which is a guess"
            + (f"; no dispersion above {most:.3g} can be had with that" if float(spread.dispersion) > most else "")
        )
        return Bursts(stated(ordered(*ends)), float(f"{mean_s:.3g}"), BURST_SHARE), said
    return (Poisson() if profile is None else DailyProfile(profile)), said
