"""When units of work arrive: the processes that a workload can name, and their sampling.

An open process sends its units whatever the answers take: Poisson, bursts, a daily profile, a recorded trace. A closed
loop has a finite number of clients, each of which waits for its answer. Rates are units of work per second; the rate that a
process is sampled at is always ``--peak-rps``, and each docstring says what of the process it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, floor, sqrt
from typing import Annotated

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ojp_sizing.bounds import LINE, SHARE, TIME, Checked, Demanded, Number
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_duration, format_rate

Times = NDArray[np.float64]

DAY_S = 86_400.0
#: A recorded trace is scaled by the rate of its busiest minute: in one second of a quiet trace chance alone makes a peak.
PEAK_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals at a constant rate."""


@dataclass(frozen=True, slots=True)
class Bursts(Demanded):
    """A two-state Markov-modulated Poisson process: calm and burst, each lasting an exponential time.

    A burst lasts ``mean_s`` in the mean and bursts take up ``share`` of the time (0 to 1, both exclusive). ``dispersion``
    is the limiting index of dispersion of counts, Var N(t) / E N(t) for large t: 1 for Poisson. The rate is the mean.
    """

    dispersion: Annotated[float, Number(0.0, 1e6)]
    mean_s: Annotated[float, TIME]
    share: Annotated[float, SHARE]

    def agree(self) -> None:
        if self.dispersion < 1:
            raise self.refuse("dispersion", "below 1 nothing bursts", "write 1 (Poisson) or more")
        if self.mean_s == 0:
            raise self.refuse("mean_s", "a mean of 0", "write 1us or more")
        if not 0 < self.share < 1:
            raise self.refuse("share", "bursts never or always", "write more than 0 and less than 1")

    def rates(self, rate: float) -> tuple[float, float]:
        """``(in a burst, in calm)`` for this mean rate. Raises InputError where calm would need a rate below 0.

        With sojourn rates s1 (burst) and s2 (calm) and arrival rates r1 and r2 the index tends to
        ``1 + 2 s1 s2 (r1 - r2)^2 / ((s1 + s2)^2 (r1 s2 + r2 s1))`` (Heffes and Lucantoni 1986; Fischer and
        Meier-Hellstern, "The MMPP cookbook", 1993). With s1 = 1 / mean and s2 = s1 share / (1 - share) this is
        ``1 + 2 mean share (1 - share)^2 (r1 - r2)^2 / rate``, solved here for r1 - r2.
        """
        most = 1.0 + 2.0 * self.mean_s * (1.0 - self.share) ** 2 * rate / self.share
        if self.dispersion > most:
            raise InputError(
                "arrivals.bursts.dispersion",
                f"bursts of {format_duration(self.mean_s, 3)} in {self.share:.3g} of the time reach at most"
                f" {most:.4g} at {format_rate(rate, 4)} units/s, with nothing at all between them",
                f"write {floor(most * 100) / 100:.10g} or less, longer bursts, or a smaller share",
            )
        step = sqrt((self.dispersion - 1.0) * rate / (2.0 * self.mean_s * self.share)) / (1.0 - self.share)
        calm = max(0.0, rate - self.share * step)
        return calm + step, calm


@dataclass(frozen=True, slots=True)
class DailyProfile(Checked):
    """Poisson arrivals at a rate that changes over the day, linearly between ``points``: (seconds of the day, factor).

    Points are in order; the day is a circle. The highest factor is 1, and the rate is that of the peak. A run is a
    window of the day around the first of its highest points.
    """

    points: tuple[tuple[Annotated[float, Number(0.0, DAY_S, "s")], Annotated[float, SHARE]], ...]

    def agree(self) -> None:
        if not self.points or any(a[0] >= b[0] for a, b in zip(self.points, self.points[1:], strict=False)):
            fix = "write (seconds of the day, factor) in the order of the day, each time once"
            raise self.refuse("points", "no points, or not in order", fix)
        if self.points[-1][0] >= DAY_S:
            raise self.refuse("points", "a day ends before 86,400 s", "write 0 for midnight")
        highest = max(factor for _, factor in self.points)
        if highest != 1:
            raise self.refuse("points", f"the highest factor is {highest:.7g}, not 1", "divide each factor by it")

    def factor(self, time_s: Times) -> Times:
        """The part of the peak rate at these seconds of the day."""
        when_s, factors = zip(*self.points, strict=True)
        return np.asarray(np.interp(time_s, when_s, factors, period=DAY_S))

    @property
    def peak_s(self) -> float:
        return max(self.points, key=lambda point: (point[1], -point[0]))[0]


