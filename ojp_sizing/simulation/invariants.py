"""What must hold at every instant of a run, whatever happens in it; checked by either clock where it is asked for.

Nothing is lent twice or lost: threads, slots, connections. Nobody stands in two places. Queues are first in, first out. A
pod that is down serves nobody. At rest everything is back where it began.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.kinds import Place, PodState
from ojp_sizing.behaviour.pool import OPENS
from ojp_sizing.behaviour.records import NOBODY

Records = NDArray[Any]


class InvariantError(AssertionError):
    """The model has broken one of its own laws: a defect of this project, never of an input."""


def _require(holds: Any, law: str, now_s: float) -> None:
    if not np.all(holds):
        raise InvariantError(f"at {now_s!r} s: {law}")


def _count(where: NDArray[np.bool_], index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return np.bincount(index[where], minlength=size)


def _members(queue: Any, links: NDArray[np.int64]) -> list[int]:
    members: list[int] = []
    member = int(queue["head"])
    for _ in range(int(queue["waiting"])):
        members.append(member)
        member = int(links[member])
    return members


def audit(records: Callable[[str], Records]) -> None:
    """Check every law at the present instant of a run; ``records`` gives a table of the world by its name.

    Raises InvariantError with the instant and the law.
    """
    settings, state = records("settings")[0], records("state")[0]
    pods, pools, lanes, callers = records("pods"), records("pools"), records("lanes"), records("callers")
    jvms, links, hazards = records("jvms"), records("links"), records("hazards")
    now_s = float(state["now"])
    place, at_pod, at_pool = callers["place"], callers["pod"], callers["pool"]
    inside = (place >= Place.QUEUED) & (place < Place.RETURNING)
    alive = pods["state"] < PodState.DOWN

    # Executors
    _require(pods["threads_free"] >= 0, "a thread is lent twice", now_s)
    _require(pods["inside"] == _count(inside, at_pod, len(pods)), "an RPC inside a pod is lost or counted twice", now_s)
    busy = settings["threads"] - pods["threads_free"]
    _require(pods["inside"] == busy + pods["waiting"], "a thread is lost", now_s)
    _require((pods["waiting"] == 0) | (pods["threads_free"] == 0), "a thread idles while an RPC is queued", now_s)
    _require(alive | (pods["inside"] == 0), "a pod that is down serves somebody", now_s)
    _require(pods["waiting"] == _count(place == Place.QUEUED, at_pod, len(pods)), "a queued RPC is lost", now_s)

    # Slots
    slots, free = lanes["total"], lanes["free"]
    waits_for_slot = place == Place.WAITS_FOR_SLOT
    has_slot = inside & (callers["lane"] != NOBODY) & ~waits_for_slot
    lives = alive[at_pod] & (callers["incarnation"] == pods["incarnation"][at_pod])
    has_permit = lives & (callers["permit"] != NOBODY)
    if not settings["slots_follow_pool"]:
        _require(free >= 0, "a slot is lent twice", now_s)
    _require(free <= slots, "a slot is given back twice", now_s)
    used = (slots - free)[0::2] + (slots - free)[1::2]
    leaked = lanes["leaked"][0::2] + lanes["leaked"][1::2]
    holders = _count(has_slot, at_pool, len(pools)) + _count(has_permit, at_pool, len(pools)) + leaked
    # A session whose pod is stopping may have lost its client: its permit goes with the process, as its connection does.
    _require(
        (used == holders) | ((pods["state"][pools["pod"]] == PodState.STOPPING) & (used > holders)),
        "a slot is lost",
        now_s,
    )
    lane_of = 2 * at_pool + np.maximum(callers["lane"], 0)
    _require(lanes["waiting"] == _count(waits_for_slot, lane_of, len(lanes)), "a waiter for a slot is lost", now_s)
    _require(lanes["borrowed"] >= 0, "a slot is paid back twice", now_s)
    if settings["slot_handover_s"] == 0.0:
        _require((free <= 0) | (lanes["waiting"] == 0), "a slot is free while somebody waits for it", now_s)

    # Connections
    pod_of_pool = pools["pod"]
    waits = place == Place.WAITS_FOR_CONNECTION
    opening = (pools["opening_due"] < inf) & (pools["adder"] == OPENS)
    _require(pools["open"] == pools["in_use"] + pools["idle"] + opening, "a connection is lost or lent twice", now_s)
    _require((pools["idle"] >= 0) & (pools["in_use"] >= pools["leaked"]), "a connection is lent twice", now_s)
    _require(pools["waiting"] == _count(waits, at_pool, len(pools)), "a waiter for a connection is lost", now_s)
    _require((pools["idle"] == 0) | (pools["waiting"] == 0), "a connection idles while somebody waits for it", now_s)
    same_process = callers["incarnation"] == pods["incarnation"][at_pod]
    holds = (callers["holds"] == 1) & alive[at_pod] & (same_process | (inside & (callers["pinned"] == NOBODY)))
    pooled = _count(holds & (callers["xa"] == 0), at_pool, len(pools)) + pools["leaked"]
    opening_xa = (place == Place.BUILDING) & (callers["xa"] == 1)
    direct = _count((holds & (callers["xa"] == 1)) | opening_xa, at_pool, len(pools))
    # A session whose pod is stopping may have lost its client: the connection goes with the process.
    stopping = pods["state"][pod_of_pool] == PodState.STOPPING
    _require((pools["in_use"] == pooled) | (stopping & (pools["in_use"] > pooled)), "a connection has no holder", now_s)
    _require(
        (pools["direct"] == direct) | (stopping & (pools["direct"] > direct)), "an XA connection has no holder", now_s
    )
    open_in_all = (pools["open"] + pools["direct"] + pools["orphaned"]).sum() + state["unnoticed"]
    _require(state["connections"] == open_in_all, "the database counts other connections than the pools", now_s)

    # Tables
    _stations_in_order(records("stations"), records("jobs"), now_s)
    _require(0 <= state["posted"] <= len(records("posts")) and not state["overrun"], "there are too many posts", now_s)

    # Clients
    up = links["up"].reshape(len(jvms), -1)
    _require(jvms["up"] == up.sum(axis=1), "a client counts other pods than it believes up", now_s)
    views = np.bitwise_xor.reduce(np.where(up == 1, pods["key"][None, :], 0), axis=1)
    _require(jvms["belief"] == views, "a client's view isn't what it believes", now_s)
    _require((jvms["free"] == 0) | (jvms["waiting"] == 0), "a client thread idles while a unit waits", now_s)
    _require((hazards["count"] == 0) | (hazards["last_s"] <= now_s), "a trap was met in the future", now_s)

    _queues_in_order(pods, pools, lanes, jvms, callers, records("units"), now_s)
    _everything_back(settings, pods, pools, lanes, callers, jvms, now_s)


def _stations_in_order(stations: Records, jobs: Records, now_s: float) -> None:
    """Each station's jobs are within its part of the table, and a heap: none before the one above it."""
    begin, end = stations["offset"], stations["offset"] + stations["capacity"]
    _require((stations["count"] >= 0) & (stations["count"] <= stations["capacity"]), "a station has no room", now_s)
    _require((begin[0] == 0) & (begin[1:] == end[:-1]) & (end[-1] <= len(jobs)), "stations share jobs", now_s)
    for station in stations[stations["count"] > 1]:
        mine = jobs[station["offset"] : station["offset"] + station["count"]]
        below = np.arange(1, len(mine))
        above = mine[(below - 1) >> 1]
        later = (mine["finish_s"][1:] > above["finish_s"]) | (
            (mine["finish_s"][1:] == above["finish_s"]) & (mine["number"][1:] > above["number"])
        )
        _require(later, "a station's jobs are out of order", now_s)


