"""The table of settings: complete, consistent, and the source of its page."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ojp_sizing.data_files import data_path
from ojp_sizing.errors import InputError
from ojp_sizing.settings import JAVA_BOUNDS, Setting, by_helm_path, check, page, settings

pytestmark = pytest.mark.fast

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
    assert setting.source.startswith(("reference ", "POMs of ", "0.3.1-beta, RUN")) or setting.source == "GENERAL"
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


def defaults_of_the_chart(state: str) -> dict[str, object]:
    """What ``values.yaml`` of a stored state of the public chart says, by path; what it lacks is missing."""
    values = _leaves(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))
    if state != "215d365":
        values |= json.loads((CHART.parent / f"{state}.json").read_text(encoding="utf-8"))
    return {path: value for path, value in values.items() if value is not None}


def test_defaults_of_the_chart() -> None:
    """Those of 215d365 (0.1.5) are all in the table, with the same value; 17c35b7 differs in three."""
    for path, value in defaults_of_the_chart("215d365").items():
        setting = by_helm_path(path)
        assert setting is not None, path
        assert str(setting.default) == str(value), path
    older = defaults_of_the_chart("17c35b7")
    assert {path: value for path, value in defaults_of_the_chart("215d365").items() if older.get(path) != value} == {
        "server.prometheusPort": 9159,
        "server.driversPath": "./ojp-libs",
        "server.slowQuerySegregation.updateGlobalAvgInterval": 300,
    }


def test_what_the_table_says_of_a_state_is_so() -> None:
    """Every row that names a state of the chart says what that one has."""
    said = 0
    for setting in settings().values():
        states = {state: defaults_of_the_chart(state).get(setting.helm_path) for state in ("215d365", "17c35b7")}
        for value, state in re.findall(r"(?:says|and) (\S+) in (?:its state )?([0-9a-f]{7})", setting.capacity_effect):
            assert value == str(states[state]), setting.key
            said += 1
        for state in re.findall(r"the values of ([0-9a-f]{7}) lack it", setting.capacity_effect):
            assert states[state] is None, setting.key
            said += 1
        # Where the two states differ, the row tells of both.
        if states["215d365"] != states["17c35b7"]:
            assert all(state in setting.capacity_effect for state in states), setting.key
    assert said == 6


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
