"""The risk test: its error, exactly and by an own count of the paths; and what it says of clean and of broken runs."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ojp_sizing.measurement.objectives import Verdict
from ojp_sizing.measurement.risk import FIRST_LEVEL, WRONG_MET, Risk, RiskTest, clean_runs, level_of, risk_test

RISKS = (0.05, 0.10, 0.20)
LEVELS = (level_of(0), level_of(1))


@cache
def ends(risk: float, level: float, share: float) -> dict[Verdict, float]:
    """Probability of each verdict where this share of the runs is broken, by carrying every number of broken ones on.

    What ``decide`` says of a path hangs on its counts alone, so one path stands for all that have gone on with so many broken.
    """
    test = risk_test(risk, level)
    found = dict.fromkeys((Verdict.MET, Verdict.NOT_MET, Verdict.UNDECIDED), 0.0)
    paths: dict[int, tuple[list[bool], float]] = {0: ([], 1.0)}
    for _ in range(test.most_runs):
        longer: dict[int, tuple[list[bool], float]] = {}
        for count, (path, probability) in paths.items():
            for breaks, part in ((False, 1.0 - share), (True, share)):
                onward = [*path, breaks]
                verdict, runs = test.decide(onward)
                if verdict is not Verdict.UNDECIDED:
                    assert runs == len(onward)
                    found[verdict] += probability * part
                    continue
                before = longer.get(count + breaks, (onward, 0.0))
                longer[count + breaks] = (before[0], before[1] + probability * part)
        paths = longer
    found[Verdict.UNDECIDED] = sum(probability for _, probability in paths.values())
    return found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("risk", RISKS)
def test_wrong_verdicts_are_as_seldom_as_the_level_says(risk: float, level: float) -> None:
    edge = ends(risk, level, risk)
    assert sum(edge.values()) == pytest.approx(1.0)
    # Nearly all of the error is spent: a test that never says anything would keep it as well.
    assert 0.8 * level < edge[Verdict.MET] <= level * (1 + 1e-9)
    assert 0.5 * level < edge[Verdict.NOT_MET] <= level * (1 + 1e-9)
    for times in (1.2, 2.0):
        assert ends(risk, level, times * risk)[Verdict.MET] < edge[Verdict.MET]
        assert ends(risk, level, risk / times)[Verdict.NOT_MET] < edge[Verdict.NOT_MET]


@pytest.mark.parametrize("risk", RISKS)
def test_a_case_on_the_edge_ends_undecided_and_not_lucky(risk: float) -> None:
    assert ends(risk, FIRST_LEVEL, risk)[Verdict.UNDECIDED] > 0.9


@pytest.mark.parametrize("risk", RISKS)
def test_what_is_far_from_the_edge_is_decided(risk: float) -> None:
    assert ends(risk, FIRST_LEVEL, 0.0)[Verdict.MET] == pytest.approx(1.0)
    assert ends(risk, FIRST_LEVEL, risk / 10)[Verdict.MET] > 0.9
    assert ends(risk, FIRST_LEVEL, 3 * risk)[Verdict.NOT_MET] > 0.95


def test_drawn_runs_end_as_the_count_of_the_paths_says() -> None:
    test, rng = risk_test(0.10, FIRST_LEVEL), np.random.default_rng(11)
    drawn = 4000
    for share in (0.02, 0.10, 0.20):
        runs = rng.random((drawn, test.most_runs)) < share
        seen = [test.decide(row.tolist())[0] for row in runs]
        for verdict, probability in ends(0.10, FIRST_LEVEL, share).items():
            spread = (probability * (1 - probability) / drawn) ** 0.5
            assert abs(seen.count(verdict) / drawn - probability) < 5 * spread + 1e-3


def test_29_clean_runs_at_the_default_and_59_at_five_percent() -> None:
    for risk, runs in ((0.10, 29), (0.05, 59)):
        test = risk_test(risk, level_of(0))
        assert test.least_runs == runs
        assert test.decide([False] * (runs - 1)) == (Verdict.UNDECIDED, runs - 1)
        assert test.decide([False] * runs) == (Verdict.MET, runs)
        assert (1 - risk) ** runs <= level_of(0) < (1 - risk) ** (runs - 1)


@given(st.floats(0.001, 0.5), st.floats(0.0001, 0.05))
def test_the_first_end_takes_no_more_runs_than_the_binomial_asks_for(risk: float, level: float) -> None:
    runs = clean_runs(risk, level)
    assert (1 - risk) ** runs <= level * (1 + 1e-6)
    assert runs == 1 or (1 - risk) ** (runs - 1) > level * (1 - 1e-6)


def test_the_levels_of_all_contestants_are_the_error_of_one_answer() -> None:
    levels = [level_of(attempt) for attempt in range(60)]
    assert all(level > 0 for level in levels)
    assert sum(levels) <= WRONG_MET == 0.05
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("risk", RISKS)
def test_broken_runs_alone_are_not_met_long_before_the_end(risk: float) -> None:
    test = risk_test(risk, FIRST_LEVEL)
    verdict, runs = test.decide([True] * test.most_runs)
    assert verdict is Verdict.NOT_MET
    assert runs < test.least_runs / 2


@given(st.sampled_from(RISKS), st.data())
def test_more_broken_runs_never_make_it_better(risk: float, data: st.DataObject) -> None:
    test = risk_test(risk, FIRST_LEVEL)
    runs = data.draw(st.lists(st.booleans(), max_size=test.most_runs + 5))
    worse = [
        breaks or more
        for breaks, more in zip(runs, data.draw(st.lists(st.booleans(), min_size=len(runs))), strict=False)
    ]
    order = {Verdict.NOT_MET: 0, Verdict.UNDECIDED: 1, Verdict.MET: 2}
    assert order[test.decide(worse)[0]] <= order[test.decide(runs)[0]]


@given(st.sampled_from(RISKS), st.lists(st.booleans(), max_size=250))
def test_a_verdict_stands_whatever_comes_after_it(risk: float, runs: list[bool]) -> None:
    test = RiskTest(risk, FIRST_LEVEL, 120)
    verdict, count = test.decide(runs)
    assert count <= min(len(runs), 120)
    if verdict is not Verdict.UNDECIDED:
        assert test.decide(runs[:count]) == (verdict, count)
        assert test.decide([*runs[:count], True, True, True]) == (verdict, count)


def test_the_share_has_its_interval() -> None:
    estimate = Risk(1, 29, 0.1, FIRST_LEVEL, Verdict.UNDECIDED, ()).estimate
    assert estimate.low < estimate.value == 1 / 29 < estimate.high < 0.2
