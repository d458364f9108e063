"""A pod's Hikari pool: its size by the clients' word, its single adder with its tasks, its waiters (reference section 5).

A pod has one pool for each kind of client (connHash: URL order, credentials, datasource name, JDBC parameters), each of full
size; functions that take ``index`` mean ``w.pools[index]``.
"""

from __future__ import annotations

from math import inf

from ojp_sizing.behaviour.arithmetic import share_of_pool
from ojp_sizing.behaviour.heap import connections_come
from ojp_sizing.behaviour.kinds import EventKind, Place, Trap
from ojp_sizing.behaviour.queues import dequeue, wait
from ojp_sizing.behaviour.records import ADDER, Pool
from ojp_sizing.behaviour.sharing import join
from ojp_sizing.behaviour.slots import cut_slots, has_slots
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, note, post

#: What a pool's adder does while it is busy.
OPENS, RESTS, BACKS_OFF = 1, 2, 3
#: ``opening_due`` while an opening is on the pod's CPU: nobody knows when that ends.
COMPUTES = -1.0
#: Pause of Hikari's adder after a connection that the database refused: doubled from the first to the last (GENERAL).
FIRST_BACK_OFF_S, LAST_BACK_OFF_S = 0.01, 5.0


@transition
def count_connections(w: World, pod: int, change: int) -> None:
    """Connections of this pod come to the database, from when they begin to open, or go."""
    if change > 0:
        connections_come(w, pod, change)
    s = w.settings[0]
    state = w.state[0]
    kinds = s.sources - 1 if s.xa_source >= 0 else s.sources
    shared_out = s.replicas * kinds * share_of_pool(s.pool_size, s.replicas)
    if state.connections <= shared_out < state.connections + change:
        note(w, Trap.CONNECTIONS_OVERSHOOT)
    state.connections += change
    state.connections_peak = max(state.connections_peak, state.connections)


@transition
def _count_open(w: World, pool: Pool, change: int) -> None:
    pool.open += change
    count_connections(w, pool.pod, change)


@transition
def database_refuses(w: World, more: int) -> bool:
    """Whether ``more`` connections than are counted, those that are being opened among them, would be too many."""
    state = w.state[0]
    return state.database_full == 1 or state.connections + more > w.settings[0].connection_limit


@transition
def _ask_adder(w: World, index: int) -> None:
    """Give the pool's adder a task, to add one connection (Hikari 6.2, GENERAL).

    There is one adder; while it is busy so many tasks as the pool was built for can stand behind, and others are dropped.
    """
    pool = w.pools[index]
    if pool.opening_due == inf:
        _open_if_wanted(w, index)
    elif pool.tasks < share_of_pool(w.settings[0].pool_size, w.settings[0].replicas):
        pool.tasks += 1


@transition
def _open_if_wanted(w: World, index: int) -> bool:
    """The adder begins its task. One that isn't wanted any more, or can't be done, ends at once."""
    pool = w.pools[index]
    if pool.open >= pool.maximum or (pool.idle >= pool.minimum and pool.waiting <= pool.idle):
        return False
    _count_open(w, pool, 1)
    pool.adder = OPENS
    if w.settings[0].connection_open_cpu_s > 0.0:
        pool.opening_due = COMPUTES
        join(w, pool.pod, EventKind.CPU_TIMER, ADDER, index, w.settings[0].connection_open_cpu_s)
    else:
        _adder_is_busy_for(w, index, w.settings[0].connection_open_s)
    return True


@transition
def connection_computed(w: World, index: int) -> None:
    """The pod's CPU has done its part of an opening (the proof of the password); the database's part is left."""
    s = w.settings[0]
    _adder_is_busy_for(w, index, max(0.0, s.connection_open_s - s.connection_open_cpu_s))


@transition
def _adder_is_busy_for(w: World, index: int, for_s: float) -> None:
    w.pools[index].opening_due = w.state[0].now + for_s
    post(w, w.pools[index].opening_due, EventKind.ADDER_DUE, index)


