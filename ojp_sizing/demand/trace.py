"""A sampled demand: every random number of the client side, drawn before the simulation.

Each purpose has its own stream, so that a longer trace of the same seed begins with the shorter one, and two
deployments that are given the same trace meet the same demand (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from ojp_sizing.demand.workload import Duration, Patience, Workload

#: Draws of the network latency that all messages share; a power of two, so that an index needs no division.
LATENCY_DRAWS = 65536
#: Uniform draws that rare decisions share (a leaked connection, the jitter of a back-off).
CHANCE_DRAWS = 65536


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Units of work in order of arrival (arrays of length U), their statements (length S), and the client JVMs.

    Unit u has the statements ``first[u] : first[u] + count[u]``. ``slow`` says on which side its latency is judged:
    that of its slowest statement. Times in s.

    ``closed``: a finite number of clients; a thread takes the next unit ``gap_s`` after its last one ended (at the start,
    after 0), and ``arrival_s`` and ``jvm`` mean nothing before that. Statements: ``keeps`` marks updates that make a
    session, ``called`` those that go by callResource; ``fetches`` are further RPCs for a result. ``calls`` are a unit's
    callResource RPCs before its first statement.
    """

    duration_s: float
    rate: float
    jvms: int
    threads: int
    arrival_s: NDArray[np.float64]
    jvm: NDArray[np.int32]
    kind: NDArray[np.int32]
    first: NDArray[np.int32]
    count: NDArray[np.int32]
    transaction: NDArray[np.int32]
    slow: NDArray[np.bool_]
    text: NDArray[np.int32]
    writes: NDArray[np.int32]
    fails: NDArray[np.int32]
    rows: NDArray[np.int32]
    database_s: NDArray[np.float64]
    think_s: NDArray[np.float64]
    latencies_s: NDArray[np.float64]
    health_phase_s: NDArray[np.float64]
    typical_ms: NDArray[np.float64]
    """Mean database time of each SQL text (ms); with its rows, what a server's classifier has learned in the long run."""
    typical_rows: NDArray[np.float64]
    calls: NDArray[np.int32]
    xa: NDArray[np.int32]
    keeps: NDArray[np.int32]
    called: NDArray[np.int32]
    fetches: NDArray[np.int32]
    gap_s: NDArray[np.float64]
    chances: NDArray[np.float64]
    closed: bool = False
    pools: int = 1
    patience: Patience = field(default_factory=Patience)


def _draw(duration: Duration, rng: Generator, size: int) -> NDArray[np.float64]:
    if duration.family == "constant" or duration.mean_s == 0 or (duration.family == "lognormal" and duration.cv == 0):
        return np.full(size, duration.mean_s)
    if duration.family == "exponential":
        return rng.exponential(duration.mean_s, size)
    variance = log(1.0 + duration.cv**2)
    return rng.lognormal(log(duration.mean_s) - variance / 2.0, sqrt(variance), size)


def _arrivals(rate: float, duration_s: float, rng: Generator) -> NDArray[np.float64]:
    """A Poisson process on [0, duration_s)."""
    expected = rate * duration_s
    times = np.cumsum(rng.exponential(1.0 / rate, int(expected + 8.0 * sqrt(expected) + 16)))
    while times[-1] < duration_s:
        times = np.concatenate([times, times[-1] + np.cumsum(rng.exponential(1.0 / rate, 1024))])
    return times[: int(np.searchsorted(times, duration_s))]


