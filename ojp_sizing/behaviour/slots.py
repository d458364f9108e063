"""The slots of a pod: two lanes that lend to each other (reference section 2, CODE+RUN).

Each pool of a pod has lanes of its own; an XA pool too. An acquire is one atomic event here, so that the 100 ms borrow
stage of the server is never entered (reference 2). A released permit goes to the longest waiter at once, or, where
``slot_handover_s`` is above 0, only after that time, while a newcomer may pass (barging, reference 2, CODE+RUN).
"""

from __future__ import annotations

from ojp_sizing.behaviour.arithmetic import share_of_pool, slots_of, split_slots
from ojp_sizing.behaviour.kinds import EventKind, Place, Side, Trap
from ojp_sizing.behaviour.queues import dequeue, wait
from ojp_sizing.behaviour.records import NOBODY, Lane
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, note, post

#: What becomes of who asks for a slot.
REFUSED, WAITS, GRANTED = -1, 0, 1

for rule in (share_of_pool, split_slots, slots_of):
    transition(rule)


@transition
def has_slots(w: World) -> bool:
    """Whether statements of pooled connections take slots."""
    return w.settings[0].segregation == 1 or w.settings[0].admission_always_on == 1


@transition
def acquire_slot(w: World, caller: int, side: Side) -> int:
    """Ask for a slot of lane ``side`` of the caller's pool: GRANTED; WAITS; or REFUSED, where too many wait already."""
    c = w.callers[caller]
    now = w.state[0].now
    own = w.lanes[2 * c.pool + side]
    other = w.lanes[2 * c.pool + 1 - side]
    own.used = 1
    own.last_arrival_s = now
    c.lane = side
    if side == Side.SLOW:
        w.pods[c.pod].classed_slow += 1
    if own.free > 0:
        own.free -= 1
        return GRANTED
    if other.free > 0 and other.used == 1 and now - other.last_arrival_s >= w.pools[c.pool].idle_timeout_s:
        other.free -= 1
        own.borrowed += 1
        w.pods[c.pod].borrowed += 1
        return GRANTED
    if own.total == 0:
        note(w, Trap.LANE_WITHOUT_SLOT)
    depth = w.settings[0].queue_depth
    if depth > 0 and own.waiting >= depth * (own.total + other.total):
        note(w, Trap.ADMISSION_FULL)
        c.lane = NOBODY
        return REFUSED
    c.place = Place.WAITS_FOR_SLOT
    wait(w, own, caller, own.timeout_s, EventKind.SLOT_TIMER, 2 * c.pool + side)
    return WAITS


@transition
def keep_permit(w: World, caller: int) -> None:
    """The session that the caller has made keeps its slot until it ends (from 0.4.16 on)."""
    c = w.callers[caller]
    if w.settings[0].session_permits == 1 and c.lane != NOBODY and c.permit == NOBODY:
        c.permit = c.lane
        c.lane = NOBODY
        w.pods[c.pod].sessions += 1


@transition
def give_permit_back(w: World, caller: int) -> None:
    """The session ends."""
    c = w.callers[caller]
    if c.permit != NOBODY:
        c.lane = c.permit
        c.permit = NOBODY
        w.pods[c.pod].sessions -= 1
        release_slot(w, caller)


@transition
def leak_slot(w: World, caller: int, side: int) -> None:
    """Nobody is left who could give it back."""
    w.lanes[2 * w.callers[caller].pool + side].leaked += 1


@transition
def abandon_session(w: World, caller: int) -> None:
    """A session that nobody will end: its connection and its permit are lost."""
    c = w.callers[caller]
    if c.holds == 1:
        w.pools[c.pool].leaked += 1
        c.holds = 0
    if c.permit != NOBODY:
        leak_slot(w, caller, c.permit)
        w.pods[c.pod].sessions -= 1
        c.permit = NOBODY


@transition
def cut_slots(w: World, pool: int, connections: int, in_use: int) -> None:
    """The pool has so many connections now, and as many slots. ``in_use`` 1: some may be; 0: all are free."""
    s = w.settings[0]
    fast, slow = slots_of(connections, s.slow_slot_percentage, s.segregation == 1, s.admission_always_on == 1)
    for side in range(2):
        lane = w.lanes[2 * pool + side]
        total = slow if side == Side.SLOW else fast
        lane.free = lane.free + total - lane.total if in_use == 1 else total
        lane.total = total
        while lane.free > 0 and lane.waiting > 0:
            _grant(w, lane)


@transition
def release_slot(w: World, caller: int) -> None:
    """End the use of a slot. While the lane owes permits they go to the lender first, whoever borrowed them."""
    c = w.callers[caller]
    index = 2 * c.pool + c.lane
    if w.lanes[index].borrowed > 0:
        w.lanes[index].borrowed -= 1
        index = 2 * c.pool + 1 - c.lane
    c.lane = NOBODY
    lane = w.lanes[index]
    lane.free += 1
    if lane.waiting > 0 and lane.free > 0:
        if w.settings[0].slot_handover_s > 0.0:
            post(w, w.state[0].now + w.settings[0].slot_handover_s, EventKind.SLOT_HANDED, index)
        else:
            _grant(w, lane)


@transition
def _grant(w: World, lane: Lane) -> None:
    lane.free -= 1
    heir = dequeue(w.callers, lane)
    w.callers[heir].place = Place.HAS_SLOT
    post(w, w.state[0].now, EventKind.SLOT_GRANTED, heir)


@transition
def divide_slots(w: World, pool: int) -> None:
    """A new process has the slots of the pool's share with all pods up, whatever the one before it had at its end."""
    s = w.settings[0]
    if s.remembers_view == 1 and has_slots(w):
        cut_slots(w, pool, share_of_pool(s.pool_size, s.replicas), 0)


@transition
def slot_handed(w: World, index: int) -> None:
    """The longest waiter wakes for a released permit, unless a newcomer has taken it meanwhile."""
    lane = w.lanes[index]
    if lane.waiting > 0 and lane.free > 0:
        _grant(w, lane)
