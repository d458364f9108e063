"""docs/records.md: every record of the kernel, field by field. `make records` after a change of ``behaviour/records.py``."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import get_args, get_type_hints

from ojp_sizing.behaviour.kinds import Action, Ending, EventKind, News, Place, PodState, Rpc, Side, Trap
from ojp_sizing.behaviour.record import Field, Own, Record, Reset, Setting
from ojp_sizing.behaviour.world import TABLES

PAGE = Path(__file__).parent.parent / "docs" / "records.md"
HEAD = """# The kernel's records

What a run has in memory, table by table, as the transitions of `behaviour/` read and write it. This page is made from
`behaviour/records.py` and `behaviour/kinds.py` (`make records`). So are the rows of the compiled clock, the objects of SimPy's
clock, what a type checker knows of them, the values of a new world, and what is reset.

"At first" is a field's value in a new world; *given*: the demand and the deployment say. "Back to it" says what brings that
value back: the end of the server **process** that the record is of, or that the caller's RPC is in; or the begin of a **unit**
of work. A field without either keeps its value, or is written before each use. Times are seconds, CPU is core seconds.
"""
KINDS: tuple[type[IntEnum], ...] = (EventKind, Rpc, Place, Ending, PodState, News, Action, Side, Trap)
RESETS = {Reset.PROCESS: "process", Reset.UNIT: "unit"}


def _type(of: type[Record], field: str) -> str:
    kind = get_args(get_type_hints(of, include_extras=True)[field])[0]
    return f"{of.layout[field]}, `{kind.__name__}`" if issubclass(kind, IntEnum) else str(of.layout[field])


def _fresh(field: Field) -> str:
    if field.fresh is None:
        return "*given*"
    if isinstance(field.fresh, IntEnum):
        return field.fresh.name
    if isinstance(field.fresh, Setting):
        return f"`settings.{field.fresh.name}`"
    return f"`{field.fresh.name}`" if isinstance(field.fresh, Own) else f"{field.fresh:g}"


def _table(name: str, of: type[Record]) -> str:
    words = " ".join((of.__doc__ or "").split()).replace("``", "`")
    rows = [
        f"| `{field}` | {_type(of, field)} | {_fresh(found)} "
        f"| {', '.join(words for reset, words in RESETS.items() if reset in found.resets)} | {found.meaning} |"
        for field, found in of.fields.items()
    ]
    head = ["| Field | Type | At first | Back to it | Meaning |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([f"## {name}: {of.__name__}, {of.layout.itemsize} bytes", "", words, "", *head, *rows])


def _kind(of: type[IntEnum]) -> str:
    members = ", ".join(f"{member.value} {member.name}" for member in of)
    return f"* `{of.__name__}`: {members}. {' '.join((of.__doc__ or '').split()).replace('``', '`')}"


def page() -> str:
    """The whole page."""
    tables = (_table(name, of) for name, of in TABLES.items())
    return "\n\n".join([HEAD.strip(), *tables, "## Kinds", "\n".join(map(_kind, KINDS))]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
