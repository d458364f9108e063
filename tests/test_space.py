"""The space: CPU limits fine enough, undivided pools, every deployment within the question's bounds; and the ledger."""

from __future__ import annotations

from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_emit import release

from ojp_sizing import Database, Question, read_workload
from ojp_sizing.behaviour.arithmetic import share_of_pool
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.emit.values import values_yaml
from ojp_sizing.quantities import format_cores, parse_cores
from ojp_sizing.sizing.resources import request_milli
from ojp_sizing.sizing.screen import connections_per_pod, pod_cpu_cores, undivided_pool
from ojp_sizing.sizing.space import LIMITS_CORES, LIMITS_MILLI, Space, first_guess, limit_above, limit_below
from ojp_sizing.sizing.strategy import shapes_of

pytestmark = pytest.mark.fast

CONSTANTS = default_constants()
PRESETS = ("web-oltp", "reporting-mix", "pgbench-measured")


# CPU limits --------------------------------------------------------------------------------------------------------------


def test_limits_begin_at_a_quarter_and_no_step_costs_more_than_15_percent() -> None:
    assert LIMITS_MILLI[0] == 250
    assert LIMITS_MILLI[-1] >= 32_000
    assert all(isinstance(milli, int) for milli in LIMITS_MILLI)
    assert all(1 < after / before <= 1.15 for before, after in pairwise(LIMITS_MILLI))


@pytest.mark.parametrize("milli", LIMITS_MILLI)
def test_every_limit_and_request_is_written_exactly(milli: int) -> None:
    """0.6 cores were once written as 601m."""
    limit = milli / 1000
    deployment = Deployment(3, limit, ClientPool(9), ServerSettings(thread_pool_size=50))
    requests = {request_milli(limit * share / 200, deployment) for share in range(201)}
    # Sums of floats, which end a hair above or below.
    requests |= {request_milli(sum([0.1] * tenths) * CONSTANTS.cpu_target_use, deployment) for tenths in range(1, 60)}
    for request in requests:
        assert isinstance(request, int)
        assert 0 < request <= milli
        assert exactly(format_cores(request / 1000), request)
    request = max(requests - {milli})
    cpu = yaml.safe_load(values_yaml(release(limit_cores=limit, request_cores=request / 1000)))["resources"]
    assert exactly(str(cpu["limits"]["cpu"]), milli)
    assert exactly(str(cpu["requests"]["cpu"]), request)


def exactly(text: str, milli: int) -> bool:
    return text == (f"{milli // 1000}" if milli % 1000 == 0 else f"{milli}m")


@given(st.integers(1, 64_000))
def test_millicores_are_printed_as_they_are(milli: int) -> None:
    assert round(parse_cores(format_cores(milli / 1000)) * 1000) == milli
    assert exactly(format_cores(milli / 1000), milli)


def test_a_request_is_the_use_over_its_target_in_whole_steps_and_never_above_the_limit() -> None:
    deployment = Deployment(3, 2.0, ClientPool(9))
    assert request_milli(0.36, deployment) == 600
    assert request_milli(0.12, deployment) == 200
    assert request_milli(0.121, deployment) == 300
    assert request_milli(1e9, deployment) == 2000


def test_the_limit_above_and_below() -> None:
    assert (limit_below(0.25), limit_above(0.25)) == (0.0, LIMITS_CORES[1])
    assert limit_above(LIMITS_CORES[-1]) == float("inf")
    for before, after in pairwise(LIMITS_CORES):
        assert (limit_below(after), limit_above(before)) == (before, after)


# Pools -------------------------------------------------------------------------------------------------------------------


@given(st.integers(2, 40), st.integers(3, 100))
def test_an_undivided_pool_has_the_same_share_while_up_to_two_pods_are_missing(per_pod: int, replicas: int) -> None:
    pool = undivided_pool(per_pod, replicas)
    if pool is None:
        # Then none exists: a share of at least N / 2 can't stay the same.
        assert all(
            share_of_pool(size, replicas) != per_pod or share_of_pool(size, replicas - 2) != per_pod
            for size in range(per_pod * replicas + 2 * replicas)
        )
    else:
        assert {share_of_pool(pool, pods) for pods in (replicas, replicas - 1, replicas - 2)} == {per_pod}


def test_the_ledger_counts_rounding_up_and_the_overlap_when_a_pod_returns() -> None:
    assert connections_at_most(20, 1) == 20
    # Reference 5: survivors at 10 each and the newcomer's 7; worse, two missing and one of them grown.
    assert connections_at_most(20, 3) >= 27
    assert connections_at_most(66, 13) == 78


