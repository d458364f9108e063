"""The simulation against queueing theory: where a closed form exists, it lies in the simulation's 99.9 % interval."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from itertools import product
from math import exp, inf, log, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from scipy import stats
from worlds import no_cost

from ojp_sizing.behaviour.world import OK
from ojp_sizing.demand.trace import Trace, sample_trace
from ojp_sizing.demand.workload import Clients, Duration, Network, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.simulation.simulate import simulate
from ojp_sizing.theory.offered import UnitLoad, bare_latency_s, load_of, mean_load, one_way_mean_s
from ojp_sizing.theory.queues import erlang_b, erlang_c, mg1_wait_s, mmc_wait_s, processor_sharing_s, servers_for

Draw = Callable[[Generator, int], np.ndarray]
LOADS = (0.3, 0.6, 0.9)
REPLICATIONS = 10
SERVICE_S = 0.01
#: More units where the load makes neighbours alike.
UNITS = {0.3: 20_000, 0.6: 60_000, 0.9: 400_000}
#: The share of a run that is dropped as its warm-up.
WARM_UP = 0.1


def exponential(rng: Generator, size: int) -> np.ndarray:
    return rng.exponential(SERVICE_S, size)


def constant(rng: Generator, size: int) -> np.ndarray:
    return np.full(size, SERVICE_S)


def lognormal(rng: Generator, size: int, cv: float = 2.0) -> np.ndarray:
    variance = log(1 + cv**2)
    return rng.lognormal(log(SERVICE_S) - variance / 2, sqrt(variance), size)


def updates(
    rate: float, units: int, rng: Generator, *, threads: int, database_s: np.ndarray, rows: np.ndarray
) -> Trace:
    """Poisson arrivals of units of one update at one JVM, on a network without latency."""
    zero, arrival_s = np.zeros(units, np.int32), np.cumsum(rng.exponential(1 / rate, units))
    return Trace(
        duration_s=float(arrival_s[-1]) + 1000 * SERVICE_S,
        rate=rate,
        jvms=1,
        threads=threads,
        arrival_s=arrival_s,
        jvm=zero,
        kind=zero,
        first=np.arange(units, dtype=np.int32),
        count=zero + 1,
        transaction=zero,
        slow=np.zeros(units, np.bool_),
        text=zero,
        writes=zero + 1,
        fails=zero,
        rows=rows.astype(np.int32),
        database_s=database_s,
        think_s=np.zeros(units),
        latencies_s=np.zeros(7),
        health_phase_s=np.full(1, 0.5),
        typical_ms=np.array([1000 * SERVICE_S]),
        typical_rows=np.zeros(1),
        calls=zero,
        xa=zero,
        keeps=zero,
        called=zero,
        fetches=zero,
        gap_s=np.zeros(units),
        chances=np.full(1, 0.5),
    )


def mean_latency_s(traces: Callable[[Generator], Trace], deployment: Deployment, name: str) -> tuple[float, float]:
    """Mean over replications, and half of its 99.9 % interval."""

    def replication(number: int) -> float:
        trace = traces(default_rng([number, *name.encode()]))
        outcomes = simulate(trace, deployment, engine="auto", sample_every_s=1e9)
        kept = slice(int(WARM_UP * len(outcomes.outcome)), None)
        assert (outcomes.outcome == OK).all()
        return float(outcomes.latency_s[kept].mean())

    with ThreadPoolExecutor(2) as pool:
        means = list(pool.map(replication, range(REPLICATIONS)))
    half = stats.t.ppf(0.9995, REPLICATIONS - 1) * np.std(means, ddof=1) / sqrt(REPLICATIONS)
    return float(np.mean(means)), float(half)


def assert_agrees(
    load: float,
    expected_s: float,
    deployment: Deployment,
    *,
    servers: int = 1,
    threads: int = 5000,
    draw: Draw = constant,
    row_s: float = 0.0,
    wait: bool = False,
) -> None:
    """Theory lies in the interval, and the interval's middle within 5 % of theory.

    ``row_s``: the draws are made of rows of so much CPU, else of database time. ``wait``: compare waits, not times.
    """
    rate, units = load * servers / SERVICE_S, UNITS[load]

    def traces(rng: Generator) -> Trace:
        work_s, none = draw(rng, units), np.zeros(units)
        rows = np.round(work_s / row_s) if row_s else none
        return updates(rate, units, rng, threads=threads, database_s=none if row_s else work_s, rows=rows)

    name = f"{load} {expected_s} {servers} {draw.__name__}"
    mean_s, half_s = mean_latency_s(traces, deployment, name)
    found_s = mean_s - SERVICE_S if wait else mean_s
    print(f"{name}: theory {expected_s:.6f}, found {found_s:.6f} +- {half_s:.6f}")  # noqa: T201 - shown where it fails
    assert abs(found_s - expected_s) <= half_s
    assert found_s == pytest.approx(expected_s, rel=0.05)


def bare(*, pool: int = 5000, cores: float = inf, limit_cores: float = 4.0, row_s: float = 0.0) -> Deployment:
    """One pod that costs nothing, but for its rows, and gates nothing, but for its pool."""
    return Deployment(
        1,
        limit_cores,
        ClientPool(pool, 0, 1e6),
        ServerSettings(thread_pool_size=5000, segregation=False),
        Database(cores),
        constants=replace(no_cost(), row_block_cpu_s=100 * row_s),
    )


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("servers", [1, 4, 20])
def test_client_threads_are_the_servers_of_mmc(servers: int, load: float) -> None:
    expected_s = SERVICE_S + mmc_wait_s(load * servers / SERVICE_S, SERVICE_S, servers)
    assert_agrees(load, expected_s, bare(), servers=servers, threads=servers, draw=exponential)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("servers", [1, 7])
def test_connections_are_the_servers_of_mmc(servers: int, load: float) -> None:
    expected_s = SERVICE_S + mmc_wait_s(load * servers / SERVICE_S, SERVICE_S, servers)
    assert_agrees(load, expected_s, bare(pool=servers), servers=servers, draw=exponential)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(("draw", "cv"), [(constant, 0.0), (lognormal, 2.0)])
def test_one_connection_is_mg1(draw: Draw, cv: float, load: float) -> None:
    assert_agrees(load, mg1_wait_s(load / SERVICE_S, SERVICE_S, cv), bare(pool=1), draw=draw, wait=True)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("draw", [exponential, constant, lognormal])
def test_the_databases_core_is_shared_by_processor_sharing(draw: Draw, load: float) -> None:
    expected_s = processor_sharing_s(load / SERVICE_S, SERVICE_S)
    assert_agrees(load, expected_s, bare(cores=1.0), draw=draw)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("draw", [exponential, constant])
def test_a_pods_cpu_under_its_limit_is_shared_by_processor_sharing(draw: Draw, load: float) -> None:
    # Half a core: the same work takes twice the time, so that half the work is the service.
    row_s = SERVICE_S / 2 / 4000

    def half_work(rng: Generator, size: int) -> np.ndarray:
        return draw(rng, size) / 2

    half_work.__name__ = draw.__name__
    expected_s = processor_sharing_s(load / SERVICE_S, SERVICE_S)
    assert_agrees(load, expected_s, bare(limit_cores=0.5, row_s=row_s), draw=half_work, row_s=row_s)


@pytest.mark.parametrize("load", LOADS)
def test_several_database_cores_with_sharing_wait_like_mmc(load: float) -> None:
    # With exponential work the number inside doesn't know the discipline.
    expected_s = SERVICE_S + mmc_wait_s(load * 4 / SERVICE_S, SERVICE_S, 4)
    assert_agrees(load, expected_s, bare(cores=4.0), servers=4, draw=exponential)


# Closed forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "load", "lost", "waits"),
    [
        (1, 0.5, 1 / 3, 0.5),
        (2, 1.0, 0.2, 1 / 3),
        (2, 1.5, 0.310345, 0.642857),
        (10, 8.0, 0.121661, 0.409180),
        (100, 90.0, 0.026957, 0.217_000),
    ],
)
def test_erlang_b_and_c(servers: int, load: float, lost: float, waits: float) -> None:
    assert erlang_b(servers, load) == pytest.approx(lost, abs=2e-6)
    assert erlang_c(servers, load) == pytest.approx(waits, abs=6e-4)


@pytest.mark.parametrize("load", [0.2, 3.0, 20.0])
def test_erlang_b_is_a_truncated_poisson(load: float) -> None:
    terms = np.cumprod([1.0, *(load / c for c in range(1, 31))])
    for servers in (1, 5, 30):
        assert erlang_b(servers, load) == pytest.approx(terms[servers] / terms[: servers + 1].sum(), rel=1e-12)


def test_waits_at_the_edges() -> None:
    assert mmc_wait_s(50.0, 0.01, 1) == pytest.approx(0.01)
    assert mmc_wait_s(100.0, 0.01, 1) == mg1_wait_s(100.0, 0.01, 1.0) == processor_sharing_s(100.0, 0.01) == inf
    assert erlang_c(3, 3.0) == erlang_c(3, 7.0) == 1.0
    assert mg1_wait_s(60.0, 0.01, 1.0) == pytest.approx(mmc_wait_s(60.0, 0.01, 1))
    assert mg1_wait_s(60.0, 0.01, 0.0) == pytest.approx(mmc_wait_s(60.0, 0.01, 1) / 2)


@pytest.mark.parametrize("load", [0.1, 1.0, 7.99, 8.0, 40.0])
@pytest.mark.parametrize("waiting", [0.5, 0.2, 0.01])
def test_servers_for_is_the_least_number(load: float, waiting: float) -> None:
    servers = servers_for(load, waiting)
    assert servers > load
    assert erlang_c(servers, load) <= waiting
    assert servers - 1 <= load or erlang_c(servers - 1, load) > waiting


# Offered loads ------------------------------------------------------------------------------------------------------


def workload_of(*units: UnitOfWork) -> Workload:
    think = Duration(0.003, 1.0, "exponential")
    statements = (
        StatementClass("point", "select 1", "read", Duration(0.002, 0.5), share=6, rows=20),
        StatementClass("list", "select 2", "read", Duration(0.006, 0.5), share=3, rows=200),
        StatementClass("mark", "update 1", "write", Duration(0.004, 0.5), share=1),
    )
    units = tuple(replace(unit, think=think) for unit in units)
    return Workload("w", statements, units, clients=Clients(4, 200), network=Network(0.0005, 0.5))


ONE_QUERY = UnitOfWork("query", 1, ("point",))
ONE_UPDATE = UnitOfWork("update", 1, ("mark",))
QUERIES = UnitOfWork("queries", 1, ("point", "list", "point"))
ORDER = UnitOfWork("order", 1, ("mark", "mark"), transaction=True)
READ_ORDER = UnitOfWork("read order", 1, ("point", "mark"), transaction=True)
DRAWN = UnitOfWork("drawn", 1, 1)


@pytest.mark.parametrize(
    "units",
    [(ONE_QUERY,), (ONE_UPDATE,), (QUERIES,), (ORDER,), (READ_ORDER,), (DRAWN,), (ONE_QUERY, ONE_UPDATE, ORDER)],
    ids=lambda units: "+".join(unit.name for unit in units),
)
def test_mean_load_is_what_a_run_without_waits_uses(units: tuple[UnitOfWork, ...]) -> None:
    workload, rate, replicas = workload_of(*units), 60.0, 3
    deployment = Deployment(replicas, 8.0, ClientPool(300, 300), ServerSettings(segregation=False))
    use = np.zeros(3)
    for seed in range(3):
        trace = sample_trace(workload, rate, 210.0, np.random.SeedSequence(seed))
        outcomes = simulate(trace, deployment)
        first, last = 10, 200
        counted = ((outcomes.arrival_s >= first) & (outcomes.arrival_s < last)).sum()
        stations, pods = outcomes.samples["stations"]["busy_s"], outcomes.samples["pods"]["connection_s"]
        busy = stations[last] - stations[first]
        use += np.array([busy[:-1].sum(), busy[-1], (pods[last] - pods[first]).sum()]) / counted / 3
    load = mean_load(workload, deployment.constants)
    heartbeats = workload.clients.jvms * replicas / deployment.constants.health_interval_s
    cpu_s = load.spread_cpu_s + replicas * load.every_pod_cpu_s
    cpu_s += heartbeats * deployment.constants.small_rpc_cpu_s / rate
    assert use == pytest.approx([cpu_s, load.database_s, load.hold_s], rel=0.03)


def by_pencil(unit: UnitOfWork, **statement: Any) -> tuple[UnitLoad, float]:
    """A unit of one statement's load and bare latency on 3 pods, with times that can be told apart in a sum."""
    only = StatementClass("s", "s", database_time=Duration(100.0), **({"kind": "write", "rows": 0} | statement))
    unit = replace(unit, statements=("s",), think=Duration(7.0))
    workload = Workload("w", (only,), (unit,), network=Network(1.0, 0.0))
    constants = replace(no_cost(0.25), statement_cpu_s=0.02, small_rpc_cpu_s=0.003, commit_database_s=0.5)
    latency_s = bare_latency_s(workload, unit, "fast", 3, constants)
    assert latency_s is not None
    return mean_load(workload, constants), latency_s


