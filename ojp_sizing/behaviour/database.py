"""What goes wrong with the database itself (reference 6, section 11 row 12). Its cores are a station (``sharing``)."""

from __future__ import annotations

from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World


@transition
def database_slows(w: World, factor: float) -> None:
    """Statements that begin from now on take ``factor`` times as long (1: as usual)."""
    w.state[0].database_slowdown = factor


@transition
def database_fills(w: World, full: int) -> None:
    """From now on (``full`` 1) others have all connections: whoever opens one is refused; those that are open stay."""
    w.state[0].database_full = full
