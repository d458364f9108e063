"""The review: one HTML page that holds everything, verdict first. It opens from disk and asks no host for anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ojp_sizing import __version__
from ojp_sizing.demand.reading import workload_yaml
from ojp_sizing.deployment.reading import deployment_yaml
from ojp_sizing.emit.applying import commands
from ojp_sizing.emit.from_recommendation import RECORD_FILE, files_of, json_text, record, record_of_judged, release_of
from ojp_sizing.report.html import environment
from ojp_sizing.report.words import headline
from ojp_sizing.sizing.looking import demand_curve, watch
from ojp_sizing.sizing.recommendation import Judged, Recommendation

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Runs behind each point of the curve over demand.
CURVE_RUNS = 3
#: The tables to act on; the others come behind the figures.
TO_ACT = ("shown", "back", "deploy", "database", "given", "warnings", "rejected")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure as the page has it: its title and caption are text of the page, so that they wrap and are read aloud."""

    title: str
    caption: tuple[str, ...]
    height: int
    spec: Any


def page(
    answer: Recommendation | Judged,
    names: Mapping[str, str] = MappingProxyType({}),
    *,
    directory: Path = Path("ojp-sizing"),
    closer: bool = True,
) -> str:
    """The page of an answer, or of none: its title and first line say what the verdict is.

    ``closer``: simulate the figures over demand and over an update, too. ``directory`` and ``names`` (of the release, its
    namespace, the database's URL, the warm-up's image) are those of the files and of the commands. Raises InputError for a
    name that Kubernetes or Helm doesn't take.
    """
    from markupsafe import Markup  # noqa: PLC0415 - comes with the templates
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - heavy

    line = headline(answer)
    files: dict[str, str] = {}
    told: Mapping[str, str] = {}
    if isinstance(answer, Judged):
        inputs = {
            "deployment.yaml": deployment_yaml(answer.deployment),
            RECORD_FILE: json_text(record_of_judged(answer)),
        }
    else:
        release = release_of(answer, **names) if answer.resources is not None else None
        inputs = {RECORD_FILE: json_text(record(answer, release))}
        if release is not None:
            files, told = files_of(answer, release), commands(release, directory)
            del inputs[RECORD_FILE]
    asked = answer.ranges.asked if answer.ranges else answer.question
    tables = answer.tables()
    return environment().get_template("page.html.j2").render(
        headline=line,
        verdict=answer.verdict.value.upper(),
        about=line.removeprefix(answer.verdict.value.upper()).strip(),
        kind="met" if answer.verdict.is_met else answer.verdict.value.replace(" ", "-"),
        first=_first_lines(answer),
        act=[tables[name] for name in TO_ACT if name in tables],
        rest=[table for name, table in tables.items() if name not in TO_ACT],
        commands=told,
        figures=[_drawn(figure, Markup) for figure in figures_of(answer, closer=closer)],
        files=files,
        inputs={"workload.yaml": workload_yaml(asked.workload), **inputs},
        version=__version__,
        library=Markup(get_plotlyjs()),  # noqa: S704 - the library itself, from its package
    )  # fmt: skip


def _first_lines(answer: Recommendation | Judged) -> list[str]:
    if isinstance(answer, Recommendation) and answer.nearest:
        return [f"Closest request that might be met: {answer.nearest}"]
    return []


def figures_of(answer: Recommendation | Judged, *, closer: bool = True) -> list[go.Figure]:
    """The figures of an answer; ``closer`` simulates those over demand and over an update."""
    from ojp_sizing.report import figures as draw  # noqa: PLC0415 - plotly is heavy

    found: list[go.Figure] = []
    if answer.evaluation is not None and answer.evaluation.results:
        found.append(draw.risk(answer))
        if closer:
            question, deployment = answer.question, answer.evaluation.deployment
            points = demand_curve(question, deployment, answer.execution, runs=CURVE_RUNS)
            found.append(draw.latency_against_demand(points, question.objectives, sized_rate=question.rate))
            found.append(draw.timeline(watch(question, deployment, execution=answer.execution)))
        found.append(draw.use_of_resources(answer))
    if answer.ranges and answer.ranges.ends:
        found.append(draw.tornado(answer))
    if isinstance(answer, Recommendation):
        found.append(draw.frontier(answer))
        if answer.knobs:
            found.append(draw.knob_prices(answer))
        if answer.database is not None:
            found.append(draw.connections_ledger(answer))
    return found


def _drawn(figure: go.Figure, markup: type[str]) -> Drawn:
    spec = json.loads(figure.to_json())
    title = spec["layout"].pop("title")
    lines: Sequence[str] = title["subtitle"]["text"].split("<br>")
    height = int(spec["layout"].pop("height")) - 16 * len(lines) - 40
    # Under the page's own caption there is no title, but the line of the legend.
    spec["layout"]["margin"] = {**spec["layout"]["margin"], "t": 36}
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False)
    # Within a script nothing may look like its end.
    for mark, escaped in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(mark, escaped)
    return Drawn(_text(title["text"]), (_text(" ".join(lines)),), height, markup(text))


def _text(shown: str) -> str:
    """What ``style.plain`` made of a text, undone: the template escapes it."""
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
