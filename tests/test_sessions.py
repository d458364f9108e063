"""What makes a session and what it holds, calls past the gates, XA, several kinds of clients (reference 1.3 to 1.5, 5)."""

import pytest
from worlds import Statement, Unit, deployment_of, lost, run, select, trace_of, update, world_of

from ojp_sizing.behaviour.kinds import Ending, Side
from ojp_sizing.behaviour.world import World
from ojp_sizing.deployment.deployment import ServerSettings

SEGREGATED = ServerSettings(segregation=True)


def call(database_s: float = 0.0, think_s: float = 0.0, text: int = 0, *, fails: bool = False) -> Statement:
    return Statement(database_s, think_s, text, writes=True, fails=fails, called=True)


def keyed(database_s: float = 0.0, think_s: float = 0.0) -> Statement:
    """An update with generated keys."""
    return Statement(database_s, think_s, writes=True, keeps=True)


def fetched(fetches: int, database_s: float = 0.0) -> Statement:
    return Statement(database_s, fetches=fetches)


# Calls pass the gates (1.4, 1.5) ----------------------------------------------------------------------------------


def test_a_call_passes_an_open_breaker_and_changes_nothing_about_it() -> None:
    bad = [Unit(0.5 * n, (update(fails=True),)) for n in range(3)]
    trace = trace_of(*bad, Unit(2.0, (update(),)), Unit(2.5, (call(),)), Unit(3.0, (update(),)), duration_s=4.0)
    world, outcomes = run(trace, deployment_of(server=SEGREGATED))
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR] * 3 + [
        Ending.BREAKER_OPEN,
        Ending.OK,
        Ending.BREAKER_OPEN,
    ]
    assert world.breakers[0].failures == 3


def test_failing_calls_count_for_no_breaker() -> None:
    bad = [Unit(0.5 * n, (call(fails=True),)) for n in range(4)]
    world, outcomes = run(trace_of(*bad, Unit(3.0, (update(),)), duration_s=4.0), deployment_of())
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR] * 4 + [Ending.OK]
    assert world.breakers[0].failures == 0
    assert world.pools[0].in_use == 0


def test_a_call_passes_a_full_lane_and_the_classifier() -> None:
    trace = trace_of(
        Unit(0.0, (update(3.0),)), Unit(0.5, (update(0.25),)), Unit(1.0, (call(0.25, text=1),)), typical_ms=(20.0, 20.0)
    )
    world, outcomes = run(trace, deployment_of(1, 2, server=SEGREGATED))
    assert outcomes.latency_s.tolist() == [3.0, 2.75, 0.25]
    assert world.memories[1].average_ms == 20.0
    assert world.pods[0].fast_slot_s == 3.25
    assert world.lanes[Side.SLOW].used == 0


def test_a_call_waits_for_a_connection() -> None:
    trace = trace_of(Unit(0.0, (update(3.0),)), Unit(1.0, (call(0.25),)))
    _, outcomes = run(trace, deployment_of(1, 1))
    assert outcomes.latency_s.tolist() == [3.0, 2.25]


# What holds a connection, and for how long (1.3) --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statements", "calls", "held_s"),
    [
        ((update(0.5, 2.0),), 0, 0.5),
        ((select(0.5, 2.0),), 0, 2.5),
        ((call(0.5, 2.0),), 0, 2.5),
        ((keyed(0.5, 2.0),), 0, 2.5),
        ((update(0.5, 0.25), keyed(0.25, 0.25), update(0.5, 0.25)), 0, 0.5 + 0.5 + 0.75),
        ((update(0.5, 0.25), update(0.5, 0.25)), 1, 1.5),
    ],
)
def test_a_session_holds_its_connection_to_the_close(statements: tuple, calls: int, held_s: float) -> None:
    world, outcomes = run(trace_of(Unit(0.0, statements, calls=calls), duration_s=4.0), deployment_of())
    assert outcomes.outcome.tolist() == [Ending.OK]
    assert world.pods[0].connection_s == held_s
    assert world.pools[0].in_use == 0


@pytest.mark.parametrize(
    ("statements", "calls"), [((call(0.5),), 0), ((keyed(0.5),), 0), ((update(0.5),), 2), ((fetched(2, 0.5),), 0)]
)
def test_later_statements_follow_the_session_to_its_pod(statements: tuple, calls: int) -> None:
    trace = trace_of(Unit(0.0, (*statements, update(0.5), update(0.5)), calls=calls), duration_s=4.0)
    world, _ = run(trace, deployment_of(3))
    assert [pod.thread_s for pod in world.pods] == [1.5, 0.0, 0.0]


def test_fetches_are_rpcs_on_the_sessions_pod_after_the_think_time() -> None:
    trace = trace_of(Unit(0.0, (Statement(0.5, 0.75, fetches=3),)), duration_s=6.0, one_way_s=0.125)
    world, outcomes = run(trace, deployment_of(2))
    # Two connects, the query, three fetches, the close of the result; nobody waits for the terminate's answer.
    assert outcomes.latency_s.tolist() == [7 * 0.25 + 0.5]
    assert [pod.rpcs for pod in world.pods] == [1 + 1 + 3 + 1 + 1, 1]


