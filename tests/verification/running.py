"""Run a queue through the model, and judge it: a mean by its interval, a distribution by Kolmogorov and Smirnov.

Means are over independent replications, whose seeds are fixed, so that a verdict never changes by chance. Each replication
starts empty; its first tenth is dropped. The mean is controlled (Lavenberg and Welch 1981) by averages whose expectation
is known to be 0: what service and the next arrival bring beyond their means, and the same times the state that the customer
meets, which cannot know of either (a martingale difference, as of Henderson and Glynn 2002).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil, inf, sqrt

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from scipy.special import stdtrit

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.simulation.simulate import Engine, simulate
from tests.worlds import Unit, no_cost, trace_of, update

from .cases import (
    CURVE_LOAD,
    FAST_WAIT,
    GIVES_UP,
    MEAN_TIME,
    MEAN_WAIT,
    PUBLISHED_SHARES,
    SERVICE_S,
    SLOW_WAIT,
    Cdf,
    Floats,
    Queue,
    Station,
    slow_load,
    theory,
)

CONFIDENCE = 0.99
REPLICATIONS = 32
#: So many of them the tests run again: a model that has changed moves each of them.
AGAIN = 4
#: Customers of one replication, by load.
CUSTOMERS = {0.3: 120_000, 0.6: 80_000, 0.8: 80_000, 0.9: 100_000, 0.95: 100_000}
WARM_UP = 0.1
#: More than anything here can need.
PLENTY, FOREVER_S = 20_000, 1e9
#: A pod's CPU is spent by the row: fine enough for a service of so many.
ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Customers:
    """One run: customers in order of arrival (arrays of one length). Times in s."""

    arrival_s: Floats
    service_s: Floats
    latency_s: Floats
    outcome: np.ndarray
    slow: np.ndarray


def queue_trace(
    arrival_s: Floats, service_s: Floats, slow: np.ndarray, *, threads: int, rows: bool, texts: bool
) -> Trace:
    """Units of one update of one client on a network without latency. ``rows``: the service is CPU, not the database's.

    ``texts``: each unit has an SQL text of its own, which the classifier has learned to be slow or fast: with that no
    execution can move another one to the other lane.
    """
    units = len(arrival_s)
    zero, one = np.zeros(units, np.int32), np.ones(units, np.int32)
    unit, none = np.arange(units, dtype=np.int32), np.zeros(units)
    # Texts that are never run bring the overall average, at whose double a text is slow, far below a slow text's.
    typical_ms = np.concatenate([np.where(slow, 1e6, 0.0), np.zeros(2 * units)]) if texts else np.zeros(1)
    return replace(
        trace_of(Unit(0.0, (update(),)), threads=threads),
        duration_s=float(arrival_s[-1]) + 1e5 * SERVICE_S,
        arrival_s=arrival_s,
        jvm=zero,
        kind=zero,
        first=unit,
        count=one,
        transaction=zero,
        slow=slow,
        text=unit if texts else zero,
        writes=one,
        fails=zero,
        rows=np.rint(service_s / SERVICE_S * ROWS).astype(np.int32) if rows else zero,
        database_s=none if rows else service_s,
        think_s=none,
        typical_ms=typical_ms,
        typical_rows=np.zeros(len(typical_ms)),
        calls=zero,
        xa=zero,
        keeps=zero,
        called=zero,
        fetches=zero,
        gap_s=none,
    )


def deployment_for(queue: Queue) -> Deployment:
    """One pod on which only the queue's station takes time."""
    station, slots = queue.station, queue.servers + queue.slow_servers
    pool = {Station.CONNECTIONS: queue.servers, Station.SLOTS: slots}.get(station, PLENTY)
    lanes = station is Station.SLOTS
    return Deployment(
        1,
        1.0 * queue.servers if station is Station.CPU else 1.0,
        ClientPool(pool, 0, FOREVER_S if queue.patience is None else queue.patience * SERVICE_S),
        ServerSettings(
            PLENTY // 2,  # the most that is taken
            segregation=lanes,
            slow_slot_percentage=round(100 * queue.slow_servers / slots),
            idle_timeout_s=FOREVER_S,
            fast_slot_timeout_s=FOREVER_S,
            slow_slot_timeout_s=FOREVER_S,
            update_global_average_s=FOREVER_S,
            breaker_threshold=2**31 - 1,
        ),
        Database(float(queue.servers) if station is Station.DATABASE else inf),
        constants=replace(
            no_cost(), node_cores=1.0, row_block_cpu_s=100 * SERVICE_S / ROWS if station is Station.CPU else 0.0
        ),
    )


