"""What a workload asks of a deployment before any queueing: Little's law applied to each resource.

Every figure is a mean without waits, so that each is a lower bound of what the simulation will find.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import erfc, exp, expm1, inf, log, log1p, sqrt

from ojp_sizing.demand.trace import Early
from ojp_sizing.demand.workload import Duration, Lane, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import Constants
from ojp_sizing.deployment.versions import Traits

#: The warm start of a run has settled after this, where no unit stays for long.
LEAD_S = 2.0
#: A run is measured when at most so much of the units that are under way in the long run is missing, of each kind of unit.
MOST_MISSING = 0.01
#: But it is measured after this in any case: where more is missing by then it lacks connections in use, and says so.
MOST_LEAD_S = 3600.0


@dataclass(frozen=True, slots=True)
class UnitLoad:
    """The mean demand of one unit of work.

    ``spread_cpu_s`` is divided among the pods, ``every_pod_cpu_s`` is paid on each pod (connect, and terminate of
    units without a session). ``hold_s`` is connection time, from grant to return; ``xa_hold_s`` that of XA connections,
    which come from no pool, from the begin of their opening. ``fast_slot_s`` and ``slow_slot_s`` are slot times; statements
    of XA units have slots of their own, which are left out. ``statements`` counts a batch's additions, too; ``think_s`` is
    the client's own time. RPCs are counted like CPU: ``spread_rpcs``, ``every_pod_rpcs``; ``every_pod_visits`` are pods that the
    unit calls at all, over all pods, but for an XA unit's one; ``spread_visits`` those of a unit that calls one pod only.
    """

    spread_cpu_s: float
    every_pod_cpu_s: float
    database_s: float
    hold_s: float
    fast_slot_s: float
    slow_slot_s: float
    statements: float
    think_s: float
    xa_hold_s: float
    spread_rpcs: float
    every_pod_rpcs: float
    every_pod_visits: float
    spread_visits: float = 0.0


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
    """Probability that the unit opens a session: a transaction, XA and a call on the connection do, and all statements but
    a plain update (reference 1.3)."""
    if unit.transaction or unit.xa or unit.calls:
        return 1.0
    expected = statements_of(workload, unit)
    if isinstance(unit.statements, int):
        plain = sum(number for statement, number in expected if not statement.makes_session) / max(1, unit.statements)
        return 1.0 - plain**unit.statements
    return 1.0 if any(statement.makes_session for statement, _ in expected) else 0.0


def held_before(workload: Workload, unit: UnitOfWork) -> list[float]:
    """For each statement of ``statements_of``: the probability that the unit holds a connection when it is sent."""
    expected = statements_of(workload, unit)
    if unit.transaction or unit.xa or unit.calls:
        return [1.0] * len(expected)
    if isinstance(unit.statements, int):
        keeping = sum(number for statement, number in expected if statement.makes_session) / max(1, unit.statements)
        drawn = sum(1.0 - (1.0 - keeping) ** k for k in range(unit.statements)) / max(1, unit.statements)
        return [drawn] * len(expected)
    held, probabilities = 0.0, []
    for statement, _ in expected:
        probabilities.append(held)
        if statement.makes_session:
            held = 1.0
    return probabilities


def load_of(workload: Workload, unit: UnitOfWork, constants: Constants, traits: Traits | None = None) -> UnitLoad:
    """One unit's mean demand (reference 1.3 to 1.5), by the default version where no traits are given.

    A small RPC on a held connection holds it on the way there, in the pod and on the way back. A call of a statement
    costs the CPU of a statement, one on the connection or for a result that of a small RPC (project assumption). CPU is that of
    the work alone (``pod_cores`` adds what it takes to hand it over), times have a call's handing over with nobody else there.
    """
    flight_s, small_s, connect_s = one_way_mean_s(workload), constants.small_rpc_cpu_s, constants.connect_cpu_s
    half_s = constants.statement_cpu_s / 2
    handed_s = constants.hand_over_cpu_s
    small_held_s = 2 * flight_s + handed_s + small_s
    session = session_share(workload, unit)
    spread_s = database_s = fast_slot_s = slow_slot_s = hold_s = count = steps = 0.0
    small = float(unit.calls)
    if unit.transaction or unit.xa or unit.calls:
        # From the grant to the answer of the RPC that takes the connection: connect, startTransaction or the first call.
        hold_s += flight_s if unit.xa else flight_s - small_held_s
        small += 1.0 if unit.transaction else 0.0
    if unit.transaction:
        small += 1.0
        database_s += constants.commit_database_s
    elif unit.xa:
        # xaStart, xaEnd, xaPrepare, xaCommit; its connect goes to one pod only (reference 6, CODE of 0.3.1-beta).
        small += 4.0
        spread_s += connect_s
        database_s += 2 * constants.commit_database_s
        hold_s += constants.connection_open_s
    hold_s += database_s
    for (statement, number), held in zip(statements_of(workload, unit), held_before(workload, unit), strict=True):
        answer_s = half_s + statement.rows * constants.row_block_cpu_s / 100
        in_rpc_s = statement.database_time.mean_s + answer_s
        steps += number
        count += number * (1 + statement.additions)
        spread_s += number * (half_s + answer_s + statement.additions * constants.statement_cpu_s)
        database_s += number * statement.database_time.mean_s
        in_slot_s = 0.0 if unit.xa or statement.kind in {"batch", "call"} else in_rpc_s
        if workload.lane_of(statement) == "slow":
            slow_slot_s += number * in_slot_s
        else:
            fast_slot_s += number * in_slot_s
        # With a session the connection is held while the statement is on its way and parsed, too.
        hold_s += number * (in_rpc_s + held * (flight_s + handed_s + half_s))
        # Additions to a batch: no database time, and fast for OJP. The answer of each and the way of what follows it are on
        # the session that the first one made.
        hold_s += number * statement.additions * (2 * flight_s + handed_s + constants.statement_cpu_s)
        fast_slot_s += 0.0 if unit.xa else number * statement.additions * half_s
        # Reply and thinking, on the connection if it is kept; of a query also further RPCs and ResultSet.close.
        hold_s += number * (1.0 if statement.makes_session else held) * (flight_s + unit.think.mean_s)
        if statement.kind == "read":
            small += number * (1 + statement.fetches)
    # terminate: one RPC with a session, else one to every pod or none. Nobody waits for its answer.
    spread_s += small * small_s + session * connect_s
    asks_all = not (unit.xa or (traits is not None and traits.connect_cached))
    closes_all = not unit.xa and (traits is None or traits.closes_all)
    to_every_pod = 1.0 * asks_all + (1.0 - session) * closes_all
    hold_s += small * small_held_s + session * (flight_s + handed_s + connect_s)
    return UnitLoad(
        spread_cpu_s=spread_s,
        every_pod_cpu_s=connect_s * to_every_pod,
        database_s=database_s,
        hold_s=0.0 if unit.xa else hold_s,
        fast_slot_s=fast_slot_s,
        slow_slot_s=slow_slot_s,
        statements=count,
        think_s=steps * unit.think.mean_s,
        xa_hold_s=hold_s if unit.xa else 0.0,
        spread_rpcs=small + count + session + (1.0 if unit.xa else 0.0),
        every_pod_rpcs=to_every_pod,
        every_pod_visits=1.0 * asks_all,
        spread_visits=0.0 if asks_all or unit.xa else 1.0,
    )


@lru_cache(maxsize=64)
def mean_load(workload: Workload, constants: Constants, traits: Traits | None = None) -> UnitLoad:
    """The mean unit of the workload."""
    loads = [(unit.share, load_of(workload, unit, constants, traits)) for unit in workload.units]
    total = sum(share for share, _ in loads)
    return UnitLoad(
        *(sum(share * getattr(load, field) for share, load in loads) / total for field in UnitLoad.__dataclass_fields__)
    )


def least_pod_cores(load: UnitLoad, rate: float, pods: float) -> float:
    """Cores of one pod while ``pods`` share the work, if nothing had ever to be woken: a lower bound at any rate."""
    return rate * (load.every_pod_cpu_s + load.spread_cpu_s / pods)


def pod_rpcs_per_s(load: UnitLoad, rate: float, pods: float) -> float:
    """RPCs that come to one pod in a second while ``pods`` share the work."""
    return rate * (load.every_pod_rpcs + load.spread_rpcs / pods)


def pod_cores(load: UnitLoad, rate: float, pods: float, constants: Constants) -> float:
    """Cores of one pod while ``pods`` share the work: connects don't divide (reference 1.4). An estimate, for Poisson arrivals.

    Beyond the work of its calls: each is handed to a thread, which costs less the more are under way (here: as many as cores are
    in use in the mean, which solves to a quadratic); and a unit's first call to a pod wakes it, in proportion to the pause
    before, up to ``wake_after_s``, as if all the other units' calls came one by one.
    """
    calls_per_s = pod_rpcs_per_s(load, rate, pods)
    pauses = calls_per_s * constants.wake_after_s
    asleep = -expm1(-pauses) / pauses if pauses > 0 else 1.0
    visits_per_s = rate * (load.every_pod_visits + load.spread_visits / pods)
    work = least_pod_cores(load, rate, pods) + visits_per_s * constants.wake_cpu_s * asleep
    handed, cores = calls_per_s * constants.hand_over_cpu_s, constants.node_cores
    return (work - cores + sqrt((cores - work) ** 2 + 4.0 * cores * (work + handed))) / 2.0


def connect_cores(load: UnitLoad, rate: float, constants: Constants) -> float:
    """Cores of each pod that no further pod divides: what is left of ``pod_cores`` however many there are."""
    return pod_cores(load, rate, inf, constants)


#: Of a pod's CPU so much is taken to be left for opening connections, however busy it is.
LEAST_FREE = 0.3


def opening_s(constants: Constants, free_cores: float) -> float:
    """From one opening of a connection to the next by a pool's adder, where its pod has so many cores left for that."""
    each_s = constants.connection_open_s + constants.connection_pause_s
    return max(each_s, constants.connection_open_cpu_s / free_cores)


