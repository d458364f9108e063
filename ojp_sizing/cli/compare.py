"""``ojp-size compare 0.3.1 0.4.21 --peak-rps N``: the same demand on two releases."""

from __future__ import annotations

from typing import Any

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
from ojp_sizing.cli.size import read_version
from ojp_sizing.cli.terminal import console, exit_code, progress
from ojp_sizing.ending import interruptible

FLAGS = together(
    click.argument("older", metavar="OLDER"),
    click.argument("newer", metavar="NEWER"),
    DEMAND,
    OBJECTIVES,
    SEARCH,
    EXECUTION,
    AS_JSON,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@FLAGS
def command(older: str, newer: str, **options: Any) -> int:
    """Size the same demand for two releases of OJP, and say which of their traits make the difference.

    Writes no file. Exit code: that of the answer for NEWER, 0, 3 or 4 as for the sizing.
    """
    from dataclasses import replace

    from ojp_sizing.deployment.versions import row_for

    rows = []
    for place, text in (("OLDER", older), ("NEWER", newer)):
        read_version(text, None, place)
        rows.append(str(row_for(text)))
    refuse_if(rows[0] == rows[1], "NEWER", f"{newer} and {older} are the same release here", "name two that differ")
    question, execution = read_question(options, read_file(None)), read_execution(options)
    refuse_if(hasattr(question.rate, "low"), "--peak-rps", "a range can't be compared", "write one rate")
    question = replace(question, version=rows[0])

    from ojp_sizing.emit.from_recommendation import json_text, record
    from ojp_sizing.report.comparing import comparison_tables
    from ojp_sizing.report.terminal import print_tables
    from ojp_sizing.sizing.comparing import compare

    with progress() as listener, interruptible():
        comparison = compare(question, rows[1], execution, listener)
    if options["as_json"]:
        document = {
            "older": record(comparison.older, None),
            "newer": record(comparison.newer, None),
            "tables": {
                table.title: [list(table.columns), *map(list, table.rows)] for table in comparison_tables(comparison)
            },
        }
        click.echo(json_text(document), nl=False)
    else:
        out = console()
        rate = f"{question.rate:,.6g} units of work/s of {question.workload.name}"
        out.print(f"{rate} on OJP {rows[0]} and {rows[1]}", highlight=False, style="bold")
        print_tables(out, comparison_tables(comparison))
    return exit_code(comparison.newer.verdict)
