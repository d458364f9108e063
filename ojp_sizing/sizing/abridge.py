"""What of a disruption is simulated, and for how much of the whole each part of the run stands.

An absence of a pod has a loud beginning (calls fail, clients turn to the others, pools are divided anew, and the pod
before it comes back) and then a quiet rest, in which one pod less serves the same stationary demand. Of the rest only so
much is simulated as a percentile needs. And of a rolling update's pods only the first and the second: the first is missed
by clients that have all others, each later one by clients that have not all found the one before it.

Where the demand itself changes with time, or the loud part lasts as long as the absence, the whole is simulated. So is an
update whose pools are divided anew or emptied: then each pod that is replaced is a chance of a collapse (a convoy, a lock),
rare for one and frequent for all, and two can't speak for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log
from statistics import fmean

from ojp_sizing.demand.arrivals import Closed, Poisson
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import Disruption, PodLoss, RollingUpdate, Several, parts_of
from ojp_sizing.measurement.measure import Part
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.theory.offered import LEAST_FREE, opening_s

#: Pods of a rolling update that are replaced in an abridged one.
UPDATED_PODS = 2
#: Traps that can end in a collapse, some of the times.
UNCALM = frozenset({"pool_emptied", "pool_flaps", "locked", "memory_kill"})
#: Beyond the sum of what is known to last.
MARGIN_S = 0.5


def can_be_abridged(workload: Workload) -> bool:
    """Whether one minute of the demand is like the other."""
    return isinstance(workload.arrivals, Poisson | Closed)


@dataclass(frozen=True, slots=True)
class Transients:
    """How long the loud part lasts: ``lost_s`` after a pod has gone, ``back_s`` after one has come back."""

    lost_s: float
    back_s: float


def transients_of(deployment: Deployment, workload: Workload, rate: float, longest_s: float = 0.0) -> Transients:
    """From what is known to last.

    Gone: each client has asked for a connection, pools that were emptied are full again, one connection after the
    other, and units that stay so long, ``longest_s``, have found their sessions lost.
    Back: the endpoint leads there, each client has asked again, a pool is built, and breakers that its first
    statements opened are shut.
    """
    constants, clients = deployment.constants, workload.clients
    # Of so many clients that ask at random the last one has asked by then (twice the logarithm: in most runs).
    asked_s = 2.0 * (1.0 + log(clients.jvms)) * clients.jvms / rate
    filled_s = deployment.pool_per_pod * opening_s(constants, LEAST_FREE * deployment.limit_cores)
    found_s = constants.endpoint_delay_s + constants.health_interval_s + constants.pool_build_s
    back_s = max(found_s, deployment.server.breaker_open_s)
    loud_s = asked_s + filled_s + longest_s
    return Transients(loud_s + MARGIN_S, loud_s + back_s + MARGIN_S)


def abridged(whole: Disruption, transients: Transients, quiet_s: float, pods: int = UPDATED_PODS) -> Disruption:
    """The disruption that is simulated in place of the whole: shorter absences, fewer pods of an update.

    ``quiet_s``: how much of each absence's quiet rest is kept. What isn't an absence of known length stays as it is.
    """
    if isinstance(whole, RollingUpdate):
        # The highest ordinal goes first, when no other has just come back.
        later_s = (transients.back_s + quiet_s,) * (len(whole.restart_s) - 1)
        most_away_s = (*later_s, transients.lost_s + quiet_s)
        return replace(whole, most_away_s=most_away_s, pods=min(pods, whole.pods))
    kept_s = transients.lost_s + quiet_s
    losses = tuple(part for part in parts_of(whole) if isinstance(part, PodLoss) and part.how != "vanished")
    if len(losses) < len(parts_of(whole)) or not losses:
        return whole
    # Pods that are lost together come back in the same order and at the same distance.
    cut_s = max(0.0, min(loss.away_s for loss in losses) - kept_s)
    shorter = tuple(_cut(loss, cut_s) for loss in losses)
    return Several(shorter) if isinstance(whole, Several) else shorter[0]


def parts_of_run(
    outcomes: Outcomes, whole: Disruption, simulated: Disruption, transients: Transients
) -> tuple[Part, ...]:
    """The window of a run, cut where its weight changes; one part of weight 1 where the whole was simulated."""
    begin_s, end_s = outcomes.window_s or (inf, inf)
    if simulated == whole or end_s == inf:
        return (Part(begin_s, end_s),)
    if isinstance(whole, RollingUpdate) and isinstance(simulated, RollingUpdate):
        return _parts_of_update(outcomes, whole, simulated.pods, transients)
    cut_s = _away_s(whole) - _away_s(simulated)
    down_s, ready_s = max(_times(outcomes, "down")), min(_times(outcomes, "ready"))
    return _parts_of_absence(begin_s, down_s + transients.lost_s, ready_s, end_s, cut_s)


def _cut(loss: PodLoss, cut_s: float) -> PodLoss:
    """Shorter by this, its absence first. Until its Service leads there nobody knows whether a process listens already."""
    ready_s = loss.ready_s - max(0.0, cut_s - loss.absent_s)
    return replace(loss, absent_s=max(0.0, loss.absent_s - cut_s), ready_s=max(0.0, ready_s))


def _away_s(disruption: Disruption) -> float:
    return max(loss.away_s for loss in parts_of(disruption) if isinstance(loss, PodLoss))


def _times(outcomes: Outcomes, state: str) -> list[float]:
    """When each pod was first so, in the order of the changes."""
    first: dict[int, float] = {}
    for change in outcomes.changes:
        if change.state == state:
            first.setdefault(change.pod, change.time_s)
    return list(first.values())


def _parts_of_absence(begin_s: float, quiet_s: float, ready_s: float, end_s: float, cut_s: float) -> tuple[Part, ...]:
    """Loud, quiet with what was cut of it, and loud again until the last pod is back; empty parts are left out."""
    quiet_s = min(quiet_s, ready_s)
    weight = 1.0 + cut_s / (ready_s - quiet_s) if ready_s > quiet_s else 1.0
    parts = (Part(begin_s, quiet_s), Part(quiet_s, ready_s, weight), Part(ready_s, end_s))
    return tuple(part for part in parts if part.end_s > part.begin_s)


def _parts_of_update(outcomes: Outcomes, whole: RollingUpdate, pods: int, transients: Transients) -> tuple[Part, ...]:
    """The first pod stands for itself, those after it for all others. Each is away from its SIGTERM to Ready.

    Pods that weren't updated would have taken as long to stop as those that were, on the mean.
    """
    stops_s, downs_s, readies_s = (_times(outcomes, state)[:pods] for state in ("stopping", "down", "ready"))
    stopping_s = fmean(down_s - stop_s for stop_s, down_s in zip(stops_s, downs_s, strict=True))
    starts_s = whole.starts_s[-whole.pods :][::-1]
    parts: list[Part] = []
    groups = ((0, 1, starts_s[:1], transients.lost_s), (1, pods, starts_s[1:], transients.back_s))
    for first, last, stands_for, loud_s in groups:
        cycles = list(zip(stops_s, readies_s, strict=True))[first:last]
        if not cycles:
            continue
        weight = len(stands_for) / len(cycles)
        quiet_s = sum(max(0.0, stopping_s + start_s - loud_s) for start_s in stands_for)
        kept_s = sum(max(0.0, ready_s - stop_s - loud_s) for stop_s, ready_s in cycles)
        for stop_s, ready_s in cycles:
            middle_s = min(ready_s, stop_s + loud_s)
            parts.append(Part(stop_s, middle_s, weight))
            if ready_s > middle_s:
                parts.append(Part(middle_s, ready_s, quiet_s / kept_s))
    return tuple(parts)


def is_calm(outcomes: Outcomes, deployment: Deployment) -> bool:
    """Whether nothing can collapse by chance, nor did: some pods' replacements can speak for all."""
    return (
        deployment.stays_undivided
        and deployment.warm_pools
        and UNCALM.isdisjoint(hazard.name for hazard in outcomes.hazards)
    )


def unseen_connections(outcomes: Outcomes, whole: Disruption, simulated: Disruption) -> float:
    """Connections that the pods which weren't updated would have added: pools built twice stay open (reference 1.1)."""
    if not isinstance(whole, RollingUpdate) or not isinstance(simulated, RollingUpdate):
        return 0.0
    orphaned = int(outcomes.samples["pools"]["orphaned"][-1].sum())
    return orphaned * (whole.pods - simulated.pods) / simulated.pods