@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded trace: seconds since its first arrival, ascending; the unit of work (its number) and client JVM of each.

    ``units`` and ``jvms`` are empty where the recording doesn't say. It is replayed slower or faster, so that its busiest
    minute (or all of it, if shorter) has the rate asked for; a run is its busiest part of that length, so that a longer run
    can begin elsewhere. ``file`` is its name in the workload file.
    """

    file: str
    at_s: tuple[float, ...] = field(repr=False)
    units: tuple[int, ...] = field(default=(), repr=False)
    jvms: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Its columns are long, and are looked at as arrays."""
        LINE.take(self.file, "Replay.file")
        times = _column(self.at_s, "at_s", np.float64)
        if (
            len(times) < 2
            or times[0] < 0
            or not np.isfinite(times).all()
            or (np.diff(times) < 0).any()
            or times[0] == times[-1]
        ):
            fix = "write seconds since the first arrival, ascending"
            raise InputError("Replay.at_s", "not the instants of a recording", fix)
        for name in ("units", "jvms"):
            numbers = _column(getattr(self, name), name, np.int64)
            if len(numbers) and (len(numbers) != len(times) or numbers.min() < 0):
                raise InputError(
                    f"Replay.{name}", "not a number for each arrival", f"write {len(times):,} from 0 on, or none"
                )

    @property
    def peak(self) -> float:
        """Arrivals per second of the busiest minute, or of the whole if that is shorter."""
        times, window_s = np.array(self.at_s), min(PEAK_WINDOW_S, self.at_s[-1])
        return _busiest(times, window_s)[1] / window_s


