"""The records that the transitions read and write: what each field means, its value at first, and what resets it.

Times are s, CPU is core seconds. A row is as it is written here: the compiled clock's rows are read by cache lines.
"""

from __future__ import annotations

from math import inf
from typing import Annotated, Protocol

import numpy as np

from ojp_sizing.behaviour.kinds import Ending, EventKind, News, Place, PodState, Rpc
from ojp_sizing.behaviour.record import Narrow, Own, Real, Record, Reset, Setting, Small, Whole, field, record

NOBODY = -1
#: Whose a job on a pod's CPU is that no caller waits for: the compiler's; a pool's adder's, with the pool as its token.
COMPILER = -2
ADDER = -3
#: How often the later classifier makes its baseline anew, s (later versions 3, CODE+RUN).
BASELINE_S = 10.0

PROCESS, UNIT = Reset.PROCESS, Reset.UNIT


class Queue(Protocol):
    """A record that callers or units stand in a queue for."""

    head: int
    tail: int
    waiting: int


class TimedQueue(Queue, Protocol):
    """One whose waits have a limit."""

    timer_due: float


class Member(Protocol):
    """A record that stands in queues, in one at a time."""

    next: int
    queued_s: float


HEAD = "who has stood longest in its queue, where somebody does"
TAIL = "who came last"
WAITING = "how many stand in it"
TIMER_DUE = "when the one timer of its queue is due (inf: none is)"


@record
class Settings(Record):
    """Constants of one run, a single row. Flags and traits of the version (deployment/versions.py) are 0 or 1."""

    replicas: Whole = field("pods")
    texts: Whole = field("different SQL texts")
    page_bits: Whole = field("a page has 2 to this power units")
    sources: Whole = field("kinds of clients: pools of each pod, XA's among them")
    xa_source: Whole = field("which of them is XA's, or NOBODY")
    segregation: Whole = field("slow-query segregation is on")
    tracks_sessions: Whole = field("the driver counts sessions: 2 all, 1 those of XA, 0 none has any")
    checks_in_connect: Whole = field("trait: health is checked inside getConnection()")
    connect_cached: Whole = field("trait: a JVM calls the pods once only")
    closes_all: Whole = field("trait: a close without a session calls every pod")
    calls_mark_down: Whole = field("trait: a failed callResource marks its pod down")
    pool_build_locked: Whole = field("trait: one pool is built, others wait")
    pool_rebuilt_before_up: Whole = field("trait: a pod counts as up once its pool is there again")
    health_pushed: Whole = field("trait: a change of a client's view is sent to the pods at once")
    remembers_view: Whole = field("trait: a view that comes before the pool is applied when that is built")
    admission_always_on: Whole = field("trait: permits also without segregation")
    session_permits: Whole = field("trait: a session keeps its permit")
    session_takes_slots: Whole = field("trait: its statements take one besides")
    queue_depth: Whole = field("trait: so many wait for a lane at most, times its pool's permits (0: any number)")
    admission_fails_breaker: Whole = field("trait: a slot time-out counts as a failure of the statement")
    missing_pool_fails_breaker: Whole = field("trait: a missing datasource counts as one")
    fail_fast: Whole = field("trait: nobody waits for a connection where all are in use")
    borrow_timeout_s: Real = field("longest wait for a connection")
    slots_follow_pool: Whole = field("trait: slots are resized with the pool")
    breaker_per_pool: Whole = field("trait: each pool has its breakers, else one pod's pools share them")
    relative_baseline: Whole = field("trait: the classifier of 0.4.19 and later")
    drains: Whole = field("trait: a stopping pod lets its sessions end")
    eager_close: Whole = field("trait: a plain update gives its connection back even where it failed")
    slow_slot_percentage: Whole = field("share of the slots that are the slow lane's, %")
    threads: Whole = field("threads of a pod's executor")
    pool_size: Whole = field("maximumPoolSize of the cluster")
    pool_idle: Whole = field("minimumIdle of the cluster")
    connection_limit: Real = field("connections that the database lets be open")
    connection_open_s: Real = field("opening a connection takes so long")
    connection_open_cpu_s: Real = field("of which on the pod's CPU")
    connection_pause_s: Real = field("rest of a pool's adder after each connection")
    pool_build_s: Real = field("a new process takes so long until it can build its first pool")
    pool_build_cpu_s: Real = field("CPU of building a pool")
    warm_pools: Whole = field("the pools of a pod that comes back are built before anyone can come")
    breaker_threshold: Whole = field("failures in a row that open a breaker")
    breaker_open_s: Real = field("for how long")
    health_interval_s: Real = field("time between health checks, and until a failed pod is asked again")
    statement_cpu_s: Real = field("CPU of a statement, without its rows")
    small_rpc_cpu_s: Real = field("CPU of an RPC that is no statement")
    connect_cpu_s: Real = field("CPU of connect, terminate and push")
    row_cpu_s: Real = field("CPU of a row of a result")
    hand_over_cpu_s: Real = field("CPU of handing an RPC to a thread")
    wake_cpu_s: Real = field("CPU of waking what sleeps")
    wake_after_s: Real = field("what wasn't called for so long sleeps wholly")
    young_cpu_s: Real = field("CPU that a new process's first call takes more")
    compile_cpu_s: Real = field("CPU of the compiler for it")
    warm_up_calls: Real = field("calls that a new process has answered before anyone can come, where pools are warm")
    commit_database_s: Real = field("work of the database for a commit or rollback")
    slot_handover_s: Real = field("a released slot waits so long for its heir")
    leak_probability: Real = field("share of failed statements whose connection is lost")
    call_hang_s: Real = field("a call to a lost node hangs so long")
    connect_hang_s: Real = field("over a channel made anew")
    closed: Whole = field("closed loop: each client begins a unit when its last one has ended")
    timeout_s: Real = field("patience of a user (inf: no end)")
    retries: Whole = field("further attempts of a user")
    back_off_s: Real = field("pause before the first of them")
    back_off_factor: Real = field("each next pause is so many times as long")
    cpu_period_s: Real = field("period of the CPU limit")
    watches_memory: Whole = field("memory is simulated")
    memory_limit_bytes: Real = field("memory limit of a pod")
    memory_base_bytes: Real = field("memory of an idle server")
    heap_per_connection_bytes: Real = field("memory of an open connection")
    heap_per_request_bytes: Real = field("memory of an RPC inside")
    heap_per_row_bytes: Real = field("memory of a row that waits to be handed over")
    young_bytes: Real = field("size of the young generation")
    collection_cpu_s: Real = field("CPU of one collection")


