"""What every command does alike on a terminal: where it prints, how it shows its progress, with which code it ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ojp_sizing.errors import EXIT_NOT_MET, EXIT_UNDECIDED

if TYPE_CHECKING:
    from rich.console import Console

    from ojp_sizing.measurement.objectives import Verdict
    from ojp_sizing.sizing.strategy import Listener


def console() -> Console:
    """Standard output."""
    from rich.console import Console

    # A pipe has no width of its own; tables are laid out for a wide terminal there.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


@contextmanager
def progress() -> Iterator[Listener]:
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


def exit_code(verdict: Verdict) -> int:
    """0 where it is met."""
    return {"met": 0, "met by the model": 0, "not met": EXIT_NOT_MET, "undecided": EXIT_UNDECIDED}[verdict.value]
