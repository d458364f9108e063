"""The world: the tables of records that the transitions read and write, and what they all do with them.

SimPy's clock holds each record as a slotted Python object, the compiled clock as a row of a numpy record array;
``world.pods[p].inside`` means the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np

from ojp_sizing.behaviour.record import Record
from ojp_sizing.behaviour.records import NOBODY as NOBODY  # noqa: PLC0414 - all names of a world are found here
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

# Kinds of events ----------------------------------------------------------------------------------------------
UNIT_ARRIVES = 0
UNIT_BEGINS = 1
RPC_REACHES_POD = 2
RPC_RETURNS = 3
CPU_TIMER = 4
DATABASE_TIMER = 5
SLOT_GRANTED = 6
SLOT_TIMER = 7
CONNECTION_GRANTED = 8
CONNECTION_TIMER = 9
ADDER_DUE = 10
POOL_BUILT = 11
THOUGHT = 12
HEALTH_TICK = 13
ATTEMPT_DUE = 14
PATIENCE_ENDS = 15
SLOT_HANDED = 16
XA_OPENED = 17
MEMORY_PASSED = 18
CODE_LOADED = 19

# Kinds of RPCs ------------------------------------------------------------------------------------------------
CONNECT = 0
HEARTBEAT = 1
QUERY = 2
UPDATE = 3
START_TRANSACTION = 4
COMMIT = 5
CLOSE_RESULT = 6
TERMINATE = 7
ROLLBACK = 8
CALL = 9
CALL_STATEMENT = 10
FETCH = 11
XA_START = 12
XA_END = 13
XA_PREPARE = 14
XA_COMMIT = 15
# A client tells a pod how it sees the others
PUSH = 16

# Where a caller's RPC is. Places from QUEUED to BUILDING are inside a pod ------------------------------------------
AT_CLIENT = 0
FLYING = 1
QUEUED = 2
ON_CPU = 3
WAITS_FOR_SLOT = 4
HAS_SLOT = 5
WAITS_FOR_CONNECTION = 6
HAS_CONNECTION = 7
IN_DATABASE = 8
BUILDING = 9
RETURNING = 10

# How an RPC, and so a unit of work, ends ----------------------------------------------------------------------------
UNFINISHED = -1
OK = 0
UNAVAILABLE = 1
SESSION_LOST = 2
NO_POD = 3
NO_DATASOURCE = 4
BREAKER_OPEN = 5
SLOT_TIMEOUT = 6
CONNECTION_TIMEOUT = 7
DATABASE_ERROR = 8
DATABASE_FULL = 9
GIVEN_UP = 10
OVERLOADED = 11
#: Of an RPC only: a pod that is about to stop takes nothing new
DRAINS = 12
ENDINGS = (
    "ok",
    "pod unavailable",
    "session lost",
    "no pod answers",
    "no datasource on the pod",
    "circuit breaker open",
    "slot timeout",
    "connection timeout",
    "database error",
    "database refuses connections",
    "given up by its user",
    "refused, too many wait",
)

# States of a pod ------------------------------------------------------------------------------------------------
UP = 0
STOPPING = 1
DOWN = 2
LOST = 3

# What the control plane must hear of a pod --------------------------------------------------------------------------
DRAINED = 0
OUT_OF_MEMORY = 1
# or that the trace's next units must be loaded, which is of no pod
UNITS_WANTED = 2

FAST = 0
SLOW = 1
#: Whose a job on a pod's CPU is that no caller waits for: the compiler's; a pool's adder's, with the pool as its token
COMPILER = -2
ADDER = -3

# Traps of OJP (reference section 11) that a run can meet; ``data/hazards.csv`` says what each is and its fix ------------
BREAKER_OPENED = 0
EVERYTHING_SLOW = 1
LANE_WITHOUT_SLOT = 2
POOL_OF_ONE = 3
POOL_EMPTIED = 4
POOL_FLAPS = 5
SLOTS_BELOW_POOL = 6
CONVOY = 7
LOCKED = 8
MISSING_DATASOURCE = 9
CONNECTIONS_OVERSHOOT = 10
ONE_POD_LEFT = 11
DATABASE_MARKS_POD_DOWN = 12
CONNECTION_LEAKED = 13
CALL_HANGS = 14
POOL_ORPHANED = 15
MEMORY_KILL = 16
ADMISSION_FULL = 17
HAZARDS = 18


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
def post(w: World, time_s: float, kind: int, subject: int) -> None:
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
def note(w: World, hazard: int) -> None:
    """A trap of OJP was met now."""
    met = w.hazards[hazard]
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
def tell(w: World, pod: int, news: int) -> None:
    """Tell the control plane; at most one thing of one pod in an event."""
    w.state[0].told = pod
    w.state[0].news = news
