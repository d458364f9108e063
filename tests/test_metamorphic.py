"""What a change of the input must do to the outcomes, whatever they are."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.random import SeedSequence, default_rng
from worlds import Unit, deployment_of, lost, run, select, trace_of, update

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.trace import Trace, sample_trace
from ojp_sizing.demand.workload import Clients, Duration, Patience, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.deployment import ServerSettings

WORKLOAD = Workload(
    "mixed",
    (
        StatementClass("point", "select 1", "read", Duration(0.05), share=2),
        StatementClass("mark", "update 1", "write", Duration(0.1), share=1),
    ),
    (UnitOfWork("two", 2, 2, think=Duration(0.05)), UnitOfWork("order", 1, ("point", "mark"), transaction=True)),
    clients=Clients(2, 20),
)


def demand(seed: int, rate: float = 20.0) -> Trace:
    trace = sample_trace(WORKLOAD, rate, 4.0, SeedSequence(seed))
    return replace(trace, duration_s=60.0)


def times_halved(thing: Any) -> dict[str, float]:
    """All its times; a phase is a share of an interval."""
    names = [f.name for f in fields(thing) if f.name.endswith("_s") and f.name != "health_phase_s"]
    return {name: getattr(thing, name) / 2 for name in names}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pool", [3, 20])
def test_twice_the_speed_of_everything_halves_every_latency_exactly(seed: int, pool: int) -> None:
    # Halving a binary fraction is exact. The classifier counts whole milliseconds: segregation is off. Pools are open.
    trace, slow = demand(seed), deployment_of(2, pool)
    fast = replace(
        slow,
        constants=replace(slow.constants, **times_halved(slow.constants)),
        server=replace(slow.server, **times_halved(slow.server)),
        pool=replace(slow.pool, **times_halved(slow.pool)),
    )
    expected = run(trace, slow)[1]
    found = run(replace(trace, **times_halved(trace)), fast)[1]
    assert found.outcome.tolist() == expected.outcome.tolist()
    assert (np.unique(expected.latency_s).size > 20) and (expected.outcome >= Ending.OK).all()
    assert found.latency_s.tolist() == (expected.latency_s / 2).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_one_pod_serves_a_split_client_as_the_whole_one(seed: int) -> None:
    # No health check is due before 4.95 s, and threads are enough: nothing is local to a client JVM but its turn.
    rng = default_rng(seed)
    at_s = np.sort(rng.integers(0, 256, 30)) / 64
    units = [Unit(float(t), (select(0.25, 0.125), update(0.125)), bool(rng.random() < 0.3)) for t in at_s]
    split = [replace(unit, jvm=k % 2) for k, unit in enumerate(units)]
    one = run(trace_of(*units, duration_s=60.0), deployment_of(1, 3))[1]
    two = run(trace_of(*split, duration_s=60.0, jvms=2), deployment_of(1, 3))[1]
    assert two.latency_s.tolist() == one.latency_s.tolist()
    assert max(one.latency_s) > min(one.latency_s)


@pytest.mark.parametrize("seed", range(3))
def test_executor_threads_beyond_the_clients_change_nothing(seed: int) -> None:
    # Two clients of 20 threads have at most 40 RPCs inside.
    found = [
        run(demand(seed), deployment_of(2, 3, server=ServerSettings(threads, False)))[1].latency_s.tolist()
        for threads in (40, 41, 400)
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("seed", range(12))
def test_without_a_disruption_there_are_no_more_errors(seed: int) -> None:
    trace = replace(demand(seed), patience=Patience(timeout_s=1.0))
    deployment = deployment_of(2, 6, segregation=bool(seed % 2))
    calm, hit = (run(trace, deployment, what)[1] for what in (None, lost(seed % 2, 1.5, 10.0)))
    assert (calm.outcome != Ending.OK).sum() <= (hit.outcome != Ending.OK).sum()
    assert (hit.outcome != Ending.OK).any()
