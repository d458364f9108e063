"""A process that has just begun: what it runs is interpreted at first, and compiled beside its calls (MEASURED: docs/cpu.md).

Both fade with the root of the number of calls that the process has answered, however fast they come.
"""

from __future__ import annotations

from math import inf, sqrt

from ojp_sizing.behaviour.kinds import EventKind
from ojp_sizing.behaviour.records import COMPILER
from ojp_sizing.behaviour.sharing import join
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World

#: The compiler's work is handed to the pod's CPU in pieces of at least this.
PIECE_S = 0.001
#: After so many calls a process is as fast as it will be (MEASURED: docs/cpu.md).
OLD = 30_000.0


@transition
def youth_s(w: World, pod: int) -> float:
    """What the next call takes more than it will one day, core seconds. The compiler gets more to do, on the same CPU."""
    p = w.pods[pod]
    if p.answered == inf:
        return 0.0
    p.answered = p.answered + 1.0 if p.answered < OLD else inf
    share = 1.0 / sqrt(p.answered)
    p.compile_s += share * w.settings[0].compile_cpu_s
    compile_on(w, pod)
    return share * w.settings[0].young_cpu_s


@transition
def compile_on(w: World, pod: int) -> None:
    """One piece of the compiler's work is under way at a time."""
    p = w.pods[pod]
    if p.compiles == 0 and p.compile_s >= PIECE_S:
        p.compiles = 1
        join(w, pod, EventKind.CPU_TIMER, COMPILER, 0, p.compile_s)
        p.compile_s = 0.0
