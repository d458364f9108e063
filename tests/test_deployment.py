"""Deployment files: what they mean, that they read back, and the rules by which OJP refuses or breaks."""

from __future__ import annotations

import json
import re
import string
from dataclasses import fields, replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ojp_sizing import read_deployment, read_workload
from ojp_sizing.demand.reading import parse_workload, workload_yaml
from ojp_sizing.demand.workload import Network, Patience, UnitOfWork
from ojp_sizing.deployment.constants import (
    SET,
    WORKLOAD_FIELDS,
    Constants,
    constant_table,
    default_constants,
    parse_constant,
)
from ojp_sizing.deployment.deployment import (
    SERVER_VERSIONS,
    ClientPool,
    Database,
    Deployment,
    ServerSettings,
)
from ojp_sizing.deployment.properties import parse_properties
from ojp_sizing.deployment.reading import deployment_yaml, parse_deployment
from ojp_sizing.deployment.rules import (
    MOST_THREADS_PER_CONNECTION,
    RULES,
    SINGLE_NODE_VERSIONS,
    Action,
    Subject,
    check_version,
    examine,
    table,
    warnings_of,
)
from ojp_sizing.emit.companions import ojp_properties
from ojp_sizing.emit.release import Release
from ojp_sizing.emit.values import values_yaml
from ojp_sizing.errors import InputError
from ojp_sizing.settings import settings as setting_table
from ojp_sizing.sizing.question import Question, constants_of
from ojp_sizing.sizing.space import LIMITS_CORES, Space
from ojp_sizing.sizing.strategy import shapes_of

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
GOOD = """\
version: 0.3.1-beta
replicaCount: 3
resources: {limits: {cpu: 1500m, memory: 1Gi}}
server:
  threadPoolSize: 120
  slowQuerySegregation: {slowSlotPercentage: 30, idleTimeout: "5000"}
client: {ojp.connection.pool.maximumPoolSize: 60, ojp.connection.pool.connectionTimeout: 5000}
database: {cores: 8, max_connections: 200}
constants: {statement_cpu_s: 0.5ms, heap_base_bytes: 128Mi, pod_start_s: 12}
"""
GIB = 2**30


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_deployment(text, "d.yaml").judged()
    message = str(caught.value)
    assert message.startswith("d.yaml")
    assert message.isprintable()
    assert len(message) < 500
    return message


# --- what a file means ----------------------------------------------------------------------------------------------


def test_what_a_file_means() -> None:
    file = parse_deployment(GOOD, "d.yaml")
    deployment, warnings = file.judged()
    assert warnings == ()
    assert deployment == Deployment(
        replicas=3,
        limit_cores=1.5,
        pool=ClientPool(60, 5, 5.0),
        server=ServerSettings(thread_pool_size=120, slow_slot_percentage=30, idle_timeout_s=5.0),
        database=Database(8.0, 200.0),
        version="0.3.1-beta",
        constants=replace(default_constants(), statement_cpu_s=0.0005, heap_base_bytes=2.0**27, pod_start_s=12.0),
        memory_limit_bytes=GIB,
    )


def test_defaults_are_those_of_ojp() -> None:
    deployment, warnings = parse_deployment(
        "replicaCount: 2\nimage: {tag: 0.3.1-beta}\nresources: {limits: {cpu: 1}}"
    ).judged()
    assert deployment == Deployment(replicas=2, limit_cores=1.0)
    assert {warning.name for warning in warnings} == {"no-client", "no-database-cores"}
    assert {warning.action for warning in warnings} == {Action.WARN}


def test_flags_win_over_the_file() -> None:
    deployment, _ = parse_deployment(GOOD).judged(database=Database(4.0, 300.0))
    assert deployment.database == Database(4.0, 300.0)


def test_without_replicas_a_file_states_what_holds_for_the_search() -> None:
    file = parse_deployment(
        "version: 0.3.2-snapshot\ndatabase: {cores: 2}\nconstants: {connection_open_s: 20ms}", "d.yaml"
    )
    assert file.replicas is None
    assert file.version_for(100) == "0.3.2-snapshot"
    assert file.database == Database(2.0, inf)
    assert file.constants_over(default_constants()).connection_open_s == 0.02
    assert parse_deployment("database:\nversion: ~").version_for(100) == "0.3.1-beta"
    assert parse_deployment("version: 0.2.0-beta").version_for(1) == "0.3.0-beta"
    with pytest.raises(InputError, match="no multinode"):
        parse_deployment("version: 0.2.0-beta").version_for(2)
    with pytest.raises(InputError, match="no replicaCount"):
        file.judged()


