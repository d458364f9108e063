"""The OJP JDBC driver in a client JVM, and the application thread that uses it (reference 1.1, 1.4, 6).

Each JVM decides by itself: it knows which pods answered it, and nothing of their load. ``getConnection()`` calls every
pod; a statement without a session goes to the pod of its turn; a session stays on its pod; nothing is retried elsewhere.
"""

from __future__ import annotations

from math import inf

from ojp_sizing.behaviour.channel import make_channel
from ojp_sizing.behaviour.kinds import Ending, EventKind, News, Place, PodState, Rpc, Trap
from ojp_sizing.behaviour.queues import dequeue, enqueue
from ojp_sizing.behaviour.record import Reset, renewing
from ojp_sizing.behaviour.records import NOBODY, Caller
from ojp_sizing.behaviour.slots import abandon_session
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, latency_s, note, page_of, post, row_of, tell

# Belief -----------------------------------------------------------------------------------------------------------


@transition
def _mark_down(w: World, jvm: int, pod: int) -> None:
    """The JVM learns that a pod is gone; its sessions there are lost to it."""
    if _mark_draining(w, jvm, pod):
        link = w.links[jvm * w.settings[0].replicas + pod]
        link.epoch += 1
        link.sessions = 0
        if w.jvms[jvm].up <= 1 and w.settings[0].replicas > 1:
            note(w, Trap.ONE_POD_LEFT)


@transition
def _mark_draining(w: World, jvm: int, pod: int) -> bool:
    """The JVM sends nothing new to a pod, whose sessions go on; whether it did before."""
    link = w.links[jvm * w.settings[0].replicas + pod]
    link.failed_s = w.state[0].now
    if link.up == 0:
        return False
    link.up = 0
    w.jvms[jvm].up -= 1
    w.jvms[jvm].belief ^= w.pods[pod].key
    return True


@transition
def _mark_up(w: World, jvm: int, pod: int) -> None:
    if not _is_up(w, jvm, pod):
        w.links[jvm * w.settings[0].replicas + pod].up = 1
        w.jvms[jvm].up += 1
        w.jvms[jvm].belief ^= w.pods[pod].key


@transition
def _is_up(w: World, jvm: int, pod: int) -> bool:
    """Whether the JVM believes this pod up. Where it believes all up, no link is read: there are many in a large fleet."""
    replicas = w.settings[0].replicas
    return w.jvms[jvm].up == replicas or w.links[jvm * replicas + pod].up == 1


@transition
def _next_up(w: World, jvm: int, pod: int) -> int:
    """The first pod from this one on that the JVM believes up; ``replicas`` where there is none."""
    while pod < w.settings[0].replicas and not _is_up(w, jvm, pod):
        pod += 1
    return pod


@transition
def _worth_a_try(w: World, jvm: int, pod: int) -> bool:
    """Believed up, or failed long enough ago to be asked again."""
    if _is_up(w, jvm, pod):
        return True
    failed_s = w.links[jvm * w.settings[0].replicas + pod].failed_s
    return w.state[0].now - failed_s >= w.settings[0].health_interval_s


@transition
def _choose_pod(w: World, jvm: int) -> int:
    """The pod for a request without a session: round robin, or the fewest sessions where the driver counts them.

    Where no pod is believed up, those that failed long enough ago are taken for up again (reference 6, CODE).
    """
    s = w.settings[0]
    j = w.jvms[jvm]
    base = jvm * s.replicas
    if j.up == 0:
        for pod in range(s.replicas):
            if _worth_a_try(w, jvm, pod):
                make_channel(w, base + pod)
                _mark_up(w, jvm, pod)
    if j.up == 0:
        return NOBODY
    fewest = NOBODY
    even = True
    if s.tracks_sessions > 0:
        for pod in range(s.replicas):
            link = w.links[base + pod]
            if link.up == 1:
                if fewest == NOBODY:
                    fewest = pod
                elif link.sessions != w.links[base + fewest].sessions:
                    even = False
                    if link.sessions < w.links[base + fewest].sessions:
                        fewest = pod
    if not even:
        return fewest
    turn = j.turn % j.up
    j.turn += 1
    if j.up == s.replicas:
        return turn
    for pod in range(s.replicas):
        if w.links[base + pod].up == 1:
            if turn == 0:
                return pod
            turn -= 1
    return NOBODY