def test_loads_by_pencil() -> None:
    """Reference 1.3 to 1.5, RPC by RPC: a flight takes 1 s, thinking 7 s, the database 100 s or 0.5 s for a commit."""
    one = UnitOfWork("u", 1)
    # Each: CPU in all, per pod, database, held, fast slots, slow slots, RPCs of statements, thinking, held by XA.
    load, latency_s = by_pencil(replace(one, calls=2))
    held_s = 1 + 2.003 + (1 + 0.02 + 100 + 1) + 7 + 1.003
    assert astuple(load) == pytest.approx((0.029, 0.003, 100, held_s, 100.01, 0, 1, 7, 0))
    assert latency_s == pytest.approx((3 + 2) * 2.003 + 102.02)
    load, latency_s = by_pencil(replace(one, calls=1, transaction=True))
    held_s = 1 + 2.003 + (1 + 0.02 + 100 + 1) + 7 + 2.503 + 1.003
    assert astuple(load) == pytest.approx((0.032, 0.003, 100.5, held_s, 100.01, 0, 1, 7, 0))
    assert latency_s == pytest.approx((3 + 3) * 2.003 + 0.5 + 102.02)
    load, latency_s = by_pencil(one, session=True)
    held_s = 100.01 + 1 + 7 + 1.003
    assert astuple(load) == pytest.approx((0.023, 0.003, 100, held_s, 100.01, 0, 1, 7, 0))
    load, latency_s = by_pencil(one, kind="call")
    assert astuple(load) == pytest.approx((0.023, 0.003, 100, held_s, 0, 0, 1, 7, 0))
    assert latency_s == pytest.approx(3 * 2.003 + 102.02)
    load, latency_s = by_pencil(one, kind="batch", additions=3)
    held_s = (0.01 + 1) + 2 * (1 + 0.02 + 1) + (1 + 0.02 + 100 + 1) + 7 + 1.003
    assert astuple(load) == pytest.approx((0.083, 0.003, 100, held_s, 0.03, 0, 4, 7, 0))
    assert latency_s == pytest.approx(3 * 2.003 + 3 * 2.02 + 102.02)
    load, latency_s = by_pencil(one, kind="read", fetches=2)
    held_s = 100.01 + 1 + 7 + 3 * 2.003 + 1.003
    assert astuple(load) == pytest.approx((0.032, 0.003, 100, held_s, 100.01, 0, 1, 7, 0))
    assert latency_s == pytest.approx(3 * 2.003 + 102.02 + 3 * 2.003)
    load, latency_s = by_pencil(replace(one, xa=True))
    held_s = 0.25 + 1 + 2.003 + (1 + 0.02 + 100 + 1) + 7 + 2.003 + 2 * 2.503 + 1.003
    assert astuple(load) == pytest.approx((0.038, 0, 101, 0, 0, 0, 1, 7, held_s))
    assert latency_s == pytest.approx(0.25 + 5 * 2.003 + 1 + 102.02)


