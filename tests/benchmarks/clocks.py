"""The clocks against each other, against idiomatic SimPy and against C, on the same traces."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from math import inf
from pathlib import Path

import numpy as np

from ojp_sizing.simulation.simulate import Engine, simulate

from .ckernel import compile_kernel
from .comparing import Row, Work, ratio, take_turns
from .scenarios import SCENARIOS, Scenario
from .twin import Cluster

#: Of simulated time: some 20,000 units for those that take seconds for it, five times as many for the fast ones.
SHORT_S, LONG_S = 40.0, 200.0
SLOW_TURNS, FAST_TURNS = 3, 9


def _same(scenario: Scenario) -> None:
    """What is compared does the same, bit for bit, or comparing it means nothing."""
    trace = scenario.trace(4.0)
    twin = Cluster(trace, scenario.deployment).run()
    for engine in ("simpy", "compiled"):
        outcomes = simulate(trace, scenario.deployment, engine=engine, sample_every_s=inf, tail_s=0.0)
        assert np.array_equal(outcomes.latency_s, twin.latency_s)
        assert np.array_equal(outcomes.outcome, twin.outcome)


def rows() -> Iterator[Row]:
    for scenario in SCENARIOS:
        _same(scenario)
        trace, deployment = scenario.trace(SHORT_S), scenario.deployment

        def clock(engine: Engine) -> Work:
            return lambda: simulate(trace, deployment, engine=engine, sample_every_s=inf, tail_s=0.0)  # noqa: B023

        idiomatic_s, simpy_s, compiled_s = take_turns(
            (lambda: Cluster(trace, deployment).run(), clock("simpy"), clock("compiled")),  # noqa: B023
            SLOW_TURNS,
        )
        yield Row(f"idiomatic SimPy over compiled clock, {scenario.name}", str(ratio(idiomatic_s, compiled_s)), "100")
        yield Row(f"idiomatic SimPy over SimPy clock, {scenario.name}", str(ratio(idiomatic_s, simpy_s)), "8")
        yield Row(f"SimPy clock over compiled clock, {scenario.name}", str(ratio(simpy_s, compiled_s)))


def c_rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        kernel = compile_kernel(Path(directory))
        if kernel is None:
            yield Row("compiled clock over C", "not measured", "at most 2.5", "there is no gcc on this machine")
            return
        for scenario in SCENARIOS:
            trace, deployment = scenario.trace(LONG_S), scenario.deployment
            latency_s, outcome, events = kernel(trace, deployment)
            outcomes = simulate(trace, deployment, engine="compiled", sample_every_s=inf, tail_s=0.0)
            assert np.array_equal(outcomes.latency_s, latency_s)
            assert np.array_equal(outcomes.outcome, outcome)
            compiled_s, c_s = take_turns(
                (
                    lambda: simulate(trace, deployment, engine="compiled", sample_every_s=inf, tail_s=0.0),  # noqa: B023
                    lambda: kernel(trace, deployment),  # noqa: B023
                ),
                FAST_TURNS,
            )
            over = ratio(compiled_s, c_s)
            remark = f"{over.first_s / outcomes.events * 1e9:.0f} and {over.second_s / events * 1e9:.0f} ns an event"
            yield Row(f"compiled clock over C, {scenario.name}", str(over), "at most 2.5", remark)