@transition
def _fill_pool(w: World, index: int) -> None:
    """A connection was closed: a task for each that is missing to the least idle number (Hikari 6.2, GENERAL)."""
    pool = w.pools[index]
    if pool.open < pool.maximum:
        for _ in range(pool.minimum - pool.idle):
            _ask_adder(w, index)


@transition
def build_pool(w: World, index: int) -> None:
    """The first ``connect`` after a start builds the pool for N endpoints, whatever is up (reference 5, CODE+RUN).

    Where a view that came before is remembered, it is built for as many as that believed up, and its slots with it.
    """
    s = w.settings[0]
    pool = w.pools[index]
    sharers = pool.healthy if s.remembers_view == 1 else s.replicas
    pool.created = 1
    pool.maximum = share_of_pool(s.pool_size, sharers)
    pool.minimum = min(pool.maximum, share_of_pool(s.pool_idle, sharers))
    pool.idle = 1
    if s.remembers_view == 1 and has_slots(w):
        cut_slots(w, index, pool.maximum, 0)
    _count_open(w, pool, 1)
    _fill_pool(w, index)


@transition
def orphan_pool(w: World, index: int) -> None:
    """A ``connect`` that began before the first one had built the pool builds another; nobody ever closes it.

    There is no lock around check and creation (reference 1.1, CODE). Its connections stay idle at the database until the
    pod stops (MEASURED: 40 first connects at once, minimumIdle 5, left 40 pools and 200 connections).
    """
    pool = w.pools[index]
    idle = max(1, pool.minimum)
    pool.orphaned += idle
    note(w, Trap.POOL_ORPHANED)
    count_connections(w, pool.pod, idle)


@transition
def learn_view(w: World, caller: int) -> None:
    """Compare the health string that the RPC carries with the last one; resize where it differs (reference 5, CODE).

    A string that comes before the pool exists is remembered and not applied. XA has no pool to resize (0.3.1, CODE).
    """
    c = w.callers[caller]
    pool = w.pools[c.pool]
    if pool.belief_known == 1 and pool.belief == c.belief:
        return
    pool.belief_known = 1
    pool.belief = c.belief
    pool.healthy = max(1, min(w.settings[0].replicas, c.belief_up))
    if pool.created == 1 and c.xa == 0:
        resize_pool(w, c.pool, c.belief_up)


@transition
def resize_pool(w: World, index: int, healthy: int) -> None:
    """Divide the pool among the pods believed healthy.

    Where the maximum or the least idle number falls, all idle connections are evicted now and busy ones on return; a
    growth opens none by itself, the next borrow does (OJP's ConnectionPoolConfigurer, CODE; Hikari, GENERAL).
    """
    s = w.settings[0]
    pool = w.pools[index]
    sharers = max(1, min(s.replicas, healthy))
    maximum = share_of_pool(s.pool_size, sharers)
    minimum = min(maximum, share_of_pool(s.pool_idle, sharers))
    if maximum != pool.maximum:
        if w.state[0].now - pool.resized_s < s.health_interval_s:
            note(w, Trap.POOL_FLAPS)
        pool.resized_s = w.state[0].now
        if maximum == 1:
            note(w, Trap.POOL_OF_ONE)
        if s.slots_follow_pool == 1:
            cut_slots(w, index, maximum, 1)
        elif has_slots(w) and maximum > w.lanes[2 * index].total + w.lanes[2 * index + 1].total:
            note(w, Trap.SLOTS_BELOW_POOL)
    shrinks = maximum < pool.maximum or minimum < pool.minimum
    pool.maximum = maximum
    pool.minimum = minimum
    if shrinks:
        note(w, Trap.POOL_EMPTIED)
        pool.generation += 1
        closed = pool.idle
        _count_open(w, pool, -closed)
        pool.idle = 0
        for _ in range(closed):
            _fill_pool(w, index)


