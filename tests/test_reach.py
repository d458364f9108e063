"""How far an answer reaches: the largest rate, the month in which growth ends it, and the number of client JVMs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ojp_sizing as ojp
from ojp_sizing.quantities import parse_growth
from ojp_sizing.report.words import growth_words, jvms_words
from ojp_sizing.sizing.evidence import Bench, Evaluation, Rejection, explore
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.reach import MOST_JVMS, PRECISION, Growth, Reach, largest_rate, most_jvms
from ojp_sizing.sizing.workers import Caller
from tests.test_cli import run

pytestmark = pytest.mark.usefixtures("whole_answers")

QUESTION = ojp.Question("web-oltp", 20.0, objectives=ojp.Objectives(fast_p99_s=0.06, risk=0.5))  # type: ignore[arg-type]
SMALL = ojp.Deployment(
    3,
    0.25,
    ojp.ClientPool(9, 5),
    ojp.ServerSettings(segregation=False),
    ojp.Database(4.0),
    warm_pools=True,
)


def _bench(question: Question = QUESTION, **settings: bool) -> Bench:
    return Bench(question, ojp.Execution(**settings), Caller())  # type: ignore[arg-type]


def _reach(asked: float, holds: float) -> Reach:
    return Reach(asked, holds, holds * 1.04, None, 5, 40)


def test_the_largest_rate_was_seen_to_hold_and_the_next_to_fail() -> None:
    reach = largest_rate(_bench(), SMALL)
    assert reach.asked < reach.holds
    assert reach.fails is not None
    assert reach.fails <= PRECISION * reach.holds
    assert isinstance(explore(_bench(replace(QUESTION, rate=reach.holds)), SMALL), Evaluation)
    assert isinstance(explore(_bench(replace(QUESTION, rate=reach.fails)), SMALL), Rejection)
    assert reach.rejection is not None
    # Where it can't be more in the mean, no run is wasted on it: 0.25 cores are used up by connects alone before that.
    assert reach.fails * QUESTION.load.every_pod_cpu_s < SMALL.limit_cores


@given(st.floats(0.001, 1.0), st.floats(1.0, 50.0))
def test_the_month_in_which_growth_passes_the_largest_rate(share: float, times: float) -> None:
    growth = Growth(share, _reach(100.0, 100.0 * times))
    last, first = 100.0 * (1 + share) ** (growth.ends_in_month - 1), 100.0 * (1 + share) ** growth.ends_in_month
    assert last <= 100.0 * times * (1 + 1e-6)
    assert first >= 100.0 * times * (1 - 1e-6)


def test_growth_in_words() -> None:
    assert Growth(0.05, _reach(100.0, 100.0)).ends_in_month == 1
    words = growth_words(Growth(0.05, _reach(100.0, 100.0 * 1.05**7.5)))
    assert "5 % a month: the answer ends in month 8" in words
    assert "by few runs, no verdict" in words


def test_from_how_many_client_jvms_on_a_deployment_fails() -> None:
    # Cold pools: each JVM that comes first to a pod that is back builds one there.
    cold = replace(SMALL, limit_cores=1.0, warm_pools=False)
    evaluation = explore(_bench(), cold)
    assert isinstance(evaluation, Evaluation)
    reach = most_jvms(_bench(), evaluation)
    assert reach.asked == 16
    assert reach.fails is not None
    assert reach.fails == 2 * reach.holds
    assert isinstance(explore(_bench(replace(QUESTION, client_jvms=int(reach.fails))), cold), Rejection)
    words = jvms_words(QUESTION, reach)
    assert words.startswith("16, assumed by workload web-oltp: pass yours with --client-jvms; holds with ")
    assert f"not with {reach.fails:.0f}" in words
    assert jvms_words(replace(QUESTION, client_jvms=4), None).startswith("4, as asked")


def test_all_numbers_of_jvms_that_are_tried_may_hold() -> None:
    question = replace(QUESTION, client_jvms=128, objectives=ojp.Objectives(disruption_fast_p99_s=1.0))
    evaluation = explore(_bench(question), replace(SMALL, limit_cores=1.0))
    assert isinstance(evaluation, Evaluation)
    reach = most_jvms(_bench(question), evaluation)
    assert (reach.holds, reach.fails) == (MOST_JVMS, None)
    assert "up to 256, the most tried" in jvms_words(question, reach)


def test_only_the_most_jvms_are_tried_where_runs_are_dear() -> None:
    cold = replace(SMALL, limit_cores=1.0, warm_pools=False)
    evaluation = explore(_bench(), cold)
    assert isinstance(evaluation, Evaluation)
    results = {name: replace(result, units=1_000_000) for name, result in evaluation.results.items()}
    dear = replace(evaluation, results=results)
    reach = most_jvms(_bench(), dear)
    assert (reach.points, reach.holds, reach.fails) == (1, 16, MOST_JVMS)
    assert "holds with 16, not with 256 (between them: not tried, --explain does)" in jvms_words(QUESTION, reach)
    halved = most_jvms(_bench(explain=True), dear)
    assert halved.points > 1
    assert halved.fails == 2 * halved.holds


@pytest.mark.parametrize("text", ["5%", "0%/month", "-5%/month", "101%/month", "nan/month", "5%/year", "/month", ""])
def test_growth_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ojp.InputError, match="--growth"):
        parse_growth(text, "--growth")


@pytest.mark.parametrize(
    "flags", [("--growth", "5%"), ("--client-jvms", "0"), ("--peak-rps", "50..20..60"), ("--peak-rps", "0..20..60")]
)
def test_bad_flags_are_one_line_and_exit_2(flags: tuple[str, str], tmp_path: Path) -> None:
    result = run("--peak-rps", "20", *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"ojp-size: {flags[0]}: ")
    assert result.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [{"growth": 0.0}, {"growth": 1.5}, {"growth": float("nan")}, {"client_jvms": 0}])
def test_a_question_refuses_the_same(bad: dict[str, float]) -> None:
    with pytest.raises(ojp.InputError):
        replace(QUESTION, **bad)  # type: ignore[arg-type]
