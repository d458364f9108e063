"""Intervals, the end of the warm-up, percentiles, windows and the three-valued verdict."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isnan, nan
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.behaviour.world import LAYOUTS
from ojp_sizing.deployment.deployment import Database, Deployment
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import Count, Estimate, mean_estimate, share_estimate
from ojp_sizing.measurement.measure import (
    LEAST_TAIL_S,
    Part,
    Replication,
    measure,
    measure_disruption,
    measure_steady,
    tail_of,
)
from ojp_sizing.measurement.objectives import Objective, Objectives, Verdict, judge_one, objectives_of, overall
from ojp_sizing.measurement.warmup import BATCH, BUCKETS, mser5, warm_up_s
from ojp_sizing.simulation.outcomes import Outcomes

pytestmark = pytest.mark.fast

# Intervals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replications", [2, 5, 10])
def test_students_interval_covers_95_percent(replications: int) -> None:
    rng = np.random.default_rng(replications)
    trials = 4000
    estimates = [mean_estimate(rng.normal(3.0, 2.0, replications).tolist()) for _ in range(trials)]
    covered = np.mean([estimate.low <= 3.0 <= estimate.high for estimate in estimates])
    # Four standard errors of a share of 0.95.
    assert covered == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / trials) ** 0.5)


def test_students_interval_of_a_known_sample() -> None:
    estimate = mean_estimate([1.0, 2.0, 3.0, 4.0])
    half = 3.182446305 * (5 / 3) ** 0.5 / 2
    assert estimate == Estimate(2.5, pytest.approx(2.5 - half), pytest.approx(2.5 + half), 4)


def test_an_interval_stays_within_its_floor_and_ceiling() -> None:
    assert mean_estimate([0.0, 1.0], floor=0.0, ceiling=1.0) == Estimate(0.5, 0.0, 1.0, 2)


def test_one_replication_has_no_interval() -> None:
    assert mean_estimate([0.7]) == Estimate(0.7, -inf, inf, 1)
    assert mean_estimate([0.7], floor=0.0, ceiling=1.0) == Estimate(0.7, 0.0, 1.0, 1)


@pytest.mark.parametrize("values", [[], [nan], [nan, nan]])
def test_nothing_measured_is_nan(values: list[float]) -> None:
    estimate = mean_estimate(values)
    assert estimate.replications == 0
    assert isnan(estimate.value)
    assert isnan(estimate.low)
    assert isnan(estimate.high)


def test_nan_replications_are_left_out() -> None:
    assert mean_estimate([nan, 1.0, 3.0, nan]) == mean_estimate([1.0, 3.0])


def test_an_infinite_replication_makes_the_estimate_infinite() -> None:
    assert mean_estimate([2.0, inf, 1.0]) == Estimate(inf, 1.0, inf, 3)
    assert mean_estimate([inf, inf]) == Estimate(inf, inf, inf, 2)
    assert mean_estimate([inf, nan]) == Estimate(inf, inf, inf, 1)


def count(hits: int, total: int) -> Count:
    """Units that each stand for themselves."""
    return Count(float(hits), float(total), float(total))


def share_of(hits: Sequence[int], totals: Sequence[int]) -> Estimate:
    return share_estimate([count(x, n) for x, n in zip(hits, totals, strict=True)])


@pytest.mark.parametrize(("share", "total"), [(0.5, 100), (0.1, 200), (0.01, 1000), (0.001, 1000)])
def test_clopper_and_pearsons_interval_covers_at_least_95_percent(share: float, total: int) -> None:
    # Exactly, over all outcomes: an interval by pooled counts only (one replication).
    hits = np.arange(total + 1)
    kept = hits[stats.binom.pmf(hits, total, share) > 1e-9]
    covered = 0.0
    for x in kept.tolist():
        estimate = share_of([x], [total])
        covered += float(stats.binom.pmf(x, total, share)) * (estimate.low <= share <= estimate.high)
    assert covered >= 0.95 - 1e-6
    if share == 0.5:
        assert covered < 0.98


@pytest.mark.parametrize(("hits", "total"), [(0, 50), (3, 50), (50, 50)])
def test_clopper_and_pearsons_ends(hits: int, total: int) -> None:
    estimate = share_of([hits], [total])
    if hits > 0:  # so many or more would come in 2.5 %
        assert stats.binom.sf(hits - 1, total, estimate.low) == pytest.approx(0.025)
    if hits < total:
        assert stats.binom.cdf(hits, total, estimate.high) == pytest.approx(0.025)
    assert (estimate.low == 0.0) is (hits == 0)
    assert (estimate.high == 1.0) is (hits == total)


def test_a_share_without_hits_has_an_upper_end_by_the_number_of_units() -> None:
    estimate = share_of([0, 0, 0], [1000, 1000, 1000])
    assert (estimate.value, estimate.low, estimate.replications) == (0.0, 0.0, 3)
    assert estimate.high == pytest.approx(1 - 0.025 ** (1 / 3000))


def test_a_share_of_nothing_is_nan() -> None:
    assert isnan(share_of([0, 0], [0, 0]).value)
    assert share_of([0, 1], [0, 10]).replications == 1


def test_weighted_units_count_as_fewer() -> None:
    # 500 units that each stand for 2, and 1000 that stand for themselves: as good as 2000^2 / 3000 equal ones.
    weighted = share_estimate([Count(0.0, 2000.0, 3000.0)])
    assert weighted.value == 0.0
    assert weighted.high == pytest.approx(1 - 0.025 ** (3 / 4000))
    one_hit = share_estimate([Count(2.0, 2000.0, 3000.0)])
    assert one_hit.value == 0.001
    assert one_hit.low < 0.001 < one_hit.high


def test_failures_in_bursts_have_the_wider_interval() -> None:
    bursts, even = share_of([0, 0, 400], [1000] * 3), share_of([133, 134, 133], [1000] * 3)
    assert bursts.value == even.value
    assert bursts.low == 0.0
    assert bursts.high > 0.5
    assert even.high < 0.16
    pooled = share_of([400], [3000])
    assert even.low <= pooled.low
    assert even.high >= pooled.high


# Warm-up ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("transient", [20, 45, 80])
def test_mser5_drops_a_transient_and_little_more(transient: int, seed: int) -> None:
    series = np.random.default_rng(seed).normal(1.0, 0.1, 200)
    series[:transient] += np.linspace(3.0, 0.3, transient)
    drop = mser5(series)
    assert drop % BATCH == 0
    assert transient - 10 <= drop <= transient + 25


@pytest.mark.parametrize("seed", range(5))
def test_mser5_drops_little_where_there_is_no_transient(seed: int) -> None:
    assert mser5(np.random.default_rng(seed).normal(1.0, 0.1, 200)) <= 50


def test_mser5_drops_nothing_of_a_constant_series() -> None:
    assert mser5(np.ones(200)) == 0


def test_mser5_finds_no_steady_state_in_a_ramp() -> None:
    assert mser5(np.linspace(0.0, 1.0, 200)) == 200


@pytest.mark.parametrize("length", [0, 1, 9])
def test_mser5_leaves_a_short_series_alone(length: int) -> None:
    assert mser5(np.arange(float(length))) == 0


def arrivals(end_s: float) -> np.ndarray:
    return np.linspace(0.0, end_s, 20_000, endpoint=False)


@pytest.mark.parametrize("end_s", [20.0, 300.0])
def test_warm_up_is_told_in_seconds(end_s: float) -> None:
    arrival_s = arrivals(end_s)
    noise = np.random.default_rng(1).normal(0.0, 0.01, len(arrival_s))
    latency_s = 1.0 + noise + np.where(arrival_s < 0.2 * end_s, 5.0, 0.0)
    batch_s = BATCH * end_s / BUCKETS
    assert 0.2 * end_s - batch_s < warm_up_s(arrival_s, latency_s, end_s) <= 0.2 * end_s + 2 * batch_s


def test_growing_latency_has_no_steady_state() -> None:
    arrival_s = arrivals(50.0)
    assert warm_up_s(arrival_s, 0.1 + arrival_s, 50.0) == inf


def test_warm_up_of_nothing_is_infinite() -> None:
    assert warm_up_s(np.array([1.0]), np.array([inf]), 10.0) == inf
    assert warm_up_s(np.array([]), np.array([]), 10.0) == inf


def test_unfinished_units_do_not_hide_the_steady_state() -> None:
    arrival_s = arrivals(50.0)
    latency_s = np.where(np.arange(len(arrival_s)) % 7 == 0, inf, 1.0)
    assert warm_up_s(arrival_s, latency_s, 50.0) == 0.0


# Verdicts -----------------------------------------------------------------------------------------------------------

LIMIT = Objective(Situation.STEADY, "fast_p99_s", 1.0)


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (0.1, 0.5, 0.9, Verdict.MET),
        (0.1, 0.5, 1.0, Verdict.MET),
        (0.1, 0.5, 1.01, Verdict.UNDECIDED),
        (0.9, 1.5, 2.0, Verdict.UNDECIDED),
        (1.0, 1.5, 2.0, Verdict.UNDECIDED),
        (1.01, 1.5, 2.0, Verdict.NOT_MET),
        (0.5, inf, inf, Verdict.UNDECIDED),
        (2.0, inf, inf, Verdict.NOT_MET),
        (0.0, 0.5, inf, Verdict.UNDECIDED),
        (nan, nan, nan, Verdict.NOT_MEASURED),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(
    low: float, value: float, high: float, verdict: Verdict
) -> None:
    assert judge_one(LIMIT, Estimate(value, low, high, 5)).verdict is verdict


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ("", Verdict.UNDECIDED),
        ("MM", Verdict.MET),
        ("MB", Verdict.MET_BY_MODEL),
        ("BU", Verdict.UNDECIDED),
        ("BN", Verdict.NOT_MET),
        ("M-", Verdict.UNDECIDED),
        ("B-", Verdict.UNDECIDED),
        ("-", Verdict.UNDECIDED),
        ("N-", Verdict.NOT_MET),
        ("MU", Verdict.UNDECIDED),
        ("UN", Verdict.NOT_MET),
        ("MN", Verdict.NOT_MET),
    ],
)
def test_overall_verdict(verdicts: str, whole: Verdict) -> None:
    by_letter = {
        "M": Verdict.MET,
        "B": Verdict.MET_BY_MODEL,
        "U": Verdict.UNDECIDED,
        "N": Verdict.NOT_MET,
        "-": Verdict.NOT_MEASURED,
    }
    assert overall(by_letter[letter] for letter in verdicts) is whole
    assert overall(by_letter[letter] for letter in reversed(verdicts)) is whole


def test_limits_of_a_disruption() -> None:
    objectives = Objectives(0.05, 2.0, 0.001, 3.0, 0.01, 60.0)
    steady = {o.measure: o.limit for o in objectives_of(objectives, Situation.STEADY)}
    assert steady == {"fast_p99_s": 0.05, "slow_p99_s": 2.0, "failed_share": 0.001}
    for situation in (Situation.POD_LOST, Situation.ROLLING_UPDATE):
        limits = {o.measure: o.limit for o in objectives_of(objectives, situation)}
        assert limits == pytest.approx(
            {
                "fast_p99_s": 0.15,
                "slow_p99_s": 6.0,
                "failed_share": 0.01,
                "recovered_fast_p99_s": 0.05,
                "recovered_slow_p99_s": 2.0,
                "recovered_failed_share": 0.001,
            }
        )


# Measures -----------------------------------------------------------------------------------------------------------


def outcomes_of(
    arrival_s: np.ndarray,
    latency_s: Any = 0.125,
    outcome: Any = Ending.OK,
    slow: Any = False,
    *,
    thought_s: Any = 0.0,
    end_s: float = 100.0,
    arrived: int | None = None,
    window_s: tuple[float, float] | None = None,
) -> Outcomes:
    """Outcomes of one pod at whose every resource 1 is busy all the time; a sample a second."""
    size, seconds = len(arrival_s), np.arange(int(end_s) + 1.0)
    rows = {"pods": 1, "pools": 1, "lanes": 2, "stations": 2, "jvms": 1, "state": 1}
    samples = {name: np.zeros((len(seconds), count), LAYOUTS[name]) for name, count in rows.items()}
    samples["pods"]["pooled_s"] = seconds[:, None] * DEPLOYMENT.pool_per_pod
    samples["lanes"]["total"] = DEPLOYMENT.slots_per_pod
    for name, fields in (
        ("pods", ("thread_s", "queue_s", "connection_s", "fast_slot_s", "slow_slot_s")),
        ("stations", ("busy_s",)),
    ):
        for field in fields:
            samples[name][field] = seconds[:, None]
    return Outcomes(
        engine="none",
        end_s=end_s,
        arrived=size if arrived is None else arrived,
        arrival_s=arrival_s,
        began_s=arrival_s,
        latency_s=np.broadcast_to(np.asarray(latency_s, float), size).copy(),
        thought_s=np.broadcast_to(np.asarray(thought_s, float), size).copy(),
        outcome=np.broadcast_to(np.asarray(outcome, np.int32), size).copy(),
        slow=np.broadcast_to(np.asarray(slow), size).copy(),
        pod=np.zeros(size, np.int32),
        sample_s=seconds,
        samples=samples,
        changes=(),
        window_s=window_s,
        well_s=inf,
        attempts=np.ones(size, np.int32),
        hazards=(),
        events=0,
    )


TAIL_S = 2.0
DEPLOYMENT = Deployment(1, 4.0, database=Database(8.0))


def steady(outcomes: Outcomes) -> Replication:
    return measure_steady(outcomes, DEPLOYMENT, outcomes.end_s - TAIL_S)


def each_second(end_s: float = 100.0) -> np.ndarray:
    return np.arange(0.0, end_s) + 0.5


def test_a_percentile_is_the_observed_latency_above() -> None:
    latency_s = np.arange(98.0)  # the last 2 of 100 s are left out
    arrival_s = np.full(98, 50.0)
    values = steady(outcomes_of(arrival_s, np.random.default_rng(0).permutation(latency_s))).values
    # The least that so much of 98 units isn't above: 49, 93.1 and 97.02 of them, the next whole one.
    assert [values[f"fast_p{p}_s"] for p in (50, 95, 99)] == [48.0, 93.0, 97.0]


def test_fast_and_slow_units_are_measured_apart() -> None:
    slow = np.arange(100) % 4 == 0
    values = steady(outcomes_of(each_second(), np.where(slow, 2.0, 0.5), slow=slow)).values
    assert (values["fast_p99_s"], values["slow_p99_s"]) == (0.5, 2.0)


def test_without_slow_units_there_is_nothing_to_measure() -> None:
    values = steady(outcomes_of(each_second())).values
    assert isnan(values["slow_p99_s"])


def test_unfinished_units_count_as_infinite_latency_and_failed_ones_not_at_all() -> None:
    outcome = np.full(100, Ending.OK)
    outcome[4::20] = Ending.CONNECTION_TIMEOUT
    latency_s = np.where(outcome == Ending.OK, 0.5, 10.0)
    replication = steady(outcomes_of(each_second(), latency_s, outcome))
    kept = (each_second() >= replication.values["warm_up_s"]) & (each_second() < 100.0 - TAIL_S)
    counts = int((outcome[kept] == Ending.CONNECTION_TIMEOUT).sum()), int(kept.sum())
    assert counts[0] >= 3
    assert replication.values["fast_p99_s"] == 0.5
    assert replication.counts["failed_share"] == count(*counts)
    outcome[90:84] = Ending.UNFINISHED
    latency_s[90:94] = inf
    replication = steady(outcomes_of(each_second(), latency_s, outcome))
    assert (replication.values["fast_p99_s"], replication.values["fast_p50_s"]) == (inf, 0.5)
    assert replication.counts["failed_share"] == count(*counts)


def test_a_steady_run_is_measured_from_the_end_of_its_start_to_before_its_tail() -> None:
    arrival_s = np.arange(0.0, 100.0, 0.01) + 0.005
    in_warm_up, in_tail = arrival_s < 19.6, arrival_s > 100.0 - TAIL_S
    latency_s = np.where(in_warm_up, 5.0, np.where(in_tail, 7.0, 1.0))
    outcome = np.where(in_warm_up | in_tail, Ending.CONNECTION_TIMEOUT, Ending.OK)
    replication = measure_steady(outcomes_of(arrival_s, latency_s, outcome), DEPLOYMENT, 100.0 - TAIL_S, 19.6)
    assert replication.values["warm_up_s"] == 19.6
    assert replication.values["stationary"] == 1.0
    assert replication.values["fast_p99_s"] == 1.0
    assert replication.counts["failed_share"] == count(0, 7840)
    assert replication.units == len(arrival_s)


def test_where_no_steady_state_is_found_the_whole_is_measured_all_the_same_and_said() -> None:
    arrival_s = np.arange(0.0, 100.0, 0.01)
    values = steady(outcomes_of(arrival_s, arrival_s)).values
    assert (values["stationary"], values["warm_up_s"]) == (0.0, 0.0)
    assert values["fast_p50_s"] == pytest.approx(49.0, abs=0.02)


def test_drift_is_1_in_a_steady_run_and_infinite_where_units_hang() -> None:
    arrival_s = each_second()
    assert steady(outcomes_of(arrival_s)).values["drift"] == pytest.approx(1.0)
    hung = np.where((arrival_s > 60.0) & (arrival_s < 63.0), Ending.UNFINISHED, Ending.OK)
    assert steady(outcomes_of(arrival_s, np.where(hung == Ending.OK, 0.125, inf), hung)).values["drift"] == inf


def test_the_tail_lets_a_unit_within_its_limit_end() -> None:
    assert tail_of(Objectives(slow_p99_s=2.5, disruption_factor=3.0), Situation.ROLLING_UPDATE) == 7.5
    assert tail_of(Objectives(slow_p99_s=2.5, disruption_factor=3.0), Situation.STEADY) == 2.5
    assert tail_of(Objectives(slow_p99_s=0.1, disruption_factor=2.0), Situation.POD_LOST) == LEAST_TAIL_S


def test_units_that_have_not_arrived_are_not_measured() -> None:
    outcomes = outcomes_of(
        each_second(), outcome=np.where(np.arange(100) < 60, Ending.OK, Ending.UNFINISHED), arrived=60
    )
    assert steady(outcomes).counts["failed_share"] == count(0, 60)


def test_a_disruption_is_measured_over_its_window_and_after_it() -> None:
    begin_s, ready_s, back_s = 10.0, 50.0, 80.0
    arrival_s = each_second()
    during = (arrival_s >= begin_s) & (arrival_s < ready_s)
    recovered = (arrival_s >= back_s) & (arrival_s < back_s + 10.0)
    latency_s = np.select([during, recovered], [1.0, 2.0], 9.0)
    outcome = np.where(during & (arrival_s < begin_s + 3), Ending.CONNECTION_TIMEOUT, Ending.OK)
    outcomes = outcomes_of(arrival_s, latency_s, outcome, window_s=(begin_s, ready_s))
    replication = measure_disruption(outcomes, DEPLOYMENT, (Part(begin_s, ready_s),), Part(back_s, back_s + 10.0))
    values = replication.values
    assert (values["fast_p99_s"], values["recovered_fast_p99_s"], values["window_s"]) == (1.0, 2.0, 40.0)
    assert replication.counts == {"failed_share": count(3, 40), "recovered_failed_share": count(0, 10)}
    assert replication.value("failed_share") == 3 / 40
    without = measure_disruption(outcomes, DEPLOYMENT, (Part(begin_s, ready_s),), None)
    assert not any(name.startswith("recovered_") for name in {**without.values, **without.counts})


def test_each_part_of_a_window_weighs_what_it_stands_for() -> None:
    arrival_s = each_second()
    latency_s = np.where(arrival_s < 20.0, 8.0, 1.0)
    outcome = np.where((arrival_s > 40.0) & (arrival_s < 45.0), Ending.CONNECTION_TIMEOUT, Ending.OK)
    outcomes = outcomes_of(arrival_s, latency_s, outcome, window_s=(10.0, 50.0))
    parts = (Part(10.0, 20.0), Part(20.0, 40.0, 30.0), Part(40.0, 50.0, 2.0))
    replication = measure_disruption(outcomes, DEPLOYMENT, parts, None)
    # 10 units of 8 s against 600 and 10 of 1 s: 1.6 % of the weight, not 29 %; 10 of 630 fail.
    assert replication.values["fast_p95_s"] == 1.0
    assert replication.values["fast_p99_s"] == 8.0
    assert replication.values["window_s"] == 630.0
    assert replication.values["simulated_window_s"] == 40.0
    assert replication.counts["failed_share"] == Count(10.0, 630.0, 10 + 20 * 30.0**2 + 10 * 2.0**2)
    assert replication.values["cpu_cores"] == pytest.approx(1.0)


@pytest.mark.parametrize("window_s", [None, (10.0, inf)])
def test_a_run_that_ends_within_its_disruption_is_refused(window_s: tuple[float, float] | None) -> None:
    with pytest.raises(ValueError, match="ended before"):
        measure_disruption(outcomes_of(each_second(), window_s=window_s), DEPLOYMENT, (Part(10.0, 50.0),), None)


def test_use_is_busy_time_over_what_there_is() -> None:
    fast, slow = DEPLOYMENT.slots_per_pod
    values = steady(outcomes_of(each_second())).values
    assert values["threads_use"] == pytest.approx(1 / DEPLOYMENT.server.thread_pool_size)
    assert values["connections_use"] == pytest.approx(1 / DEPLOYMENT.pool_per_pod)
    assert (values["fast_slots_use"], values["slow_slots_use"]) == pytest.approx((1 / fast, 1 / slow))
    assert (values["cpu_cores"], values["cpu_use"]) == pytest.approx((1.0, 0.25))
    assert (values["database_cores"], values["database_use"]) == pytest.approx((1.0, 0.125))
    assert values["executor_queue"] == pytest.approx(1.0)


def test_peak_is_the_worst_second() -> None:
    outcomes = outcomes_of(each_second())
    outcomes.samples["stations"]["busy_s"][40:, 0] += 2.5
    values = steady(outcomes).values
    assert values["cpu_peak_cores"] == pytest.approx(3.5)
    # To the last sample before the tail: 98 seconds.
    assert values["cpu_cores"] == pytest.approx(1.0 + 2.5 / 98)


def test_throttled_share_is_of_the_pods_time_not_of_the_databases() -> None:
    outcomes = outcomes_of(each_second())
    outcomes.samples["stations"]["throttled_s"] = outcomes.sample_s[:, None] * [0.25, 7.0]
    assert steady(outcomes).values["cpu_throttled_share"] == pytest.approx(0.25)


def test_measures_of_replications_are_put_together() -> None:
    one = Replication({"fast_p99_s": 1.0, "slow_p99_s": nan}, {"failed_share": count(1, 100)}, 100, {}, ())
    other = replace(one, values={"fast_p99_s": 3.0, "slow_p99_s": 4.0}, counts={"failed_share": count(0, 300)})
    estimates = measure([one, other])
    assert estimates["fast_p99_s"] == mean_estimate([1.0, 3.0], floor=0.0)
    assert estimates["fast_p99_s"].low == 0.0
    assert estimates["slow_p99_s"] == Estimate(4.0, 0.0, inf, 1)
    assert estimates["failed_share"] == share_of([1, 0], [100, 300])
    assert estimates["failed_share"].value == 1 / 400