@dataclass(frozen=True, slots=True)
class Closed(Demanded):
    """A finite number of clients, each with one unit under way at most and an exponential pause before the next.

    The rate is what they would send if answers took no time: clients / mean pause. Without ``pause_s`` all the workload's
    client threads take part, and the pause follows; with it, as many threads of each JVM as the rate then takes.
    """

    pause_s: Annotated[float, TIME] | None = None

    def agree(self) -> None:
        if self.pause_s == 0:
            fix = "write 1us or more, or leave it out: it then follows from the clients and the rate"
            raise self.refuse("pause_s", "clients without a pause have no rate", fix)

    def population(self, rate: float, jvms: int, threads: int) -> tuple[int, float]:
        """``(threads of each JVM, mean pause in s)``. Raises InputError where there are too few threads.

        Threads are whole: the pause is lengthened by what they are rounded up, so that the rate is exact.
        """
        if self.pause_s is not None:
            # Not one client more for a rounding error of the product.
            wanted = ceil(rate * self.pause_s - 1e-9)
            if wanted > jvms * threads:
                raise InputError(
                    "arrivals.closed.pause",
                    f"{format_rate(rate, 4)} units/s with pauses of {format_duration(self.pause_s, 4)} take"
                    f" {wanted:,} clients, but there are {jvms} x {threads} threads",
                    "shorten the pause, or raise clients.threads",
                )
            threads = max(1, -(-wanted // jvms))
        return threads, jvms * threads / rate


def _column(values: tuple[float, ...], name: str, kind: type[np.generic]) -> NDArray[np.generic]:
    """A column of a recording as an array. Raises InputError where it holds something else."""
    try:
        column = np.array(values)
    except (ValueError, TypeError, OverflowError):
        column = np.array("")
    if not isinstance(values, tuple) or column.ndim != 1 or not (column.size == 0 or np.can_cast(column.dtype, kind)):
        raise InputError(f"Replay.{name}", "not a tuple of numbers", "write one for each arrival")
    return column.astype(kind)


Arrivals = Poisson | Bursts | DailyProfile | Replay | Closed


# Sampling -----------------------------------------------------------------------------------------------------------


#: Draws at a time.
BLOCK = 8192


def _enough(expected: float) -> int:
    """More than a Poisson number of this mean ever is (8 standard deviations)."""
    return int(expected + 8.0 * sqrt(expected) + 16)


def _poisson(rate: float, rng: Generator) -> Iterator[Times]:
    return _partial_sums(rng, (1.0 / rate,))


def _partial_sums(rng: Generator, scales: tuple[float, ...] = (1.0,)) -> Iterator[Times]:
    """Sums of exponential draws, whose means alternate, ``BLOCK`` after ``BLOCK`` without an end: one running sum."""
    last, means = 0.0, np.resize(scales, BLOCK)
    while True:
        draws = rng.standard_exponential(BLOCK) * means
        draws[0] += last
        sums = np.cumsum(draws)
        last = float(sums[-1])
        yield sums


def _bursts(arrivals: Bursts, rate: float, rng: Generator, changes: Generator) -> Iterator[Times]:
    """A unit-rate Poisson process, its time changed by the integral of the rate (Cinlar 1975, 4.7)."""
    burst, calm = arrivals.rates(rate)
    calm_s = arrivals.mean_s * (1.0 - arrivals.share) / arrivals.share
    # Stationary from the start: the state by its share, and what is left of its exponential time is exponential again.
    bursting = bool(changes.random() < arrivals.share)
    rates, means_s = (
        ((burst, calm), (arrivals.mean_s, calm_s)) if bursting else ((calm, burst), (calm_s, arrivals.mean_s))
    )
    rate_of = np.resize(rates, BLOCK)
    pieces = _partial_sums(changes, means_s)
    # When a piece begins, and how many arrivals are expected before; the last edge is the end of the last piece.
    edges_s = np.concatenate([[0.0], next(pieces)])
    expected = np.concatenate([[0.0], np.cumsum(rate_of * np.diff(edges_s))])
    for sums in _partial_sums(rng):
        times, done = [], 0
        while True:
            inside = done + int(np.searchsorted(sums[done:], expected[-1]))
            piece = np.searchsorted(expected, sums[done:inside], side="right") - 1
            times.append(edges_s[piece] + (sums[done:inside] - expected[piece]) / rate_of[piece])
            if inside == len(sums):
                break
            done = inside
            edges_s = np.concatenate([edges_s[-1:], next(pieces)])
            expected = expected[-1] + np.concatenate([[0.0], np.cumsum(rate_of * np.diff(edges_s))])
        yield np.concatenate(times)


def _profile(
    arrivals: DailyProfile, rate: float, window_s: float, rng: Generator, changes: Generator
) -> Iterator[Times]:
    """Thinning of a Poisson process at the peak rate (Lewis and Shedler 1979).

    A longer window begins earlier in the day, so that it doesn't begin with the arrivals of a shorter one; the k-th unit
    of both has the same statements all the same.
    """
    for times in _poisson(rate, rng):
        kept = changes.random(len(times)) < arrivals.factor(arrivals.peak_s - window_s / 2.0 + times)
        yield np.asarray(times[kept])


def open_arrivals(
    arrivals: Poisson | Bursts | DailyProfile, rate: float, window_s: float, rng: Generator, changes: Generator
) -> Iterator[Times]:
    """Instants of the arrivals, ascending, block after block without an end. ``changes`` draws what the rate does.

    Only a profile asks how long the run will be, ``window_s``. Raises InputError for bursts that the rate can't have.
    """
    if isinstance(arrivals, Bursts):
        return _bursts(arrivals, rate, rng, changes)
    if isinstance(arrivals, DailyProfile):
        return _profile(arrivals, rate, window_s, rng, changes)
    return _poisson(rate, rng)


def until(blocks: Iterator[Times], end_s: float) -> Iterator[Times]:
    """The arrivals in [0, end)."""
    for times in blocks:
        if len(times) and times[-1] >= end_s:
            yield times[: int(np.searchsorted(times, end_s))]
            return
        yield times


def closed_gaps(mean_s: float, rng: Generator) -> Iterator[Times]:
    """A pause before every unit, block after block without an end: the k-th unit begun takes the k-th pause."""
    while True:
        yield rng.exponential(mean_s, BLOCK)


def closed_units(mean_s: float, clients: int, duration_s: float) -> int:
    """More units than ``clients`` can begin in ``duration_s``.

    If answers took no time, the clients would begin a Poisson process of rate clients / mean; answers only make them
    fewer. Besides, each client draws one pause that the end cuts off.
    """
    return clients + _enough(clients / mean_s * duration_s)


def _busiest(times: Times, window_s: float) -> tuple[int, int]:
    """Of all windows ``[t, t + window)`` that begin with an arrival and end with the trace at the latest, the fullest.

    Returns the number of its first arrival, and how many it has.
    """
    starts = times[: max(1, int(np.searchsorted(times, times[-1] - window_s, side="right")))]
    counts = np.searchsorted(times, starts + window_s) - np.arange(len(starts))
    first = int(np.argmax(counts))
    return first, int(counts[first])


def replayed(arrivals: Replay, rate: float, window_s: float) -> tuple[Times, int]:
    """Instants of a recording from the begin of its busiest ``window_s`` to its end, and the number of the first of them.

    Raises InputError where the recording is too short: it isn't repeated, since that would show a pattern that nobody saw.
    """
    times, faster = np.array(arrivals.at_s), rate / arrivals.peak
    if times[-1] < window_s * faster:
        raise InputError(
            arrivals.file,
            f"the recording lasts {format_duration(times[-1], 3)}, at {format_rate(rate, 4)} units/s"
            f" {format_duration(times[-1] / faster, 3)}, and a run takes {format_duration(window_s, 3)}",
            f"record {format_duration(ceil(window_s * faster))} or more, or ask for fewer units per second",
        )
    first, _ = _busiest(times, window_s * faster)
    return (times[first:] - times[first]) / faster, first
