"""Helm's values as people keep them: in layers, below an umbrella chart's key, as ``helm get values`` prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown
from ojp_sizing.reading import at, load_tree, read_text

GUIDE = "docs/deployment.md"
CHART_NAME = "ojp-server"
#: Versions of the chart whose values are known (docs/settings.md).
CHART_VERSIONS = ("0.1.5",)
#: What ``helm get values`` writes above them.
_HEADS = re.compile(r"\A(?:USER-SUPPLIED|COMPUTED) VALUES:[ \t]*\r?\n")
#: Keys that charts often have, or the OJP book shows, and this one doesn't read: what there is instead.
IGNORED: Mapping[str, str] = MappingProxyType(
    {
        "env": "the chart reads envFrom only",
        "livenessProbe": "the chart has a readiness probe and no other",
        "readinessProbe": "the chart's own asks the metrics port, and can't be changed",
        "startupProbe": "the chart has a readiness probe and no other",
        "lifecycle": "only a post-renderer can add it (docs/files.md)",
        "terminationGracePeriodSeconds": "only a post-renderer can add it (docs/files.md)",
        "topologySpreadConstraints": "only a post-renderer can add it (docs/files.md)",
        "podDisruptionBudget": "the chart makes none (docs/files.md)",
        "networkPolicy": "the chart makes none (docs/files.md)",
        "serviceMonitor": "the chart makes none (docs/files.md)",
        "persistence": "the chart makes no volume; the server writes no files",
        "updateStrategy": "the chart leaves it at RollingUpdate, one pod at a time",
        "podManagementPolicy": "the chart leaves it at OrderedReady",
        "strategy": "that is a Deployment's; the chart makes a StatefulSet",
        "ingress": "the chart makes none, and clients need each pod's own address",
        "serviceAccount": "the chart makes none",
        "podAntiAffinity": "it belongs below affinity",
        "podLabels": "the chart reads podAnnotations only",
        "javaOpts": "JVM flags come by envFrom, as JAVA_TOOL_OPTIONS",
        "autoscaling.targetMemoryUtilizationPercentage": "the chart has no autoscaler",
        "server.javaOpts": "JVM flags come by envFrom, as JAVA_TOOL_OPTIONS",
        "service.annotations": "the chart gives its Services none",
        "image.digest": "write it behind the tag: tag@sha256:...",
    }
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of values: the part that the chart gets, and the line of each key by its path in the file."""

    source: str
    tree: Mapping[str, object]
    lines: Mapping[str, int] = field(default_factory=dict)
    #: What stands before the chart's keys in the file, "" for nothing.
    prefix: str = ""

    def line(self, path: str) -> int | None:
        """Where a key of the chart stands, or the nearest above it."""
        whole = f"{self.prefix}.{path}" if self.prefix else path
        while whole:
            if whole in self.lines:
                return self.lines[whole]
            whole = whole.rpartition(".")[0]
        return None


def parse_layer(text: str, place: str, directory: Path | None = None, own: Iterable[str] = ()) -> Layer:
    """One file's values. ``own`` are keys beside the chart's, which an umbrella's file has beside the chart's key.

    ``directory`` is where an umbrella's ``Chart.yaml`` is looked for, for the name that it gives the chart.
    """
    head = _HEADS.match(text)
    lines: dict[str, int] = {}
    tree = load_tree(text[head.end() :] if head else text, place, GUIDE, aliases=True, lines=lines)
    if head:
        lines = {path: line + 1 for path, line in lines.items()}
    for name in (CHART_NAME, *_aliases(directory)):
        inner = tree.get(name)
        if isinstance(inner, dict):
            beside = {key: value for key, value in tree.items() if key in own}
            return Layer(place, {**beside, **inner}, lines, name)
    # Values of all charts below an umbrella; nothing of OJP's chart is among them.
    return Layer(place, {key: value for key, value in tree.items() if key != "global"}, lines)


def read_layer(path: Path, own: Iterable[str] = ()) -> Layer:
    """The values of a file; raises InputError in one line."""
    text, place = read_text(path)
    return parse_layer(text, place, path.parent, own)


def _aliases(directory: Path | None) -> Sequence[str]:
    """The names that the umbrella chart in a directory gives to OJP's."""
    chart = directory / "Chart.yaml" if directory else None
    if chart is None or not chart.is_file():
        return ()
    text, place = read_text(chart)
    needs = load_tree(text, place, GUIDE, aliases=True).get("dependencies")
    found = (
        [one for one in needs if isinstance(one, dict) and one.get("name") == CHART_NAME]
        if isinstance(needs, list)
        else []
    )
    for one in found:
        version = one.get("version")
        # A range is Helm's to resolve.
        is_one = isinstance(version, str) and re.fullmatch(r"v?[0-9][0-9A-Za-z.+-]*", version)
        if is_one and str(version).removeprefix("v") not in CHART_VERSIONS:
            known = f"known: {', '.join(CHART_VERSIONS)}"
            raise InputError(at(place, "dependencies"), f"chart {CHART_NAME} {shown(str(version))} isn't known", known)
    return [str(one["alias"]) for one in found if isinstance(one.get("alias"), str)]


def merged(layers: Sequence[Layer]) -> dict[str, object]:
    """What Helm makes of the layers: maps are merged, all else is replaced, and null removes a key."""
    result: dict[str, object] = {}
    for layer in layers:
        _merge(result, layer.tree)
    return result


def _merge(into: dict[str, object], layer: Mapping[str, object]) -> None:
    for key, value in layer.items():
        below = into.get(key)
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            # A mapping of its own: an anchor's is one object in several places.
            fresh: dict[str, object] = dict(below) if isinstance(below, dict) else {}
            _merge(fresh, value)
            into[key] = fresh
        else:
            into[key] = value


def layer_of(layers: Sequence[Layer], path: str) -> Layer:
    """The last layer that says something of a key of the chart, the last one for none."""
    steps = path.split(".")
    for layer in reversed(layers):
        node: object = layer.tree
        for step in steps:
            node = node.get(step) if isinstance(node, dict) else None
        if node is not None:
            return layer
    return layers[-1]
