"""A grid of deployments far wider than the search's, and the cheapest of it that the same evidence shows to do.

The search's own rules (which pools, which threads, how many slow slots) are not used but as one point among others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings, describe
from ojp_sizing.sizing.evidence import PATIENT_UNITS, Bench, Evaluation, explore, verdicts
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.screen import (
    connections_per_pod,
    database_of,
    disputed,
    impossible,
    pod_cpu_cores,
    threads_of,
)
from ojp_sizing.sizing.space import LIMITS_CORES, Space

#: Connections of a pod, over what the closed forms ask for: pools that are divided.
DIVIDED = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
#: Threads, over what the closed forms ask for; and shares of slow slots beside theirs.
THREADS, PERCENTAGES = (0.5, 1.0, 2.0), (20, 50)
#: What costs less than this share of the answer is tried.
CHEAPER = 0.999
#: What breaks a limit by so many times isn't asked again, with the seed that lies so far off.
FAR, OTHER_SEED = 2.0, 1000


#: Deployments that differ in their CPU limit only, from the least.
Column = tuple[Deployment, ...]


def pools(question: Question, replicas: int) -> Iterator[ClientPool]:
    """Undivided ones of every share of a pod, and divided ones."""
    space = Space(question)
    asked = {connections_per_pod(question, replicas, segregation)[0] for segregation in (False, True)}
    idle = max(1, min(5, replicas - 2))
    sizes = {(share * (replicas - 2), idle) for share in range(1, (replicas - 1) // 2 + 1) if replicas > 2}
    sizes |= {(max(1, round(share * times)) * replicas, 5) for share in asked for times in DIVIDED}
    sizes |= {(20, 5)}
    for size, least in sorted(sizes):
        if space.fits(size, replicas):
            yield ClientPool(size, min(size, least))


def columns(question: Question, below: float) -> Iterator[Column]:
    """Every column of the grid with some deployment that costs less than ``below``.

    Pools are warm where they may be: cold ones cost the same.
    """
    warm = question.warm_pools != "off"
    lanes = {"on": (True,), "off": (False,), "either": (False, True)}[question.segregation]
    for replicas in count(question.least_replicas):
        if replicas > question.most_replicas or replicas * LIMITS_CORES[0] >= below:
            return
        for pool in pools(question, replicas):
            for segregation in lanes:
                own = connections_per_pod(question, replicas, segregation)[1]
                for percentage in dict.fromkeys((own, *PERCENTAGES)) if segregation else (20,):
                    for times in THREADS:
                        found = []
                        for limit in LIMITS_CORES:
                            threads = threads_of(question, replicas, limit, pool.maximum_size, warm)
                            deployment = Deployment(
                                replicas,
                                limit,
                                pool,
                                ServerSettings(
                                    segregation=segregation,
                                    slow_slot_percentage=percentage,
                                    thread_pool_size=max(1, round(threads * times)),
                                    breaker_open_s=question.known.breaker_open_s,
                                ),
                                database_of(question),
                                question.version,
                                question.known,
                                warm_pools=warm,
                            )
                            if question.cost(deployment) >= below:
                                break
                            if not (impossible(question, deployment) or is_no_answer(question, deployment)):
                                found.append(deployment)
                        if found:
                            yield tuple(found)


def is_no_answer(question: Question, deployment: Deployment) -> bool:
    """Whether it is none of anybody's, whatever its runs show.

    Its clients empty its pools in every update, with which real servers collapsed; or its CPU is used more than ``cpu_most_use``
    allows, which leaves room for what isn't in the runs.
    """
    most_cores = question.known.cpu_most_use * deployment.limit_cores
    return disputed(question, deployment) or pod_cpu_cores(question, deployment.replicas) > most_cores


@dataclass(frozen=True, slots=True)
class Cheapest:
    """What the grid has below a cost: the cheapest that is shown to do, if there is one, and how much was looked at.

    ``shown`` has every verdict: cost, deployment, verdict, and the most updates or losses of 29 or more that broke a limit.
    """

    deployment: Deployment | None
    grid: int
    explored: int
    shown: tuple[tuple[float, str, str, int], ...]


def _may_do(bench: Bench, deployment: Deployment) -> bool:
    """Whether a few runs leave it open: one broken run among them may be bad luck, and others are asked, unless it is far off."""
    seed = bench.execution.seed
    for other in (seed, seed + OTHER_SEED):
        outcome = explore(replace(bench, execution=replace(bench.execution, seed=other)), deployment)
        if isinstance(outcome, Evaluation):
            return True
        if outcome.excess > FAR:
            return False
    return False


def cheapest(bench: Bench, below: float, say: Callable[[str], None]) -> Cheapest:
    """The cheapest of the grid that gets the verdict of an answer by fresh runs.

    Each is looked at by its cost, from the cheapest on: explored, and where that passes, judged without giving up at the first
    broken run. A column whose largest limit below that cost breaks a limit in a few runs, twice, is done with: with less CPU
    it breaks it, too.
    """
    question = bench.question
    everything = list(columns(question, below * CHEAPER))
    by_cost = sorted(
        (
            (question.cost(deployment), number, deployment)
            for number, column in enumerate(everything)
            for deployment in column
        ),
        key=lambda one: one[:2],
    )
    say(f"{len(by_cost)} deployments in {len(everything)} columns cost less than {below:.3f}")
    passes: dict[Deployment, bool] = {}
    shown: list[tuple[float, str, str, int]] = []

    def look(deployment: Deployment) -> bool:
        if deployment not in passes:
            passes[deployment] = _may_do(bench, deployment)
        return passes[deployment]

    for cost, number, deployment in by_cost:
        if not (look(everything[number][-1]) and look(deployment)):
            continue
        *_, evaluation = verdicts(bench, deployment, most_units=PATIENT_UNITS["high"])
        broken = max(result.risk.broken for result in evaluation.results.values() if result.risk)
        shown.append((cost, describe(deployment), evaluation.verdict.value, broken))
        say(f"{cost:.3f} {describe(deployment)}: {evaluation.verdict.value}, {broken} broken; {len(passes)} explored")
        if evaluation.verdict.is_met:
            return Cheapest(deployment, len(by_cost), len(passes), tuple(shown))
    return Cheapest(None, len(by_cost), len(passes), tuple(shown))
