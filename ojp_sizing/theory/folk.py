"""The formulas that people size with today, each with its source: what they say of a demand, before anybody has looked.

Pure numbers; ``sizing/folk.py`` makes deployments of them and simulates these. ``queries``: statements per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

MIB = 2**20


def book_replicas(queries: float) -> int:
    """``ceil(peak QPS / 8000) * 1.5``, rounded up: OJP's e-book, chapter 22, for a mixed load (reference 10.1, PREDICTED)."""
    return ceil(ceil(queries / 8000) * 1.5)


def book_cores(queries: float, replicas: int) -> int:
    """Cores of each server, ``max(4, ceil(QPS / 1500))`` of its share: the same chapter (reference 10.1, PREDICTED)."""
    return max(4, ceil(queries / replicas / 1500))


def book_pool(concurrent: float, replicas: int, max_connections: float) -> int:
    """The pool for the whole cluster, of the same chapter (reference 10.1, PREDICTED).

    Each server has 1.2 times its share of the ``concurrent`` users of connections, from 20 to 200; all together at most 0.8
    of the database's ``max_connections`` (inf: not stated), but one for each server at least.
    """
    each = min(200, max(20, ceil(1.2 * concurrent / replicas)))
    return max(replicas, int(min(each * replicas, 0.8 * max_connections)))


def spindles_pool(database_cores: float, spindles: int = 1) -> int:
    """``cores * 2 + spindles``: PostgreSQL's wiki (Number Of Database Connections), and HikariCP's (About Pool Sizing)."""
    return ceil(database_cores * 2 + spindles)


def little(rate: float, seconds: float, margin: float = 0.2) -> float:
    """``rate * seconds`` with 20 % on top: how many are busy in the mean (Little 1961), and the usual margin."""
    return rate * seconds * (1.0 + margin)


@dataclass(frozen=True, slots=True)
class Environment:
    """A row of the chart's guidelines: limits of a pod."""

    name: str
    limit_cores: float
    limit_bytes: int


#: OJP's e-book, chapter 3a, "Resource Sizing Guidelines"; the chart has three replicas (reference 7.2) whatever the demand.
ENVIRONMENTS = (
    Environment("Development", 0.5, 512 * MIB),
    Environment("Testing", 1.0, 1024 * MIB),
    Environment("Production", 2.0, 2048 * MIB),
    Environment("High Load", 4.0, 4096 * MIB),
)
CHART_REPLICAS = 3
#: What a formula that speaks of pools alone leaves to the chart.
PRODUCTION = ENVIRONMENTS[2]

#: A working day, for demands that have no profile of their own: part of the peak by hour, from midnight on (project assumption).
WORKING_DAY = (
    *(0.10, 0.08, 0.06, 0.06, 0.08, 0.12, 0.25, 0.45, 0.75, 0.95, 1.00, 0.95),
    *(0.80, 0.85, 0.95, 0.95, 0.85, 0.70, 0.55, 0.45, 0.40, 0.30, 0.20, 0.15),
)
#: Kubernetes' vertical autoscaler asks for the 90th percentile of use and gives the 95th as upper bound, with 15 % on top (its
#: recommender's flags ``target-cpu-percentile`` and ``recommendation-margin-fraction``, defaults); the bound is the limit here.
LIMIT_PERCENTILE, USAGE_MARGIN = 95, 0.15


def usage_percentile(used: Sequence[float], percentile: int) -> float:
    """That percentile of ``used``, equal times of a day each, with the autoscaler's margin: the least value up to which so
    many of them lie."""
    ordered = sorted(used)
    return ordered[ceil(percentile / 100 * len(ordered)) - 1] * (1.0 + USAGE_MARGIN)
