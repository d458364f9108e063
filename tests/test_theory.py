"""Closed forms against each other, and offered loads against a run without waits. For queues see tests/verification."""

from dataclasses import astuple, replace
from itertools import product
from math import exp, inf
from typing import Any

import numpy as np
import pytest
from worlds import no_cost

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.trace import sample_trace
from ojp_sizing.demand.workload import Clients, Duration, Network, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.simulation.simulate import simulate
from ojp_sizing.theory.offered import (
    UnitLoad,
    bare_latency_s,
    least_pod_cores,
    load_of,
    mean_load,
    one_way_mean_s,
    pod_cores,
)
from ojp_sizing.theory.queues import erlang_b, erlang_c, mg1_wait_s, mmc_wait_s, processor_sharing_s, servers_for

pytestmark = pytest.mark.fast

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
        StatementClass("load", "insert 1", "batch", Duration(0.006, 0.5), rows=2, additions=4),
        StatementClass("proc", "call 1", "call", Duration(0.006, 0.5), rows=30),
        StatementClass("keys", "insert 2", "write", Duration(0.004, 0.5), rows=0, session=True),
        StatementClass("blob", "select 3", "read", Duration(0.004, 0.5), fetches=3),
    )
    units = tuple(replace(unit, think=think) for unit in units)
    return Workload("w", statements, units, clients=Clients(4, 200), network=Network(0.0005, 0.5))


ONE_QUERY = UnitOfWork("query", 1, ("point",))
ONE_UPDATE = UnitOfWork("update", 1, ("mark",))
QUERIES = UnitOfWork("queries", 1, ("point", "list", "point"))
ORDER = UnitOfWork("order", 1, ("mark", "mark"), transaction=True)
READ_ORDER = UnitOfWork("read order", 1, ("point", "mark"), transaction=True)
DRAWN = UnitOfWork("drawn", 1, 1)
BATCH = UnitOfWork("batch", 1, ("load",))
BATCH_ORDER = UnitOfWork("batch order", 1, ("mark", "load"), transaction=True, calls=2)
CALL = UnitOfWork("call", 1, ("mark", "proc", "mark"))
KEYS = UnitOfWork("keys", 1, ("mark", "keys", "mark"))
BLOB = UnitOfWork("blob", 1, ("blob",))
CALLS = UnitOfWork("calls", 1, ("mark",), calls=2)
XA = UnitOfWork("xa", 1, ("mark", "point", "load"), calls=1, xa=True)
HELD = ("connection_s", "fast_slot_s", "slow_slot_s")
KINDS = (BATCH, BATCH_ORDER, CALL, KEYS, BLOB, CALLS, XA)


@pytest.mark.parametrize(
    "units",
    [
        *((unit,) for unit in (ONE_QUERY, ONE_UPDATE, QUERIES, ORDER, READ_ORDER, DRAWN, *KINDS)),
        (ONE_QUERY, ONE_UPDATE, ORDER),
    ],
    ids=lambda units: "+".join(unit.name for unit in units),
)
def test_mean_load_is_what_a_run_without_waits_uses(units: tuple[UnitOfWork, ...]) -> None:
    workload, rate, replicas = workload_of(*units), 60.0, 3
    constants = replace(default_constants(), wake_cpu_s=0.0)
    deployment = Deployment(replicas, 8.0, ClientPool(300, 300), ServerSettings(), constants=constants)
    use, direct = np.zeros(4), []
    for seed in range(3):
        trace = sample_trace(workload, rate, 210.0, np.random.SeedSequence(seed))
        outcomes = simulate(trace, deployment)
        first, last = 10, 200
        counted = ((outcomes.arrival_s >= first) & (outcomes.arrival_s < last)).sum()
        busy, pods = outcomes.samples["stations"]["busy_s"], outcomes.samples["pods"]
        cpu_s, used = busy[last] - busy[first], {name: (pods[name][last] - pods[name][first]).sum() for name in HELD}
        slots_s = used["fast_slot_s"] + used["slow_slot_s"]
        use += np.array([cpu_s[:-1].sum(), cpu_s[-1], used["connection_s"], slots_s]) / counted / 3
        direct.append(outcomes.samples["pools"]["direct"][first:last].sum(axis=1).mean())
    load = mean_load(workload, constants)
    heartbeats = workload.clients.jvms * replicas / constants.health_interval_s
    cpu_s = replicas * pod_cores(load, rate, replicas, constants) / rate
    cpu_s += heartbeats * (constants.small_rpc_cpu_s + constants.hand_over_cpu_s) / rate
    slots_s = load.fast_slot_s + load.slow_slot_s
    if any(unit.xa for unit in units):
        # The pods count the slots of XA units, too, which the load leaves out.
        use[3] = slots_s
    assert use == pytest.approx([cpu_s, load.database_s, load.hold_s, slots_s], rel=0.03)
    # XA's connections are known at whole seconds only.
    assert np.mean(direct) == pytest.approx(rate * load.xa_hold_s, rel=0.1)


@pytest.mark.parametrize("rate", [2.0, 20.0, 200.0, 2000.0])
def test_pods_take_what_the_closed_form_says_at_any_rate_waking_and_all(rate: float) -> None:
    workload, replicas = workload_of(ONE_QUERY), 3
    deployment = Deployment(replicas, 8.0, ClientPool(300, 300), ServerSettings(segregation=False))
    load, constants = mean_load(workload, deployment.constants), deployment.constants
    outcomes = simulate(sample_trace(workload, rate, 2.0 + 4000.0 / rate, np.random.SeedSequence(1)), deployment)
    busy_s = outcomes.samples["stations"]["busy_s"]
    cores = (busy_s[-1] - busy_s[1])[:-1].mean() / (outcomes.sample_s[-1] - outcomes.sample_s[1])
    heartbeats = workload.clients.jvms / constants.health_interval_s
    cores -= heartbeats * (constants.small_rpc_cpu_s + constants.hand_over_cpu_s)
    estimate = pod_cores(load, rate, replicas, constants)
    # Calls of one unit come together, so that a little more is woken than if they came one by one.
    assert 0.93 * estimate < cores < 1.25 * estimate
    assert least_pod_cores(load, rate, replicas) < estimate


