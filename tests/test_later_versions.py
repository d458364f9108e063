"""OJP 0.4.21, section by section of the reference's later versions: what test_versions.py, which goes by trait, doesn't hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import Statement, Unit, deployment_of, lost, run, select, trace_of, update, world_of

from ojp_sizing.behaviour.classifier import is_slow, record_time
from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.behaviour.pool import build_pool, learn_view
from ojp_sizing.behaviour.world import World
from ojp_sizing.deployment.deployment import Deployment, ServerSettings
from ojp_sizing.deployment.disruption import PodLoss, Several

ANCHOR, BEFORE_PERMITS, FIRST_WAIT = "0.4.21-beta", "0.4.14-beta", "0.4.15-beta"
SEGREGATED = ServerSettings(200, True)


def anchored(replicas: int = 1, pool: int = 20, *, idle: int = 0, server: ServerSettings | None = None) -> Deployment:
    return deployment_of(replicas, pool, idle=idle, server=server, version=ANCHOR)


# 1.2 How many RPCs a unit sends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "calls"),
    [
        (Unit(0.0, (select(),)), 3),
        (Unit(0.0, (update(),)), 1),
        (Unit(0.0, (select(), select(), update()), transaction=True), 3 + 2 + 3),
        # An addition for each row, executeBatch as a call, terminate; closing the statement is a call of the unit.
        (Unit(0.0, (*[Statement(writes=True, keeps=True)] * 4, Statement(called=True)), calls=1), 4 + 3),
        (Unit(0.0, (select(),), calls=2), 3 + 2),
    ],
    ids=["query", "update", "transaction of 3, 2 of them queries", "batch of 4", "two calls first"],
)
def test_a_unit_sends_as_many_rpcs_as_the_reference_counts(unit: Unit, calls: int) -> None:
    world, outcomes = run(trace_of(unit, duration_s=4.0), anchored(3, 30))
    assert outcomes.outcome.tolist() == [Ending.OK]
    assert sum(pod.rpcs for pod in world.pods) == calls


# 1.4, 1.7 Who has a permit, and for how long ---------------------------------------------------------------------------


def held_permits(unit: Unit, at_s: float) -> int:
    """Of a pod's only permit, how much is taken at an instant of a run."""
    world, _ = run(trace_of(unit, duration_s=at_s), anchored(1, 1))
    return world.lanes[0].total - world.lanes[0].free


@pytest.mark.parametrize(
    ("unit", "while_thinking"),
    [
        (Unit(0.0, (update(think_s=3.0), update())), 0),
        (Unit(0.0, (select(think_s=3.0),)), 1),
        (Unit(0.0, (update(think_s=3.0),), transaction=True), 1),
        (Unit(0.0, (Statement(think_s=3.0, called=True),)), 1),
        (Unit(0.0, (Statement(think_s=3.0, writes=True, keeps=True),)), 1),
    ],
    ids=["update", "query", "transaction", "call", "update that keeps a session"],
)
def test_what_makes_a_session_keeps_its_permit_to_the_close(unit: Unit, while_thinking: int) -> None:
    assert held_permits(unit, 2.0) == while_thinking
    assert held_permits(unit, 4.0) == 0


def test_later_statements_commits_and_closes_need_no_permit() -> None:
    """The pod's one permit is the transaction's, and everything that follows in it goes through."""
    unit = Unit(0.0, (select(0.1), update(0.1), select(0.1)), transaction=True)
    _, outcomes = run(trace_of(unit, duration_s=9.0), anchored(1, 1))
    assert outcomes.outcome.tolist() == [Ending.OK]
    assert outcomes.latency_s[0] == pytest.approx(0.3)


