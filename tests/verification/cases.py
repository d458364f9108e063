"""The cases: queues that parts of the model must be, what theory says of them, and who says so.

A queue is asked for by its part of the model (``Station``), its service, and its servers. Times of the theory are in units
of the mean service time, ``SERVICE_S``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import sqrt

import numpy as np
from numpy.random import Generator

from ojp_sizing.theory.queues import mg1_wait_s, mmc_wait_s

from .oracles import (
    Cdf,
    Floats,
    Patience,
    Phases,
    constant_service,
    hyperexponential_wait_cdf,
    mmc_number_cdf,
    mmc_wait_cdf,
    phase_service,
)

SERVICE_S = 0.01
LOADS = (0.3, 0.6, 0.8, 0.9, 0.95)
#: At less, 15 servers are so seldom all busy that there is hardly a wait to measure.
HIGH_LOADS, HIGHEST_LOADS = (0.8, 0.9, 0.95), (0.9, 0.95)
#: The load at which a queue's distribution is drawn.
CURVE_LOAD = 0.8

MEAN_WAIT, MEAN_TIME, GIVES_UP = "mean wait", "mean time", "share that gives up"
FAST_WAIT, SLOW_WAIT = "mean wait, fast lane", "mean wait, slow lane"


class Station(Enum):
    """The part of the model that is the queue. All others take no time and turn nobody away."""

    CONNECTIONS = "a pod's connections"
    THREADS = "a client's threads"
    SLOTS = "a pod's two lanes of slots"
    DATABASE = "the database's cores"
    CPU = "a pod's CPU"

    @property
    def shares(self) -> bool:
        """Processor sharing; else first come, first served."""
        return self in (Station.DATABASE, Station.CPU)


@dataclass(frozen=True, slots=True)
class Service:
    """A distribution of service times with mean 1. ``scv``: its squared coefficient of variation."""

    letter: str
    scv: float
    draw: Callable[[Generator, int], Floats]
    phases: Phases | None = None


#: De Smit (1983) has this one: balanced means, squared coefficient of variation 5.
_P = (24 + sqrt(468)) / 54
_H2 = Phases(_P, (3 * _P, 1.5 * (1 - _P)), 0.0)


def _hyperexponential(rng: Generator, size: int) -> Floats:
    first = rng.random(size) < _H2.begins_first
    return rng.standard_exponential(size) / np.where(first, *_H2.rates)


CONSTANT = Service("D", 0.0, lambda rng, size: np.ones(size))
ERLANG = Service("E2", 0.5, lambda rng, size: rng.standard_gamma(2.0, size) / 2, Phases(1.0, (2.0, 2.0), 1.0))
EXPONENTIAL = Service("M", 1.0, lambda rng, size: rng.standard_exponential(size))
HYPEREXPONENTIAL = Service("H2", 5.0, _hyperexponential, _H2)

ERLANG_C = "Erlang C"
POLLACZEK = "Pollaczek and Khinchine"
CROMMELIN = "Crommelin 1932"
PHASE_TYPE = "exact solution of the generator"
DE_SMIT = "de Smit 1983 at load 0.9"
BARRER = "Barrer 1957; Baccelli and Hebuterne 1981"
KLEINROCK = "Kleinrock 1967; Kelly 1979 for several cores"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue at each of some loads. ``patience`` in units of the mean service time."""

    family: str
    name: str
    station: Station
    service: Service
    servers: int
    source: str
    loads: tuple[float, ...] = LOADS
    patience: float | None = None
    #: The slow lane's slots, where the station is the slots; ``servers`` are the fast ones.
    slow_servers: int = 0
    #: Times as many customers as others get: where services vary more, and where two lanes share them.
    effort: float = 1.0
    #: Points at which its distribution is drawn.
    curve: tuple[float, ...] | None = None


_SHORT = tuple(i / 8 for i in range(33))
_LONG = tuple(2.5 * i for i in range(33))

QUEUES = (
    Queue("M/M/c", "M/M/1", Station.CONNECTIONS, EXPONENTIAL, 1, ERLANG_C),
    Queue("M/M/c", "M/M/3", Station.CONNECTIONS, EXPONENTIAL, 3, ERLANG_C),
    Queue("M/M/c", "M/M/3, threads", Station.THREADS, EXPONENTIAL, 3, ERLANG_C),
    Queue("M/M/c", "M/M/15", Station.CONNECTIONS, EXPONENTIAL, 15, ERLANG_C, HIGH_LOADS),
    Queue("M/D/c", "M/D/3", Station.CONNECTIONS, CONSTANT, 3, CROMMELIN, curve=_SHORT),
    Queue("M/D/c", "M/D/15", Station.CONNECTIONS, CONSTANT, 15, CROMMELIN, HIGH_LOADS),
    Queue("M/G/1", "M/D/1", Station.CONNECTIONS, CONSTANT, 1, POLLACZEK),
    Queue("M/G/1", "M/H2/1", Station.CONNECTIONS, HYPEREXPONENTIAL, 1, POLLACZEK, curve=_LONG),
    Queue("M/G/c", "M/E2/3", Station.CONNECTIONS, ERLANG, 3, PHASE_TYPE),
    Queue("M/G/c", "M/H2/2", Station.CONNECTIONS, HYPEREXPONENTIAL, 2, PHASE_TYPE, effort=2.5),
    Queue("M/G/c", "M/H2/15", Station.CONNECTIONS, HYPEREXPONENTIAL, 15, DE_SMIT, HIGHEST_LOADS, effort=6),
    Queue("M/M/c with patience", "M/M/2+D", Station.CONNECTIONS, EXPONENTIAL, 2, BARRER, patience=1.0),
    Queue("Two partitions", "M/M/3 and M/M/2", Station.SLOTS, EXPONENTIAL, 3, ERLANG_C, slow_servers=2, effort=3.5),
    Queue("Processor sharing", "M/M/1-PS", Station.DATABASE, EXPONENTIAL, 1, KLEINROCK),
    Queue("Processor sharing", "M/H2/1-PS", Station.DATABASE, HYPEREXPONENTIAL, 1, KLEINROCK, effort=2),
    Queue("Processor sharing", "M/H2/3-PS", Station.DATABASE, HYPEREXPONENTIAL, 3, KLEINROCK, effort=2),
    Queue("Processor sharing", "M/D/1-PS, CPU", Station.CPU, CONSTANT, 1, KLEINROCK),
)