@record
class State(Record):
    """The present, a single row."""

    now: Real = field("the instant", 0.0)
    posted: Whole = field("posts of the transition under way", 0)
    overrun: Whole = field("1: something found no room in its table, a defect", 0)
    told: Whole = field("the pod of which the control plane must hear `news`, or NOBODY", NOBODY)
    arrived: Whole = field("units that have arrived", 0)
    loaded: Whole = field(
        "units that are, or were, in the tables; more than have arrived, but at the end of the trace", 0
    )
    connections: Whole = field("connections at the database", 0)
    connections_peak: Whole = field("the most so far", 0)
    unnoticed: Whole = field("of them, those of pods that vanished", 0)
    database_full: Whole = field("1: others have all connections", 0)
    database_slowdown: Real = field("statements that begin now take so many times as long", 1.0)
    news: Annotated[News, np.int64] = field("what the control plane must hear", News.DRAINED)


@record
class Post(Record):
    """An event that a transition has asked the clock for."""

    time: Real = field("when")
    kind: Annotated[EventKind, np.int64] = field("which event")
    subject: Whole = field("of which caller, pod, pool, lane or unit")


@record
class Pod(Record):
    """One server process: its executor, and integrals over time of what is busy in it. The sums are of all its processes."""

    state: Annotated[PodState, np.int64] = field("where it is in its life", PodState.UP)
    incarnation: Whole = field("how many processes came before this one", 0)
    threads_free: Whole = field("threads of the executor that wait for an RPC", Setting("threads"), PROCESS)
    inside: Whole = field("RPCs inside, on a thread or queued", 0, PROCESS)
    head: Whole = field(HEAD, 0, PROCESS)
    tail: Whole = field(TAIL, 0, PROCESS)
    waiting: Whole = field(WAITING, 0, PROCESS)
    key: Whole = field("a view of the cluster is the XOR of the keys of the pods in it")
    lost_s: Real = field("when its node was lost (-inf: it wasn't)", -inf)
    listens_s: Real = field("since when the process listens (-inf: since before the run)", -inf)
    loaded_s: Real = field("when the process has loaded what builds a pool (inf: nobody has asked it to)", inf, PROCESS)
    called_s: Real = field("last RPC", -inf, PROCESS)
    answered: Real = field("calls that a young process has answered (inf: it is old)", 0.0, PROCESS)
    compile_s: Real = field("work that the compiler has before it", 0.0, PROCESS)
    compiles: Whole = field("1: a piece of it is on the CPU", 0, PROCESS)
    settled_s: Real = field("up to when the integrals are", 0.0)
    thread_s: Real = field("integral of the busy threads", 0.0)
    queue_s: Real = field("integral of the queued RPCs", 0.0)
    connection_s: Real = field("integral of the connections in use", 0.0)
    pooled_s: Real = field("integral of the connections that its pools may have", 0.0)
    waiter_s: Real = field("integral of those who wait for a connection", 0.0)
    fast_slot_s: Real = field("integral of the fast slots in use", 0.0)
    slow_slot_s: Real = field("integral of the slow slots in use", 0.0)
    rpcs: Whole = field("RPCs that came in", 0)
    inside_peak: Whole = field("the most that were inside", 0)
    classed_slow: Whole = field("statements that asked for a slow slot", 0)
    borrowed: Whole = field("slots lent by the other lane", 0)
    buffered_rows: Whole = field("rows of results between the database's answer and their hand-over", 0, PROCESS)
    allocated_bytes: Real = field("allocated since the last collection", 0.0, PROCESS)
    doomed: Whole = field("1: the memory limit is passed, the kernel is about to kill", 0, PROCESS)
    kills: Whole = field("processes killed for their memory", 0)
    collections: Whole = field("collections of the heap", 0)
    sessions: Whole = field("sessions that keep a permit", 0, PROCESS)


