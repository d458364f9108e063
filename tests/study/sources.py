"""Replications of systems whose truth is known, handed to the real decision code in place of simulated deployments.

``Bench`` asks its workers to do tasks; these workers draw the replication from the task's seed, situation and number alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp
from zlib import crc32

import numpy as np
from numpy.random import SeedSequence, default_rng
from scipy.optimize import brentq

from ojp_sizing.deployment.deployment import Deployment, describe
from ojp_sizing.deployment.situations import SITUATIONS, Situation
from ojp_sizing.measurement.intervals import Count
from ojp_sizing.measurement.measure import Replication, measure_steady
from ojp_sizing.measurement.objectives import Objectives, objectives_of
from ojp_sizing.simulation.simulate import simulate
from ojp_sizing.sizing.evaluate import Task
from ojp_sizing.sizing.evidence import Bench
from ojp_sizing.theory.queues import erlang_c
from tests.verification.cases import EXPONENTIAL, SERVICE_S, Queue, Station, slow_load
from tests.verification.running import PLENTY, deployment_for, queue_trace

#: A run's start, as a share of it, isn't measured, nor is so much of its end: units in flight there must be able to end.
START = 0.1
END_S = 60 * SERVICE_S
BREAKS_S = 1e3


@dataclass(frozen=True, slots=True)
class Source:
    """Workers that draw what a task asks for."""

    draw: Callable[[Task], Replication]

    def map(self, do: Callable[[Task], Replication], tasks: Sequence[Task]) -> Iterator[Replication]:
        return map(self.draw, tasks)


class TrueBench(Bench):
    """A bench of a system that is exactly what it is: the model has no error there."""

    def factors(self, situation: Situation, deployment: Deployment) -> dict[str, float]:
        return {}


# A disruption that breaks its limits now and then ------------------------------------------------------------------------


def uneventful(latency_s: float = 0.0) -> Replication:
    """A run in which every measured latency is this, and no unit fails."""
    names = dict.fromkeys(
        objective.measure for situation in SITUATIONS.values() for objective in objectives_of(Objectives(), situation)
    )
    shares = {name: Count(0.0, 10_000.0, 10_000.0) for name in names if name.endswith("failed_share")}
    values = {name: latency_s for name in names if name not in shares}
    values |= {"cpu_cores": 0.1, "database_cores": 0.1, "open_connections": 1.0, "cpu_throttled_share": 0.0}
    return Replication(values, shares, 1, {}, ())


QUIET, COLLAPSED = uneventful(), uneventful(BREAKS_S)


@dataclass(frozen=True, slots=True)
class Collapses:
    """A rolling update collapses with this probability, each deployment's by itself; everything else goes well."""

    probability: float

    def __call__(self, task: Task) -> Replication:
        if task.situation is not Situation.ROLLING_UPDATE:
            return QUIET
        name = crc32(f"{describe(task.deployment)} {task.deployment.warm_pools}".encode())
        drawn = default_rng(SeedSequence([task.seed, task.replication, name])).random()
        return COLLAPSED if drawn < self.probability else QUIET


# Queues ------------------------------------------------------------------------------------------------------------------


def response_above(servers: int, load: float, time: float) -> float:
    """P(response > time) in M/M/c, time in mean services: the wait (Erlang C) and the service together."""
    spare = servers * (1.0 - load)
    waits = erlang_c(servers, servers * load)
    if abs(spare - 1.0) < 1e-9:
        return exp(-time) * (1.0 + waits * time)
    return exp(-time) + waits * (exp(-time) - exp(-spare * time)) / (spare - 1.0)


def response_p99_s(servers: int, load: float) -> float:
    """The p99 of the response time in M/M/c (s)."""
    found: float = brentq(lambda time: response_above(servers, load, time) - 0.01, 0.0, 1e5)
    return found * SERVICE_S


@dataclass(frozen=True, slots=True)
class Lanes:
    """One M/M/c (a pod's connections), or two beside each other (its fast and slow slots), of ``customers`` a run."""

    name: str
    servers: int
    load: float
    customers: int
    slow_servers: int = 0

    @property
    def queue(self) -> Queue:
        station = Station.SLOTS if self.slow_servers else Station.CONNECTIONS
        return Queue("", self.name, station, EXPONENTIAL, self.servers, "", slow_servers=self.slow_servers)

    @property
    def p99_s(self) -> dict[str, float]:
        """The truth, by measure."""
        found = {"fast_p99_s": response_p99_s(self.servers, self.load)}
        if self.slow_servers:
            found["slow_p99_s"] = response_p99_s(self.slow_servers, slow_load(self.load))
        return found

    def run(self, seed: Sequence[int]) -> Replication:
        """One run, empty at first, through the model and its measures; its first tenth is its start."""
        rng = default_rng(SeedSequence(list(seed)))
        queue = self.queue
        fast_rate = self.load * self.servers / SERVICE_S
        slow_rate = slow_load(self.load) * self.slow_servers / SERVICE_S if self.slow_servers else 0.0
        rate = fast_rate + slow_rate
        last_s = self.customers / rate
        count = round((last_s + END_S) * rate)
        arrival_s = np.cumsum(rng.standard_exponential(count)) / rate
        service_s = EXPONENTIAL.draw(rng, count) * SERVICE_S
        slow = rng.random(count) < slow_rate / rate
        trace = queue_trace(
            arrival_s, service_s, slow, threads=PLENTY, rows=False, texts=queue.station is Station.SLOTS
        )
        deployment = deployment_for(queue)
        outcomes = simulate(trace, deployment, sample_every_s=1e12)
        found = measure_steady(outcomes, deployment, min(last_s, float(arrival_s[-1])), START * last_s)
        values = {name: found.values[name] for name in ("fast_p99_s", "slow_p99_s", "drift")}
        if not self.slow_servers:
            # Its one lane is the fast one; in the slow one nothing ever goes wrong.
            values["slow_p99_s"] = 0.0
        return Replication(values, found.counts, found.units, {}, ())
