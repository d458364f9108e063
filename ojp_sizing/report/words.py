"""Measures and findings in words, for the terminal and for comments in files."""

from __future__ import annotations

from math import inf, isnan

from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.objectives import Judgement, Verdict
from ojp_sizing.sizing.search import Rejection, Smaller

#: Shown name, factor and unit of each measure that an objective can be about.
NAMES = {
    "fast_p99_s": ("p99 of fast units", 1e3, "ms"),
    "slow_p99_s": ("p99 of slow units", 1e3, "ms"),
    "failed_share": ("failed units", 100.0, "%"),
}


def shown_number(value: float) -> str:
    """Three significant digits, without exponent."""
    if isnan(value):
        return "-"
    if value in (inf, -inf):
        return "no end" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.2g}" if abs(value) >= 1e-3 else f"{value:.4f}"


def with_interval(estimate: Estimate, scale: float = 1.0) -> str:
    """``value [low, high]``; "-" where there was nothing to measure."""
    if isnan(estimate.value):
        return "-"
    low, high = shown_number(estimate.low * scale), shown_number(estimate.high * scale)
    return f"{shown_number(estimate.value * scale)} [{low}, {high}]"


def judgement_words(judgement: Judgement) -> str:
    """What was measured against what was asked."""
    measure = judgement.objective.measure
    name, scale, unit = NAMES[measure.removeprefix("recovered_")]
    after = " after it" if measure.startswith("recovered_") else ""
    estimate = judgement.estimate
    limit = shown_number(judgement.objective.limit * scale)
    if estimate.value == inf:
        return f"{judgement.objective.situation.value}: {name}{after}: units hang (limit {limit} {unit})"
    return f"{judgement.objective.situation.value}: {name}{after} {with_interval(estimate, scale)} {unit} (limit {limit} {unit})"


def held_back(smaller: Smaller) -> str:
    """What holds a smaller neighbour back."""
    if smaller.rejection is not None:
        return finding(smaller.rejection)
    return smaller.rule or "does as well here, but costs no less"


def finding(rejection: Rejection) -> str:
    """Why a deployment was turned away: its worst miss, and how well that is known."""
    runs = "1 run" if rejection.replications == 1 else f"{rejection.replications} runs"
    how = "first look, " if rejection.first_look else ""
    if not rejection.judgements:
        return f"not shown to be met; {'; '.join(rejection.doubts)} [{how}{runs}]"
    worst = max(rejection.judgements, key=lambda j: j.estimate.value / j.objective.limit)
    known = "not met" if worst.verdict is Verdict.NOT_MET else "not shown to be met"
    return f"{known}; {judgement_words(worst)} [{how}{runs}]"


#: What an answer with warm pools asks of whoever runs the cluster; what OJP does by itself.
WARM_POOLS = (
    "have its pools built by one connection before clients reach it (docs/restarts.md), or this answer doesn't hold: by itself"
    " OJP lets each client that comes first build one, and all stall for seconds or for good (--cold-pools judges that)"
)
COLD_POOLS = "its pools are built by the clients that come first, as OJP does it (--cold-pools)"


def when_back(deployment: Deployment) -> str:
    """What is assumed of a pod that comes back."""
    return WARM_POOLS if deployment.warm_pools else COLD_POOLS
