"""An answer and its promises: shown, within its rules, the cheapest that was met; and what else was looked at for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ojp_sizing import Database, Execution, InputError, Objectives, Question, check, read_workload, size
from ojp_sizing.demand.reading import parse_workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.deployment.situations import Situation, always
from ojp_sizing.emit.from_recommendation import json_text, record, release_of
from ojp_sizing.emit.values import values_yaml
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.objectives import Judgement, Verdict, objectives_of
from ojp_sizing.report.tables import measures_table
from ojp_sizing.report.words import risk_words
from ojp_sizing.sizing.evaluate import Task, run_task
from ojp_sizing.sizing.evidence import VERDICT, Evaluation, Rejection
from ojp_sizing.sizing.knobs import one_more
from ojp_sizing.sizing.recommendation import (
    DISPUTED,
    WORTH,
    Recommendation,
    _flags,
    _loosened,
    can_lock,
    check_objectives,
    smaller_neighbours,
)
from ojp_sizing.sizing.resources import memory_of

CONSTANTS = default_constants()
WEB = read_workload("web-oltp")
QUESTION = Question(WEB, 50.0)
#: Half of the disruptions may break a limit: few runs show that.
EASY = Objectives(risk=0.5)


pytestmark = pytest.mark.usefixtures("whole_answers")


@pytest.fixture(scope="module")
def answer(whole_answers: None) -> Recommendation:
    return size(QUESTION)


# The answer ---------------------------------------------------------------------------------------------------------


def test_the_answer_is_shown_in_every_situation_and_within_its_own_rules(answer: Recommendation) -> None:
    # Sixteen client JVMs: no real server was measured with so many.
    assert answer.verdict is Verdict.MET_BY_MODEL
    assert answer.evaluation is not None
    assert set(answer.evaluation.results) == set(always())
    for situation, result in answer.evaluation.results.items():
        assert result.replications >= (5 if situation is Situation.STEADY else 29)
        for judgement in result.judgements:
            assert not judgement.widened > judgement.objective.limit
    resources, need = answer.resources, answer.database
    assert resources is not None
    assert need is not None
    assert 0 < resources.request_milli <= resources.limit_milli == round(1000 * answer.deployment.limit_cores)
    assert resources.memory.heap < resources.memory.limit
    assert need.max_connections > need.open_connections >= answer.deployment.pool.maximum_size
    measured = max(r.measures["open_connections"].high for r in answer.evaluation.results.values())
    assert measured <= need.open_connections
    assert answer.warnings == ()


def test_the_head_of_the_files_says_what_was_shown_and_what_is_the_models_word(answer: Recommendation) -> None:
    head = values_yaml(release_of(answer)).split("\n\n")[0].replace("\n#", "")
    assert "met by the model" in head
    assert answer.evaluation is not None
    words = risk_words(answer.evaluation.results[Situation.ROLLING_UPDATE])
    assert " updates broke a limit: at most 10 % do (9" in words
    assert words in head
    assert "No real server was measured there: " in head
    assert "client JVMs: 16 here, measured up to 2" in head


def test_what_holds_the_next_smaller_choices_back_is_said(answer: Recommendation) -> None:
    assert any(smaller.change.startswith("replicaCount") for smaller in answer.smaller)
    for smaller in answer.smaller:
        little = smaller.on_edge or smaller.cost >= WORTH * (answer.cost or 0.0)
        assert isinstance(smaller.outcome, Rejection) or smaller.rule or little


def dearer_than_what_is_met(answer: Recommendation) -> list[str]:
    """What passed its few runs, costs clearly less than the answer, and was not seen to break a limit in more."""
    assert answer.cost is not None
    judged = {rejection.deployment for rejection in answer.rejections if rejection.stage == VERDICT}
    passed = [one for one in (*answer.frontier, *answer.smaller, *answer.others) if one.passes and not one.on_edge]
    return [one.change for one in passed if one.cost < WORTH * answer.cost and one.deployment not in judged]


def test_the_answer_is_not_dearer_than_what_was_met_too(answer: Recommendation) -> None:
    assert dearer_than_what_is_met(answer) == []


def test_the_frontier_goes_up_in_cost_and_down_in_p99_or_in_connections(answer: Recommendation) -> None:
    costs = [one.cost for one in answer.frontier]
    assert answer.cost in costs
    assert costs == sorted(costs)
    told = []
    for one in answer.frontier:
        assert isinstance(one.outcome, Evaluation)
        p99_s = one.outcome.results[Situation.STEADY].measures["fast_p99_s"].value
        told.append((p99_s, connections_at_most(one.deployment.pool.maximum_size, one.deployment.replicas)))
    for number, (p99_s, connections) in enumerate(told[1:], start=1):
        assert p99_s < min(p for p, _ in told[:number]) or connections < min(c for _, c in told[:number])


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_answer_is_the_same_byte_for_byte_on_any_number_of_workers(answer: Recommendation, workers: int) -> None:
    again = size(QUESTION, Execution(workers=workers))
    assert told(again) == told(answer)


def told(answer: Recommendation) -> str:
    return json_text(record(answer, release_of(answer)))


def test_another_seed_has_other_numbers_and_an_answer_of_about_the_same_cost(answer: Recommendation) -> None:
    other = size(QUESTION, Execution(seed=2))
    assert told(other) != told(answer)
    assert other.verdict.is_met
    assert other.cost == pytest.approx(answer.cost, rel=0.3)
    assert dearer_than_what_is_met(other) == []


def test_an_answer_given_back_is_judged_the_same(answer: Recommendation) -> None:
    judged = check(QUESTION, answer.deployment)
    assert judged.verdict is answer.verdict
    if answer.attempts == 1:
        assert judged.evaluation == answer.evaluation


def test_limits_below_the_bare_service_time_are_refused_with_the_flag() -> None:
    with pytest.raises(InputError, match="--fast-p99"):
        check_objectives(WEB, Objectives(fast_p99_s=0.003), 3, CONSTANTS)
    with pytest.raises(InputError, match="--slow-p99"):
        check_objectives(WEB, Objectives(slow_p99_s=0.05), 3, CONSTANTS)
    check_objectives(WEB, Objectives(), 3, CONSTANTS)


def test_prices_change_what_is_cheapest(answer: Recommendation) -> None:
    """Where a connection costs as much as fifty cores, fewer of them are taken."""
    question = replace(QUESTION, prices=replace(QUESTION.prices, core=1.0, gib=0.0, connection=50.0))
    other = size(question)
    assert other.verdict.is_met
    assert other.cost == question.cost(other.deployment)
    assert question.cost(other.deployment) <= question.cost(answer.deployment)
    assert dearer_than_what_is_met(other) == []


# Beside it -----------------------------------------------------------------------------------------------------------


def test_neighbours_are_one_step_smaller_and_name_the_rule_that_forbids_them(answer: Recommendation) -> None:
    deployment = answer.deployment
    wide = replace(QUESTION, least_replicas=1)
    changes = {change.split()[0]: (other, rule) for change, other, rule in smaller_neighbours(wide, deployment)}
    fewer, rule = changes["replicaCount"]
    # On four pods no pool stays undivided while two are missing.
    assert (fewer.replicas, rule) == (deployment.replicas - 1, DISPUTED)
    two_jvms = replace(wide, workload=replace(WEB, clients=replace(WEB.clients, jvms=2)))
    assert next(iter(smaller_neighbours(two_jvms, deployment)))[2] == ""
    narrow = replace(QUESTION, least_replicas=deployment.replicas)
    (rule,) = [rule for change, _, rule in smaller_neighbours(narrow, deployment) if change.startswith("replica")]
    assert "--min-replicas" in rule


@given(st.integers(2, 30), st.integers(2, 12), st.sampled_from([0.25, 0.5, 2.0]))
def test_no_neighbour_has_less_than_two_connections_a_pod(replicas: int, per_pod: int, limit_cores: float) -> None:
    for size_ in (per_pod * replicas, max(1, per_pod * (replicas - 2))):
        deployment = Deployment(replicas, limit_cores, ClientPool(size_, 1), ServerSettings())
        if deployment.pool_per_pod < 2:
            continue
        question = replace(QUESTION, least_replicas=1)
        for _, smaller, rule in smaller_neighbours(question, deployment):
            assert rule or smaller.pool_per_pod >= 2
        for _, larger in one_more(question, deployment):
            assert larger.pool_per_pod >= 2


def test_what_more_of_each_knob_would_buy_is_simulated_where_it_is_asked_for(answer: Recommendation) -> None:
    assert answer.knobs == ()
    question = replace(QUESTION, rate=20.0, objectives=EASY, most_replicas=6)
    explained = size(question, Execution(explain=True))
    assert explained.deployment == size(question).deployment
    told = {knob.change.split()[0]: knob for knob in explained.knobs}
    assert {"replicaCount", "CPU", "maximumPoolSize", "threadPoolSize"} <= set(told)
    for knob in explained.knobs:
        assert knob.cost >= 0
        assert knob.broken_before == 0
        assert knob.steady_fast_s.low <= knob.steady_fast_s.value <= knob.steady_fast_s.high
    # With nobody waiting for a thread, more of them change nothing.
    assert told["threadPoolSize"].steady_fast_s == Estimate(0.0, 0.0, 0.0, 6)
    assert told["CPU"].steady_fast_s.value <= 0.0


# Segregation, and the warm-up -------------------------------------------------------------------------------------------

TEXT = """
name: w
statements:
  - {{name: a, sql: select 1, kind: read, database_time: 1ms}}
  - {{name: b, sql: update t set x = 1, kind: write, database_time: 1ms}}