@record
class Pool(Record):
    """What a pod keeps for one kind of client (connHash, reference 5): its Hikari pool (none for XA), and what its classifier
    holds for all texts. Row `pod * sources + kind`."""

    pod: Whole = field("its pod")
    created: Whole = field("1: it is built; of XA: somebody has connected", 0, PROCESS)
    maximum: Whole = field("connections that it may have now", 0, PROCESS)
    minimum: Whole = field("idle connections that it wants now", 0, PROCESS)
    open: Whole = field("connections, with the one that is being opened", 0, PROCESS)
    in_use: Whole = field("of them in use, leaked ones too", 0, PROCESS)
    idle: Whole = field("of them idle", 0, PROCESS)
    generation: Whole = field(
        "how often its connections were evicted; older ones are closed on their return", 0, PROCESS
    )
    opening_due: Real = field(
        "when the adder is free for more (inf: it is; -1: its opening is on the CPU)", inf, PROCESS
    )
    tasks: Whole = field("tasks behind the adder's present one", 0, PROCESS)
    adder: Whole = field("what the adder does while it is busy", 0, PROCESS)
    timer_due: Real = field(TIMER_DUE, inf, PROCESS)
    belief: Whole = field("the last view that a client has sent", 0, PROCESS)
    belief_known: Whole = field("1: one has", 0, PROCESS)
    head: Whole = field(HEAD, 0, PROCESS)
    tail: Whole = field(TAIL, 0, PROCESS)
    waiting: Whole = field(WAITING, 0, PROCESS)
    back_off_s: Real = field("the adder's last rest after a refusal", 0.0, PROCESS)
    resized_s: Real = field("last change of its maximum", -inf, PROCESS)
    leaked: Whole = field("connections that nobody can give back", 0, PROCESS)
    orphaned: Whole = field("connections of pools that were built besides", 0, PROCESS)
    direct: Whole = field("connections of XA sessions", 0, PROCESS)
    idle_timeout_s: Real = field("its lanes lend after so long without an arrival")
    global_average_s: Real = field("how often the overall average is made anew")
    overall_ms: Real = field("the classifier's overall average", 0.0, PROCESS)
    overall_at_s: Real = field("when that was made", 0.0, PROCESS)
    healthy: Whole = field("pods up in the last view", Setting("replicas"), PROCESS)
    building: Whole = field("1: somebody is building it", 0, PROCESS)
    baseline_ms: Real = field("the later classifier's baseline", 0.0, PROCESS)
    baseline_at_s: Real = field("when that was made", -BASELINE_S, PROCESS)


@record
class Lane(Record):
    """A lane of a pool's slots. Row `2 * pool + side`."""

    total: Whole = field("its slots")
    free: Whole = field("slots to be had; below 0 where a cut took some that are in use", Own("total"), PROCESS)
    borrowed: Whole = field("slots that it owes to the other lane", 0, PROCESS)
    used: Whole = field("1: somebody has asked for one", 0, PROCESS)
    last_arrival_s: Real = field("when somebody last did", 0.0, PROCESS)
    timeout_s: Real = field("longest wait")
    timer_due: Real = field(TIMER_DUE, inf, PROCESS)
    head: Whole = field(HEAD, 0, PROCESS)
    tail: Whole = field(TAIL, 0, PROCESS)
    waiting: Whole = field(WAITING, 0, PROCESS)
    leaked: Whole = field("slots that nobody can give back", 0, PROCESS)


