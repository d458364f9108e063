"""A sampled demand: every random number of the client side, none of which the simulation draws itself.

Each purpose has its own sequence of draws, so that a longer trace of the same seed begins with the shorter one, and two
deployments that are given the same trace meet the same demand (common random numbers). A demand is sampled piece by piece:
whole as a ``Trace``, or as a ``Stream`` by the run that needs it; both are the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf, log, sqrt
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from ojp_sizing.bounds import RATE, SEED, Number, Take, said, take_for, taken
from ojp_sizing.demand.arrivals import (
    BLOCK,
    Closed,
    Replay,
    closed_gaps,
    closed_units,
    open_arrivals,
    replayed,
    until,
)
from ojp_sizing.demand.workload import Duration, Patience, Workload
from ojp_sizing.errors import InputError

#: Draws of the network latency that all messages share; a power of two, so that an index needs no division.
LATENCY_DRAWS = 65536
#: Uniform draws that rare decisions share (a leaked connection, the jitter of a back-off).
CHANCE_DRAWS = 65536
OF_UNITS = ("arrival_s", "jvm", "kind", "first", "count", "transaction", "slow", "calls", "xa", "gap_s")
OF_STATEMENTS = ("text", "writes", "fails", "rows", "database_s", "think_s", "keeps", "called", "fetches")


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
    has_xa: bool = False
    """Whether there may be XA units."""
    turns: NDArray[np.int32] = field(default_factory=lambda: np.zeros(1, np.int32))
    """How often each JVM (or all) has chosen a pod in turn before."""

    @property
    def head(self) -> Trace:
        """What all pieces share."""
        return self

    def pieces(self, size: int) -> Iterator[Trace]:
        """The same, so many units at a time; ``first`` counts the statements of each piece from 0."""
        for begin in range(0, len(self.arrival_s), size):
            units = slice(begin, begin + size)
            first = self.first[units]
            statements = slice(int(first[0]), int(first[-1] + self.count[units][-1]))
            columns = {name: getattr(self, name)[units] for name in OF_UNITS}
            columns |= {name: getattr(self, name)[statements] for name in OF_STATEMENTS}
            yield replace(self, **{**columns, "first": first - first[0]})


@dataclass(frozen=True, slots=True)
class Early:
    """Before ``until_s`` only units of these kinds (numbers) come, as often as at any time: what stays for long is under way
    by then, and nothing else had to be simulated for it. The clients of a closed loop send what they send from the start.
    """

    until_s: float = 0.0
    kinds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A demand that is sampled as a run needs it, from the start for each run.

    ``head`` is a trace without units, with what all pieces share; ``pieces`` of a size are traces of so many units (the last
    one of fewer), in order, with or without an end.
    """

    head: Trace
    pieces: Callable[[int], Iterator[Trace]]


def _joined(head: Trace, pieces: Sequence[Trace]) -> Trace:
    if not pieces:
        return head
    columns = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in (*OF_UNITS, *OF_STATEMENTS)}
    count = columns["count"]
    return replace(head, **{**columns, "first": (np.cumsum(count) - count).astype(np.int32)})


def _draw(duration: Duration, rng: Generator, size: int) -> NDArray[np.float64]:
    if duration.family == "constant" or duration.mean_s == 0 or (duration.family == "lognormal" and duration.cv == 0):
        return np.full(size, duration.mean_s)
    if duration.family == "exponential":
        return rng.exponential(duration.mean_s, size)
    variance = log(1.0 + duration.cv**2)
    return rng.lognormal(log(duration.mean_s) - variance / 2.0, sqrt(variance), size)


def _take_seed(value: Any, place: str) -> SeedSequence:
    if isinstance(value, SeedSequence):
        return value
    try:
        return SeedSequence(SEED.take(value, place))
    except InputError as error:
        fix = "write a whole number of 0 or more, or a numpy SeedSequence"
        raise InputError(place, f"{said(value)} is no seed", fix) from error


_ARGUMENTS: dict[str, Take] = {
    "workload": take_for(Workload),
    "rate": RATE.take,
    "duration_s": Number(unit="s", above=True).take,
    "seed": _take_seed,
}


def sample_trace(workload: Workload, rate: float, duration_s: float, seed: SeedSequence | int) -> Trace:
    """Sample ``duration_s`` of the workload at ``rate`` units of work per second; see ``arrivals`` for what the rate is.

    ``seed`` is a plain number, or a SeedSequence: that of the number gives the same draws.
    Raises InputError where the workload's arrivals can't have this rate, or a recording is shorter than the run.
    """
    stream = stream_of(workload, rate, duration_s, seed)
    return _joined(stream.head, list(stream.pieces(BLOCK)))


