"""How big must an OJP deployment be? Names of the toolkit for notebooks and programs.

Every name is loaded when it is first used, so that ``import ojp_sizing`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ojp_sizing.demand.arrivals import Bursts, Closed, DailyProfile, Poisson, Replay
    from ojp_sizing.demand.reading import preset_names, read_workload
    from ojp_sizing.demand.trace import Trace, sample_trace
    from ojp_sizing.demand.workload import Clients, Duration, Network, Patience, StatementClass, UnitOfWork, Workload
    from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings, describe
    from ojp_sizing.deployment.disruption import PodLoss, RollingUpdate, sample_pod_loss, sample_rolling_update
    from ojp_sizing.deployment.reading import read_deployment
    from ojp_sizing.deployment.situations import Situation
    from ojp_sizing.errors import InputError
    from ojp_sizing.measurement.intervals import Estimate
    from ojp_sizing.measurement.objectives import Objectives, Verdict
    from ojp_sizing.report import figures
    from ojp_sizing.report.tables import Table
    from ojp_sizing.simulation.outcomes import Outcomes
    from ojp_sizing.simulation.simulate import simulate
    from ojp_sizing.sizing.looking import (
        DemandPoint,
        RiskPoint,
        Watched,
        demand_curve,
        demand_points,
        look,
        risk_points,
        watch,
        with_replicas,
    )
    from ojp_sizing.sizing.question import Execution, Prices, Question
    from ojp_sizing.sizing.recommendation import Judged, Recommendation, check, size
    from ojp_sizing.uncertain import Range, WholeRange

__version__ = "0.1.0"

_HOMES = {
    "demand.arrivals": ("Bursts", "Closed", "DailyProfile", "Poisson", "Replay"),
    "demand.reading": ("preset_names", "read_workload"),
    "demand.trace": ("Trace", "sample_trace"),
    "demand.workload": ("Clients", "Duration", "Network", "Patience", "StatementClass", "UnitOfWork", "Workload"),
    "deployment.deployment": ("ClientPool", "Database", "Deployment", "ServerSettings", "describe"),
    "deployment.disruption": ("PodLoss", "RollingUpdate", "sample_pod_loss", "sample_rolling_update"),
    "deployment.reading": ("read_deployment",),
    "errors": ("InputError",),
    "measurement.intervals": ("Estimate",),
    "deployment.situations": ("Situation",),
    "measurement.objectives": ("Objectives", "Verdict"),
    "report.tables": ("Table",),
    "simulation.outcomes": ("Outcomes",),
    "simulation.simulate": ("simulate",),
    "sizing.looking": (
        "DemandPoint",
        "RiskPoint",
        "Watched",
        "demand_curve",
        "demand_points",
        "look",
        "risk_points",
        "watch",
        "with_replicas",
    ),
    "sizing.question": ("Execution", "Prices", "Question"),
    "sizing.recommendation": ("Judged", "Recommendation", "check", "size"),
    "uncertain": ("Range", "WholeRange"),
}
#: Rooms that are opened whole.
_ROOMS = {"figures": "report.figures"}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Bursts",
    "ClientPool",
    "Clients",
    "Closed",
    "DailyProfile",
    "Database",
    "DemandPoint",
    "Deployment",
    "Duration",
    "Estimate",
    "Execution",
    "InputError",
    "Judged",
    "Network",
    "Objectives",
    "Outcomes",
    "Patience",
    "PodLoss",
    "Poisson",
    "Prices",
    "Question",
    "Range",
    "Recommendation",
    "Replay",
    "RiskPoint",
    "RollingUpdate",
    "ServerSettings",
    "Situation",
    "StatementClass",
    "Table",
    "Trace",
    "UnitOfWork",
    "Verdict",
    "Watched",
    "WholeRange",
    "Workload",
    "check",
    "demand_curve",
    "demand_points",
    "describe",
    "figures",
    "look",
    "preset_names",
    "read_deployment",
    "read_workload",
    "risk_points",
    "sample_pod_loss",
    "sample_rolling_update",
    "sample_trace",
    "simulate",
    "size",
    "watch",
    "with_replicas",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"ojp_sizing.{_ROOMS[name]}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ojp_sizing' has no attribute {name!r}")
    return getattr(import_module(f"ojp_sizing.{_HOME_OF[name]}"), name)
