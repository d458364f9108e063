"""The emitted files as text: complete, the same each time, safe against hostile comments; writing all or nothing."""

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from ojp_sizing.emit.applying import commands, helm_command
from ojp_sizing.emit.companions import config_map_yaml, jdbc_url, ojp_properties
from ojp_sizing.emit.kustomize import kustomize_files
from ojp_sizing.emit.release import JVM_FLAGS, Release, WarmUp, comment_text
from ojp_sizing.emit.text import LEAST_QUOTED
from ojp_sizing.emit.values import values_yaml
from ojp_sizing.emit.writing import write_files
from ojp_sizing.errors import InputError
from ojp_sizing.settings import by_helm_path, settings

pytestmark = pytest.mark.fast

MIB = 2**20
SIZED = (
    "replicaCount",
    "resources.requests.cpu",
    "resources.requests.memory",
    "resources.limits.cpu",
    "resources.limits.memory",
    "server.threadPoolSize",
    "server.slowQuerySegregation.slowSlotPercentage",
)
CLIENT = tuple(f"ojp.connection.pool.{key}" for key in ("maximumPoolSize", "minimumIdle", "connectionTimeout"))


def release(**changes: Any) -> Release:
    """A sized release; the tests of Helm use it too."""
    sizes: dict[str, Any] = {
        "replicas": 3,
        "request_cores": 1.5,
        "limit_cores": 2.5,
        "request_bytes": 1280 * MIB,
        "limit_bytes": 1280 * MIB,
        "heap_bytes": 704 * MIB,
        "thread_pool_size": 96,
        "slow_slot_percentage": 20,
        "pool_size": 60,
        "minimum_idle": 30,
        "connection_timeout_s": 10.0,
    }
    return Release(**(sizes | changes))


def properties(text: str) -> dict[str, str]:
    """Read a properties file as Java does, as far as we write one."""
    result = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            result[key] = value
    return result


# -- what is in the files ------------------------------------------------------------------------


def test_values_hold_the_release() -> None:
    values = yaml.safe_load(values_yaml(release()))
    assert values["replicaCount"] == 3
    assert values["image"] == {"tag": "0.3.1-beta"}
    assert values["server"]["prometheusPort"] == 9159
    assert values["server"]["threadPoolSize"] == 96
    assert values["server"]["opentelemetry"] == {"enabled": True}
    assert values["server"]["slowQuerySegregation"] == {
        "enabled": True,
        "slowSlotPercentage": 20,
        "idleTimeout": 10_000,
        "slowSlotTimeout": 120_000,
        "fastSlotTimeout": 60_000,
        "updateGlobalAvgInterval": 300,
    }
    assert values["service"] == {"perPodService": {"enabled": True, "type": "ClusterIP"}}
    assert values["resources"] == {
        "requests": {"cpu": "1500m", "memory": "1280Mi"},
        "limits": {"cpu": "2500m", "memory": "1280Mi"},
    }
    assert values["envFrom"] == [{"configMapRef": {"name": release().config_map_name}}]


