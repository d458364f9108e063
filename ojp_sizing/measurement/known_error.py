"""How far the model was from a real server, by load, and where nobody has looked.

``data/bands.csv`` is written by ``python -m tests.real_server report`` from the recorded measurements, and never by hand. An
error that is known there belongs to the verdict: the upper end of an interval is widened by it before it is held against a limit.
``data/measured_range.csv`` says at what the servers were measured.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan

from ojp_sizing.data_files import data_path
from ojp_sizing.deployment.deployment import DEFAULT_VERSION
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import Estimate

#: Situations of the tables: nothing goes wrong; servers end and come back under load, by themselves or with warm pools.
STEADY, RESTARTS, WARM_RESTARTS = "steady peak", "restarts", "restarts, warm pools"
#: What is compared; of each the table has the error in the middle and the largest.
FIGURES = ("throughput", "p50", "p95", "p99")
#: On real servers updates of divided pools with many client JVMs didn't end well (docs/validation.md), which the model shows in
#: some runs only: from so many JVMs on (8 did well; 16 on a busy machine and 32 on a quiet one didn't), where so much of the
#: busiest resource is in use (half was tried).
COLLAPSE_JVMS, COLLAPSE_USE = 9, 0.3
#: What can be an answer's bottleneck: measure of the steady run, shown name.
RESOURCES = {
    "connections_use": "connections",
    "threads_use": "executor threads",
    "fast_slots_use": "fast slots",
    "slow_slots_use": "slow slots",
    "cpu_use": "CPU limit",
}


@dataclass(frozen=True, slots=True)
class Use:
    """The busiest resource of a deployment at steady peak, and which share of it is in use, to whole percents."""

    resource: str
    share: float


def busiest(measures: Mapping[str, Estimate], segregation: bool) -> Use | None:
    """What runs out first, by the measures of steady peak; None where they have none of it."""
    known = {
        name: measures[measure].value
        for measure, name in RESOURCES.items()
        if measure in measures and (segregation or "_slots_" not in measure) and not isnan(measures[measure].value)
    }
    if not known:
        return None
    name = max(known, key=known.__getitem__)
    return Use(name, round(known[name], 2))


@dataclass(frozen=True, slots=True)
class Error:
    """Of several runs the middle error by size and the largest, relative to what was measured: below 0 the model is too low."""

    middle: float
    worst: float


@dataclass(frozen=True, slots=True)
class Band:
    """A row: the runs whose load lies in [``load_from``, ``load_to``], a share of what their bottleneck (``resource``) carries.

    Such a load counts the time in the database and in the application alone; what OJP itself adds makes the real use a
    little higher. ``status`` is the reference's word; ``measured_on`` days as in ISO 8601.
    """

    situation: str
    resource: str
    load_from: float
    load_to: float
    runs: int
    experiments: tuple[str, ...]
    errors: Mapping[str, Error]
    server: str
    measured_on: str
    status: str

    @property
    def load(self) -> str:
        """The load in words."""
        ends = dict.fromkeys((f"{100 * self.load_from:.0f}", f"{100 * self.load_to:.0f}"))
        return " to ".join(ends) + " %"

    def distance(self, use: float) -> float:
        """How far a use lies from the measured loads; 0 inside."""
        return max(self.load_from - use, use - self.load_to, 0.0)


@cache
def bands() -> tuple[Band, ...]:
    """Every row, in the table's order."""
    with data_path("bands.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_band(row) for row in csv.DictReader(file))


def _band(row: Mapping[str, str]) -> Band:
    return Band(
        situation=row["situation"],
        resource=row["resource"],
        load_from=float(row["load_from"]),
        load_to=float(row["load_to"]),
        runs=int(row["runs"]),
        experiments=tuple(row["experiments"].split()),
        errors={of: Error(float(row[f"{of}_middle"]), float(row[f"{of}_worst"])) for of in FIGURES},
        server=row["server"],
        measured_on=row["measured_on"],
        status=row["status"],
    )


def of_version(situation: str, version: str) -> tuple[Band, ...]:
    """The rows of a situation that were measured on this version; those of the default version where none were."""
    rows = tuple(band for band in bands() if band.situation == situation)
    own, known = (tuple(band for band in rows if band.server == server) for server in (version, DEFAULT_VERSION))
    return own or known


def rows_for(situation: str, resource: str, version: str) -> tuple[tuple[Band, ...], bool]:
    """Of these rows those in which this resource was the bottleneck, and True; where it never was, all of them, and False."""
    rows = of_version(situation, version)
    alike = tuple(band for band in rows if band.resource == resource)
    return alike or rows, bool(alike)


def nearest(use: float, rows: Sequence[Band]) -> tuple[Band, str]:
    """The row that is nearest to a use, of two that are as near the one of higher load; and "above" or "below" where the use
    lies outside of all loads that were measured, else "".
    """
    least, most = min(row.load_from for row in rows), max(row.load_to for row in rows)
    # Loads and uses have two digits: a difference in the last bits of a float is none.
    band = min(rows, key=lambda row: (round(row.distance(use), 6), -row.load_from))
    return band, "above" if use > most else "below" if use < least else ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a real server was measured at: a row of ``data/measured_range.csv``, both ends included."""

    situation: str
    quantity: str
    least: float
    most: float
    words: str
    source: str
    server: str


@cache
def measured_ranges() -> tuple[Measured, ...]:
    """Every row, in the table's order."""
    with data_path("measured_range.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Measured(
                row["situation"],
                row["quantity"],
                float(row["least"]),
                float(row["most"]),
                row["words"],
                row["source"],
                row["server"],
            )
            for row in csv.DictReader(file)
        )


