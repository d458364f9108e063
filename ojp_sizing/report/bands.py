"""How far the model was from a real server where an answer is, in words."""

from __future__ import annotations

from collections.abc import Sequence

from ojp_sizing.deployment.deployment import DEFAULT_VERSION
from ojp_sizing.measurement.known_error import (
    RESTARTS,
    STEADY,
    WARM_RESTARTS,
    Band,
    Use,
    nearest,
    of_version,
    rows_for,
)
from ojp_sizing.sizing.evidence import Evaluation, busiest_of

#: From here on the model is called too kind to restarts: so much too much throughput, or too little of p99.
KIND_THROUGHPUT, KIND_P99 = 0.02, -0.20


def against(evaluation: Evaluation | None) -> dict[str, str]:
    """What is known of the model's error where this answer is, and of its error in restarts: by situation, in words."""
    use = busiest_of(evaluation)
    words = {STEADY: steady_words(use, *rows_for(STEADY, use.resource if use else "", version_of(evaluation)))}
    return words | {band.situation: restart_words(band, use) for band in restart_bands(evaluation)}


def restart_bands(evaluation: Evaluation | None) -> tuple[Band, ...]:
    """The rows of restarts that concern a deployment, by its pools; all of them where there is none."""
    asked = [RESTARTS, WARM_RESTARTS]
    if evaluation is not None:
        asked = [WARM_RESTARTS if evaluation.deployment.warm_pools else RESTARTS]
    return tuple(band for situation in asked for band in of_version(situation, version_of(evaluation)))


def version_of(evaluation: Evaluation | None) -> str:
    """Of the servers that an answer is about."""
    return evaluation.deployment.version if evaluation else DEFAULT_VERSION


def steady_words(use: Use | None, rows: Sequence[Band], is_measured: bool = True) -> str:
    """The errors at the measured load that is nearest to a use. ``is_measured``: the rows are of its resource."""
    if use is None:
        loads = ", ".join(row.load for row in rows)
        return f"nothing was simulated at steady peak, so that no row can be picked; measured were loads of {loads}"
    band, outside = nearest(use.share, rows)
    here = f"busiest here: {use.resource}, {100 * use.share:.0f} % in use"
    if not is_measured:
        other = f"with {band.resource} as the busiest, at {band.load} load"
        return f"{here}: never measured here; {other} {_errors(band, 'p99', 'throughput')}"
    here += "; no real server was measured at this use, the nearest is this:" if outside else ";"
    return f"{here} at {band.load} load {_errors(band, 'p99', 'throughput')}"


def restart_words(band: Band, use: Use | None = None) -> str:
    """The errors in restarts; advice where the model is kinder than a real server."""
    text = f"where servers ended and came back at {band.load} load {_errors(band, 'throughput', 'p99')}"
    if use is not None and use.resource != band.resource:
        text = f"never measured here, with {use.resource} as the busiest; with {band.resource}: {text}"
    kind = band.errors["throughput"].worst > KIND_THROUGHPUT or band.errors["p99"].worst < KIND_P99
    return f"{text}; so this is a best case: update in a quiet hour" if kind else text


def _errors(band: Band, first: str, second: str) -> str:
    origin = f"{', '.join(band.experiments)}; OJP {band.server}, {band.measured_on}"
    return f"{_off(band, first)}, {_off(band, second)} ({origin})"


def _off(band: Band, figure: str) -> str:
    """How far off in the median of the runs and at worst."""
    middle, worst = (_size(error) for error in (band.errors[figure].middle, band.errors[figure].worst))
    if band.runs == 1:
        return f"{figure} {middle} (1 run)"
    return f"{figure} {middle} (median of {band.runs} runs{'' if middle == worst else f', worst {worst}'})"


def _size(error: float) -> str:
    if abs(error) < 0.005:
        return "predicted to 0.5 %"
    return f"{'under' if error < 0 else 'over'}-predicted by {abs(100 * error):,.0f} %"
