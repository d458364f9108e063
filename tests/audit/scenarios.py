"""The scenarios of data/audit/scenarios.csv, read by the command line's own flags, and the tables of what was found."""

import csv
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from ojp_sizing import cli
from ojp_sizing.cli import size
from ojp_sizing.sizing.question import Execution, Question

ROOT = Path(__file__).parents[2]
SCENARIOS, RESULTS, SEEDS = (ROOT / "data" / "audit" / f"{name}.csv" for name in ("scenarios", "results", "seeds"))
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scenario:
    """``flags``: as they would follow ``ojp-size``."""

    name: str
    flags: str
    written: str

    @property
    def question(self) -> Question:
        asked: list[Question] = []

        def take(options: dict[str, Any], question: Question, execution: Execution, report: Path | None) -> int:
            asked.append(question)
            return 0

        with patch.object(size, "_size", take), suppress(SystemExit):
            cli.command.main(self.flags.split(), standalone_mode=False)
        return asked[0]


@dataclass(frozen=True, slots=True)
class Audited:
    """One scenario: the answer and the cheapest of the grid that the same evidence shows to do ("" where none is cheaper).

    ``grid``: deployments that cost less than the answer; ``explored`` of them were simulated, ``judged`` got a verdict.
    """

    scenario: str
    precision: str
    verdict: str
    answer: str
    cost: float
    cheapest: str
    cheapest_cost: float
    ratio: float
    grid: int
    explored: int
    judged: int
    date: str
    commit: str


@dataclass(frozen=True, slots=True)
class Seeded:
    """The answer of one scenario with one seed."""

    scenario: str
    seed: int
    verdict: str
    answer: str
    cost: float
    tried: int
    date: str
    commit: str


def read_scenarios() -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in _read(SCENARIOS, Scenario)}


def read_results() -> list[Audited]:
    return _read(RESULTS, Audited)


def read_seeds() -> list[Seeded]:
    return _read(SEEDS, Seeded)


def keep(path: Path, rows: list[Any]) -> None:
    """Write a table, in the order of the scenarios."""
    order = list(read_scenarios())
    rows = sorted(
        rows,
        key=lambda row: (order.index(row.scenario), getattr(row, "seed", 0), getattr(row, "precision", "") == "high"),
    )
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _text(value) for name, value in asdict(row).items()} for row in rows)


def _text(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def _read(path: Path, kind: type[T]) -> list[T]:
    if not path.exists():
        return []
    types = {"float": float, "int": int, "str": str, float: float, int: int, str: str}
    with path.open(encoding="utf-8", newline="") as file:
        return [
            kind(**{field.name: types[field.type](row[field.name]) for field in fields(kind)})  # type: ignore[arg-type, index]
            for row in csv.DictReader(file)
        ]


def stamp() -> dict[str, str]:
    """The date and the commit that figures are of."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit.stdout.strip()}
