"""What is deployed: pods, their limits and settings, the client's pool, and the database behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Annotated, Any

from ojp_sizing.behaviour.arithmetic import share_of_pool, split_slots
from ojp_sizing.bounds import TIME, Checked, Number, said
from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.versions import Traits, row_for, traits_of, versions
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import MOST_BYTES, MOST_CORES
from ojp_sizing.settings import JAVA_BOUNDS, settings
from ojp_sizing.showing import Shown

#: Servers whose behaviour the model follows; others of the same lines are taken for the newest of these before them.
SERVER_VERSIONS = tuple(versions())
DEFAULT_VERSION = "0.3.1-beta"
LANES = "ojp.server.slowQuerySegregation"
POOL = "ojp.connection.pool"


@dataclass(frozen=True, slots=True)
class Stated:
    """A field that is a setting of OJP: its key in ``data/ojp_settings.csv``, with the table's bounds.

    ``least`` and ``most`` are this tool's own instead: where OJP takes less, or a figure beyond is a slip of the pen.
    ``why`` is what OJP does beyond the bounds.
    """

    key: str
    least: int | None = None
    most: int | None = None
    why: str = ""

    def in_field(self, value: float) -> float:
        """A value of the setting in the field's own unit: times are s."""
        unit = settings()[self.key].unit
        return value / 1000.0 if unit == "ms" else float(value) if unit == "s" else value

    @property
    def number(self) -> Number:
        """The bounds in the field's own unit."""
        setting = settings()[self.key]
        low = setting.minimum if self.least is None else self.least
        high = setting.maximum if self.most is None else self.most
        low, high = (-inf if low is None else self.in_field(low)), (inf if high is None else self.in_field(high))
        is_time = setting.unit in ("ms", "s")
        return Number(low, high, "s" if is_time else setting.unit, whole=not is_time)

    def take(self, value: Any, place: str) -> Any:
        bound = _NUMBERS.get(self.key) or _NUMBERS.setdefault(self.key, self.number)
        try:
            return bound.take(value, place)
        except InputError as error:
            problem = f"{error.problem}: {self.why}" if self.why else error.problem
            raise InputError(place, problem, f"{error.fix} ({self.key}, {settings()[self.key].source})") from error


#: By key, as they are read from the table.
_NUMBERS: dict[str, Number] = {}
#: What OJP takes where it divides slots.
PERCENTAGE = Stated(f"{LANES}.slowSlotPercentage", why="the first connect fails, and the pool then runs without slots")


class _Version:
    """A server that is modelled."""

    def take(self, value: Any, place: str) -> str:
        row = row_for(value) if isinstance(value, str) else None
        if row is not None:
            return row
        raise InputError(place, f"no server {said(value)} is modelled", f"write one of {', '.join(SERVER_VERSIONS)}")


@dataclass(frozen=True, slots=True)
class ServerSettings(Checked):
    """The server's settings that have an effect on capacity; defaults of reference section 9 (CODE).

    Without segregation nothing reads ``slow_slot_percentage``, and it may be any number (a rule warns).
    """

    thread_pool_size: Annotated[int, Stated("ojp.server.threadPoolSize", most=10_000)] = 200
    segregation: bool = True
    slow_slot_percentage: Annotated[int, Number(*JAVA_BOUNDS["int"], whole=True)] = 20
    idle_timeout_s: Annotated[float, Stated(f"{LANES}.idleTimeout")] = 10.0
    fast_slot_timeout_s: Annotated[float, Stated(f"{LANES}.fastSlotTimeout")] = 60.0
    slow_slot_timeout_s: Annotated[float, Stated(f"{LANES}.slowSlotTimeout")] = 120.0
    update_global_average_s: Annotated[float, Stated(f"{LANES}.updateGlobalAvgInterval")] = 300.0
    breaker_threshold: Annotated[int, Number(*JAVA_BOUNDS["int"], whole=True)] = 3
    breaker_open_s: Annotated[float, Stated("ojp.server.circuitBreakerTimeout")] = 60.0

    def agree(self) -> None:
        if self.segregation:
            PERCENTAGE.take(self.slow_slot_percentage, "ServerSettings.slow_slot_percentage")