def stream_of(
    workload: Workload,
    rate: float,
    duration_s: float,
    seed: SeedSequence | int,
    *,
    goes_on: bool = False,
    early: Early = Early(),
) -> Stream:
    """The same demand as ``sample_trace``, to be sampled as it is needed.

    ``goes_on``: it doesn't end after ``duration_s`` (a recording ends with its last arrival), which then only says what part
    of a day or of a recording it begins with. ``early``: what comes at first. Raises InputError as ``sample_trace`` does, for
    bursts with the first piece.
    """
    workload, rate, duration_s, root = taken(_ARGUMENTS, workload=workload, rate=rate, duration_s=duration_s, seed=seed)
    arrivals, clients, threads = workload.arrivals, workload.clients, workload.clients.threads
    end_s, most_units = inf if goes_on else duration_s, inf
    mean_gap_s, recorded_s, recorded = 0.0, np.zeros(0), 0
    if isinstance(arrivals, Closed):
        threads, mean_gap_s = arrivals.population(rate, clients.jvms, threads)
        most_units = inf if goes_on else closed_units(mean_gap_s, clients.jvms * threads, duration_s)
    elif isinstance(arrivals, Replay):
        recorded_s, recorded = replayed(arrivals, rate, duration_s)
        end_s = float(recorded_s[-1]) if goes_on else duration_s
    head_draws = _Draws(workload, root)
    head = _head(workload, rate, end_s, threads, head_draws)
    if early.kinds:
        # Few units come at first: they would all go to the first pod.
        head = replace(head, turns=head_draws.early.integers(1 << 16, size=clients.jvms, dtype=np.int32))

    def pieces(size: int) -> Iterator[Trace]:
        draws, done = _Draws(workload, root), 0
        rows = np.arange(0)
        if isinstance(arrivals, Closed):
            blocks = closed_gaps(mean_gap_s, draws.arrivals)
        elif isinstance(arrivals, Replay):
            rows = _rows_of_recording(workload, arrivals, recorded_s, recorded, early, draws)
            blocks = until(iter([recorded_s[rows - recorded]]), end_s)
        else:
            blocks = until(open_arrivals(arrivals, rate, duration_s, draws.arrivals, draws.changes), end_s)
            blocks = (_thinned(workload, times, early, draws) for times in blocks)
        for times_s in _in_pieces(blocks, size, most_units):
            units = len(times_s)
            jvm, kind = _units(workload, draws, units)
            if not isinstance(arrivals, Closed):
                _draw_early(workload, draws, times_s, kind, early)
            if isinstance(arrivals, Replay):
                mine = rows[done : done + units].tolist()
                jvm = np.array([arrivals.jvms[row] for row in mine], np.int32) if arrivals.jvms else jvm
                kind = np.array([arrivals.units[row] for row in mine], np.int32) if arrivals.units else kind
            zeros = np.zeros(units)
            arrival_s, gap_s = (zeros, times_s) if isinstance(arrivals, Closed) else (times_s, zeros)
            done += units
            piece = replace(head, arrival_s=arrival_s, gap_s=gap_s, jvm=jvm, kind=kind)
            yield _with_statements(workload, piece, draws)

    return Stream(head, pieces)


def _early_shares(workload: Workload, early: Early) -> NDArray[np.float64]:
    """The shares of the units, 0 for those that don't come early."""
    return np.array([unit.share * (kind in early.kinds) for kind, unit in enumerate(workload.units)])


def _thinned(workload: Workload, times_s: NDArray[np.float64], early: Early, draws: _Draws) -> NDArray[np.float64]:
    """These arrivals without those before ``early.until_s`` that are of other kinds, by chance."""
    count = int(np.searchsorted(times_s, early.until_s))
    if count == 0:
        return times_s
    share = _early_shares(workload, early).sum() / sum(unit.share for unit in workload.units)
    return np.concatenate([times_s[:count][draws.early.random(count) < share], times_s[count:]])


def _draw_early(
    workload: Workload, draws: _Draws, times_s: NDArray[np.float64], kind: NDArray[np.int32], early: Early
) -> None:
    """Put kinds in place of those that don't come as early as these units do."""
    count = int(np.searchsorted(times_s, early.until_s))
    if count > 0:
        shares = _early_shares(workload, early)
        kind[:count] = draws.early_kind.choice(len(shares), count, p=shares / shares.sum())


def _rows_of_recording(
    workload: Workload, arrivals: Replay, times_s: NDArray[np.float64], first: int, early: Early, draws: _Draws
) -> NDArray[np.intp]:
    """The numbers of the recorded arrivals, of which ``times_s`` are those from the ``first`` on, that come."""
    count = int(np.searchsorted(times_s, early.until_s))
    if arrivals.units:
        comes = np.isin(arrivals.units[first : first + count], early.kinds)
    else:
        share = _early_shares(workload, early).sum() / sum(unit.share for unit in workload.units)
        comes = draws.early.random(count) < share
    return first + np.concatenate([np.flatnonzero(comes), np.arange(count, len(times_s))])


def _made_for(purpose: int) -> property:
    """The generator of a purpose that hangs on no statement: from the first on, or below 0 from the last on."""
    return property(lambda draws: draws._of(purpose))


