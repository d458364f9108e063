"""What happened to one unit of work, step by step: read from the tables after each instant, so that any clock can be followed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from ojp_sizing.behaviour.kinds import ENDINGS, Ending, Place, Rpc, Side
from ojp_sizing.behaviour.records import NOBODY
from ojp_sizing.demand.trace import Trace
from ojp_sizing.simulation.building import Records


@dataclass(frozen=True, slots=True)
class Step:
    """From ``time_s`` on one attempt at the unit (0 is the first) is at ``place``, until its next step.

    ``place``: ``waits for a client thread``, ``client`` (it thinks, or has ended), ``sent``, ``waits for a thread``, ``CPU``,
    ``waits for a slot``, ``waits for a connection``, ``database``, ``builds``, ``answered`` or ``ended``. ``rpc`` and ``pod``
    (-1: none) are those of its RPC. ``reply``: how that ended, once it is answered; how the attempt did, once the application
    has been told: at the end, and while the RPCs of ``close()`` are sent, for whose answers it doesn't wait.
    ``beside``: how many others wait there, share that CPU, or run in the database. ``of``: how many threads, slots of the lane,
    connections or cores there are.
    """

    time_s: float
    attempt: int
    place: str
    rpc: str = ""
    pod: int = NOBODY
    lane: str = ""
    reply: str = ""
    beside: int = 0
    of: float = 0.0


class Tables(Protocol):
    """The tables of a world, whatever it stores them in."""

    def read(self, name: str, first: int, count: int) -> Records: ...


class Follower:
    """Looks at one unit's attempts after each instant of a run."""

    def __init__(self, tables: Tables, head: Trace, unit: int, page_bits: int) -> None:
        self._tables, self._head = tables, head
        self._attempts = 1 + head.patience.retries
        self._first, self._page = unit * self._attempts, unit >> page_bits
        self._thread: dict[int, int] = {}
        self._seen: dict[int, tuple[int, ...]] = {}
        self._ended: set[int] = set()
        self.steps: list[Step] = []

    @property
    def due_s(self) -> float:
        """When the unit is due; from the start where clients take their units in turn, since nobody knows it before."""
        return 0.0 if self._head.closed else float(self._unit(self._first)["arrival_s"])

    def look(self, now_s: float) -> bool:
        """Note what has changed by this instant; whether all is told."""
        for attempt in range(self._attempts):
            if attempt not in self._ended:
                self._look_at(attempt, now_s)
        begun = {step.attempt for step in self.steps}
        told = {step.attempt for step in self.steps if step.place == "ended" and step.reply == ENDINGS[Ending.OK]}
        return bool(begun) and begun == self._ended and (bool(told) or len(begun) == self._attempts)

    def _one(self, name: str, row: int) -> Any:
        return self._tables.read(name, row, 1)[0]

    def _look_at(self, attempt: int, now_s: float) -> None:
        number = self._first + attempt
        unit = self._unit(number)
        if unit["number"] != number or unit["arrival_s"] > now_s:
            return
        if attempt not in self._thread and unit["began_s"] <= now_s:
            self._find(attempt, int(unit["jvm"]), number)
        if attempt not in self._thread:
            self._note(attempt, (NOBODY,), Step(now_s, attempt, "waits for a client thread"))
            return
        caller = self._one("callers", self._thread[attempt])
        place, reply = (
            int(caller["place"]),
            ENDINGS[int(unit["outcome"])] if unit["outcome"] != Ending.UNFINISHED else "",
        )
        if caller["unit"] != number or (reply and place == Place.AT_CLIENT):
            self._ended.add(attempt)
            self.steps.append(Step(now_s, attempt, "ended", pod=int(unit["pod"]), reply=reply))
            return
        key = (place, *(int(caller[name]) for name in ("rpc", "pod", "sends", "at", "responding", "status")))
        self._note(attempt, key, self._step(now_s, attempt, caller, reply))

    def _unit(self, number: int) -> Any:
        return self._one("units", number + int(self._one("pages", self._page)["shift"]))

    def _find(self, attempt: int, jvm: int, number: int) -> None:
        first = jvm * self._head.threads
        found = (self._tables.read("callers", first, self._head.threads)["unit"] == number).nonzero()[0]
        if len(found):
            self._thread[attempt] = first + int(found[0])

    def _note(self, attempt: int, key: tuple[int, ...], step: Step) -> None:
        if self._seen.get(attempt) != key:
            self._seen[attempt] = key
            self.steps.append(step)

    def _step(self, now_s: float, attempt: int, caller: Any, told: str) -> Step:
        place, pod, pool = int(caller["place"]), int(caller["pod"]), int(caller["pool"])
        rpc = _words(Rpc(caller["rpc"]))
        if place == Place.AT_CLIENT:
            return Step(now_s, attempt, "client")
        if place == Place.FLYING:
            return Step(now_s, attempt, "sent", rpc, pod, reply=told)
        if place == Place.RETURNING:
            status = int(caller["status"])
            reply = ENDINGS[status] if status != Ending.DRAINS else "pod drains"
            return Step(now_s, attempt, "answered", rpc, pod, reply=reply)
        if place in (Place.ON_CPU, Place.IN_DATABASE):
            station = self._one("stations", pod if place == Place.ON_CPU else int(self._one("settings", 0)["replicas"]))
            where = "CPU" if place == Place.ON_CPU else "database"
            return Step(now_s, attempt, where, rpc, pod, beside=int(station["count"]) - 1, of=float(station["cores"]))
        if place == Place.QUEUED:
            threads = int(self._one("settings", 0)["threads"])
            return Step(now_s, attempt, "waits for a thread", rpc, pod, beside=self._waiting("pods", pod), of=threads)
        if place == Place.WAITS_FOR_SLOT:
            lane, side = 2 * pool + int(caller["lane"]), _words(Side(caller["lane"]))
            slots = int(self._one("lanes", lane)["total"])
            return Step(
                now_s, attempt, "waits for a slot", rpc, pod, side, beside=self._waiting("lanes", lane), of=slots
            )
        if place == Place.WAITS_FOR_CONNECTION and caller["rpc"] != Rpc.CONNECT:
            most = int(self._one("pools", pool)["maximum"])
            beside = self._waiting("pools", pool)
            return Step(now_s, attempt, "waits for a connection", rpc, pod, beside=beside, of=most)
        return Step(now_s, attempt, "builds", rpc, pod)

    def _waiting(self, name: str, row: int) -> int:
        """Others in this queue."""
        return int(self._one(name, row)["waiting"]) - 1


def _words(kind: IntEnum) -> str:
    return kind.name.lower().replace("_", " ").replace("xa ", "XA ")
