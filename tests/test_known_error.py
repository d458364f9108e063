"""The model's known error: by how much an interval is widened, and where no real server was measured."""

from __future__ import annotations

import csv
from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ojp_sizing.deployment.situations import SITUATIONS, Situation
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.known_error import (
    RESOURCES,
    STEADY,
    Use,
    may_collapse,
    measured_ranges,
    of_version,
    row_of,
    rows_for,
    unvalidated,
    widening,
)
from ojp_sizing.measurement.objectives import Objective, Verdict, judge_one

DATA = Path(__file__).parent.parent / "data"
VERSION, LATER, UNSEEN = "0.3.1-beta", "0.4.21-beta", "1.0.0"
INSIDE = {"load": 0.4, "connects_per_s": 160.0, "client_jvms": 2.0}
ORDER = {Verdict.NOT_MET: 0, Verdict.UNDECIDED: 1, Verdict.MET: 2}


def rows(name: str, version: str = VERSION) -> list[dict[str, str]]:
    """What was measured on a version."""
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["server"] == version]


def used(share: float) -> Use:
    """Of what most real servers had least of."""
    return Use("connections", share)


def worst(situation: str, figure: str, load: float) -> float:
    """The largest error of the row that is nearest to a load, of those in which connections were the bottleneck."""
    found = [row for row in rows("bands.csv") if (row["situation"], row["resource"]) == (situation, "connections")]
    return float(min(found, key=lambda row: abs(float(row["load_from"]) - load))[f"{figure}_worst"])


@pytest.mark.parametrize("situation", [Situation.ROLLING_UPDATE, Situation.POD_LOST, SITUATIONS["pod-stopped"]])
def test_restarts_with_warm_pools_are_widened_by_what_the_model_was_too_low(situation: Situation) -> None:
    factors = widening(situation, True, used(0.4), VERSION)
    for figure in ("p50", "p95", "p99"):
        error = worst("restarts, warm pools", figure, 0.4)
        assert error < 0
        for side in ("fast", "slow"):
            assert factors[f"{side}_{figure}_s"] == pytest.approx(1 / (1 + error))
    # 8 % too low where pools were built and code was warm before clients came.
    assert factors["fast_p99_s"] == pytest.approx(1 / (1 - 0.08), rel=0.02)
    assert "failed_share" not in factors


def test_where_the_model_was_too_high_nothing_is_taken_off() -> None:
    assert worst("restarts", "p99", 0.4) > 0
    cold = widening(Situation.ROLLING_UPDATE, False, used(0.4), VERSION)
    assert cold["fast_p99_s"] == 1.0
    assert cold["fast_p50_s"] == pytest.approx(1 / (1 + worst("restarts", "p50", 0.4)))


def test_what_comes_after_a_disruption_is_held_against_steady_servers() -> None:
    for load in (0.3, 0.6, 0.8, 0.9):
        steady = widening(Situation.STEADY, True, used(load), VERSION)
        after = widening(Situation.ROLLING_UPDATE, True, used(load), VERSION)
        assert not any(name.startswith("recovered_") for name in steady)
        assert {name: after[f"recovered_{name}"] for name in steady} == steady
        assert steady["fast_p95_s"] == pytest.approx(1 / (1 + min(0.0, worst("steady peak", "p95", load))))


@given(
    st.sampled_from(list(SITUATIONS.values())),
    st.booleans(),
    st.sampled_from(list(RESOURCES.values())),
    st.floats(0, 2),
)
def test_no_error_ever_narrows(situation: Situation, warm: bool, resource: str, share: float) -> None:
    assert all(1 <= factor < inf for factor in widening(situation, warm, Use(resource, share), VERSION).values())


def test_the_row_is_of_the_same_resource_where_that_was_ever_the_bottleneck() -> None:
    for resource in RESOURCES.values():
        alike = [row for row in rows("bands.csv") if (row["situation"], row["resource"]) == ("steady peak", resource)]
        found, is_measured = rows_for("steady peak", resource, VERSION)
        assert is_measured == bool(alike)
        assert {row.resource for row in found} == (
            {resource} if alike else {row["resource"] for row in rows("bands.csv")}
        )


LIMIT = Objective(Situation.ROLLING_UPDATE, "fast_p99_s", 0.250)


@pytest.mark.parametrize(
    ("low", "high", "factor", "widened", "verdict"),
    [
        (0.050, 0.060, 1.0, 0.060, Verdict.MET),
        (0.050, 0.060, 4.0, 0.240, Verdict.MET),
        (0.050, 0.070, 4.0, 0.280, Verdict.UNDECIDED),
        (0.050, 0.255, 1.0, 0.255, Verdict.UNDECIDED),
        (0.255, 0.300, 4.0, 1.200, Verdict.NOT_MET),
    ],
)
def test_the_widened_end_is_held_against_the_limit(
    low: float, high: float, factor: float, widened: float, verdict: Verdict
) -> None:
    judgement = judge_one(LIMIT, Estimate((low + high) / 2, low, high, 5), factor)
    assert judgement.widened == pytest.approx(widened)
    assert judgement.verdict is verdict
    # What was measured stays as it was.
    assert (judgement.estimate.low, judgement.estimate.high) == (low, high)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(1, 10), st.floats(1, 10))
