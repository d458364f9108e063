"""``ojp-size report``: the review as one HTML page, and no other file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ojp_sizing.cli.size import ASKED, RELEASE, judged, read_asked, read_names, read_page, sized, write_page
from ojp_sizing.cli.terminal import exit_code

if TYPE_CHECKING:
    from ojp_sizing.sizing.recommendation import Judged, Recommendation


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@ASKED
@click.option("--to", default="ojp-sizing.html", show_default=True, metavar="FILE", help="Where the page goes.")
@click.option("--force", is_flag=True, help="Overwrite a page that differs.")
@RELEASE
def command(**options: Any) -> int:
    """Size, or judge a --deployment, and write the review: one HTML page that opens from disk, for a ticket or a meeting.

    The verdict comes first; figures, tables, files and inputs are in the page. Exit codes are those of ojp-size.
    """
    question, execution, given = read_asked(options)
    names, path = read_names(options), read_page(options["to"], "--to")
    answer: Recommendation | Judged
    if given is None:
        answer = sized(question, execution)
        if answer.interrupted:
            raise KeyboardInterrupt
    else:
        answer = judged(question, execution, given)
    write_page(answer, path, Path("ojp-sizing"), names, options["force"])
    click.echo(answer.summary)
    click.echo(f"Written: {path}")
    return exit_code(answer.verdict)
