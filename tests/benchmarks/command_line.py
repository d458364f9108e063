"""``ojp-size`` as a process: its time over an empty Python's, its first words, the memory of its whole tree."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ojp_sizing.errors import EXIT_NOT_MET, EXIT_UNDECIDED

from .comparing import Row, ratio, take_turns

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """A run of a command: wall time to its first output and to its end (s), peak memory of the process tree (bytes)."""

    first_s: float
    wall_s: float
    peak_bytes: int


def _tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _tree(int(child))
    return found


def _tree_bytes(pid: int) -> int:
    total = 0
    for process in _tree(pid):
        total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE_BYTES
    return total


def watch(*command: str) -> Seen:
    """Run a command in an empty directory. Pages that its processes share are counted once for each."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        # A terminal, as a person has it: the first guess is for those.
        ours, theirs = pty.openpty()
        process = subprocess.Popen(command, cwd=directory, stdout=theirs, stderr=theirs)
        os.close(theirs)
        peak, first = [0], [0.0]

        def read() -> None:
            with suppress(OSError):  # the other end is closed
                while chunk := os.read(ours, 65536):
                    first[0] = first[0] or (time.perf_counter() - began if chunk.strip() else 0.0)

        reader = threading.Thread(target=read)
        reader.start()
        while process.poll() is None:
            # A process of the tree may end meanwhile.
            with suppress(FileNotFoundError, ProcessLookupError):
                peak[0] = max(peak[0], _tree_bytes(process.pid))
            time.sleep(SAMPLE_S)
        wall_s = time.perf_counter() - began
        reader.join()
        os.close(ours)
        if process.returncode not in (0, EXIT_NOT_MET, EXIT_UNDECIDED):
            raise subprocess.CalledProcessError(process.returncode, command)
    return Seen(first[0], wall_s, peak[0])


def size(*arguments: str) -> Seen:
    """``ojp-size`` with these arguments."""
    return watch(sys.executable, "-m", "ojp_sizing", *arguments)


def rows() -> Iterator[Row]:
    help_s, empty_s = take_turns(
        (lambda: size("--help"), lambda: watch(sys.executable, "-c", "pass")), 5, time.perf_counter
    )
    over = ratio(help_s, empty_s)
    yield Row("`ojp-size --help` over an empty Python", str(over), "0.25 s", f"{over.first_s:.2f} s")
    small = size("--peak-rps", "500")
    for rps, target in (("5000", "5 s, 400 MB, first words 0.5 s"), ("50000", "15 s")):
        seen = size("--peak-rps", rps)
        yield Row(
            f"`ojp-size --peak-rps {rps}` over 500",
            f"{seen.wall_s / small.wall_s:.1f}",
            target,
            f"{seen.wall_s:.1f} s, {seen.peak_bytes / 1e6:.0f} MB, first words after {seen.first_s:.2f} s",
        )