# RPCs of a unit (1.4) -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pods", [1, 3])
@pytest.mark.parametrize(
    ("unit", "per_pod", "beside"),
    [
        (Unit(0.0, ()), 2, 0),  # terminate without a session goes to every pod
        (Unit(0.0, (call(),)), 1, 2),  # call, terminate
        (Unit(0.0, (keyed(),)), 1, 2),
        (Unit(0.0, (update(),), calls=2), 1, 4),  # the calls, update, terminate
        (Unit(0.0, (), calls=1), 1, 2),
        (Unit(0.0, (fetched(2),)), 1, 5),  # query, two fetches, close of the result, terminate
        (Unit(0.0, (update(), update(), call())), 1, 4),  # a batch of two, its execution, terminate
        (Unit(0.0, (call(), select()), transaction=True), 1, 6),  # start, call, query, close, commit, terminate
        (Unit(0.0, (update(), fetched(1)), xa=True), 0, 10),  # connect; start; 1 + 3; end, prepare, commit; terminate
        (Unit(0.0, (update(fails=True),)), 2, 1),
        (Unit(0.0, (update(fails=True),), transaction=True), 1, 4),  # start, update, rollback, terminate
        (Unit(0.0, (update(fails=True), update()), xa=True), 0, 5),  # connect, start, update, rollback, terminate
    ],
)
def test_number_of_rpcs_of_each_kind_of_unit(unit: Unit, per_pod: int, beside: int, pods: int) -> None:
    world, outcomes = run(trace_of(unit, duration_s=4.0), deployment_of(pods))
    assert outcomes.latency_s[0] < 4.0
    assert sum(pod.rpcs for pod in world.pods) == per_pod * pods + beside


@pytest.mark.parametrize("xa", [False, True])
def test_a_failed_transaction_rolls_back_on_its_sessions_pod(xa: bool) -> None:
    # The second unit is the one: its session is on pod 1.
    failing = Unit(1.0, (update(0.25, fails=True),), transaction=not xa, xa=xa)
    first = Unit(0.0, (select(),), xa=xa)
    trace = trace_of(first, failing, duration_s=6.0, one_way_s=0.0625)
    world, outcomes = run(trace, deployment_of(2, connection_open_s=0.0))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.DATABASE_ERROR]
    assert outcomes.pod.tolist() == [0, 1]
    # Start, update and rollback behind the connects; the application waits for the rollback's answer.
    assert outcomes.latency_s[1] == (4 if xa else 5) * 0.125 + 0.25
    assert world.pods[1].rpcs == 5 if xa else 1 + 5


# XA (0.3.1: reference 6) --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pods", "segregation", "slots", "patience_s"),
    [
        (1, False, (49, 1), (60.0, 0.0)),
        (3, False, (16, 1), (60.0, 0.0)),
        (3, True, (14, 3), (60.0, 120.0)),
        (1, True, (40, 10), (60.0, 120.0)),
    ],
)
def test_xa_slots_are_divided_from_50_also_with_segregation_off(
    pods: int, segregation: bool, slots: tuple[int, int], patience_s: tuple[float, float]
) -> None:
    world = world_of(deployment_of(pods, 20, segregation=segregation), trace_of(Unit(0.0, (update(),), xa=True)))
    for pod in range(pods):
        lanes = world.lanes[2 * (2 * pod + 1) :][:2]
        assert tuple(lane.total for lane in lanes) == slots
        assert tuple(lane.timeout_s for lane in lanes) == patience_s


@pytest.mark.parametrize(
    ("segregation", "lent", "outcome"),
    [
        (False, False, [Ending.OK, Ending.SLOT_TIMEOUT]),
        (False, True, [Ending.OK, Ending.OK]),
        (True, False, [Ending.OK, Ending.OK]),
    ],
)
def test_a_slow_xa_statement_finds_a_lane_of_one_without_patience(
    segregation: bool, lent: bool, outcome: list[int]
) -> None:
    # Without segregation the fast lane lends at once, as soon as it has had an arrival.
    slow = [Unit(1.0, (update(0.5, text=2),), xa=True) for _ in range(2)]
    fast = [Unit(0.0, (update(text=0),), xa=True)] if lent else []
    trace = trace_of(*fast, *slow, typical_ms=(20.0, 20.0, 500.0), duration_s=4.0)
    server = ServerSettings(segregation=segregation, slow_slot_percentage=0)
    world, outcomes = run(trace, deployment_of(server=server, connection_open_s=0.25))
    assert outcomes.outcome.tolist()[-2:] == outcome
    waited_s = 0.5 if segregation else 0.0 if lent else -0.5
    assert outcomes.latency_s.tolist()[-2:] == [0.75, 0.75 + waited_s]
    assert world.pods[0].classed_slow == 2