def sample_trace(workload: Workload, rate: float, duration_s: float, seed: SeedSequence) -> Trace:
    """Sample ``duration_s`` of the workload at ``rate`` units of work per second."""
    texts, kinds = workload.statements, workload.units
    # Children by explicit keys: the same SeedSequence gives the same streams however often it was asked.
    streams = [
        default_rng(SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, purpose)))
        for purpose in range(8 + 2 * len(texts) + len(kinds))
    ]
    arrivals_rng, jvm_rng, kind_rng, text_rng, latency_rng, health_rng = streams[:6]
    chance_rng = streams[6 + 2 * len(texts) + len(kinds)]

    arrival_s = _arrivals(rate, duration_s, arrivals_rng)
    units = len(arrival_s)
    shares = np.array([kind.share for kind in kinds])
    kind = kind_rng.choice(len(kinds), units, p=shares / shares.sum()).astype(np.int32)
    lengths = np.array([k.statements if isinstance(k.statements, int) else len(k.statements) for k in kinds], np.int32)
    count = lengths[kind]
    first = (np.cumsum(count) - count).astype(np.int32)
    statement_kind = np.repeat(kind, count)
    position = np.arange(len(statement_kind)) - np.repeat(first, count)

    text = np.zeros(len(statement_kind), np.int32)
    index = {statement.name: i for i, statement in enumerate(texts)}
    weights = np.array([statement.share for statement in texts])
    total = weights.sum()
    drawn = text_rng.choice(len(texts), len(text), p=weights / total) if total > 0 else text
    for i, unit in enumerate(kinds):
        mine = statement_kind == i
        if isinstance(unit.statements, int):
            text[mine] = drawn[mine]
        else:
            text[mine] = np.array([index[name] for name in unit.statements], np.int32)[position[mine]]

    database_s = np.zeros(len(text))
    fails = np.zeros(len(text), np.int32)
    for i, statement in enumerate(texts):
        mine = text == i
        size = int(mine.sum())
        database_s[mine] = _draw(statement.database_time, streams[6 + 2 * i], size)
        fails[mine] = streams[7 + 2 * i].random(size) < statement.error_share
    think_s = np.zeros(len(text))
    for i, unit in enumerate(kinds):
        mine = statement_kind == i
        think_s[mine] = _draw(unit.think, streams[6 + 2 * len(texts) + i], int(mine.sum()))

    slow_text = np.array([workload.lane_of(statement) == "slow" for statement in texts])
    slow = np.zeros(units, np.bool_)
    np.logical_or.at(slow, np.repeat(np.arange(units), count), slow_text[text])
    network = workload.network
    latencies_s = (
        latency_rng.lognormal(log(network.one_way_s), network.sigma, LATENCY_DRAWS)
        if network.one_way_s > 0
        else np.zeros(LATENCY_DRAWS)
    )
    return Trace(
        duration_s=duration_s,
        rate=rate,
        jvms=workload.clients.jvms,
        threads=workload.clients.threads,
        arrival_s=arrival_s,
        jvm=jvm_rng.integers(workload.clients.jvms, size=units, dtype=np.int32),
        kind=kind,
        first=first,
        count=count,
        transaction=np.array([unit.transaction for unit in kinds], np.int32)[kind],
        slow=slow,
        text=text,
        writes=np.array([statement.kind == "write" for statement in texts], np.int32)[text],
        fails=fails,
        rows=np.array([statement.rows for statement in texts], np.int32)[text],
        database_s=database_s,
        think_s=think_s,
        latencies_s=latencies_s,
        health_phase_s=health_rng.random(workload.clients.jvms),
        typical_ms=np.array([statement.database_time.mean_s for statement in texts]) * 1000.0,
        typical_rows=np.array([float(statement.rows) for statement in texts]),
        calls=np.array([unit.calls for unit in kinds], np.int32)[kind],
        xa=np.array([unit.xa for unit in kinds], np.int32)[kind],
        keeps=np.array([statement.session for statement in texts], np.int32)[text],
        called=np.array([statement.kind == "call" for statement in texts], np.int32)[text],
        fetches=np.array([statement.fetches for statement in texts], np.int32)[text],
        gap_s=np.zeros(units),
        chances=chance_rng.random(CHANCE_DRAWS),
        pools=workload.clients.pools,
    )


def trace_columns(trace: Trace) -> dict[str, dict[str, Any]]:
    """The trace as columns of the simulation's ``units`` and ``statements`` records."""
    return {
        "units": {
            name: getattr(trace, name)
            for name in ("arrival_s", "first", "count", "jvm", "transaction", "calls", "xa", "gap_s")
        },
        "statements": {
            name: getattr(trace, name)
            for name in ("database_s", "think_s", "text", "rows", "writes", "fails", "keeps", "called", "fetches")
        },
    }
