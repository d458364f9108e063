"""OJP 0.4.21 on the pages of validation: what was asked of it, and what it did, beside the model."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.kinds import Ending
from tests.real_server import cpu
from tests.real_server.experiments import Experiment, Signal
from tests.real_server.findings import LIMIT_LOAD, Compared, compare, measured
from tests.real_server.later import ALL, CELLS, CPU, FOLDER
from tests.real_server.locks import LOCKED_SHARE
from tests.real_server.predict import simulate_experiment
from tests.real_server.prediction import modelled
from tests.real_server.recorded import DATA, folder, read_columns, read_json
from tests.real_server.recovery import LATER_NAMES, measured_recovery, replicated
from tests.real_server.tables import table
from tests.real_server.told import told_trace
from tests.real_server.verdicts import LONG_S

#: Nothing goes wrong in these, and their load is a share of what a known bottleneck carries.
STEADY_NAMES = tuple(f"{FOLDER}/{name}" for name in ("slots", "pool", "threads", "nodes-3"))
EARLIER = "0.3.1-beta"
#: A client looks after every pod this often, s.
LOOK_S = 5.0


def runs() -> list[Compared]:
    """Every measured run of which some units ended well, by the model and by the clock."""
    parts = [cell for cell in CELLS if modelled(cell) and measured(cell.name)]
    return [run for cell in parts for run in compare(cell.name) if run.now["ok"] and run.measured["ok"]]


def steady() -> list[Compared]:
    """Those at a stated share of the largest throughput, with nothing going wrong."""
    return [run for run in runs() if run.experiment in STEADY_NAMES and (run.load or inf) <= LIMIT_LOAD]


def restarts() -> list[Compared]:
    """Those in which servers end and come back."""
    return [run for run in runs() if run.experiment in LATER_NAMES]


def run_table() -> str:
    """What was asked, and how busy the machine was."""
    rows = []
    for cell in CELLS:
        if measured(cell.name):
            bands = read_json(folder(cell) / "measured.json")["bands"]
            loads = [load for band in bands for load in band["load_average"]]
            units = sum(band["units"] for band in bands)
            rows.append([f"`{cell.name}`", cell.asks, f"{units:,}", f"{min(loads):.1f} to {max(loads):.1f}"])
    return table(["Experiment", "What it asks", "Units", "Load average (2 cores)"], rows)


def restart_table() -> str:
    """What fails while a server is gone: measured, and the range of the model's traces."""
    rows = []
    for name in LATER_NAMES:
        if measured(name):
            found, told = measured_recovery(name), replicated(name)
            cells = [(found.failed, told["failed"], ",.0f"), (found.found_s, told["found_s"], ".2f")]
            row = [f"{value:{how}}; {of[0]:{how}} to {of[-1]:{how}}" for value, of, how in cells]
            rows.append([f"`{name}`", *row])
    head = ["Experiment", "Units failed: measured; model", "Found out after, s: measured; model"]
    return table(head, rows)


def lost_table() -> str:
    """Which share of its clients' new work a dead pod gets until they look."""
    rows = []
    for name in LATER_NAMES:
        if measured(name):
            told, found = modelled_losses(name), measured_losses(name)
            for signal, mine, real in zip(_ends(ALL[name]), told, found, strict=True):
                place = ("first", "second", "third")[signal.node]
                rows.append(
                    [f"`{name}`, {signal.at_s:g} s", place, *(f"{100 * share:.0f} %" for share in (mine, real))]
                )
    return table(["Experiment, pod ended at", "Its place in the URL", "Model", "Measured"], rows)


def _ends(cell: Experiment) -> list[Signal]:
    return [signal for signal in cell.signals if signal.what in ("KILL", "TERM")]


def measured_losses(name: str) -> list[float]:
    """Of the units that are due between a pod's end and each client's last call there: the share that found nobody."""
    cell = ALL[name]
    units, trace = read_columns(folder(cell) / "measured-0.csv.xz"), told_trace(cell, 0)
    gone = np.array(["UNAVAILABLE" in error for error in units["error"]])
    return _losses(cell, units["due_us"] / 1e6, gone, trace.jvm)