def test_xa_opens_a_connection_of_its_own_and_closes_it_at_the_end() -> None:
    trace = trace_of(Unit(0.0, (select(1.5, 1.0),), xa=True), duration_s=6.0)
    world, outcomes = run(trace, deployment_of(1, 5))
    assert outcomes.latency_s.tolist() == [1.0 + 1.5]
    pools = outcomes.samples["pools"]
    assert pools["direct"][:, 1].tolist() == [0, 1, 1, 1, 0, 0]
    assert pools["in_use"].sum() == 0
    assert pools["open"][:, 0].tolist() == [5] * 6
    assert outcomes.samples["state"]["connections"][:, 0].tolist() == [5, 6, 6, 6, 5, 5]
    assert [hazard.name for hazard in outcomes.hazards] == ["connections_overshoot"]
    assert world.state[0].connections == 5


def test_xa_needs_no_connection_of_a_pool_that_is_empty() -> None:
    trace = trace_of(Unit(0.0, (select(think_s=3.0),)), Unit(1.0, (update(0.25),), xa=True), duration_s=4.0)
    _, outcomes = run(trace, deployment_of(1, 1))
    assert outcomes.latency_s.tolist() == [0.0, 1.25]


def test_xa_connects_to_one_pod() -> None:
    world, _ = run(trace_of(Unit(0.0, (update(),), xa=True), duration_s=4.0), deployment_of(3))
    assert [pod.rpcs for pod in world.pods] == [7, 0, 0]


@pytest.mark.parametrize(("version", "last"), [("0.3.1-beta", 0), ("0.3.2-snapshot", 1)])
def test_0_3_1_counts_the_sessions_of_xa_only(version: str, last: int) -> None:
    # The plain session on pod 0 stays open; the second unit's, on pod 1, is over when the third comes.
    trace = trace_of(
        Unit(0.0, (select(think_s=3.0),)),
        Unit(0.5, (select(),), xa=True),
        Unit(2.0, (select(),), xa=True),
        duration_s=4.5,
    )
    _, outcomes = run(trace, deployment_of(2, version=version))
    assert outcomes.pod.tolist() == [0, 1, last]


def test_open_xa_sessions_turn_everybody_to_the_other_pods() -> None:
    trace = trace_of(
        Unit(0.0, (select(think_s=2.0),), xa=True),
        Unit(1.25, (select(),), xa=True),
        Unit(2.5, (select(),)),
        Unit(2.75, (select(),)),
        duration_s=4.5,
    )
    _, outcomes = run(trace, deployment_of(2))
    assert outcomes.pod.tolist() == [0, 1, 1, 1]


# Several kinds of clients (5) ---------------------------------------------------------------------------------------


def kinds_world(pods: int, size: int, *units: Unit) -> World:
    trace = trace_of(*(units or (Unit(0.0, (update(),)),)), jvms=2, pools=2, duration_s=4.5, typical_ms=(20.0, 20.0))
    return run(trace, deployment_of(pods, size, server=SEGREGATED))[0]


def test_each_kind_of_client_has_a_pool_of_full_size_and_slots_of_its_own_on_each_pod() -> None:
    world = kinds_world(2, 20)
    assert [(pool.pod, pool.maximum, pool.open) for pool in world.pools] == [(p, 10, 10) for p in (0, 0, 1, 1)]
    assert [lane.total for lane in world.lanes] == [8, 2] * 4
    assert world.state[0].connections == 40


def test_kinds_of_clients_do_not_wait_for_each_others_slots_and_connections() -> None:
    trace = trace_of(
        Unit(0.0, (select(2.0),)), Unit(0.5, (update(0.25),), jvm=1), Unit(1.0, (update(0.25),)), jvms=2, pools=2
    )
    _, outcomes = run(trace, deployment_of(1, 2, server=SEGREGATED))
    assert outcomes.latency_s.tolist() == [2.0, 0.25, 1.25]
    same_kind = trace_of(Unit(0.0, (select(2.0),)), Unit(0.5, (update(0.25),), jvm=1), jvms=2)
    assert run(same_kind, deployment_of(1, 2, server=SEGREGATED))[1].latency_s.tolist() == [2.0, 1.75]


def test_each_kind_of_client_has_a_classifier_of_its_own() -> None:
    world = kinds_world(1, 20, Unit(0.0, (update(0.52, text=1),), jvm=1))
    assert [memory.average_ms for memory in world.memories] == [20.0, 20.0, 20.0, (80.0 + 520.0) / 5]
    assert [lane.used for lane in world.lanes] == [0, 0, 1, 0]


def test_kinds_of_clients_share_a_breaker() -> None:
    bad = [Unit(0.5 * n, (update(fails=True),), jvm=n % 2) for n in range(3)]
    trace = trace_of(*bad, Unit(2.0, (update(),)), Unit(3.0, (update(),), jvm=1), jvms=2, pools=2, duration_s=4.0)
    _, outcomes = run(trace, deployment_of())
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR] * 3 + [Ending.BREAKER_OPEN] * 2


def test_a_view_of_one_kind_resizes_its_pool_only() -> None:
    trace = trace_of(Unit(2.0, (select(),), jvm=1), duration_s=4.5, jvms=2, pools=2)
    world, _ = run(trace, deployment_of(2, 20), lost(0, 1.0, 100.0))
    assert [pool.maximum for pool in world.pools] == [0, 0, 10, 20]
    assert world.lanes[Side.FAST].total == 16 // 2
