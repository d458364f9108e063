"""One OJP server: the executor, and what a handler does from its first instruction to its reply (reference 1.2, 1.5).

Every RPC, health checks included, takes one of the executor's threads and keeps it to the end; behind the threads is
one unbounded FIFO queue. A waiting handler holds what it has: its thread, then also its slot, then also its connection.
"""

from __future__ import annotations

from math import inf

from ojp_sizing.behaviour.breaker import breaker_fails, breaker_is_open, breaker_succeeds
from ojp_sizing.behaviour.channel import goes_through, is_refused
from ojp_sizing.behaviour.classifier import is_slow, record_time, wall_clock_ms
from ojp_sizing.behaviour.heap import request_comes, result_comes, result_goes
from ojp_sizing.behaviour.kinds import Ending, EventKind, News, Place, PodState, Rpc, Side, Trap
from ojp_sizing.behaviour.pool import (
    borrow_connection,
    build_pool,
    connection_computed,
    count_connections,
    database_refuses,
    disconnect_pool,
    has_run_out,
    leak_connection,
    learn_view,
    orphan_pool,
    return_connection,
)
from ojp_sizing.behaviour.queues import dequeue, enqueue, take_overdue, wait_timer_fired
from ojp_sizing.behaviour.record import Reset, renewing
from ojp_sizing.behaviour.records import ADDER, COMPILER, NOBODY, Breaker, Caller, Lane, Memory, Pod, Pool, Station
from ojp_sizing.behaviour.sharing import join, settle_station, take_finished, timer_fired
from ojp_sizing.behaviour.slots import (
    GRANTED,
    REFUSED,
    acquire_slot,
    divide_slots,
    give_permit_back,
    keep_permit,
    leak_slot,
    release_slot,
)
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.warming import compile_on, youth_s
from ojp_sizing.behaviour.world import World, chance, latency_s, note, post, tell

#: A statement's CPU is spent half before the database and half after it (project assumption; only the sum has a source).
CPU_BEFORE_DATABASE = 0.5
#: ``responding`` of a connect that builds a pool, while it is on the CPU for that.
BUILDS_POOL = 2
#: A pool that can't get its first connection gives up after this, and the connect with it (Hikari's fail-fast time in
#: OJP's settings, reference 1.1, CODE); it tries once a second (GENERAL).
POOL_GIVES_UP_S, POOL_TRIES_S = 10.0, 1.0


@transition
def settle_pod(w: World, pod: int) -> None:
    """Bring the pod's integrals of busy threads, slots and connections to the present, and of those that its pools may have."""
    p = w.pods[pod]
    s = w.settings[0]
    elapsed_s = w.state[0].now - p.settled_s
    p.settled_s = w.state[0].now
    p.thread_s += elapsed_s * (s.threads - p.threads_free)
    p.queue_s += elapsed_s * p.waiting
    for index in range(pod * s.sources, (pod + 1) * s.sources):
        pool = w.pools[index]
        fast = w.lanes[2 * index]
        slow = w.lanes[2 * index + 1]
        p.connection_s += elapsed_s * pool.in_use
        # After a shrink there are more than the maximum until the busy ones come back.
        p.pooled_s += elapsed_s * max(pool.maximum, pool.open)
        p.waiter_s += elapsed_s * pool.waiting
        p.fast_slot_s += elapsed_s * (fast.total - fast.free)
        p.slow_slot_s += elapsed_s * (slow.total - slow.free)


# The executor -----------------------------------------------------------------------------------------------------


