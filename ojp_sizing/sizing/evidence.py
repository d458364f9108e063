"""What simulations show of a deployment: replications, estimates, the risk of disruptions, and the verdict.

A limit that any run breaks ends an exploration. A verdict needs more: *every* objective has to be shown by itself, and then all
of them together are shown with the error of one (intersection-union test, Berger 1982). That error is ``level_of`` the
contestant. Steady peak is judged by intervals of means, looked at a few times with the error divided among the looks
(Bonferroni); disruptions by the share of runs that break a limit (``measurement/risk.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import CONFIDENCE, Estimate
from ojp_sizing.measurement.known_error import Use, busiest, unvalidated, widening
from ojp_sizing.measurement.measure import Replication, measure
from ojp_sizing.measurement.objectives import Judgement, Objective, Verdict, judge_one, objectives_of, overall
from ojp_sizing.measurement.risk import Risk, level_of, risk_test
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.outcomes import HAZARD_NAMES
from ojp_sizing.sizing.evaluate import Task, run_task, slow_share
from ojp_sizing.sizing.question import Execution, Question
from ojp_sizing.sizing.screen import collapses, expected_use
from ojp_sizing.sizing.workers import Workers

#: An exploration that comes near to a limit (``search_near``) goes on to so many runs where they are cheap; where they are dear
#: it ends there: contestants that are on an edge cost evidence.
EXPLORED_NEAR = 10
#: At steady peak the mean latency of a run's second half may be so many times that of its first.
MOST_DRIFT = 1.5
#: At steady peak so much of the connections that Little's law asks for may be missing, by the whole interval, and one more.
MOST_UNUSED, UNUSED_CONNECTIONS = 0.2, 1.0
#: Runs of each disruption, and of steady peak, in an exploration.
EXPLORED, EXPLORED_STEADY = 3, 2
#: A contestant that broke a limit gets so many units to be shown all the same: more than that is dearer than the next one. With
#: high precision it gets what it needs, up to the run after which it can't be shown any more.
PATIENT_UNITS = {"normal": 1e7, "high": 1e18}
#: A run of so many units is cheap: an exploration forgives one that breaks a limit, and looks at more where one comes near.
CHEAP_RUN_UNITS = 13_000
#: A later contestant's steady peak is looked at again after so many times the runs of the last look.
LATER_LOOKS = (2, 4)
#: Of the error at steady peak so much is spent: intervals of p99s hold less often than they say (docs/decision.md).
STEADY_PART = 0.4
#: Why what the model shows of divided pools isn't enough.
COLLAPSED = "real servers with divided pools and many client JVMs collapsed over updates, where the model did not"
#: The numbers of a verdict's replications begin here: none of them has been seen by an exploration.
FRESH = 1000
#: A pod that used this part of its CPU limit, connections, threads or slots in some second is short of them.
HOT = 0.95


@dataclass(frozen=True, slots=True)
class HazardMet:
    """A trap of OJP over the runs of a situation: in how many of them, how often in all, and its earliest instant."""

    name: str
    runs: int
    count: int
    first_s: float


@dataclass(frozen=True, slots=True)
class SituationResult:
    """Measures and judgements of one situation.

    ``verdict`` is that of the risk for a disruption, else of the judgements; ``unvalidated`` says in words where nobody has held
    the model against a real server.
    """

    situation: Situation
    measures: Mapping[str, Estimate]
    judgements: tuple[Judgement, ...]
    replications: int
    units: int
    failures: Mapping[str, int]
    hazards: tuple[HazardMet, ...]
    verdict: Verdict
    risk: Risk | None = None
    unvalidated: tuple[str, ...] = ()
    reason: str = ""
    """Why the verdict is not what the numbers alone would say; empty where it is."""
    broken: tuple[Judgement, ...] = ()
    """The limits that the first of the runs which broke any has broken."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A deployment and what its simulations showed. Situations that were not reached are missing.

    ``explored``: by a few runs that say what is worth a verdict, and are none.
    """

    deployment: Deployment
    situations: tuple[Situation, ...]
    results: Mapping[Situation, SituationResult] = field(default_factory=dict)
    explored: bool = False
    on_edge: bool = False
    """An exploration came near to a limit, and more runs are dear."""

    @property
    def verdict(self) -> Verdict:
        verdict = overall(result.verdict for result in self.results.values())
        missing = self.explored or len(self.results) < len(self.situations)
        return Verdict.UNDECIDED if verdict.is_met and missing else verdict

    @property
    def missed(self) -> tuple[Judgement, ...]:
        """The limits that runs broke, or were not shown to keep."""
        return tuple(
            judgement
            for result in self.results.values()
            for judgement in result.broken or [one for one in result.judgements if one.verdict is not Verdict.MET]
        )

    @property
    def units(self) -> int:
        """How many units of work were simulated."""
        return sum(result.units for result in self.results.values())


@dataclass(frozen=True, slots=True)
class Rejection:
    """A deployment that was turned away: the limits that a run broke, after how many runs, and what its pods were short of."""

    deployment: Deployment
    judgements: tuple[Judgement, ...]
    replications: int
    stage: str
    short: tuple[str, ...]
    units: int
    """How many units of work were simulated."""
    reasons: tuple[str, ...] = ()
    """Why a verdict was not what the numbers alone would say."""

    @property
    def excess(self) -> float:
        """The largest of the broken limits' ratios, value over limit."""
        return max((j.widened / j.objective.limit for j in self.judgements if j.objective.limit > 0), default=inf)


