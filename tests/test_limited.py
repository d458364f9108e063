"""Servers with a CPU limit: recorded measurements against the model, without Java; and the manners of control groups."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import harness_of

from ojp_sizing.errors import InputError
from tests.real_server import groups, pgbench
from tests.real_server.end_to_end import calls, workload
from tests.real_server.experiments import EXPERIMENTS
from tests.real_server.findings import compare
from tests.real_server.footprint import per_connection
from tests.real_server.quota import WARM_QUOTAS
from tests.real_server.recorded import read_columns
from tests.real_server.recovery import measured_recovery, recovered, replicated
from tests.real_server.report import within_limits
from tests.real_server.report_limited import compare_course, measured_courses

EXPERIMENT = EXPERIMENTS["kill"]


BANDS = [(course.name, number) for course in measured_courses() for number in range(len(course.loads))]
ALL = {"throughput", "p50_s", "p95_s", "p99_s"}
#: Which figures the model misses: docs/validation.md says why.
MISSED: dict[tuple[str, float], set[str]] = {
    **{("end-to-end", load): {"p95_s", "p99_s"} for load in (0.1, 0.2, 0.4, 0.8)},
    ("end-to-end", 0.6): {"p50_s", "p95_s"},
    ("end-to-end", 0.9): {"p99_s"},
    ("end-to-end", 0.95): {"p99_s"},
    ("quota-0.5", 0.3): {"p99_s"},
    ("quota-0.5", 0.8): {"p99_s"},
}


@pytest.mark.parametrize(("name", "number"), BANDS)
def test_the_model_is_as_near_to_a_limited_server_as_the_page_says(name: str, number: int) -> None:
    run = compare_course(name)[number]
    assert run.load is not None
    missed = {of for of, ok in within_limits(run).items() if not ok}
    assert missed <= MISSED.get((name, run.load), set())
    assert run.measured["failed"] == {}


@pytest.mark.parametrize(("name", "number"), BANDS)
def test_the_model_carries_every_band_up_to_the_largest_throughput(name: str, number: int) -> None:
    """A constant cost of a call collapsed from 40 % of it on (docs/cpu.md)."""
    run = compare_course(name)[number]
    assert abs(run.error("throughput")) < 0.02
    assert run.now["cores"] == pytest.approx(run.measured["cores"], rel=0.4)


@pytest.mark.parametrize(("name", "number"), BANDS)
def test_a_band_s_summary_is_that_of_its_recorded_units(name: str, number: int) -> None:
    [course] = [course for course in measured_courses() if course.name == name]
    found = compare_course(name)[number].measured
    latency_s = np.cumsum(read_columns(course.folder / f"measured-{number}.csv.xz")["more_us"]) / 1e6
    assert len(latency_s) == found["ok"]
    assert found["p99_s"] == pytest.approx(np.quantile(latency_s, 0.99, method="inverted_cdf"), abs=1e-6)


def test_the_cpu_of_a_call_falls_with_the_load() -> None:
    """What no constant can say: why the model is too careful near the largest throughput."""
    for course in measured_courses():
        each_s = [run.measured["cpu_s"] / run.measured["units"] for run in compare_course(course.name)]
        assert each_s == sorted(each_s, reverse=True)
        assert each_s[0] > (1.1 if course in WARM_QUOTAS else 1.3) * each_s[-1]


def test_the_statistics_of_postgresql_are_read_as_pgbench_units() -> None:
    read = workload()
    assert {statement.name for statement in read.statements} == set(pgbench.NAMES) - {"sleep"}
    assert [unit.name for unit in read.units] == list(pgbench.UNITS)
    assert all(fitted.low < fitted.value < fitted.high for fitted in calls().values())


def test_a_connection_s_memory_is_seen_where_it_is_large_enough() -> None:
    assert per_connection("live_heap_bytes").low > 0
    assert per_connection("sessions_private_bytes").low > 1e6
    assert per_connection("resident_bytes").low < 0  # a JVM's resident memory doesn't show it


@pytest.mark.parametrize("name", ["kill", "stop", "rolling"])
def test_a_return_under_load_fails_as_many_units_as_the_model_s_range_says(name: str) -> None:
    """On a server that is back every caller builds a pool, and nothing is well again within the run (reference 1.1)."""
    found, told = measured_recovery(name), replicated(name)
    assert told["failed"][0] <= found.failed <= told["failed"][-1]
    assert told["well_s"][-1] == found.well_s == np.inf
    assert told["pool_s"][0] == pytest.approx(found.pool_s, rel=0.35)
    [run] = compare(name)
    assert abs(run.error("throughput")) < 0.1
    assert run.now["connections"] == pytest.approx(run.measured["backends"]["count"], rel=0.3)


def _can_make_groups() -> bool:
    try:
        with groups.group("probe", groups.SERVER_SHARES):
            return True
    except InputError:
        return False


needs_groups = pytest.mark.skipif(not _can_make_groups(), reason="no control group can be made here")


@needs_groups
def test_a_group_limits_what_runs_in_it_and_is_gone_afterwards() -> None:
    with groups.group("test", groups.SERVER_SHARES, 0.2) as limited:
        busy = "import time; end = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass"
        command = [*limited.enter, sys.executable, "-c", busy]
        subprocess.run(command, check=True, timeout=20)
        told = limited.throttled()
        path = limited.path
    assert told["throttled"] > 0
    assert told["stood_still_s"] > 0.2  # 0.48 s of 0.6 where the machine is idle
    assert not path.exists()


@needs_groups
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_group_behind(number: signal.Signals) -> None:
    script = (
        "import time\n"
        "from tests.real_server.groups import group\n"
        "from tests.real_server.processes import interrupts_unwind\n"
        "interrupts_unwind()\n"
        "with group('test', 1024, 0.5) as made:\n"
        "    print(made.path, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with harness_of(script) as (harness, said):
        path = Path(said)
        assert path.exists()
        harness.send_signal(number)
        harness.wait(20)
    assert not path.exists()


@needs_groups
def test_a_group_of_a_run_that_was_killed_goes_with_the_next_one() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    left = groups.own_group() / f"ojp-validate-{process.pid}-left"
    left.mkdir()
    with groups.group("test", groups.SERVER_SHARES):
        assert not left.exists()


def test_no_control_groups_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "own_group", lambda: tmp_path / "none")
    with pytest.raises(InputError, match="no control group"), groups.group("test", groups.SERVER_SHARES):
        pass


def test_a_played_trace_has_pgbench_units_and_parameters(tmp_path: Path) -> None:
    path, rng = tmp_path / "trace.csv", np.random.default_rng(1)
    kind = rng.integers(0, 2, 200)
    pgbench.write_trace(path, np.arange(200) / 10.0, kind, rng)
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    texts = list(pgbench.UNITS.values())
    for unit, of in enumerate(kind.tolist()):
        mine = [row for row in rows if int(row[0]) == unit]
        assert [pgbench.NAMES[int(row[3])] for row in mine] == list(texts[of])
        assert {row[2] for row in mine} == {str(of)}  # the second kind is a transaction
        for row in mine:
            drawn = dict(zip(pgbench.TEXTS[pgbench.NAMES[int(row[3])]][1], map(int, row[8].split(";")), strict=True))
            assert 1 <= drawn.get("aid", 1) <= 100_000 * pgbench.SCALE
            assert 1 <= drawn.get("bid", 1) <= pgbench.SCALE
            assert abs(drawn.get("delta", 0)) <= 5000
    accounts = {row[8].split(";")[-1] for row in rows if pgbench.NAMES[int(row[3])] == "update_pgbench_accounts"}
    assert len(accounts) > 50


def test_recovery_is_read_off_the_units() -> None:
    """Killed at 10 s and started at 25 s: a unit fails at 10.2 s; the ones due from 27 to 31 s take ten times as long."""
    due_s = np.arange(0.0, 60.0, 0.01)
    latency_s = np.full(len(due_s), 0.05)
    latency_s[(due_s >= 27.0) & (due_s < 31.0)] = 0.5
    well = np.ones(len(due_s), np.bool_)
    failed = int(np.searchsorted(due_s, 10.2))
    well[failed], latency_s[failed] = False, 0.1
    found = recovered(EXPERIMENT, due_s, latency_s, well, [26.0], [28.5])
    assert found.found_s == pytest.approx(0.3, abs=0.02)
    assert found.pool_s == pytest.approx(2.5)
    assert found.well_s == pytest.approx(5.0)
    assert found.failed == 1
    latency_s[-50:] = 5.0
    assert recovered(EXPERIMENT, due_s, latency_s, well, [26.0], [28.5]).well_s == np.inf