@transition
def rpc_reaches_pod(w: World, caller: int) -> None:
    """An RPC arrives. A pod that is down or stopping refuses it at once (reference 7.1); a lost node never answers. Over a
    channel that rests nothing arrives.

    Nobody waits for ever: the user or TCP ends the call; a channel that was made anew fails to connect sooner (reference 6,
    GENERAL).
    """
    c = w.callers[caller]
    pod = w.pods[c.pod]
    link = c.jvm * w.settings[0].replicas + c.pod
    if pod.state == PodState.LOST:
        anew = w.links[link].failed_s >= pod.lost_s
        _hang(w, caller, w.settings[0].connect_hang_s if anew else w.settings[0].call_hang_s)
        return
    if pod.state == PodState.STOPPING and w.settings[0].drains == 1:
        if c.pinned != c.pod or c.incarnation != pod.incarnation:
            reply(w, caller, Ending.DRAINS)
            return
    elif pod.state != PodState.UP:
        is_refused(w, link)
        reply(w, caller, Ending.UNAVAILABLE)
        return
    if pod.listens_s > -inf and not goes_through(w, link, pod.listens_s):
        reply(w, caller, Ending.UNAVAILABLE)
        return
    settle_pod(w, c.pod)
    pod.inside += 1
    pod.inside_peak = max(pod.inside_peak, pod.inside)
    pod.rpcs += 1
    request_comes(w, c.pod)
    settings = w.settings[0]
    asleep = min(1.0, (w.state[0].now - pod.called_s) / settings.wake_after_s)
    pod.called_s = w.state[0].now
    if pod.threads_free > 0:
        station = w.stations[c.pod]
        handed_s = settings.hand_over_cpu_s / (1.0 + station.count / station.cores)
        _begin(w, caller, handed_s + settings.wake_cpu_s * asleep)
    else:
        if c.holds == 1 and w.pools[c.pool].waiting > 0:
            # It would free what others wait for, and they hold all threads (reference 1.3, INFER).
            note(w, Trap.CONVOY)
        c.place = Place.QUEUED
        enqueue(w, w.callers, pod, caller)


@transition
def _hang(w: World, caller: int, for_s: float) -> None:
    c = w.callers[caller]
    note(w, Trap.CALL_HANGS)
    c.status = Ending.UNAVAILABLE
    c.place = Place.RETURNING
    post(w, w.state[0].now + for_s, EventKind.RPC_RETURNS, caller)


@transition
def _begin(w: World, caller: int, wake_cpu_s: float) -> None:
    """A thread takes up the RPC; ``wake_cpu_s``: what it takes to hand it over and to wake what sleeps (docs/cpu.md)."""
    c = w.callers[caller]
    s = w.settings[0]
    w.pods[c.pod].threads_free -= 1
    c.place = Place.ON_CPU
    c.responding = 0
    cpu_s = s.small_rpc_cpu_s
    if c.rpc == Rpc.QUERY or c.rpc == Rpc.UPDATE or c.rpc == Rpc.CALL_STATEMENT:
        cpu_s = s.statement_cpu_s * CPU_BEFORE_DATABASE
    elif c.rpc == Rpc.CONNECT or c.rpc == Rpc.TERMINATE or c.rpc == Rpc.PUSH:
        cpu_s = s.connect_cpu_s
    join(w, c.pod, EventKind.CPU_TIMER, caller, 0, cpu_s + wake_cpu_s + youth_s(w, c.pod))


@transition
def reply(w: World, caller: int, status: Ending) -> None:
    """Send the answer on its way to the client."""
    c = w.callers[caller]
    c.status = status
    c.place = Place.RETURNING
    post(w, w.state[0].now + latency_s(w, caller), EventKind.RPC_RETURNS, caller)


@transition
def finish(w: World, caller: int, status: Ending) -> None:
    """The handler returns: reply, and its thread takes the next RPC from the queue."""
    pod = w.pods[w.callers[caller].pod]
    pod.threads_free += 1
    pod.inside -= 1
    reply(w, caller, status)
    if pod.waiting > 0:
        _begin(w, dequeue(w.callers, pod), 0.0)
    if pod.state == PodState.STOPPING:
        _tell_drained(w, w.callers[caller].pod)


@transition
def _tell_drained(w: World, pod: int) -> None:
    """A stopping pod ends when nobody is inside, and, where it drains, no session is left."""
    p = w.pods[pod]
    if p.inside == 0 and (w.settings[0].drains == 0 or p.sessions == 0):
        tell(w, pod, News.DRAINED)


