"""The world: the tables of records that the transitions read and write, and what they all do with them.

SimPy's clock holds each record as a slotted Python object, the compiled clock as a row of a numpy record array;
``world.pods[p].inside`` means the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np

from ojp_sizing.behaviour.kinds import EventKind, News, Trap
from ojp_sizing.behaviour.record import Record
from ojp_sizing.behaviour.records import (
    Breaker,
    Caller,
    Job,
    Jvm,
    Lane,
    Link,
    Memory,
    Met,
    Page,
    Pod,
    Pool,
    Post,
    Settings,
    State,
    Statement,
    Station,
    Unit,
)
from ojp_sizing.behaviour.transition import transition


class World(NamedTuple):
    """All records of one run. Single records (``settings``, ``state``) are sequences of length 1."""

    settings: Sequence[Settings]
    state: Sequence[State]
    posts: Sequence[Post]
    pods: Sequence[Pod]
    pools: Sequence[Pool]
    lanes: Sequence[Lane]
    memories: Sequence[Memory]
    breakers: Sequence[Breaker]
    stations: Sequence[Station]
    jobs: Sequence[Job]
    jvms: Sequence[Jvm]
    links: Sequence[Link]
    pages: Sequence[Page]
    units: Sequence[Unit]
    statements: Sequence[Statement]
    callers: Sequence[Caller]
    hazards: Sequence[Met]
    latencies_s: Sequence[float]
    chances: Sequence[float]


#: The record of each table of a world, and its layout.
TABLES: Mapping[str, type[Record]] = {
    name: of for name, hint in get_type_hints(World).items() if issubclass(of := get_args(hint)[0], Record)
}
LAYOUTS: Mapping[str, np.dtype[Any]] = {name: of.layout for name, of in TABLES.items()}


@transition
def post(w: World, time_s: float, kind: EventKind, subject: int) -> None:
    """Tell the clock that an event of this kind is due."""
    number = w.state[0].posted
    if number >= len(w.posts):
        w.state[0].overrun = 1
        return
    entry = w.posts[number]
    entry.time = time_s
    entry.kind = kind
    entry.subject = subject
    w.state[0].posted = number + 1


@transition
def page_of(w: World, attempt: int) -> int:
    """The page of an attempt at a unit of work."""
    s = w.settings[0]
    return (attempt // (1 + s.retries)) >> s.page_bits


@transition
def row_of(w: World, attempt: int) -> int:
    """Where an attempt is in the table of units, from when its unit is loaded until its page has none left."""
    return attempt + w.pages[page_of(w, attempt)].shift


@transition
def note(w: World, trap: Trap) -> None:
    """A trap of OJP was met now."""
    met = w.hazards[trap]
    met.count += 1
    met.first_s = min(met.first_s, w.state[0].now)
    met.last_s = w.state[0].now


@transition
def chance(w: World, caller: int) -> float:
    """A uniform draw of the trace's table, the same for the same statement of a unit."""
    c = w.callers[caller]
    return w.chances[(c.unit * 7919 + c.at * 104729) & (len(w.chances) - 1)]


@transition
def latency_s(w: World, caller: int) -> float:
    """One-way network latency of the caller's next message, from the trace's table of draws.

    The k-th message of a unit meets the same draw in every deployment (common random numbers). Draws of a unit are
    neighbours in the table: far apart, each would be a cache miss, a sixth of the compiled clock's time.
    """
    c = w.callers[caller]
    c.sends += 1
    return w.latencies_s[(c.unit * 4423 + c.sends) & (len(w.latencies_s) - 1)]


@transition
def tell(w: World, pod: int, news: News) -> None:
    """Tell the control plane; at most one thing of one pod in an event."""
    w.state[0].told = pod
    w.state[0].news = news