@transition
def borrow_connection(w: World, caller: int) -> bool:
    """Ask the caller's pool for a connection. False: the caller now waits for it."""
    c = w.callers[caller]
    pool = w.pools[c.pool]
    if pool.idle > 0:
        pool.idle -= 1
        pool.in_use += 1
        c.generation = pool.generation
        c.holds = 1
        return True
    c.place = Place.WAITS_FOR_CONNECTION
    wait(w, pool, caller, w.settings[0].borrow_timeout_s, EventKind.CONNECTION_TIMER, c.pool)
    if pool.waiting > pool.tasks:
        _ask_adder(w, c.pool)
    return False


@transition
def has_run_out(w: World, index: int) -> bool:
    """From 0.4.15 on nobody waits for a connection where all are open and in use (CODE)."""
    pool = w.pools[index]
    used_up = pool.idle == 0 and pool.open >= pool.maximum and pool.in_use > 0
    return w.settings[0].fail_fast == 1 and used_up


@transition
def _hand_over(w: World, index: int) -> None:
    """A connection is free: the longest waiter gets it, or it is idle."""
    pool = w.pools[index]
    if pool.waiting > 0:
        heir = dequeue(w.callers, pool)
        pool.in_use += 1
        w.callers[heir].place = Place.HAS_CONNECTION
        w.callers[heir].holds = 1
        w.callers[heir].generation = pool.generation
        post(w, w.state[0].now, EventKind.CONNECTION_GRANTED, heir)
    else:
        pool.idle += 1


@transition
def return_connection(w: World, caller: int) -> None:
    """Give the caller's connection back; one that was evicted meanwhile, or is over the maximum, is closed.

    An XA session's connection is none of the pool's: it is closed (0.3.1, CODE).
    """
    c = w.callers[caller]
    pool = w.pools[c.pool]
    c.holds = 0
    if c.xa == 1:
        pool.direct -= 1
        count_connections(w, pool.pod, -1)
        return
    pool.in_use -= 1
    if c.generation < pool.generation or pool.open > pool.maximum:
        _count_open(w, pool, -1)
        _fill_pool(w, c.pool)
    else:
        _hand_over(w, c.pool)


@transition
def leak_connection(w: World, caller: int) -> None:
    """A failed statement's connection that nobody can give back any more (reference 1.6, CODE; MEASURED for both)."""
    c = w.callers[caller]
    c.holds = 0
    w.pools[c.pool].leaked += 1
    note(w, Trap.CONNECTION_LEAKED)


@transition
def adder_due(w: World, index: int) -> None:
    """The adder has a new connection or was refused one, or its rest is over, unless the pool died meanwhile.

    A task ends with the rest after its connection. One that was refused tries again after its rest, as long as it is wanted.
    """
    pool = w.pools[index]
    if w.state[0].now != pool.opening_due:
        return
    pool.opening_due = inf
    if pool.adder == OPENS:
        pool.adder = RESTS
        if database_refuses(w, 0):
            _count_open(w, pool, -1)
            pool.adder = BACKS_OFF
            pool.back_off_s = min(LAST_BACK_OFF_S, max(FIRST_BACK_OFF_S, 2.0 * pool.back_off_s))
            _adder_is_busy_for(w, index, pool.back_off_s)
            return
        pool.back_off_s = 0.0
        if pool.open > pool.maximum:
            _count_open(w, pool, -1)
        else:
            _hand_over(w, index)
        if w.settings[0].connection_pause_s > 0.0:
            _adder_is_busy_for(w, index, w.settings[0].connection_pause_s)
            return
    elif pool.adder == BACKS_OFF and _open_if_wanted(w, index):
        return
    pool.back_off_s = 0.0
    while pool.tasks > 0:
        pool.tasks -= 1
        if _open_if_wanted(w, index):
            return


@transition
def disconnect_pool(w: World, index: int, noticed: bool) -> None:
    """Its process ends. Where its sockets closed (``noticed``), the database ends the sessions behind them."""
    pool = w.pools[index]
    connections = pool.open + pool.direct + pool.orphaned
    if noticed:
        count_connections(w, pool.pod, -connections)
    else:
        w.state[0].unnoticed += connections
