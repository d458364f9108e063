"""One look for all figures, and the words and numbers that they share."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan
from typing import Any

import plotly.graph_objects as go

from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.report.words import shown_number

# Colours of Okabe and Ito (2008), which stay apart for colour-blind readers; in grey print their lightness differs, and lines
# differ in dash as well.
BLUE, GREEN, RED, PURPLE, ORANGE, SKY = "#0072B2", "#009E73", "#D55E00", "#A0417A", "#E69F00", "#56B4E9"
#: Limits and marks: a grey that can be read on white and on a dark page.
INK, FAINT = "#767676", "#9a9a9a"
P50, P95, P99 = BLUE, GREEN, RED
DASHES = {P50: "dot", P95: "dash", P99: "solid"}

#: What every prediction rests on.
ORIGIN = (
    "Predicted by the model. Measured (one machine, OJP 0.3.1-beta): CPU of a call, start-up, first pools, memory. Assumed: the"
    " network, the CPU of result rows."
)

_LINE = "rgba(128,128,128,0.25)"
_AXIS = {
    "gridcolor": _LINE, "zerolinecolor": _LINE, "linecolor": _LINE, "automargin": True, "ticks": "outside",
    "tickcolor": _LINE, "title": {"standoff": 8, "font": {"size": 13}},
}  # fmt: skip
TEMPLATE = go.layout.Template(
    layout={
        "colorway": [BLUE, RED, GREEN, PURPLE, ORANGE, SKY],
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 13, "color": "#222222"},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"bgcolor": "rgba(0,0,0,0)"},
        "hoverlabel": {"align": "left"},
        "title": {"x": 0.01, "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 14}},
    }
)  # fmt: skip


def framed(figure: go.Figure, title: str, caption: Sequence[str], height: int) -> go.Figure:
    """The figure with its title, and with a caption below that: what to see, and what it rests on."""
    lines = [line for text in caption for line in wrapped(text)]
    for annotation in figure.layout.annotations:
        # The titles of panels: at the left, where no legend stands.
        if annotation.xref == annotation.yref == "paper":
            annotation.update(x=0, xanchor="left", text=f"<b>{annotation.text}</b>", font={"size": 13})
    figure.update_layout(
        template=TEMPLATE,
        height=height + 16 * len(lines),
        title={
            "text": title,
            "font": {"size": 17},
            "subtitle": {"text": "<br>".join(lines), "font": {"size": 12, "color": INK}},
        },
        margin={"l": 60, "r": 30, "t": 76 + 16 * len(lines), "b": 55},
        modebar={"orientation": "v"},
    )
    return figure


def wrapped(text: str, width: int = 135) -> list[str]:
    """Lines of at most so many characters, each as one line of a title."""
    lines: list[str] = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def legend_above(figure: go.Figure, name: str, yaxis: str) -> None:
    """A legend on the line of a panel's title, at the right."""
    top = figure.layout[yaxis].domain[1] if figure.layout[yaxis].domain else 1.0
    place = {"orientation": "h", "x": 1, "xanchor": "right", "y": top, "yanchor": "bottom", "font": {"size": 12}}
    figure.update_layout({name: place})


def whiskers(estimates: Sequence[Estimate], scale: float = 1.0) -> dict[str, Any]:
    """Error bars of 95 % intervals; none where an end is infinite or there is nothing."""

    def reach(one: Estimate, end: float) -> float:
        return abs(end - one.value) * scale if isfinite(one.value) and isfinite(end) else 0.0

    return {
        "type": "data", "symmetric": False, "thickness": 1.6, "width": 5,
        "array": [reach(one, one.high) for one in estimates], "arrayminus": [reach(one, one.low) for one in estimates],
    }  # fmt: skip


def plain(text: str) -> str:
    """A name from outside as text: plotly takes some tags for its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def ms(value_s: float) -> str:
    """A latency in words; "no end" where units were unfinished."""
    return f"{shown_number(value_s * 1e3)} ms" if isfinite(value_s) else shown_number(value_s)


def interval_words(estimate: Estimate, scale: float, unit: str) -> str:
    """For what is shown at a pointer."""
    if isnan(estimate.value):
        return "nothing to measure"
    value, low, high = (shown_number(end * scale) for end in (estimate.value, estimate.low, estimate.high))
    return f"{value} {unit}, 95 % interval {low} to {high}, {estimate.replications} runs"


def rate_words(rate: float) -> str:
    """A rate, to three digits."""
    return f"{float(f'{rate:.3g}'):,.10g} units/s"


def faded(colour: str) -> str:
    """The same colour for a band."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.28)"


def label_log_axes(figure: go.Figure, rows: int, title: str) -> None:
    """Logarithmic axes with labels at 1, 2 and 5."""
    for row in range(1, rows + 1):
        figure.update_yaxes(title_text=title, dtick="D2", tickformat=",~g", row=row, col=1)
