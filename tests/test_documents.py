"""What the documents show is run: README's Python, its flags, and the links of every page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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


def test_every_flag_that_a_page_shows_exists() -> None:
    from ojp_sizing.cli import command

    flags = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
    shown = {
        flag
        for page in PAGES
        for line in page.read_text().splitlines()
        if line.strip().startswith("ojp-size ")
        for flag in re.findall(r"--[a-z][a-z0-9-]*", line)
    }
    assert shown
    assert shown <= flags


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
