"""How far the model was from a real server, by load (``data/bands.csv``), and which of that concerns an answer.

The table is written by ``python -m tests.real_server report`` from the recorded measurements, and never by hand.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan

from ojp_sizing.data_files import data_path
from ojp_sizing.measurement.objectives import Situation
from ojp_sizing.sizing.evaluate import Evaluation

#: Situations of the table: nothing goes wrong; servers end and come back under load, by themselves or with warm pools.
STEADY, RESTARTS, WARM_RESTARTS = "steady peak", "restarts", "restarts, warm pools"
#: What is compared; of each the table has the error in the middle and the largest.
FIGURES = ("throughput", "p50", "p95", "p99")
#: What can be an answer's bottleneck: measure of the steady run, shown name.
RESOURCES = {
    "connections_use": "connections",
    "threads_use": "executor threads",
    "fast_slots_use": "fast slots",
    "slow_slots_use": "slow slots",
    "cpu_use": "CPU limit",
}
#: From here on the model is called too kind to restarts: so much too much throughput, or too little of p99.
KIND_THROUGHPUT, KIND_P99 = 0.02, -0.20


@dataclass(frozen=True, slots=True)
class Error:
    """Of several runs the middle error by size and the largest, relative to what was measured: below 0 the model is too low."""

    middle: float
    worst: float


@dataclass(frozen=True, slots=True)
class Band:
    """A row: the runs whose load lies in [``load_from``, ``load_to``], as a share of what their bottleneck can carry.

    Such a load counts the time in the database and in the application alone; what OJP itself adds makes the real use a
    little higher. ``status`` is the reference's word; ``measured_on`` days as in ISO 8601.
    """

    situation: str
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
        load_from=float(row["load_from"]),
        load_to=float(row["load_to"]),
        runs=int(row["runs"]),
        experiments=tuple(row["experiments"].split()),
        errors={of: Error(float(row[f"{of}_middle"]), float(row[f"{of}_worst"])) for of in FIGURES},
        server=row["server"],
        measured_on=row["measured_on"],
        status=row["status"],
    )


@dataclass(frozen=True, slots=True)
class Use:
    """The busiest resource of a deployment at steady peak, and which share of it is in use, to whole percents."""

    resource: str
    share: float


def busiest(evaluation: Evaluation | None) -> Use | None:
    """What a deployment would run out of first; None where it wasn't simulated at steady peak."""
    steady = evaluation.results.get(Situation.STEADY) if evaluation else None
    if evaluation is None or steady is None:
        return None
    segregation = evaluation.deployment.server.segregation
    uses = {
        name: steady.measures[measure].value
        for measure, name in RESOURCES.items()
        if measure in steady.measures and (segregation or "_slots_" not in measure)
    }
    known = {name: use for name, use in uses.items() if not isnan(use)}
    if not known:
        return None
    name = max(known, key=known.__getitem__)
    return Use(name, round(known[name], 2))


def steady_bands() -> tuple[Band, ...]:
    """The rows in which nothing goes wrong."""
    return tuple(band for band in bands() if band.situation == STEADY)


def nearest(use: float, rows: Sequence[Band]) -> tuple[Band, str]:
    """The row that is nearest to a use, of two that are as near the one of higher load; and "above" or "below" where the use
    lies outside of all loads that were measured, else "".
    """
    least, most = min(row.load_from for row in rows), max(row.load_to for row in rows)
    # Loads and uses have two digits: a difference in the last bits of a float is none.
    band = min(rows, key=lambda row: (round(row.distance(use), 6), -row.load_from))
    return band, "above" if use > most else "below" if use < least else ""


def against(evaluation: Evaluation | None) -> dict[str, str]:
    """What is known of the model's error where this answer is, and of its error in restarts: by situation, in words."""
    words = {STEADY: steady_words(busiest(evaluation), steady_bands())}
    return words | {band.situation: restart_words(band) for band in restart_bands(evaluation)}


def restart_bands(evaluation: Evaluation | None) -> tuple[Band, ...]:
    """The rows of restarts that concern a deployment, by its pools; all of them where there is none."""
    asked = {RESTARTS, WARM_RESTARTS}
    if evaluation is not None:
        asked = {WARM_RESTARTS if evaluation.deployment.warm_pools else RESTARTS}
    return tuple(band for band in bands() if band.situation in asked)


def steady_words(use: Use | None, rows: Sequence[Band]) -> str:
    """The errors at the measured load that is nearest to a use."""
    if use is None:
        loads = ", ".join(row.load for row in rows)
        return f"nothing was simulated at steady peak, so that no row can be picked; measured were loads of {loads}"
    band, outside = nearest(use.share, rows)
    here = f"busiest here: {use.resource}, {100 * use.share:.0f} % in use"
    here += "; no real server was measured at this use, the nearest is this:" if outside else ";"
    return f"{here} at {band.load} load {_errors(band, 'p99', 'throughput')}"


def restart_words(band: Band) -> str:
    """The errors in restarts; advice where the model is kinder than a real server."""
    text = f"where servers ended and came back at {band.load} load {_errors(band, 'throughput', 'p99')}"
    kind = band.errors["throughput"].worst > KIND_THROUGHPUT or band.errors["p99"].worst < KIND_P99
    return f"{text}; so this is a best case: update in a quiet hour" if kind else text


def _errors(band: Band, first: str, second: str) -> str:
    runs = "1 run" if band.runs == 1 else f"{band.runs} runs"
    origin = f"{runs}: {', '.join(band.experiments)}; OJP {band.server}, {band.measured_on}"
    errors = f"{first} was {_off(band, first)}, its {second} {_off(band, second)}"
    return f"the model's {errors} ({origin})"


def _off(band: Band, figure: str) -> str:
    """How far off in the middle of the runs and at worst."""
    middle, worst = (_size(error) for error in (band.errors[figure].middle, band.errors[figure].worst))
    if band.runs == 1:
        return middle
    return f"{middle} in the middle and {'' if middle == worst else worst + ' '}at worst"


def _size(error: float) -> str:
    if abs(error) < 0.005:
        return "right to 0.5 %"
    return f"{abs(100 * error):,.0f} % too {'low' if error < 0 else 'high'}"
