"""The CPU constants of your own pods: their CPU seconds against the calls that they served, by least squares.

What a call takes beyond its work, to be handed to a thread and to wake a pod that has paused, follows the law of ``docs/cpu.md``
by the constants in use and is taken off first; it solves for each pod to ``W = y - H / (1 + y/C) - wake``, where y are its cores
in use, H those that handing over takes where nothing is under way, and C the node's. What is left is a constant for an idle pod
and one for each kind of call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_number, shown
from ojp_sizing.reading import yaml_constants
from ojp_sizing.telemetry.figures import has_decimal_comma, is_nothing, number
from ojp_sizing.telemetry.intervals import ends_of, ordered, stated, student
from ojp_sizing.telemetry.ojp_metrics import HISTOGRAM, rate_window_s, selected
from ojp_sizing.telemetry.prometheus import Prometheus, Track
from ojp_sizing.telemetry.series import Floats
from ojp_sizing.telemetry.tables import read_table
from ojp_sizing.uncertain import Range

CPU = "container_cpu_usage_seconds_total"
#: Kinds of calls by the constant that holds for them; every other method is a small one.
KINDS: Mapping[str, tuple[str, ...]] = {
    "statement_cpu_s": ("executeQuery", "executeUpdate", "callResource"),
    "connect_cpu_s": ("connect", "terminateSession"),
    "small_rpc_cpu_s": (),
}
#: So many points in time are too few for four numbers.
LEAST_POINTS = 60
PARTS = 20
#: Kinds that rise and fall together can't be told apart: then one factor is fitted to all of the table's.
_MOST_CONDITION = 30.0
#: An interval this much wider than its number says nothing of it.
_MOST_WIDTH = 1.0
_LEAST_S = 1e-6


@dataclass(frozen=True, slots=True)
class Use:
    """What all pods together used and served at points in time: ``cores``, ``pods``, and rates (1/s) by method."""

    place: str
    cores: Floats
    pods: Floats
    calls: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Constants by row, each a range, with the cores of an idle pod and the part of the variance that the fit explains.

    ``is_scaled``: the table's constants times one factor, since the kinds of calls couldn't be told apart. ``cores``: what was
    seen, and what the fit makes of it.
    """

    constants: Mapping[str, float]
    idle_cores: float
    explained: float
    points: int
    is_scaled: bool
    notes: tuple[str, ...]
    seen: Floats
    fitted: Floats


def calibrate(use: Use, constants: Constants | None = None) -> Calibration:
    """Least squares. Raises InputError where there are too few points, or the calls explain next to nothing."""
    known = constants or default_constants()
    kinds = by_kind(use.calls, len(use.cores))
    per_pod = {name: rates / use.pods for name, rates in kinds.items()}
    cores = use.cores / use.pods
    good = np.isfinite(cores) & (cores > 0) & np.all([np.isfinite(rates) for rates in per_pod.values()], axis=0)
    good &= sum(per_pod.values()) > 0
    if int(good.sum()) < LEAST_POINTS:
        problem = f"{int(good.sum())} points in time with calls and CPU"
        raise InputError(use.place, problem, f"{LEAST_POINTS} or more are needed: ask for a longer range")
    cores, per_pod = cores[good], {name: rates[good] for name, rates in per_pod.items()}
    connects = use.calls.get("connect", np.zeros(len(use.cores)))[good] / use.pods[good]
    extra = beyond_work(cores, sum(per_pod.values(), np.zeros(len(cores))), connects, known)
    work = cores - extra
    names = [name for name in KINDS if float(per_pod[name].max()) > 0]
    columns = np.column_stack([per_pod[name] for name in names])
    notes = [
        f"what rows cost is in statement_cpu_s: row_block_cpu_s is 0 beside it, was {format_number(known.row_block_cpu_s)} s"
    ]
    is_scaled = _are_alike(columns)
    if not is_scaled:
        values = _with_ranges(columns, work)
        low_high = [ends_of(value) for value in values[1:]]
        is_scaled = any(mid <= 0 or high - low > 2 * _MOST_WIDTH * mid for low, mid, high in low_high)
    if is_scaled:
        table = np.array([getattr(known, name) for name in names])
        values = _with_ranges((columns @ table)[:, None], work)
        notes.append(
            "kinds of calls rise and fall together, or some are rare: all constants in use were taken times one factor"
        )
        low, factor, high = ends_of(values[1])
        if factor <= 0:
            raise InputError(use.place, "CPU doesn't rise with the calls", "check that both are of the same pods")
        found = {n: _bounded(low * t, factor * t, high * t) for n, t in zip(names, table.tolist(), strict=True)}
        fitted = float(values[0]) + (columns @ table) * factor
    else:
        found = {name: _bounded(*ends_of(value)) for name, value in zip(names, values[1:], strict=True)}
        fitted = float(values[0]) + columns @ np.array([float(value) for value in values[1:]])
    if float(np.median(extra)) > 0.5 * float(np.median(cores)):
        notes.append(
            "more than half of the CPU is handing over and waking, by the law in use: what is left is fitted to little"
        )
    left = float(np.var(work - fitted)) / max(float(np.var(work)), 1e-300)
    return Calibration(
        found | {"row_block_cpu_s": 0.0}, max(0.0, float(values[0])), 1.0 - left, len(cores), is_scaled, tuple(notes),
        cores, fitted + extra,
    )  # fmt: skip