def test_start_transaction_stands_in_the_same_queue_as_statements() -> None:
    """With its limit of the connection's time-out, and its length of twice the permits (later versions 1.4)."""
    holds = Unit(0.0, (select(think_s=30.0),))
    begins = [Unit(1.0 + n / 10, (update(),), transaction=True) for n in range(3)]
    _, outcomes = run(trace_of(holds, *begins, duration_s=60.0), anchored(1, 1))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.SLOT_TIMEOUT, Ending.SLOT_TIMEOUT, Ending.OVERLOADED]
    assert outcomes.latency_s[1:].tolist() == pytest.approx([10.0, 10.0, 0.0])


def test_waiters_park_three_threads_for_each_permit_at_most() -> None:
    """One runs and two wait for it (later versions 1.3): the fourth isn't let in."""
    units = [Unit(n / 10, (update(20.0),)) for n in range(8)]
    world, _ = run(trace_of(*units, duration_s=2.0), anchored(1, 1))
    assert world.pods[0].inside_peak == 4
    assert 200 - world.pods[0].threads_free == 3


# 2.1 How many permits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "slow", "fast"), [(1, 1, 0), (2, 1, 1), (4, 1, 3), (7, 1, 6), (10, 2, 8), (17, 3, 14), (20, 4, 16)]
)
def test_permits_are_divided_as_in_the_reference(total: int, slow: int, fast: int) -> None:
    on, off = world_of(anchored(1, total, server=SEGREGATED)), world_of(anchored(1, total))
    assert (on.lanes[1].total, on.lanes[0].total) == (slow, fast)
    assert (off.lanes[1].total, off.lanes[0].total) == (0, total)
    assert on.settings[0].queue_depth == 2


def test_the_queue_of_each_lane_takes_twice_all_permits() -> None:
    units = [Unit(0.0, (select(think_s=30.0),)), *(Unit(1.0 + n / 100, (update(),)) for n in range(6))]
    _, outcomes = run(trace_of(*units, duration_s=9.0), anchored(1, 2, server=SEGREGATED))
    # One fast permit of two: one runs, four wait, two are refused.
    assert (outcomes.outcome == Ending.OVERLOADED).sum() == 2


def test_no_percentage_is_admission_alone_with_the_fast_lane_s_wait() -> None:
    server = ServerSettings(200, True, slow_slot_percentage=0)
    units = (Unit(0.0, (select(think_s=90.0),)), Unit(1.0, (update(),)))
    world, outcomes = run(trace_of(*units, duration_s=120.0), anchored(1, 1, server=server))
    assert (world.lanes[0].total, world.lanes[1].total) == (1, 0)
    assert outcomes.latency_s[1] == pytest.approx(60.0)


def test_the_wait_for_a_slot_is_60_s_in_0_4_14_and_10_s_from_0_4_15_on() -> None:
    units = (Unit(0.0, (update(90.0),)), Unit(1.0, (update(),)))
    for version, wait_s in ((BEFORE_PERMITS, 60.0), (FIRST_WAIT, 10.0), (ANCHOR, 10.0)):
        _, outcomes = run(trace_of(*units, duration_s=120.0), deployment_of(1, 1, version=version))
        assert outcomes.outcome[1] == Ending.SLOT_TIMEOUT
        assert outcomes.latency_s[1] == pytest.approx(wait_s)


# 2.3 Segregation with sessions ------------------------------------------------------------------------------------------


def test_the_slow_lane_is_dead_where_units_begin_with_a_transaction() -> None:
    """It has never had an arrival, so it isn't lent either: 1 of 7 permits is of no use (later versions 2.3)."""
    units = [Unit(n / 10, (select(5.0),), transaction=True) for n in range(8)]
    world, _ = run(trace_of(*units, duration_s=4.0, typical_ms=(5000.0,)), anchored(1, 7, server=SEGREGATED))
    assert (world.lanes[0].free, world.lanes[0].waiting) == (0, 2)
    assert (world.lanes[1].total, world.lanes[1].free) == (1, 1)


# 3 Classifier -------------------------------------------------------------------------------------------------------------


def learner(texts: int) -> World:
    return world_of(
        anchored(server=SEGREGATED), trace_of(Unit(0.0, (update(),)), typical_ms=[20.0] * texts), warm=False
    )