@transition
def _send(w: World, caller: int, rpc: Rpc, pod: int) -> None:
    c = w.callers[caller]
    c.rpc = rpc
    c.pod = pod
    s = w.settings[0]
    c.pool = pod * s.sources + (s.xa_source if c.xa == 1 else w.jvms[c.jvm].kind)
    c.place = Place.FLYING
    c.belief = w.jvms[c.jvm].belief
    c.belief_up = w.jvms[c.jvm].up
    post(w, w.state[0].now + latency_s(w, caller), EventKind.RPC_REACHES_POD, caller)


# A unit of work ---------------------------------------------------------------------------------------------------


@transition
def unit_arrives(w: World) -> None:
    """The next unit of work is due for the first time."""
    unit = w.state[0].arrived
    attempts = 1 + w.settings[0].retries
    if unit + 1 < w.state[0].loaded:
        post(w, w.units[row_of(w, (unit + 1) * attempts)].arrival_s, EventKind.UNIT_ARRIVES, 0)
    _count_arrived(w, unit + 1)
    attempt_due(w, unit * attempts)


@transition
def _count_arrived(w: World, units: int) -> None:
    """So many have arrived; one more than these must always be loaded."""
    w.state[0].arrived = units
    if units + 1 >= w.state[0].loaded:
        tell(w, 0, News.UNITS_WANTED)


@transition
def attempt_due(w: World, attempt: int) -> None:
    """An attempt at a unit of work needs a worker thread of its JVM; its user's patience begins."""
    row = row_of(w, attempt)
    w.units[row].arrival_s = w.state[0].now
    if w.settings[0].timeout_s < inf:
        post(w, w.state[0].now + w.settings[0].timeout_s, EventKind.PATIENCE_ENDS, attempt)
    jvm = w.jvms[w.units[row].jvm]
    if jvm.idle == NOBODY:
        enqueue(w, w.units, jvm, row)
    else:
        thread = jvm.idle
        jvm.idle = w.callers[thread].next
        jvm.free -= 1
        w.callers[thread].unit = attempt
        unit_begins(w, thread)


_begins_anew = renewing(Caller, Reset.UNIT)


@transition
def unit_begins(w: World, thread: int) -> None:
    """The worker thread asks for a connection: a ``connect`` to every pod in turn (reference 1.1, CODE)."""
    c = w.callers[thread]
    unit = w.units[row_of(w, c.unit)]
    unit.began_s = w.state[0].now
    c.first = unit.first
    c.count = unit.count
    c.transaction = unit.transaction
    c.xa = unit.xa
    c.calls = unit.calls
    _begins_anew(w, c)
    jvm = w.jvms[c.jvm]
    if w.settings[0].checks_in_connect == 1 and w.state[0].now - jvm.checked_s >= w.settings[0].health_interval_s:
        # 0.3.1 has no thread for it: the first getConnection() after 5 s checks the health of all (CODE).
        jvm.checked_s = w.state[0].now
        c.checking = 1
        c.round = 0
        _health_onward(w, thread)
    else:
        _connect(w, thread)


@transition
def _connect(w: World, thread: int) -> None:
    c = w.callers[thread]
    c.probe = 0
    if c.xa == 1:
        # An XA connection is made on one pod only (0.3.1, CODE).
        pod = _choose_pod(w, c.jvm)
        if pod == NOBODY:
            _end_unconnected(w, thread, Ending.NO_POD)
        else:
            _send(w, thread, Rpc.CONNECT, pod)
    elif w.settings[0].connect_cached == 1 and w.jvms[c.jvm].connected == 1:
        # From 0.4.7 on a JVM calls the pods once only (CODE).
        _onward(w, thread)
    else:
        _connect_onward(w, thread)


