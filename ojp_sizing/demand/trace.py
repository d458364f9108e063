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

from ojp_sizing.demand.arrivals import Closed, Replay, closed_gaps, open_arrivals, replayed
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
    after 0), and ``arrival_s`` (zeros) and ``jvm`` mean nothing before that. There are more units than the clients can begin
    in ``duration_s``. Statements are RPCs: a batch is its additions and one more. ``keeps`` marks updates that make a
    session, ``called`` those that go by callResource; ``fetches`` are further RPCs for a result. ``calls`` are a unit's
    callResource RPCs before its first statement.

    ``text`` numbers the SQL texts that pass the breaker and the classifier, to which ``typical_ms`` and ``typical_rows``
    belong; that of a statement which is called means nothing.
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
    """Mean database time of each SQL text (ms); with its rows, what a server's classifier has learned in the long run.
    An addition to a batch takes no database time."""
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


def sample_trace(workload: Workload, rate: float, duration_s: float, seed: SeedSequence) -> Trace:
    """Sample ``duration_s`` of the workload at ``rate`` units of work per second; see ``arrivals`` for what the rate is.

    Raises InputError where the workload's arrivals can't have this rate, or a recording is shorter than the run.
    """
    texts, kinds, clients = workload.statements, workload.units, workload.clients
    # Children by explicit keys: the same SeedSequence gives the same streams however often it was asked.
    streams = [
        default_rng(SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, purpose)))
        for purpose in range(8 + 2 * len(texts) + len(kinds))
    ]
    arrivals_rng, jvm_rng, kind_rng, text_rng, latency_rng, health_rng = streams[:6]
    chance_rng, change_rng = streams[6 + 2 * len(texts) + len(kinds) :]

    arrivals, threads, recorded = workload.arrivals, clients.threads, slice(0, 0)
    gap_s: NDArray[np.float64] | None = None
    if isinstance(arrivals, Closed):
        threads, mean_gap_s = arrivals.population(rate, clients.jvms, clients.threads)
        gap_s = closed_gaps(mean_gap_s, clients.jvms * threads, duration_s, arrivals_rng)
        arrival_s = np.zeros(len(gap_s))
    elif isinstance(arrivals, Replay):
        arrival_s, recorded = replayed(arrivals, rate, duration_s)
    else:
        arrival_s = open_arrivals(arrivals, rate, duration_s, arrivals_rng, change_rng)
    units = len(arrival_s)
    jvm = jvm_rng.integers(clients.jvms, size=units, dtype=np.int32)
    shares = np.array([kind.share for kind in kinds])
    kind = kind_rng.choice(len(kinds), units, p=shares / shares.sum()).astype(np.int32)
    if isinstance(arrivals, Replay):
        jvm = np.array(arrivals.jvms[recorded], np.int32) if arrivals.jvms else jvm
        kind = np.array(arrivals.units[recorded], np.int32) if arrivals.units else kind

    # A unit's steps: one per execution of a statement.
    lengths = np.array([k.statements if isinstance(k.statements, int) else len(k.statements) for k in kinds], np.int32)
    steps = lengths[kind]
    first_step = np.cumsum(steps) - steps
    step_kind = np.repeat(kind, steps)
    position = np.arange(len(step_kind)) - np.repeat(first_step, steps)
    statement = np.zeros(len(step_kind), np.int32)
    index = {text.name: i for i, text in enumerate(texts)}
    weights = np.array([text.share for text in texts])
    total = weights.sum()
    drawn = text_rng.choice(len(texts), len(statement), p=weights / total) if total > 0 else statement
    for i, unit in enumerate(kinds):
        mine = step_kind == i
        if isinstance(unit.statements, int):
            statement[mine] = drawn[mine]
        else:
            statement[mine] = np.array([index[name] for name in unit.statements], np.int32)[position[mine]]
    step_s = np.zeros(len(statement))
    step_fails = np.zeros(len(statement), np.int32)
    for i, text in enumerate(texts):
        mine = statement == i
        size = int(mine.sum())
        step_s[mine] = _draw(text.database_time, streams[6 + 2 * i], size)
        step_fails[mine] = streams[7 + 2 * i].random(size) < text.error_share
    step_think_s = np.zeros(len(statement))
    for i, unit in enumerate(kinds):
        mine = step_kind == i
        step_think_s[mine] = _draw(unit.think, streams[6 + 2 * len(texts) + i], int(mine.sum()))

    # A step's RPCs: one, or the additions of a batch, which do nothing in the database, and its execution.
    rpcs = np.array([1 + text.additions for text in texts], np.int32)[statement]
    ends = np.concatenate([[0], np.cumsum(rpcs)])
    first, count = ends[first_step], ends[first_step + steps] - ends[first_step]
    executes = np.zeros(ends[-1], np.bool_)
    executes[ends[1:] - 1] = True
    of = np.repeat(statement, rpcs)

    def executed(column: NDArray[Any]) -> NDArray[Any]:
        """A column of steps as one of RPCs, 0 for additions."""
        return np.where(executes, np.repeat(column, rpcs), 0).astype(column.dtype)

    def of_texts(values: list[int]) -> NDArray[np.int32]:
        return np.array(values, np.int32)[of]

    called = executed(np.array([text.kind in {"batch", "call"} for text in texts], np.int32)[statement])
    # OJP's breaker and classifier never see a call, and of a batch only its additions.
    seen = [text for text in texts if text.kind != "call"]
    number = np.maximum(np.cumsum([text.kind != "call" for text in texts]) - 1, 0)
    learned = [(0.0, 0.0) if text.kind == "batch" else (text.database_time.mean_s, float(text.rows)) for text in seen]
    typical_s, typical_rows = np.array(learned or [(0.0, 0.0)]).T
    slow_text = np.array([workload.lane_of(text) == "slow" for text in texts])
    slow = np.zeros(units, np.bool_)
    np.logical_or.at(slow, np.repeat(np.arange(units), steps), slow_text[statement])
    network = workload.network
    latencies_s = (
        latency_rng.lognormal(log(network.one_way_s), network.sigma, LATENCY_DRAWS)
        if network.one_way_s > 0
        else np.zeros(LATENCY_DRAWS)
    )
    # The k-th message of unit u meets draw 7919 u + 104729 k; with draws in this order, that is number 4423 u + k.
    latencies_s = latencies_s[np.arange(LATENCY_DRAWS) * 104729 % LATENCY_DRAWS]
    return Trace(
        duration_s=duration_s,
        rate=rate,
        jvms=clients.jvms,
        threads=threads,
        arrival_s=arrival_s,
        jvm=jvm,
        kind=kind,
        first=first.astype(np.int32),
        count=count.astype(np.int32),
        transaction=np.array([unit.transaction for unit in kinds], np.int32)[kind],
        slow=slow,
        text=number.astype(np.int32)[of],
        writes=of_texts([text.kind != "read" for text in texts]),
        fails=executed(step_fails),
        rows=executed(np.array([text.rows for text in texts], np.int32)[statement]),
        database_s=executed(step_s),
        think_s=executed(step_think_s),
        latencies_s=latencies_s,
        health_phase_s=health_rng.random(clients.jvms),
        typical_ms=typical_s * 1000.0,
        typical_rows=typical_rows,
        calls=np.array([unit.calls for unit in kinds], np.int32)[kind],
        xa=np.array([unit.xa for unit in kinds], np.int32)[kind],
        keeps=of_texts([text.kind == "batch" or text.session for text in texts]) * (1 - called),
        called=called,
        fetches=of_texts([text.fetches for text in texts]),
        gap_s=np.zeros(units) if gap_s is None else gap_s,
        chances=chance_rng.random(CHANCE_DRAWS),
        closed=gap_s is not None,
        pools=clients.pools,
        patience=workload.patience,
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
