"""The short table of docs/validation.md: of each quantity what was asked, what was reached, and what wasn't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from ojp_sizing.deployment.constants import default_constants
from tests.real_server import locks, memory, report_cells, report_later
from tests.real_server.call_rates import CHANNELS, WITHOUT_ROWS, Law, played
from tests.real_server.findings import LIMIT_LOAD, Compared, compare
from tests.real_server.later import FOLDER
from tests.real_server.recorded import read_json
from tests.real_server.recovery import LATER_NAMES, NAMES, measured_recovery, replicated
from tests.real_server.report_limited import compare_course
from tests.real_server.tables import table

#: Shares that are asked: relative errors, and cells whose verdict is right.
THROUGHPUT, MIDDLE, TAIL, CPU = 0.02, 0.10, 0.20, 0.15
#: The recommended memory limit over the smallest one: this project's own bound.
MOST_MEMORY = 1.5
TAILS = {"p95_s": TAIL, "p99_s": TAIL}


@dataclass(frozen=True, slots=True)
class Row:
    """``reached`` of ``of`` runs, bands, phases or cells; ``missed`` names the others, with how far they are off."""

    quantity: str
    asked: str
    reached: int
    of: int
    missed: tuple[str, ...]


def _runs(quantity: str, asked: str, runs: Sequence[Compared], limits: dict[str, float]) -> Row:
    """How many runs keep all of these limits."""
    missed = []
    for run in runs:
        off = {name: run.error(name) for name, limit in limits.items() if abs(run.error(name)) > limit}
        if off:
            load = f" at {100 * run.load:.0f} %" if run.load and not run.experiment.endswith("compiled") else ""
            words = ", ".join(f"{name.removesuffix('_s')} {100 * error:+,.0f} %" for name, error in off.items())
            missed.append(f"`{run.experiment}`{load}: {words}")
    return Row(quantity, asked, len(runs) - len(missed), len(runs), tuple(missed))


def summary_rows(steady: Sequence[Compared]) -> list[Row]:
    """Every row; ``steady``: the runs of warm servers at a stated load."""
    known = [run for run in steady if (run.load or inf) <= LIMIT_LOAD]
    bound = [run for run in known if run.experiment.startswith("cpu-bound")]
    others = [run for run in known if run not in bound]
    young = [
        run for name in ("end-to-end", "quota-0.5") for run in compare_course(name) if (run.load or inf) <= LIMIT_LOAD
    ]
    all_three = {"p50_s": MIDDLE, "p95_s": MIDDLE, "p99_s": TAIL}
    rows = [
        _runs("throughput at steady peak", "2 %", [*known, *young], {"throughput": THROUGHPUT}),
        _runs("p50, p95, p99: connections, slots or threads the bottleneck", "10, 10, 20 %", others, all_three),
        _runs("p50, p95, p99: CPU the bottleneck, servers long warm", "10, 10, 20 %", bound, all_three),
        _runs("the same on servers of half a core that were still young", "10, 10, 20 %", young, all_three),
        _runs("p50, p95, p99: slots that are lent, near their limit", "10, 10, 20 %", _lent(), all_three),
        _runs("p95, p99 over updates and losses, pools and code warm", "20 %", _back("compiled"), TAILS),
        _runs("the same with the pools warm alone", "20 %", _back("warmed"), TAILS),
        _found(),
    ]
    cells = [(name, told["locked"] == found["locked"]) for name, told, found in _lock_cells()]
    rows.append(_cells("slots and connections lock, or don't", cells))
    told, measured = read_json(locks.PREDICTION)["stalls"], read_json(locks.RECORD)["cells"]
    stalls = [(name, told[name]["locked"] == measured[name]["locked"]) for name in told if name in measured]
    rows.append(_cells("the same after a server stood still, by a rule", stalls))
    many = [
        (name, all(told[of] == found[of] for of in ("collapses", "recovers"))) for name, told, found in _many_cells()
    ]
    rows.append(_cells("many client JVMs: collapses, recovers", many))
    rows.append(_memory())
    law = Law.of(default_constants())
    phases = [phase for phase in played() if phase.channels == CHANNELS and phase.mix in WITHOUT_ROWS]
    off = np.abs([phase.error(law) for phase in phases])
    near = f"{(off <= 0.3).sum()} are within 30 % ([cpu.md](cpu.md)); the same phase again differs by up to 36 %"
    rows.append(
        Row("CPU of a pod, 50/s to full speed, 0.25 to 2 cores", "15 %", int((off <= CPU).sum()), len(off), (near,))
    )
    return rows + _later(all_three)


def _later(limits: dict[str, float]) -> list[Row]:
    """The same of the later version that was measured."""
    runs = report_later.steady()
    failed = []
    for name in LATER_NAMES:
        told = replicated(name)["failed"]
        failed.append((name, told[0] <= measured_recovery(name).failed <= told[-1]))
    said = [(what.replace("`", ""), same) for what, _, _, same in report_later.verdicts()]
    return [
        _runs(f"{FOLDER}: throughput at steady peak", "2 %", runs, {"throughput": THROUGHPUT}),
        _runs(f"{FOLDER}: p50, p95, p99: permits, slots or threads the bottleneck", "10, 10, 20 %", runs, limits),
        _runs(f"{FOLDER}: p95, p99 over updates and losses", "20 %", report_later.restarts(), TAILS),
        _cells(f"{FOLDER}: first pools, locks and leaks", said),
        replace(_cells(f"{FOLDER}: units that fail over a loss or an update", failed), asked="in the model's range"),
    ]


def _back(how: str) -> list[Compared]:
    return [run for name in ("kill", "rolling") for run in compare(f"{name}-{how}")]


def _lent() -> list[Compared]:
    return [run for name in ("segregation-warm", "borrow") for run in compare(name)]


def _found() -> Row:
    """When a server that ended was found out: the measured instant against the range of the model's traces."""
    missed = []
    for name in NAMES:
        seen, of = measured_recovery(name).found_s, replicated(name)["found_s"]
        if not of[0] <= seen <= of[-1]:
            missed.append(f"`{name}`: {seen:.2f} s, the model {of[0]:.2f} to {of[-1]:.2f} s")
    return Row(
        "a server's end is found out, s", "in the model's range", len(NAMES) - len(missed), len(NAMES), tuple(missed)
    )


