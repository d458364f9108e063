"""The OJP JDBC driver in a client JVM, and the application thread that uses it (reference 1.1, 1.4, 6).

Each JVM decides by itself: it knows which pods answered it, and nothing of their load. ``getConnection()`` calls every
pod; a statement without a session goes to the pod of its turn; a session stays on its pod; nothing is retried elsewhere.
"""

from __future__ import annotations

from ojp_sizing.behaviour.queues import dequeue, enqueue
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import (
    AT_CLIENT,
    CLOSE_RESULT,
    COMMIT,
    CONNECT,
    FLYING,
    HEALTH_TICK,
    HEARTBEAT,
    NO_POD,
    NOBODY,
    OK,
    QUERY,
    RPC_REACHES_POD,
    SESSION_LOST,
    START_TRANSACTION,
    TERMINATE,
    THOUGHT,
    UNAVAILABLE,
    UNIT_ARRIVES,
    UNIT_BEGINS,
    UPDATE,
    World,
    latency_s,
    post,
)

# Belief -----------------------------------------------------------------------------------------------------------


@transition
def _mark_down(w: World, jvm: int, pod: int) -> None:
    """The JVM learns that a pod is gone; its sessions there are lost to it."""
    link = w.links[jvm * w.settings[0].replicas + pod]
    link.failed_s = w.state[0].now
    if link.up == 1:
        link.up = 0
        link.epoch += 1
        link.sessions = 0
        w.jvms[jvm].up -= 1
        w.jvms[jvm].belief ^= w.pods[pod].key


@transition
def _mark_up(w: World, jvm: int, pod: int) -> None:
    link = w.links[jvm * w.settings[0].replicas + pod]
    if link.up == 0:
        link.up = 1
        w.jvms[jvm].up += 1
        w.jvms[jvm].belief ^= w.pods[pod].key


@transition
def _worth_a_try(w: World, jvm: int, pod: int) -> bool:
    """Believed up, or failed long enough ago to be asked again."""
    link = w.links[jvm * w.settings[0].replicas + pod]
    return link.up == 1 or w.state[0].now - link.failed_s >= w.settings[0].health_interval_s


@transition
def _choose_pod(w: World, jvm: int) -> int:
    """The pod for a request without a session: round robin, or the fewest sessions where the driver counts them."""
    s = w.settings[0]
    j = w.jvms[jvm]
    if j.up == 0:
        return NOBODY
    base = jvm * s.replicas
    fewest = NOBODY
    even = True
    if s.tracks_sessions == 1:
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
    for pod in range(s.replicas):
        if w.links[base + pod].up == 1:
            if turn == 0:
                return pod
            turn -= 1
    return NOBODY


@transition
def _send(w: World, caller: int, rpc: int, pod: int) -> None:
    c = w.callers[caller]
    c.rpc = rpc
    c.pod = pod
    c.place = FLYING
    c.belief = w.jvms[c.jvm].belief
    c.belief_up = w.jvms[c.jvm].up
    post(w, w.state[0].now + latency_s(w, caller), RPC_REACHES_POD, caller)


# A unit of work ---------------------------------------------------------------------------------------------------


@transition
def unit_arrives(w: World, unit: int) -> None:
    """A unit of work is due; it needs a worker thread of its JVM."""
    if unit + 1 < len(w.units):
        post(w, w.units[unit + 1].arrival_s, UNIT_ARRIVES, unit + 1)
    w.state[0].arrived = unit + 1
    jvm = w.jvms[w.units[unit].jvm]
    if jvm.idle == NOBODY:
        enqueue(w.units, jvm, unit)
    else:
        thread = jvm.idle
        jvm.idle = w.callers[thread].next
        jvm.free -= 1
        w.callers[thread].unit = unit
        unit_begins(w, thread)


@transition
def unit_begins(w: World, thread: int) -> None:
    """The worker thread asks for a connection: a ``connect`` to every pod in turn (reference 1.1, CODE)."""
    c = w.callers[thread]
    unit = w.units[c.unit]
    unit.began_s = w.state[0].now
    c.first = unit.first
    c.count = unit.count
    c.transaction = unit.transaction
    c.thought_s = 0.0
    c.outcome = OK
    c.at = 0
    c.connected = 0
    c.sends = 0
    c.pinned = NOBODY
    c.lane = NOBODY
    c.holds = 0
    c.probe = 0
    _connect_onward(w, thread)


@transition
def _connect_onward(w: World, thread: int) -> None:
    c = w.callers[thread]
    while c.probe < w.settings[0].replicas:
        if _worth_a_try(w, c.jvm, c.probe):
            # A pod believed down is marked up before it has answered, and others send to it meanwhile (CODE of the driver).
            _mark_up(w, c.jvm, c.probe)
            _send(w, thread, CONNECT, c.probe)
            return
        c.probe += 1
    if c.connected == 0:
        c.outcome = NO_POD
        c.closed_s = w.state[0].now
        _end(w, thread)
    elif c.transaction == 1:
        _send_or_fail(w, thread, START_TRANSACTION)
    else:
        _next_statement(w, thread)


@transition
def _send_or_fail(w: World, thread: int, rpc: int) -> None:
    """Send an RPC of the unit to its session's pod, or, without a session, to a pod of the driver's choice."""
    c = w.callers[thread]
    pod = c.pinned
    if pod == NOBODY:
        pod = _choose_pod(w, c.jvm)
        if pod == NOBODY:
            _fail(w, thread, NO_POD)
            return
    elif not _session_reachable(w, thread):
        _fail(w, thread, SESSION_LOST)
        return
    _send(w, thread, rpc, pod)


