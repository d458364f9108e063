"""Processes of an experiment: each in a group of its own, with a time limit, ended by its id; and what /proc tells."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from ojp_sizing.errors import InputError

LOOPBACK = "127.0.0.1"


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    stdin: int | None = subprocess.DEVNULL,
    output: int | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[str]]:
    """Run a program beside us; it is ended with its whole group when the block is left, or when we die."""
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            # The kernel ends it if this process dies without a chance to.
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=stdin, stdout=output or file, stderr=file, text=True, start_new_session=True, cwd=log.parent,
        )  # fmt: skip
        try:
            yield process
        finally:
            end(process, stop)


def end(process: subprocess.Popen[str], stop: signal.Signals = signal.SIGTERM, grace_s: float = 5.0) -> None:
    """The signal that asks it to stop, and SIGKILL for what is left of the group."""
    send(process, signal.SIGCONT)
    send(process, stop)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    send(process, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        close_quietly(pipe)


def send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """A signal to the process's group; nothing if it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def close_quietly(pipe: IO[str] | None) -> None:
    """Close a pipe whose other end may be gone."""
    with suppress(BrokenPipeError):
        if pipe is not None:
            pipe.close()


def need_free(port: int) -> None:
    """Refuse to start on a port that somebody uses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise InputError(f"port {port}", "somebody listens there", "stop that, or give another --port") from None


def wait_for_port(port: int, process: subprocess.Popen[str], limit_s: float) -> float:
    """Seconds until something listens; TimeoutError after ``limit_s`` or where the process ended."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return time.monotonic() - began
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on port {port} after {limit_s:g} s, or the process ended")


def cpu_s(pid: int, *, ended_children: bool = False) -> float:
    """User and system time that a process has used, and its ended children where asked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / os.sysconf("SC_CLK_TCK")


def threads_cpu_s(pid: int) -> dict[int, tuple[str, float]]:
    """By the id of each thread that runs: its name (15 characters), and the time that it has used, to the ns."""
    found: dict[int, tuple[str, float]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
            used_ns = int((task / "schedstat").read_text().split()[0])
            found[int(task.name)] = ((task / "comm").read_text().rstrip("\n"), used_ns / 1e9)
    return found


def busy_s() -> float:
    """Time that all the machine's cores have worked, whoever for."""
    user, nice, system, _, _, interrupts, soft, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def private_bytes(pid: int) -> int:
    """Memory that only this process has mapped."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def interrupts_unwind() -> None:
    """Let SIGTERM and SIGHUP end a run like ctrl-c does: every block is left, nothing is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
