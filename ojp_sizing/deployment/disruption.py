"""What goes wrong, and when: sampled before the simulation, so that the simulation draws nothing.

Times are seconds from the start of the simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Literal

import numpy as np
from numpy.random import Generator

from ojp_sizing.deployment.deployment import Deployment


@dataclass(frozen=True, slots=True)
class PodLoss:
    """``pod``'s process ends at ``at_s``; a new one listens ``absent_s`` later and is Ready ``ready_s`` after that.

    ``killed``: it dies at once and its sockets close. ``stopped``: SIGTERM, and after ``grace_s`` at the latest SIGKILL
    (reference 7.1). ``vanished``: the node is lost without a word, callers hang and the database keeps the connections
    (reference 6). Clients can reach the new one ``endpoint_s`` after it is Ready: a Service leads to Ready pods only
    (Kubernetes, GENERAL).
    """

    pod: int
    at_s: float
    absent_s: float
    ready_s: float
    endpoint_s: float = 1.0
    how: Literal["killed", "stopped", "vanished"] = "killed"
    grace_s: float = 30.0


@dataclass(frozen=True, slots=True)
class RollingUpdate:
    """A StatefulSet's rolling update that starts at ``at_s`` (reference 7.3).

    ``restart_s[p]``: from the end of pod p's process to the new one's listening; ``ready_s[p]``: from there to
    Ready, when the controller stops the next pod. A stop ends after ``grace_s`` at the latest. Only the last
    ``pods`` pods are updated (a partition of the StatefulSet's strategy). ``most_away_s[p]``: from SIGTERM to Ready pod p is
    away for so long at most, by a shorter restart (``sizing.abridge``); empty: as long as it takes.
    """

    at_s: float
    restart_s: tuple[float, ...]
    ready_s: tuple[float, ...]
    grace_s: float
    pods: int
    endpoint_s: float = 1.0
    most_away_s: tuple[float, ...] = ()

    @property
    def starts_s(self) -> tuple[float, ...]:
        """Of each pod of the StatefulSet: from the end of its process to the new one's being Ready."""
        return tuple(restart + ready for restart, ready in zip(self.restart_s, self.ready_s, strict=True))

    def lasts_s(self) -> float:
        """How long the update takes, its stops not counted."""
        most_s = self.most_away_s or (inf,) * len(self.starts_s)
        return sum(min(pair) for pair in list(zip(self.starts_s, most_s, strict=True))[-self.pods :])


@dataclass(frozen=True, slots=True)
class DatabaseTrouble:
    """From ``at_s`` for ``for_s``: statements that begin take ``slowdown`` times as long; ``full``: no new connection opens."""

    at_s: float
    for_s: float
    slowdown: float = 1.0
    full: bool = False


@dataclass(frozen=True, slots=True)
class Several:
    """More than one disruption in a run; the window is from the first one's begin to the last one's end."""

    parts: tuple[PodLoss | RollingUpdate | DatabaseTrouble, ...]


Disruption = PodLoss | RollingUpdate | DatabaseTrouble | Several | None


def parts_of(disruption: Disruption) -> tuple[PodLoss | RollingUpdate | DatabaseTrouble, ...]:
    """The single disruptions."""
    if disruption is None:
        return ()
    return disruption.parts if isinstance(disruption, Several) else (disruption,)


@dataclass(frozen=True, slots=True)
class ContainerRestart:
    """What the kubelet does in place after the kernel has killed a container: back-off, start, Ready, endpoint.

    The first restart comes at once, the next after ``pause_s``, each later one after twice that, at most ``most_pause_s``;
    from the start again once a container has run for ``reset_s`` (Kubernetes, CrashLoopBackOff, GENERAL).
    """

    start_s: float
    ready_s: float
    endpoint_s: float
    pause_s: float
    most_pause_s: float
    reset_s: float


def container_restart(deployment: Deployment) -> ContainerRestart:
    """Every restart takes the median times: how many there will be isn't known before the run, and it draws nothing."""
    constants = deployment.constants
    return ContainerRestart(
        median_start_s(deployment),
        constants.readiness_period_s / 2,
        constants.endpoint_delay_s,
        constants.restart_pause_s,
        constants.restart_most_pause_s,
        constants.restart_reset_s,
    )


def median_start_s(deployment: Deployment) -> float:
    """Process start to listening, longer below one core (reference 13, row 8)."""
    return deployment.constants.pod_start_s / min(1.0, deployment.limit_cores)


def _start_s(deployment: Deployment, rng: Generator, size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Process start to listening: lognormal about the median."""
    return median_start_s(deployment) * rng.lognormal(0.0, deployment.constants.pod_start_spread, size)


def sample_pod_loss(deployment: Deployment, at_s: float, rng: Generator) -> PodLoss:
    """A pod (any, equally likely) dies and is rebuilt on another node."""
    constants = deployment.constants
    pod = int(rng.integers(deployment.replicas))
    start_s = float(_start_s(deployment, rng, 1)[0])
    ready_s = float(rng.uniform(0, constants.readiness_period_s))
    return PodLoss(pod, at_s, constants.schedule_cold_s + start_s, ready_s, constants.endpoint_delay_s)


def sample_pod_stop(deployment: Deployment, at_s: float, rng: Generator) -> PodLoss:
    """A pod (any) is deleted: it stops with grace, and is replaced on the node where it was."""
    loss = sample_pod_loss(deployment, at_s, rng)
    constants = deployment.constants
    absent_s = loss.absent_s - constants.schedule_cold_s + constants.schedule_warm_s
    return replace(loss, how="stopped", absent_s=absent_s, grace_s=constants.stop_grace_s)


def sample_node_loss(deployment: Deployment, at_s: float, rng: Generator) -> PodLoss:
    """A node (any pod's) is lost silently; a StatefulSet's pod is replaced only once somebody has removed the node."""
    loss = sample_pod_loss(deployment, at_s, rng)
    return replace(loss, how="vanished", absent_s=loss.absent_s + deployment.constants.node_removal_s)


def sample_two_losses(deployment: Deployment, at_s: float, rng: Generator) -> Several:
    """Two pods (any) die at the same instant, and are rebuilt on other nodes; of one pod only one."""
    losses = tuple(sample_pod_loss(deployment, at_s, rng) for _ in range(min(2, deployment.replicas)))
    pods = rng.permutation(deployment.replicas)
    return Several(tuple(replace(loss, pod=int(pod)) for loss, pod in zip(losses, pods, strict=False)))


def sample_rolling_update(deployment: Deployment, at_s: float, rng: Generator) -> RollingUpdate:
    """Every pod is replaced, on the node where it was."""
    constants, replicas = deployment.constants, deployment.replicas
    restart_s = constants.schedule_warm_s + _start_s(deployment, rng, replicas)
    ready_s = rng.uniform(0, constants.readiness_period_s, replicas)
    return RollingUpdate(
        at_s,
        tuple(restart_s.tolist()),
        tuple(ready_s.tolist()),
        constants.stop_grace_s,
        replicas,
        constants.endpoint_delay_s,
    )