def by_pencil(unit: UnitOfWork, **statement: Any) -> tuple[UnitLoad, float]:
    """A unit of one statement's load and bare latency on 3 pods, with times that can be told apart in a sum."""
    only = StatementClass("s", "s", database_time=Duration(100.0), **({"kind": "write", "rows": 0} | statement))
    unit = replace(unit, statements=("s",), think=Duration(7.0))
    workload = Workload("w", (only,), (unit,), network=Network(1.0, 0.0))
    constants = replace(
        no_cost(0.25), statement_cpu_s=0.02, small_rpc_cpu_s=0.003, connect_cpu_s=0.0005, commit_database_s=0.5
    )
    latency_s = bare_latency_s(workload, unit, "fast", 3, constants)
    assert latency_s is not None
    return mean_load(workload, constants), latency_s


def test_loads_by_pencil() -> None:
    """Reference 1.3 to 1.5, RPC by RPC: a flight takes 1 s, thinking 7 s, the database 100 s or 0.5 s for a commit."""
    one = UnitOfWork("u", 1)
    # Each: CPU in all, per pod, database, held, fast slots, slow slots, RPCs of statements, thinking, held by XA; RPCs in all,
    # per pod, and pods visited.
    load, latency_s = by_pencil(replace(one, calls=2))
    held_s = 1 + 2.003 + (1 + 0.02 + 100 + 1) + 7 + 1.0005
    assert astuple(load)[:12] == pytest.approx((0.0265, 0.0005, 100, held_s, 100.01, 0, 1, 7, 0, 4, 1, 1))
    assert latency_s == pytest.approx(3 * 2.0005 + 2 * 2.003 + 102.02)
    load, latency_s = by_pencil(replace(one, calls=1, transaction=True))
    held_s = 1 + 2.003 + (1 + 0.02 + 100 + 1) + 7 + 2.503 + 1.0005
    assert astuple(load)[:12] == pytest.approx((0.0295, 0.0005, 100.5, held_s, 100.01, 0, 1, 7, 0, 5, 1, 1))
    assert latency_s == pytest.approx(3 * 2.0005 + 3 * 2.003 + 0.5 + 102.02)
    load, latency_s = by_pencil(one, session=True)
    held_s = 100.01 + 1 + 7 + 1.0005
    assert astuple(load)[:12] == pytest.approx((0.0205, 0.0005, 100, held_s, 100.01, 0, 1, 7, 0, 2, 1, 1))
    load, latency_s = by_pencil(one, kind="call")
    assert astuple(load)[:12] == pytest.approx((0.0205, 0.0005, 100, held_s, 0, 0, 1, 7, 0, 2, 1, 1))
    assert latency_s == pytest.approx(3 * 2.0005 + 102.02)
    load, latency_s = by_pencil(one, kind="batch", additions=3)
    held_s = (0.01 + 1) + 2 * (1 + 0.02 + 1) + (1 + 0.02 + 100 + 1) + 7 + 1.0005
    assert astuple(load)[:12] == pytest.approx((0.0805, 0.0005, 100, held_s, 0.03, 0, 4, 7, 0, 5, 1, 1))
    assert latency_s == pytest.approx(3 * 2.0005 + 3 * 2.02 + 102.02)
    load, latency_s = by_pencil(one, kind="read", fetches=2)
    held_s = 100.01 + 1 + 7 + 3 * 2.003 + 1.0005
    assert astuple(load)[:12] == pytest.approx((0.0295, 0.0005, 100, held_s, 100.01, 0, 1, 7, 0, 5, 1, 1))
    assert latency_s == pytest.approx(3 * 2.0005 + 102.02 + 3 * 2.003)
    load, latency_s = by_pencil(replace(one, xa=True))
    held_s = 0.25 + 1 + 2.003 + (1 + 0.02 + 100 + 1) + 7 + 2.003 + 2 * 2.503 + 1.0005
    assert astuple(load)[:12] == pytest.approx((0.033, 0, 101, 0, 0, 0, 1, 7, held_s, 7, 0, 0))
    assert latency_s == pytest.approx(0.25 + 2.0005 + 4 * 2.003 + 1 + 102.02)


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


@pytest.mark.parametrize(
    "unit", [ONE_QUERY, ONE_UPDATE, QUERIES, ORDER, READ_ORDER, *KINDS], ids=lambda unit: unit.name
)
def test_bare_latency_is_the_mean_latency_without_waits(unit: UnitOfWork) -> None:
    workload = workload_of(unit)
    constants = replace(default_constants(), wake_cpu_s=0.0)
    deployment = Deployment(3, 64.0, ClientPool(300, 300), ServerSettings(segregation=False), constants=constants)
    # So many that the health checks of 0.3.1, in one getConnection() per JVM and 5 s, don't show.
    outcomes = simulate(sample_trace(workload, 400.0, 50.0, np.random.SeedSequence(4)), deployment)
    latency_s = outcomes.latency_s[outcomes.outcome == Ending.OK].mean()
    assert latency_s == pytest.approx(bare_latency_s(workload, workload.units[0], "fast", 3, constants), rel=0.01)


def test_mean_flight_is_the_lognormals_mean() -> None:
    assert one_way_mean_s(workload_of(ONE_QUERY)) == pytest.approx(0.0005 * exp(0.125))