#: Mean wait in M/E2/n in units of the mean service time, to two decimals: Groenveld, Service Systems in Ports and Inland
#: Waterways (2007), table IV, which PIANC report 121 (2014) has as table 6.1; read as quoted in TU Delft's OpenQTSim.
#: By load: n = 1, 2, 3, 4.
GROENVELD = {
    0.3: (0.32, 0.08, 0.03, 0.01),
    0.6: (1.13, 0.43, 0.23, 0.14),
    0.7: (1.75, 0.73, 0.42, 0.27),
    0.8: (3.00, 1.34, 0.82, 0.57),
    0.9: (6.75, 3.14, 2.01, 1.45),
}
#: M/H2/15 at load 0.9: mean wait, P(no wait), mean number inside. De Smit (1983), Operations Research Letters 2(5), 217-224;
#: the mean again, 1.11606, by Ramaswami and Lucantoni (1985), Stochastic Models 1(3), 393-417. Both read as quoted in the
#: validation program of phph 0.1.
DE_SMIT_WAIT, DE_SMIT_NO_WAIT, DE_SMIT_INSIDE = 1.1161, 0.3751, 28.567
#: By queue and load: a measure, the wait that counts, and the published share of longer ones (de Smit too).
PUBLISHED_SHARES = {
    ("M/H2/15", 0.9): {
        "share that waits": (0.0, round(1 - DE_SMIT_NO_WAIT, 4)),
        "share that waits over 3.4390": (3.4390, 0.10),
    }
}


def slow_load(load: float) -> float:
    """The slow lane's load: high where the fast lane's is low, so that a slot lent to the other lane would show."""
    return round(LOADS[0] + LOADS[-1] - load, 10)


@dataclass(frozen=True, slots=True)
class Theory:
    """What theory says of one measure; times in units of the mean service time."""

    value: float
    load: float
    servers: int
    #: Distribution of the wait; where processors are shared, of the number that an arrival finds. None: no closed form.
    cdf: Cdf | None = None
    #: A small share, of which a run sees few.
    rare: bool = False

    @property
    def tolerance(self) -> float:
        """The relative error at which a mean still counts as right."""
        return 0.05 if self.load > 0.9 or self.rare else 0.02


def theory(queue: Queue, load: float) -> dict[str, Theory]:
    """Every measure of a queue at a load."""
    c, rate, service = queue.servers, load * queue.servers, queue.service
    if queue.patience is not None:
        exact = Patience(c, rate, queue.patience)
        return {
            MEAN_WAIT: Theory(exact.mean_wait, load, c, exact.wait_cdf),
            GIVES_UP: Theory(exact.gives_up, load, c),
        }
    if queue.station is Station.SLOTS:
        other, slots = slow_load(load), queue.slow_servers
        return {
            FAST_WAIT: Theory(mmc_wait_s(rate, 1.0, c), load, c, mmc_wait_cdf(c, rate)),
            SLOW_WAIT: Theory(mmc_wait_s(other * slots, 1.0, slots), other, slots, mmc_wait_cdf(slots, other * slots)),
        }
    if queue.station.shares:
        # A symmetric queue: the number inside, and so the mean time, doesn't know the service's distribution.
        return {MEAN_TIME: Theory(1.0 + mmc_wait_s(rate, 1.0, c), load, c, mmc_number_cdf(c, rate))}
    if service.letter == "M":
        return {MEAN_WAIT: Theory(mmc_wait_s(rate, 1.0, c), load, c, mmc_wait_cdf(c, rate))}
    if service.letter == "D":
        constant = constant_service(c, rate)
        value = mg1_wait_s(rate, 1.0, 0.0) if c == 1 else constant.mean_wait
        return {MEAN_WAIT: Theory(value, load, c, constant.wait_cdf)}
    assert service.phases is not None
    if c == 1:
        value = mg1_wait_s(rate, 1.0, sqrt(service.scv))
        return {MEAN_WAIT: Theory(value, load, c, hyperexponential_wait_cdf(service.phases, rate))}
    published = PUBLISHED_SHARES.get((queue.name, load), {})
    value = DE_SMIT_WAIT if published else phase_service(c, rate, service.phases).mean_wait
    shares = {measure: Theory(share, load, c, rare=share <= 0.1) for measure, (_, share) in published.items()}
    return {MEAN_WAIT: Theory(value, load, c), **shares}
