"""The rules of the behaviour reference (sections 1 to 7), each held by a small world or a hand-made trace."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from worlds import Unit, deployment_of, lost, run, select, take_posts, trace_of, update, world_of

from ojp_sizing.behaviour.arithmetic import share_of_pool, split_slots
from ojp_sizing.behaviour.breaker import breaker_fails, breaker_is_open, breaker_succeeds
from ojp_sizing.behaviour.classifier import is_slow, record_time, wall_clock_ms
from ojp_sizing.behaviour.kinds import Ending, EventKind, Side
from ojp_sizing.behaviour.lifecycle import pod_dies, pod_listens
from ojp_sizing.behaviour.pool import (
    adder_due,
    borrow_connection,
    build_pool,
    learn_view,
    resize_pool,
    return_connection,
)
from ojp_sizing.behaviour.slots import GRANTED, acquire_slot, release_slot
from ojp_sizing.behaviour.world import World
from ojp_sizing.deployment.deployment import ServerSettings
from ojp_sizing.deployment.disruption import PodLoss, RollingUpdate

SEGREGATED = ServerSettings(segregation=True)
#: Its driver checks the pods' health in a thread of its own.
THREADED = "0.3.2-snapshot"

# Slots (section 2) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "pods", "per_pod", "fast", "slow"),
    [
        (20, 1, 20, 16, 4),
        (20, 2, 10, 8, 2),
        (20, 3, 7, 6, 1),
        (10, 3, 4, 3, 1),
        (30, 3, 10, 8, 2),
        (50, 3, 17, 14, 3),
        (5, 3, 2, 1, 1),
        (3, 3, 1, 0, 1),
        (2, 3, 1, 0, 1),
        (1, 3, 1, 0, 1),
    ],
)
def test_slots_of_a_pod_are_split_from_its_share_of_the_pool(
    size: int, pods: int, per_pod: int, fast: int, slow: int
) -> None:
    assert share_of_pool(size, pods) == per_pod
    deployment = deployment_of(pods, size, server=SEGREGATED)
    assert deployment.slots_per_pod == (fast, slow)
    world = world_of(deployment)
    assert [lane.total for lane in world.lanes] == [fast, slow] * pods


@pytest.mark.parametrize(
    ("percentage", "slots"), [(0, (9, 1)), (1, (9, 1)), (25, (8, 2)), (99, (1, 9)), (100, (0, 10))]
)
def test_percentage_is_rounded_down_but_to_one_slow_slot(percentage: int, slots: tuple[int, int]) -> None:
    assert split_slots(10, percentage) == slots


def lanes_world(fast: int, slow: int, idle_timeout_s: float = 10.0) -> World:
    server = ServerSettings(slow_slot_percentage=100 * slow // (fast + slow), idle_timeout_s=idle_timeout_s)
    world = world_of(deployment_of(1, fast + slow, server=server))
    assert [lane.total for lane in world.lanes] == [fast, slow]
    return world


def free(world: World) -> tuple[int, int]:
    return world.lanes[Side.FAST].free, world.lanes[Side.SLOW].free


def test_slots_of_a_class_that_never_had_an_arrival_are_not_lent() -> None:
    world = lanes_world(1, 1)
    assert acquire_slot(world, 0, Side.FAST)
    world.state[0].now = 1e6
    assert not acquire_slot(world, 1, Side.FAST)
    assert free(world) == (0, 1)


@pytest.mark.parametrize(("idle_s", "lent"), [(0.0, False), (9.999, False), (10.0, True), (1000.0, True)])
def test_slots_are_lent_from_the_idle_time_after_the_last_arrival_on(idle_s: float, lent: bool) -> None:
    world = lanes_world(1, 1)
    world.state[0].now = 3.0
    acquire_slot(world, 0, Side.SLOW)
    release_slot(world, 0)
    world.state[0].now += idle_s
    assert acquire_slot(world, 1, Side.FAST)
    assert (acquire_slot(world, 2, Side.FAST) == GRANTED) == lent
    assert world.lanes[Side.FAST].borrowed == lent


def test_idle_time_zero_lends_always_after_the_first_arrival() -> None:
    world = lanes_world(1, 1, idle_timeout_s=0.0)
    acquire_slot(world, 0, Side.SLOW)
    release_slot(world, 0)
    assert acquire_slot(world, 1, Side.FAST)
    assert acquire_slot(world, 2, Side.FAST)


def test_an_arrival_that_only_waits_restarts_the_idle_time() -> None:
    world = lanes_world(2, 1)
    acquire_slot(world, 0, Side.SLOW)
    world.state[0].now = 8.0
    assert not acquire_slot(world, 1, Side.SLOW)
    world.state[0].now = 12.0
    release_slot(world, 0)
    release_slot(world, 1)
    assert free(world) == (2, 1)
    assert acquire_slot(world, 2, Side.FAST)
    assert acquire_slot(world, 3, Side.FAST)
    assert not acquire_slot(world, 4, Side.FAST)


def test_a_class_without_slots_of_its_own_can_borrow() -> None:
    world = lanes_world(0, 1)
    acquire_slot(world, 0, Side.SLOW)
    release_slot(world, 0)
    world.state[0].now = 10.0
    assert acquire_slot(world, 1, Side.FAST)


def test_release_pays_the_lender_first_whoever_borrowed() -> None:
    world = lanes_world(1, 1)
    acquire_slot(world, 0, Side.SLOW)
    release_slot(world, 0)
    world.state[0].now = 10.0
    acquire_slot(world, 1, Side.FAST)
    acquire_slot(world, 2, Side.FAST)  # the borrower
    assert not acquire_slot(world, 3, Side.FAST)
    take_posts(world)
    # Caller 1 had an own slot; the lender gets it, though it has no demand and caller 3 waits.
    release_slot(world, 1)
    assert free(world) == (0, 1)
    assert take_posts(world) == []
    release_slot(world, 2)
    assert take_posts(world) == [(10.0, EventKind.SLOT_GRANTED, 3)]
    assert world.lanes[Side.FAST].borrowed == 0


def test_a_lenders_waiter_gets_the_repaid_slot() -> None:
    world = lanes_world(1, 1)
    acquire_slot(world, 0, Side.SLOW)
    release_slot(world, 0)
    world.state[0].now = 10.0
    acquire_slot(world, 1, Side.FAST)
    acquire_slot(world, 2, Side.FAST)
    assert not acquire_slot(world, 3, Side.SLOW)
    take_posts(world)
    release_slot(world, 1)
    assert take_posts(world) == [(10.0, EventKind.SLOT_GRANTED, 3)]


def test_waiters_do_not_ask_again_for_a_loan_so_that_a_newcomer_passes_them() -> None:
    world = lanes_world(1, 1)
    acquire_slot(world, 0, Side.SLOW)
    release_slot(world, 0)
    world.state[0].now = 5.0
    acquire_slot(world, 1, Side.FAST)
    assert not acquire_slot(world, 2, Side.FAST)
    world.state[0].now = 11.0
    assert acquire_slot(world, 3, Side.FAST)
    assert world.lanes[Side.FAST].waiting == 1


@pytest.mark.parametrize("seed", range(5))
def test_slots_are_conserved_and_end_where_they_began(seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = lanes_world(3, 2, idle_timeout_s=1.0)
    idle, holding = list(range(20)), []
    for _ in range(400):
        world.state[0].now += rng.exponential(0.4)
        if idle and rng.random() < 0.5:
            caller = idle.pop()
            if acquire_slot(world, caller, int(rng.random() < 0.4)):
                holding.append(caller)
        elif holding:
            caller = holding.pop(int(rng.integers(len(holding))))
            release_slot(world, caller)
            idle.append(caller)
        holding += [heir for _, kind, heir in take_posts(world) if kind == EventKind.SLOT_GRANTED]
        assert sum(free(world)) + len(holding) == 5
        assert min(free(world)) >= 0
    assert world.pods[0].borrowed > 0
    while holding:
        release_slot(world, holding.pop())
        holding += [heir for _, kind, heir in take_posts(world) if kind == EventKind.SLOT_GRANTED]
    assert free(world) == (3, 2)


@pytest.mark.parametrize(("text", "limit_s"), [(0, 60.0), (2, 120.0)])
def test_slot_wait_is_60_s_for_fast_and_120_s_for_slow(text: int, limit_s: float) -> None:
    trace = trace_of(
        Unit(0.0, (update(500.0, text=text),)), Unit(1.0, (update(text=text),)), typical_ms=(10.0, 10.0, 100.0)
    )
    world, outcomes = run(trace, deployment_of(1, 2, server=SEGREGATED))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.SLOT_TIMEOUT]
    assert outcomes.latency_s[1] == limit_s
    # It counts for the breaker; the classifier learns nothing of it.
    memory = world.memories[text]
    assert memory.average_ms == (4 * trace.typical_ms[text] + 500_000.0) / 5


@pytest.mark.parametrize(("size", "percentage"), [(3, 20), (30, 100)])
def test_without_a_fast_slot_every_statement_times_out(size: int, percentage: int) -> None:
    server = ServerSettings(slow_slot_percentage=percentage)
    world, outcomes = run(trace_of(Unit(0.0, (update(0.25),))), deployment_of(3, size, server=server))
    assert outcomes.outcome.tolist() == [Ending.SLOT_TIMEOUT]
    assert outcomes.latency_s.tolist() == [60.0]
    assert world.breakers[0].failures == 1


def test_a_slot_timeout_counts_for_the_breaker_but_is_not_learned() -> None:
    trace = trace_of(
        Unit(0.0, (update(500.0),)), Unit(1.0, (update(text=1),)), duration_s=200.0, typical_ms=(20.0, 20.0)
    )
    world, outcomes = run(trace, deployment_of(1, 2, server=SEGREGATED))
    assert outcomes.outcome[1] == Ending.SLOT_TIMEOUT
    assert (world.breakers[1].failures, world.memories[1].average_ms) == (1, 20.0)


def test_slots_do_not_grow_with_the_pool() -> None:
    world = world_of(deployment_of(3, 20, server=SEGREGATED))
    resize_pool(world, 0, 2)
    assert world.pools[0].maximum == 10
    assert [lane.total for lane in world.lanes[:2]] == [6, 1]


# Classifier (section 3.1) -------------------------------------------------------------------------------------------


def learned(*typical_ms: float, refresh_s: float = 300.0, warm: bool = True) -> World:
    server = ServerSettings(update_global_average_s=refresh_s)
    return world_of(deployment_of(server=server), trace_of(Unit(0.0, (update(),)), typical_ms=typical_ms), warm=warm)


def test_the_first_execution_is_fast_and_sets_the_average() -> None:
    world = learned(1.0, 1.0, 1.0, warm=False)
    record_time(world, 0, 0, 10.0)
    record_time(world, 0, 1, 10.0)
    assert not is_slow(world, 0, 2)
    record_time(world, 0, 2, 1000.0)
    assert world.memories[2].average_ms == 1000.0
    assert is_slow(world, 0, 2)


def test_the_average_moves_by_a_fifth() -> None:
    world = learned(20.0)
    record_time(world, 0, 0, 70.0)
    assert world.memories[0].average_ms == 30.0
    record_time(world, 0, 0, 0.0)
    assert world.memories[0].average_ms == 24.0


def test_the_overall_average_is_unweighted() -> None:
    world = learned(1.0, 1.0, warm=False)
    for _ in range(50):
        record_time(world, 0, 0, 10.0)
    record_time(world, 0, 1, 90.0)
    assert world.pools[0].overall_ms == 50.0


def test_the_overall_average_is_made_anew_with_a_new_text_or_after_300_s() -> None:
    world = learned(20.0, 20.0)
    record_time(world, 0, 0, 520.0)
    assert world.pools[0].overall_ms == 20.0
    world.state[0].now = 299.9
    record_time(world, 0, 0, 120.0)
    assert world.pools[0].overall_ms == 20.0
    world.state[0].now = 300.0
    record_time(world, 0, 0, 120.0)
    assert world.pools[0].overall_ms == (120.0 + 20.0) / 2
    # The next interval begins here.
    world.state[0].now = 599.9
    record_time(world, 0, 0, 1120.0)
    assert world.pools[0].overall_ms == 70.0


def test_the_interval_is_read_in_whole_seconds() -> None:
    world = learned(20.0, refresh_s=5.0)
    world.pools[0].overall_at_s = 0.999
    world.state[0].now = 5.0
    record_time(world, 0, 0, 120.0)
    assert world.pools[0].overall_ms == 40.0


@pytest.mark.parametrize(
    ("typical_ms", "slow"),
    [
        ((100.0,), [False]),
        ((10.0, 1000.0), [False, False]),
        ((0.0, 10.0), [False, True]),
        ((10.0, 10.0, 100.0), [False, False, True]),
        ((10.0, 10.0, 40.0), [False, False, True]),
        ((10.0, 10.0, 39.0), [False, False, False]),
        ((0.0, 0.0, 3.0), [False, False, False]),
        ((0.0, 0.0, 3.1), [False, False, True]),
        ((1.0, 1.0, 1.0, 900.0, 900.0), [False, False, False, True, True]),
        ((1.0, 1.0, 900.0, 900.0), [False, False, False, False]),
    ],
)
def test_slow_is_twice_the_overall_average_above_a_floor_of_1_ms(typical_ms: tuple[float], slow: list[bool]) -> None:
    world = learned(*typical_ms)
    assert [is_slow(world, 0, text) for text in range(len(typical_ms))] == slow


@pytest.mark.parametrize(("refresh_s", "overall_ms", "slow"), [(300.0, 20.0, 10), (0.0, 2016.0, 0)])
def test_the_metastable_trap(refresh_s: float, overall_ms: float, slow: int) -> None:
    world = learned(*[20.0] * 10, refresh_s=refresh_s)
    for text in range(10):
        record_time(world, 0, text, 10_000.0)
    assert {memory.average_ms for memory in world.memories} == {2016.0}
    assert world.pools[0].overall_ms == overall_ms
    assert sum(is_slow(world, 0, text) for text in range(10)) == slow


def test_a_trapped_text_needs_21_normal_executions_to_leave() -> None:
    world = learned(*[20.0] * 10)
    record_time(world, 0, 0, 10_000.0)
    executions = 0
    while is_slow(world, 0, 0):
        record_time(world, 0, 0, 20.0)
        executions += 1
    assert executions == 21


@pytest.mark.parametrize(("now_s", "shown_ms"), [(0.0004, 0.0), (0.0016, 1.0), (2.25, 2250.0)])
def test_times_are_whole_milliseconds(now_s: float, shown_ms: float) -> None:
    world = learned(20.0)
    world.state[0].now = now_s
    assert wall_clock_ms(world) == shown_ms


def test_the_measured_time_includes_the_wait_for_a_connection_but_not_for_a_slot() -> None:
    server = ServerSettings(slow_slot_percentage=50)
    trace = trace_of(
        Unit(0.0, (select(think_s=5.0),)),
        Unit(0.0, (select(think_s=9.0),)),
        Unit(1.0, (update(0.25, text=1),)),
        Unit(2.0, (update(0.5, text=2),)),
        typical_ms=(20.0, 20.0, 20.0),
    )
    world, outcomes = run(trace, deployment_of(1, 2, server=server))
    assert outcomes.latency_s.tolist()[2:] == [4.25, 3.75]
    # Text 1 waited 4 s with its slot; text 2 waited for that slot, which isn't measured.
    assert [world.memories[text].average_ms for text in (1, 2)] == [(80.0 + 4250.0) / 5, (80.0 + 500.0) / 5]


def test_failed_executions_are_learned_too() -> None:
    world, _ = run(trace_of(Unit(0.0, (update(0.52, fails=True),))), deployment_of())
    assert world.memories[0].average_ms == (80.0 + 520.0) / 5


# Circuit breaker (section 4) ----------------------------------------------------------------------------------------


def test_the_breaker_opens_at_the_third_failure_in_a_row_however_far_apart() -> None:
    world = world_of(deployment_of())
    for day, is_open in enumerate((False, False, True)):
        world.state[0].now = 86_400.0 * day
        breaker_fails(world, 0)
        assert breaker_is_open(world, 0) is is_open


def test_a_success_starts_the_count_again() -> None:
    world = world_of(deployment_of())
    for _ in range(5):
        breaker_fails(world, 0)
        breaker_fails(world, 0)
        breaker_succeeds(world, 0)
    breaker_fails(world, 0)
    breaker_fails(world, 0)
    assert not breaker_is_open(world, 0)


def opened() -> World:
    world = world_of(deployment_of())
    for _ in range(3):
        breaker_fails(world, 0)
    return world


def test_a_success_of_a_request_admitted_earlier_erases_an_open_breaker() -> None:
    world = opened()
    assert breaker_is_open(world, 0)
    breaker_succeeds(world, 0)
    assert not breaker_is_open(world, 0)
    breaker_fails(world, 0)
    assert not breaker_is_open(world, 0)


def test_the_open_time_includes_its_last_instant_and_then_all_pass() -> None:
    world = opened()
    world.state[0].now = 60.0
    assert breaker_is_open(world, 0)
    world.state[0].now = 60.001
    assert [breaker_is_open(world, 0) for _ in range(5)] == [False] * 5


def test_the_first_failure_after_the_open_time_opens_for_a_full_period() -> None:
    world = opened()
    world.state[0].now = 100.0
    breaker_fails(world, 0)
    world.state[0].now = 160.0
    assert breaker_is_open(world, 0)
    world.state[0].now = 160.001
    assert not breaker_is_open(world, 0)


def test_each_pod_has_its_own_breaker_for_each_text() -> None:
    bad = [Unit(float(second), (update(fails=True),)) for second in range(1, 9)]
    trace = trace_of(*bad, Unit(9.0, (update(text=1),)), duration_s=30.0, typical_ms=(20.0, 20.0))
    world, outcomes = run(trace, deployment_of(2))
    # Round robin: pods 0, 1, 0, 1, 0, 1; the third failure on each opens that pod's.
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR] * 6 + [Ending.BREAKER_OPEN] * 2 + [Ending.OK]
    assert [breaker.failures for breaker in world.breakers] == [3, 0, 3, 0]


def test_an_open_breaker_takes_no_slot_and_no_connection() -> None:
    bad = [Unit(float(second), (select(1.0, fails=True),)) for second in range(4)]
    world, outcomes = run(trace_of(*bad, duration_s=30.0), deployment_of(1, server=SEGREGATED))
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR] * 3 + [Ending.BREAKER_OPEN]
    pod = world.pods[0]
    assert (pod.fast_slot_s + pod.slow_slot_s, pod.connection_s) == (3.0, 3.0)
    assert outcomes.latency_s[3] == 0.0


# The pool (section 5) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("healthy", "maximum", "minimum"), [(0, 20, 5), (1, 20, 5), (2, 10, 3), (3, 7, 2), (4, 7, 2), (9, 7, 2)]
)
def test_the_pool_is_divided_by_the_pods_believed_healthy(healthy: int, maximum: int, minimum: int) -> None:
    world = world_of(deployment_of(3, 20, idle=5), warm=False)
    build_pool(world, 0)
    assert (world.pools[0].maximum, world.pools[0].minimum) == (7, 2)
    resize_pool(world, 0, healthy)
    assert (world.pools[0].maximum, world.pools[0].minimum) == (maximum, minimum)


def tell(world: World, view: int, up: int) -> int:
    caller = world.callers[0]
    caller.belief, caller.belief_up = view, up
    learn_view(world, 0)
    return int(world.pools[0].maximum)


def test_a_pod_resizes_where_the_view_differs_from_the_last_one() -> None:
    world = world_of(deployment_of(3, 20))
    assert [tell(world, *view) for view in ((111, 3), (110, 2), (110, 2), (100, 1), (111, 3))] == [7, 10, 10, 20, 7]


def test_a_view_before_the_pool_is_remembered_and_not_applied() -> None:
    world = world_of(deployment_of(3, 20), warm=False)
    assert tell(world, 110, 2) == 0
    build_pool(world, 0)
    assert world.pools[0].maximum == 7
    assert tell(world, 110, 2) == 7
    assert tell(world, 100, 1) == 20


def test_the_first_view_after_a_restart_counts_as_a_change() -> None:
    world = world_of(deployment_of(3, 20))
    assert tell(world, 110, 2) == 10
    pod_dies(world, 0)
    pod_listens(world, 0)
    build_pool(world, 0)
    assert tell(world, 110, 2) == 10


def test_a_shrink_evicts_idle_connections_now_and_busy_ones_on_return() -> None:
    world = world_of(deployment_of(2, 20))
    resize_pool(world, 0, 1)
    pool = world.pools[0]
    for caller in range(3):
        assert borrow_connection(world, caller)
    assert (pool.maximum, pool.open, pool.idle) == (20, 10, 7)
    resize_pool(world, 0, 2)
    assert (pool.maximum, pool.open, pool.idle, pool.in_use) == (10, 3, 0, 3)
    for caller, left in ((0, 2), (1, 1), (2, 0)):
        return_connection(world, caller)
        assert (pool.open, pool.idle) == (left, 0)
    assert world.state[0].connections == 10  # the other pod's


def test_growing_evicts_nothing() -> None:
    world = world_of(deployment_of(2, 20))
    borrow_connection(world, 0)
    resize_pool(world, 0, 1)
    return_connection(world, 0)
    assert (world.pools[0].open, world.pools[0].idle) == (10, 10)


def test_a_pool_opens_one_connection_at_a_time() -> None:
    trace = trace_of(Unit(0.0, (update(),)), duration_s=7.0)
    _, outcomes = run(trace, deployment_of(1, 5, idle=5), warm=False, sample_every_s=0.5)
    idle = dict(zip(outcomes.sample_s.tolist(), outcomes.samples["pools"]["idle"][:, 0].tolist(), strict=True))
    assert [idle[t] for t in (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5)] == [0, 1, 2, 3, 4, 5, 5]


def test_the_adder_sleeps_after_each_connection() -> None:
    deployment = deployment_of(1, 3, idle=3)
    deployment = replace(deployment, constants=replace(deployment.constants, connection_pause_s=0.5))
    trace = trace_of(Unit(0.0, (update(),)), duration_s=7.0)
    _, outcomes = run(trace, deployment, warm=False, sample_every_s=0.3)
    idle = outcomes.samples["pools"]["idle"][:, 0]
    grown = [float(outcomes.sample_s[idle >= count][0]) for count in (1, 2, 3)]
    # The build opens the first by itself.
    assert grown == pytest.approx([1.2, 2.1, 3.6])


def test_growth_by_k_for_waiters_takes_k_opening_times_and_serves_them_in_order() -> None:
    world = world_of(deployment_of(1, 3), warm=False)
    build_pool(world, 0)
    assert [borrow_connection(world, caller) for caller in range(3)] == [True, False, False]
    for opening, heir in ((1, 1), (2, 2)):
        assert (float(opening), EventKind.ADDER_DUE, 0) in take_posts(world)
        world.state[0].now = float(opening)
        adder_due(world, 0)
        assert (float(opening), EventKind.CONNECTION_GRANTED, heir) in world_posts(world)
    assert (world.pools[0].open, world.pools[0].in_use) == (3, 3)


def _all_lent_and_one_waits(idle: int) -> World:
    """A pool of 3 whose connections are lent and will be closed on return, as after a shrink; caller 3 waits in vain."""
    world = world_of(deployment_of(1, 3, idle=idle))
    assert [borrow_connection(world, caller) for caller in range(4)] == [True, True, True, False]
    # Its task found the pool full, and is over.
    assert (world.pools[0].tasks, world.pools[0].opening_due) == (0, inf)
    world.pools[0].generation += 1
    return world


def test_a_closed_connection_is_made_up_for_only_up_to_the_least_idle_number() -> None:
    for idle, opens in ((0, False), (1, True)):
        world = _all_lent_and_one_waits(idle)
        return_connection(world, 0)
        assert (world.pools[0].open, world.pools[0].opening_due < inf) == (2 + opens, opens)


def test_a_task_that_came_to_nothing_is_not_made_up_for_until_somebody_asks_again() -> None:
    world = _all_lent_and_one_waits(0)
    return_connection(world, 0)
    return_connection(world, 1)
    assert (world.pools[0].open, world.pools[0].waiting) == (1, 1)
    assert not borrow_connection(world, 4)
    # One task, one connection: the longest waiter has it, and the newcomer waits on.
    world.state[0].now = world.pools[0].opening_due
    adder_due(world, 0)
    assert (world.callers[3].holds, world.callers[4].holds, world.pools[0].opening_due) == (1, 0, inf)


def test_no_more_tasks_stand_than_the_pool_has_connections() -> None:
    world = world_of(deployment_of(1, 3), warm=False)
    build_pool(world, 0)
    borrow_connection(world, 0)
    for caller in range(1, 9):
        borrow_connection(world, caller)
    # One is under way, three stand.
    assert (world.pools[0].waiting, world.pools[0].tasks) == (8, 3)


def world_posts(world: World) -> list[tuple[float, int, int]]:
    """The posts so far, left in place."""
    posts = take_posts(world)
    world.state[0].posted = len(posts)
    return posts


@pytest.mark.parametrize(("transaction", "failures"), [(False, 1), (True, 0)])
def test_the_wait_for_a_connection_ends_after_10_s(transaction: bool, failures: int) -> None:
    units = Unit(0.0, (select(think_s=30.0),)), Unit(1.0, (update(text=1),), transaction)
    world, outcomes = run(trace_of(*units, typical_ms=(20.0, 20.0)), deployment_of(1, 1))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.CONNECTION_TIMEOUT]
    assert outcomes.latency_s[1] == 10.0
    # A statement's counts for the breaker, startTransaction's doesn't.
    assert world.breakers[1].failures == failures


def test_each_waiter_has_its_own_10_s() -> None:
    waiters = [Unit(float(n), (update(text=n),)) for n in (1, 2, 3)]
    trace = trace_of(Unit(0.0, (select(think_s=30.0),)), *waiters, typical_ms=(20.0,) * 4)
    _, outcomes = run(trace, deployment_of(1, 1))
    assert outcomes.outcome.tolist() == [Ending.OK] + [Ending.CONNECTION_TIMEOUT] * 3
    assert outcomes.latency_s.tolist()[1:] == [10.0] * 3


@pytest.mark.parametrize(
    ("statement", "transaction", "held_s"), [(select, False, 6.5), (update, False, 0.5), (update, True, 8.5)]
)
def test_how_long_a_connection_is_held(statement: type, transaction: bool, held_s: float) -> None:
    # 1 s each way. A query: from its start (3) to the terminate (9.5). A transaction: from startTransaction on (3),
    # through think time and commit, to the terminate (11.5). An update without a session: only while it runs.
    trace = trace_of(Unit(0.0, (statement(0.5, 2.0),), transaction), duration_s=40.0, one_way_s=1.0)
    world, outcomes = run(trace, deployment_of())
    assert outcomes.outcome.tolist() == [Ending.OK]
    assert world.pods[0].connection_s == held_s
    assert world.pools[0].in_use == 0


def test_an_update_in_a_session_does_not_return_the_sessions_connection() -> None:
    trace = trace_of(Unit(0.0, (select(), update(0.0, 3.0))), duration_s=20.0)
    world, _ = run(trace, deployment_of())
    assert world.pods[0].connection_s == 3.0


def test_a_statement_of_a_session_waits_for_its_slot_with_the_connection_in_hand() -> None:
    server = ServerSettings(slow_slot_percentage=50)
    trace = trace_of(Unit(0.0, (select(think_s=1.0), select())), Unit(0.5, (update(4.0, text=1),)), typical_ms=(20, 20))
    world, outcomes = run(trace, deployment_of(1, 2, server=server))
    assert outcomes.latency_s.tolist() == [3.5, 4.0]
    assert world.pods[0].connection_s == 4.5 + 4.0


# RPCs, threads, gates (sections 1.2, 1.4, 1.5) ------------------------------------------------------------------------


@pytest.mark.parametrize("pods", [1, 2, 3])
@pytest.mark.parametrize(
    ("statements", "transaction", "beside", "per_pod"),
    [
        ((select(),), False, 3, 1),  # query, close of the result, terminate
        ((select(), select()), False, 5, 1),
        ((update(),), False, 1, 2),  # terminate without a session goes to every pod
        ((update(), update()), False, 2, 2),
        ((update(), select()), False, 4, 1),
        ((update(),), True, 4, 1),  # start, update, commit, terminate
        ((select(), update()), True, 6, 1),
    ],
)
def test_number_of_rpcs(statements: tuple, transaction: bool, beside: int, per_pod: int, pods: int) -> None:
    world, outcomes = run(trace_of(Unit(0.0, statements, transaction), duration_s=4.0), deployment_of(pods))
    assert outcomes.outcome.tolist() == [Ending.OK]
    assert sum(pod.rpcs for pod in world.pods) == per_pod * pods + beside


def test_get_connection_calls_every_pod_one_after_another() -> None:
    trace = trace_of(Unit(0.0, (select(0.5),)), duration_s=40.0, one_way_s=0.25)
    _, outcomes = run(trace, deployment_of(3))
    assert outcomes.latency_s.tolist() == [(3 + 2) * 0.5 + 0.5]


def test_start_transaction_and_commit_take_a_connection_but_no_slot() -> None:
    trace = trace_of(Unit(0.0, (), True), duration_s=40.0, one_way_s=0.25)
    world, outcomes = run(trace, deployment_of(1, server=SEGREGATED))
    assert outcomes.outcome.tolist() == [Ending.OK]
    assert (world.lanes[Side.FAST].used, world.lanes[Side.SLOW].used, world.pods[0].fast_slot_s) == (0, 0, 0.0)
    assert world.pods[0].connection_s == 1.0


def test_start_transaction_works_where_no_statement_would_get_a_slot() -> None:
    trace = trace_of(Unit(0.0, (), True), Unit(1.0, (update(),)))
    _, outcomes = run(trace, deployment_of(1, 1, server=SEGREGATED))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.SLOT_TIMEOUT]


def test_the_executor_is_fifo_for_all_kinds_of_rpcs() -> None:
    server = ServerSettings(thread_pool_size=1, segregation=False)
    trace = trace_of(
        Unit(0.0, (update(3.0, 0.1),)), Unit(1.0, (update(1.0),)), Unit(1.5, (update(1.0),)), one_way_s=0.25
    )
    world, outcomes = run(trace, deployment_of(server=server))
    # The connects of the others wait for the first's update (until 3.75); theirs follow in their order.
    assert outcomes.latency_s == pytest.approx([4.0, 4.5, 5.0])
    assert world.pods[0].thread_s == 5.0


def test_closes_wait_behind_those_who_wait_for_what_they_would_free() -> None:
    # Both threads are held by callers that wait for the one connection; the close that would free it is third in line.
    server = ServerSettings(thread_pool_size=2, segregation=False)
    trace = trace_of(
        Unit(0.0, (select(think_s=1.0),)),
        Unit(0.25, (update(text=1),)),
        Unit(0.5, (update(text=1),)),
        typical_ms=(2, 2),
    )
    _, outcomes = run(trace, deployment_of(1, 1, server=server))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.CONNECTION_TIMEOUT, Ending.OK]
    assert outcomes.latency_s.tolist() == [9.25, 10.0, 9.75]


def test_a_unit_waits_for_a_worker_thread_of_its_own_jvm() -> None:
    trace = trace_of(
        Unit(0.0, (update(2.0),)), Unit(0.5, (update(2.0),)), Unit(1.0, (update(2.0),), jvm=1), jvms=2, threads=1
    )
    _, outcomes = run(trace, deployment_of())
    assert outcomes.began_s.tolist() == [0.0, 2.0, 1.0]
    assert outcomes.latency_s.tolist() == [2.0, 3.5, 2.0]


def test_nobody_waits_for_the_answer_of_a_terminate_but_its_thread() -> None:
    trace = trace_of(Unit(0.0, (update(0.5),)), Unit(0.25, (update(0.5),)), threads=1, one_way_s=0.25)
    _, outcomes = run(trace, deployment_of())
    assert outcomes.latency_s.tolist() == [1.5, 2.0 + 1.5 - 0.25]
    assert outcomes.began_s.tolist() == [0.0, 2.0]


def test_think_time_is_no_latency() -> None:
    _, outcomes = run(trace_of(Unit(0.0, (select(0.5, 7.0), update(0.25, 1.0)))), deployment_of())
    assert outcomes.latency_s.tolist() == [0.75]


# The driver (section 6) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "pods"), [("0.3.0-beta", [0, 1, 0]), ("0.3.1-beta", [0, 1, 0]), ("0.3.2-snapshot", [0, 1, 1])]
)
def test_round_robin_up_to_0_3_1_and_fewest_sessions_later(version: str, pods: list[int]) -> None:
    # The first session stays open, the second is over when the third unit comes.
    trace = trace_of(Unit(0.0, (select(think_s=3.0),)), Unit(1.0, (select(),)), Unit(2.0, (select(),)), duration_s=4.5)
    _, outcomes = run(trace, deployment_of(2, version=version))
    assert outcomes.pod.tolist() == pods


@pytest.mark.parametrize("version", ["0.3.1-beta", "0.3.2-snapshot"])
def test_each_jvm_counts_for_itself(version: str) -> None:
    trace = trace_of(*(Unit(0.5 * jvm, (select(think_s=3.0),), jvm=jvm) for jvm in range(3)), jvms=3, duration_s=4.5)
    _, outcomes = run(trace, deployment_of(3, version=version))
    assert outcomes.pod.tolist() == [0, 0, 0]


@pytest.mark.parametrize("version", ["0.3.1-beta", "0.3.2-snapshot"])
def test_statements_without_a_session_take_turns_within_one_connection(version: str) -> None:
    trace = trace_of(Unit(0.0, (update(0.5), update(0.5), update(0.5))), duration_s=4.0)
    world, _ = run(trace, deployment_of(3, version=version))
    assert [pod.thread_s for pod in world.pods] == [0.5, 0.5, 0.5]


def test_a_session_stays_on_its_pod() -> None:
    trace = trace_of(Unit(0.0, (select(0.5), select(0.5), update(0.5))), duration_s=4.0)
    world, _ = run(trace, deployment_of(3))
    assert [pod.thread_s for pod in world.pods] == [1.5, 0.0, 0.0]


def ups(world: World) -> list[int]:
    return [link.up for link in world.links]


def test_a_failing_statement_does_not_mark_its_pod_and_is_not_retried() -> None:
    trace = trace_of(Unit(0.5, (update(10.0),)), duration_s=4.0)
    world, outcomes = run(trace, deployment_of(2), lost(0, 1.0, 100.0))
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE]
    assert ups(world) == [1, 1]
    # Pod 1 saw the connect and the terminate only.
    assert (world.pods[1].rpcs, world.pods[1].thread_s) == (2, 0.0)


@pytest.mark.parametrize("statement", [update, select])
def test_a_statement_sent_to_a_dead_pod_fails_without_marking_it(statement: type) -> None:
    # The connection was opened before the death; its second statement's turn is the dead pod.
    trace = trace_of(Unit(0.0, (update(0.0, 2.0), statement())), duration_s=4.0)
    world, outcomes = run(trace, deployment_of(2), lost(1, 1.0, 100.0))
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE]
    assert ups(world) == [1, 1]


def test_a_failing_connect_marks_the_pod_and_the_unit_goes_elsewhere() -> None:
    trace = trace_of(Unit(2.0, (update(),)), Unit(3.0, (update(),)), duration_s=4.0)
    world, outcomes = run(trace, deployment_of(2), lost(0, 1.0, 100.0))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.OK]
    assert ups(world) == [0, 1]
    assert world.jvms[0].up == 1


def test_only_the_jvm_that_asked_learns_of_the_death() -> None:
    trace = trace_of(Unit(2.0, (update(),), jvm=1), duration_s=4.0, jvms=2)
    world, _ = run(trace, deployment_of(2), lost(0, 1.0, 100.0))
    assert ups(world) == [1, 1, 0, 1]


def test_with_no_pod_left_a_unit_fails() -> None:
    trace = trace_of(Unit(2.0, (update(),)), Unit(3.0, (update(),)), duration_s=4.0)
    _, outcomes = run(trace, deployment_of(1), lost(0, 1.0, 100.0))
    assert outcomes.outcome.tolist() == [Ending.NO_POD, Ending.NO_POD]


def test_survivors_grow_when_a_client_that_knows_sends_them_a_statement() -> None:
    trace = trace_of(Unit(2.0, (select(),)), Unit(3.0, (select(),)), duration_s=4.0)
    world, _ = run(trace, deployment_of(3, 20), lost(0, 1.0, 100.0))
    # The pod whose turn came has grown; after the second unit both have.
    assert [pool.maximum for pool in world.pools] == [0, 10, 10]
    world, _ = run(trace_of(Unit(2.0, (select(),)), duration_s=4.0), deployment_of(3, 20), lost(0, 1.0, 100.0))
    assert sorted(pool.maximum for pool in world.pools) == [0, 7, 10]


def test_a_connect_marks_a_pod_up_before_it_has_answered() -> None:
    # The health check that began at 2 s found pod 1 dead at 4 s; getConnection tries it again, from 9.5 to 10.5 s.
    trace = trace_of(Unit(8.5, (update(),)), duration_s=11.5, health_phase=0.4, one_way_s=0.5)
    _, outcomes = run(trace, deployment_of(2, version=THREADED), lost(1, 1.0, 100.0), sample_every_s=0.25)
    up = dict(zip(outcomes.sample_s.tolist(), outcomes.samples["jvms"]["up"][:, 0].tolist(), strict=True))
    assert [up[t] for t in (0.75, 3.75, 4.25, 9.25, 9.75, 10.25, 10.75)] == [2, 2, 1, 1, 2, 2, 1]


@pytest.mark.parametrize("phase", [0.0, 0.19, 0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("absent_s", [12.0, 14.6, 17.3, 20.1])
def test_health_checks_find_a_death_in_5_s_and_a_return_5_s_after_the_channels_next_try(
    phase: float, absent_s: float
) -> None:
    trace = trace_of(Unit(0.0, (update(),)), duration_s=60.0, one_way_s=0.0005, health_phase=phase)
    _, outcomes = run(trace, deployment_of(2, version=THREADED), lost(1, 11.0, absent_s), sample_every_s=0.05)
    up = outcomes.samples["jvms"]["up"][:, 0] == 2
    t = outcomes.sample_s
    lost_s, found_s = t[~up][0], t[~up][-1]
    assert 11.0 <= lost_s <= 11.0 + 5.0 + 0.06
    # Each rest is 0.6 of all before it and a second.
    assert 11.0 + absent_s - 0.06 <= found_s <= 11.0 + absent_s + 0.6 * absent_s + 1.0 + 5.0 + 0.06


@pytest.mark.parametrize("phase", [0.4, 0.99])
def test_a_session_on_a_dead_pod_is_lost(phase: float) -> None:
    # Phase 0.4: the health check at 2 s noticed, and the driver says so; else the close of the result fails and marks.
    trace = trace_of(Unit(0.0, (select(think_s=3.0),)), duration_s=4.0, health_phase=phase)
    world, outcomes = run(trace, deployment_of(2, version=THREADED), lost(0, 1.0, 100.0))
    assert outcomes.outcome.tolist() == [Ending.SESSION_LOST if phase == 0.4 else Ending.UNAVAILABLE]
    assert ups(world) == [0, 1]


def test_a_lost_session_stays_lost_when_its_pod_is_back() -> None:
    trace = trace_of(Unit(0.0, (select(think_s=20.0),)), duration_s=30.0, health_phase=0.4, one_way_s=0.25)
    world, outcomes = run(trace, deployment_of(2, version=THREADED), lost(0, 1.75, 2.0))
    assert ups(world) == [1, 1]
    assert outcomes.outcome.tolist() == [Ending.SESSION_LOST]
    # Two connects and the query; the driver asks nobody.
    assert outcomes.latency_s.tolist() == [1.5]


@pytest.mark.parametrize("transaction", [False, True])
def test_a_session_does_not_survive_a_restart_that_nobody_noticed(transaction: bool) -> None:
    trace = trace_of(Unit(0.0, (select(think_s=3.0), update()), transaction), duration_s=4.0)
    world, outcomes = run(trace, deployment_of(1), lost(0, 1.0, 0.5))
    assert outcomes.outcome.tolist() == [Ending.SESSION_LOST]
    assert world.pools[0].in_use == 0


def test_work_in_the_database_for_a_dead_pod_has_no_taker() -> None:
    # The second comes when the channel that the first one's close was refused on has tried again.
    trace = trace_of(Unit(0.0, (update(2.0),)), Unit(2.1, (update(2.0),)), duration_s=5.0)
    world, outcomes = run(trace, deployment_of(1), lost(0, 1.0, 0.25))
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE, -1]
    assert outcomes.latency_s.tolist() == [1.0, inf]
    # The database worked on for the first: 2 s, and from 3.1 s (after the pool was built) on for the second.
    assert world.stations[1].busy_s == pytest.approx(2.0 + 4.0 - 3.1, abs=0.6)


# A pod's life (sections 6 and 7) ----------------------------------------------------------------------------------


def test_a_restarted_pod_has_no_pool_until_a_connect() -> None:
    # The connection opened at 0 sends its second update to pod 1, which has come back meanwhile.
    trace = trace_of(Unit(0.0, (update(0.0, 20.0), update())), Unit(25.0, (update(),)), duration_s=30.0)
    world, outcomes = run(trace, deployment_of(2), lost(1, 1.0, 2.0), sample_every_s=0.5)
    assert outcomes.outcome.tolist() == [Ending.NO_DATASOURCE, Ending.OK]
    created = dict(zip(outcomes.sample_s, outcomes.samples["pools"]["created"][:, 1], strict=True))
    assert [created[t] for t in (0.5, 2.5, 24.5, 27.0)] == [1, 0, 0, 1]
    # It counts for the breaker there.
    assert world.breakers[1].failures == 1


def test_a_restarted_pod_has_closed_breakers_and_has_learned_nothing() -> None:
    bad = [Unit(0.1 * n, (update(0.25, fails=True),)) for n in range(4)]
    trace = trace_of(*bad, Unit(3.0, (update(0.25, text=1),)), duration_s=4.5, typical_ms=(20.0, 50.0))
    world, outcomes = run(trace, deployment_of(1, connection_open_s=0.25), lost(0, 1.0, 0.5))
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR] * 3 + [Ending.DATABASE_ERROR, Ending.OK]
    assert [breaker.failures for breaker in world.breakers] == [0, 0]
    assert [memory.seen for memory in world.memories] == [0, 1]
    assert world.memories[1].average_ms == 250.0


def test_clients_reach_a_new_process_only_after_it_is_ready() -> None:
    trace = trace_of(*(Unit(1.5 + n, (update(),)) for n in range(12)), duration_s=20.0, health_phase=0.4)
    _, outcomes = run(trace, deployment_of(1), PodLoss(0, 1.0, 2.0, 3.0, 1.5))
    assert [(c.time_s, c.state) for c in outcomes.changes] == [(1.0, "down"), (3.0, "listening"), (6.0, "ready")]
    first_ok_s = outcomes.arrival_s[outcomes.outcome == Ending.OK][0]
    assert (outcomes.outcome[outcomes.arrival_s < 7.5] == Ending.NO_POD).all()
    assert 7.5 <= first_ok_s <= 13.0


def test_after_sigterm_running_rpcs_finish_and_new_ones_are_refused() -> None:
    trace = trace_of(
        Unit(0.0, (update(0.0, 1.5), update())),  # pod 0, then at 1.5 pod 1
        Unit(0.5, (update(2.0),)),  # pod 1, to 2.5
        Unit(0.7, (update(),)),  # pod 0
        duration_s=4.5,
    )
    update_of_1 = RollingUpdate(1.0, (1.0, 1.0), (1.0, 1.0), 30.0, 1)
    _, outcomes = run(trace, deployment_of(2), update_of_1)
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE, Ending.OK, Ending.OK]
    # The process ends with its last RPC.
    assert [(c.time_s, c.pod, c.state) for c in outcomes.changes] == [
        (1.0, 1, "stopping"),
        (2.5, 1, "down"),
        (3.5, 1, "listening"),
        (4.5, 1, "ready"),
    ][: len(outcomes.changes)]
    assert len(outcomes.changes) >= 3


def test_an_idle_session_is_lost_at_sigterm() -> None:
    trace = trace_of(Unit(0.0, (select(think_s=2.0),)), duration_s=4.0)
    _, outcomes = run(trace, deployment_of(1), RollingUpdate(1.0, (20.0,), (1.0,), 30.0, 1))
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE]
    assert [c.time_s for c in outcomes.changes[:2]] == [1.0, 1.0]


def test_the_grace_ends_a_long_rpc() -> None:
    trace = trace_of(Unit(0.0, (update(100.0),)), duration_s=60.0)
    _, outcomes = run(trace, deployment_of(1), RollingUpdate(1.0, (20.0,), (1.0,), 30.0, 1))
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE]
    assert outcomes.latency_s.tolist() == [31.0]


def test_a_rolling_update_goes_from_the_highest_ordinal_and_waits_for_ready_only() -> None:
    trace = trace_of(Unit(0.0, (update(),)), duration_s=60.0)
    rolling = RollingUpdate(1.0, (2.0, 3.0, 4.0), (0.5, 0.25, 0.75), 30.0, 3)
    _, outcomes = run(trace, deployment_of(3), rolling)
    stops = [(c.time_s, c.pod) for c in outcomes.changes if c.state == "stopping"]
    assert stops == [(1.0, 2), (5.75, 1), (9.0, 0)]
    assert outcomes.window_s == (1.0, 11.5)
