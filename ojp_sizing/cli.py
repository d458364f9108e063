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

from ojp_sizing.ending import claim_the_end, heed_signals, interrupted, interruptible, leave, writing
from ojp_sizing.errors import EXIT_BAD_INPUT, EXIT_NOT_MET, EXIT_UNDECIDED, InputError

#: What was typed is repeated up to so many characters.
MOST_SAID = 400

if TYPE_CHECKING:
    from rich.console import Console

    from ojp_sizing.deployment.deployment import Deployment
    from ojp_sizing.deployment.rules import Finding
    from ojp_sizing.measurement.objectives import Situation, Verdict
    from ojp_sizing.sizing.question import Execution, Question
    from ojp_sizing.sizing.strategy import Listener


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--peak-rps",
    required=True,
    metavar="RATE",
    help="Peak demand, units of work per second: 5000, 5k, or a range, 4k..5k..8k."
    " One unit opens a JDBC connection, runs its statements and closes.",
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
@click.option(
    "--ojp-version",
    default=None,
    metavar="VERSION",
    help="OJP's release: 0.3.1 (the default), 0.4.21, 1.0, 1.1, or one between 0.3.0 and 1.1 (docs/upgrade.md).",
)
@click.option("--output", default="ojp-sizing", show_default=True, metavar="DIR", help="Where the files go.")
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--fast-p99", default="50ms", show_default=True, metavar="TIME", help="p99 of fast units at steady peak.")
@click.option("--slow-p99", default="2s", show_default=True, metavar="TIME", help="p99 of slow units at steady peak.")
@click.option("--failed", default="0.1%", show_default=True, metavar="SHARE", help="Failed units at steady peak.")
@click.option(
    "--disruption-factor",
    default="5",
    show_default=True,
    metavar="N",
    help="The percentiles may be so many times as large while a pod is lost and over a rolling update.",
)
@click.option(
    "--disruption-fast-p99",
    default=None,
    metavar="TIME",
    help="Instead of the factor: p99 of fast units in these windows.",
)
@click.option(
    "--disruption-slow-p99",
    default=None,
    metavar="TIME",
    help="Instead of the factor: p99 of slow units in these windows.",
)
@click.option(
    "--risk",
    default="10%",
    show_default=True,
    metavar="SHARE",
    help="Share of updates, and of losses, that may break a limit; above 0 to 50%. Shown with 95 % confidence.",
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
    "--segregation",
    default="either",
    show_default=True,
    type=click.Choice(["either", "on", "off"]),
    help="OJP's slow and fast slots (slowQuerySegregation).",
)
@click.option(
    "--cold-pools",
    is_flag=True,
    help="The pools of a pod that comes back are built by the first clients, as OJP does it. Otherwise they may be built before"
    " clients reach the pod (docs/restarts.md).",
)
@click.option(
    "--client-jvms",
    default=None,
    metavar="N",
    help="Number of client JVMs; otherwise as the workload says (16 in web-oltp).",
)
@click.option(
    "--growth",
    default=None,
    metavar="SHARE",
    help="Of the demand, 5%/month: the answer says in which month it ends. Above 0 to 100%.",
)
@click.option("--price-core", default=None, metavar="N", help="Cost of a core a month; otherwise costs are in cores.")
@click.option("--price-gib", default=None, metavar="N", help="Cost of a GiB of memory a month.")
@click.option("--price-connection", default=None, metavar="N", help="Cost of a database connection a month.")
@click.option("--explain", is_flag=True, help="Simulate what more of each knob would buy, too. Slower.")
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
    help="Check simulation invariants during each run (no permit or connection lent twice or lost, ...). Slower.",
)
@click.option(
    "--precision",
    type=click.Choice(["normal", "high"]),
    default="normal",
    show_default=True,
    help="high: also judge what comes near to a limit, however many runs it takes. Slower from 1,000 units/s on, and maybe some"
    " percent cheaper.",
)
@click.option(
    "--time-budget", default="10m", show_default=True, metavar="TIME", help="Give up looking after this (exit 4)."
)
@click.version_option(package_name="ojp-sizing")
def command(**options: Any) -> None:
    """Size an OJP (Open J Proxy) deployment by simulation, and write the Helm values.

    Exit codes: 0 met (or met by the model), 2 bad input, 3 not met (none of the deployments tried holds), 4 undecided;
    ended by a signal: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    try:
        sys.exit(_run(options))
    except KeyboardInterrupt:  # click would add an empty line
        interrupted()


def _run(options: dict[str, Any]) -> int:
    """Read the flags, judge or size, print; returns the exit code. What is heavy is imported after the first guess."""
    from dataclasses import replace

    from ojp_sizing.bounds import bound_of, told_as
    from ojp_sizing.demand.reading import read_workload
    from ojp_sizing.demand.workload import Clients
    from ojp_sizing.deployment.deployment import Database
    from ojp_sizing.deployment.reading import DeploymentFile, read_deployment
    from ojp_sizing.deployment.versions import number_of, row_for, versions
    from ojp_sizing.measurement.objectives import Objectives
    from ojp_sizing.quantities import (
        parse_cores,
        parse_duration,
        parse_fraction,
        parse_growth,
        parse_number,
        parse_rate,
        parse_whole,
    )
    from ojp_sizing.sizing.question import Execution, Prices, Question, constants_of
    from ojp_sizing.uncertain import parse_range

    rate = parse_range(options["peak_rps"], lambda text: parse_rate(text, "--peak-rps"), "--peak-rps")
    least_rate = getattr(rate, "low", rate)
    _refuse(least_rate <= 0, "--peak-rps", "a rate must be above 0", "write for example --peak-rps 5000")
    limits = {
        "fast_p99_s": parse_duration(options["fast_p99"], "--fast-p99"),
        "slow_p99_s": parse_duration(options["slow_p99"], "--slow-p99"),
        "failed_share": parse_fraction(options["failed"], "--failed"),
        "disruption_factor": parse_number(options["disruption_factor"], "--disruption-factor"),
        "disruption_failed_share": parse_fraction(options["disruption_failed"], "--disruption-failed"),
        "recovery_s": parse_duration(options["recovery"], "--recovery"),
        "disruption_fast_p99_s": _optional(options["disruption_fast_p99"], parse_duration, "--disruption-fast-p99"),
        "disruption_slow_p99_s": _optional(options["disruption_slow_p99"], parse_duration, "--disruption-slow-p99"),
        "risk": parse_fraction(options["risk"], "--risk"),
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
    execution = Execution(
        seed=parse_whole(options["seed"], "--seed", 0, 2**63 - 1),
        engine=options["engine"],
        scheduler=options["scheduler"],
        workers=_optional(options["workers"], lambda text, place: parse_whole(text, place, 1, 1024), "--workers"),
        budget_s=parse_duration(options["time_budget"], "--time-budget"),
        explain=options["explain"],
        precision=options["precision"],
    )
    workload = read_workload(options["workload"])
    costs = {
        name: _optional(options[f"price_{name}"], parse_number, f"--price-{name}")
        for name in ("core", "gib", "connection")
    }
    with told_as(lambda field: f"--price-{field}"):
        prices = Prices(**costs)
    jvms = bound_of(Clients, "jvms")
    question = Question(
        workload=workload,
        rate=rate,
        database=database,
        objectives=objectives,
        least_replicas=least,
        most_replicas=most_replicas,
        segregation=options["segregation"],
        warm_pools="off" if options["cold_pools"] else "either",
        also=tuple(_situation(name) for name in options["also"]),
        prices=prices,
        constants=constants_of(workload, options["workload"]),
        client_jvms=_optional(
            options["client_jvms"],
            lambda text, place: parse_whole(text, place, jvms.least, jvms.most),
            "--client-jvms",
        ),
        growth=_optional(options["growth"], parse_growth, "--growth"),
    )
    asked = options["ojp_version"]
    if asked is not None:
        _refuse(
            row_for(asked) is None,
            "--ojp-version",
            f"no server {asked[:40]!r} is modelled",
            f"write one of {', '.join(versions())}",
        )
        _refuse(
            file.version is not None and row_for(file.version) != row_for(asked), "--ojp-version",
            f"{asked}, but the deployment file says {file.version}", "remove one of the two",
        )  # fmt: skip
        file = replace(file, version=asked)
    row = row_for(file.version) if file.version is not None else None
    if row is not None and file.version is not None and number_of(row) != number_of(file.version):
        taken = f"{file.version[:40]} is taken for {row}, the newest before it whose source is known"
        click.echo(f"ojp-size: {taken}", err=True)
    if file.replicas is not None:
        deployment, warnings = file.judged(question.known, database)
        deployment = replace(deployment, warm_pools=not options["cold_pools"])
        return _judge(options, question, execution, deployment, warnings, file.files)
    version, constants = file.version_for(most_replicas), file.constants_over(question.known)
    return _size(options, replace(question, version=version, constants=constants), execution)


def _optional(text: str | None, parse: Callable[[str, str], Any], flag: str) -> Any:
    return None if text is None else parse(text, flag)


def _judge(
    options: dict[str, Any],
    question: Question,
    execution: Execution,
    deployment: Deployment,
    warnings: tuple[Finding, ...],
    files: tuple[str, ...],
) -> int:
    """Judge a given deployment, and print that."""
    _check_laws(options)
    from ojp_sizing.emit.from_recommendation import json_text, record_of_judged
    from ojp_sizing.report.terminal import print_judged
    from ojp_sizing.sizing.recommendation import check

    with _progress() as listener:
        judged = check(question, deployment, execution, warnings=warnings, files=files, listener=listener)
    if options["as_json"]:
        click.echo(json_text(record_of_judged(judged)), nl=False)
    else:
        print_judged(_console(), judged)
    return _exit_code(judged.verdict)


def _size(options: dict[str, Any], question: Question, execution: Execution) -> int:
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
        _say_first_guess(question)

    _check_laws(options)
    from ojp_sizing.emit.companions import helm_command
    from ojp_sizing.emit.from_recommendation import files_of, json_text, record, release_of
    from ojp_sizing.report.terminal import print_answer
    from ojp_sizing.sizing.recommendation import size

    with _progress() as listener, interruptible():
        answer = size(question, execution, listener)
    release = release_of(answer, **names) if answer.resources and not answer.interrupted else None
    written = []
    if release:
        with writing():
            written = write_files(directory, files_of(answer, release), options["force"])
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


def _say_first_guess(question: Question) -> None:
    """On a terminal, before anything heavy is loaded: what the closed forms alone would try first."""
    from ojp_sizing.deployment.deployment import describe
    from ojp_sizing.sizing.space import first_guess

    first = first_guess(question)
    words = describe(first) if first else "no deployment within the bounds"
    click.echo(f"first guess, by closed forms and not simulated: {words}", err=True)


def _exit_code(verdict: Verdict) -> int:
    return {"met": 0, "met by the model": 0, "not met": EXIT_NOT_MET, "undecided": EXIT_UNDECIDED}[verdict.value]


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


def _refuse(is_bad: bool, place: str, problem: str, fix: str) -> None:
    if is_bad:
        raise InputError(place, problem, fix)


@contextmanager
def _progress() -> Iterator[Listener]:
    """A bar on a terminal's standard error; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda what, tried, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from ojp_sizing.sizing.strategy import SO_FAR

    columns = (SpinnerColumn(), TimeElapsedColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("screening candidates", total=None)

        def listen(what: str, tried: int, total: int) -> None:
            if what.startswith(SO_FAR):
                bar.console.print(what, highlight=False)
            bar.update(task, description=f"deployment {max(1, tried)}: {what}", completed=tried, total=total or None)

        yield listen


def main() -> None:
    """Every error of the user's is one line and exit 2; a signal is one line too, and 128 with its number."""
    heed_signals()
    _guarded(lambda: command.main(standalone_mode=False))


def _guarded(run: Callable[[], Any]) -> None:
    # Not by the interpreter's own end, which takes its time and gives a signal back to the system.
    try:
        run()
        leave("", 0)
    except SystemExit as ended:
        leave("", int(ended.code or 0))
    except InputError as error:
        leave(str(error), EXIT_BAD_INPUT)
    except click.exceptions.Abort:
        interrupted()
    except click.ClickException as error:
        leave(told(error), EXIT_BAD_INPUT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave("", 0)
    except Exception:
        # Workers that a signal has ended are no error to tell of.
        claim_the_end()
        raise


def told(error: click.ClickException) -> str:
    """A refusal of click's in one line, which can't steer the terminal whatever was typed."""
    message = " ".join(error.format_message()[:MOST_SAID].split())
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in message)
    return f"{plain} Try 'ojp-size --help'."


if __name__ == "__main__":
    main()
