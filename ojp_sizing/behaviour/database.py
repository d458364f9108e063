"""What goes wrong with the database itself (reference 6, section 11 row 12). Its cores are a station (``sharing``).

It is the last one, so that its jobs are at the end of their table, which grows: statements of pods that died go on, so that
there can be any number.
"""

from __future__ import annotations

from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World


@transition
def most_joins(w: World) -> int:
    """How many statements can begin in one event: those of one pod, each of which has a thread of it and of its client."""
    return min(w.settings[0].threads, len(w.callers))


@transition
def most_jobs(w: World) -> int:
    """With more statements than this under way, the next event may find no room for those that begin in it."""
    return w.stations[w.settings[0].replicas].capacity - most_joins(w)


@transition
def database_slows(w: World, factor: float) -> None:
    """Statements that begin from now on take ``factor`` times as long (1: as usual)."""
    w.state[0].database_slowdown = factor


@transition
def database_fills(w: World, full: int) -> None:
    """From now on (``full`` 1) others have all connections: whoever opens one is refused; those that are open stay."""
    w.state[0].database_full = full
