"""Deployments worth a simulation, cheapest first: what the closed forms leave over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from math import ceil, inf, sqrt

from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.deployment import (
    DEFAULT_VERSION,
    ClientPool,
    Database,
    Deployment,
    ServerSettings,
    share_of_pool,
    split_slots,
)
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.sizing.resources import memory_of
from ojp_sizing.theory.offered import UnitLoad, mean_load, stay_of
from ojp_sizing.theory.queues import servers_for

#: CPU limits of one pod that are tried (cores). None below 1: the model has the kernel's bandwidth control, which is what
#: a small limit is about, but not the class loading and compiling of a JVM that starts on so little (docs/model.md).
LIMITS_CORES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0)
#: How many limits above the least stable one are tried for each number of replicas.
LIMITS_TRIED = 2
MOST_REPLICAS = 100
#: How many numbers of replicas with an undivided pool are candidates.
UNDIVIDED_TRIED = 4
#: OJP's default of 60 s keeps a text shut on a pod that has just returned, where a few statements come before the first
#: connect has built the pool (reference 6); the founder's own load tests run with 5 s (reference 10.2).
BREAKER_OPEN_S = 5.0
#: Share of statements that may find all cores of the database busy, where the cores are asked for (Erlang C).
DATABASE_WAITING = 0.05
#: Callers that pile up in a stall, over their mean number.
STALL_MARGIN = 2.0
#: Where pools are cold: CPU limits with which every client would wait longer than this for each pod that is back aren't tried.
MOST_STALL_S = 4.0
#: ``ceil(P / N)`` below this breaks OJP (reference 11: with one slot there is no fast lane).
LEAST_POOL_PER_POD = 2
LEAST_THREADS = 50


#: Slots are cut for one pod gone, with this share of arrivals that may wait (Erlang C) and this stretch of slot times.
SLOT_WAITING, SLOT_STRETCH = 0.02, 1.3
#: Connections are cut for one pod gone, with this share of callers that may wait longer than this (Erlang C): half of the
#: default limit on fast units, at their p99.
POOL_WAITING, POOL_WAIT_S = 0.01, 0.025
#: Where some units stay for longer than this in the mean, a pool that is exhausted is so for long, and all that come
#: meanwhile wait: so few may wait at all.
LONG_STAY_S, LONG_WAITING = 1.0, 0.001
#: Use of connections while two pods are missing, as they are for some seconds of a rolling update.
MOST_USE_IN_OVERLAP = 0.9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment and its cost in core equivalents."""

    deployment: Deployment
    cost_cores: float


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked: the workload at a rate (units of work per second); and what is given: database, server version, and
    whether the pools of a pod that comes back are warm before clients reach it (``Deployment.warm_pools``).
    """

    workload: Workload
    rate: float
    database: Database
    version: str = DEFAULT_VERSION
    warm_pools: bool = True

    def load(self, constants: Constants) -> UnitLoad:
        """The mean unit's demand."""
        return mean_load(self.workload, constants)


def constants_of(workload: Workload, file: str = "") -> Constants:
    """The table's values with those that the workload sets, by the name of its file where that is known."""
    return default_constants().with_values(workload.constants, file or f"workload {workload.name}")


def database_of(demand: Demand, constants: Constants) -> Database:
    """The database as given. Where cores aren't: the target use at steady peak, and few statements that find all busy."""
    if demand.database.cores < inf:
        return demand.database
    busy = demand.rate * demand.load(constants).database_s
    cores = max(ceil(busy / constants.database_target_use), servers_for(busy, DATABASE_WAITING))
    return Database(float(cores), demand.database.max_connections)


def pod_cpu_cores(demand: Demand, load: UnitLoad, pods: int) -> float:
    """Offered CPU load of one pod while ``pods`` share the work: connects don't divide (reference 1.4)."""
    return demand.rate * (load.every_pod_cpu_s + load.spread_cpu_s / pods)


def cost_cores(workload: Workload, deployment: Deployment) -> float:
    """Cost in core equivalents: CPU limits and memory of all pods, and the database's memory for the connections.

    Limits, not requests: the answer holds only where the limit can be had.
    """
    constants = deployment.constants
    gib = 2.0**30
    memory = memory_of(workload, deployment)
    connections = connections_at_most(deployment.pool.maximum_size, deployment.replicas)
    return (
        deployment.replicas * (deployment.limit_cores + memory.limit / gib / constants.gib_per_core)
        + connections * constants.connection_bytes / gib / constants.gib_per_core
    )


