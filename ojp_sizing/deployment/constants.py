"""What the sources leave open or only predict: one table, ``data/constants.csv``, with unit, status and source.

Any row can be set in a workload or deployment file; what is set says so wherever constants are shown.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import MappingProxyType

from ojp_sizing.bounds import Number
from ojp_sizing.data_files import data_path
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import MOST_BYTES, MOST_CORES, format_number, parse_bytes, parse_duration, parse_number

#: The status of a value that the user set.
SET = "SET"
#: Rows that are defaults of a workload's fields, and the fields: they are set there.
WORKLOAD_FIELDS: Mapping[str, str] = {
    "network_one_way_s": "network.one_way",
    "network_sigma": "network.sigma",
    "think_s": "units[].think",
    "retry_back_off_s": "clients.back_off",
    "retry_factor": "clients.factor",
}
#: The most that makes sense, by unit. Bounds of this tool: beyond them a figure is a slip of the pen.
_MOST = {
    "s": 3600.0,
    "core seconds": 60.0,
    "bytes": float(MOST_BYTES),
    "cores": MOST_CORES,
    "ratio": 100.0,
    "GiB per core": 1024.0,
}
_MOST_OTHER = 1e6
#: What the arithmetic can't do without, where that is more than nothing: (least, most).
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "statement_cpu_s": (1e-6, 60.0),
    "small_rpc_cpu_s": (1e-6, 60.0),
    "connect_cpu_s": (1e-6, 60.0),
    "wake_after_s": (1e-6, 3600.0),
    "health_interval_s": (0.1, 3600.0),
    "pod_start_spread": (0.0, 3.0),
    "heap_headroom": (1.0, 100.0),
    "database_target_use": (0.01, 1.0),
    "cpu_target_use": (0.01, 1.0),
    "cpu_most_use": (0.01, 1.0),
    "gib_per_core": (0.01, 1024.0),
    "database_waiting_share": (1e-6, 0.99),
    "slot_waiting_share": (1e-6, 0.99),
    "slot_stretch": (1.0, 100.0),
    "pool_waiting_share": (1e-6, 0.99),
    "long_waiting_share": (1e-6, 0.99),
    "stall_margin": (1.0, 100.0),
    "least_threads": (1.0, 10_000.0),
    "breaker_open_s": (0.001, 3600.0),
    "divided_pool_times": (1.0, 100.0),
    "short_times": (1.0, 100.0),
    "short_cpu_most_times": (1.0, 100.0),
    "search_patience": (1.0, 1000.0),
    "search_far": (1.0, 100.0),
    "search_near": (0.01, 1.0),
}
#: Closed forms need some of them; a simulation does without any.
_MAY_BE_NOTHING = frozenset({"statement_cpu_s", "small_rpc_cpu_s", "connect_cpu_s"})


@dataclass(frozen=True, slots=True)
class Constant:
    """One row of the table. ``status`` is the reference's word: CODE, PREDICTED, GENERAL or MEASURED; or SET."""

    name: str
    value: float
    unit: str
    status: str
    source: str
    meaning: str


@cache
def constant_table() -> Mapping[str, Constant]:
    """Every constant by name, in the table's order."""
    with data_path("constants.csv").open(encoding="utf-8", newline="") as file:
        rows = [Constant(**{**row, "value": float(row["value"])}) for row in csv.DictReader(file)]  # type: ignore[arg-type]
    return MappingProxyType({row.name: row for row in rows})