@transition
def cpu_timer(w: World, pod: int) -> None:
    """The pod's CPU has finished somebody's work."""
    if not timer_fired(w, pod, EventKind.CPU_TIMER):
        return
    settle_pod(w, pod)
    while True:
        caller, token = take_finished(w, pod, EventKind.CPU_TIMER)
        if caller == NOBODY:
            break
        if caller == ADDER:
            connection_computed(w, token)
        elif caller == COMPILER:
            w.pods[pod].compiles = 0
            compile_on(w, pod)
        elif w.callers[caller].responding == 0:
            _handle(w, caller)
        elif w.callers[caller].responding == BUILDS_POOL:
            _pool_stands(w, caller)
        elif w.callers[caller].rpc == Rpc.CALL_STATEMENT:
            result_goes(w, pod, _rows(w, caller))
            _open_session(w, caller)
            keep_permit(w, caller)
            finish(w, caller, Ending.OK)
        else:
            _statement_succeeds(w, caller)


@transition
def _handle(w: World, caller: int) -> None:
    c = w.callers[caller]
    rpc = c.rpc
    if (rpc >= Rpc.QUERY and rpc != Rpc.TERMINATE and rpc < Rpc.XA_START) or rpc == Rpc.PUSH:
        # Every RPC but connect, heartbeat, terminate and XA's own carries the client's view of the cluster (reference 5, CODE).
        learn_view(w, caller)
    if c.pinned != NOBODY and c.incarnation != w.pods[c.pod].incarnation:
        # The pod that had the session died; the one in its place knows nothing of it. A statement finds that out behind
        # the breaker, where it counts as a failure.
        if rpc == Rpc.QUERY or rpc == Rpc.UPDATE:
            if breaker_is_open(w, _breaker(w, caller)):
                finish(w, caller, Ending.BREAKER_OPEN)
                return
            breaker_fails(w, _breaker(w, caller))
        finish(w, caller, Ending.OK if rpc == Rpc.TERMINATE else Ending.SESSION_LOST)
    elif rpc == Rpc.CONNECT and c.xa == 1:
        # XA has no pool in 0.3.1: each connect opens a database connection, on its thread (CODE).
        w.pools[c.pool].created = 1
        w.pools[c.pool].direct += 1
        count_connections(w, c.pod, 1)
        _build(w, caller, w.settings[0].connection_open_s, EventKind.XA_OPENED)
    elif rpc == Rpc.CONNECT:
        if w.pools[c.pool].created == 1:
            finish(w, caller, Ending.OK)
        elif w.settings[0].pool_build_locked == 1 and w.pools[c.pool].building == 1:
            c.place = Place.WAITS_FOR_CONNECTION
            enqueue(w, w.callers, w.pools[c.pool], caller)
        else:
            w.pools[c.pool].building = 1
            # Nobody looks again: whoever comes before the first one has built it builds another (reference 1.1).
            c.give_up_s = w.state[0].now + POOL_GIVES_UP_S
            p = w.pods[c.pod]
            p.loaded_s = min(p.loaded_s, w.state[0].now + w.settings[0].pool_build_s)
            _build(w, caller, max(0.0, p.loaded_s - w.state[0].now), EventKind.CODE_LOADED)
    elif rpc == Rpc.QUERY or rpc == Rpc.UPDATE:
        _admit(w, caller)
    elif rpc == Rpc.START_TRANSACTION or rpc == Rpc.CALL or rpc == Rpc.CALL_STATEMENT:
        if c.holds == 0 and w.pools[c.pool].created == 0:
            finish(w, caller, Ending.NO_DATASOURCE)
        elif c.holds == 1:
            _with_session(w, caller)
        elif w.settings[0].session_permits == 1:
            got = acquire_slot(w, caller, Side.FAST)
            if got == GRANTED:
                _with_permit(w, caller)
            elif got == REFUSED:
                finish(w, caller, Ending.OVERLOADED)
        elif has_run_out(w, c.pool):
            finish(w, caller, Ending.CONNECTION_TIMEOUT)
        elif borrow_connection(w, caller):
            _with_session(w, caller)
    elif rpc == Rpc.COMMIT or rpc == Rpc.ROLLBACK or rpc == Rpc.XA_PREPARE or rpc == Rpc.XA_COMMIT:
        _enter_database(w, caller, w.settings[0].commit_database_s)
    else:
        if rpc == Rpc.TERMINATE and c.holds == 1:
            return_connection(w, caller)
        if rpc == Rpc.TERMINATE:
            give_permit_back(w, caller)
        finish(w, caller, Ending.OK)


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
    _pool_stands(w, caller)