def teach(world: World, averages_ms: list[float], runs: int) -> None:
    for _ in range(runs):
        for text, elapsed_ms in enumerate(averages_ms):
            record_time(world, 0, text, elapsed_ms)


def slow_at(world: World, now_s: float, texts: int) -> int:
    world.state[0].now = now_s
    return sum(is_slow(world, 0, text) for text in range(texts))


def test_after_a_common_slow_down_all_are_slow_and_then_none_is_ever_again() -> None:
    """Their flags leave nothing to make a baseline of, until a new text has been run 20 times (later versions 3, RUN)."""
    world = learner(11)
    teach(world, [20.0] * 10, 30)
    assert slow_at(world, 20.0, 10) == 0
    teach(world, [300.0] * 10, 6)
    assert slow_at(world, 25.0, 10) == 10
    assert slow_at(world, 40.0, 10) == 0
    teach(world, [900.0] * 10, 20)
    assert slow_at(world, 60.0, 10) == 0
    for _ in range(20):
        record_time(world, 0, 10, 20.0)
    assert slow_at(world, 80.0, 10) == 10


def test_one_time_out_of_250_ms_makes_nothing_slow() -> None:
    world = learner(10)
    teach(world, [20.0] * 10, 30)
    assert slow_at(world, 20.0, 10) == 0
    teach(world, [250.0] * 10, 1)
    assert slow_at(world, 25.0, 10) == 0


def test_of_two_texts_the_slow_one_is_found_and_of_one_none() -> None:
    pair, alone = learner(2), learner(1)
    teach(pair, [10.0, 900.0], 30)
    teach(alone, [900.0], 30)
    assert (slow_at(pair, 20.0, 2), slow_at(alone, 20.0, 1)) == (1, 0)


def test_a_text_of_500_ms_is_fast_again_after_8_runs_of_10() -> None:
    world = learner(3)
    teach(world, [500.0, 10.0, 10.0], 30)
    assert slow_at(world, 20.0, 3) == 1
    runs = 0
    while slow_at(world, 20.0, 1):
        record_time(world, 0, 0, 10.0)
        runs += 1
    assert runs == 8


# 5 Pools ------------------------------------------------------------------------------------------------------------------


def test_a_view_from_before_the_pool_counts_when_it_is_built() -> None:
    """A statement came first, when its client believed one of three pods down: 20 / 2 connections and permits (2.1, RUN)."""
    world = world_of(anchored(3), warm=False)
    world.callers[0].belief_up = 2
    world.callers[0].belief = 1
    learn_view(world, 0)
    build_pool(world, 0)
    assert (world.pools[0].maximum, world.lanes[0].total) == (10, 10)


def test_a_pod_that_comes_back_while_another_is_down_has_permits_for_all_three() -> None:
    """The connect that builds its pool carries no view; the push that follows divides the pool anew, not its permits (5.2)."""
    units = [Unit(n / 4, (update(),)) for n in range(160)]
    missing = Several((lost(2, 1.0, 300.0), lost(1, 8.0, 8.0)))
    deployment = deployment_of(3, version=ANCHOR, connection_open_s=0.1)
    world, _ = run(trace_of(*units, duration_s=40.0), deployment, missing)
    assert (world.pools[1].maximum, world.lanes[2].total) == (10, 7)


def test_a_burst_on_a_small_pool_fails_those_who_would_wait_longer_than_250_ms() -> None:
    """One connection opens after another, each in 100 ms: 2 idle ones and 2 more serve, others fail at 250 ms (5.4, INFER)."""
    units = [Unit(1.0, (update(2.0),)) for _ in range(8)]
    deployment = deployment_of(1, 20, idle=2, version=ANCHOR, connection_open_s=0.1)
    world, outcomes = run(trace_of(*units, duration_s=0.5), deployment, warm=False)
    assert world.pools[0].created == 0
    first = Unit(0.0, (update(),))
    _, outcomes = run(trace_of(first, *units, duration_s=9.0), deployment, warm=False)
    served = (outcomes.outcome[1:] == Ending.OK).sum()
    assert served == 2 + 2
    late = outcomes.outcome[1:] == Ending.CONNECTION_TIMEOUT
    assert late.sum() == 4
    assert outcomes.latency_s[1:][late].tolist() == pytest.approx([0.25] * 4)


