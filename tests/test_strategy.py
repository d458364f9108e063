"""What a search looks at, by runs in which nothing goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from ojp_sizing import Question, read_workload, size
from ojp_sizing.measurement.known_error import COLLAPSE_USE
from ojp_sizing.measurement.objectives import Verdict
from ojp_sizing.sizing import recommendation
from ojp_sizing.sizing.evidence import COLLAPSED
from ojp_sizing.sizing.recommendation import Recommendation
from ojp_sizing.sizing.screen import collapses, expected_use
from ojp_sizing.sizing.space import limit_below
from ojp_sizing.sizing.strategy import ONLY_DIVIDED
from tests.study.sources import QUIET, Source

WEB = read_workload("web-oltp")
QUIETLY = Source(lambda _: QUIET)


@contextmanager
def only_quiet(*_: object) -> Iterator[Source]:
    yield QUIETLY


def sized(question: Question) -> Recommendation:
    with patch.object(recommendation, "workers_for", only_quiet):
        return size(question)


def test_what_collapsed_on_real_servers_is_no_contestant() -> None:
    """Divided pools that are much in use collapse with many client JVMs, whatever the model says."""
    question = Question(WEB, 500.0, most_replicas=4)
    answer = sized(question)
    assert answer.verdict.is_met
    # Nothing goes wrong, so the cheapest is taken: divided pools, with just so much CPU that their use is below the bound.
    deployment = answer.deployment
    assert not collapses(question, deployment)
    assert not deployment.stays_undivided
    assert expected_use(question, deployment).share < COLLAPSE_USE
    assert collapses(question, replace(deployment, limit_cores=limit_below(deployment.limit_cores)))


def test_with_few_jvms_divided_pools_may_be_used() -> None:
    few = sized(Question(WEB, 500.0, client_jvms=2, most_replicas=4))
    many = sized(Question(WEB, 500.0, most_replicas=4))
    assert few.cost is not None
    assert many.cost is not None
    assert few.cost < many.cost


def test_where_only_divided_pools_are_left_the_answer_says_what_holds_it_back() -> None:
    answer = sized(Question(WEB, 20_000.0, most_replicas=3))
    assert answer.evaluation is None
    assert answer.verdict is Verdict.UNDECIDED
    assert answer.stopped == ONLY_DIVIDED
    assert answer.attempts == 1
    assert any(COLLAPSED in reason for reason in answer.rejections[-1].reasons)
