"""What a workload asks of a deployment before any queueing: Little's law applied to each resource.

Every figure is a mean without waits, so that each is a lower bound of what the simulation will find.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from ojp_sizing.demand.workload import StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import Constants


@dataclass(frozen=True, slots=True)
class UnitLoad:
    """The mean demand of one unit of work.

    ``spread_cpu_s`` is divided among the pods, ``every_pod_cpu_s`` is paid on each pod (connect, and terminate of
    units without a session). ``hold_s`` is connection time, from grant to return; ``fast_slot_s`` and ``slow_slot_s``
    are slot times. ``wire_s`` and ``small_rpcs`` serve the bare latency.
    """

    spread_cpu_s: float
    every_pod_cpu_s: float
    database_s: float
    hold_s: float
    fast_slot_s: float
    slow_slot_s: float
    statements: float
    think_s: float


def statements_of(workload: Workload, unit: UnitOfWork) -> list[tuple[StatementClass, float]]:
    """The statement classes of a unit with their expected numbers, in order of execution where that is fixed."""
    if isinstance(unit.statements, int):
        total = sum(statement.share for statement in workload.statements)
        return [(s, unit.statements * s.share / total) for s in workload.statements if s.share > 0]
    named = {statement.name: statement for statement in workload.statements}
    return [(named[name], 1.0) for name in unit.statements]


def one_way_mean_s(workload: Workload) -> float:
    """Mean one-way latency: the lognormal's mean from its median."""
    return workload.network.one_way_s * exp(workload.network.sigma**2 / 2)


def load_of(workload: Workload, unit: UnitOfWork, constants: Constants) -> UnitLoad:
    """One unit's mean demand (reference 1.3 to 1.5)."""
    flight_s, small_s = one_way_mean_s(workload), constants.small_rpc_cpu_s
    spread_s = database_s = slot_fast_s = slot_slow_s = count = 0.0
    hold_s = 0.0
    holding_share = 1.0 if unit.transaction else 0.0
    if unit.transaction:
        spread_s += 2 * small_s
        database_s += constants.commit_database_s
        # startTransaction's reply, commit there and back
        hold_s += 3 * flight_s + small_s + constants.commit_database_s
    for statement, number in statements_of(workload, unit):
        answer_s = constants.statement_cpu_s / 2 + statement.rows * constants.row_block_cpu_s / 100
        in_slot_s = statement.database_time.mean_s + answer_s
        count += number
        spread_s += number * (constants.statement_cpu_s / 2 + answer_s)
        database_s += number * statement.database_time.mean_s
        if workload.lane_of(statement) == "slow":
            slot_slow_s += number * in_slot_s
        else:
            slot_fast_s += number * in_slot_s
        # Held while it runs; what lies between statements counts once a session holds the connection.
        hold_s += number * in_slot_s
        if statement.kind == "read":
            spread_s += number * small_s
            holding_share = max(holding_share, min(1.0, number))
            hold_s += number * (3 * flight_s + unit.think.mean_s + small_s)
        elif unit.transaction:
            hold_s += number * (2 * flight_s + unit.think.mean_s + constants.statement_cpu_s / 2)
    # terminate: one RPC with a session, else one to every pod
    spread_s += holding_share * small_s
    hold_s += holding_share * (flight_s + small_s)
    return UnitLoad(
        spread_cpu_s=spread_s,
        every_pod_cpu_s=small_s * (2.0 - holding_share),
        database_s=database_s,
        hold_s=hold_s,
        fast_slot_s=slot_fast_s,
        slow_slot_s=slot_slow_s,
        statements=count,
        think_s=count * unit.think.mean_s,
    )


def mean_load(workload: Workload, constants: Constants) -> UnitLoad:
    """The mean unit of the workload."""
    loads = [(unit.share, load_of(workload, unit, constants)) for unit in workload.units]
    total = sum(share for share, _ in loads)
    return UnitLoad(
        *(sum(share * getattr(load, field) for share, load in loads) / total for field in UnitLoad.__dataclass_fields__)
    )


def bare_latency_s(workload: Workload, unit: UnitOfWork, replicas: int, constants: Constants) -> float:
    """Latency of a unit that never waits: every RPC there and back, its CPU and its database time; think time left out."""
    flight_s, small_s = one_way_mean_s(workload), constants.small_rpc_cpu_s
    small = replicas + (2.0 if unit.transaction else 0.0)
    latency_s = constants.commit_database_s if unit.transaction else 0.0
    reads = 1.0 if unit.transaction else 0.0
    for statement, number in statements_of(workload, unit):
        cpu_s = constants.statement_cpu_s + statement.rows * constants.row_block_cpu_s / 100
        latency_s += number * (2 * flight_s + cpu_s + statement.database_time.mean_s)
        if statement.kind == "read":
            small += number
            reads = max(reads, min(1.0, number))
    small += reads + (1 - reads) * replicas
    return latency_s + small * (2 * flight_s + small_s)
