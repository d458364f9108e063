"""The circuit breaker: one per SQL text in the memory of each pod (reference section 4, CODE+RUN).

It counts consecutive failures without a time window; any success forgets them, also while it is open; when its open
time is over every request passes until the next failure, which opens it for a whole period again.
"""

from __future__ import annotations

from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World


@transition
def breaker_is_open(w: World, memory: int) -> bool:
    """Whether a request for this text is turned away now (the last instant of the open time included)."""
    m = w.memories[memory]
    return m.failures >= w.settings[0].breaker_threshold and w.state[0].now <= m.open_until_s


@transition
def breaker_succeeds(w: World, memory: int) -> None:
    """A success erases the record."""
    w.memories[memory].failures = 0


@transition
def breaker_fails(w: World, memory: int) -> None:
    """A failure of any kind; from the threshold on it opens, or opens again. While it is open, failures change nothing."""
    if breaker_is_open(w, memory):
        return
    m = w.memories[memory]
    m.failures += 1
    if m.failures >= w.settings[0].breaker_threshold:
        m.open_until_s = w.state[0].now + w.settings[0].breaker_open_s
