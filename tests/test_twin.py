"""The request path in idiomatic SimPy, an independent text, against the clocks and the C kernel of the benchmarks.

Every latency and every ending is compared, bit for bit.
"""

from pathlib import Path

import numpy as np
import pytest

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.behaviour.transition import COMPILER
from ojp_sizing.simulation.simulate import Engine, simulate
from tests.benchmarks.ckernel import compile_kernel
from tests.benchmarks.scenarios import ORDINARY, OVERLOADED, SCENARIOS, TIMING_OUT, Scenario
from tests.benchmarks.twin import Cluster

DURATION_S = 4.0
ENGINES = ("simpy", "compiled") if COMPILER else ("simpy",)


@pytest.fixture(scope="module", params=SCENARIOS, ids=lambda scenario: scenario.name)
def told(request: pytest.FixtureRequest) -> tuple[Scenario, Cluster]:
    """A scenario, and what its twin says."""
    scenario: Scenario = request.param
    return scenario, Cluster(scenario.trace(DURATION_S), scenario.deployment).run()


@pytest.mark.parametrize("engine", ENGINES)
def test_clocks_agree_with_idiomatic_simpy(told: tuple[Scenario, Cluster], engine: Engine) -> None:
    _, twin = told
    # Each sample brings the sharing of CPU to the present, which rounds once more.
    outcomes = simulate(twin.trace, twin.deployment, engine=engine, sample_every_s=10 * DURATION_S, tail_s=0.0)
    np.testing.assert_array_equal(outcomes.outcome, twin.outcome)
    np.testing.assert_array_equal(outcomes.latency_s, twin.latency_s)


def test_c_kernel_agrees_with_idiomatic_simpy(told: tuple[Scenario, Cluster], tmp_path: Path) -> None:
    kernel = compile_kernel(tmp_path)
    if kernel is None:
        pytest.skip("no gcc")
    _, twin = told
    latency_s, outcome, _ = kernel(twin.trace, twin.deployment)
    np.testing.assert_array_equal(outcome, twin.outcome)
    np.testing.assert_array_equal(latency_s, twin.latency_s)


def test_scenarios_are_what_they_are_called(told: tuple[Scenario, Cluster]) -> None:
    scenario, twin = told
    endings = {
        ending: int((twin.outcome == ending).sum())
        for ending in (Ending.OK, Ending.BREAKER_OPEN, Ending.CONNECTION_TIMEOUT)
    }
    latency_s = twin.latency_s[twin.outcome == Ending.OK]
    if scenario is ORDINARY:
        assert set(twin.outcome) == {Ending.OK, Ending.UNFINISHED}
        assert np.median(latency_s) < 0.01
    elif scenario is OVERLOADED:
        assert set(twin.outcome) == {Ending.OK, Ending.UNFINISHED}
        quarter = len(latency_s) // 4
        assert np.median(latency_s[-quarter:]) > 5 * np.median(latency_s[:quarter])
    else:
        assert scenario is TIMING_OUT
        assert endings[Ending.CONNECTION_TIMEOUT] > 50
        assert endings[Ending.BREAKER_OPEN] > 10
        assert endings[Ending.OK] > 1000
