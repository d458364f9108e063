"""What works on the database: statements, and the RPCs that begin a session (reference 1.2, 1.3, 1.5).

A statement passes breaker, datasource, classifier, slot and connection, in the server's order, then the database and the
CPU of its answer.
"""

from __future__ import annotations

from ojp_sizing.behaviour.breaker import breaker_fails, breaker_is_open, breaker_succeeds
from ojp_sizing.behaviour.classifier import is_slow, record_time, wall_clock_ms
from ojp_sizing.behaviour.executor import CPU_BEFORE_DATABASE, finish, open_session, settle_pod
from ojp_sizing.behaviour.heap import result_comes, result_goes
from ojp_sizing.behaviour.kinds import Ending, EventKind, Place, Rpc, Side, Trap
from ojp_sizing.behaviour.pool import borrow_connection, has_run_out, leak_connection, return_connection
from ojp_sizing.behaviour.queues import take_overdue, wait_timer_fired
from ojp_sizing.behaviour.records import NOBODY
from ojp_sizing.behaviour.sharing import join, take_finished, timer_fired
from ojp_sizing.behaviour.slots import GRANTED, REFUSED, acquire_slot, has_slots, keep_permit, leak_slot, release_slot
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, chance, note


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
def admit(w: World, caller: int) -> None:
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
    elif c.xa == 1 or has_slots(w):
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
def begin_session(w: World, caller: int) -> None:
    """startTransaction and callResource make a session: past classifier and breaker (reference 1.5, CODE)."""
    c = w.callers[caller]
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
    else:
        _with_permit(w, caller)


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
    """startTransaction or callResource has its permit, where there are any, and needs a connection."""
    if has_run_out(w, w.callers[caller].pool):
        if w.callers[caller].lane != NOBODY:
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
        open_session(w, caller)
        keep_permit(w, caller)
        finish(w, caller, Ending.OK)


@transition
def _with_connection(w: World, caller: int) -> None:
    c = w.callers[caller]
    enter_database(w, caller, w.statements[c.first + c.at].database_s)


@transition
def enter_database(w: World, caller: int, work_s: float) -> None:
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
def answered(w: World, caller: int) -> None:
    """The CPU has handed over the last row."""
    if w.callers[caller].rpc == Rpc.CALL_STATEMENT:
        result_goes(w, w.callers[caller].pod, _rows(w, caller))
        open_session(w, caller)
        keep_permit(w, caller)
        finish(w, caller, Ending.OK)
    else:
        _statement_succeeds(w, caller)


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
        open_session(w, caller)
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


@transition
def lose_session(w: World, caller: int) -> None:
    """The pod that had the session died; the one in its place knows nothing of it. A statement finds that out behind the
    breaker, where it counts as a failure."""
    rpc = w.callers[caller].rpc
    if rpc == Rpc.QUERY or rpc == Rpc.UPDATE:
        if breaker_is_open(w, _breaker(w, caller)):
            finish(w, caller, Ending.BREAKER_OPEN)
            return
        breaker_fails(w, _breaker(w, caller))
    finish(w, caller, Ending.OK if rpc == Rpc.TERMINATE else Ending.SESSION_LOST)
