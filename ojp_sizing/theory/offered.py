"""What a workload asks of a deployment before any queueing: Little's law applied to each resource.

Every figure is a mean without waits, so that each is a lower bound of what the simulation will find.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from ojp_sizing.demand.workload import Lane, StatementClass, UnitOfWork, Workload
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


def session_share(workload: Workload, unit: UnitOfWork) -> float:
    """Probability that the unit opens a session: a transaction does, and any query (reference 1.3)."""
    if unit.transaction:
        return 1.0
    expected = statements_of(workload, unit)
    if isinstance(unit.statements, int):
        writes = sum(number for statement, number in expected if statement.kind == "write") / unit.statements
        return 1.0 - writes**unit.statements
    return 1.0 if any(statement.kind == "read" for statement, _ in expected) else 0.0


def held_before(workload: Workload, unit: UnitOfWork) -> list[float]:
    """For each statement of ``statements_of``: the probability that the unit holds a connection when it is sent."""
    expected = statements_of(workload, unit)
    if unit.transaction:
        return [1.0] * len(expected)
    if isinstance(unit.statements, int):
        reads = sum(number for statement, number in expected if statement.kind == "read") / unit.statements
        drawn = sum(1.0 - (1.0 - reads) ** k for k in range(unit.statements)) / unit.statements
        return [drawn] * len(expected)
    held, probabilities = 0.0, []
    for statement, _ in expected:
        probabilities.append(held)
        if statement.kind == "read":
            held = 1.0
    return probabilities


def load_of(workload: Workload, unit: UnitOfWork, constants: Constants) -> UnitLoad:
    """One unit's mean demand (reference 1.3 to 1.5)."""
    flight_s, small_s = one_way_mean_s(workload), constants.small_rpc_cpu_s
    half_s = constants.statement_cpu_s / 2
    session = session_share(workload, unit)
    spread_s = database_s = fast_slot_s = slow_slot_s = hold_s = count = 0.0
    if unit.transaction:
        spread_s += 2 * small_s
        database_s += constants.commit_database_s
        # From the grant: startTransaction's reply; then commit there and back.
        hold_s += 3 * flight_s + small_s + constants.commit_database_s
    for (statement, number), held in zip(statements_of(workload, unit), held_before(workload, unit), strict=True):
        answer_s = half_s + statement.rows * constants.row_block_cpu_s / 100
        in_slot_s = statement.database_time.mean_s + answer_s
        count += number
        spread_s += number * (half_s + answer_s)
        database_s += number * statement.database_time.mean_s
        if workload.lane_of(statement) == "slow":
            slow_slot_s += number * in_slot_s
        else:
            fast_slot_s += number * in_slot_s
        # With a session the connection is held while the statement is on its way and parsed, too.
        hold_s += number * (in_slot_s + held * (flight_s + half_s))
        if statement.kind == "read":
            spread_s += number * small_s
            # Reply, thinking, ResultSet.close there and back.
            hold_s += number * (3 * flight_s + unit.think.mean_s + small_s)
        else:
            hold_s += number * held * (flight_s + unit.think.mean_s)
    # terminate: one RPC with a session, else one to every pod.
    spread_s += session * small_s
    hold_s += session * (flight_s + small_s)
    return UnitLoad(
        spread_cpu_s=spread_s,
        every_pod_cpu_s=small_s * (2.0 - session),
        database_s=database_s,
        hold_s=hold_s,
        fast_slot_s=fast_slot_s,
        slow_slot_s=slow_slot_s,
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


def bare_latency_s(
    workload: Workload, unit: UnitOfWork, lane: Lane, replicas: int, constants: Constants
) -> float | None:
    """Mean latency of such a unit on one side if it never waits; None where the unit is never judged on that side.

    Every RPC there and back, its CPU and its database time; think time and terminate, which nobody waits for, left out.
    """
    flight_s, small_s = one_way_mean_s(workload), constants.small_rpc_cpu_s
    expected = statements_of(workload, unit)
    lanes = {workload.lane_of(statement) for statement, _ in expected}
    if isinstance(unit.statements, int):
        # Of drawn statements only this side's count, each time: the least that such a unit can be.
        expected = [(statement, number) for statement, number in expected if workload.lane_of(statement) == lane]
        total = sum(number for _, number in expected)
        expected = [(statement, number / total) for statement, number in expected]
    elif lane != ("slow" if "slow" in lanes else "fast"):
        return None
    if not expected:
        return None
    small = replicas + (2.0 if unit.transaction else 0.0)
    latency_s = constants.commit_database_s if unit.transaction else 0.0
    for statement, number in expected:
        cpu_s = constants.statement_cpu_s + statement.rows * constants.row_block_cpu_s / 100
        latency_s += number * (2 * flight_s + cpu_s + statement.database_time.mean_s)
        if statement.kind == "read":
            small += number
    return latency_s + small * (2 * flight_s + small_s)
