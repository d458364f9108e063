"""ojp-size check: every complaint at once, layers as Helm merges them, the checklist, and what tools read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import yaml
from test_emit import release

from ojp_sizing.checking.checklist import State, checklist, read_beside
from ojp_sizing.checking.complaints import Given, Level, read_given
from ojp_sizing.checking.formats import junit, sarif
from ojp_sizing.demand.reading import read_workload
from ojp_sizing.deployment.reading import read_layers
from ojp_sizing.emit.companions import jdbc_url, ojp_properties
from ojp_sizing.emit.kustomize import kustomize_files
from ojp_sizing.emit.values import values_yaml
from ojp_sizing.emit.writing import write_files
from ojp_sizing.errors import InputError
from ojp_sizing.reading import load_tree

ROOT = Path(__file__).parent.parent
WEB = read_workload("web-oltp")
#: What a person might have; nothing is wrong with it.
FINE = """\
replicaCount: 3
image: {tag: 0.3.1-beta}
server: {threadPoolSize: 96, allowedIps: 10.0.0.0/8, slowQuerySegregation: {enabled: false}}
resources:
  requests: {cpu: 1, memory: 1Gi}
  limits: {cpu: 2, memory: 1Gi}
"""


def given(tmp_path: Path, *texts: str | bytes, **beside: str) -> Given:
    """Files of values in this order, with others beside them."""
    paths = []
    for number, text in enumerate(texts):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, text in beside.items():
        (tmp_path / name.replace("__", ".").replace("_", "-")).write_text(text, encoding="utf-8")
    return read_given(paths, WEB)


def told(found: Given, *levels: Level) -> dict[str, tuple[str, int | None, str]]:
    """File, line and path by the complaint's name."""
    return {
        one.name: (Path(one.file).name, one.line, one.path)
        for one in found.complaints
        if one.level in (levels or Level)
    }


def words(found: Given) -> str:
    return "\n".join(f"{one.level}: {one.place}: {one.text}; {one.fix}" for one in found.complaints)


# -- every complaint at once, at its line ----------------------------------------------------------


@pytest.mark.fast
def test_every_complaint_at_once(tmp_path: Path) -> None:
    found = given(
        tmp_path,
        "replicaCount: 3\nimage: {tag: 0.3.1-beta}\nserver:\n  threadPolSize: 4\n  circuitBreakerTimeout: 60s\n"
        "  opentelemetry: {enabled: false}\nautoscaling:\n  enabled: true\nlivenessProbe: {}\nmadeUp: 1\n"
        "resources:\n  requests: {cpu: 3, memory: 2Gi}\n  limits: {cpu: 2, memory: 1Gi}\n",
    )
    assert found.refused
    errors = [(one.line, one.path) for one in found.complaints if one.level is Level.ERROR]
    assert sorted(errors, key=str) == sorted(
        [
            (4, "server.threadPolSize"), (5, "server.circuitBreakerTimeout"), (6, "server.opentelemetry.enabled"),
            (8, "autoscaling.enabled"), (12, "resources.requests.cpu"), (12, "resources.requests.memory"),
        ],
        key=str,
    )  # fmt: skip
    # Ignored is not unknown.
    assert told(found, Level.NOTE)["ignored"] == ("0.yaml", 9, "livenessProbe")
    assert told(found, Level.WARNING)["unknown-key"] == ("0.yaml", 10, "madeUp")


@pytest.mark.parametrize(
    "key",
    ["livenessProbe", "env", "persistence", "lifecycle", "terminationGracePeriodSeconds", "podDisruptionBudget",
     "topologySpreadConstraints", "networkPolicy"],
)  # fmt: skip
def test_what_the_chart_ignores_is_called_ignored(tmp_path: Path, key: str) -> None:
    found = given(tmp_path, FINE + f"{key}: {{}}\n")
    assert not found.refused
    assert told(found, Level.NOTE)["ignored"][2] == key
    assert "unknown-key" not in told(found)


def test_what_the_chart_names_and_nothing_reads(tmp_path: Path) -> None:
    found = given(tmp_path, FINE + "service: {type: LoadBalancer}\nautoscaling: {maxReplicas: 5, minReplicas: 1}\n")
    ignored = [one.path for one in found.complaints if one.name == "ignored"]
    # The chart's own default of minReplicas is nobody's mistake.
    assert ignored == ["service.type", "autoscaling.maxReplicas"]


def test_a_file_without_a_fault(tmp_path: Path) -> None:
    assert set(told(given(tmp_path, FINE), Level.ERROR, Level.WARNING)) <= {"no-heap"}


