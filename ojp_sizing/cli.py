"""``ojp-size``: from a demand figure to a Helm values file.

Only click is imported at the top: ``--help`` answers at once, and everything heavy is loaded by the work itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ojp_sizing.errors import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_NOT_MET,
    EXIT_UNDECIDED,
    InputError,
)

#: What was typed is repeated up to so many characters.
MOST_SAID = 400

if TYPE_CHECKING:
    from rich.console import Console

    from ojp_sizing.demand.workload import Workload
    from ojp_sizing.deployment.constants import Constants
    from ojp_sizing.deployment.deployment import Deployment
    from ojp_sizing.measurement.objectives import Situation, Verdict
    from ojp_sizing.sizing.candidates import Demand
    from ojp_sizing.sizing.search import Listener


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--peak-rps",
    required=True,
    metavar="RATE",
    help="Peak demand, units of work per second: 5000, 5k. One unit opens a JDBC connection, runs its statements and closes.",
)
@click.option(
    "--workload",
    default="web-oltp",
    show_default=True,
    metavar="NAME|FILE",
    help="A preset, or a YAML file (docs/workload.md).",
)
@click.option(
    "--deployment",
    default=None,
    metavar="FILE",
    help="Constants, version and database for the search; with replicaCount (a values.yaml), that is judged as it is"
    " and no file is written (docs/deployment.md).",
)
@click.option("--output", default="ojp-sizing", show_default=True, metavar="DIR", help="Where the files go.")
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--fast-p99", default="50ms", show_default=True, metavar="TIME", help="p99 of fast units at steady peak.")
@click.option("--slow-p99", default="2s", show_default=True, metavar="TIME", help="p99 of slow units at steady peak.")
@click.option("--failed", default="0.1%", show_default=True, metavar="SHARE", help="Failed units at steady peak.")
@click.option(
    "--disruption-factor",
    default="2",
    show_default=True,
    metavar="N",
    help="The percentiles may be so many times as large while a pod is lost and over a rolling update.",
)
@click.option(
    "--disruption-failed", default="1%", show_default=True, metavar="SHARE", help="Failed units in these windows."
)
@click.option(
    "--recovery",
    default="60s",
    show_default=True,
    metavar="TIME",
    help="After a disruption the steady limits hold again within this.",
)
@click.option(
    "--db-max-connections",
    default=None,
    metavar="N",
    help="The database's max_connections; otherwise the answer says what it needs.",
)
@click.option(
    "--db-cores", default=None, metavar="N", help="The database's cores; otherwise the answer says what it needs."
)
@click.option(
    "--min-replicas", default="3", show_default=True, metavar="N", help="Fewest replicas that may be recommended."
)
@click.option(
    "--max-replicas", default="100", show_default=True, metavar="N", help="Most replicas that may be recommended."
)
@click.option(
    "--also",
    multiple=True,
    metavar="SITUATION",
    help="Judge this too: pod-stopped, node-lost, two-pods-lost, database-slow or database-full. Repeatable.",
)
@click.option(
    "--cold-pools",
    is_flag=True,
    help="The pools of a pod that comes back are built by the first clients, as OJP does it. Otherwise the answer holds where"
    " they are built before clients reach the pod (docs/restarts.md).",
)
@click.option("--release", default="ojp-server", show_default=True, metavar="NAME", help="Name of the Helm release.")
@click.option("--namespace", default="ojp", show_default=True, metavar="NAME", help="Kubernetes namespace.")
@click.option(
    "--database-url",
    default="postgresql://db.example.com:5432/mydb",
    show_default=True,
    metavar="URL",
    help="The database's part of the JDBC URL.",
)
@click.option("--seed", default="1", show_default=True, metavar="N", help="Seed of every random number.")
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "simpy", "compiled"]),
    help="Which clock runs the simulation.",
)
@click.option(
    "--workers",
    default=None,
    metavar="N",
    help="How many simulations run at a time; otherwise one per core. The answer is the same for any number.",
)
@click.option(
    "--scheduler",
    default=None,
    metavar="ADDRESS",
    help="Run the simulations on the Dask cluster of this scheduler, tcp://host:port (docs/clusters.md).",
)
@click.option(
    "--check-laws",
    is_flag=True,
    help="Hold the model's own laws against every run as it goes (nothing lent twice or lost, ...). Slower.",
)
@click.option(
    "--time-budget", default="10m", show_default=True, metavar="TIME", help="Give up looking after this (exit 4)."
)
@click.version_option(package_name="ojp-sizing")
def command(**options: Any) -> None:
    """Size an OJP (Open J Proxy) deployment by simulation, and write the Helm values.

    Exit codes: 0 met, 2 bad input, 3 not met (no deployment meets the objectives), 4 undecided, 130 interrupted.
    """
    sys.exit(_run(options))


def _run(options: dict[str, Any]) -> int:
    """Read the flags, judge or size, print; returns the exit code. What is heavy is imported after the first guess."""
    from dataclasses import replace

    from ojp_sizing.bounds import told_as
    from ojp_sizing.demand.reading import read_workload
    from ojp_sizing.deployment.deployment import Database
    from ojp_sizing.deployment.reading import DeploymentFile, read_deployment
    from ojp_sizing.measurement.objectives import Objectives
    from ojp_sizing.quantities import parse_cores, parse_duration, parse_fraction, parse_number, parse_rate, parse_whole
    from ojp_sizing.sizing.candidates import Demand, constants_of

    rate = parse_rate(options["peak_rps"], "--peak-rps")
    _refuse(rate <= 0, "--peak-rps", "a rate must be above 0", "write for example --peak-rps 5000")
    limits = {
        "fast_p99_s": parse_duration(options["fast_p99"], "--fast-p99"),
        "slow_p99_s": parse_duration(options["slow_p99"], "--slow-p99"),
        "failed_share": parse_fraction(options["failed"], "--failed"),
        "disruption_factor": parse_number(options["disruption_factor"], "--disruption-factor"),
        "disruption_failed_share": parse_fraction(options["disruption_failed"], "--disruption-failed"),
        "recovery_s": parse_duration(options["recovery"], "--recovery"),
    }
    # A flag is called as its field without the unit.
    with told_as(lambda field: "--" + field.removesuffix("_s").removesuffix("_share").replace("_", "-")):
        objectives = Objectives(**limits)
    file = read_deployment(options["deployment"]) if options["deployment"] is not None else DeploymentFile("")
    database = file.database
    if options["db_cores"] is not None:
        with told_as(lambda _: "--db-cores"):
            database = Database(parse_cores(options["db_cores"], "--db-cores"), database.max_connections)
    if options["db_max_connections"] is not None:
        most = parse_whole(options["db_max_connections"], "--db-max-connections", 1, 1_000_000)
        database = Database(database.cores, float(most))
    least = parse_whole(options["min_replicas"], "--min-replicas", 1, 1000)
    most_replicas = parse_whole(options["max_replicas"], "--max-replicas", least, 1000)
    run = {
        "objectives": objectives,
        "seed": parse_whole(options["seed"], "--seed", 0, 2**63 - 1),
        "engine": options["engine"],
        "scheduler": options["scheduler"],
        "workers": None if options["workers"] is None else parse_whole(options["workers"], "--workers", 1, 1024),
    }
    budget_s = parse_duration(options["time_budget"], "--time-budget")
    workload = read_workload(options["workload"])
    constants = constants_of(workload, options["workload"])
    run["also"] = [_situation(name) for name in options["also"]]
    if file.replicas is not None:
        deployment, warnings = file.judged(constants, database)
        deployment = replace(deployment, warm_pools=not options["cold_pools"])
        return _judge(options, workload, rate, deployment, {**run, "warnings": warnings, "files": file.files})
    demand = Demand(workload, rate, database, file.version_for(most_replicas), not options["cold_pools"])
    bounds = {"least_replicas": least, "most_replicas": most_replicas, "budget_s": budget_s}
    return _size(options, demand, {**run, **bounds, "constants": file.constants_over(constants)})


def _judge(
    options: dict[str, Any], workload: Workload, rate: float, deployment: Deployment, run: dict[str, Any]
) -> int:
    """Judge a given deployment, and print that."""
    _check_laws(options)
    from ojp_sizing.emit.from_recommendation import json_text, record_of_judged
    from ojp_sizing.report.terminal import print_judged
    from ojp_sizing.sizing.recommendation import check

    with _progress() as listener:
        judged = check(workload, rate, deployment, **run, listener=listener)
    if options["as_json"]:
        click.echo(json_text(record_of_judged(judged)), nl=False)
    else:
        print_judged(_console(), judged)
    return _exit_code(judged.verdict)


def _size(options: dict[str, Any], demand: Demand, run: dict[str, Any]) -> int:
    """Size, write the files, and print the answer."""
    from pathlib import Path

    from ojp_sizing.emit.release import Release
    from ojp_sizing.emit.writing import check_target, write_files

    # Names and the directory are looked at before the work, not after.
    names = {"name": options["release"], "namespace": options["namespace"], "database_url": options["database_url"]}
    Release(
        **names, replicas=1, request_cores=1, limit_cores=1, request_bytes=2**30, limit_bytes=2**30, heap_bytes=2**29,
        thread_pool_size=1, slow_slot_percentage=20, pool_size=5, minimum_idle=5, connection_timeout_s=10,
    )  # fmt: skip
    directory = Path(options["output"])
    check_target(directory)
    if sys.stderr.isatty():
        _say_first_guess(demand, run["constants"], run["least_replicas"], run["most_replicas"])

    _check_laws(options)
    from ojp_sizing.emit.companions import helm_command
    from ojp_sizing.emit.from_recommendation import files_of, json_text, record, release_of
    from ojp_sizing.report.terminal import print_answer
    from ojp_sizing.sizing.recommendation import size

    with _progress() as listener:
        answer = size(
            demand.workload,
            demand.rate,
            database=demand.database,
            version=demand.version,
            warm_pools=demand.warm_pools,
            **run,
            listener=listener,
        )
    release = release_of(answer, **names) if answer.resources and not answer.interrupted else None
    written = write_files(directory, files_of(answer, release), options["force"]) if release else []
    if options["as_json"]:
        click.echo(json_text(record(answer, release)), nl=False)
    else:
        print_answer(_console(), answer, release, written, helm_command(release, directory) if release else "")
    if answer.interrupted:
        raise KeyboardInterrupt
    return _exit_code(answer.verdict)


def _check_laws(options: dict[str, Any]) -> None:
    if options["check_laws"]:
        from ojp_sizing.simulation.clock import Clock

        Clock.checked = True


def _say_first_guess(demand: Demand, constants: Constants, least_replicas: int, most_replicas: int) -> None:
    """On a terminal, before anything heavy is loaded: what the closed forms alone say."""
    from ojp_sizing.deployment.deployment import describe
    from ojp_sizing.sizing.candidates import first_guess

    first = first_guess(demand, constants, least_replicas, most_replicas)
    words = describe(first.deployment) if first else "no deployment within the bounds"
    click.echo(f"first guess, by closed forms and not simulated: {words}", err=True)


def _exit_code(verdict: Verdict) -> int:
    return {"met": 0, "not met": EXIT_NOT_MET, "undecided": EXIT_UNDECIDED}[verdict.value]


def _console() -> Console:
    from rich.console import Console

    # A pipe has no width of its own; tables are laid out for a wide terminal there.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def _situation(name: str) -> Situation:
    from ojp_sizing.measurement.objectives import Situation
    from ojp_sizing.quantities import shown

    names = {
        situation.value.replace(" silently", "").replace("one ", "").replace(" ", "-"): situation
        for situation in Situation
    }
    if name not in names:
        raise InputError("--also", f"there is no situation {shown(name)}", "one of " + ", ".join(list(names)[3:]))
    return names[name]


def _refuse(is_bad: bool, place: str, problem: str, mend: str) -> None:
    if is_bad:
        raise InputError(place, problem, mend)


@contextmanager
def _progress() -> Iterator[Listener]:
    """A bar on a terminal's standard error; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda what, tried, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TimeElapsedColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(_first_words(), total=None)

        def listen(what: str, tried: int, total: int) -> None:
            bar.update(task, description=f"candidate {max(1, tried)} of {total}: {what}", completed=tried, total=total)

        yield listen


