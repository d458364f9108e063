"""The same demand on two releases: what each would take, and which of their traits make the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.deployment.versions import NOT_SIMULATED, differences, traits_of
from ojp_sizing.measurement.measure import Replication, measure
from ojp_sizing.sizing.evidence import Bench
from ojp_sizing.sizing.question import Execution, Question
from ojp_sizing.sizing.recommendation import Recommendation, size
from ojp_sizing.sizing.strategy import Listener
from ojp_sizing.sizing.workers import workers_for

#: Runs behind the figures of one trait. They show what it does; they are no verdict.
STEADY_RUNS, UPDATE_RUNS = 2, 3


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a deployment in a few runs: CPU in use at steady peak (cores, all pods), p99 of fast units there and over a rolling
    update (s), and the share of units that fail over an update."""

    cores: float
    steady_p99_s: float
    update_p99_s: float
    failed_share: float


@dataclass(frozen=True, slots=True)
class Switched:
    """The older release's deployment with one trait of the newer one. ``figures`` None: nothing changed in any run."""

    trait: str
    before: object
    after: object
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both answers; and, where the older release has one, what its deployment does as it is (``base``) and with each trait.

    Savings don't add up: traits act on each other, and each answer has the deployment that is best for all of its own.
    ``unseen``: traits that differ and aren't simulated.
    """

    older: Recommendation
    newer: Recommendation
    base: Figures | None
    switched: tuple[Switched, ...]
    unseen: tuple[str, ...]


def compare(question: Question, newer: str, execution: Execution, listener: Listener) -> Comparison:
    """Size the question's demand for its release and for the ``newer`` one, and switch their traits one at a time."""
    answers = [size(asked, execution, listener) for asked in (question, replace(question, version=newer))]
    older_traits, newer_traits = answers[0].question.traits, answers[1].question.traits
    names = differences(older_traits, newer_traits)
    unseen = tuple(name for name in names if name in NOT_SIMULATED)
    if answers[0].evaluation is None:
        return Comparison(answers[0], answers[1], None, (), unseen)
    deployment = answers[0].deployment
    simulated = [name for name in names if name not in NOT_SIMULATED]
    with workers_for(execution.engine, execution.workers, execution.scheduler) as pool:
        bench = Bench(answers[0].question, execution, pool)
        before = _runs(bench, deployment)
        switched = []
        for number, name in enumerate(simulated):
            listener(f"with {name} of {newer}", number, len(simulated))
            after = getattr(newer_traits, name)
            runs = _runs(bench, replace(deployment, switched=replace(older_traits, **{name: after})))
            figures = None if runs == before else _figures(runs, deployment)
            switched.append(Switched(name, getattr(older_traits, name), after, figures))
    return Comparison(answers[0], answers[1], _figures(before, deployment), tuple(switched), unseen)


def _runs(bench: Bench, deployment: Deployment) -> list[Replication]:
    steady = [(Situation.STEADY, number) for number in range(STEADY_RUNS)]
    updates = [(Situation.ROLLING_UPDATE, number) for number in range(UPDATE_RUNS)]
    return list(bench.run(deployment, [*steady, *updates]))


def _figures(runs: Sequence[Replication], deployment: Deployment) -> Figures:
    steady, update = measure(runs[:STEADY_RUNS]), measure(runs[STEADY_RUNS:])
    return Figures(
        steady["cpu_use"].value * deployment.limit_cores * deployment.replicas,
        steady["fast_p99_s"].value,
        update["fast_p99_s"].value,
        update["failed_share"].value,
    )


def measured(version: str) -> bool:
    """Whether a real server of this release was measured."""
    return traits_of(version).status == "MEASURED"
