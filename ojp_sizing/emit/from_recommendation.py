"""From a recommendation to the files: the release with a reason behind every number, and the record of the run."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from math import fsum, isfinite, isnan
from typing import Any

from ojp_sizing import __version__
from ojp_sizing.demand.reading import workload_yaml
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import SET, WORKLOAD_FIELDS, Constants, constant_table
from ojp_sizing.deployment.deployment import ServerSettings, describe
from ojp_sizing.deployment.reading import deployment_yaml
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.emit.companions import (
    PROPERTIES_FILE,
    jdbc_url,
    ojp_properties,
)
from ojp_sizing.emit.kustomize import VALUES_FILE, kustomize_files
from ojp_sizing.emit.release import CHART_NAME, CHART_VERSION, JVM_FLAGS, Release, WarmUp
from ojp_sizing.emit.values import values_yaml
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.known_error import STEADY, Band, nearest, rows_for
from ojp_sizing.measurement.objectives import Verdict
from ojp_sizing.quantities import format_bytes, format_rate
from ojp_sizing.report.bands import against, restart_bands, version_of
from ojp_sizing.report.words import by_model_words, held_back, risk_words, shown_number, when_back
from ojp_sizing.sizing.evidence import Evaluation, Rejection, busiest_of
from ojp_sizing.sizing.knobs import PAIRS, Knob
from ojp_sizing.sizing.over_ranges import End, OverRanges
from ojp_sizing.sizing.reach import Growth, Reach
from ojp_sizing.sizing.recommendation import Judged, Neighbour, Recommendation

RECORD_FILE = "recommendation.json"
LIBRARIES = ("numpy", "scipy", "simpy")


def release_of(
    recommendation: Recommendation,
    *,
    name: str = CHART_NAME,
    namespace: str = "ojp",
    database_url: str = "postgresql://db.example.com:5432/mydb",
    warm_up_image: str = "",
) -> Release:
    """The recommended deployment as a Helm release. Raises LookupError where there is no answer."""
    deployment, resources = recommendation.deployment, recommendation.resources
    if resources is None or recommendation.evaluation is None:
        raise LookupError("a recommendation with a deployment has resources")
    server, pool = deployment.server, deployment.pool
    return Release(
        name=name,
        namespace=namespace,
        image_tag=deployment.version,
        replicas=deployment.replicas,
        request_cores=resources.request_cores,
        limit_cores=resources.limit_cores,
        request_bytes=resources.memory.limit,
        limit_bytes=resources.memory.limit,
        heap_bytes=resources.memory.heap,
        thread_pool_size=server.thread_pool_size,
        slow_slot_percentage=server.slow_slot_percentage,
        pool_size=pool.maximum_size,
        minimum_idle=pool.minimum_idle,
        connection_timeout_s=pool.connection_timeout_s,
        segregation=server.segregation,
        slot_idle_timeout_s=server.idle_timeout_s,
        slow_slot_timeout_s=server.slow_slot_timeout_s,
        fast_slot_timeout_s=server.fast_slot_timeout_s,
        update_global_average_s=server.update_global_average_s,
        breaker_threshold=server.breaker_threshold,
        breaker_open_s=server.breaker_open_s,
        database_url=database_url,
        warm_up=WarmUp(
            warm_up_image or f"registry.example/ojp-warm-up:{deployment.version}",
            round(deployment.constants.warm_up_calls),
        )
        if deployment.warm_pools
        else None,
        reasons=_reasons(recommendation, recommendation.evaluation),
        heading=(
            f"Sized by ojp-sizing {__version__}: {recommendation.verdict.value} (see {RECORD_FILE}).",
            *_shown_words(recommendation.evaluation),
            f"Demand: {format_rate(recommendation.question.rate)} units of work per second of workload"
            f" {recommendation.question.workload.name}; seed {recommendation.execution.seed}.",
            f"When a pod comes back: {when_back(recommendation.deployment)}.",
            "The network is predicted and not measured: calibrate before you rely on it.",
            *(
                f"Against a real server (docs/validation.md), {situation}: {words}."
                for situation, words in against(recommendation.evaluation).items()
            ),
        ),
    )


def _shown_words(evaluation: Evaluation) -> list[str]:
    """What was shown, and where that is the model's word alone."""
    shown = [f"{words}." for result in evaluation.results.values() if (words := risk_words(result))]
    unseen = by_model_words(evaluation)
    return [*shown, *([f"No real server was measured there: {unseen}."] if unseen else [])]


