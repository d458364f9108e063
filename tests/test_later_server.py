"""The model against a real OJP 0.4.21, by what was recorded; and jars of another version than an experiment's."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from ojp_sizing.deployment.versions import traits_of
from ojp_sizing.errors import InputError
from tests.real_server import artifacts, recorded, report_later
from tests.real_server.experiments import Experiment
from tests.real_server.findings import compare, measured
from tests.real_server.later import CELLS, VERSION
from tests.real_server.prediction import modelled
from tests.real_server.recovery import LATER_NAMES, measured_recovery, replicated
from tests.real_server.report import within_limits
from tests.real_server.servers import logging, properties

#: The figures that are missed: docs/validation-details.md says why.
MISSED = {("threads", 0.6): {"throughput", "p99_s"}, ("threads", 0.8): {"throughput", "p95_s", "p99_s"}}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_every_cell_was_predicted_and_measured_on_this_version(cell: Experiment) -> None:
    told, found = (recorded.read_json(recorded.folder(cell) / f"{part}.json") for part in ("prediction", "measured"))
    assert told["settings"]["version"] == cell.version == VERSION
    assert VERSION in found["versions"]["server"]
    assert VERSION in found["versions"]["driver"]
    assert len(told["bands"]) == len(found["bands"]) == len(cell.bands)
    for number in range(len(cell.bands)):
        trace = recorded.read_trace(recorded.trace_path(cell, number), cell)
        assert len(trace.arrival_s) == found["bands"][number]["units"]


@pytest.mark.parametrize("name", report_later.STEADY_NAMES)
def test_steady_servers_carry_what_the_model_says(name: str) -> None:
    for run in compare(name):
        missed = {of for of, ok in within_limits(run).items() if not ok}
        assert missed == MISSED.get((name.rpartition("/")[2], run.load or 0.0), set())


def test_pools_locks_and_leaks_are_as_predicted() -> None:
    found = report_later.verdicts()
    assert len(found) == 5
    assert all(same for *_, same in found)


@pytest.mark.parametrize("name", LATER_NAMES)
def test_as_many_fail_as_in_some_trace_of_the_model(name: str) -> None:
    found, told = measured_recovery(name), replicated(name)
    assert told["failed"][0] <= found.failed <= told["failed"][-1]


def test_a_dead_pod_gets_the_more_work_the_nearer_it_stands_to_the_head_of_the_url() -> None:
    """Sessions count from their first answer on, and of pods with as few the first is taken. Updates open none: a third."""
    queries, updates = (f"{LATER_NAMES[0].rpartition('/')[0]}/{name}" for name in ("rolling", "kill-updates"))
    for losses in (report_later.measured_losses, report_later.modelled_losses):
        third, second, first = losses(queries)
        assert third < 1 / 3 < second < 0.5 < first
        assert losses(updates) == [pytest.approx(1 / 3, abs=0.02)]
    for told, found in zip(report_later.modelled_losses(queries), report_later.measured_losses(queries), strict=True):
        assert told == pytest.approx(found, abs=0.15)


def test_the_table_of_versions_says_what_was_measured() -> None:
    assert all(measured(cell.name) for cell in CELLS if modelled(cell))
    assert traits_of(VERSION).status == "MEASURED"


# The harness ------------------------------------------------------------------------------------------------------------


def _jar(path: Path, artifact: str, version: str) -> Path:
    with ZipFile(path, "w") as archive:
        archive.writestr(f"META-INF/maven/org.openjproxy/{artifact}/pom.properties", f"version={version}\n")
    return path


def test_a_jar_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OJP_SERVER_JAR", str(_jar(tmp_path / "server.jar", "ojp-server", VERSION)))
    monkeypatch.setenv("OJP_DRIVER_JAR", str(_jar(tmp_path / "driver.jar", "ojp-jdbc-driver", "0.4.20-beta")))
    monkeypatch.setenv("OJP_SERVER_ORIGIN", "here")
    assert artifacts.server_jar(VERSION) == tmp_path / "server.jar"
    assert artifacts.server_origin(VERSION).startswith("here; SHA-256 ")
    with pytest.raises(InputError, match=r"OJP_SERVER_JAR: it is ojp-server 0\.4\.21-beta"):
        artifacts.server_jar()
    with pytest.raises(InputError, match=r"OJP_DRIVER_JAR: it is ojp-jdbc-driver 0\.4\.20-beta"):
        artifacts.driver_jar(VERSION)


@pytest.mark.parametrize("variable", ["OJP_SERVER_JAR", "OJP_DRIVER_JAR"])
def test_a_later_version_wants_jars_that_are_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable, raising=False)
    of = {"OJP_SERVER_JAR": artifacts.server_jar, "OJP_DRIVER_JAR": artifacts.driver_jar}[variable]
    with pytest.raises(InputError, match=f"{variable}: there is no such file"):
        of(VERSION)


def test_both_versions_are_told_the_same_settings() -> None:
    """Later versions 8: none of these names has changed, and what a server writes is read by the same pattern."""
    cell = next(cell for cell in CELLS if cell.name.endswith("/slots"))
    assert properties(cell.server, 1, 2)["ojp.server.slowQuerySegregation.enabled"] == "true"
    assert len(logging("0.3.1-beta")) == 4
    assert logging(VERSION)[0].startswith("-Dojp.server.log.pattern=")
