"""The production checklist of OJP's book (chapter 3a), row by row: met, not met, or not to be seen from the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ojp_sizing.deployment.reading import DeploymentFile
from ojp_sizing.errors import InputError
from ojp_sizing.reading import load_tree, read_text


class State(StrEnum):
    """What can be said of a row."""

    MET = "met"
    NOT_MET = "not met"
    UNSEEN = "can't be seen from here"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the checklist with what was found; ``chapter`` is its heading there."""

    chapter: str
    name: str
    state: State
    words: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What ``kustomization.yaml`` beside the values adds: kinds of objects, and the fields of its patches by name."""

    kinds: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    dashboards: bool = False


def read_beside(directory: Path) -> Beside:
    """The kustomization in a directory, if there is one that lists plain files."""
    kustomization = directory / "kustomization.yaml"
    if not kustomization.is_file():
        return Beside()
    tree = load_tree(*read_text(kustomization), aliases=True)
    kinds, fields, dashboards = set(), set(), False
    names = [one for one in _list(tree, "resources") if isinstance(one, str)]
    names += [
        one["path"] for one in _list(tree, "patches") if isinstance(one, dict) and isinstance(one.get("path"), str)
    ]
    for name in names:
        path = directory / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
            continue
        try:
            document = load_tree(*read_text(path), aliases=True)
        except InputError:
            continue  # several documents, say: not one of ours
        kinds.add(str(document.get("kind")))
        dashboards |= "grafana_dashboard" in str(document.get("metadata"))
        fields |= set(_keys(document))
    return Beside(frozenset(kinds), frozenset(fields), dashboards)


def _list(tree: Mapping[str, object], key: str) -> list[object]:
    found = tree.get(key)
    return found if isinstance(found, list) else []


def _keys(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, inner in node.items():
            yield key
            yield from _keys(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _keys(inner)


def _get(values: Mapping[str, object], path: str) -> object:
    node: object = values
    for step in path.split("."):
        node = node.get(step) if isinstance(node, Mapping) else None
    return node


def checklist(file: DeploymentFile, beside: Beside) -> tuple[Row, ...]:
    """Every row, in the chapter's order."""
    return tuple(_rows(file, beside))


def _rows(file: DeploymentFile, beside: Beside) -> Iterator[Row]:
    def stated(path: str) -> bool:
        return bool(_get(file.values, path))

    def met(is_met: bool, yes: str, no: str) -> tuple[State, str]:
        return (State.MET, yes) if is_met else (State.NOT_MET, no)

    def beside_or(kind: str, no: str) -> tuple[State, str]:
        return (State.MET, f"a {kind} in kustomization.yaml") if kind in beside.kinds else (State.UNSEEN, no)

    def patched(field: str) -> tuple[State, str]:
        if field in beside.fields:
            return State.MET, "by a patch in kustomization.yaml"
        return State.NOT_MET, "the chart makes none, and no kustomization.yaml beside adds it"

    resources = "Resource limits"
    for kind in ("requests", "limits"):
        both = all(stated(f"resources.{kind}.{name}") for name in ("cpu", "memory"))
        yield Row(resources, kind, *met(both, "CPU and memory", "CPU, memory or both are missing"))
    probes = "Health probes"
    yield Row(probes, "livenessProbe", *patched("livenessProbe"))
    readiness = "the chart's own, which asks the metrics port, not gRPC"
    on = file.settings.get("ojp.opentelemetry.enabled", True) is True
    yield Row(probes, "readinessProbe", *met(on, readiness, "telemetry is off: the port that it asks is closed"))
    yield Row(probes, "startupProbe", *patched("startupProbe"))
    available = "High availability"
    pods = file.replicas or 0
    yield Row(available, "replicaCount >= 3", *met(pods >= 3, f"{pods} pods", f"{pods} pods"))
    apart = stated("affinity.podAntiAffinity") or "topologySpreadConstraints" in beside.fields
    yield Row(available, "podAntiAffinity", *met(apart, "stated", "pods may share a node, and are lost with it"))
    security = "Security"
    secure = stated("securityContext") or stated("podSecurityContext")
    yield Row(security, "securityContext", *met(secure, "stated", "empty: the container runs as its image says"))
    yield Row(security, "networkPolicy", *beside_or("NetworkPolicy", "it is no part of the chart"))
    open_to_all = str(file.settings.get("ojp.server.allowedIps", "0.0.0.0/0")).strip()
    restricted = not any(part.strip().endswith("/0") for part in open_to_all.split(","))
    yield Row(security, "allowedIps", *met(restricted, open_to_all, f"{open_to_all}: open to every address"))
    monitoring = "Monitoring"
    yield Row(monitoring, "prometheus", *met(on, "the server serves metrics", "server.opentelemetry.enabled is false"))
    yield Row(monitoring, "alerts", *beside_or("PrometheusRule", "alerts are no part of the chart"))
    dashboards = (State.MET, "in kustomization.yaml") if beside.dashboards else (State.UNSEEN, "no part of the chart")
    yield Row(monitoring, "dashboards", *dashboards)
    for name in ("centralized logging", "log retention"):
        yield Row("Logging", name, State.UNSEEN, "the server logs to its console; where that goes is the cluster's")
    scaling = "Autoscaling"
    why = "on purpose: clients list every pod in their URL, so that a pod that comes gets no clients"
    yield Row(scaling, "HPA", State.NOT_MET, why)
    yield Row(scaling, "metrics-server", State.UNSEEN, "it is the cluster's")
    yield Row("Updates", "rollingUpdate", State.MET, "a StatefulSet's own, one pod at a time; simulated here")
    unavailable = "a StatefulSet stops a pod before it starts the new one: one is missing, and the simulation has it so"
    yield Row("Updates", "maxUnavailable: 0", State.NOT_MET, unavailable)
