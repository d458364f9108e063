"""The answer on a terminal: verdict first, numbers second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich import table as rich
from rich.console import Console
from rich.text import Text

from ojp_sizing.deployment.deployment import describe
from ojp_sizing.emit.release import Release
from ojp_sizing.emit.writing import Written
from ojp_sizing.measurement.objectives import Verdict
from ojp_sizing.report.comparing import upgrade_words
from ojp_sizing.report.tables import Table
from ojp_sizing.report.words import headline
from ojp_sizing.sizing.recommendation import Judged, Recommendation

STYLES = {
    Verdict.MET: "bold green",
    Verdict.MET_BY_MODEL: "bold green",
    Verdict.NOT_MET: "bold red",
    Verdict.UNDECIDED: "bold yellow",
}


def _print_headline(console: Console, answer: Recommendation | Judged) -> None:
    text = Text(headline(answer))
    text.stylize(STYLES[answer.verdict], 0, len(answer.verdict.value))
    console.print(text)


def _print_table(console: Console, table: Table) -> None:
    """Two columns as pairs without a head; more with one."""
    console.print()
    console.print(Text(table.title, style="bold"))
    if len(table.columns) == 2:
        shown = rich.Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        shown.add_column(no_wrap=True)
        shown.add_column(overflow="fold")
        for name, value in table.rows:
            shown.add_row(Text("  " + name), Text(value))
    else:
        shown = rich.Table(box=box.SIMPLE_HEAD, pad_edge=False)
        shown.add_column(Text(table.columns[0]))
        for column in table.columns[1:]:
            shown.add_column(Text(column), justify="right", no_wrap=True)
        for row in table.rows:
            shown.add_row(*map(Text, row))
    console.print(shown)


def print_tables(console: Console, tables: Iterable[Table]) -> None:
    for table in tables:
        _print_table(console, table)


def print_answer(
    console: Console,
    recommendation: Recommendation,
    release: Release | None,
    written: Sequence[Written],
    commands: Mapping[str, str],
) -> None:
    """Print the whole answer."""
    if recommendation.interrupted:
        _print_interrupted(console, recommendation)
        return
    _print_headline(console, recommendation)
    if recommendation.evaluation is None or release is None:
        _print_no_answer(console, recommendation)
        return
    print_tables(console, recommendation.tables().values())
    files = tuple((str(item.path), item.change) for item in written) or (("none", ""),)
    _print_table(console, Table("Files", ("file", "change"), files))
    for purpose, command in commands.items():
        console.print()
        console.print(Text(purpose, style="bold"))
        # A command is to be copied: never wrapped.
        console.print(Text(command), soft_wrap=True, highlight=False)
    upgrade = upgrade_words(recommendation)
    if upgrade:
        console.print()
        console.print(upgrade, soft_wrap=True, highlight=False)


def print_judged(console: Console, judged: Judged) -> None:
    """Print the judgement of a given deployment."""
    _print_headline(console, judged)
    print_tables(console, judged.tables().values())
    console.print()
    console.print("No file was written.")


def _print_interrupted(console: Console, recommendation: Recommendation) -> None:
    """The best so far, with what is known of it."""
    if recommendation.evaluation is None:
        console.print(
            f"INTERRUPTED  there is no answer yet: no deployment is known to do ({recommendation.units:,} units simulated)"
        )
        return
    verdict, rate = recommendation.evaluation.verdict, f"{recommendation.question.rate:,.6g} units of work/s"
    text = Text("INTERRUPTED  the best so far: ")
    text.append(verdict.value.upper(), style=STYLES[verdict])
    text.append(f"  {describe(recommendation.deployment)}, for {rate} of {recommendation.question.workload.name}")
    console.print(text)
    missing = [s.words for s in recommendation.evaluation.situations if s not in recommendation.evaluation.results]
    if missing:
        console.print(f"  not simulated yet: {', '.join(missing)}")
    if recommendation.evaluation.results:
        tables = recommendation.tables()
        print_tables(console, (tables[name] for name in ("back", "measures", "server", "notes")))


def _print_no_answer(console: Console, recommendation: Recommendation) -> None:
    if recommendation.nearest:
        console.print(Text(f"  closest request that might be met: {recommendation.nearest}"), highlight=False)
    tables = recommendation.tables()
    print_tables(console, (tables[name] for name in ("rejected", "ranges", "server") if name in tables))
    console.print("No file was written.")
