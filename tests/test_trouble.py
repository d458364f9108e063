"""Lost nodes, a database in trouble, pools built twice, leaked connections (reference 1.1, 1.6, 6, 7.1)."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import Statement, Unit, deployment_of, lost, run, select, take_posts, trace_of, update, world_of

from ojp_sizing.behaviour.kinds import Ending, EventKind
from ojp_sizing.behaviour.pool import adder_due, borrow_connection, build_pool
from ojp_sizing.behaviour.world import World
from ojp_sizing.deployment.deployment import Database, Deployment
from ojp_sizing.deployment.disruption import DatabaseTrouble, PodLoss
from ojp_sizing.simulation.outcomes import Outcomes


def vanished(pod: int, at_s: float, absent_s: float = 1000.0) -> PodLoss:
    return PodLoss(pod, at_s, absent_s, 0.0, 0.0, "vanished")


def met(outcomes: Outcomes) -> dict[str, int]:
    return {hazard.name: hazard.count for hazard in outcomes.hazards}


def with_constants(deployment: Deployment, **values: float) -> Deployment:
    return replace(deployment, constants=replace(deployment.constants, **values))


# A node is lost silently (6) ----------------------------------------------------------------------------------------


def test_calls_on_a_lost_node_hang_and_a_new_channel_fails_sooner() -> None:
    trace = trace_of(
        Unit(0.0, (update(10.0),)),  # inside pod 0 when it is lost
        Unit(2.0, (update(),)),  # its connect hangs, and marks the pod
        Unit(33.0, (update(),)),  # within 5 s of that nobody asks the pod
        Unit(40.0, (update(),)),  # then a channel made anew tries to connect
        duration_s=200.0,
    )
    deployment = with_constants(deployment_of(2), call_hang_s=30.0, connect_hang_s=20.0)
    world, outcomes = run(trace, deployment, vanished(0, 1.0))
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE, Ending.OK, Ending.OK, Ending.OK]
    assert outcomes.latency_s.tolist() == [31.0, 30.0, 0.0, 20.0]
    assert [link.up for link in world.links] == [0, 1]
    # The fourth hang is the first unit's terminate, which goes to every pod believed up.
    assert met(outcomes)["call_hangs"] == 4


def test_a_statement_that_hangs_does_not_mark_its_pod() -> None:
    trace = trace_of(Unit(0.0, (update(10.0),)), duration_s=100.0)
    world, outcomes = run(trace, deployment_of(2), vanished(0, 1.0))
    assert outcomes.latency_s.tolist() == [31.0]
    assert [link.up for link in world.links] == [1, 1]


@pytest.mark.parametrize(("how", "open_there", "unnoticed"), [("killed", 10, 0), ("vanished", 20, 10)])
def test_the_database_keeps_the_connections_of_a_lost_node(how: str, open_there: int, unnoticed: int) -> None:
    trace = trace_of(Unit(0.0, (select(think_s=3.0),)), duration_s=4.0)
    world, _ = run(trace, deployment_of(2, 20), replace(lost(0, 1.0, 100.0), how=how))
    assert (world.state[0].connections, world.state[0].unnoticed) == (open_there, unnoticed)
    assert world.pools[0].open == 0


@pytest.mark.parametrize(("how", "latency_s"), [("killed", 1.0), ("vanished", 10.0)])
def test_connections_that_the_database_keeps_are_missing_to_the_pod_that_comes_back(how: str, latency_s: float) -> None:
    deployment = replace(deployment_of(2, 4), database=Database(max_connections=4))
    trace = trace_of(Unit(4.0, (update(),)), duration_s=30.0)
    _, outcomes = run(trace, deployment, replace(lost(0, 1.0, 2.0), how=how))
    # Its first connect tries for 10 s; the unit goes to the other pod.
    assert outcomes.outcome.tolist() == [Ending.OK]
    assert outcomes.latency_s.tolist() == [latency_s]


def test_a_stopped_pod_ends_what_it_has_and_refuses_the_rest() -> None:
    trace = trace_of(Unit(0.5, (update(2.0),)), Unit(1.5, (update(0.25),)), duration_s=4.0)
    stop = PodLoss(0, 1.0, 100.0, 0.0, 0.0, "stopped", 30.0)
    world, outcomes = run(trace, deployment_of(2), stop)
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.OK]
    assert outcomes.latency_s.tolist() == [2.0, 0.25]
    assert [(c.time_s, c.state) for c in outcomes.changes] == [(1.0, "stopping"), (2.5, "down")]
    # The second unit's connect was refused, and it went elsewhere.
    assert [link.up for link in world.links] == [0, 1]
    assert outcomes.pod.tolist()[1] == 1


def test_the_grace_of_a_stopped_pod_ends_a_long_statement() -> None:
    stop = PodLoss(0, 1.0, 100.0, 0.0, 0.0, "stopped", 8.0)
    _, outcomes = run(trace_of(Unit(0.5, (update(50.0),)), duration_s=20.0), deployment_of(2), stop)
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE]
    assert outcomes.latency_s.tolist() == [8.5]
    assert [(c.time_s, c.state) for c in outcomes.changes] == [(1.0, "stopping"), (9.0, "down")]


# The database in trouble (6, 11 row 12) -----------------------------------------------------------------------------


def test_what_begins_while_the_database_is_slow_takes_so_many_times_as_long() -> None:
    trace = trace_of(*(Unit(at_s, (update(2.0),)) for at_s in (0.0, 1.5, 10.5, 11.5)), Unit(12.0, (), True))
    deployment = with_constants(deployment_of(), commit_database_s=0.5)
    _, outcomes = run(trace, deployment, DatabaseTrouble(1.0, 10.0, 4.0))
    assert outcomes.latency_s.tolist() == [2.0, 8.0, 8.0, 2.0, 0.5]
    assert outcomes.window_s == (1.0, 11.0)
    _, outcomes = run(trace, deployment, DatabaseTrouble(11.75, 10.0, 4.0))
    assert outcomes.latency_s.tolist() == [2.0, 2.0, 2.0, 2.0, 2.0]


def test_a_refused_pool_tries_again_after_10_ms_doubling_to_5_s() -> None:
    world = world_of(deployment_of(1, 3), warm=False)
    build_pool(world, 0)
    pool, state = world.pools[0], world.state[0]
    assert [borrow_connection(world, caller) for caller in range(2)] == [True, False]
    state.database_full = 1
    pauses_s = []
    for _ in range(12):
        state.now = pool.opening_due
        adder_due(world, 0)
        pauses_s.append(pool.back_off_s)
        assert pool.opening_due == state.now + pool.back_off_s
        assert (pool.open, state.connections, pool.in_use) == (1, 1, 1)
        state.now = pool.opening_due
        adder_due(world, 0)
        # A connection takes a second to open, and counts meanwhile.
        assert pool.opening_due == state.now + 1.0
        assert (pool.open, state.connections, pool.in_use) == (2, 2, 1)
    assert pauses_s == pytest.approx([min(5.0, 0.01 * 2**k) for k in range(12)])
    assert pauses_s[-2:] == [5.0, 5.0]
    state.database_full = 0
    take_posts(world)
    state.now = pool.opening_due
    adder_due(world, 0)
    assert pool.back_off_s == 0.0
    assert (state.now, EventKind.CONNECTION_GRANTED, 1) in take_posts(world)


@pytest.mark.parametrize(("for_s", "outcome"), [(4.0, Ending.OK), (60.0, Ending.CONNECTION_TIMEOUT)])
def test_a_pool_that_must_grow_waits_for_a_full_database(for_s: float, outcome: int) -> None:
    trace = trace_of(Unit(0.0, (select(think_s=100.0),)), Unit(3.0, (update(text=1),)), typical_ms=(20.0, 20.0))
    world, outcomes = run(trace, deployment_of(1, 2), DatabaseTrouble(2.0, for_s, full=True), warm=False)
    assert outcomes.outcome.tolist() == [Ending.OK, outcome]
    if outcome == Ending.OK:
        assert 6.0 - 3.0 < outcomes.latency_s[1] < 6.0 - 3.0 + 2.1
    else:
        assert outcomes.latency_s[1] == 10.0
    assert world.links[0].up == 1  # a pool's waiter marks nobody


@pytest.mark.parametrize(
    ("for_s", "outcome", "latency_s", "up"), [(5.0, Ending.OK, 5.0, 1), (100.0, Ending.NO_POD, 10.0, 0)]
)
def test_a_first_connect_fails_after_10_s_and_marks_the_pod(
    for_s: float, outcome: int, latency_s: float, up: int
) -> None:
    trouble = DatabaseTrouble(0.25, for_s, full=True)
    world, outcomes = run(trace_of(Unit(0.5, (update(),))), deployment_of(), trouble, warm=False)
    assert outcomes.outcome.tolist() == [outcome]
    assert outcomes.latency_s.tolist() == [latency_s]
    assert world.links[0].up == up
    assert met(outcomes).get("database_marks_pod_down", 0) == 1 - up


def test_an_open_pool_does_not_notice_a_full_database() -> None:
    trace = trace_of(Unit(1.0, (select(),)), duration_s=4.0)
    _, outcomes = run(trace, deployment_of(), DatabaseTrouble(0.25, 100.0, full=True))
    assert (outcomes.outcome.tolist(), outcomes.latency_s.tolist()) == ([Ending.OK], [0.0])


def test_a_full_database_refuses_xa_at_once() -> None:
    trace = trace_of(Unit(1.0, (select(),), xa=True), duration_s=4.0)
    world, outcomes = run(trace, deployment_of(), DatabaseTrouble(0.25, 100.0, full=True))
    assert (outcomes.outcome.tolist(), outcomes.latency_s.tolist()) == ([Ending.DATABASE_FULL], [1.0])
    assert world.pools[1].direct == 0
    assert world.links[0].up == 0
    assert met(outcomes)["database_marks_pod_down"] == 1


# Pools built twice (1.1) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clients", "idle", "orphans"), [(1, 3, 0), (2, 3, 3), (4, 3, 9), (4, 0, 3), (4, 1, 3), (3, 50, 40)]
)
def test_first_connects_at_once_each_build_a_pool(clients: int, idle: int, orphans: int) -> None:
    trace = trace_of(*(Unit(0.0, (update(),)) for _ in range(clients)), duration_s=100.0)
    world, outcomes = run(trace, deployment_of(1, 20, idle=idle), warm=False)
    assert outcomes.latency_s.tolist() == [1.0] * clients
    pool = world.pools[0]
    assert pool.orphaned == orphans
    assert world.state[0].connections == pool.open + orphans
    assert met(outcomes).get("pool_orphaned", 0) == clients - 1


def test_a_connect_after_the_pool_is_built_builds_none() -> None:
    trace = trace_of(Unit(0.0, (update(),)), Unit(1.0, (update(),)), duration_s=4.0)
    world, outcomes = run(trace, deployment_of(idle=3), warm=False)
    assert outcomes.latency_s.tolist() == [1.0, 0.0]
    assert world.pools[0].orphaned == 0


def test_who_comes_while_the_code_loads_waits_for_its_end_and_builds_a_pool() -> None:
    due_s = (0.0, 0.6, 0.9, 1.5)
    trace = trace_of(*(Unit(at_s, (update(),)) for at_s in due_s), duration_s=10.0)
    deployment = with_constants(deployment_of(), pool_build_cpu_s=2.0)
    _, outcomes = run(trace, deployment, warm=False)  # 4 cores: each of the four has one of its own
    ends_s = (np.array(due_s) + outcomes.latency_s).tolist()
    assert ends_s == [3.0, 3.0, 3.0, 3.5]
    assert met(outcomes)["pool_orphaned"] == 3


@pytest.mark.parametrize(("clients", "end_s"), [(1, 1.5), (4, 1.5), (8, 2.0), (40, 6.0)])
def test_pools_that_are_built_at_once_share_the_cpu(clients: int, end_s: float) -> None:
    trace = trace_of(*(Unit(0.0, (update(),)) for _ in range(clients)), duration_s=10.0)
    deployment = with_constants(deployment_of(), pool_build_cpu_s=0.5, node_cores=4.0)
    _, outcomes = run(trace, deployment, warm=False)
    assert outcomes.latency_s == pytest.approx([end_s] * clients)


@pytest.mark.parametrize(("warm_pools", "latency_s", "orphans"), [(False, 1.5, 2), (True, 0.0, 0)])
def test_warm_pools_are_there_before_clients_reach_a_pod_that_comes_back(
    warm_pools: bool, latency_s: float, orphans: int
) -> None:
    trace = trace_of(*(Unit(at_s, (update(),)) for at_s in (0.0, 9.0, 9.0, 9.0)), duration_s=20.0)
    deployment = replace(with_constants(deployment_of(idle=1), pool_build_cpu_s=0.5), warm_pools=warm_pools)
    world, outcomes = run(trace, deployment, lost(0, 1.0, 2.0))
    # One of the three has the connection that is there; the others wait for the adder.
    assert min(outcomes.latency_s[1:]) == pytest.approx(latency_s)
    assert world.pools[0].orphaned == orphans
    assert world.pools[0].created == 1


def test_warm_pools_need_a_database_that_takes_a_connection() -> None:
    trace = trace_of(Unit(0.0, (update(),)), duration_s=20.0)
    deployment = replace(deployment_of(idle=1), warm_pools=True, database=Database(max_connections=0.0))
    world, _ = run(trace, deployment, lost(0, 1.0, 2.0), warm=False)
    assert world.pools[0].created == 0


def test_orphans_live_as_long_as_the_process() -> None:
    trace = trace_of(*(Unit(0.0, (update(),)) for _ in range(3)), duration_s=4.9)
    world, outcomes = run(trace, deployment_of(), lost(0, 3.5, 100.0), warm=False)
    assert outcomes.samples["pools"]["orphaned"][:, 0].tolist() == [0, 0, 2, 2, 0]
    assert world.state[0].connections == 0


# Leaked connections (1.6) ---------------------------------------------------------------------------------------------


def failed(statement: Statement, *, leaks: float, transaction: bool = False, calls: int = 0) -> World:
    trace = trace_of(Unit(0.0, (statement,), transaction, calls=calls), duration_s=4.0)
    world, outcomes = run(trace, with_constants(deployment_of(), error_leak_probability=leaks))
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR]
    assert met(outcomes).get("connection_leaked", 0) == world.pools[0].leaked
    return world


@pytest.mark.parametrize("statement", [select(fails=True), update(fails=True), Statement(called=True, fails=True)])
@pytest.mark.parametrize(("leaks", "leaked"), [(0.0, 0), (0.5, 0), (0.51, 1), (1.0, 1)])
def test_a_failed_statement_without_a_session_leaks_its_connection(
    statement: Statement, leaks: float, leaked: int
) -> None:
    # The chance of every statement of these worlds is 0.5.
    pool = failed(statement, leaks=leaks).pools[0]
    assert (pool.leaked, pool.in_use, pool.idle) == (leaked, leaked, 20 - leaked)


@pytest.mark.parametrize(("transaction", "calls"), [(True, 0), (False, 1)])
def test_sessions_do_not_leak(transaction: bool, calls: int) -> None:
    pool = failed(update(fails=True), leaks=1.0, transaction=transaction, calls=calls).pools[0]
    assert (pool.leaked, pool.in_use, pool.idle) == (0, 0, 20)


def test_leaks_empty_a_pool_until_its_process_ends() -> None:
    bad = [Unit(0.25 * n, (update(fails=True, text=n),)) for n in range(2)]
    trace = trace_of(*bad, Unit(1.0, (update(text=2),)), Unit(14.0, (update(text=2),)), typical_ms=(20.0, 20.0, 20.0))
    deployment = with_constants(deployment_of(1, 2), error_leak_probability=1.0)
    world, outcomes = run(trace, deployment, lost(0, 12.0, 1.0))
    assert outcomes.outcome.tolist() == [
        Ending.DATABASE_ERROR,
        Ending.DATABASE_ERROR,
        Ending.CONNECTION_TIMEOUT,
        Ending.OK,
    ]
    assert (world.pools[0].leaked, world.pools[0].in_use) == (0, 0)
