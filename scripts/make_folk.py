"""docs/folk.csv and docs/folk.md: what formulas in use today deploy for 45 demands, simulated beside this tool's answer.

``python -m scripts.make_folk`` goes on where it was ended: demands that are in the table are kept (``--afresh`` drops them). The
page is written from the table alone. The same seed gives the same rows, on any machine and any number of workers.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import product
from math import inf
from pathlib import Path

import ojp_sizing as ojp
from ojp_sizing.deployment.deployment import describe
from ojp_sizing.report.words import held_back
from ojp_sizing.sizing.evidence import Bench, Evaluation, Rejection
from ojp_sizing.sizing.folk import formulas, simulated_day, tried_out
from ojp_sizing.sizing.recommendation import Neighbour
from ojp_sizing.sizing.workers import workers_for
from tests.verification.page import table

ROOT = Path(__file__).resolve().parent.parent
TABLE, PAGE = ROOT / "docs" / "folk.csv", ROOT / "docs" / "folk.md"
RATES = (20.0, 50.0, 200.0, 500.0, 1500.0)
WORKLOADS = ("web-oltp", "pgbench-measured", "reporting-mix")
DATABASES = (ojp.Database(), ojp.Database(max_connections=60.0), ojp.Database(cores=16.0, max_connections=200.0))
#: Where statements take long, the steady limits times five leave no room over an update: the known error takes it up.
OBJECTIVES = {"reporting-mix": ojp.Objectives(disruption_fast_p99_s=1.0, disruption_slow_p99_s=30.0)}
TOOL = "this tool"
#: What became of a formula's deployment, from good to bad.
MET, UNDECIDED, KNOWN_ERROR, BROKE = "met", "undecided", "broken with the known error", "limit broken"
#: What costs at most so much more isn't called dearer.
AS_CHEAP = 1.05


@dataclass(frozen=True, slots=True)
class Row:
    """A deployment for a demand. ``outcome``: the tool's verdict, or what became of a formula's deployment."""

    workload: str
    rate: float
    database_cores: float
    max_connections: float
    formula: str
    deployment: str
    cost: float
    outcome: str
    runs: int
    finding: str

    @property
    def demand(self) -> tuple[str, float, float, float]:
        return self.workload, self.rate, self.database_cores, self.max_connections


def questions() -> list[ojp.Question]:
    """Every demand."""
    return [
        ojp.Question(workload, rate, database, OBJECTIVES.get(workload, ojp.Objectives()))  # type: ignore[arg-type]
        for rate, workload, database in product(RATES, WORKLOADS, DATABASES)
    ]


def demand_of(question: ojp.Question) -> tuple[str, float, float, float]:
    """What a row is about."""
    database = question.database
    return question.workload.name, question.rate, database.cores, database.max_connections


def rows_of(question: ojp.Question, execution: ojp.Execution | None = None) -> list[Row]:
    """The tool's answer for a demand, and what each formula deploys for it."""
    execution = execution or ojp.Execution()
    answer = ojp.size(question, execution)
    demand = demand_of(question)
    told = answer.evaluation if answer.verdict.is_met else None
    runs = sum(result.replications for result in told.results.values()) if told else 0
    rows = [
        Row(
            *demand, TOOL, describe(told.deployment) if told else "none", answer.cost or inf, answer.verdict.value, runs,
            answer.stopped,
        )
    ]  # fmt: skip
    warm = told.deployment.warm_pools if told else True
    with workers_for(execution.engine, execution.workers, execution.scheduler) as pool:
        bench = Bench(question, execution, pool)
        for name, deployment in formulas(question, warm, simulated_day(bench, warm)):
            tried = Neighbour(name, deployment, question.cost(deployment), tried_out(bench, deployment))
            assert tried.outcome is not None  # noqa: S101 - it was tried
            outcome, count = outcome_of(tried.outcome)
            rows.append(Row(*demand, name, describe(deployment), tried.cost, outcome, count, held_back(tried)))
    return rows


def outcome_of(outcome: Evaluation | Rejection) -> tuple[str, int]:
    """What became of it, after how many runs."""
    if isinstance(outcome, Rejection):
        by_model = any(j.estimate.value > j.objective.limit for j in outcome.judgements)
        return BROKE if by_model else KNOWN_ERROR, outcome.replications
    runs = sum(result.replications for result in outcome.results.values())
    if outcome.verdict.is_met:
        return MET, runs
    return BROKE if outcome.verdict is ojp.Verdict.NOT_MET else UNDECIDED, runs


def read_rows(path: Path) -> list[Row]:
    """The table's rows."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(
                r["workload"], float(r["rate"]), float(r["database_cores"]), float(r["max_connections"]), r["formula"],
                r["deployment"], float(r["cost"]), r["outcome"], int(r["runs"]), r["finding"],
            )
            for r in csv.DictReader(file)
        ]  # fmt: skip


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """All of the table; a reader never sees half of it."""
    half = path.with_suffix(".part")
    with half.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Row)])
        writer.writerows([f"{value:g}" if isinstance(value, float) else value for value in astuple(r)] for r in rows)
    half.replace(path)


# The page -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Score:
    """How a formula did over the demands for which the tool has an answer (``demands``), by number of demands."""

    formula: str
    demands: int
    met: int
    undecided: int
    by_known_error: int
    broke: int
    dearer: int
    cheaper: int
    times: float
    """What it costs over the tool's answer, in the middle."""