def row_of(situation: Situation, warm_pools: bool) -> str | None:
    """Under which name the tables know a situation; None where nobody has measured it."""
    if situation.measured_as == RESTARTS and warm_pools:
        return WARM_RESTARTS
    return situation.measured_as or None


def widening(situation: Situation, warm_pools: bool, use: Use, version: str) -> dict[str, float]:
    """By how much a measure may really be larger than the model says, by name: 1 or more; what is missing has no known error.

    That is the largest error at the measured load that is nearest to ``use``, of the same resource if it was ever the bottleneck,
    where the model was too low. What comes after a disruption is held against steady servers.
    """
    name = row_of(situation, warm_pools)
    if name is None:
        return {}
    found, steady = (_factors(nearest(use.share, rows_for(one, use.resource, version)[0])[0]) for one in (name, STEADY))
    after = {f"recovered_{measure}": factor for measure, factor in steady.items()}
    return found | (after if name != STEADY else {})


def _factors(band: Band) -> dict[str, float]:
    return {
        f"{side}_{of}_s": 1.0 / (1.0 + min(0.0, max(band.errors[of].worst, -0.99)))
        for of in ("p50", "p95", "p99")
        for side in ("fast", "slow")
    }


def unvalidated(
    situation: Situation, warm_pools: bool, quantities: Mapping[str, float], version: str
) -> tuple[str, ...]:
    """Where an answer leaves what real servers of its version were measured at, in words; empty where it doesn't."""
    name = row_of(situation, warm_pools)
    seen = {row.situation for row in measured_ranges() if row.server == version}
    found = [] if seen else [f"OJP {version}: no server of this version was measured"]
    if name is None:
        return (*found, f"{situation.words}: no real server was measured")
    if seen and name not in seen:
        found.append(f"OJP {version}: no server of this version was measured over {name}")
    for row in measured_ranges():
        value = quantities.get(row.quantity)
        is_asked = row.situation == name and row.server == (version if name in seen else DEFAULT_VERSION)
        if is_asked and value is not None and not row.least <= value <= row.most:
            here, ends = (
                _shown(row.quantity, number) for number in (value, row.most if value > row.most else row.least)
            )
            found.append(f"{row.words}: {here} here, measured {'up to' if value > row.most else 'from'} {ends}")
    return tuple(found)


def _shown(quantity: str, value: float) -> str:
    return f"{value:.0%}" if quantity == "load" else f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def is_disputed(divided: bool, client_jvms: int) -> bool:
    """Whether so many clients may disagree about a pod that a divided pool is emptied again and again."""
    return divided and client_jvms >= COLLAPSE_JVMS


def may_collapse(divided: bool, client_jvms: int, use: float) -> bool:
    """Whether real servers have collapsed over an update of such a kind, where the model goes on."""
    return is_disputed(divided, client_jvms) and use >= COLLAPSE_USE
