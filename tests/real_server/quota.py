"""The quota of a CPU limit: sleeping statements, and a server that uses up its share of a period of 100 ms."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from scipy.optimize import brentq

from ojp_sizing.demand.workload import Clients, Duration, Network, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.deployment import ClientPool
from ojp_sizing.theory.offered import mean_load, pod_cores
from tests.real_server import pgbench
from tests.real_server.course import Course
from tests.real_server.end_to_end import measured_calls, one_way_s
from tests.real_server.predict import MACHINE_CORES
from tests.real_server.told import beyond_s, generator_s

#: Of the limit's CPU, by the CPU of calls that ``end-to-end`` measured apart.
LOADS = (0.3, 0.6, 0.8)
POOL = ClientPool(60, 60)
_UNITS = {"sleep": ("sleep",)}


def _workload() -> Workload:
    """One statement of 20 ms and of what JDBC and PostgreSQL add to that by the experiment ``generator``."""
    takes_s = pgbench.SLEEP_S + generator_s()
    sleep = StatementClass("sleep", pgbench.TEXTS["sleep"][0], "read", Duration(takes_s, 1.0, "constant"))
    unit = UnitOfWork("sleep", 1.0, ("sleep",), False, Duration(0.0, 1.0, "constant"))
    return Workload(
        "quota", (sleep,), (unit,), clients=Clients(1, POOL.maximum_size), network=Network(one_way_s(), 0.0)
    )


def _constants() -> Constants:
    return replace(default_constants(), node_cores=MACHINE_CORES)


def _unit_cpu_s() -> float:
    known = replace(_constants(), **measured_calls())
    calls_s = 2 * known.connect_cpu_s + known.statement_cpu_s + known.small_rpc_cpu_s
    return calls_s + known.row_block_cpu_s / 100.0


def _rates(limit_cores: float) -> tuple[float, ...]:
    return tuple(round(load * limit_cores / _unit_cpu_s(), 1) for load in LOADS)


def _course(name: str, limit_cores: float, warm_rate: float, warm_s: float) -> Course:
    return Course(
        name, f"Sleeps of 20 ms through a server that is limited to {limit_cores:g} cores",
        limit_cores, LOADS, _UNITS, partial(_rates, limit_cores), _workload, _constants, measured_calls,
        warm_rate, warm_s, POOL,
    )  # fmt: skip


# Servers whose code is compiled, on a machine that does nothing else ----------------------------------------------

#: Shares of the limit that are in use, by the law of docs/cpu.md. The client and PostgreSQL need cores, too.
USES = {0.5: (0.3, 0.45, 0.6, 0.75), 1.0: (0.3, 0.45, 0.6)}


def _quiet_workload() -> Workload:
    """The same, with what JDBC and PostgreSQL add on a quiet machine, and a message to a server at work.

    The predictions had the messages of an idle server (``told.network``), which spread far more: p95 was 15 to 18 % too high.
    """
    takes_s = pgbench.SLEEP_S + float(beyond_s()[0].mean())
    sleep = StatementClass("sleep", pgbench.TEXTS["sleep"][0], "read", Duration(takes_s, 1.0, "constant"))
    unit = UnitOfWork("sleep", 1.0, ("sleep",), False, Duration(0.0, 1.0, "constant"))
    return Workload(
        "quota", (sleep,), (unit,), clients=Clients(1, POOL.maximum_size), network=Network(one_way_s(), 0.0)
    )


def _rates_by_law(limit_cores: float) -> tuple[float, ...]:
    """Units per second with which these shares of the limit are in use."""
    known = _constants()
    load = mean_load(_quiet_workload(), known)

    def beyond(rate: float, cores: float) -> float:
        return pod_cores(load, rate, 1, known) - cores

    return tuple(round(brentq(beyond, 1.0, 10_000.0, args=(use * limit_cores,)), 1) for use in USES[limit_cores])


def _warm_course(name: str, limit_cores: float, warm_rate: float, warm_s: float) -> Course:
    return Course(
        name, f"Sleeps of 20 ms through a server that is limited to {limit_cores:g} cores and has long been warm",
        limit_cores, USES[limit_cores], _UNITS, partial(_rates_by_law, limit_cores), _quiet_workload, _constants, dict,
        warm_rate, warm_s, POOL,
    )  # fmt: skip


WARM_QUOTAS = (_warm_course("cpu-bound-0.5", 0.5, 600.0, 240.0), _warm_course("cpu-bound-1", 1.0, 1000.0, 120.0))
QUOTAS = (_course("quota-0.5", 0.5, 600.0, 90.0), _course("quota-0.25", 0.25, 300.0, 120.0))
