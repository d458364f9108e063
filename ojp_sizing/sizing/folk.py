"""What the formulas in use today would deploy for a question, simulated as the answer's own candidates are.

A formula says one thing or two. The rest is what people have who follow it: three replicas and the Production row of the
chart's guidelines, OJP's default pool and settings, and segregation on. The database is that of the answer, and whoever
builds pools before clients reach a pod does so for these, too: what is compared is the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil, inf

import numpy as np

from ojp_sizing.demand.arrivals import DailyProfile, Poisson
from ojp_sizing.deployment.deployment import ClientPool, Deployment
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.sizing.evaluate import Task, run_task
from ojp_sizing.sizing.evidence import Bench, Evaluation, Rejection, explore, verdicts
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.screen import database_of, pod_cpu_cores
from ojp_sizing.sizing.space import LIMITS_CORES
from ojp_sizing.theory.folk import (
    CHART_REPLICAS,
    ENVIRONMENTS,
    LIMIT_PERCENTILE,
    PRODUCTION,
    WORKING_DAY,
    book_cores,
    book_pool,
    book_replicas,
    little,
    spindles_pool,
    usage_percentile,
)

HOUR_S = 3600.0


@dataclass(slots=True)
class Day:
    """A day's use of CPU by one pod of what runs today, simulated hour by hour."""

    used_cores: list[float] = field(default_factory=list)


def starting_point(question: Question, warm_pools: bool) -> Deployment:
    """What people have who follow no formula: the chart's three replicas of its Production row, and OJP's defaults."""
    return Deployment(
        replicas=CHART_REPLICAS,
        limit_cores=PRODUCTION.limit_cores,
        database=database_of(question),
        version=question.version,
        constants=question.known,
        warm_pools=warm_pools,
    )


def formulas(question: Question, warm_pools: bool, day: Day) -> Iterator[tuple[str, Deployment]]:
    """Each formula's name, and what it deploys for this demand."""
    start, load, rate = starting_point(question, warm_pools), question.load, question.rate

    def pooled(size: int) -> ClientPool:
        return replace(start.pool, maximum_size=size, minimum_idle=min(start.pool.minimum_idle, size))

    queries, busy = rate * load.statements, rate * load.hold_s
    replicas = book_replicas(queries)
    pool = pooled(book_pool(busy, replicas, question.database.max_connections))
    yield (
        "OJP's book, chapter 22",
        replace(start, replicas=replicas, limit_cores=float(book_cores(queries, replicas)), pool=pool),
    )
    yield "cores * 2 + spindles", replace(start, pool=pooled(spindles_pool(start.database.cores)))
    yield (
        "Little, and 20 %",
        replace(
            start,
            limit_cores=_limit(little(1.0, pod_cpu_cores(question, start.replicas))),
            pool=pooled(max(start.replicas, ceil(little(rate, load.hold_s)))),
        ),
    )
    for row in ENVIRONMENTS:
        chart = replace(start, limit_cores=row.limit_cores, memory_limit_bytes=row.limit_bytes)
        yield f"chart's table: {row.name}", chart
    yield (
        f"p{LIMIT_PERCENTILE} of a day's use, and 15 %",
        replace(start, limit_cores=_limit(usage_percentile(day.used_cores, LIMIT_PERCENTILE))),
    )


def _limit(cores: float) -> float:
    """A limit in whole millicores, at least the least that is tried for an answer: smaller ones were never measured."""
    return max(LIMITS_CORES[0], ceil(cores * 1000 - 1e-6) / 1000)


def tried_out(bench: Bench, deployment: Deployment) -> Evaluation | Rejection:
    """A few runs of a formula's deployment, and a verdict by fresh ones where these break no limit."""
    outcome = explore(bench, deployment)
    if isinstance(outcome, Evaluation):
        *_, outcome = verdicts(bench, deployment)
    return outcome


def simulated_day(bench: Bench, warm_pools: bool) -> Day:
    """How much CPU a pod of the starting point uses in each hour of the workload's day, or of an assumed working day.

    Each hour is a run of steady load at the rate of its begin; hours of the same rate share one.
    """
    question = bench.question
    arrivals = question.workload.arrivals
    factors: list[float] = list(WORKING_DAY)
    if isinstance(arrivals, DailyProfile):
        factors = [float(factor) for factor in arrivals.factor(HOUR_S * np.arange(24.0))]
    workload = replace(question.workload, arrivals=Poisson())
    deployment = starting_point(question, warm_pools)
    distinct = sorted({factor for factor in factors if factor > 0})
    tasks = [
        Task(
            workload, question.rate * factor, deployment, Situation.STEADY, question.objectives, bench.execution.seed, 0,
            bench.execution.engine,
        )
        for factor in distinct
    ]  # fmt: skip
    day, used = Day(), {0.0: 0.0}
    for factor, run in zip(distinct, bench.pool.map(run_task, tasks), strict=True):
        bench.progress("a day's use")
        used[factor] = run.values.get("cpu_cores", inf)
        bench.meter.units += run.units
    day.used_cores = [used[factor] for factor in factors]
    return day