def test_a_batch_loads_like_its_rpcs() -> None:
    """Additions like updates that keep a session and do nothing in the database, the execution like a call."""
    zero = Duration(0.0, family="constant")
    statements = (
        StatementClass("batch", "b", "batch", Duration(0.03), share=1, rows=4, additions=5),
        StatementClass("add", "a", "write", zero, rows=0, session=True),
        StatementClass("execute", "e", "call", Duration(0.03), rows=4),
        StatementClass("point", "p", "read", Duration(0.002), share=1, rows=4),
    )
    for before in ((), ("point",)):
        whole, parts = (
            UnitOfWork("u", 1, (*before, *names), think=zero)
            for names in (("batch", "point"), (*("add",) * 5, "execute", "point"))
        )
        workload = Workload("w", statements, (whole,))
        loads = [load_of(workload, unit, default_constants()) for unit in (whole, parts)]
        assert astuple(loads[0]) == pytest.approx(astuple(loads[1]))


def test_drawn_statements_load_like_the_mean_of_what_may_be_drawn() -> None:
    statements = (
        StatementClass("batch", "b", "batch", Duration(0.03), share=1, additions=2),
        StatementClass("mark", "m", "write", Duration(0.004), share=3, rows=0),
        StatementClass("call", "c", "call", Duration(0.01), share=1),
    )
    names, shares = [s.name for s in statements], [0.2, 0.6, 0.2]
    workload = Workload("w", statements, (UnitOfWork("drawn", 1, 3),))
    expected = np.zeros(len(UnitLoad.__dataclass_fields__))
    for picks in product(range(3), repeat=3):
        unit = UnitOfWork("u", 1, tuple(names[i] for i in picks))
        load = load_of(workload, unit, default_constants())
        expected += np.prod([shares[i] for i in picks]) * np.array(astuple(load))
    assert astuple(mean_load(workload, default_constants())) == pytest.approx(expected)


@pytest.mark.parametrize("unit", [ONE_QUERY, ONE_UPDATE, QUERIES, ORDER, READ_ORDER], ids=lambda unit: unit.name)
def test_bare_latency_is_the_mean_latency_without_waits(unit: UnitOfWork) -> None:
    workload = workload_of(unit)
    deployment = Deployment(3, 64.0, ClientPool(300, 300), ServerSettings(segregation=False))
    outcomes = simulate(sample_trace(workload, 20.0, 500.0, np.random.SeedSequence(4)), deployment)
    latency_s = outcomes.latency_s[outcomes.outcome == OK].mean()
    assert latency_s == pytest.approx(
        bare_latency_s(workload, workload.units[0], "fast", 3, default_constants()), rel=0.01
    )


def test_mean_flight_is_the_lognormals_mean() -> None:
    assert one_way_mean_s(workload_of(ONE_QUERY)) == pytest.approx(0.0005 * exp(0.125))
