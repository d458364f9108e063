"""What ``size`` and ``check`` take, and within what bounds: the same for the command's flags and for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ojp_sizing.bounds import RATE, SEED, Number, Take, said, take_for, taken
from ojp_sizing.demand.workload import Workload, check_whole
from ojp_sizing.deployment.constants import Constants, check_constants
from ojp_sizing.deployment.deployment import Database, Deployment
from ojp_sizing.errors import InputError
from ojp_sizing.measurement.objectives import Objectives, Situation
from ojp_sizing.quantities import MOST_SECONDS
from ojp_sizing.simulation.simulate import take_engine

REPLICAS = Number(1, 1000, whole=True)
WORKERS = Number(1, 1024, whole=True)


def _take_also(value: Any, place: str) -> tuple[Situation, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InputError(place, f"{said(value)} is not a list of situations", "write for example [Situation.NODE_LOST]")
    return tuple(_take_situation(one, f"{place}[{index}]") for index, one in enumerate(value))


def _take_situation(value: Any, place: str) -> Situation:
    if isinstance(value, Situation):
        return value
    names = ", ".join(f"Situation.{situation.name}" for situation in Situation)
    raise InputError(place, f"{said(value)} is no situation", f"write one of {names}")


def _take_workload(value: Any, place: str) -> Workload:
    workload: Workload = take_for(Workload)(value, place)
    check_whole(workload)
    return workload


def _take_constants(value: Any, place: str) -> Constants | None:
    constants: Constants | None = take_for(Constants | None)(value, place)
    if constants is not None:
        check_constants(constants, place)
    return constants


def _take_workers(value: Any, place: str) -> int | None:
    return None if value is None else WORKERS.take(value, place)


def _take_scheduler(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InputError(place, f"{said(value)} is no address", "write for example 'tcp://127.0.0.1:8786'")


ARGUMENTS: Mapping[str, Take] = {
    "workload": _take_workload,
    "peak_rps": RATE.take,
    "deployment": take_for(Deployment),
    "database": take_for(Database | None),
    "objectives": take_for(Objectives | None),
    "seed": SEED.take,
    "engine": take_engine,
    "least_replicas": REPLICAS.take,
    "most_replicas": REPLICAS.take,
    "constants": _take_constants,
    "warm_pools": take_for(bool),
    "budget_s": Number(0.0, MOST_SECONDS, "s", infinite=True).take,
    "also": _take_also,
    "workers": _take_workers,
    "scheduler": _take_scheduler,
}


def checked(**arguments: object) -> tuple[Any, ...]:
    """The arguments as they are kept, in their order. Raises InputError at the name of the first that can't be taken."""
    kept = taken(ARGUMENTS, **arguments)
    bounds = dict(zip(arguments, kept, strict=True))
    least, most = bounds.get("least_replicas"), bounds.get("most_replicas")
    if least is not None and most is not None and least > most:
        raise InputError("least_replicas", f"{least} is above most_replicas, {most}", f"write 1 to {most}")
    return kept
