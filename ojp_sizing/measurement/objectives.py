"""What the answer must hold, and the three-valued verdict on whether it does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import isnan
from typing import Self

from ojp_sizing.measurement.intervals import Estimate


class Verdict(StrEnum):
    """Met and not met are said only where the whole 95 % interval lies on that side."""

    MET = "met"
    NOT_MET = "not met"
    UNDECIDED = "undecided"


class Situation(StrEnum):
    """In what a deployment is judged: the first three always, the others where they are asked for.

    Beside its words each has its seed key, from which its random numbers follow whatever others there are and in which order.
    A key is never changed or given again.
    """

    STEADY = "steady peak", 0
    POD_LOST = "one pod lost", 1
    ROLLING_UPDATE = "rolling update", 2
    POD_STOPPED = "one pod stopped", 3
    NODE_LOST = "node lost silently", 4
    TWO_LOST = "two pods lost", 5
    DATABASE_SLOW = "database slow", 6
    DATABASE_FULL = "database full", 7

    seed_key: int

    def __new__(cls, words: str, seed_key: int) -> Self:
        """A member: its value is the words alone."""
        member = str.__new__(cls, words)
        member._value_ = words
        member.seed_key = seed_key
        return member


@dataclass(frozen=True, slots=True)
class Objectives:
    """Upper limits. Latency is that of the unit of work as the application sees it, less client think time.

    In a disruption the percentiles may be ``disruption_factor`` times as large over its whole window, and the steady
    limits must hold again ``recovery_s`` after its end.
    """

    fast_p99_s: float = 0.050
    slow_p99_s: float = 2.0
    failed_share: float = 0.001
    disruption_factor: float = 2.0
    disruption_failed_share: float = 0.01
    recovery_s: float = 60.0


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
