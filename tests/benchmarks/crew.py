"""The same replications by one worker and by two: threads, as the sizer has them for the compiled clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from math import inf

from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.simulation.simulate import simulate
from ojp_sizing.sizing.workers import workers_for

from .comparing import Row, Work, side_by_side
from .scenarios import ORDINARY

REPLICATIONS, DURATION_S, TURNS = 8, 200.0, 7


def _run(task: tuple[Trace, Deployment]) -> int:
    return simulate(*task, engine="compiled", sample_every_s=inf, tail_s=0.0).events


def rows() -> Iterator[Row]:
    tasks = [(ORDINARY.trace(DURATION_S, seed), ORDINARY.deployment) for seed in range(REPLICATIONS)]

    def crew(count: int) -> Work:
        def work() -> None:
            with workers_for("compiled", count) as workers:
                deque(workers.map(_run, tasks), maxlen=0)

        return work

    # What is shared out is wall time.
    over = side_by_side(crew(1), crew(2), TURNS, time.perf_counter)
    yield Row(f"1 worker over 2, {REPLICATIONS} replications", str(over), "1.7")