def modelled_losses(name: str) -> list[float]:
    """The same of the model, on the arrivals that were played."""
    cell = ALL[name]
    trace = told_trace(cell, 0)
    outcomes = simulate_experiment(cell, trace)
    units = len(trace.arrival_s)
    return _losses(cell, outcomes.arrival_s[:units], outcomes.outcome[:units] == Ending.UNAVAILABLE, trace.jvm)


def _losses(
    cell: Experiment, due_s: NDArray[np.float64], gone: NDArray[np.bool_], jvms: NDArray[np.int32]
) -> list[float]:
    """By signal, over all clients. A look comes every 5 s: whoever calls in vain later meets something else."""
    shares = []
    for signal in _ends(cell):
        lost = asked = 0
        for jvm in np.unique(jvms):
            mine = (jvms == jvm) & (due_s >= signal.at_s) & (due_s < signal.at_s + LOOK_S)
            if (mine & gone).any():
                until = mine & (due_s <= due_s[mine & gone].max())
                lost, asked = lost + int((until & gone).sum()), asked + int(until.sum())
        shares.append(lost / asked if asked else 0.0)
    return shares


def verdicts() -> list[tuple[str, str, str, bool]]:
    """(what, predicted, measured, whether that is the same) of each behaviour that has no latency to compare."""
    return list(_verdicts())


def _verdicts() -> Iterator[tuple[str, str, str, bool]]:
    name = f"{FOLDER}/first-connects"
    if measured(name):
        told, found = _bands(name)
        pools = found["servers"]["pools_built"]
        yield "pools built by 200 first connects at once", *_pair(told["pools_built"], pools)
    for short in ("two-6-70", "burst-20"):
        if measured(name := f"{FOLDER}/{short}"):
            told, found = _bands(name)
            told_locked = sum(told["failed"].values()) > LOCKED_SHARE * found["units"]
            yield f"`{name}` locks (0.3.1: yes)", *_pair(told_locked, _locked(name))
    for short in ("leak-update", "leak-query"):
        if measured(name := f"{FOLDER}/{short}"):
            told, found = _bands(name)
            yield (
                f"`{name}`: failures by the database, and for want of what was lost",
                *_pair(_kinds(told["failed"]), _kinds(found["failed"])),
            )


def _pair(told: object, found: object) -> tuple[str, str, bool]:
    return _say(told), _say(found), told == found


def _say(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _kinds(failed: dict[str, int]) -> list[int]:
    by_database = sum(count for kind, count in failed.items() if "division by zero" in kind or kind == "database error")
    return [by_database, sum(failed.values()) - by_database]


def _locked(name: str) -> bool:
    """By the same rule as 0.3.1's cells (``locks``)."""
    units = read_columns(folder(ALL[name]) / "measured-0.csv.xz")
    late = (units["ended_us"] - units["thought_us"] > LONG_S * 1e6) | (units["ended_us"] < 0)
    failed = units["error"] != ""
    return bool(max(failed.sum(), late.sum()) > LOCKED_SHARE * len(failed))


def _bands(name: str) -> tuple[dict[str, object], dict[str, object]]:  # type: ignore[type-arg]
    before, found = (read_json(folder(ALL[name]) / f"{part}.json")["bands"][0] for part in ("prediction", "measured"))
    return before, found


def verdict_table() -> str:
    """The same for people."""
    rows = [[what, told, found, "yes" if same else "**no**"] for what, told, found, same in verdicts()]
    return table(["Behaviour", "Predicted", "Measured", "As predicted"], rows)


def cpu_table() -> str:
    """CPU of a unit by its composition: both versions measured in the same way, and the model's ratio."""
    if not (DATA / CPU / "measured.json").exists():
        return ""
    told = read_json(DATA / CPU / "prediction.json")
    later, earlier = cpu.per_unit(DATA / CPU / "measured.json"), cpu.per_unit()
    version = next(name for name in told if name.startswith(FOLDER))
    rows = []
    for name, found in later.items():
        before = earlier[name]
        model = told[version][name] / told[EARLIER][name]
        values = [f"{1000 * one.value:.2f} [{1000 * one.low:.2f}, {1000 * one.high:.2f}] ms" for one in (before, found)]
        rows.append([name, *values, f"{found.value / before.value:.2f}", f"{model:.2f}"])
    head = ["Unit", "0.3.1", FOLDER, f"{FOLDER} over 0.3.1", "the model's"]
    return table(head, rows)
