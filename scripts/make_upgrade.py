"""docs/upgrade.md, what each version of OJP changes for capacity: ``make upgrade``, after a change that moves its numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import ojp_sizing as ojp
from ojp_sizing.deployment.deployment import describe
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.deployment.versions import Traits, traits_of, versions
from ojp_sizing.measurement.objectives import Objectives
from ojp_sizing.report.words import with_interval

PAGE, WORDS = (Path(__file__).parents[1] / part for part in ("docs/upgrade.md", "scripts/upgrade_words.md"))
#: A demand, and so many failed units over an update that every version can be sized for it.
RATE, FAILED = 500.0, 0.2
#: Of the table only the versions that change something for this demand.
SIZED = (
    "0.3.1-beta",
    "0.4.0-beta",
    "0.4.1-beta",
    "0.4.7-beta",
    "0.4.14-beta",
    "0.4.16-beta",
    "0.4.21-beta",
    "1.0.0",
    "1.1.0",
)
UNTOLD = {"status", "source"}


def traits_table() -> str:
    """A row for each trait, a column for each version that changed one."""
    names = list(versions())
    lines = [
        f"| Trait | {' | '.join(name.removesuffix('-beta') for name in names)} |",
        "| --- " * (len(names) + 1) + "|",
    ]
    for field in fields(Traits):
        if field.name not in UNTOLD:
            cells = [_cell(getattr(traits_of(name), field.name)) for name in names]
            lines.append(f"| `{field.name}` | {' | '.join(cells)} |")
    lines.append(f"| status | {' | '.join(traits_of(name).status for name in names)} |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value in (0, 0.0, "none") else str(value)


def sized_rows(names: Sequence[str] = SIZED) -> list[list[str]]:
    """What each version takes for the demand."""
    rows = []
    for version in names:
        objectives = Objectives(disruption_failed_share=FAILED)
        answer = ojp.size(ojp.Question("web-oltp", RATE, objectives=objectives, version=version))
        row = [version.removesuffix("-beta"), answer.verdict.value]
        if answer.evaluation is None:
            rows.append([*row, answer.nearest, "", "", ""])
            continue
        update = answer.evaluation.results[Situation.ROLLING_UPDATE].measures
        failed, p99 = (update[name] for name in ("failed_share", "fast_p99_s"))
        rows.append([
            *row, describe(answer.deployment), f"{answer.cost:.2f}",
            with_interval(failed, 100.0),
            with_interval(p99, 1e3),
        ])  # fmt: skip
    return rows


def page(sized: list[list[str]]) -> str:
    """The page: words by hand, tables by the versions' traits and by simulation."""
    head = [
        "OJP",
        "Verdict",
        "Deployment",
        "Core equivalents",
        "Failed over an update, %",
        "p99 of fast units over an update, ms",
    ]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|", *(f"| {' | '.join(row)} |" for row in sized)]
    text = WORDS.read_text(encoding="utf-8").replace("{rate}", f"{RATE:g}").replace("{failed}", f"{100 * FAILED:g}")
    return text.replace("<!-- traits -->", traits_table()).replace("<!-- sized -->", "\n".join(lines))


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(sized_rows()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
