"""What is kept in ``data/validation``: arrival traces, measured units, gauges; and how the model reads them."""

from __future__ import annotations

import io
import json
import lzma
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray

from ojp_sizing.demand.trace import Trace, sample_trace
from tests.real_server.artifacts import ROOT
from tests.real_server.experiments import Band, Experiment

DATA = ROOT / "data" / "validation"
SEED = 20261125
Columns = Mapping[str, NDArray[Any]]


def folder(experiment: Experiment) -> Path:
    """Where an experiment's files are."""
    return DATA / experiment.name


def trace_path(experiment: Experiment, number: int) -> Path:
    """The arrivals of a band; an experiment that has those of another has no copy."""
    return DATA / (experiment.arrivals_of or experiment.name) / f"trace-{number}.csv.xz"


def write_columns(path: Path, columns: Columns) -> None:
    """A compressed CSV; the same columns give the same bytes."""
    text = io.StringIO()
    text.write(",".join(columns) + "\n")
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        text.write(",".join(str(value) for value in row) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))


def read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a compressed CSV: integers where all values are, else floats, else text."""
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    names = lines[0].split(",")
    columns = zip(*(line.split(",") for line in lines[1:]), strict=True) if len(lines) > 1 else [()] * len(names)
    return {name: _typed(values) for name, values in zip(names, columns, strict=True)}


def _typed(values: tuple[str, ...]) -> NDArray[Any]:
    for kind in (np.int64, np.float64):
        try:
            return np.array(values, dtype=kind)
        except ValueError:
            continue
    return np.array(values, dtype=object)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """A document for people and programs, with short numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, default=lambda value: value.item())
    # Lists of numbers on one line.
    text = re.sub(r"\[(?:[-\d.,\s]|Infinity)*\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The document."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


# Arrival traces --------------------------------------------------------------------------------------------------


def _seed(experiment: Experiment, number: int, *more: int) -> SeedSequence:
    return SeedSequence(SEED, spawn_key=(number, *(experiment.arrivals_of or experiment.name).encode(), *more))


def draw_trace(experiment: Experiment, band: Band, replication: int = 0) -> Trace:
    """Sample a band's arrivals and times; times in the database in whole ms, which is what ``pg_sleep`` keeps to.

    Replication 0 is the one that is played.
    """
    number = experiment.bands.index(band)
    seed = _seed(experiment, number, *([replication] if replication else []))
    rate = band.rate or 1.0
    trace = sample_trace(experiment.workload, rate, experiment.duration_s, seed)
    if experiment.bursts:
        at_s = np.array([at for at, units in experiment.bursts for _ in range(units)])
        while len(trace.arrival_s) < len(at_s):
            trace = sample_trace(experiment.workload, rate, 2 * trace.duration_s, seed)
        trace = _first(trace, len(at_s), at_s)
    whole_ms = np.maximum(1.0, np.round(trace.database_s * 1000.0)) if len(trace.text) else trace.database_s
    return replace(
        trace,
        arrival_s=np.round(trace.arrival_s, 6),
        database_s=whole_ms / 1000.0,
        health_phase_s=default_rng(seed).random(trace.jvms),
        duration_s=experiment.duration_s + experiment.tail_s,
    )


def _first(trace: Trace, units: int, arrival_s: NDArray[np.float64]) -> Trace:
    """The first units, due at these instants instead."""
    statements = int(trace.count[:units].sum())
    per_unit = ("jvm", "kind", "first", "count", "transaction", "slow", "calls", "xa", "gap_s")
    per_statement = ("text", "writes", "fails", "rows", "database_s", "think_s", "keeps", "called", "fetches")
    kept = {name: getattr(trace, name)[:units] for name in per_unit}
    kept |= {name: getattr(trace, name)[:statements] for name in per_statement}
    return replace(trace, arrival_s=arrival_s, **kept)


def write_trace(path: Path, trace: Trace) -> None:
    """One row per statement; a unit without one has a row with text -1."""
    rows: dict[str, list[Any]] = {
        name: [] for name in ("unit", "due_s", "transaction", "text", "write", "sleep_s", "think_s", "jvm")
    }
    for unit, (first, count) in enumerate(zip(trace.first.tolist(), trace.count.tolist(), strict=True)):
        for s in range(first, first + count) if count else [None]:
            values = (
                (-1, 0, 0.0, 0.0)
                if s is None
                else (
                    int(trace.text[s]),
                    int(trace.writes[s]),
                    float(trace.database_s[s]) * (-1 if trace.fails[s] else 1),
                    float(trace.think_s[s]),
                )
            )
            row = (unit, float(trace.arrival_s[unit]), int(trace.transaction[unit]), *values, int(trace.jvm[unit]))
            for column, value in zip(rows.values(), row, strict=True):
                column.append(value)
    write_columns(path, {name: np.array(column, dtype=object) for name, column in rows.items()})


def read_trace(path: Path, experiment: Experiment) -> Trace:
    """The recorded arrivals as the model's trace."""
    rows = read_columns(path)
    unit, first = np.unique(rows["unit"], return_index=True)
    real = rows["text"] >= 0
    count = np.bincount(rows["unit"], weights=real, minlength=len(unit)).astype(np.int32)
    workload = experiment.workload
    likeness = sample_trace(workload, 1.0, 1.0, SeedSequence(SEED))
    seed = _seed(experiment, 0)
    statements = int(real.sum())
    return replace(
        likeness,
        duration_s=experiment.duration_s + experiment.tail_s,
        arrival_s=rows["due_s"][first].astype(np.float64),
        jvm=rows["jvm"][first].astype(np.int32),
        kind=np.zeros(len(unit), np.int32),
        first=(np.cumsum(count) - count).astype(np.int32),
        count=count,
        transaction=rows["transaction"][first].astype(np.int32),
        slow=np.zeros(len(unit), np.bool_),
        text=rows["text"][real].astype(np.int32),
        writes=rows["write"][real].astype(np.int32),
        fails=(rows["sleep_s"][real] < 0).astype(np.int32),
        rows=np.ones(statements, np.int32),
        database_s=np.abs(rows["sleep_s"][real]).astype(np.float64),
        think_s=rows["think_s"][real].astype(np.float64),
        # The load generator sends none of these.
        calls=np.zeros(len(unit), np.int32),
        xa=np.zeros(len(unit), np.int32),
        gap_s=np.zeros(len(unit)),
        keeps=np.zeros(statements, np.int32),
        called=np.zeros(statements, np.int32),
        fetches=np.zeros(statements, np.int32),
        health_phase_s=default_rng(seed).random(likeness.jvms),
    )
