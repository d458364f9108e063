"""The sizer's arithmetic and promises: candidates, pools that stay undivided, the ledger, resources, the search."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ojp_sizing.sizing.candidates import (
    Demand,
    candidates,
    database_of,
    idle_connections,
    pod_cpu_cores,
    undivided_pool,
)
from ojp_sizing.sizing.search import smaller_neighbours

from ojp_sizing import Database, InputError, Objectives, check, read_workload, size
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import share_of_pool
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.objectives import Situation, Verdict
from ojp_sizing.report.terminal import measures_table
from ojp_sizing.sizing.evaluate import ENOUGH, SITUATIONS, Task, run_task
from ojp_sizing.sizing.recommendation import Recommendation, check_objectives
from ojp_sizing.sizing.resources import memory_of, request_cores
from ojp_sizing.theory.folk import folk_cores_per_pod, folk_pool, folk_replicas

CONSTANTS = default_constants()
WEB = read_workload("web-oltp")


@pytest.fixture(scope="module")
def answer() -> Recommendation:
    return size(WEB, 120.0)


@given(st.integers(2, 40), st.integers(3, 100))
def test_an_undivided_pool_has_the_same_share_while_up_to_two_pods_are_missing(per_pod: int, replicas: int) -> None:
    pool = undivided_pool(per_pod, replicas)
    if pool is None:
        # Then none exists: a share of at least N / 2 can't stay the same.
        assert all(
            share_of_pool(size, replicas) < per_pod
            or share_of_pool(size, replicas) != share_of_pool(size, replicas - 2)
            for size in range(per_pod * replicas + 2 * replicas)
        )
    else:
        shares = {share_of_pool(pool, pods) for pods in (replicas, replicas - 1, replicas - 2)}
        assert len(shares) == 1
        assert shares.pop() >= per_pod


@given(st.integers(3, 100))
def test_the_least_idle_number_stays_undivided_too(replicas: int) -> None:
    idle = idle_connections(replicas)
    assert 1 <= idle <= 5
    assert share_of_pool(idle, replicas) == share_of_pool(idle, replicas - 2)


def test_the_ledger_counts_rounding_up_and_the_overlap_when_a_pod_returns() -> None:
    assert connections_at_most(20, 1) == 20
    # Reference 5: survivors at 10 each and the newcomer's 7; worse, two missing and one of them grown.
    assert connections_at_most(20, 3) >= 27
    assert connections_at_most(66, 13) == 78


@given(st.integers(3, 400), st.integers(3, 30))
def test_the_ledger_is_never_below_any_mix_of_beliefs(pool: int, replicas: int) -> None:
    most = connections_at_most(pool, replicas)
    for missing in (0, 1, 2):
        survivors = replicas - missing
        assert most >= survivors * share_of_pool(pool, survivors) + missing * share_of_pool(pool, replicas)


@settings(deadline=None, max_examples=30)
@given(st.floats(1, 30000), st.sampled_from(["web-oltp", "reporting-mix", "pgbench-measured"]), st.booleans())
def test_every_candidate_keeps_the_rules(rate: float, preset: str, segregation: bool) -> None:
    demand = Demand(read_workload(preset), rate, Database(max_connections=2000.0))
    found = candidates(demand, CONSTANTS, 3, 100, segregation)
    load = demand.load(CONSTANTS)
    costs = [candidate.cost_cores for candidate in found]
    assert costs == sorted(costs)
    for candidate in found:
        deployment = candidate.deployment
        assert deployment.replicas >= 3
        assert deployment.pool_per_pod >= 2
        assert min(deployment.slots_per_pod) >= 1
        assert 1 <= deployment.server.slow_slot_percentage <= 99
        assert pod_cpu_cores(demand, load, deployment.replicas) <= CONSTANTS.cpu_most_use * deployment.limit_cores
        assert pod_cpu_cores(demand, load, deployment.replicas - 1) < deployment.limit_cores
        assert (
            rate * load.hold_s / deployment.replicas <= CONSTANTS.connections_most_use * deployment.pool_per_pod + 1e-9
        )
        assert connections_at_most(deployment.pool.maximum_size, deployment.replicas) <= 1990
        assert deployment.pool.minimum_idle <= deployment.pool.maximum_size


def test_a_database_that_is_too_small_leaves_no_candidate() -> None:
    demand = Demand(WEB, 1000.0, Database(cores=4.0))
    assert 1000.0 * demand.load(CONSTANTS).database_s > 4.0
    assert candidates(demand, CONSTANTS, 3, 100, False) == []


def test_cores_are_asked_for_only_where_none_are_given() -> None:
    asked = database_of(Demand(WEB, 5000.0, Database()), CONSTANTS)
    busy = 5000.0 * Demand(WEB, 5000.0, Database()).load(CONSTANTS).database_s
    assert busy / asked.cores <= CONSTANTS.database_target_use
    assert database_of(Demand(WEB, 5000.0, Database(cores=64.0)), CONSTANTS).cores == 64.0


def test_the_answer_is_shown_in_every_situation_and_within_its_own_rules(answer: Recommendation) -> None:
    assert answer.verdict is Verdict.MET
    assert answer.evaluation is not None
    assert set(answer.evaluation.results) == set(SITUATIONS)
    for result in answer.evaluation.results.values():
        assert result.replications >= ENOUGH
        for judgement in result.judgements:
            assert not judgement.estimate.high > judgement.objective.limit
    resources, need = answer.resources, answer.database
    assert resources is not None
    assert need is not None
    assert 0 < resources.request_cores <= resources.limit_cores == answer.deployment.limit_cores
    assert resources.memory.heap < resources.memory.limit
    assert need.max_connections > need.open_connections >= answer.deployment.pool.maximum_size
    measured = max(r.measures["open_connections"].high for r in answer.evaluation.results.values())
    assert measured <= need.open_connections


def test_what_holds_the_next_smaller_choices_back_is_said(answer: Recommendation) -> None:
    assert any(smaller.change.startswith("replicaCount") for smaller in answer.smaller)
    for smaller in answer.smaller:
        assert smaller.rejection is not None or smaller.rule


def test_the_answer_is_the_same_again_and_with_another_engine_of_workers(answer: Recommendation) -> None:
    again = size("web-oltp", 120.0)
    assert again.deployment == answer.deployment
    assert again.evaluation == answer.evaluation


def test_a_given_deployment_can_be_checked(answer: Recommendation) -> None:
    judged = check("web-oltp", 120.0, answer.deployment)
    assert judged.evaluation == answer.evaluation
    assert judged.verdict is Verdict.MET


def test_limits_below_the_bare_service_time_are_refused_with_the_flag() -> None:
    with pytest.raises(InputError, match="--fast-p99"):
        check_objectives(WEB, Objectives(fast_p99_s=0.003), 3, CONSTANTS)
    with pytest.raises(InputError, match="--slow-p99"):
        check_objectives(WEB, Objectives(slow_p99_s=0.05), 3, CONSTANTS)
    check_objectives(WEB, Objectives(), 3, CONSTANTS)


def test_neighbours_are_one_step_smaller_and_name_the_rule_that_forbids_them(answer: Recommendation) -> None:
    demand = Demand(WEB, 120.0, Database())
    deployment = answer.deployment
    changes = {change.split()[0]: (other, rule) for change, other, rule in smaller_neighbours(deployment, demand, 3)}
    fewer, _ = changes["replicaCount"]
    assert fewer.replicas == deployment.replicas - 1
    _, rule = {c.split()[0]: (o, r) for c, o, r in smaller_neighbours(deployment, demand, deployment.replicas)}[
        "replicaCount"
    ]
    assert "--min-replicas" in rule


def test_memory_grows_with_what_it_holds(answer: Recommendation) -> None:
    deployment = answer.deployment
    memory = memory_of(WEB, deployment)
    assert memory.heap >= CONSTANTS.heap_headroom * (
        memory.base + memory.connections + memory.requests + memory.results
    )
    assert memory.limit >= memory.heap + memory.native
    threads = replace(deployment, server=replace(deployment.server, thread_pool_size=10_000))
    assert memory_of(WEB, threads).heap > memory.heap


def test_a_sizing_runs_with_the_memory_that_it_recommends(answer: Recommendation) -> None:
    kills = [result.measures["memory_kills"].value for result in answer.evaluation.results.values()]
    assert kills == [0.0, 0.0, 0.0]
    assert answer.resources is not None
    task = Task(WEB, 120.0, answer.deployment, Situation.STEADY, Objectives(), 1, 0, "auto")
    roomy = run_task(replace(task, deployment=replace(answer.deployment, memory_limit_bytes=inf)))
    limit = answer.resources.memory.limit
    stated = run_task(replace(task, deployment=replace(answer.deployment, memory_limit_bytes=limit)))
    assert repr(roomy) == repr(stated)
    # Half of it doesn't hold an idle server: every pod is killed again and again.
    tight = run_task(replace(task, deployment=replace(answer.deployment, memory_limit_bytes=limit / 2)))
    assert tight.values["memory_kills"] >= answer.deployment.replicas
    failed = tight.counts["failed_share"]
    assert failed.hits == failed.total > 0


def test_throttling_and_kills_are_shown_where_there_are_any(answer: Recommendation) -> None:
    def shown(**measures: float) -> list[str]:
        results = {
            situation: replace(
                result, measures=result.measures | {k: Estimate(v, v, v, 3) for k, v in measures.items()}
            )
            for situation, result in answer.evaluation.results.items()
        }
        table = measures_table(replace(answer, evaluation=replace(answer.evaluation, results=results)))
        return [str(cell) for cell in table.columns[0].cells]

    troubles = {"CPU throttled, % of the time", "containers killed for their memory"}
    assert not troubles & set(shown(cpu_throttled_share=0.0, memory_kills=0.0))
    assert troubles <= set(shown(cpu_throttled_share=0.01, memory_kills=2.0))


def test_the_request_is_the_use_over_its_target_and_never_above_the_limit(answer: Recommendation) -> None:
    deployment = answer.deployment
    assert request_cores(0.12, deployment) == pytest.approx(0.2)
    assert request_cores(1e9, deployment) == deployment.limit_cores


def test_formulas_in_use_today() -> None:
    assert folk_replicas(5000) == 2
    assert folk_cores_per_pod(5000, 2) == 4
    assert folk_pool(8) == 17


def test_an_unbounded_database_is_not_a_bound() -> None:
    assert Database().cores == inf
    assert Database().max_connections == inf


def test_a_situation_keeps_its_random_numbers_when_others_come_or_the_order_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a new situation moves no answer."""
    deployment = Deployment(2, 1.0, ClientPool(8, 2), ServerSettings(), Database(4.0))
    task = Task(WEB, 40.0, deployment, Situation.POD_STOPPED, Objectives(), 1, 0, "auto")
    expected = run_task(task)
    other = StrEnum("Situation", [("NEW", "something new"), *((s.name, s.value) for s in reversed(Situation))])
    monkeypatch.setattr(evaluate, "Situation", other)
    assert run_task(task) == expected
    # Keys that were given once are never given again.
    keys = {
        "steady peak": 0, "one pod lost": 1, "rolling update": 2, "one pod stopped": 3, "node lost silently": 4,
        "two pods lost": 5, "database slow": 6, "database full": 7,
    }  # fmt: skip
    assert {situation.value: situation.seed_key for situation in Situation if situation.value in keys} == keys
    assert len({situation.seed_key for situation in Situation}) == len(Situation)
