"""The audit's section of docs/decision.md, from its tables."""

from itertools import groupby
from statistics import median

from tests.sections import table

from .scenarios import ROOT, Audited, Scenario, Seeded, read_results, read_scenarios, read_seeds

PAGE = ROOT / "docs" / "decision.md"
#: What the answer may cost over the cheapest of the grid, and another seed's answer over the middle one.
MOST_RATIO = 1.05


def _audited() -> str:
    found = {name: list(rows) for name, rows in groupby(read_results(), lambda row: row.scenario)}
    rows = []
    for scenario in read_scenarios().values():
        if scenario.name not in found:
            rows.append([scenario.name, f"`{scenario.flags}`", "not audited yet", *[""] * 6])
        rows += [_row(scenario, row) for row in found.get(scenario.name, [])]
    head = ["scenario", "flags", "answer", "cost", "cheapest of the grid", "ratio", "grid / explored / judged", "made"]
    return table(head, [row[: len(head)] for row in rows])


def _row(scenario: Scenario, row: Audited) -> list[str]:
    flags = f"`{scenario.flags}{' --precision high' * (row.precision == 'high')}`"
    made = f"{row.date}, {row.commit}"
    if not row.cost:
        return [scenario.name, flags, row.verdict, *[""] * 4, made]
    ratio = f"{row.ratio:.3f}" if row.ratio <= MOST_RATIO else f"**{row.ratio:.3f}**"
    cheaper = f"{row.cheapest}: {row.cheapest_cost:.4g}" if row.cheapest else "none is cheaper"
    looked = f"{row.grid:,} / {row.explored:,} / {row.judged}"
    return [scenario.name, flags, f"{row.verdict}: {row.answer}", f"{row.cost:.4g}", cheaper, ratio, looked, made]


def near(rows: list[Seeded]) -> int:
    """How many answers cost within 5 % of the middle one."""
    middle = median(row.cost for row in rows)
    return sum(middle / MOST_RATIO <= row.cost <= middle * MOST_RATIO for row in rows)


def _seeds() -> str:
    rows = []
    for name, group in groupby(read_seeds(), lambda row: row.scenario):
        mine = list(group)
        costs = sorted(row.cost for row in mine)
        answers = len({row.answer for row in mine})
        shown = sum(row.verdict.startswith("met") for row in mine)
        made = max(f"{row.date}, {row.commit}" for row in mine)
        rows.append(
            [
                name,
                f"{len(mine)}",
                f"{shown}",
                f"{near(mine)}",
                f"{costs[0]:.4g} / {median(costs):.4g} / {costs[-1]:.4g}",
                f"{answers}",
                made,
            ]
        )
    head = [
        "scenario",
        "seeds",
        "met",
        "within 5 % of the middle cost",
        "cost: least / middle / most",
        "answers",
        "made",
    ]
    return table(head, rows)


def section() -> str:
    """The Markdown between the marks."""
    results = read_results()
    normal = [row for row in results if row.precision == "normal"]
    with_answer = [row for row in normal if row.cost]
    kept = sum(row.ratio <= MOST_RATIO for row in with_answer)
    high = [row for row in results if row.precision == "high"]
    kept_high = sum(row.ratio <= MOST_RATIO for row in high)
    words = "were asked again with `--precision high`, which judges also what comes near to a limit"
    others = f" Of the others {len(high)} {words}: {kept_high} of them cost no more than that then." if high else ""
    return f"""
{len(normal)} of {len(read_scenarios())} scenarios were audited; in {kept} of the {len(with_answer)} that have an answer it costs
at most {MOST_RATIO:g} times the cheapest of the grid.{others} Costs are in core equivalents.

{_audited()}

**Other seeds.** The same question with other random numbers; asked are nine of ten answers within 5 % of the same cost.

{_seeds()}
"""