FIRST_LOOK, EXPLORATION, VERDICT = "first look", "exploration", "verdict"

Progress = Callable[[str], None]


def _silent(what: str) -> None:
    pass


Runs = Mapping[Situation, Sequence[Replication]]


@dataclass(slots=True)
class Meter:
    """How many units of work were simulated, by all who share it."""

    units: int = 0


@dataclass(frozen=True, slots=True)
class Bench:
    """What every simulation of one question shares."""

    question: Question
    execution: Execution
    pool: Workers
    progress: Progress = _silent
    meter: Meter = field(default_factory=Meter)

    def run(
        self, deployment: Deployment, wanted: Sequence[tuple[Situation, int]], *, first_look: bool = False
    ) -> Iterator[Replication]:
        """The wanted replications, by situation and number, in the order asked whatever the workers do."""
        question, execution = self.question, self.execution
        use = expected_use(question, deployment).share
        tasks = [
            Task(
                question.workload, question.rate, deployment, situation, question.objectives, execution.seed, number,
                execution.engine, tuple(self.factors(situation, deployment).items()), first_look,
                use, Clock.checked,
            )
            for situation, number in wanted
        ]  # fmt: skip
        for task, replication in zip(tasks, self.pool.map(run_task, tasks), strict=True):
            self.progress(FIRST_LOOK if first_look else f"{task.situation.words} {task.replication % FRESH + 1}")
            self.meter.units += replication.units
            yield replication

    def objectives(self, situation: Situation) -> tuple[Objective, ...]:
        """The limits of a situation, without those on slow units where there are none."""
        has_slow = slow_share(self.question.workload) > 0
        has_fast = slow_share(self.question.workload) < 1
        return tuple(
            objective
            for objective in objectives_of(self.question.objectives, situation)
            if ("slow" not in objective.measure or has_slow) and ("fast" not in objective.measure or has_fast)
        )

    def factors(self, situation: Situation, deployment: Deployment) -> dict[str, float]:
        """The model's known error by measure, where this deployment will be used."""
        return widening(situation, deployment.warm_pools, expected_use(self.question, deployment), deployment.version)

    def affords(self, units: float) -> bool:
        """Whether runs of so many units are cheap enough to be made in great number."""
        return units <= CHEAP_RUN_UNITS or self.execution.precision == "high"


# One run against the limits -----------------------------------------------------------------------------------------


