"""What else there is, and what moves the answer: the frontier, risks, the prices of knobs, a tornado."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, isnan

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ojp_sizing.deployment.deployment import describe
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.report.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    ORIGIN,
    P99,
    RED,
    framed,
    interval_words,
    legend_above,
    plain,
    whiskers,
)
from ojp_sizing.report.words import input_words, shown_number
from ojp_sizing.sizing.evidence import Evaluation
from ojp_sizing.sizing.knobs import PAIRS
from ojp_sizing.sizing.looking import RiskPoint
from ojp_sizing.sizing.recommendation import Judged, Recommendation

_NOTHING = {"showarrow": False, "xref": "paper", "yref": "y domain", "x": 0.5, "y": 0.5}


def frontier(answer: Recommendation) -> go.Figure:
    """p99 of fast units at steady peak (ms) against cost, of all that passed and is better in p99 or in connections than what
    is cheaper. A ring marks the answer. Without anything that passed the figure says so."""
    shown = [one for one in answer.frontier if isinstance(one.outcome, Evaluation)]
    unit = "your prices, a month" if answer.question.prices.in_money else "core equivalents"
    figure = go.Figure()
    kinds = (
        ("a verdict", False, BLUE, "circle"),
        ("few runs, no verdict", True, ORANGE, "diamond"),
    )
    for name, explored, colour, symbol in kinds:
        some = [one for one in shown if isinstance(one.outcome, Evaluation) and one.outcome.explored is explored]
        p99s = [_steady_p99(one.outcome) for one in some if isinstance(one.outcome, Evaluation)]
        if not some:
            continue
        figure.add_scatter(
            x=[one.cost for one in some], y=[p99.value * 1e3 for p99 in p99s], error_y=whiskers(p99s, 1e3), name=name,
            mode="markers", marker={"color": colour, "size": 11, "symbol": symbol},
            text=[
                f"{plain(describe(one.deployment))}<br>p99 {interval_words(p99, 1e3, 'ms')}<br>at most"
                f" {connections_at_most(one.deployment.pool.maximum_size, one.deployment.replicas)} connections"
                for one, p99 in zip(some, p99s, strict=True)
            ],
            hovertemplate="cost %{x:,.4g}<br>%{text}<extra></extra>",
        )  # fmt: skip
    mine = [one for one in shown if answer.evaluation and one.deployment == answer.evaluation.deployment]
    if mine and isinstance(mine[0].outcome, Evaluation):
        figure.add_scatter(
            x=[mine[0].cost], y=[_steady_p99(mine[0].outcome).value * 1e3], name="the answer", mode="markers",
            marker={"color": INK, "size": 22, "symbol": "circle-open", "line": {"width": 2}}, hoverinfo="skip",
        )  # fmt: skip
    if not shown:
        figure.add_annotation(text="nothing that was tried passed", **_NOTHING)
    figure.update_xaxes(title_text=f"cost, {unit}")
    figure.update_yaxes(title_text="p99 fast, steady peak, ms", rangemode="tozero")
    legend_above(figure, "legend", "yaxis")
    title = (
        f"{len(shown)} of the {answer.tried} deployments tried are worth a look"
        if shown
        else f"None of the {answer.tried} deployments tried passed"
    )
    caption = [
        "Left is cheaper, low is faster. Each point is better in p99 or in connections than all that are cheaper; what isn't"
        " shown broke a limit, or is worse in all. Whiskers: 95 % intervals.",
        ORIGIN,
    ]
    return framed(figure, title, caption, 340)


def _steady_p99(evaluation: Evaluation) -> Estimate:
    return evaluation.results[Situation.STEADY].measures["fast_p99_s"]


def risk(answer: Recommendation | Judged) -> go.Figure:
    """The share of simulated disruptions that broke a limit (%), by situation, with exact 95 % intervals and the limit."""
    results = list(answer.evaluation.results.values()) if answer.evaluation else []
    judged = [(one.situation.words, one.risk) for one in results if one.risk is not None and one.risk.runs]
    figure = go.Figure()
    shares = [one.estimate for _, one in judged]
    names = [name for name, _ in judged]
    figure.add_scatter(
        x=[100 * share.value for share in shares], y=names, error_x=whiskers(shares, 100), mode="markers",
        name="broke a limit", marker={"color": RED, "size": 12},
        text=[f"{one.broken} of {one.runs} broke a limit<br>{interval_words(one.estimate, 100, '%')}" for _, one in judged],
        hovertemplate="%{y}: %{text}<extra></extra>",
    )  # fmt: skip
    most = 100 * answer.question.objectives.risk
    figure.add_vline(most, line={"color": INK, "width": 1.5, "dash": "dash"})
    figure.add_annotation(
        x=most, xref="x", y=1, yref="paper", yanchor="bottom", showarrow=False, text=f"at most {most:.3g} % may"
    )
    if not judged:
        figure.add_annotation(text="no disruption was simulated to a verdict", **_NOTHING)
    top = max([most, *(100 * share.high for share in shares)])
    figure.update_xaxes(title_text="share of disruptions that break a limit, %", range=[-0.02 * top, 1.1 * top])
    broken = ", ".join(f"{one.broken} of {one.runs} ({name})" for name, one in judged)
    caption = [
        "The dot is what the runs showed, the whisker its exact 95 % interval as if the number of runs had been fixed. The"
        " verdict is that of a sequential test (docs/decision.md).",
        ORIGIN,
    ]
    return framed(figure, f"Broken limits: {broken or 'nothing to show'}", caption, 90 + 60 * max(1, len(judged)))


def risk_against_replicas(points: Sequence[RiskPoint], *, most: float | None = None) -> go.Figure:
    """The share of rolling updates that break a limit (%) against the number of pods, with exact 95 % intervals; below it p99
    of fast units over the update (ms). ``most``: the share that may (0 to 1)."""
    points = sorted(points, key=lambda point: point.deployment.replicas)
    replicas = [point.deployment.replicas for point in points]
    shares = [point.share for point in points]
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.14,
        subplot_titles=["Updates that break a limit", "p99 of fast units over the update"],
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=replicas, y=[100 * share.value for share in shares], error_y=whiskers(shares, 100), mode="lines+markers",
            name="updates that break a limit", line={"color": RED}, marker={"size": 10},
            text=[
                f"{plain(describe(one.deployment))}<br>{one.broken} of {one.runs} updates broke a limit<br>"
                f"{interval_words(one.share, 100, '%')}"
                for one in points
            ],
            hovertemplate="%{text}<extra></extra>",
        ),
        row=1, col=1,
    )  # fmt: skip
    p99s = [point.fast_p99_s for point in points]
    figure.add_trace(
        go.Scatter(
            x=replicas, y=[p99.value * 1e3 if isfinite(p99.value) else None for p99 in p99s],
            error_y=whiskers(p99s, 1e3), mode="lines+markers", name="p99 fast", line={"color": BLUE, "dash": "dot"},
            marker={"size": 10, "symbol": "square"}, text=[interval_words(p99, 1e3, "ms") for p99 in p99s],
            hovertemplate="%{x} pods: %{text}<extra></extra>",
        ),
        row=2, col=1,
    )  # fmt: skip
    if most is not None:
        figure.add_hline(100 * most, line={"color": INK, "width": 1.5, "dash": "dash"}, row=1, col=1)
    figure.update_yaxes(title_text="%", range=[-4, 104], row=1, col=1)
    figure.update_yaxes(title_text="ms", type="log", row=2, col=1)
    figure.update_xaxes(title_text="pods (replicaCount)", dtick=1, row=2, col=1)
    calm = [point.deployment.replicas for point in points if most is not None and point.share.high <= most]
    none = [point.deployment.replicas for point in points if point.broken == 0]
    title = (
        f"No update broke a limit with {_listed(none)} pods"
        if none
        else "With every number of pods some updates break a limit"
    )
    runs = points[0].runs if points else 0
    caption = [
        f"{runs} updates each. Look at the whiskers (exact 95 % intervals): none broken of {runs} still allows for some."
        + (
            f" The dashed line is the share that may; below it by the whole interval: {_listed(calm) or 'none'}."
            if most
            else ""
        ),
        "A missing square: in some run over 1 % of the units never ended.",
        ORIGIN,
    ]
    figure.update_layout(showlegend=False)
    return framed(figure, title, caption, 440)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def knob_prices(answer: Recommendation) -> go.Figure:
    """What one step of each setting changes: p99 at steady peak and over an update (ms), by pairs of runs, with 95 % intervals.

    Of an answer that was sized with ``Execution(explain=True)``; else the figure says so.
    """
    knobs = answer.knobs
    names = [
        f"{plain(knob.change)} ({'costs ' + format(knob.cost, '+.3g') if abs(knob.cost) > 5e-4 else 'free'})"
        for knob in knobs
    ]
    sides = (
        ("steady peak, fast", "steady_fast_s", P99, "circle"),
        ("steady peak, slow", "steady_slow_s", GREEN, "diamond"),
        ("over an update, fast", "update_fast_s", BLUE, "square"),
    )
    figure = go.Figure()
    for name, field, colour, symbol in sides:
        found = [getattr(knob, field) for knob in knobs]
        if all(isnan(one.value) for one in found):
            continue
        figure.add_scatter(
            x=[one.value * 1e3 for one in found], y=names, error_x=whiskers(found, 1e3), mode="markers", name=name,
            marker={"color": colour, "size": 9, "symbol": symbol}, text=[interval_words(one, 1e3, "ms") for one in found],
            hovertemplate=f"%{{y}}<br>{name}: %{{text}}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(0, line={"color": INK, "width": 1.2})
    if not knobs:
        figure.add_annotation(text="not simulated: Execution(explain=True), or --explain", **_NOTHING)
    figure.update_xaxes(title_text="change of p99, ms (left is better)")
    figure.update_yaxes(autorange="reversed")
    legend_above(figure, "legend", "yaxis")
    better = [
        knob.change
        for knob in knobs
        if any(getattr(knob, field).high < 0 for _, field, _, _ in sides if not isnan(getattr(knob, field).value))
    ]
    title = (
        f"Makes some p99 better for certain: {', '.join(better)}"
        if better
        else "No single step makes a p99 better for certain"
    )
    caption = [
        f"Each step by itself, in {PAIRS} pairs of runs with the same arrivals. A whisker (95 % interval) that crosses the line:"
        " the step may as well do nothing.",
        ORIGIN,
    ]
    return framed(
        figure,
        plain(title) if knobs else "What more would buy was not simulated",
        caption,
        120 + 48 * max(2, len(knobs)),
    )


def tornado(answer: Recommendation | Judged) -> go.Figure:
    """How each input that is a range moves the cost of a first guess between its ends, the widest on top.

    By closed forms, which have no interval; a filled bar broke a limit in simulated runs of the deployment there. Of an
    answer without ranges the figure says so.
    """
    over = answer.ranges
    ends = over.ends if over else ()
    figure = go.Figure()
    known = [end for end in ends if end.cost_move < inf]
    spans = {
        name: max([abs(e.cost_move) for e in known if e.name == name], default=0.0)
        for name in (over.inputs if over else ())
    }
    order = sorted(spans, key=lambda name: spans[name])
    for is_high, colour, side in ((False, BLUE, "low end"), (True, ORANGE, "high end")):
        some = sorted((end for end in known if end.is_high is is_high), key=lambda end: order.index(end.name))
        figure.add_bar(
            x=[end.cost_move for end in some], y=[plain(input_words(end.name)) for end in some], orientation="h", name=side,
            marker={
                "color": colour, "line": {"color": colour, "width": 1},
                "pattern": {"shape": ["" if end.broke else "/" for end in some], "fgcolor": "#ffffff", "solidity": 0.4},
            },
            text=[f"{shown_number(end.value)}{'; broke a limit there' if end.broke else ''}" for end in some],
            textposition="none", hovertemplate=f"%{{y}}, {side}: %{{text}}<br>cost %{{x:+.4g}}<extra></extra>",
        )  # fmt: skip
    lost = [input_words(end.name) for end in ends if end.cost_move == inf]
    if not ends:
        figure.add_annotation(text="no input is a range: write one as low..mid..high", **_NOTHING)
    unit = "your prices, a month" if answer.question.prices.in_money else "core equivalents"
    figure.update_xaxes(title_text=f"change of cost, {unit}")
    figure.update_layout(barmode="overlay")
    legend_above(figure, "legend", "yaxis")
    caption = [
        "One input at a time at an end of its range, the others at their mids. Bars: change of cost by closed forms, which has no"
        " interval. Filled: a limit was broken in a few runs of the deployment there; hatched: none was.",
        "The input to measure first is the one whose harder end breaks limits the most, or else costs the most.",
    ]
    if lost:
        caption.append(
            f"Without a bar, since closed forms leave nothing there: {plain(', '.join(dict.fromkeys(lost)))}."
        )
    title = (
        f"Measure {plain(input_words(over.decides))} first"
        if over and over.decides
        else "No input was given as a range"
    )
    return framed(figure, title, caption, 120 + 44 * max(2, len(spans)))
