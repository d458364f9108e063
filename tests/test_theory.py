"""Closed forms against each other, and offered loads against a run without waits. For queues see tests/verification."""

from dataclasses import replace
from math import exp, inf

import numpy as np
import pytest

from ojp_sizing.behaviour.world import OK
from ojp_sizing.demand.trace import sample_trace
from ojp_sizing.demand.workload import Clients, Duration, Network, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.simulation.simulate import simulate
from ojp_sizing.theory.offered import bare_latency_s, mean_load, one_way_mean_s
from ojp_sizing.theory.queues import erlang_b, erlang_c, mg1_wait_s, mmc_wait_s, processor_sharing_s, servers_for

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