@transition
def _pool_stands(w: World, caller: int) -> None:
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
    _open_session(w, caller)
    finish(w, caller, Ending.OK)


# A statement ------------------------------------------------------------------------------------------------------


@transition
def _text(w: World, caller: int) -> int:
    c = w.callers[caller]
    return w.statements[c.first + c.at].text


@transition
def _rows(w: World, caller: int) -> int:
    c = w.callers[caller]
    return w.statements[c.first + c.at].rows


@transition
def _breaker(w: World, caller: int) -> int:
    c = w.callers[caller]
    s = w.settings[0]
    pool = c.pool if s.breaker_per_pool == 1 else c.pod * s.sources
    return pool * s.texts + _text(w, caller)


@transition
def _open_session(w: World, caller: int) -> None:
    c = w.callers[caller]
    c.incarnation = w.pods[c.pod].incarnation


@transition
def _admit(w: World, caller: int) -> None:
    """Breaker, datasource, classifier, slot: in the server's order."""
    c = w.callers[caller]
    s = w.settings[0]
    c.timed = 0
    if breaker_is_open(w, _breaker(w, caller)):
        finish(w, caller, Ending.BREAKER_OPEN)
    elif w.pools[c.pool].created == 0:
        note(w, Trap.MISSING_DATASOURCE)
        if s.missing_pool_fails_breaker == 1:
            _statement_fails(w, caller, Ending.NO_DATASOURCE)
        else:
            finish(w, caller, Ending.NO_DATASOURCE)
    elif c.permit != NOBODY and s.session_takes_slots == 0:
        _with_slot(w, caller)
    elif s.segregation == 1 or s.admission_always_on == 1 or c.xa == 1:
        # XA statements take slots also where segregation is off (0.3.1, CODE).
        side = Side.FAST
        if (s.segregation == 1 or c.xa == 1) and is_slow(w, c.pool, _text(w, caller)):
            side = Side.SLOW
        got = acquire_slot(w, caller, side)
        if got == GRANTED:
            _with_slot(w, caller)
        elif got == REFUSED:
            finish(w, caller, Ending.OVERLOADED)
    else:
        _with_slot(w, caller)


@transition
def slot_granted(w: World, caller: int) -> None:
    """A waiter's thread wakes with its slot, unless its pod has died at this very instant."""
    if w.callers[caller].place != Place.HAS_SLOT:
        return
    settle_pod(w, w.callers[caller].pod)
    if w.callers[caller].rpc == Rpc.QUERY or w.callers[caller].rpc == Rpc.UPDATE:
        _with_slot(w, caller)
    else:
        _with_permit(w, caller)


@transition
def _with_permit(w: World, caller: int) -> None:
    """startTransaction or callResource has its permit, and needs a connection."""
    if has_run_out(w, w.callers[caller].pool):
        release_slot(w, caller)
        finish(w, caller, Ending.CONNECTION_TIMEOUT)
    elif borrow_connection(w, caller):
        _with_session(w, caller)


@transition
def _with_slot(w: World, caller: int) -> None:
    c = w.callers[caller]
    c.clock_ms = wall_clock_ms(w)
    c.timed = 1
    if c.holds == 0 and has_run_out(w, c.pool):
        _statement_fails(w, caller, Ending.CONNECTION_TIMEOUT)
    elif c.holds == 1 or borrow_connection(w, caller):
        _with_connection(w, caller)


