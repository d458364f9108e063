"""Small worlds for the tests: hand-made traces, deployments in which only the rule under test takes time, and runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ojp_sizing.behaviour.world import World
from ojp_sizing.demand.trace import Trace
from ojp_sizing.demand.workload import Patience
from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.deployment.disruption import Disruption, PodLoss
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.simulation.simpy_clock import SimpyClock

#: A health phase with which nobody asks before second 4.95.
LATE = 0.99


@dataclass(frozen=True, slots=True)
class Statement:
    """One execution. ``writes``: executeUpdate, else executeQuery."""

    database_s: float = 0.0
    think_s: float = 0.0
    text: int = 0
    writes: bool = False
    fails: bool = False
    rows: int = 0
    keeps: bool = False
    called: bool = False
    fetches: int = 0


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of work that is due at ``at_s``."""

    at_s: float
    statements: tuple[Statement, ...]
    transaction: bool = False
    jvm: int = 0
    calls: int = 0
    xa: bool = False
    gap_s: float = 0.0


def select(database_s: float = 0.0, think_s: float = 0.0, text: int = 0, *, fails: bool = False) -> Statement:
    return Statement(database_s, think_s, text, fails=fails)


def update(database_s: float = 0.0, think_s: float = 0.0, text: int = 0, *, fails: bool = False) -> Statement:
    return Statement(database_s, think_s, text, writes=True, fails=fails)


def trace_of(
    *units: Unit,
    duration_s: float = 1000.0,
    jvms: int = 1,
    threads: int = 50,
    typical_ms: Sequence[float] = (20.0,),
    one_way_s: float = 0.0,
    health_phase: float = LATE,
    pools: int = 1,
    closed: bool = False,
    patience: Patience | None = None,
) -> Trace:
    """A trace with constant times; units in order of arrival."""
    statements = [statement for unit in units for statement in unit.statements]
    count = np.array([len(unit.statements) for unit in units], np.int32)

    def whole(values: Sequence[int | bool]) -> np.ndarray:
        return np.array(values, np.int32)

    return Trace(
        duration_s=duration_s,
        rate=1.0,
        jvms=jvms,
        threads=threads,
        arrival_s=np.array([unit.at_s for unit in units]),
        jvm=whole([unit.jvm for unit in units]),
        kind=np.zeros(len(units), np.int32),
        first=(np.cumsum(count) - count).astype(np.int32),
        count=count,
        transaction=whole([unit.transaction for unit in units]),
        slow=np.zeros(len(units), np.bool_),
        text=whole([s.text for s in statements]),
        writes=whole([s.writes for s in statements]),
        fails=whole([s.fails for s in statements]),
        rows=whole([s.rows for s in statements]),
        database_s=np.array([s.database_s for s in statements], np.float64),
        think_s=np.array([s.think_s for s in statements], np.float64),
        latencies_s=np.full(8, one_way_s),
        health_phase_s=np.full(jvms, health_phase),
        typical_ms=np.array(typical_ms, np.float64),
        typical_rows=np.zeros(len(typical_ms)),
        calls=whole([unit.calls for unit in units]),
        xa=whole([unit.xa for unit in units]),
        keeps=whole([s.keeps for s in statements]),
        called=whole([s.called for s in statements]),
        fetches=whole([s.fetches for s in statements]),
        gap_s=np.array([unit.gap_s for unit in units]),
        chances=np.full(8, 0.5),
        closed=closed,
        pools=pools,
        patience=patience or Patience(),
        has_xa=any(unit.xa for unit in units),
    )


def no_cost(connection_open_s: float = 1.0) -> Constants:
    """Constants with which an RPC takes no CPU and a commit no time, and a process begins slowly."""
    return replace(
        default_constants(),
        statement_cpu_s=0.0,
        small_rpc_cpu_s=0.0,
        connect_cpu_s=0.0,
        hand_over_cpu_s=0.0,
        wake_cpu_s=0.0,
        young_cpu_s=0.0,
        compile_cpu_s=0.0,
        warm_up_calls=0.0,
        row_block_cpu_s=0.0,
        commit_database_s=0.0,
        connection_open_s=connection_open_s,
        connection_open_cpu_s=0.0,
        connection_pause_s=0.0,
        pool_build_s=connection_open_s,
        pool_build_cpu_s=0.0,
        pod_start_s=8.0,
        error_leak_probability=0.0,
    )


def lost(pod: int, at_s: float, absent_s: float) -> PodLoss:
    """A pod that dies, and is back for its clients so much later."""
    return PodLoss(pod, at_s, absent_s, 0.0, 0.0)


def deployment_of(
    replicas: int = 1,
    pool: int = 20,
    *,
    idle: int = 0,
    server: ServerSettings | None = None,
    segregation: bool = False,
    version: str = "0.3.1-beta",
    connection_timeout_s: float = 10.0,
    connection_open_s: float = 1.0,
) -> Deployment:
    """A cluster that costs nothing but the waits of its rules."""
    return Deployment(
        replicas,
        4.0,
        ClientPool(pool, idle, connection_timeout_s),
        server or ServerSettings(segregation=segregation),
        Database(),
        version,
        no_cost(connection_open_s),
    )


def world_of(deployment: Deployment, trace: Trace | None = None, *, pod: int = 0, warm: bool = True) -> World:
    """A world of Python objects at rest, all of whose callers are about to be served by one pod."""
    clock = SimpyClock(trace or trace_of(Unit(0.0, (update(),))), deployment, warm=warm)
    clock.load()
    world = clock.world
    for caller in world.callers:
        caller.pod = pod
    return world


def take_posts(world: World) -> list[tuple[float, int, int]]:
    """The posts of the transitions so far: (time, kind, subject)."""
    state = world.state[0]
    posts = [(p.time, p.kind, p.subject) for p in world.posts[: state.posted]]
    state.posted = 0
    return posts


def run(
    trace: Trace,
    deployment: Deployment,
    disruption: Disruption = None,
    *,
    sample_every_s: float = 1.0,
    warm: bool = True,
) -> tuple[World, Outcomes]:
    """A run on SimPy's clock: the world at its end, and the outcomes."""
    clock = SimpyClock(trace, deployment, warm=warm)
    outcomes = clock.run(disruption, sample_every_s, recovery_s=1e6)
    return clock.world, outcomes