@record
class Memory(Record):
    """What a classifier has learned of one SQL text. Row `pool * texts + text`."""

    seen: Whole = field("1: it has run", 0, PROCESS)
    average_ms: Real = field("moving average of its times", 0.0, PROCESS)
    samples: Whole = field("how often it ran", 0, PROCESS)
    flagged: Whole = field("1: it is slow (later classifier)", 0, PROCESS)


@record
class Breaker(Record):
    """The breaker of one SQL text, one for each pool or shared by all of a pod. Row `pool * texts + text`, of the pod's first
    pool where it is shared."""

    failures: Whole = field("failures in a row", 0, PROCESS)
    open_until_s: Real = field("end of its open time, where there are enough", 0.0, PROCESS)


@record
class Station(Record):
    """A processor-sharing server: a pod's CPU under its limit, or (the last one) the database's cores."""

    cores: Real = field("cores that its jobs can use at once")
    virtual_s: Real = field("work that each job has got since it was empty", 0.0, PROCESS)
    settled_s: Real = field("up to when its times are", 0.0)
    due_s: Real = field("when the clock will say so, or ask again", inf, PROCESS)
    ends_s: Real = field("when something ends if nobody joins", inf, PROCESS)
    count: Whole = field("jobs", 0, PROCESS)
    joined: Whole = field("jobs so far", 0, PROCESS)
    offset: Whole = field("the first row of its jobs")
    capacity: Whole = field("rows that it has for them")
    busy_s: Real = field("core seconds used", 0.0)
    job_s: Real = field("integral of the jobs", 0.0)
    quota_s: Real = field("core seconds in each period (inf: no limit)")
    left_s: Real = field("of them left in the present period", Own("quota_s"), PROCESS)
    period: Whole = field("number of the present period", 0)
    phase_s: Real = field("when period 0 began")
    refill_s: Real = field("end of the present period")
    throttled_s: Real = field("time for which it stood still", 0.0)
    halt_s: Real = field("core seconds of one core until its jobs go on", 0.0, PROCESS)


@record
class Job(Record):
    """A job of a station; its rows are a heap by finish and number."""

    finish_s: Real = field("the virtual time at which it is done")
    number: Whole = field("in the order of joining")
    caller: Narrow = field("whose it is, or ADDER or COMPILER")
    token: Narrow = field("of a caller's statement: which one; of an adder: its pool")


@record
class Jvm(Record):
    """A client process: its idle threads (a stack), its units that wait for one, its turn and its view of the pods."""

    free: Whole = field("idle threads")
    idle: Whole = field("the topmost of them, or NOBODY")
    head: Whole = field(HEAD, 0)
    tail: Whole = field(TAIL, 0)
    waiting: Whole = field(WAITING, 0)
    turn: Whole = field("counter of the round robin")
    belief: Whole = field("its view: the XOR of the keys of the pods believed up")
    up: Whole = field("how many these are", Setting("replicas"))
    kind: Whole = field("its kind of client")
    checked_s: Real = field("when it last checked the pods inside getConnection()")
    connected: Whole = field("1: getConnection() has called every pod")


@record
class Link(Record):
    """What a client process believes of a pod, and its channel there. Row `jvm * replicas + pod`."""

    failed_s: Real = field("last failure", -inf)
    tries_s: Real = field("the channel rests until then (inf: it wasn't refused)", inf)
    rest_s: Real = field("for how long", 0.0)
    up: Narrow = field("1: believed up", 1)
    epoch: Narrow = field("how often it was marked down; sessions of before are lost", 0)
    sessions: Narrow = field("sessions that count when a pod is chosen", 0)


@record
class Page(Record):
    """A page of the trace: `2 ** page_bits` units with all their attempts. With none left its rows are another page's."""

    shift: Whole = field("leads from its attempts' numbers to their rows")
    left: Whole = field("attempts that are due, or will be, and have not ended")


@record
class Unit(Record):
    """An attempt at a unit of work and how it ended. Attempts are numbered over all units, one unit's one after the other."""

    arrival_s: Real = field("when it is due (inf: it isn't yet)")
    began_s: Real = field("when a thread took it up", inf)
    finished_s: Real = field("when it ended for its user", inf)
    thought_s: Real = field("of that, the client's own time", 0.0)
    gap_s: Real = field("closed loop: the client's pause before it")
    queued_s: Real = field("since when it waits for a thread", 0.0)
    number: Narrow = field("its number as an attempt")
    next: Narrow = field("who stands behind it", 0)
    first: Narrow = field("its first statement")
    count: Narrow = field("its statements")
    jvm: Narrow = field("its client process")
    pod: Narrow = field("the last pod that it called, or NOBODY", NOBODY)
    calls: Narrow = field("calls on the connection before its statements")
    transaction: Small = field("1: a transaction")
    xa: Small = field("1: an XA transaction")
    outcome: Annotated[Ending, np.int8] = field("how it ended", Ending.UNFINISHED)