@transition
def connection_granted(w: World, caller: int) -> None:
    """A waiter's thread wakes with its connection, unless its pod has died at this very instant."""
    if w.callers[caller].place != Place.HAS_CONNECTION:
        return
    settle_pod(w, w.callers[caller].pod)
    if w.callers[caller].rpc == Rpc.QUERY or w.callers[caller].rpc == Rpc.UPDATE:
        _with_connection(w, caller)
    else:
        _with_session(w, caller)


@transition
def _with_session(w: World, caller: int) -> None:
    """startTransaction and callResource have their connection, past slots, classifier and breaker (reference 1.5, CODE)."""
    if w.callers[caller].rpc == Rpc.CALL_STATEMENT:
        _with_connection(w, caller)
    else:
        _open_session(w, caller)
        keep_permit(w, caller)
        finish(w, caller, Ending.OK)


@transition
def _with_connection(w: World, caller: int) -> None:
    c = w.callers[caller]
    _enter_database(w, caller, w.statements[c.first + c.at].database_s)


@transition
def _enter_database(w: World, caller: int, work_s: float) -> None:
    c = w.callers[caller]
    c.place = Place.IN_DATABASE
    c.token += 1
    # What begins while the database is slow takes so many times as long.
    join(w, w.settings[0].replicas, EventKind.DATABASE_TIMER, caller, c.token, work_s * w.state[0].database_slowdown)


@transition
def database_timer(w: World) -> None:
    """The database has finished somebody's work; work for a pod that died meanwhile has no taker."""
    database = w.settings[0].replicas
    if not timer_fired(w, database, EventKind.DATABASE_TIMER):
        return
    while True:
        caller, token = take_finished(w, database, EventKind.DATABASE_TIMER)
        if caller == NOBODY:
            break
        c = w.callers[caller]
        if c.place == Place.IN_DATABASE and c.token == token:
            settle_pod(w, c.pod)
            _database_done(w, caller)


@transition
def _database_done(w: World, caller: int) -> None:
    c = w.callers[caller]
    if c.rpc == Rpc.COMMIT or c.rpc == Rpc.ROLLBACK or c.rpc == Rpc.XA_PREPARE or c.rpc == Rpc.XA_COMMIT:
        finish(w, caller, Ending.OK)
        return
    statement = w.statements[c.first + c.at]
    if statement.fails == 1 and c.rpc == Rpc.CALL_STATEMENT:
        _give_slot_back(w, caller)
        _release_unless_leaked(w, caller)
        finish(w, caller, Ending.DATABASE_ERROR)
        return
    if statement.fails == 1:
        _statement_fails(w, caller, Ending.DATABASE_ERROR)
        return
    s = w.settings[0]
    c.place = Place.ON_CPU
    c.responding = 1
    result_comes(w, c.pod, statement.rows)
    cpu_s = s.statement_cpu_s * (1.0 - CPU_BEFORE_DATABASE) + s.row_cpu_s * statement.rows
    join(w, c.pod, EventKind.CPU_TIMER, caller, 0, cpu_s)


@transition
def _statement_succeeds(w: World, caller: int) -> None:
    """Last row handed over. A query made a session that keeps the connection until close (reference 1.3, CODE).

    So do updates with generated keys, temporary tables or SET.
    """
    c = w.callers[caller]
    result_goes(w, c.pod, _rows(w, caller))
    record_time(w, c.pool, _text(w, caller), wall_clock_ms(w) - c.clock_ms)
    makes_session = c.rpc == Rpc.QUERY or w.statements[c.first + c.at].keeps == 1
    if makes_session:
        keep_permit(w, caller)
    if c.lane != NOBODY:
        release_slot(w, caller)
    breaker_succeeds(w, _breaker(w, caller))
    if makes_session:
        _open_session(w, caller)
    elif c.pinned == NOBODY:
        return_connection(w, caller)
    finish(w, caller, Ending.OK)


