"""A client's gRPC channel to a pod: after a refused connection it rests, longer each time, and what is called meanwhile fails.

A JVM has one channel to each pod, ``w.links[jvm * replicas + pod]``. While it rests nothing goes to the pod, whether that listens
again or not; it tries by itself when the rest is over (gRPC's connection back-off, GENERAL). A channel made anew doesn't rest.
"""

from __future__ import annotations

from math import inf

from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World

#: The first rest, how many times as long each next one is, the longest, and how far each is off at random (gRPC's
#: connection-backoff.md, GENERAL).
FIRST_REST_S, REST_FACTOR, LONGEST_REST_S, REST_JITTER = 1.0, 1.6, 120.0, 0.2


@transition
def _rest_from(w: World, index: int, from_s: float, for_s: float) -> None:
    """The channel tries again after ``for_s``, a fifth more or less."""
    link = w.links[index]
    link.rest_s = min(LONGEST_REST_S, for_s)
    draw = w.chances[(index * 7919 + int(1000.0 * link.rest_s)) & (len(w.chances) - 1)]
    link.tries_s = from_s + link.rest_s * (1.0 + REST_JITTER * (2.0 * draw - 1.0))


@transition
def _rest_again(w: World, index: int) -> None:
    """Its try came to nothing."""
    _rest_from(w, index, w.links[index].tries_s, REST_FACTOR * w.links[index].rest_s)


@transition
def is_refused(w: World, index: int) -> None:
    """Nobody listens at the other end."""
    link = w.links[index]
    now = w.state[0].now
    if link.tries_s == inf:
        _rest_from(w, index, now, FIRST_REST_S)
    while link.tries_s <= now:
        _rest_again(w, index)


@transition
def goes_through(w: World, index: int, listens_since_s: float) -> bool:
    """Whether the channel has reached a pod that listens since then."""
    link = w.links[index]
    while link.tries_s < listens_since_s:
        _rest_again(w, index)
    if link.tries_s > w.state[0].now and link.tries_s < inf:
        return False
    make_channel(w, index)
    return True


@transition
def make_channel(w: World, index: int) -> None:
    """A channel that has never been refused."""
    w.links[index].tries_s = inf