@transition
def _session_reachable(w: World, thread: int) -> bool:
    """Whether the JVM has believed the session's pod to be up ever since the session began."""
    c = w.callers[thread]
    link = w.links[c.jvm * w.settings[0].replicas + c.pinned]
    return link.up == 1 and link.epoch == c.epoch


@transition
def _next_statement(w: World, thread: int) -> None:
    c = w.callers[thread]
    if c.at < c.count:
        _send_or_fail(w, thread, UPDATE if w.statements[c.first + c.at].writes == 1 else QUERY)
    elif c.transaction == 1:
        _send_or_fail(w, thread, COMMIT)
    else:
        _close(w, thread)


@transition
def _pin(w: World, thread: int) -> None:
    c = w.callers[thread]
    if c.pinned == NOBODY:
        c.pinned = c.pod
        link = w.links[c.jvm * w.settings[0].replicas + c.pod]
        link.sessions += 1
        c.epoch = link.epoch


@transition
def _fail(w: World, thread: int, ending: int) -> None:
    """The application sees the error and closes the connection; nothing is retried (reference 6, CODE)."""
    w.callers[thread].outcome = ending
    _close(w, thread)


@transition
def _close(w: World, thread: int) -> None:
    """``Connection.close()``: one terminate to the session's pod, or one to every pod that was connected (reference 1.4).

    The driver doesn't wait for the answer (CODE): for the application the unit ends here. The thread is kept until the
    answer all the same, which is a simplification.
    """
    c = w.callers[thread]
    c.closed_s = w.state[0].now
    if c.pinned == NOBODY:
        c.probe = 0
        _terminate_onward(w, thread)
    elif _session_reachable(w, thread):
        link = w.links[c.jvm * w.settings[0].replicas + c.pinned]
        link.sessions -= 1
        _send(w, thread, TERMINATE, c.pinned)
    else:
        _end(w, thread)


@transition
def _terminate_onward(w: World, thread: int) -> None:
    c = w.callers[thread]
    base = c.jvm * w.settings[0].replicas
    while c.probe < w.settings[0].replicas:
        if w.links[base + c.probe].up == 1:
            _send(w, thread, TERMINATE, c.probe)
            return
        c.probe += 1
    _end(w, thread)


@transition
def _end(w: World, thread: int) -> None:
    c = w.callers[thread]
    unit = w.units[c.unit]
    unit.finished_s = c.closed_s
    unit.thought_s = c.thought_s
    unit.outcome = c.outcome
    unit.pod = c.pod
    jvm = w.jvms[c.jvm]
    if jvm.waiting > 0:
        c.unit = dequeue(w.units, jvm)
        post(w, w.state[0].now, UNIT_BEGINS, thread)
    else:
        c.next = jvm.idle
        jvm.idle = thread
        jvm.free += 1


@transition
def _think_then(w: World, thread: int) -> None:
    c = w.callers[thread]
    think_s = w.statements[c.first + c.at].think_s
    c.thought_s += think_s
    post(w, w.state[0].now + think_s, THOUGHT, thread)


@transition
def thought(w: World, thread: int) -> None:
    """The application has processed a statement's result: close a query's result set, or go on."""
    c = w.callers[thread]
    if c.rpc == QUERY:
        _send_or_fail(w, thread, CLOSE_RESULT)
    else:
        c.at += 1
        _next_statement(w, thread)


@transition
def rpc_returns(w: World, caller: int) -> None:
    """The client has the answer of an RPC."""
    c = w.callers[caller]
    c.place = AT_CLIENT
    rpc = c.rpc
    if rpc == HEARTBEAT:
        _heartbeat_returns(w, caller)
    elif rpc == CONNECT:
        if c.status == OK:
            c.connected = 1
        else:
            _mark_down(w, c.jvm, c.pod)
        c.probe += 1
        _connect_onward(w, caller)
    elif rpc == TERMINATE:
        if c.pinned == NOBODY:
            c.probe += 1
            _terminate_onward(w, caller)
        else:
            _end(w, caller)
    elif c.status != OK:
        if rpc == CLOSE_RESULT and c.status == UNAVAILABLE:
            # callResource is among the RPCs whose failure marks the pod (reference 6); statements are not.
            _mark_down(w, c.jvm, c.pod)
        _fail(w, caller, c.status)
    elif rpc == START_TRANSACTION:
        _pin(w, caller)
        _next_statement(w, caller)
    elif rpc == COMMIT:
        _close(w, caller)
    elif rpc == CLOSE_RESULT:
        c.at += 1
        _next_statement(w, caller)
    else:
        if rpc == QUERY:
            _pin(w, caller)
        _think_then(w, caller)


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
            up = w.links[c.jvm * s.replicas + c.probe].up == 1
            if (c.round == 0 and up) or (c.round == 1 and not up and _worth_a_try(w, c.jvm, c.probe)):
                _send(w, thread, HEARTBEAT, c.probe)
                return
            c.probe += 1
        c.round += 1
        c.probe = 0
    post(w, max(w.state[0].now, c.began_s + s.health_interval_s), HEALTH_TICK, c.jvm)


@transition
def _heartbeat_returns(w: World, thread: int) -> None:
    c = w.callers[thread]
    if c.status == OK:
        _mark_up(w, c.jvm, c.pod)
    else:
        _mark_down(w, c.jvm, c.pod)
    c.probe += 1
    _health_onward(w, thread)
