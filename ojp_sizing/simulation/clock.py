"""What the two clocks share: the control plane, and the reading of a finished run.

Order of events: by time; at one instant the control plane's before the requests'; requests' events in the order in
which they were posted. Both clocks keep it, so that they end in the same outcomes bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from heapq import heappush
from math import inf, nextafter
from typing import Any, ClassVar

import numpy as np
from simpy import Environment, Event
from simpy.events import EventPriority

from ojp_sizing.behaviour.breaker import is_open
from ojp_sizing.behaviour.kinds import Action, EventKind, News
from ojp_sizing.behaviour.records import NOBODY
from ojp_sizing.behaviour.world import LAYOUTS, World
from ojp_sizing.demand.trace import Stream, Trace
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import Disruption, PodLoss, RollingUpdate, container_restart, parts_of
from ojp_sizing.simulation.building import Records, Storage, build_world
from ojp_sizing.simulation.following import Follower, Step
from ojp_sizing.simulation.invariants import InvariantError, audit
from ojp_sizing.simulation.outcomes import Outcomes, PodChange, hazards_of
from ojp_sizing.simulation.paging import Paging
from ojp_sizing.simulation.rollout import lose_pod, restart_container, rolling_update, trouble_database, watch

#: Later than SimPy's own URGENT (0) and NORMAL (1), at which the control plane runs.
REQUESTS = EventPriority(2)
SAMPLED = ("pods", "pools", "lanes", "stations", "jvms", "state")
#: At the end of a run, how often it is looked whether everybody has ended.
LOOK_EVERY_S = 0.1


class Calendar(Environment):
    """SimPy's environment, with events at absolute instants: ``now + (t - now)`` isn't always t."""

    def schedule_at(self, event: Event, time_s: float, priority: EventPriority) -> None:
        """Put an event on the agenda."""
        heappush(self._queue, (time_s, priority, next(self._eid), event))


class Clock(ABC):
    """Runs one world to its end; a ``Plane`` for the control plane. Subclasses say how requests' events are run."""

    name: str
    storage: Storage
    #: Whether every run checks the laws of ``invariants`` as it goes: slower, and on in all tests.
    checked: ClassVar[bool] = False
    #: The logarithm of the units that are loaded at a time: small in all tests.
    page_bits: ClassVar[int] = 12

    def __init__(
        self, demand: Trace | Stream, deployment: Deployment, *, warm: bool = True, checked: bool | None = None
    ) -> None:
        self.audits = self.checked if checked is None else checked
        self.env = Calendar()
        self.replicas = deployment.replicas
        self.trace = demand.head
        self.world: World = build_world(self.trace, deployment, self.storage, warm=warm, page_bits=self.page_bits)
        self._paging = Paging(self.trace, demand.pieces(1 << self.page_bits), self)
        self.events = 0
        self._changes: list[PodChange] = []
        self._sample_s: list[float] = []
        # As bytes: numpy stacks records field by field, which takes longer than to simulate them.
        self._samples: dict[str, list[bytes]] = {name: [] for name in SAMPLED}
        self._window = [inf, inf]
        self._disruptions_ahead = 0
        self._recovery_s = self._tail_s = 0.0
        self._well_within = (0.0, 0.0)
        self._well_s = inf
        self._end_s = self.trace.duration_s
        self._awaited: dict[tuple[News, int], Event] = {}
        self._replaced = [Event(self.env) for _ in range(deployment.replicas)]
        self._restart = container_restart(deployment) if deployment.memory_limit_bytes < inf else None

    # What a clock does in its own way ----------------------------------------------------------------------------

    @abstractmethod
    def _prepare(self, posts: list[tuple[float, EventKind, int]]) -> None:
        """Put what is due at first on the agenda: by (time, kind, subject)."""

    @abstractmethod
    def _act(self, action: Action, subject: float) -> None:
        """Let the control plane act now, on a pod or by a factor."""

    @abstractmethod
    def _advance(self, until_s: float) -> bool:
        """Run some of what is due before ``until_s``, the control plane's events one at a time. False: nothing was left."""

    @abstractmethod
    def _next_s(self) -> float:
        """When something is due next (inf: never)."""

    @abstractmethod
    def _records(self, name: str) -> Records:
        """A table of the world as a record array, to be read before anything else happens."""

    @abstractmethod
    def read(self, name: str, first: int, count: int) -> Records:
        """Rows of a table of the world; see ``paging.Tables``."""

    @abstractmethod
    def write(self, name: str, first: int, records: Records) -> None:
        """Put records into a table of the world."""

    def _make_room_for_jobs(self) -> None:
        """Twice the room for the database's statements, which are at the end of the jobs."""
        stations = self._records("stations")
        room, end = int(stations["capacity"][-1]), int(stations["offset"][-1] + stations["capacity"][-1])
        self.write("jobs", end, np.zeros(room, LAYOUTS["jobs"]))
        stations["capacity"][-1] = 2 * room
        self.write("stations", 0, stations)

    def _refuse_overrun(self, overrun: int) -> None:
        if overrun:
            raise InvariantError(f"at {self._now_s()!r} s: a table of the kernel is too small")

    # The demand ---------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Have as many units in the tables as the requests need to go on."""
        state = self._records("state")
        self._paging.load(int(state["arrived"][0]))
        state["loaded"] = self._paging.loaded
        self.write("state", 0, state)

    def _first_posts(self) -> list[tuple[float, EventKind, int]]:
        """The first arrival, or each closed-loop client's, and health ticks."""
        trace, settings = self.trace, self._records("settings")[0]
        posts: list[tuple[float, EventKind, int]] = []
        if trace.closed:
            state = self._records("state")
            self._paging.load(trace.jvms * trace.threads)
            clients = state["arrived"] = min(self._paging.loaded, trace.jvms * trace.threads)
            self.write("state", 0, state)
            self.load()
            due_s = self._paging.due_s(clients)
            posts += [(time_s, EventKind.UNIT_BEGINS, client) for client, time_s in enumerate(due_s.tolist())]
        else:
            self.load()
            posts += [(time_s, EventKind.UNIT_ARRIVES, 0) for time_s in self._paging.due_s(1).tolist()]
        if not settings["checks_in_connect"]:
            ticks_s = trace.health_phase_s * float(settings["health_interval_s"])
            posts += [(tick_s, EventKind.HEALTH_TICK, jvm) for jvm, tick_s in enumerate(ticks_s.tolist())]
        return posts

    # The control plane --------------------------------------------------------------------------------------------

    def stop(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "stopping"))
        self._replace(pod)
        self._act(Action.STOP, pod)

    def kill(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "down"))
        self._awaited.pop((News.DRAINED, pod), None)
        self._replace(pod)
        self._act(Action.KILL, pod)

    def vanish(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "lost"))
        self._replace(pod)
        self._act(Action.VANISH, pod)

    def slow_database(self, factor: float) -> None:
        self._act(Action.SLOW_DATABASE, factor)

    def fill_database(self, full: bool) -> None:
        self._act(Action.FILL_DATABASE, int(full))

    def started(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "listening"))

    def reachable(self, pod: int) -> None:
        self._act(Action.LISTEN, pod)

    def ready(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "ready"))

    def drained(self, pod: int) -> Event:
        return self._awaited.setdefault((News.DRAINED, pod), Event(self.env))

    def out_of_memory(self, pod: int) -> Event:
        return self._awaited.setdefault((News.OUT_OF_MEMORY, pod), Event(self.env))

    def replaced(self, pod: int) -> Event:
        return self._replaced[pod]

    def _replace(self, pod: int) -> None:
        self._replaced[pod].succeed()
        self._replaced[pod] = Event(self.env)

    def disruption_begins(self) -> None:
        self._window[0] = min(self._window[0], self.env.now)

    def disruption_ends(self) -> None:
        self._disruptions_ahead -= 1
        if self._disruptions_ahead == 0:
            self._window[1] = self.env.now
            self.env.process(self._recover())

    def _recover(self) -> Generator[Event, Any, None]:
        """The end comes ``_recovery_s`` after all may be well: breakers that the return of a pod has opened are shut."""
        early_s, late_s = self._well_within
        yield self.env.timeout(early_s)
        while self._window[1] + late_s > self.env.now and self._has_open_breaker():
            yield self.env.timeout(LOOK_EVERY_S)
        self._well_s = self.env.now
        last_s = min(self.trace.duration_s - self._tail_s, self.env.now + self._recovery_s)
        self._end_s = last_s + self._tail_s
        self.env.process(self._await_units(last_s))

    def _has_open_breaker(self) -> bool:
        threshold = int(self._records("settings")["breaker_threshold"][0])
        return bool(is_open(self._records("breakers").view(np.recarray), threshold, self.env.now).any())

    def _await_units(self, last_s: float) -> Generator[Event, Any, None]:
        """After ``last_s`` the run goes on until each unit that counts before has ended, for ``_tail_s`` at most.

        Where users try again, or take their units in turn, it takes the whole time: units begin anew.
        """
        if self.trace.closed or self.trace.patience.retries > 0:
            return
        yield self.env.timeout(max(0.0, last_s - self.env.now))
        # The control plane comes first: those that are due now have not arrived.
        arrived = int(self._records("state")["arrived"][0])
        while not self._paging.have_ended(arrived, last_s, self._records("callers")):
            yield self.env.timeout(LOOK_EVERY_S)
        self._end_s = min(self._end_s, self.env.now)

    def sample(self) -> None:
        self._act(Action.SETTLE, NOBODY)
        if self.audits:
            audit(self._records)
        self._sample_s.append(self.env.now)
        for name in SAMPLED:
            self._samples[name].append(self._records(name).tobytes())

    def _hear(self, pod: int, news: News) -> None:
        if news == News.UNITS_WANTED:
            self.load()
            return
        if news == News.OUT_OF_MEMORY:
            self._changes.append(PodChange(self._now_s(), pod, "out of memory"))
        event = self._awaited.pop((news, pod), None)
        if event is not None and not event.triggered:
            event._ok, event._value = True, None
            self.env.schedule_at(event, self._now_s(), EventPriority(0))

    @abstractmethod
    def _now_s(self) -> float:
        """The instant that the requests have reached."""

    # A run --------------------------------------------------------------------------------------------------------

    def run(
        self,
        disruption: Disruption,
        sample_every_s: float,
        recovery_s: float,
        tail_s: float = 0.0,
        well_within_s: tuple[float, float] = (0.0, 0.0),
        follow: int | None = None,
    ) -> Outcomes:
        """Run to the end of the trace, or to ``recovery_s`` and ``tail_s`` after all may be well again if that is earlier.

        That is the first of ``well_within_s`` after the end of the disruption, or later while a breaker is open, but at
        most the second.

        The last ``tail_s`` of either are for the units that count before (``Outcomes.counts_s``), and are cut where all of
        them have ended.
        """
        env = self.env
        self._recovery_s, self._tail_s, self._well_within = recovery_s, tail_s, well_within_s
        env.process(watch(self, sample_every_s))
        parts = parts_of(disruption)
        self._disruptions_ahead = len(parts)
        for part in parts:
            if isinstance(part, PodLoss):
                env.process(lose_pod(self, part))
            elif isinstance(part, RollingUpdate):
                env.process(rolling_update(self, part))
            else:
                env.process(trouble_database(self, part))
        if self._restart is not None:
            for pod in range(self.replicas):
                env.process(restart_container(self, pod, self._restart))
        if not parts and tail_s > 0.0:
            env.process(self._await_units(self.trace.duration_s - tail_s))
        self._prepare(self._first_posts())
        followed = () if follow is None else self._follow(follow)
        while self._advance(self._end_s):
            pass
        if self.audits:
            audit(self._records)
        # Events on the agenda refer to this clock; without them its memory is free as soon as the caller drops it.
        env._queue.clear()
        return self._outcomes(self._end_s, followed)

    def _follow(self, unit: int) -> tuple[Step, ...]:
        """Go on until all attempts at this unit have ended, one instant at a time from when it is due."""
        follower = Follower(self, self.trace, unit, self.page_bits)
        # Units are loaded before the first of their page is due.
        while self._paging.loaded <= unit and self._advance(self._end_s):
            pass
        while self._paging.loaded > unit and self._advance(min(follower.due_s, self._end_s)):
            pass
        while (now_s := self._next_s()) < self._end_s:
            while self._advance(min(nextafter(now_s, inf), self._end_s)):
                pass
            if follower.look(now_s):
                break
        return tuple(follower.steps)

    def _outcomes(self, end_s: float, followed: tuple[Step, ...]) -> Outcomes:
        kept, arrived = self._paging.outcomes(self._records("callers")), int(self._records("state")["arrived"][0])
        if self.trace.closed:
            # Units were taken in another order than they are due, and the last ones may be due after the end.
            order = np.argsort(kept["arrival_s"], kind="stable")
            kept = {name: column[order] for name, column in kept.items()}
            arrived = int(np.searchsorted(kept["arrival_s"], end_s))
        begin_s, ready_s = self._window
        return Outcomes(
            engine=self.name,
            end_s=end_s,
            arrived=arrived,
            **{name: column[:arrived] for name, column in kept.items()},
            sample_s=np.array(self._sample_s),
            samples={
                name: np.frombuffer(b"".join(tables), LAYOUTS[name]).reshape(len(tables), -1)
                for name, tables in self._samples.items()
            },
            changes=tuple(self._changes),
            window_s=None if begin_s == inf else (begin_s, ready_s),
            well_s=self._well_s,
            hazards=hazards_of(self._records("hazards")),
            events=self.events,
            followed=followed,
        )