@transition
def _end_unconnected(w: World, thread: int, ending: Ending) -> None:
    c = w.callers[thread]
    c.outcome = ending
    _tell_user(w, thread)
    _end(w, thread)


@transition
def _connect_onward(w: World, thread: int) -> None:
    c = w.callers[thread]
    while c.probe < w.settings[0].replicas:
        if _worth_a_try(w, c.jvm, c.probe):
            # A pod believed down gets a new channel, and is marked up before it has answered; others send to it meanwhile
            # (CODE of the driver).
            if not _is_up(w, c.jvm, c.probe):
                make_channel(w, c.jvm * w.settings[0].replicas + c.probe)
                _mark_up(w, c.jvm, c.probe)
            _send(w, thread, Rpc.CONNECT, c.probe)
            return
        c.probe += 1
    if c.connected == 0:
        _end_unconnected(w, thread, Ending.NO_POD)
    else:
        w.jvms[c.jvm].connected = 1
        _onward(w, thread)


@transition
def _send_or_fail(w: World, thread: int, rpc: Rpc) -> None:
    """Send an RPC of the unit to its session's pod, or, without a session, to a pod of the driver's choice."""
    c = w.callers[thread]
    pod = c.pinned
    if pod == NOBODY:
        pod = _choose_pod(w, c.jvm)
        if pod == NOBODY:
            _fail(w, thread, Ending.NO_POD)
            return
    elif not _session_reachable(w, thread):
        _fail(w, thread, Ending.SESSION_LOST)
        return
    _send(w, thread, rpc, pod)


@transition
def _session_reachable(w: World, thread: int) -> bool:
    """Whether the JVM has believed the session's pod to be up ever since the session began, or to be about to stop."""
    c = w.callers[thread]
    s = w.settings[0]
    link = w.links[c.jvm * s.replicas + c.pinned]
    return link.epoch == c.epoch and (link.up == 1 or s.drains == 1)


@transition
def _onward(w: World, thread: int) -> None:
    """The next RPC of a connected unit: calls on the connection, begin, statements, end, close (reference 1.4)."""
    c = w.callers[thread]
    if c.calls > 0:
        c.calls -= 1
        _send_or_fail(w, thread, Rpc.CALL)
    elif c.begun == 0 and (c.transaction == 1 or c.xa == 1):
        c.begun = 1
        _send_or_fail(w, thread, Rpc.XA_START if c.xa == 1 else Rpc.START_TRANSACTION)
    elif c.at < c.count:
        statement = w.statements[c.first + c.at]
        c.fetched = 0
        if statement.called == 1:
            _send_or_fail(w, thread, Rpc.CALL_STATEMENT)
        else:
            _send_or_fail(w, thread, Rpc.UPDATE if statement.writes == 1 else Rpc.QUERY)
    elif c.xa == 1 and c.ended < 3:
        c.ended += 1
        if c.ended == 1:
            _send_or_fail(w, thread, Rpc.XA_END)
        else:
            _send_or_fail(w, thread, Rpc.XA_PREPARE if c.ended == 2 else Rpc.XA_COMMIT)
    elif c.transaction == 1 and c.ended == 0:
        c.ended = 1
        _send_or_fail(w, thread, Rpc.COMMIT)
    else:
        _close(w, thread)


@transition
def _pin(w: World, thread: int) -> None:
    c = w.callers[thread]
    if c.pinned == NOBODY:
        c.pinned = c.pod
        link = w.links[c.jvm * w.settings[0].replicas + c.pod]
        link.sessions += _is_tracked(w, thread)
        c.epoch = link.epoch


