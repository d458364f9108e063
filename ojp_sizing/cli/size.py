"""``ojp-size --peak-rps N``: size a deployment and write its files, or judge the one of a file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ojp_sizing.cli.flags import (
    AS_JSON,
    DEMAND,
    EXECUTION,
    OBJECTIVES,
    SEARCH,
    read_execution,
    read_file,
    read_question,
    refuse_if,
    together,
)
from ojp_sizing.cli.terminal import console, exit_code, progress
from ojp_sizing.ending import interruptible, writing

if TYPE_CHECKING:
    from ojp_sizing.deployment.deployment import Deployment
    from ojp_sizing.deployment.rules import Finding
    from ojp_sizing.sizing.question import Execution, Question
    from ojp_sizing.sizing.recommendation import Judged, Recommendation

DEPLOYMENT = click.option(
    "--deployment",
    default=None,
    metavar="FILE",
    help="Constants, version and database for the search; with replicaCount (a values.yaml), that is judged as it is"
    " and no file is written (docs/deployment.md).",
)
VERSION = click.option(
    "--ojp-version",
    default=None,
    metavar="VERSION",
    help="OJP's release: 0.3.1 (the default), 0.4.21, 1.0, 1.1, or one between 0.3.0 and 1.1 (docs/upgrade.md).",
)
#: What is asked, and how it is worked out.
ASKED = together(
    DEMAND,
    click.option(
        "--growth",
        default=None,
        metavar="SHARE",
        help="Of the demand, 5%/month: the answer says in which month it ends. Above 0 to 100%.",
    ),
    DEPLOYMENT,
    VERSION,
    OBJECTIVES,
    SEARCH,
    EXECUTION,
    click.option("--explain", is_flag=True, help="Simulate what more of each knob would buy, too. Slower."),
)
#: Of the Helm release that the files are for.
RELEASE = together(
    click.option(
        "--release", default="ojp-server", show_default=True, metavar="NAME", help="Name of the Helm release."
    ),
    click.option("--namespace", default="ojp", show_default=True, metavar="NAME", help="Kubernetes namespace."),
    click.option(
        "--database-url",
        default="postgresql://db.example.com:5432/mydb",
        show_default=True,
        metavar="URL",
        help="The database's part of the JDBC URL.",
    ),
    click.option(
        "--warm-up-image",
        default="",
        metavar="IMAGE",
        help="Where the warm-up's image will be (docs/files.md); otherwise registry.example/ojp-warm-up of the server's"
        " version.",
    ),
)
FLAGS = together(
    ASKED,
    click.option("--output", default="ojp-sizing", show_default=True, metavar="DIR", help="Where the files go."),
    click.option("--force", is_flag=True, help="Overwrite files that differ."),
    click.option("--report", default=None, metavar="FILE", help="Also write the review, one HTML page with figures."),
    AS_JSON,
    RELEASE,
)


@dataclass(frozen=True, slots=True)
class Given:
    """A deployment that is to be judged as it is, with what its files were warned of."""

    deployment: Deployment
    warnings: tuple[Finding, ...]
    files: tuple[str, ...]


def run(options: dict[str, Any]) -> int:
    """Read the flags, judge or size, print; returns the exit code. What is heavy is imported after the first guess."""
    question, execution, given = read_asked(options)
    report = None if options["report"] is None else read_page(options["report"], "--report")
    if given is not None:
        return _judge(options, question, execution, given, report)
    return _size(options, question, execution, report)


def read_asked(options: dict[str, Any]) -> tuple[Question, Execution, Given | None]:
    """What is asked, how it is to be worked out, and the deployment where one is to be judged."""
    from dataclasses import replace

    file = read_file(options["deployment"])
    question, execution = read_question(options, file), read_execution(options)
    file = replace(file, version=read_version(options["ojp_version"], file.version))
    if file.replicas is not None:
        deployment, warnings = file.judged(question.known, question.database)
        deployment = replace(deployment, warm_pools=not options["cold_pools"])
        return question, execution, Given(deployment, warnings, file.files)
    version, constants = file.version_for(question.most_replicas), file.constants_over(question.known)
    return replace(question, version=version, constants=constants), execution, None


def read_version(asked: str | None, in_file: str | None, place: str = "--ojp-version") -> str | None:
    """The release of the flag (or of another ``place``) or of the deployment file; said where it is taken for another."""
    from ojp_sizing.deployment.versions import number_of, row_for, versions

    version = in_file if asked is None else asked
    row = None if version is None else row_for(version)
    if asked is not None:
        known = f"write one of {', '.join(versions())}"
        refuse_if(row is None, place, f"no server {asked[:40]!r} is modelled", known)
        differs = in_file is not None and row_for(in_file) != row
        problem = f"{asked}, but the deployment file says {in_file}"
        refuse_if(differs, place, problem, "remove one of the two")
    if version is not None and row is not None and number_of(row) != number_of(version):
        taken = f"{version[:40]} is taken for {row}, the newest before it whose source is known"
        click.echo(f"ojp-size: {taken}", err=True)
    return version


def read_names(options: dict[str, Any]) -> dict[str, str]:
    """The release's names, looked at before the work and not after."""
    from ojp_sizing.emit.release import Release, WarmUp

    names = {"name": options["release"], "namespace": options["namespace"], "database_url": options["database_url"]}
    Release(
        **names, replicas=1, request_cores=1, limit_cores=1, request_bytes=2**30, limit_bytes=2**30, heap_bytes=2**29,
        thread_pool_size=1, slow_slot_percentage=20, pool_size=5, minimum_idle=5, connection_timeout_s=10,
    )  # fmt: skip
    if options["warm_up_image"]:
        WarmUp(options["warm_up_image"], 0)
    return {**names, "warm_up_image": options["warm_up_image"]}


