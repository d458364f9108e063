"""``docs/validation.md`` and its figures, made from ``data/validation`` alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from math import inf, isinf, log10
from pathlib import Path

import numpy as np
from scipy import stats

from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.measurement.known_error import RESOURCES, RESTARTS, STEADY, WARM_RESTARTS, Band, Error
from tests.real_server import report_cells, report_later, report_limited
from tests.real_server.artifacts import ROOT
from tests.real_server.claims import CLAIMS
from tests.real_server.cpu import COMPOSITIONS, RECORD, fit, per_unit
from tests.real_server.experiments import COMPILED_SERVERS, EXPERIMENTS, PARTS, SERVERS, WARMED_SERVERS
from tests.real_server.findings import (
    LIMIT_LOAD,
    LIMITS,
    QUANTITIES,
    Compared,
    Quantity,
    cold_pools_cpu_s,
    comebacks,
    compare,
    first_pools,
    judged,
    measured,
)
from tests.real_server.prediction import modelled
from tests.real_server.quota import WARM_QUOTAS
from tests.real_server.recorded import DATA, folder, read_json
from tests.real_server.recovery import record_replications
from tests.real_server.summary import summary_table
from tests.real_server.tables import table
from tests.real_server.told import beyond_s, network

SUMMARY, PAGE = (ROOT / "docs" / f"{name}.md" for name in ("validation", "validation-details"))
#: What of it the command line knows.
BANDS = ROOT / "data" / "bands.csv"
#: On which day a record was made that doesn't say so itself.
FIRST_DAY = "2026-11-25"
WORDS, LIMITED_WORDS, LATER_WORDS, SUMMARY_WORDS = (
    Path(__file__).with_name(f"{name}_words.md") for name in ("validation", "limited", "later", "summary")
)
NAMES = {"throughput": "throughput", "p50_s": "p50", "p95_s": "p95", "p99_s": "p99"}


def report() -> None:
    """Write the page, its figures, what the model says of further traces, and the package's own table of errors."""
    from tests.real_server.report_rates import write_cpu_page

    record_replications()
    write_cpu_page()
    BANDS.write_text(bands_csv(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    SUMMARY.write_text(summary_page(), encoding="utf-8")
    for name, drawing in figures().items():
        path = PAGE.parent / "figures" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawing, encoding="utf-8")


def summary_page() -> str:
    """The short page: what was asked, reached, and not reached."""
    text = SUMMARY_WORDS.read_text(encoding="utf-8")
    runs = steady()
    most = max(run.rate for run in runs)
    return text.replace("<!-- summary -->", summary_table(runs)).replace("{most_rate}", f"{most:,.0f}")


def page() -> str:
    """The page of details: words by hand, tables by the measurements."""
    text = WORDS.read_text(encoding="utf-8")
    for place, made in {
        "limited": LIMITED_WORDS.read_text(encoding="utf-8"), "later": LATER_WORDS.read_text(encoding="utf-8"),
        "later_runs": report_later.run_table(), "later_errors": _errors(report_later.runs()),
        "later_restarts": report_later.restart_table(), "later_lost": report_later.lost_table(),
        "later_verdicts": report_later.verdict_table(),
        "later_cpu": report_later.cpu_table(),
        "runs": _runs(), "errors": _errors(compared()), "servers": _errors(servers()),
        "bands": _bands(), "comebacks": _comebacks(), "warmed": warmed(), "cpu": _cpu(),
        "first_pools": _first_pools(), "told": _told(), "claims": _claims(), "quantities": _quantities(),
        "courses": report_limited.courses(), "course_cpu": report_limited.course_cpu(),
        "call_cpu": report_limited.call_cpu(), "memory": report_limited.memory(), "starts": report_limited.starts(),
        "locks": report_cells.lock_table(), "stalls": report_cells.stall_table(), "many": report_cells.many_table(),
        "limits": report_cells.limit_table(), "smallest": report_cells.smallest_table(),
        "parts": report_cells.parts_table(), "openings": report_cells.opening_table(),
        "recoveries": report_limited.recoveries(), "warming": report_limited.warming(),
        "figures": "\n".join(f"![quantiles of {name}](figures/{name})" for name in figures()),
    }.items():  # fmt: skip
        text = text.replace(f"<!-- {place} -->", made)
    return text


def compared() -> list[Compared]:
    """Every run that the model can be held against."""
    return [run for part in PARTS if modelled(part) and measured(part.name) for run in compare(part.name)]


def servers() -> list[Compared]:
    """Every measured run of a real server in which units ended well, by the model and by the clock."""
    parts = [part for part in SERVERS if modelled(part) and measured(part.name) and part.name != "first-connect"]
    runs = [run for part in parts for run in compare(part.name)]
    return [run for run in runs if run.now["ok"] and run.measured["ok"]]


def steady() -> list[Compared]:
    """Those at a stated share of the largest throughput, with nothing going wrong."""
    limited = [
        run
        for course in WARM_QUOTAS
        if course in report_limited.measured_courses()
        for run in report_limited.compare_course(course.name)
    ]
    return [run for run in servers() if (run.load or inf) < 1.0 and not EXPERIMENTS[run.experiment].signals] + limited


def restarts(*, warm: bool) -> list[Compared]:
    """Those at a stated load in which servers end and come back: by the whole fix, or as OJP does it."""
    parts = ((run, EXPERIMENTS[run.experiment]) for run in servers())
    backs = [(run, part) for run, part in parts if (run.load or inf) < 1.0 and part.signals]
    return [run for run, part in backs if (part.warm_calls > 0 if warm else not part.gated)]


def _runs() -> str:
    rows = []
    for part in (*PARTS, *SERVERS):
        if not measured(part.name):
            continue
        document = read_json(folder(part) / "measured.json")
        loads = [load for band in document["bands"] for load in band["load_average"]]
        units = sum(band["units"] for band in document["bands"])
        rows.append([part.name, part.asks, f"{units:,}", f"{min(loads):.1f} to {max(loads):.1f}"])
    return table(["Experiment", "What it asks", "Units", "Load average (2 cores)"], rows)


def _errors(runs: Sequence[Compared]) -> str:
    head = ["Experiment", "Load", *(f"{name}: measured" for name in NAMES.values())]
    head += ["failed: model, measured", "Error of the model now", "Error of the committed prediction"]
    return table(head, [_error_row(run) for run in runs])


def _error_row(run: Compared) -> list[str]:
    def errors(committed: bool) -> str:
        return ", ".join(f"{name} {100 * run.error(of, committed=committed):+.1f} %" for of, name in NAMES.items())

    values = [f"{run.measured['throughput']:.1f}/s"]
    values += [f"{1000 * run.measured[of]:.1f} ms" for of in NAMES if of != "throughput"]
    failed = f"{sum(run.now['failed'].values())}, {sum(run.measured['failed'].values())}"
    load = f"{100 * run.load:.0f} %" if run.load else "burst"
    return [run.experiment, load, *values, failed, errors(committed=False), errors(committed=True)]


def bands() -> list[Band]:
    """Of each version the errors by load over the steady runs of a server, and over those in which servers end and come back."""
    earlier = _bands_of(steady(), {RESTARTS: restarts(warm=False), WARM_RESTARTS: restarts(warm=True)})
    return [*earlier, *_bands_of(report_later.steady(), {RESTARTS: report_later.restarts()})]


def _bands_of(runs: Sequence[Compared], back: dict[str, list[Compared]]) -> list[Band]:
    keys = sorted({(_resource(run), run.load or 0.0) for run in runs})
    rows = [_band(STEADY, key[0], [run for run in runs if (_resource(run), run.load) == key]) for key in keys]
    return [*rows, *(_band(situation, _resource(some[0]), some) for situation, some in back.items() if some)]


def _resource(run: Compared) -> str:
    """What a run would have run out of first."""
    of = {"slots": "fast_slots_use", "threads": "threads_use"} | {course.name: "cpu_use" for course in WARM_QUOTAS}
    return RESOURCES[of.get(run.experiment.rpartition("/")[2], "connections_use")]


def _band(situation: str, resource: str, runs: Sequence[Compared]) -> Band:
    """Errors to 0.1 %: the middle one by size, of an even number the larger of the two, and the largest."""
    loads = [run.load or 0.0 for run in runs]
    experiments = tuple(dict.fromkeys(run.experiment for run in runs))
    documents = [read_json(DATA / name / "measured.json") for name in experiments]
    errors = {}
    for of, name in NAMES.items():
        ordered = sorted((run.error(of) for run in runs), key=abs)
        middle, worst = (round(error, 3) + 0.0 for error in (ordered[len(ordered) // 2], ordered[-1]))
        errors[name] = Error(middle, worst)
    versions = {document["versions"]["server"].split(",")[0].split()[-1].strip("()") for document in documents}
    days = sorted({document.get("measured_on", FIRST_DAY) for document in documents})
    return Band(
        situation, resource, min(loads), max(loads), len(runs), experiments, errors,
        " and ".join(sorted(versions)), " to ".join(dict.fromkeys((days[0], days[-1]))), "MEASURED",
    )  # fmt: skip


def bands_csv() -> str:
    """``data/bands.csv``: the table that is part of the package. Loads are shares of the bottleneck, errors relative."""
    text = io.StringIO()
    ends = [f"{name}_{end}" for name in NAMES.values() for end in ("middle", "worst")]
    head = [
        "situation",
        "resource",
        "load_from",
        "load_to",
        "runs",
        "experiments",
        *ends,
        "server",
        "measured_on",
        "status",
    ]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for band in bands():
        errors = [error for name in NAMES.values() for error in (band.errors[name].middle, band.errors[name].worst)]
        numbers = [f"{error:.10g}" for error in errors]
        row = [
            band.situation,
            band.resource,
            f"{band.load_from:g}",
            f"{band.load_to:g}",
            band.runs,
            " ".join(band.experiments),
        ]
        writer.writerow([*row, *numbers, band.server, band.measured_on, band.status])
    return text.getvalue()


def _bands() -> str:
    """The same rows for people."""
    rows = []
    for band in bands():
        errors = [f"{100 * e.middle:+.1f} %, {100 * e.worst:+.1f} %" for e in band.errors.values()]
        rows.append([band.situation, band.resource, band.load, str(band.runs), ", ".join(band.experiments), *errors])
    return table(["Situation", "Busiest", "Load", "Runs", "Experiments", *NAMES.values()], rows)


def within_limits(run: Compared) -> dict[str, bool]:
    """Which of the figures that the issue asks for a run reaches; p50 and p95 count up to a load of 80 %."""
    asked = {
        of: limit for of, limit in LIMITS.items() if of in ("throughput", "p99_s") or (run.load or inf) <= LIMIT_LOAD
    }
    return {of: abs(run.error(of)) <= limit for of, limit in asked.items()}


def _number(value: float) -> str:
    return "no end" if isinf(value) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _show(found: Quantity, unit: str) -> str:
    interval = "" if found.low == found.high else f" [{_number(found.low)}, {_number(found.high)}]"
    return f"{_number(found.value)}{interval} {unit}"


def _claims() -> str:
    rows = []
    for claim in CLAIMS:
        if measured(claim.experiment):
            found, verdict = judged(claim)
            said = f"{_number(claim.low)} to {_number(claim.high)} {claim.unit}"
            source = f"{claim.status}, {claim.source}"
            rows.append([claim.says, source, claim.experiment, said, _show(found, claim.unit), f"**{verdict}**"])
    return table(["Statement", "Status and source", "Experiment", "Predicted range", "Measured", "Verdict"], rows)


def _quantities() -> str:
    claimed = {(claim.experiment, claim.quantity) for claim in CLAIMS}
    units = {
        "connection open, median": "ms",
        "connection open, the fastest tenth's slowest": "ms",
        "getConnection, median": "ms",
        "calls that took more than 1 s": "%",
        "private memory of a PostgreSQL session, median": "MiB",
    }
    rows = [
        [experiment, quantity, _show(QUANTITIES[experiment, quantity](), units.get(quantity, "")).strip()]
        for experiment, quantity in QUANTITIES
        if (experiment, quantity) not in claimed and measured(experiment)
    ]
    return table(["Experiment", "Quantity", "Measured"], rows)


def _cpu() -> str:
    record = read_json(RECORD)
    small_s, connect_s, statement_s = (constant(f"{name}_cpu_s") for name in ("small_rpc", "connect", "statement"))
    statements = [len(composition.texts) for composition in COMPOSITIONS]
    # Beside connect and terminateSession: a close for each result set, and the two ends of a transaction.
    small = [c.texts.count(0) + 2 * c.transaction for c in COMPOSITIONS]
    told_s = [2 * connect_s + small_s * few + statement_s * some for few, some in zip(small, statements, strict=True)]
    told_s += [2 * connect_s, small_s, statement_s]
    found = {f"unit: {name}": value for name, value in per_unit().items()} | fit()
    rows = [
        [
            f"CPU, {name}",
            f"{1000 * told:.2f} ms",
            f"{1000 * value.value:.2f} [{1000 * value.low:.2f}, {1000 * value.high:.2f}] ms",
        ]
        for told, (name, value) in zip(told_s, found.items(), strict=True)
    ]
    idle, start = record["idle"], record["start_s"][0]
    rows += [
        ["CPU of an idle server", "0", f"{idle['cpu_s'] / idle['seconds']:.4f} cores"],
        [
            "resident memory before the first call",
            "",
            f"{idle['resident_bytes_before_the_first_call'] / 2**20:.0f} MiB",
        ],
        ["resident memory after this load", "", f"{idle['resident_bytes_at_the_end'] / 2**20:.0f} MiB"],
        ["process start to listening", f"{constant('pod_start_s'):g} s", f"{start:.2f} s"],
    ]
    return table(["Quantity", "The model's constants", "Measured"], rows)


def _first_pools() -> str:
    """Of each kind of burst the median, and the least and the most where they differ."""
    rows = []
    for server, cores in (("cold", None), ("cold", 1), ("warm", None), ("warm", 1)):
        for connects, bursts in first_pools(cores, server).items():
            row = [f"{server}, {cores or 2} core{'s' * (cores != 1)}", str(connects), str(len(bursts))]
            row += [_spread([burst["pools"] for burst in bursts])]
            row += [_spread([burst["cpu_s"][whose] for burst in bursts]) for whose in ("server", "database")]
            row += [_spread([burst["cpu_until_at_rest_s"]["server"] for burst in bursts])]
            row += [_spread([burst[of] for burst in bursts]) for of in ("first_pool_s", "last_pool_s")]
            rows.append([*row, _spread([time for burst in bursts for time in burst["client_s"]])])
    first_s, each_s, off = cold_pools_cpu_s()
    fitted = f"\n\nOn one core a cold server takes {first_s:.2f} + {each_s:.4f} n core seconds for n pools at once (least squares"
    fitted += f" of relative errors; root mean square {100 * off:.0f} %)."
    head = ["Server", "Connects at once", "Starts", "Pools", "Server's CPU, s", "PostgreSQL's CPU, s"]
    head += ["Server's CPU until at rest, s", "First pool, s", "Last pool, s", "getConnection(), s"]
    return table(head, rows) + fitted


def _spread(values: Sequence[float]) -> str:
    middle, low, high = float(np.median(values)), min(values), max(values)
    return f"{middle:.3g}" if low == high else f"{middle:.3g} ({low:.3g} to {high:.3g})"


def _told() -> str:
    """The distributions that the model was told."""
    levels = (0.05, 0.5, 0.95, 0.99)
    (reads_s, writes_s), way = beyond_s(), network()
    told = {
        ("a query beside its sleep", "statements"): np.quantile(reads_s, levels),
        ("an update beside its sleep", "statements"): np.quantile(writes_s, levels),
        (f"a message, one way: lognormal, sigma {way.sigma:.2f}", "idle-server"): stats.lognorm.ppf(
            levels, way.sigma, scale=way.one_way_s
        ),
    }
    rows = [[*named, *(f"{1000 * value:.2f} ms" for value in values)] for named, values in told.items()]
    return table(["Time of", "Measured by", "5 %", "median", "95 %", "99 %"], rows)


def _comebacks() -> str:
    rows = []
    for name in ("kill", "stop", "rolling"):
        [run] = compare(name)
        facts = run.measured
        found = facts | {"connections": facts["backends"]["count"]}
        sources = {"measured": found, "model": run.now}
        for source, told in sources.items():
            row = [name, source, f"{told['throughput']:.1f}/s", f"{1000 * told['p50_s']:.0f} ms"]
            rows.append([*row, f"{sum(told['failed'].values()):,}", str(told["connections"])])
    head = ["Experiment", "Source", "Throughput", "p50", "Failed or unfinished", "Database connections"]
    return table(head, rows)


def warmed() -> str:
    """Servers that come back, as OJP does it and with their pools built before clients can come; docs/restarts.md, too."""
    rows = []
    for fixed in (experiment for experiment in WARMED_SERVERS if measured(experiment.name)):
        compiled = [
            part.name for part in COMPILED_SERVERS if part.arrivals_of == fixed.arrivals_of and measured(part.name)
        ]
        ways = [(fixed.arrivals_of, "as OJP does it"), (fixed.name, "pool built first")]
        for name, how in (*ways, *((name, "and code compiled") for name in compiled)):
            [run] = compare(str(name))
            found = run.measured
            pools = [back.pools for back in comebacks(run.experiment)]
            of_measured = {"connections": found["backends"]["count"], "pools": " and ".join(map(str, pools))}
            of_model = {"pools": " and ".join(str(run.now["pools_built"][node]) for node in _ended(run.experiment))}
            for source, told in (("measured", found | of_measured), ("model", run.now | of_model)):
                row = [str(fixed.arrivals_of), how, source, f"{told['throughput']:.1f}/s"]
                row += [f"{1000 * told[of]:,.0f} ms" for of in ("p50_s", "p95_s", "p99_s")]
                rows.append([*row, f"{sum(told['failed'].values()):,}", told["pools"], str(told["connections"])])
    head = ["Experiment", "Pools", "Source", "Throughput", "p50", "p95", "p99", "Failed or unfinished"]
    return table([*head, "Pools built by each server that was back", "Database connections"], rows)


def _ended(name: str) -> list[int]:
    """The servers that were started again, in that order."""
    return [signal.node for signal in EXPERIMENTS[name].signals if signal.what == "start"]


def constant(name: str) -> float:
    """The value that the model uses."""
    return float(getattr(default_constants(), name))


# Figures ---------------------------------------------------------------------------------------------------------

_SIDE, _EDGE = 320, 40
_COLOURS = ("#1b6ca8", "#2a9d5c", "#c98a00", "#c4472b", "#7b3fa0", "#5c5c5c", "#0f8f8f")


def figures() -> dict[str, str]:
    """A figure per experiment: quantiles of the model against those measured, on logarithmic axes."""
    by_name: dict[str, list[Compared]] = {}
    for run in [*compared(), *steady()]:
        by_name.setdefault(run.experiment, []).append(run)
    for course in report_limited.measured_courses():
        by_name[course.name] = list(report_limited.compare_course(course.name))
    return {f"validation-{name}.svg": _figure(name, runs) for name, runs in by_name.items()}


def _figure(name: str, runs: Sequence[Compared]) -> str:
    pairs = [list(zip(run.measured["quantiles_s"], run.now["quantiles_s"], strict=True)) for run in runs]
    values = [value for pair in pairs for point in pair for value in point if value > 0]
    low, high = log10(min(values)) - 0.05, log10(max(values)) + 0.05

    def at(seconds: float) -> float:
        return _EDGE + (log10(max(seconds, 10**low)) - low) / (high - low) * (_SIDE - 2 * _EDGE)

    far = _SIDE - _EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDE} {_SIDE}" width="{_SIDE}" height="{_SIDE}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{_SIDE}" height="{_SIDE}" fill="#fff"/>',
        f'<path d="M{_EDGE} {far}L{far} {_EDGE}" stroke="#999"/>',
        f'<path d="M{_EDGE} {_EDGE}V{far}H{far}" fill="none" stroke="#333"/>',
        f'<text x="{_EDGE}" y="16">{escape(name)}: quantiles of latency, ms</text>',
        f'<text x="{far}" y="{_SIDE - 8}" text-anchor="end">measured</text>',
        f'<text x="12" y="{_EDGE}" transform="rotate(-90 12 {_EDGE})" text-anchor="end">model</text>',
    ]
    wide = high - low > 2.5  # decades; there is no room for more marks
    for ms in (1, 10, 100, 1000, 10_000) if wide else (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000):
        if low <= log10(ms / 1000) <= high:
            place = at(ms / 1000)
            parts.append(f'<text x="{place:.0f}" y="{far + 12}" text-anchor="middle">{ms}</text>')
            parts.append(f'<text x="{_EDGE - 4}" y="{_SIDE - place + 3:.0f}" text-anchor="end">{ms}</text>')
    for number, (run, pair) in enumerate(zip(runs, pairs, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{at(found):.1f},{_SIDE - at(told):.1f}" for found, told in pair)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        label = f"load {100 * run.load:.0f} %" if run.load else f"{run.measured['units']} units"
        parts.append(f'<text x="{_EDGE + 8}" y="{_EDGE + 12 * (number + 1)}" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
