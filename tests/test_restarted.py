"""A process that comes back knows nothing of the one before it, whatever that one went through."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_clocks import SCENARIOS, scenario
from worlds import Unit, deployment_of, lost, select, trace_of, update, world_of

from ojp_sizing import simulate
from ojp_sizing.behaviour.agenda import happen
from ojp_sizing.behaviour.kinds import Ending, Place, Rpc, Side
from ojp_sizing.behaviour.lifecycle import pod_dies, pod_listens, pod_stops, pod_vanishes
from ojp_sizing.behaviour.pool import borrow_connection, return_connection
from ojp_sizing.behaviour.sharing import settle_station
from ojp_sizing.behaviour.slots import acquire_slot, release_slot
from ojp_sizing.behaviour.world import LAYOUTS, World
from ojp_sizing.deployment.deployment import Deployment, ServerSettings
from ojp_sizing.deployment.disruption import DatabaseTrouble, PodLoss, Several
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.compiled_clock import CompiledClock
from ojp_sizing.simulation.simpy_clock import SimpyClock
from ojp_sizing.simulation.simulate import Engine

#: What is kept of all processes of a pod: sums over time, counts and peaks of a run, and how many there have been.
HISTORY = {
    "pods": {
        "incarnation", "thread_s", "queue_s", "connection_s", "pooled_s", "waiter_s", "fast_slot_s", "slow_slot_s", "rpcs",
        "inside_peak", "classed_slow", "borrowed", "kills", "collections",
    },
    "stations": {"busy_s", "job_s", "throttled_s"},
}  # fmt: skip
STATES = {"state", "lost_s", "listens_s"}


def of_pod(world: World, pod: int) -> dict[str, list[object]]:
    """The records that are this pod's: its own, and those of its pools, lanes and texts."""
    s = world.settings[0]
    pools = s.sources
    sizes = {
        "pods": 1,
        "stations": 1,
        "pools": pools,
        "lanes": 2 * pools,
        "memories": pools * s.texts,
        "breakers": pools * s.texts,
    }
    return {name: list(getattr(world, name)[pod * size : (pod + 1) * size]) for name, size in sizes.items()}


def assert_equal(old: World, new: World, pod: int, but: set[str]) -> None:
    mine, theirs = of_pod(old, pod), of_pod(new, pod)
    for name, records in mine.items():
        for field in set(LAYOUTS[name].names or ()) - HISTORY.get(name, set()) - but:
            found = [getattr(record, field) for record in records]
            assert found == [getattr(record, field) for record in theirs[name]], (name, field)


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SCENARIOS), st.floats(0.05, 12.0), st.sampled_from(["dies", "stops", "vanishes"]), st.booleans(), st.data()
)  # fmt: skip
def test_a_pod_that_has_come_back_is_equal_to_a_new_one(
    number: int, cut_s: float, how: str, warm_pools: bool, data: st.DataObject
) -> None:
    trace, deployment, disruption, warm = scenario(number)
    deployment = replace(deployment, warm_pools=warm_pools)
    clock = SimpyClock(replace(trace, duration_s=cut_s), deployment, warm=warm)
    clock.run(disruption, 1.0, 1e6)
    old, new = clock.world, SimpyClock(trace, deployment, warm=False).world
    pod = data.draw(st.integers(0, deployment.replicas - 1))
    old.state[0].now = new.state[0].now = cut_s
    if how == "stops":
        pod_stops(old, pod)
    (pod_vanishes if how == "vanishes" else pod_dies)(old, pod)
    settle_station(new, new.stations[pod])
    new.pods[pod].settled_s = cut_s
    # No process is there: as before the first one, but for the state.
    assert_equal(old, new, pod, STATES)
    # The database lets both have the same connections.
    new.state[0].connections, new.state[0].database_full = old.state[0].connections, old.state[0].database_full
    for world in (old, new):
        pod_listens(world, pod)
    assert_equal(old, new, pod, set())


def test_history_is_of_fields_that_there_are() -> None:
    for name, fields in HISTORY.items():
        assert fields < set(LAYOUTS[name].names or ()), name


# Breakers -----------------------------------------------------------------------------------------------------------

