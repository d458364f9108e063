"""Birth and death of a pod's process (reference 7.1)."""

from __future__ import annotations

from math import inf

from ojp_sizing.behaviour.executor import hang, reply, settle_pod, tell_drained
from ojp_sizing.behaviour.kinds import Ending, News, Place, PodState, Trap
from ojp_sizing.behaviour.pool import build_pool, database_refuses, disconnect_pool
from ojp_sizing.behaviour.record import Reset, renewing
from ojp_sizing.behaviour.records import Breaker, Caller, Lane, Memory, Pod, Pool, Station
from ojp_sizing.behaviour.sharing import settle_station
from ojp_sizing.behaviour.slots import divide_slots
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, note, tell

_has_nothing = renewing(Caller, Reset.PROCESS)
_renew_pod = renewing(Pod, Reset.PROCESS)
_renew_station = renewing(Station, Reset.PROCESS)
_renew_pool = renewing(Pool, Reset.PROCESS)
_renew_lane = renewing(Lane, Reset.PROCESS)
_renew_memory = renewing(Memory, Reset.PROCESS)
_renew_breaker = renewing(Breaker, Reset.PROCESS)


@transition
def pod_stops(w: World, pod: int) -> None:
    """SIGTERM: new RPCs are refused, those inside go on (reference 7.1). A container that is down stays down."""
    if w.pods[pod].state == PodState.UP:
        w.pods[pod].state = PodState.STOPPING
    tell_drained(w, pod)


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
                hang(w, caller, w.settings[0].call_hang_s)
            else:
                reply(w, caller, Ending.UNAVAILABLE)
    for index in range(pod * sources, (pod + 1) * sources):
        disconnect_pool(w, index, state == PodState.DOWN)
    settle_station(w, w.stations[pod])
    _forget_process(w, pod)


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
