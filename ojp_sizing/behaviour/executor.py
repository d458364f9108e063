"""The executor of a pod (reference 1.2).

Every RPC, health checks included, takes one of its threads and keeps it to the end; behind the threads is one unbounded FIFO
queue. A waiting handler holds what it has: its thread, then also its slot, then also its connection.
"""

from __future__ import annotations

from math import inf

from ojp_sizing.behaviour.channel import goes_through, is_refused
from ojp_sizing.behaviour.heap import request_comes
from ojp_sizing.behaviour.kinds import Ending, EventKind, News, Place, PodState, Rpc, Trap
from ojp_sizing.behaviour.queues import dequeue, enqueue
from ojp_sizing.behaviour.sharing import join
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.warming import youth_s
from ojp_sizing.behaviour.world import World, latency_s, note, post, tell

#: A statement's CPU is spent half before the database and half after it (project assumption; only the sum has a source).
CPU_BEFORE_DATABASE = 0.5


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
        hang(w, caller, w.settings[0].connect_hang_s if anew else w.settings[0].call_hang_s)
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
def hang(w: World, caller: int, for_s: float) -> None:
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
        tell_drained(w, w.callers[caller].pod)


@transition
def tell_drained(w: World, pod: int) -> None:
    """A stopping pod ends when nobody is inside, and, where it drains, no session is left."""
    p = w.pods[pod]
    if p.inside == 0 and (w.settings[0].drains == 0 or p.sessions == 0):
        tell(w, pod, News.DRAINED)


@transition
def open_session(w: World, caller: int) -> None:
    c = w.callers[caller]
    c.incarnation = w.pods[c.pod].incarnation