def connections_per_pod(
    demand: Demand, load: UnitLoad, replicas: int, constants: Constants, segregation: bool
) -> tuple[int, int]:
    """``(connections of one pod, slowSlotPercentage)`` that the closed forms ask for."""
    survivors = max(1, replicas - 1)
    waiting = demand.rate / survivors * SLOT_STRETCH
    fast = servers_for(waiting * load.fast_slot_s, SLOT_WAITING)
    slow = servers_for(waiting * load.slow_slot_s, SLOT_WAITING) if load.slow_slot_s > 0 else 1
    # Connections are held between statements too; slots alone don't cover that (reference 1.2).
    held = demand.rate * load.hold_s
    longest = max(stay_of(demand.workload, unit).mean_s for unit in demand.workload.units)
    total = max(
        ceil(held / replicas / constants.connections_most_use),
        ceil(held / max(1, replicas - 2) / MOST_USE_IN_OVERLAP),
        servers_for(held / survivors, POOL_WAITING, load.hold_s, POOL_WAIT_S),
        servers_for(held / survivors, LONG_WAITING) if longest > LONG_STAY_S else 0,
        LEAST_POOL_PER_POD,
        fast + slow if segregation else 0,
    )
    percentage = min(90, max(1, ceil(100 * slow / (fast + slow))))
    while segregation and split_slots(total, percentage)[1] < slow:
        percentage += 1
    return total, percentage


