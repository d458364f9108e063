"""Runs the notebooks' sources (``notebooks/*.py``, percent format) and writes each one's executed twin (``.ipynb``).

The same source and the same toolkit give the same bytes: no times, no versions, cell ids by position, plotly's element
ids by position as well. With names of sources as arguments, only those are run.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
#: Longest time that one cell may take (s).
MOST_CELL_S = 300
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_ELEMENT_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
#: Plotly's HTML asks a public server for MathJax. No figure has a formula, and a notebook shall fetch nothing.
_REMOTE_MATHJAX = re.compile(r'<script src="https://[^"]*mathjax[^"]*"></script>', re.IGNORECASE)


def notebook_of(source: Path) -> NotebookNode:
    """The source as a notebook without outputs."""
    notebook = jupytext.read(source)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:02}"
    notebook.metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def executed(source: Path, folder: Path) -> NotebookNode:
    """The notebook with its outputs, run in ``folder``. Raises nbclient's CellExecutionError where a cell fails."""
    notebook = notebook_of(source)
    client = NotebookClient(
        notebook, timeout=MOST_CELL_S, kernel_name=KERNEL["name"], resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )  # fmt: skip
    client.execute()
    notebook.metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    for index, cell in enumerate(notebook.cells):
        cell.metadata = {}
        for number, output in enumerate(cell.get("outputs", [])):
            _settle(output, f"{source.stem} {index} {number}")
    nbformat.validate(notebook)
    return notebook


def _settle(output: NotebookNode, place: str) -> None:
    """Take out of an output what differs from run to run."""
    html = output.get("data", {}).get("text/html")
    if html is None:
        return
    names: dict[str, str] = {}
    for match in _ELEMENT_ID.finditer(html):
        names.setdefault(match[0], _uuid(f"{place} {len(names)}"))
    html = _ELEMENT_ID.sub(lambda match: names[match[0]], html)
    output["data"]["text/html"] = _REMOTE_MATHJAX.sub("", html)


def _uuid(text: str) -> str:
    digits = hashlib.sha256(text.encode()).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))


def main(arguments: list[str]) -> int:
    """Run the sources and write their twins."""
    for source in [Path(argument) for argument in arguments] or sorted(NOTEBOOKS.glob("*.py")):
        twin = source.with_suffix(".ipynb")
        nbformat.write(executed(source, source.parent), twin)
        print(f"{twin.name}: {twin.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