@given(st.integers(3, 400), st.integers(3, 30))
def test_the_ledger_is_never_below_any_mix_of_beliefs(pool: int, replicas: int) -> None:
    most = connections_at_most(pool, replicas)
    for missing in (0, 1, 2):
        survivors = replicas - missing
        assert most >= survivors * share_of_pool(pool, survivors) + missing * share_of_pool(pool, replicas)


# Shapes ------------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    st.floats(1, 30000), st.sampled_from(PRESETS), st.booleans(), st.booleans(), st.integers(1, 5),
    st.sampled_from([30.0, 300.0, 2000.0]),
)  # fmt: skip
def test_every_deployment_of_the_space_keeps_the_bounds(
    rate: float, preset: str, segregation: bool, warm_pools: bool, least: int, connections: float
) -> None:
    database = Database(max_connections=connections)
    question = Question(read_workload(preset), rate, database, least_replicas=least, most_replicas=60)
    space, load = Space(question), question.load
    for shape in shapes_of(question, segregation=segregation, warm_pools=warm_pools):
        index = space.least_limit(shape)
        if index is None:
            continue
        deployment = space.deployment(shape, LIMITS_CORES[index])
        replicas = deployment.replicas
        assert least <= replicas <= 60
        assert deployment.warm_pools == warm_pools
        assert deployment.server.segregation == segregation
        assert deployment.pool_per_pod >= 2
        assert min(deployment.slots_per_pod) >= 1
        assert 1 <= deployment.server.slow_slot_percentage <= 99
        assert pod_cpu_cores(question, replicas) <= CONSTANTS.cpu_most_use * deployment.limit_cores
        assert pod_cpu_cores(question, max(1, replicas - 1)) <= deployment.limit_cores
        assert rate * load.hold_s / replicas < deployment.pool_per_pod
        assert connections_at_most(deployment.pool.maximum_size, replicas) <= (
            connections - CONSTANTS.database_reserve_connections
        )
        assert 1 <= deployment.pool.minimum_idle <= deployment.pool.maximum_size
        if shape.family.startswith("undivided"):
            assert deployment.stays_undivided
            # The least idle ones are undivided as well.
            idle = deployment.pool.minimum_idle
            assert share_of_pool(idle, replicas) == share_of_pool(idle, replicas - 2)


@settings(deadline=None, max_examples=30)
@given(st.floats(1, 5000), st.sampled_from(PRESETS), st.integers(3, 40))
def test_segregation_has_pools_of_its_own(rate: float, preset: str, replicas: int) -> None:
    """As many connections as its two lanes want slots, and never fewer than without it."""
    question = Question(preset, rate)  # type: ignore[arg-type] - a preset's name
    plain, _ = connections_per_pod(question, replicas, False)
    lanes, percentage = connections_per_pod(question, replicas, True)
    assert lanes >= plain
    assert 1 <= percentage <= 99


def test_more_connections_than_the_database_has_are_in_no_shape() -> None:
    roomy = Question(read_workload("web-oltp"), 500.0)
    tight = Question(read_workload("web-oltp"), 500.0, Database(max_connections=60.0))
    every = shapes_of(roomy, segregation=False, warm_pools=True)
    some = shapes_of(tight, segregation=False, warm_pools=True)
    most = 60.0 - CONSTANTS.database_reserve_connections
    assert some
    assert all(connections_at_most(shape.pool_size, shape.replicas) <= most for shape in some)
    assert any(connections_at_most(shape.pool_size, shape.replicas) > most for shape in every)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_first_guess_is_the_cheapest_whose_pools_stay_undivided(preset: str) -> None:
    question = Question(read_workload(preset), 500.0)
    guess = first_guess(question)
    assert guess is not None
    assert guess.stays_undivided
    space = Space(question)
    admitted = [
        space.deployment(shape, LIMITS_CORES[index])
        for shape in shapes_of(question, segregation=False, warm_pools=True)
        if (index := space.least_limit(shape)) is not None
    ]
    asked = [one for one in admitted if one.pool_per_pod >= connections_per_pod(question, one.replicas, False)[0]]
    assert guess in asked
    assert question.cost(guess) == min(question.cost(one) for one in asked if one.stays_undivided)


def test_where_the_database_is_too_small_nothing_is_left() -> None:
    question = Question(read_workload("web-oltp"), 1000.0, Database(cores=4.0))
    assert 1000.0 * question.load.database_s > 4.0
    assert first_guess(question) is None
