"""What the chart has no value for, put beside and into its objects by Kustomize: by Helm's own hand, or before a commit.

``kustomization.yaml`` names it once. ``post-render.sh`` puts what Helm has rendered in the place of its ``helmCharts``.
"""

from __future__ import annotations

from collections.abc import Mapping

from ojp_sizing.data_files import data_path
from ojp_sizing.deployment.deployment import DEFAULT_VERSION
from ojp_sizing.emit.companions import (
    CONFIG_MAP_FILE,
    PROPERTIES_FILE,
    bare_properties,
    config_map,
    config_map_yaml,
    jdbc_url,
)
from ojp_sizing.emit.release import (
    CHART_NAME,
    CHART_REPOSITORY,
    CHART_VERSION,
    WARM_UP_PORT,
    Release,
    WarmUp,
    content_hash,
)
from ojp_sizing.emit.text import Plain, document

VALUES_FILE = "values.yaml"
KUSTOMIZATION_FILE = "kustomization.yaml"
SCRIPT_FILE = "post-render.sh"
#: Helm 4 takes the name of a plugin and looks for it in folders below one, which so holds nothing else.
PLUGINS_FOLDER, PLUGIN_NAME = "helm-plugins", "ojp-sizing"
#: What the image of the warm-up is built from.
IMAGE_FOLDER = "warm-up-image"
_WARM_UP_FILE = "warm-up.yaml"
_WARM_UP_PROPERTIES_FILE = "warm-up-properties.yaml"
_DISRUPTION_FILE = "pod-disruption-budget.yaml"

_SCRIPT = """\
#!/bin/sh
# Takes what Helm has rendered, and gives it back with what kustomization.yaml adds, by kubectl's own Kustomize.
# Helm 3 runs it as its post-renderer, Helm 4 through the plugin in {plugins}/.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/*.yaml "$work"
cat >"$work/rendered.yaml"
# helmCharts is the last key of the file, and what was rendered the first of its resources.
awk '
    /^helmCharts:/ {{ exit }}
    wanted && /^ *-/ {{ first = $0; sub(/-.*/, "- rendered.yaml", first); print first; wanted = 0 }}
    {{ print }}
    /^resources:/ {{ wanted = 1 }}
' "$here/{kustomization}" >"$work/{kustomization}"
kubectl kustomize "$work"
"""


def _disruption_budget(release: Release) -> str:
    return document(
        [
            *release.heading,
            "At most one pod is taken away at a time when nodes are drained: that is what was simulated. Rolling updates of"
            " the StatefulSet don't ask this, and take one at a time anyway.",
        ],
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": release.full_name, "namespace": release.namespace, "labels": release.labels},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": release.labels}},
        },
    )


def _properties_name(release: Release) -> str:
    return f"{release.name}-properties-{content_hash(bare_properties(release))}"


def _warm_up_properties(release: Release) -> str:
    notes = ["The clients' ojp.properties for the warm-up: who comes first sets the pool's size."]
    return config_map(release, _properties_name(release), {PROPERTIES_FILE: bare_properties(release)}, notes)


def _warm_up_container(release: Release, warm_up: WarmUp) -> Plain:
    return {
        "name": "warm-up",
        "image": warm_up.image,
        "args": ["127.0.0.1", str(WARM_UP_PORT)],
        "env": [
            {"name": "OJP_URL", "value": jdbc_url(release)},
            {"name": "OJP_WARM_UP_CALLS", "value": str(warm_up.calls)},
        ],
        "envFrom": [{"secretRef": {"name": release.secret_name}}],
        "volumeMounts": [
            {"name": "ojp-properties", "mountPath": "/warm-up/properties"},
            {"name": "warm-up-tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
        "readinessProbe": {"tcpSocket": {"port": WARM_UP_PORT}, "periodSeconds": 1, "failureThreshold": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "160Mi"}, "limits": {"cpu": "1", "memory": "160Mi"}},
        # What the Pod Security level "restricted" asks for.
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _warm_up_patch(release: Release, warm_up: WarmUp) -> str:
    pod: Plain = {
        # The server stays the first: what says nothing of a container means that one.
        "containers": [{"name": CHART_NAME}, _warm_up_container(release, warm_up)],
        "volumes": [
            {"name": "ojp-properties", "configMap": {"name": _properties_name(release)}},
            {"name": "warm-up-tmp", "emptyDir": {}},
        ],
    }
    return document(
        [
            *release.heading,
            "The warm-up beside each server: the pod is ready when the server answers and its pool stands (docs/restarts.md).",
            f"The image is made of {IMAGE_FOLDER}/ beside this file; its name is that of --warm-up-image.",
            f"Secret {release.secret_name}: OJP_USER and OJP_PASSWORD, the application's own, letter for letter.",
            "It needs CPU only while it warms a pod that has just started, and is outside of the sized cost.",
        ],
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": release.full_name, "namespace": release.namespace},
            "spec": {"template": {"spec": pod}},
        },
    )


def _image_files(release: Release) -> dict[str, str]:
    """What the warm-up's image is made of, with the driver of the release's version."""
    texts = {name: data_path("warm-up", name).read_text(encoding="utf-8") for name in ("Dockerfile", "WarmUp.java")}
    return texts | {"Dockerfile": texts["Dockerfile"].replace(DEFAULT_VERSION, release.image_tag)}


def _kustomization(release: Release, resources: Mapping[str, str], patches: Mapping[str, str]) -> str:
    by_name: Plain = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
        **({"patches": [{"path": name} for name in patches]} if patches else {}),
        "helmCharts": [
            {
                "name": CHART_NAME,
                "repo": CHART_REPOSITORY,
                "version": CHART_VERSION,
                "releaseName": release.name,
                "namespace": release.namespace,
                "valuesFile": VALUES_FILE,
            }
        ],
    }
    return document(
        [
            *release.heading,
            f"All that the answer needs. Your own files and patches may be added; {SCRIPT_FILE} reads this file too, without"
            " helmCharts, which stays the last key.",
        ],
        by_name,
    )


def kustomize_files(release: Release) -> dict[str, str]:
    """All that stands beside ``values.yaml``, by name, with both ways for Helm to take it up."""
    resources = {CONFIG_MAP_FILE: config_map_yaml(release), _DISRUPTION_FILE: _disruption_budget(release)}
    patches: dict[str, str] = {}
    image: dict[str, str] = {}
    if release.warm_up:
        resources[_WARM_UP_PROPERTIES_FILE] = _warm_up_properties(release)
        patches[_WARM_UP_FILE] = _warm_up_patch(release, release.warm_up)
        image = {f"{IMAGE_FOLDER}/{name}": text for name, text in _image_files(release).items()}
    plugin: Plain = {
        "apiVersion": "v1",
        "type": "postrenderer/v1",
        "name": PLUGIN_NAME,
        "version": "0.1.0",
        "runtime": "subprocess",
        "runtimeConfig": {
            "platformCommand": [{"command": "sh", "args": [f"${{HELM_PLUGIN_DIR}}/../../{SCRIPT_FILE}"]}]
        },
    }
    return {
        **resources,
        **patches,
        **image,
        KUSTOMIZATION_FILE: _kustomization(release, resources, patches),
        SCRIPT_FILE: _SCRIPT.format(plugins=PLUGINS_FOLDER, kustomization=KUSTOMIZATION_FILE),
        f"{PLUGINS_FOLDER}/{PLUGIN_NAME}/plugin.yaml": document([f"For Helm 4: {SCRIPT_FILE} as a plugin."], plugin),
    }
