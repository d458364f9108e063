"""``values.yaml`` for chart ``ojp-server`` 0.1.5, with the number behind each sized value as a comment."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ruamel.yaml.comments import CommentedMap

from ojp_sizing.emit.release import (
    CHART_NAME,
    CHART_VERSION,
    METRICS_PORT,
    SERVER_PORT,
    Release,
    content_hash,
    milliseconds,
)
from ojp_sizing.emit.text import LEAST_QUOTED, Plain, comment_lines, commented, dumped, node
from ojp_sizing.quantities import format_bytes, format_cores
from ojp_sizing.settings import by_helm_path, settings

_INDENT = 2
#: Units that a number can't do without.
_SHOWN_UNITS = ("ms", "s", "bytes", "%")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One value by its Helm path, and what is to be said about it beyond its reason and the table of settings."""

    path: str
    value: Plain
    note: str = ""


def _default(key: str) -> Plain:
    """The server's own default, emitted where the chart's differs, lacks it, or should not drift."""
    value = settings()[key].default
    if not isinstance(value, (bool, int, str)):
        raise TypeError(f"{key} has no plain default")
    return value


def _server_entries(release: Release) -> list[_Entry]:
    lanes = "server.slowQuerySegregation"
    slots = -(-release.pool_size // release.replicas)
    lane_note = f"Here of {slots} slots: pool size {release.pool_size} / {release.replicas} pods, rounded up."
    return [
        _Entry("server.port", SERVER_PORT),
        _Entry("server.prometheusPort", METRICS_PORT),
        _Entry("server.threadPoolSize", release.thread_pool_size),
        _Entry("server.maxRequestSize", _default("ojp.server.maxRequestSize")),
        _Entry("server.connectionIdleTimeout", _default("ojp.server.connectionIdleTimeout")),
        _Entry("server.circuitBreakerTimeout", milliseconds(release.breaker_open_s)),
        _Entry("server.circuitBreakerThreshold", release.breaker_threshold),
        _Entry("server.opentelemetry.enabled", True),
        _Entry(f"{lanes}.enabled", release.segregation),
        _Entry(f"{lanes}.slowSlotPercentage", release.slow_slot_percentage, lane_note),
        _Entry(f"{lanes}.idleTimeout", milliseconds(release.slot_idle_timeout_s)),
        _Entry(f"{lanes}.slowSlotTimeout", milliseconds(release.slow_slot_timeout_s)),
        _Entry(f"{lanes}.fastSlotTimeout", milliseconds(release.fast_slot_timeout_s)),
        _Entry(f"{lanes}.updateGlobalAvgInterval", round(release.update_global_average_s)),
        # The folder of the images after 0.3.1 (their POMs, CODE): an empty variable is nothing to rely on.
        _Entry("server.driversPath", "/opt/ojp/ojp-libs"),
    ]


def _pod_entries(release: Release) -> list[_Entry]:
    apart: Plain = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": release.labels},
                    },
                }
            ]
        }
    }
    companion: Plain = [{"configMapRef": {"name": release.config_map_name}}]
    return [
        _Entry("resources.requests.cpu", format_cores(release.request_cores)),
        _Entry("resources.requests.memory", format_bytes(release.request_bytes)),
        _Entry("resources.limits.cpu", format_cores(release.limit_cores)),
        _Entry("resources.limits.memory", format_bytes(release.limit_bytes)),
        _Entry("affinity", apart, "So: on different nodes where that is possible."),
        _Entry(
            "envFrom",
            companion,
            "The JVM's flags, in jvm-config.yaml. Helm replaces lists: a values file after this one that has envFrom too must"
            " repeat this entry, or the heap is a quarter of the memory limit.",
        ),
    ]


def _entries(release: Release) -> list[_Entry]:
    first = [
        _Entry("replicaCount", release.replicas),
        _Entry("image.tag", release.image_tag),
        _Entry("autoscaling.enabled", False),
        _Entry("service.perPodService.enabled", True, "The JDBC URL uses these addresses."),
        _Entry("service.perPodService.type", "ClusterIP"),
    ]
    server = _server_entries(release)
    rollout = _Entry(
        "podAnnotations",
        {"checksum/ojp-settings": content_hash(json.dumps({one.path: one.value for one in server}, sort_keys=True))},
        "This one follows the server's settings: they are environment variables, and the chart doesn't restart pods for them"
        " by itself.",
    )
    return [*first, *server, rollout, *_pod_entries(release)]


def _put(root: CommentedMap, entry: _Entry, reason: str) -> None:
    *parents, last = entry.path.split(".")
    branch = root
    for parent in parents:
        branch = branch.setdefault(parent, CommentedMap())
    branch[last] = node(entry.value)
    setting = by_helm_path(entry.path)
    if setting is None:
        raise KeyError(f"the chart has no value {entry.path}")
    lines = comment_lines(text for text in (reason, setting.effect, entry.note) if text)
    branch.yaml_set_comment_before_after_key(last, before="\n".join(lines), indent=_INDENT * len(parents))
    if setting.unit in _SHOWN_UNITS:
        branch.yaml_add_eol_comment(setting.unit, last, column=0)


def _spaced(body: str) -> str:
    """A blank line before each top-level block, that is before its comment where it has one."""
    lines: list[str] = []
    before = ""
    for line in body.splitlines():
        starts = line[:1] not in ("", " ", "-")
        if starts and not before.startswith("#"):
            lines.append("")
        lines.append(line.rstrip())
        before = line
    return "\n".join(lines) + "\n"


def values_yaml(release: Release) -> str:
    """The file as text: only values that chart 0.1.5 reads, the same bytes for the same release."""
    root = CommentedMap()
    for entry in _entries(release):
        _put(root, entry, release.reasons.get(entry.path, ""))
    heading = [
        *release.heading,
        f"Values for chart {CHART_NAME} {CHART_VERSION}.",
        f"Whole numbers from {LEAST_QUOTED:,} on are in quotes: Helm prints bare ones as 4.194304e+06, which OJP can't"
        " read; it would silently take its default.",
    ]
    return commented(heading) + _spaced(dumped(root))
