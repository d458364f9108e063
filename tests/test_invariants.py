"""The model's laws under whatever Hypothesis deploys, asks for and breaks: every run here is audited as it goes."""

from dataclasses import replace
from math import inf

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from test_clocks import bits

from ojp_sizing.demand.trace import Trace, sample_trace
from ojp_sizing.demand.workload import Clients, Duration, Network, Patience, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import SERVER_VERSIONS, ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.deployment.disruption import DatabaseTrouble, Disruption, PodLoss, RollingUpdate, Several, parts_of
from ojp_sizing.deployment.versions import traits_of
from ojp_sizing.simulation.compiled_clock import CompiledClock
from ojp_sizing.simulation.simpy_clock import SimpyClock

RUN_S = 3.0
TIMES = st.floats(0.0, 0.4)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    kinds = draw(st.lists(st.sampled_from(["read", "write", "call"]), min_size=1, max_size=4))
    statements = tuple(
        StatementClass(
            f"s{i}", f"sql {i}", kind, Duration(draw(TIMES), draw(st.floats(0.0, 2.0))), share=1.0,
            rows=draw(st.integers(0, 500)), error_share=draw(st.sampled_from([0.0, 0.3])),
            session=kind == "write" and draw(st.booleans()), fetches=draw(st.integers(0, 2)) if kind == "read" else 0,
        )
        for i, kind in enumerate(kinds)
    )  # fmt: skip
    names = st.lists(st.sampled_from([s.name for s in statements]), max_size=3).map(tuple)
    units = tuple(
        UnitOfWork(
            f"u{i}", 1.0, draw(st.integers(1, 3) | names), transaction=kind == "transaction",
            think=Duration(draw(TIMES), 1.0, "exponential"), calls=draw(st.integers(0, 2)), xa=kind == "xa",
        )
        for i, kind in enumerate(draw(st.lists(st.sampled_from(["plain", "transaction", "xa"]), min_size=1, max_size=3)))
    )  # fmt: skip
    jvms = draw(st.integers(1, 4))
    clients = Clients(jvms, draw(st.integers(1, 30)), draw(st.integers(1, min(jvms, 3))))
    return Workload("w", statements, units, clients=clients, network=Network(draw(st.sampled_from([0.0, 0.001])), 0.5))


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    server = ServerSettings(
        draw(st.integers(1, 40)), draw(st.booleans()), draw(st.integers(0, 100)), draw(st.sampled_from([0.0, 0.5, 10.0])),
        draw(st.floats(0.1, 3.0)), draw(st.floats(0.1, 3.0)), draw(st.sampled_from([0.0, 300.0])), draw(st.integers(1, 4)),
        draw(st.floats(0.1, 3.0)),
    )  # fmt: skip
    constants = replace(
        default_constants(), slot_handover_s=draw(st.sampled_from([0.0, 0.001])), call_hang_s=1.0, connect_hang_s=0.7,
        error_leak_probability=draw(st.sampled_from([0.0, 0.5, 1.0])), pool_build_s=draw(st.sampled_from([0.015, 0.5])),
        health_interval_s=draw(st.floats(0.3, 5.0)), pool_build_cpu_s=draw(st.sampled_from([0.0, 0.03, 0.2])),
    )  # fmt: skip
    return Deployment(
        draw(st.integers(1, 5)),
        draw(st.sampled_from([0.2, 1.0, 16.0])),
        ClientPool(
            draw(st.integers(1, 30)), draw(st.integers(0, 40)), draw(st.floats(0.1, 2.0)), draw(st.integers(1, 50))
        ),
        server,
        Database(draw(st.sampled_from([1.0, 4.0, inf])), draw(st.sampled_from([5.0, 40.0, inf]))),
        draw(st.sampled_from(sorted(SERVER_VERSIONS))),
        constants,
        warm_pools=draw(st.booleans()),
    )


@st.composite
def disruptions(draw: st.DrawFn, replicas: int) -> Disruption:
    at_s = st.floats(0.1, 1.5)
    losses = st.builds(
        PodLoss, st.integers(0, replicas - 1), at_s, st.floats(0.01, 1.0), st.floats(0.0, 0.5), st.floats(0.0, 0.5),
        st.sampled_from(["killed", "stopped", "vanished"]), st.floats(0.05, 1.0),
    )  # fmt: skip
    times = st.tuples(*[st.floats(0.01, 0.5)] * replicas)
    updates = st.builds(RollingUpdate, at_s, times, times, st.floats(0.05, 1.0), st.just(replicas))
    troubles = st.builds(DatabaseTrouble, at_s, st.floats(0.1, 1.5), st.sampled_from([1.0, 20.0]), st.booleans())
    one = draw(st.none() | losses | updates | troubles)
    if isinstance(one, PodLoss) and draw(st.booleans()):
        other = draw(troubles | losses.filter(lambda loss: loss.pod != one.pod) if replicas > 1 else troubles)
        return Several((one, other))
    return one


def workloads_for(deployment: Deployment) -> st.SearchStrategy[Workload]:
    """Without XA where the version's isn't modelled."""
    if traits_of(deployment.version).models_xa:
        return workloads()
    return workloads().map(lambda one: replace(one, units=tuple(replace(unit, xa=False) for unit in one.units)))


@st.composite
def runs(draw: st.DrawFn) -> tuple[Trace, Deployment, Disruption, bool]:
    deployment = draw(deployments())
    workload = draw(workloads_for(deployment))
    trace = sample_trace(workload, draw(st.sampled_from([20.0, 80.0])), RUN_S, SeedSequence(draw(st.integers(0, 99))))
    if draw(st.booleans()):
        trace = replace(trace, patience=Patience(draw(st.floats(0.05, 1.0)), draw(st.integers(0, 3)), 0.05, 2.0))
    return replace(trace, duration_s=2 * RUN_S), deployment, draw(disruptions(deployment.replicas)), draw(st.booleans())


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(runs())
def test_the_laws_hold_in_any_run(run: tuple[Trace, Deployment, Disruption, bool]) -> None:
    trace, deployment, disruption, warm = run
    clock = CompiledClock(trace, deployment, warm=warm, checked=True)
    outcomes = clock.run(disruption, 0.05, 1e6)
    assert outcomes.arrived == len(trace.arrival_s)
    assert len(outcomes.changes) >= len(
        [part for part in parts_of(disruption) if not isinstance(part, DatabaseTrouble)]
    )


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(runs())
def test_both_clocks_agree_in_any_run(run: tuple[Trace, Deployment, Disruption, bool]) -> None:
    trace, deployment, disruption, warm = run
    found = [clock(trace, deployment, warm=warm).run(disruption, 0.5, 1e6) for clock in (SimpyClock, CompiledClock)]
    assert bits(found[0].latency_s) == bits(found[1].latency_s)
    assert bits(found[0].outcome) == bits(found[1].outcome)
    assert (found[0].events, found[0].hazards) == (found[1].events, found[1].hazards)
