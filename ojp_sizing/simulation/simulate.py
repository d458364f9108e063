"""One run: a trace, a deployment and a disruption in, outcomes out. No random number is drawn in here."""

from __future__ import annotations

from typing import Literal

from ojp_sizing.behaviour.transition import COMPILER
from ojp_sizing.demand.trace import Stream, Trace
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import Disruption
from ojp_sizing.errors import InputError
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.simulation.simpy_clock import SimpyClock

Engine = Literal["auto", "simpy", "compiled"]


def clock_class(engine: Engine) -> type[Clock]:
    """The clock of this name; ``auto`` is the compiled one where numba is installed."""
    if engine == "simpy" or (engine == "auto" and not COMPILER):
        return SimpyClock
    if not COMPILER:
        raise InputError(
            "--engine", "the compiled clock needs numba", "install 'ojp-sizing[fast]' or use --engine simpy"
        )
    from ojp_sizing.simulation.compiled_clock import CompiledClock  # noqa: PLC0415 - numba is heavy and optional

    return CompiledClock


def simulate(
    trace: Trace | Stream,
    deployment: Deployment,
    disruption: Disruption = None,
    *,
    engine: Engine = "auto",
    sample_every_s: float = 1.0,
    recovery_s: float = 60.0,
    tail_s: float = 0.0,
    well_within_s: tuple[float, float] = (0.0, 0.0),
    warm: bool = True,
    checked: bool | None = None,
) -> Outcomes:
    """Run the trace, or a stream that is sampled meanwhile, against the deployment.

    The run ends with its demand, or ``recovery_s`` and ``tail_s`` after all may be well if that is earlier: the first of
    ``well_within_s`` after the disruption's end, or later while a breaker is open, at most the second. Of the last
    ``tail_s`` only as much is run as the units that were due before need. ``warm`` starts
    with pools open and classifiers that have learned (see ``build_world``). ``checked`` holds the model's own laws against
    the run as it goes (``invariants``), and raises InvariantError where one is broken.
    """
    return clock_class(engine)(trace, deployment, warm=warm, checked=checked).run(
        disruption, sample_every_s, recovery_s, tail_s, well_within_s
    )