def bare_latency_s(
    workload: Workload, unit: UnitOfWork, lane: Lane, replicas: int, constants: Constants, traits: Traits | None = None
) -> float | None:
    """Mean latency of such a unit on one side if it never waits; None where the unit is never judged on that side.

    Every RPC there and back, its CPU and its database time; think time and terminate, which nobody waits for, left out.
    """
    # There and back, and to a thread.
    way_s = 2 * one_way_mean_s(workload) + constants.hand_over_cpu_s
    small_s, connect_s = constants.small_rpc_cpu_s, constants.connect_cpu_s
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
    connects = 0 if traits is not None and traits.connect_cached else replicas
    small, latency_s = float(unit.calls), 0.0
    if unit.transaction:
        small, latency_s = small + 2.0, constants.commit_database_s
    elif unit.xa:
        # One connect, which opens the connection; xaStart, xaEnd, xaPrepare, xaCommit.
        connects, small, latency_s = 1, small + 4.0, constants.connection_open_s + 2 * constants.commit_database_s
    for statement, number in expected:
        rpcs, rows = 1 + statement.additions, statement.rows
        cpu_s = rpcs * constants.statement_cpu_s + rows * constants.row_block_cpu_s / 100
        latency_s += number * (rpcs * way_s + cpu_s + statement.database_time.mean_s)
        if statement.kind == "read":
            small += number * (1 + statement.fetches)
    return latency_s + small * (way_s + small_s) + connects * (way_s + connect_s)


