"""The study's truths by themselves, a small part of it again, and the page against its results."""

from math import log

import pytest

from tests.sections import with_section

from .page import PAGE, RESULTS, section, too_often
from .sources import Lanes, response_above, response_p99_s
from .study import FIRST, LANES, LIMITS, PROBABILITIES, RISK, Decided, collapse, queue, read_results, search

COVERED, DECIDED = read_results(RESULTS.read_text(encoding="utf-8"))
SERVICE_S = 0.01


def committed(case: str, limit: str) -> Decided:
    return next(row for row in DECIDED if (row.case, row.limit) == (case, limit))


def test_the_true_p99_is_that_of_theory() -> None:
    # In M/M/1 the response is exponential.
    assert response_p99_s(1, 0.8) == pytest.approx(log(100) / 0.2 * SERVICE_S)
    # With many servers nobody waits, and it is the service.
    assert response_p99_s(200, 0.3) == pytest.approx(log(100) * SERVICE_S)
    # Where the wait's rate is the service's the formula has another form, and no step.
    assert response_above(2, 0.5, 3.0) == pytest.approx(response_above(2, 0.5 + 1e-7, 3.0), rel=1e-5)


def test_a_long_run_has_the_true_p99() -> None:
    lanes = Lanes("long", 15, 0.5, 400_000)
    assert lanes.run([1]).values["fast_p99_s"] == pytest.approx(lanes.p99_s["fast_p99_s"], rel=0.03)


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_collapses_again(probability: float) -> None:
    again = collapse(probability, FIRST)
    assert again.first == committed(again.case, again.limit).first


def test_a_search_again() -> None:
    again = search(RISK, 4)
    assert committed(again.case, again.limit).first.startswith(again.first)


def test_a_queue_again() -> None:
    _, again = queue(LANES[0], 3)
    assert len(again) == len(LIMITS)
    for row in again:
        assert committed(row.case, row.limit).first.startswith(row.first)


def test_the_study_is_of_the_size_that_it_claims() -> None:
    assert all(row.repetitions >= 500 for row in (*COVERED, *DECIDED))
    assert all(row.met + row.not_met + row.undecided == row.repetitions for row in DECIDED)
    assert {row.truth for row in DECIDED} == {"kept", "edge", "not kept"}


def test_met_is_not_said_of_a_risk_that_is_too_high() -> None:
    risks = [row for row in DECIDED if "collapse" in row.case]
    assert not any(map(too_often, risks))
    (edge,) = (row for row in risks if row.truth == "edge" and not row.case.startswith("every"))
    assert edge.undecided > 0.8 * edge.repetitions


def test_the_page_has_what_the_results_have() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_section(page, "make study", section(COVERED, DECIDED))