# -- the forms in which people have their values ----------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + FINE.encode(),
        FINE.replace("\n", "\r\n").encode(),
        b"USER-SUPPLIED VALUES:\n" + FINE.encode(),
        ("USER-SUPPLIED VALUES:\n" + FINE).replace("\n", "\r\n").encode(),
        b"---\n" + FINE.encode() + b"---\n",
        ("global: {registry: x}\nojp-server:\n" + "".join(f"  {line}\n" for line in FINE.splitlines())).encode(),
        FINE.replace("requests: {cpu: 1, memory: 1Gi}", "requests: &r {cpu: 2, memory: 1Gi}")
        .replace("limits: {cpu: 2, memory: 1Gi}", "limits: *r").encode(),
        FINE.replace("limits: {cpu: 2, memory: 1Gi}", "limits: {<<: {cpu: 1, memory: 1Gi}, cpu: 2}").encode(),
        FINE.replace("0.3.1-beta", "v0.3.1-beta").encode(),
        FINE.replace("0.3.1-beta", "0.3.1-beta@sha256:" + "1" * 64).encode(),
        (FINE.replace("0.3.1-beta", "latest") + "version: 0.3.1-beta\n").encode(),
        FINE.replace("replicaCount: 3", 'replicaCount: "3"').encode(),
    ],
)  # fmt: skip
def test_every_form_is_the_same_deployment(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "plain").mkdir()
    plain, found = given(tmp_path / "plain", FINE), given(tmp_path, text)
    assert not found.refused, words(found)
    assert found.deployment == plain.deployment


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    assert told(given(tmp_path, "USER-SUPPLIED VALUES:\n" + FINE + "env: {}\n"))["ignored"] == ("0.yaml", 8, "env")
    umbrella = "global: {}\nojp-server:\n  replicaCount: 3\n  env: {}\n"
    assert told(given(tmp_path, umbrella))["ignored"] == ("0.yaml", 4, "env")


def test_an_umbrellas_alias(tmp_path: Path) -> None:
    chart = "dependencies: [{name: other, alias: x}, {name: ojp-server, alias: proxy, version: 0.1.5, repository: r}]"
    text = "proxy:\n" + "".join(f"  {line}\n" for line in FINE.splitlines()) + "x: {replicas: 5}\n"
    assert not given(tmp_path, text, Chart__yaml=chart).refused
    with pytest.raises(
        InputError, match=r"Chart\.yaml: dependencies: chart ojp-server '0\.9\.0' isn't known; known: 0\.1\.5"
    ):
        given(tmp_path, text, Chart__yaml=chart.replace("0.1.5", "0.9.0"))


def test_aliases_are_bounded() -> None:
    """A few lines that would be a billion values written out."""
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    with pytest.raises(InputError, match="more than 50,000 entries"):
        load_tree(laughs, "v.yaml", aliases=True)
    with pytest.raises(InputError, match="no anchor 'a' above it"):
        load_tree("a: &a {b: *a}", "v.yaml", aliases=True)
    with pytest.raises(InputError, match="tags are not taken"):
        load_tree("a: !!python/name:os.system x", "v.yaml", aliases=True)


def test_merge_keys_are_read_as_pyyaml_reads_them() -> None:
    text = "a: &a {x: '1', y: '2'}\nb: &b {y: '3', z: '4'}\nc: {<<: [*a, *b], x: '9'}\nd: {<<: *b}\n"
    assert load_tree(text, "v.yaml", aliases=True) == yaml.safe_load(text)


# -- layers ------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_layers_are_merged_as_helm_does_it(tmp_path: Path) -> None:
    own = "replicaCount: 5\nserver: {threadPoolSize: 50}\nresources: {limits: {memory: 2Gi}, requests: null}\n"
    found = given(tmp_path, FINE, own)
    assert found.deployment is not None
    assert (found.deployment.replicas, found.deployment.server.thread_pool_size) == (5, 50)
    assert found.deployment.limit_cores == 2 and found.deployment.memory_limit_bytes == 2**31
    assert "requests" not in found.file.values["resources"]  # type: ignore[operator]
    # What is wrong stands in the file that says it.
    found = given(tmp_path, FINE.replace("96", "0"), "resources: {requests: {cpu: 9}}\n")
    assert told(found, Level.ERROR)["bad-value"] == ("0.yaml", 3, "server.threadPoolSize")
    assert told(found, Level.ERROR)["request-above-limit"] == ("1.yaml", 1, "resources.requests.cpu")


def sized(tmp_path: Path) -> Path:
    """The directory of an answer."""
    one = release()
    files = {**kustomize_files(one), "values.yaml": values_yaml(one), "ojp.properties": ojp_properties(one)}
    write_files(tmp_path / "out", {**files, "jdbc-url.txt": jdbc_url(one)}, force=True)
    return tmp_path / "out"