def release() -> Release:
    return Release(
        replicas=13, request_cores=2.5, limit_cores=2.5, request_bytes=832 * 2**20, limit_bytes=832 * 2**20,
        heap_bytes=448 * 2**20, thread_pool_size=400, slow_slot_percentage=46, pool_size=66, minimum_idle=5,
        connection_timeout_s=10.0, segregation=False, breaker_open_s=5.0, slow_slot_timeout_s=3600.0,
    )  # fmt: skip


def test_the_files_that_the_tool_writes_are_a_deployment_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(values_yaml(release()), encoding="utf-8")
    file = read_deployment(tmp_path / "values.yaml")
    assert file.files == (str(tmp_path / "values.yaml"),)
    assert "no-client" in {warning.name for warning in file.judged()[1]}
    (tmp_path / "ojp.properties").write_text(ojp_properties(release()), encoding="latin-1")
    file = read_deployment(tmp_path / "values.yaml")
    assert file.files == (str(tmp_path / "values.yaml"), str(tmp_path / "ojp.properties"))
    deployment, warnings = file.judged(database=Database(38.0))
    assert warnings == ()
    assert deployment == Deployment(
        13,
        2.5,
        ClientPool(66, 5, 10.0),
        ServerSettings(400, False, 46, breaker_open_s=5.0, slow_slot_timeout_s=3600.0),
        Database(38.0),
        memory_limit_bytes=832 * 2**20,
    )


def test_the_charts_own_values_lack_an_image_and_a_limit() -> None:
    text = (ROOT / "tests" / "chart" / "ojp-server" / "values.yaml").read_text(encoding="utf-8")
    assert "resources.limits.cpu: missing" in refusal(text)
    text = text.replace("resources: {}", "resources: {limits: {cpu: 2, ephemeral-storage: 1Gi}, claims: []}")
    assert "server 0.1.0-beta, the chart's image where none is stated, has no multinode code" in refusal(text)
    deployment, _ = parse_deployment(text.replace('tag: ""', "tag: 0.3.1-beta")).judged()
    assert deployment == Deployment(3, 2.0)


