"""The tables of ``docs/validation.md`` about servers with a CPU limit."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import isinf

import numpy as np

from ojp_sizing.deployment.constants import default_constants
from tests.real_server.course import Course, cpu_of_a_unit_s, measured_bands, told
from tests.real_server.end_to_end import COMPOSITIONS, END_TO_END, calls
from tests.real_server.end_to_end import FOLDER as END_TO_END_FOLDER
from tests.real_server.experiments import EXPERIMENTS
from tests.real_server.findings import Compared, median
from tests.real_server.footprint import LIMITS, MEMORY, STARTS, per_connection
from tests.real_server.quota import QUOTAS, WARM_QUOTAS
from tests.real_server.recorded import folder, read_json
from tests.real_server.recovery import NAMES, measured_recovery, replicated
from tests.real_server.tables import table

COURSES = (END_TO_END, *QUOTAS, *WARM_QUOTAS)
FIGURES = {"throughput": "throughput", "p50_s": "p50", "p95_s": "p95", "p99_s": "p99"}


def measured_courses() -> list[Course]:
    """Those that were run."""
    return [course for course in COURSES if measured_bands(course) is not None]


@cache
def compare_course(name: str) -> tuple[Compared, ...]:
    """Each band."""
    course = next(course for course in COURSES if course.name == name)
    before = read_json(course.folder / "prediction.json")["bands"]
    return tuple(
        Compared(name, number, found["rate"], found["load"], before[number], told(course, number), found)
        for number, found in enumerate(measured_bands(course) or [])
    )


def predicted_apart(name: str) -> list[Compared]:
    """The same with the committed prediction by the CPU of a call that was measured apart."""
    course = next(course for course in COURSES if course.name == name)
    before = read_json(course.folder / "prediction.json")["bands_measured_apart"]
    return [replace(run, before=one) for run, one in zip(compare_course(name), before, strict=True)]


def _errors(run: Compared, *, committed: bool) -> str:
    return ", ".join(f"{name} {100 * run.error(of, committed=committed):+,.0f} %" for of, name in FIGURES.items())


def courses() -> str:
    """Each band: measured, and the errors of the model by both sets of constants."""
    rows = []
    for course in measured_courses():
        for run, apart in zip(compare_course(course.name), predicted_apart(course.name), strict=True):
            row = [course.name, f"{100 * (run.load or 0):.0f} %", f"{run.measured['throughput']:.0f}/s"]
            row += [f"{1000 * run.measured[of]:.1f} ms" for of in FIGURES if of != "throughput"]
            row += [str(sum(run.measured["failed"].values()))]
            rows.append([
                *row, _errors(run, committed=True), _errors(apart, committed=True), _errors(run, committed=False),
            ])  # fmt: skip
    head = ["Experiment", "Load", *(f"{name}: measured" for name in FIGURES.values()), "failed"]
    head += ["Committed prediction, the table's constants", "Committed prediction, CPU measured apart"]
    return table([*head, "The model now"], rows)


def course_cpu() -> str:
    """What each band used."""
    rows = []
    for course in measured_courses():
        known, apart = cpu_of_a_unit_s(course), cpu_of_a_unit_s(course, **course.changes())
        for band in measured_bands(course) or []:
            answered = sum(band["calls"].values())
            rows.append([
                course.name, f"{100 * band['load']:.0f} %", f"{1000 * band['cpu_s'] / band['units']:.2f} ms",
                f"{1000 * known:.2f}, {1000 * apart:.2f} ms", f"{1e6 * band['cpu_s'] / answered:.0f} us",
                f"{band['cores']:.3f}", f"{100 * band['throttled_periods'] / max(1, band['periods']):.0f} %",
                f"{band['client_cores']:.2f}, {band['database_cores']:.2f}, {band['all_cores']:.2f}",
                f"{band['resident_bytes'] / 2**20:.0f} MiB",
            ])  # fmt: skip
    head = ["Experiment", "Load", "Server's CPU for a unit", "By the table (the work alone), by CPU measured apart"]
    head += ["Server's CPU for a call", "Server's cores", "Periods in which it was stopped"]
    return table([*head, "Cores of the client, the database, all", "Resident memory of the server"], rows)


def call_cpu() -> str:
    """The CPU of a call by a warm server under its limit, against the table's."""
    names = {
        "connect_cpu_s": "connect or terminateSession", "small_rpc_cpu_s": "other small call",
        "statement_cpu_s": "statement",
    }  # fmt: skip
    rows = [
        [names[name], _ms(getattr(default_constants(), name)), f"{_ms(f.value)} [{_ms(f.low)}, {_ms(f.high)}]"]
        for name, f in calls().items()
    ]
    blocks = read_json(END_TO_END_FOLDER / "calls.json")["blocks"][len(COMPOSITIONS) :]
    for number in range(len(COMPOSITIONS)):
        mine = blocks[number :: len(COMPOSITIONS)]
        what = ", ".join(["connect", *(text.split("_")[0] for text in mine[0]["texts"]), "close"])
        used = np.array([block["cpu_s"] / block["units"] for block in mine])
        rows.append([f"unit: {what}", "", f"{_ms(float(used.mean()))} ({_ms(used.min())} to {_ms(used.max())})"])
    return table(["Call", "The model's constants", "Measured"], rows)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