@transition
def _is_tracked(w: World, thread: int) -> int:
    """1 where the driver counts this session when it chooses a pod: in 0.3.1 only XA's (reference 6, CODE)."""
    return 1 if w.settings[0].tracks_sessions == 2 or w.callers[thread].xa == 1 else 0


@transition
def _fail(w: World, thread: int, ending: Ending) -> None:
    """The application sees the error, rolls back and closes; the driver retries nothing (reference 6, CODE)."""
    c = w.callers[thread]
    c.outcome = ending
    if (c.transaction == 1 or c.xa == 1) and c.pinned != NOBODY and _session_reachable(w, thread):
        _send(w, thread, Rpc.ROLLBACK, c.pinned)
    else:
        _close(w, thread)


@transition
def _close(w: World, thread: int) -> None:
    """``Connection.close()``: one terminate to the session's pod, or one to every pod that was connected (reference 1.4).

    The driver doesn't wait for the answer (CODE): for the application the unit ends here. The thread is kept until the
    answer all the same, which is a simplification.
    """
    c = w.callers[thread]
    _tell_user(w, thread)
    s = w.settings[0]
    if c.pinned == NOBODY and s.closes_all == 0:
        _end(w, thread)
    elif c.pinned == NOBODY:
        c.probe = 0
        _terminate_onward(w, thread)
    elif _session_reachable(w, thread):
        link = w.links[c.jvm * w.settings[0].replicas + c.pinned]
        link.sessions -= _is_tracked(w, thread)
        _send(w, thread, Rpc.TERMINATE, c.pinned)
    elif w.pods[c.pinned].incarnation == c.incarnation and w.pods[c.pinned].state == PodState.UP:
        if s.closes_all == 1:
            # The driver has forgotten the session's pod, which lives, and tries them all (0.3.1, CODE): one has it.
            _send(w, thread, Rpc.TERMINATE, c.pinned)
        else:
            # Nobody closes it; a clean-up after half an hour is beyond any run (later versions 1.6).
            abandon_session(w, thread)
            _end(w, thread)
    else:
        _end(w, thread)


@transition
def _terminate_onward(w: World, thread: int) -> None:
    c = w.callers[thread]
    c.probe = _next_up(w, c.jvm, c.probe)
    if c.probe < w.settings[0].replicas:
        _send(w, thread, Rpc.TERMINATE, c.probe)
    else:
        _end(w, thread)


@transition
def _tell_user(w: World, thread: int) -> None:
    """The unit has ended for its user, who may have given it up before."""
    c = w.callers[thread]
    unit = w.units[row_of(w, c.unit)]
    w.pages[page_of(w, c.unit)].left -= 1
    unit.pod = c.pod
    if unit.outcome == Ending.UNFINISHED:
        unit.finished_s = w.state[0].now
        unit.thought_s = c.thought_s
        unit.outcome = c.outcome
        if c.outcome != Ending.OK:
            _try_again(w, c.unit)


@transition
def _end(w: World, thread: int) -> None:
    """The thread is free again."""
    c = w.callers[thread]
    jvm = w.jvms[c.jvm]
    if w.settings[0].closed == 1:
        _take_next_unit(w, thread)
    elif jvm.waiting > 0:
        c.unit = w.units[dequeue(w.units, jvm)].number
        post(w, w.state[0].now, EventKind.UNIT_BEGINS, thread)
    else:
        c.next = jvm.idle
        jvm.idle = thread
        jvm.free += 1


@transition
def _take_next_unit(w: World, thread: int) -> None:
    """Closed loop: the same client begins another unit after its pause."""
    c = w.callers[thread]
    unit = w.state[0].arrived
    if unit < w.state[0].loaded:
        _count_arrived(w, unit + 1)
        c.unit = unit * (1 + w.settings[0].retries)
        row = row_of(w, c.unit)
        w.units[row].jvm = c.jvm
        w.units[row].arrival_s = w.state[0].now + w.units[row].gap_s
        post(w, w.units[row].arrival_s, EventKind.UNIT_BEGINS, thread)


