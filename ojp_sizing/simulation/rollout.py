"""The control plane as ordinary SimPy processes: what Kubernetes does to the pods (reference 7).

The processes read like the manual; they act on the cluster through ``Plane``, which either clock provides.
"""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import Any, Protocol

from simpy import Environment, Event

from ojp_sizing.deployment.disruption import ContainerRestart, DatabaseTrouble, PodLoss, RollingUpdate

Process = Generator[Event, Any, None]


class Plane(Protocol):
    """What the control plane can do and see."""

    replicas: int

    @property
    def env(self) -> Environment:
        """SimPy's environment."""

    def stop(self, pod: int) -> None:
        """SIGTERM."""

    def kill(self, pod: int) -> None:
        """The process is gone."""

    def vanish(self, pod: int) -> None:
        """The node is gone without a word."""

    def slow_database(self, factor: float) -> None:
        """Statements take so many times as long from now on."""

    def fill_database(self, full: bool) -> None:
        """The database refuses new connections, or takes them again."""

    def started(self, pod: int) -> None:
        """A new process listens; its Service doesn't lead there before it is Ready."""

    def reachable(self, pod: int) -> None:
        """The pod's Service leads to the new process."""

    def ready(self, pod: int) -> None:
        """The readiness probe has passed."""

    def drained(self, pod: int) -> Event:
        """Succeeds when a stopping pod has no RPC left inside."""

    def out_of_memory(self, pod: int) -> Event:
        """Succeeds when the kernel has killed the pod's process."""

    def replaced(self, pod: int) -> Event:
        """Succeeds when the pod as a whole is stopped or lost: another one will come in its place."""

    def disruption_begins(self) -> None:
        """The window of a disruption opens."""

    def disruption_ends(self) -> None:
        """A disruption is over: its last pod is Ready, the database is as usual."""

    def sample(self) -> None:
        """Keep the state of the cluster."""


def lose_pod(plane: Plane, loss: PodLoss) -> Process:
    """A pod's process ends; another comes up."""
    env = plane.env
    yield env.timeout(loss.at_s)
    plane.disruption_begins()
    if loss.how == "vanished":
        plane.vanish(loss.pod)
    else:
        if loss.how == "stopped":
            drained = plane.drained(loss.pod)
            plane.stop(loss.pod)
            yield drained | env.timeout(loss.grace_s)
        plane.kill(loss.pod)
    yield from _start(plane, loss.pod, loss.absent_s, loss.ready_s, loss.endpoint_s)
    plane.disruption_ends()


def rolling_update(plane: Plane, update: RollingUpdate) -> Process:
    """A StatefulSet's update: highest ordinal first, one at a time, the next one as soon as this one is Ready.

    There is no minReadySeconds and no drain: clients learn of each stop and return by themselves (reference 7.3).
    """
    env = plane.env
    yield env.timeout(update.at_s)
    plane.disruption_begins()
    for pod in reversed(range(plane.replicas - update.pods, plane.replicas)):
        drained = plane.drained(pod)
        restart_s, ready_s = update.restart_s[pod], update.ready_s[pod]
        back_by_s = env.now + update.most_away_s[pod] if update.most_away_s else inf
        plane.stop(pod)
        yield drained | env.timeout(update.grace_s)
        plane.kill(pod)
        start_s = max(0.0, min(restart_s + ready_s, back_by_s - env.now))
        restart_s = min(restart_s, max(0.0, start_s - ready_s))
        yield from _start(plane, pod, restart_s, min(ready_s, start_s), update.endpoint_s)
    plane.disruption_ends()


def trouble_database(plane: Plane, trouble: DatabaseTrouble) -> Process:
    """The database is slow or full for a while."""
    env = plane.env
    yield env.timeout(trouble.at_s)
    plane.disruption_begins()
    plane.slow_database(trouble.slowdown)
    plane.fill_database(trouble.full)
    yield env.timeout(trouble.for_s)
    plane.slow_database(1.0)
    plane.fill_database(False)
    plane.disruption_ends()


def restart_container(plane: Plane, pod: int, restart: ContainerRestart) -> Process:
    """The kubelet: a container that was killed is restarted in its pod, later and later where that happens again.

    If the pod is replaced meanwhile, the new pod's start is somebody else's work, and its back-off begins anew.
    """
    env = plane.env
    pause_s, restarted_s = 0.0, -inf
    while True:
        yield plane.out_of_memory(pod)
        replaced = plane.replaced(pod)
        if env.now - restarted_s > restart.reset_s:
            pause_s = 0.0
        restarted_s = env.now + pause_s
        steps = (
            (pause_s + restart.start_s, plane.started),
            (restart.ready_s, plane.ready),
            (restart.endpoint_s, plane.reachable),
        )
        pause_s = min(restart.most_pause_s, max(restart.pause_s, 2 * pause_s))
        for wait_s, step in steps:
            yield env.timeout(wait_s) | replaced
            if replaced.triggered:
                restarted_s = -inf
                break
            step(pod)


def _start(plane: Plane, pod: int, absent_s: float, ready_s: float, endpoint_s: float) -> Process:
    """A new process comes up and is Ready; its endpoint follows a little later, when other pods may be stopping already.

    If the pod is replaced again meanwhile, its next process is somebody else's work.
    """
    replaced = plane.replaced(pod)
    for wait_s, step in ((absent_s, plane.started), (ready_s, plane.ready)):
        yield plane.env.timeout(wait_s)
        if not replaced.triggered:
            step(pod)
    plane.env.process(_join_service(plane, pod, endpoint_s, replaced))


def _join_service(plane: Plane, pod: int, after_s: float, replaced: Event) -> Process:
    yield plane.env.timeout(after_s)
    if not replaced.triggered:
        plane.reachable(pod)


def watch(plane: Plane, every_s: float) -> Process:
    """Keep the state of the cluster at regular instants."""
    while True:
        plane.sample()
        yield plane.env.timeout(every_s)
