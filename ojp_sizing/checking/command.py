"""``ojp-size check -f values.yaml [-f own.yaml]``: everything that is wrong, whether it carries a demand, the checklist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ojp_sizing.cli.flags import (
    AS_JSON,
    DATABASE,
    DEMAND,
    EXECUTION,
    OBJECTIVES,
    read_execution,
    read_question,
    together,
)
from ojp_sizing.cli.terminal import console, exit_code, progress
from ojp_sizing.errors import EXIT_BAD_INPUT

if TYPE_CHECKING:
    from ojp_sizing.checking.checklist import Row
    from ojp_sizing.checking.complaints import Complaint, Given
    from ojp_sizing.sizing.recommendation import Judged

#: What a search would vary, and a check doesn't.
_NO_SEARCH = {
    "min_replicas": "1", "max_replicas": "1000", "segregation": "either",
    "price_core": None, "price_gib": None, "price_connection": None,
}  # fmt: skip


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "-f", "--values", required=True, multiple=True, metavar="FILE",
    help="A values file, as Helm is given it; repeatable, the last one wins. ojp.properties, jvm-config.yaml, jdbc-url.txt and"
    " kustomization.yaml beside the first are read too (docs/check.md).",
)  # fmt: skip
@together(DEMAND, DATABASE, OBJECTIVES)
@click.option(
    "--cold-pools", is_flag=True, help="Nobody builds the pools of a pod that comes back before its clients do."
)
@click.option("--database-url", default=None, metavar="URL", help="The database's part of the JDBC URL.")
@EXECUTION
@click.option("--junit", default=None, metavar="FILE", help="Write JUnit's XML there, too.")
@click.option("--sarif", default=None, metavar="FILE", help="Write a SARIF log there, too.")
@AS_JSON
def command(**options: Any) -> int:
    """Check what Helm is to be given: every complaint at once, the verdict at a demand, the production checklist.

    Exit codes: 0 met (or met by the model), 2 an error in the files, 3 not met, 4 undecided.
    """
    from dataclasses import replace

    from ojp_sizing.checking.checklist import checklist, read_beside
    from ojp_sizing.checking.complaints import read_given
    from ojp_sizing.deployment.reading import DeploymentFile
    from ojp_sizing.sizing.recommendation import check

    paths = [Path(one) for one in options["values"]]
    execution = read_execution(options)
    question = read_question(options | _NO_SEARCH, DeploymentFile(""))
    given = read_given(paths, question.workload, options["database_url"])
    question = read_question(options | _NO_SEARCH, given.file)
    rows = checklist(given.file, read_beside(paths[0].parent))
    judged: Judged | None = None
    if not given.refused:
        deployment = given.file.deployment(question.known, question.database)
        deployment = replace(deployment, warm_pools=not options["cold_pools"])
        with progress() as listener:
            judged = check(
                question, deployment, execution, warnings=given.silences, files=given.file.files, carries=True,
                listener=listener,
            )  # fmt: skip
    _tell(options, given, rows, judged)
    return EXIT_BAD_INPUT if judged is None else exit_code(judged.verdict)


def _tell(options: dict[str, Any], given: Given, rows: tuple[Row, ...], judged: Judged | None) -> None:
    from ojp_sizing.checking.formats import complaint_record, junit, row_record, sarif
    from ojp_sizing.emit.from_recommendation import json_text, record_of_judged
    from ojp_sizing.emit.writing import write_files
    from ojp_sizing.ending import writing

    verdict = judged.verdict.value if judged else "refused"
    reports = {
        options["junit"]: junit(verdict, given.complaints, rows, judged),
        options["sarif"]: sarif(given.complaints, judged, given.file.source),
    }
    for name, report in reports.items():
        if name is not None:
            with writing():
                write_files(Path(name).parent, {Path(name).name: report}, force=True)
    if options["as_json"]:
        document = {
            "verdict": verdict,
            "complaints": [complaint_record(one) for one in given.complaints],
            "checklist": [row_record(row) for row in rows],
            "judged": record_of_judged(judged) if judged else None,
        }
        click.echo(json_text(document), nl=False)
        return
    _print(given.complaints, rows, judged)


def _print(complaints: tuple[Complaint, ...], rows: tuple[Row, ...], judged: Judged | None) -> None:
    from rich.text import Text

    from ojp_sizing.checking.complaints import Level
    from ojp_sizing.quantities import shown
    from ojp_sizing.report.tables import Table
    from ojp_sizing.report.terminal import print_judged, print_tables

    out = console()
    if judged is None:
        errors = sum(one.level is Level.ERROR for one in complaints)
        out.print(f"REFUSED  {errors} error{'s' * (errors != 1)} in the files; nothing was simulated", highlight=False)
    else:
        print_judged(out, judged)
    if complaints:
        out.print()
        out.print(Text("The files", style="bold"))
    for one in complaints:
        # One line each, as other tools have it: a log is searched for it.
        line = f"  {one.level.value:<7}  {one.place}: {one.text}; {one.fix} [{one.name}]"
        out.print(Text(line if line.isprintable() else shown(line)), soft_wrap=True)
    found = tuple((row.chapter, row.name, row.state.value, row.words) for row in rows)
    print_tables(out, [Table("Production checklist (chapter 3a)", ("", "row", "state", "why"), found)])
