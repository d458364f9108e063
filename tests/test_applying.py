"""The pasted command, as it is printed: a whole release by Helm 3, by Helm 4, and by Kustomize for those who commit it.

The chart comes from a repository on loopback; nothing is sent to any cluster.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from test_emit import MIB, properties, release
from test_helm import CHART, KUBERNETES, TOOLS, Manifests, environment, named, parsed, run_local, tools

from ojp_sizing.emit.applying import helm_command
from ojp_sizing.emit.companions import jdbc_url, ojp_properties
from ojp_sizing.emit.kustomize import kustomize_files
from ojp_sizing.emit.release import CHART_REPOSITORY, METRICS_PORT, SERVER_PORT, Release, WarmUp
from ojp_sizing.emit.values import values_yaml
from ojp_sizing.emit.writing import write_files

__all__ = ["environment", "tools"]
WARM = release(
    name="db", namespace="prod", database_url="postgresql://pg.prod:5432/app", warm_up=WarmUp("registry.local/warm-up:1", 30_000)
)  # fmt: skip


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a chart repository that has the stand-in as version 0.1.5."""
    folder = tmp_path_factory.mktemp("repository")
    for command in (["package", CHART, "--destination", folder], ["repo", "index", folder]):
        subprocess.run([TOOLS / "helm3" / "helm", *command], check=True, capture_output=True, timeout=60)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def written(sized: Release, directory: Path, repository: str) -> Path:
    """The files of a release; of their own words only the repository is another."""
    files = {**kustomize_files(sized), "values.yaml": values_yaml(sized), "ojp.properties": ojp_properties(sized)}
    write_files(
        directory, {name: text.replace(CHART_REPOSITORY, repository) for name, text in files.items()}, force=True
    )
    return directory


