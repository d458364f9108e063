"""Deployments that OJP itself refuses, or that break it: refused or warned about by OJP's own rule, with its source.

``python -m ojp_sizing.deployment.rules`` prints the table of ``docs/deployment.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ojp_sizing.deployment.deployment import DEFAULT_VERSION, SERVER_VERSIONS, Deployment
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.deployment.versions import number_of, row_for, traits_of
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown
from ojp_sizing.settings import Value, settings

#: Servers without any multinode code (reference 0, CODE). The chart's own image is the first of them (reference 7.2).
SINGLE_NODE_VERSIONS = ("0.1.0-beta", "0.1.1-beta", "0.2.0-beta")
CHART_IMAGE_VERSION = SINGLE_NODE_VERSIONS[0]
#: One pod of them is simulated as this one: the same slots, classifier and breaker (reference 0, era A).
SINGLE_NODE_MODEL = "0.3.0-beta"
#: Below so many slots a slow lane of one slot is a large part of the pod (reference 2).
FEW_SLOTS = 10
#: So many threads for each connection of a pod are more than any queue is worth; this project's figure.
MOST_THREADS_PER_CONNECTION = 100


class Action(StrEnum):
    """What a rule does."""

    REFUSE = "refuse"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Subject:
    """What the rules look at: a deployment, and the settings stated for it, by key, some of which the model lacks.

    ``server``: the version that is stated, which may be none that the model has.
    """

    deployment: Deployment
    stated: Mapping[str, Value] = field(default_factory=dict)
    server: str = ""

    @property
    def version(self) -> str:
        """Which server is meant."""
        return self.server or self.deployment.version


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that applies: where, what is wrong in words, how to fix it, and the rule's source."""

    name: str
    action: Action
    place: str
    text: str
    fix: str
    source: str

    def error(self, file: str) -> InputError:
        """As the error that refuses ``file``."""
        return InputError(f"{file}: {self.place}" if file else self.place, self.text, f"{self.fix} ({self.source})")


@dataclass(frozen=True, slots=True)
class Rule:
    """``when`` says in words what ``finds`` tests; that gives the text of the finding, or None where all is well."""

    name: str
    action: Action
    place: str
    when: str
    finds: Callable[[Subject], str | None]
    fix: str
    source: str


def _unknown_version(subject: Subject) -> str | None:
    version = subject.version
    if row_for(version) is not None or version in SINGLE_NODE_VERSIONS:
        return None
    return f"no server {shown(version)} is modelled"


def _taken_for(subject: Subject) -> str | None:
    row = row_for(subject.version)
    if row is None or number_of(row) == number_of(subject.version):
        return None
    return f"server {shown(subject.version)} is taken for {row}, the newest before it whose source is known"


def _never_read(subject: Subject) -> str | None:
    row = row_for(subject.version)
    if row is None or traits_of(row).status != "INFER":
        return None
    return f"the complete source of {row} was never seen: {traits_of(row).source}"


def _not_simulated(subject: Subject) -> str | None:
    row = row_for(subject.version)
    if row is None:
        return None
    traits, told = traits_of(row), []
    if traits.client_throttle != "none":
        told.append(f"the driver's throttle ({traits.client_throttle}) is taken for off")
    if traits.virtual_threads:
        told.append("its virtual threads, which have no limit, are taken for threadPoolSize threads")
    if traits.max_concurrent_requests > 0:
        # A call passes the queue of threads twice, to be accepted and to be handled: those that wait count.
        most = traits.max_concurrent_requests
        told.append(f"above {most} calls at once on a pod, waiting ones included, it refuses more, which is left out")
    return f"server {row}: {'; '.join(told)}" if told else None


def _single_node(subject: Subject) -> str | None:
    deployment = subject.deployment
    if subject.version not in SINGLE_NODE_VERSIONS or deployment.replicas < 2:
        return None
    default = ", the chart's image where none is stated," if subject.version == CHART_IMAGE_VERSION else ""
    return (
        f"server {subject.version}{default} has no multinode code: {deployment.replicas} pods open the full pool each"
    )