def warming() -> str:
    """What a new process does in its first 100 s under saturation."""
    document = read_json(END_TO_END_FOLDER / "most.json")
    done, limit = np.array(document["by_second"]), document["limit_cores"]
    rows = []
    for begin, end in ((4, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 60), (60, 70), (70, 100)):
        rate = float(done[begin:end].mean())
        rows.append([f"{begin} to {end} s", f"{rate:,.0f}/s", f"{1000 * limit / rate:.2f} ms"])
    return table(["After the first unit", "Units", "The limit's CPU for a unit"], rows)


def memory() -> str:
    """What a connection more takes."""
    if not MEMORY.exists():
        return ""
    what = {
        "resident_bytes": "server, resident memory", "live_heap_bytes": "server, living on the heap",
        "sessions_private_bytes": "PostgreSQL, private memory of the sessions",
    }  # fmt: skip
    rows = []
    for of, name in what.items():
        line = per_connection(of)
        each = f"{line.value / 1024:,.0f} [{line.low / 1024:,.0f}, {line.high / 1024:,.0f}] KiB"
        rows.append([name, each, f"{line.at_none / 2**20:,.1f} MiB"])
    return table(["Where", "For each connection more", "Without connections (by the line)"], rows)


def starts() -> str:
    """How long a new process takes."""
    if not STARTS.exists():
        return ""
    rows = []
    for limit in LIMITS:
        mine = [start for start in read_json(STARTS)["started"] if start["limit_cores"] == limit]
        found = [median(np.array([start[of] for start in mine])) for of in ("listening_s", "first_connect_s")]
        rows.append(
            ["no limit, 2 cores" if limit is None else f"{limit:g} cores"]
            + [f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}] s" for one in found]
        )
    return table(["CPU limit", "Process start to listening", "Process start to the first answered connect"], rows)


def recoveries() -> str:
    """Detection, recovery and failures: measured, by the trace that was played, and over replications of it."""
    rows = []
    shown = {
        "found_s": "from the first signal to the end of the last failure before a server is back",
        "pool_s": "from listening to the first pool", "well_s": "from the last listening until all is well",
        "failed": "failed units",
    }  # fmt: skip
    for name in NAMES:
        document = read_json(folder(EXPERIMENTS[name]) / "prediction.json")
        if "of_replications" not in document:
            continue
        found = measured_recovery(name)
        ranges = (document["of_replications"], replicated(name))
        for quantity, words in shown.items():
            seen = float(getattr(found, quantity))
            row = [name, words]
            for values in (of[quantity] for of in ranges):
                within = "" if values[0] <= seen <= values[-1] else " (missed)"
                row.append(f"{_value(quantity, values[0])} to {_value(quantity, values[-1])}{within}")
            rows.append([*row, _value(quantity, seen)])
    return table(["Experiment", "Quantity", "Predicted range, 20 traces", "Range of the model now", "Measured"], rows)


def _value(quantity: str, value: float) -> str:
    if quantity == "failed":
        return f"{value:,.0f}"
    return "not within the run" if isinf(value) else f"{value:.2f} s"
