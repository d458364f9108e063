"""The CPU of a call found again: from tables, from a real Prometheus, and where it can't be."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_server import ojp_history, running, write_history
from test_fit_demand import WHEN
from test_fit_demand import ojp_size as run

from ojp_sizing.demand.reading import read_workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.reading import read_deployment
from ojp_sizing.errors import InputError
from ojp_sizing.telemetry.calibration import Use, beyond_work, by_kind, calibrate, calibration_yaml, use_from_file
from ojp_sizing.telemetry.intervals import ends_of
from ojp_sizing.theory.offered import mean_load, pod_cores

TRUTH = replace(default_constants(), statement_cpu_s=0.0003, connect_cpu_s=0.00005, small_rpc_cpu_s=0.00004)
IDLE = 0.01


def cores_of(per_pod: Mapping[str, np.ndarray], noise: np.ndarray) -> np.ndarray:
    """What a pod with the true constants uses, by the law solved for what it has on its hands."""
    kinds = by_kind(per_pod, len(noise))
    work = IDLE + sum(kinds[name] * getattr(TRUTH, name) for name in kinds) + noise
    cores = work
    for _ in range(50):
        cores = work + beyond_work(cores, sum(kinds.values()), per_pod["connect"], TRUTH)
    return cores


def day(seed: int, points: int = 1440, alike: bool = False, noise: float = 0.002) -> Use:
    """Two pods: units rise and fall over the day, reports over the night."""
    rng = np.random.default_rng(seed)
    at = np.arange(points) / points * 2 * np.pi
    units = 150 + 100 * np.sin(at) + rng.normal(0, 5, points)
    reads = units * (2.0 if alike else 2 + 1.2 * np.sin(3 * at + 1) + rng.normal(0, 0.1, points))
    small = units * (1.0 if alike else 2 + 1.5 * np.cos(2 * at) + rng.normal(0, 0.1, points))
    per_pod = {"connect": units, "terminateSession": units / 2, "executeQuery": reads / 2, "commit": small / 2}
    cores = cores_of(per_pod, rng.normal(0, noise, points))
    return Use("day", 2 * cores, np.full(points, 2.0), {name: 2 * rates for name, rates in per_pod.items()})


def test_the_constants_are_found_again() -> None:
    found = calibrate(day(1))
    assert not found.is_scaled
    for name in ("statement_cpu_s", "connect_cpu_s", "small_rpc_cpu_s"):
        low, mid, high = ends_of(found.constants[name])
        assert mid == pytest.approx(getattr(TRUTH, name), rel=0.1), name
        assert low < mid < high
        assert high / low < 1.3
    assert found.idle_cores == pytest.approx(IDLE, abs=0.003)
    assert found.explained > 0.99
    assert np.allclose(found.fitted, found.seen, atol=0.02)


def test_95_of_100_ranges_hold_the_truth() -> None:
    held = [
        low <= getattr(TRUTH, name) <= high
        for seed in range(60)
        for name, value in calibrate(day(seed, points=300)).constants.items()
        if name != "row_block_cpu_s"
        for low, _, high in [ends_of(value)]
    ]
    assert len(held) == 180
    assert 0.9 <= np.mean(held) <= 0.99


def test_kinds_that_go_together_share_a_factor() -> None:
    found = calibrate(day(2, alike=True))
    assert found.is_scaled
    table = default_constants()
    factors = {round(float(v) / getattr(table, n), 2) for n, v in found.constants.items() if n != "row_block_cpu_s"}
    assert len(factors) == 1
    assert 2 < factors.pop() < 3
    assert any("rise and fall together" in note for note in found.notes)


def test_the_law_is_that_of_the_closed_forms() -> None:
    """What is taken off is what ``pod_cores`` adds."""
    constants = default_constants()
    load = mean_load(read_workload("web-oltp"), constants)
    for rate in (20.0, 300.0, 1500.0):
        cores = pod_cores(load, rate, 3.0, constants)
        calls = rate * (load.every_pod_rpcs + load.spread_rpcs / 3)
        visits = rate * (load.every_pod_visits + load.spread_visits / 3)
        extra = beyond_work(*(np.array([value]) for value in (cores, calls, visits)), constants)
        assert cores - float(extra[0]) == pytest.approx(rate * (load.every_pod_cpu_s + load.spread_cpu_s / 3), rel=1e-9)


def test_from_a_table_to_an_answer_that_names_them(tmp_path: Path) -> None:
    use, table, output = day(3, points=400), tmp_path / "use.csv", tmp_path / "mine.yaml"
    columns = {"time": range(400), "cores": use.cores, "pods": use.pods, **use.calls}
    lines = [",".join(columns), *(",".join(f"{v:.9g}" for v in row) for row in zip(*columns.values(), strict=True))]
    table.write_text("\n".join(lines) + "\n")
    again = use_from_file(table)
    assert np.allclose(again.cores, use.cores)
    ran = run("calibrate", str(table), "--output", str(output))
    assert ran.returncode == 0, ran.stderr
    assert re.match(r"statement_cpu_s: 0\.\d+ ms \[0\.\d+, 0\.\d+\], in use so far 0\.11 ms\n", ran.stdout)
    constants = read_deployment(str(output)).constants_over(default_constants())
    row = constants.rows()["statement_cpu_s"]
    assert (row.status, row.source) == ("SET", str(output))
    assert row.value == pytest.approx(0.0003, rel=0.1)
    assert constants.row_block_cpu_s == 0


def test_from_a_real_prometheus(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    at = np.arange(600) / 600 * 2 * np.pi
    units = 100 + 60 * np.sin(at) + 20 * np.sin(5 * at)
    ratios = {"executeQuery": 2.0, "terminateSession": 1.0}
    per_pod = {"connect": units, **{name: units * each / 2 for name, each in ratios.items()}}
    cores = cores_of(per_pod, rng.normal(0, 0.001, 600))
    write_history(tmp_path, ojp_history(units, ratios, resets={1: 200}, gap=range(300, 320), cpu=cores))
    with running(tmp_path) as server:
        asked = ("calibrate", "--url", server.url, *WHEN, "--cpu-selector", 'container="ojp-server"')
        ran = run(*asked)
        missing = run(*asked[:-1], 'container="other"')
    assert ran.returncode == 0, ran.stderr
    # These rise and fall together: one factor, which every statement's CPU shows.
    assert "taken times one factor" in ran.stderr
    factor = float(re.search(r"statement_cpu_s: ([\d.]+) ms", ran.stderr)[1]) / 0.11  # type: ignore[index]
    work = (2.0 / 2 * 0.3 + 1.5 * 0.05) / (2.0 / 2 * 0.11 + 1.5 * 0.02)
    assert factor == pytest.approx(work, rel=0.1)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "no container_cpu_usage_seconds_total in that range" in missing.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("connect\n1\n", "no column 'cores'"),
        ("cores\n1\n", "no column of calls"),
        ("cores,connect\n1,x\n", "'connect': 'x' is not a number"),
        ("cores,pods,connect\n1,0,1\n", "'pods': fewer than 1"),
        ("cores,connect\n" + "1,5\n" * 10, "10 points in time with calls and CPU; 60 or more are needed"),
        ("cores,connect\n" + "".join(f"{1 - n / 200},{n}\n" for n in range(100)), "CPU doesn't rise with the calls"),
    ],
)
def test_tables_that_tell_nothing(text: str, words: str, tmp_path: Path) -> None:
    table = tmp_path / "use.csv"
    table.write_text(text)
    with pytest.raises(InputError) as caught:
        calibrate(use_from_file(table))
    assert words in str(caught.value)


def test_the_file_says_where_it_is_from() -> None:
    found = calibrate(day(1))
    text = calibration_yaml(found, "use.csv", ["one", "two"])
    assert text.startswith("# Fitted to use.csv.\n# one\n# two\n")
    assert "constants:\n" in text


def test_neither_or_both() -> None:
    for arguments in ((), ("x.csv", "--url", "http://127.0.0.1:9")):
        ran = run("calibrate", *arguments)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "neither a file nor a server is named, or both" in ran.stderr
