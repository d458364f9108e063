"""What to simulate next: the cheapest that may do, until one is shown to do.

Shapes of every number of pods wait in a queue by their cost with the least CPU limit that may do. The cheapest is explored.
Where it breaks a limit and its pods were short of CPU, a generous limit is tried, and from there the way down by halves; where
more CPU would not help, the shape is done with, and its family isn't asked that again. A family that comes no nearer to the
limits with more pods is given up. What an exploration passes is a contestant, and gets a verdict by fresh runs; the first that is
met is the answer: what is cheaper was seen to break a limit, or was passed over by these rules (``make audit`` looks at those).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from ojp_sizing.deployment.constants import Constants
from ojp_sizing.deployment.deployment import Deployment, describe
from ojp_sizing.sizing.evidence import (
    COLLAPSED,
    PATIENT_UNITS,
    VERDICT,
    Bench,
    Evaluation,
    Rejection,
    explore,
    verdicts,
)
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.screen import collapses, disputed
from ojp_sizing.sizing.space import LIMITS_CORES, Shape, Space

#: Steps of the grid of limits that make about twice.
DOUBLED = 6
#: So many contestants at most get a verdict; by then their error is spent.
MOST_CONTESTANTS = 6

#: Why a search ended.
SHOWN = "a deployment was shown to do, and each cheaper one that was tried broke a limit or came near to one"
ALL_TRIED = "everything that the closed forms leave over was tried, or given up"
ONLY_DIVIDED = f"only divided pools are left over, and {COLLAPSED}"
NOTHING_POSSIBLE = "the closed forms leave nothing over"
#: Reasons after which nothing of what was to be tried is left.
_TO_THE_END = frozenset({ALL_TRIED, NOTHING_POSSIBLE})
OUT_OF_TIME = "the time budget of {:g} s was used up"
SPENT = "{} deployments passed a few runs and then weren't shown by more; to go on would make a lucky answer likely"
INTERRUPTED = "it was interrupted"

#: What is under way begins so where it is worth keeping on the screen.
SO_FAR = "so far: "

Listener = Callable[[str, int, int], None]
"""Called with what is under way, deployments tried so far, and shapes in all."""


def unheard(what: str, tried: int, total: int) -> None:
    pass


@dataclass(slots=True)
class Search:
    """One search: what has been looked at, what was turned away, and how much was simulated."""

    bench: Bench
    space: Space
    out_of_time: Callable[[], bool]
    say: Callable[[str], None]
    explored: dict[Deployment, Evaluation | Rejection] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    attempts: int = 0
    under_way: Evaluation | None = None
    stopped: str = ALL_TRIED

    @property
    def question(self) -> Question:
        return self.bench.question

    def try_out(self, deployment: Deployment, *, look_first: bool = True) -> Evaluation | Rejection:
        """An exploration, taken once."""
        if deployment not in self.explored:
            outcome = explore(self.bench, deployment, look_first=look_first)
            self.explored[deployment] = outcome
            if isinstance(outcome, Rejection):
                self.rejections.append(outcome)
        return self.explored[deployment]

    def verdict_on(self, deployment: Deployment) -> Evaluation | None:
        """The verdict on a contestant where it is met, else None."""
        evaluation = Evaluation(deployment, self.question.situations)
        explored = self.explored.get(deployment)
        if isinstance(explored, Evaluation):
            # Who interrupts now has that much.
            self.under_way = explored
        most_units = PATIENT_UNITS[self.bench.execution.precision]
        for evaluation in verdicts(self.bench, deployment, attempt=self.attempts, most_units=most_units):
            self.under_way = evaluation
        self.attempts += 1
        if evaluation.verdict.is_met:
            return evaluation
        results = evaluation.results.values()
        replications = sum(result.replications for result in results)
        reasons = tuple(f"{result.situation.words}: {result.reason}" for result in results if result.reason)
        self.rejections.append(Rejection(deployment, evaluation.missed, replications, VERDICT, (), 0, reasons))
        return None

    def cheapest(self, shapes: list[Shape]) -> Evaluation | None:
        """The cheapest deployment of these shapes that is shown to do; None with ``stopped`` where there is none.

        Pools that clients dispute come after all others. Where only such are left as collapsed on real servers, one of them is
        judged, to show what holds it back.
        """
        before = self.attempts
        calm = [
            shape for shape in shapes if not disputed(self.question, self.space.deployment(shape, LIMITS_CORES[-1]))
        ]
        found = self._first(calm, self.verdict_on)
        if found is None and self.attempts == before and len(calm) < len(shapes) and self.stopped in _TO_THE_END:
            found = self._first(shapes, self.verdict_on)
        if found is None and self.attempts == before and self.stopped in _TO_THE_END:
            stopped = self.stopped
            self._first(shapes, self.verdict_on, may_collapse=True)
            self.stopped = ONLY_DIVIDED if self.attempts > before else stopped
        return found

    def cheapest_explored(self, shapes: list[Shape]) -> Evaluation | None:
        """The cheapest of these shapes whose few runs break nothing: no verdict."""
        before = self.stopped
        found = self._first(
            shapes,
            lambda deployment: explored if isinstance(explored := self.try_out(deployment), Evaluation) else None,
        )
        self.stopped = before
        return found

    def _first(
        self, shapes: list[Shape], judge: Callable[[Deployment], Evaluation | None], *, may_collapse: bool = False
    ) -> Evaluation | None:
        """The cheapest that passes its exploration and is judged to do.

        Of what may collapse on real servers, whatever the model says, the limits are passed over; or, where it may, one
        contestant is judged.
        """
        most = self.attempts + 1 if may_collapse else MOST_CONTESTANTS
        queue: list[tuple[float, int, Shape, int]] = []
        for shape in shapes:
            index = self.space.least_limit(shape)
            if index is not None and not may_collapse:
                index = self._calm_limit(shape, index)
            if index is not None:
                self._push(queue, shape, index)
        if not queue:
            self.stopped = NOTHING_POSSIBLE
            return None
        families: dict[str, _Family] = {}
        on_edge: list[Deployment] = []
        raised: set[Shape] = set()
        while queue:
            if self.out_of_time():
                self.stopped = OUT_OF_TIME
                return None
            _, _, shape, index = heappop(queue)
            family = families.setdefault(shape.family, _Family(self.question.known))
            if family.passes_over(shape.replicas):
                continue
            deployment = self.space.deployment(shape, LIMITS_CORES[index])
            outcome = self.try_out(deployment)
            if isinstance(outcome, Evaluation):
                if outcome.on_edge:
                    on_edge.append(deployment)
                elif (found := self._contest(deployment, judge)) is not None:
                    return found
                elif self.attempts >= most:
                    self.stopped = SPENT.format(self.attempts)
                    return None
                # Whatever else waits, and where CPU was short now and then, its next limit, once.
                if _was_throttled(outcome) and index + 1 < len(LIMITS_CORES) and shape not in raised:
                    raised.add(shape)
                    self._push(queue, shape, index + 1)
                continue
            above = None
            if "CPU" in outcome.short and family.wants_cpu:
                above, family.wants_cpu = self._enough_cpu(shape, index)
            if above is not None:
                self._push(queue, shape, above)
                continue
            family.failed(shape.replicas, outcome.excess)
            if (larger := self.space.with_more(shape, outcome.short)) is not None:
                self._push(queue, larger, max(index, self.space.generous_limit(larger)))
        # Nothing stands clear of the limits: those that came near to one, the dearest first, which are the likeliest.
        for deployment in reversed(on_edge):
            if self.attempts < most and (found := self._contest(deployment, judge)) is not None:
                return found
        return None

    def _contest(self, deployment: Deployment, judge: Callable[[Deployment], Evaluation | None]) -> Evaluation | None:
        self.say(f"a first look at few runs is passed by {describe(deployment)}; now for its evidence")
        found = judge(deployment)
        if found is not None:
            self.stopped = SHOWN
            if found.verdict.is_met:
                self.say(f"{SO_FAR}{found.verdict.value} with {describe(deployment)}; now what is beside it")
        return found

    def _push(self, queue: list[tuple[float, int, Shape, int]], shape: Shape, index: int) -> None:
        deployment = self.space.deployment(shape, LIMITS_CORES[index])
        heappush(queue, (self.question.cost(deployment), len(self.explored) * 10_000 + len(queue), shape, index))

    def _calm_limit(self, shape: Shape, least: int) -> int | None:
        """The index of the least CPU limit from this one on with which it doesn't collapse on real servers."""
        indices = range(least, len(LIMITS_CORES))
        deployments = ((index, self.space.deployment(shape, LIMITS_CORES[index])) for index in indices)
        return next((index for index, one in deployments if not collapses(self.question, one)), None)

    def _enough_cpu(self, shape: Shape, short: int) -> tuple[int | None, bool]:
        """The least limit above ``short`` that passes, by halves from a generous one, or None where that doesn't pass.

        And whether more CPU fixed what was short of it, be it that something else is short then.
        """
        enough = max(self.space.generous_limit(shape), short + 1)
        most_cores = self.question.known.short_cpu_most_times * LIMITS_CORES[short]
        while enough < len(LIMITS_CORES):
            outcome = self.try_out(self.space.deployment(shape, LIMITS_CORES[enough]))
            if isinstance(outcome, Evaluation):
                break
            # Bursts ask for more than their mean.
            if "CPU" not in outcome.short or LIMITS_CORES[enough] > most_cores:
                return None, "CPU" not in outcome.short
            enough += DOUBLED
        else:
            return None, False
        while enough - short > 1:
            middle = (short + enough) // 2
            if isinstance(self.try_out(self.space.deployment(shape, LIMITS_CORES[middle])), Evaluation):
                enough = middle
            else:
                short = middle
        return enough, True