def test_our_own_files_have_no_complaint(tmp_path: Path) -> None:
    directory = sized(tmp_path)
    found = read_given([directory / "values.yaml"], WEB)
    assert told(found, Level.ERROR) == {}, words(found)
    assert set(told(found)) <= {"heap-small", "heap-tight", "one-slow-slot"}


def test_a_layer_that_sets_env_from_again_is_seen(tmp_path: Path) -> None:
    directory = sized(tmp_path)
    (tmp_path / "own.yaml").write_text("replicaCount: 3\nenvFrom: [{secretRef: {name: db}}]\n")
    found = read_given([directory / "values.yaml", tmp_path / "own.yaml"], WEB)
    assert told(found, Level.ERROR)["env-from-replaced"] == ("own.yaml", 2, "envFrom")
    assert release().config_map_name in words(found)
    assert "the heap is a quarter of the memory limit: 320Mi" in words(found)
    entry = json.dumps([{"secretRef": {"name": "db"}}, {"configMapRef": {"name": release().config_map_name}}])
    (tmp_path / "own.yaml").write_text(f"envFrom: {entry}\n")
    assert not read_given([directory / "values.yaml", tmp_path / "own.yaml"], WEB).refused


def test_flags_of_another_sizing_are_seen(tmp_path: Path) -> None:
    directory = sized(tmp_path)
    other = kustomize_files(release(heap_bytes=64 * 2**20))["jvm-config.yaml"]
    (directory / "jvm-config.yaml").write_text(other)
    assert "flags-not-taken" in told(read_given([directory / "values.yaml"], WEB), Level.ERROR)


@pytest.mark.parametrize(
    ("flags", "level", "name"),
    [
        ("-Xmx4g", Level.ERROR, "heap-above-limit"),
        ("-Xmx512m -Xmx2048m", Level.ERROR, "heap-above-limit"),
        ("-Xmx1200m", Level.WARNING, "heap-tight"),
        ("-XX:MaxRAMPercentage=100", Level.ERROR, "heap-above-limit"),
        ("-Xmx32m", Level.WARNING, "heap-small"),
        ("-XX:+UseG1GC", Level.WARNING, "no-heap"),
    ],
)
def test_the_heap_against_the_limit(tmp_path: Path, flags: str, level: Level, name: str) -> None:
    directory = sized(tmp_path)
    tree = yaml.safe_load((directory / "jvm-config.yaml").read_text())
    tree["data"]["JAVA_TOOL_OPTIONS"] = flags
    (directory / "jvm-config.yaml").write_text(yaml.safe_dump(tree))
    assert name in told(read_given([directory / "values.yaml"], WEB), level)


def test_the_clients_url(tmp_path: Path) -> None:
    url = "jdbc:ojp[a:1059,b:1059]_oracle:thin:@db:1521/x"
    found = given(tmp_path, FINE, jdbc_url__txt=url)
    assert "2 servers in the URL, 3 pods" in words(found)
    assert "no driver for 'oracle'" in words(found)
    assert read_given([tmp_path / "0.yaml"], WEB, "postgresql://db/x").refused is False


