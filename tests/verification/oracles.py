"""What the verification compares with: exact answers of queueing theory, worked out apart from the model.

Times are in units of the mean service time, so that a rate is a load in Erlang. None of this is a simulation but
``first_come_first_served``, which is the recursion of Kiefer and Wolfowitz (1955).
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapreplace
from math import exp

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from ojp_sizing.theory.queues import erlang_c

Floats = NDArray[np.float64]
#: A distribution function: P(X <= x) of an array.
Cdf = Callable[[Floats], Floats]


def first_come_first_served(arrival_s: Floats, service_s: Floats, servers: int) -> Floats:
    """Each customer's wait in G/G/c: it takes the server that is free first. Any times, seconds in and out."""
    free = [0.0] * servers
    waits = []
    for arrival, service in zip(arrival_s.tolist(), service_s.tolist(), strict=True):
        begin = max(arrival, free[0])
        heapreplace(free, begin + service)
        waits.append(begin - arrival)
    return np.array(waits)


# M/M/c --------------------------------------------------------------------------------------------------------------


def mmc_wait_cdf(servers: int, rate: float) -> Cdf:
    """Distribution of the wait in M/M/c: Erlang C waits, an exponential time."""
    waiting = erlang_c(servers, rate)
    return lambda x: 1 - waiting * np.exp(-(servers - rate) * x)


def mmc_number_cdf(servers: int, rate: float) -> Cdf:
    """Distribution of the number inside M/M/c, at an arrival as at any time (PASTA)."""
    size = 4000
    number = np.arange(1, size)
    chances = np.cumprod(np.concatenate([[1.0], rate / np.minimum(number, servers)]))
    cdf = np.cumsum(chances / chances.sum())
    return lambda x: cdf[np.minimum(x.astype(np.int64), size - 1)]


@dataclass(frozen=True, slots=True)
class Patience:
    """M/M/c whose customers give up after waiting ``patience``: M/M/c+D, FIFO."""

    servers: int
    rate: float
    patience: float

    def _at_zero(self) -> tuple[float, float]:
        """P(no wait), and the density of the offered wait just above 0.

        Baccelli and Hebuterne (1981), as before them Barrer (1957) and Gnedenko and Kovalenko: up to the patience t the
        density of the wait offered is v(x) = v(0) exp(-(c - a) x), beyond it v(t) exp(-c (x - t)); v(0) = a P(c-1 inside).
        """
        a, c, t = self.rate, self.servers, self.patience
        terms = np.cumprod([1.0, *(a / n for n in range(1, c))])
        drift = c - a
        below = -np.expm1(-drift * t) / drift if drift else t
        scale = terms.sum() + a * terms[-1] * (below + exp(-drift * t) / c)
        return float(terms.sum() / scale), float(a * terms[-1] / scale)

    @property
    def gives_up(self) -> float:
        """The share that gives up: those who would have waited longer."""
        _, density = self._at_zero()
        return density * exp(-(self.servers - self.rate) * self.patience) / self.servers

    def wait_cdf(self, x: Floats) -> Floats:
        """Distribution of the wait of those who are served."""
        none, density = self._at_zero()
        drift = self.servers - self.rate
        x = np.clip(x, 0.0, self.patience)
        below = -np.expm1(-drift * x) / drift if drift else x
        return (none + density * below) / (1 - self.gives_up)

    @property
    def mean_wait(self) -> float:
        """Mean wait of those who are served."""
        _, density = self._at_zero()
        drift, t = self.servers - self.rate, self.patience
        below = (1 - exp(-drift * t) * (1 + drift * t)) / drift**2 if drift else t * t / 2
        return density * below / (1 - self.gives_up)


# M/D/c --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constant:
    """M/D/c after Crommelin (1932): whoever is inside now was not, or not in service, one service time ago."""

    servers: int
    rate: float
    #: P(n inside), n = 0, 1, ...
    chances: Floats

    @property
    def mean_wait(self) -> float:
        """Little's law on the mean queue."""
        queue = np.maximum(np.arange(len(self.chances)) - self.servers, 0)
        return float(self.chances @ queue) / self.rate

    def wait_cdf(self, x: Floats) -> Floats:
        """Distribution of the wait (Franx 2001, equation 3: all terms positive)."""
        waiting = np.cumsum(self.chances)[self.servers :]  # P(queue <= j)
        result = np.empty(len(x))
        for i, wait in enumerate(x.tolist()):
            k = int(wait) + 1
            most = k * self.servers - 1
            arrivals = poisson.pmf(np.arange(most + 1), self.rate * (k - wait))
            result[i] = arrivals @ waiting[np.minimum(most - np.arange(most + 1), len(waiting) - 1)]
        return result