def pasted(sized: Release, directory: Path, repository: str, tools: Path, env: dict[str, str]) -> str:
    """What the printed command would apply: its words run by a shell, ``template`` in the place of the installation."""
    written(sized, directory, repository)
    command = helm_command(sized, directory, int(tools.name.removeprefix("helm")))
    assert command.count("helm upgrade --install ") == 1
    command = command.replace("helm upgrade --install ", "helm template ").replace(CHART_REPOSITORY, repository)
    done = run_local("/bin/sh", "-c", command, env=env | {"PATH": f"{tools}:/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def whole(tools: Path, environment: dict[str, str], repository: str, tmp_path: Path) -> Manifests:
    return parsed(pasted(WARM, tmp_path / "my files", repository, tools, environment))


def pod_of(manifests: Manifests, sized: Release) -> Any:
    return named(manifests, "StatefulSet", sized.full_name)["spec"]["template"]["spec"]


def test_the_pasted_command_has_all_that_the_answer_needs(whole: Manifests) -> None:
    assert {m["metadata"]["namespace"] for m in whole} == {"prod"}
    assert all(m["metadata"]["name"].startswith("db-") for m in whole)
    # Nothing is called as it would be by default (the chart's label has its version).
    assert not re.search(r'"ojp"|(?<!db-)ojp-server-\d(?!\.1\.5)', json.dumps(whole))
    for kubernetes in KUBERNETES:
        for manifest in whole:
            kubernetes_validate.validate(manifest, kubernetes, strict=True)
    # The JVM's flags.
    server, warm_up = pod_of(whole, WARM)["containers"]
    flags = named(whole, "ConfigMap", server["envFrom"][1]["configMapRef"]["name"])["data"]["JAVA_TOOL_OPTIONS"]
    assert flags == WARM.jvm_flags
    # Drains take one pod at a time, of exactly these pods.
    budget = named(whole, "PodDisruptionBudget", "db-ojp-server")["spec"]
    labels = named(whole, "StatefulSet", "db-ojp-server")["spec"]["template"]["metadata"]["labels"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    # The warm-up, behind the server, with the clients' own URL and properties.
    assert (server["name"], warm_up["name"]) == ("ojp-server", "warm-up")
    assert server["image"] == "rrobetti/ojp:0.3.1-beta"
    told = {entry["name"]: entry["value"] for entry in warm_up["env"]}
    assert told == {"OJP_URL": jdbc_url(WARM), "OJP_WARM_UP_CALLS": "30000"}
    assert warm_up["envFrom"] == [{"secretRef": {"name": "db-warm-up"}}]
    volumes = {volume["name"]: volume for volume in pod_of(whole, WARM)["volumes"]}
    clients = named(whole, "ConfigMap", volumes["ojp-properties"]["configMap"]["name"])["data"]["ojp.properties"]
    assert properties(clients) == properties(ojp_properties(WARM))
    assert {mount["name"] for mount in warm_up["volumeMounts"]} == set(volumes)


def test_the_warm_up_fits_beside_the_server(whole: Manifests) -> None:
    server, warm_up = pod_of(whole, WARM)["containers"]
    # The pod is ready when both are; the port is the one that the program is told to open, and none of the server's.
    port = warm_up["readinessProbe"]["tcpSocket"]["port"]
    assert warm_up["args"] == ["127.0.0.1", str(port)]
    assert port not in (SERVER_PORT, METRICS_PORT)
    assert server["readinessProbe"]["httpGet"]["port"] == "prometheus"
    # What the level "restricted" of Pod Security asks of a container (GENERAL).
    security = warm_up["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["runAsNonRoot"] is True and security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    # Its root is read-only: what it writes is a file in /tmp (WarmUp.java).
    assert security["readOnlyRootFilesystem"] is True
    assert "/tmp" in {mount["mountPath"] for mount in warm_up["volumeMounts"]}  # noqa: S108
    assert set(warm_up["resources"]["limits"]) == {"cpu", "memory"}
    # The pool's settings lie where the image's class path looks.
    dockerfile = kustomize_files(WARM)["warm-up-image/Dockerfile"]
    entry = next(line for line in dockerfile.splitlines() if line.startswith("ENTRYPOINT"))
    path = next(m["mountPath"] for m in warm_up["volumeMounts"] if m["name"] == "ojp-properties")
    assert path in json.loads(entry.partition(" ")[2])[4].split(":")
    # No Service of the clients leads to a pod that isn't ready.
    services = [manifest["spec"] for manifest in whole if manifest["kind"] == "Service"]
    assert len(services) == 1 + WARM.replicas
    assert not any(service.get("publishNotReadyAddresses") for service in services)


def test_without_a_warm_up_the_rest_is_the_same(
    tools: Path, environment: dict[str, str], repository: str, tmp_path: Path
) -> None:
    manifests = parsed(pasted(release(), tmp_path / "out", repository, tools, environment))
    (server,) = pod_of(manifests, release())["containers"]
    assert named(manifests, "ConfigMap", server["envFrom"][1]["configMapRef"]["name"])["data"]
    named(manifests, "PodDisruptionBudget", "ojp-server")


@pytest.mark.parametrize(("kubectl", "helm"), [("helm3", "helm3"), ("helm4", "helm3"), ("helm4", "helm4")])
def test_render_and_commit_gives_the_same_objects(
    kubectl: str, helm: str, environment: dict[str, str], repository: str, tmp_path: Path
) -> None:
    """Kustomize up to 5.5 (kubectl 1.32) can't call Helm 4; 5.8 (kubectl 1.37) calls both."""
    directory = written(WARM, tmp_path / "out", repository)
    environment["PATH"] = f"{TOOLS / helm}:/usr/bin:/bin"
    done = run_local(TOOLS / kubectl / "kubectl", "kustomize", "--enable-helm", directory, env=environment)
    assert done.returncode == 0, done.stderr

    def by_name(manifests: Manifests) -> dict[tuple[str, str], Any]:
        return {(m["kind"], m["metadata"]["name"]): m for m in manifests}

    helms = parsed(pasted(WARM, tmp_path / "again", repository, TOOLS / helm, environment))
    assert by_name(parsed(done.stdout)) == by_name(helms)


def test_a_release_of_another_name_is_refused_and_not_half_done(
    tools: Path, environment: dict[str, str], repository: str, tmp_path: Path
) -> None:
    """The files are those of one release: under another name Kustomize finds nothing to patch, and Helm applies nothing."""
    written(WARM, tmp_path / "out", repository)
    command = helm_command(WARM, tmp_path / "out", int(tools.name.removeprefix("helm")))
    command = command.replace("helm upgrade --install db ", "helm template other ").replace(
        CHART_REPOSITORY, repository
    )
    done = run_local("/bin/sh", "-c", command, env=environment | {"PATH": f"{tools}:/usr/bin:/bin"})
    assert done.returncode != 0
    assert "post" in done.stderr and (tools.name == "helm4" or "db-ojp-server" in done.stderr)
    assert not done.stdout.strip()


# -- rollback ------------------------------------------------------------------------------------


class Cluster:
    """What a cluster holds after Helm has applied a revision: objects by name. Helm removes what the last revision had and
    the new one hasn't, but for what it is told to keep."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Any] = {}
        self.manifest: Manifests = []

    def apply(self, manifest: Manifests) -> None:
        new = {(m["kind"], m["metadata"]["name"]): m for m in manifest}
        for old in self.manifest:
            key = (old["kind"], old["metadata"]["name"])
            kept = old["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
            if key not in new and not kept:
                del self.objects[key]
        self.objects |= new
        self.manifest = manifest

    def started(self, template: Any) -> dict[str, str]:
        """What a pod of this template finds in its environment."""
        found: dict[str, str] = {}
        for source in template["spec"]["containers"][0]["envFrom"]:
            found |= self.objects["ConfigMap", source["configMapRef"]["name"]]["data"]
        return found


SMALL = release(thread_pool_size=50, limit_cores=0.5, request_cores=0.25, heap_bytes=64 * MIB, limit_bytes=256 * MIB,
                request_bytes=256 * MIB, warm_up=WarmUp("w:1", 30_000))  # fmt: skip
LARGE = release(replicas=13, thread_pool_size=400, limit_cores=2.5, heap_bytes=704 * MIB, warm_up=WarmUp("w:1", 30_000))


def test_a_rollback_has_flags_and_limits_of_one_sizing(
    tools: Path, environment: dict[str, str], repository: str, tmp_path: Path
) -> None:
    first, second = (
        parsed(pasted(sized, tmp_path / str(sized.replicas), repository, tools, environment))
        for sized in (SMALL, LARGE)
    )
    cluster = Cluster()
    before = named(first, "StatefulSet", "ojp-server")["spec"]["template"]
    for manifest, sized in ((first, SMALL), (second, LARGE), (first, SMALL)):
        cluster.apply(manifest)
        template = named(manifest, "StatefulSet", "ojp-server")["spec"]["template"]
        limits = template["spec"]["containers"][0]["resources"]["limits"]
        assert cluster.started(template)["JAVA_TOOL_OPTIONS"] == sized.jvm_flags
        assert limits["memory"] == f"{sized.limit_bytes // MIB}Mi"
        # A pod of the revision before that starts again while the update runs finds its own flags.
        assert cluster.started(before)["JAVA_TOOL_OPTIONS"] in (SMALL.jvm_flags, LARGE.jvm_flags)
        assert (
            f"-Xmx{64 if before['spec']['containers'][0]['resources']['limits']['memory'] == '256Mi' else 704}m"
            in (cluster.started(before)["JAVA_TOOL_OPTIONS"])
        )
        before = template


def test_a_shared_name_would_not_survive_a_rollback() -> None:
    """What went wrong once: one name, applied beside the release. The cluster above sees it."""
    cluster = Cluster()
    template = {"spec": {"containers": [{"envFrom": [{"configMapRef": {"name": "jvm"}}]}]}}
    for flags in ("small", "large"):
        cluster.objects["ConfigMap", "jvm"] = {"data": {"JAVA_TOOL_OPTIONS": flags}}
    cluster.apply([])
    assert cluster.started(template)["JAVA_TOOL_OPTIONS"] == "large"


def test_a_strategic_merge_of_one_revision_onto_the_other_is_the_other(
    tools: Path, environment: dict[str, str], repository: str, tmp_path: Path
) -> None:
    """As Helm 3 does it, by kubectl: lists that it merges by name keep nothing of the old revision."""
    texts = [pasted(sized, tmp_path / str(sized.replicas), repository, tools, environment) for sized in (LARGE, SMALL)]
    live, wanted = (named(parsed(text), "StatefulSet", "ojp-server") for text in texts)
    for name, content in (("live", live), ("wanted", wanted)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    command = [tools / "kubectl", "patch", "--local", "-f", tmp_path / "live.yaml", "-o", "json"]
    done = run_local(*command, "--type", "strategic", "--patch-file", tmp_path / "wanted.yaml", env=environment)
    assert done.returncode == 0, done.stderr
    merged = json.loads(done.stdout)
    volumes = merged["spec"]["template"]["spec"].pop("volumes")
    wanted_volumes = wanted["spec"]["template"]["spec"].pop("volumes")
    assert {v["name"]: v for v in volumes} == {v["name"]: v for v in wanted_volumes}
    assert merged["spec"] == wanted["spec"]
