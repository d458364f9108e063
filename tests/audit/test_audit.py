"""The audit's scenarios and its grid, in small, and the page against its tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from ojp_sizing.sizing.evidence import Bench
from ojp_sizing.sizing.question import Execution
from ojp_sizing.sizing.space import LIMITS_CORES, Space
from ojp_sizing.sizing.strategy import shapes_of
from tests.sections import with_section
from tests.study.sources import QUIET, Collapses, Source

from .grid import cheapest, columns, is_no_answer
from .page import PAGE, near, section
from .scenarios import Seeded, keep, read_results, read_scenarios

SCENARIOS = read_scenarios()
#: docs/decision.md says why. Whoever fixes it takes it out.
KNOWN_MISSES = {"reporting-100"}


def test_scenarios_are_what_issue_11_asks_for() -> None:
    questions = {name: scenario.question for name, scenario in SCENARIOS.items()}
    assert len(questions) >= 16
    assert {20, 50, 200, 500, 1500, 5000, 20000} <= {question.rate for question in questions.values()}
    assert {question.workload.name for question in questions.values()} == {
        "web-oltp",
        "reporting-mix",
        "pgbench-measured",
    }
    assert any(question.database.max_connections < 100 for question in questions.values())
    assert any(question.segregation == "on" for question in questions.values())
    assert any(question.objectives.fast_p99_s < 0.05 for question in questions.values())
    assert questions["loose-update-50"].objectives.disruption_fast_p99_s == 1.0


@pytest.mark.parametrize(("name", "below"), [("oltp-20", 2.6), ("few-connections-50", 2.6), ("segregated-200", 4.2)])
def test_the_grid_has_what_the_search_looks_at_and_more(name: str, below: float) -> None:
    question = SCENARIOS[name].question
    grid = {
        (d.replicas, d.limit_cores, d.pool.maximum_size, d.server.segregation, d.server.thread_pool_size)
        for column in columns(question, below)
        for d in column
    }
    space = Space(question)
    searched = set()
    for shape in shapes_of(question, segregation=question.segregation == "on", warm_pools=True):
        index = space.least_limit(shape)
        if index is None or is_no_answer(question, deployment := space.deployment(shape, LIMITS_CORES[index])):
            continue
        if question.cost(deployment) < below:
            searched.add(
                (
                    deployment.replicas,
                    deployment.limit_cores,
                    deployment.pool.maximum_size,
                    deployment.server.segregation,
                    deployment.server.thread_pool_size,
                )
            )
    assert searched
    assert searched <= grid
    assert len(grid) > 10 * len(searched)


def test_the_grid_is_cheaper_and_fits_the_database() -> None:
    question = SCENARIOS["few-connections-50"].question
    for column in columns(question, 1.6):
        assert [d.limit_cores for d in column] == sorted(d.limit_cores for d in column)
        assert all(question.cost(d) < 1.6 and Space(question).fits(d.pool.maximum_size, d.replicas) for d in column)


def test_the_cheapest_is_found_and_nothing_where_all_collapse() -> None:
    question, below = SCENARIOS["oltp-20"].question, 1.5
    all_quiet = cheapest(Bench(question, Execution(), Source(lambda _: QUIET)), below, lambda _: None)
    assert all_quiet.deployment is not None
    assert question.cost(all_quiet.deployment) == min(question.cost(d) for c in columns(question, below) for d in c)
    collapsing = cheapest(Bench(question, Execution(), Source(Collapses(1.0))), below, lambda _: None)
    assert (collapsing.deployment, collapsing.shown) == (None, ())


def test_tables_keep_the_order_of_the_scenarios(tmp_path: Path) -> None:
    rows = [
        Seeded(name, seed, "met", "a", 1.0, 1, "2026-11-30", "abc")
        for name in ("oltp-50", "oltp-20")
        for seed in (2, 1)
    ]
    keep(tmp_path / "seeds.csv", rows)
    lines = (tmp_path / "seeds.csv").read_text().splitlines()[1:]
    assert [line.split(",")[:2] for line in lines] == [
        ["oltp-20", "1"],
        ["oltp-20", "2"],
        ["oltp-50", "1"],
        ["oltp-50", "2"],
    ]
    assert near([replace(row, cost=cost) for row, cost in zip(rows, (1.0, 1.04, 1.2, 1.01), strict=True)]) == 3


def test_every_answer_costs_at_most_1_05_of_the_cheapest() -> None:
    """Or does so where what comes near to a limit is judged, too."""
    audited = [row for row in read_results() if row.cost]
    assert audited
    kept = {row.scenario for row in audited if row.ratio <= 1.05}
    assert {row.scenario for row in audited} - kept == KNOWN_MISSES
    assert all(row.ratio <= 1.25 for row in audited)


def test_the_page_has_what_the_tables_have() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_section(page, "make audit", section())
