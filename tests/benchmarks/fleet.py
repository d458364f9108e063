"""What an event costs on the compiled clock as demand and fleet grow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, inf

from numpy.random import SeedSequence

from ojp_sizing import ClientPool, Database, Deployment, ServerSettings, Workload, sample_trace
from ojp_sizing.demand.trace import Trace
from ojp_sizing.demand.workload import Clients, Duration, StatementClass, UnitOfWork
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.simulation.compiled_clock import CompiledClock

from .comparing import Row, ratio

#: A unit keeps its connection for so many statements, or a large fleet does little else than connecting.
STATEMENTS = 20
#: How long a unit takes without waiting, about; and the share of CPU, threads and connections that is in use.
STATEMENT_S, CONNECT_S, USE = 0.006, 0.0008, 0.5


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many pods at a rate of units."""

    replicas: int
    rate: float
    jvms: int

    def __str__(self) -> str:
        return f"{self.replicas} pods, {self.rate:,.0f} units/s, {self.jvms:,} JVMs"

    @property
    def unit_s(self) -> float:
        return self.replicas * CONNECT_S + STATEMENTS * STATEMENT_S

    @property
    def deployment(self) -> Deployment:
        """Pods without a CPU limit on nodes with cores enough, so that the fleet isn't just a queue."""
        constants = default_constants()
        unit_cpu_s = self.replicas * constants.connect_cpu_s
        unit_cpu_s += STATEMENTS * (constants.small_rpc_cpu_s + constants.statement_cpu_s)
        cores = float(ceil(self.rate * unit_cpu_s / self.replicas / USE))
        inside = ceil(self.rate * self.unit_s / USE)
        return Deployment(
            self.replicas,
            cores,
            ClientPool(2 * inside + 4 * self.replicas, 5),
            # The first sessions of all clients go to the first pod: with few threads it would end in a convoy.
            ServerSettings(8 * ceil(inside / self.replicas) + 16, segregation=False),
            Database(inf),
            constants=replace(constants, node_cores=cores),
        )

    def trace(self, duration_s: float) -> Trace:
        statement = StatementClass("read", "select 1", "read", Duration(0.002), 1.0)
        threads = ceil(self.rate * self.unit_s / self.jvms / USE) + 4
        unit = UnitOfWork("page", 1.0, STATEMENTS)
        workload = Workload("fleet", (statement,), (unit,), clients=Clients(self.jvms, threads))
        return sample_trace(workload, self.rate, duration_s, SeedSequence(1))


FLEETS = (
    Fleet(3, 500.0, 16),
    Fleet(13, 5_000.0, 100),
    Fleet(100, 500.0, 16),
    Fleet(40, 30_000.0, 600),
    Fleet(100, 100_000.0, 2_000),
)
EVENTS = 6_000_000
TURNS = 3


def _cost_s(trace: Trace, deployment: Deployment) -> float:
    """CPU seconds for each event of a run, its demand already sampled."""
    clock = CompiledClock(trace, deployment)
    began = time.process_time()
    clock.run(None, inf, inf)
    return (time.process_time() - began) / clock.events


def rows() -> Iterator[Row]:
    runs = []
    for fleet in FLEETS:
        events = 3 * fleet.replicas + 10 * STATEMENTS
        # Long enough to fill up: the longest fleet takes two lengths of a unit.
        runs.append((fleet.trace(max(2.0 * fleet.unit_s, EVENTS / events / fleet.rate)), fleet.deployment))
    costs_s: list[list[float]] = [[] for _ in FLEETS]
    for _ in range(TURNS):
        for run, mine in zip(runs, costs_s, strict=True):
            mine.append(_cost_s(*run))
    for fleet, mine in zip(FLEETS[1:], costs_s[1:], strict=True):
        yield Row(f"cost of an event, {fleet}, over {FLEETS[0]}", str(ratio(mine, costs_s[0])), "at most 1.30")
