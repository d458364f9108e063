"""Values that show themselves: what they look like is written in ``report``, which is loaded when somebody looks."""

from __future__ import annotations

from pathlib import Path
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

    def report(self, path: str | Path | None = None, *, closer: bool = True, force: bool = False, **names: str) -> str:
        """The review as one HTML page that needs no other file; also written to ``path`` where that is given.

        ``closer``: with the figures over demand and over an update, which are simulated for it. ``names`` are those of
        ``Recommendation.files``. Raises InputError where the file is there and differs (``force`` replaces it), where it can't
        be written, and for a name that Kubernetes or Helm doesn't take.
        """
        from ojp_sizing.report.page import page  # noqa: PLC0415

        html = page(self, names, closer=closer)  # type: ignore[arg-type]
        if path is not None:
            from ojp_sizing.emit.writing import write_files  # noqa: PLC0415

            write_files(Path(path).parent, {Path(path).name: html}, force)
        return html
