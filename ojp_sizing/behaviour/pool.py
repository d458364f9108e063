"""A pod's Hikari pool: its size by the clients' word, its single adder, its waiters (reference section 5)."""

from __future__ import annotations

from math import inf
from typing import Any

from ojp_sizing.behaviour.heap import connection_comes
from ojp_sizing.behaviour.queues import dequeue, wait
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import (
    CONNECTION_GRANTED,
    CONNECTION_OPENED,
    CONNECTION_TIMER,
    HAS_CONNECTION,
    WAITS_FOR_CONNECTION,
    World,
    post,
)


@transition
def _count_open(w: World, pool: Any, change: int) -> None:
    pool.open += change
    state = w.state[0]
    state.connections += change
    state.connections_peak = max(state.connections_peak, state.connections)


@transition
def add_if_wanted(w: World, pod: int) -> None:
    """Start opening a connection, while somebody waits or too few are idle (Hikari, GENERAL).

    One adder opens them one at a time, and sleeps after each.
    """
    pool = w.pools[pod]
    wanted = pool.waiting > 0 or pool.idle < pool.minimum
    if pool.opening_due == inf and pool.open < pool.maximum and wanted:
        _count_open(w, pool, 1)
        connection_comes(w, pod)
        pool.opening_due = max(w.state[0].now, pool.rests_until) + w.settings[0].connection_open_s
        post(w, pool.opening_due, CONNECTION_OPENED, pod)


@transition
def build_pool(w: World, pod: int) -> None:
    """The first ``connect`` after a start builds the pool for N endpoints, whatever is up (reference 5, CODE+RUN)."""
    s = w.settings[0]
    pool = w.pools[pod]
    pool.created = 1
    pool.maximum = -(-s.pool_size // s.replicas)
    pool.minimum = min(pool.maximum, -(-s.pool_idle // s.replicas))
    _count_open(w, pool, 1)
    connection_comes(w, pod)
    pool.idle = 1
    add_if_wanted(w, pod)


@transition
def learn_view(w: World, caller: int) -> None:
    """Compare the health string that the RPC carries with the last one; resize where it differs (reference 5, CODE).

    A string that comes before the pool exists is remembered and not applied.
    """
    c = w.callers[caller]
    pool = w.pools[c.pod]
    if pool.belief_known == 1 and pool.belief == c.belief:
        return
    pool.belief_known = 1
    pool.belief = c.belief
    if pool.created == 1:
        resize_pool(w, c.pod, c.belief_up)


@transition
def resize_pool(w: World, pod: int, healthy: int) -> None:
    """Divide the pool among the pods believed healthy.

    Where the maximum or the least idle number falls, all idle connections are evicted now and busy ones on return; a
    growth opens none by itself, the next borrow does (OJP's ConnectionPoolConfigurer, CODE; Hikari, GENERAL).
    """
    s = w.settings[0]
    pool = w.pools[pod]
    sharers = max(1, min(s.replicas, healthy))
    maximum = -(-s.pool_size // sharers)
    minimum = min(maximum, -(-s.pool_idle // sharers))
    shrinks = maximum < pool.maximum or minimum < pool.minimum
    pool.maximum = maximum
    pool.minimum = minimum
    if shrinks:
        pool.generation += 1
        _count_open(w, pool, -pool.idle)
        pool.idle = 0
        add_if_wanted(w, pod)


@transition
def borrow_connection(w: World, caller: int) -> bool:
    """Ask the caller's pod for a connection. False: the caller now waits for it."""
    c = w.callers[caller]
    pool = w.pools[c.pod]
    if pool.idle > 0:
        pool.idle -= 1
        pool.in_use += 1
        c.generation = pool.generation
        c.holds = 1
        return True
    c.place = WAITS_FOR_CONNECTION
    wait(w, pool, caller, w.settings[0].connection_timeout_s, CONNECTION_TIMER, c.pod)
    add_if_wanted(w, c.pod)
    return False


@transition
def _hand_over(w: World, pod: int) -> None:
    """A connection is free: the longest waiter gets it, or it is idle."""
    pool = w.pools[pod]
    if pool.waiting > 0:
        heir = dequeue(w.callers, pool)
        pool.in_use += 1
        w.callers[heir].place = HAS_CONNECTION
        w.callers[heir].holds = 1
        w.callers[heir].generation = pool.generation
        post(w, w.state[0].now, CONNECTION_GRANTED, heir)
    else:
        pool.idle += 1


@transition
def return_connection(w: World, caller: int) -> None:
    """Give the caller's connection back; one that was evicted meanwhile, or is over the maximum, is closed."""
    c = w.callers[caller]
    pool = w.pools[c.pod]
    c.holds = 0
    pool.in_use -= 1
    if c.generation < pool.generation or pool.open > pool.maximum:
        _count_open(w, pool, -1)
        add_if_wanted(w, c.pod)
    else:
        _hand_over(w, c.pod)


@transition
def connection_opened(w: World, pod: int) -> None:
    """The adder has a new connection, unless the pool died meanwhile."""
    pool = w.pools[pod]
    if w.state[0].now != pool.opening_due:
        return
    pool.opening_due = inf
    pool.rests_until = w.state[0].now + w.settings[0].connection_pause_s
    if pool.open > pool.maximum:
        _count_open(w, pool, -1)
    else:
        _hand_over(w, pod)
    add_if_wanted(w, pod)


@transition
def drop_pool(w: World, pod: int) -> None:
    """The process died: its sockets close, and the database ends the sessions behind them."""
    pool = w.pools[pod]
    _count_open(w, pool, -pool.open)
    pool.created = 0
    pool.in_use = 0
    pool.idle = 0
    pool.waiting = 0
    pool.maximum = 0
    pool.minimum = 0
    pool.generation = 0
    pool.opening_due = inf
    pool.rests_until = 0.0
    pool.timer_due = inf
    pool.belief_known = 0
