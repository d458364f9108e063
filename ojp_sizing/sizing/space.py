"""Every deployment that a question admits, as shapes that are completed by a CPU limit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, inf

from ojp_sizing.behaviour.arithmetic import share_of_pool
from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.errors import InputError
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.screen import (
    LEAST_POOL_PER_POD,
    connections_per_pod,
    database_of,
    impossible,
    pod_cpu_cores,
    threads_of,
    undivided_pool,
    young_pod_cores,
)

#: CPU limits of one pod (millicores), each at most 15 % above the one before it.
LIMITS_MILLI = (
    *(250, 280, 320, 360, 400, 450, 500, 560, 630, 700, 800, 900),
    *(1000, 1100, 1250, 1400, 1600, 1800, 2000, 2250, 2500, 2800, 3200, 3600),
    *(4000, 4500, 5000, 5600, 6300, 7000, 8000, 9000, 10_000, 11_000, 12_500, 14_000),
    *(16_000, 18_000, 20_000, 22_500, 25_000, 28_000, 32_000),
)
LIMITS_CORES = tuple(milli / 1000 for milli in LIMITS_MILLI)
#: The most executor threads of one pod.
MOST_THREADS = 10_000
#: OJP's default share of slow slots (%), emitted where segregation is off.
DEFAULT_PERCENTAGE = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """A deployment but for its CPU limit. ``family`` names shapes that are alike but for their number of pods."""

    family: str
    replicas: int
    pool_size: int
    minimum_idle: int
    segregation: bool
    slow_slot_percentage: int
    warm_pools: bool
    more_threads: int = 1
    """So many times the threads that the closed forms ask for."""


@dataclass(frozen=True, slots=True)
class Space:
    """The deployments that a question admits: replicas within its bounds, pools within the database's connections."""

    question: Question

    def shapes(self, replicas: int, *, segregation: bool, warm_pools: bool) -> Iterator[Shape]:
        """The pools of so many pods: the largest that stays undivided while two pods are missing, and divided ones."""
        per_pod, percentage = connections_per_pod(self.question, replicas, segregation)
        lanes = "segregated" if segregation else "one lane"
        percentage = percentage if segregation else DEFAULT_PERCENTAGE
        # Whether fewer connections than the closed forms ask for are too few is for the simulation to say.
        for share in range((replicas - 1) // 2, LEAST_POOL_PER_POD - 1, -1):
            size = undivided_pool(share, replicas)
            if size is not None and self.fits(size, replicas):
                idle = max(1, min(5, replicas - 2))
                yield Shape(f"undivided, {lanes}", replicas, size, idle, segregation, percentage, warm_pools)
                break
        share = ceil(per_pod * self.question.known.divided_pool_times)
        while share >= per_pod and not self.fits(share * replicas, replicas):
            share -= 1
        if share >= per_pod:
            idle = min(5, share * replicas)
            yield Shape(f"divided, {lanes}", replicas, share * replicas, idle, segregation, percentage, warm_pools)

    def with_more(self, shape: Shape, short: tuple[str, ...]) -> Shape | None:
        """The shape with more of what its pods were short of, CPU left out; None where that is not to be had."""
        times = ceil(self.question.known.short_times)
        if "connections" in short and shape.family.startswith("divided") and shape.more_threads == 1:
            size = shape.pool_size * times
            if self.fits(size, shape.replicas):
                return replace(shape, family=f"{shape.family}, more", pool_size=size, more_threads=times)
        if "threads" in short and shape.more_threads == 1:
            return replace(shape, family=f"{shape.family}, more", more_threads=times)
        return None

    def fits(self, pool_size: int, replicas: int) -> bool:
        """Whether the database has the connections, in the worst instant of an update and with its reserve."""
        most = self.question.database.max_connections
        return connections_at_most(pool_size, replicas) + self.question.known.database_reserve_connections <= most

    def deployment(self, shape: Shape, limit_cores: float) -> Deployment:
        """The shape with a CPU limit, and the threads that go with both."""
        question = self.question
        clients = question.workload.clients
        threads = threads_of(question, shape.replicas, limit_cores, shape.pool_size, shape.warm_pools)
        threads = min(shape.more_threads * threads, clients.jvms * clients.threads + clients.jvms, MOST_THREADS)
        return Deployment(
            replicas=shape.replicas,
            limit_cores=limit_cores,
            pool=ClientPool(shape.pool_size, shape.minimum_idle),
            server=ServerSettings(
                segregation=shape.segregation,
                slow_slot_percentage=shape.slow_slot_percentage,
                thread_pool_size=threads,
                breaker_open_s=question.known.breaker_open_s,
            ),
            database=database_of(question),
            version=question.version,
            constants=question.known,
            warm_pools=shape.warm_pools,
        )

    def least_limit(self, shape: Shape) -> int | None:
        """The index of the least CPU limit that may do: stable with one pod lost, and used as ``cpu_most_use`` allows at most.

        None where even the largest is too small, or something else can't be.
        """
        needed = max(
            pod_cpu_cores(self.question, max(1, shape.replicas - 1)),
            pod_cpu_cores(self.question, shape.replicas) / self.question.known.cpu_most_use,
        )
        index = bisect_left(LIMITS_CORES, needed)
        if index == len(LIMITS_CORES) or impossible(self.question, self.deployment(shape, LIMITS_CORES[index])):
            return None
        return index

    def generous_limit(self, shape: Shape) -> int:
        """The index of a limit with which CPU is short in no burst, nor while two pods are missing, nor in a pod that is back."""
        missing = max(1, shape.replicas - 2)
        needed = 1.1 * max(
            pod_cpu_cores(self.question, missing, self.question.burst_rate),
            young_pod_cores(self.question, shape.replicas) if shape.warm_pools else 0.0,
        )
        return min(bisect_left(LIMITS_CORES, needed), len(LIMITS_CORES) - 1)


def check_space(question: Question) -> None:
    """Refuse a database whose connections don't suffice for the smallest pools. Raises InputError with what would."""
    smallest = min(
        connections_at_most(size, replicas)
        for replicas in range(question.least_replicas, question.most_replicas + 1)
        for size in (LEAST_POOL_PER_POD * replicas, undivided_pool(LEAST_POOL_PER_POD, replicas))
        if size is not None
    )
    least = smallest + int(question.known.database_reserve_connections)
    if question.database.max_connections < least:
        raise InputError(
            "--db-max-connections",
            f"{question.database.max_connections:g} has no room for {LEAST_POOL_PER_POD} connections a pod and a reserve",
            f"write {least} or more",
        )


def first_guess(question: Question) -> Deployment | None:
    """The cheapest deployment with the connections that the closed forms ask for, and whose pools stay undivided where there is
    one."""
    space = Space(question)
    found: list[tuple[bool, float, Deployment]] = []
    for replicas in range(question.least_replicas, question.most_replicas + 1):
        segregation, warm = question.segregation == "on", question.warm_pools != "off"
        asked, _ = connections_per_pod(question, replicas, segregation)
        for shape in space.shapes(replicas, segregation=segregation, warm_pools=warm):
            index = space.least_limit(shape)
            if index is not None and share_of_pool(shape.pool_size, replicas) >= asked:
                deployment = space.deployment(shape, LIMITS_CORES[index])
                found.append((not deployment.stays_undivided, question.cost(deployment), deployment))
    return min(found, key=lambda one: one[:2])[2] if found else None


def limit_below(limit_cores: float) -> float:
    """The next smaller limit of the grid; 0 where there is none."""
    index = bisect_left(LIMITS_CORES, limit_cores)
    return LIMITS_CORES[index - 1] if index > 0 else 0.0


def limit_above(limit_cores: float) -> float:
    """The next larger limit of the grid; inf where there is none."""
    return next((limit for limit in LIMITS_CORES if limit > limit_cores), inf)


def with_segregation(deployment: Deployment, segregation: bool, pool: ClientPool, percentage: int) -> Deployment:
    """The same with OJP's slow/fast segregation on (its default) or off, and the pool that suits that."""
    server = replace(deployment.server, segregation=segregation, slow_slot_percentage=percentage)
    return replace(deployment, server=server, pool=pool)