units: [{units}]
"""
SINGLE = "{name: one, share: 1, statements: [a]}"
OTHER = "{name: other, share: 1, statements: [b]}"
TWO = "{name: two, share: 1, statements: [a, b]}"
TRANSACTION = "{name: tx, share: 1, statements: [a, b], transaction: true}"
XA = "{name: xa, share: 1, statements: [a, b], xa: true}"


@pytest.mark.parametrize(
    ("units", "locks"),
    [
        ((SINGLE, OTHER), False),
        ((TRANSACTION,), False),
        ((XA,), False),
        ((TRANSACTION, XA), False),
        ((TWO,), True),
        ((SINGLE, TRANSACTION), True),
        ((SINGLE, TWO), True),
        ((SINGLE, XA), True),
    ],
)
def test_slots_and_connections_lock_only_where_units_mix(units: Sequence[str], locks: bool) -> None:
    share = 1 / len(units)
    text = TEXT.format(units=", ".join(unit.replace("share: 1", f"share: {share}") for unit in units))
    assert can_lock(parse_workload(text)) == locks


def test_segregation_on_is_answered_with_segregation_on() -> None:
    asked = size(Question(read_workload("pgbench-measured"), 50.0, segregation="on", objectives=EASY))
    assert asked.verdict.is_met
    assert asked.deployment.server.segregation
    fast, slow = asked.deployment.slots_per_pod
    assert fast >= 1
    assert slow >= 1
    assert [one.change for one in asked.others] == ["without the warm-up"]


def test_segregation_off_is_answered_with_it_off_and_is_not_tried_on() -> None:
    asked = size(replace(QUESTION, segregation="off"))
    assert not asked.deployment.server.segregation
    assert [one.change for one in asked.others] == ["without the warm-up"]


def test_the_answer_has_segregation_the_other_way_and_cold_pools_beside_it(answer: Recommendation) -> None:
    on, without = answer.others
    assert on.change == "slowQuerySegregation on"
    assert on.deployment.server.segregation
    assert without.change == "without the warm-up"
    assert without.deployment == replace(answer.deployment, warm_pools=False)
    assert answer.deployment.warm_pools != without.passes


def test_cold_pools_are_answered_with_cold_pools() -> None:
    loose = replace(EASY, disruption_fast_p99_s=60.0, recovery_s=180.0)
    asked = size(replace(QUESTION, rate=20.0, warm_pools="off", objectives=loose, most_replicas=4))
    assert all(not rejection.deployment.warm_pools for rejection in asked.rejections)
    assert asked.evaluation is None or not asked.deployment.warm_pools
    assert asked.tried > 0


# Where there is none -------------------------------------------------------------------------------------------------


def judgement(situation: Situation, number: int, times: float, objectives: Objectives) -> Judgement:
    """A limit that was broken, so many times as large."""
    objective = objectives_of(objectives, situation)[number % len(objectives_of(objectives, situation))]
    value = objective.limit * times
    return Judgement(objective, Estimate(value, value, value, 1), value, Verdict.NOT_MET)


@given(
    st.lists(
        st.tuples(st.sampled_from(always()), st.integers(0, 5), st.floats(1.001, 50.0) | st.just(inf) | st.just(nan)),
        min_size=1, max_size=6,
    ),
    st.sampled_from([0.01, 0.3, 0.5, 0.9]),
)  # fmt: skip
def test_the_nearest_ask_is_never_stricter_than_the_ask(
    broken: list[tuple[Situation, int, float]], disruption_failed: float
) -> None:
    """``--disruption-failed 50%`` was once answered by 0.30 %."""
    objectives = Objectives(disruption_failed_share=disruption_failed)
    judgements = tuple(judgement(*one, objectives) for one in broken)
    changes = _loosened(judgements, {})
    loosened, flags = replace(objectives, **changes), _flags(changes)
    for situation in always():
        asked = {one.measure: one.limit for one in objectives_of(objectives, situation)}
        nearest = {one.measure: one.limit for one in objectives_of(loosened, situation)}
        assert all(
            nearest[measure] >= min(limit, 1.0 if "share" in measure else inf) for measure, limit in asked.items()
        )
        for one in judgements:
            if one.objective.situation is situation and one.widened < inf:
                assert nearest[one.objective.measure] >= min(
                    one.widened, 1.0 if "share" in one.objective.measure else inf
                )
    assert flags.startswith("--") == any(one.widened < inf for one in judgements)


def test_the_nearest_ask_was_simulated_again_and_is_said_to() -> None:
    """A limit just below what can be had: the ask that is named is met by the deployment that is named with it."""
    objectives = Objectives(fast_p99_s=0.015, disruption_factor=10.0, disruption_failed_share=0.5, risk=0.5)
    asked = size(Question(WEB, 30.0, objectives=objectives, most_replicas=4))
    assert asked.evaluation is None
    assert asked.verdict in {Verdict.NOT_MET, Verdict.UNDECIDED}
    assert "--disruption-failed" not in asked.nearest
    assert asked.nearest.endswith("was simulated again and holds that")


def test_xa_orders_get_an_answer_that_no_rule_warns_of() -> None:
    """With segregation one slow slot was once recommended, of which the rules warn."""
    text = """
