"""What a call costs by what was there before it: handing over, waking after a pause, and a process that is new (docs/cpu.md)."""

from dataclasses import replace
from math import inf, sqrt

import pytest
from worlds import LATE, Unit, deployment_of, lost, run, trace_of, update

from ojp_sizing.deployment.constants import Constants
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import warm_up_s

pytestmark = pytest.mark.fast


def with_constants(deployment: Deployment, **values: float) -> Deployment:
    return replace(deployment, constants=replace(deployment.constants, **values))


def busy_s(deployment: Deployment, *units: Unit, absent_s: float | None = None, threads: int = 50) -> float:
    """Core seconds that pod 0 used."""
    trace = trace_of(*units, duration_s=60.0, health_phase=LATE, threads=threads)
    world, _ = run(trace, deployment, None if absent_s is None else lost(0, 1.0, absent_s))
    return float(world.stations[0].busy_s)


def test_the_first_call_after_a_pause_pays_all_of_the_waking_and_one_after_half_of_it_half() -> None:
    deployment = with_constants(deployment_of(), wake_cpu_s=0.001, wake_after_s=0.2)
    # connect, update, terminate at one instant: the first pays, the others come without a pause, but for the CPU that it took.
    alone = busy_s(deployment, Unit(1.0, (update(),)))
    assert alone == pytest.approx(0.001, rel=0.02)
    pairs = {
        gap_s: busy_s(deployment, Unit(1.0, (update(),)), Unit(1.0 + gap_s, (update(),))) for gap_s in (0.1, 0.2, 3.0)
    }
    assert pairs[0.1] == pytest.approx(1.5 * alone, rel=0.02)
    assert pairs[0.2] == pytest.approx(2.0 * alone, rel=0.02)
    assert pairs[3.0] == pytest.approx(2.0 * alone, rel=0.02)


@pytest.mark.parametrize("cores", [1.0, 4.0])
def test_handing_over_costs_less_the_more_calls_are_on_the_cores(cores: float) -> None:
    deployment = with_constants(deployment_of(), hand_over_cpu_s=0.001, connect_cpu_s=0.5, node_cores=cores)
    deployment = replace(deployment, limit_cores=cores)
    callers = 3
    units = [Unit(1.0, ()) for _ in range(callers)]
    # The k-th finds k others. Their terminates come one by one, or together where the cores are enough.
    handed = sum(0.001 / (1.0 + others / cores) for others in range(callers))
    used = busy_s(deployment, *units) - 2 * callers * 0.5
    assert handed < used < 2.0 * handed


def test_a_call_that_was_queued_for_a_thread_is_taken_up_for_nothing() -> None:
    deployment = with_constants(deployment_of(), hand_over_cpu_s=0.001, connect_cpu_s=0.5)
    one = replace(deployment, server=replace(deployment.server, thread_pool_size=1))
    units = [Unit(1.0, ()) for _ in range(4)]
    assert busy_s(one, *units) - 8 * 0.5 < busy_s(deployment, *units) - 8 * 0.5


def young(answered: float) -> Constants:
    return replace(deployment_of().constants, young_cpu_s=0.015, compile_cpu_s=0.02, warm_up_calls=answered)


@pytest.mark.parametrize("answered", [0.0, 400.0])
def test_the_nth_call_of_a_new_process_takes_more_by_one_over_the_root_of_n_and_so_does_its_compiler(
    answered: float,
) -> None:
    deployment = replace(deployment_of(), constants=young(answered), warm_pools=True)
    calls = [Unit(10.0 + 0.2 * number, ()) for number in range(20)]  # a connect and a terminate each, and one heartbeat
    used = busy_s(deployment, *calls, absent_s=2.0)
    expected = sum(0.035 / sqrt(answered + n) for n in range(1, 42))
    # The compiler's last piece is too small to be begun.
    assert used == pytest.approx(expected, rel=0.02)


def test_a_pod_that_has_run_for_long_is_as_fast_as_it_can_be() -> None:
    deployment = replace(deployment_of(), constants=young(0.0))
    assert busy_s(deployment, *(Unit(10.0 + 0.2 * number, ()) for number in range(20))) == 0.0


def test_the_compiler_shares_the_cpu_with_calls_and_holds_no_thread() -> None:
    constants = replace(young(0.0), young_cpu_s=0.0, compile_cpu_s=1.0)
    deployment = replace(deployment_of(), constants=constants, warm_pools=True, limit_cores=0.5)
    trace = trace_of(Unit(10.0, (update(),)), duration_s=60.0)
    world, outcomes = run(trace, deployment, lost(0, 1.0, 2.0))
    assert outcomes.outcome.tolist() == [0]
    assert (world.pods[0].threads_free, world.stations[0].count) == (deployment.server.thread_pool_size, 0)
    assert world.stations[0].busy_s == pytest.approx(sum(1.0 / sqrt(n) for n in range(1, 5)), rel=1e-6)


def test_a_process_that_dies_leaves_its_compilers_work_undone() -> None:
    constants = replace(young(0.0), compile_cpu_s=5.0)
    deployment = replace(deployment_of(), constants=constants, warm_pools=True)
    trace = trace_of(Unit(10.0, (update(),)), duration_s=60.0)
    world, _ = run(trace, deployment, lost(0, 1.0, 2.0))
    assert world.pods[0].answered < inf
    assert world.pods[0].compile_s == 0.0


def test_the_warm_up_takes_its_calls_cpu_longer_below_one_core() -> None:
    warm = replace(deployment_of(), constants=young(10_000.0), warm_pools=True, limit_cores=1.0)
    assert warm_up_s(warm) == pytest.approx(2 * 0.035 * 100.0)
    assert warm_up_s(replace(warm, limit_cores=0.25)) == pytest.approx(4 * warm_up_s(warm))
    assert warm_up_s(replace(warm, limit_cores=4.0)) == warm_up_s(warm)
    assert warm_up_s(replace(warm, warm_pools=False)) == 0.0
