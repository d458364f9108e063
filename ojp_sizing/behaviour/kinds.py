"""The kinds of things that the kernel tells apart. numba takes a member for its number, at no cost."""

from __future__ import annotations

from enum import IntEnum


class EventKind(IntEnum):
    """What the clock's agenda holds; ``agenda.happen`` says which transition answers it."""

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


class Rpc(IntEnum):
    """What a client asks a pod for. The order counts: see ``executor`` and ``driver``."""

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
    #: A client tells a pod how it sees the others.
    PUSH = 16


class Place(IntEnum):
    """Where a caller's RPC is; from QUEUED to BUILDING inside a pod."""

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


class Ending(IntEnum):
    """How an RPC, and so a unit of work, ends."""

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
    #: Of an RPC only: a pod that is about to stop takes nothing new.
    DRAINS = 12


#: Of a unit, in words, by number from OK on.
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


class PodState(IntEnum):
    """Where a pod is in its life; from DOWN on no process is there."""

    UP = 0
    STOPPING = 1
    DOWN = 2
    LOST = 3


class News(IntEnum):
    """What the control plane must hear of a pod."""

    DRAINED = 0
    OUT_OF_MEMORY = 1
    #: The trace's next units must be loaded, which is of no pod.
    UNITS_WANTED = 2


class Action(IntEnum):
    """What the control plane does to a pod or to the database; ``agenda.act`` says which transition it is."""

    STOP = 0
    KILL = 1
    VANISH = 2
    LISTEN = 3
    SLOW_DATABASE = 4
    FILL_DATABASE = 5
    SETTLE = 6


class Side(IntEnum):
    """The two lanes of a pool's slots."""

    FAST = 0
    SLOW = 1


class Trap(IntEnum):
    """Traps of OJP (reference section 11) that a run can meet; ``data/hazards.csv`` says what each is and its fix."""

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
