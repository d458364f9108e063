"""How far from what was asked an answer still does: with more client JVMs, and at the rates that growth will bring.

The deployment stays as it is, its database too; each point is explored by a few runs, which is no verdict. What lies between two
points is taken to be like them: where more load or more JVMs did better than less, this would be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, log, sqrt

from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.sizing.evidence import EXPLORED, EXPLORED_STEADY, Bench, Evaluation, Rejection, explore
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.screen import impossible

#: The largest rate is looked for until the least that fails is at most so many times the largest that holds.
PRECISION = 1.05
#: No rate below it is looked for.
LEAST_RATE = 1.0
#: So many client JVMs are tried at most, or twice as many as asked where that is more.
MOST_JVMS = 256
#: Numbers between those asked and the most are tried, without --explain, where that takes at most about so many units.
CHEAP_UNITS = 250_000


@dataclass(frozen=True, slots=True)
class Reach:
    """The most that was seen to hold (``holds``, ``asked`` where nothing more was), and the least above it that wasn't.

    ``fails`` None: all that was tried held. ``rejection`` is what broke there, None where a closed form says that it can't hold.
    ``points`` were simulated, with ``runs`` runs in all.
    """

    asked: float
    holds: float
    fails: float | None
    rejection: Rejection | None
    points: int
    runs: int


@dataclass(frozen=True, slots=True)
class Growth:
    """When a demand that grows by ``share`` a month (0 to 1) leaves what an answer carries."""

    share: float
    reach: Reach

    @property
    def months(self) -> float:
        """After so many months the rate is the largest that was seen to hold."""
        return log(self.reach.holds / self.reach.asked) / log(1.0 + self.share)

    @property
    def ends_in_month(self) -> int:
        """The month in which the answer ends, the first one being 1."""
        return floor(self.months + 1e-9) + 1


@dataclass(slots=True)
class _Points:
    """Points that are explored, one after another."""

    bench: Bench
    deployment: Deployment
    points: int = 0
    runs: int = 0

    def failure(self, question: Question) -> Rejection | None:
        """What a few runs of the deployment break where this is asked."""
        outcome = explore(replace(self.bench, question=question), self.deployment)
        self.points += 1
        if isinstance(outcome, Rejection):
            self.runs += outcome.replications
            return outcome
        self.runs += sum(result.replications for result in outcome.results.values())
        return None

    def reach(self, asked: float, holds: float, fails: float | None, rejection: Rejection | None) -> Reach:
        return Reach(asked, holds, fails, rejection, self.points, self.runs)


def largest_rate(bench: Bench, deployment: Deployment) -> Reach:
    """The largest rate that the deployment carries, by halves between the asked one and the least that closed forms exclude."""
    question, tried = bench.question, _Points(bench, deployment)
    low, high = question.rate, least_impossible_rate(question, deployment)
    rejection: Rejection | None = None
    while high > PRECISION * low:
        middle = sqrt(low * high)
        found = tried.failure(replace(question, rate=middle))
        if found is None:
            low = middle
        else:
            high, rejection = middle, found
    return tried.reach(question.rate, low, high, rejection)


def carried_rate(bench: Bench, deployment: Deployment, is_met: bool) -> Reach:
    """The largest rate that a given deployment carries: at least the asked one where that ``is_met``, and otherwise below it."""
    if is_met:
        return largest_rate(bench, deployment)
    question, tried = bench.question, _Points(bench, deployment)
    low, high, rejection = question.rate / 2.0, question.rate, None
    while low >= LEAST_RATE and (found := tried.failure(replace(question, rate=low))) is not None:
        low, high, rejection = low / 2.0, low, found
    while low >= LEAST_RATE and high > PRECISION * low:
        middle = sqrt(low * high)
        found = tried.failure(replace(question, rate=middle))
        low, high, rejection = (middle, high, rejection) if found is None else (low, middle, found)
    return tried.reach(question.rate, low if low >= LEAST_RATE else 0.0, high, rejection)


def least_impossible_rate(question: Question, deployment: Deployment) -> float:
    """By closed forms, to 1 %: from here on more is asked of something than there is of it."""

    def is_impossible(rate: float) -> bool:
        return bool(impossible(replace(question, rate=rate), deployment))

    low, high = question.rate, 2.0 * question.rate
    while not is_impossible(high):
        low, high = high, 2.0 * high
    while high > 1.01 * low:
        middle = sqrt(low * high)
        low, high = (low, middle) if is_impossible(middle) else (middle, high)
    return high


def growth_of(bench: Bench, deployment: Deployment) -> Growth | None:
    """When the question's growth leaves what the deployment carries; None where none is asked."""
    share = bench.question.growth
    return None if share is None else Growth(share, largest_rate(bench, deployment))


def most_jvms(bench: Bench, evaluation: Evaluation) -> Reach:
    """From how many client JVMs on the answer doesn't hold: twice as many as asked, four times, and so on.

    The most are tried first, since answers mostly hold there, and then by halves; the halves are left out where they take more
    than ``CHEAP_UNITS`` and the execution isn't to explain.
    """
    question, tried = bench.question, _Points(bench, evaluation.deployment)
    asked = question.workload.clients.jvms
    numbers = _doubled(asked, max(MOST_JVMS, 2 * asked))
    runs = sum(result.replications for result in evaluation.results.values())
    each = (len(question.situations) - 1) * EXPLORED + EXPLORED_STEADY
    is_cheap = bench.execution.explain or len(numbers) * each * evaluation.units <= CHEAP_UNITS * runs
    rejection: Rejection | None = None
    low, high, index = -1, len(numbers), len(numbers) - 1
    while high - low > 1:
        found = tried.failure(replace(question, client_jvms=numbers[index]))
        if found is None:
            low = index
        else:
            high, rejection = index, found
            if not is_cheap:
                break
        index = (low + high) // 2
    holds, fails = [asked, *numbers][low + 1], [*numbers, None][high]
    return tried.reach(asked, holds, fails, rejection)


def _doubled(asked: int, most: int) -> list[int]:
    numbers = []
    while (asked := 2 * asked) <= most:
        numbers.append(asked)
    return numbers