def customers(queue: Queue, load: float, count: int, rng: Generator, engine: Engine = "auto") -> Customers:
    """Draw Poisson arrivals and services, and send them through the model."""
    fast_rate, slow_rate = load * queue.servers / SERVICE_S, slow_load(load) * queue.slow_servers / SERVICE_S
    rate = fast_rate + slow_rate
    arrival_s = np.cumsum(rng.standard_exponential(count)) / rate
    service_s = queue.service.draw(rng, count) * SERVICE_S
    return run_customers(queue, arrival_s, service_s, rng.random(count) < slow_rate / rate, engine)


def run_customers(
    queue: Queue, arrival_s: Floats, service_s: Floats, slow: np.ndarray, engine: Engine = "auto"
) -> Customers:
    """Send these arrivals with these services through the model; ``slow`` ones to the slow lane, where there are lanes."""
    trace = queue_trace(
        arrival_s,
        service_s,
        slow,
        threads=queue.servers if queue.station is Station.THREADS else min(PLENTY, len(arrival_s)),
        rows=queue.station is Station.CPU,
        texts=queue.station is Station.SLOTS,
    )
    outcomes = simulate(trace, deployment_for(queue), engine=engine, sample_every_s=1e12, tail_s=0.0)
    return Customers(arrival_s, service_s, outcomes.latency_s, outcomes.outcome, slow)


@dataclass(frozen=True, slots=True)
class Replication:
    """Of one measure: its mean, the controls, and values so far apart that they count as independent."""

    mean: float
    controls: Floats
    apart: Floats
    #: Shares above the points of a queue's curve.
    tail: Floats


def gap(scv: float, load: float) -> int:
    """Customers after which a queue has forgotten: 4 times M/M/1's relaxation time (Cohen 1982), longer for mixed service."""
    return ceil(4 * max(1.0, (1 + scv) / 2) * load / (1 - sqrt(load)) ** 2)


def _measure(queue: Queue, run: Customers, rate: float, values: Floats, state: Floats, load: float) -> Replication:
    """``values`` NaN: not counted. ``state``: what the customer meets, of whatever unit."""
    begin = int(WARM_UP * len(values))
    spans = np.diff(run.arrival_s)[begin:] * rate - 1
    services = run.service_s[begin:-1] / SERVICE_S - 1
    state = state[begin:-1]
    controls = np.array([services.mean(), spans.mean(), (state * services).mean(), (state * spans).mean()])
    values = values[begin:]
    counted = values[~np.isnan(values)]
    grid = queue.curve if queue.curve is not None and load == CURVE_LOAD else ()
    tail = np.array([(counted > x + 1e-6).mean() for x in grid])
    return Replication(float(counted.mean()), controls, values[:: gap(queue.service.scv, load)], tail)


def customers_of(queue: Queue, load: float) -> int:
    """Customers of one replication."""
    return round(CUSTOMERS[load] * queue.effort)


def replication(queue: Queue, load: float, number: int) -> dict[str, Replication]:
    """Every measure of one run."""
    rng = default_rng(SeedSequence([number, *queue.name.encode(), round(1000 * load)]))
    count = customers_of(queue, load)
    run = customers(queue, load, count, rng)
    waits = (run.latency_s - run.service_s) / SERVICE_S
    rate = load * queue.servers / SERVICE_S
    if queue.station.shares:
        assert (run.outcome == Ending.OK).all()
        number_inside = np.arange(count) - np.searchsorted(np.sort(run.arrival_s + run.latency_s), run.arrival_s)
        time = _measure(queue, run, rate, run.latency_s / SERVICE_S, number_inside * 1.0, load)
        return {MEAN_TIME: replace(time, apart=_measure(queue, run, rate, number_inside * 1.0, waits, load).apart)}
    if queue.slow_servers:
        assert (run.outcome == Ending.OK).all()
        result = {}
        for lane, name, share in ((~run.slow, FAST_WAIT, load), (run.slow, SLOW_WAIT, slow_load(load))):
            alone = Customers(*(getattr(run, field)[lane] for field in Customers.__slots__))
            lane_rate = share * (queue.servers if name == FAST_WAIT else queue.slow_servers) / SERVICE_S
            result[name] = _measure(queue, alone, lane_rate, waits[lane], waits[lane], share)
        return result
    gave_up = run.outcome == Ending.CONNECTION_TIMEOUT
    assert (gave_up | (run.outcome == Ending.OK)).all()
    met = np.where(gave_up, run.latency_s / SERVICE_S, waits)
    result = {MEAN_WAIT: _measure(queue, run, rate, np.where(gave_up, np.nan, waits), met, load)}
    if queue.patience is not None:
        result[GIVES_UP] = _measure(queue, run, rate, gave_up * 1.0, met, load)
        return result
    assert not gave_up.any()
    for measure, (above, _) in PUBLISHED_SHARES.get((queue.name, load), {}).items():
        result[measure] = _measure(queue, run, rate, (waits > above + 1e-6) * 1.0, met, load)
    return result


