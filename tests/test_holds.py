"""Units that hold their connection for long: how long a run takes to have them, when they count, and what a pod's end does."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf, isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence, default_rng
from rich.console import Console
from scipy import integrate, stats
from worlds import Unit, deployment_of, lost, no_cost, select, trace_of, update

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.arrivals import Arrivals, Bursts, Closed, DailyProfile, Poisson, Replay
from ojp_sizing.demand.reading import read_workload
from ojp_sizing.demand.trace import Early, Stream, Trace, stream_of
from ojp_sizing.demand.workload import Clients, Duration, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.emit.from_recommendation import record_of_judged
from ojp_sizing.measurement.measure import Part, Replication, measure_disruption, measure_steady
from ojp_sizing.measurement.objectives import Objectives, Verdict
from ojp_sizing.report.terminal import print_judged
from ojp_sizing.simulation.outcomes import LONG_THINK_S
from ojp_sizing.simulation.simulate import Engine, simulate
from ojp_sizing.sizing.evaluate import Task, run_task
from ojp_sizing.sizing.evidence import Bench, Evaluation, SituationResult, result_of
from ojp_sizing.sizing.question import Execution, Question
from ojp_sizing.sizing.recommendation import Judged, check, size
from ojp_sizing.sizing.screen import connections_per_pod
from ojp_sizing.sizing.workers import Caller
from ojp_sizing.theory.offered import (
    LEAD_S,
    MOST_LEAD_S,
    MOST_MISSING,
    early_units,
    mean_load,
    missing_share,
    stay_of,
)

RATE = 50.0
READ = StatementClass("item", "select item", "read", Duration(0.002))
BOOK = StatementClass("book", "update stock", "write", Duration(0.001))


def shop(
    think: Duration, share: float = 0.02, arrivals: Arrivals | None = None, clients: Clients | None = None
) -> Workload:
    """Short reads, and a share of transactions whose client waits for somebody else before it commits."""
    units = (
        UnitOfWork("browse", 1.0 - share, ("item",)),
        UnitOfWork("pay", share, ("book",), transaction=True, think=think),
    )
    return Workload("shop", (READ, BOOK), units, arrivals=arrivals or Poisson(), clients=clients or Clients())


def constant(seconds: float) -> Duration:
    return Duration(seconds, 0.0, "constant")


def deployment(replicas: int = 4, pool: int = 60) -> Deployment:
    return Deployment(
        replicas,
        1.0,
        pool=ClientPool(pool, 2),
        server=ServerSettings(segregation=False, thread_pool_size=200),
        database=Database(16.0, 300),
        warm_pools=True,
    )


# How long it takes until as many are under way as in the long run ---------------------------------------------------------


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("after_s", [0.5, 2.0, 9.0, 80.0])
def test_what_is_missing_is_the_integral_of_the_survival_function(cv: float, after_s: float) -> None:
    stay = Duration(5.0, cv)
    sigma = np.sqrt(np.log(1 + cv**2))
    law = stats.lognorm(sigma, scale=5.0 * np.exp(-(sigma**2) / 2))
    tail, _ = integrate.quad(law.sf, after_s, inf, limit=500)
    assert missing_share(stay, after_s) == pytest.approx(tail / 5.0, abs=1e-6)


def test_of_constant_stays_what_is_missing_falls_in_a_line() -> None:
    stay = stay_of(shop(constant(10.0)), shop(constant(10.0)).units[1])
    assert stay.mean_s == pytest.approx(10.001)
    assert [missing_share(constant(10.0), after_s) for after_s in (0.0, 4.0, 10.0, 11.0)] == pytest.approx(
        [1, 0.6, 0, 0]
    )


@pytest.mark.parametrize("family", ["exponential", "lognormal", "constant"])
@pytest.mark.parametrize("steps", [1, 5])
def test_the_lead_is_enough_for_what_is_really_drawn(family: str, steps: int) -> None:
    think = Duration(12.0, 0.8, family)  # type: ignore[arg-type]
    unit = UnitOfWork("long", 1.0, steps, think=think)
    workload = Workload("w", (replace(READ, share=1.0, database_time=Duration(3.0)),), (unit,))
    early = early_units(workload)
    trace = stream_of(workload, 200.0, 200.0, SeedSequence(5)).pieces(8192)
    pieces = list(trace)
    stays_s = np.concatenate([np.add.reduceat(piece.think_s + piece.database_s, piece.first) for piece in pieces])
    missing = np.maximum(0.0, stays_s - early.until_s).mean() / stays_s.mean()
    # The sum of a constant and a skewed time is more skewed than the lognormal time in its place.
    assert missing <= 2.0 * MOST_MISSING
    # Nor is it much longer than it has to be: half of it is too short.
    assert np.maximum(0.0, stays_s - early.until_s / 2).mean() / stays_s.mean() > MOST_MISSING


@pytest.mark.parametrize("preset", ["web-oltp", "reporting-mix", "pgbench-measured"])
def test_no_preset_has_units_that_stay_for_long(preset: str) -> None:
    assert early_units(read_workload(preset)) == Early()


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 3600.0), st.floats(0.0, 4.0))
def test_only_what_is_needed_comes_early(mean_s: float, cv: float) -> None:
    workload = shop(Duration(mean_s, cv))
    early = early_units(workload)
    stay = stay_of(workload, workload.units[1])
    if missing_share(stay, LEAD_S) <= MOST_MISSING:
        assert early == Early()
    else:
        assert early.kinds == (1,)
        assert early.until_s <= MOST_LEAD_S
        assert early.until_s > 0.98 * MOST_LEAD_S or missing_share(stay, early.until_s) <= MOST_MISSING < missing_share(
            stay, 0.9 * early.until_s
        )


def recording(kinds: bool) -> Replay:
    at_s = np.cumsum(default_rng(4).exponential(1 / RATE, 20000))
    drawn = (default_rng(5).random(20000) < 0.3).astype(int)
    return Replay("r.csv", tuple((at_s - at_s[0]).tolist()), tuple(drawn.tolist()) if kinds else ())


def joined(stream: Stream, size: int) -> dict[str, np.ndarray]:
    pieces: list[Trace] = list(stream.pieces(size))
    return {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("arrival_s", "jvm", "kind", "think_s")
    }


@pytest.mark.parametrize(
    "arrivals",
    [Poisson(), Bursts(3.0, 5.0, 0.2), DailyProfile(((0.0, 0.5), (43200.0, 1.0))), recording(False), recording(True)],
    ids=["poisson", "bursts", "profile", "recording", "recorded kinds"],
)
def test_early_come_only_the_long_ones_and_as_often_as_ever(arrivals: Arrivals) -> None:
    workload = shop(constant(20.0), 0.3, arrivals)
    stream = stream_of(workload, RATE, 200.0, SeedSequence(3), early=Early(100.0, (1,)))
    found = joined(stream, 128)
    assert (np.diff(found["arrival_s"]) >= 0).all()
    before = found["arrival_s"] < 100.0
    assert set(found["kind"][before]) == {1}
    assert set(found["kind"][~before]) == {0, 1}
    # 1,500 are expected: within four standard deviations, which bursts make wider.
    for part in (before, ~before):
        assert abs((found["kind"][part] == 1).sum() - 1500) < 4 * 1500**0.5 * (
            3**0.5 if isinstance(arrivals, Bursts) else 1
        )
    again = joined(stream, 1024)
    assert all((found[name] == again[name]).all() for name in found)


def test_without_long_units_a_demand_is_what_it_was() -> None:
    workload = shop(Duration(0.01, 1.0, "exponential"))
    plain, early = (stream_of(workload, RATE, 60.0, SeedSequence(3), early=e) for e in (Early(), early_units(workload)))
    one, other = joined(plain, 512), joined(early, 512)
    assert all((one[name] == other[name]).all() for name in one)
    assert (plain.head.turns == 0).all()


# When a unit counts -------------------------------------------------------------------------------------------------------


ENGINES = ("simpy", "compiled")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_unit_whose_client_thinks_at_the_end_does_not_hang(engine: Engine) -> None:
    thinks = [Unit(at_s, (update(0.125, 30.0),), transaction=True) for at_s in np.arange(1.0, 30.0)]
    trace = trace_of(*thinks, duration_s=40.0)
    outcomes = simulate(trace, deployment_of(pool=50), engine=engine, tail_s=2.0)
    assert (outcomes.outcome == Ending.UNFINISHED).sum() > 15
    # Each counts when its client has thought, and none of those that count by then is still under way.
    assert outcomes.counts_s.tolist() == [unit.at_s + 30.0 for unit in thinks]
    values = measure_steady(outcomes, deployment_of(pool=50), 38.0, 31.0).values
    assert values["fast_p99_s"] == pytest.approx(0.125)
    assert isfinite(values["drift"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_unit_that_waits_for_one_whose_client_thinks_hangs(engine: Engine) -> None:
    holds = Unit(0.0, (update(0.125, 100.0),), transaction=True)
    waits = [Unit(at_s, (update(0.125),)) for at_s in np.arange(1.0, 17.0)]
    server = ServerSettings(segregation=False)
    small = replace(deployment_of(pool=1, server=server), pool=ClientPool(1, 1, connection_timeout_s=60.0))
    outcomes = simulate(trace_of(holds, *waits, duration_s=20.0), small, engine=engine, tail_s=2.0)
    assert (outcomes.outcome == Ending.UNFINISHED).all()
    values = measure_steady(outcomes, small, 18.0).values
    # Its holder doesn't count, they do.
    assert (values["fast_p50_s"], outcomes.counts_s[0]) == (inf, 100.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_does_not_wait_for_those_who_think(engine: Engine) -> None:
    thinks = Unit(1.0, (update(0.0, 50.0),), transaction=True)
    short = Unit(2.0, (update(0.5),))
    outcomes = simulate(trace_of(thinks, short, duration_s=30.0), deployment_of(), engine=engine, tail_s=20.0)
    assert outcomes.end_s == 10.0


@pytest.mark.parametrize("engine", ENGINES)
def test_short_thinking_moves_no_unit(engine: Engine) -> None:
    brief, long = select(0.25, LONG_THINK_S), select(0.25, LONG_THINK_S * 1.01)
    outcomes = simulate(
        trace_of(Unit(1.0, (brief,)), Unit(2.0, (long,)), duration_s=9.0), deployment_of(), engine=engine
    )
    assert outcomes.counts_s.tolist() == pytest.approx([1.0, 2.0 + LONG_THINK_S * 1.01])
    assert outcomes.latency_s.tolist() == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lost_session_counts_when_its_client_finds_out(engine: Engine) -> None:
    # Both began before the disruption; the first one's pod dies.
    units = [Unit(at_s, (update(0.0, 20.0),), transaction=True) for at_s in (1.0, 2.0)]
    others = [Unit(at_s, (update(0.125),)) for at_s in np.arange(3.0, 60.0)]
    outcomes = simulate(
        trace_of(*units, *others, duration_s=60.0),
        deployment_of(2),
        lost(0, 10.0, 20.0),
        engine=engine,
        recovery_s=10.0,
    )
    assert outcomes.outcome[:2].tolist() == [Ending.SESSION_LOST, Ending.OK]
    replication = measure_disruption(outcomes, deployment_of(2), (Part(10.0, 30.0),), None)
    assert replication.failures["session lost"] == 1
    assert replication.counts["failed_share"].total == ((outcomes.counts_s >= 10.0) & (outcomes.counts_s < 30.0)).sum()


# Little's law, by the way in which a deployment is judged -----------------------------------------------------------------


def steady(workload: Workload, given: Deployment, runs: int, rate: float = RATE) -> SituationResult:
    """Steady peak as it is judged, without the search."""
    tasks = [Task(workload, rate, given, Situation.STEADY, Objectives(), 7, run, "auto") for run in range(runs)]
    return judged(workload, given, [run_task(task) for task in tasks], rate)


def judged(workload: Workload, given: Deployment, runs: list[Replication], rate: float = RATE) -> SituationResult:
    bench = Bench(Question(workload, rate, constants=given.constants), Execution(), Caller())
    return result_of(bench, given, Situation.STEADY, runs, None)


@pytest.mark.parametrize(
    "think",
    [
        constant(0.001),
        Duration(0.01, 1.0, "exponential"),
        constant(0.1),
        Duration(1.0, 1.0),
        constant(2.0),
        Duration(5.0, 1.0, "exponential"),
        constant(10.0),
        Duration(30.0, 0.5),
        constant(60.0),
        constant(120.0),
    ],
    ids=lambda think: f"{think.mean_s:g} s {think.family}",
)
def test_connections_in_use_are_those_of_littles_law(think: Duration) -> None:
    # So many long ones that ten connections or fewer are held.
    workload = shop(think, min(0.5, 0.2 / think.mean_s))
    # Waking a pod that pauses is no part of the load.
    constants = replace(default_constants(), wake_cpu_s=0.0)
    result = steady(workload, replace(deployment(4, 120), constants=constants), 5)
    use = result.measures["connections_use"]
    asked = RATE * mean_load(workload, constants).hold_s / 120
    assert use.low <= asked <= use.high
    assert use.value == pytest.approx(asked, rel=0.25)
    assert result.measures["connections_offered"].value == pytest.approx(asked, rel=0.15)
    assert result.reason == ""
    assert result.verdict.is_met


def test_clients_in_a_closed_loop_hold_what_littles_law_says_of_what_they_send() -> None:
    result = steady(shop(constant(10.0), 0.02, Closed(2.0)), deployment(4, 120), 5)
    use, offered = result.measures["connections_use"], result.measures["connections_offered"]
    # Answers take time: they send less than was asked of them.
    assert result.measures["units_per_s"].value < 0.97 * RATE
    assert use.low <= offered.value <= use.high


def test_a_run_that_was_too_short_says_so_in_place_of_a_verdict() -> None:
    workload, given = shop(constant(30.0)), deployment(4, 120)
    replications = []
    for run in range(3):
        outcomes = simulate(stream_of(workload, RATE, 29.0, SeedSequence(run)), given, tail_s=2.0)
        replication = measure_steady(outcomes, given, 27.0)
        held = replication.values["units_per_s"] * mean_load(workload, given.constants).hold_s
        offered = held / replication.values["pooled_connections"]
        replications.append(replace(replication, values={**replication.values, "connections_offered": offered}))
    result = judged(workload, given, replications)
    assert all(judgement.verdict is not Verdict.NOT_MET for judgement in result.judgements)
    assert result.verdict is Verdict.UNDECIDED
    assert result.reason.startswith("connections in use ")
    assert "where Little's law gives" in result.reason
    as_offered = [
        replace(run, values={**run.values, "connections_use": run.values["connections_offered"]})
        for run in replications
    ]
    assert judged(workload, given, as_offered).reason == ""
    told = Judged(
        Question(workload, RATE), Execution(), "simpy",
        Evaluation(given, (Situation.STEADY,), {Situation.STEADY: result}),
    )  # fmt: skip
    assert told.verdict is Verdict.UNDECIDED
    assert record_of_judged(told)["judged"]["situations"]["steady peak"]["reason"] == result.reason
    console = Console(width=200, record=True)
    print_judged(console, told)
    assert result.reason in console.export_text()


# A use is never above 100 % -----------------------------------------------------------------------------------------------


def busy_pools(pools: int) -> Iterator[tuple[str, float]]:
    """Uses of pools that are exhausted while a pod is missing: the others have more connections than their share."""
    clients = Clients(16, 200, pools)
    workload = shop(constant(1.0), 0.8, clients=clients)
    given = replace(deployment(3, 12), constants=replace(default_constants(), pod_start_s=2.0))
    for situation in (Situation.STEADY, Situation.POD_LOST, Situation.ROLLING_UPDATE):
        task = Task(
            workload, 40.0, given, situation, Objectives(), 1, 0, "auto", first_look=situation is not Situation.STEADY
        )
        values = run_task(task).values
        yield from ((f"{situation}: {name}", value) for name, value in values.items() if name.endswith("_use"))


@pytest.mark.parametrize("pools", [1, 3])
def test_no_use_is_above_all_there_is(pools: int) -> None:
    uses = dict(busy_pools(pools))
    assert all(0.0 <= use <= 1.0 + 1e-9 for use in uses.values())
    # And the pools are really exhausted.
    assert max(use for name, use in uses.items() if name.endswith("connections_use")) > 0.85


def test_a_use_of_connections_is_of_what_the_pools_may_have_then() -> None:
    units = [Unit(0.5 * at, (update(200.0),), transaction=True) for at in range(120)]
    given = replace(deployment_of(2, 10), constants=no_cost(0.001))
    outcomes = simulate(trace_of(*units, duration_s=100.0), given, lost(0, 20.0, 60.0), recovery_s=5.0)
    values = measure_disruption(outcomes, given, (Part(30.0, 70.0),), None).values
    # One pod is left, with 10 connections in place of 5, and all are taken: 100 %, not 100 % of 2 times 5 and another 5.
    assert values["connections_use"] == pytest.approx(1.0, abs=0.01)
    assert values["pooled_connections"] == pytest.approx(10.0, abs=0.01)


# What is answered ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("whole_answers")
@pytest.mark.parametrize("hold_s", [2.0, 5.0, 10.0])
def test_a_few_pods_carry_long_transactions(hold_s: float) -> None:
    given = replace(deployment(4, 60), warm_pools=True)
    # Pools of four pods are divided anew in an update: looser than the default, as one would ask then.
    objectives = Objectives(disruption_fast_p99_s=2.0)
    found = check(Question(shop(constant(hold_s)), RATE, objectives=objectives), given)
    results = found.evaluation.results
    assert found.verdict.is_met
    steady_use = results[Situation.STEADY].measures["connections_use"]
    assert steady_use.low <= (RATE * 0.02 * hold_s + 0.3) / 60 <= steady_use.high
    for result in results.values():
        # Their thinking is no latency: what is judged takes milliseconds.
        assert result.measures["fast_p99_s"].value < 0.05
    # An update loses the sessions of each pod, one in each that is under way, and their clients find out.
    assert results[Situation.ROLLING_UPDATE].failures["session lost"] > 0
    assert results[Situation.ROLLING_UPDATE].measures["failed_share"].value < 0.01


@pytest.mark.usefixtures("whole_answers")
def test_pools_that_are_exhausted_by_long_holds_are_seen() -> None:
    # 30 connections are held in the mean, of 32.
    found = check(Question(shop(constant(30.0)), RATE), deployment(4, 32))
    assert not found.evaluation.results[Situation.STEADY].verdict.is_met
    assert found.verdict is Verdict.NOT_MET


def test_a_pool_for_long_holds_has_room_for_their_number() -> None:
    of_long, of_short = Question(shop(constant(10.0)), RATE), Question(shop(constant(0.2), 1.0), RATE)
    for asked in (of_long, of_short):
        assert asked.rate * asked.load.hold_s == pytest.approx(10.0, rel=0.05)
    # As many are held in the mean of both. Where they are held for long, an exhausted pool makes all wait for long.
    assert connections_per_pod(of_long, 4, False)[0] > connections_per_pod(of_short, 4, False)[0]


@pytest.mark.usefixtures("whole_answers")
def test_a_deployment_is_found_for_long_transactions() -> None:
    answer = size(Question(shop(constant(10.0)), RATE, Database(16.0, 300), client_jvms=2))
    assert answer.verdict.is_met
    # A few pods, whose connections are mostly held by clients that think.
    assert answer.deployment.replicas <= 6