def _old_single_pod(subject: Subject) -> str | None:
    deployment = subject.deployment
    if subject.version not in SINGLE_NODE_VERSIONS or deployment.replicas > 1:
        return None
    return f"server {subject.version} is simulated as one pod of {SINGLE_NODE_MODEL}"


def _percentage_unused(subject: Subject) -> str | None:
    server = subject.deployment.server
    if server.segregation or 0 <= server.slow_slot_percentage <= 100:
        return None
    return f"{server.slow_slot_percentage} is outside 0 to 100: no effect now, but the first connect fails once segregation is on"


def _percentage_100(subject: Subject) -> str | None:
    server = subject.deployment.server
    if not server.segregation or server.slow_slot_percentage != 100:
        return None
    return f"100 leaves no fast slot: every fast statement waits {server.fast_slot_timeout_s:g} s and fails"


def _pool_share(subject: Subject) -> str:
    deployment = subject.deployment
    return f"{deployment.pool.maximum_size} for {deployment.replicas} pods"


def _one_slot(subject: Subject) -> str | None:
    deployment = subject.deployment
    if not deployment.server.segregation or deployment.pool_per_pod != 1:
        return None
    return (
        f"{_pool_share(subject)} is one connection a pod, whose only slot is the slow one:"
        f" every fast statement waits {deployment.server.fast_slot_timeout_s:g} s and fails"
    )


def _one_connection(subject: Subject) -> str | None:
    deployment = subject.deployment
    if deployment.server.segregation or deployment.pool_per_pod != 1:
        return None
    return f"{_pool_share(subject)} is one connection a pod: one session stops all others there"


def _one_slow_slot(subject: Subject) -> str | None:
    deployment = subject.deployment
    slots = deployment.pool_per_pod
    if not deployment.server.segregation or not 1 < slots < FEW_SLOTS or deployment.slots_per_pod[1] != 1:
        return None
    return (
        f"{_pool_share(subject)} gives {slots} slots a pod: the slow lane is exactly 1 slot, {1 / slots:.0%} of the pod"
    )


def _few_threads(subject: Subject) -> str | None:
    deployment = subject.deployment
    threads, connections = deployment.server.thread_pool_size, deployment.pool_per_pod
    if threads >= connections:
        return None
    return f"{threads} threads for {connections} connections of a pod: no more statements run than there are threads"


def _many_threads(subject: Subject) -> str | None:
    deployment = subject.deployment
    threads, connections = deployment.server.thread_pool_size, deployment.pool_per_pod
    if threads <= MOST_THREADS_PER_CONNECTION * connections:
        return None
    return f"{threads} threads for {connections} connections of a pod: they only lengthen the queue for connections"


def _breaker(subject: Subject) -> str | None:
    threshold = subject.deployment.server.breaker_threshold
    if threshold > 0:
        return None
    seconds = subject.deployment.server.breaker_open_s
    return (
        f"{threshold}: the first error of a statement, even a unique violation, shuts it for {seconds:g} s on that pod"
    )


def _idle_above_pool(subject: Subject) -> str | None:
    pool = subject.deployment.pool
    if pool.minimum_idle <= pool.maximum_size:
        return None
    return f"{pool.minimum_idle} is above maximumPoolSize, {pool.maximum_size}: OJP takes it; every pool is kept at its maximum"


def _pools_above_database(subject: Subject) -> str | None:
    deployment = subject.deployment
    together = deployment.replicas * deployment.pool_per_pod
    most = deployment.database.max_connections
    if together <= most:
        return None
    return (
        f"{deployment.replicas} pods of {deployment.pool_per_pod} connections are {together}, more than the database's"
        f" {most:g}: its refusals mark healthy pods as down"
    )


