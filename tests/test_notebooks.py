"""The notebooks run from the public names alone, and each committed twin is that run."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

import ojp_sizing
from ojp_sizing.measurement.known_error import bands

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "notebooks" / "01_capacity_review.py"
TWIN = SOURCE.with_suffix(".ipynb")
MOST_BYTES = 8_000_000

# --- the notebook -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebooks", ROOT / "scripts" / "make_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def twin() -> NotebookNode:
    return nbformat.read(TWIN, as_version=4)


@pytest.fixture
def own_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter's and IPython's files go to a folder of the test, not to the user's."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


def _texts(notebook: NotebookNode) -> list[str]:
    """Outputs without figures: streams, tables and values."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/plain" in data and "application/vnd.plotly.v1+json" not in data:
                found.append(data["text/plain"])
            elif "text" in output:
                found.append(output.text)
    return found


def _errors(notebook: NotebookNode) -> list[NotebookNode]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


def _deployment(notebook: NotebookNode) -> str:
    """The table of what to deploy."""
    shown = [
        output.get("data", {}).get("text/html", "") for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    return next(html for html in shown if "<caption>Deploy</caption>" in html)


@pytest.mark.usefixtures("own_jupyter")
def test_the_source_runs_and_gives_the_answer_of_its_twin(
    maker: ModuleType, twin: NotebookNode, tmp_path: Path
) -> None:
    fresh = maker.executed(SOURCE, tmp_path)
    assert not _errors(fresh)
    assert _deployment(fresh) == _deployment(twin), "run scripts/make_notebooks.py"


def test_the_twin_has_the_sources_of_the_script(maker: ModuleType, twin: NotebookNode) -> None:
    def cells(notebook: NotebookNode) -> list[tuple[str, str, str]]:
        return [(cell.id, cell.cell_type, cell.source) for cell in notebook.cells]

    assert cells(twin) == cells(maker.notebook_of(SOURCE)), "run scripts/make_notebooks.py"


def test_the_twin_was_run_from_top_to_bottom_without_an_error(twin: NotebookNode) -> None:
    code = [cell for cell in twin.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not _errors(twin)
    assert all(cell.outputs for cell in code[1:])


def test_the_twin_is_small_and_tells_nothing_of_where_or_when_it_was_made(twin: NotebookNode) -> None:
    assert TWIN.stat().st_size < MOST_BYTES
    assert set(twin.metadata) == {"kernelspec", "language_info"}
    assert twin.metadata.kernelspec.name == "python3"
    assert all(not cell.metadata for cell in twin.cells)
    told = "\n".join(_texts(twin))
    for day in {day for band in bands() for day in band.measured_on.split(" to ")}:  # when a real server was measured
        told = told.replace(day, "")
    assert str(ROOT) not in told
    assert str(Path.home()) + "/" not in told
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", told)


def test_an_exported_page_brings_plotly_along_and_shows_two_figures(twin: NotebookNode) -> None:
    from nbconvert import HTMLExporter

    html, _ = HTMLExporter().from_notebook_node(twin)
    # The script itself, and every figure calls it; nothing of it comes from elsewhere.
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL)
    own = [script for script in scripts if re.search(r"plotly\.js v\d", script[:2000])]
    assert len(own) == 1
    assert len(own[0]) > 1_000_000
    assert sum("Plotly.newPlot(" in script for script in scripts if script is not own[0]) == 2
    fetched = re.findall(r"<(?:script|link)[^>]*(?:src|href)=[\"']?([^\"'\s>]+)", html.replace(own[0], ""))
    assert not [address for address in fetched if "plot" in address]
    assert not re.search(r"https?://[^\"'\s]*plotly[^\"'\s]*\.m?js", html.replace(own[0], ""))


def test_the_same_outputs_give_the_same_element_ids(maker: ModuleType) -> None:
    def settled(*ids: str) -> str:
        html = "".join(f'<div id="{i}"></div><script>f("{i}")</script>' for i in ids)
        mathjax = '<script src="https://cdn.example/ajax/libs/mathjax/2.7.5/MathJax.js?config=x"></script>'
        output = nbformat.v4.new_output("display_data", {"text/html": html + mathjax})
        maker._settle(output, "here")
        return str(output.data["text/html"])

    one, two = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    assert settled(one, two) == settled(two, one)
    assert len(set(re.findall(r'id="([^"]+)"', settled(one, two)))) == 2
    assert "mathjax" not in settled(one).lower()


def test_the_toolkit_loads_without_plotly() -> None:
    code = "import sys, ojp_sizing; ojp_sizing.size; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("source", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_needs_no_more_than_the_public_names(source: Path) -> None:
    """Of the toolkit it imports the package alone, and uses no name that the package doesn't list."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
        elif isinstance(node, ast.Import):
            imported += [name.name for name in node.names]
    assert {name for name in imported if name.startswith("ojp_sizing")} == {"ojp_sizing"}
    used = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ojp"
    ]
    assert used
    assert set(used) <= set(ojp_sizing.__all__)
    assert not [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr.startswith("_")]
