"""The figures show what the measures say."""

from dataclasses import replace
from itertools import pairwise
from math import inf, isclose, nan
from typing import Any

import numpy as np
import pytest

import ojp_sizing as ojp
from ojp_sizing.demand.reading import read_workload
from ojp_sizing.demand.trace import sample_trace
from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.deployment.disruption import RollingUpdate, sample_rolling_update
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import Estimate, clopper_pearson
from ojp_sizing.measurement.measure import LEAST_TAIL_S, measure
from ojp_sizing.measurement.objectives import Objectives, Verdict
from ojp_sizing.measurement.risk import Risk
from ojp_sizing.report.figures import (
    connections_ledger,
    fit_of_distribution,
    frontier,
    highest_shown_rate,
    knob_prices,
    latency_against_demand,
    pod_lanes,
    risk,
    risk_against_replicas,
    timeline,
    tornado,
    use_of_resources,
)
from ojp_sizing.report.figures.fit import distribution
from ojp_sizing.report.figures.style import ORIGIN
from ojp_sizing.report.figures.timeline import UNFINISHED_NAME
from ojp_sizing.simulation.simulate import simulate
from ojp_sizing.sizing.evaluate import Task, run_task
from ojp_sizing.sizing.evidence import Evaluation, Rejection, SituationResult
from ojp_sizing.sizing.knobs import Knob
from ojp_sizing.sizing.looking import DemandPoint, RiskPoint
from ojp_sizing.sizing.over_ranges import End, OverRanges
from ojp_sizing.sizing.recommendation import DatabaseNeed, Neighbour

# --- latency against demand -------------------------------------------------------------------------------------------


def _point(rate: float, p99_s: Estimate, slow_s: float = 0.3, stationary: float = 1.0) -> DemandPoint:
    def sure(value: float) -> Estimate:
        return Estimate(value, value * 0.9, value * 1.1, 5)

    return DemandPoint(
        rate,
        {
            "fast_p50_s": sure(0.010),
            "fast_p95_s": sure(0.020),
            "fast_p99_s": p99_s,
            "slow_p99_s": sure(slow_s),
            "failed_share": Estimate(0.0, 0.0, 0.0001, 5),
            "stationary": sure(stationary),
        },
    )


POINTS = [
    _point(300, Estimate(0.070, 0.040, 0.100, 5), stationary=0.6),
    _point(100, Estimate(0.030, 0.028, 0.032, 5)),
    _point(200, Estimate(0.040, 0.035, 0.045, 5)),
    _point(400, Estimate(inf, 0.080, inf, 5)),
]


