"""The fast clock: numba compiles the same transitions, SimPy stays in charge of the control plane.

Before each event of the control plane the kernel runs the requests' agenda up to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ojp_sizing.behaviour.agenda import act, happen
from ojp_sizing.behaviour.database import most_jobs
from ojp_sizing.behaviour.kinds import Action, EventKind, News
from ojp_sizing.behaviour.records import NOBODY
from ojp_sizing.behaviour.world import LAYOUTS, World
from ojp_sizing.demand.trace import Stream, Trace
from ojp_sizing.demand.workload import Patience
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.errors import InputError
from ojp_sizing.simulation.building import Records, as_records
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.compiled_world import NEVER_BITS, CompiledWorld
from ojp_sizing.simulation.kernel_cache import kernel

#: Posts of a run, so that the sequence is far from its end whatever one call into the kernel adds.
MOST_POSTS = 1 << 33
#: The word of an entry of the agenda: highest bits first its sequence, kind (5 bits) and subject (24 bits), so that at equal
#: times the words are in the order of posting.
SUBJECT_BITS, KIND_BITS = 24, 5
SUBJECT_MASK, KIND_MASK = (1 << SUBJECT_BITS) - 1, (1 << KIND_BITS) - 1
#: The agenda is a heap in which each entry has 4 children: half as deep as one of 2, and as quick where it is small.
CHILDREN_BITS = 2
CHILDREN = 1 << CHILDREN_BITS

DONE, TOLD, FULL, CROWDED = 0, 1, 2, 3


@kernel
def _word(w: Any, kind: int, subject: int) -> int:
    w.agenda[0].sequence += 1
    word: int = (w.agenda[0].sequence << (SUBJECT_BITS + KIND_BITS)) | (kind << SUBJECT_BITS) | subject
    return word


@kernel
def _before(one: Any, other: Any) -> int:
    """1 or 0, found without a branch: the processor would guess it wrong half of the time."""
    posted_before = (one.time_bits == other.time_bits) & (one.word < other.word)
    return int((one.time_bits < other.time_bits) | posted_before)


@kernel
def _copy(source: Any, target: Any) -> None:
    target.time_bits = source.time_bits
    target.word = source.word


@kernel
def _push(w: Any, time_s: float, kind: int, subject: int) -> None:
    time_bits = np.float64(time_s).view(np.int64)
    hole = w.agenda[0].count
    w.agenda[0].count += 1
    while hole > 0:
        parent = (hole - 1) >> CHILDREN_BITS
        # The new entry has the highest sequence, so that at equal times it stays below.
        if w.entries[parent].time_bits <= time_bits:
            break
        _copy(w.entries[parent], w.entries[hole])
        hole = parent
    entry = w.entries[hole]
    entry.time_bits = time_bits
    entry.word = _word(w, kind, subject)


@kernel
def _replace_first(w: Any, time_bits: int, word: int) -> None:
    """Put an entry in the place of the first; behind the last nothing is due, so that no child is missing."""
    count = w.agenda[0].count
    hole, child = 0, 1
    while child < count:
        left = child + _before(w.entries[child + 1], w.entries[child])
        right = child + 2 + _before(w.entries[child + 3], w.entries[child + 2])
        child = left + (right - left) * _before(w.entries[right], w.entries[left])
        first = w.entries[child]
        if time_bits < first.time_bits or (time_bits == first.time_bits and word < first.word):
            break
        _copy(first, w.entries[hole])
        hole, child = child, (child << CHILDREN_BITS) + 1
    entry = w.entries[hole]
    entry.time_bits = time_bits
    entry.word = word


@kernel
def _drop_first(w: Any) -> None:
    w.agenda[0].count -= 1
    last = w.entries[w.agenda[0].count]
    time_bits, word = last.time_bits, last.word
    last.time_bits = NEVER_BITS
    if w.agenda[0].count > 0:
        _replace_first(w, time_bits, word)


@kernel
def _put_posts(w: Any, since: int) -> None:
    for index in range(since, w.state[0].posted):
        entry = w.posts[index]
        _push(w, entry.time, entry.kind, entry.subject)
    w.state[0].posted = 0


@kernel
def _advance(w: Any, until_s: float) -> int:
    """Run the requests' events before ``until_s``; return early at news of a pod, or where room is short for another."""
    state = w.state[0]
    agenda = w.agenda[0]
    database = w.stations[w.settings[0].replicas]
    room, jobs = len(w.entries) - len(w.posts) - CHILDREN, most_jobs(w)
    until_bits = np.float64(until_s).view(np.int64)
    while w.entries[0].time_bits < until_bits:
        if agenda.count > room:
            return FULL
        if database.count > jobs:
            return CROWDED
        state.now = np.int64(w.entries[0].time_bits).view(np.float64)
        word = w.entries[0].word
        happen(w, (word >> SUBJECT_BITS) & KIND_MASK, word & SUBJECT_MASK)
        agenda.events += 1
        # Nearly every event posts another, which takes its place: one way down the heap instead of two.
        if state.posted > 0:
            entry = w.posts[0]
            _replace_first(w, np.float64(entry.time).view(np.int64), _word(w, entry.kind, entry.subject))
        else:
            _drop_first(w)
        _put_posts(w, 1)
        if state.told != NOBODY:
            return TOLD
    return DONE


