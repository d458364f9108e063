"""Users that give up and try again, closed loops, slots that are handed over late, health checks (reference 2, 6, 13)."""

from dataclasses import replace

import pytest
from worlds import Unit, deployment_of, run, select, trace_of, update

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.workload import Patience
from ojp_sizing.deployment.deployment import ServerSettings
from ojp_sizing.deployment.disruption import DatabaseTrouble

pytestmark = pytest.mark.fast

#: The jitter's chance is 0.5 here, so that pauses are three quarters of these.
PATIENCE = Patience(timeout_s=1.0, retries=2, back_off_s=0.5, factor=2.0)


def test_a_unit_is_given_up_and_tried_again_and_its_attempts_hold_what_they_have() -> None:
    trace = trace_of(Unit(0.25, (update(10.0),)), duration_s=20.0, patience=PATIENCE)
    _, outcomes = run(trace, deployment_of())
    # Given up after 1 s; due again after 0.375 s, and after 0.75 s.
    assert outcomes.outcome.tolist() == [Ending.GIVEN_UP]
    assert outcomes.attempts.tolist() == [3]
    assert outcomes.latency_s.tolist() == [1.0 + 0.375 + 1.0 + 0.75 + 1.0]
    in_use = outcomes.samples["pools"]["in_use"][:, 0].tolist()
    assert [in_use[t] for t in (1, 2, 4, 10, 11, 12, 14)] == [1, 2, 3, 3, 2, 1, 0]


def test_an_error_is_tried_again_and_latency_runs_from_the_first_due_time() -> None:
    trace = trace_of(Unit(0.5, (update(0.25, fails=True),)), patience=PATIENCE)
    _, outcomes = run(trace, deployment_of())
    assert (outcomes.outcome.tolist(), outcomes.attempts.tolist()) == ([Ending.DATABASE_ERROR], [3])
    assert outcomes.latency_s.tolist() == [0.25 + 0.375 + 0.25 + 0.75 + 0.25]


def test_a_later_attempt_can_succeed() -> None:
    # The first attempt meets a database 64 times as slow, and would take 8 s; the second comes after that.
    trace = trace_of(Unit(0.5, (update(0.125),)), duration_s=20.0, patience=PATIENCE)
    _, outcomes = run(trace, deployment_of(), DatabaseTrouble(0.25, 1.0, 64.0))
    assert (outcomes.outcome.tolist(), outcomes.attempts.tolist()) == ([Ending.OK], [2])
    assert outcomes.latency_s.tolist() == [1.0 + 0.375 + 0.125]


def test_a_closed_loop_has_never_more_units_than_clients() -> None:
    units = [Unit(0.0, (update(1.0),), gap_s=0.5) for _ in range(40)]
    world, outcomes = run(trace_of(*units, duration_s=8.0, threads=3, closed=True), deployment_of())
    begun = outcomes.began_s[outcomes.began_s < 8.0]
    assert begun.tolist() == [t for t in (0.5, 2.0, 3.5, 5.0, 6.5) for _ in range(3)]
    assert outcomes.latency_s[: len(begun)].tolist() == [1.0] * len(begun)
    assert world.pods[0].inside_peak == 3


@pytest.mark.parametrize(("handover_s", "latency_s"), [(0.0, [1.0, 1.5, 1.875]), (0.25, [1.0, 2.875, 1.0])])
def test_a_newcomer_takes_a_slot_that_is_being_handed_over(handover_s: float, latency_s: list[float]) -> None:
    trace = trace_of(*(Unit(at_s, (update(1.0),)) for at_s in (0.0, 0.5, 1.125)), typical_ms=(1000.0,))
    deployment = deployment_of(1, 2, server=ServerSettings(segregation=True))
    deployment = replace(deployment, constants=replace(deployment.constants, slot_handover_s=handover_s))
    assert run(trace, deployment)[1].latency_s.tolist() == latency_s


@pytest.mark.parametrize(
    ("version", "latency_s"),
    [("0.3.1-beta", [1.5, 2.5, 1.5, 2.5]), ("0.3.2-snapshot", [1.5] * 4)],
)
def test_0_3_1_checks_the_pods_within_get_connection_every_5_s_at_most(version: str, latency_s: list[float]) -> None:
    trace = trace_of(*(Unit(at_s, (update(),)) for at_s in (1.0, 6.0, 8.0, 11.5)), duration_s=30.0, one_way_s=0.25)
    assert run(trace, deployment_of(2, version=version))[1].latency_s.tolist() == latency_s


def test_a_unit_beside_the_one_that_checks_does_not_wait() -> None:
    trace = trace_of(Unit(6.0, (select(),)), Unit(6.0, (select(),)), duration_s=30.0, one_way_s=0.25)
    assert run(trace, deployment_of(2))[1].latency_s.tolist() == [1.0 + 2.0, 2.0]
