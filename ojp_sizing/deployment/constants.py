"""What the sources leave open or only predict: one table, ``data/constants.csv``, with unit, status and source."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType

from ojp_sizing.data_files import data_path


@dataclass(frozen=True, slots=True)
class Constant:
    """One row of the table. ``status`` is the reference's word: CODE, PREDICTED, GENERAL or MEASURED."""

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
    """The values in force. A field per row of the table; times in s, sizes in bytes, CPU in core seconds."""

    statement_cpu_s: float
    small_rpc_cpu_s: float
    row_block_cpu_s: float
    commit_database_s: float
    connection_open_s: float
    connection_pause_s: float
    pool_build_s: float
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
    heap_headroom: float
    native_base_bytes: float
    native_per_thread_bytes: float
    database_reserve_connections: float
    database_target_use: float
    cpu_target_use: float
    cpu_most_use: float
    connections_most_use: float
    gib_per_core: float
    connection_bytes: float


@cache
def default_constants() -> Constants:
    """The table's values."""
    table = constant_table()
    return Constants(**{field.name: table[field.name].value for field in fields(Constants)})
