"""The study's section of docs/decision.md, from its results: no figure of it is typed by hand."""

from collections.abc import Sequence
from pathlib import Path

from ojp_sizing.measurement.intervals import clopper_pearson
from tests.sections import table

from .study import Covered, Decided

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "data" / "study" / "results.json"
PAGE = ROOT / "docs" / "decision.md"
#: What is asked of the decision.
WRONG_MET, COVERAGE = 0.05, (0.93, 0.97)


def _share(hits: int, total: int) -> str:
    low, high = clopper_pearson(hits, total)
    return f"{hits / total:.1%} [{low:.1%}, {high:.1%}]"


def too_often(row: Decided) -> bool:
    """Whether met is said wrongly more often than it may be, shown by the lower end of its interval."""
    return row.truth != "kept" and clopper_pearson(row.met, row.repetitions)[0] > WRONG_MET


def outside(row: Covered) -> bool:
    """Whether coverage is shown to be outside of what is asked."""
    low, high = clopper_pearson(row.covered, row.repetitions)
    return high < COVERAGE[0] or low > COVERAGE[1]


def _verdicts(rows: Sequence[Decided], limit: str) -> str:
    lines = [
        [
            row.case,
            row.limit,
            row.truth,
            f"**{_share(row.met, row.repetitions)}**" if too_often(row) else _share(row.met, row.repetitions),
            f"{row.not_met / row.repetitions:.1%}",
            f"{row.undecided / row.repetitions:.1%}",
            f"{row.repetitions:,}",
        ]
        for row in rows
    ]
    return table(["case", limit, "the limit is", "said to be met", "not met", "undecided", "repetitions"], lines)


def _coverage(rows: Sequence[Covered]) -> str:
    lines = [
        [
            row.case,
            {"fast_p99_s": "p99", "slow_p99_s": "p99, slow lane"}[row.measure],
            str(row.runs),
            f"**{_share(row.covered, row.repetitions)}**" if outside(row) else _share(row.covered, row.repetitions),
            f"{row.below / row.repetitions:.1%}",
            f"{row.bias:+.1%}",
        ]
        for row in rows
    ]
    return table(["case", "measure", "runs", "holds the truth", "whole interval too low", "mean is off by"], lines)


def section(covered: Sequence[Covered], decided: Sequence[Decided]) -> str:
    """The Markdown between the marks."""
    risks = [row for row in decided if "collapse" in row.case]
    queues = [row for row in decided if row not in risks]
    wrong = [row for row in decided if too_often(row)]
    off = [row for row in covered if outside(row)]
    on_edge = [row for row in decided if row.truth == "edge"]
    least = min(on_edge, key=lambda row: row.undecided / row.repetitions)
    return f"""
{sum(row.repetitions for row in decided):,} whole decisions, each by the code that makes an answer; only the runs come from
systems whose truth is known. *Kept*: the limit is above the truth; *edge*: exactly at it, where any verdict but undecided is
luck. Met may be said in at most {WRONG_MET:.0%} of the cases that aren't kept or are on the edge. Bold: shown to be more
({len(wrong)} of {sum(row.truth != "kept" for row in decided)} cases). In brackets the 95 % interval of Clopper and Pearson.

**Updates that collapse now and then.** A deployment has a probability of collapse, and at most 10 % may. The last row is a
whole sizing in which *every* deployment is on the edge: how often does the search come back with one?

{_verdicts(risks, "risk limit")}

**A p99 with a known value.** Queues run through the simulator and its measures, each run empty at first. The truth is the p99
of the response time in M/M/c (Erlang). The limit is set around it.

{_verdicts(queues, "limit")}

The most uncertain edge ends undecided in {least.undecided / least.repetitions:.0%} of the repetitions ({least.case}).

**Coverage of the 95 % intervals** of these p99s; asked is {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%}. Bold: shown to be outside
({len(off)} of {len(covered)}).

{_coverage(covered)}
"""