# 6 Driver -----------------------------------------------------------------------------------------------------------------


def test_new_work_goes_where_this_jvm_has_the_fewest_sessions() -> None:
    keeps = [Unit(0.1 * n, (select(think_s=3.0),)) for n in range(2)]
    _, outcomes = run(trace_of(*keeps, Unit(1.0, (select(),)), Unit(1.5, (select(),)), duration_s=4.5), anchored(3, 30))
    assert outcomes.pod.tolist() == [0, 1, 2, 2]


def test_plain_updates_take_turns() -> None:
    _, outcomes = run(trace_of(*(Unit(n / 10, (update(),)) for n in range(6)), duration_s=4.0), anchored(3, 30))
    assert outcomes.pod.tolist() == [0, 1, 2, 0, 1, 2]


def test_with_every_pod_down_a_connection_is_had_and_its_first_statement_fails() -> None:
    """getConnection() calls nobody (later versions 1.1)."""
    _, outcomes = run(trace_of(Unit(2.0, (update(),)), duration_s=4.0), anchored(1, 5), lost(0, 1.0, 100.0))
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE]


@pytest.mark.parametrize(
    "unit", [Unit(2.0, (select(),)), Unit(2.0, (update(),), transaction=True), Unit(2.0, (select(),), calls=1)]
)
def test_statements_transactions_and_calls_don_t_mark_a_dead_pod(unit: Unit) -> None:
    """Each fails anew until the tick at second 4.95 (later versions 6.2)."""
    again = replace(unit, at_s=3.0)
    _, outcomes = run(trace_of(unit, again, duration_s=4.5), anchored(1, 5), lost(0, 1.0, 100.0))
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE, Ending.UNAVAILABLE]


def test_a_fetch_marks_a_dead_pod() -> None:
    reads = Unit(0.0, (Statement(think_s=2.0, fetches=3),))
    after = Unit(3.0, (update(),))
    _, outcomes = run(trace_of(reads, after, duration_s=4.5), anchored(2, 10), PodLoss(0, 1.0, 100.0, 0.0, 0.0))
    assert outcomes.outcome.tolist()[1] == Ending.OK
    assert outcomes.outcome.tolist()[0] in (Ending.UNAVAILABLE, Ending.SESSION_LOST)


def test_no_statement_is_tried_elsewhere() -> None:
    units = [Unit(2.0 + n / 10, (update(),)) for n in range(4)]
    _, outcomes = run(trace_of(*units, duration_s=4.5), anchored(2, 10), lost(0, 1.0, 100.0))
    assert outcomes.outcome.tolist().count(Ending.UNAVAILABLE) == 2


def test_failed_parameterised_updates_empty_a_pool_one_by_one() -> None:
    """Failures among successes leak without limit, and the breaker stays shut (later versions 1.6)."""
    leaky = replace(anchored(1, 3), constants=replace(anchored().constants, error_leak_probability=1.0))
    units = [
        unit for n in range(4) for unit in (Unit(2.0 * n, (update(fails=True),)), Unit(2.0 * n + 1.0, (update(),)))
    ]
    world, outcomes = run(trace_of(*units, duration_s=20.0), leaky)
    # Two more find no connection: with the error before them that is three failures of one text in a row.
    emptied = [Ending.DATABASE_ERROR, Ending.CONNECTION_TIMEOUT, Ending.CONNECTION_TIMEOUT, Ending.BREAKER_OPEN]
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR, Ending.OK, Ending.DATABASE_ERROR, Ending.OK, *emptied]
    assert world.pools[0].leaked == 3
