"""A container's CPU under its limit: the kernel's bandwidth control (CFS; Linux, Documentation/scheduler/sched-bwc.rst).

In every period of 100 ms a pod may use ``limit * period`` core seconds. Until they are used its threads run on as many of
the node's cores as they can keep busy; then the pod stands still until the next period, and what is left over is lost.
A station keeps what is left of its present period. Whole periods that pass between two events are counted, not lived
through: no event belongs to a period. Period k begins at ``phase_s + k * period``, so that boundaries never drift.
"""

from __future__ import annotations

from math import ceil, floor

from ojp_sizing.behaviour.records import Station
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World


@transition
def _boundary_s(w: World, station: Station, period: int) -> float:
    return station.phase_s + period * w.settings[0].cpu_period_s


@transition
def _use(station: Station, busy: float, elapsed_s: float) -> float:
    """Core seconds that ``busy`` cores get within one period; less than wanted where the quota ends."""
    used = busy * elapsed_s
    if used > station.left_s:
        used = station.left_s
        station.throttled_s += elapsed_s - used / busy
    station.left_s -= used
    return used


@transition
def use_cores(w: World, station: Station, busy: float, since_s: float) -> float:
    """Core seconds that ``busy`` cores, runnable all the time since then, have got; quotas are brought to the present."""
    now_s = w.state[0].now
    if now_s < station.refill_s:
        return _use(station, busy, now_s - since_s)
    used = _use(station, busy, station.refill_s - since_s)
    period_s = w.settings[0].cpu_period_s
    # The division may be off by one at a boundary; the boundaries themselves decide.
    period = floor((now_s - station.phase_s) / period_s)
    while _boundary_s(w, station, period) > now_s:
        period -= 1
    while _boundary_s(w, station, period + 1) <= now_s:
        period += 1
    whole = period - station.period - 1
    used += whole * min(station.quota_s, busy * period_s)
    if station.quota_s < busy * period_s:
        station.throttled_s += whole * (period_s - station.quota_s / busy)
    station.period = period
    station.refill_s = _boundary_s(w, station, period + 1)
    station.left_s = station.quota_s
    return used + _use(station, busy, now_s - _boundary_s(w, station, period))


@transition
def done_at(w: World, station: Station, busy: float, work_s: float, slack_s: float) -> float:
    """When ``busy`` cores will have done so many core seconds, if nothing changes after the station's last settling.

    Where no more than ``slack_s`` would be left for the next period, it counts as done in this one: rounding must not
    cost a period.
    """
    settled_s = station.settled_s
    left_s = min(station.left_s, busy * (station.refill_s - settled_s))
    if work_s <= left_s + slack_s:
        return settled_s + work_s / busy
    each_s = min(station.quota_s, busy * w.settings[0].cpu_period_s)
    rest_s = work_s - left_s
    whole = ceil((rest_s - slack_s) / each_s) - 1
    return _boundary_s(w, station, station.period + 1 + whole) + (rest_s - whole * each_s) / busy