@dataclass(frozen=True, slots=True)
class Fit:
    """A Kolmogorov-Smirnov comparison: its distance, the greatest that passes, and the number of values."""

    distance: float
    critical: float
    values: int

    @property
    def passes(self) -> bool:
        return self.distance <= self.critical


#: Chance of a distance above the critical one, where the distribution is right: exp(-2 n d^2) twice (Massart 1990).
SIGNIFICANCE = 0.001


def fit(values: Floats, cdf: Cdf) -> Fit:
    """Distance between the values' distribution and a known one, steps (an atom at 0, whole numbers) included."""
    values = np.where(values < 1e-6, 0.0, values)
    found, counts = np.unique(values, return_counts=True)
    upto = np.cumsum(counts) / len(values)
    known = cdf(found)
    distance = np.abs(upto - known).max()
    inner = found > 0
    if not np.array_equal(found, np.rint(found)):
        # Continuous above 0: there the distribution known has the same value from the left.
        distance = max(distance, np.abs((upto - counts / len(values)) - known)[inner].max(initial=0.0))
    return Fit(float(distance), sqrt(np.log(2 / SIGNIFICANCE) / 2 / len(values)), len(values))


@dataclass(frozen=True, slots=True)
class Result:
    """One measure of a case; times in units of the mean service time. ``low`` and ``high``: the interval of the mean."""

    family: str
    queue: str
    station: str
    load: float
    measure: str
    source: str
    theory: float
    mean: float
    low: float
    high: float
    tolerance: float
    customers: int
    fit: Fit | None
    #: That of each replication, without the controls.
    means: tuple[float, ...]
    #: Points of the distribution: x, the share above it by theory, and as simulated with its interval.
    curve: tuple[tuple[float, float, float, float, float], ...]

    @property
    def passes(self) -> bool:
        """The whole interval lies within the tolerance, and the distribution fits: shown to be right, not merely not wrong."""
        near = self.theory * (1 - self.tolerance) <= self.low and self.high <= self.theory * (1 + self.tolerance)
        return near and (self.fit is None or self.fit.passes)


def controlled_mean(means: Floats, controls: Floats) -> tuple[float, float]:
    """Mean over replications with the part that the controls explain taken out, and half of its interval."""
    # A constant service brings nothing beyond its mean.
    design = np.column_stack([np.ones(len(means)), controls[:, controls.std(axis=0) > 0]])
    solution, *_ = np.linalg.lstsq(design, means, rcond=None)
    free = len(means) - design.shape[1]
    residual = means - design @ solution
    variance = float(residual @ residual) / free * np.linalg.inv(design.T @ design)[0, 0]
    return float(solution[0]), float(stdtrit(free, 0.5 + CONFIDENCE / 2)) * sqrt(variance)


def run_case(queue: Queue, load: float) -> list[Result]:
    """Run a queue at a load, and compare every measure with theory."""
    with ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(lambda number: replication(queue, load, number), range(REPLICATIONS)))
    results = []
    for measure, exact in theory(queue, load).items():
        mine: list[Replication] = [run[measure] for run in runs]
        mean, half = controlled_mean(np.array([r.mean for r in mine]), np.stack([r.controls for r in mine]))
        apart = np.concatenate([r.apart for r in mine])
        curve = []
        if exact.cdf is not None and queue.curve is not None and len(mine[0].tail):
            none = np.empty((len(mine), 0))
            shares = [controlled_mean(tail, none) for tail in np.stack([r.tail for r in mine]).T]
            known = (1 - exact.cdf(np.array(queue.curve))).tolist()
            rows = zip(queue.curve, known, shares, strict=True)
            curve = [(x, share, found, found - by, found + by) for x, share, (found, by) in rows]
        results.append(
            Result(
                family=queue.family,
                queue=queue.name,
                station=queue.station.value,
                load=exact.load,
                measure=measure,
                source=queue.source,
                theory=exact.value,
                mean=mean,
                low=mean - half,
                high=mean + half,
                tolerance=exact.tolerance,
                customers=customers_of(queue, load) * REPLICATIONS,
                fit=None if exact.cdf is None else fit(apart[~np.isnan(apart)], exact.cdf),
                means=tuple(r.mean for r in mine),
                curve=tuple(curve),
            )
        )
    return results
