"""Ended by whatever and whenever: no process is left, and the files are the old ones or the new ones, whole."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from numpy.random import default_rng

from ojp_sizing import InputError
from ojp_sizing.emit.writing import check_target, write_files

OJP_SIZE = [sys.executable, "-m", "ojp_sizing"]
MARK = "OJP_SIZING_TEST_RUN"
#: For what ends by itself, on a busy machine; it takes a second or two.
PATIENCE_S = 120


def alive(mark: str) -> list[psutil.Process]:
    """Every process that has this mark in its environment, whoever its parent is."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_nothing_lives(mark: str) -> None:
    began = time.monotonic()
    while left := alive(mark):
        assert time.monotonic() - began < PATIENCE_S, [process.cmdline() for process in left]
        time.sleep(0.05)


@contextmanager
def started(command: list[str], cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command in a session of its own, and the mark of all processes that come of it."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process, mark
    finally:
        for left in alive(mark):
            left.kill()
        process.communicate()


def await_handlers(process: subprocess.Popen[str]) -> None:
    """Until the system knows that the process handles SIGTERM itself, which is its first act."""
    bit = 1 << (signal.SIGTERM - 1)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        if int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16) & bit:
            return
        time.sleep(0.002)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory by its name from there."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


#: So little to do that SimPy's clock has done it within seconds.
WORKLOAD = """
name: one
statements: [{name: read, sql: select 1, kind: read, database_time: 1ms}]
units: [{name: one, statements: [read]}]
"""
LITTLE = (
    "--peak-rps",
    "5",
    "--workload",
    "w.yaml",
    "--max-replicas",
    "3",
    "--failed",
    "20%",
    "--disruption-failed",
    "20%",
)
#: Each kind of worker.
RUNS = {
    "threads": ("--engine", "compiled", "--workers", "2"),
    "alone": ("--engine", "compiled", "--workers", "1"),
    "processes": ("--engine", "simpy", "--workers", "2"),
}
TURNS = 3


class Ask:
    """One question, the files that were there before, those of its answer, and how long that takes."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.cwd, self.run = directory, [*OJP_SIZE, *LITTLE, *RUNS[kind], "--output", "out", "--force"]
        (directory / "w.yaml").write_text(WORKLOAD)
        subprocess.run([*self.run, "--release", "older"], cwd=directory, check=True, capture_output=True, timeout=300)
        self.old = contents(directory / "out")
        began = time.monotonic()
        subprocess.run([*self.run, "--output", "new"], cwd=directory, check=True, capture_output=True, timeout=300)
        self.takes_s = time.monotonic() - began
        self.new = contents(directory / "new")
        assert set(self.old) == set(self.new) and self.old != self.new

    def prepare(self) -> None:
        write_files(self.cwd / "out", {name: text.decode() for name, text in self.old.items()}, force=True)

    def assert_whole(self) -> bool:
        """Whether these are the new files; or the old ones."""
        now = contents(self.cwd / "out")
        assert now in (self.old, self.new)
        assert {path.name for path in self.cwd.iterdir()} == {"out", "new", "w.yaml"}
        return now == self.new


@pytest.fixture(scope="module", params=list(RUNS))
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    return Ask(tmp_path_factory.mktemp("ask"), request.param)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_at_any_instant_is_one_line_its_exit_code_and_nothing_left(ask: Ask, name: str) -> None:
    number = signal.Signals[name]
    chance = default_rng(number)
    words = "interrupted" if name == "SIGINT" else f"ended by {name}"
    for turn in range(TURNS):
        ask.prepare()
        with started(ask.run, ask.cwd) as (process, mark):
            await_handlers(process)
            time.sleep(chance.uniform(0.0, 1.1 * ask.takes_s))
            # Ctrl-C and a closed terminal are told to the group, kill to the process.
            (os.kill if turn % 2 else os.killpg)(process.pid, number)
            printed, errors = process.communicate(timeout=PATIENCE_S)
            assert_nothing_lives(mark)
        if process.returncode == 0:
            assert ask.assert_whole()
            assert printed.startswith("MET")
            continue
        assert process.returncode == 128 + number, errors
        is_new = ask.assert_whole()
        assert errors == f"ojp-size: {words}; {'the files were written' if is_new else 'no file was written'}\n"
        assert is_new or printed == "" or printed.startswith("INTERRUPTED")


def test_killed_at_any_instant_nothing_lives_on(ask: Ask) -> None:
    chance = default_rng(9)
    for _ in range(TURNS):
        ask.prepare()
        with started(ask.run, ask.cwd) as (process, mark):
            time.sleep(chance.uniform(0.0, 1.1 * ask.takes_s))
            process.kill()
            # Pipes are open as long as any worker lives.
            process.communicate(timeout=PATIENCE_S)
            assert_nothing_lives(mark)
        check_target(ask.cwd / "out")
        ask.assert_whole()


#: A program of a user's, without any handler.
PROGRAM = """
from ojp_sizing import Execution, Question, size
print("begins", flush=True)
size(Question("web-oltp", 2000.0), Execution(engine="simpy", workers=2))
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("processes", [1, 4])
def test_a_program_that_is_killed_while_it_sizes_leaves_no_worker(name: str, processes: int, tmp_path: Path) -> None:
    """As the workers start, or when they all work."""
    with started([sys.executable, "-c", PROGRAM], tmp_path) as (process, mark):
        while len(alive(mark)) < processes:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.Signals[name])
        process.communicate(timeout=PATIENCE_S)
        assert_nothing_lives(mark)