def broken_by(bench: Bench, deployment: Deployment, situation: Situation, run: Replication) -> tuple[Judgement, ...]:
    """The limits that this one run breaks, the model's known error in it; after a disruption beyond chance."""
    factors = bench.factors(situation, deployment)
    found: list[Judgement] = []
    for objective in bench.objectives(situation):
        value = run.least(objective.measure)
        widened = value * factors.get(objective.measure, 1.0)
        if widened > objective.limit:
            estimate = Estimate(value, value, value, 1)
            found.append(Judgement(objective, estimate, widened, Verdict.NOT_MET))
    return tuple(found)


def _is_near(bench: Bench, deployment: Deployment, situation: Situation, run: Replication) -> bool:
    """Whether a run came near to a limit of a disruption's own."""
    factors = bench.factors(situation, deployment)
    return situation.is_disruption and any(
        run.value(objective.measure) * factors.get(objective.measure, 1.0)
        > bench.question.known.search_near * objective.limit
        for objective in bench.objectives(situation)
        if not objective.measure.startswith("recovered_")
    )


def short_of(deployment: Deployment, runs: Sequence[Replication]) -> tuple[str, ...]:
    """Of what some pod had too little in some second of a run."""
    peaks = (
        ("CPU", "cpu_peak_cores", deployment.limit_cores),
        ("connections", "connections_peak", deployment.pool_per_pod),
        ("threads", "threads_peak", deployment.server.thread_pool_size),
        ("fast slots", "fast_slots_peak", deployment.slots_per_pod[0]),
        ("slow slots", "slow_slots_peak", deployment.slots_per_pod[1]),
    )
    found = []
    for name, measure_name, there in peaks:
        if "slots" in name and not deployment.server.segregation:
            continue
        peak = max((run.values.get(measure_name, 0.0) for run in runs), default=0.0)
        throttled = name == "CPU" and any(run.values.get("cpu_throttled_share", 0.0) > 0.0 for run in runs)
        if peak >= HOT * there or throttled:
            found.append(name)
    return tuple(found)


# Explorations --------------------------------------------------------------------------------------------------------


def explore(bench: Bench, deployment: Deployment, *, look_first: bool = True) -> Evaluation | Rejection:
    """A few runs of each situation with common random numbers, the hardest first; the first that breaks a limit ends it.

    Where runs are cheap, one that breaks a limit in a disruption is forgiven, if no other does of ``EXPLORED_NEAR``: at
    ``--risk`` some may, and a verdict can tell how many do.
    """
    situations = bench.question.situations
    if look_first:
        (run,) = bench.run(deployment, [(Situation.ROLLING_UPDATE, 0)], first_look=True)
        if broken := broken_by(bench, deployment, Situation.ROLLING_UPDATE, run):
            return Rejection(deployment, broken, 1, FIRST_LOOK, short_of(deployment, [run]), run.units)
    runs: dict[Situation, list[Replication]] = {situation: [] for situation in situations}
    forgiven: set[Situation] = set()
    near = on_edge = False

    def turned_away(broken: tuple[Judgement, ...]) -> Rejection:
        seen = [run for found in runs.values() for run in found]
        units = sum(run.units for run in seen)
        return Rejection(deployment, broken, len(seen), EXPLORATION, short_of(deployment, seen), units)

    for first, last in ((0, EXPLORED), (EXPLORED, EXPLORED_NEAR)):
        # The hardest situation first, where most fail.
        wanted = [
            (situation, number)
            for situation in situations
            for number in range(first, last)
            if situation.is_disruption or number < EXPLORED_STEADY
        ]
        for (situation, _), run in zip(wanted, bench.run(deployment, wanted), strict=True):
            runs[situation].append(run)
            if broken := broken_by(bench, deployment, situation, run):
                if bench.affords(run.units) and situation.is_disruption and situation not in forgiven:
                    forgiven.add(situation)
                    continue
                return turned_away(broken)
            if _is_near(bench, deployment, situation, run):
                near, on_edge = True, not bench.affords(run.units)
                if on_edge:
                    break
        if on_edge or not (forgiven or near):
            break
    if not runs[Situation.STEADY]:
        # What it does at steady peak is a part of the answer: of two that cost alike some take the one with the lower p99.
        for run in bench.run(deployment, [(Situation.STEADY, number) for number in range(EXPLORED_STEADY)]):
            runs[Situation.STEADY].append(run)
            if broken := broken_by(bench, deployment, Situation.STEADY, run):
                return turned_away(broken)
    use = _steady_use(deployment, runs)
    results = {
        situation: result_of(bench, deployment, situation, found, use) for situation, found in runs.items() if found
    }
    return Evaluation(deployment, situations, results, explored=True, on_edge=on_edge)


