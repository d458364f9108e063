"""The closed-form screen: its bound never turns away what a simulation would show to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from numpy.random import default_rng

from ojp_sizing import Execution, Objectives, Question, check, read_workload
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.measurement.known_error import Use
from ojp_sizing.sizing.evidence import Bench, Evaluation, Rejection, explore
from ojp_sizing.sizing.screen import connections_per_pod, database_of, expected_use, impossible, pod_cpu_cores
from ojp_sizing.sizing.space import LIMITS_CORES, Space, first_guess
from ojp_sizing.sizing.workers import workers_for
from ojp_sizing.theory.offered import least_pod_cores

PRESETS = ("web-oltp", "reporting-mix", "pgbench-measured")
#: Half of the disruptions may break something: few runs say so.
EASY = Objectives(risk=0.5)
LOOSE = replace(EASY, fast_p99_s=0.3)
SERVER = ServerSettings(thread_pool_size=200, segregation=False, breaker_open_s=5.0)


def roomy(question: Question, replicas: int) -> Deployment:
    """Twice what the closed forms ask for of everything."""
    load = question.load
    return Deployment(
        replicas,
        2.0 * pod_cpu_cores(question, replicas),
        ClientPool(replicas * (2 + int(2.0 * question.rate * load.hold_s / replicas))),
        SERVER,
        Database(2.0 * question.rate * load.database_s),
    )


def short_of(question: Question, deployment: Deployment, what: str, use: float) -> Deployment:
    """The same where the mean load of one resource is so much of what there is."""
    load = question.load
    if what == "the database's cores":
        return replace(deployment, database=Database(question.rate * load.database_s / use))
    if what == "a pod's CPU":
        least = least_pod_cores(load, question.rate, deployment.replicas)
        return replace(deployment, limit_cores=least / use)
    per_pod = int(question.rate * load.hold_s / deployment.replicas / use)
    return replace(deployment, pool=ClientPool(deployment.replicas * max(1, per_pod)))


def explored(question: Question, deployment: Deployment) -> Evaluation | Rejection:
    """A few runs, up to the first that breaks a limit."""
    with workers_for("auto") as pool:
        return explore(Bench(question, Execution(), pool), deployment)


@pytest.mark.parametrize("what", ["the database's cores", "a pod's CPU", "a pod's connections"])
@pytest.mark.parametrize("preset", PRESETS)
def test_what_the_bound_turns_away_no_simulation_shows_to_do(preset: str, what: str) -> None:
    """A little over the bound, where it could be wrong; far over it nobody would doubt."""
    rng = default_rng(len(preset) + 10 * len(what))
    for use in (1.06, 1.2):
        question = Question(read_workload(preset), float(rng.uniform(150, 400)), objectives=EASY)
        # Connections are whole: on one pod their use can be set closely enough.
        replicas = 1 if what == "a pod's connections" else int(rng.integers(1, 5))
        deployment = short_of(question, roomy(question, replicas), what, use)
        reason = impossible(question, deployment)
        assert reason.startswith(what)
        if isinstance(explored(question, deployment), Rejection):
            continue
        assert not check(question, deployment).verdict.is_met


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_simulation_shows_to_do_the_bound_lets_pass(preset: str) -> None:
    shown = 0
    for least, rate in ((5, 120.0), (6, 300.0)):
        question = Question(read_workload(preset), rate, objectives=LOOSE, least_replicas=least)
        guess = first_guess(question)
        assert guess is not None
        for limit_cores in (1.0, 2.0):
            deployment = replace(guess, limit_cores=limit_cores)
            met = check(question, deployment).verdict.is_met
            shown += met
            assert not met or impossible(question, deployment) == ""
    assert shown > 0


def test_cores_are_asked_for_only_where_none_are_given() -> None:
    question = Question(read_workload("web-oltp"), 5000.0)
    busy = 5000.0 * question.load.database_s
    assert busy / database_of(question).cores <= question.known.database_target_use
    assert database_of(replace(question, database=Database(cores=64.0))).cores == 64.0


@pytest.mark.parametrize("segregation", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_objectives_reach_the_screen(preset: str, segregation: bool) -> None:
    """Who may wait longer for a connection needs fewer of them."""
    found = [
        connections_per_pod(
            Question(read_workload(preset), 1000.0, objectives=Objectives(fast_p99_s=limit_s)), 8, segregation
        )[0]
        for limit_s in (0.02, 0.05, 0.5, 5.0)
    ]
    assert found == sorted(found, reverse=True)
    assert segregation or found[0] > found[-1]


def test_the_expected_use_is_that_of_the_busier_one() -> None:
    question = Question(read_workload("web-oltp"), 500.0)
    space = Space(question)
    (shape, *_) = space.shapes(7, segregation=False, warm_pools=True)
    cramped = space.deployment(shape, LIMITS_CORES[0])
    use = pod_cpu_cores(question, 7) / cramped.limit_cores
    assert expected_use(question, cramped) == Use("CPU limit", use)
    held = 500.0 * question.load.hold_s / 7 / cramped.pool_per_pod
    assert held < use
    assert expected_use(question, replace(cramped, limit_cores=1000.0)) == Use("connections", held)
