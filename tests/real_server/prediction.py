"""Record an experiment's arrival traces and what the model says of them, before anything is measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ojp_sizing.deployment.deployment import DEFAULT_VERSION
from tests.real_server.experiments import Band, Experiment
from tests.real_server.predict import predicted, simulate_experiment
from tests.real_server.recorded import draw_trace, folder, trace_path, write_json, write_trace
from tests.real_server.recovery import LATER_NAMES, NAMES, replicate
from tests.real_server.told import CALIBRATIONS, told, told_trace


def predict(experiment: Experiment) -> None:
    """Write the traces, where there are none yet, and ``prediction.json``."""
    for number, band in enumerate(experiment.bands):
        path = trace_path(experiment, number)
        if not path.exists():
            write_trace(path, draw_trace(experiment, band))
    bands = [_band(experiment, number, band) for number, band in enumerate(experiment.bands)]
    document: dict[str, Any] = {"experiment": experiment.name, "asks": experiment.asks, "route": experiment.route}
    document["settings"] = {"nodes": experiment.nodes, "pool": asdict(experiment.pool)}
    if experiment.route == "ojp":
        document["settings"]["server"] = asdict(experiment.server)
        if experiment.version != DEFAULT_VERSION:
            document["settings"]["version"] = experiment.version
    if modelled(experiment):
        document["told"] = told(experiment)
    if experiment.name in NAMES + LATER_NAMES:
        found = replicate(experiment.name)
        document["of_replications"] = {quantity: sorted(values) for quantity, values in found.items()}
    write_json(folder(experiment) / "prediction.json", document | {"bands": bands})


def modelled(experiment: Experiment) -> bool:
    """Whether the model can say something: of no frozen process, no endpoint that was never a pod, no calibration."""
    odd = {signal.what for signal in experiment.signals} & {"STOP", "CONT"}
    return experiment.route in ("pool", "ojp") and not odd and experiment.name not in CALIBRATIONS


def _band(experiment: Experiment, number: int, band: Band) -> dict[str, Any]:
    if not modelled(experiment):
        return {"rate": band.rate, "load": band.load}
    trace = told_trace(experiment, number)
    outcomes = simulate_experiment(experiment, trace)
    return {"rate": band.rate, "load": band.load, **predicted(experiment, trace, outcomes)}