@kernel
def _act(w: Any, now_s: float, action: Any, subject: float) -> None:
    w.state[0].now = now_s
    act(w, action, subject)
    _put_posts(w, 0)


class CompiledClock(Clock):
    """The requests' agenda is a heap of the kernel's; the control plane's is SimPy's."""

    name = "compiled"
    storage = staticmethod(as_records)

    def __init__(
        self, demand: Trace | Stream, deployment: Deployment, *, warm: bool = True, checked: bool | None = None
    ) -> None:
        super().__init__(demand, deployment, warm=warm, checked=checked)
        callers, lanes = len(self.world.callers), len(self.world.lanes)
        if max(callers, lanes) > SUBJECT_MASK:
            raise InputError(
                "clients", f"{callers:,} threads", f"a run has at most {SUBJECT_MASK:,}, and as many lanes of slots"
            )
        self._compiled = CompiledWorld(self.world, len(self.world.posts) + 4 * callers + 4096)

    def _prepare(self, posts: list[tuple[float, EventKind, int]]) -> None:
        self._compiled.make_room(len(posts))
        for time_s, kind, subject in posts:
            _push(self._compiled, time_s, kind, subject)

    def _act(self, action: Action, subject: float) -> None:
        # What it posts is on top of the last event's posts.
        if self._compiled.agenda["count"][0] > self._compiled.room - len(self.world.posts) - CHILDREN:
            self._compiled.make_room(self._compiled.room)
        _act(self._compiled, self.env.now, int(action), float(subject))
        self._refuse_overrun(int(self.world.state["overrun"][0]))  # type: ignore[call-overload]
        self._hear_news()

    def _hear_news(self) -> None:
        state: Any = self.world.state[0]
        pod = int(state["told"])
        if pod != NOBODY:
            state["told"] = NOBODY
            self._hear(pod, News(int(state["news"])))

    def _advance(self, until_s: float) -> bool:
        next_s = self.env.peek()
        result = _advance(self._compiled, min(next_s, until_s))
        agenda = self._compiled.agenda[0]
        self.events = int(agenda["events"])
        self._refuse_overrun(int(self.world.state["overrun"][0]))  # type: ignore[call-overload]
        if agenda["sequence"] > MOST_POSTS:
            raise InputError("the run", f"it has more than {MOST_POSTS:,} events", "make it shorter")
        if result == FULL:
            self._compiled.make_room(self._compiled.room)
        elif result == CROWDED:
            self._make_room_for_jobs()
        elif result == TOLD:
            self._hear_news()
        elif next_s < until_s:
            self.env.step()
        else:
            return False
        return True

    def _now_s(self) -> float:
        return float(self.world.state["now"][0])  # type: ignore[call-overload]

    def _next_s(self) -> float:
        return min(self.env.peek(), self._compiled.next_s)

    def _records(self, name: str) -> Records:
        records: Records = getattr(self.world, name)
        return records

    def read(self, name: str, first: int, count: int) -> Records:
        records: Records = getattr(self.world, name)
        return records[first : first + count]

    def write(self, name: str, first: int, records: Records) -> None:
        table: Records = getattr(self.world, name)
        end = first + len(records)
        if end > len(table):
            grown = np.zeros(max(end, 2 * len(table)), LAYOUTS[name])
            grown[: len(table)] = table
            table = grown
            self.world = World(**{**self.world._asdict(), name: table})
            self._compiled.replace(name, table)
        table[first:end] = records

    def load(self) -> None:
        super().load()
        patience = self.trace.patience
        if patience == Patience():
            return
        # Time-outs and further attempts are events about an attempt.
        if self._paging.loaded * (1 + patience.retries) > SUBJECT_MASK:
            raise InputError(
                "the run",
                f"with time-outs or retries it has at most {SUBJECT_MASK:,} attempts at units of work",
                "make it shorter, or the rate lower",
            )