def _queues_in_order(
    pods: Records, pools: Records, lanes: Records, jvms: Records, callers: Records, units: Records, now_s: float
) -> None:
    """First in, first out: along each queue the members came one after the other."""
    for tables, members in (((pods, pools, lanes), callers), ((jvms,), units)):
        for table in tables:
            for queue in table[table["waiting"] > 1]:
                numbers = _members(queue, members["next"])
                _require(np.diff(members["queued_s"][numbers]) >= 0, "a queue isn't first in, first out", now_s)
                _require(numbers[-1] == queue["tail"], "a queue doesn't end with its last member", now_s)


def _everything_back(
    settings: Any, pods: Records, pools: Records, lanes: Records, callers: Records, jvms: Records, now_s: float
) -> None:
    """With nobody under way, threads, slots and connections are back, but for those that leaked."""
    threads = len(callers) - len(jvms)
    if settings["closed"] or jvms["free"].sum() < threads or (pods["inside"] > 0).any():
        return
    up = pods["state"][pools["pod"]] == PodState.UP
    _require(pods["threads_free"] == settings["threads"], "a thread isn't back at rest", now_s)
    _require((lanes["free"] == lanes["total"] - lanes["leaked"]) | ~up.repeat(2), "a slot isn't back at rest", now_s)
    _require(lanes["borrowed"] == 0, "a slot is owed at rest", now_s)
    _require((pools["in_use"] == pools["leaked"]) | ~up, "a connection isn't back at rest", now_s)
    _require((pools["direct"] == 0) | ~up, "an XA connection isn't closed at rest", now_s)
