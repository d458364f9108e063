"""What the answer must hold, and the three-valued verdict on whether it does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import isnan
from typing import Annotated

from ojp_sizing.bounds import SHARE, Checked, Number
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.quantities import MOST_SECONDS


class Verdict(StrEnum):
    """Met and not met are said only where the whole interval lies on that side, the model's known error in it.

    ``MET_BY_MODEL``: as met, but somewhere nobody has held the model against a real server there. ``NOT_MEASURED``: no run had
    anything to measure.
    """

    MET = "met"
    MET_BY_MODEL = "met by the model"
    NOT_MET = "not met"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"

    @property
    def is_met(self) -> bool:
        """Met, or met as far as the model can say."""
        return self in {Verdict.MET, Verdict.MET_BY_MODEL}


@dataclass(frozen=True, slots=True)
class Objectives(Checked):
    """Upper limits. Latency is that of the unit of work as the application sees it, less client think time.

    A disruption breaks a limit where a percentile over its whole window is above ``disruption_fast_p99_s`` or
    ``disruption_slow_p99_s`` (None: ``disruption_factor`` times the steady one), where more than ``disruption_failed_share`` of
    its units fail, or where the steady limits don't hold again within ``recovery_s`` after its end (judged within half of
    it, over up to 20 s). At most ``risk`` of the disruptions may do so.
    """

    fast_p99_s: Annotated[float, Number(0.0, MOST_SECONDS, "s")] = 0.050
    slow_p99_s: Annotated[float, Number(0.0, MOST_SECONDS, "s")] = 2.0
    failed_share: Annotated[float, SHARE] = 0.001
    disruption_factor: Annotated[float, Number(1.0, 1000.0)] = 5.0
    disruption_failed_share: Annotated[float, SHARE] = 0.01
    recovery_s: Annotated[float, Number(45.0, MOST_SECONDS, "s")] = 60.0
    disruption_fast_p99_s: Annotated[float, Number(0.0, MOST_SECONDS, "s")] | None = None
    disruption_slow_p99_s: Annotated[float, Number(0.0, MOST_SECONDS, "s")] | None = None
    risk: Annotated[float, Number(0.0, 0.5, "share", above=True)] = 0.10


@dataclass(frozen=True, slots=True)
class Objective:
    """One limit on one measure of one situation."""

    situation: Situation
    measure: str
    limit: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """An objective with what was measured: as it is, and with ``widened`` as its upper end, the model's known error in it."""

    objective: Objective
    estimate: Estimate
    widened: float
    verdict: Verdict


def objectives_of(objectives: Objectives, situation: Situation) -> tuple[Objective, ...]:
    """The limits that hold in a situation, by the names of the measures."""
    if not situation.is_disruption:
        return (
            Objective(situation, "fast_p99_s", objectives.fast_p99_s),
            Objective(situation, "slow_p99_s", objectives.slow_p99_s),
            Objective(situation, "failed_share", objectives.failed_share),
        )
    factor, fast_s, slow_s = (
        objectives.disruption_factor,
        objectives.disruption_fast_p99_s,
        objectives.disruption_slow_p99_s,
    )
    return (
        Objective(situation, "fast_p99_s", objectives.fast_p99_s * factor if fast_s is None else fast_s),
        Objective(situation, "slow_p99_s", objectives.slow_p99_s * factor if slow_s is None else slow_s),
        Objective(situation, "failed_share", objectives.disruption_failed_share),
        Objective(situation, "recovered_fast_p99_s", objectives.fast_p99_s),
        Objective(situation, "recovered_slow_p99_s", objectives.slow_p99_s),
        Objective(situation, "recovered_failed_share", objectives.failed_share),
    )


def judge_one(objective: Objective, estimate: Estimate, factor: float = 1.0) -> Judgement:
    """The verdict by the interval, its upper end times ``factor``, the model's known error (1 or more)."""
    widened = max(estimate.high, estimate.value * factor, estimate.high * factor)
    if isnan(estimate.value):
        verdict = Verdict.NOT_MEASURED
    elif widened <= objective.limit:
        verdict = Verdict.MET
    elif estimate.low > objective.limit:
        verdict = Verdict.NOT_MET
    else:
        verdict = Verdict.UNDECIDED
    return Judgement(objective, estimate, widened, verdict)


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Not met where one isn't; met where all are; else undecided. What was not measured isn't met."""
    known = set(verdicts)
    for verdict in (Verdict.NOT_MET, Verdict.UNDECIDED, Verdict.NOT_MEASURED, Verdict.MET_BY_MODEL):
        if verdict in known:
            return Verdict.UNDECIDED if verdict is Verdict.NOT_MEASURED else verdict
    return Verdict.MET if known else Verdict.UNDECIDED
