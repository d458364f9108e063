"""What goes wrong, and when: sampled before the simulation, so that the simulation draws nothing.

Times are seconds from the start of the simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Annotated, Any, Literal

import numpy as np
from numpy.random import Generator, default_rng

from ojp_sizing.bounds import INSTANT, SEED, Checked, Number, Take, said, take_for, taken
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.errors import InputError

#: Pods are numbered from 0.
_POD = Number(0, 999, whole=True)


@dataclass(frozen=True, slots=True)
class PodLoss(Checked):
    """``pod``'s process ends at ``at_s``; a new one listens ``absent_s`` later and is Ready ``ready_s`` after that.

    ``killed``: it dies at once and its sockets close. ``stopped``: SIGTERM, and after ``grace_s`` at the latest SIGKILL
    (reference 7.1). ``vanished``: the node is lost without a word, callers hang and the database keeps the connections
    (reference 6). Clients can reach the new one ``endpoint_s`` after it is Ready: a Service leads to Ready pods only
    (Kubernetes, GENERAL).
    """

    pod: Annotated[int, _POD]
    at_s: Annotated[float, INSTANT]
    absent_s: Annotated[float, INSTANT]
    ready_s: Annotated[float, INSTANT]
    endpoint_s: Annotated[float, INSTANT] = 1.0
    how: Literal["killed", "stopped", "vanished"] = "killed"
    grace_s: Annotated[float, INSTANT] = 30.0

    @property
    def away_s(self) -> float:
        """From the end of the process to the new one's being Ready."""
        return self.absent_s + self.ready_s


@dataclass(frozen=True, slots=True)
class RollingUpdate(Checked):
    """A StatefulSet's rolling update that starts at ``at_s`` (reference 7.3).

    ``restart_s[p]``: from the end of pod p's process to the new one's listening; ``ready_s[p]``: from there to
    Ready, when the controller stops the next pod. A stop ends after ``grace_s`` at the latest. Only the last
    ``pods`` pods are updated (a partition of the StatefulSet's strategy). ``most_away_s[p]``: from SIGTERM to Ready pod p is
    away for so long at most, by a shorter start (``sizing.abridge``); empty: as long as it takes.
    """

    at_s: Annotated[float, INSTANT]
    restart_s: tuple[Annotated[float, INSTANT], ...]
    ready_s: tuple[Annotated[float, INSTANT], ...]
    grace_s: Annotated[float, INSTANT]
    pods: Annotated[int, Number(1, 1000, whole=True)]
    endpoint_s: Annotated[float, INSTANT] = 1.0
    most_away_s: tuple[Annotated[float, Number(unit="s", infinite=True)], ...] = ()

    def agree(self) -> None:
        pods = len(self.restart_s)
        if len(self.ready_s) != pods or len(self.most_away_s) not in (0, pods):
            raise self.refuse("", "restart_s, ready_s and most_away_s differ in length", "write a value for each pod")
        if self.pods > pods:
            raise self.refuse("pods", f"{self.pods} of {pods} pods", f"write 1 to {pods}")

    @property
    def starts_s(self) -> tuple[float, ...]:
        """Of each pod of the StatefulSet: from the end of its process to the new one's being Ready."""
        return tuple(restart + ready for restart, ready in zip(self.restart_s, self.ready_s, strict=True))

    def lasts_s(self) -> float:
        """How long the update takes, its stops not counted."""
        most_s = self.most_away_s or (inf,) * len(self.starts_s)
        return sum(min(pair) for pair in list(zip(self.starts_s, most_s, strict=True))[-self.pods :])


@dataclass(frozen=True, slots=True)
class DatabaseTrouble(Checked):
    """From ``at_s`` for ``for_s``: statements that begin take ``slowdown`` times as long; ``full``: no new connection opens."""

    at_s: Annotated[float, INSTANT]
    for_s: Annotated[float, INSTANT]
    slowdown: Annotated[float, Number(0.0, 1e6, above=True)] = 1.0
    full: bool = False


@dataclass(frozen=True, slots=True)
class Several(Checked):
    """More than one disruption in a run; the window is from the first one's begin to the last one's end."""

    parts: tuple[PodLoss | RollingUpdate | DatabaseTrouble, ...]


Disruption = PodLoss | RollingUpdate | DatabaseTrouble | Several | None


def parts_of(disruption: Disruption) -> tuple[PodLoss | RollingUpdate | DatabaseTrouble, ...]:
    """The single disruptions."""
    if disruption is None:
        return ()
    return disruption.parts if isinstance(disruption, Several) else (disruption,)


