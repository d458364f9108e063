"""The doors of the tool, and how odd input must end there: taken, or refused in one line that says where and why.

In this process all that reads and checks is run for real; only the search behind a good input is left out, but for one in
some tens, of which the closed forms are worked out, and a small simulation is run. Some inputs go through real processes.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from numpy.random import Generator

from ojp_sizing.cli import command
from ojp_sizing.demand.reading import parse_workload, read_workload, workload_yaml
from ojp_sizing.demand.trace import sample_trace
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.reading import deployment_yaml, parse_deployment
from ojp_sizing.errors import InputError
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.simulate import simulate
from ojp_sizing.sizing import recommendation
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.space import first_guess
from ojp_sizing.telemetry.records import read_records
from ojp_sizing.telemetry.statements import fit_statements
from ojp_sizing.telemetry.words import statement_lines, with_head

from .mutation import mutated, pick, word
from .seeds import DEPLOYMENTS, EXPORTS, PRESETS, PROPERTIES, RECORDINGS, UNITS, WORKLOADS

TAKEN, REFUSED = "taken", "refused"
#: One of so many good inputs is simulated, for a moment.
SIMULATED_EACH = 40
#: Larger ones are good, too, but take their time.
MOST_SIMULATED_PODS, MOST_SIMULATED_CLIENTS = 20, 2000


class Fault(AssertionError):  # noqa: N818 - not of the tool
    """An ending that isn't one of those that are allowed."""


class _Good(Exception):  # noqa: N818 - no error: the input is good
    """Reading and checking are over; the work would begin."""


def one_line(message: str) -> str:
    """The message of a refusal, if it is one."""
    if not message or not message.isprintable() or len(message) > 2000:
        raise Fault(f"not one line of printable text: {message!r}")
    return REFUSED


