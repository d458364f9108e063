"""Odd input for every door of the tool, by seed:

    python -m tests.fuzz --inputs 100000 --seed 1 --record
    python -m tests.fuzz --seed 1 --only 4711

``--record`` writes tests/fuzz/record.json, which docs/verification.md quotes.
Exit 1 where an input ends in anything but an answer or one line that refuses it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .record import RECORD
from .running import run_apart, run_one, together

#: Inputs of one process.
PART = 2000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--only", type=int, default=None, help="this input alone, with its traceback")
    options = parser.parse_args()
    if options.only is not None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
            print(*run_one(options.seed, options.only, Path(directory)), sep=": ")  # noqa: T201
        return 0
    parts = [range(begin, min(begin + PART, options.inputs)) for begin in range(0, options.inputs, PART)]
    with ThreadPoolExecutor(options.workers) as pool:
        done = []
        for part in pool.map(lambda numbers: run_apart(options.seed, numbers), parts):
            done.append(part)
            for number, fault in part.faults.items():
                print(f"input {number}: {fault}", flush=True)  # noqa: T201
    record = together(options.seed, done)
    print(record.text())  # noqa: T201
    if options.record:
        RECORD.write_text(record.text(), encoding="utf-8")
    return 1 if record.faults else 0


if __name__ == "__main__":
    sys.exit(main())