def by_kind(calls: Mapping[str, Floats], length: int) -> dict[str, Floats]:
    """Rates of the three kinds of calls."""
    kind_of = {method: kind for kind, methods in KINDS.items() for method in methods}
    found = {kind: np.zeros(length) for kind in KINDS}
    for method, rates in calls.items():
        found[kind_of.get(method, "small_rpc_cpu_s")] += rates
    return found


def beyond_work(cores: Floats, calls_per_s: Floats, visits_per_s: Floats, known: Constants) -> Floats:
    """Cores of a pod for handing over and waking, by the law in use (``theory/offered.py`` has it the other way about)."""
    pauses = np.maximum(calls_per_s * known.wake_after_s, 1e-12)
    waking = visits_per_s * known.wake_cpu_s * -np.expm1(-pauses) / pauses
    return np.asarray(calls_per_s * known.hand_over_cpu_s / (1.0 + cores / known.node_cores) + waking)


def _are_alike(columns: Floats) -> bool:
    """Whether the columns, each scaled, nearly depend on each other or on the constant (Belsley, Kuh and Welsch 1980)."""
    full = np.column_stack([np.ones(len(columns)), columns])
    norms = np.linalg.norm(full, axis=0)
    return bool((norms == 0).any() or np.linalg.cond(full / norms) > _MOST_CONDITION)


def _with_ranges(columns: Floats, work: Floats) -> list[float]:
    """Intercept and coefficients, with 95 % ranges by the jackknife over parts that follow each other.

    So that errors that go on for some time (a compiler, a neighbour) count as what they are.
    """
    full = np.column_stack([np.ones(len(work)), columns])

    def solve(rows: np.ndarray) -> Floats:
        return np.asarray(np.linalg.lstsq(full[rows], work[rows], rcond=None)[0])

    everything = np.arange(len(work))
    mids = solve(everything)
    without = np.array([solve(np.setdiff1d(everything, part)) for part in np.array_split(everything, PARTS)])
    errors = student(PARTS - 1) * np.sqrt((PARTS - 1) * without.var(axis=0))
    return [
        Range(float(mid - error), float(mid), float(mid + error)) if error > 0 else float(mid)
        for mid, error in zip(mids, errors, strict=True)
    ]


def _bounded(low: float, mid: float, high: float) -> float:
    return ordered(*(max(_LEAST_S, end) for end in (low, mid, high)))


# --- where it comes from ---------------------------------------------------------------------------------------------