def _first_words() -> str:
    from ojp_sizing.behaviour.transition import COMPILER

    if COMPILER:
        from ojp_sizing.simulation.kernel_cache import has_kernels

        if not has_kernels():
            return "compiling the simulation (once after an install, about 15 s)"
    return "screening candidates"


def main() -> None:
    """Entry point: every error of the user's is one line and exit 2, an interruption exit 130."""
    _guarded(lambda: command.main(standalone_mode=False))


def _guarded(run: Callable[[], Any]) -> None:
    try:
        run()
    except InputError as error:
        _leave(f"ojp-size: {error}", EXIT_BAD_INPUT)
    except click.exceptions.Abort:
        _leave("ojp-size: interrupted; no file was written", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        _leave("ojp-size: interrupted; no file was written", EXIT_INTERRUPTED)
    except click.ClickException as error:
        _leave(f"ojp-size: {told(error)}", EXIT_BAD_INPUT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os._exit(0)


def told(error: click.ClickException) -> str:
    """A refusal of click's in one line, which can't steer the terminal whatever was typed."""
    message = " ".join(error.format_message()[:MOST_SAID].split())
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in message)
    return f"{plain} Try 'ojp-size --help'."


def _leave(line: str, code: int) -> None:
    click.echo(" ".join(line.split()), err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    from multiprocessing import active_children
    from multiprocessing.util import _run_finalizers  # type: ignore[attr-defined]

    # Worker processes would outlive this one, and keep its output open.
    for child in active_children():
        child.terminate()
    # What is shared with them is given back by finalizers, and the way out below skips those.
    _run_finalizers(0)
    # Not sys.exit: simulations under way in other threads would be waited for.
    os._exit(code)


if __name__ == "__main__":
    main()