def read_page(name: str, flag: str) -> Path:
    """Where the review goes; its directory is looked at before the work."""
    from ojp_sizing.emit.writing import check_target

    path = Path(name)
    refuse_if(not path.name or path.is_dir(), flag, "that is a directory", "write the name of a file, review.html")
    check_target(path.parent)
    return path


def write_page(
    answer: Recommendation | Judged, path: Path, directory: Path, names: dict[str, str], force: bool
) -> None:
    """The review of an answer, whose files are or would be in ``directory``."""
    from ojp_sizing.emit.writing import write_files
    from ojp_sizing.report.page import page

    html = page(answer, names, directory=directory)
    with writing():
        write_files(path.parent, {path.name: html}, force)


def sized(question: Question, execution: Execution) -> Recommendation:
    """The answer, with the progress on standard error; Ctrl-C gives the best so far."""
    if sys.stderr.isatty():
        _say_first_guess(question)
    from ojp_sizing.sizing.recommendation import size

    with progress() as listener, interruptible():
        return size(question, execution, listener)


def judged(question: Question, execution: Execution, given: Given) -> Judged:
    """The judgement of what is given, with the progress on standard error."""
    from ojp_sizing.sizing.recommendation import check

    with progress() as listener:
        return check(
            question, given.deployment, execution, warnings=given.warnings, files=given.files, listener=listener
        )


def _judge(options: dict[str, Any], question: Question, execution: Execution, given: Given, report: Path | None) -> int:
    """Judge a given deployment, and print that."""
    from ojp_sizing.emit.from_recommendation import json_text, record_of_judged
    from ojp_sizing.report.terminal import print_judged

    answer = judged(question, execution, given)
    if report:
        write_page(answer, report, Path(options["output"]), {}, options["force"])
    if options["as_json"]:
        click.echo(json_text(record_of_judged(answer)), nl=False)
    else:
        print_judged(console(), answer)
    return exit_code(answer.verdict)


def _size(options: dict[str, Any], question: Question, execution: Execution, report: Path | None) -> int:
    """Size, write the files, and print the answer."""
    from ojp_sizing.emit.writing import check_target, write_files

    names, directory = read_names(options), Path(options["output"])
    check_target(directory)
    answer = sized(question, execution)
    from ojp_sizing.emit.applying import commands
    from ojp_sizing.emit.from_recommendation import files_of, json_text, record, release_of
    from ojp_sizing.report.terminal import print_answer

    release = release_of(answer, **names) if answer.resources and not answer.interrupted else None
    written = []
    if release:
        with writing():
            written = write_files(directory, files_of(answer, release), options["force"])
    if report and not answer.interrupted:
        write_page(answer, report, directory, names, options["force"])
    if options["as_json"]:
        click.echo(json_text(record(answer, release)), nl=False)
    else:
        print_answer(console(), answer, release, written, commands(release, directory) if release else {})
    if answer.interrupted:
        raise KeyboardInterrupt
    return exit_code(answer.verdict)


def _say_first_guess(question: Question) -> None:
    """On a terminal, before anything heavy is loaded: what the closed forms alone would try first."""
    from ojp_sizing.deployment.deployment import describe
    from ojp_sizing.sizing.space import first_guess

    first = first_guess(question)
    words = describe(first) if first else "no deployment within the bounds"
    click.echo(f"first guess, by closed forms and not simulated: {words}", err=True)