def _lock_cells() -> list[tuple[str, dict[str, bool], dict[str, bool]]]:
    return [
        (cell.name.rpartition("/")[2], dict(told), dict(found)) for cell, told, found, _ in report_cells.lock_cells()
    ]


def _many_cells() -> list[tuple[str, dict[str, bool], dict[str, bool]]]:
    """By the model as it is now."""
    return [
        (cell.name.rpartition("/")[2], report_cells.many_now(cell), dict(found))
        for cell, _, found in report_cells.many_cells()
    ]


def _memory() -> Row:
    """The recommended limit of each size against the smallest with which it held its load for ten minutes."""
    document = read_json(memory.LIMITS)
    ratios = {
        size.name: memory.recommended(size).limit / document["long"][size.name]["limit_bytes"] for size in memory.SIZES
    }
    missed = [f"`{name}`: {ratio:.2f} times" for name, ratio in ratios.items() if not 1.0 <= ratio <= MOST_MEMORY]
    what = f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f} times the smallest limit"
    return Row(f"memory limit: {what}", "1 to 1.5 times", len(ratios) - len(missed), len(ratios), tuple(missed))


def _cells(quantity: str, right: Sequence[tuple[str, bool]]) -> Row:
    missed = tuple(f"`{name}`" for name, is_right in right if not is_right)
    return Row(quantity, "9 of 10", len(right) - len(missed), len(right), missed)


def summary_table(steady: Sequence[Compared]) -> str:
    """The rows for people."""
    rows = [
        [row.quantity, row.asked, f"{row.reached} of {row.of}", "; ".join(row.missed) or "-"]
        for row in summary_rows(steady)
    ]
    return table(["Quantity", "Asked", "Reached", "Not reached: error of the model"], rows)