def scores(rows: Sequence[Row]) -> Iterator[Score]:
    """Each formula against the tool's answers."""
    told = {row.demand: row for row in rows if row.formula == TOOL and row.cost < inf}
    for formula in dict.fromkeys(row.formula for row in rows if row.formula != TOOL):
        found = [row for row in rows if row.formula == formula and row.demand in told]
        met = [row for row in found if row.outcome == MET]
        times = sorted(row.cost / told[row.demand].cost for row in found)
        yield Score(
            formula,
            len(found),
            len(met),
            sum(row.outcome == UNDECIDED for row in found),
            sum(row.outcome == KNOWN_ERROR for row in found),
            sum(row.outcome == BROKE for row in found),
            sum(row.cost > AS_CHEAP * told[row.demand].cost for row in met),
            sum(row.cost < told[row.demand].cost / AS_CHEAP for row in met),
            times[len(times) // 2] if times else inf,
        )


def page(rows: Sequence[Row]) -> str:
    """docs/folk.md."""
    answers = [row for row in rows if row.formula == TOOL]
    told = [row for row in answers if row.cost < inf]
    by_formula = table(
        ("formula", "demands", "met", "of these dearer", "of these cheaper", "undecided", "broken with the known error only",
         "limit broken", "its cost over the answer's, middle"),
        [
            (s.formula, str(s.demands), str(s.met), str(s.dearer), str(s.cheaper), str(s.undecided), str(s.by_known_error),
             str(s.broke), f"{s.times:.2f}")
            for s in scores(rows)
        ],
    )  # fmt: skip
    by_demand = table(
        ("workload", "units/s", "database", "this tool", "cost", "verdict", "formulas that are met"),
        [
            (
                row.workload, f"{row.rate:g}", _database(row), row.deployment, f"{row.cost:.3g}" if row.cost < inf else "-",
                row.outcome,
                ", ".join(f"{o.formula} ({o.cost:.3g})" for o in rows if o.demand == row.demand and o.outcome == MET)
                or "none",
            )
            for row in answers
        ],
    )  # fmt: skip
    return f"""# Formulas in use today

Written by `make folk` from [folk.csv](folk.csv), which has every deployment and what it was seen to do; never by hand.

{len(answers)} demands: five rates, three workloads, three databases (nothing stated; 60 connections; 16 cores and 200
connections). For each, this tool's answer, and what each formula deploys, simulated in the three situations by the same
rules and with the same random numbers. The objectives are the defaults; reporting-mix may have a p99 of 1 s for fast units
and 30 s for slow ones over an update or a loss. `ojp-size --explain` does the same for yours.

## The formulas

{FORMULAS}

## What they do

Over the {len(told)} demands for which this tool has an answer:

{by_formula}

* *Met* is a verdict by the rules of this tool's own answers, whether by the model alone or not: 29 and more of each
  disruption. Only what a few runs (8 to 22) don't turn away gets one.
* *Undecided*: about as many updates or losses broke a limit as may.
* *Limit broken* (it under-provisions): turned away by the first looks or by a run that broke a limit, or not met.
  A broken run doesn't show that more than the allowed tenth of them break.
* *With the known error only*: by the model alone that run is within its limits. It breaks one when its p99 is raised by
  the error that real servers have shown the model to have in such a situation ([validation.md](validation.md)), as this
  tool's answers are.
* *Dearer* (it over-pays) is more than {AS_CHEAP - 1:.0%} above the answer's cost, *cheaper* more than that below it
  (core equivalents, with memory and connections).

Two things speak for the formulas. Pools are built before clients reach a pod that comes back, wherever the answer has
that: none of the formulas knows that it is needed. And the database is as large as the answer asks, where nothing is
stated.

## Demand by demand

{by_demand}
"""


def _database(row: Row) -> str:
    cores = f"{row.database_cores:g} cores" if row.database_cores < inf else ""
    connections = f"{row.max_connections:g} connections" if row.max_connections < inf else ""
    return ", ".join(filter(None, (cores, connections))) or "not stated"


FORMULAS = """| formula | what it says | source |
| --- | --- | --- |
| OJP's book, chapter 22 | `ceil(QPS / 8000) * 1.5` servers; `max(4, ceil(QPS / 1500))` cores each; 1.2 times the connections in use, 20 to 200 a server, at most 80 % of `max_connections` | OJP's e-book; no measurement behind it |
| cores * 2 + spindles | the pool, by the database's cores and one spindle | PostgreSQL's wiki, HikariCP's *About Pool Sizing* |
| Little, and 20 % | connections and cores that are busy in the mean, times 1.2 | Little 1961 |
| chart's table | Development 0.5 cores, 512Mi; Testing 1, 1Gi; Production 2, 2Gi; High Load 4, 4Gi | OJP's e-book, chapter 3a |
| p95 of a day's use, and 15 % | CPU limit at the 95th percentile of what a pod of the Production row uses over a day, simulated hour by hour; the day is assumed (10 % of the peak at midnight, all of it at 10:00) where the workload has no profile | the defaults of Kubernetes' vertical autoscaler; its request would be the p90 |

QPS are statements per second. What a formula doesn't say is what people have who follow it: the chart's three replicas, its
Production row, OJP's default pool (20), segregation and threads. Limits below 0.25 cores are raised to that: smaller ones were
never measured."""  # noqa: E501 - rows of a table


def main() -> int:
    """Go on with the table, then write the page."""
    rows = [] if "--afresh" in sys.argv else read_rows(TABLE)
    for question in questions():
        if any(row.demand == demand_of(question) for row in rows):
            continue
        rows += rows_of(question)
        write_rows(TABLE, rows)
        print(*demand_of(question), rows[-1].finding, flush=True)
    PAGE.write_text(page(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