def leaves(node: object, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    """Every scalar of a parsed document by its path."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if inner is None:
        return {path: node}
    return {p: value for key, child in inner for p, value in leaves(child, (*path, key)).items()}


def test_every_emitted_value_is_one_of_the_chart() -> None:
    for path in leaves(yaml.safe_load(values_yaml(release()))):
        names = [".".join(str(part) for part in path[:length]) for length in range(1, len(path) + 1)]
        setting = next(s for s in map(by_helm_path, names) if s is not None)
        assert setting.is_read, path


def test_large_numbers_are_quoted_wherever_they_come_from() -> None:
    text = values_yaml(release(slow_slot_timeout_s=3600.0, fast_slot_timeout_s=999.999, pool_size=60))
    assert 'slowSlotTimeout: "3600000" # ms' in text
    assert "fastSlotTimeout: 999999 # ms" in text
    assert 'maxRequestSize: "4194304"' in text
    for value in leaves(yaml.safe_load(text)).values():
        assert not isinstance(value, int) or value < LEAST_QUOTED


def test_strings_are_quoted_so_that_no_parser_guesses() -> None:
    values = yaml.safe_load(values_yaml(release(image_tag="1_0", namespace="on", name="y")))
    assert values["image"]["tag"] == "1_0"
    labels = values["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
    assert labels["podAffinityTerm"]["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "y"
    assert yaml.safe_load(config_map_yaml(release(namespace="on")))["metadata"]["namespace"] == "on"


def test_reasons_stand_above_their_value() -> None:
    reasons = {key: f"because of {key}" for key in (*SIZED, *CLIENT, JVM_FLAGS)}
    sized = release(reasons=reasons, heading=("verdict: met", "seed 7"))
    texts = {
        "values": values_yaml(sized),
        "jvm": config_map_yaml(sized),
        "properties": ojp_properties(sized),
    }
    for text in texts.values():
        assert text.startswith("# verdict: met\n# seed 7\n")
    for path in SIZED:
        lines = texts["values"].splitlines()
        at = next(n for n, line in enumerate(lines) if line.strip() == f"# because of {path}")
        value = next(line for line in lines[at:] if not line.strip().startswith("#"))
        assert value.strip().startswith(path.rpartition(".")[2] + ":")
    assert all(f"# because of {key}\n" in texts["properties"] for key in CLIENT)
    assert f"# Heap: because of {JVM_FLAGS}\n" in texts["jvm"]


def test_same_release_same_bytes() -> None:
    one = release(reasons={"replicaCount": "a", "resources.limits.cpu": "b"}, heading=("x",))
    other = release(reasons={"resources.limits.cpu": "b", "replicaCount": "a"}, heading=("x",))
    for emit in (values_yaml, config_map_yaml, ojp_properties, jdbc_url):
        assert emit(one) == emit(other)


def test_checksum_follows_what_pods_read_only_at_their_start() -> None:
    def checksum(sized: Release) -> object:
        return yaml.safe_load(values_yaml(sized))["podAnnotations"]["checksum/ojp-settings"]

    base = checksum(release())
    assert checksum(release(thread_pool_size=97)) != base
    # The JVM's flags are in a ConfigMap of another name then.
    assert release(heap_bytes=640 * MIB).config_map_name != release().config_map_name
    assert release(thread_pool_size=97).config_map_name == release().config_map_name
    assert checksum(release(reasons={"replicaCount": "other words"}, heading=("other",))) == base
    # More pods are no reason to start the others anew.
    assert checksum(release(replicas=4)) == base


def test_heap_and_collector() -> None:
    def flags(sized: Release) -> str:
        return str(yaml.safe_load(config_map_yaml(sized))["data"][JVM_FLAGS])

    assert flags(release()).startswith("-Xms704m -Xmx704m -XX:+UseG1GC ")
    assert "-XX:+ExitOnOutOfMemoryError" in flags(release())
    assert "-XX:+UseSerialGC" in flags(release(limit_cores=1.5))
    assert flags(release(heap_bytes=704 * MIB + 3000)).startswith("-Xms720898k -Xmx720898k ")


def test_properties_of_the_client() -> None:
    assert properties(ojp_properties(release())) == {
        "ojp.connection.pool.maximumPoolSize": "60",
        "ojp.connection.pool.minimumIdle": "30",
        "ojp.connection.pool.connectionTimeout": "10000",
        "ojp.connection.pool.idleTimeout": "600000",
        "ojp.connection.pool.maxLifetime": "1800000",
    }
    assert all(settings()[key].side == "client" for key in properties(ojp_properties(release())))


def test_url_names_every_pod() -> None:
    assert jdbc_url(release(replicas=2, name="db", namespace="prod")) == (
        "jdbc:ojp[db-ojp-server-0.prod.svc.cluster.local:1059,db-ojp-server-1.prod.svc.cluster.local:1059]"
        "_postgresql://db.example.com:5432/mydb"
    )
    assert release(name="my-ojp-server-2").full_name == "my-ojp-server-2"


@pytest.mark.parametrize("helm", [3, 4])
def test_commands_are_quoted_for_the_shell(helm: int) -> None:
    command = helm_command(release(), Path("my dir/$(date);'x"), helm)
    words = shlex.split(command.replace("\\\n", " "))
    assert "my dir/$(date);'x/values.yaml" in words
    assert words[words.index("--version") + 1] == "0.1.5"
    assert any(
        word.endswith("my dir/$(date);'x/" + ("post-render.sh" if helm == 3 else "helm-plugins")) for word in words
    )
    assert "./-x/values.yaml" in shlex.split(helm_command(release(), Path("-x"), helm).replace("\\\n", " "))


def test_what_the_warm_up_needs_is_a_command_and_no_secret_is_in_it() -> None:
    warm = release(name="db", namespace="prod", warm_up=WarmUp("registry.local/warm:1", 30_000))
    first = commands(warm, Path("out"))["Before the first time"]
    assert "docker build -t registry.local/warm:1 out/warm-up-image" in first
    assert "create secret generic db-warm-up --namespace prod" in first
    assert list(commands(release(), Path("out"))) == ["Apply, with Helm 3", "Apply, with Helm 4"]
    assert "OJP_PASSWORD" not in {name for name, text in kustomize_files(warm).items() if "OJP_PASSWORD:" in text}


def test_the_warm_ups_image_has_the_driver_of_the_release() -> None:
    files = kustomize_files(release(image_tag="0.4.21-beta", warm_up=WarmUp("w:1", 1)))
    assert "ARG DRIVER=0.4.21-beta\n" in files["warm-up-image/Dockerfile"]
    assert "class WarmUp" in files["warm-up-image/WarmUp.java"]
    assert not any("warm-up" in name for name in kustomize_files(release()))


@pytest.mark.parametrize("image", ["", "a b", "-x", "a\nb", "x" * 300])
def test_bad_images_are_refused(image: str) -> None:
    with pytest.raises(InputError, match="warm-up image"):
        WarmUp(image, 1)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": "Upper"}, "release name"),
        ({"name": "9lives"}, "release name"),
        ({"name": "a-"}, "release name"),
        ({"name": "a\nb"}, "release name"),
        ({"name": "a" * 42}, "release name"),
        ({"name": ""}, "release name"),
        ({"namespace": "a.b"}, "namespace"),
        ({"namespace": "n" * 64}, "namespace"),
        ({"image_tag": "1 2"}, "image tag"),
        ({"image_tag": ""}, "image tag"),
        ({"database_url": "jdbc:postgresql://x/y"}, "database URL"),
        ({"database_url": "postgresql://x/y z"}, "database URL"),
        ({"database_url": "postgresql://x/y\nreplicaCount: 9"}, "database URL"),
        ({"replicas": 0}, "replicas"),
        ({"thread_pool_size": 0}, "thread pool"),
        ({"slow_slot_percentage": 101}, "slow slot percentage"),
        ({"pool_size": 0}, "pool size"),
        ({"minimum_idle": 61}, "minimum idle"),
        ({"connection_timeout_s": 0.1}, "connectionTimeout"),
        ({"request_cores": 3.0}, "cpu"),
        ({"request_bytes": 1281 * MIB}, "memory"),
        ({"heap_bytes": 1280 * MIB}, "heap"),
    ],
)
def test_bad_releases_are_refused(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError) as caught:
        release(**changes)
    assert caught.value.place == place
    assert caught.value.fix
    assert "\n" not in str(caught.value)


def test_longest_name_fits_into_every_label() -> None:
    longest = release(name="a" * 41, replicas=1000)
    # The label that a StatefulSet's controller puts on pods, and the last pod's own name.
    assert len(longest.full_name + "-0123456789") == 63
    assert len(f"{longest.full_name}-{longest.replicas - 1}") <= 63


def test_reason_for_an_unknown_key_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="replicacount"):
        release(reasons={"replicacount": "x"})


# -- hostile comments ----------------------------------------------------------------------------

HOSTILE = st.text(max_size=60) | st.sampled_from(
    [
        "a\nreplicaCount: 99",
        "a\r\nevil: true\r\n",
        "a\x85evil: true",
        "a\u2028evil: true\u2029evil: 1",
        "\ufeff---\n...\n",
        '{{ include "x" . }} {{/*',
        "# \t# }}\t'\"",
        "x" * 400,
        "\x00\x07\x1b[31m",
        "trailing backslash \\",
        "\\u000aojp.connection.pool.maximumPoolSize=1",
        "é ü 漢字 😀",
        "\ud800 lone surrogate",
    ]
)


@settings_of_hypothesis(deadline=None)
@given(
    texts=st.lists(HOSTILE, min_size=len(SIZED) + len(CLIENT) + 1, max_size=len(SIZED) + len(CLIENT) + 1),
    heading=st.lists(HOSTILE, max_size=4),
)
def test_no_comment_changes_a_value(texts: list[str], heading: list[str]) -> None:
    reasons = dict(zip((*SIZED, *CLIENT, JVM_FLAGS), texts, strict=True))
    plain, hostile = release(), release(reasons=reasons, heading=tuple(heading))
    for emit in (values_yaml, config_map_yaml):
        text = emit(hostile)
        assert yaml.safe_load(text) == yaml.safe_load(emit(plain))
        assert text.encode().decode() == text
        assert all(line.isprintable() for line in text.split("\n"))
    text = ojp_properties(hostile)
    assert text.isascii()
    assert properties(text) == properties(ojp_properties(plain))


@given(st.text())
def test_comment_text_is_one_printable_line(text: str) -> None:
    assert comment_text(text).isprintable()
    assert comment_text(comment_text(text)) == comment_text(text)


# -- writing -------------------------------------------------------------------------------------

FILES = {"a.yaml": "a: 1", "b.yaml": "b: ü\n", "c.txt": "c\n"}


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.iterdir())}


def test_writes_into_a_new_directory(tmp_path: Path) -> None:
    target = tmp_path / "x" / "y"
    written = write_files(target, FILES, force=False)
    assert [w.change for w in written] == ["created"] * 3
    assert [w.path for w in written] == [target / name for name in FILES]
    assert (target / "a.yaml").read_bytes() == b"a: 1\n"
    assert (target / "b.yaml").read_bytes() == "b: ü\n".encode()
    assert set(contents(target)) == set(FILES)


BELOW = {"a.yaml": "a: 1\n", "sub/deep/b.yaml": "b: 1\n", "sub/c.txt": "c\n"}


def everything(directory: Path) -> dict[str, str]:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8") for path in found}


def test_files_below_are_written_and_replaced_with_the_others(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for force in (False, False):
        written = write_files(target, BELOW, force=force)
    assert {w.change for w in written} == {"unchanged"}
    assert everything(target) == BELOW
    (target / "sub" / "c.txt").write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"sub/c\.txt.*--force"):
        write_files(target, BELOW, force=False)
    write_files(target, BELOW, force=True)
    assert everything(tmp_path) == {f"out/{name}": text for name, text in BELOW.items()}


def test_nothing_leads_out_of_the_directory(tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    target.mkdir()
    elsewhere.mkdir()
    (target / "sub").symlink_to(elsewhere)
    with pytest.raises(InputError, match="not a plain directory"):
        write_files(target, BELOW, force=True)
    assert everything(elsewhere) == {}


def test_interruption_below_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("mine\n", encoding="utf-8")
    real, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_files(tmp_path, BELOW, force=True)
    assert everything(tmp_path) == {"a.yaml": "mine\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_identical_files_are_left_alone(tmp_path: Path) -> None:
    write_files(tmp_path, FILES, force=False)

    def standing() -> dict[str, tuple[int, int]]:
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}

    before = standing()
    again = write_files(tmp_path, FILES, force=False)
    assert [w.change for w in again] == ["unchanged"] * 3
    assert standing() == before


def test_differing_files_need_force_and_nothing_is_written_without(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.yaml.*--force"):
        write_files(tmp_path, FILES, force=False)
    assert contents(tmp_path) == {"b.yaml": "mine\n"}
    (tmp_path / "b.yaml").chmod(0o600)
    assert [w.change for w in write_files(tmp_path, FILES, force=True)] == ["created", "replaced", "created"]
    assert contents(tmp_path) == {"a.yaml": "a: 1\n", "b.yaml": "b: ü\n", "c.txt": "c\n"}
    assert (tmp_path / "b.yaml").stat().st_mode & 0o777 == 0o600


def test_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for directory in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError, match="is not a directory"):
            write_files(directory, FILES, force=True)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "x"


@pytest.mark.parametrize("dangling", [True, False])
def test_symlinks_are_refused_as_targets(tmp_path: Path, dangling: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    if not dangling:
        elsewhere.write_text("keep\n", encoding="utf-8")
    target = tmp_path / "out"
    target.mkdir()
    (target / "b.yaml").symlink_to(elsewhere)
    with pytest.raises(InputError, match="not a plain file"):
        write_files(target, FILES, force=True)
    assert [path.name for path in target.iterdir()] == ["b.yaml"]
    assert elsewhere.exists() is not dangling


def test_directory_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").mkdir()
    with pytest.raises(InputError, match="not a plain file"):
        write_files(tmp_path, FILES, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["b.yaml"]


def test_directory_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, for whom the mode of a directory is no bar: so it is the answer that is set.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="not writable"):
        write_files(tmp_path / "new", FILES, force=True)
    assert not (tmp_path / "new").exists()


def test_error_of_the_system_becomes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_files(tmp_path, FILES, force=True)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")])
@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_interruption_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, fails_at: int, after: bool
) -> None:
    """Before the rename or right after it: every file is as it was, and nothing else is left behind."""
    (tmp_path / "b.yaml").write_text("mine\n", encoding="utf-8")
    real, calls = Path.replace, 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls != fails_at:
            return real(self, target)
        if after:
            real(self, target)
        raise error

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises((KeyboardInterrupt, InputError)):
        write_files(tmp_path, FILES, force=True)
    assert contents(tmp_path) == {"b.yaml": "mine\n"}


@pytest.mark.parametrize("name", ["../x", "a//b", "/a", "a/../b", "a%b", "", ".", "..", "a\0b"])
def test_names_with_a_path_are_a_mistake_of_the_caller(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a file"):
        write_files(tmp_path, {name: "x"}, force=True)
    assert list(tmp_path.iterdir()) == []