@dataclass(frozen=True, slots=True)
class ClientPool(Checked):
    """``ojp.properties`` of the clients; sizes are for the whole cluster and are divided among the pods (reference 5).

    XA has no pool in 0.3.x, but ``xa_transactions`` slots; their wait is ``xa_start_timeout_s`` where segregation is off.
    """

    maximum_size: Annotated[int, Stated(f"{POOL}.maximumPoolSize", most=100_000)] = 20
    minimum_idle: Annotated[int, Stated(f"{POOL}.minimumIdle", most=100_000)] = 5
    connection_timeout_s: Annotated[float, Stated(f"{POOL}.connectionTimeout", least=0)] = 10.0
    xa_transactions: Annotated[int, Stated("ojp.xa.maxTransactions", least=1, most=100_000)] = 50
    xa_start_timeout_s: Annotated[float, Stated("ojp.xa.startTimeoutMillis", least=0)] = 60.0


@dataclass(frozen=True, slots=True)
class Database(Checked):
    """Cores at which statements run without sharing, and the connections that may be open (inf: not stated)."""

    cores: Annotated[float, Number(0.0, MOST_CORES, "cores", above=True, infinite=True)] = inf
    max_connections: Annotated[float, Number(0, 1_000_000, "connections", infinite=True)] = inf


@dataclass(frozen=True, slots=True)
class GarbageCollection(Checked):
    """Stop-the-world collections of one JVM: after each ``young_bytes`` allocated, every handler stands still while one
    core works for ``pause_s`` (longer in the end, where the CPU's quota runs out).

    The work of one core is the serial collector's, which the JVM takes below 2 cores (reference 7.1, GENERAL).
    """

    young_bytes: Annotated[float, Number(0.0, MOST_BYTES, "bytes", above=True)]
    pause_s: Annotated[float, TIME]


def collections_of(heap_bytes: float, constants: Constants) -> GarbageCollection:
    """Collections of a heap whose young generation is the JVM's default part (NewRatio), with the table's pause."""
    return GarbageCollection(heap_bytes / (1.0 + constants.heap_new_ratio), constants.collection_pause_s)


@dataclass(frozen=True, slots=True)
class Deployment(Checked, Shown):
    """A sized OJP cluster. ``limit_cores`` is the CPU limit of one pod, ``memory_limit_bytes`` its memory limit.

    Where the memory limit is inf and ``garbage_collection`` None (the defaults), memory isn't simulated. ``warm_pools``: the
    pools of a pod that comes back are built, by one connection each, before clients can reach it (docs/restarts.md); OJP
    itself does nothing of the kind.
    """

    replicas: Annotated[int, Stated("replicaCount", most=1000)]
    limit_cores: Annotated[float, Number(0.0, MOST_CORES, "cores", above=True)]
    pool: ClientPool = field(default_factory=ClientPool)
    server: ServerSettings = field(default_factory=ServerSettings)
    database: Database = field(default_factory=Database)
    version: Annotated[str, _Version()] = DEFAULT_VERSION
    constants: Constants = field(default_factory=default_constants)
    memory_limit_bytes: Annotated[float, Number(0.0, MOST_BYTES, "bytes", above=True, infinite=True)] = inf
    garbage_collection: GarbageCollection | None = None
    warm_pools: bool = False
    switched: Traits | None = None
    """Traits instead of the version's: those of no release, to see what one of them does."""

    @property
    def traits(self) -> Traits:
        """How its servers and drivers act."""
        return traits_of(self.version) if self.switched is None else self.switched

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


def describe(deployment: Deployment) -> str:
    """A deployment in a few words."""
    lanes = (
        f"{deployment.server.slow_slot_percentage} % slow slots" if deployment.server.segregation else "no segregation"
    )
    return (
        f"{deployment.replicas} pods x {deployment.limit_cores:g} cores, pool {deployment.pool.maximum_size}, {lanes}, "
        f"{deployment.server.thread_pool_size} threads"
    )
