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
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.measure import LEAST_TAIL_S, measure
from ojp_sizing.measurement.objectives import Objectives, Situation
from ojp_sizing.report.figures import (
    PREDICTION,
    UNFINISHED_NAME,
    highest_shown_rate,
    latency_against_demand,
    pod_lanes,
    rolling_update_over_time,
)
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.simulation.simulate import simulate
from ojp_sizing.sizing.evaluate import Task, run_task
from ojp_sizing.sizing.looking import DemandPoint

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
    assert PREDICTION in subtitle
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
def run() -> tuple[Outcomes, Deployment, RollingUpdate]:
    deployment = Deployment(3, 2.0, ClientPool(30), ServerSettings(segregation=False), warm_pools=True)
    update = sample_rolling_update(deployment, 5.0, np.random.default_rng(1))
    trace = sample_trace(read_workload("web-oltp"), 150, 150, np.random.SeedSequence(1))
    outcomes = simulate(trace, deployment, update, recovery_s=10.0)
    assert outcomes.window_s is not None
    return outcomes, deployment, update


def test_lanes_cover_the_whole_run_without_a_gap(run: tuple[Outcomes, Deployment, RollingUpdate]) -> None:
    outcomes, deployment, update = run
    spans = pod_lanes(outcomes, deployment)
    for pod in range(deployment.replicas):
        mine = [span for span in spans if span.pod == pod]
        assert mine[0].begin_s == 0
        assert mine[-1].end_s == outcomes.end_s
        assert all(before.end_s == after.begin_s for before, after in pairwise(mine))
        assert all(span.end_s > span.begin_s for span in mine)
        states = [span.state for span in mine if span.state != "stopping"]
        assert states == ["serving", "down", "listening", "serving"]
        down, listening = (next(s for s in mine if s.state == state) for state in ("down", "listening"))
        assert isclose(down.end_s - down.begin_s, update.restart_s[pod])
        assert isclose(listening.end_s - listening.begin_s, update.ready_s[pod])


def test_lanes_of_a_run_that_ends_early(run: tuple[Outcomes, Deployment, RollingUpdate]) -> None:
    outcomes, deployment, update = run
    down_s = next(change.time_s for change in outcomes.changes if change.state == "down")
    early = replace(outcomes, end_s=down_s + 1.0, window_s=(5.0, inf), arrived=int(150 * down_s))
    last = [span for span in pod_lanes(early, deployment) if span.end_s == early.end_s]
    assert [span.state for span in last] == ["serving", "serving", "down"]
    assert "not over when the run ended" in rolling_update_over_time(early, deployment, update).layout.title.text


def test_bars_of_the_lanes_share_the_time_axis(run: tuple[Outcomes, Deployment, RollingUpdate]) -> None:
    outcomes, deployment, update = run
    figure = rolling_update_over_time(outcomes, deployment, update)
    bars = [trace for trace in figure.data if trace.type == "bar" and trace.orientation == "h"]
    assert len({trace.marker.color for trace in bars}) == len(bars) == 4
    for pod in range(deployment.replicas):
        spent_s = sum(x for bar in bars for x, y in zip(bar.x, bar.y, strict=True) if y == f"pod {pod}")
        assert isclose(spent_s, outcomes.end_s)
    axes = [figure.layout[f"xaxis{number}"] for number in ("", "2", "3", "4")]
    assert {axis.matches for axis in axes[:-1]} == {"x4"}
    assert all(tuple(axis.range) == (0, outcomes.end_s) for axis in axes)
    assert axes[-1].title.text.endswith(", s")


def test_latency_and_failures_are_those_of_the_second(run: tuple[Outcomes, Deployment, RollingUpdate]) -> None:
    outcomes, deployment, update = run
    figure = rolling_update_over_time(outcomes, deployment, update)
    (p99,) = _named(figure, "p99 fast")
    (p50,) = _named(figure, "p50 fast")
    assert max(p99.x) < outcomes.end_s - LEAST_TAIL_S
    second = (outcomes.arrival_s >= 7) & (outcomes.arrival_s < 8) & ~outcomes.slow & (outcomes.outcome == 0)
    at = list(p99.x).index(7.5)
    assert isclose(p99.y[at], 1e3 * np.percentile(outcomes.latency_s[second], 99, method="higher"))
    assert isclose(p50.y[at], 1e3 * np.percentile(outcomes.latency_s[second], 50, method="higher"))
    failing = replace(outcomes, outcome=np.where(second, 1, outcomes.outcome).astype(np.int32))
    (bars,) = _named(rolling_update_over_time(failing, deployment, update), "failed units")
    assert bars.y[list(bars.x).index(7.5)] == second.sum()


def test_limits_of_the_update_hold_within_its_window(run: tuple[Outcomes, Deployment, RollingUpdate]) -> None:
    outcomes, deployment, update = run
    figure = rolling_update_over_time(
        outcomes, deployment, update, objectives=Objectives(fast_p99_s=0.03, disruption_factor=2.0)
    )
    (limit,) = [trace for trace in figure.data if trace.name.startswith("limit on p99")]
    assert outcomes.window_s is not None
    begin_s, ready_s = outcomes.window_s
    assert list(limit.x) == [0, begin_s, begin_s, ready_s, ready_s, outcomes.end_s]
    assert list(limit.y) == [30, 30, 60, 60, 30, 30]
    assert figure.layout.title.text.startswith("Rolling update of all 3 pods: p99 of fast units is ")
    assert PREDICTION in figure.layout.title.subtitle.text
    assert "One simulated run" in figure.layout.title.subtitle.text


def test_cpu_is_that_of_the_pods_and_may_be_left_out(run: tuple[Outcomes, Deployment, RollingUpdate]) -> None:
    outcomes, deployment, update = run
    (heat,) = [t for t in rolling_update_over_time(outcomes, deployment, update).data if t.type == "heatmap"]
    use = np.array(heat.z)
    assert use.shape == (3, len(outcomes.sample_s) - 1)
    assert 0 <= use.min() <= use.max() <= 100.1
    # A pod that is down uses none.
    down = next(span for span in pod_lanes(outcomes, deployment) if span.state == "down")
    inside = (np.array(heat.x) > down.begin_s + 1) & (np.array(heat.x) < down.end_s - 1)
    assert use[down.pod, inside].max() == 0
    without = rolling_update_over_time(outcomes, deployment, update, cpu=False)
    assert all(trace.type != "heatmap" for trace in without.data)
    assert without.layout.xaxis3.title.text


def test_units_without_an_end_are_marked_and_not_drawn_as_numbers(
    run: tuple[Outcomes, Deployment, RollingUpdate],
) -> None:
    outcomes, deployment, update = run
    lost = (outcomes.arrival_s >= 7) & (outcomes.arrival_s < 8)
    hung = replace(
        outcomes,
        outcome=np.where(lost, -1, outcomes.outcome).astype(np.int32),
        latency_s=np.where(lost, inf, outcomes.latency_s),
    )
    figure = rolling_update_over_time(hung, deployment, update)
    (p99,) = _named(figure, "p99 fast")
    assert p99.y[list(p99.x).index(7.5)] is None
    assert list(_named(figure, UNFINISHED_NAME)[0].x) == [7.5]
    assert "Triangles" in figure.layout.title.subtitle.text
