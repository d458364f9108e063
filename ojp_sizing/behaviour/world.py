"""The records that the transitions read and write, and their layout.

A layout is written once, as a numpy dtype. SimPy's clock holds each record as a slotted Python object, the compiled
clock as a row of a numpy record array; ``world.pods[p].inside`` means the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

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
NOBODY = -1
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

_f, _i, _s, _b = np.float64, np.int64, np.int32, np.int8
_QUEUE = [("head", _i), ("tail", _i), ("waiting", _i)]


def _layout(fields: list[tuple[str, Any]]) -> np.dtype[Any]:
    return np.dtype(fields, align=True)


LAYOUTS: dict[str, np.dtype[Any]] = {
    # Constants of one run; times in s, CPU in core seconds
    "settings": _layout(
        [
            ("replicas", _i), ("texts", _i), ("page_bits", _i), ("sources", _i), ("xa_source", _i),
            ("segregation", _i), ("tracks_sessions", _i), ("checks_in_connect", _i),
            # traits of the version (deployment/versions.py), as 0 or 1
            ("connect_cached", _i), ("closes_all", _i), ("calls_mark_down", _i), ("pool_build_locked", _i),
            ("pool_rebuilt_before_up", _i), ("health_pushed", _i), ("remembers_view", _i), ("admission_always_on", _i),
            ("session_permits", _i), ("session_takes_slots", _i), ("queue_depth", _i), ("admission_fails_breaker", _i),
            ("missing_pool_fails_breaker", _i), ("fail_fast", _i), ("borrow_timeout_s", _f), ("slots_follow_pool", _i),
            ("breaker_per_pool", _i), ("relative_baseline", _i), ("drains", _i), ("eager_close", _i),
            ("slow_slot_percentage", _i),
            ("threads", _i), ("pool_size", _i), ("pool_idle", _i), ("connection_limit", _f),
            ("connection_open_s", _f),
            ("connection_open_cpu_s", _f), ("connection_pause_s", _f), ("pool_build_s", _f),
            ("pool_build_cpu_s", _f), ("warm_pools", _i),
            ("breaker_threshold", _i), ("breaker_open_s", _f), ("health_interval_s", _f),
            ("statement_cpu_s", _f), ("small_rpc_cpu_s", _f), ("connect_cpu_s", _f), ("row_cpu_s", _f),
            ("hand_over_cpu_s", _f), ("wake_cpu_s", _f), ("wake_after_s", _f), ("young_cpu_s", _f), ("compile_cpu_s", _f),
            ("warm_up_calls", _f),
            ("commit_database_s", _f), ("slot_handover_s", _f), ("leak_probability", _f),
            ("call_hang_s", _f), ("connect_hang_s", _f), ("closed", _i), ("timeout_s", _f),
            ("retries", _i), ("back_off_s", _f), ("back_off_factor", _f),
            ("cpu_period_s", _f), ("watches_memory", _i), ("memory_limit_bytes", _f), ("memory_base_bytes", _f),
            ("heap_per_connection_bytes", _f), ("heap_per_request_bytes", _f), ("heap_per_row_bytes", _f),
            ("young_bytes", _f), ("collection_cpu_s", _f),
        ]
    ),
    # The instant, the posts of the transition under way, whether something found no room in its table (``overrun``, a defect),
    # the ``news`` of a pod that the control plane must be ``told``, and how many units have arrived and are loaded: never more
    # than arrive, but at the end of the trace
    "state": _layout(
        [
            ("now", _f), ("posted", _i), ("overrun", _i), ("told", _i), ("arrived", _i), ("loaded", _i), ("connections", _i),
            ("connections_peak", _i), ("unnoticed", _i), ("database_full", _i), ("database_slowdown", _f), ("news", _i),
        ]
    ),
    "posts": _layout([("time", _f), ("kind", _i), ("subject", _i)]),
    # One server process: its executor, and integrals over time of what is busy in it
    "pods": _layout(
        [
            ("state", _i), ("incarnation", _i), ("threads_free", _i), ("inside", _i), *_QUEUE,
            ("key", _i), ("lost_s", _f), ("listens_s", _f), ("loaded_s", _f), ("called_s", _f), ("answered", _f),
            ("compile_s", _f), ("compiles", _i),
            ("settled_s", _f), ("thread_s", _f), ("queue_s", _f), ("connection_s", _f), ("pooled_s", _f), ("waiter_s", _f),
            ("fast_slot_s", _f), ("slow_slot_s", _f), ("rpcs", _i), ("inside_peak", _i), ("classed_slow", _i),
            ("borrowed", _i), ("buffered_rows", _i), ("allocated_bytes", _f), ("doomed", _i), ("kills", _i),
            ("collections", _i), ("sessions", _i),
        ]
    ),
    # What a pod keeps for one kind of client (connHash, reference 5): its Hikari pool (none for XA), and what its
    # classifier holds for all texts; ``pod * sources + kind``
    "pools": _layout(
        [
            ("pod", _i), ("created", _i), ("maximum", _i), ("minimum", _i), ("open", _i), ("in_use", _i), ("idle", _i),
            ("generation", _i), ("opening_due", _f), ("tasks", _i), ("adder", _i), ("timer_due", _f), ("belief", _i),
            ("belief_known", _i), *_QUEUE, ("back_off_s", _f), ("resized_s", _f), ("leaked", _i), ("orphaned", _i),
            ("direct", _i), ("idle_timeout_s", _f), ("global_average_s", _f), ("overall_ms", _f), ("overall_at_s", _f),
            ("healthy", _i), ("building", _i), ("baseline_ms", _f), ("baseline_at_s", _f),
        ]
    ),
    # A lane of a pool's slots; lane ``2 * pool + (FAST or SLOW)``
    "lanes": _layout(
        [
            ("total", _i), ("free", _i), ("borrowed", _i), ("used", _i), ("last_arrival_s", _f), ("timeout_s", _f),
            ("timer_due", _f), *_QUEUE, ("leaked", _i),
        ]
    ),
    # What a classifier has learned of one SQL text; ``pool * texts + text``
    "memories": _layout([("seen", _i), ("average_ms", _f), ("samples", _i), ("flagged", _i)]),
    # The breaker of one SQL text, one for each pool or shared by all of a pod: ``pool * texts + text``, of its first pool where
    # it is shared
    "breakers": _layout([("failures", _i), ("open_until_s", _f)]),
    # A processor-sharing server: a pod's CPU under its limit, or (the last one) the database's cores. ``quota_s``: core
    # seconds in each period, of which ``left_s`` are left in the present one, number ``period``, until ``refill_s``;
    # ``halt_s``: core seconds of one core until its jobs go on. ``ends_s``: when something ends if nobody joins;
    # ``due_s``: when the clock will say so, or ask again
    "stations": _layout(
        [("cores", _f), ("virtual_s", _f), ("settled_s", _f), ("due_s", _f), ("ends_s", _f), ("count", _i), ("joined", _i),
         ("offset", _i), ("capacity", _i), ("busy_s", _f), ("job_s", _f), ("quota_s", _f), ("left_s", _f), ("period", _i),
         ("phase_s", _f), ("refill_s", _f), ("throttled_s", _f), ("halt_s", _f)]
    ),
    "jobs": _layout([("finish_s", _f), ("number", _i), ("caller", _s), ("token", _s)]),
    # A client process: its idle threads (a stack), its units that wait for one, its turn and its view of the pods
    "jvms": _layout(
        [("free", _i), ("idle", _i), *_QUEUE, ("turn", _i), ("belief", _i), ("up", _i), ("kind", _i), ("checked_s", _f),
         ("connected", _i)]
    ),
    # What a client process believes of a pod, and its channel there: how long that rests after it was refused, and until when
    # (inf: it isn't refused); ``jvm * replicas + pod``
    "links": _layout(
        [("failed_s", _f), ("tries_s", _f), ("rest_s", _f), ("up", _s), ("epoch", _s), ("sessions", _s)]
    ),
    # The part of the trace that is loaded: attempts at units of work with how they ended, and their statements. Attempts
    # are numbered over all units, those of a unit one after the other; ``row_of`` an attempt is where it is. A page is
    # ``2 ** page_bits`` units with all their attempts; ``shift`` leads from its attempts' numbers to their rows, and
    # ``left`` are those that are due, or will be, and have not ended: with none left its rows are another page's
    "pages": _layout([("shift", _i), ("left", _i)]),
    "units": _layout(
        [
            ("arrival_s", _f), ("began_s", _f), ("finished_s", _f), ("thought_s", _f), ("gap_s", _f), ("queued_s", _f),
            ("number", _s), ("next", _s), ("first", _s), ("count", _s), ("jvm", _s), ("pod", _s), ("calls", _s),
            ("transaction", _b), ("xa", _b), ("outcome", _b),
        ]
    ),
    "statements": _layout(
        [("database_s", _f), ("think_s", _f), ("text", _s), ("rows", _s), ("fetches", _s), ("writes", _b), ("fails", _b),
         ("keeps", _b), ("called", _b)]
    ),
    # A client thread, with at most one RPC under way: ``jvm * threads + thread``, and behind them a health thread per JVM.
    # Narrow fields: in a large fleet tens of thousands are under way, and each event brings one's lines into the cache
    "callers": _layout(
        [
            ("began_s", _f), ("thought_s", _f), ("deadline_s", _f), ("give_up_s", _f), ("queued_s", _f),
            ("clock_ms", _f), ("belief", _i),
            ("jvm", _s), ("unit", _s), ("first", _s), ("count", _s), ("at", _s), ("probe", _s), ("sends", _s),
            ("calls", _s), ("fetched", _s), ("pod", _s), ("pool", _s), ("next", _s), ("pinned", _s), ("epoch", _s),
            ("incarnation", _s), ("generation", _s), ("belief_up", _s), ("token", _s),
            ("transaction", _b), ("xa", _b), ("outcome", _b), ("round", _b), ("connected", _b), ("begun", _b),
            ("ended", _b), ("checking", _b), ("rpc", _b), ("status", _b), ("place", _b), ("responding", _b),
            ("lane", _b), ("holds", _b), ("timed", _b), ("permit", _b),
        ]
    ),
    # How often a trap of OJP was met, and when
    "hazards": _layout([("count", _i), ("first_s", _f), ("last_s", _f)]),
}  # fmt: skip


class World(NamedTuple):
    """All records of one run. Single records (``settings``, ``state``) are sequences of length 1."""

    settings: Sequence[Any]
    state: Sequence[Any]
    posts: Sequence[Any]
    pods: Sequence[Any]
    pools: Sequence[Any]
    lanes: Sequence[Any]
    memories: Sequence[Any]
    breakers: Sequence[Any]
    stations: Sequence[Any]
    jobs: Sequence[Any]
    jvms: Sequence[Any]
    links: Sequence[Any]
    pages: Sequence[Any]
    units: Sequence[Any]
    statements: Sequence[Any]
    callers: Sequence[Any]
    hazards: Sequence[Any]
    latencies_s: Sequence[float]
    chances: Sequence[float]


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
    page: int = (attempt // (1 + s.retries)) >> s.page_bits
    return page


@transition
def row_of(w: World, attempt: int) -> int:
    """Where an attempt is in the table of units, from when its unit is loaded until its page has none left."""
    row: int = attempt + w.pages[page_of(w, attempt)].shift
    return row


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
