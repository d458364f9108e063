"""HTML of values, by templates that escape whatever comes from outside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.report.tables import Table, given_table, statements_table
from ojp_sizing.report.words import headline
from ojp_sizing.showing import Shown
from ojp_sizing.sizing.recommendation import Judged, Recommendation

if TYPE_CHECKING:
    from jinja2 import Environment

#: The tables that an answer shows by itself: enough to act on.
FIRST_TABLES = ("shown", "back", "deploy", "database", "given", "measures", "rejected")


@cache
def environment() -> Environment:
    """The templates' surroundings: autoescape everywhere, and a name that isn't there is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - only where a page is made

    return Environment(
        loader=PackageLoader("ojp_sizing.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def fragment(value: Shown) -> str:
    """What a notebook shows of a value."""
    first, tables = _parts(value)
    return environment().get_template("fragment.html.j2").render(headline=first, tables=tables)


def _parts(value: Shown) -> tuple[str, Sequence[Table]]:
    if isinstance(value, Recommendation | Judged):
        return headline(value), [table for name, table in value.tables().items() if name in FIRST_TABLES]
    if isinstance(value, Workload):
        return "", [statements_table(value)]
    if isinstance(value, Deployment):
        return "", [given_table(value)]
    assert isinstance(value, Table)  # noqa: S101 - there is nothing else that shows itself
    return "", [value]