class _Draws:
    """A generator for each purpose, by explicit keys: the same SeedSequence gives the same draws however often it was asked."""

    def __init__(self, workload: Workload, seed: SeedSequence) -> None:
        self._seed = seed
        self._texts, kinds = len(workload.statements), len(workload.units)
        self._purposes = 10 + 2 * self._texts + kinds
        self._made: dict[int, Generator] = {}

    def _of(self, purpose: int) -> Generator:
        """Made when it is first asked for: a head needs three, and each takes as long as hundreds of draws."""
        if purpose not in self._made:
            key = (*self._seed.spawn_key, purpose % self._purposes)
            self._made[purpose] = default_rng(SeedSequence(self._seed.entropy, spawn_key=key))
        return self._made[purpose]

    arrivals, jvm, kind, text, latency, health = map(_made_for, range(6))
    chance, changes, early, early_kind = map(_made_for, range(-4, 0))

    def database(self, text: int) -> Generator:
        return self._of(6 + 2 * text)

    def fails(self, text: int) -> Generator:
        return self._of(7 + 2 * text)

    def think(self, kind: int) -> Generator:
        return self._of(6 + 2 * self._texts + kind)


def _in_pieces(blocks: Iterator[NDArray[np.float64]], size: int, most: float) -> Iterator[NDArray[np.float64]]:
    """The same values, ``most`` at most, so many at a time."""
    waiting = np.zeros(0)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= size or len(waiting) >= most:
            count = int(min(size, most))
            yield waiting[:count]
            waiting, most = waiting[count:], most - count
            if most == 0:
                return
    if len(waiting):
        yield waiting


def _head(workload: Workload, rate: float, duration_s: float, threads: int, draws: _Draws) -> Trace:
    """A trace without units."""
    # OJP's breaker and classifier never see a call, and of a batch only its additions.
    seen = [text for text in workload.statements if text.kind != "call"]
    learned = [(0.0, 0.0) if text.kind == "batch" else (text.database_time.mean_s, float(text.rows)) for text in seen]
    typical_s, typical_rows = np.array(learned or [(0.0, 0.0)]).T
    network = workload.network
    latencies_s = (
        draws.latency.lognormal(log(network.one_way_s), network.sigma, LATENCY_DRAWS)
        if network.one_way_s > 0
        else np.zeros(LATENCY_DRAWS)
    )
    whole, real = np.zeros(0, np.int32), np.zeros(0)
    return Trace(
        duration_s=duration_s,
        rate=rate,
        jvms=workload.clients.jvms,
        threads=threads,
        arrival_s=real,
        jvm=whole,
        kind=whole,
        first=whole,
        count=whole,
        transaction=whole,
        slow=np.zeros(0, np.bool_),
        text=whole,
        writes=whole,
        fails=whole,
        rows=whole,
        database_s=real,
        think_s=real,
        # The k-th message of unit u meets draw 7919 u + 104729 k; with draws in this order, that is number 4423 u + k.
        latencies_s=latencies_s[np.arange(LATENCY_DRAWS) * 104729 % LATENCY_DRAWS],
        health_phase_s=draws.health.random(workload.clients.jvms),
        typical_ms=typical_s * 1000.0,
        typical_rows=typical_rows,
        calls=whole,
        xa=whole,
        keeps=whole,
        called=whole,
        fetches=whole,
        gap_s=real,
        chances=draws.chance.random(CHANCE_DRAWS),
        closed=isinstance(workload.arrivals, Closed),
        pools=workload.clients.pools,
        patience=workload.patience,
        has_xa=any(unit.xa for unit in workload.units),
    )


def _units(workload: Workload, draws: _Draws, units: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The client JVM and the kind of each of the next units."""
    shares = np.array([kind.share for kind in workload.units])
    return (
        draws.jvm.integers(workload.clients.jvms, size=units, dtype=np.int32),
        draws.kind.choice(len(shares), units, p=shares / shares.sum()).astype(np.int32),
    )


def _with_statements(workload: Workload, trace: Trace, draws: _Draws) -> Trace:
    """The next units with all that follows from their kinds, and with their statements."""
    texts, kinds, kind = workload.statements, workload.units, trace.kind
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
    drawn = draws.text.choice(len(texts), len(statement), p=weights / total) if total > 0 else statement
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
        step_s[mine] = _draw(text.database_time, draws.database(i), size)
        step_fails[mine] = draws.fails(i).random(size) < text.error_share
    step_think_s = np.zeros(len(statement))
    for i, unit in enumerate(kinds):
        mine = step_kind == i
        step_think_s[mine] = _draw(unit.think, draws.think(i), int(mine.sum()))

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
    number = np.maximum(np.cumsum([text.kind != "call" for text in texts]) - 1, 0)
    slow_text = np.array([workload.lane_of(text) == "slow" for text in texts])
    slow = np.zeros(len(kind), np.bool_)
    np.logical_or.at(slow, np.repeat(np.arange(len(kind)), steps), slow_text[statement])
    return replace(
        trace,
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
        calls=np.array([unit.calls for unit in kinds], np.int32)[kind],
        xa=np.array([unit.xa for unit in kinds], np.int32)[kind],
        keeps=of_texts([text.kind == "batch" or text.session for text in texts]) * (1 - called),
        called=called,
        fetches=of_texts([text.fetches for text in texts]),
    )