# How long a run takes until as many are under way as in the long run ------------------------------------------------------


def _variance(duration: Duration) -> float:
    cv = {"constant": 0.0, "exponential": 1.0, "lognormal": duration.cv}[duration.family]
    return (duration.mean_s * cv) ** 2


@dataclass(frozen=True, slots=True)
class Stay:
    """How long units stay: mean (s) and coefficient of variation of a lognormal time."""

    mean_s: float
    cv: float


def stay_of(workload: Workload, unit: UnitOfWork) -> Stay:
    """How long such a unit is under way by its client's thinking and the database's work alone.

    A sum of independent times, taken for lognormal by its mean and variance (Fenton 1960): exact where all are constant or
    one lognormal time outweighs the rest; where times are exponential it ends later than the sum does.
    """
    mean_s = variance = 0.0
    for statement, number in statements_of(workload, unit):
        for duration in (statement.database_time, unit.think):
            mean_s += number * duration.mean_s
            variance += number * _variance(duration)
    if isinstance(unit.statements, int):
        # Which statements are drawn varies, too.
        shares = [
            (number / max(1, unit.statements), s.database_time.mean_s) for s, number in statements_of(workload, unit)
        ]
        drawn_s = sum(share * each_s for share, each_s in shares)
        variance += unit.statements * sum(share * (each_s - drawn_s) ** 2 for share, each_s in shares)
    return Stay(mean_s, sqrt(variance) / mean_s if mean_s > 0 else 0.0)


def missing_share(stay: Stay, after_s: float) -> float:
    """Of the units that stay so long (lognormal), which part of those under way in the long run isn't there yet so long after
    the first could come: ``E max(0, stay - t) / E stay``, by Little's law for an infinite-server queue that starts empty.
    """
    sigma = sqrt(log1p(stay.cv**2))
    if sigma == 0.0 or after_s == 0.0 or stay.mean_s == 0.0:
        return max(0.0, 1.0 - after_s / stay.mean_s) if stay.mean_s > 0 else 0.0
    z = log(after_s / stay.mean_s) / sigma
    return _above(z - sigma / 2) - after_s / stay.mean_s * _above(z + sigma / 2)


def _above(z: float) -> float:
    """Probability that a standard normal variable is above z."""
    return erfc(z / sqrt(2.0)) / 2


@lru_cache(maxsize=64)
def early_units(workload: Workload) -> Early:
    """The kinds of unit of which more than ``MOST_MISSING`` would be missing after ``LEAD_S``, and how long it takes them, at
    most ``MOST_LEAD_S``."""
    kinds: list[int] = []
    until_s = 0.0
    for kind, unit in enumerate(workload.units):
        stay = stay_of(workload, unit)
        if missing_share(stay, LEAD_S) <= MOST_MISSING:
            continue
        kinds.append(kind)
        low_s, high_s = LEAD_S, MOST_LEAD_S
        while high_s - low_s > 0.01 * high_s:
            middle_s = (low_s + high_s) / 2
            low_s, high_s = (low_s, middle_s) if missing_share(stay, middle_s) <= MOST_MISSING else (middle_s, high_s)
        until_s = max(until_s, high_s)
    return Early(until_s, tuple(kinds))
