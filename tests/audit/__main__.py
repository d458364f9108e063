"""``make audit``: hold the answer of each scenario against a wide grid, and write the tables and their section of the page.

``python -m tests.audit [--seeds N] [--precision high] [SCENARIO ...]``: those that are named, else those that have no row yet.
``--page``: the page only.
"""

import argparse
import time
from typing import Literal

from ojp_sizing.deployment.deployment import describe
from ojp_sizing.sizing.evidence import Bench
from ojp_sizing.sizing.question import Execution
from ojp_sizing.sizing.recommendation import size
from ojp_sizing.sizing.workers import workers_for
from tests.sections import with_section

from .grid import cheapest
from .page import PAGE, section
from .scenarios import (
    RESULTS,
    SEEDS,
    Audited,
    Scenario,
    Seeded,
    keep,
    read_results,
    read_scenarios,
    read_seeds,
    stamp,
)


def audit(scenario: Scenario, precision: Literal["normal", "high"]) -> Audited:
    """Answer, and hold the answer against the grid."""
    # Before the work: another commit may be there when it ends.
    made, question, execution = stamp(), scenario.question, Execution(precision=precision)
    answer = size(question, execution)
    if answer.cost is None:
        return Audited(scenario.name, precision, answer.verdict.value, "none", 0.0, "", 0.0, 0.0, 0, 0, 0, **made)
    print(
        f"{scenario.name}: {answer.cost:.3f} {describe(answer.deployment)}, {answer.attempts} contestants", flush=True
    )
    with workers_for("auto") as workers:
        found = cheapest(Bench(question, execution, workers), answer.cost, lambda what: print(f"  {what}", flush=True))
    cost = answer.cost if found.deployment is None else question.cost(found.deployment)
    return Audited(
        scenario.name,
        precision,
        answer.verdict.value,
        describe(answer.deployment),
        answer.cost,
        "" if found.deployment is None else describe(found.deployment),
        cost,
        answer.cost / cost,
        found.grid,
        found.explored,
        len(found.shown),
        **made,
    )


def seeded(scenario: Scenario, seed: int) -> Seeded:
    """The answer with another seed."""
    made = stamp()
    answer = size(scenario.question, Execution(seed=seed))
    words = "none" if answer.evaluation is None else describe(answer.deployment)
    return Seeded(scenario.name, seed, answer.verdict.value, words, answer.cost or 0.0, answer.tried, **made)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description=__doc__)
    parser.add_argument("scenarios", nargs="*")
    parser.add_argument("--seeds", type=int, default=0, help="the answers of so many seeds, in place of the grid")
    parser.add_argument("--precision", choices=["normal", "high"], default="normal")
    parser.add_argument("--page", action="store_true", help="write the page from the tables")
    asked = parser.parse_args()
    known = read_scenarios()
    names = asked.scenarios or list(known)
    if asked.page:
        names = []
    for name in names:
        began = time.monotonic()
        if asked.seeds:
            for seed in range(1, asked.seeds + 1):
                if asked.scenarios or not any((row.scenario, row.seed) == (name, seed) for row in read_seeds()):
                    answer = seeded(known[name], seed)
                    print(answer, flush=True)
                    keep(SEEDS, [*(row for row in read_seeds() if (row.scenario, row.seed) != (name, seed)), answer])
        elif asked.scenarios or not any(row.scenario == name for row in read_results()):
            result = audit(known[name], asked.precision)
            print(result, f"{time.monotonic() - began:.0f} s", flush=True)
            key = (name, asked.precision)
            keep(RESULTS, [*(row for row in read_results() if (row.scenario, row.precision) != key), result])
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), "make audit", section()), encoding="utf-8")


if __name__ == "__main__":
    main()