def test_the_properties_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "shop.properties").write_text("ojp.connection.pool.maximumPoolSize = 40\n")
    (tmp_path / "d.yaml").write_text(GOOD.replace(GOOD.splitlines()[6], "client: conf/shop.properties"))
    assert read_deployment(tmp_path / "d.yaml").judged()[0].pool.maximum_size == 40
    for name, words in (
        ("../d.yaml", "leads out of the directory"),
        ("/etc/passwd", "leads out of the directory"),
        ("other", "no such file"),
        ("conf", "is a directory"),
    ):
        (tmp_path / "d.yaml").write_text(f"client: {name}")
        with pytest.raises(InputError, match=words):
            read_deployment(tmp_path / "d.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("serve: {}", "serve: the chart has no such key; did you mean 'server'?"),
        ("server: {threadPolSize: 4}", "server.threadPolSize: the chart has no such key; did you mean 'threadPoolSize'?"),
        ("server.threadPoolSize: 4", "server.threadPoolSize: the chart has no such key"),
        ("server: 5", "server: not a mapping"),
        ("server: {threadPoolSize: [1]}", "server.threadPoolSize: not a single value"),
        ("server: {threadPoolSize: 4.0e+2}", "not a whole number; write a whole number of threads; OJP would silently take"),
        ("server: {threadPoolSize: 3000000000}", "3000000000 threads is above the most, 2147483647"),
        ("server: {threadPoolSize: 10001}", "10001 is above the most that makes sense, 10,000"),
        ("replicaCount: 1001", "1001 is above the most that makes sense, 1,000"),
        ("server: {circuitBreakerTimeout: -1}", "-1 ms is below the least, 0; see ojp.server.circuitBreakerTimeout"),
        ("server: {circuitBreakerTimeout: 60s}", "'60s' is not a whole number"),
        ("server: {slowQuerySegregation: {enabled: yes}}", "neither true nor false"),
        ("server: {port: 0}", "below the least, 1"),
        ("image: {pullPolicy: Sometimes}", "not one of Always"),
        ("affinity: []", "affinity: not a map"),
        ("tolerations: {}", "tolerations: not a list"),
        ("replicaCount: 0", "replicaCount: 0 pods is below the least, 1"),
        ("replicaCount: -1", "replicaCount: -1 pods is below the least, 1"),
        ("replicaCount: 2\nresources: {limits: {cpu: 0}}", "resources.limits.cpu: a limit of 0"),
        ("replicaCount: 2\nresources: {limits: {cpu: two}}", "resources.limits.cpu: 'two' is not a number of cores"),
        ("replicaCount: 2\nresources: {limits: {cpu: 2, memory: 1Qi}}", "resources.limits.memory: '1Qi': unknown suffix"),
        ("replicaCount: 2", "resources.limits.cpu: missing"),
        ("server: {threadPoolSize: 50}", "server.threadPoolSize: without replicaCount this would have no effect"),
        ("resources: {limits: {cpu: 2}}", "resources.limits.cpu: without replicaCount"),
        ("client: {ojp.connection.pool.minimumIdle: 3}", "client.ojp.connection.pool.minimumIdle: without replicaCount"),
        ("client: {ojp.conection.pool.minimumIdle: 3}", "did you mean 'ojp.connection.pool.minimumIdle'?"),
        ("client: {ojp.connection.pool.connectionTimeout: 100}", "100 ms is below the least, 250"),
        ("client: []", "client: empty or not a single value"),
        ("client: ojp.properties", "another file can't be read from here"),
        ("version: 0.3.1-beta\nimage: {tag: 0.3.0-beta}", "version: '0.3.1-beta', but image.tag '0.3.0-beta'"),
        ("version: []", "version: empty or not a single value"),
        ("database: {cores: 0}", "database.cores: no cores"),
        ("database: {max_connections: 0}", "database.max_connections: '0' is not a whole number from 1"),
        ("database: {cpus: 4}", "database.cpus: unknown key"),
        ("constants: 5", "constants: not a mapping"),
        ("constants: {statement_cpu: 1ms}", "constants.statement_cpu: no such constant; did you mean 'statement_cpu_s'?"),
        ("constants: {think_s: 1ms}", "constants.think_s: belongs to the workload; write units[].think"),
        ("constants: {statement_cpu_s: 0}", "0 is not within 0.000001 to 60 core seconds"),
        ("constants: {statement_cpu_s: -1ms}", "below zero"),
        ("constants: {cpu_most_use: 1.5}", "above the most that makes sense, 1"),
        ("constants: {pod_start_s: 2h}", "above the most that makes sense"),
        ("constants: {heap_base_bytes: 5s}", "unknown suffix"),
        ("constants: {gib_per_core: nan}", "not a number"),
        ("replicaCount: 3\nreplicaCount: 4", "the key occurs twice"),
        ("server: *a", "server: no anchor 'a' above it"),
        ("server: &a {x: *a}", "server.x: no anchor 'a' above it"),
        ("server: {<<: 5}", "server: << is no mapping"),
        ("controller: {}\ndefaultBackend: {}\nreplicaCount: 1", "controller, defaultBackend: these are another chart's values"),
        ("replicaCount: 1\n---\nreplicaCount: 2", "several YAML documents"),
        ("image: {tag: latest}", "image.tag: 'latest' tells no version of the server"),
        ("version: !!python/name:os.system x", "YAML tags are not taken"),
        ("- 1", "not a mapping"),
        ("a: [", "not YAML"),
    ],
)  # fmt: skip
def test_bad_files(text: str, words: str) -> None:
    assert words in refusal(text)


# --- properties files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# a=1\n ! b=2\n\n", {}),
        ("a=1\nb:2\nc 3\n  d = 4 ", {"a": "1", "b": "2", "c": "3", "d": "4 "}),
        ("a\\ b\\=c=d\\:e", {"a b=c": "d:e"}),
        ("a=one \\\n    two\r\nb=3", {"a": "one two", "b": "3"}),
        ("a=one\\\\\nb=2", {"a": "one\\", "b": "2"}),
        ("a=\\u00e9\\t\\z", {"a": "é\tz"}),
        ("a==b", {"a": "=b"}),
        ("empty", {"empty": ""}),
        ("a=x\\", {"a": "x"}),
    ],
)
def test_properties_as_java_reads_them(text: str, values: dict[str, str]) -> None:
    assert parse_properties(text, "p") == values