@transition
def _try_again(w: World, attempt: int) -> None:
    """An attempt has failed or was given up; the next one is due after a back-off that doubles, with a jitter.

    Attempts are rows of their own: the thread of the last one may still be busy with it.
    """
    s = w.settings[0]
    before = attempt % (1 + s.retries)
    if before < s.retries:
        jitter = w.chances[(attempt * 7919) & (len(w.chances) - 1)]
        pause_s = s.back_off_s * (0.5 + 0.5 * jitter)
        for _ in range(before):
            pause_s *= s.back_off_factor
        w.pages[page_of(w, attempt)].left += 1
        post(w, w.state[0].now + pause_s, EventKind.ATTEMPT_DUE, attempt + 1)


@transition
def patience_ends(w: World, attempt: int) -> None:
    """The user has waited long enough. The driver has no deadline (reference 1.1): the attempt goes on, and holds what it has."""
    if w.pages[page_of(w, attempt)].left == 0:
        return
    u = w.units[row_of(w, attempt)]
    if u.outcome == Ending.UNFINISHED:
        u.outcome = Ending.GIVEN_UP
        u.finished_s = w.state[0].now
        u.thought_s = 0.0
        _try_again(w, attempt)


@transition
def _think_then(w: World, thread: int) -> None:
    c = w.callers[thread]
    think_s = w.statements[c.first + c.at].think_s
    c.thought_s += think_s
    post(w, w.state[0].now + think_s, EventKind.THOUGHT, thread)


@transition
def thought(w: World, thread: int) -> None:
    """The application has processed a statement's result: fetch more of it, close a query's result set, or go on."""
    c = w.callers[thread]
    if c.rpc == Rpc.QUERY or c.rpc == Rpc.FETCH:
        _read_on(w, thread)
    else:
        c.at += 1
        _onward(w, thread)


@transition
def _read_on(w: World, thread: int) -> None:
    c = w.callers[thread]
    if c.fetched < w.statements[c.first + c.at].fetches:
        c.fetched += 1
        _send_or_fail(w, thread, Rpc.FETCH)
    else:
        _send_or_fail(w, thread, Rpc.CLOSE_RESULT)


@transition
def rpc_returns(w: World, caller: int) -> None:
    """The client has the answer of an RPC."""
    c = w.callers[caller]
    c.place = Place.AT_CLIENT
    rpc = c.rpc
    if rpc == Rpc.HEARTBEAT:
        _heartbeat_returns(w, caller)
    elif rpc == Rpc.PUSH:
        c.at += 1
        _push_onward(w, caller)
    elif rpc == Rpc.CONNECT and c.unit < 0:
        # The health thread has had the pod's pool built again.
        _mark_up(w, c.jvm, c.pod)
        _push(w, caller)
    elif rpc == Rpc.CONNECT:
        if c.status == Ending.OK:
            c.connected = 1
        else:
            if c.status == Ending.DATABASE_FULL:
                # The error of the database comes with a code that the driver takes for a lost connection (reference 6, CODE).
                note(w, Trap.DATABASE_MARKS_POD_DOWN)
            _mark_down(w, c.jvm, c.pod)
        if c.xa == 1:
            if c.status == Ending.OK:
                _pin(w, caller)
                _onward(w, caller)
            else:
                _end_unconnected(w, caller, c.status)
        else:
            c.probe += 1
            _connect_onward(w, caller)
    elif rpc == Rpc.TERMINATE:
        if c.pinned == NOBODY:
            c.probe += 1
            _terminate_onward(w, caller)
        else:
            _end(w, caller)
    elif rpc == Rpc.ROLLBACK:
        _close(w, caller)
    elif c.status == Ending.DRAINS:
        # A pod that is about to stop takes nothing new; another one does, and its sessions go on (1.1).
        _mark_draining(w, c.jvm, c.pod)
        if c.pinned == NOBODY:
            _send_or_fail(w, caller, rpc)
        else:
            _fail(w, caller, Ending.UNAVAILABLE)
    elif c.status != Ending.OK:
        marks = rpc == Rpc.CLOSE_RESULT or rpc >= Rpc.CALL if w.settings[0].calls_mark_down == 1 else rpc >= Rpc.FETCH
        if c.status == Ending.UNAVAILABLE and marks:
            # callResource, fetches and XA are the RPCs whose failure marks the pod (reference 6); statements, start and
            # commit are not.
            _mark_down(w, c.jvm, c.pod)
        _fail(w, caller, c.status)
    elif rpc == Rpc.CLOSE_RESULT:
        c.at += 1
        _onward(w, caller)
    elif rpc == Rpc.FETCH:
        _read_on(w, caller)
    else:
        if c.holds == 1:
            # The reply carries the session that was made.
            _pin(w, caller)
        if rpc == Rpc.QUERY or rpc == Rpc.UPDATE or rpc == Rpc.CALL_STATEMENT:
            _think_then(w, caller)
        else:
            _onward(w, caller)