BREAKERS = ServerSettings(segregation=False, breaker_threshold=2, breaker_open_s=60.0)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_breaker_of_a_process_that_is_gone_does_not_put_off_the_recovery(engine: Engine) -> None:
    trace = trace_of(
        *(Unit(at_s, (update(fails=True),)) for at_s in (0.5, 0.6)), Unit(0.7, (update(),)), Unit(6.0, (update(),)),
        duration_s=40.0,
    )  # fmt: skip
    outcomes = simulate(
        trace, deployment_of(server=BREAKERS), lost(0, 1.0, 2.0), engine=engine, recovery_s=5.0, well_within_s=(2.0, 20.0)
    )  # fmt: skip
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR, Ending.DATABASE_ERROR, Ending.BREAKER_OPEN, Ending.OK]
    assert outcomes.well_s == 5.0


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize(("statement_s", "well_s"), [(1.5, 5.0), (6.0, 6.1)])
def test_a_breaker_that_a_success_has_shut_does_not_put_off_the_recovery(
    engine: Engine, statement_s: float, well_s: float
) -> None:
    """It is open from 0.7 s until the first statement's success."""
    trace = trace_of(
        Unit(0.1, (update(statement_s),)), *(Unit(at_s, (update(fails=True),)) for at_s in (0.5, 0.7)), duration_s=40.0
    )  # fmt: skip
    outcomes = simulate(
        trace, deployment_of(server=BREAKERS), DatabaseTrouble(1.0, 2.0), engine=engine, recovery_s=5.0,
        well_within_s=(2.0, 3.5),
    )  # fmt: skip
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.DATABASE_ERROR, Ending.DATABASE_ERROR]
    assert outcomes.well_s == pytest.approx(well_s, abs=0.11)


# A grant on its way to a pod that dies ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["slot", "connection"])
def test_what_is_granted_at_the_instant_of_the_death_is_granted_to_nobody(what: str) -> None:
    """A pod that passes its memory limit dies among the requests' events, between a grant and the wake of its thread."""
    deployment = deployment_of(pool=2, segregation=True)
    world = world_of(deployment)
    for caller in range(3):
        world.callers[caller].rpc = Rpc.QUERY
        world.callers[caller].place = Place.HAS_CONNECTION
        if what == "slot":
            acquire_slot(world, caller, Side.FAST)
        else:
            borrow_connection(world, caller)
    world.state[0].posted = 0
    (release_slot if what == "slot" else return_connection)(world, 0)
    (grant,) = world.posts[: world.state[0].posted]
    heir, kind = grant.subject, grant.kind
    assert world.callers[heir].place == (Place.HAS_SLOT if what == "slot" else Place.HAS_CONNECTION)
    pod_dies(world, 0)
    assert world.callers[heir].place == Place.RETURNING
    happen(world, kind, heir)
    assert world.callers[heir].place == Place.RETURNING
    assert world.stations[1].count == 0


# Pods that are lost again before they are back ----------------------------------------------------------------------


@pytest.mark.parametrize("clock", [SimpyClock, CompiledClock])
@pytest.mark.parametrize("warm_pools", [True, False])
@pytest.mark.parametrize("how", ["killed", "stopped", "vanished"])
def test_a_pod_that_is_lost_again_before_it_is_back_comes_back_once(
    clock: type[Clock], warm_pools: bool, how: Literal["killed", "stopped", "vanished"]
) -> None:
    losses = (
        PodLoss(0, 1.0, 2.0, 1.0, 1.0, how, 0.5),
        # While it is away, and when it is Ready but not reached yet.
        PodLoss(0, 2.0, 4.0, 1.0, 1.0, how, 0.5),
        PodLoss(0, 7.9, 2.0, 1.0, 1.0, "killed"),
    )
    units = [Unit(0.1 * number, (select(0.05, 0.3), update())) for number in range(200)]
    deployment: Deployment = replace(deployment_of(2, 8), warm_pools=warm_pools)
    run = clock(trace_of(*units, duration_s=60.0), deployment, checked=True)
    outcomes = run.run(Several(losses), 0.05, 1e6)
    back = [change.time_s for change in outcomes.changes if change.state == "listening"]
    assert len(back) == 2
    assert run._records("pods")["incarnation"].tolist() == [1, 0]
    assert outcomes.outcome[-1] == Ending.OK
