"""What is deployed: pods, their limits and settings, the client's pool, and the database behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from ojp_sizing.deployment.constants import Constants, default_constants

#: Servers whose behaviour the model follows ("era A" of the reference); whether their driver counts the sessions that it
#: opened on each pod (0.3.1-beta does so for XA only), and whether it checks the pods' health inside getConnection() or
#: in a thread of its own (reference section 6, CODE).
SERVER_VERSIONS = {"0.3.0-beta": (False, True), "0.3.1-beta": (False, True), "0.3.2-snapshot": (True, False)}
DEFAULT_VERSION = "0.3.1-beta"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server's settings that have an effect on capacity; defaults of reference section 9 (CODE)."""

    thread_pool_size: int = 200
    segregation: bool = True
    slow_slot_percentage: int = 20
    idle_timeout_s: float = 10.0
    fast_slot_timeout_s: float = 60.0
    slow_slot_timeout_s: float = 120.0
    update_global_average_s: float = 300.0
    breaker_threshold: int = 3
    breaker_open_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ClientPool:
    """``ojp.properties`` of the clients; sizes are for the whole cluster and are divided among the pods (reference 5).

    XA has no pool in 0.3.x, but ``xa_transactions`` slots; their wait is ``xa_start_timeout_s`` where segregation is off.
    """

    maximum_size: int = 20
    minimum_idle: int = 5
    connection_timeout_s: float = 10.0
    xa_transactions: int = 50
    xa_start_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Database:
    """Cores at which statements run without sharing, and the connections that may be open (inf: not stated)."""

    cores: float = inf
    max_connections: float = inf


@dataclass(frozen=True, slots=True)
class GarbageCollection:
    """Stop-the-world collections of one JVM: after each ``young_bytes`` allocated, every handler stands still while one
    core works for ``pause_s`` (longer in the end, where the CPU's quota runs out).

    The work of one core is the serial collector's, which the JVM takes below 2 cores (reference 7.1, GENERAL).
    """

    young_bytes: float
    pause_s: float


def collections_of(heap_bytes: float, constants: Constants) -> GarbageCollection:
    """Collections of a heap whose young generation is the JVM's default part (NewRatio), with the table's pause."""
    return GarbageCollection(heap_bytes / (1.0 + constants.heap_new_ratio), constants.collection_pause_s)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A sized OJP cluster. ``limit_cores`` is the CPU limit of one pod, ``memory_limit_bytes`` its memory limit.

    Where the memory limit is inf and ``garbage_collection`` None (the defaults), memory isn't simulated. ``warm_pools``: the
    pools of a pod that comes back are built, by one connection each, before clients can reach it (docs/restarts.md); OJP
    itself does nothing of the kind.
    """

    replicas: int
    limit_cores: float
    pool: ClientPool = field(default_factory=ClientPool)
    server: ServerSettings = field(default_factory=ServerSettings)
    database: Database = field(default_factory=Database)
    version: str = DEFAULT_VERSION
    constants: Constants = field(default_factory=default_constants)
    memory_limit_bytes: float = inf
    garbage_collection: GarbageCollection | None = None
    warm_pools: bool = False

    @property
    def pool_per_pod(self) -> int:
        """Connections of one pod while the clients believe every pod is up (reference 5, CODE+RUN)."""
        return share_of_pool(self.pool.maximum_size, self.replicas)

    @property
    def stays_undivided(self) -> bool:
        """Whether a pod's share of connections and of idle ones is the same while up to two pods are missing.

        Then no pool is resized, whatever clients believe, and none is emptied (reference 5).
        """
        sizes = (self.pool.maximum_size, self.pool.minimum_idle)
        return all(
            share_of_pool(size, self.replicas) == share_of_pool(size, max(1, self.replicas - 2)) for size in sizes
        )

    @property
    def slots_per_pod(self) -> tuple[int, int]:
        """Fast and slow slots of one pod (reference 2, CODE+RUN)."""
        return split_slots(self.pool_per_pod, self.server.slow_slot_percentage)


def share_of_pool(size: int, pods: int) -> int:
    """Divide a pool as OJP does: ``ceil(size / pods)`` on each pod (reference 5, CODE+RUN)."""
    return -(-size // pods)


def split_slots(total: int, slow_percentage: int) -> tuple[int, int]:
    """``(fast, slow)``: the slow lane gets ``max(1, floor(total * pct / 100))`` (reference 2, CODE+RUN)."""
    slow = max(1, total * slow_percentage // 100)
    return total - slow, slow


def describe(deployment: Deployment) -> str:
    """A deployment in a few words."""
    lanes = (
        f"{deployment.server.slow_slot_percentage} % slow slots" if deployment.server.segregation else "no segregation"
    )
    return (
        f"{deployment.replicas} pods x {deployment.limit_cores:g} cores, pool {deployment.pool.maximum_size}, {lanes}, "
        f"{deployment.server.thread_pool_size} threads"
    )
