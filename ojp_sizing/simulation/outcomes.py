"""What a simulation leaves behind: one row per unit of work, and the state of the cluster at regular instants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.kinds import Trap
from ojp_sizing.simulation.following import Step


@dataclass(frozen=True, slots=True)
class PodChange:
    """A pod's state changed: ``stopping``, ``down``, ``lost``, ``out of memory``, ``listening`` or ``ready``."""

    time_s: float
    pod: int
    state: str


@dataclass(frozen=True, slots=True)
class Hazard:
    """A trap of OJP that a run met: its name in ``data/hazards.csv``, how often, and when first and last."""

    name: str
    count: int
    first_s: float
    last_s: float


#: Names of the traps by their numbers, as in ``data/hazards.csv``.
HAZARD_NAMES = tuple(trap.name.lower() for trap in Trap)


def hazards_of(records: NDArray[Any]) -> tuple[Hazard, ...]:
    """Those that were met."""
    return tuple(
        Hazard(name, int(row["count"]), float(row["first_s"]), float(row["last_s"]))
        for name, row in zip(HAZARD_NAMES, records, strict=True)
        if row["count"] > 0
    )


#: A unit whose client thinks for longer than this in all counts by so much later. Runs are measured in windows of seconds.
LONG_THINK_S = 0.1


def counts_at(arrival_s: NDArray[np.float64], thought_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """When each unit counts (s): at its due time, or as much later as its client has thought or is thinking, where that is
    long.

    In a steady state as many units of each kind count in a window as are due in it: points of a Poisson process that are
    moved by independent times are one again (Doob 1953). A unit whose client is thinking counts later than now, but for the
    latency that it has had already; one that has counted and not ended waits for an answer. And a session that went
    with its pod counts when its client finds out.
    """
    return arrival_s + np.where(thought_s > LONG_THINK_S, thought_s, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """The result of one run.

    Per unit that arrived by ``end_s`` (length ``arrived``): ``outcome`` is an index of ``behaviour.kinds.Ending`` or -1
    where the run ended first; ``latency_s`` runs from the instant at which the unit is due to the close of its connection,
    less client think time, ``thought_s`` (latency inf where unfinished); where users try again, they are those of the last
    attempt, ``attempts`` in all, from the first one's due time, and ``thought_s`` that of all.
    ``samples`` holds, for the tables pods, pools, lanes, stations, jvms and state,
    record arrays of shape (K, rows) at the instants ``sample_s`` (K).
    ``window_s`` is the disruption's begin and end (to the last pod's Ready), or None; ``well_s`` when all may be well after it
    (inf: never). ``followed``: the steps of the unit that was followed, if one was.
    """

    engine: str
    end_s: float
    arrived: int
    arrival_s: NDArray[np.float64]
    began_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    thought_s: NDArray[np.float64]
    outcome: NDArray[np.int8]
    slow: NDArray[np.bool_]
    pod: NDArray[np.int16]
    sample_s: NDArray[np.float64]
    samples: dict[str, NDArray[Any]]
    changes: tuple[PodChange, ...]
    window_s: tuple[float, float] | None
    well_s: float
    attempts: NDArray[np.int32]
    hazards: tuple[Hazard, ...]
    events: int
    followed: tuple[Step, ...] = ()

    @property
    def counts_s(self) -> NDArray[np.float64]:
        """When each unit that arrived counts (s)."""
        return counts_at(self.arrival_s[: self.arrived], self.thought_s[: self.arrived])