@dataclass(frozen=True, slots=True)
class Constants:
    """The values in force. A field per row of the table; times in s, sizes in bytes, CPU in core seconds.

    Rows of ``WORKLOAD_FIELDS`` are missing: they are a workload's own. ``set_by`` names who set what, as (row, file).
    """

    statement_cpu_s: float
    small_rpc_cpu_s: float
    connect_cpu_s: float
    hand_over_cpu_s: float
    wake_cpu_s: float
    wake_after_s: float
    row_block_cpu_s: float
    commit_database_s: float
    connection_open_s: float
    connection_open_cpu_s: float
    connection_pause_s: float
    pool_build_s: float
    pool_build_cpu_s: float
    young_cpu_s: float
    compile_cpu_s: float
    warm_up_calls: float
    slot_handover_s: float
    error_leak_probability: float
    call_hang_s: float
    connect_hang_s: float
    health_interval_s: float
    pod_start_s: float
    pod_start_spread: float
    readiness_period_s: float
    endpoint_delay_s: float
    schedule_warm_s: float
    schedule_cold_s: float
    stop_grace_s: float
    node_removal_s: float
    database_trouble_s: float
    database_slowdown: float
    heap_base_bytes: float
    heap_per_connection_bytes: float
    heap_per_request_bytes: float
    heap_per_row_bytes: float
    native_per_row_bytes: float
    heap_headroom: float
    native_base_bytes: float
    native_per_thread_bytes: float
    database_reserve_connections: float
    database_target_use: float
    cpu_target_use: float
    cpu_most_use: float
    gib_per_core: float
    connection_bytes: float
    node_cores: float
    cpu_period_s: float
    heap_new_ratio: float
    collection_pause_s: float
    restart_pause_s: float
    restart_most_pause_s: float
    restart_reset_s: float
    database_waiting_share: float
    slot_waiting_share: float
    slot_stretch: float
    pool_waiting_share: float
    long_stay_s: float
    long_waiting_share: float
    stall_margin: float
    least_threads: float
    breaker_open_s: float
    divided_pool_times: float
    short_times: float
    short_cpu_most_times: float
    search_patience: float
    search_far: float
    search_near: float
    set_by: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Each is held to its row's bounds. Raises InputError at ``Constants.row``."""
        for name in _names():
            value = getattr(self, name)
            if value != 0 or name not in _MAY_BE_NOTHING:
                kept = check_constant(name, value, f"Constants.{name}")
                if kept is not value:
                    object.__setattr__(self, name, kept)

    def with_values(self, values: Iterable[tuple[str, float]], source: str) -> Constants:
        """These with other values by row, set by ``source`` (a file); what another file had set is overruled.

        Raises InputError where a row isn't there or a value is beyond its bounds.
        """
        changed = {name: check_constant(name, value, f"constants.{name}") for name, value in values}
        kept = [pair for pair in self.set_by if pair[0] not in changed]
        return replace(self, **changed, set_by=(*kept, *((name, source) for name in changed)))

    def rows(self) -> dict[str, Constant]:
        """The rows of the table with the values in force. One that isn't the table's is SET, by whom its source says."""
        set_by, table = dict(self.set_by), constant_table()
        rows: dict[str, Constant] = {}
        for name in _names():
            row, value = table[name], getattr(self, name)
            is_set = name in set_by or value != row.value
            source = set_by.get(name, "the calling program")
            rows[name] = replace(row, value=value, status=SET, source=source) if is_set else row
        return rows


@cache
def _names() -> tuple[str, ...]:
    """The rows that ``Constants`` holds, in the table's order."""
    held = {field.name for field in fields(Constants)}
    return tuple(name for name in constant_table() if name in held)


@cache
def default_constants() -> Constants:
    """The table's values."""
    table = constant_table()
    return Constants(**{name: table[name].value for name in _names()})  # type: ignore[arg-type]


@cache
def _bound(name: str) -> Number:
    row = constant_table()[name]
    return Number(*_BOUNDS.get(name, (0.0, _MOST.get(row.unit, _MOST_OTHER))), row.unit)


def check_constant(name: str, value: float, place: str) -> float:
    """The value of a row as it is kept. Raises InputError where there is no such row, or the value is beyond its bounds."""
    if name not in _names():
        raise InputError(place, "no such constant", "see data/constants.csv")
    kept: float = _bound(name).take(value, place)
    return kept


def check_constants(constants: Constants, place: str) -> None:
    """Raise InputError where a constant can be simulated with, but not sized: closed forms need more than nothing of it."""
    for name in sorted(_MAY_BE_NOTHING):
        check_constant(name, getattr(constants, name), f"{place}.{name}")


def parse_constant(name: str, text: str, place: str = "") -> float:
    """The value of a row from text: a plain number in the table's unit, or a duration or memory size with a suffix.

    Raises InputError where it can't be read or is beyond the row's bounds, KeyError for a row that isn't there.
    """
    row, bound = constant_table()[name], _bound(name)
    least, most = bound.least, bound.most
    bare = text.strip(" ")
    if bare[-1:].isalpha() and row.unit in ("s", "core seconds"):
        value = parse_duration(bare, place, most)
    elif bare[-1:].isalpha() and row.unit == "bytes":
        value = float(parse_bytes(bare, place))
    else:
        value = parse_number(bare, place, most)
    if not least <= value <= most:
        bounds = f"{format_number(least)} to {format_number(most)}"
        raise InputError(place, f"{format_number(value)} is not within {bounds} {row.unit}", f"{name}: {row.meaning}")
    return value
