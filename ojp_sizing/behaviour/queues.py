"""FIFO queues, and waits with a constant limit.

A queue is any record with ``head``, ``tail`` and ``waiting``; the links (``next``) are in its members, callers or units,
each of which stands in one queue at a time. Where the limit is the same for all, deadlines are in the queue's order,
and one lazy timer (``timer_due``) for the head serves the whole queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ojp_sizing.behaviour.kinds import EventKind
from ojp_sizing.behaviour.records import NOBODY, Member, Queue, TimedQueue
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, post


@transition
def enqueue(w: World, members: Sequence[Member], queue: Queue, member: int) -> None:
    """Put a member at the end."""
    members[member].next = NOBODY
    members[member].queued_s = w.state[0].now
    if queue.waiting == 0:
        queue.head = member
    else:
        members[queue.tail].next = member
    queue.tail = member
    queue.waiting += 1


@transition
def dequeue(members: Sequence[Member], queue: Queue) -> int:
    """Take the member at the head of a queue that isn't empty."""
    member = queue.head
    queue.head = members[member].next
    queue.waiting -= 1
    return member


@transition
def wait(w: World, queue: TimedQueue, caller: int, limit_s: float, timer: EventKind, subject: int) -> None:
    """Queue with a limit; ``timer`` events about ``subject`` will tell when somebody's is over."""
    c = w.callers[caller]
    c.deadline_s = w.state[0].now + limit_s
    enqueue(w, w.callers, queue, caller)
    if queue.timer_due == inf:
        queue.timer_due = c.deadline_s
        post(w, c.deadline_s, timer, subject)


@transition
def wait_timer_fired(w: World, queue: TimedQueue) -> bool:
    """Whether this timer event is the queue's valid one; then call ``take_overdue`` until NOBODY is left."""
    if w.state[0].now != queue.timer_due:
        return False
    queue.timer_due = inf
    return True


@transition
def take_overdue(w: World, queue: TimedQueue, timer: EventKind, subject: int) -> int:
    """Remove the next caller whose limit is over, or return NOBODY with the timer set for the one at the head."""
    if queue.waiting == 0:
        return NOBODY
    head = queue.head
    if w.callers[head].deadline_s <= w.state[0].now:
        return dequeue(w.callers, queue)
    if queue.timer_due == inf:
        queue.timer_due = w.callers[head].deadline_s
        post(w, queue.timer_due, timer, subject)
    return NOBODY