@pytest.mark.parametrize(
    ("text", "words"), [("a=\\u12", "p: line 1: a \\ that"), ("a=1\n\na=2", "p: line 3: the key occurs twice")]
)
def test_bad_properties(text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        parse_properties(text, "p")


@settings(deadline=None)
@given(st.text(st.sampled_from("ab=: \\\n\r\t#!u0é\f"), max_size=40))
def test_any_properties_text(text: str) -> None:
    try:
        values = parse_properties(text, "p")
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert all(isinstance(value, str) for value in values.values())


# --- reading back, and untrusted text -------------------------------------------------------------------------------

MILLISECONDS = st.integers(0, 3_600_000).map(lambda ms: ms / 1000)
CORES = st.integers(1, 64_000).map(lambda milli: milli / 1000)


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    replicas = draw(st.integers(1, 50))
    pool = draw(st.integers(replicas + 1, 2000))
    server = ServerSettings(
        draw(st.integers(1, 10_000)), draw(st.booleans()), draw(st.integers(0, 99)), draw(MILLISECONDS),
        draw(MILLISECONDS), draw(MILLISECONDS), float(draw(st.integers(0, 3600))), draw(st.integers(-2, 100)), draw(MILLISECONDS),
    )  # fmt: skip
    client = ClientPool(pool, draw(st.integers(0, 3000)), draw(st.integers(250, 3_600_000)) / 1000)
    database = Database(draw(CORES | st.just(inf)), draw(st.integers(2200, 1_000_000).map(float) | st.just(inf)))
    version = draw(st.sampled_from(list(SERVER_VERSIONS)))
    values = {"statement_cpu_s": draw(st.floats(1e-6, 60)), "pod_start_s": draw(st.floats(0, 3600))}
    values |= {"heap_base_bytes": float(draw(st.integers(0, 2**46)))}
    return Deployment(replicas, draw(CORES), client, server, database, version, replace(default_constants(), **values))


@settings(deadline=None)
@given(deployments(), st.none() | st.integers(1, 2**46))
def test_written_deployments_read_back_equal(deployment: Deployment, memory: int | None) -> None:
    deployment = replace(deployment, memory_limit_bytes=inf if memory is None else memory)
    file = parse_deployment(deployment_yaml(deployment))
    assert file.judged()[0] == deployment
    assert file.memory_limit_bytes == memory


PIECES = st.sampled_from(
    [*"[]{}:-?,&*!|>%@`\"'#~\\\n\t .", "- ", ": ", "---\n", "-1", "1e9", "null", "server:", "client:"]
)


@settings(deadline=None)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 30),
    st.lists(PIECES | st.text(string.printable + "é\u2028\ud800\x00", max_size=3)),
)
def test_damaged_files(start: int, length: int, pieces: list[str]) -> None:
    text = GOOD[:start] + "".join(pieces) + GOOD[start + length :]
    try:
        file = parse_deployment(text, "d.yaml")
        deployment, _ = file.judged()
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert parse_deployment(deployment_yaml(deployment)).judged()[0] == deployment


@settings(deadline=None)
@given(st.text(max_size=100), st.text(max_size=20))
def test_any_text(text: str, value: str) -> None:
    for whole in (text, f"version: {json.dumps(value)}\n{text}", f"client: {json.dumps(value)}"):
        try:
            parse_deployment(whole, "d.yaml").version_for(3)
        except InputError as error:
            assert str(error).isprintable()


def test_the_example_of_the_manual() -> None:
    manual = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL)
    file = parse_deployment(example, "docs/deployment.md")
    deployment, warnings = file.judged()
    assert warnings == ()
    assert (deployment.replicas, deployment.pool.maximum_size, deployment.server.segregation) == (6, 60, False)
    assert (deployment.constants.statement_cpu_s, deployment.constants.pod_start_s) == (0.0004, 12.0)
    assert file.memory_limit_bytes == GIB
    assert table() in manual, "run: python -m ojp_sizing.deployment.rules"