@transition
def _statement_fails(w: World, caller: int, status: Ending) -> None:
    """Any failure counts for the breaker; times of failures are learned too, but not of a slot time-out (reference 3, 4)."""
    c = w.callers[caller]
    if c.timed == 1:
        record_time(w, c.pool, _text(w, caller), wall_clock_ms(w) - c.clock_ms)
    _give_slot_back(w, caller)
    breaker_fails(w, _breaker(w, caller))
    _release_unless_leaked(w, caller)
    finish(w, caller, status)


@transition
def _give_slot_back(w: World, caller: int) -> None:
    """A statement has failed. The session that it had made already is known to nobody: its permit is lost with its connection
    (later versions 1.6); an update made none."""
    c = w.callers[caller]
    if c.lane == NOBODY:
        return
    if w.settings[0].session_permits == 1 and c.rpc != Rpc.UPDATE and _leaks(w, caller):
        leak_slot(w, caller, c.lane)
        c.lane = NOBODY
    else:
        release_slot(w, caller)


@transition
def _release_unless_leaked(w: World, caller: int) -> None:
    """A failed statement's connection: a session's stays; else it goes back, or is lost for good (reference 1.6)."""
    c = w.callers[caller]
    if _leaks(w, caller):
        leak_connection(w, caller)
    elif c.holds == 1 and c.pinned == NOBODY:
        return_connection(w, caller)


@transition
def _leaks(w: World, caller: int) -> bool:
    c = w.callers[caller]
    s = w.settings[0]
    if c.holds == 0 or c.pinned != NOBODY or (s.eager_close == 1 and c.rpc == Rpc.UPDATE):
        return False
    return chance(w, caller) < s.leak_probability


