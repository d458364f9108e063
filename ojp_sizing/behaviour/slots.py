"""The slots of a pod: two lanes that lend to each other (reference section 2, CODE+RUN).

An acquire is one atomic event here, so that the 100 ms borrow stage of the server is never entered (reference 2), and
a released permit goes to the longest waiter at once: barging is left out (see docs/model.md).
"""

from __future__ import annotations

from ojp_sizing.behaviour.queues import dequeue, wait
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import (
    HAS_SLOT,
    NOBODY,
    SLOT_GRANTED,
    SLOT_TIMER,
    SLOW,
    WAITS_FOR_SLOT,
    World,
    post,
)


@transition
def acquire_slot(w: World, caller: int, side: int) -> bool:
    """Ask for a slot of lane ``side`` on the caller's pod. False: the caller now waits for it."""
    c = w.callers[caller]
    now = w.state[0].now
    own = w.lanes[2 * c.pod + side]
    other = w.lanes[2 * c.pod + 1 - side]
    own.used = 1
    own.last_arrival_s = now
    c.lane = side
    if side == SLOW:
        w.pods[c.pod].classed_slow += 1
    if own.free > 0:
        own.free -= 1
        return True
    if other.free > 0 and other.used == 1 and now - other.last_arrival_s >= w.settings[0].idle_timeout_s:
        other.free -= 1
        own.borrowed += 1
        w.pods[c.pod].borrowed += 1
        return True
    c.place = WAITS_FOR_SLOT
    wait(w, own, caller, own.timeout_s, SLOT_TIMER, 2 * c.pod + side)
    return False


@transition
def release_slot(w: World, caller: int) -> None:
    """End the use of a slot. While the lane owes permits they go to the lender first, whoever borrowed them."""
    c = w.callers[caller]
    lane = w.lanes[2 * c.pod + c.lane]
    if lane.borrowed > 0:
        lane.borrowed -= 1
        lane = w.lanes[2 * c.pod + 1 - c.lane]
    c.lane = NOBODY
    if lane.waiting > 0:
        heir = dequeue(w.callers, lane)
        w.callers[heir].place = HAS_SLOT
        post(w, w.state[0].now, SLOT_GRANTED, heir)
    else:
        lane.free += 1
