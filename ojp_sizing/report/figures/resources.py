"""What the deployment uses of what it has, and how the database's connections add up."""

from __future__ import annotations

from math import isnan

import plotly.graph_objects as go

from ojp_sizing.behaviour.arithmetic import share_of_pool
from ojp_sizing.deployment.situations import Situation, in_order
from ojp_sizing.report.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    ORIGIN,
    PURPLE,
    RED,
    SKY,
    framed,
    interval_words,
    legend_above,
    whiskers,
)
from ojp_sizing.sizing.recommendation import Judged, Recommendation

#: Shown name and measure of each use.
USES = (
    ("CPU", "cpu_use"),
    ("threads", "threads_use"),
    ("connections", "connections_use"),
    ("fast slots", "fast_slots_use"),
    ("slow slots", "slow_slots_use"),
    ("database cores", "database_use"),
)
_LOOKS = {
    Situation.STEADY: (BLUE, "circle"),
    Situation.POD_LOST: (ORANGE, "square"),
    Situation.ROLLING_UPDATE: (RED, "diamond"),
}
_OTHERS = ((GREEN, "cross"), (PURPLE, "x"), (SKY, "triangle-up"), (INK, "star"), (GREEN, "hexagon"))


def use_of_resources(answer: Recommendation | Judged) -> go.Figure:
    """Mean use (%) of threads, slots, connections, CPU and the database's cores in each situation, with 95 % intervals."""
    evaluation = answer.evaluation
    results = evaluation.results if evaluation else {}
    segregation = evaluation is not None and evaluation.deployment.server.segregation
    uses = [(name, measure) for name, measure in USES if segregation or "slots" not in measure]
    figure = go.Figure()
    others = iter(_OTHERS)
    shown = in_order(results)
    place = {name: len(uses) - 1 - at for at, (name, _) in enumerate(uses)}
    for at, situation in enumerate(shown):
        measures = results[situation].measures
        found = [(name, measures[m]) for name, m in uses if m in measures and not isnan(measures[m].value)]
        colour, symbol = _LOOKS.get(situation) or next(others)
        # One above the other: they are often alike.
        aside = 0.5 * (0.5 - (at + 0.5) / len(shown))
        figure.add_scatter(
            x=[100 * one.value for _, one in found], y=[place[name] + aside for name, _ in found],
            error_x=whiskers([one for _, one in found], 100), mode="markers", name=situation.words,
            marker={"color": colour, "symbol": symbol, "size": 9},
            text=[f"{name}, {situation.words}<br>{interval_words(one, 100, '%')}" for name, one in found],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    if evaluation is not None:
        most, row = 100 * evaluation.deployment.constants.cpu_most_use, place["CPU"]
        figure.add_shape(
            type="line", x0=most, x1=most, y0=row - 0.4, y1=row + 0.4, xref="x", yref="y",
            line={"color": INK, "dash": "dash"},
        )  # fmt: skip
    figure.update_xaxes(title_text="mean use over pods and time, %", range=[-2, 102])
    figure.update_yaxes(tickvals=list(place.values()), ticktext=list(place), range=[-0.5, len(uses) - 0.5])
    legend_above(figure, "legend", "yaxis")
    caption = [
        "Means look idle, and should: random arrivals queue long before anything is busy all the time, and a pod's share falls to"
        " the others while it is away. The dash beside CPU: at steady peak it may be no more (cpu_most_use). Whiskers: 95 %"
        " intervals; where you see none, it is smaller than the mark.",
        ORIGIN,
    ]
    busiest = _busiest(answer)
    return framed(figure, f"Busiest at steady peak: {busiest}" if busiest else "Nothing was simulated", caption, 330)


def _busiest(answer: Recommendation | Judged) -> str:
    steady = answer.evaluation.results.get(Situation.STEADY) if answer.evaluation else None
    if steady is None:
        return ""
    found = {name: steady.measures[m].value for name, m in USES if m in steady.measures}
    name = max((name for name in found if not isnan(found[name])), key=lambda name: found[name])
    return f"{name}, {100 * found[name]:.0f} %"


def connections_ledger(answer: Recommendation) -> go.Figure:
    """How the database's max_connections adds up, as a waterfall: the pools' shares, what missing pods add, the reserve.

    Whole connections by the pool's arithmetic (docs/model.md) and the most that any run had open. Raises LookupError without
    an answer.
    """
    deployment, need = answer.deployment, answer.database
    if need is None:
        raise LookupError("only an answer has a ledger")
    pool, replicas = deployment.pool.maximum_size, deployment.replicas
    asked = pool
    rounded = replicas * share_of_pool(pool, replicas)
    steps = [
        ("maximumPoolSize", asked),
        ("rounded up per pod", rounded - asked),
        ("pods missing", need.shared_connections - rounded),
        ("seen beyond that", need.open_connections - need.shared_connections),
        ("reserve", need.max_connections - need.open_connections),
    ]
    base, total = [], 0
    for _, size in steps:
        base.append(total)
        total += size
    figure = go.Figure()
    figure.add_bar(
        y=[name for name, _ in steps], x=[size for _, size in steps], base=base, orientation="h", name="connections",
        marker={"color": [BLUE, SKY, ORANGE, RED, PURPLE]}, textposition="outside", cliponaxis=False,
        text=[f"{size:+d}" if at else f"{size}" for at, (_, size) in enumerate(steps)],
        hovertemplate="%{y}: %{text} connections<extra></extra>",
    )  # fmt: skip
    figure.add_bar(
        y=["max_connections"], x=[total], orientation="h", name="max_connections", marker={"color": GREEN},
        text=[f"{total}"], textposition="outside", hovertemplate="%{y}: at least %{x}<extra></extra>", cliponaxis=False,
    )  # fmt: skip
    figure.update_xaxes(title_text="database connections", range=[0, 1.12 * total])
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(showlegend=False, barmode="overlay")
    caption = [
        f"Read from the top: each bar begins where the one before it ends. The pool is for the whole cluster; each of {replicas}"
        " pods opens its share, rounded up, and more while others are missing. Counts, not estimates: only what was seen beyond"
        " that comes from simulation, the most of any run. The reserve is for administrators and other programs.",
    ]
    return framed(figure, f"The database needs max_connections of at least {need.max_connections}", caption, 340)
