"""Deployments worth a simulation, cheapest first: what the closed forms leave over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, inf, sqrt

from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import Constants
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, share_of_pool, split_slots
from ojp_sizing.sizing.ledger import connections_at_most
from ojp_sizing.sizing.resources import memory_of
from ojp_sizing.theory.offered import UnitLoad, mean_load
from ojp_sizing.theory.queues import servers_for

#: CPU limits of one pod that are tried (cores). None below 1: the kernel's bandwidth control, which is what a small limit
#: is about, isn't in the model yet (docs/model.md).
LIMITS_CORES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0)
#: How many limits above the least stable one are tried for each number of replicas.
LIMITS_TRIED = 3
MOST_REPLICAS = 100
#: How many numbers of replicas beyond the first one that can carry the load are tried.
REPLICAS_TRIED = 12
#: ``ceil(P / N)`` below this breaks OJP (reference 11: with one slot there is no fast lane).
LEAST_POOL_PER_POD = 2
LEAST_THREADS = 50


@dataclass(frozen=True, slots=True)
class SlotMargin:
    """How generously slots are cut: pods gone, share of arrivals that may wait (Erlang C), stretch of the slot time."""

    pods_gone: int
    waiting: float
    stretch: float


#: Generous and tight. The closed form only proposes; the simulation decides.
GENEROUS = SlotMargin(1, 0.02, 1.3)
TIGHT = SlotMargin(0, 0.2, 1.1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment, and the same with a smaller pool (None where that isn't smaller)."""

    deployment: Deployment
    tighter: Deployment | None
    cost_cores: float


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked: the workload at a rate (units of work per second), and the database where it is given."""

    workload: Workload
    rate: float
    database: Database

    def load(self, constants: Constants) -> UnitLoad:
        """The mean unit's demand."""
        return mean_load(self.workload, constants)


def database_of(demand: Demand, constants: Constants) -> Database:
    """The database as given; where cores aren't, as many as keep it at the target use at steady peak."""
    if demand.database.cores < inf:
        return demand.database
    cores = ceil(demand.rate * demand.load(constants).database_s / constants.database_target_use)
    return Database(float(max(1, cores)), demand.database.max_connections)


def pod_cpu_cores(demand: Demand, load: UnitLoad, pods: int) -> float:
    """Offered CPU load of one pod while ``pods`` share the work: connects don't divide (reference 1.4)."""
    return demand.rate * (load.every_pod_cpu_s + load.spread_cpu_s / pods)


def cost_cores(workload: Workload, deployment: Deployment) -> float:
    """Cost in core equivalents: CPU limits and memory of all pods, and the database's memory for the connections.

    Limits, not requests: the answer holds only where the limit can be had.
    """
    constants = deployment.constants
    gib = 2.0**30
    memory = memory_of(workload, deployment, deployment.server.thread_pool_size)
    connections = connections_at_most(deployment.pool.maximum_size, deployment.replicas)
    return (
        deployment.replicas * (deployment.limit_cores + memory.limit / gib / constants.gib_per_core)
        + connections * constants.connection_bytes / gib / constants.gib_per_core
    )


def _cut(demand: Demand, load: UnitLoad, replicas: int, margin: SlotMargin, constants: Constants) -> tuple[int, int]:
    """``(maximumPoolSize, slowSlotPercentage)`` for this margin."""
    survivors = max(1, replicas - margin.pods_gone)
    rate = demand.rate / survivors
    fast = servers_for(rate * load.fast_slot_s * margin.stretch, margin.waiting)
    slow = servers_for(rate * load.slow_slot_s * margin.stretch, margin.waiting) if load.slow_slot_s > 0 else 1
    # Connections are held between statements too; slots alone don't cover that (reference 1.2).
    held = demand.rate / replicas * load.hold_s
    total = max(
        fast + slow,
        servers_for(held * margin.stretch, margin.waiting),
        ceil(held / constants.connections_most_use),
        LEAST_POOL_PER_POD,
    )
    percentage = min(90, max(1, ceil(100 * slow / total)))
    while split_slots(total, percentage)[1] < slow:
        percentage += 1
    return total * replicas, percentage


def _threads(demand: Demand, load: UnitLoad, replicas: int, pool_size: int, constants: Constants) -> int:
    """Executor threads: one for every caller that can pile up while a survivor's pool is rebuilt.

    When clients disagree about a pod, survivors shrink and evict their whole pool (reference 5), and one adder opens
    connections again, one at a time. Callers wait meanwhile, each on a thread; were there fewer threads, the closes that
    free connections would wait behind them (reference 1.3: a convoy). More threads than client threads serve nobody.
    """
    survivors = max(1, replicas - 1)
    rate = demand.rate / survivors
    rebuild_s = constants.connection_open_s * (rate * load.hold_s + 1)
    waiting = rate * load.statements * rebuild_s
    small = pod_cpu_cores(demand, load, survivors)
    wanted = share_of_pool(pool_size, survivors) + waiting + small + 4.0 * sqrt(small)
    clients = demand.workload.clients
    return min(max(LEAST_THREADS, ceil(wanted / 50) * 50), clients.jvms * clients.threads + clients.jvms)


def _with_pool(demand: Demand, like: Deployment, margin: SlotMargin) -> Deployment | None:
    """The deployment with its pool, slots and threads cut by this margin; None where the database hasn't the room."""
    constants, replicas = like.constants, like.replicas
    load = demand.load(constants)
    pool_size, percentage = _cut(demand, load, replicas, margin, constants)
    room = like.database.max_connections - constants.database_reserve_connections
    if connections_at_most(pool_size, replicas) > room:
        return None
    threads = _threads(demand, load, replicas, pool_size, constants)
    server = replace(like.server, thread_pool_size=threads, slow_slot_percentage=percentage)
    return replace(like, pool=ClientPool(maximum_size=pool_size), server=server)


def _of_replicas(demand: Demand, replicas: int, constants: Constants) -> Iterator[Candidate]:
    load = demand.load(constants)
    database = database_of(demand, constants)
    if demand.rate * load.database_s >= database.cores:
        return
    # One pod is gone for most of a minute: without room for that, no objective of it can hold.
    needed_cores = max(
        pod_cpu_cores(demand, load, max(1, replicas - 1)),
        pod_cpu_cores(demand, load, replicas) / constants.cpu_most_use,
    )
    for limit in [limit for limit in LIMITS_CORES if limit > needed_cores][:LIMITS_TRIED]:
        bare = Deployment(replicas=replicas, limit_cores=limit, database=database, constants=constants)
        generous, tight = (_with_pool(demand, bare, margin) for margin in (GENEROUS, TIGHT))
        first = generous or tight
        if first is not None:
            smaller = tight if generous is not None and tight != generous else None
            yield Candidate(first, smaller, cost_cores(demand.workload, first))


def candidates(demand: Demand, constants: Constants, least_replicas: int, most_replicas: int) -> list[Candidate]:
    """Deployments that pass the screen, cheapest first; at equal cost fewer replicas first."""
    found: list[Candidate] = []
    numbers_with_some = 0
    for replicas in range(least_replicas, most_replicas + 1):
        some = list(_of_replicas(demand, replicas, constants))
        found += some
        numbers_with_some += bool(some)
        if numbers_with_some == REPLICAS_TRIED:
            break
    return sorted(found, key=lambda candidate: candidate.cost_cores)
