"""A disruption second by second, with the pods' states below it."""

from __future__ import annotations

from itertools import chain, pairwise
from math import isfinite
from typing import Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.disruption import RollingUpdate
from ojp_sizing.measurement.measure import LEAST_TAIL_S, Part, measure_disruption
from ojp_sizing.measurement.objectives import Objectives
from ojp_sizing.report.figures.demand import log_range
from ojp_sizing.report.figures.style import (
    FAINT,
    GREEN,
    INK,
    ORANGE,
    ORIGIN,
    P50,
    P99,
    PURPLE,
    SKY,
    framed,
    label_log_axes,
    legend_above,
    ms,
)
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.sizing.looking import Watched

#: Units are put together by the second in which they arrive.
BUCKET_S = 1.0
UNFINISHED_NAME = "p99 unfinished when the run ended"
#: Up to so many pods, every stop is marked through all panels.
MOST_MARKED_PODS = 12
#: A pod that is away: dark on white, and to be seen on a dark page.
DOWN = "#5a5a5a"

State = Literal["serving", "stopping", "down", "listening"]
#: What a pod is after each change of ``PodChange``.
_STATE_AFTER: dict[str, State] = {
    "stopping": "stopping", "down": "down", "lost": "down", "out of memory": "down", "listening": "listening",
    "ready": "serving",
}  # fmt: skip
_STATE_LOOKS: dict[State, tuple[str, str, str]] = {
    "serving": ("serving", GREEN, ""),
    "stopping": ("stopping", ORANGE, ""),
    "down": ("down", DOWN, ""),
    "listening": ("listening, not Ready", SKY, "/"),
}


class LaneSpan(NamedTuple):
    """A pod is in one state from ``begin_s`` to ``end_s``."""

    pod: int
    state: State
    begin_s: float
    end_s: float


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


def timeline(watched: Watched, *, cpu: bool = True) -> go.Figure:
    """One run (``ojp_sizing.watch``): latency (ms) and failed units by the second of arrival, above what the pods did.

    ``cpu`` adds each pod's CPU use (% of its limit) as another panel.
    """
    outcomes, deployment = watched.outcomes, watched.deployment
    heights = [0.40, 0.13, 0.27] + [0.20] * cpu
    titles = ["Fast units, by second of arrival", "Failed units", "What each pod does"]
    figure = make_subplots(
        rows=len(heights), cols=1, shared_xaxes=True, vertical_spacing=0.055, row_heights=heights,
        subplot_titles=titles + ["CPU use of each pod (darker is busier)"] * cpu,
    )  # fmt: skip
    _add_latency(figure, outcomes, watched.question.objectives)
    _add_failed(figure, outcomes)
    _add_lanes(figure, outcomes, deployment)
    if cpu:
        _add_cpu(figure, outcomes, deployment)
    if deployment.replicas <= MOST_MARKED_PODS:
        for before, after in pairwise(pod_lanes(outcomes, deployment)):
            if before.pod == after.pod and before.state == "serving":
                figure.add_vline(after.begin_s, line={"color": FAINT, "width": 1, "dash": "dot"}, row="all", col=1)
    label_log_axes(figure, 1, "latency, ms")
    figure.update_yaxes(title_text="units per s", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(range=[0, outcomes.end_s])
    figure.update_xaxes(title_text="time since the run began, s", row=len(heights), col=1)
    notes = [
        "One simulated run, with a chance of its own. Read down from a dotted line, at which a pod stops: the pods that remain"
        " get busier, units may fail, p99 may rise. A limit is for the whole disruption, not for each second."
    ]
    if any(trace.name == UNFINISHED_NAME for trace in figure.data):
        notes.append("Triangles at the edge: over 1 % of the second's units had not ended with the run.")
    for name, axis in (("legend", "yaxis"), ("legend2", "yaxis3")):
        legend_above(figure, name, axis)
    figure.update_layout(bargap=0.25, barmode="overlay")
    # Panels of pods grow with their number.
    return framed(figure, _title(watched), [*notes, ORIGIN], round((560 if cpu else 460) + 26 * deployment.replicas))


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
    limit_ms, window_ms = objectives.fast_p99_s * 1e3, _window_limit_s(objectives) * 1e3
    bottom, top = log_range([*chain.from_iterable(row[1:3] for row in rows), window_ms / 1e3])
    figure.update_yaxes(type="log", range=[bottom, top], row=1, col=1)
    for label, column, colour in (("p99 fast", 2, P99), ("p50 fast", 1, P50)):
        figure.add_trace(
            go.Scatter(
                x=[row[0] for row in rows], y=[row[column] * 1e3 if isfinite(row[column]) else None for row in rows],
                name=label, mode="lines", line={"color": colour, "width": 1.5, "dash": "solid"}, legend="legend",
                text=[f"{label}: {ms(row[column])} of {row[3]:,} units" for row in rows],
                hovertemplate="%{x:.1f} s<br>%{text}<extra></extra>",
            ),
            row=1, col=1,
        )  # fmt: skip
    lost = [row[0] for row in rows if not isfinite(row[2])]
    if lost:
        figure.add_trace(
            go.Scatter(
                x=lost, y=[0.93 * 10**top] * len(lost), name=UNFINISHED_NAME, mode="markers", showlegend=False,
                marker={"symbol": "triangle-up", "size": 9, "color": P99}, hovertemplate="%{x:.1f} s<extra>never ended</extra>",
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
            name="limit on p99", mode="lines", hoverinfo="skip",
            line={"color": INK, "width": 1.2},
        ),
        row=1, col=1,
    )  # fmt: skip


def _window_limit_s(objectives: Objectives) -> float:
    own_s = objectives.disruption_fast_p99_s
    return objectives.fast_p99_s * objectives.disruption_factor if own_s is None else own_s


def _add_failed(figure: go.Figure, outcomes: Outcomes) -> None:
    edges_s = _buckets(outcomes)
    failed = outcomes.outcome[: outcomes.arrived] > Ending.OK
    counts, _ = np.histogram(outcomes.counts_s[failed], edges_s)
    figure.add_trace(
        go.Bar(
            x=edges_s[:-1][counts > 0] + BUCKET_S / 2, y=counts[counts > 0] / BUCKET_S, width=BUCKET_S,
            name="failed units", showlegend=False,
            marker={"color": PURPLE, "line": {"color": PURPLE, "width": 1}},
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


def _title(watched: Watched) -> str:
    outcomes, update = watched.outcomes, watched.disruption
    what = watched.situation.words.capitalize()
    if isinstance(update, RollingUpdate):
        pods = watched.deployment.replicas
        what = f"Rolling update of {f'all {pods}' if update.pods == pods else f'{update.pods} of {pods}'} pods"
    if outcomes.window_s is None:
        return f"{what}, one run"
    if not isfinite(outcomes.window_s[1]):
        return f"{what}: it was not over when the run ended"
    run = measure_disruption(outcomes, watched.deployment, (Part(*outcomes.window_s),), None)
    failed = run.counts["failed_share"]
    p99_s = run.values["fast_p99_s"]
    latency = (
        f"p99 of fast units is {ms(p99_s)}"
        if isfinite(p99_s)
        else "p99 of fast units has no end (over 1 % never finish)"
    )
    return f"{what}: {latency}, and {failed.hits:,.0f} of {failed.total:,.0f} units fail"