def undivided_pool(per_pod: int, replicas: int) -> int | None:
    """A ``maximumPoolSize`` whose share of a pod stays the same while up to two pods are missing, if there is one.

    Then clients that disagree about a pod change nothing: no pool is shrunk, and none loses its connections
    (reference 5). ``ceil(P / k) = m`` for k from N - 2 to N needs ``(m - 1) N < P <= m (N - 2)``, so ``m < N / 2``.
    """
    for share in range(per_pod, (replicas + 1) // 2):
        size = share * (replicas - 2)
        if share_of_pool(size, replicas) == share:
            return size
    return None


def idle_connections(replicas: int) -> int:
    """OJP's default of 5, or fewer where its share of a pod would change with up to two pods missing."""
    return max(1, min(5, replicas - 2))


def _threads(
    demand: Demand, load: UnitLoad, replicas: int, limit_cores: float, pool_size: int, constants: Constants
) -> int:
    """Executor threads: one for every caller that can pile up while a pool is opened anew.

    When clients disagree about a pod, survivors shrink and evict their whole pool (reference 5); a pod that returns has
    few connections. One adder opens them one at a time, and callers wait meanwhile, each on a thread: were there fewer
    threads, the closes that free connections would wait behind them (reference 1.3: a convoy). Where pools are cold, every
    unit waits while a pod's threads all build one (``_stall_s``), and then they come to the others at once: so many threads
    more, which build pools in their turn. More threads than client threads serve nobody.
    """
    survivors = max(1, replicas - 2)
    rate = demand.rate / survivors
    each_s = constants.connection_open_s + constants.connection_pause_s
    waits_s = load.statements * each_s * (rate * load.hold_s + 1)
    small = pod_cpu_cores(demand, load, survivors)
    clients = demand.workload.clients
    most = clients.jvms * clients.threads
    threads = 0
    while True:
        waiting = STALL_MARGIN * min(rate * waits_s, most / survivors)
        wanted = share_of_pool(pool_size, survivors) + waiting + small + 4.0 * sqrt(small)
        enough = min(max(LEAST_THREADS, ceil(wanted / 50) * 50), most + clients.jvms)
        if demand.warm_pools or enough <= threads:
            return enough
        threads = enough
        waits_s = max(waits_s, _stall_s(threads, limit_cores, constants))


def _stall_s(threads: int, limit_cores: float, constants: Constants) -> float:
    """How long every client waits for a cold pod that comes back, while each of its threads builds a pool (reference 1.1)."""
    return constants.pool_build_s + threads * constants.pool_build_cpu_s / limit_cores


def impossible(demand: Demand, deployment: Deployment) -> str:
    """Why no simulation can show that this deployment does, or "" where one may.

    A bound, not an estimate: the mean load of a resource at steady peak, waits left out, is all that it has or more, so that its
    queue grows without end (Loynes 1962). Everything else that the screen turns away is a rule of the sizer, a row of the table
    of constants.
    """
    load = demand.load(deployment.constants)
    loads = (
        ("the database's cores", demand.rate * load.database_s, deployment.database.cores),
        ("a pod's CPU", pod_cpu_cores(demand, load, deployment.replicas), deployment.limit_cores),
        ("a pod's connections", demand.rate * load.hold_s / deployment.replicas, deployment.pool_per_pod),
    )
    return next((f"{what}: {asked:.3g} of {there:g} in the mean" for what, asked, there in loads if asked >= there), "")


def _of_replicas(demand: Demand, replicas: int, constants: Constants, segregation: bool) -> Iterator[Candidate]:
    load = demand.load(constants)
    database = database_of(demand, constants)
    per_pod, percentage = connections_per_pod(demand, load, replicas, constants, segregation)
    pool_size = undivided_pool(per_pod, replicas) or per_pod * replicas
    if connections_at_most(pool_size, replicas) > database.max_connections - constants.database_reserve_connections:
        return
    server = ServerSettings(
        segregation=segregation,
        slow_slot_percentage=percentage,
        breaker_open_s=BREAKER_OPEN_S,
    )
    # One pod is gone for most of a minute: without room for that, no objective of it can hold.
    needed_cores = max(
        pod_cpu_cores(demand, load, max(1, replicas - 1)),
        pod_cpu_cores(demand, load, replicas) / constants.cpu_most_use,
    )
    limits = (limit for limit in LIMITS_CORES if limit > needed_cores)
    sized = ((limit, _threads(demand, load, replicas, limit, pool_size, constants)) for limit in limits)
    worth = (pair for pair in sized if demand.warm_pools or _stall_s(pair[1], pair[0], constants) < MOST_STALL_S)
    for limit, threads in islice(worth, LIMITS_TRIED):
        deployment = Deployment(
            replicas=replicas,
            limit_cores=limit,
            pool=ClientPool(pool_size, idle_connections(replicas)),
            server=replace(server, thread_pool_size=threads),
            database=database,
            version=demand.version,
            constants=constants,
            warm_pools=demand.warm_pools,
        )
        if not impossible(demand, deployment):
            yield Candidate(deployment, cost_cores(demand.workload, deployment))


def candidates(
    demand: Demand, constants: Constants, least_replicas: int, most_replicas: int, segregation: bool
) -> list[Candidate]:
    """Deployments that pass the screen, cheapest first; at equal cost fewer replicas first.

    Where some have a pool that stays undivided while two pods are missing, only those: pools that are divided anew are
    emptied, and an update of pods with such pools collapses by chance (docs/model.md). Numbers of replicas are tried up to a
    few beyond the first of them.
    """
    found: list[Candidate] = []
    undivided: list[Candidate] = []
    tried = 0
    for replicas in range(least_replicas, most_replicas + 1):
        some = list(_of_replicas(demand, replicas, constants, segregation))
        found += some
        if some and some[0].deployment.stays_undivided:
            undivided += some
            tried += 1
            if tried == UNDIVIDED_TRIED:
                break
    return sorted(undivided or found, key=lambda candidate: candidate.cost_cores)


def rungs_of(found: Sequence[Candidate]) -> list[list[Candidate]]:
    """The candidates as a ladder: by number of replicas, on each rung the smaller CPU limits first."""
    ordered = sorted(found, key=lambda candidate: (candidate.deployment.replicas, candidate.deployment.limit_cores))
    return [list(rung) for _, rung in groupby(ordered, key=lambda candidate: candidate.deployment.replicas)]


def likely_rung(ladder: Sequence[Sequence[Candidate]]) -> int:
    """Where to begin: the fewest pods whose pool stays undivided while two are missing, else the most pods."""
    for index, rung in enumerate(ladder):
        if rung[0].deployment.stays_undivided:
            return index
    return len(ladder) - 1


def first_guess(demand: Demand, constants: Constants, least_replicas: int, most_replicas: int) -> Candidate | None:
    """What the closed forms alone would say: where a search begins; None where nothing passes the screen."""
    ladder = rungs_of(candidates(demand, constants, least_replicas, most_replicas, segregation=False))
    return ladder[likely_rung(ladder)][0] if ladder else None
