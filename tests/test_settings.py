"""The table of settings: complete, consistent, and the source of its page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ojp_sizing.data_files import data_path
from ojp_sizing.errors import InputError
from ojp_sizing.settings import JAVA_BOUNDS, Setting, by_helm_path, check, page, settings

ROOT = Path(__file__).parent.parent
CHART = ROOT / "tests" / "chart" / "ojp-server"
STATUSES = ("CODE", "RUN", "DOC", "PREDICTED", "GENERAL", "INFER")


def test_page_in_docs_is_what_the_command_prints() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "ojp_sizing.settings"], check=True, capture_output=True, cwd=ROOT, timeout=60
    ).stdout
    assert (ROOT / "docs" / "settings.md").read_bytes() == printed, (
        "run: python -m ojp_sizing.settings > docs/settings.md"
    )


def test_import_needs_the_standard_library_only() -> None:
    code = "import sys, ojp_sizing.settings as s; s.settings(); print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT, text=True, timeout=60
    ).stdout.split()
    assert not {"numpy", "pandas", "pydantic", "ruamel", "yaml", "simpy"} & set(modules)


def test_keys_and_helm_paths_are_unique() -> None:
    rows = data_path("ojp_settings.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == len(settings()) + 1
    paths = [s.helm_path for s in settings().values() if s.helm_path]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("setting", settings().values(), ids=list(settings()))
def test_row(setting: Setting) -> None:
    assert setting.side in ("server", "client", "chart")
    assert setting.capacity_effect.strip() == setting.capacity_effect != ""
    assert any(status in setting.source for status in STATUSES)
    assert setting.source.startswith("reference ") or setting.source == "GENERAL"
    if setting.side == "server":
        assert setting.system_property == setting.key
        assert setting.environment == setting.key.upper().replace(".", "_")
    if setting.side == "chart":
        assert setting.helm_path == setting.key
    # A default is within its own bounds and of its own type.
    if setting.default is not None:
        check(setting.key, setting.default, "the table")
    assert by_helm_path(setting.helm_path) in (setting, None)


def test_table_has_the_settings_that_sizing_turns() -> None:
    for key in (
        "ojp.server.threadPoolSize",
        "ojp.server.slowQuerySegregation.slowSlotPercentage",
        "ojp.server.sessionCleanup.timeoutMinutes",
        "ojp.sql.enhancer.enabled",
        "ojp.server.tls.enabled",
        "ojp.server.maxConcurrentRequests",
        "ojp.server.gracefulShutdown.drainTimeoutSeconds",
        "ojp.connection.pool.maximumPoolSize",
        "ojp.xa.connection.pool.minimumIdle",
        "replicaCount",
        "envFrom",
    ):
        assert key in settings()
    assert not settings()["ojp.multinode.retryAttempts"].is_read
    assert not settings()["ojp.health.check.timeout"].affects_capacity
    assert settings()["ojp.server.threadPoolSize"].affects_capacity
    assert settings()["ojp.server.threadPoolSize"].default == 200


def _leaves(node: object, path: str = "") -> dict[str, object]:
    if isinstance(node, dict) and node:
        return {k: v for key, inner in node.items() for k, v in _leaves(inner, f"{path}.{key}".strip(".")).items()}
    return {path: node}


def test_defaults_of_the_chart() -> None:
    """Each default of the chart is in the table, with the same value, but for the one known difference."""
    differing = set()
    for path, value in _leaves(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))).items():
        setting = by_helm_path(path)
        assert setting is not None, path
        if str(setting.default) != str(value):
            differing.add(path)
    assert differing == {"server.prometheusPort"}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("ojp.server.threadPoolSize", 0, "below the least, 1"),
        ("ojp.server.threadPoolSize", 2**31, "above the most, 2147483647"),
        ("ojp.server.threadPoolSize", 10.5, "not a whole number"),
        ("ojp.server.threadPoolSize", True, "not a whole number"),
        ("ojp.server.slowQuerySegregation.slowSlotPercentage", 101, "101 % is above the most, 100"),
        ("ojp.server.slowQuerySegregation.slowMultiplier", float("nan"), "not a number"),
        ("ojp.server.slowQuerySegregation.slowMultiplier", 0.5, "below the least"),
        ("ojp.server.slowQuerySegregation.enabled", 1, "not true or false"),
        ("ojp.jdbc.clientThrottle.mode", "SOMETIMES", "not one of OFF, PROACTIVE"),
        ("ojp.libs.path", 5, "not a string"),
        ("tolerations", {}, "not a list"),
    ],
)
def test_check_refuses(key: str, value: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        check(key, value, "--here")  # type: ignore[arg-type]
    assert str(caught.value).startswith("--here: ")
    assert words in caught.value.problem
    assert key in caught.value.fix and settings()[key].source in caught.value.fix
    assert "\n" not in str(caught.value)


def test_check_takes_bounds_themselves() -> None:
    check("ojp.server.port", 1, "x")
    check("ojp.server.port", 65535, "x")
    check("ojp.server.threadPoolSize", JAVA_BOUNDS["int"][1], "x")
    check("tolerations", [], "x")
    check("affinity", json.loads("{}"), "x")


def test_page_has_a_row_per_setting_and_is_escaped() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(settings())
    for row in rows:
        # Unescaped bars end a cell: as many as the heading has.
        assert row.replace("\\|", "").count("|") in (9, 10)
