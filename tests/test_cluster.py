"""A real Dask scheduler and real workers on loopback: the answer is the same, whatever becomes of a worker."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from distributed import Client, Scheduler

from ojp_sizing import InputError, Objectives, read_workload
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.simulation import clock
from ojp_sizing.sizing import cluster
from ojp_sizing.sizing.cluster import program
from ojp_sizing.sizing.evaluate import Task, run_task
from ojp_sizing.sizing.evidence import Bench, verdicts
from ojp_sizing.sizing.question import Execution, Question
from ojp_sizing.sizing.workers import Workers, workers_for

ROOT = Path(__file__).parent.parent
OJP_SIZE = [sys.executable, "-m", "ojp_sizing"]
WEB = read_workload("web-oltp")
SMALL = Deployment(2, 1.0, server=ServerSettings(thread_pool_size=50), pool=ClientPool(16, 4), database=Database(8.0))
PATIENCE_S = 60.0


def wait_until(true: Callable[[], object]) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < PATIENCE_S
        time.sleep(0.02)


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OJP_SIZE, *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal, after the first guess."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    return only_line(result.stderr)


def only_line(errors: str) -> str:
    """What standard error has beside the first guess."""
    (line,) = [line for line in errors.splitlines() if not line.startswith("first guess, ")]
    return line


class Dask:
    """A scheduler and its workers of one thread each, as processes of their own on loopback."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        file = directory / "scheduler.json"
        self.scheduler = self._start(("scheduler", "--port", "0", "--scheduler-file", str(file)), **environment)
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))
        self.address: str = json.loads(file.read_text())["address"]

    def _start(
        self, arguments: tuple[str, ...], python: tuple[str, ...] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        # This file's functions are found there, and what the tests' own process has been given.
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
        with (self.directory / f"{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *python, "-m", "dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"],
                cwd=self.directory, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.processes.append(process)
        return process

    @classmethod
    @contextmanager
    def on_loopback(cls, directory: Path, **environment: str) -> Iterator[Dask]:
        """Nothing of it is left behind."""
        started = cls(directory, **environment)
        try:
            yield started
        finally:
            started.end()

    def worker(self, *python: str, **environment: str) -> subprocess.Popen[bytes]:
        """One more, once it is there; without a nanny that would start it again."""
        scratch = ("--local-directory", str(self.directory))
        arguments = ("worker", self.address, "--nthreads", "1", "--no-nanny", *scratch)
        with Client(self.address, set_as_default=False) as client:
            count = len(client.scheduler_info(n_workers=-1)["workers"])
            process = self._start(arguments, python, **environment)
            client.wait_for_workers(count + 1, timeout=PATIENCE_S)
        return process

    def end(self) -> None:
        """The workers first, which would look for their scheduler; and they would finish what they have begun."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    with Dask.on_loopback(tmp_path_factory.mktemp("dask")) as started:
        yield started


# A worker is lost -----------------------------------------------------------------------------------------------------


def noted(order: tuple[int, Path]) -> int:
    """Note that it was begun, and by whom; it ends when a file says so."""
    number, directory = order
    with (directory / "begun").open("a") as file:
        file.write(f"{number} {os.getpid()}\n")
    wait_until((directory / "go").exists)
    return number


def begun(directory: Path) -> list[tuple[int, int]]:
    file = directory / "begun"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(number), int(process)) for number, process in map(str.split, lines)]


def test_another_worker_does_the_task_of_a_lost_one_and_results_keep_their_order(dask: Dask, tmp_path: Path) -> None:
    lost, kept = dask.worker(), dask.worker()
    with workers_for("auto", scheduler=dask.address) as pool, ThreadPoolExecutor(1) as thread:
        done = thread.submit(lambda: list(pool.map(noted, [(number, tmp_path) for number in range(8)])))
        wait_until(lambda: {process for _, process in begun(tmp_path)} == {lost.pid, kept.pid})
        (number,) = [number for number, process in begun(tmp_path) if process == lost.pid]
        lost.send_signal(signal.SIGKILL)
        lost.wait()
        (tmp_path / "go").touch()
        assert done.result(PATIENCE_S) == list(range(8))
    assert (number, kept.pid) in begun(tmp_path)
    assert len(begun(tmp_path)) == 8 + 1


def steps_taken(dask_scheduler: Scheduler) -> int:
    """Changes of any task's state; each task goes through half a dozen."""
    return dask_scheduler.transition_counter


def test_the_answer_is_the_same_byte_for_byte_though_a_worker_is_killed(dask: Dask, tmp_path: Path) -> None:
    small = ("--peak-rps", "120", "--json")
    here = run(*small, "--workers", "1", "--output", "here", cwd=tmp_path)
    assert here.returncode == 0, here.stderr
    lost, kept = dask.worker(), dask.worker()
    process = subprocess.Popen(
        [*OJP_SIZE, *small, "--scheduler", dask.address, "--output", "there"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with Client(dask.address, set_as_default=False) as client:
        # In the middle: some is done, and each has something to do.
        wait_until(lambda: client.run_on_scheduler(steps_taken) > 20 and all(client.processing().values()))
        before = client.run_on_scheduler(steps_taken)
        lost.send_signal(signal.SIGKILL)
        printed, errors = process.communicate(timeout=120)
        assert client.run_on_scheduler(steps_taken) > before + 10
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 1
    assert errors == here.stderr
    assert printed == here.stdout
    assert kept.poll() is None
    for file in (tmp_path / "here").glob("*.*"):
        assert (tmp_path / "there" / file.name).read_bytes() == file.read_bytes()


# What else goes along, and what ends the work ---------------------------------------------------------------------------


def is_audited(task: Task) -> bool:
    """Whether a run of this task, here, holds the laws against itself."""
    with patch.object(clock, "audit") as audit:
        run_task(task)
    return bool(audit.called)


def refuse(number: int) -> int:
    raise InputError("here", f"no {number}", "yes")


def test_simpy_the_laws_and_a_users_errors_go_along(dask: Dask) -> None:
    dask.worker()

    def evaluated(pool: Workers) -> str:
        # Half of the disruptions may break something: few runs say so.
        question = Question(WEB, 2.0, objectives=Objectives(recovery_s=45.0, risk=0.5))
        return repr(list(verdicts(Bench(question, Execution(engine="simpy", looks=(2, 3)), pool), SMALL)))

    with workers_for("simpy", 1) as here, workers_for("simpy", scheduler=dask.address) as there:
        assert evaluated(there) == evaluated(here)
        tasks = [
            Task(WEB, 1.0, SMALL, Situation.STEADY, Objectives(), 1, 0, "simpy", checked=checked)
            for checked in (True, False)
        ]
        assert list(there.map(is_audited, tasks)) == [True, False]
        with pytest.raises(InputError, match="here: no 0; yes"):
            list(there.map(refuse, range(3)))


def test_interrupting_leaves_the_cluster_without_work(dask: Dask, tmp_path: Path) -> None:
    dask.worker()
    (tmp_path / "d.yaml").write_text(
        "version: 0.3.1-beta\nreplicaCount: 20\nresources: {limits: {cpu: 2}}\n"
        "server: {slowQuerySegregation: {enabled: false}}\nclient: {ojp.connection.pool.maximumPoolSize: 200}\n"
    )
    process = subprocess.Popen(
        [*OJP_SIZE, "--peak-rps", "8000", "--deployment", "d.yaml", "--scheduler", dask.address],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with Client(dask.address, set_as_default=False) as client:
        wait_until(lambda: any(client.processing().values()))
        os.killpg(process.pid, signal.SIGINT)
        printed, errors = process.communicate(timeout=20)
        assert (process.returncode, printed) == (130, "")
        assert errors.lstrip() == "ojp-size: interrupted; no file was written\n"
        wait_until(lambda: not any(client.processing().values()))


def test_a_scheduler_that_is_lost_ends_the_work_in_one_line(dask: Dask, tmp_path: Path) -> None:
    dask.worker()
    process = subprocess.Popen(
        [*OJP_SIZE, "--peak-rps", "20000", "--scheduler", dask.address],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with Client(dask.address, set_as_default=False) as client:
        wait_until(lambda: any(client.processing().values()))
    dask.scheduler.send_signal(signal.SIGKILL)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed) == (2, "")
    assert only_line(errors).startswith("ojp-size: --scheduler: the connection to the scheduler was lost")


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_cluster_without_any_worker_left_is_not_waited_for(dask: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    dask.worker()
    monkeypatch.setattr(cluster, "LOST_S", 0.5)
    monkeypatch.setattr(cluster, "PATIENCE_S", 2.0)
    with workers_for("auto", scheduler=dask.address) as pool, pytest.raises(InputError, match="has no worker"):
        list(pool.map(die, range(3)))


def test_a_task_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    with Dask.on_loopback(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1") as dask:
        dask.worker(), dask.worker(), dask.worker()
        with workers_for("auto", scheduler=dask.address) as pool, pytest.raises(InputError, match="2 workers died"):
            list(pool.map(die, range(1)))


# Every one runs the same program ----------------------------------------------------------------------------------------


def another_version(directory: Path) -> str:
    """A copy of the package with one changed line, and where it is found."""
    directory /= "other"
    for part in ("ojp_sizing", "data"):
        shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
    with (directory / "ojp_sizing" / "behaviour" / "pool.py").open("a") as file:
        file.write("\n# Changed.\n")
    return str(directory)


def test_a_worker_of_another_version_is_refused_by_name(dask: Dask, tmp_path: Path) -> None:
    other = another_version(tmp_path)
    dask.worker()
    dask.worker(PYTHONPATH=other)
    line = refused(run("--peak-rps", "120", "--scheduler", dask.address, cwd=tmp_path))
    assert line.startswith("ojp-size: --scheduler: worker tcp://127.0.0.1:")
    assert "has another ojp-sizing or numpy: '0.1.0, sources " in line
    assert f"here {program()};" in line


def test_a_worker_of_another_version_that_joins_later_is_refused(dask: Dask, tmp_path: Path) -> None:
    first = dask.worker()
    with workers_for("auto", scheduler=dask.address) as pool:
        first.terminate()
        first.wait()
        dask.worker(PYTHONPATH=os.pathsep.join([another_version(tmp_path), str(ROOT)]))
        with pytest.raises(InputError, match="--scheduler: a worker has another ojp-sizing"):
            list(pool.map(refuse, range(3)))


def test_a_worker_without_this_package_is_refused_by_name(dask: Dask, tmp_path: Path) -> None:
    # -S: packages are found by path, those that are linked into the environment (as this may be) are not.
    dask.worker("-S", PYTHONPATH=sysconfig.get_path("purelib"))
    line = refused(run("--peak-rps", "120", "--scheduler", dask.address, cwd=tmp_path))
    assert line.startswith("ojp-size: --scheduler: worker tcp://127.0.0.1:")
    assert "can't load ojp-sizing: 'ModuleNotFoundError" in line


def test_a_scheduler_without_workers_is_refused(dask: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE_S", 1.0)
    words = f"--scheduler: {dask.address} has no worker; start some: dask worker {dask.address}"
    with pytest.raises(InputError, match=words), cluster.joined(dask.address):
        pass


@pytest.mark.parametrize("command", ["scheduler", "worker"])
def test_the_commands_that_the_page_shows_are_dasks(command: str) -> None:
    page = (ROOT / "docs" / "clusters.md").read_text()
    shown = {flag for line in re.findall(rf"dask {command}\b.*", page) for flag in re.findall(r"--[a-z-]+", line)}
    result = subprocess.run(
        [sys.executable, "-m", "dask", command, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert shown
    assert shown <= set(re.findall(r"--[a-z-]+", result.stdout))


# What is no scheduler ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        "host:8786",
        "tcp://host",
        "tcp://host:0",
        "tcp://host:99999",
        "tcp://a b:1",
        "http://host:1",
        "tcp://h:1/",
    ],
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(InputError, match=r"--scheduler: .* is no address of a scheduler"), cluster.joined(address):
        pass


def test_where_nobody_listens_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    line = refused(run("--peak-rps", "120", "--scheduler", address, cwd=tmp_path))
    assert line.startswith(f"ojp-size: --scheduler: no Dask scheduler answered at {address} within 5 s")


def test_another_service_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of Dask's own dashboard, on the next port; Dask's client would wait for ever."""
    monkeypatch.setattr(cluster, "PATIENCE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        words = f"no Dask scheduler answered at {address} within 1 s"
        with pytest.raises(InputError, match=words), cluster.joined(address):
            pass


def test_a_number_of_workers_is_not_the_clusters(tmp_path: Path) -> None:
    line = refused(run("--peak-rps", "120", "--scheduler", "tcp://host:1", "--workers", "2", cwd=tmp_path))
    assert line.startswith("ojp-size: --workers: ")


def test_without_the_extra_the_line_names_it(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['distributed'] = None  # as if it weren't installed\n"
        "sys.argv = ['ojp-size', '--peak-rps', '120', '--scheduler', 'tcp://127.0.0.1:1']\n"
        "from ojp_sizing.cli import main\nmain()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "install 'ojp-sizing[distributed]'" in refused(result)
