"""Inputs by seed and number, each from a generator of its own: any one can be run again alone."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import chdir
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from numpy.random import default_rng

from .record import ROOT, Record
from .targets import PROCESS_EACH, PROCESSES, TARGETS, Fault, real_process

#: An input that takes longer hangs.
MOST_S = 60


def _too_long(_: int, __: FrameType | None) -> None:
    raise Fault(f"takes longer than {MOST_S} s")


def run_one(seed: int, number: int, directory: Path) -> tuple[str, str]:
    """``(target, ending)`` of one input. Raises Fault, or whatever else the tool raises."""
    rng = default_rng([seed, number])
    if number % PROCESS_EACH == PROCESS_EACH - 1:
        return PROCESSES, real_process(rng, directory)
    names, shares = list(TARGETS), [share for share, _ in TARGETS.values()]
    name = names[int(rng.choice(len(names), p=shares))]
    with chdir(directory):
        return name, TARGETS[name][1](rng, directory)


def run_some(seed: int, numbers: range) -> Record:
    """These inputs in this process."""
    counts: Counter[tuple[str, str]] = Counter()
    faults: dict[str, str] = {}
    before = signal.signal(signal.SIGALRM, _too_long)
    try:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
            for number in numbers:
                signal.alarm(MOST_S if number % PROCESS_EACH != PROCESS_EACH - 1 else 0)
                try:
                    counts[run_one(seed, number, Path(directory))] += 1
                except Exception as error:  # every other ending is a fault, and is kept
                    faults[str(number)] = f"{type(error).__name__}: {error}"[:500]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return together(seed, [Record(seed, len(numbers), endings=_nested(counts), faults=faults)])


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    names = dict.fromkeys(name for name, _ in counts)
    return {name: {ending: count for (of, ending), count in sorted(counts.items()) if of == name} for name in names}


def together(seed: int, records: list[Record]) -> Record:
    """Several parts as one record, with the date and the versions that ran them."""
    counts: Counter[tuple[str, str]] = Counter()
    faults: dict[str, str] = {}
    for record in records:
        faults |= record.faults
        for name, endings in record.endings.items():
            for ending, count in endings.items():
                counts[name, ending] += count
    versions = {name: version(name) for name in ("numpy", "pandas", "pydantic", "ruamel.yaml", "click")}
    return Record(
        seed, sum(record.inputs for record in records), datetime.now(UTC).date().isoformat(),
        {"python": platform.python_version(), **versions}, _nested(counts), faults,
    )  # fmt: skip


def run_apart(seed: int, numbers: range) -> Record:
    """These inputs in a process of their own: one that aborts takes none of the others along."""
    script = f"from tests.fuzz.running import run_some; print(run_some({seed}, {numbers!r}).text())"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return Record(**json.loads(result.stdout))
    if len(numbers) == 1:
        ending = f"the process ended with {result.returncode}: {result.stderr[-300:]}"
        return Record(seed, 1, faults={str(numbers[0]): ending})
    half = len(numbers) // 2
    return together(seed, [run_apart(seed, numbers[:half]), run_apart(seed, numbers[half:])])
