"""The traps of OJP that a run can meet, in words: ``data/hazards.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from ojp_sizing.data_files import data_path
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.sizing.evidence import Evaluation, HazardMet


@dataclass(frozen=True, slots=True)
class HazardText:
    """One row of the table: what the trap is, its fix, and its source with the reference's status."""

    name: str
    title: str
    what: str
    fix: str
    source: str


@cache
def hazard_texts() -> Mapping[str, HazardText]:
    """Every trap by name, the gravest first."""
    with data_path("hazards.csv").open(encoding="utf-8", newline="") as file:
        return MappingProxyType({row["name"]: HazardText(**row) for row in csv.DictReader(file)})


def hazards_by_name(evaluation: Evaluation) -> list[tuple[HazardText, list[tuple[Situation, int, HazardMet]]]]:
    """What was met, the gravest first: in which situations, of how many runs each."""
    found = []
    for name, text in hazard_texts().items():
        met: Sequence[tuple[Situation, int, HazardMet]] = [
            (situation, result.replications, hazard)
            for situation, result in evaluation.results.items()
            for hazard in result.hazards
            if hazard.name == name
        ]
        if met:
            found.append((text, list(met)))
    return found
