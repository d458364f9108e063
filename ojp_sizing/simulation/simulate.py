"""One run: a trace, a deployment and a disruption in, outcomes out. No random number is drawn in here."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from multiprocessing import parent_process
from typing import Annotated, Any, Literal

from ojp_sizing.behaviour.transition import COMPILER
from ojp_sizing.bounds import INSTANT, Number, Take, said, take_for, taken
from ojp_sizing.demand.trace import Stream, Trace
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import Disruption, check_disruption
from ojp_sizing.errors import InputError
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.simulation.simpy_clock import SimpyClock

Engine = Literal["auto", "simpy", "compiled"]
take_engine = take_for(Engine)
#: Time of a run on SimPy's clock over that on the compiled one, as measured (docs/performance.md).
PLAIN_OVER_COMPILED = 60
#: Units that are due just before a trace ends have so long to end, where the caller doesn't say.
MOST_TAIL_S = 60.0


def _take_pair(value: Any, place: str) -> tuple[float, float]:
    first_s, last_s = take_for(tuple[float, float])(value, place)
    if not 0 <= first_s <= last_s:
        raise InputError(
            place, f"{said(first_s)} to {said(last_s)} s is no span", "write two times, the earlier one first"
        )
    return first_s, last_s


_FOR_EVER = Number(unit="s", infinite=True)
_ARGUMENTS: dict[str, Take] = {
    "trace": take_for(Trace | Stream),
    "deployment": take_for(Deployment),
    "sample_every_s": Number(unit="s", above=True, infinite=True).take,
    "recovery_s": _FOR_EVER.take,
    "well_within_s": _take_pair,
    "warm": take_for(bool),
    "checked": take_for(bool | None),
    "follow": take_for(Annotated[int, Number(0, 2**31, whole=True)] | None),
}


def clock_class(engine: Engine) -> type[Clock]:
    """The clock of this name; ``auto`` is the compiled one where numba is there.

    What will take time is said first, once, in a line on standard error.
    """
    take_engine(engine, "engine")
    if engine == "simpy":
        return SimpyClock
    if engine == "auto" and not COMPILER:
        _say(
            f"numba isn't there: the plain clock takes some {PLAIN_OVER_COMPILED} times as long (docs/performance.md);"
            " pip install numba"
        )
        return SimpyClock
    if not COMPILER:
        raise InputError(
            "--engine", "the compiled clock needs numba, which isn't there", "pip install numba, or use --engine simpy"
        )
    from ojp_sizing.simulation.compiled_clock import CompiledClock  # noqa: PLC0415 - numba is heavy

    _say_what_is_compiled()
    return CompiledClock


@cache
def _say_what_is_compiled() -> None:
    from ojp_sizing.simulation.kernel_cache import has_kernels  # noqa: PLC0415

    if sys.stderr.isatty() and not has_kernels():
        _say("compiling the simulation, once after an install: 20 s or more")


@cache
def _say(line: str) -> None:
    # Workers are processes of somebody who has said it.
    if parent_process() is None:
        print(f"ojp-sizing: {line}", file=sys.stderr, flush=True)  # noqa: T201


def simulate(
    trace: Trace | Stream,
    deployment: Deployment,
    disruption: Disruption = None,
    *,
    engine: Engine = "auto",
    sample_every_s: float = 1.0,
    recovery_s: float = 60.0,
    tail_s: float | None = None,
    well_within_s: tuple[float, float] = (0.0, 0.0),
    warm: bool = True,
    checked: bool | None = None,
    follow: int | None = None,
) -> Outcomes:
    """Run the trace, or a stream that is sampled meanwhile, against the deployment.

    The run ends with its demand, or ``recovery_s`` and ``tail_s`` after all may be well if that is earlier: the first of
    ``well_within_s`` after the disruption's end, or later while a breaker is open, at most the second. Of the last
    ``tail_s`` only as much is run as the units that were due before need. None: without a disruption the run goes on after
    the end of its demand until all units have ended, for a minute at most; with one, and with clients that take their units
    in turn, it is 0. ``warm`` starts with pools open and classifiers that have learned (see ``build_world``). ``checked``
    holds the model's own laws against the run as it goes (``invariants``), and raises InvariantError where one is broken.
    ``follow``: the number of a unit of the demand, from 0; what happens to it is in ``Outcomes.followed``, step by step, and
    nothing where the run ends before that unit is due.
    """
    trace, deployment, sample_every_s, recovery_s, well_within_s, warm, checked, follow = taken(
        _ARGUMENTS, trace=trace, deployment=deployment, sample_every_s=sample_every_s, recovery_s=recovery_s,
        well_within_s=well_within_s, warm=warm, checked=checked, follow=follow,
    )  # fmt: skip
    check_disruption(disruption, deployment.replicas)
    if tail_s is None:
        tail_s = 0.0 if trace.head.closed or disruption is not None else MOST_TAIL_S
        trace = _longer(trace, tail_s)
    return clock_class(engine)(trace, deployment, warm=warm, checked=checked).run(
        disruption, sample_every_s, recovery_s, INSTANT.take(tail_s, "tail_s"), well_within_s, follow
    )


def _longer(demand: Trace | Stream, seconds: float) -> Trace | Stream:
    """The same demand, and so many seconds after it in which nothing arrives."""
    head = replace(demand.head, duration_s=demand.head.duration_s + seconds)
    return head if isinstance(demand, Trace) else replace(demand, head=head)
