"""How often the decision is wrong, and how often an interval holds the truth, over many repetitions with a known truth.

Every repetition is a whole decision: ``sizing.evidence.verdicts`` with the estimators, judgements and tests that an answer is
made with, or ``size`` with its search. Only the replications come from elsewhere (``sources``).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from typing import Protocol, TypeVar
from unittest.mock import patch

from joblib import Parallel, delayed

from ojp_sizing.deployment.deployment import ClientPool, Deployment
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.measure import Replication, measure
from ojp_sizing.measurement.objectives import Objectives, Verdict
from ojp_sizing.sizing import recommendation
from ojp_sizing.sizing.evaluate import steady_units
from ojp_sizing.sizing.evidence import verdicts
from ojp_sizing.sizing.question import Execution, Question
from tests.verification.cases import slow_load

from .sources import QUIET, Collapses, Lanes, Source, Task, TrueBench

#: Repetitions of each case.
REPEATED = 500
#: Of the case that is on the edge of the risk more: they cost nothing, and 500 can't tell 5 % from 6 %.
REPEATED_EDGE = 3000
#: A limit on the p99, as a multiple of the true one. At 1 and below it isn't kept.
LIMITS = (0.9, 1.0, 1.1)
#: Repetitions whose end is kept one by one, for a test to compare.
FIRST = 10
LOOKS = Execution().looks
T = TypeVar("T")
PROBABILITIES = (0.02, 0.05, 0.10, 0.20)
RISK = 0.10
RATE = 50.0


def _lanes(name: str, servers: int, load: float, slow_servers: int = 0) -> Lanes:
    """Of as many units a run as a sizing gives it at such a use."""
    units = steady_units(max(load, slow_load(load) if slow_servers else 0.0))
    return Lanes(f"{name}, {units:,} units a run", servers, load, units, slow_servers)


LANES = (
    _lanes("M/M/3 at 50 %", 3, 0.5),
    _lanes("M/M/3 at 80 %", 3, 0.8),
    _lanes("M/M/15 at 80 %", 15, 0.8),
    _lanes("two lanes, M/M/3 at 60 % and M/M/2 at 65 %", 3, 0.6, 2),
)


class DoAll(Protocol):
    """Does something for every seed."""

    def __call__(self, do: Callable[[int], T], seeds: range) -> list[T]: ...


def one_by_one(do: Callable[[int], T], seeds: range) -> list[T]:
    return [do(seed) for seed in seeds]


@dataclass(frozen=True, slots=True)
class Decided:
    """How repetitions of one case ended. ``truth``: "kept", "not kept" or "edge" (exactly at the limit)."""

    case: str
    limit: str
    truth: str
    repetitions: int
    met: int
    not_met: int
    undecided: int
    runs: float
    first: str
    """How the first repetitions ended, a letter for each: met, not met, undecided."""


@dataclass(frozen=True, slots=True)
class Covered:
    """How many 95 % intervals of a p99 hold the true one, by number of runs; and how far their mean is off (a share)."""

    case: str
    measure: str
    runs: int
    repetitions: int
    covered: int
    below: int
    bias: float


def _end(verdict: Verdict) -> str:
    return "met" if verdict.is_met else "not met" if verdict is Verdict.NOT_MET else "undecided"


def _question(workload: str, objectives: Objectives | None = None) -> Question:
    return Question(workload=workload, rate=RATE, objectives=objectives or Objectives())  # type: ignore[arg-type]


#: What is judged; the decision doesn't depend on it.
DEPLOYMENT = Deployment(4, 0.25, ClientPool(4, 1), warm_pools=True)


def decide(question: Question, source: Source, seed: int) -> tuple[str, int]:
    """One whole verdict, and how many runs of the situation that took most it is made of."""
    bench = TrueBench(question, Execution(seed=seed), source)
    *_, evaluation = verdicts(bench, DEPLOYMENT)
    return _end(evaluation.verdict), max(result.replications for result in evaluation.results.values())


def _decided(case: str, limit: str, truth: str, ends: Iterable[tuple[str, int]]) -> Decided:
    found = list(ends)
    counts = Counter(end for end, _ in found)
    runs = sum(runs for _, runs in found) / len(found)
    first = "".join(end[0] for end, _ in found[:FIRST])
    return Decided(case, limit, truth, len(found), counts["met"], counts["not met"], counts["undecided"], runs, first)


# A disruption that collapses now and then ------------------------------------------------------------------------------


def collapse(probability: float, repetitions: int, do_all: DoAll = one_by_one) -> Decided:
    """The verdict on a deployment one of whose updates in so many collapses."""
    question, source = _question("web-oltp"), Source(Collapses(probability))
    truth = "edge" if probability == RISK else "kept" if probability < RISK else "not kept"
    ends = do_all(partial(decide, question, source), range(repetitions))
    return _decided(f"{probability:.0%} of the updates collapse", f"{RISK:.0%}", truth, ends)


@contextmanager
def _only(source: Source) -> Iterator[None]:
    """``size`` with these workers."""

    @contextmanager
    def workers(*_: object) -> Iterator[Source]:
        yield source

    with patch.object(recommendation, "workers_for", workers):
        yield


def _sought(question: Question, source: Source, seed: int) -> tuple[str, int]:
    """How a whole sizing ended, and how many deployments it tried."""
    with _only(source):
        answer = recommendation.size(question, Execution(seed=seed))
    return _end(answer.verdict), answer.tried


def search(probability: float, repetitions: int, do_all: DoAll = one_by_one) -> Decided:
    """A whole sizing in which every deployment there is collapses with this probability, each by itself."""
    question = _question("web-oltp")
    ends = do_all(partial(_sought, question, Source(Collapses(probability))), range(repetitions))
    truth = "edge" if probability == RISK else "not kept"
    return _decided(f"every deployment collapses in {probability:.0%} of its updates", f"{RISK:.0%}", truth, ends)


# Queues ------------------------------------------------------------------------------------------------------------------


def _drawn(runs: Mapping[int, Replication], task: Task) -> Replication:
    return runs[task.replication] if task.situation is Situation.STEADY else QUIET


def repeat(lanes: Lanes, seed: int) -> tuple[list[tuple[int, str, str, float]], list[tuple[float, str, int]]]:
    """One repetition: ``(runs, measure, "covered" | "above" | "below", value)`` of intervals, and ends by limit."""
    numbers = range(1000, 1000 + max(LOOKS))
    key = [*lanes.name.encode(), seed]
    runs = {number: lanes.run([*key, number]) for number in numbers}
    intervals = []
    for look in LOOKS:
        estimates = measure([runs[number] for number in numbers][:look])
        for name, truth in lanes.p99_s.items():
            found = estimates[name]
            side = "below" if found.high < truth else "above" if found.low > truth else "covered"
            intervals.append((look, name, side, found.value / truth - 1.0))
    ends = []
    truth = lanes.p99_s
    for factor in LIMITS:
        objectives = Objectives(
            fast_p99_s=truth["fast_p99_s"] * factor,
            slow_p99_s=truth["slow_p99_s"] * max(1.0, factor) * 1.5 if lanes.slow_servers else 2.0,
        )
        question = _question("web-oltp", objectives)
        ends.append((factor, *decide(question, Source(partial(_drawn, runs)), seed)))
    return intervals, ends


def queue(lanes: Lanes, repetitions: int, do_all: DoAll = one_by_one) -> tuple[list[Covered], list[Decided]]:
    """Coverage and verdicts of a queue."""
    found = do_all(partial(repeat, lanes), range(repetitions))
    covered = []
    for look in LOOKS:
        for name in lanes.p99_s:
            rows = [row for intervals, _ in found for row in intervals if row[:2] == (look, name)]
            sides = Counter(side for _, _, side, _ in rows)
            off = [value for *_, value in rows if isfinite(value)]
            covered.append(
                Covered(lanes.name, name, look, len(rows), sides["covered"], sides["below"], sum(off) / len(off))
            )
    decided = []
    for factor in LIMITS:
        truth = "edge" if factor == 1 else "kept" if factor > 1 else "not kept"
        ends = [(end, runs) for _, all_ends in found for at, end, runs in all_ends if at == factor]
        decided.append(_decided(lanes.name, f"{factor:g} of the true p99", truth, ends))
    return covered, decided


# All of it ---------------------------------------------------------------------------------------------------------------


def run_study(processes: int, say: Callable[[object], None]) -> dict[str, list[Covered] | list[Decided]]:
    """Every case, by so many processes."""
    covered: list[Covered] = []
    decided: list[Decided] = []
    with Parallel(processes) as parallel:

        def do_all(do: Callable[[int], T], seeds: range) -> list[T]:
            found: list[T] = parallel(delayed(do)(seed) for seed in seeds)
            return found

        for probability in PROBABILITIES:
            decided.append(collapse(probability, REPEATED_EDGE if probability == RISK else REPEATED, do_all))
            say(decided[-1])
        for lanes in LANES:
            some_covered, some_decided = queue(lanes, REPEATED, do_all)
            covered += some_covered
            decided += some_decided
            say((some_covered, some_decided))
        decided.append(search(RISK, REPEATED, do_all))
        say(decided[-1])
    return {"covered": covered, "decided": decided}


def results_text(results: Mapping[str, Iterable[Covered | Decided]]) -> str:
    """The file of results: JSON, a line for each."""
    kinds = []
    for kind, rows in results.items():
        lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
        kinds.append(f'"{kind}": [\n{lines}\n]')
    return "{" + ",\n".join(kinds) + "}\n"


def read_results(text: str) -> tuple[list[Covered], list[Decided]]:
    """What ``results_text`` wrote."""
    found = json.loads(text)
    return [Covered(**row) for row in found["covered"]], [Decided(**row) for row in found["decided"]]
