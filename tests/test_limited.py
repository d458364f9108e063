"""Servers with a CPU limit: recorded measurements against the model, without Java; and the manners of control groups."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ojp_sizing.errors import InputError
from tests.real_server import artifacts, groups, pgbench
from tests.real_server.experiments import EXPERIMENTS
from tests.real_server.recovery import recovered

EXPERIMENT = EXPERIMENTS["kill"]


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
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=artifacts.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        path = Path(harness.stdout.readline().strip())
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
