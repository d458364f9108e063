"""Latency against demand, with the cliff."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, takewhile
from math import isfinite, isnan, log10

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.objectives import Objectives, Verdict
from ojp_sizing.report.figures.style import (
    DASHES,
    INK,
    ORIGIN,
    P50,
    P95,
    P99,
    faded,
    framed,
    label_log_axes,
    legend_above,
    ms,
    rate_words,
)
from ojp_sizing.sizing.looking import DemandPoint


def highest_shown_rate(points: Sequence[DemandPoint], objectives: Objectives) -> float | None:
    """The largest rate up to which, from the lowest on, every steady objective is shown to be met (units/s)."""
    by_rate = sorted(points, key=lambda point: point.rate)
    held = list(takewhile(lambda point: point.verdict(objectives) is Verdict.MET, by_rate))
    return held[-1].rate if held else None


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
    curves = [("fast_p50_s", P50, 1), ("fast_p95_s", P95, 1), ("fast_p99_s", P99, 1)]
    limits_s = [objectives.fast_p99_s]
    if has_slow:
        curves.append(("slow_p99_s", P99, 2))
        limits_s.append(objectives.slow_p99_s)
    for row, limit_s in enumerate(limits_s, start=1):
        names = [name for name, _, at in curves if at == row]
        ends_s = [end for point in points for name in names for end in _finite_ends(point.measures[name])]
        bottom, top = log_range([*ends_s, limit_s])
        figure.update_yaxes(type="log", range=[bottom, top], row=row)
        for name, colour, at in curves:
            if at == row:
                _add_curve(figure, points, name, colour, row, (10**bottom, 10**top))
        _add_limit(figure, limit_s, row)
        if sized_rate is not None:
            figure.add_vline(sized_rate, line={"color": INK, "width": 1.5, "dash": "dot"}, row=row, col=1)
    if sized_rate is not None:
        figure.add_annotation(
            x=sized_rate, xref="x", y=0, yref="y domain", yanchor="bottom", xanchor="left", xshift=4, showarrow=False,
            text=f"sized for {rate_words(sized_rate)}", font={"color": INK},
        )  # fmt: skip
    label_log_axes(figure, len(titles), "latency, ms")
    figure.update_xaxes(title_text="demand, units of work per second", row=len(titles), col=1)
    shown = highest_shown_rate(points, objectives)
    title = (
        f"At steady demand every limit is shown to hold up to {rate_words(shown)}"
        if shown is not None
        else "At steady demand the limits are not shown to hold at any of these rates"
    )
    notes = [
        _cliff_words(points, objectives),
        "Bands are 95 % intervals; where you see none, it is as thin as the line.",
    ]
    if any(not isfinite(point.measures[name].value) for point in points for name, _, _ in curves):
        notes.append(
            "Triangles at the edge: so many units had not ended with the run that the percentile has no value."
        )
    if any(not _stationary(point) and isfinite(point.measures["fast_p50_s"].value) for point in points):
        notes.append("Hollow: no steady state was found, so that latency depends on how long a run lasts.")
    legend_above(figure, "legend", "yaxis")
    return framed(figure, title, [*notes, ORIGIN], 600 if has_slow else 440)


def _cliff_words(points: Sequence[DemandPoint], objectives: Objectives) -> str:
    """Where to look: between which rates a limit begins to break."""
    fails = next((point.rate for point in points if point.verdict(objectives) is Verdict.NOT_MET), None)
    if fails is None:
        return (
            f"No cliff up to {rate_words(points[-1].rate)}, the most that was tried: what is beyond wasn't looked at."
        )
    before = [point.rate for point in points if point.rate < fails]
    if not before:
        return f"A limit is broken from the lowest rate on, {rate_words(fails)}."
    return (
        f"The cliff: a limit is broken for certain at {rate_words(fails)} and not yet at {rate_words(before[-1])}. Look at how"
        " far the dotted line is from it; a lost pod takes of that room."
    )


def _finite_ends(estimate: Estimate) -> list[float]:
    return [end for end in (estimate.low, estimate.value, estimate.high) if isfinite(end) and end > 0]


def log_range(values_s: Sequence[float]) -> tuple[float, float]:
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
                fill="toself", fillcolor=faded(colour), line={"color": faded(colour), "width": 1}, mode="lines",
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
            line={"color": colour, "dash": DASHES[colour]},
            marker={"size": 8, "symbol": ["circle" if _stationary(p) else "circle-open" for p in known]},
            text=[
                f"{label}: {ms(e.value)}<br>95 % interval {ms(e.low)} to {ms(e.high)}, {e.replications} runs"
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
                line={"color": faded(colour), "width": 8}, hoverinfo="skip", legendgroup=label, showlegend=False,
            ),
            row=row, col=1,
        )  # fmt: skip
    if lost:
        figure.add_trace(
            go.Scatter(
                x=[point.rate for point in lost], y=[bounds_ms[1] * 0.93] * len(lost), name=f"{label}: no finite value",
                mode="markers", marker={"symbol": "triangle-up", "size": 12, "color": colour}, legendgroup=label,
                showlegend=False, text=[ms(point.measures[name].low) for point in lost],
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
    figure.add_hline(limit_s * 1e3, line={"color": INK, "width": 1.2}, row=row, col=1)
    figure.add_annotation(
        x=0, xref="x domain", xanchor="left", y=log10(limit_s * 1e3), yanchor="bottom", showarrow=False,
        text=f"limit on p99: {limit_s * 1e3:,g} ms", row=row, col=1,
    )  # fmt: skip