# -- what is no values file at all -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\n---\nb: 2\n", "several YAML documents"),
        ("- a\n", "not a mapping"),
        ("x" * 10_000_000, "the limit is 1MiB"),
        ("controller: {}\ndefaultBackend: {}\nreplicaCount: 1\n", "another chart's values"),
        ("a: [", "not YAML"),
    ],
    ids=["two documents", "a list", "10 MB", "another chart", "no YAML"],
)
def test_bad_input_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        given(tmp_path, text)
    assert problem in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_directory_and_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is a directory"):
        read_given([tmp_path], WEB)
    with pytest.raises(InputError, match="no such file"):
        read_given([tmp_path / "none.yaml"], WEB)
    (tmp_path / "v.yaml").write_text(FINE)

    def forbidden(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_given([tmp_path / "v.yaml"], WEB)


# -- the checklist -----------------------------------------------------------------------------------

#: The chapter's rows, each called as there.
CHAPTER = [
    "requests", "limits", "livenessProbe", "readinessProbe", "startupProbe", "replicaCount >= 3", "podAntiAffinity",
    "securityContext", "networkPolicy", "allowedIps", "prometheus", "alerts", "dashboards", "centralized logging",
    "log retention", "HPA", "metrics-server", "rollingUpdate", "maxUnavailable: 0",
]  # fmt: skip


def states(path: Path) -> dict[str, State]:
    return {row.name: row.state for row in checklist(read_layers([path]), read_beside(path.parent))}


def test_every_row_of_the_chapter_is_said_something_of(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text(FINE)
    found = states(tmp_path / "v.yaml")
    assert list(found) == CHAPTER
    assert found["allowedIps"] is State.MET and found["podAntiAffinity"] is State.NOT_MET
    assert found["networkPolicy"] is State.UNSEEN and found["livenessProbe"] is State.NOT_MET
    (tmp_path / "v.yaml").write_text(
        FINE.replace("10.0.0.0/8", "'10.0.0.0/8,0.0.0.0/0'").replace("Count: 3", "Count: 2")
    )
    assert states(tmp_path / "v.yaml")["allowedIps"] is State.NOT_MET
    assert states(tmp_path / "v.yaml")["replicaCount >= 3"] is State.NOT_MET


def test_what_lies_beside_is_seen(tmp_path: Path) -> None:
    directory = sized(tmp_path)
    assert states(directory / "values.yaml")["networkPolicy"] is State.UNSEEN
    policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec: {podSelector: {}}\n"
    (directory / "policy.yaml").write_text(policy)
    (directory / "patch.yaml").write_text("kind: StatefulSet\nspec: {livenessProbe: {}}\n")
    text = "resources: [policy.yaml, ../../etc/passwd, https://example.com/x]\npatches: [{path: patch.yaml}]\n"
    (directory / "kustomization.yaml").write_text(text)
    found = states(directory / "values.yaml")
    assert found["networkPolicy"] is State.MET and found["livenessProbe"] is State.MET


# -- what tools read ---------------------------------------------------------------------------------


def test_junit_and_sarif_say_the_same(tmp_path: Path) -> None:
    found = given(tmp_path, FINE.replace("cpu: 1", "cpu: 9") + "env: {}\nodd\u2028key: 1\n")
    rows = checklist(found.file, read_beside(tmp_path))
    suite = Xml.fromstring(junit("refused", found.complaints, rows, None))  # noqa: S314
    failed = [case for case in suite if case.find("failure") is not None]
    assert int(suite.attrib["failures"]) == len(failed) == len(told(found, Level.ERROR)) == 1
    assert int(suite.attrib["tests"]) == len(suite) == len(found.complaints) + len(rows)
    (run,) = json.loads(sarif(found.complaints, None, "v.yaml"))["runs"]
    assert len(run["results"]) == len(found.complaints)
    assert {result["ruleId"] for result in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    error = next(result for result in run["results"] if result["level"] == "error")
    assert error["locations"][0]["physicalLocation"]["region"] == {"startLine": 5}
    assert {result["level"] for result in run["results"]} <= {"error", "warning", "note"}


# -- as a person runs it -----------------------------------------------------------------------------


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ojp_sizing", "check", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_refused_without_a_simulation(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text(FINE.replace("cpu: 1", "cpu: 9"))
    done = run("-f", "v.yaml", "--peak-rps", "50", "--junit", "j.xml", "--sarif", "s.sarif", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == ""
    assert done.stdout.startswith("REFUSED  1 error in the files; nothing was simulated")
    assert "v.yaml:5 resources.requests.cpu" in done.stdout
    assert "Production checklist" in done.stdout
    assert (tmp_path / "j.xml").exists() and json.loads((tmp_path / "s.sarif").read_text())["version"] == "2.1.0"
    done = run("-f", ".", "--peak-rps", "50", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1


def test_a_verdict_with_the_largest_demand(tmp_path: Path) -> None:
    """Two layers as Helm gets them; the exit code is that of the verdict, and JUnit fails where that does."""
    (tmp_path / "v.yaml").write_text(FINE.replace("cpu: 2", "cpu: 500m").replace("cpu: 1", "cpu: 250m"))
    (tmp_path / "own.yaml").write_text("client: {ojp.connection.pool.maximumPoolSize: 30}\n")
    layers = ("-f", "v.yaml", "-f", "own.yaml", "--db-cores", "16", "--db-max-connections", "200")
    done = run(*layers, "--peak-rps", "10", "--json", "--junit", "j.xml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["verdict"] in ("met", "met by the model")
    assert document["judged"]["inputs"]["files"] == ["v.yaml", "own.yaml"]
    assert document["judged"]["carries"]["holds"] >= 10
    assert [row["name"] for row in document["checklist"]] == CHAPTER
    assert Xml.parse(tmp_path / "j.xml").getroot().attrib["failures"] == "0"  # noqa: S314
    done = run(*layers, "--peak-rps", "2000", "--junit", "j.xml", cwd=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.startswith("NOT MET")
    assert "carries" in done.stdout
    assert int(Xml.parse(tmp_path / "j.xml").getroot().attrib["failures"]) >= 1  # noqa: S314
