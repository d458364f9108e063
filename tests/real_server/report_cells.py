"""The tables of cells: slots and connections that lock each other, many client JVMs, and a server's memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from ojp_sizing.deployment.constants import default_constants
from tests.real_server import locks, many_clients, memory
from tests.real_server.experiments import Experiment
from tests.real_server.footprint import opening_rows
from tests.real_server.recorded import read_json
from tests.real_server.tables import table
from tests.real_server.verdicts import Verdict, simulated

MIB = 2**20


def _name(cell: Experiment) -> str:
    return cell.name.rpartition("/")[2]


# Locks -----------------------------------------------------------------------------------------------------------


@cache
def lock_cells() -> list[tuple[Experiment, Mapping[str, Any], Mapping[str, Any], Verdict]]:
    """Of each measured cell: what was predicted, what was measured, and what the model says of the same trace now."""
    told, found = (read_json(path)["cells"] for path in (locks.PREDICTION, locks.RECORD))
    return [
        (cell, told[_name(cell)], found[_name(cell)], simulated(cell)[0])
        for cell in locks.CELLS
        if _name(cell) in found
    ]


def lock_table() -> str:
    """Each cell."""
    rows = []
    for cell, told, found, now in lock_cells():
        per_pod = -(-cell.pool.maximum_size // cell.nodes)
        right = "yes" if told["locked"] == found["locked"] else "**no**"
        rows.append([
            _name(cell).removesuffix("-off"), "on" if cell.server.segregation else "off", str(per_pod),
            f"{cell.bands[0].rate:g}/s" if not cell.bursts else "bursts", f"{found['units']:,}",
            f"{told['failed']:,}; {now.failed:,}; **{found['failed']:,}**",
            f"{told['locked_of_seeds']} of {locks.SEEDS}",
            "; ".join(_seconds(one) for one in (told["p50_s"], found["p50_s"])),
            "; ".join(_seconds(one) for one in (told["p99_s"], found["p99_s"])), right,
        ])  # fmt: skip
    head = ["Cell", "Segregation", "Connections of a pod", "Load", "Units", "Failed: predicted; model now; measured"]
    head += ["Seeds that lock", "p50: predicted; measured", "p99: predicted; measured", "Lock or not predicted"]
    return table(head, rows)


def stall_table() -> str:
    """Servers that stood still for a while."""
    told, found = read_json(locks.PREDICTION)["stalls"], read_json(locks.RECORD)["cells"]
    rows = []
    for cell in locks.STALLS:
        name = _name(cell)
        if name in found:
            rule, one = told[name], found[name]
            rows.append([
                name.removesuffix("-off"), "on" if cell.server.segregation else "off",
                f"{rule['callers']:g} for {rule['enough']}", "locks" if rule["locked"] else "doesn't",
                "locks" if one["locked"] else "doesn't", f"{one['failed']:,} of {one['units']:,}", _seconds(one["p99_s"]),
            ])  # fmt: skip
    head = [
        "Stall, ms",
        "Segregation",
        "Callers, for connections and fast slots",
        "By the rule",
        "Measured",
        "Failed",
        "p99",
    ]
    return table(head, rows)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:,.0f} ms"


# Many client JVMs ------------------------------------------------------------------------------------------------


def many_cells() -> list[tuple[Experiment, list[Mapping[str, Any]], Mapping[str, Any]]]:
    """Of each measured cell: what was predicted with each time of an opening, and what was measured."""
    told, found = read_json(many_clients.PREDICTION)["by"], read_json(many_clients.RECORD)["cells"]
    return [
        (cell, [by[_name(cell)] for by in told.values()], found[_name(cell)])
        for cell in many_clients.CELLS
        if _name(cell) in found
    ]


def ends(one: Mapping[str, Any]) -> str:
    """What became of a cell, in words."""
    return ("collapses" if one["collapses"] else "holds") + ("" if one["recovers"] else " for good")


def many_now(cell: Experiment) -> dict[str, bool]:
    """By the model as it is now, of the trace that was played."""
    found, _ = simulated(cell)
    return {"collapses": many_clients.collapses(found), "recovers": many_clients.recovers(found, cell.bands[0].rate)}


def many_table() -> str:
    """Each cell."""
    rows = []
    for cell, told, found in many_cells():
        openings = found["opening_s"]
        row = [_name(cell), f"{found['units']:,}"]
        row += [f"{one['failed']:,} ({ends(one)}; seeds {', '.join(map(str, one['failed_of_seeds']))})" for one in told]
        row += [f"**{found['failed']:,} ({ends(found)})**", _seconds(found["p99_s"])]
        rows.append([*row, _seconds(openings[1]) if openings else "-", f"{found['openings']:,}"])
    head = [
        "Cell, client JVMs",
        "Units",
        *(f"Failed, predicted: openings of {1000 * s:.0f} ms" for s in many_clients.OPENS_S),
    ]
    return table([*head, "Failed, measured", "p99, measured", "From one opening to the next, median", "Openings"], rows)


# Memory ----------------------------------------------------------------------------------------------------------


def parts() -> dict[str, float]:
    """What one more of each takes, bytes, and what is there without any."""
    looks = read_json(memory.PARTS)["states"]
    warm = [look["warm"] for look in looks]
    pool = read_json(memory.PARTS)["pool"]
    calls = [
        (look["calls"], look["then"]["live_heap_bytes"] - look["warm"]["live_heap_bytes"])
        for look in looks
        if not look["rows"]
    ]
    rows = [look for look in looks if look["rows"]]
    held = np.array([look["calls"] * look["rows"] for look in rows], dtype=float)
    heap = np.array([look["then"]["live_heap_bytes"] - look["warm"]["live_heap_bytes"] for look in rows], dtype=float)
    direct = np.array([look["then"]["native"]["Other"] - look["warm"]["native"]["Other"] for look in rows], dtype=float)
    # A call inside on a connection, and one that waits for it, cost differently: both, by least squares.
    counts = np.array([[min(number, pool), number] for number, _ in calls], dtype=float)
    (connection, call), *_ = np.linalg.lstsq(counts, np.array([more for _, more in calls], dtype=float), rcond=None)
    threads = np.array(
        [[look[at]["threads"], look[at]["native"]["Thread"]] for look in looks for at in ("new", "warm")]
    )
    return {
        "heap_base": float(np.median([look["live_heap_bytes"] for look in warm])),
        "heap_per_connection_in_use": float(connection), "heap_per_call": float(call),
        "heap_per_row": float(np.polyfit(held, heap, 1)[0]), "direct_per_row": float(np.polyfit(held, direct, 1)[0]),
        "native_base": float(np.median([look["native_bytes"] - look["native"]["Thread"] for look in warm])),
        "native_per_thread": float(np.polyfit(threads[:, 0], threads[:, 1], 1)[0]),
    }  # fmt: skip


def limit_table() -> str:
    """The sizes, each with its heaps."""
    document = read_json(memory.LIMITS)
    rows = []
    for size in document["sizes"]:
        tries = document["tries"][size["name"]]
        largest = max(tries, key=lambda one: int(one["heap_mib"]))
        rows += [
            [
                size["name"], f"{one['heap_mib']} MiB", _bytes(one["peak_bytes"]), _seconds(one["p50_s"]), _seconds(one["p99_s"]),
                str(one["pauses"]), f"{one['longest_pause_ms']:.0f} ms", f"{100 * one['paused_share']:.2f} %",
                "yes" if memory.is_good(one, largest) else "no",
            ]
            for one in tries
        ]  # fmt: skip
    head = [
        "Size",
        "Heap",
        "Resident at most",
        "p50",
        "p99",
        "Collections",
        "The longest",
        "Share of the time",
        "Holds its load",
    ]
    return table(head, rows)


def smallest_table() -> str:
    """Of each size the limit that is recommended, the one that was found, and what became of ten minutes in it and below it."""
    document = read_json(memory.LIMITS)
    rows = []
    for size in memory.SIZES:
        found, below = document["long"][size.name], document["below"][size.name]
        now = memory.recommended(size)
        ended = "killed" if below["killed"] or below["ended"] else "not killed"
        rows.append([
            size.name, f"{size.limit_cores:g}, {size.connections}, {size.threads}", _bytes(now.limit), f"{found['heap_mib']} MiB",
            f"**{_bytes(found['limit_bytes'])}**", f"{now.limit / found['limit_bytes']:.2f}",
            "killed" if found["ended"] else f"held, p99 {_seconds(found['p99_s'])}", ended,
        ])  # fmt: skip
    head = [
        "Size",
        "Cores, connections, threads",
        "Recommended limit",
        "Smallest heap",
        "Smallest limit",
        "Recommended over that",
    ]
    return table([*head, "Ten minutes in it", "In nine tenths of it"], rows)


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value / MIB:.0f} MiB"


def parts_table() -> str:
    """What one more of each takes, against the constants."""
    found, known = parts(), default_constants()
    rows = [
        ["heap: a warm server without work", "heap_base", known.heap_base_bytes],
        ["heap: a connection that is open", "", known.heap_per_connection_bytes],
        ["heap: a call inside that waits for a connection", "heap_per_call", known.heap_per_request_bytes],
        ["heap: a connection in use, its call aside", "heap_per_connection_in_use", None],
        ["heap: a row of a number and three texts of 32 characters that nobody has read", "heap_per_row", None],
        ["direct buffers: the same row", "direct_per_row", None],
        ["both: the same row", "row", known.heap_per_row_bytes + known.native_per_row_bytes],
        ["beside the heap: without threads", "native_base", None],
        ["beside the heap: a thread", "native_per_thread", known.native_per_thread_bytes],
    ]
    found["row"] = found["heap_per_row"] + found["direct_per_row"]
    made = []
    for what, name, constant in rows:
        measured = "50 KiB (an older run, above)" if not name else _amount(found[str(name)])
        made.append([str(what), measured, "-" if constant is None else _amount(float(str(constant)))])
    return table(["What", "Measured", "The model's constant"], made)


def _amount(size: float) -> str:
    if size >= MIB:
        return f"{size / MIB:.1f} MiB"
    return f"{size / 1024:.1f} KiB" if size >= 1024 else f"{size:.0f} bytes"


def opening_table() -> str:
    """CPU and time of an opening, by how many a process has made."""
    rows = [
        [f"{opened:,}", f"{1000 * cpu_s:.1f} ms", f"{1000 * clock_s:.1f} ms"]
        for opened, cpu_s, clock_s in opening_rows()
    ]
    return table(["Up to opening", "CPU of each", "Time of each"], rows)
