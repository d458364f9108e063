"""A pod's memory: what is counted, the kernel's kill, the kubelet's restarts, and collections of the heap."""

from dataclasses import replace
from math import inf

import pytest
from worlds import Statement, Unit, deployment_of, lost, no_cost, run, trace_of, update

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.deployment.deployment import Deployment, GarbageCollection, collections_of
from ojp_sizing.deployment.disruption import Disruption, RollingUpdate
from ojp_sizing.simulation.outcomes import Outcomes

CONSTANTS = no_cost()
START_S, READY_S, ENDPOINT_S = CONSTANTS.pod_start_s, CONSTANTS.readiness_period_s / 2, CONSTANTS.endpoint_delay_s
REQUEST_BYTES = CONSTANTS.heap_per_request_bytes
ROW_BYTES = CONSTANTS.heap_per_row_bytes + CONSTANTS.native_per_row_bytes


def limited(pool: int = 20, *, requests: float = 0.5, rows: int = 0, replicas: int = 1) -> Deployment:
    """Room for an open pool, and for so many RPCs and rows."""
    deployment = deployment_of(replicas, pool)
    limit = CONSTANTS.heap_base_bytes + CONSTANTS.native_base_bytes
    limit += CONSTANTS.native_per_thread_bytes * deployment.server.thread_pool_size
    limit += CONSTANTS.heap_per_connection_bytes * deployment.pool_per_pod
    return replace(deployment, memory_limit_bytes=limit + requests * REQUEST_BYTES + rows * ROW_BYTES)


def result(rows: int, database_s: float = 0.0) -> Statement:
    return Statement(database_s, writes=True, rows=rows)


def changes(outcomes: Outcomes) -> list[tuple[float, str]]:
    return [(pytest.approx(change.time_s), change.state) for change in outcomes.changes]


def pauses_s(outcomes: Outcomes) -> list[float]:
    """What the kubelet waited before each restart."""
    killed = [change.time_s for change in outcomes.changes if change.state == "out of memory"]
    listening = [change.time_s for change in outcomes.changes if change.state == "listening"]
    return [back - gone - START_S for gone, back in zip(killed, listening, strict=False)]


# The kill -----------------------------------------------------------------------------------------------------------


def test_the_rpc_too_many_ends_the_process_and_everybody_inside() -> None:
    units = [Unit(at_s, (update(1.0),)) for at_s in (0.0, 0.1, 0.2, 0.3, 2.0, 14.0, 19.1)]
    world, outcomes = run(trace_of(*units, duration_s=30.0), limited(requests=3.5))
    # The fourth was still connecting; the fifth is refused; the sixth comes just before the endpoint, the last
    # when the driver tries again.
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE] * 3 + [Ending.NO_POD] * 3 + [Ending.OK]
    assert outcomes.latency_s[:3] == pytest.approx([0.3, 0.2, 0.1])
    killed_s = 0.3
    assert [
        (killed_s, "out of memory"),
        (killed_s + START_S, "listening"),
        (killed_s + START_S + READY_S, "ready"),
    ] == (changes(outcomes))
    assert (world.pods[0].kills, world.pods[0].incarnation, world.pods[0].inside) == (1, 1, 0)
    # A cold start: the pool was gone, and was built by the connect of the last.
    assert outcomes.latency_s[-1] == pytest.approx(1.0 + 1.0)


def test_room_for_all_rpcs_kills_nobody() -> None:
    units = [Unit(at_s, (update(1.0),)) for at_s in (0.0, 0.1, 0.2, 0.3)]
    world, outcomes = run(trace_of(*units, duration_s=4.0), limited(requests=4.5))
    assert outcomes.outcome.tolist() == [Ending.OK] * 4
    assert world.pods[0].kills == 0


@pytest.mark.parametrize(("rows", "survives"), [(1000, True), (1001, False)])
def test_a_result_is_in_memory_from_the_databases_answer_to_its_last_row(rows: int, survives: bool) -> None:
    deployment = limited(requests=1.5, rows=1000 - int(0.5 * REQUEST_BYTES / ROW_BYTES))
    # One after the other, so that each must have been given back.
    units = [Unit(at_s, (result(rows, 0.25),)) for at_s in (1.0, 2.0, 3.0)]
    world, outcomes = run(trace_of(*units, duration_s=5.0), deployment)
    if survives:
        assert outcomes.outcome.tolist() == [Ending.OK] * 3
        assert world.pods[0].buffered_rows == 0
    else:
        assert outcomes.outcome[0] == Ending.UNAVAILABLE
        assert changes(outcomes)[0] == (1.25, "out of memory")


def test_connections_that_a_pod_opens_for_others_can_be_too_many() -> None:
    # The pool of a lost neighbour's share: 10 each, then 20 here.
    deployment = limited(20, requests=40.5, replicas=2)
    units = [Unit(1.0 + 0.01 * n, (update(30.0),)) for n in range(20)]
    world, outcomes = run(trace_of(*units, duration_s=20.0), deployment, lost(1, 0.5, 100.0))
    assert "out of memory" in [change.state for change in outcomes.changes if change.pod == 0]
    roomy = replace(
        deployment, memory_limit_bytes=deployment.memory_limit_bytes + 10 * CONSTANTS.heap_per_connection_bytes
    )
    world, _ = run(trace_of(*units, duration_s=20.0), roomy, lost(1, 0.5, 100.0))
    assert world.pods[0].kills == 0
    assert world.pools[0].open > 10


def test_without_a_limit_nothing_is_counted() -> None:
    units = [Unit(0.1 * n, (result(10**6),)) for n in range(20)]
    world, outcomes = run(trace_of(*units, duration_s=4.0), deployment_of())
    assert (outcomes.outcome == Ending.OK).all()
    pod = world.pods[0]
    assert (pod.buffered_rows, pod.allocated_bytes, pod.kills, pod.collections) == (0, 0.0, 0, 0)


