"""What the two clocks share: the control plane, and the reading of a finished run.

Order of events: by time; at one instant the control plane's before the requests'; requests' events in the order in
which they were posted. Both clocks keep it, so that they end in the same outcomes bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import heappush
from math import inf

import numpy as np
from simpy import Environment, Event
from simpy.events import EventPriority

from ojp_sizing.behaviour.world import DRAINED, NOBODY, OK, OUT_OF_MEMORY, World
from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import Disruption, PodLoss, container_restart
from ojp_sizing.simulation.building import Records, Storage, build_world
from ojp_sizing.simulation.outcomes import Outcomes, PodChange
from ojp_sizing.simulation.rollout import lose_pod, restart_container, rolling_update, watch

#: Later than SimPy's own URGENT (0) and NORMAL (1), at which the control plane runs.
REQUESTS = EventPriority(2)
SAMPLED = ("pods", "pools", "lanes", "stations", "jvms", "state")


class Calendar(Environment):
    """SimPy's environment, with events at absolute instants: ``now + (t - now)`` isn't always t."""

    def schedule_at(self, event: Event, time_s: float, priority: EventPriority) -> None:
        """Put an event on the agenda."""
        heappush(self._queue, (time_s, priority, next(self._eid), event))


class Clock(ABC):
    """Runs one world to its end; a ``Plane`` for the control plane. Subclasses say how requests' events are run."""

    name: str
    storage: Storage

    def __init__(self, trace: Trace, deployment: Deployment, *, warm: bool = True) -> None:
        self.env = Calendar()
        self.replicas = deployment.replicas
        self.trace = trace
        self.world: World = build_world(trace, deployment, self.storage, warm=warm)
        self.events = 0
        self._changes: list[PodChange] = []
        self._sample_s: list[float] = []
        self._samples: dict[str, list[Records]] = {name: [] for name in SAMPLED}
        self._window = [inf, inf]
        self._awaited: dict[tuple[int, int], Event] = {}
        self._replaced = [Event(self.env) for _ in range(deployment.replicas)]
        self._restart = container_restart(deployment) if deployment.memory_limit_bytes < inf else None

    # What a clock does in its own way ----------------------------------------------------------------------------

    @abstractmethod
    def _prepare(self) -> None:
        """Post the first arrival and the first health ticks."""

    @abstractmethod
    def _act(self, action: str, pod: int) -> None:
        """Let ``pod_stops``, ``pod_dies``, ``pod_listens`` or ``settle_all`` happen now."""

    @abstractmethod
    def _advance(self, until_s: float) -> bool:
        """Run some of what is due before ``until_s``, the control plane's events one at a time. False: nothing was left."""

    @abstractmethod
    def _records(self, name: str) -> Records:
        """A table of the world as a record array of its own."""

    # The control plane --------------------------------------------------------------------------------------------

    def stop(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "stopping"))
        self._replace(pod)
        self._act("pod_stops", pod)

    def kill(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "down"))
        self._awaited.pop((DRAINED, pod), None)
        self._replace(pod)
        self._act("pod_dies", pod)

    def started(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "listening"))

    def reachable(self, pod: int) -> None:
        self._act("pod_listens", pod)

    def ready(self, pod: int) -> None:
        self._changes.append(PodChange(self.env.now, pod, "ready"))

    def drained(self, pod: int) -> Event:
        return self._awaited.setdefault((DRAINED, pod), Event(self.env))

    def out_of_memory(self, pod: int) -> Event:
        return self._awaited.setdefault((OUT_OF_MEMORY, pod), Event(self.env))

    def replaced(self, pod: int) -> Event:
        return self._replaced[pod]

    def _replace(self, pod: int) -> None:
        self._replaced[pod].succeed()
        self._replaced[pod] = Event(self.env)

    def disruption_begins(self) -> None:
        self._window[0] = self.env.now

    def disruption_ends(self) -> None:
        self._window[1] = self.env.now

    def sample(self) -> None:
        self._act("settle_all", NOBODY)
        self._sample_s.append(self.env.now)
        for name in SAMPLED:
            self._samples[name].append(self._records(name))

    def _hear(self, pod: int, news: int) -> None:
        if news == OUT_OF_MEMORY:
            self._changes.append(PodChange(self._now_s(), pod, "out of memory"))
        event = self._awaited.pop((news, pod), None)
        if event is not None and not event.triggered:
            event._ok, event._value = True, None
            self.env.schedule_at(event, self._now_s(), EventPriority(0))

    @abstractmethod
    def _now_s(self) -> float:
        """The instant that the requests have reached."""

    # A run --------------------------------------------------------------------------------------------------------

    def run(self, disruption: Disruption, sample_every_s: float, recovery_s: float) -> Outcomes:
        """Run to the end of the trace, or to ``recovery_s`` after the end of the disruption if that is earlier."""
        env = self.env
        env.process(watch(self, sample_every_s))
        if isinstance(disruption, PodLoss):
            env.process(lose_pod(self, disruption))
        elif disruption is not None:
            env.process(rolling_update(self, disruption))
        if self._restart is not None:
            for pod in range(self.replicas):
                env.process(restart_container(self, pod, self._restart))
        self._prepare()
        end_s = self.trace.duration_s
        while self._advance(end_s):
            end_s = min(self.trace.duration_s, self._window[1] + recovery_s)
        # Events on the agenda refer to this clock; without them its memory is free as soon as the caller drops it.
        env._queue.clear()
        return self._outcomes(end_s)

    def _outcomes(self, end_s: float) -> Outcomes:
        units = self._records("units")
        finished = units["outcome"] >= OK
        latency_s = np.where(finished, units["finished_s"] - units["arrival_s"] - units["thought_s"], inf)
        begin_s, ready_s = self._window
        return Outcomes(
            engine=self.name,
            end_s=end_s,
            arrived=int(self._records("state")["arrived"][0]),
            arrival_s=units["arrival_s"].copy(),
            began_s=units["began_s"].copy(),
            latency_s=latency_s,
            outcome=units["outcome"].copy(),
            slow=self.trace.slow,
            pod=units["pod"].copy(),
            sample_s=np.array(self._sample_s),
            samples={name: np.stack(rows) for name, rows in self._samples.items()},
            changes=tuple(self._changes),
            window_s=None if begin_s == inf else (begin_s, ready_s),
            events=self.events,
        )


def first_posts(trace: Trace, health_interval_s: float) -> tuple[float, list[float]]:
    """Instants of the first arrival (inf: none) and of each JVM's first health tick."""
    first_s = float(trace.arrival_s[0]) if len(trace.arrival_s) else inf
    return first_s, (trace.health_phase_s * health_interval_s).tolist()