@record
class Statement(Record):
    """A statement of a unit that is loaded."""

    database_s: Real = field("the database's work")
    think_s: Real = field("the client's own time after it")
    text: Narrow = field("its SQL text")
    rows: Narrow = field("rows of its result")
    fetches: Narrow = field("fetches of more of it")
    writes: Small = field("1: an update, else a query")
    fails: Small = field("1: the database reports an error")
    keeps: Small = field("1: an update that makes a session")
    called: Small = field("1: a callable statement")


@record
class Caller(Record):
    """A client thread, with at most one RPC under way: row `jvm * threads + thread`, and behind them a health thread per JVM.

    Narrow fields: in a large fleet tens of thousands are under way, and each event brings one's lines into the cache.
    """

    began_s: Real = field("of a health thread: when its round began", 0.0)
    thought_s: Real = field("the client's own time in the unit", 0.0, UNIT)
    deadline_s: Real = field("end of its wait, or of what its handler is busy with", 0.0)
    give_up_s: Real = field("when building a pool is given up", 0.0)
    queued_s: Real = field("since when it stands in a queue", 0.0)
    clock_ms: Real = field("the classifier's clock when the statement had its slot", 0.0)
    belief: Whole = field("the view that its RPC carries", 0)
    jvm: Narrow = field("its client process")
    unit: Narrow = field("its attempt at a unit; of a health thread a number below 0, for its draws")
    first: Narrow = field("the unit's first statement", 0)
    count: Narrow = field("the unit's statements", 0)
    at: Narrow = field("which of them is under way; of a health thread that tells the pods: which pod", 0, UNIT)
    probe: Narrow = field("the pod that a round of calls to all has reached", 0, UNIT)
    sends: Narrow = field("messages of the unit, for their draws of latency", 0, UNIT)
    calls: Narrow = field("calls on the connection that are left", 0)
    fetched: Narrow = field("fetches of the present result", 0)
    pod: Narrow = field("the pod of its RPC", 0)
    pool: Narrow = field("the pool of its RPC", 0)
    next: Narrow = field("who stands behind it in a queue, or below it in the stack of idle threads", 0)
    pinned: Narrow = field("the pod of its session, or NOBODY", NOBODY, UNIT)
    epoch: Narrow = field("the link's epoch when the session began", 0)
    incarnation: Narrow = field("the pod's incarnation when the session began", 0)
    generation: Narrow = field("the pool's generation when it got its connection", 0)
    belief_up: Narrow = field("how many pods are up in the view that its RPC carries", 0)
    token: Narrow = field("number of its present work in the database; older work has no taker", 0)
    transaction: Small = field("1: the unit is a transaction", 0)
    xa: Small = field("1: the unit is an XA transaction", 0)
    outcome: Annotated[Ending, np.int8] = field("how the unit will end", Ending.OK, UNIT)
    round: Small = field("of a health check: 0 the pods believed up, 1 those down", 0)
    connected: Small = field("1: a connect of this unit was answered", 0, UNIT)
    begun: Small = field("1: the transaction has begun", 0, UNIT)
    ended: Small = field("how many of the RPCs that end it were sent", 0, UNIT)
    checking: Small = field("1: it checks health inside getConnection()", 0)
    rpc: Annotated[Rpc, np.int8] = field("which RPC", Rpc.CONNECT)
    status: Annotated[Ending, np.int8] = field("how that ended", Ending.OK)
    place: Annotated[Place, np.int8] = field("where that is", Place.AT_CLIENT)
    responding: Small = field("what its CPU is for: 0 the request, 1 the answer, 2 building a pool", 0)
    lane: Small = field("whose slot it has or waits for, its side, or NOBODY", NOBODY, UNIT | PROCESS)
    holds: Small = field("1: it has a connection, or its session has", 0, UNIT | PROCESS)
    timed: Small = field("1: the classifier's clock runs", 0)
    permit: Small = field("the lane whose slot its session keeps, or NOBODY", NOBODY, UNIT | PROCESS)


@record
class Met(Record):
    """How often a trap of OJP was met, and when."""

    count: Whole = field("how often", 0)
    first_s: Real = field("first", inf)
    last_s: Real = field("last", -inf)
