"""Figures of the pages that also stand in a table or in the code are the same there.

Such a figure is followed by the name of its row, for readers (``0.35 s (`pool_build_s`)``) or unseen
(``50 KiB<!-- heap_per_connection_bytes -->``). A name is a row of ``data/constants.csv``, a key of ``data/ojp_settings.csv``, a
flag of ``ojp-size``, or a constant of the code by its module.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from ojp_sizing.cli import command
from ojp_sizing.deployment.constants import constant_table
from ojp_sizing.settings import settings

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
MODEL = ROOT / "docs" / "model.md"

FACTORS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "%": 0.01, "": 1.0,
}  # fmt: skip
_UNITS = "|".join(unit for unit in FACTORS if unit)
_FIGURE = rf"(?<![\w.])(?P<number>\d[\d,]*(?:\.\d+)?) ?(?P<unit>(?:{_UNITS})(?!\w)|)(?: (?:core seconds|cores?|times))?"
_ROWS = "|".join(constant_table())
#: A figure and the name behind it; the names of constants are seen in brackets, or before their figure, too.
_MARKED = re.compile(rf"{_FIGURE}<!-- (?P<name>\S+) -->")
_IN_BRACKETS = re.compile(rf"{_FIGURE}\s\(`?(?P<name>{_ROWS})\b")
_BEFORE = re.compile(rf"`(?P<name>{_ROWS})`(?: is| at| of|,|:| \(| \|)? ?{_FIGURE}(?!\d)")


class Said(NamedTuple):
    """What a page says of a name, in base units, and its words."""

    name: str
    value: float
    words: str


def said(text: str) -> list[Said]:
    """Every figure of a page that has a name."""
    found = [match for pattern in (_MARKED, _IN_BRACKETS, _BEFORE) for match in pattern.finditer(text)]
    return [Said(m["name"], float(m["number"].replace(",", "")) * FACTORS[m["unit"]], m[0]) for m in found]


@cache
def value_of(name: str) -> float:
    """The value of a name in base units (s, bytes, a part of 1). KeyError or AttributeError: there is no such thing."""
    if name in constant_table():
        return constant_table()[name].value
    if name in settings():
        return float(str(settings()[name].default)) * FACTORS.get(settings()[name].unit, 1.0)
    if name.startswith("--"):
        [default] = {str(flag.default) for flag in command.params if name in flag.opts}
        match = re.fullmatch(_FIGURE, default)
        assert match, f"{name} {default}"
        return float(match["number"]) * FACTORS[match["unit"]]
    module, *attributes = re.split(r"\.(?=[A-Z])|(?<=_SPAN)\.", name)
    found = import_module(f"ojp_sizing.{module}")
    for attribute in attributes:
        found = getattr(found, attribute)
    return float(found)  # type: ignore[arg-type]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_figure_with_a_name_is_that_of_the_table(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    marks = re.findall(r"<!-- \S+ -->", text)
    assert len(marks) == len(_MARKED.findall(text)), "a name stands behind no figure"
    for one in said(text):
        assert one.value == pytest.approx(value_of(one.name), rel=1e-9), one.words


def test_the_page_of_the_model_has_a_figure_for_every_row_of_the_table() -> None:
    """A new constant is described where its kind is; one that goes leaves no figure behind."""
    named = {one.name for one in said(MODEL.read_text(encoding="utf-8"))}
    assert set(constant_table()) <= named


def test_every_figure_in_the_description_of_the_parts_has_a_name() -> None:
    """So that one that is written by hand, without a name, is seen here; but for those that no table and no code has."""
    parts = MODEL.read_text(encoding="utf-8").split("## The parts")[1].split("Every number with a status")[0]
    told = [line.split("|")[2] for line in parts.splitlines() if line.startswith("| ") and "---" not in line]
    bare = _IN_BRACKETS.sub("", _BEFORE.sub("", _MARKED.sub("", "\n".join(told))))
    left = re.findall(rf"(?<![\w.])\d[\d,.]* ?(?:{_UNITS}|cores?|core seconds)(?!\w)", bare)
    assert left == []


@pytest.mark.parametrize(
    "text",
    [
        "300 KB<!-- heap_per_connection_bytes -->",
        "300 KiB<!-- heap_per_connection_bytes -->",
        "50<!-- heap_per_connection_bytes -->",
        "8 s (`pod_start_s`)",
        "after 8 s (pod_start_s)",
        "`pool_build_s`, 0.5 s",
        "`error_leak_probability` (0.5)",
        "20 s<!-- ojp.connection.pool.connectionTimeout -->",
        "60 ms<!-- --fast-p99 -->",
        "3 s<!-- sizing.evaluate.STEADY_SPAN.least_s -->",
    ],
)
def test_what_drifted_is_seen(text: str) -> None:
    seen = said(text)
    assert not seen or any(one.value != pytest.approx(value_of(one.name), rel=1e-9) for one in seen)
    assert seen or "<!--" in text


@pytest.mark.parametrize(
    "text",
    [
        "50 KiB<!-- heap_per_connection_bytes -->",
        "0.7 s (`pod_start_s`)",
        "`error_leak_probability` 1",
        "10 s<!-- ojp.connection.pool.connectionTimeout -->",
        "50 ms<!-- --fast-p99 -->",
        "0.1 %<!-- --failed -->",
        "5 s<!-- sizing.evaluate.STEADY_SPAN.least_s -->",
        "70 % (cpu_most_use)",
    ],
)
def test_what_is_right_passes(text: str) -> None:
    [one] = said(text)
    assert one.value == pytest.approx(value_of(one.name), rel=1e-9)


@pytest.mark.parametrize("name", ["no_such_row", "ojp.no.such.key", "sizing.evaluate.NO_SUCH"])
def test_a_name_that_is_nowhere_is_seen(name: str) -> None:
    with pytest.raises((AttributeError, ImportError)):
        value_of(name)
