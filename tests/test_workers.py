"""Who runs the replications makes no difference: one thread, threads, processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import psutil
import pytest

from ojp_sizing import InputError, Objectives, read_workload
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.simulation import clock
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.simulate import Engine
from ojp_sizing.sizing.evaluate import Task, run_task
from ojp_sizing.sizing.evidence import Bench, Evaluation, verdicts
from ojp_sizing.sizing.question import Execution, Question
from ojp_sizing.sizing.workers import Caller, Cores, R, Workers, workers_for

OJP_SIZE = [sys.executable, "-m", "ojp_sizing"]
WEB = read_workload("web-oltp")
SMALL = Deployment(2, 1.0, server=ServerSettings(thread_pool_size=50), pool=ClientPool(16, 4), database=Database(8.0))
#: Half of the disruptions may break something: few runs say so.
EASY = Objectives(recovery_s=45.0, risk=0.5)
Backend = Literal["threading", "loky"]
BACKENDS: tuple[Backend, ...] = ("threading", "loky")


def bench(rate: float, engine: Engine, pool: Workers) -> Bench:
    return Bench(Question(WEB, rate, objectives=EASY), Execution(engine=engine, looks=(2, 3)), pool)


def evaluated(engine: Engine, count: int, rate: float) -> Evaluation:
    with workers_for(engine, count) as pool:
        *_, evaluation = verdicts(bench(rate, engine, pool), SMALL)
    return evaluation


@pytest.mark.parametrize(("engine", "rate"), [("compiled", 40.0), ("simpy", 1.0)])
def test_1_2_and_8_workers_give_the_same_evaluation(engine: Engine, rate: float) -> None:
    alone = evaluated(engine, 1, rate)
    assert sum(result.replications for result in alone.results.values()) >= 2
    for count in (2, 8):
        assert repr(evaluated(engine, count, rate)) == repr(alone)


def test_a_search_has_the_same_answer_with_1_2_and_8_workers(tmp_path: Path) -> None:
    printed = [
        subprocess.run(
            [*OJP_SIZE, "--peak-rps", "120", "--json", "--workers", count, "--output", count],
            cwd=tmp_path, capture_output=True, timeout=300, check=True,
        ).stdout
        for count in ("1", "2", "8")
    ]  # fmt: skip
    assert b'"verdict": "met by the model"' in printed[0]
    assert printed[0] == printed[1] == printed[2]


def after(wait_s: float) -> tuple[float, int, int]:
    time.sleep(wait_s)
    return wait_s, os.getpid(), threading.get_ident()


def awaited(file: Path | None) -> Path | None:
    """At once, or when the file is there."""
    patience_s = 60.0
    while file and not file.exists():
        patience_s -= 0.05
        assert patience_s > 0
        time.sleep(0.05)
    return file


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_come_in_the_order_asked_and_as_soon_as_they_are_there(backend: Backend, tmp_path: Path) -> None:
    """The second waits for a file that is made when the first has come, the last for one when the third has."""
    files = (None, tmp_path / "first", None, tmp_path / "third")
    results = Cores(2, backend).map(awaited, files)
    assert next(results) is None
    (tmp_path / "first").touch()
    assert [next(results), next(results)] == [files[1], None]
    (tmp_path / "third").touch()
    assert list(results) == [files[3]]


def who(workers: Workers, tasks: Sequence[float]) -> set[tuple[int, int]]:
    return {(process, thread) for _, process, thread in workers.map(after, tasks)}


def test_one_worker_is_the_caller_more_are_threads_or_processes() -> None:
    here = (os.getpid(), threading.get_ident())
    with workers_for("compiled", 1) as alone, workers_for("compiled", 2) as threads:
        assert isinstance(alone, Caller)
        assert who(alone, [0.0] * 4) == {here}
        crew = who(threads, [0.2] * 4)
        assert len(crew) == 2
        assert {process for process, _ in crew} == {here[0]}
        assert here not in crew
    with workers_for("simpy", 2) as processes:
        assert here[0] not in {process for process, _ in who(processes, [0.2] * 4)}


def test_there_are_as_many_workers_as_cores_that_may_be_used() -> None:
    script = (
        "import os\nfrom ojp_sizing.sizing.workers import workers_for\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "with workers_for('simpy') as workers:\n    print(type(workers).__name__)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "Caller\n"


def refuse(number: int) -> int:
    if number == 1:
        raise InputError("here", "no", "yes")
    time.sleep(0.05)
    return number


@pytest.mark.parametrize("workers", [Caller(), Cores(2, "threading"), Cores(2, "loky")])
def test_a_users_error_comes_back_whole_and_the_next_work_is_done(workers: Workers) -> None:
    with pytest.raises(InputError) as caught:
        list(workers.map(refuse, range(6)))
    assert (caught.value.place, caught.value.problem, caught.value.fix) == ("here", "no", "yes")
    assert list(workers.map(refuse, (3, 2))) == [3, 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_work_that_nobody_waits_for_is_given_up_in_silence(backend: Backend) -> None:
    results = Cores(2, backend).map(after, (0.0, 30.0, 30.0))
    assert next(results)[0] == 0.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results.close()
    assert not caught


def is_audited(task: Task) -> bool:
    """Whether a run of this task, here, holds the laws against itself."""
    with patch.object(clock, "audit") as audit:
        run_task(task)
    return bool(audit.called)


def test_checking_the_laws_goes_along_to_other_processes() -> None:
    assert Clock.checked
    tasks = [
        Task(WEB, 1.0, SMALL, Situation.STEADY, Objectives(), 1, 0, "simpy", checked=checked)
        for checked in (True, False, None)
    ]
    # Those processes have a Clock of their own, on which nothing was set.
    assert list(Cores(2, "loky").map(is_audited, tasks)) == [True, False, False]
    seen: list[Task] = []

    class Looking(Caller):
        def map(self, do: Callable[[Task], R], tasks: Sequence[Task]) -> Iterator[R]:
            seen.extend(tasks)
            return super().map(do, tasks)

    list(bench(1.0, "simpy", Looking()).run(SMALL, [(Situation.STEADY, 0)]))
    assert seen[0].checked is True


@pytest.mark.parametrize("count", ["0", "-1", "2.5", "many", "9999999"])
def test_a_wrong_number_of_workers_is_one_line(count: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [*OJP_SIZE, "--peak-rps", "100", "--workers", count],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("ojp-size: --workers: ")


#: A deployment that takes long to be judged.
LARGE = """\
version: 0.3.1-beta
replicaCount: 20
resources: {limits: {cpu: 2}}
server: {threadPoolSize: 400, slowQuerySegregation: {enabled: false}}
client: {ojp.connection.pool.maximumPoolSize: 200, ojp.connection.pool.minimumIdle: 4}
database: {cores: 60}
"""


def busy(process: psutil.Process) -> bool:
    """Whether simulations are under way: every worker process, or the program itself, has used so much CPU."""
    children = [child for child in process.children() if "resource_tracker" not in " ".join(child.cmdline())]
    return all(sum(p.cpu_times()[:2]) > 2.0 for p in (children or [process]))


@pytest.mark.parametrize(("engine", "count"), [("compiled", "1"), ("compiled", "2"), ("simpy", "2")])
def test_ctrl_c_ends_everything_at_once_with_one_line(engine: str, count: str, tmp_path: Path) -> None:
    """The terminal sends SIGINT to the whole group, workers included."""
    (tmp_path / "d.yaml").write_text(LARGE)
    process = subprocess.Popen(
        [*OJP_SIZE, "--peak-rps", "8000", "--deployment", "d.yaml", "--engine", engine, "--workers", count],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    watched = psutil.Process(process.pid)
    while len(watched.children()) < (3 if engine == "simpy" else 0) or not busy(watched):
        assert process.poll() is None
        time.sleep(0.1)
    children = watched.children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    # Pipes stay open while any worker lives.
    printed, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert printed == ""
    assert errors.lstrip() == "ojp-size: interrupted; no file was written\n"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert [file.name for file in tmp_path.iterdir()] == ["d.yaml"]