def _overlap_above_database(subject: Subject) -> str | None:
    deployment = subject.deployment
    worst = connections_at_most(deployment.pool.maximum_size, deployment.replicas)
    reserve = deployment.constants.database_reserve_connections
    most = deployment.database.max_connections
    if worst + reserve <= most or deployment.replicas * deployment.pool_per_pod > most:
        return None
    return f"{worst} connections at the worst instant of an update, and {reserve:g} in reserve, are more than {most:g}"


def _telemetry_off(subject: Subject) -> str | None:
    off = subject.stated.get("ojp.opentelemetry.enabled") is False
    return "off closes the port that the readiness probe asks: no pod becomes Ready with this chart" if off else None


def _autoscaling(subject: Subject) -> str | None:
    on = subject.stated.get("autoscaling.enabled") is True
    return (
        "on: the chart leaves replicaCount out, so 1 pod, and makes no autoscaler and no Service per pod"
        if on
        else None
    )


def _pool_off(subject: Subject) -> str | None:
    off = subject.stated.get("ojp.connection.pool.enabled") is False
    return (
        "off is not modelled: each session opens a database connection of its own, without any bound" if off else None
    )


def _unread(subject: Subject) -> str | None:
    keys = [key for key in subject.stated if settings()[key].side == "client" and not settings()[key].is_read]
    return f"nothing reads {', '.join(keys)}" if keys else None


_VERSION = "version"
_LANES = "server.slowQuerySegregation"
_POOL = "client: ojp.connection.pool"
_KNOWN = ", ".join(SERVER_VERSIONS)