# --- rules ----------------------------------------------------------------------------------------------------------


def subject(**changes: Any) -> Subject:
    """A deployment that no rule finds anything in, with changes by the name of the field they are in."""
    values: dict[str, Any] = {"replicas": 3, "thread_pool_size": 200, "maximum_size": 30, "version": "0.3.1-beta"}
    values |= changes
    stated, version = values.pop("stated", {}), values.pop("version")

    def those_of(kind: type[Any]) -> dict[str, Any]:
        return {field.name: values.pop(field.name) for field in fields(kind) if field.name in values}

    server, pool = ServerSettings(**those_of(ServerSettings)), ClientPool(**those_of(ClientPool))
    database = Database(**those_of(Database))
    return Subject(Deployment(limit_cores=2.0, server=server, pool=pool, database=database, **values), stated, version)


def found(**changes: Any) -> set[str]:
    return {finding.name for finding in examine(subject(**changes))}


OFF = {"segregation": False}
#: For every rule: the last change that is fine and the first that is not, at its boundary.
BOUNDARIES: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "unknown-version": [
        ({"version": "0.3.2-snapshot"}, {"version": "0.5.2-beta"}),
        ({"version": "1.1.9"}, {"version": "1.2.0"}),
        ({}, {"version": "latest"}),
    ],
    "taken-for": [
        ({"version": "0.4.1-beta"}, {"version": "0.4.2-beta"}),
        ({"version": "v0.4.21"}, {"version": "0.4.22-SNAPSHOT"}),
        ({"version": "0.3.1"}, {"version": "0.3.9"}),
    ],
    "never-read": [({"version": "0.4.21-beta"}, {"version": "1.0.1"}), ({}, {"version": "1.1.0-RC2"})],
    "not-simulated": [
        ({"version": "0.4.7-beta"}, {"version": "0.4.10-beta"}),
        ({"version": "0.4.0-beta"}, {"version": "0.4.21-beta"}),
    ],
    "no-multinode": [
        ({"version": "0.3.0-beta"}, {"version": "0.2.0-beta"}),
        ({"version": "0.1.0-beta", "replicas": 1}, {"version": "0.1.0-beta", "replicas": 2}),
    ],
    "old-version": [({"version": "0.2.0-beta", "replicas": 2}, {"version": "0.2.0-beta", "replicas": 1})],
    "percentage-unused": [({"slow_slot_percentage": 100, **OFF}, {"slow_slot_percentage": 101, **OFF})],
    "no-fast-slot": [
        ({"slow_slot_percentage": 99}, {"slow_slot_percentage": 100}),
        ({"slow_slot_percentage": 100, **OFF}, {"slow_slot_percentage": 100}),
    ],
    "one-slot": [({"maximum_size": 4}, {"maximum_size": 3}), ({"maximum_size": 3, **OFF}, {"maximum_size": 1})],
    "one-connection": [({"maximum_size": 4, **OFF}, {"maximum_size": 3, **OFF})],
    "one-slow-slot": [
        ({"maximum_size": 28}, {"maximum_size": 27}),
        ({"maximum_size": 27, "slow_slot_percentage": 23}, {"maximum_size": 27, "slow_slot_percentage": 22}),
        ({"maximum_size": 27, **OFF}, {"maximum_size": 4}),
    ],
    "few-threads": [({"thread_pool_size": 10}, {"thread_pool_size": 9})],
    "many-threads": [
        (
            {"thread_pool_size": 10 * MOST_THREADS_PER_CONNECTION},
            {"thread_pool_size": 10 * MOST_THREADS_PER_CONNECTION + 1},
        )
    ],
    "breaker-at-once": [({"breaker_threshold": 1}, {"breaker_threshold": 0}), ({}, {"breaker_threshold": -1})],
    "idle-above-pool": [({"minimum_idle": 30}, {"minimum_idle": 31})],
    "pools-above-database": [({"max_connections": 30.0}, {"max_connections": 29.0})],
    # 30 over 3 pods: a pod that returns, and two that had grown: 45 or more, and 10 in reserve.
    "overlap-above-database": [({"max_connections": 70.0}, {"max_connections": 50.0})],
    "never-ready": [({"stated": {"ojp.opentelemetry.enabled": True}}, {"stated": {"ojp.opentelemetry.enabled": False}})],
    "no-autoscaler": [({"stated": {"autoscaling.enabled": False}}, {"stated": {"autoscaling.enabled": True}})],
    "no-pool": [({"stated": {"ojp.connection.pool.enabled": True}}, {"stated": {"ojp.connection.pool.enabled": False}})],
    "unread": [({"stated": {"ojp.datasource.name": "x"}}, {"stated": {"ojp.multinode.retryAttempts": 3}})],
}  # fmt: skip


