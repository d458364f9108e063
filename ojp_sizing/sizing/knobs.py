"""What the next replica, core, connection, thread or percent buys: the same runs with and without it, in pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from ojp_sizing.deployment.deployment import ClientPool, Deployment
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import Estimate, mean_estimate
from ojp_sizing.measurement.measure import Replication
from ojp_sizing.sizing.evidence import Bench, broken_by
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.screen import undivided_pool
from ojp_sizing.sizing.space import Space, limit_above

#: Pairs of runs behind a price.
PAIRS = 6
#: So many shares of slow slots are looked at on either side of the answer's, at most.
PERCENTAGES = 3


@dataclass(frozen=True, slots=True)
class Knob:
    """One step of one setting: its cost, and the change that it makes, value and 95 % interval over ``PAIRS`` pairs of runs.

    ``steady_fast_s``, ``steady_slow_s``, ``update_fast_s``: changes of p99 (s), below 0 where it gets better. ``broken`` of
    ``PAIRS`` updates break a limit with it, ``broken_before`` without.
    """

    change: str
    deployment: Deployment
    cost: float
    steady_fast_s: Estimate
    steady_slow_s: Estimate
    update_fast_s: Estimate
    broken: int
    broken_before: int


def cut(deployment: Deployment, replicas: int, per_pod: int) -> ClientPool:
    """A pool with this share of a pod, undivided where the deployment's is and it can be."""
    size = (undivided_pool(per_pod, replicas) if deployment.stays_undivided else None) or per_pod * replicas
    return replace(deployment.pool, maximum_size=size)


def one_more(question: Question, deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    """One step up in each respect: what changes, and the deployment."""
    replicas, server = deployment.replicas, deployment.server
    pool = cut(deployment, replicas + 1, deployment.pool_per_pod)
    yield f"replicaCount {replicas + 1}", replace(deployment, replicas=replicas + 1, pool=pool)
    above = limit_above(deployment.limit_cores)
    if above < inf:
        yield f"CPU limit {above:g}", replace(deployment, limit_cores=above)
    pool = cut(deployment, replicas, deployment.pool_per_pod + 1)
    if Space(question).fits(pool.maximum_size, replicas):
        yield f"maximumPoolSize {pool.maximum_size}", replace(deployment, pool=pool)
    threads = server.thread_pool_size * 2
    yield f"threadPoolSize {threads}", replace(deployment, server=replace(server, thread_pool_size=threads))
    yield from other_percentages(deployment)


def other_percentages(deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    """Each other number of slow slots near the answer's, by the least percentage that gives it; none with segregation off."""
    if not deployment.server.segregation:
        return
    slots, (_, slow) = deployment.pool_per_pod, deployment.slots_per_pod
    for other in range(max(1, slow - PERCENTAGES), min(slots - 1, slow + PERCENTAGES) + 1):
        percentage = -(-100 * other // slots)
        if other != slow:
            server = replace(deployment.server, slow_slot_percentage=percentage)
            yield f"slowSlotPercentage {percentage}", replace(deployment, server=server)


def knobs(bench: Bench, deployment: Deployment) -> tuple[Knob, ...]:
    """What one more of everything costs and buys."""
    before = _runs(bench, deployment)
    return tuple(
        knob_of(bench, deployment, before, change, other) for change, other in one_more(bench.question, deployment)
    )


def best_percentage(bench: Bench, deployment: Deployment) -> tuple[Deployment, tuple[Knob, ...]]:
    """The share of slow slots whose worse side comes least near to its limit at steady peak, with all that were compared.

    One that is no better by its whole interval isn't taken.
    """
    before = _runs(bench, deployment)
    found = tuple(knob_of(bench, deployment, before, change, other) for change, other in other_percentages(deployment))
    limits = bench.question.objectives

    def excess(knob: Knob, end: str) -> float:
        steady = before[Situation.STEADY]
        sides = (
            ("fast_p99_s", knob.steady_fast_s, limits.fast_p99_s),
            ("slow_p99_s", knob.steady_slow_s, limits.slow_p99_s),
        )
        ratios = []
        for name, estimate, limit in sides:
            mean = mean_estimate([run.value(name) for run in steady]).value
            if mean == mean:  # noqa: PLR0124 - nan: no such units
                ratios.append((mean + getattr(estimate, end)) / limit)
        return max(ratios, default=inf)

    nothing = Estimate(0.0, 0.0, 0.0, PAIRS)
    as_it_is = Knob("", deployment, 0.0, nothing, nothing, nothing, 0, 0)
    best = min(found, key=lambda knob: excess(knob, "high"), default=as_it_is)
    taken = best.deployment if excess(best, "high") < excess(as_it_is, "value") and not best.broken else deployment
    return taken, found


def _runs(bench: Bench, deployment: Deployment) -> dict[Situation, list[Replication]]:
    situations = (Situation.ROLLING_UPDATE, Situation.STEADY)
    wanted = [(situation, number) for situation in situations for number in range(PAIRS)]
    found = list(bench.run(deployment, wanted))
    return {situation: found[i * PAIRS : (i + 1) * PAIRS] for i, situation in enumerate(situations)}


def knob_of(
    bench: Bench, deployment: Deployment, before: dict[Situation, list[Replication]], change: str, other: Deployment
) -> Knob:
    """One price, by the same traces with and without."""
    after = _runs(bench, other)

    def changed(situation: Situation, name: str) -> Estimate:
        pairs = zip(before[situation], after[situation], strict=True)
        return mean_estimate([new.value(name) - old.value(name) for old, new in pairs])

    def broken(which: Deployment, runs: dict[Situation, list[Replication]]) -> int:
        update = Situation.ROLLING_UPDATE
        return sum(bool(broken_by(bench, which, update, run)) for run in runs[update])

    return Knob(
        change=change,
        deployment=other,
        cost=bench.question.cost(other) - bench.question.cost(deployment),
        steady_fast_s=changed(Situation.STEADY, "fast_p99_s"),
        steady_slow_s=changed(Situation.STEADY, "slow_p99_s"),
        update_fast_s=changed(Situation.ROLLING_UPDATE, "fast_p99_s"),
        broken=broken(other, after),
        broken_before=broken(deployment, before),
    )