def check_disruption(disruption: Disruption, replicas: int) -> None:
    """Raise InputError where a disruption is none, or not one of so many pods."""
    for part in parts_of(take_for(Disruption)(disruption, "disruption")):
        if isinstance(part, PodLoss) and part.pod >= replicas:
            problem = f"there is no pod {part.pod} in a deployment of {replicas}"
            raise part.refuse("pod", problem, f"write 0 to {replicas - 1}")
        if isinstance(part, RollingUpdate) and len(part.restart_s) != replicas:
            problem = f"times of {len(part.restart_s)} pods for a deployment of {replicas}"
            raise part.refuse("restart_s", problem, "write one for each pod")


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
        max(constants.readiness_period_s / 2, warm_up_s(deployment)),
        constants.endpoint_delay_s,
        constants.restart_pause_s,
        constants.restart_most_pause_s,
        constants.restart_reset_s,
    )


def median_start_s(deployment: Deployment) -> float:
    """Process start to listening, longer below one core (reference 13, row 8)."""
    return deployment.constants.pod_start_s / min(1.0, deployment.limit_cores)


def warm_up_s(deployment: Deployment) -> float:
    """From listening to the end of the warm-up (docs/restarts.md): the CPU of its calls and of the compiler, at one core at most.

    Nothing where nobody warms a process up.
    """
    if not deployment.warm_pools:
        return 0.0
    constants, calls = deployment.constants, deployment.constants.warm_up_calls
    each_s = constants.connect_cpu_s + constants.hand_over_cpu_s
    # The sum of 1 / sqrt(n) over the first calls.
    young_s = 2.0 * sqrt(calls) * (constants.young_cpu_s + constants.compile_cpu_s)
    return (calls * each_s + young_s) / min(1.0, deployment.limit_cores)


def _ready_s(deployment: Deployment, rng: Generator, size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Listening to Ready: a probe sees it at any instant of its period, and the warm-up has ended."""
    return np.maximum(rng.uniform(0, deployment.constants.readiness_period_s, size), warm_up_s(deployment))


def _start_s(deployment: Deployment, rng: Generator, size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Process start to listening: lognormal about the median."""
    return median_start_s(deployment) * rng.lognormal(0.0, deployment.constants.pod_start_spread, size)


def _take_rng(value: Any, place: str) -> Generator:
    if isinstance(value, Generator):
        return value
    try:
        return default_rng(SEED.take(value, place))
    except InputError as error:
        fix = "write a number of 0 or more, or a numpy Generator"
        raise InputError(place, f"{said(value)} is no seed", fix) from error


_ARGUMENTS: dict[str, Take] = {"deployment": take_for(Deployment), "at_s": INSTANT.take, "rng": _take_rng}


def sample_pod_loss(deployment: Deployment, at_s: float, rng: Generator | int) -> PodLoss:
    """A pod (any, equally likely) dies and is rebuilt on another node. ``rng`` may be a plain number, its seed."""
    deployment, at_s, generator = taken(_ARGUMENTS, deployment=deployment, at_s=at_s, rng=rng)
    constants = deployment.constants
    pod = int(generator.integers(deployment.replicas))
    start_s = float(_start_s(deployment, generator, 1)[0])
    ready_s = float(_ready_s(deployment, generator, 1)[0])
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


def sample_slow_database(deployment: Deployment, at_s: float, rng: Generator) -> DatabaseTrouble:
    """For some time everything takes the database longer; nothing is drawn."""
    constants = deployment.constants
    return DatabaseTrouble(at_s, constants.database_trouble_s, slowdown=constants.database_slowdown)


def sample_full_database(deployment: Deployment, at_s: float, rng: Generator) -> DatabaseTrouble:
    """For some time the database has no connection left for anybody; nothing is drawn."""
    return DatabaseTrouble(at_s, deployment.constants.database_trouble_s, full=True)


def sample_rolling_update(deployment: Deployment, at_s: float, rng: Generator | int) -> RollingUpdate:
    """Every pod is replaced, on the node where it was. ``rng`` may be a plain number, its seed."""
    deployment, at_s, generator = taken(_ARGUMENTS, deployment=deployment, at_s=at_s, rng=rng)
    constants, replicas = deployment.constants, deployment.replicas
    restart_s = constants.schedule_warm_s + _start_s(deployment, generator, replicas)
    ready_s = _ready_s(deployment, generator, replicas)
    return RollingUpdate(
        at_s,
        tuple(restart_s.tolist()),
        tuple(ready_s.tolist()),
        constants.stop_grace_s,
        replicas,
        constants.endpoint_delay_s,
    )
