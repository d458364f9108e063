"""What the answer must hold, and the three-valued verdict on whether it does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import isnan
from typing import Annotated

from ojp_sizing.bounds import SHARE, Checked, Number
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.quantities import MOST_SECONDS


class Verdict(StrEnum):
    """Met and not met are said only where the whole 95 % interval lies on that side."""

    MET = "met"
    NOT_MET = "not met"
    UNDECIDED = "undecided"


class Situation(StrEnum):
    """In what a deployment is judged: the first three always, the others where they are asked for."""

    STEADY = "steady peak"
    POD_LOST = "one pod lost"
    ROLLING_UPDATE = "rolling update"
    POD_STOPPED = "one pod stopped"
    NODE_LOST = "node lost silently"
    TWO_LOST = "two pods lost"
    DATABASE_SLOW = "database slow"
    DATABASE_FULL = "database full"


@dataclass(frozen=True, slots=True)
class Objectives(Checked):
    """Upper limits. Latency is that of the unit of work as the application sees it, less client think time.

    In a disruption the percentiles may be ``disruption_factor`` times as large over its whole window, and the steady
    limits must hold again ``recovery_s`` after its end: that is judged within half of it, over up to 20 s.
    """

    fast_p99_s: Annotated[float, Number(0.0, MOST_SECONDS, "s")] = 0.050
    slow_p99_s: Annotated[float, Number(0.0, MOST_SECONDS, "s")] = 2.0
    failed_share: Annotated[float, SHARE] = 0.001
    disruption_factor: Annotated[float, Number(1.0, 1000.0)] = 2.0
    disruption_failed_share: Annotated[float, SHARE] = 0.01
    recovery_s: Annotated[float, Number(45.0, MOST_SECONDS, "s")] = 60.0


@dataclass(frozen=True, slots=True)
class Objective:
    """One limit on one measure of one situation."""

    situation: Situation
    measure: str
    limit: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """An objective with what was measured."""

    objective: Objective
    estimate: Estimate
    verdict: Verdict


def objectives_of(objectives: Objectives, situation: Situation) -> tuple[Objective, ...]:
    """The limits that hold in a situation, by the names of the measures."""
    if situation is Situation.STEADY:
        return (
            Objective(situation, "fast_p99_s", objectives.fast_p99_s),
            Objective(situation, "slow_p99_s", objectives.slow_p99_s),
            Objective(situation, "failed_share", objectives.failed_share),
        )
    factor = objectives.disruption_factor
    return (
        Objective(situation, "fast_p99_s", objectives.fast_p99_s * factor),
        Objective(situation, "slow_p99_s", objectives.slow_p99_s * factor),
        Objective(situation, "failed_share", objectives.disruption_failed_share),
        Objective(situation, "recovered_fast_p99_s", objectives.fast_p99_s),
        Objective(situation, "recovered_slow_p99_s", objectives.slow_p99_s),
        Objective(situation, "recovered_failed_share", objectives.failed_share),
    )


def judge_one(objective: Objective, estimate: Estimate) -> Judgement:
    """The verdict by the interval. A measure with nothing to measure (no slow statements) is met."""
    if isnan(estimate.value) or estimate.high <= objective.limit:
        verdict = Verdict.MET
    elif estimate.low > objective.limit:
        verdict = Verdict.NOT_MET
    else:
        verdict = Verdict.UNDECIDED
    return Judgement(objective, estimate, verdict)


def overall(judgements: Iterable[Judgement]) -> Verdict:
    """Not met where one isn't; met where all are; else undecided."""
    verdicts = {judgement.verdict for judgement in judgements}
    if Verdict.NOT_MET in verdicts:
        return Verdict.NOT_MET
    return Verdict.UNDECIDED if Verdict.UNDECIDED in verdicts else Verdict.MET
