"""What the commands that fit share: how far back they look, and where what they write goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
OUTPUT = click.option("--output", default=None, metavar="FILE", help="Write the file there; otherwise it is printed.")
FORCE = click.option("--force", is_flag=True, help="Overwrite a file that differs.")
SELECTOR = click.option("--selector", default="", metavar="LABELS", help="Which of OJP's pods: 'namespace=\"ojp\"'.")


def RANGE(function: Any) -> Any:  # noqa: N802 - a decorator, beside the others
    """``--range`` and ``--end``, which ``range_of`` reads."""
    end = click.option(
        "--end", default=None, metavar="TIME", help="Where the range ends, 2026-03-01T12:00:00Z; otherwise now."
    )
    span = click.option(
        "--range", "span", default="14d", show_default=True, metavar="TIME", help="How far back to look."
    )
    return span(end(function))


def range_of(options: dict[str, Any]) -> tuple[float, float]:
    """Begin and end, in seconds since 1970."""
    import time

    from ojp_sizing.demand.instants import parse_instant
    from ojp_sizing.errors import InputError
    from ojp_sizing.quantities import parse_span

    span_s = parse_span(options["span"], "--range")
    if options["end"] is None:
        end_s = time.time()
    else:
        try:
            end_s = parse_instant(options["end"])
        except InputError as error:
            raise InputError("--end", error.problem, error.fix) from error
    return end_s - span_s, end_s


def deliver(options: dict[str, Any], lines: Iterable[str], text: str) -> None:
    """The file, and what is said of it: beside it where it is printed, else on standard output."""
    if options["output"] is not None:
        write(options["output"], options["force"], lines, text)
        return
    for line in lines:
        click.echo(line, err=True)
    click.echo(text, nl=False)


def write(output: str, force: bool, lines: Iterable[str], text: str) -> None:
    """One file, whole or not at all."""
    from pathlib import Path

    from ojp_sizing.emit.writing import write_files
    from ojp_sizing.ending import writing

    path = Path(output)
    with writing():
        written = write_files(path.parent, {path.name: text}, force)
    for line in lines:
        click.echo(line)
    for one in written:
        click.echo(f"{one.change}: {one.path}")