def _span(estimate: Estimate, scale: float = 1.0) -> str:
    value, low, high = (shown_number(end * scale) for end in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def _reasons(recommendation: Recommendation, evaluation: Evaluation) -> dict[str, str]:
    """The number behind each sized value, by Helm path or client key."""
    deployment, memory = evaluation.deployment, recommendation.resources.memory  # type: ignore[union-attr]
    steady = evaluation.results[Situation.STEADY].measures
    rolling = evaluation.results[Situation.ROLLING_UPDATE].measures
    back = {smaller.change.split()[0]: held_back(smaller) for smaller in recommendation.smaller if smaller.outcome}
    peak = max((result.measures["cpu_peak_cores"] for result in evaluation.results.values()), key=lambda e: e.value)
    inside = max((result.measures["inside_peak"] for result in evaluation.results.values()), key=lambda e: e.value)
    target = deployment.constants.cpu_target_use
    limit_back = f" A smaller limit: {back['CPU']}." if "CPU" in back else ""
    fewer_back = f" One fewer: {back['replicaCount']}." if "replicaCount" in back else ""
    return {
        "replicaCount": f"Rolling update: p99 of fast units {_span(rolling['fast_p99_s'], 1e3)} ms.{fewer_back}",
        "resources.requests.cpu": f"{_span(steady['cpu_cores'])} cores used at steady peak;"
        f" the request is that at {target:.0%} use.",
        "resources.limits.cpu": f"At most {_span(peak)} cores used in any second of the three situations.{limit_back}",
        "resources.requests.memory": "As the limit: a JVM doesn't give its heap back.",
        "resources.limits.memory": f"Heap {format_bytes(memory.heap)} and native memory, rounded up (docs/validation.md).",
        "server.threadPoolSize": f"At most {_span(inside)} RPCs were inside one pod at once; the rest is for callers that pile up"
        " while a pool is opened anew.",
        "server.slowQuerySegregation.slowSlotPercentage": "Sized by the slow statements' share of slot time."
        f" Slow slots busy at steady peak: {_span(steady['slow_slots_use'], 100)} %."
        if deployment.server.segregation
        else "OJP's default; without effect while segregation is off.",
        "server.circuitBreakerTimeout": "Short: statements that reach a pod before its pool is built open breakers there,"
        f" which the default keeps shut for {ServerSettings().breaker_open_s:g} s.",
        "server.slowQuerySegregation.enabled": "On, as OJP has it by default; the simulation met every objective with it."
        if deployment.server.segregation
        else "Off: with segregation on, slots and connections can lock each other; see the answer for what on would cost.",
        "ojp.connection.pool.maximumPoolSize": f"{deployment.pool_per_pod} on each of {deployment.replicas} pods;"
        f" connections in use at steady peak {_span(steady['connections_use'], 100)} %.",
        JVM_FLAGS: f"Heap: {deployment.constants.heap_headroom:g} x (base {format_bytes(memory.base)}"
        f" + connections {memory.connections / 2**20:.0f}Mi + requests {memory.requests / 2**20:.1f}Mi"
        f" + results {memory.results / 2**20:.1f}Mi), rounded up (measured: docs/validation.md).",
    }


def files_of(recommendation: Recommendation, release: Release) -> dict[str, str]:
    """Every file of the answer, by name."""
    url = jdbc_url(release)
    return {
        VALUES_FILE: values_yaml(release),
        **kustomize_files(release),
        PROPERTIES_FILE: ojp_properties(release),
        "jdbc-url.txt": url if url.endswith("\n") else url + "\n",
        RECORD_FILE: json_text(record(recommendation, release)),
    }


def _number(value: float) -> float | str | None:
    """JSON has neither NaN (nothing to measure: null) nor infinity."""
    if isnan(value):
        return None
    return value if isfinite(value) else ("infinite" if value > 0 else "-infinite")


def _estimates(measures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        name: {
            "value": _number(e.value),
            "low": _number(e.low),
            "high": _number(e.high),
            "replications": e.replications,
        }
        for name, e in sorted(measures.items())
    }


def _rejection(rejection: Rejection | None) -> dict[str, Any] | None:
    if rejection is None:
        return None
    return {
        "deployment": describe(rejection.deployment),
        "stage": rejection.stage,
        "short_of": list(rejection.short),
        "reasons": list(rejection.reasons),
        "replications": rejection.replications,
        "missed": [
            {
                "situation": j.objective.situation.words,
                "measure": j.objective.measure,
                "limit": j.objective.limit,
                "value": _number(j.estimate.value),
                "low": _number(j.estimate.low),
                "high": _number(j.estimate.high),
                "high_with_known_error": _number(j.widened),
                "verdict": j.verdict.value,
            }
            for j in rejection.judgements
        ],
    }


def _neighbour(neighbour: Neighbour) -> dict[str, Any]:
    outcome = neighbour.outcome
    return {
        "change": neighbour.change,
        "deployment": describe(neighbour.deployment),
        "cost": _number(neighbour.cost),
        "rejection": _rejection(outcome) if isinstance(outcome, Rejection) else None,
        "rule": neighbour.rule,
        "verdict": outcome.verdict.value if isinstance(outcome, Evaluation) and not outcome.explored else None,
        "fast_p99_s": _steady_p99(outcome) if isinstance(outcome, Evaluation) else None,
    }


def _knob(knob: Knob) -> dict[str, Any]:
    changes = {name: getattr(knob, name) for name in ("steady_fast_s", "steady_slow_s", "update_fast_s")}
    return {
        "change": knob.change,
        "deployment": describe(knob.deployment),
        "cost": knob.cost,
        "p99_change": _estimates(changes),
        "broken": knob.broken,
        "broken_before": knob.broken_before,
        "pairs": PAIRS,
    }


def _reach(reach: Reach | None) -> dict[str, Any] | None:
    """Numbers that were seen to hold, by few runs; ``fails`` null: all that was tried did."""
    if reach is None:
        return None
    return asdict(replace(reach, rejection=None)) | {"rejection": _rejection(reach.rejection)}


def _growth(growth: Growth | None) -> dict[str, Any] | None:
    if growth is None:
        return None
    ends = {"share_a_month": growth.share, "months": growth.months, "ends_in_month": growth.ends_in_month}
    return ends | {"rate": _reach(growth.reach)}


def _ranges(over: OverRanges | None) -> dict[str, Any] | None:
    """What an answer over ranges rests on; each end is of one input alone, all others at their mids."""
    if over is None:
        return None
    return {
        "inputs": {name: {"low": r.low, "mid": r.mid, "high": r.high} for name, r in over.inputs.items()},
        "ends": [_end(end) for end in over.ends],
        "hard_ends": dict(over.hard),
        "decides": over.decides or None,
        "deployment_at_mids": describe(over.at_mids) if over.at_mids else None,
        "cost_at_mids": over.cost_at_mids,
        "sized_again_at_hard_ends": over.resized,
        "broken_ends": [_end(end) for end in over.broken_ends],
    }


def _end(end: End) -> dict[str, Any]:
    return {
        "input": end.name,
        "value": end.value,
        "cost_move_by_closed_forms": _number(end.cost_move),
        "rejection": _rejection(end.outcome) if isinstance(end.outcome, Rejection) else None,
    }


def _steady_p99(evaluation: Evaluation) -> dict[str, Any] | None:
    steady = evaluation.results.get(Situation.STEADY)
    return _estimates({"fast_p99_s": steady.measures["fast_p99_s"]})["fast_p99_s"] if steady else None


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries, infinities as words."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Verdict):
        return value.value
    return _number(value) if isinstance(value, float) else value


def _deployment(evaluation: Evaluation) -> dict[str, Any]:
    return _plain({k: v for k, v in asdict(evaluation.deployment).items() if k != "constants"})  # type: ignore[no-any-return]


def _situations(evaluation: Evaluation) -> dict[str, Any]:
    return {
        situation.words: {
            "verdict": result.verdict.value,
            "reason": result.reason or None,
            "not_validated": list(result.unvalidated),
            "risk": _plain(asdict(result.risk)) if result.risk else None,
            "replications": result.replications,
            "units": result.units,
            "objectives": [
                {
                    "measure": j.objective.measure,
                    "limit": j.objective.limit,
                    "high_with_known_error": _number(j.widened),
                    "verdict": j.verdict.value,
                }
                for j in result.judgements
            ],
            "measures": _estimates(result.measures),
            "failures": dict(result.failures),
            "hazards": [_plain(asdict(hazard)) for hazard in result.hazards],
        }
        for situation, result in evaluation.results.items()
    }


def _inputs(answer: Recommendation | Judged) -> dict[str, Any]:
    asked = answer.ranges.asked if answer.ranges else answer.question
    return {
        "peak_units_per_s": asked.rate,
        "unit": "one request is one unit of work: open a connection, statements, close",
        "seed": answer.execution.seed,
        "precision": answer.execution.precision,
        "objectives": asdict(answer.question.objectives),
        "may_vary": {
            "replicas": [answer.question.least_replicas, answer.question.most_replicas],
            "segregation": answer.question.segregation,
            "warm_pools": answer.question.warm_pools,
        },
        "growth_a_month": answer.question.growth,
        "prices": asdict(answer.question.prices),
        "workload": workload_yaml(asked.workload),
    }


def _versions() -> dict[str, str]:
    return {
        "ojp-sizing": __version__,
        "chart": f"{CHART_NAME} {CHART_VERSION}",
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        **({"numba": version("numba")} if "numba" in sys.modules else {}),
    }


def _workload_constants(workload: Workload) -> dict[str, float]:
    """The workload's values of those rows that are defaults of its fields; of think times the units' mean."""
    network, thinks = workload.network, {unit.think.mean_s for unit in workload.units}
    mean_s = fsum(unit.share * unit.think.mean_s for unit in workload.units)
    return {
        "network_one_way_s": network.one_way_s,
        "network_sigma": network.sigma,
        "think_s": thinks.pop() if len(thinks) == 1 else mean_s,
        "retry_back_off_s": workload.patience.back_off_s,
        "retry_factor": workload.patience.factor,
    }


def _constants(constants: Constants, workload: Workload) -> dict[str, Any]:
    """Every constant in force, in the table's order, with who set what isn't the table's."""
    in_force, own = constants.rows(), _workload_constants(workload)
    for name, row in constant_table().items():
        if name in own and own[name] != row.value:
            source = f"{WORKLOAD_FIELDS[name]} of workload {workload.name}"
            in_force[name] = replace(row, value=own[name], status=SET, source=source)
    return {
        name: {"value": row.value, "unit": row.unit, "status": row.status, "source": row.source}
        for name, row in {**constant_table(), **in_force}.items()
    }


def _real_server(evaluation: Evaluation | None) -> dict[str, Any]:
    """How far the model was from a real server: the row of the answer's use, and the others."""
    use = busiest_of(evaluation)
    rows, is_measured = rows_for(STEADY, use.resource if use else "", version_of(evaluation))
    row, outside = nearest(use.share, rows) if use else (None, "")
    return {
        "busiest_at_steady_peak": {"resource": use.resource, "use_share": use.share} if use else None,
        "nearest_row": _band_record(row) if row else None,
        "resource_was_measured": is_measured if use else None,
        "use_is_outside_of_measured": outside or None,
        "measured_load_shares": sorted({end for row in rows for end in (row.load_from, row.load_to)}),
        "restarts": [_band_record(row) for row in restart_bands(evaluation)],
        "source": "docs/validation.md",
    }


def _band_record(band: Band) -> dict[str, Any]:
    """A row; errors are relative to what was measured, below 0 where the model is too low."""
    return {
        "situation": band.situation,
        "resource": band.resource,
        "load_share": [band.load_from, band.load_to],
        "runs": band.runs,
        "experiments": list(band.experiments),
        "relative_error": {of: asdict(error) for of, error in band.errors.items()},
        "server": band.server,
        "measured_on": band.measured_on,
        "status": band.status,
    }


def record(recommendation: Recommendation, release: Release | None) -> dict[str, Any]:
    """Everything about a run: inputs, seed, versions, the answer, all measures, and what was turned away."""
    evaluation = recommendation.evaluation
    answer: dict[str, Any] | None = None
    if evaluation is not None and release is not None:
        answer = {
            # It was simulated with the memory that it is given.
            "deployment": _deployment(evaluation)
            | ({"memory_limit_bytes": recommendation.resources.memory.limit} if recommendation.resources else {}),
            "resources": _plain(asdict(recommendation.resources)) if recommendation.resources else None,
            "database": _plain(asdict(recommendation.database)) if recommendation.database else None,
            "cost": recommendation.cost,
            "cost_unit": "a month, in your prices" if recommendation.question.prices.in_money else "core equivalents",
            "jdbc_url": jdbc_url(release).strip(),
            "situations": _situations(evaluation),
            "smaller": [_neighbour(one) for one in recommendation.smaller],
            "knobs": [_knob(one) for one in recommendation.knobs],
            "others": [_neighbour(one) for one in recommendation.others],
            "frontier": [_neighbour(one) for one in recommendation.frontier],
            "client_jvms": _reach(recommendation.client_jvms),
            "growth": _growth(recommendation.growth),
            "formulas_in_use": [_neighbour(one) for one in recommendation.folk],
        }
    return {
        "verdict": recommendation.verdict.value,
        "inputs": _inputs(recommendation),
        "versions": _versions(),
        "engine": recommendation.engine,
        "ranges": _ranges(recommendation.ranges),
        "answer": answer,
        "search": {
            "stopped": recommendation.stopped,
            "nearest_feasible_ask": recommendation.nearest,
            "deployments_tried": recommendation.tried,
            "contestants_for_a_verdict": recommendation.attempts,
            "units_simulated": recommendation.units,
            "turned_away": [_rejection(rejection) for rejection in recommendation.rejections],
        },
        "real_server": _real_server(evaluation),
        "warnings": [asdict(warning) for warning in recommendation.warnings],
        "constants": _constants(recommendation.question.known, recommendation.question.workload),
    }


def record_of_judged(judged: Judged) -> dict[str, Any]:
    """Everything about the judgement of a given deployment, in the words of ``record``."""
    return {
        "verdict": judged.verdict.value,
        "inputs": {**_inputs(judged), "deployment": deployment_yaml(judged.deployment), "files": list(judged.files)},
        "versions": _versions(),
        "engine": judged.engine,
        "ranges": _ranges(judged.ranges),
        "judged": {"deployment": _deployment(judged.evaluation), "situations": _situations(judged.evaluation)},
        "client_jvms": _reach(judged.client_jvms),
        "growth": _growth(judged.growth),
        "carries": _reach(judged.carries),
        "real_server": _real_server(judged.evaluation),
        "warnings": [asdict(warning) for warning in judged.warnings],
        "constants": _constants(judged.deployment.constants, judged.question.workload),
    }


def json_text(document: dict[str, Any]) -> str:
    """One JSON document with a newline at its end; the same input gives the same bytes."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