def _was_throttled(evaluation: Evaluation) -> bool:
    return any(result.measures["cpu_throttled_share"].value > 0.0 for result in evaluation.results.values())


@dataclass(slots=True)
class _Family:
    """What has been learned of the shapes of a family; ``known`` says when to give up."""

    known: Constants
    best: float = inf
    """How near one came to the limits: the least of their largest ratios."""
    worse: float = 0
    """How many came no nearer since."""
    far: int = 0
    """The next number of pods after one that was far from the limits."""
    wants_cpu: bool = True
    """Whether more CPU helped the last one that seemed to be short of it."""

    def failed(self, replicas: int, excess: float) -> None:
        # Of units that hang it can't be said how far they are from the limit.
        self.worse = 0 if excess < 0.98 * self.best else self.worse + (0.3 if excess == inf else 1)
        self.best = min(self.best, excess)
        self.far = replicas + 1 if excess > self.known.search_far else 0

    def passes_over(self, replicas: int) -> bool:
        return self.worse >= self.known.search_patience or replicas == self.far


def shapes_of(question: Question, *, segregation: bool, warm_pools: bool) -> list[Shape]:
    """Every shape of the question's space."""
    space = Space(question)
    return [
        shape
        for replicas in range(question.least_replicas, question.most_replicas + 1)
        for shape in space.shapes(replicas, segregation=segregation, warm_pools=warm_pools)
    ]


def stopwatch(budget_s: float) -> Callable[[], bool]:
    """Whether the budget is used up."""
    began = time.monotonic()
    return lambda: time.monotonic() - began > budget_s