# Verdicts ------------------------------------------------------------------------------------------------------------


def verdicts(
    bench: Bench, deployment: Deployment, *, attempt: int = 0, most_units: float = inf
) -> Iterator[Evaluation]:
    """A verdict on one deployment by fresh replications, as evidence comes in; the last evaluation is complete.

    ``attempt``: which contestant of an answer it is. ``most_units``: give up where a run has broken a limit and the test of that
    situation would ask for more units than these, since others are waiting; otherwise the tests go on until they decide, or
    end undecided.
    """
    level = level_of(attempt)
    test = risk_test(bench.question.objectives.risk, level)
    situations, looks = bench.question.situations, bench.execution.looks
    if attempt:
        # At its small error an interval over few runs is so wide that it shows nothing.
        looks = (*looks, *(times * looks[-1] for times in LATER_LOOKS))
    runs: dict[Situation, list[Replication]] = {situation: [] for situation in situations}
    broken: dict[Situation, list[tuple[Judgement, ...]]] = {situation: [] for situation in situations}
    results: dict[Situation, SituationResult] = {}
    given_up = False

    def targets() -> list[tuple[Situation, int]]:
        wanted = []
        for situation in situations:
            done = len(runs[situation])
            known = results.get(situation)
            if known and (known.risk or known).verdict is not Verdict.UNDECIDED:
                continue
            if not situation.is_disruption:
                target = next((look for look in looks if look > done), done)
            elif done < test.least_runs:
                target = test.least_runs
            else:
                target = min(test.most_runs, done + max(4, test.least_runs // 4))
            wanted += [(situation, FRESH + number) for number in range(done, target)]
        return sorted(wanted, key=lambda one: (one[1], situations.index(one[0])))

    while wanted := targets():
        for (situation, _), run in zip(wanted, bench.run(deployment, wanted), strict=True):
            runs[situation].append(run)
            broken[situation].append(broken_by(bench, deployment, situation, run))
            if not situation.is_disruption or not broken[situation][-1]:
                continue
            count = sum(map(bool, broken[situation]))
            each = sum(one.units for one in runs[situation]) / len(runs[situation])
            given_up = test.runs_for(count) * each > most_units
            if given_up or test.decide(list(map(bool, broken[situation])))[0] is Verdict.NOT_MET:
                break
        use = _steady_use(deployment, runs)
        for situation, found in runs.items():
            if not found:
                continue
            if not situation.is_disruption:
                confidence = 1.0 - 2.0 * STEADY_PART * level / len(looks)
                results[situation] = result_of(bench, deployment, situation, found, use, confidence)
                continue
            verdict, count = test.decide(list(map(bool, broken[situation])))
            breaking = Counter(
                measure_name
                for some in broken[situation][:count]
                for measure_name in dict.fromkeys(j.objective.measure for j in some)
            )
            found_risk = Risk(
                sum(map(bool, broken[situation][:count])),
                count,
                test.risk,
                level,
                verdict,
                tuple(breaking.most_common()),
            )
            first = next(filter(None, broken[situation]), ())
            results[situation] = result_of(bench, deployment, situation, found, use, CONFIDENCE, found_risk, first)
        yield Evaluation(deployment, situations, dict(results))
        if any(result.verdict is Verdict.NOT_MET for result in results.values()):
            return
        if given_up:
            return


def _steady_use(deployment: Deployment, runs: Runs) -> Use | None:
    steady = runs.get(Situation.STEADY)
    return busiest(measure(steady), deployment.server.segregation) if steady else None


def busiest_of(evaluation: Evaluation | None) -> Use | None:
    """What a deployment would run out of first; None where it wasn't simulated at steady peak."""
    steady = evaluation.results.get(Situation.STEADY) if evaluation else None
    if evaluation is None or steady is None:
        return None
    return busiest(steady.measures, evaluation.deployment.server.segregation)


def result_of(
    bench: Bench,
    deployment: Deployment,
    situation: Situation,
    replications: Sequence[Replication],
    use: Use | None,
    confidence: float = CONFIDENCE,
    risk: Risk | None = None,
    broken: tuple[Judgement, ...] = (),
) -> SituationResult:
    """What these runs say of a situation; ``risk`` and what broke first where it is a disruption with a verdict."""
    measures = measure(replications, confidence)
    factors = bench.factors(situation, deployment)
    judgements = tuple(
        judge_one(objective, measures[objective.measure], factors.get(objective.measure, 1.0))
        for objective in bench.objectives(situation)
        if objective.measure in measures
    )
    verdict, reason = overall(j.verdict for j in judgements) if risk is None else risk.verdict, ""
    if verdict.is_met and risk is not None and any(j.verdict is Verdict.NOT_MEASURED for j in judgements):
        verdict, reason = Verdict.UNDECIDED, "no run had anything to measure for one of the limits"
    if verdict.is_met and (doubt := _doubt(measures)):
        verdict, reason = Verdict.UNDECIDED, doubt
    clients = bench.question.workload.clients
    share = use.share if use else expected_use(bench.question, deployment).share
    quantities = {
        "load": share,
        "connects_per_s": bench.question.rate,
        "client_jvms": float(clients.jvms),
        "limit_cores": deployment.limit_cores,
    }
    unseen = unvalidated(situation, deployment.warm_pools, quantities, deployment.version)
    if verdict.is_met and situation.is_disruption and collapses(bench.question, deployment, share):
        verdict, reason = Verdict.UNDECIDED, COLLAPSED
    if verdict is Verdict.MET and unseen:
        verdict = Verdict.MET_BY_MODEL
    failures: Counter[str] = Counter()
    for replication in replications:
        failures.update(replication.failures)
    return SituationResult(
        situation=situation,
        measures=measures,
        judgements=judgements,
        replications=len(replications),
        units=sum(replication.units for replication in replications),
        failures=dict(failures.most_common()),
        hazards=hazards_met(replications),
        verdict=verdict,
        risk=risk,
        unvalidated=unseen,
        reason=reason,
        broken=broken,
    )


def _doubt(measures: Mapping[str, Estimate]) -> str:
    """Why the runs at steady peak don't show a steady peak, or "": the latency grew, or fewer connections were in use than
    the units that came and didn't fail hold without any wait (Little's law)."""
    if "drift" in measures and not measures["drift"].value <= MOST_DRIFT:
        return "the latency grew during the runs: they were too short, or work comes faster than it is done"
    if "connections_offered" not in measures:
        return ""
    names = ("connections_use", "connections_offered", "pooled_connections", "failed_share")
    use, offered, pooled, failed = (measures[name] for name in names)
    asked = offered.value * (1.0 - failed.high)
    unused = (asked - use.value) * pooled.value
    if use.high < asked and unused > max(UNUSED_CONNECTIONS, MOST_UNUSED * asked * pooled.value):
        shares = f"{100 * use.value:.3g} % where Little's law gives {100 * offered.value:.3g} %"
        return f"connections in use {shares}: the runs were too short"
    return ""


def hazards_met(replications: Sequence[Replication]) -> tuple[HazardMet, ...]:
    """The traps that any run met, in the order of their table."""
    met: dict[str, HazardMet] = {}
    for replication in replications:
        for hazard in replication.hazards:
            before = met.get(hazard.name, HazardMet(hazard.name, 0, 0, inf))
            first_s = min(before.first_s, hazard.first_s)
            met[hazard.name] = HazardMet(hazard.name, before.runs + 1, before.count + hazard.count, first_s)
    return tuple(met[name] for name in HAZARD_NAMES if name in met)
