"""Record an experiment's arrival traces and what the model says of them, before anything is measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from tests.real_server.experiments import EXPERIMENTS, Band, Experiment
from tests.real_server.predict import predicted, simulate_experiment
from tests.real_server.recorded import draw_trace, folder, read_columns, read_trace, write_json, write_trace
from tests.real_server.recovery import NAMES, replicated


def predict(experiment: Experiment) -> None:
    """Write the traces, where there are none yet, and ``prediction.json``."""
    for number, band in enumerate(experiment.bands):
        path = folder(experiment) / f"trace-{number}.csv.xz"
        if not path.exists():
            write_trace(path, draw_trace(experiment, band))
    bands = [_band(experiment, number, band) for number, band in enumerate(experiment.bands)]
    document: dict[str, Any] = {"experiment": experiment.name, "asks": experiment.asks, "route": experiment.route}
    document["settings"] = {"nodes": experiment.nodes, "pool": asdict(experiment.pool)}
    if experiment.route == "ojp":
        document["settings"]["server"] = asdict(experiment.server)
    document["statement_beyond_its_sleep_s"] = statement_s(experiment)
    if experiment.name in NAMES:
        document["of_replications"] = replicated(experiment.name)
    write_json(folder(experiment) / "prediction.json", document | {"bands": bands})


def modelled(experiment: Experiment) -> bool:
    """Whether the model can say something. It has no frozen process, and no endpoint that was never a pod."""
    odd = {signal.what for signal in experiment.signals} & {"STOP", "CONT"}
    return experiment.route in ("pool", "ojp") and not odd


def _band(experiment: Experiment, number: int, band: Band) -> dict[str, Any]:
    if not modelled(experiment):
        return {"rate": band.rate, "load": band.load}
    trace = read_trace(folder(experiment) / f"trace-{number}.csv.xz", experiment)
    outcomes = simulate_experiment(experiment, trace, statement_s=statement_s(experiment))
    return {"rate": band.rate, "load": band.load, **predicted(experiment, trace, outcomes)}


def statement_s(experiment: Experiment) -> float:
    """What JDBC and PostgreSQL add to a sleep, by the experiment ``generator``; for OJP's servers it is the model's to say."""
    generator = EXPERIMENTS["generator"]
    if experiment.route != "pool" or not (folder(generator) / "measured.json").exists():
        return 0.0
    units, trace = (read_columns(folder(generator) / f"{name}-0.csv.xz") for name in ("measured", "trace"))
    beyond_s = (units["ended_us"] - units["connected_us"]) / 1e6 - trace["sleep_s"]
    return round(float(np.median(beyond_s)), 6)
