"""What the documents show is run: README's Python, its flags, and the links of every page."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("met ")
    assert "rolling update: p99" in result.stdout


def test_the_life_of_a_request_is_as_the_page_prints_it() -> None:
    page = (ROOT / "docs" / "life-of-a-request.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    result = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout == shown


def test_the_life_of_a_request_names_transitions_that_are_there() -> None:
    page = (ROOT / "docs" / "life-of-a-request.md").read_text().rpartition("## Where")[2]
    for row in re.findall(r"^\| .* \| (`behaviour.*?) \| (`.*?) \|$", page, re.MULTILINE):
        sources = [(ROOT / "ojp_sizing" / name).read_text() for name in re.findall(r"`(behaviour/\w+\.py)`", row[0])]
        for transition in re.findall(r"`(\w+)`", row[1]):
            assert any(f"def {transition}(" in source for source in sources), transition


def test_every_flag_that_a_page_shows_exists() -> None:
    from ojp_sizing.cli import SUBCOMMANDS, command

    commands = {name: import_module(one.module).command for name, one in SUBCOMMANDS.items()}
    lines = [line.split() for page in PAGES for line in page.read_text().splitlines()]
    shown = [line[1:] for line in lines if line[:1] == ["ojp-size"] and len(line) > 1]
    assert shown
    for words in shown:
        of = commands.get(words[0], command)
        if of is not command and isinstance(of, click.Group):
            of = of.commands[words[1]]
        known = {flag for parameter in of.params for flag in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z][a-z0-9-]*", " ".join(words))) <= known, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_targets_that_the_readme_names_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^    )make ([a-z]+)\b", (ROOT / "README.md").read_text(), re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_tests_that_the_traceability_names_exist() -> None:
    named = set(re.findall(r"\b(test_\w+\.py)::(test_\w+)", (ROOT / "docs" / "traceability.md").read_text()))
    assert named
    for file, function in sorted(named):
        source = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^def {function}\(", source, re.MULTILINE), f"{file}::{function}"
