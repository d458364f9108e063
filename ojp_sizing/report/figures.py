"""Two pictures for an answer: what latency does as demand grows, and what a rolling update does second by second.

Statistics come from ``measurement`` and ``sizing``; here they are only drawn. Both figures say that they predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from math import isfinite, isnan, log10
from typing import Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import RollingUpdate
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.measure import LEAST_TAIL_S, Part, measure_disruption
from ojp_sizing.measurement.objectives import Objectives, Situation, Verdict, judge_one, objectives_of
from ojp_sizing.report.words import shown_number
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.sizing.looking import DemandPoint

PREDICTION = "Predicted by a model whose capacity constants are themselves predicted, not measured."
#: Units are put together by the second in which they arrive.
BUCKET_S = 1.0
UNFINISHED_NAME = "p99 unfinished when the run ended"
#: Up to so many pods, every stop is marked through all panels.
MOST_MARKED_PODS = 12

# Colours of Okabe and Ito (2008), which stay apart for colour-blind readers; lines differ in dash as well.
_BLACK, _GREY = "#222222", "#8a8a8a"
_P50, _P95, _P99 = "#0072B2", "#009E73", "#D55E00"
_FAILED = "#A0417A"
_DASHES = {_P50: "dot", _P95: "dash", _P99: "solid"}

State = Literal["serving", "stopping", "down", "listening"]
#: What a pod is after each change of ``PodChange``.
_STATE_AFTER: dict[str, State] = {"stopping": "stopping", "down": "down", "listening": "listening", "ready": "serving"}
_STATE_LOOKS: dict[State, tuple[str, str, str]] = {
    "serving": ("serving (Ready)", "#009E73", ""),
    "stopping": ("stopping: RPCs inside may finish", "#E69F00", ""),
    "down": ("down", "#4a4a4a", ""),
    "listening": ("listening, not Ready yet", "#9ad4f5", "/"),
}


class LaneSpan(NamedTuple):
    """A pod is in one state from ``begin_s`` to ``end_s``."""

    pod: int
    state: State
    begin_s: float
    end_s: float


def highest_shown_rate(points: Sequence[DemandPoint], objectives: Objectives) -> float | None:
    """The largest rate up to which, from the lowest on, every steady objective is shown to be met (units/s)."""
    highest = None
    for point in sorted(points, key=lambda point: point.rate):
        asked = objectives_of(objectives, Situation.STEADY)
        verdicts = [judge_one(objective, point.measures[objective.measure]).verdict for objective in asked]
        if not {*verdicts} <= {Verdict.MET, Verdict.NOT_MEASURED}:
            break
        highest = point.rate
    return highest


def pod_lanes(outcomes: Outcomes, deployment: Deployment) -> list[LaneSpan]:
    """The states of every pod, without a gap from 0 to the end of the run."""
    spans: list[LaneSpan] = []
    for pod in range(deployment.replicas):
        state: State = "serving"
        begin_s = 0.0
        for change in outcomes.changes:
            if change.pod != pod or change.time_s >= outcomes.end_s:
                continue
            if change.time_s > begin_s:
                spans.append(LaneSpan(pod, state, begin_s, change.time_s))
            state, begin_s = _STATE_AFTER[change.state], change.time_s
        spans.append(LaneSpan(pod, state, begin_s, outcomes.end_s))
    return spans


# --- latency against demand -------------------------------------------------------------------------------------------


def latency_against_demand(
    points: Sequence[DemandPoint], objectives: Objectives, *, sized_rate: float | None = None
) -> go.Figure:
    """Latency (ms) at steady demand against units of work per second, with 95 % intervals as bands.

    ``sized_rate`` is marked where given. The lower panel is left out where no unit is slow.
    """
    points = sorted(points, key=lambda point: point.rate)
    has_slow = any(not isnan(point.measures["slow_p99_s"].value) for point in points)
    titles = ["Fast units"] + ["Slow units"] * has_slow
    figure = make_subplots(
        rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.09, row_heights=[0.62, 0.38][: len(titles)],
        subplot_titles=titles,
    )  # fmt: skip
    curves = [("fast_p50_s", _P50, 1), ("fast_p95_s", _P95, 1), ("fast_p99_s", _P99, 1)]
    limits_s = [objectives.fast_p99_s]
    if has_slow:
        curves.append(("slow_p99_s", _P99, 2))
        limits_s.append(objectives.slow_p99_s)
    for row, limit_s in enumerate(limits_s, start=1):
        names = [name for name, _, at in curves if at == row]
        ends_s = [end for point in points for name in names for end in _finite_ends(point.measures[name])]
        bottom, top = _log_range([*ends_s, limit_s])
        figure.update_yaxes(type="log", range=[bottom, top], row=row)
        for name, colour, at in curves:
            if at == row:
                _add_curve(figure, points, name, colour, row, (10**bottom, 10**top))
        _add_limit(figure, limit_s, row)
        if sized_rate is not None:
            figure.add_vline(sized_rate, line={"color": _BLACK, "width": 1.5, "dash": "dot"}, row=row, col=1)
    if sized_rate is not None:
        figure.add_annotation(
            x=sized_rate, xref="x", y=0, yref="y domain", yanchor="bottom", xanchor="left", xshift=4, showarrow=False,
            text=f"sized for {_rate(sized_rate)}", font={"color": _BLACK},
        )  # fmt: skip
    _label_log_axes(figure, len(titles), "latency, ms")
    figure.update_xaxes(title_text="demand, units of work per second", row=len(titles), col=1)
    shown = highest_shown_rate(points, objectives)
    title = (
        f"At steady demand every limit is shown to hold up to {_rate(shown)}"
        if shown is not None
        else "At steady demand the limits are not shown to hold at any of these rates"
    )
    notes = ["Bands: 95 % intervals; where you see none, it is as thin as the line."]
    if any(not isfinite(point.measures[name].value) for point in points for name, _, _ in curves):
        notes.append(
            "Triangles at the edge: so many units had not ended with the run that the percentile has no value."
        )
    if any(not _stationary(point) and isfinite(point.measures["fast_p50_s"].value) for point in points):
        notes.append("Hollow: no steady state found, so latency depends on how long a run lasts.")
    _frame(figure, title, notes, 640 if has_slow else 480)
    return figure


def _finite_ends(estimate: Estimate) -> list[float]:
    return [end for end in (estimate.low, estimate.value, estimate.high) if isfinite(end) and end > 0]


def _log_range(values_s: Sequence[float]) -> tuple[float, float]:
    """A range of a logarithmic axis in ms about these times, with some air."""
    found_ms = [value * 1e3 for value in values_s if isfinite(value) and value > 0] or [1.0]
    return log10(min(found_ms)) - 0.15, log10(max(found_ms)) + 0.2


def _add_curve(
    figure: go.Figure, points: Sequence[DemandPoint], name: str, colour: str, row: int, bounds_ms: tuple[float, float]
) -> None:
    """One percentile: its band, its line, and a mark at the upper edge where it has no finite value."""
    lane, percentile, _ = name.split("_")
    label = f"{percentile} {lane}"
    known = [point for point in points if not isnan(point.measures[name].value)]
    for segment in _finite_segments(known, name):
        rates = [point.rate for point in segment]
        low, high = (
            np.clip([getattr(point.measures[name], end) * 1e3 for point in segment], *bounds_ms)
            for end in ("low", "high")
        )
        figure.add_trace(
            go.Scatter(
                x=rates + rates[::-1], y=[*high.tolist(), *low.tolist()[::-1]], name=f"{label}, 95 % interval",
                fill="toself", fillcolor=_faded(colour), line={"color": _faded(colour), "width": 1}, mode="lines",
                hoverinfo="skip", legendgroup=label, showlegend=False,
            ),
            row=row, col=1,
        )  # fmt: skip
    estimates = [point.measures[name] for point in known]
    figure.add_trace(
        go.Scatter(
            x=[point.rate for point in known],
            y=[e.value * 1e3 if isfinite(e.value) else None for e in estimates],
            name=label, legendgroup=label, showlegend=row == 1, mode="lines+markers",
            line={"color": colour, "dash": _DASHES[colour]},
            marker={"size": 8, "symbol": ["circle" if _stationary(p) else "circle-open" for p in known]},
            text=[
                f"{label}: {_ms(e.value)}<br>95 % interval {_ms(e.low)} to {_ms(e.high)}, {e.replications} runs"
                for e in estimates
            ],
            hovertemplate="%{x:,g} units/s<br>%{text}<extra></extra>",
        ),
        row=row, col=1,
    )  # fmt: skip
    lost = [point for point in known if not isfinite(point.measures[name].value)]
    for point in lost:
        # The interval goes on beyond the edge.
        low_ms = float(np.clip(point.measures[name].low * 1e3, *bounds_ms))
        figure.add_trace(
            go.Scatter(
                x=[point.rate, point.rate], y=[low_ms, bounds_ms[1]], name=f"{label}, 95 % interval", mode="lines",
                line={"color": _faded(colour), "width": 8}, hoverinfo="skip", legendgroup=label, showlegend=False,
            ),
            row=row, col=1,
        )  # fmt: skip
    if lost:
        figure.add_trace(
            go.Scatter(
                x=[point.rate for point in lost], y=[bounds_ms[1] * 0.93] * len(lost), name=f"{label}: no finite value",
                mode="markers", marker={"symbol": "triangle-up", "size": 12, "color": colour}, legendgroup=label,
                showlegend=False, text=[_ms(point.measures[name].low) for point in lost],
                hovertemplate=f"%{{x:,g}} units/s<br>{label}: 95 % interval %{{text}} to no end; in some run, too many units"
                " were unfinished<extra></extra>",
            ),
            row=row, col=1,
        )  # fmt: skip


def _finite_segments(points: Sequence[DemandPoint], name: str) -> list[list[DemandPoint]]:
    """Runs of neighbouring points with a finite estimate."""
    groups = groupby(points, key=lambda point: isfinite(point.measures[name].value))
    return [list(group) for finite, group in groups if finite]


def _stationary(point: DemandPoint) -> bool:
    return "stationary" not in point.measures or point.measures["stationary"].value >= 1


def _add_limit(figure: go.Figure, limit_s: float, row: int) -> None:
    figure.add_hline(limit_s * 1e3, line={"color": _BLACK, "width": 1.2}, row=row, col=1)
    figure.add_annotation(
        x=0, xref="x domain", xanchor="left", y=log10(limit_s * 1e3), yanchor="bottom", showarrow=False,
        text=f"limit on p99: {limit_s * 1e3:,g} ms", row=row, col=1,
    )  # fmt: skip


# --- a rolling update over time ---------------------------------------------------------------------------------------


def rolling_update_over_time(
    outcomes: Outcomes,
    deployment: Deployment,
    update: RollingUpdate,
    *,
    objectives: Objectives | None = None,
    cpu: bool = True,
) -> go.Figure:
    """One run with a rolling update: latency (ms) and failed units by the second of arrival, above what the pods did.

    ``cpu`` adds each pod's CPU use (% of its limit) as another panel. ``objectives`` are the defaults where left out.
    """
    objectives = objectives or Objectives()
    heights = [0.40, 0.13, 0.27] + [0.20] * cpu
    titles = ["Fast units, by second of arrival", "Failed units", "What each pod does"]
    figure = make_subplots(
        rows=len(heights), cols=1, shared_xaxes=True, vertical_spacing=0.055, row_heights=heights,
        subplot_titles=titles + ["CPU use of each pod, % of its limit (darker is busier)"] * cpu,
    )  # fmt: skip
    _add_latency(figure, outcomes, objectives)
    _add_failed(figure, outcomes)
    _add_lanes(figure, outcomes, deployment)
    if cpu:
        _add_cpu(figure, outcomes, deployment)
    if deployment.replicas <= MOST_MARKED_PODS:
        for change in outcomes.changes:
            if change.state == "stopping":
                figure.add_vline(change.time_s, line={"color": _GREY, "width": 1, "dash": "dot"}, row="all", col=1)
    _label_log_axes(figure, 1, "latency, ms")
    figure.update_yaxes(title_text="units per s", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(range=[0, outcomes.end_s])
    figure.update_xaxes(title_text="time since the run began, s", row=len(heights), col=1)
    title = _update_title(outcomes, deployment, update, objectives)
    notes = [
        "One simulated run. Dotted lines: a pod is told to stop. Limits are for the whole update, not for each second."
    ]
    if any(trace.name == UNFINISHED_NAME for trace in figure.data):
        notes.append("Triangles at the edge: over 1 % of the second's units had not ended with the run.")
    # Panels of pods grow with their number.
    _frame(figure, title, notes, round((640 if cpu else 560) + 26 * deployment.replicas))
    figure.update_layout(bargap=0.25, barmode="overlay")
    return figure


def _buckets(outcomes: Outcomes) -> NDArray[np.float64]:
    """Edges (s), without the tail in which units are cut off by the end of the run."""
    return np.arange(0.0, max(outcomes.end_s - LEAST_TAIL_S, BUCKET_S) + 1e-9, BUCKET_S)


def _add_latency(figure: go.Figure, outcomes: Outcomes, objectives: Objectives) -> None:
    edges_s = _buckets(outcomes)
    kept = (((outcomes.outcome == Ending.OK) | (outcomes.outcome == Ending.UNFINISHED)) & ~outcomes.slow)[
        : outcomes.arrived
    ]
    order = np.argsort(outcomes.counts_s[kept], kind="stable")
    latencies_s = outcomes.latency_s[: outcomes.arrived][kept][order]
    cuts = np.searchsorted(outcomes.counts_s[kept][order], edges_s)
    rows: list[tuple[float, float, float, int]] = []
    for begin_s, first, last in zip(edges_s, cuts, cuts[1:], strict=False):
        latency_s = latencies_s[first:last]
        if len(latency_s):
            # 'higher': as in the measures, an observed latency.
            p50, p99 = np.percentile(latency_s, (50, 99), method="higher")
            rows.append((float(begin_s) + BUCKET_S / 2, float(p50), float(p99), len(latency_s)))
    begin_s, ready_s = outcomes.window_s or (outcomes.end_s, outcomes.end_s)
    limit_ms, window_ms = objectives.fast_p99_s * 1e3, objectives.fast_p99_s * objectives.disruption_factor * 1e3
    bottom, top = _log_range([*chain.from_iterable(row[1:3] for row in rows), window_ms / 1e3])
    figure.update_yaxes(type="log", range=[bottom, top], row=1, col=1)
    for label, column, colour in (("p99 fast", 2, _P99), ("p50 fast", 1, _P50)):
        figure.add_trace(
            go.Scatter(
                x=[row[0] for row in rows], y=[row[column] * 1e3 if isfinite(row[column]) else None for row in rows],
                name=label, mode="lines", line={"color": colour, "width": 1.5, "dash": "solid"}, legend="legend",
                text=[f"{label}: {_ms(row[column])} of {row[3]:,} units" for row in rows],
                hovertemplate="%{x:.1f} s<br>%{text}<extra></extra>",
            ),
            row=1, col=1,
        )  # fmt: skip
    lost = [row[0] for row in rows if not isfinite(row[2])]
    if lost:
        figure.add_trace(
            go.Scatter(
                x=lost, y=[0.93 * 10**top] * len(lost), name=UNFINISHED_NAME, mode="markers", showlegend=False,
                marker={"symbol": "triangle-up", "size": 9, "color": _P99}, hovertemplate="%{x:.1f} s<extra>never ended</extra>",
            ),
            row=1, col=1,
        )  # fmt: skip
    steps = [(0.0, limit_ms), (begin_s, limit_ms), (begin_s, window_ms)]
    if ready_s < outcomes.end_s:
        steps += [(ready_s, window_ms), (ready_s, limit_ms)]
    steps.append((outcomes.end_s, steps[-1][1]))
    figure.add_trace(
        go.Scatter(
            x=[step[0] for step in steps], y=[step[1] for step in steps],
            name=f"limit on p99: {limit_ms:g} ms, in the update {window_ms:g} ms", mode="lines", hoverinfo="skip",
            line={"color": _BLACK, "width": 1.2},
        ),
        row=1, col=1,
    )  # fmt: skip


def _add_failed(figure: go.Figure, outcomes: Outcomes) -> None:
    edges_s = _buckets(outcomes)
    failed = outcomes.outcome[: outcomes.arrived] > Ending.OK
    counts, _ = np.histogram(outcomes.counts_s[failed], edges_s)
    figure.add_trace(
        go.Bar(
            x=edges_s[:-1][counts > 0] + BUCKET_S / 2, y=counts[counts > 0] / BUCKET_S, width=BUCKET_S,
            name="failed units", showlegend=False,
            marker={"color": _FAILED, "line": {"color": _FAILED, "width": 1}},
            hovertemplate="%{x:.1f} s<br>%{y:g} units/s fail<extra></extra>",
        ),
        row=2, col=1,
    )  # fmt: skip
    if not counts.any():
        figure.update_yaxes(range=[0, 1], row=2, col=1)
        figure.add_annotation(text="none", x=0.5, xref="x2 domain", y=0.5, yref="y2 domain", showarrow=False)


def _add_lanes(figure: go.Figure, outcomes: Outcomes, deployment: Deployment) -> None:
    spans = pod_lanes(outcomes, deployment)
    # Stops can be shorter than a pixel: they come last, on top, and every bar has an outline.
    for state in ("serving", "down", "listening", "stopping"):
        label, colour, pattern = _STATE_LOOKS[state]
        mine = [span for span in spans if span.state == state]
        figure.add_trace(
            go.Bar(
                x=[span.end_s - span.begin_s for span in mine], base=[span.begin_s for span in mine],
                y=[f"pod {span.pod}" for span in mine], orientation="h", name=label, legend="legend2",
                marker={
                    "color": colour, "line": {"color": colour, "width": 2 if state == "stopping" else 0},
                    "pattern": {"shape": pattern, "fgcolor": "#2b6c94", "size": 5, "solidity": 0.25},
                },
                text=[f"{span.begin_s:.1f} s to {span.end_s:.1f} s" for span in mine], textposition="none",
                hovertemplate=f"%{{y}}: {label}<br>%{{text}}<extra></extra>",
            ),
            row=3, col=1,
        )  # fmt: skip
    _pod_axis(figure, deployment, 3)


def _pod_axis(figure: go.Figure, deployment: Deployment, row: int) -> None:
    """Highest ordinal on top: an update goes down the lanes."""
    names = [f"pod {pod}" for pod in range(deployment.replicas)]
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=names, range=[-0.5, len(names) - 0.5], row=row, col=1
    )


def _add_cpu(figure: go.Figure, outcomes: Outcomes, deployment: Deployment) -> None:
    times_s = outcomes.sample_s
    busy_s = np.diff(outcomes.samples["stations"]["busy_s"][:, : deployment.replicas], axis=0)
    use = 100.0 * busy_s / np.diff(times_s)[:, None] / deployment.limit_cores
    figure.add_trace(
        go.Heatmap(
            x=((times_s[:-1] + times_s[1:]) / 2).round(3), y=[f"pod {pod}" for pod in range(deployment.replicas)],
            z=use.T.round(1), zmin=0, zmax=100, colorscale="Blues", name="CPU use",
            colorbar={
                "orientation": "h", "len": 0.3, "thickness": 10, "x": 1, "xanchor": "right", "y": 0, "yanchor": "top",
                "ypad": 34, "xpad": 0, "ticksuffix": " %", "nticks": 5, "tickfont": {"size": 11},
            },
            hovertemplate="%{x:.1f} s<br>%{y}: %{z:.0f} % of its CPU limit<extra></extra>",
        ),
        row=4, col=1,
    )  # fmt: skip
    _pod_axis(figure, deployment, 4)


def _update_title(outcomes: Outcomes, deployment: Deployment, update: RollingUpdate, objectives: Objectives) -> str:
    pods = f"all {update.pods}" if update.pods == deployment.replicas else f"{update.pods} of {deployment.replicas}"
    what = f"Rolling update of {pods} pods"
    if outcomes.window_s is None or not isfinite(outcomes.window_s[1]):
        return f"{what}: it was not over when the run ended"
    run = measure_disruption(outcomes, deployment, (Part(*outcomes.window_s),), None)
    failed = run.counts["failed_share"]
    p99_s = run.values["fast_p99_s"]
    latency = (
        f"p99 of fast units is {_ms(p99_s)}"
        if isfinite(p99_s)
        else "p99 of fast units has no end (over 1 % never finish)"
    )
    return f"{what}: {latency}, and {failed.hits:,.0f} of {failed.total:,.0f} units fail"


# --- common to both ---------------------------------------------------------------------------------------------------


def _ms(value_s: float) -> str:
    """A latency in words; "no end" where units were unfinished."""
    return f"{shown_number(value_s * 1e3)} ms" if isfinite(value_s) else shown_number(value_s)


def _rate(rate: float) -> str:
    return f"{rate:,g} units/s"


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.28)"


def _label_log_axes(figure: go.Figure, rows: int, title: str) -> None:
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text=title, dtick="D2", tickformat=",~g", row=row, col=1)


def _frame(figure: go.Figure, title: str, notes: Sequence[str], height: int) -> None:
    """Title, subtitle, legend and margins alike in both figures; readable from a width of 900 px."""
    figure.update_annotations({"font": {"size": 13, "color": _BLACK}})
    panels = [figure.layout[f"yaxis{n}"].domain[1] for n in ("", "3") if f"yaxis{n}" in figure.layout]
    for name, top in zip(("legend", "legend2"), panels, strict=False):
        # On the line of the panel's own title, which stands at the left.
        place = {
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": top,
            "yanchor": "bottom",
            "font": {"size": 12},
            "bgcolor": "rgba(0,0,0,0)",
        }
        figure.update_layout({name: place})
    titles = {annotation.text for annotation in figure.layout.annotations if annotation.yref == "paper"}
    figure.for_each_annotation(
        lambda annotation: annotation.update(x=0, xanchor="left", text=f"<b>{annotation.text}</b>"),
        selector=lambda annotation: annotation.text in titles,
    )
    figure.update_xaxes(title_font={"size": 13})
    figure.update_yaxes(title_font={"size": 12}, title_standoff=6)
    figure.update_layout(
        template="plotly_white",
        height=height,
        title={
            "text": title,
            "font": {"size": 17},
            "x": 0.01,
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 14},
            "subtitle": {"text": "<br>".join([PREDICTION, *notes]), "font": {"size": 12, "color": "#555555"}},
        },
        margin={"l": 70, "r": 45, "t": 92 + 16 * len(notes), "b": 60},
        modebar={"orientation": "v"},
        font={"size": 13, "color": _BLACK},
        hoverlabel={"align": "left"},
    )
