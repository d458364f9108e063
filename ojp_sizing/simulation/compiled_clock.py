"""The fast clock: numba compiles the same transitions, SimPy stays in charge of the control plane.

Before each event of the control plane the kernel runs the requests' agenda up to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ojp_sizing.behaviour.agenda import happen, settle_all
from ojp_sizing.behaviour.database import database_fills, database_slows
from ojp_sizing.behaviour.pod import pod_dies, pod_listens, pod_stops, pod_vanishes
from ojp_sizing.behaviour.world import NOBODY, OK
from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.simulation.building import Records, as_records
from ojp_sizing.simulation.clock import Clock, first_posts
from ojp_sizing.simulation.compiled_world import CompiledWorld
from ojp_sizing.simulation.kernel_cache import kernel

#: An entry of the agenda: its time, and in one word, highest bits first, its sequence, kind (5 bits) and subject
#: (24 bits), so that at equal times the words are in the order of posting.
ENTRY = np.dtype([("time", np.float64), ("word", np.int64)])
SUBJECT_BITS, KIND_BITS = 24, 5
SUBJECT_MASK, KIND_MASK = (1 << SUBJECT_BITS) - 1, (1 << KIND_BITS) - 1
AGENDA_HEAD = np.dtype([("count", np.int64), ("sequence", np.int64), ("events", np.int64)])

DONE, TOLD, FULL = 0, 1, 2
STOPS, DIES, VANISHES, LISTENS, SLOWS, FILLS, SETTLES = 0, 1, 2, 3, 4, 5, 6
ACTIONS = {
    "pod_stops": STOPS, "pod_dies": DIES, "pod_vanishes": VANISHES, "pod_listens": LISTENS,
    "database_slows": SLOWS, "database_fills": FILLS, "settle_all": SETTLES,
}  # fmt: skip


@kernel
def _push(heap: Any, head: Any, time_s: float, kind: int, subject: int) -> None:
    hole = head[0].count
    word = (head[0].sequence << (SUBJECT_BITS + KIND_BITS)) | (kind << SUBJECT_BITS) | subject
    head[0].count += 1
    head[0].sequence += 1
    while hole > 0:
        parent = (hole - 1) >> 1
        # The new entry has the highest sequence, so that at equal times it stays below.
        if heap[parent].time <= time_s:
            break
        heap[hole].time = heap[parent].time
        heap[hole].word = heap[parent].word
        hole = parent
    heap[hole].time = time_s
    heap[hole].word = word


@kernel
def _drop_first(heap: Any, head: Any) -> None:
    head[0].count -= 1
    count = head[0].count
    time_s, word = heap[count].time, heap[count].word
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= count:
            break
        right = child + 1
        if right < count and (
            heap[right].time < heap[child].time
            or (heap[right].time == heap[child].time and heap[right].word < heap[child].word)
        ):
            child = right
        if time_s < heap[child].time or (time_s == heap[child].time and word < heap[child].word):
            break
        heap[hole].time = heap[child].time
        heap[hole].word = heap[child].word
        hole = child
    heap[hole].time = time_s
    heap[hole].word = word


@kernel
def _put_posts(w: Any, heap: Any, head: Any) -> None:
    state = w.state[0]
    for index in range(state.posted):
        entry = w.posts[index]
        _push(heap, head, entry.time, entry.kind, entry.subject)
    state.posted = 0


@kernel
def _advance(w: Any, heap: Any, head: Any, until_s: float) -> int:
    """Run the requests' events before ``until_s``; return early when there is news of a pod or the agenda is full."""
    state = w.state[0]
    room = len(heap) - len(w.posts)
    while head[0].count > 0 and heap[0].time < until_s:
        if head[0].count > room:
            return FULL
        state.now = heap[0].time
        word = heap[0].word
        kind, subject = (word >> SUBJECT_BITS) & KIND_MASK, word & SUBJECT_MASK
        _drop_first(heap, head)
        happen(w, kind, subject)
        head[0].events += 1
        _put_posts(w, heap, head)
        if state.told != NOBODY:
            return TOLD
    return DONE


@kernel
def _act(w: Any, heap: Any, head: Any, now_s: float, action: int, subject: float) -> None:
    w.state[0].now = now_s
    if action == STOPS:
        pod_stops(w, int(subject))
    elif action == DIES:
        pod_dies(w, int(subject))
    elif action == VANISHES:
        pod_vanishes(w, int(subject))
    elif action == LISTENS:
        pod_listens(w, int(subject))
    elif action == SLOWS:
        database_slows(w, subject)
    elif action == FILLS:
        database_fills(w, int(subject))
    else:
        settle_all(w)
    _put_posts(w, heap, head)


class CompiledClock(Clock):
    """The requests' agenda is a heap of the kernel's; the control plane's is SimPy's."""

    name = "compiled"
    storage = staticmethod(as_records)

    def __init__(self, trace: Trace, deployment: Deployment, *, warm: bool = True, checked: bool | None = None) -> None:
        super().__init__(trace, deployment, warm=warm, checked=checked)
        if max(len(self.world.units), len(self.world.callers)) > SUBJECT_MASK:
            raise OverflowError(f"a run has at most {SUBJECT_MASK:,} units of work")
        self._compiled = CompiledWorld(self.world)
        self._heap: Records = np.zeros(4 * len(self.world.posts) + 4096, ENTRY)
        self._head: Records = np.zeros(1, AGENDA_HEAD)

    def _prepare(self) -> None:
        first = first_posts(self.trace, self._records("settings")[0])
        self._heap = np.zeros(len(self._heap) + len(first), ENTRY)
        for time_s, kind, subject in first:
            _push(self._heap, self._head, time_s, kind, subject)

    def _act(self, action: str, subject: float) -> None:
        _act(self._compiled, self._heap, self._head, self.env.now, ACTIONS[action], float(subject))
        self._hear_news()

    def _hear_news(self) -> None:
        state: Any = self.world.state[0]
        pod = int(state["told"])
        if pod != NOBODY:
            state["told"] = NOBODY
            self._hear(pod, int(state["news"]))

    def _advance(self, until_s: float) -> bool:
        next_s = self.env.peek()
        result = _advance(self._compiled, self._heap, self._head, min(next_s, until_s))
        self.events = int(self._head["events"][0])
        if result == FULL:
            self._heap = np.concatenate([self._heap, np.zeros_like(self._heap)])
        elif result == TOLD:
            self._hear_news()
        elif next_s < until_s:
            self.env.step()
        else:
            return False
        return True

    def _now_s(self) -> float:
        return float(self.world.state["now"][0])  # type: ignore[call-overload]

    def _records(self, name: str) -> Records:
        records: Records = getattr(self.world, name)
        # The units are read once, at the end, and are by far the largest table.
        return records if name == "units" else records.copy()

    def _have_ended(self, units: int) -> bool:
        return bool((self.world.units["outcome"][:units] >= OK).all())  # type: ignore[call-overload]
