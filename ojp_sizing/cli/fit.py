"""``ojp-size fit``: a workload, its rate and its constants from what runs today."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_OUTPUT = click.option(
    "--output", default=None, metavar="FILE", help="Write the workload there; otherwise it is printed."
)
_FORCE = click.option("--force", is_flag=True, help="Overwrite a file that differs.")
_UNITS = click.option(
    "--units", default=None, metavar="FILE", help="A YAML file that states the units of work (docs/fit.md)."
)
_DATABASE = click.option(
    "--database",
    multiple=True,
    metavar="NAME",
    help="Only statements of this database, as the export names it. Repeatable.",
)
_MOST_LEFT_OUT = click.option(
    "--most-left-out",
    default="50%",
    show_default=True,
    metavar="SHARE",
    help="Refuse an export of whose calls or time more than this would be left out.",
)


@click.group(context_settings=_SETTINGS)
def command() -> None:
    """Fit a workload to what runs today (docs/fit.md)."""


@command.command("statements", context_settings=_SETTINGS)
@click.argument("file")
@_UNITS
@_DATABASE
@_MOST_LEFT_OUT
@_OUTPUT
@_FORCE
def statements(file: str, **options: Any) -> int:
    """A workload from an export of pg_stat_statements, pghero, Performance Insights or MySQL's statement digests.

    CSV with any delimiter, JSON, or a table that psql or MySQL has printed. The workload is YAML.
    """
    from ojp_sizing.quantities import parse_fraction
    from ojp_sizing.telemetry.records import of_database, read_records
    from ojp_sizing.telemetry.statements import fit_statements
    from ojp_sizing.telemetry.words import statement_lines, with_head

    most = parse_fraction(options["most_left_out"], "--most-left-out")
    records = of_database(read_records(file), options["database"], "--database")
    fit = fit_statements(records, options["units"], most)
    lines = list(statement_lines(fit))
    _deliver(options, lines, with_head(fit, records.place, lines))
    return 0


def _deliver(options: dict[str, Any], lines: Iterable[str], text: str) -> None:
    """The file, and what is said of it: beside it where it is printed, else on standard output."""
    if options["output"] is None:
        for line in lines:
            click.echo(line, err=True)
        click.echo(text, nl=False)
        return
    from ojp_sizing.emit.writing import write_files
    from ojp_sizing.ending import writing

    path = Path(options["output"])
    with writing():
        written = write_files(path.parent, {path.name: text}, options["force"])
    for line in lines:
        click.echo(line)
    for one in written:
        click.echo(f"{one.change}: {one.path}")
    sys.stdout.flush()
