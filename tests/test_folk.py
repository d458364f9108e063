"""Formulas in use today: their arithmetic, what they deploy, and their place beside the answer."""

from __future__ import annotations

import io
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import ojp_sizing as ojp
from ojp_sizing.emit.from_recommendation import record, release_of
from ojp_sizing.report.terminal import print_answer
from ojp_sizing.sizing.evidence import Bench
from ojp_sizing.sizing.folk import Day, formulas, simulated_day, tried_out
from ojp_sizing.sizing.recommendation import Recommendation
from ojp_sizing.sizing.workers import Caller
from ojp_sizing.theory.folk import (
    WORKING_DAY,
    book_cores,
    book_pool,
    book_replicas,
    little,
    spindles_pool,
    usage_percentile,
)
from ojp_sizing.theory.offered import pod_cores
from scripts.make_folk import PAGE, TABLE, TOOL, outcome_of, page, questions, read_rows

pytestmark = pytest.mark.usefixtures("whole_answers")

FORMULAS = 8
#: Half of the disruptions may break a limit: few runs show that.
OBJECTIVES = ojp.Objectives(risk=0.5)


def test_the_books_formulas() -> None:
    assert [book_replicas(queries) for queries in (1, 8000, 8001, 16_001)] == [2, 2, 3, 5]
    assert [book_cores(queries, 2) for queries in (1000, 12_000, 12_001)] == [4, 4, 5]
    # 20 to 200 a server, and no more than 0.8 of what the database has.
    assert [book_pool(concurrent, 2, inf) for concurrent in (1.0, 100.0, 1e6)] == [40, 120, 400]
    assert book_pool(100.0, 2, 100.0) == 80
    assert book_pool(100.0, 4, 1.0) == 4


def test_the_other_formulas() -> None:
    assert spindles_pool(8) == 17
    assert little(100.0, 0.05) == pytest.approx(6.0)
    assert usage_percentile([float(k) for k in range(100, 0, -1)], 95) == pytest.approx(95 * 1.15)
    assert len(WORKING_DAY) == 24
    assert max(WORKING_DAY) == 1.0


@settings(deadline=None, max_examples=30)
@given(st.floats(1, 20_000), st.sampled_from(ojp.preset_names()), st.sampled_from([inf, 30.0, 500.0]))
def test_every_formula_deploys_something(rate: float, preset: str, connections: float) -> None:
    question = ojp.Question(preset, rate, ojp.Database(max_connections=connections))  # type: ignore[arg-type]
    found = dict(formulas(question, True, Day([0.1] * 24)))
    assert len(found) == FORMULAS
    for deployment in found.values():
        assert deployment.replicas >= 2
        assert deployment.pool.maximum_size >= deployment.replicas or deployment.pool.maximum_size >= 3
        assert deployment.pool.minimum_idle <= deployment.pool.maximum_size
        assert deployment.limit_cores >= 0.25
        assert question.cost(deployment) > 0
    assert found["chart's table: Testing"].memory_limit_bytes == 2**30
    book = found["OJP's book, chapter 22"]
    assert book.pool.maximum_size <= max(book.replicas, 0.8 * connections)


def test_a_days_use_follows_the_day() -> None:
    question = ojp.Question("web-oltp", 20.0)  # type: ignore[arg-type]
    day = simulated_day(Bench(question, ojp.Execution(), Caller()), True)
    assert len(day.used_cores) == 24
    assert day.used_cores[10] == max(day.used_cores)
    assert day.used_cores[3] < 0.2 * day.used_cores[10]
    # By Little's law, at its peak: every pod takes all connects and a third of the rest.
    assert day.used_cores[10] == pytest.approx(pod_cores(question.load, 20.0, 3, question.known), rel=0.25)


@pytest.fixture(scope="module")
def explained(whole_answers: None) -> Recommendation:
    return ojp.size(
        ojp.Question("web-oltp", 20.0, objectives=OBJECTIVES, most_replicas=4),  # type: ignore[arg-type]
        ojp.Execution(explain=True),
    )


def _printed(answer: Recommendation) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_answer(console, answer, release_of(answer), [], {})
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_answer_shows_what_formulas_would_deploy_where_it_explains(explained: Recommendation) -> None:
    assert len(explained.folk) == FORMULAS
    assert all(one.outcome is not None and one.outcome.units > 0 for one in explained.folk)
    # Half a core and a divided pool of 20: what most clusters begin with.
    development = next(one for one in explained.folk if "Development" in one.change)
    assert development.deployment.memory_limit_bytes == 2**29
    text = _printed(explained)
    for one in explained.folk:
        assert one.change in text
    told = record(explained, release_of(explained))["answer"]["formulas_in_use"]
    assert [one["change"] for one in told] == [one.change for one in explained.folk]
    assert [one["rejection"] is None for one in told] == [one.passes for one in explained.folk]


def test_the_page_is_that_of_its_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read_rows(TABLE))


def test_the_table_has_at_least_forty_demands_with_every_formula() -> None:
    rows = read_rows(TABLE)
    demands = {row.demand for row in rows}
    assert len(demands) >= 40
    for demand in demands:
        found = [row.formula for row in rows if row.demand == demand]
        assert found[0] == TOOL
        assert len(set(found)) == len(found) == 1 + FORMULAS


def test_the_first_demand_gives_the_rows_of_the_table_again() -> None:
    question = questions()[0]
    first = [row for row in read_rows(TABLE) if row.rate == question.rate and row.max_connections == inf]
    table = {row.formula: row for row in first if row.workload == question.workload.name}
    bench = Bench(question, ojp.Execution(), Caller())
    for name, deployment in formulas(question, True, simulated_day(bench, True)):
        outcome = tried_out(bench, deployment)
        assert (table[name].outcome, table[name].runs) == outcome_of(outcome)
        assert table[name].cost == pytest.approx(question.cost(deployment), rel=1e-5)
