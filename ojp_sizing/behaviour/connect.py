"""``connect``: the first one after a start builds the pod's pool, on its thread; XA's opens a connection (reference 1.1, 5)."""

from __future__ import annotations

from ojp_sizing.behaviour.executor import finish, open_session, settle_pod
from ojp_sizing.behaviour.kinds import Ending, EventKind, Place
from ojp_sizing.behaviour.pool import build_pool, count_connections, database_refuses, orphan_pool
from ojp_sizing.behaviour.queues import dequeue, enqueue
from ojp_sizing.behaviour.sharing import join
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, post

#: ``responding`` of a connect that builds a pool, while it is on the CPU for that.
BUILDS_POOL = 2
#: A pool that can't get its first connection gives up after this, and the connect with it (Hikari's fail-fast time in
#: OJP's settings, reference 1.1, CODE); it tries once a second (GENERAL).
POOL_GIVES_UP_S, POOL_TRIES_S = 10.0, 1.0


@transition
def connect(w: World, caller: int) -> None:
    """A client connects: nothing is left to do where the pool is there."""
    c = w.callers[caller]
    pool = w.pools[c.pool]
    if c.xa == 1:
        # XA has no pool in 0.3.1: each connect opens a database connection, on its thread (CODE).
        pool.created = 1
        pool.direct += 1
        count_connections(w, c.pod, 1)
        _build(w, caller, w.settings[0].connection_open_s, EventKind.XA_OPENED)
    elif pool.created == 1:
        finish(w, caller, Ending.OK)
    elif w.settings[0].pool_build_locked == 1 and pool.building == 1:
        c.place = Place.WAITS_FOR_CONNECTION
        enqueue(w, w.callers, pool, caller)
    else:
        pool.building = 1
        # Nobody looks again: whoever comes before the first one has built it builds another (reference 1.1).
        c.give_up_s = w.state[0].now + POOL_GIVES_UP_S
        p = w.pods[c.pod]
        p.loaded_s = min(p.loaded_s, w.state[0].now + w.settings[0].pool_build_s)
        _build(w, caller, max(0.0, p.loaded_s - w.state[0].now), EventKind.CODE_LOADED)


@transition
def _build(w: World, caller: int, for_s: float, kind: EventKind) -> None:
    """The handler's thread is busy with the database for so long; an event of this kind ends it."""
    c = w.callers[caller]
    c.place = Place.BUILDING
    c.token += 1
    c.deadline_s = w.state[0].now + for_s
    post(w, c.deadline_s, kind, caller)


@transition
def _is_building(w: World, caller: int) -> bool:
    """Whether the event that ends a ``_build`` is still the caller's (its pod may have died)."""
    c = w.callers[caller]
    return c.place == Place.BUILDING and c.deadline_s == w.state[0].now


@transition
def code_loaded(w: World, caller: int) -> None:
    """A new process knows by now how to build a pool; each thread that builds one uses CPU for it (data/validation)."""
    if not _is_building(w, caller):
        return
    c = w.callers[caller]
    settle_pod(w, c.pod)
    c.place = Place.ON_CPU
    c.responding = BUILDS_POOL
    join(w, c.pod, EventKind.CPU_TIMER, caller, 0, w.settings[0].pool_build_cpu_s)


@transition
def pool_built(w: World, caller: int) -> None:
    """A database that refused the pool's first connection is asked again."""
    if not _is_building(w, caller):
        return
    settle_pod(w, w.callers[caller].pod)
    pool_stands(w, caller)


@transition
def pool_stands(w: World, caller: int) -> None:
    """The thread of a ``connect`` has built the pool; of several at once the first one counts.

    A database that refuses makes the connect fail after 10 s, which its client takes for a failed pod (reference 6, CODE).
    """
    c = w.callers[caller]
    refused = database_refuses(w, 1)
    if refused and w.state[0].now < c.give_up_s:
        _build(w, caller, min(POOL_TRIES_S, c.give_up_s - w.state[0].now), EventKind.POOL_BUILT)
        return
    if not refused and w.pools[c.pool].created == 0:
        if w.settings[0].pool_build_locked == 1:
            _unlock(w, c.pool)
        build_pool(w, c.pool)
    elif not refused:
        orphan_pool(w, c.pool)
    elif w.settings[0].pool_build_locked == 1:
        _pass_lock_on(w, c.pool)
    finish(w, caller, Ending.DATABASE_FULL if refused else Ending.OK)


@transition
def _unlock(w: World, index: int) -> None:
    """The pool stands: those that waited behind its lock find it (from 0.4.1 on, CODE)."""
    pool = w.pools[index]
    pool.building = 0
    while pool.waiting > 0:
        finish(w, dequeue(w.callers, pool), Ending.OK)


@transition
def _pass_lock_on(w: World, index: int) -> None:
    """No pool could be built: the next one behind the lock tries."""
    pool = w.pools[index]
    pool.building = 0
    if pool.waiting > 0:
        heir = dequeue(w.callers, pool)
        pool.building = 1
        w.callers[heir].give_up_s = w.state[0].now + POOL_GIVES_UP_S
        _build(w, heir, 0.0, EventKind.POOL_BUILT)


@transition
def xa_opened(w: World, caller: int) -> None:
    """An XA connect has its database connection, and with it its session; or the database refused."""
    if not _is_building(w, caller):
        return
    c = w.callers[caller]
    settle_pod(w, c.pod)
    if database_refuses(w, 0):
        w.pools[c.pool].direct -= 1
        count_connections(w, c.pod, -1)
        finish(w, caller, Ending.DATABASE_FULL)
        return
    c.holds = 1
    open_session(w, caller)
    finish(w, caller, Ending.OK)
