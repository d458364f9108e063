"""What OJP's own metric says: calls per method over time, and thereby units per second, statements per unit, and latency.

Servers of 0.3.x export OpenTelemetry's histogram ``rpc_server_duration_milliseconds`` with a label for the method (reference 12;
its name there is GENERAL, not observed). A unit of work connects once to every pod (reference 1.4, CODE), so that units per
second are connects per second and pod.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, sqrt

import numpy as np

from ojp_sizing.demand.workload import UnitOfWork, Workload
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_duration
from ojp_sizing.telemetry.intervals import around, student
from ojp_sizing.telemetry.prometheus import Prometheus, Track
from ojp_sizing.telemetry.series import Floats, Series, series_of_points

HISTOGRAM = "rpc_server_duration_milliseconds"
CONNECT, START = "connect", "startTransaction"
STATEMENTS = ("executeQuery", "executeUpdate", "callResource")
#: Scrapes are taken to come so often where the server doesn't tell.
_SCRAPE_S = 60.0
_LATENCY_STEP_S = 3600.0
#: A ratio's range is by the jackknife over so many parts of the record.
_PARTS = 20
_SELECTOR = re.compile(
    r'\s*[a-zA-Z_]\w*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"\s*(?:,\s*[a-zA-Z_]\w*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"\s*)*'
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one method, in s, with its waits: mean, and what half and 99 % of the calls stay below (between its buckets' ends)."""

    calls: float
    mean_s: float
    p50_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class OjpLoad:
    """What OJP's metric says. ``calls`` by method are rates (1/s) in the steps of ``units``; ``pods`` is their mean number.

    ``statements_per_unit`` and ``transactions`` (part of the units) are ranges.
    """

    units: Series
    calls: Mapping[str, Floats]
    pods: float
    statements_per_unit: float
    transactions: float
    latency: Mapping[str, Latency]


def selected(name: str, selector: str, more: str = "") -> str:
    """A metric's series that a selector names. Raises InputError for what is none."""
    if selector and not _SELECTOR.fullmatch(selector):
        raise InputError("--selector", "not a list of label matches", "write for example 'namespace=\"ojp\"'")
    inner = ",".join(part for part in (selector.strip(), more) if part)
    return f"{name}{{{inner}}}" if inner else name


def rate_window_s(server: Prometheus, series: str, end_s: float, step_s: float) -> float:
    """How far back a rate must look to see two scrapes, at least a step."""
    counted = server.query(f"max(max_over_time((count_over_time({series}[10m]))[1d:10m]))", end_s)
    most = max((value for track in counted for _, value in track.points), default=0.0)
    scrape_s = 600.0 / most if most >= 1 else _SCRAPE_S
    return max(step_s, ceil(2.5 * scrape_s))


def ojp_load(server: Prometheus, start_s: float, end_s: float, step_s: float, selector: str = "") -> OjpLoad | None:
    """What OJP's servers counted; None where they have no such metric."""
    counter = selected(f"{HISTOGRAM}_count", selector)
    window = f"{rate_window_s(server, counter, end_s, step_s):.0f}s"

    def ask(query: str) -> list[Track]:
        return server.query_range(query, start_s, end_s, step_s)

    tracks = ask(f"sum by (rpc_method) (rate({counter}[{window}]))")
    by_method = {track.labels.get("rpc_method", ""): track.points for track in tracks if track.points}
    if not by_method:
        return None
    if CONNECT not in by_method:
        known = ", ".join(sorted(by_method)[:8])
        raise InputError(
            server.place, f"{HISTOGRAM} has no method {CONNECT}, only {known}", "choose OJP's pods with --selector"
        )
    connects = selected(f"{HISTOGRAM}_count", selector, f'rpc_method="{CONNECT}"')
    pods = ask(f"count(rate({connects}[{window}]))")
    numbers = dict(pods[0].points) if pods else {}
    per_pod = [(at, value / numbers[at]) for at, value in by_method[CONNECT] if numbers.get(at)]
    place = f"{HISTOGRAM} at {server.url}"
    units = series_of_points([per_pod], place, "rate", step_s)
    calls = {name: _aligned(points, units) for name, points in by_method.items()}
    statements = _sum([calls[name] for name in STATEMENTS if name in calls], len(units.counts))
    unit_rates = units.counts / units.step_s
    started = calls.get(START, np.zeros(len(unit_rates)))
    latency = _latency(server, start_s, end_s, selector)
    mean_pods = float(np.mean(list(numbers.values())))
    return OjpLoad(units, calls, mean_pods, ratio(statements, unit_rates), ratio(started, unit_rates), latency)


def _aligned(points: Sequence[tuple[float, float]], units: Series) -> Floats:
    found = np.zeros(len(units.counts))
    for at, value in points:
        index = round((at - units.start_s) / units.step_s) - 1
        if 0 <= index < len(found) and np.isfinite(value):
            found[index] = value
    return found