def test_every_rule_has_a_boundary_a_mend_and_a_source() -> None:
    assert list(BOUNDARIES) == [rule.name for rule in RULES]
    for rule in RULES:
        assert rule.source.startswith("reference ")
        assert any(word in rule.source for word in ("CODE", "DOC", "INFER", "GENERAL"))
        assert rule.fix
    assert examine(subject()) == ()


@pytest.mark.parametrize("name", BOUNDARIES)
def test_rules_at_their_boundary(name: str) -> None:
    (rule,) = [rule for rule in RULES if rule.name == name]
    for fine, bad in BOUNDARIES[name]:
        assert name not in found(**fine), fine
        assert name in found(**bad), bad
        (finding,) = [finding for finding in examine(subject(**bad)) if finding.name == name]
        assert finding.action is rule.action
        assert finding.text.isprintable()
        if rule.action is Action.REFUSE:
            with pytest.raises(InputError) as caught:
                warnings_of(subject(**bad), "d.yaml", [rule])
            assert str(caught.value).startswith(f"d.yaml: {rule.place}")
            assert rule.source in str(caught.value)
        else:
            assert finding in warnings_of(subject(**bad), "d.yaml", [rule])


def test_the_overlap_is_that_of_the_ledger_and_the_reserve() -> None:
    # Reference 5: with P = 20 and N = 3 survivors of 10 each and the newcomer's share.
    from ojp_sizing.deployment.ledger import connections_at_most

    worst = connections_at_most(30, 3)
    reserve = default_constants().database_reserve_connections
    assert "overlap-above-database" not in found(max_connections=worst + reserve)
    assert "overlap-above-database" in found(max_connections=worst + reserve - 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("server: {slowQuerySegregation: {slowSlotPercentage: 100}}", "every fast statement waits 60 s and fails"),
        (
            "server: {slowQuerySegregation: {slowSlotPercentage: 101}}",
            "server.slowQuerySegregation.slowSlotPercentage: 101 is above 100: the first connect fails, and the pool then runs"
            " without slots; write 0 to 100 % (ojp.server.slowQuerySegregation.slowSlotPercentage, reference 2 and 9, CODE+RUN)",
        ),
        (
            "server: {threadPoolSize: 0}",
            "server.threadPoolSize: 0 threads is below the least, 1; see ojp.server.threadPoolSize, reference 9",
        ),
        ("server: {opentelemetry: {enabled: false}}", "no pod becomes Ready"),
        ("autoscaling: {enabled: true}", "makes no autoscaler"),
        ("client: {ojp.connection.pool.enabled: false}", "is not modelled"),
        ("client: {ojp.connection.pool.maximumPoolSize: 3}", "3 for 3 pods is one connection a pod"),
        ("database: {max_connections: 20}", "3 pods of 7 connections are 21, more than the database's 20"),
    ],
)
def test_rules_refuse_files(line: str, words: str) -> None:
    start = "version: 0.3.1-beta\nreplicaCount: 3\nresources: {limits: {cpu: 2}}\n"
    assert words in refusal(start + line)


@pytest.mark.parametrize("version", SERVER_VERSIONS)
def test_modelled_versions_pass(version: str) -> None:
    check_version(version, 100)


@pytest.mark.parametrize("version", SINGLE_NODE_VERSIONS)
def test_servers_without_multinode_pass_alone(version: str) -> None:
    check_version(version, 1)
    deployment, warnings = parse_deployment(
        f"version: {version}\nreplicaCount: 1\nresources: {{limits: {{cpu: 2}}}}"
    ).judged()
    assert deployment.version in SERVER_VERSIONS
    assert "old-version" in {warning.name for warning in warnings}