name: orders
statements:
  - {name: find, sql: select * from orders where id = ?, kind: read, database_time: 2ms, rows: 1}
  - {name: put, sql: insert into orders values (?), kind: write, database_time: 4ms, rows: 0}
units:
  - {name: browse, share: 0.7, statements: [find], think: 2ms}
  - {name: order, share: 0.3, statements: [find, put], xa: true, think: 5ms}
"""
    asked = size(Question(parse_workload(text), 200.0, Database(8.0, 200.0)))
    assert asked.verdict.is_met
    assert asked.warnings == ()
    assert asked.database is not None
    assert asked.database.max_connections <= 200
    assert dearer_than_what_is_met(asked) == []


def test_holds_of_a_minute_end_in_a_verdict_with_a_reason() -> None:
    """The search once ended in ``max() arg is an empty sequence``."""
    text = """
name: holds
statements: [{name: q, sql: select 1, kind: read, database_time: 1ms}]
units:
  - {name: page, share: 0.998, statements: [q]}
  - {name: hold, share: 0.002, statements: [q], think: {mean: 60s, family: constant}}
"""
    asked = size(Question(parse_workload(text), 200.0, most_replicas=7))
    assert asked.verdict in set(Verdict) - {Verdict.NOT_MEASURED}
    assert asked.stopped
    assert asked.evaluation is not None or asked.nearest
    assert all(rejection.judgements or rejection.reasons for rejection in asked.rejections)


def test_where_nothing_is_possible_the_bound_is_named() -> None:
    asked = size(Question(WEB, 1000.0, Database(cores=4.0)))
    assert (asked.verdict, asked.tried, asked.units) == (Verdict.NOT_MET, 0, 0)
    assert asked.nearest.startswith("--peak-rps ")
    assert "not simulated" in asked.nearest


# Interrupted -----------------------------------------------------------------------------------------------------------


def interrupted(words: str, after: int = 1) -> Recommendation:
    """A sizing that is interrupted when this is under way for so many times."""
    seen = 0

    def listen(what: str, tried: int, total: int) -> None:
        nonlocal seen
        seen += what == words
        if seen == after:
            raise KeyboardInterrupt

    return size(QUESTION, Execution(workers=1), listen)


def test_an_interruption_gives_the_best_so_far() -> None:
    early = interrupted("first look")
    assert early.interrupted
    assert (early.evaluation, early.verdict.is_met) == (None, False)
    late = interrupted("rolling update 28")
    assert late.interrupted
    assert late.verdict is Verdict.UNDECIDED
    assert late.evaluation is not None
    assert late.evaluation.explored
    assert late.resources is None


def test_an_interruption_after_the_verdict_has_the_answer(answer: Recommendation) -> None:
    """While its neighbours are looked at."""
    seen: list[str] = []
    size(QUESTION, Execution(workers=1), lambda what, tried, total: seen.append(what))
    (verdict,) = [number for number, what in enumerate(seen) if "now for its evidence" in what][-1:]
    looks = [number for number, what in enumerate(seen) if what == "first look" and number > verdict]
    after = sum(what == "first look" for what in seen[: looks[0] + 1])
    stopped = interrupted("first look", after)
    assert stopped.interrupted
    assert stopped.deployment == answer.deployment
    assert stopped.verdict is answer.verdict


# Its arithmetic ----------------------------------------------------------------------------------------------------------


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
    task = Task(WEB, 30.0, answer.deployment, Situation.STEADY, Objectives(), 1, 0, "auto")
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
        return [row[0] for row in table.rows]

    troubles = {"CPU throttled, % of the time", "containers killed for their memory"}
    assert not troubles & set(shown(cpu_throttled_share=0.0, memory_kills=0.0))
    assert troubles <= set(shown(cpu_throttled_share=0.01, memory_kills=2.0))


def test_an_unbounded_database_is_not_a_bound() -> None:
    assert Database().cores == inf
    assert Database().max_connections == inf
