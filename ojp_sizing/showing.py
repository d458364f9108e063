"""Values that show themselves: what they look like is written in ``report``, which is loaded when somebody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ojp_sizing.errors import InputError

if TYPE_CHECKING:
    from ojp_sizing.report.tables import Table


class Shown:
    """A value that a notebook shows as HTML. Text in it is shown as text, whatever it says."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from ojp_sizing.report.html import fragment  # noqa: PLC0415

        return fragment(self)


class ShownAnswer(Shown):
    """An answer with its tables."""

    __slots__ = ()

    @property
    def summary(self) -> str:
        """One line: the verdict, and what it is about."""
        from ojp_sizing.report.words import headline  # noqa: PLC0415

        return headline(self)  # type: ignore[arg-type]

    def tables(self) -> dict[str, Table]:
        """Every table of the answer by its name, in the order of the page; those without a row are left out."""
        from ojp_sizing.report.tables import tables_of  # noqa: PLC0415

        return tables_of(self)  # type: ignore[arg-type]

    def table(self, name: str) -> Table:
        """One of ``tables()``. Raises InputError for a name that this answer doesn't have."""
        found = self.tables()
        if name not in found:
            raise InputError("table", f"this answer has no table {name[:40]!r}", f"one of {', '.join(found)}")
        return found[name]
