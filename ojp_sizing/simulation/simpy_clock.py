"""The reference clock: SimPy's agenda holds every event, and the transitions run as the plain Python they are."""

from __future__ import annotations

import numpy as np
from simpy import Event

from ojp_sizing.behaviour.agenda import act, happen
from ojp_sizing.behaviour.database import most_jobs
from ojp_sizing.behaviour.kinds import Action, EventKind
from ojp_sizing.behaviour.records import NOBODY
from ojp_sizing.behaviour.world import LAYOUTS
from ojp_sizing.simulation.building import Records, as_objects, fill
from ojp_sizing.simulation.clock import REQUESTS, Clock
from ojp_sizing.simulation.invariants import InvariantError, audit

#: A checked run looks at every so many events; each look reads the whole world.
AUDIT_EVERY = 500


class Happening(Event):
    """An event of the requests: on its instant SimPy calls the clock, which lets it happen."""

    __slots__ = ("kind", "subject")

    def __init__(self, clock: SimpyClock, kind: EventKind, subject: int) -> None:
        self.env = clock.env
        self.callbacks = [clock.on_happening]
        self._ok, self._value, self._defused = True, None, False
        self.kind, self.subject = kind, subject


class SimpyClock(Clock):
    """The whole agenda is SimPy's."""

    name = "simpy"
    storage = staticmethod(as_objects)

    def _prepare(self, posts: list[tuple[float, EventKind, int]]) -> None:
        for time_s, kind, subject in posts:
            self.env.schedule_at(Happening(self, kind, subject), time_s, REQUESTS)

    def on_happening(self, event: Event) -> None:
        """One event of the requests."""
        assert isinstance(event, Happening)  # noqa: S101 - a type for the checker; only Happening has this callback
        state = self.world.state[0]
        if self.env.now < state.now:
            raise InvariantError(f"at {state.now!r} s: the clock goes back to {self.env.now!r} s")
        if self.world.stations[-1].count > most_jobs(self.world):
            self._make_room_for_jobs()
        state.now = self.env.now
        happen(self.world, event.kind, event.subject)
        self.events += 1
        if self.audits and self.events % AUDIT_EVERY == 0:
            audit(self._records)
        self._put_posts()
        self._hear_news()

    def _put_posts(self) -> None:
        state, posts = self.world.state[0], self.world.posts
        self._refuse_overrun(state.overrun)
        for index in range(state.posted):
            entry = posts[index]
            self.env.schedule_at(Happening(self, entry.kind, entry.subject), entry.time, REQUESTS)
        state.posted = 0

    def _act(self, action: Action, subject: float) -> None:
        self.world.state[0].now = self.env.now
        act(self.world, action, subject)
        self._put_posts()
        self._hear_news()

    def _hear_news(self) -> None:
        state = self.world.state[0]
        if state.told != NOBODY:
            pod, state.told = state.told, NOBODY
            self._hear(pod, state.news)

    def _advance(self, until_s: float) -> bool:
        if self.env.peek() >= until_s:
            return False
        self.env.step()
        return True

    def _now_s(self) -> float:
        return float(self.world.state[0].now)

    def _next_s(self) -> float:
        return self.env.peek()

    def _records(self, name: str) -> Records:
        return self.read(name, 0, len(getattr(self.world, name)))

    def read(self, name: str, first: int, count: int) -> Records:
        layout, objects = LAYOUTS[name], getattr(self.world, name)[first : first + count]
        records = np.zeros(len(objects), layout)
        for field in layout.names or ():
            records[field] = [getattr(item, field) for item in objects]
        return records

    def write(self, name: str, first: int, records: Records) -> None:
        objects = getattr(self.world, name)
        missing = first + len(records) - len(objects)
        if missing > 0:
            objects += as_objects(name, np.zeros(missing, LAYOUTS[name]))
        fill(objects[first : first + len(records)], records)