#: Kills itself at the n-th step that Python takes in the file system; one process for each n, until one gets through.
KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
from ojp_sizing.emit.writing import check_target, write_files

out, old, new = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
STEPS = ("open", "os.", "shutil.", "tempfile.", "fcntl.")
told, n, status = [], 0, -1
while status != 0:
    n += 1
    if old:
        write_files(out, old, True)
        (out / "mine.txt").write_text("mine")
    process = os.fork()
    if not process:
        left = n

        def step(event, _):
            global left
            if event.startswith(STEPS):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(step)
        write_files(out, new, True)
        os._exit(0)
    status = os.waitpid(process, 0)[1]

    def seen():
        found = {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()}
        return {name: text for name, text in found.items() if not name.startswith(".")}

    before = seen()
    check_target(out)
    told.append([before, seen(), sorted(path.name for path in out.iterdir()) if out.exists() else []])
    if out.exists():
        shutil.rmtree(out)
    if old:
        out.mkdir()
    assert sorted(path.name for path in out.parent.iterdir()) == (["out"] if old else []), os.listdir(out.parent)
print(json.dumps(told))
"""
OLD = {"a.yaml": "a: 1\n", "b.yaml": "b: 1\n", "same.txt": "same\n"}
NEW = {"a.yaml": "a: 2\n", "b.yaml": "b: 2\n", "c.yaml": "c: 2\n", "same.txt": "same\n", "sub/d.yaml": "d: 2\n"}


@pytest.mark.parametrize("old", [{}, OLD])
def test_killed_at_any_step_of_writing_the_next_run_finds_the_old_files_or_the_new(
    old: dict[str, str], tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "out"), json.dumps(old), json.dumps(NEW)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    mine = {"mine.txt": "mine"} if old else {}
    wholes = [old | mine, NEW | mine]
    assert len(told) > 10
    torn = 0
    for before, after, names in told:
        assert after in wholes
        assert names == sorted({name.partition("/")[0] for name in after})
        # Each file is whole at any time; the set may be torn until then.
        assert all(text in (old.get(name), NEW.get(name), mine.get(name)) for name, text in before.items())
        torn += before not in wholes
    assert told[0][1] == wholes[0] and told[-1][1] == wholes[1]
    # A directory that is new comes with all of its files.
    assert (torn > 0) == bool(old)


def test_what_was_edited_after_a_run_was_killed_stays(tmp_path: Path) -> None:
    write_files(tmp_path, OLD, force=False)
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom ojp_sizing.emit.writing import write_files\n"
        "def kill(event, arguments):\n"
        "    if event == 'os.rename' and str(arguments[1]).endswith('b.yaml'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(kill)\n"
        f"write_files(Path({str(tmp_path)!r}), {NEW!r}, True)"
    )
    result = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert result.returncode == -signal.SIGKILL
    assert (tmp_path / "a.yaml").read_text() == NEW["a.yaml"]
    assert (tmp_path / "b.yaml").read_text() == OLD["b.yaml"]
    time.sleep(0.05)
    (tmp_path / "a.yaml").write_text("edited")
    with pytest.raises(InputError, match=r"other contents in a\.yaml"):
        write_files(tmp_path, OLD, force=False)
    assert contents(tmp_path) == {
        "a.yaml": b"edited", "b.yaml": OLD["b.yaml"].encode(), "same.txt": OLD["same.txt"].encode()
    }  # fmt: skip


#: Writes its own set again and again.
WRITER = """
import sys, time
from pathlib import Path
from ojp_sizing.emit.writing import write_files
for turn in range(25):
    write_files(Path(sys.argv[1]), {f"{name}.txt": f"{sys.argv[2]} {turn % 2}" for name in "abcd"}, True)
    time.sleep(0.02)
"""


def test_runs_that_write_into_one_directory_take_turns(tmp_path: Path) -> None:
    out = tmp_path / "x" / "out"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(out), name]) for name in "AB"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert set(contents(out)) == {"a.txt", "b.txt", "c.txt", "d.txt"}
    assert len(set(contents(out).values())) == 1


def test_a_run_that_holds_the_directory_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    held = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        result = subprocess.run(
            [*OJP_SIZE, "--peak-rps", "10", "--output", "out"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(held)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("ojp-size: --output: another run writes into ")
