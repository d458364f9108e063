"""How well a distribution describes what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from scipy.stats import expon, lognorm

from ojp_sizing.demand.workload import Duration
from ojp_sizing.measurement.intervals import CONFIDENCE
from ojp_sizing.report.figures.style import BLUE, RED, faded, framed, legend_above, plain


def fit_of_distribution(times_s: Sequence[float], fitted: Duration, name: str) -> go.Figure:
    """The distribution of measured times (ms) beside a fitted one; the band is where the true one lies (95 %).

    ``times_s``: at least two times above 0 (s). The band is that of Dvoretzky, Kiefer and Wolfowitz with Massart's constant
    (1990), for independent times. Raises ValueError for fewer times.
    """
    times = np.sort(np.asarray(times_s, dtype=np.float64))
    if len(times) < 2 or times[0] <= 0:
        raise ValueError("a fit needs at least two times above 0")
    known = np.arange(1, len(times) + 1) / len(times)
    half = sqrt(log(2 / (1 - CONFIDENCE)) / (2 * len(times)))
    at = np.geomspace(times[0] / 1.5, times[-1] * 1.5, 300)
    expected = distribution(fitted, at)
    observed = np.searchsorted(times, at, side="right") / len(times)
    outside = float(np.mean(np.abs(expected - observed) > half))
    figure = go.Figure()
    edges = [*(at * 1e3), *(at[::-1] * 1e3)]
    band = [*np.clip(observed + half, 0, 1), *np.clip(observed - half, 0, 1)[::-1]]
    figure.add_scatter(
        x=edges, y=[100 * y for y in band], name="95 % band", fill="toself", fillcolor=faded(BLUE),
        line={"width": 0, "color": faded(BLUE)}, mode="lines", hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=times * 1e3, y=100 * known, name="measured", mode="lines", line={"color": BLUE, "shape": "hv"},
        hovertemplate="%{y:.1f} % take at most %{x:.4g} ms<extra>measured</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=at * 1e3, y=100 * expected, name=f"fitted: {fitted.family}", mode="lines", line={"color": RED, "dash": "dash"},
        hovertemplate="%{y:.1f} % take at most %{x:.4g} ms<extra>fitted</extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="time, ms", type="log")
    figure.update_yaxes(title_text="take at most so long, %", range=[-2, 102])
    legend_above(figure, "legend", "yaxis")
    words = (
        f"{plain(name)}: the fitted distribution lies within what was measured"
        if outside == 0
        else f"{plain(name)}: the fitted distribution leaves the band over {100 * outside:.0f} % of the axis"
    )
    caption = [
        f"{len(times):,} measured times. Where the dashed line leaves the band, the fit is wrong there for certain (95 % for the"
        " whole band); look at the upper end, which makes the p99."
    ]
    return framed(figure, words, caption, 360)


def distribution(duration: Duration, at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of times that are at most so long."""
    if duration.family == "constant":
        return (at_s >= duration.mean_s).astype(np.float64)
    if duration.family == "exponential":
        return np.asarray(expon.cdf(at_s, scale=duration.mean_s), dtype=np.float64)
    sigma2 = log(1 + duration.cv**2)
    return np.asarray(lognorm.cdf(at_s, s=sqrt(sigma2), scale=duration.mean_s * np.exp(-sigma2 / 2)), dtype=np.float64)