def constant_service(servers: int, rate: float) -> Constant:
    """Solve P(n) = sum P(m) Poisson(n - max(m - c, 0); a) for its stationary distribution, cut where nothing is left."""
    size = servers + int(40 / (1 - rate / servers))
    n = np.arange(size)
    step = poisson.pmf(n[None, :] - np.maximum(n[:, None] - servers, 0), rate)
    equations = step.T - np.eye(size)
    equations[-1] = 1.0
    chances = np.linalg.solve(equations, (n == size - 1) * 1.0)
    return Constant(servers, rate, chances)


# M/G/1 and M/G/c with phases ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Phases:
    """A service of at most two exponential phases: where it begins, the phases' rates, and how often 1 leads to 2."""

    begins_first: float
    rates: tuple[float, float]
    first_then_second: float


def hyperexponential_wait_cdf(phases: Phases, rate: float) -> Cdf:
    """Distribution of the wait in M/H2/1: the transform of Pollaczek and Khinchine in partial fractions."""
    p, (one, two) = phases.begins_first, phases.rates
    load = rate * (p / one + (1 - p) / two)
    # s - a + a B(s), times (s + one) (s + two), has the root 0 and two negative ones.
    product = np.polymul([1, one], [1, two])
    work = np.polyadd(p * one * np.array([1, two]), (1 - p) * two * np.array([1, one]))
    roots = np.roots(np.polyadd(np.polymul([1, -rate], product), rate * work)[:-1])
    weights = [(1 - load) * np.polyval(product, s) / (s - other) for s, other in zip(roots, roots[::-1], strict=True)]
    return lambda x: 1 - sum(w / -s * np.exp(s * x) for w, s in zip(weights, roots, strict=True))


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """Of M/PH/c: mean wait, P(no wait), mean number inside."""

    mean_wait: float
    no_wait: float
    mean_inside: float


def phase_service(servers: int, rate: float, phases: Phases) -> PhaseResult:
    """M/PH/c exactly, by its generator (Neuts 1981; the level-dependent reduction of Bright and Taylor 1995).

    A level is the number inside, a state in it the number of those in service that are in phase 1.
    """
    c, p, (one, two), onward = servers, phases.begins_first, phases.rates, phases.first_then_second

    def blocks(level: int) -> tuple[Floats, Floats, Floats]:
        """Rates from a level up, within (the diagonal too) and down."""
        busy, busy_above = min(level, c), min(level + 1, c)
        up, within = np.zeros((busy + 1, busy_above + 1)), np.zeros((busy + 1, busy + 1))
        down = np.zeros((busy + 1, min(level - 1, c) + 1)) if level else np.zeros((1, 0))
        for i in range(busy + 1):
            if busy_above > busy:
                up[i, i + 1] += rate * p
                up[i, i] += rate * (1 - p)
            else:
                up[i, i] = rate
            if i > 0:
                within[i, i - 1] += i * one * onward
            for leaves, left in ((i * one * (1 - onward), i - 1), ((busy - i) * two, i)):
                if leaves == 0.0:
                    continue
                if level > c:
                    down[i, left + 1] += leaves * p
                    if left < c:
                        down[i, left] += leaves * (1 - p)
                else:
                    down[i, left] += leaves
            within[i, i] -= up[i].sum() + within[i].sum() + down[i].sum()
        return up, within, down

    up, within, down = blocks(c + 1)
    ratio = np.zeros((c + 1, c + 1))
    while True:
        better = up @ np.linalg.inv(-within - ratio @ down)
        if np.abs(better - ratio).max() < 1e-15:
            break
        ratio = better
    ratios, above = [], ratio
    for level in range(c, 0, -1):
        above = blocks(level - 1)[0] @ np.linalg.inv(-blocks(level)[1] - above @ blocks(level + 1)[2])
        ratios.append(above)
    levels = [np.ones(1)]
    for step in reversed(ratios):
        levels.append(levels[-1] @ step)
    # From level c on each level is the one below times the ratio: two geometric series.
    rest = np.linalg.inv(np.eye(c + 1) - ratio)
    full = levels[c] @ rest
    queue = float((levels[c] @ ratio @ rest @ rest).sum())
    total = sum(float(level.sum()) for level in levels[:c]) + float(full.sum())
    inside = sum(n * float(level.sum()) for n, level in enumerate(levels[:c])) + c * float(full.sum()) + queue
    return PhaseResult(queue / total / rate, 1 - float(full.sum()) / total, inside / total)
