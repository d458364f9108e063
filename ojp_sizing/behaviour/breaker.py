"""The circuit breaker: one per SQL text in the memory of each pod (reference section 4, CODE+RUN).

It is shared by all kinds of clients of the pod; from 0.4.0 on each pool has its own. It counts consecutive failures without a
time window; any success forgets them, also while it is open; when its open time is over every request passes until the next
failure, which opens it for a whole period again.
"""

from __future__ import annotations

from typing import Any

from ojp_sizing.behaviour.kinds import Trap
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, note


@transition
def is_open(b: Any, threshold: int, now_s: float) -> Any:
    """Whether requests for the text of this breaker, or of each of these, are turned away (the last instant included)."""
    return (b.failures >= threshold) & (now_s <= b.open_until_s)


@transition
def breaker_is_open(w: World, breaker: int) -> bool:
    """Whether a request for this text is turned away now."""
    turned_away: bool = is_open(w.breakers[breaker], w.settings[0].breaker_threshold, w.state[0].now)
    return turned_away


@transition
def breaker_succeeds(w: World, breaker: int) -> None:
    """A success erases the record."""
    w.breakers[breaker].failures = 0


@transition
def breaker_fails(w: World, breaker: int) -> None:
    """A failure of any kind; from the threshold on it opens, or opens again. While it is open, failures change nothing."""
    if breaker_is_open(w, breaker):
        return
    b = w.breakers[breaker]
    b.failures += 1
    if b.failures >= w.settings[0].breaker_threshold:
        b.open_until_s = w.state[0].now + w.settings[0].breaker_open_s
        note(w, Trap.BREAKER_OPENED)
