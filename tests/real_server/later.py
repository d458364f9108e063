"""OJP 0.4.21 on real servers: its cells, most of them with the arrivals of one that 0.3.1 was asked.

Its jars are in no repository: OJP_SERVER_JAR and OJP_DRIVER_JAR name them, OJP_SERVER_ORIGIN says what they were built from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ojp_sizing.demand.workload import Clients
from tests.real_server.experiments import EXPERIMENTS, Band, Experiment, Signal
from tests.real_server.locks import CELLS as LOCKS

VERSION = "0.4.21-beta"
FOLDER = VERSION.removesuffix("-beta")
_BY_NAME = EXPERIMENTS | {cell.name: cell for cell in LOCKS}


def _again(name: str, asks: str, **changed: Any) -> Experiment:
    """The same arrivals, texts and settings on this version."""
    of = _BY_NAME[name]
    short = name.rpartition("/")[2]
    arrivals = of.arrivals_of or of.name
    return replace(of, name=f"{FOLDER}/{short}", asks=asks, version=VERSION, **{"arrivals_of": arrivals} | changed)


def _anew(name: str, of: str, asks: str, **changed: Any) -> Experiment:
    """What 0.3.1 was never asked: arrivals of its own."""
    return replace(_again(of, asks, **changed), name=f"{FOLDER}/{name}", arrivals_of=None)


def _up_to(name: str, load: float) -> tuple[Band, ...]:
    return tuple(band for band in EXPERIMENTS[name].bands if (band.load or 0.0) <= load)


_UPDATES = replace(EXPERIMENTS["slots"].workload, clients=Clients(2, 400))

CELLS = (
    _again("idle-server", "What do its driver and the way to it add on an idle warm server? Cached connects, fewer messages"),
    _again("slots", "Updates with segregation on: 16 fast permits of 20, each held for its RPC"),
    _again("pool", "Permits as the bottleneck: one for each connection, held until close", bands=_up_to("pool", 0.8)),
    _again("threads", "8 executor threads for a pool of 20", bands=_up_to("threads", 0.8)),
    _again("nodes-3", "A pool of 20 divided among 3; the least busy pod is chosen"),
    _again("pool-wait", "Permits wait 1 s at most and 40 units at most, at 1.5 times the load"),
    _again("segregation-warm", "Two texts at 20 ms and one at 200 ms: the classifier by a baseline"),
    _again("locks/two-6-70", "Segregation, units of two queries, pool of 6: 0.3.1 locked", tail_s=15.0, duration_s=60.0),
    _again("locks/burst-20", "Segregation, 30 to 60 units of two queries at once, pool of 20: 0.3.1 locked", settle_s=15.0),
    _again("kill", "One of three dies at 10 s; a new one starts at 25 s. Until a client's next look it is a black hole"),
    _anew(
        "kill-updates", "kill", "The same with updates, which open no session: the dead pod gets a third",
        workload=_UPDATES, bands=(Band(160.0, 0.32),), duration_s=40.0,
        signals=(Signal(10.0, 2, "KILL"), Signal(22.0, 2, "start")),
    ),
    _again("rolling", "Three servers are stopped one after the other, and each is back after 3 s"),
    _anew(
        "first-connects", "first-connects-1", "200 first connects at once on a server without a pool: one pool, not 200",
        bursts=((0.5, 200),),
    ),
    _again("leak-update", "Eight failing updates with parameters on a pool of 3: each loses a connection, and no permit"),
    _again("leak-query", "Eight connections whose first query fails, on a pool of 3: each loses both"),
)  # fmt: skip
#: CPU of units of known composition (``cpu``): a way of its own, with fewer rounds than 0.3.1's.
CPU, CPU_ROUNDS = f"{FOLDER}/cpu", 4
ALL = EXPERIMENTS | {cell.name: cell for cell in CELLS}