# The restart --------------------------------------------------------------------------------------------------------


def test_restarts_come_later_and_later() -> None:
    # Two RPCs inside are too many, and with one connection for statements of a second there soon are two.
    units = [Unit(0.25 * n, (update(1.0),)) for n in range(6000)]
    _, outcomes = run(trace_of(*units, duration_s=1500.0), limited(1, requests=1.5))
    assert pauses_s(outcomes) == pytest.approx([0, 10, 20, 40, 80, 160, 300, 300, 300])


def test_a_container_that_ran_for_ten_minutes_is_restarted_at_once() -> None:
    units = [Unit(at_s + extra_s, (update(1.0),)) for at_s in (0.0, 30.0, 600.0, 1300.0) for extra_s in (0.0, 0.1)]
    _, outcomes = run(trace_of(*units, duration_s=1400.0), limited(1, requests=1.5))
    # The second restart was decided at 30.1 + 10 s, the third at 600.1 + 20: only the last had run for 600 s.
    assert pauses_s(outcomes) == pytest.approx([0, 10, 20, 0])


@pytest.mark.parametrize(
    "disruption",
    [lost(0, 2.0, 20.0), RollingUpdate(2.0, (20.0,), (0.0,), 30.0, 1, 0.0)],
    ids=["lost", "updated"],
)
def test_a_pod_that_is_replaced_while_its_container_restarts_comes_back_once(disruption: Disruption) -> None:
    units = [Unit(at_s, (update(1.0),)) for at_s in (0.0, 0.1, 40.0, 40.1, 41.5, 60.0, 60.5)]
    world, outcomes = run(trace_of(*units, duration_s=70.0), limited(1, requests=1.5), disruption)
    states = [state for state in changes(outcomes) if state[1] != "stopping"]
    assert states[:4] == [(0.1, "out of memory"), (2.0, "down"), (22.0, "listening"), (22.0, "ready")]
    # Two are inside when the pool's connection comes. A new pod's first restart comes at once, and its second later.
    assert states[4:6] == [(41.0, "out of memory"), (41.0 + START_S, "listening")]
    assert states[7:] == [(61.0, "out of memory")]
    assert (world.pods[0].kills, world.pods[0].incarnation) == (3, 2)


def test_a_stopping_pod_that_is_killed_has_stopped() -> None:
    units = [Unit(0.0, (result(2000, 5.0),)), Unit(0.0, (update(20.0),))]
    deployment = limited(requests=2.5, rows=1000)
    _, outcomes = run(trace_of(*units, duration_s=60.0), deployment, RollingUpdate(1.0, (8.0,), (0.0,), 30.0, 1))
    assert changes(outcomes)[:3] == [(1.0, "stopping"), (5.0, "down"), (13.0, "listening")]
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE] * 2


# Collections --------------------------------------------------------------------------------------------------------


def collecting(requests: float, pause_s: float, *, limit_cores: float = 8.0, row_s: float = 0.0) -> Deployment:
    """A collection after the allocation of so many RPCs."""
    deployment = deployment_of(pool=50)
    return replace(
        deployment,
        limit_cores=limit_cores,
        constants=replace(deployment.constants, row_block_cpu_s=100 * row_s),
        garbage_collection=GarbageCollection(requests * REQUEST_BYTES, pause_s),
    )


def test_every_handler_stands_still_in_a_pause_and_the_database_does_not() -> None:
    units = [
        Unit(0.5, (result(20, 1.0),)),
        Unit(1.0, (result(0, 1.3),)),
        Unit(1.4, (update(0.0),)),
    ]
    _, outcomes = run(trace_of(*units, duration_s=4.0), collecting(5.5, 0.25, row_s=0.01))
    # The sixth RPC is the third unit's update, at 1.4 s. It stands still until 1.65, as does the first's answer, due 1.5 to 1.7.
    assert outcomes.latency_s == pytest.approx([1.15 + 0.2, 1.3, 0.25])


def test_a_pause_takes_its_quota() -> None:
    # A tenth of a core: of the pause's 15 ms 10 are done at once and 5 from 100 ms on; then 5 of the statement's 7, and
    # the last two from 200 ms on.
    deployment = collecting(1.9, 0.015, limit_cores=0.1, row_s=0.001)
    world, outcomes = run(trace_of(Unit(0.0, (result(7),)), duration_s=1.0), deployment)
    assert outcomes.latency_s == pytest.approx([0.202])
    assert world.stations[0].busy_s == pytest.approx(0.022)


def test_collections_are_as_many_as_young_generations_allocated() -> None:
    units = [Unit(0.01 * n, (result(40 * (n % 7)),)) for n in range(500)]
    deployment = collecting(10.0, 0.001)
    world, outcomes = run(trace_of(*units, duration_s=8.0), deployment)
    assert (outcomes.outcome == Ending.OK).all()
    pod = world.pods[0]
    rows = sum(unit.statements[0].rows for unit in units)
    allocated = pod.rpcs * REQUEST_BYTES + rows * ROW_BYTES
    assert pod.collections == allocated // (10 * REQUEST_BYTES)
    assert world.stations[0].busy_s == pytest.approx(pod.collections * 0.001)


def test_collections_are_off_by_default_and_follow_the_heap() -> None:
    assert Deployment(1, 1.0).garbage_collection is None
    assert Deployment(1, 1.0).memory_limit_bytes == inf
    some = collections_of(3e8, CONSTANTS)
    assert some == GarbageCollection(1e8, CONSTANTS.collection_pause_s)
    assert 0.005 <= some.pause_s <= 0.020