@transition
def slot_timer(w: World, lane_index: int) -> None:
    """Waiters of this lane may have waited their 60 or 120 s."""
    lane = w.lanes[lane_index]
    if not wait_timer_fired(w, lane):
        return
    settle_pod(w, w.pools[lane_index // 2].pod)
    while True:
        caller = take_overdue(w, lane, EventKind.SLOT_TIMER, lane_index)
        if caller == NOBODY:
            break
        w.callers[caller].lane = NOBODY
        rpc = w.callers[caller].rpc
        if w.settings[0].admission_fails_breaker == 1 and (rpc == Rpc.QUERY or rpc == Rpc.UPDATE):
            _statement_fails(w, caller, Ending.SLOT_TIMEOUT)
        else:
            finish(w, caller, Ending.SLOT_TIMEOUT)


@transition
def connection_timer(w: World, index: int) -> None:
    """Waiters for a connection may have waited their 10 s."""
    pool = w.pools[index]
    if not wait_timer_fired(w, pool):
        return
    settle_pod(w, pool.pod)
    while True:
        caller = take_overdue(w, pool, EventKind.CONNECTION_TIMER, index)
        if caller == NOBODY:
            break
        if w.callers[caller].rpc == Rpc.QUERY or w.callers[caller].rpc == Rpc.UPDATE:
            if w.callers[caller].lane != NOBODY and _is_locked(w, index):
                note(w, Trap.LOCKED)
            _statement_fails(w, caller, Ending.CONNECTION_TIMEOUT)
        else:
            if w.callers[caller].lane != NOBODY:
                release_slot(w, caller)
            finish(w, caller, Ending.CONNECTION_TIMEOUT)


@transition
def _is_locked(w: World, index: int) -> bool:
    """Whether somebody holds a connection of this pool and waits for a slot of it (reference 1.2, INFER)."""
    for lane in range(2 * index, 2 * index + 2):
        member = w.lanes[lane].head
        for _ in range(w.lanes[lane].waiting):
            if w.callers[member].holds == 1:
                return True
            member = w.callers[member].next
    return False


# Birth and death --------------------------------------------------------------------------------------------------


@transition
def pod_stops(w: World, pod: int) -> None:
    """SIGTERM: new RPCs are refused, those inside go on (reference 7.1). A container that is down stays down."""
    if w.pods[pod].state == PodState.UP:
        w.pods[pod].state = PodState.STOPPING
    _tell_drained(w, pod)


@transition
def memory_passed(w: World, pod: int) -> None:
    """The kernel kills a process that has passed its limit, unless it died meanwhile. If it was about to stop, it has."""
    p = w.pods[pod]
    if p.doomed == 0:
        return
    news = News.DRAINED if p.state == PodState.STOPPING else News.OUT_OF_MEMORY
    pod_dies(w, pod)
    p.kills += 1
    note(w, Trap.MEMORY_KILL)
    tell(w, pod, news)


@transition
def pod_dies(w: World, pod: int) -> None:
    """The process is gone: every RPC inside fails at its client, and all memory is lost.

    What is left of the pod is as before its first process, but for its history.
    """
    _end_process(w, pod, PodState.DOWN)


@transition
def pod_vanishes(w: World, pod: int) -> None:
    """The node is gone without a word: callers hear nothing, and the database keeps the connections (reference 6)."""
    w.pods[pod].lost_s = w.state[0].now
    _end_process(w, pod, PodState.LOST)


@transition
def _end_process(w: World, pod: int, state: PodState) -> None:
    settle_pod(w, pod)
    p = w.pods[pod]
    sources = w.settings[0].sources
    p.state = state
    for caller in range(len(w.callers)):
        c = w.callers[caller]
        if c.pod == pod and c.place >= Place.QUEUED and c.place < Place.RETURNING:
            _has_nothing(w, c)
            if state == PodState.LOST:
                _hang(w, caller, w.settings[0].call_hang_s)
            else:
                reply(w, caller, Ending.UNAVAILABLE)
    for index in range(pod * sources, (pod + 1) * sources):
        disconnect_pool(w, index, state == PodState.DOWN)
    settle_station(w, w.stations[pod])
    _forget_process(w, pod)


_has_nothing = renewing(Caller, Reset.PROCESS)
_renew_pod = renewing(Pod, Reset.PROCESS)
_renew_station = renewing(Station, Reset.PROCESS)
_renew_pool = renewing(Pool, Reset.PROCESS)
_renew_lane = renewing(Lane, Reset.PROCESS)
_renew_memory = renewing(Memory, Reset.PROCESS)
_renew_breaker = renewing(Breaker, Reset.PROCESS)


@transition
def _forget_process(w: World, pod: int) -> None:
    """All that was in the process's memory is as before the first one (docs/records.md)."""
    s = w.settings[0]
    _renew_pod(w, w.pods[pod])
    _renew_station(w, w.stations[pod])
    for index in range(pod * s.sources, (pod + 1) * s.sources):
        _renew_pool(w, w.pools[index])
        _renew_lane(w, w.lanes[2 * index])
        _renew_lane(w, w.lanes[2 * index + 1])
        divide_slots(w, index)
        for text in range(index * s.texts, (index + 1) * s.texts):
            _renew_memory(w, w.memories[text])
            _renew_breaker(w, w.breakers[text])


@transition
def pod_listens(w: World, pod: int) -> None:
    """A new process answers: an empty classifier, closed breakers, no pool (reference 7.1, 13 row 24).

    Where its pools are warm somebody has had them built before anyone else can come (docs/restarts.md).
    """
    settle_pod(w, pod)
    p = w.pods[pod]
    p.state = PodState.UP
    p.lost_s = -inf
    p.listens_s = w.state[0].now
    p.incarnation += 1
    s = w.settings[0]
    if s.warm_pools == 1:
        p.answered = s.warm_up_calls
        p.loaded_s = w.state[0].now
        for index in range(pod * s.sources, (pod + 1) * s.sources):
            if index % s.sources != s.xa_source and not database_refuses(w, 1):
                build_pool(w, index)