def _sum(parts: Sequence[Floats], length: int) -> Floats:
    return np.asarray(sum(parts, np.zeros(length)))


def ratio(over: Floats, under: Floats) -> float:
    """Of two sums, with a range by the jackknife over parts of the record that follow each other."""
    good = np.isfinite(over) & np.isfinite(under)
    over, under = over[good], under[good]
    total = float(under.sum())
    if total <= 0:
        return 0.0
    mid = float(over.sum()) / total
    parts = [part for part in np.array_split(np.arange(len(over)), _PARTS) if len(part)]
    rests = [total - float(under[part].sum()) for part in parts]
    without = [
        (float(over.sum()) - float(over[part].sum())) / rest
        for part, rest in zip(parts, rests, strict=True)
        if rest > 0
    ]
    if len(without) < 3 or mid <= 0:
        return mid
    count = len(without)
    error = sqrt((count - 1) * float(np.var(without))) / mid
    return around(mid, student(count - 1) * error, student(count - 1) * error)


def _latency(server: Prometheus, start_s: float, end_s: float, selector: str) -> dict[str, Latency]:
    def summed(part: str, by: str) -> list[Track]:
        series = selected(f"{HISTOGRAM}_{part}", selector)
        query = f"sum by ({by}) (increase({series}[{_LATENCY_STEP_S:.0f}s]))"
        first_s = min(end_s, start_s + _LATENCY_STEP_S)
        return server.query_range(query, first_s, end_s, _LATENCY_STEP_S)

    def total(track: Track) -> float:
        return float(np.nansum([value for _, value in track.points]))

    counts, sums = (
        {t.labels.get("rpc_method", ""): total(t) for t in summed(part, "rpc_method")} for part in ("count", "sum")
    )
    buckets: dict[str, list[tuple[float, float]]] = {}
    for track in summed("bucket", "le, rpc_method"):
        try:
            edge = float(track.labels.get("le", "nan"))
        except ValueError:
            continue
        buckets.setdefault(track.labels.get("rpc_method", ""), []).append((edge, total(track)))
    return {
        name: Latency(
            count, sums.get(name, 0.0) / count / 1e3, *(_quantile(buckets.get(name, []), q) / 1e3 for q in (0.5, 0.99))
        )
        for name, count in counts.items()
        if count > 0
    }


def _quantile(buckets: Sequence[tuple[float, float]], quantile: float) -> float:
    """Of cumulated counts by upper edge, straight between two edges; the last finite edge where it lies beyond."""
    found = sorted(buckets)
    if not found or found[-1][1] <= 0:
        return float("nan")
    wanted, below, before = quantile * found[-1][1], 0.0, 0.0
    for edge, count in found:
        if count >= wanted and np.isfinite(edge):
            return below + (edge - below) * (wanted - before) / max(count - before, 1e-12)
        if np.isfinite(edge):
            below, before = edge, count
    return below


def with_units(workload: Workload, load: OjpLoad) -> tuple[Workload, str]:
    """The workload with as many statements in a unit as were seen, and what is to be said of it.

    Only where its units draw their statements: with the order stated, the application is known better. The mean is met by two
    units of neighbouring whole numbers; those in a transaction have a share of their own.
    """
    mean = float(load.statements_per_unit)
    drawn = [unit for unit in workload.units if isinstance(unit.statements, int)]
    if len(drawn) != len(workload.units) or not 1 <= mean <= 1000 or any(not s.share for s in workload.statements):
        return workload, f"{mean:.3g} statements a unit were seen; the workload states its own"
    think = drawn[0].think
    low, part = floor(mean), mean - floor(mean)
    in_transaction = min(1.0, float(load.transactions))
    units = []
    for statements, by_number in ((low, 1 - part), (low + 1, part)):
        for transaction, share in ((False, 1 - in_transaction), (True, in_transaction)):
            if by_number * share > 1e-6:
                name = f"{'transaction' if transaction else 'auto_commit'}_of_{statements}"
                units.append(UnitOfWork(name, by_number * share, statements, transaction, think))
    whole = sum(unit.share for unit in units)
    units = [replace(unit, share=unit.share / whole) for unit in units]
    said = f"units of {mean:.3g} statements in the mean, {in_transaction:.0%} of them in a transaction, by calls for each connect"
    return replace(workload, units=tuple(units)), said


def load_lines(load: OjpLoad) -> list[str]:
    """What OJP's metric says beside the demand."""
    lines = []
    for name, found in sorted(load.latency.items(), key=lambda item: -item[1].calls)[:8]:
        times = ", ".join(
            f"{what} {format_duration(value, 3)}"
            for what, value in (("mean", found.mean_s), ("p50", found.p50_s), ("p99", found.p99_s))
            if np.isfinite(value)
        )
        lines.append(f"{name}: {found.calls:,.4g} calls, {times} with waits")
    return lines
