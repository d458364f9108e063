"""One unit of work that is followed: the same steps on both clocks, which add up to what the unit took."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import SeedSequence
from worlds import Unit, deployment_of, lost, select, trace_of, update

from ojp_sizing import Deployment, InputError, Outcomes, read_workload, sample_trace, simulate
from ojp_sizing.demand.trace import Stream, Trace, stream_of
from ojp_sizing.demand.workload import Patience
from ojp_sizing.deployment.deployment import ServerSettings
from ojp_sizing.report.follow import follow_table, step_words


def followed(trace: Trace | Stream, deployment: Deployment, unit: int, disruption: object = None) -> Outcomes:
    """By the plain clock, which must say the same as the compiled one; and nothing changes because somebody looks."""
    plain, quick = (simulate(trace, deployment, disruption, engine=name, follow=unit) for name in ("simpy", "compiled"))
    assert plain.followed == quick.followed
    alone = simulate(trace, deployment, disruption, engine="compiled")
    for name in ("latency_s", "outcome", "pod"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(quick, name))
    assert alone.events == quick.events
    return plain


def places(outcomes: Outcomes) -> list[str]:
    return [step.place for step in outcomes.followed]


def test_the_steps_of_any_unit_add_up_to_its_latency() -> None:
    workload = read_workload("web-oltp")
    trace = sample_trace(workload, 300.0, 2.0, 1)
    for unit in (0, 1, 17, 200):
        outcomes = followed(trace, Deployment(3, limit_cores=1.0), unit)
        steps = outcomes.followed
        assert steps[0].time_s == trace.arrival_s[unit]
        assert (steps[-1].place, steps[-1].reply) == ("ended", "ok")
        # The application doesn't wait for the answers to close().
        told_s = next(step.time_s for step in steps if step.reply and step.place in ("sent", "ended"))
        took_s = outcomes.latency_s[unit] + outcomes.thought_s[unit]
        assert told_s - steps[0].time_s == pytest.approx(took_s)


def test_each_place_where_a_unit_can_wait_is_told() -> None:
    """One thread of the client, one of the server, one connection, one slot: who comes second waits for it."""
    long, short = Unit(0.0, (select(1.0),)), Unit(0.1, (select(0.1),))
    one_client_thread = trace_of(long, short, duration_s=20.0, threads=1)
    assert places(followed(one_client_thread, deployment_of(), 1))[0] == "waits for a client thread"
    both = trace_of(long, short, duration_s=20.0)
    one_thread = deployment_of(server=ServerSettings(thread_pool_size=1, segregation=False))
    assert "waits for a thread" in places(followed(both, one_thread, 1))
    waits = next(step for step in followed(both, deployment_of(pool=1), 1).followed if "connection" in step.place)
    assert step_words(waits) == "query to pod 0: waits for one of 1 connections; 0 others wait"
    slots = followed(both, deployment_of(pool=2, segregation=True), 1)
    waits = next(step for step in slots.followed if "slot" in step.place)
    assert step_words(waits) == "query to pod 0: waits for one of 1 fast slots; 0 others wait"


def test_the_end_says_how_it_failed() -> None:
    failed = followed(trace_of(Unit(0.0, (update(fails=True),)), duration_s=5.0, one_way_s=0.001), deployment_of(), 0)
    told = [step for step in failed.followed if step.rpc == "update" and step.reply] + [failed.followed[-1]]
    assert [step_words(step) for step in told] == [
        "update to pod 0: the answer is on its way: database error",
        "ended: database error",
    ]
    dead = followed(
        trace_of(Unit(0.0, (select(2.0),)), duration_s=5.0), deployment_of(2), 0, lost(0, at_s=1.0, absent_s=2.0)
    )
    assert step_words(dead.followed[-1]) == "ended: pod unavailable"


def test_each_attempt_has_steps_of_its_own() -> None:
    patience = Patience(timeout_s=1.0, retries=2, back_off_s=0.2)
    outcomes = followed(trace_of(Unit(0.0, (select(3.0),)), duration_s=20.0, patience=patience), deployment_of(), 0)
    ends = [(step.attempt, step.reply) for step in outcomes.followed if step.place == "ended"]
    assert ends == [(0, "given up by its user"), (1, "given up by its user"), (2, "given up by its user")]
    assert step_words(outcomes.followed[-1]).startswith("try 3: ")


def test_clients_that_take_their_units_in_turn_are_followed_too() -> None:
    units = [Unit(0.0, (select(0.1),), gap_s=0.5) for _ in range(40)]
    outcomes = followed(trace_of(*units, duration_s=5.0, threads=2, closed=True), deployment_of(), 7)
    assert outcomes.followed[-1].reply == "ok"


def test_the_table_says_when_and_for_how_long() -> None:
    outcomes = followed(trace_of(Unit(0.0, (select(0.25),)), duration_s=5.0, one_way_s=0.001), deployment_of(), 0)
    at, lasts, what = ([*column.cells] for column in follow_table(outcomes.followed).columns)
    row = what.index("query to pod 0: in the database, with 0 others")
    assert (at[row], lasts[row]) == ("3.000", "250.000")
    assert (lasts[-1], what[-1]) == ("", "ended: ok")


def test_a_stream_s_units_have_the_same_steps_as_those_of_its_trace() -> None:
    workload, deployment = read_workload("web-oltp"), Deployment(3, limit_cores=1.0)
    stream, trace = (
        stream_of(workload, 300.0, 2.0, SeedSequence(1)),
        sample_trace(workload, 300.0, 2.0, SeedSequence(1)),
    )
    steps = [followed(demand, deployment, 400).followed for demand in (stream, trace)]
    assert steps[0] == steps[1] != ()


def test_of_a_unit_that_never_comes_there_are_no_steps() -> None:
    trace = trace_of(Unit(0.0, (update(),)), duration_s=1.0)
    assert followed(trace, deployment_of(), 1).followed == ()
    with pytest.raises(InputError, match="follow"):
        simulate(trace, deployment_of(), follow=-1)