def use_from_prometheus(
    server: Prometheus, start_s: float, end_s: float, step_s: float, selector: str, cpu_selector: str
) -> Use:
    """OJP's own counter beside cAdvisor's, all pods added up."""
    counter = selected(f"{HISTOGRAM}_count", selector)
    window = f"{rate_window_s(server, counter, end_s, step_s):.0f}s"
    cpu = selected(CPU, cpu_selector, 'container!="",container!="POD"')

    def ask(query: str) -> list[Track]:
        return server.query_range(query, start_s, end_s, step_s)

    calls = {
        t.labels.get("rpc_method", ""): dict(t.points) for t in ask(f"sum by (rpc_method) (rate({counter}[{window}]))")
    }
    pods = ask(f"count(sum by (instance) (rate({counter}[{window}])))")
    used = ask(f"sum(rate({cpu}[{window}]))")
    for found, name in ((calls, HISTOGRAM), (used, CPU)):
        if not found:
            raise InputError(
                server.place, f"no {name} in that range", "choose OJP's pods with --selector and --cpu-selector"
            )
    numbers, cores = dict(pods[0].points), dict(used[0].points)
    instants = sorted(numbers.keys() & cores.keys())
    return Use(
        f"{CPU} and {HISTOGRAM} at {server.url}",
        np.array([cores[at] for at in instants]),
        np.array([numbers[at] for at in instants]),
        {name: np.array([points.get(at, 0.0) for at in instants]) for name, points in calls.items()},
    )


def use_from_file(path: str | Path) -> Use:
    """A table: ``cores`` in use of all pods, ``pods`` (else one), and a column of calls a second for each method."""
    table = read_table(Path(path), lambda name: name in ("cores", "pods") or name in _methods())
    if "cores" not in table.columns:
        fix = "write a header: cores,pods,connect,executeQuery,..."
        raise InputError(table.place, "no column 'cores'", fix)
    methods = [name for name in table.columns if name not in ("cores", "pods") and name.lower() not in ("time", "at")]
    if not methods:
        raise InputError(table.place, "no column of calls", "name each by its method: connect, executeQuery, ...")
    comma = has_decimal_comma((c for _, cells in table.rows for c in cells if c), table.delimiter)

    def column(name: str) -> Floats:
        index = table.columns.index(name)
        place = f"{table.place}: {shown(name)}"
        cells = [cells[index] for _, cells in table.rows]
        return np.array([np.nan if is_nothing(c) else number(c or "", comma, place) for c in cells])

    pods = column("pods") if "pods" in table.columns else np.ones(len(table.rows))
    if len(pods) and not (pods >= 1).all():
        raise InputError(f"{table.place}: 'pods'", "fewer than 1", "write how many pods there were in each row")
    return Use(table.place, column("cores"), pods, {name: column(name) for name in methods})


def _methods() -> Sequence[str]:
    return [method for methods in KINDS.values() for method in methods]


# --- what is said of it ----------------------------------------------------------------------------------------------


def calibration_lines(found: Calibration, known: Constants | None = None) -> list[str]:
    """Each constant beside the table's, and how well they explain what was seen."""
    table = known or default_constants()
    lines = []
    for name, value in found.constants.items():
        low, mid, high = (1e3 * end for end in ends_of(value))
        spread = f"{mid:.3g} ms [{low:.3g}, {high:.3g}]" if high > low else f"{mid:.3g} ms"
        lines.append(f"{name}: {spread}, in use so far {1e3 * getattr(table, name):.3g} ms")
    error = float(np.sqrt(np.mean((found.seen - found.fitted) ** 2)) / np.mean(found.seen))
    lines.append(
        f"fit: {found.points:,} points, {found.explained:.1%} of the variance explained, error {error:.1%} of the mean"
    )
    lines.append(f"an idle pod: {found.idle_cores:.3g} cores")
    lines += [f"assumed: {note}" for note in found.notes]
    lines.append(
        "assumed: handing over and waking cost what data/constants.csv says; a pod's first minutes cost more and are in it"
    )
    return lines


def calibration_yaml(found: Calibration, place: str, lines: Sequence[str]) -> str:
    """A deployment file that sets nothing but these constants."""
    head = [f"# {line}" for line in (f"Fitted to {place}.", *lines)]
    values = ((name, stated(value)) for name, value in found.constants.items())
    return "\n".join([*head, *yaml_constants(values)]) + "\n"
