"""Egalitarian processor sharing: the pod's CPU under its limit, and the database's cores.

``count`` jobs on ``cores`` cores each run at rate ``min(1, cores / count)``, as long as the station has them: a pod's
cores are its node's, under the limit's quota (``bandwidth.py``); the database's are its own. A station keeps a virtual
time that advances at that rate, so that a job's finish is fixed in virtual time when it joins (Kleinrock 1967); the
jobs are a heap by that finish, those that joined first before others that finish with them, and one lazy timer stands for
the earliest.
"""

from __future__ import annotations

from math import inf

from ojp_sizing.behaviour.bandwidth import done_at, use_cores
from ojp_sizing.behaviour.kinds import EventKind
from ojp_sizing.behaviour.records import Job, Station
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, post

#: Jobs whose virtual finish is nearer than this are done: far below a microsecond, far above rounding.
RESOLUTION_S = 1e-10


@transition
def settle_station(w: World, station: Station) -> None:
    """Bring the station's virtual time and integrals to the present."""
    since_s = station.settled_s
    station.settled_s = w.state[0].now
    if station.settled_s > since_s:
        busy = 1.0 if station.halt_s > 0.0 else min(station.count * 1.0, station.cores)
        used_s = use_cores(w, station, busy, since_s)
        station.busy_s += used_s
        station.job_s += (station.settled_s - since_s) * station.count
        if station.halt_s > 0.0:
            station.halt_s -= used_s
            if station.halt_s <= RESOLUTION_S:
                station.halt_s = 0.0
        elif station.count > 0:
            station.virtual_s += used_s / station.count


@transition
def _retime(w: World, station: Station, timer: EventKind, index: int) -> None:
    """Find when the first job, or a halt, will end if nobody joins, and tell the clock where that is sooner than its word."""
    station.ends_s = inf
    if station.halt_s > 0.0:
        station.ends_s = done_at(w, station, 1.0, station.halt_s, 0.5 * RESOLUTION_S)
    elif station.count > 0:
        busy = min(station.count * 1.0, station.cores)
        work_s = max(0.0, w.jobs[station.offset].finish_s - station.virtual_s) * station.count
        station.ends_s = done_at(w, station, busy, work_s, 0.5 * RESOLUTION_S * busy)
    _tell_clock(w, station, timer, index)


@transition
def _tell_clock(w: World, station: Station, timer: EventKind, index: int) -> None:
    if station.ends_s < station.due_s:
        station.due_s = station.ends_s
        post(w, station.due_s, timer, index)


@transition
def _copy(source: Job, target: Job) -> None:
    target.finish_s = source.finish_s
    target.number = source.number
    target.caller = source.caller
    target.token = source.token


@transition
def join(w: World, index: int, timer: EventKind, caller: int, token: int, work_s: float) -> None:
    """A job of ``work_s`` core seconds joins station ``index``, whose timer events are of kind ``timer``."""
    station = w.stations[index]
    settle_station(w, station)
    finish_s = station.virtual_s + work_s
    base = station.offset
    hole = station.count
    if hole >= station.capacity:
        w.state[0].overrun = 1
        return
    station.count += 1
    station.joined += 1
    while hole > 0:
        parent = (hole - 1) >> 1
        if w.jobs[base + parent].finish_s <= finish_s:
            break
        _copy(w.jobs[base + parent], w.jobs[base + hole])
        hole = parent
    job = w.jobs[base + hole]
    job.finish_s = finish_s
    job.number = station.joined
    job.caller = caller
    job.token = token
    _retime(w, station, timer, index)


@transition
def halt(w: World, index: int, timer: EventKind, work_s: float) -> None:
    """Every job stands still while one core does ``work_s`` core seconds of the process's own work."""
    station = w.stations[index]
    settle_station(w, station)
    station.halt_s += work_s
    _retime(w, station, timer, index)


@transition
def _before(one: Job, other: Job) -> bool:
    return one.finish_s < other.finish_s or (one.finish_s == other.finish_s and one.number < other.number)


@transition
def _remove_first(w: World, station: Station) -> None:
    base = station.offset
    station.count -= 1
    last = w.jobs[base + station.count]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= station.count:
            break
        if child + 1 < station.count and _before(w.jobs[base + child + 1], w.jobs[base + child]):
            child += 1
        if not _before(w.jobs[base + child], last):
            break
        _copy(w.jobs[base + child], w.jobs[base + hole])
        hole = child
    _copy(last, w.jobs[base + hole])


@transition
def take_finished(w: World, index: int, timer: EventKind) -> tuple[int, int]:
    """Remove the next finished job: ``(caller, token)``; ``(-1, -1)`` where there is none, with the timer set anew.

    Call it in a loop from the station's timer event, after ``timer_fired`` said that the timer is the valid one.
    """
    station = w.stations[index]
    settle_station(w, station)
    if station.count > 0 and station.halt_s == 0.0:
        first = w.jobs[station.offset]
        if first.finish_s - station.virtual_s <= RESOLUTION_S:
            caller = first.caller
            token = first.token
            _remove_first(w, station)
            return caller, token
    _retime(w, station, timer, index)
    return -1, -1


@transition
def timer_fired(w: World, index: int, timer: EventKind) -> bool:
    """Whether something ends now. Older words than the station's latest are void.

    A word that has become early, since others have joined, is given anew: nothing is settled for it, so that times depend
    on comings and goings only.
    """
    station = w.stations[index]
    if w.state[0].now != station.due_s:
        return False
    station.due_s = inf
    if station.ends_s <= w.state[0].now:
        return True
    _tell_clock(w, station, timer, index)
    return False
