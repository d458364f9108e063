"""Which transition answers which kind of event, and which act of the control plane."""

from __future__ import annotations

from ojp_sizing.behaviour.connect import code_loaded, pool_built, xa_opened
from ojp_sizing.behaviour.database import database_fills, database_slows
from ojp_sizing.behaviour.driver import (
    attempt_due,
    health_tick,
    patience_ends,
    rpc_returns,
    thought,
    unit_arrives,
    unit_begins,
)
from ojp_sizing.behaviour.executor import rpc_reaches_pod, settle_pod
from ojp_sizing.behaviour.kinds import Action, EventKind
from ojp_sizing.behaviour.lifecycle import memory_passed, pod_dies, pod_listens, pod_stops, pod_vanishes
from ojp_sizing.behaviour.pod import cpu_timer
from ojp_sizing.behaviour.pool import adder_due
from ojp_sizing.behaviour.sharing import settle_station
from ojp_sizing.behaviour.slots import slot_handed
from ojp_sizing.behaviour.statement import (
    connection_granted,
    connection_timer,
    database_timer,
    slot_granted,
    slot_timer,
)
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World


@transition
def happen(w: World, kind: EventKind, subject: int) -> None:
    """Let one event happen, at the instant that the clock has set."""
    if kind == EventKind.RPC_REACHES_POD:
        rpc_reaches_pod(w, subject)
    elif kind == EventKind.RPC_RETURNS:
        rpc_returns(w, subject)
    elif kind == EventKind.CPU_TIMER:
        cpu_timer(w, subject)
    elif kind == EventKind.DATABASE_TIMER:
        database_timer(w)
    elif kind == EventKind.UNIT_ARRIVES:
        unit_arrives(w)
    elif kind == EventKind.UNIT_BEGINS:
        unit_begins(w, subject)
    elif kind == EventKind.THOUGHT:
        thought(w, subject)
    elif kind == EventKind.SLOT_GRANTED:
        slot_granted(w, subject)
    elif kind == EventKind.SLOT_TIMER:
        slot_timer(w, subject)
    elif kind == EventKind.CONNECTION_GRANTED:
        connection_granted(w, subject)
    elif kind == EventKind.CONNECTION_TIMER:
        connection_timer(w, subject)
    elif kind == EventKind.ADDER_DUE:
        settle_pod(w, w.pools[subject].pod)
        adder_due(w, subject)
    elif kind == EventKind.CODE_LOADED:
        code_loaded(w, subject)
    elif kind == EventKind.POOL_BUILT:
        pool_built(w, subject)
    elif kind == EventKind.HEALTH_TICK:
        health_tick(w, subject)
    elif kind == EventKind.ATTEMPT_DUE:
        attempt_due(w, subject)
    elif kind == EventKind.PATIENCE_ENDS:
        patience_ends(w, subject)
    elif kind == EventKind.SLOT_HANDED:
        settle_pod(w, w.pools[subject // 2].pod)
        slot_handed(w, subject)
    elif kind == EventKind.XA_OPENED:
        xa_opened(w, subject)
    elif kind == EventKind.MEMORY_PASSED:
        memory_passed(w, subject)


@transition
def settle_all(w: World) -> None:
    """Bring every integral to the present."""
    for pod in range(len(w.pods)):
        settle_pod(w, pod)
    for index in range(len(w.stations)):
        settle_station(w, w.stations[index])


@transition
def act(w: World, action: Action, subject: float) -> None:
    """Let the control plane act, at the instant that the clock has set: on a pod, or by a factor."""
    if action == Action.STOP:
        pod_stops(w, int(subject))
    elif action == Action.KILL:
        pod_dies(w, int(subject))
    elif action == Action.VANISH:
        pod_vanishes(w, int(subject))
    elif action == Action.LISTEN:
        pod_listens(w, int(subject))
    elif action == Action.SLOW_DATABASE:
        database_slows(w, subject)
    elif action == Action.FILL_DATABASE:
        database_fills(w, int(subject))
    else:
        settle_all(w)