def test_a_larger_error_or_a_tighter_limit_never_makes_it_better(
    value: float, half: float, limit: float, factor: float, more: float
) -> None:
    estimate = Estimate(value, max(0.0, value - half), value + half, 5)
    verdict = judge_one(Objective(Situation.STEADY, "fast_p99_s", limit), estimate, factor).verdict
    larger = judge_one(Objective(Situation.STEADY, "fast_p99_s", limit), estimate, factor * more).verdict
    tighter = judge_one(Objective(Situation.STEADY, "fast_p99_s", limit / more), estimate, factor).verdict
    assert ORDER[larger] <= ORDER[verdict]
    assert ORDER[tighter] <= ORDER[verdict]


def test_nothing_measured_is_not_met() -> None:
    assert judge_one(LIMIT, Estimate(nan, nan, nan, 0)).verdict is Verdict.NOT_MEASURED
    assert not Verdict.NOT_MEASURED.is_met


# Where nobody has looked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", list(SITUATIONS.values()))
def test_a_situation_without_a_measured_run_is_the_models_word(situation: Situation) -> None:
    measured = row_of(situation, True) in {row["situation"] for row in rows("measured_range.csv")}
    words = unvalidated(situation, True, INSIDE, VERSION)
    assert (words == ()) == measured
    if not measured:
        assert words == (f"{situation.words}: no real server was measured",)
        assert widening(situation, True, used(0.4), VERSION) == {}


@pytest.mark.parametrize("situation", [Situation.STEADY, Situation.ROLLING_UPDATE])
@pytest.mark.parametrize("quantity", list(INSIDE))
def test_each_end_of_what_was_measured_counts(situation: Situation, quantity: str) -> None:
    name = row_of(situation, True)
    asked = (name, quantity, VERSION)
    (row,) = [one for one in measured_ranges() if (one.situation, one.quantity, one.server) == asked]
    for inside in (row.least, row.most):
        assert unvalidated(situation, True, {**INSIDE, quantity: inside}, VERSION) == ()
    for outside, end in ((row.most * 1.1, "up to"), (row.least * 0.9, "from")):
        (words,) = unvalidated(situation, True, {**INSIDE, quantity: outside}, VERSION)
        assert row.words in words
        assert f"measured {end} " in words


@pytest.mark.parametrize("version", [VERSION, LATER])
def test_ranges_and_errors_are_of_the_same_situations(version: str) -> None:
    ranges, errors = (rows(name, version) for name in ("measured_range.csv", "bands.csv"))
    assert {row["situation"] for row in ranges} == {row["situation"] for row in errors} != set()
    for row in ranges:
        assert 0 < float(row["least"]) <= float(row["most"])
        assert row["source"]


def test_an_answer_is_held_against_servers_of_its_version() -> None:
    assert {row.server for row in of_version(STEADY, LATER)} == {LATER}
    assert {row.server for row in of_version(STEADY, UNSEEN)} == {VERSION}
    assert unvalidated(Situation.STEADY, False, INSIDE, LATER) == ()
    for situation in (Situation.STEADY, Situation.ROLLING_UPDATE):
        assert unvalidated(situation, True, INSIDE, UNSEEN) == (
            f"OJP {UNSEEN}: no server of this version was measured",
        )
    # Later versions build a pool before clients come by themselves: nobody measured one with a gate in front.
    (words,) = unvalidated(Situation.ROLLING_UPDATE, True, INSIDE, LATER)
    assert words == f"OJP {LATER}: no server of this version was measured over restarts, warm pools"


def test_divided_pools_with_many_client_jvms_may_collapse_where_they_are_used() -> None:
    assert may_collapse(True, 16, 0.5)
    assert not may_collapse(False, 16, 0.5)
    assert not may_collapse(True, 2, 0.5)
    assert not may_collapse(True, 16, 0.2)


def test_a_pod_smaller_than_any_that_was_measured_is_named() -> None:
    quantities = {"load": 0.4, "connects_per_s": 150.0, "client_jvms": 2.0, "limit_cores": 0.5}
    assert unvalidated(Situation.ROLLING_UPDATE, True, quantities, VERSION) == ()
    (words,) = unvalidated(Situation.ROLLING_UPDATE, True, {**quantities, "limit_cores": 0.25}, VERSION)
    assert words == "cores of a pod: 0.25 here, measured from 0.5"
