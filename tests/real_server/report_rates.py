"""The page on the CPU of a call (docs/cpu.md): what was measured by rate and size, and what the model's law says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from math import sqrt
from pathlib import Path

import numpy as np

from ojp_sizing.behaviour.warming import OLD
from ojp_sizing.deployment.constants import constant_table, default_constants
from tests.real_server.call_rates import (
    CHANNELS,
    RECORD,
    SHARED_RECORD,
    WITHOUT_ROWS,
    Law,
    Played,
    fit_law,
    played,
)
from tests.real_server.tables import table
from tests.real_server.young import extras

WORDS = Path(__file__).with_name("cpu_words.md")
PAGE = Path(__file__).parents[2] / "docs" / "cpu.md"


def write_cpu_page() -> None:
    """Write docs/cpu.md."""
    PAGE.write_text(cpu_page(), encoding="utf-8")


def cpu_page() -> str:
    """The page: words by hand, tables by the measurements."""
    text = WORDS.read_text(encoding="utf-8")
    law, quiet = Law.of(default_constants()), played()
    places = {
        "law": _law(),
        "connects": _connects(quiet, law),
        "units": _units(quiet, law),
        "within": _within(quiet, law),
    }
    if SHARED_RECORD.exists():
        places["shared"] = _connects(played(SHARED_RECORD), law)
    places["young"] = _young()
    for place, made in places.items():
        text = text.replace("{" + place + "}", made)
    return text


def _law() -> str:
    """The numbers of the law: in use, and fitted to each record."""
    records = {"a machine left alone": RECORD, "a machine that others use": SHARED_RECORD}
    fitted = {name: fit_law(played(path)) for name, path in records.items() if path.exists()}
    rows = []
    for of in fields(Law):
        row = constant_table()[of.name]
        mine = [f"{1e3 * getattr(law, of.name):.3f} ms" for law in fitted.values()]
        rows.append([f"`{of.name}`", row.meaning, f"{1e3 * row.value:g} ms", *mine])
    return table(["Row", "What it is", "In use", *(f"Fitted: {name}" for name in fitted)], rows)


def _error(phases: Sequence[Played], law: Law) -> str:
    """Of one or several plays of the same: the range of the errors."""
    errors = sorted(100.0 * phase.error(law) for phase in phases)
    if not errors:
        return ""
    cores = " and ".join(f"{phase.cores:.3f}" for phase in phases)
    told = f"{errors[0]:+.0f}" if len(errors) == 1 else f"{errors[0]:+.0f} to {errors[-1]:+.0f}"
    return f"{cores} ({told} %)"


def _connects(phases: Sequence[Played], law: Law) -> str:
    """Connects alone: cores measured, and the error of the law."""
    mine = [phase for phase in phases if phase.mix == "connect" and phase.channels == CHANNELS]
    sizes = list(dict.fromkeys(phase.size for phase in mine))
    rates = sorted({phase.rate_per_s for phase in mine if phase.rate_per_s is not None})
    rows = []
    for rate in (*rates, None):
        row = ["as fast as it can" if rate is None else f"{rate:,.0f}/s"]
        for size in sizes:
            there = [phase for phase in mine if phase.size == size and phase.rate_per_s == rate]
            if rate is None and there:
                row.append(f"{there[0].calls_per_s:,.0f}/s: {_error(there, law)}")
            else:
                row.append(_error(there, law))
        rows.append(row)
    return table(["connects", *sizes], rows)


def _units(phases: Sequence[Played], law: Law) -> str:
    """Whole units."""
    mine = [phase for phase in phases if phase.mix != "connect" and phase.rate_per_s is not None]
    sizes = list(dict.fromkeys(phase.size for phase in mine))
    rows = []
    for mix, rate in dict.fromkeys((phase.mix, phase.rate_per_s) for phase in mine):
        there = [[p for p in mine if (p.mix, p.rate_per_s, p.size) == (mix, rate, size)] for size in sizes]
        rows.append([mix, f"{rate:,.0f}/s", *(_error(each, law) for each in there)])
    return table(["unit", "rate", *sizes], rows)


def _within(phases: Sequence[Played], law: Law) -> str:
    """How far the law is off, and how far a measurement is off when it is made again."""
    errors = np.array(
        [phase.error(law) for phase in phases if phase.channels == CHANNELS and phase.mix in WITHOUT_ROWS]
    )
    return (
        f"Of {len(errors)} phases without rows {(np.abs(errors) <= 0.15).sum()} are within 15 %,"
        f" {(np.abs(errors) <= 0.3).sum()} within 30 %; the mean error is {100 * errors.mean():+.0f} %. {_again(phases)}"
    )


def _again(phases: Sequence[Played]) -> str:
    """Connects that were played twice on one server, minutes apart."""
    ratios = []
    for size in dict.fromkeys(phase.size for phase in phases):
        for rate in (200.0, 1000.0):
            twice = [
                p.cores
                for p in phases
                if (p.size, p.mix, p.rate_per_s, p.channels) == (size, "connect", rate, CHANNELS)
            ]
            if len(twice) == 2:
                ratios.append(max(twice) / min(twice) - 1.0)
    return (
        f"The same phase on the same server, played again after some minutes, differed by {100 * min(ratios):.0f} to"
        f" {100 * max(ratios):.0f} %."
    )


def _young() -> str:
    """A new process: what its handlers and its compiler took beyond what the same calls take later, and by the law in use."""
    constants, rows = default_constants(), []
    for course in extras():
        for extra in course:
            roots = 2.0 * sqrt(min(extra.calls, OLD))
            rows.append([
                f"{extra.size}, {extra.rate_per_s:g} units/s", f"{extra.calls:,}",
                f"{extra.handlers_s:.2f} s", f"{roots * constants.young_cpu_s:.2f} s",
                f"{extra.compiler_s:.2f} s", f"{roots * constants.compile_cpu_s:.2f} s",
            ])  # fmt: skip
    return table(["Server", "Calls", "Handlers: measured", "By the law", "Compiler: measured", "By the law"], rows)