VERSION_RULES: tuple[Rule, ...] = (
    Rule(
        "unknown-version", Action.REFUSE, _VERSION, "a version of which nothing is known",
        _unknown_version, f"known: {_KNOWN}", "reference 12, CODE",
    ),
    Rule(
        "taken-for", Action.WARN, _VERSION, "a version between two that are known",
        _taken_for, f"write one of {_KNOWN}", "reference of later versions, 10, INFER",
    ),
    Rule(
        "never-read", Action.WARN, _VERSION, "1.0 and 1.1",
        _never_read, "hold the answer against your own cluster", "reference of later versions, 11, INFER",
    ),
    Rule(
        "not-simulated", Action.WARN, _VERSION, "a version with traits that the model lacks",
        _not_simulated, "see docs/upgrade.md", "reference of later versions, 1.3 and 6.5, CODE",
    ),
    Rule(
        "no-multinode", Action.REFUSE, _VERSION, "a server before 0.3.0 with more than one pod; `image.tag` missing, too",
        _single_node, f"write version: {DEFAULT_VERSION}, or image.tag", "reference 0, 5 and 11.2, CODE",
    ),
    Rule(
        "old-version", Action.WARN, _VERSION, "a server before 0.3.0 with one pod",
        _old_single_pod, f"write version: {DEFAULT_VERSION}, or image.tag", "reference 0, CODE",
    ),
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    *VERSION_RULES,
    Rule(
        "percentage-unused", Action.WARN, f"{_LANES}.slowSlotPercentage",
        "below 0 or above 100, segregation off", _percentage_unused, "write 1 to 99", "reference 9, CODE",
    ),
    Rule(
        "no-fast-slot", Action.REFUSE, f"{_LANES}.slowSlotPercentage",
        "100, segregation on", _percentage_100, "write 99 or less", "reference 2, CODE+RUN",
    ),
    Rule(
        "one-slot", Action.REFUSE, f"{_POOL}.maximumPoolSize",
        "`ceil(maximumPoolSize / pods)` is 1, segregation on", _one_slot,
        "write more than the number of pods, better five times as many", "reference 2 and 11.1, CODE+RUN",
    ),
    Rule(
        "one-connection", Action.WARN, f"{_POOL}.maximumPoolSize",
        "`ceil(maximumPoolSize / pods)` is 1, segregation off", _one_connection,
        "write more than the number of pods, better five times as many", "reference 1.3 and 5, CODE",
    ),
    Rule(
        "one-slow-slot", Action.WARN, f"{_POOL}.maximumPoolSize",
        f"fewer than {FEW_SLOTS} slots a pod, one of them slow, segregation on", _one_slow_slot,
        f"write {FEW_SLOTS} or more for each pod, or a larger slowSlotPercentage", "reference 2, CODE+RUN",
    ),
    Rule(
        "few-threads", Action.WARN, "server.threadPoolSize", "fewer than a pod has connections",
        _few_threads, "write more threads than connections: waiting RPCs hold one, too", "reference 11.13, INFER",
    ),
    Rule(
        "many-threads", Action.WARN, "server.threadPoolSize",
        f"more than {MOST_THREADS_PER_CONNECTION} for each connection of a pod",
        _many_threads, "write fewer, or a larger pool", "reference 11.13, INFER; the figure is the project's",
    ),
    Rule(
        "breaker-at-once", Action.WARN, "server.circuitBreakerThreshold", "0 or less",
        _breaker, "write 1 or more; OJP's default is 3", "reference 9, CODE",
    ),
    Rule(
        "idle-above-pool", Action.WARN, f"{_POOL}.minimumIdle", "above `maximumPoolSize`",
        _idle_above_pool, "lower it", "reference 5, CODE+RUN",
    ),
    Rule(
        "pools-above-database", Action.REFUSE, f"{_POOL}.maximumPoolSize",
        "the pools of all pods are more than `max_connections`",
        _pools_above_database, "lower it, or raise database.max_connections", "reference 5, 6 and 11.12, CODE",
    ),
    Rule(
        "overlap-above-database", Action.WARN, f"{_POOL}.maximumPoolSize",
        "the pools at the worst instant of an update, and the reserve, are more than `max_connections`",
        _overlap_above_database, "lower it, or raise database.max_connections", "reference 5 and 11.4, CODE+RUN",
    ),
    Rule(
        "never-ready", Action.REFUSE, "server.opentelemetry.enabled", "false",
        _telemetry_off, "write true", "reference 7.2 and 9, CODE",
    ),
    Rule(
        "no-autoscaler", Action.REFUSE, "autoscaling.enabled", "true",
        _autoscaling, "write false", "reference 7.2 and 11.9, CODE",
    ),
    Rule(
        "no-pool", Action.REFUSE, f"{_POOL}.enabled", "false", _pool_off, "write true", "reference 5, CODE",
    ),
    Rule(
        "unread", Action.WARN, "client", "a key that OJP's documents name and nothing reads",
        _unread, "remove it: it has no effect", "reference 5 and 6, CODE",
    ),
)  # fmt: skip


def examine(subject: Subject, rules: Iterable[Rule] = RULES) -> tuple[Finding, ...]:
    """Every rule that applies, in the order of the table."""
    return tuple(
        Finding(rule.name, rule.action, rule.place, text, rule.fix, rule.source)
        for rule in rules
        if (text := rule.finds(subject)) is not None
    )


def warnings_of(subject: Subject, file: str = "", rules: Iterable[Rule] = RULES) -> tuple[Finding, ...]:
    """The warnings; raises InputError at the first rule that refuses."""
    findings = examine(subject, rules)
    for finding in findings:
        if finding.action is Action.REFUSE:
            raise finding.error(file)
    return findings


def check_version(version: str, replicas: int, file: str = "") -> None:
    """Raise InputError unless so many pods of this server can be simulated."""
    warnings_of(Subject(Deployment(replicas, 1.0), server=version), file, VERSION_RULES)


def table() -> str:
    """The rules as a Markdown table."""
    lines = ["| Rule | Where | When | What happens | Source |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {rule.name} | `{rule.place}` | {rule.when} | {'refused' if rule.action is Action.REFUSE else 'a warning'}"
        f" | {rule.source} |"
        for rule in RULES
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
