"""Situations are a table: a new one is a row of it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from numpy.random import Generator, default_rng
from rich.console import Console

from ojp_sizing import cli
from ojp_sizing.demand.reading import read_workload
from ojp_sizing.deployment import disruption
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.deployment.disruption import PodLoss, Several
from ojp_sizing.deployment.situations import SITUATIONS, Situation, always, asked_for, in_order, table
from ojp_sizing.emit.from_recommendation import record_of_judged
from ojp_sizing.measurement.objectives import Objectives
from ojp_sizing.report.terminal import print_judged
from ojp_sizing.sizing.evaluate import Task, run_task
from ojp_sizing.sizing.question import Execution, Question
from ojp_sizing.sizing.recommendation import check

ROOT = Path(__file__).parent.parent
WEB = read_workload("web-oltp")
DEPLOYMENT = Deployment(4, 1.0, ClientPool(12, 4), ServerSettings(segregation=False), Database(4.0), warm_pools=True)
#: Keys that were given once are never changed, and never given again: every answer that was ever printed hangs on them.
SEED_KEYS = {
    "steady-peak": 0, "pod-lost": 1, "rolling-update": 2, "pod-stopped": 3, "node-lost": 4, "two-pods-lost": 5,
    "database-slow": 6, "database-full": 7,
}  # fmt: skip


def sample_first_and_last(deployment: Deployment, at_s: float, rng: Generator) -> Several:
    """The sampler of a situation that only a test knows."""
    away_s = float(rng.uniform(1.0, 2.0))
    return Several(tuple(PodLoss(pod, at_s, away_s, 0.1) for pod in (0, deployment.replicas - 1)))


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch) -> Iterator[Situation]:
    """A row that is added, first of all; the others in another order."""
    row = Situation("ends-lost", "both ends lost", 1000, "the first and the last pod die", "sample_first_and_last")
    before = dict(SITUATIONS)
    monkeypatch.setattr(disruption, "sample_first_and_last", sample_first_and_last, raising=False)
    SITUATIONS.clear()
    SITUATIONS.update({row.key: row, **dict(reversed(before.items()))})
    yield row
    SITUATIONS.clear()
    SITUATIONS.update(before)


def test_no_two_rows_share_a_key_words_or_a_seed_key_and_none_was_given_another() -> None:
    rows = SITUATIONS.values()
    for kept in ("key", "words", "seed_key"):
        assert len({getattr(row, kept) for row in rows}) == len(rows), kept
    assert {key: SITUATIONS[key].seed_key for key in SEED_KEYS} == SEED_KEYS
    assert all(row.key == key for key, row in SITUATIONS.items())


@pytest.mark.parametrize("row", SITUATIONS.values(), ids=str)
def test_every_row_has_its_sampler_and_goes_to_a_worker_and_back(row: Situation) -> None:
    drawn = row.sample(DEPLOYMENT, 2.0, default_rng(1))
    assert (drawn is not None) == row.is_disruption
    again = pickle.loads(pickle.dumps(row))  # noqa: S301 - made here
    assert again == row
    assert again.sample(DEPLOYMENT, 2.0, default_rng(1)) == drawn


def test_a_new_situation_is_a_row_it_is_judged_printed_and_written_and_moves_no_other(new: Situation) -> None:
    tasks = [Task(WEB, 40.0, DEPLOYMENT, row, Objectives(), 1, 0, "auto") for row in (*always(), new)]
    with_it = [run_task(task) for task in tasks]
    SITUATIONS.pop(new.key)
    assert [run_task(task) for task in tasks[:-1]] == with_it[:-1]
    objectives = Objectives(disruption_failed_share=0.2, risk=0.5)
    judged = check(Question(WEB, 40.0, objectives=objectives, also=(new,)), DEPLOYMENT, Execution(workers=1))
    result = judged.evaluation.results[new]
    assert result.units > 0
    assert result.unvalidated == ("both ends lost: no real server was measured",)
    assert in_order(judged.evaluation.results)[-1] is new
    assert "both ends lost" in record_of_judged(judged)["judged"]["situations"]
    page = io.StringIO()
    print_judged(Console(file=page, width=200), judged)
    assert "runs broke a limit" in next(line for line in page.getvalue().splitlines() if "both ends lost" in line)


def test_the_command_and_the_pages_have_the_situations_from_the_table() -> None:
    (also,) = [flag for flag in cli.command.params if "--also" in flag.opts]
    assert tuple(also.type.choices) == asked_for()
    assert set(asked_for()) == {key for key, row in SITUATIONS.items() if row not in always()}
    assert table() in (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for key in asked_for():
        assert key in readme, key