def _named(figure: Any, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


def _said(figure: Any) -> str:
    return " ".join(annotation.text for annotation in figure.layout.annotations)


def test_every_percentile_has_its_line_and_its_interval() -> None:
    figure = latency_against_demand(POINTS, Objectives(), sized_rate=200)
    (p99,) = _named(figure, "p99 fast")
    assert list(p99.x) == [100, 200, 300, 400]
    assert list(p99.y) == [30, 40, 70, None]
    assert p99.marker.symbol == ("circle", "circle", "circle-open", "circle")
    assert "28.0 ms to 32.0 ms, 5 runs" in p99.text[0]
    band, edge = _named(figure, "p99 fast, 95 % interval")
    assert band.fill == "toself"
    assert list(band.x) == [100, 200, 300, 300, 200, 100]
    assert np.allclose(band.y, [32, 45, 100, 40, 35, 28])
    # No finite value: from the lower end to the edge, with a mark there.
    assert list(edge.x) == [400, 400]
    assert isclose(edge.y[0], 80)
    assert isclose(edge.y[1], 10 ** figure.layout.yaxis.range[1])
    assert list(_named(figure, "p99 fast: no finite value")[0].x) == [400]
    for name in ("p50 fast", "p95 fast", "p99 slow"):
        assert _named(figure, name)
        assert _named(figure, f"{name}, 95 % interval")


def test_limits_and_the_sized_rate_are_marked_and_the_title_says_how_far_they_hold() -> None:
    figure = latency_against_demand(POINTS, Objectives(), sized_rate=200)
    lines = [(shape.x0, shape.y0) for shape in figure.layout.shapes if shape.type == "line"]
    assert [y for x, y in lines if x == 0] == [50, 2000]
    assert [x for x, _ in lines if x != 0] == [200, 200]
    assert "sized for 200 units/s" in _said(figure)
    assert "limit on p99: 50 ms" in _said(figure)
    assert "limit on p99: 2,000 ms" in _said(figure)
    assert figure.layout.title.text == "At steady demand every limit is shown to hold up to 200 units/s"
    subtitle = figure.layout.title.subtitle.text
    assert "Measured (one machine, OJP 0.3.1-beta)" in subtitle
    assert "Hollow" in subtitle
    assert "Triangles" in subtitle
    assert "ms" in figure.layout.yaxis.title.text
    assert "units of work per second" in figure.layout.xaxis2.title.text


def test_without_slow_units_there_is_one_panel() -> None:
    figure = latency_against_demand([_point(100, Estimate(0.03, 0.03, 0.03, 2), slow_s=nan)], Objectives())
    assert not _named(figure, "p99 slow")
    assert "yaxis2" not in figure.layout
    assert "units of work per second" in figure.layout.xaxis.title.text
    assert "Hollow" not in figure.layout.title.subtitle.text


def test_limits_hold_up_to_the_first_rate_at_which_they_are_not_shown_to() -> None:
    met, open_ = Estimate(0.03, 0.02, 0.04, 5), Estimate(0.04, 0.02, 0.06, 5)
    objectives = Objectives()
    assert highest_shown_rate([_point(3, met), _point(1, met), _point(2, open_)], objectives) == 1
    assert highest_shown_rate([_point(1, open_), _point(2, met)], objectives) is None
    assert "not shown" in latency_against_demand([_point(1, open_)], objectives).layout.title.text


def test_points_come_from_the_same_runs_as_a_sizing() -> None:
    workload, deployment = read_workload("web-oltp"), Deployment(3, 1.0, ClientPool(12))
    low, high = ojp.demand_points(ojp.Question(workload, 50), deployment, [40, 60], ojp.Execution(seed=7), runs=2)
    runs = [run_task(Task(workload, 60, deployment, Situation.STEADY, Objectives(), 7, n, "auto")) for n in range(2)]
    assert (low.rate, high.rate) == (40, 60)
    assert high.measures == measure(runs)
    assert high.measures["fast_p99_s"].replications == 2


# --- a rolling update -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run() -> ojp.Watched:
    deployment = Deployment(3, 2.0, ClientPool(30), ServerSettings(segregation=False), warm_pools=True)
    update = sample_rolling_update(deployment, 5.0, np.random.default_rng(1))
    trace = sample_trace(read_workload("web-oltp"), 150, 150, np.random.SeedSequence(1))
    outcomes = simulate(trace, deployment, update, recovery_s=10.0)
    assert outcomes.window_s is not None
    return ojp.Watched(ojp.Question("web-oltp", 150.0), deployment, Situation.ROLLING_UPDATE, update, outcomes)  # type: ignore[arg-type]


def test_lanes_cover_the_whole_run_without_a_gap(run: ojp.Watched) -> None:
    outcomes, deployment = run.outcomes, run.deployment
    spans = pod_lanes(outcomes, deployment)
    assert isinstance(run.disruption, RollingUpdate)
    for pod in range(deployment.replicas):
        mine = [span for span in spans if span.pod == pod]
        assert mine[0].begin_s == 0
        assert mine[-1].end_s == outcomes.end_s
        assert all(before.end_s == after.begin_s for before, after in pairwise(mine))
        assert all(span.end_s > span.begin_s for span in mine)
        states = [span.state for span in mine if span.state != "stopping"]
        assert states == ["serving", "down", "listening", "serving"]
        down, listening = (next(s for s in mine if s.state == state) for state in ("down", "listening"))
        assert isclose(down.end_s - down.begin_s, run.disruption.restart_s[pod])
        assert isclose(listening.end_s - listening.begin_s, run.disruption.ready_s[pod])


def test_lanes_of_a_run_that_ends_early(run: ojp.Watched) -> None:
    outcomes, deployment = run.outcomes, run.deployment
    down_s = next(change.time_s for change in outcomes.changes if change.state == "down")
    early = replace(outcomes, end_s=down_s + 1.0, window_s=(5.0, inf), arrived=int(150 * down_s))
    last = [span for span in pod_lanes(early, deployment) if span.end_s == early.end_s]
    assert [span.state for span in last] == ["serving", "serving", "down"]
    assert "not over when the run ended" in timeline(replace(run, outcomes=early)).layout.title.text


def test_bars_of_the_lanes_share_the_time_axis(run: ojp.Watched) -> None:
    outcomes, deployment = run.outcomes, run.deployment
    figure = timeline(run)
    bars = [trace for trace in figure.data if trace.type == "bar" and trace.orientation == "h"]
    assert len({trace.marker.color for trace in bars}) == len(bars) == 4
    for pod in range(deployment.replicas):
        spent_s = sum(x for bar in bars for x, y in zip(bar.x, bar.y, strict=True) if y == f"pod {pod}")
        assert isclose(spent_s, outcomes.end_s)
    axes = [figure.layout[f"xaxis{number}"] for number in ("", "2", "3", "4")]
    assert {axis.matches for axis in axes[:-1]} == {"x4"}
    assert all(tuple(axis.range) == (0, outcomes.end_s) for axis in axes)
    assert axes[-1].title.text.endswith(", s")


def test_latency_and_failures_are_those_of_the_second(run: ojp.Watched) -> None:
    outcomes = run.outcomes
    figure = timeline(run)
    (p99,) = _named(figure, "p99 fast")
    (p50,) = _named(figure, "p50 fast")
    assert max(p99.x) < outcomes.end_s - LEAST_TAIL_S
    second = (outcomes.arrival_s >= 7) & (outcomes.arrival_s < 8) & ~outcomes.slow & (outcomes.outcome == 0)
    at = list(p99.x).index(7.5)
    assert isclose(p99.y[at], 1e3 * np.percentile(outcomes.latency_s[second], 99, method="higher"))
    assert isclose(p50.y[at], 1e3 * np.percentile(outcomes.latency_s[second], 50, method="higher"))
    failing = replace(outcomes, outcome=np.where(second, 1, outcomes.outcome).astype(np.int32))
    (bars,) = _named(timeline(replace(run, outcomes=failing)), "failed units")
    assert bars.y[list(bars.x).index(7.5)] == second.sum()


def test_limits_of_the_update_hold_within_its_window(run: ojp.Watched) -> None:
    outcomes = run.outcomes
    objectives = Objectives(fast_p99_s=0.03, disruption_factor=2.0)
    figure = timeline(replace(run, question=replace(run.question, objectives=objectives)))
    (limit,) = [trace for trace in figure.data if trace.name.startswith("limit on p99")]
    assert outcomes.window_s is not None
    begin_s, ready_s = outcomes.window_s
    assert list(limit.x) == [0, begin_s, begin_s, ready_s, ready_s, outcomes.end_s]
    assert list(limit.y) == [30, 30, 60, 60, 30, 30]
    assert figure.layout.title.text.startswith("Rolling update of all 3 pods: p99 of fast units is ")
    assert "Predicted by the model" in figure.layout.title.subtitle.text
    assert "One simulated run" in figure.layout.title.subtitle.text


def test_cpu_is_that_of_the_pods_and_may_be_left_out(run: ojp.Watched) -> None:
    outcomes, deployment = run.outcomes, run.deployment
    (heat,) = [t for t in timeline(run).data if t.type == "heatmap"]
    use = np.array(heat.z)
    assert use.shape == (3, len(outcomes.sample_s) - 1)
    assert 0 <= use.min() <= use.max() <= 100.1
    # A pod that is down uses none.
    down = next(span for span in pod_lanes(outcomes, deployment) if span.state == "down")
    inside = (np.array(heat.x) > down.begin_s + 1) & (np.array(heat.x) < down.end_s - 1)
    assert use[down.pod, inside].max() == 0
    without = timeline(run, cpu=False)
    assert all(trace.type != "heatmap" for trace in without.data)
    assert without.layout.xaxis3.title.text


def test_units_without_an_end_are_marked_and_not_drawn_as_numbers(
    run: ojp.Watched,
) -> None:
    outcomes = run.outcomes
    lost = (outcomes.arrival_s >= 7) & (outcomes.arrival_s < 8)
    hung = replace(
        outcomes,
        outcome=np.where(lost, -1, outcomes.outcome).astype(np.int32),
        latency_s=np.where(lost, inf, outcomes.latency_s),
    )
    figure = timeline(replace(run, outcomes=hung))
    (p99,) = _named(figure, "p99 fast")
    assert p99.y[list(p99.x).index(7.5)] is None
    assert list(_named(figure, UNFINISHED_NAME)[0].x) == [7.5]
    assert "Triangles" in figure.layout.title.subtitle.text


def test_a_pod_that_is_lost_has_its_lane_too() -> None:
    deployment = Deployment(3, 2.0, ClientPool(30), ServerSettings(segregation=False), warm_pools=True)
    question = ojp.Question("web-oltp", 50.0)  # type: ignore[arg-type]
    figure = timeline(ojp.watch(question, deployment, Situation.POD_LOST, after_s=2.0))
    assert figure.layout.title.text.startswith("One pod lost: p99 of fast units is ")
    (down,) = _named(figure, "down")
    assert len(down.x) == 1
    # Where the process ended is marked through all panels.
    assert {shape.x0 for shape in figure.layout.shapes} == set(down.base)


# --- what else there is -----------------------------------------------------------------------------------------------

WORKLOAD = read_workload("web-oltp")
SMALL = Deployment(3, 1.0, ClientPool(12, 5), ServerSettings(segregation=False), warm_pools=True)


def _estimate(value: float, by: float = 0.1, runs: int = 6) -> Estimate:
    return Estimate(value, value - by, value + by, runs)


def _evaluation(p99_s: float, *, explored: bool, deployment: Deployment = SMALL) -> Evaluation:
    measures = {
        "fast_p99_s": _estimate(p99_s, 0.001),
        "cpu_use": _estimate(0.5),
        "threads_use": _estimate(0.1, 0.01),
        "connections_use": _estimate(0.3),
        "database_use": _estimate(nan),
    }
    results = {
        situation: SituationResult(situation, measures, (), 29, 1000, {}, (), Verdict.MET, risk=one)
        for situation, one in (
            (Situation.STEADY, None),
            (Situation.ROLLING_UPDATE, Risk(2, 29, 0.1, 0.049, Verdict.UNDECIDED, ())),
        )
    }
    return Evaluation(deployment, tuple(results), results, explored=explored)


def _answer(**changes: Any) -> ojp.Recommendation:
    taken, near = _evaluation(0.030, explored=False), _evaluation(0.020, explored=True)
    dearer = replace(SMALL, limit_cores=2.0)
    answer = ojp.Recommendation(
        question=ojp.Question(WORKLOAD, 100.0), execution=ojp.Execution(), engine="compiled", verdict=Verdict.MET,
        evaluation=taken, resources=None,
        database=DatabaseNeed(8.0, False, 4.0, 21, 24, 34, False), cost=3.0, smaller=(), knobs=(), others=(),
        frontier=(Neighbour("this", SMALL, 3.0, taken), Neighbour("dearer", dearer, 6.0, near)),
        rejections=(), tried=9, attempts=1, stopped="", nearest="", units=1,
    )  # fmt: skip
    return replace(answer, **changes)


def test_the_frontier_tells_a_verdict_from_a_few_runs_and_rings_the_answer() -> None:
    figure = frontier(_answer())
    (sure,), (few,), (ring,) = (_named(figure, name) for name in ("a verdict", "few runs, no verdict", "the answer"))
    assert (list(sure.x), list(sure.y), list(few.x)) == ([3], [30], [6])
    assert isclose(sure.error_y.array[0], 1)
    assert (list(ring.x), list(ring.y)) == ([3], [30])
    assert "core equivalents" in figure.layout.xaxis.title.text
    nothing = frontier(_answer(frontier=(), evaluation=None))
    assert nothing.layout.title.text == "None of the 9 deployments tried passed"
    assert "nothing that was tried passed" in _said(nothing)


def test_risks_have_their_exact_interval_and_the_share_that_may() -> None:
    figure = risk(_answer())
    (dots,) = _named(figure, "broke a limit")
    assert list(dots.y) == ["rolling update"]
    assert isclose(dots.x[0], 100 * 2 / 29)
    low, high = clopper_pearson(2, 29)
    assert isclose(dots.x[0] - dots.error_x.arrayminus[0], 100 * low)
    assert isclose(dots.x[0] + dots.error_x.array[0], 100 * high)
    assert figure.layout.shapes[0].x0 == 10
    assert "at most 10 % may" in _said(figure)
    assert "2 of 29 (rolling update)" in figure.layout.title.text
    assert "no disruption was simulated" in _said(risk(_answer(evaluation=None)))


def test_risk_against_replicas_has_a_gap_where_units_never_ended() -> None:
    points = [
        RiskPoint(replace(SMALL, replicas=4), 0, 40, _estimate(0.1, 0.01), 4.0),
        RiskPoint(replace(SMALL, replicas=2), 9, 10, Estimate(inf, 0.5, inf, 10), 2.0),
    ]
    figure = risk_against_replicas(points, most=0.1)
    shares, p99s = figure.data
    assert list(shares.x) == [2, 4]
    assert list(shares.y) == [90, 0]
    assert list(p99s.y) == [None, 100]
    assert figure.layout.title.text == "No update broke a limit with 4 pods"
    assert "below it by the whole interval: 4." in " ".join(
        figure.layout.title.subtitle.text.replace("<br>", " ").split()
    )


def test_knobs_are_changes_about_nothing_with_their_intervals() -> None:
    knob = Knob(
        "replicaCount 4", SMALL, 1.0, _estimate(-0.002, 0.001), Estimate(nan, nan, nan, 0), _estimate(0.01, 0.02), 0, 1
    )
    figure = knob_prices(_answer(knobs=(knob,)))
    (fast,) = _named(figure, "steady peak, fast")
    assert (list(fast.x), list(fast.y)) == ([-2], ["replicaCount 4 (costs +1)"])
    assert isclose(fast.error_x.array[0], 1)
    assert not _named(figure, "steady peak, slow")
    assert figure.layout.title.text == "Makes some p99 better for certain: replicaCount 4"
    assert "not simulated" in _said(knob_prices(_answer()))


def test_a_tornado_has_the_widest_input_on_top_and_names_the_one_to_measure() -> None:
    broke = Rejection(SMALL, (), 1, "exploration", (), 1)
    ends = tuple(
        End(name, value, is_high, outcome, move, 0.5)
        for name, value, is_high, outcome, move in (
            ("rate", 80.0, False, _evaluation(0.02, explored=True), -1.0),
            ("rate", 120.0, True, broke, 3.0),
            ("network.one_way_s", 0.0001, False, _evaluation(0.02, explored=True), -0.1),
            ("network.one_way_s", 0.001, True, _evaluation(0.02, explored=True), inf),
        )
    )
    inputs = {"rate": ojp.Range(80.0, 100.0, 120.0), "network.one_way_s": ojp.Range(0.0001, 0.0002, 0.001)}
    over = OverRanges(ojp.Question(WORKLOAD, 100.0), inputs, ends, {"rate": 120.0}, "rate", SMALL, 3.0)
    figure = tornado(_answer(ranges=over))
    (low,), (high,) = _named(figure, "low end"), _named(figure, "high end")
    assert list(low.y)[-1] == "--peak-rps"
    assert (list(low.x), list(high.x)) == ([-0.1, -1.0], [3.0])
    assert "broke a limit there" in high.text[0]
    assert figure.layout.title.text == "Measure --peak-rps first"
    assert "Without a bar" in figure.layout.title.subtitle.text
    assert "no input is a range" in _said(tornado(_answer()))


def test_uses_are_shares_with_their_intervals_and_slots_only_where_there_are_some() -> None:
    figure = use_of_resources(_answer())
    (steady,) = _named(figure, "steady peak")
    assert list(steady.x) == [50, 10, 30]
    assert isclose(steady.error_x.array[0], 10)
    assert list(figure.layout.yaxis.ticktext) == ["CPU", "threads", "connections", "database cores"]
    assert figure.layout.shapes[0].x0 == 100 * SMALL.constants.cpu_most_use
    assert figure.layout.title.text == "Busiest at steady peak: CPU, 50 %"


def test_the_ledger_adds_up_to_what_the_answer_asks_of_the_database() -> None:
    figure = connections_ledger(_answer())
    steps, whole = figure.data
    assert list(steps.x) == [12, 0, 9, 3, 10]
    assert list(steps.base) == [0, 12, 12, 21, 24]
    assert list(whole.x) == [34]
    with pytest.raises(LookupError):
        connections_ledger(_answer(database=None))


@pytest.mark.parametrize("family", ["lognormal", "exponential", "constant"])
def test_a_fit_lies_within_the_band_of_its_own_sample_and_another_does_not(family: str) -> None:
    rng = np.random.default_rng(3)
    fitted = ojp.Duration(0.010, 0.5, family)  # type: ignore[arg-type]
    sigma = np.sqrt(np.log(1.25))
    times_s = {
        "lognormal": rng.lognormal(np.log(0.010) - sigma**2 / 2, sigma, 4000),
        "exponential": rng.exponential(0.010, 4000),
        "constant": np.full(4000, 0.010),
    }[family]
    good = fit_of_distribution(times_s, fitted, "a <b> name")
    assert "lies within" in good.layout.title.text
    assert "a &lt;b&gt; name" in good.layout.title.text
    assert "leaves the band" in fit_of_distribution(times_s * 1.5, fitted, "x").layout.title.text
    assert isclose(distribution(fitted, np.array([1.0]))[0], 1)
    with pytest.raises(ValueError, match="at least two"):
        fit_of_distribution([0.1], fitted, "x")


def test_every_figure_has_a_title_a_caption_and_units(run: ojp.Watched) -> None:
    answer = _answer()
    figures = [
        frontier(answer), risk(answer), knob_prices(answer), tornado(answer), use_of_resources(answer),
        connections_ledger(answer), timeline(run), latency_against_demand(POINTS, Objectives()),
    ]  # fmt: skip
    for figure in figures:
        assert figure.layout.title.text
        assert len(figure.layout.title.subtitle.text) > 80
        titles = [axis.title.text for axis in figure.select_xaxes() if axis.title.text]
        assert any("," in title or "units of work per second" in title or "connections" in title for title in titles)
    assert ORIGIN.startswith("Predicted by the model")
