"""In what a deployment is judged: a table. A new situation is one more row, and its sampler in ``disruption.py``.

Nothing heavy is imported: the command line has its choices from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.random import Generator

    from ojp_sizing.deployment.deployment import Deployment
    from ojp_sizing.deployment.disruption import Disruption


@dataclass(frozen=True, slots=True)
class Situation:
    """What may go wrong while a deployment is judged.

    ``key``: its name where it is asked for. ``words``: as it is shown. ``runs``: what several runs of it are called.
    ``meaning``: what happens, for the pages. ``seed_key``: from it its random numbers follow, whatever other situations there
    are and in which order; it is never changed, and never given again. ``sampler``: the function of ``disruption.py`` that
    draws it before the run ("": nothing goes wrong). ``always``: judged without being asked for. ``measured_as``: its name where
    the model was held against real servers, in ``data/bands.csv`` ("": nowhere).
    """

    key: str
    words: str
    seed_key: int
    meaning: str
    sampler: str = ""
    runs: str = "runs"
    always: bool = False
    measured_as: str = ""

    #: Those that the rest of the code has something of its own to say about.
    STEADY: ClassVar[Situation]
    POD_LOST: ClassVar[Situation]
    ROLLING_UPDATE: ClassVar[Situation]

    def __str__(self) -> str:
        return self.words

    @property
    def is_disruption(self) -> bool:
        """Whether something goes wrong."""
        return bool(self.sampler)

    def sample(self, deployment: Deployment, at_s: float, rng: Generator) -> Disruption:
        """What goes wrong from ``at_s`` (s from the start of the run) on."""
        if not self.is_disruption:
            return None
        sampler = getattr(import_module("ojp_sizing.deployment.disruption"), self.sampler)
        return cast("Disruption", sampler(deployment, at_s, rng))


_ROWS = (
    Situation(
        "steady-peak", "steady peak", 0,
        "nothing goes wrong",
        always=True, measured_as="steady peak",
    ),
    Situation(
        "pod-lost", "one pod lost", 1,
        "a pod dies at once, its sockets closed, and is started anew on another node",
        "sample_pod_loss", "losses of a pod", always=True, measured_as="restarts",
    ),
    Situation(
        "rolling-update", "rolling update", 2,
        "every pod is stopped with grace and started anew, one after the other",
        "sample_rolling_update", "updates", always=True, measured_as="restarts",
    ),
    Situation(
        "pod-stopped", "one pod stopped", 3,
        "a pod is deleted: it stops with grace, and is started anew on its node",
        "sample_pod_stop", measured_as="restarts",
    ),
    Situation(
        "node-lost", "node lost silently", 4,
        "a node is lost without a word: calls to its pod hang, and the database keeps the connections",
        "sample_node_loss",
    ),
    Situation(
        "two-pods-lost", "two pods lost", 5,
        "two pods die at the same instant, and are started anew on other nodes",
        "sample_two_losses",
    ),
    Situation(
        "database-slow", "database slow", 6,
        "for `database_trouble_s` statements that begin take `database_slowdown` times as long",
        "sample_slow_database",
    ),
    Situation(
        "database-full", "database full", 7,
        "for `database_trouble_s` no new connection opens",
        "sample_full_database",
    ),
)  # fmt: skip

#: By key. Of those that are judged always a later one takes longer.
SITUATIONS = {row.key: row for row in _ROWS}
Situation.STEADY = SITUATIONS["steady-peak"]
Situation.POD_LOST = SITUATIONS["pod-lost"]
Situation.ROLLING_UPDATE = SITUATIONS["rolling-update"]


def always() -> tuple[Situation, ...]:
    """In what every deployment is judged, the longest first: workers then end together."""
    return tuple(row for row in reversed(SITUATIONS.values()) if row.always)


def asked_for() -> tuple[str, ...]:
    """The keys of all others."""
    return tuple(key for key, row in SITUATIONS.items() if not row.always)


def in_order(some: Iterable[Situation]) -> list[Situation]:
    """These in the order in which they are shown, whoever has run them first."""
    return sorted(some, key=lambda situation: situation.seed_key)


def table() -> str:
    """The situations as a Markdown table."""
    lines = ["| Situation | Asked for with | What happens | Real servers measured |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row.words} | {'always judged' if row.always else f'`--also {row.key}`'} | {row.meaning} |"
        f" {'yes' if row.measured_as else 'no'} |"
        for row in SITUATIONS.values()
    ]
    return "\n".join(lines)
