"""The experiments: small records that say what is deployed, what arrives, what goes wrong, and what is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ojp_sizing.demand.workload import Clients, Duration, Network, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.deployment import DEFAULT_VERSION, ClientPool, ServerSettings

#: ``ojp``: through OJP's servers. ``pool``: the HikariCP that OJP 0.3.1-beta has, in the load generator.
#: ``direct``: PostgreSQL's driver alone. ``driver``: OJP's driver, with no server behind the endpoints.
Route = Literal["ojp", "pool", "direct", "driver"]

#: Each text sleeps |x| s in the database and returns a row; where x is negative it then fails (division by zero).
READ = "select 1/(x >= 0)::int as {name} from (values (?::float8)) v(x), lateral pg_sleep(abs(x))"
WRITE = "insert into sink " + READ


@dataclass(frozen=True, slots=True)
class Signal:
    """What is done to a server's process. ``start``: a new one, on the port of one that ended. ``begin``: a new one whose gate
    stays shut, and ``open``: until then, or until it is warm where that is later."""

    at_s: float
    node: int
    what: Literal["KILL", "TERM", "STOP", "CONT", "start", "begin", "open"]


@dataclass(frozen=True, slots=True)
class Resize:
    """The pool is resized, as OJP resizes it on a new view of the cluster (route ``pool`` only)."""

    at_s: float
    maximum: int
    minimum_idle: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What stands behind an endpoint of the driver where there is no server (route ``driver`` only).

    ``refuses``: a closed port. ``frozen``: the kernel accepts, nobody ever answers, as for a process under SIGSTOP.
    ``silent``: no packet is answered, as for a lost node. ``returns_s``: from then on as ``frozen``.
    """

    kind: Literal["refuses", "frozen", "silent"]
    returns_s: float | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """One run: a rate of units, and its share of the largest throughput."""

    rate: float
    load: float | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """``bursts``: (instant, units at once) instead of Poisson arrivals at the bands' rates."""

    name: str
    asks: str
    route: Route
    workload: Workload
    bands: tuple[Band, ...]
    duration_s: float
    pool: ClientPool = field(default_factory=ClientPool)
    server: ServerSettings = field(default_factory=ServerSettings)
    nodes: int = 1
    warm: bool = True
    bursts: tuple[tuple[float, int], ...] = ()
    signals: tuple[Signal, ...] = ()
    resizes: tuple[Resize, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    tail_s: float = 15.0
    """How long units may take after the last one is due."""
    limit_cores: float | None = None
    """CPU limit of each server by a quota; PostgreSQL and the load generators come first where cores are short."""
    settle_s: float = 20.0
    """How long clients go on warming up, for the server's just-in-time compiler."""
    arrivals_of: str | None = None
    """The experiment whose arrivals it has, where they aren't its own."""
    gated: bool = False
    """Clients reach a server only once one connection has had its pool built (docs/restarts.md)."""
    warm_calls: int = 0
    """How many calls are made besides before clients reach it, so that its code is compiled."""
    version: str = DEFAULT_VERSION
    """Of OJP's servers and of their clients' driver."""


def _read(name: str, mean_s: float, family: Literal["exponential", "constant"] = "exponential") -> StatementClass:
    return StatementClass(name, READ.format(name=name), "read", Duration(mean_s, 1.0, family))


def _write(name: str, mean_s: float, error_share: float = 0.0) -> StatementClass:
    duration = Duration(mean_s, 1.0, "constant")
    return StatementClass(name, WRITE.format(name=name), "write", duration, error_share=error_share)


def _workload(
    *statements: StatementClass,
    shares: tuple[float, ...] = (1.0,),
    think_s: float = 0.0,
    jvms: int = 1,
    threads: int = 400,
    one_way_s: float = 0.0,
) -> Workload:
    """A unit of one statement for each of the statements, with these shares."""
    think = Duration(think_s, 1.0, "constant")
    kinds = zip(statements, shares, strict=True)
    units = tuple(UnitOfWork(statement.name, share, (statement.name,), False, think) for statement, share in kinds)
    return Workload("experiment", statements, units, clients=Clients(jvms, threads), network=Network(one_way_s, 0.0))


# Parts that can be had -------------------------------------------------------------------------------------------

#: 40 ms in the database and 10 ms in the application on a pool of 10: 200 units/s at most, less what JDBC costs.
HOLDS = _workload(_read("t0", 0.040), think_s=0.010)
#: A unit that only connects and closes: the load generator sends no statement for a unit whose list is empty.
CONNECTS = replace(HOLDS, units=(UnitOfWork("connect", 1.0, (), False, Duration(0.0)),))

#: Single statements, 20 ms each: what they take beside that calibrates the other experiments.
_SINGLE = (_read("t0", 0.020, "constant"), _write("w", 0.020))

PARTS = (
    Experiment(
        "generator", "What do the load generator, JDBC and PostgreSQL add to a statement's sleep?",
        "direct", _workload(_read("t0", 0.020, "constant")), (Band(20.0),), 20.0,
    ),
    Experiment(
        "statements", "What do JDBC and PostgreSQL add to the sleep of a statement on an open connection, warmed up?",
        "pool", _workload(*_SINGLE, shares=(0.5, 0.5)), (Band(20.0),), 60.0, pool=ClientPool(5, 5, 10.0),
    ),
    Experiment(
        "pool-hold", "The pool as the bottleneck; its connection is held until close",
        "pool", HOLDS, tuple(Band(200.0 * load, load) for load in (0.3, 0.6, 0.8, 0.9, 0.95)), 30.0,
        pool=ClientPool(10, 10, 10.0),
    ),
    Experiment(
        "pool-timeout", "More than the pool can carry: who waits 1 s and fails?",
        "pool", HOLDS, (Band(300.0, 1.5),), 20.0, pool=ClientPool(10, 10, 1.0),
    ),
    Experiment(
        "pool-burst", "60 callers at once on a pool with one open connection: how fast does it grow?",
        "pool", _workload(_read("t0", 0.100, "constant")), (Band(60.0),), 6.0, pool=ClientPool(20, 1, 10.0), warm=False,
        bursts=((0.5, 1), (2.0, 60)),
    ),
    Experiment(
        "pool-resize", "A pool of 20 shrinks to 7 under load, as when a lost pod is back, and grows again",
        "pool", HOLDS, (Band(100.0, 0.7),), 25.0, pool=ClientPool(20, 5, 10.0),
        resizes=(Resize(8.0, 7, 2), Resize(16.0, 20, 5)),
    ),
    Experiment(
        "driver-refused", "Two endpoints, both closed ports: how fast does getConnection() fail?",
        "driver", CONNECTS, (Band(2.0),), 20.0, nodes=2, endpoints=(Endpoint("refuses"), Endpoint("refuses")),
    ),
    Experiment(
        "driver-frozen", "An endpoint that accepts and never answers: how long does getConnection() hang?",
        "driver", CONNECTS, (Band(0.0),), 1.0, bursts=((0.5, 1),), endpoints=(Endpoint("frozen"),), tail_s=90.0,
    ),
    Experiment(
        "driver-silent", "An endpoint whose packets are dropped: how long does getConnection() hang?",
        "driver", CONNECTS, (Band(0.0),), 1.0, bursts=((0.5, 1),), endpoints=(Endpoint("silent"),), tail_s=90.0,
    ),
    Experiment(
        "driver-returns", "An endpoint is back after 22.5 s: when does the driver go there, and how often?",
        "driver", CONNECTS, (Band(2.0),), 40.0, nodes=2, endpoints=(Endpoint("refuses"), Endpoint("refuses", 22.5)),
        tail_s=5.0,
    ),
    Experiment(
        "driver-returns-late", "The same after 75 s: does the driver's patience grow with the outage?",
        "driver", CONNECTS, (Band(2.0),), 150.0, nodes=2, endpoints=(Endpoint("refuses"), Endpoint("refuses", 75.0)),
        tail_s=5.0,
    ),
    Experiment(
        "driver-returns-many", "Six clients, an endpoint each, back after 80 s",
        "driver", replace(CONNECTS, clients=Clients(6, 400)), (Band(12.0),), 140.0, nodes=2,
        endpoints=(Endpoint("refuses"), Endpoint("refuses", 80.0)), tail_s=5.0,
    ),
    Experiment(
        "driver-returns-busy", "The same after 22.5 s, with 200 units per second that ask",
        "driver", CONNECTS, (Band(200.0),), 40.0, nodes=2, endpoints=(Endpoint("refuses"), Endpoint("refuses", 22.5)),
        tail_s=5.0,
    ),
    Experiment(
        "driver-lost", "A lost node (packets dropped) beside a dead one: how often does getConnection() hang?",
        "driver", CONNECTS, (Band(5.0),), 90.0, nodes=2, endpoints=(Endpoint("refuses"), Endpoint("silent")),
        tail_s=40.0,
    ),
)  # fmt: skip

# OJP's servers ---------------------------------------------------------------------------------------------------

_ONE_WAY_S = 0.0001
#: Two texts at 20 ms and one at 200 ms: the mean of means is 80 ms, so that the third is slow (reference 3.1).
_MIXED = _workload(
    _read("a", 0.020), _read("b", 0.020), _read("c", 0.200),
    shares=(0.45, 0.45, 0.10), one_way_s=_ONE_WAY_S,
)  # fmt: skip
_PLAIN = ServerSettings(segregation=False)
_STEADY = _workload(_read("t0", 0.040), think_s=0.010, jvms=2, one_way_s=_ONE_WAY_S)

FIRST_SERVERS = (
    Experiment(
        "idle-server", "The same statements through an idle warm server: what do its driver and the way to it add?",
        "ojp", _workload(*_SINGLE, shares=(0.5, 0.5), one_way_s=_ONE_WAY_S), (Band(20.0),), 60.0, server=_PLAIN,
    ),
    Experiment(
        "slots", "Updates that need a slot and hold a connection only for their RPC: 16 fast slots of 20",
        "ojp", _workload(_write("w", 0.040), one_way_s=_ONE_WAY_S),
        tuple(Band(400.0 * load, load) for load in (0.3, 0.6, 0.8)), 30.0,
    ),
    Experiment(
        "pool", "The pool as the bottleneck, its connection held until close, segregation off",
        "ojp", _STEADY, tuple(Band(400.0 * load, load) for load in (0.3, 0.6, 0.8, 0.9)), 30.0, server=_PLAIN,
    ),
    Experiment(
        "threads", "8 executor threads for a pool of 20",
        "ojp", _STEADY, tuple(Band(200.0 * load, load) for load in (0.3, 0.6, 0.8)), 30.0,
        server=ServerSettings(thread_pool_size=8, segregation=False),
    ),
    Experiment(
        "segregation", "Fast and slow texts, the classifier learning from nothing",
        "ojp", _MIXED, (Band(200.0),), 40.0, warm=False,
    ),
    Experiment(
        "slot-timeout", "Slots wait 0.5 s at most, at twice the load",
        "ojp", _workload(_write("w", 0.040), one_way_s=_ONE_WAY_S), (Band(800.0, 2.0),), 20.0,
        server=ServerSettings(fast_slot_timeout_s=0.5, breaker_threshold=1_000_000),
    ),
    Experiment(
        "pool-wait", "Connections wait 1 s at most, at 1.5 times the load, segregation off, no breaker",
        "ojp", _STEADY, (Band(600.0, 1.5),), 20.0, pool=ClientPool(20, 20, 1.0),
        server=ServerSettings(segregation=False, breaker_threshold=1_000_000),
    ),
    Experiment(
        "breaker", "A third of the updates fail; the breaker is open for 5 s",
        "ojp", _workload(_write("w", 0.005, 0.33), one_way_s=_ONE_WAY_S), (Band(50.0),), 40.0,
        server=ServerSettings(segregation=False, breaker_open_s=5.0),
    ),
    *(
        Experiment(
            f"nodes-{nodes}", f"A pool of 20 divided among {nodes}",
            "ojp", _STEADY, (Band(240.0, 0.6),), 30.0, server=_PLAIN, nodes=nodes,
        )
        for nodes in (2, 3)
    ),
    Experiment(
        "kill", "One of three dies at 10 s; a new one starts at 25 s",
        "ojp", _STEADY, (Band(160.0, 0.4),), 60.0, server=_PLAIN, nodes=3, limit_cores=1.0,
        signals=(Signal(10.0, 2, "KILL"), Signal(25.0, 2, "start")),
    ),
    Experiment(
        "stop", "One of three gets SIGTERM at 10 s; a new one starts at 25 s",
        "ojp", _STEADY, (Band(160.0, 0.4),), 60.0, server=_PLAIN, nodes=3, limit_cores=1.0,
        signals=(Signal(10.0, 2, "TERM"), Signal(25.0, 2, "start")),
    ),
    Experiment(
        "freeze", "One of three is frozen (SIGSTOP) from 10 to 30 s",
        "ojp", _STEADY, (Band(160.0, 0.4),), 60.0, server=_PLAIN, nodes=3,
        signals=(Signal(10.0, 2, "STOP"), Signal(30.0, 2, "CONT")), tail_s=60.0,
    ),
)  # fmt: skip


def _stops(*stops: tuple[float, int]) -> tuple[Signal, ...]:
    """SIGTERM at those instants, and a new process on that node 3 s later."""
    return tuple(
        signal for at_s, node in stops for signal in (Signal(at_s, node, "TERM"), Signal(at_s + 3.0, node, "start"))
    )


#: No breaker and no slots, a pool of 3: who waits longer than 0.5 s for a connection fails.
_LEAKS: dict[str, Any] = {
    "bands": (Band(0.0),), "duration_s": 10.0, "pool": ClientPool(3, 3, 0.5),
    "server": ServerSettings(segregation=False, breaker_threshold=1_000_000),
    "bursts": tuple((float(at_s), 1) for at_s in range(1, 9)),
}  # fmt: skip

LATER_SERVERS = (
    *(
        Experiment(
            f"first-connects-{nodes}", f"40 first connects at once, on {nodes} server{'s' * (nodes > 1)} without a pool",
            "ojp", CONNECTS, (Band(0.0),), 15.0, nodes=nodes, warm=False, bursts=((0.5, 40),),
        )
        for nodes in (1, 3)
    ),
    Experiment(
        "leak-update", "Eight failing updates with parameters, auto-commit, on a pool of 3",
        "ojp", _workload(_write("w", 0.005, 1.0), one_way_s=_ONE_WAY_S), **_LEAKS,
    ),
    Experiment(
        "leak-query", "Eight connections whose first query fails, on a pool of 3",
        "ojp", _workload(replace(_read("t0", 0.005, "constant"), error_share=1.0), one_way_s=_ONE_WAY_S), **_LEAKS,
    ),
    Experiment(
        "first-connect", "A new process: how long until it listens, and until it has answered its first connect?",
        "ojp", CONNECTS, (Band(0.0),) * 10, 1.5, warm=False, bursts=((0.2, 1),), tail_s=10.0,
    ),
    Experiment(
        "segregation-warm", "The same texts as in segregation, the pool built and the classifier taught by the warm-up",
        "ojp", _MIXED, (Band(200.0),), 40.0,
    ),
    Experiment(
        "borrow", "Fast texts want 17 slots of 16; the 4 slow slots are lent once no slow statement has come for 1 s",
        "ojp", _workload(
            _write("a", 0.040), _write("b", 0.040), _write("c", 0.400), shares=(0.5, 0.4994, 0.0006), one_way_s=_ONE_WAY_S,
        ), (Band(430.0),), 30.0, server=ServerSettings(idle_timeout_s=1.0),
    ),
    Experiment(
        "rolling", "Three servers are stopped one after the other, and each is back after 3 s",
        "ojp", _STEADY, (Band(160.0, 0.4),), 60.0, server=_PLAIN, nodes=3, limit_cores=1.0, settle_s=20.0,
        signals=_stops((10.0, 2), (25.0, 1), (40.0, 0)),
    ),
)  # fmt: skip
#: The same with a gate: what they ask is whether it fixes what the others break.
WARMED_SERVERS = tuple(
    replace(
        experiment, name=f"{experiment.name}-warmed", asks=f"{experiment.asks}; clients reach it when its pool stands",
        arrivals_of=experiment.name, gated=True,
    )
    for experiment in (*FIRST_SERVERS, *LATER_SERVERS)
    if experiment.name in ("kill", "rolling")
)  # fmt: skip
#: And with the whole of the fix: code that is compiled, too.
COMPILED_SERVERS = tuple(
    replace(
        experiment, name=f"{experiment.arrivals_of}-compiled", warm_calls=5000,
        asks=f"{experiment.asks.rpartition(';')[0]}; clients reach it when its pool stands and 5,000 calls have been made",
    )
    for experiment in WARMED_SERVERS
)  # fmt: skip
SERVERS = FIRST_SERVERS + LATER_SERVERS + WARMED_SERVERS + COMPILED_SERVERS
EXPERIMENTS = {experiment.name: experiment for experiment in (*PARTS, *SERVERS)}