def _files(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def _is_simulated(rng: Generator) -> bool:
    return bool(rng.integers(SIMULATED_EACH) == 0)


# The command ----------------------------------------------------------------------------------------------------------


@contextmanager
def _without_the_search() -> Iterator[None]:
    def begin(*_: object, **__: object) -> None:
        raise _Good

    with patch.object(recommendation, "workers_for", begin):
        yield


def run_command(arguments: list[str]) -> str:
    """``ojp-size`` with these arguments, up to the work. What it would say on standard error is looked at."""
    checked = Clock.checked
    try:
        with (
            _without_the_search(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            command.main(arguments, standalone_mode=False)
    except _Good:
        return TAKEN
    except InputError as error:
        if not error.fix:
            raise Fault(f"no fix: {error}") from error
        return one_line(str(error))
    except click.ClickException as error:
        return one_line(" ".join(refusal_of(error).split()))
    except SystemExit as error:
        raise Fault(f"exit {error.code} without any work") from error
    finally:
        Clock.checked = checked
    return TAKEN


def refusal_of(error: click.ClickException) -> str:
    """What the command says of bad flags."""
    from ojp_sizing.cli import told

    return told(error)


#: Flags with values that are good.
VALUES: dict[str, tuple[str, ...]] = {
    "--peak-rps": ("20", "5k", "1.2M", "120/s", "1e3", "0.5", "10000000"),
    "--workload": ("web-oltp", "reporting-mix", "w.yaml", "tape.yaml"),
    "--deployment": ("d.yaml", "search.yaml"),
    "--output": ("out", "a/b/c", "w.yaml", "."),
    "--fast-p99": ("50ms", "1s"),
    "--slow-p99": ("2s", "1h"),
    "--failed": ("0.1%", "0", "1"),
    "--disruption-factor": ("2", "1", "1000"),
    "--disruption-failed": ("1%", "0.5"),
    "--recovery": ("60s", "45s", "24h"),
    "--db-max-connections": ("200", "1", "1000000"),
    "--db-cores": ("16", "500m", "4096"),
    "--min-replicas": ("3", "1", "1000"),
    "--max-replicas": ("100", "1000", "1"),
    "--also": ("node-lost", "pod-stopped", "database-full"),
    "--release": ("ojp-server", "a", "x" * 53),
    "--namespace": ("ojp", "x" * 63),
    "--database-url": ("postgresql://db.example.com:5432/mydb", "mysql://h/x?a=b"),
    "--seed": ("1", "0", "9223372036854775807"),
    "--engine": ("auto", "simpy", "compiled"),
    "--workers": ("1", "2", "1024"),
    "--scheduler": ("tcp://127.0.0.1:1",),
    "--time-budget": ("10m", "0", "1s"),
}
FLAGS = ("--force", "--json", "--cold-pools", "--check-laws", "--help", "-h", "--version")


def odd_arguments(rng: Generator) -> list[str]:
    """Mostly good flags, and an odd one or two."""
    arguments = [] if rng.random() < 0.03 else ["--peak-rps", str(rng.choice(VALUES["--peak-rps"]))]
    names = list(VALUES)
    for _ in range(int(rng.integers(0, 5))):
        name = names[int(rng.integers(len(names)))]
        value = str(rng.choice(VALUES[name]))
        arguments += [f"{name}={value}"] if rng.random() < 0.2 else [name, value]
    for _ in range(int(rng.choice([0, 1, 2], p=[0.15, 0.7, 0.15]))):
        kind = rng.random()
        name = names[int(rng.integers(len(names)))]
        if kind < 0.5:
            arguments += [name, word(rng)]
        elif kind < 0.75:
            good = str(rng.choice(VALUES[name]))
            arguments += [name, mutated(rng, good.encode()).decode("utf-8", "replace")]
        elif kind < 0.85:
            arguments.append(str(rng.choice(FLAGS)))
        elif kind < 0.93:
            arguments.insert(int(rng.integers(len(arguments) + 1)), word(rng))
        else:
            arguments.append(mutated(rng, name.encode()).decode("utf-8", "replace"))
    return arguments


def command_line(rng: Generator, directory: Path) -> str:
    """Odd flags and values before files that are good."""
    for name, content in (
        ("w.yaml", WORKLOADS[0]),
        ("tape.yaml", WORKLOADS[-1]),
        ("tape.csv", RECORDINGS[2]),
        ("d.yaml", DEPLOYMENTS[0]),
        ("search.yaml", DEPLOYMENTS[3]),
    ):
        _put(directory / name, content)
    before = _files(directory)
    ending = run_command(odd_arguments(rng))
    if _files(directory) != before:
        raise Fault("something was written")
    return ending


def _put(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


# Files ----------------------------------------------------------------------------------------------------------------


def _try_out(workload: Workload, deployment: Deployment, rate: float = 20.0) -> None:
    """A moment of a simulation, with the laws held against it."""
    clients = workload.clients
    if deployment.replicas > MOST_SIMULATED_PODS or clients.jvms * clients.threads > MOST_SIMULATED_CLIENTS:
        return
    with contextlib.suppress(InputError):
        simulate(sample_trace(workload, rate, 0.2, 1), deployment, engine="simpy", tail_s=0.0, checked=True)


def workload_file(rng: Generator, directory: Path) -> str:
    """A damaged workload file, by the command and back to YAML."""
    text = mutated(rng, pick(rng, PRESETS if rng.random() < 0.03 else WORKLOADS))
    _put(directory / "tape.csv", RECORDINGS[0])
    (directory / "odd.yaml").write_bytes(text)
    ending = run_command(["--peak-rps", "20", "--workload", "odd.yaml"])
    if ending == TAKEN:
        workload = read_workload("odd.yaml")
        again = parse_workload(workload_yaml(workload))
        if replace(again, arrivals=workload.arrivals) != workload:
            raise Fault("reads back as another workload")
        if _is_simulated(rng):
            first_guess(Question(workload, 20.0, most_replicas=12, constants=default_constants()))
            _try_out(workload, Deployment(2, 1.0))
    return ending


def recording_file(rng: Generator, directory: Path) -> str:
    """A damaged recording beside a good workload."""
    _put(directory / "tape.yaml", WORKLOADS[-1])
    (directory / "tape.csv").write_bytes(mutated(rng, pick(rng, RECORDINGS)))
    ending = run_command(["--peak-rps", "0.1", "--workload", "tape.yaml"])
    if ending == TAKEN and _is_simulated(rng):
        _try_out(read_workload("tape.yaml"), Deployment(2, 1.0), 0.1)
    return ending


def deployment_file(rng: Generator, directory: Path) -> str:
    """A damaged values.yaml, and the ojp.properties beside it."""
    text = mutated(rng, pick(rng, DEPLOYMENTS))
    properties = pick(rng, PROPERTIES)
    (directory / "odd.yaml").write_bytes(text)
    (directory / "ojp.properties").write_bytes(mutated(rng, properties) if rng.random() < 0.5 else properties)
    ending = run_command(["--peak-rps", "20", "--deployment", "odd.yaml"])
    if ending == TAKEN:
        file = parse_deployment(text.decode("utf-8-sig"), "odd.yaml", directory)
        if file.replicas is not None:
            deployment, _ = file.judged()
            again, _ = parse_deployment(deployment_yaml(deployment)).judged()
            if again != replace(deployment, warm_pools=again.warm_pools):
                raise Fault("reads back as another deployment")
            if _is_simulated(rng):
                _try_out(read_workload("pgbench-measured"), deployment)
    return ending


def export_file(rng: Generator, directory: Path) -> str:
    """A damaged export of pg_stat_statements, with and without the units."""
    (directory / "export.csv").write_bytes(mutated(rng, pick(rng, EXPORTS)))
    units = None
    if rng.random() < 0.4:
        content = pick(rng, UNITS)
        units = directory / "units.yaml"
        units.write_bytes(mutated(rng, content) if rng.random() < 0.5 else content)
    try:
        fit = fit_statements(read_records("export.csv"), units)
    except InputError as error:
        return one_line(str(error))
    workload = parse_workload(with_head(fit.workload, "export.csv", statement_lines(fit)))
    if workload != fit.workload:
        raise Fault("reads back as another workload")
    if _is_simulated(rng):
        first_guess(Question(workload, 20.0, most_replicas=12, constants=default_constants()))
        _try_out(workload, Deployment(2, 1.0))
    return TAKEN


# Python ---------------------------------------------------------------------------------------------------------------

_SMALL = (0, 1, 2, 5, 0.5, -1, True, None, "5", inf, float("nan"), 10**30, 1e300, (), [], "0.3.1-beta", b"x", object())


def python_values(rng: Generator, directory: Path) -> str:
    """Odd values in the fields of a deployment and a workload that are made in Python."""
    from dataclasses import fields

    deployment, workload = Deployment(2, 1.0), parse_workload(WORKLOADS[2].decode())
    parts: list[Any] = [
        deployment, deployment.server, deployment.pool, deployment.database, deployment.constants, workload.clients,
        workload.patience, workload.network, workload.arrivals, workload.units[0], workload.statements[0], workload,
        workload.statements[0].database_time,
    ]  # fmt: skip
    part = parts[int(rng.integers(len(parts)))]
    names = [field.name for field in fields(part)]
    changes = {
        names[int(rng.integers(len(names)))]: _SMALL[int(rng.integers(len(_SMALL)))]
        for _ in range(int(rng.integers(1, 3)))
    }
    try:
        made = replace(part, **changes)
    except InputError as error:
        return one_line(str(error))
    if _is_simulated(rng):
        if isinstance(made, Deployment):
            _try_out(workload, made)
        elif isinstance(made, Workload):
            _try_out(made, deployment)
        elif made.__class__ is deployment.pool.__class__:
            _try_out(workload, replace(deployment, pool=made))
        elif made.__class__ is deployment.server.__class__ and made.thread_pool_size <= MOST_SIMULATED_CLIENTS:
            _try_out(workload, replace(deployment, server=made))
    return TAKEN


# Real processes -------------------------------------------------------------------------------------------------------


def real_process(rng: Generator, directory: Path) -> str:
    """The command as a user runs it; a good input is sized or judged, in a second at most and on the coarse side."""
    arguments, files = ["--peak-rps", "5", "--time-budget", "1s", "--workers", "1"], {}
    kind = int(rng.integers(4))
    if kind == 0:
        odd = [argument.replace("\0", "") for argument in odd_arguments(rng)]
        # Elsewhere nothing may be written, nor a cluster be asked.
        skip = re.compile("|".join(("--output", "--scheduler", "--time", "--workers", "--engine", "--peak")))
        arguments += [] if any(skip.match(argument) for argument in odd) else odd[2:]
    elif kind == 1:
        files["odd.yaml"] = mutated(rng, pick(rng, WORKLOADS))
        arguments += ["--workload", "odd.yaml"]
    elif kind == 2:
        files["odd.yaml"] = mutated(rng, pick(rng, DEPLOYMENTS))
        arguments += ["--deployment", "odd.yaml"]
    else:
        files["w.yaml"] = WORKLOADS[0]
        files["ojp-sizing/values.yaml"] = b"somebody's\n"
        arguments += ["--workload", "w.yaml"]
    place = directory / "process"
    shutil.rmtree(place, ignore_errors=True)
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    place.mkdir(exist_ok=True)
    before = _files(place)
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-m", "ojp_sizing", *arguments],
        cwd=place, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    changed = {name for name, content in _files(place).items() if before.get(name) != content} | set(before) - set(
        _files(place)
    )
    if result.returncode not in (0, 2, 3, 4) or "Traceback" in result.stderr:
        raise Fault(f"exit {result.returncode} of {arguments}: {result.stderr}")
    if result.returncode == 2:
        one_line(result.stderr.removesuffix("\n"))
    if result.returncode != 0 and changed:
        raise Fault(f"exit {result.returncode} of {arguments} has written {sorted(changed)}")
    if changed and len(changed) != 5:
        raise Fault(f"half-written: {sorted(changed)}")
    return f"exit {result.returncode}"


#: Each door with its part of the inputs; the rest are real processes.
TARGETS: dict[str, tuple[float, Callable[[Generator, Path], str]]] = {
    "command line": (0.40, command_line),
    "workload file": (0.16, workload_file),
    "recording": (0.06, recording_file),
    "deployment file, properties": (0.16, deployment_file),
    "export of pg_stat_statements": (0.10, export_file),
    "values in Python": (0.12, python_values),
}
PROCESSES = "real process"
PROCESS_EACH = 5000
