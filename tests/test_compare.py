"""Two releases side by side: both answers, and what each trait does by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ojp_sizing import Deployment, sample_trace, simulate
from ojp_sizing.demand.reading import read_workload
from ojp_sizing.deployment.versions import NOT_SIMULATED, differences, traits_of
from tests.test_cli import run

OLD, NEW = traits_of("0.3.1-beta"), traits_of("0.4.21-beta")
ASKED = ("--peak-rps", "20", "--max-replicas", "5", "--disruption-failed", "5%")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    result = run("compare", "0.3.1", "v0.4.21", *ASKED, "--json", cwd=tmp_path_factory.mktemp("compared"))
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_both_answers_stand_side_by_side(compared: dict[str, dict[str, list[list[str]]]]) -> None:
    table = compared["tables"]["Side by side"]
    assert table[0] == ["", "0.3.1-beta", "0.4.21-beta"]
    rows = {row[0]: row[1:] for row in table[1:]}
    for name in (
        "verdict",
        "pods x CPU limit",
        "max_connections",
        "cost, core equivalents",
        "rolling update: limits broken",
    ):
        assert all(rows[name]), name
    # Nobody's getConnection() calls the pods any more: units are quicker, and those that meet a dead pod fail until the tick.
    old_ms, new_ms = (float(cell.split()[0]) for cell in rows["p99 of fast units at steady peak, ms"])
    assert new_ms < old_ms
    old_failed, new_failed = (float(cell.split()[0]) for cell in rows["over a rolling update, %"])
    assert old_failed < new_failed


def test_each_trait_is_in_one_of_three_places(compared: dict[str, dict[str, list[list[str]]]]) -> None:
    tables = list(compared["tables"].values())
    acting = [row[0] for row in tables[1][2:]]
    idle, unseen = (rows[1][1].split(", ") for rows in tables[2:])
    assert sorted([*acting, *idle, *unseen]) == sorted(differences(OLD, NEW))
    assert set(unseen) <= set(NOT_SIMULATED)
    base = next(row for row in tables[1] if row[0] == "as it is")
    cached = next(row for row in tables[1] if row[0] == "connect_cached")
    assert float(cached[2]) < float(base[2])


def test_a_switched_trait_acts_alone() -> None:
    trace = sample_trace(read_workload("web-oltp"), 50.0, 2.0, 1)
    old = Deployment(3, limit_cores=1.0)
    cached = replace(old, switched=replace(OLD, connect_cached=True))
    assert replace(old, switched=NEW).traits == replace(old, version="0.4.21").traits
    took = [simulate(trace, deployment).latency_s for deployment in (old, cached, replace(old, switched=OLD))]
    assert (took[1] < took[0]).all()
    assert (took[2] == took[0]).all()


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (("0.3.1", "0.3.1-beta"), "NEWER: 0.3.1-beta and 0.3.1 are the same release here"),
        (("latest", "0.4.21"), "OLDER: no server 'latest' is modelled"),
        (("0.3.1", "sha256:abc"), "NEWER: no server 'sha256:abc' is modelled"),
    ],
)
def test_what_can_t_be_compared_is_refused_in_a_line(versions: tuple[str, str], words: str, tmp_path: Path) -> None:
    result = run("compare", *versions, *ASKED, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_range_can_t_be_compared(tmp_path: Path) -> None:
    result = run("compare", "0.3.1", "0.4.21", "--peak-rps", "20..25..30", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "ojp-size: --peak-rps: a range can't be compared; write one rate\n"