@settings(deadline=None, max_examples=30)
@given(
    st.floats(1, 30000),
    st.sampled_from(["web-oltp", "reporting-mix", "pgbench-measured"]),
    st.booleans(),
    st.integers(1, 5),
)
def test_no_deployment_of_the_space_is_refused(rate: float, preset: str, segregation: bool, least: int) -> None:
    question = Question(read_workload(preset), rate, Database(max_connections=2000.0), least_replicas=least)
    space = Space(question)
    for shape in shapes_of(question, segregation=segregation, warm_pools=True):
        index = space.least_limit(shape)
        if index is None:
            continue
        warnings = warnings_of(Subject(space.deployment(shape, LIMITS_CORES[index])))
        assert not {warning.name for warning in warnings} & {"overlap-above-database", "idle-above-pool", "few-threads"}


# --- constants ------------------------------------------------------------------------------------------------------


def test_every_row_is_in_force_or_a_workloads_own() -> None:
    held = {field.name for field in fields(Constants)} - {"set_by"}
    assert set(constant_table()) == held | set(WORKLOAD_FIELDS)
    assert not held & set(WORKLOAD_FIELDS)
    for row in constant_table().values():
        assert row.status in {"CODE", "CODE+RUN", "INFER", "PREDICTED", "GENERAL", "MEASURED"}
        assert row.source and row.unit and row.meaning


def test_the_defaults_of_a_workload_are_rows_of_the_table() -> None:
    rows = constant_table()
    assert Network() == Network(rows["network_one_way_s"].value, rows["network_sigma"].value)
    assert UnitOfWork("u", 1.0).think.mean_s == rows["think_s"].value
    assert (Patience().back_off_s, Patience().factor) == (rows["retry_back_off_s"].value, rows["retry_factor"].value)
    text = "name: x\nstatements: [{name: a, sql: q, kind: read, share: 1, database_time: 1ms}]\nunits: [{name: u}]"
    assert parse_workload(text).units[0] == UnitOfWork("u", 1.0)


@pytest.mark.parametrize("name", [field.name for field in fields(Constants) if field.name != "set_by"])
def test_every_constant_can_be_set_to_its_own_value_and_says_so(name: str) -> None:
    row = constant_table()[name]
    file = parse_deployment(f"constants: {{{name}: {row.value!r}}}", "d.yaml")
    in_force = file.constants_over(default_constants()).rows()
    assert in_force[name] == replace(row, status=SET, source="d.yaml")
    assert {other: in_force[other] for other in in_force if other != name} == {
        other: constant_table()[other] for other in in_force if other != name
    }


def test_suffixes_where_the_unit_has_them() -> None:
    assert parse_constant("statement_cpu_s", "0.4ms") == parse_constant("statement_cpu_s", "0.0004") == 0.0004
    assert parse_constant("heap_base_bytes", "1Gi") == parse_constant("heap_base_bytes", str(GIB)) == GIB
    with pytest.raises(InputError, match=r"0\.6x"):
        parse_constant("cpu_target_use", "0.6x")


def test_the_deployment_wins_over_the_workload_and_that_over_the_table() -> None:
    text = workload_yaml(read_workload("web-oltp")) + "constants: {statement_cpu_s: 0.5ms, pod_start_s: 20s}\n"
    workload = parse_workload(text)
    assert workload.constants == (("statement_cpu_s", 0.0005), ("pod_start_s", 20.0))
    assert parse_workload(workload_yaml(workload)) == workload
    own = constants_of(workload)
    rows = parse_deployment("constants: {pod_start_s: 30s}", "d.yaml").constants_over(own).rows()
    assert [
        (rows[name].value, rows[name].source) for name in ("statement_cpu_s", "pod_start_s", "pod_start_spread")
    ] == [
        (0.0005, "workload web-oltp"),
        (30.0, "d.yaml"),
        (0.25, constant_table()["pod_start_spread"].source),
    ]


def test_what_a_program_sets_is_named_too() -> None:
    row = replace(default_constants(), statement_cpu_s=0.1).rows()["statement_cpu_s"]
    assert (row.value, row.status, row.source) == (0.1, SET, "the calling program")


def test_rules_know_their_settings() -> None:
    for rule in RULES:
        key = rule.place.removeprefix("client: ")
        known = {s.key for s in setting_table().values()} | {s.helm_path for s in setting_table().values()}
        assert key in known | {"version", "client"}, rule.name