# Health checks ----------------------------------------------------------------------------------------------------


@transition
def health_tick(w: World, jvm: int) -> None:
    """Every 5 s a JVM's one health thread asks the pods believed up, then those down long enough, one after another."""
    thread = len(w.callers) - len(w.jvms) + jvm
    c = w.callers[thread]
    c.probe = 0
    c.round = 0
    c.began_s = w.state[0].now
    _health_onward(w, thread)


@transition
def _health_onward(w: World, thread: int) -> None:
    c = w.callers[thread]
    s = w.settings[0]
    while c.round < 2:
        while c.probe < s.replicas:
            up = _is_up(w, c.jvm, c.probe)
            if (c.round == 0 and up) or (c.round == 1 and not up and _worth_a_try(w, c.jvm, c.probe)):
                _send(w, thread, Rpc.HEARTBEAT, c.probe)
                return
            c.probe += 1
        c.round += 1
        c.probe = 0
    if c.checking == 1:
        c.checking = 0
        _connect(w, thread)
        return
    post(w, max(w.state[0].now, c.began_s + s.health_interval_s), EventKind.HEALTH_TICK, c.jvm)


@transition
def _heartbeat_returns(w: World, thread: int) -> None:
    c = w.callers[thread]
    was_up = _is_up(w, c.jvm, c.pod)
    if c.status == Ending.DRAINS:
        _mark_draining(w, c.jvm, c.pod)
    elif c.status != Ending.OK:
        _mark_down(w, c.jvm, c.pod)
    elif not was_up and w.settings[0].pool_rebuilt_before_up == 1:
        _send(w, thread, Rpc.CONNECT, c.pod)
        return
    else:
        _mark_up(w, c.jvm, c.pod)
    if was_up != (c.status == Ending.OK):
        _push(w, thread)
    else:
        _ask_next(w, thread)


@transition
def _ask_next(w: World, thread: int) -> None:
    w.callers[thread].probe += 1
    _health_onward(w, thread)


@transition
def _push(w: World, thread: int) -> None:
    """The JVM sees the cluster anew, and tells each pod that it believes up, one after another (from 0.4.7 on, CODE)."""
    if w.settings[0].health_pushed == 1:
        w.callers[thread].at = 0
        _push_onward(w, thread)
    else:
        _ask_next(w, thread)


@transition
def _push_onward(w: World, thread: int) -> None:
    c = w.callers[thread]
    c.at = _next_up(w, c.jvm, c.at)
    if c.at < w.settings[0].replicas:
        _send(w, thread, Rpc.PUSH, c.at)
    else:
        _ask_next(w, thread)
