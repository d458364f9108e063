"""No table of a run is written past its end: each grows, or has room for whatever can come, or refuses the run."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from test_clocks import bits
from test_invariants import deployments, workloads_for
from worlds import Unit, deployment_of, lost, no_cost, trace_of, update, world_of

from ojp_sizing import InputError, simulate
from ojp_sizing.behaviour.database import most_joins
from ojp_sizing.behaviour.kinds import Action, Ending, EventKind, Place
from ojp_sizing.behaviour.lifecycle import pod_dies
from ojp_sizing.behaviour.sharing import join
from ojp_sizing.behaviour.world import LAYOUTS, post
from ojp_sizing.demand.trace import Trace, sample_trace
from ojp_sizing.demand.workload import Patience
from ojp_sizing.deployment.deployment import Deployment, ServerSettings
from ojp_sizing.deployment.disruption import PodLoss, Several
from ojp_sizing.simulation import compiled_clock, paging
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.compiled_clock import KIND_MASK, SUBJECT_MASK, CompiledClock
from ojp_sizing.simulation.invariants import InvariantError
from ojp_sizing.simulation.simpy_clock import SimpyClock
from ojp_sizing.simulation.simulate import Engine

CLOCKS = pytest.mark.parametrize("kind", [SimpyClock, CompiledClock])

# Statements of pods that died ---------------------------------------------------------------------------------------


def orphans(losses: int, segregation: bool = False) -> tuple[Trace, Deployment, Several]:
    """A pod that dies again and again, each time with a statement that outlives the run."""
    units = [Unit(10.0 * number + 5.0, (update(1e6),)) for number in range(losses) for _ in range(2)]
    deployment = deployment_of(1, 20, server=ServerSettings(2, segregation))
    trace = trace_of(*units, duration_s=10.0 * losses + 10.0, threads=3)
    return trace, deployment, Several(tuple(lost(0, 10.0 * number + 8.0, 0.5) for number in range(losses)))


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_statements_of_pods_that_died_go_on_however_many_they_are(engine: Engine) -> None:
    trace, deployment, losses = orphans(30)
    outcomes = simulate(trace, deployment, losses, engine=engine, recovery_s=1e6)
    assert outcomes.outcome.tolist() == [Ending.UNAVAILABLE] * 60
    database = outcomes.samples["stations"][-1][-1]
    assert database["count"] == 60
    assert 60 <= database["capacity"] <= 120
    assert database["job_s"] == pytest.approx(sum(2 * (trace.duration_s - 10.0 * n - 5.0) for n in range(30)), rel=0.02)


def test_the_room_is_the_same_on_both_clocks() -> None:
    trace, deployment, losses = orphans(12)
    found = [simulate(trace, deployment, losses, engine=engine, recovery_s=1e6) for engine in ("simpy", "compiled")]
    for name in found[0].samples:
        assert bits(found[0].samples[name]) == bits(found[1].samples[name]), name


@st.composite
def troubled_runs(draw: st.DrawFn) -> tuple[Trace, Deployment, Several, bool]:
    """Many deaths of few pods, with users that try again and statements that outlive their pods."""
    deployment = replace(draw(deployments()), replicas=draw(st.integers(1, 2)))
    trace = sample_trace(
        draw(workloads_for(deployment)),
        draw(st.sampled_from([20.0, 60.0])),
        2.0,
        SeedSequence(draw(st.integers(0, 99))),
    )
    slower = draw(st.sampled_from([1.0, 20.0, 1000.0]))
    patience = Patience(draw(st.sampled_from([0.1, 1.0])), draw(st.integers(0, 6)), 0.05, 1.5)
    trace = replace(trace, patience=patience, duration_s=6.0, database_s=trace.database_s * slower)
    losses = st.builds(
        PodLoss, st.integers(0, deployment.replicas - 1), st.floats(0.05, 3.0), st.floats(0.0, 0.2), st.floats(0.0, 0.1),
        st.floats(0.0, 0.1), st.sampled_from(["killed", "stopped", "vanished"]), st.floats(0.01, 0.3),
    )  # fmt: skip
    return trace, deployment, Several(tuple(draw(st.lists(losses, min_size=5, max_size=30)))), draw(st.booleans())


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(troubled_runs())
def test_both_clocks_keep_the_laws_through_many_deaths_and_retries(
    run: tuple[Trace, Deployment, Several, bool],
) -> None:
    trace, deployment, losses, warm = run
    found = [
        kind(trace, deployment, warm=warm, checked=True).run(losses, 0.25, 1e6) for kind in (SimpyClock, CompiledClock)
    ]
    for column in ("latency_s", "outcome", "attempts", "pod"):
        assert bits(getattr(found[0], column)) == bits(getattr(found[1], column)), column
    for name in found[0].samples:
        assert bits(found[0].samples[name]) == bits(found[1].samples[name]), name
    assert (found[0].events, found[0].hazards, found[0].changes) == (
        found[1].events,
        found[1].hazards,
        found[1].changes,
    )


# Posts and the agenda -----------------------------------------------------------------------------------------------


@CLOCKS
def test_all_that_end_at_one_instant_can_tell_of_it(kind: type[Clock]) -> None:
    """Each of 300 replies, and each release of a slot wakes the one who waits for one: 600 posts of 302 callers."""
    constants = replace(no_cost(), slot_handover_s=0.001)
    server = ServerSettings(400, segregation=True, slow_slot_percentage=0)
    deployment = replace(deployment_of(1, 300, idle=300, server=server), constants=constants)
    units = [Unit(0.0, (update(1.0),)) for _ in range(301)]
    run = kind(trace_of(*units, duration_s=10.0, threads=301), deployment, checked=True)
    outcomes = run.run(None, 1.0, 1e6)
    assert outcomes.outcome.tolist() == [Ending.OK] * 301
    assert outcomes.latency_s.max() == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("how", [Action.KILL, Action.VANISH])
def test_a_death_right_after_the_last_post_that_fits_has_room_on_the_agenda(how: Action) -> None:
    """The control plane's posts come on top of those of the event before."""
    clock = CompiledClock(*orphans(1)[:2])
    clock.world.callers["place"] = Place.IN_DATABASE
    room = clock._compiled.room
    for _ in range(room - compiled_clock.CHILDREN):
        compiled_clock._push(clock._compiled, 1e9, EventKind.THOUGHT, 0)
    clock._act(how, 0)
    assert clock._compiled.agenda["count"] == room - compiled_clock.CHILDREN + len(clock.world.callers)
    assert clock._compiled.room == 2 * room


@CLOCKS
def test_what_finds_no_room_ends_the_run_and_is_written_nowhere(kind: type[Clock]) -> None:
    trace, deployment, _ = orphans(1)
    clock = kind(trace, deployment)
    if kind is CompiledClock:
        clock.world = clock.world._replace(posts=clock.world.posts[:1])
        clock._compiled.replace("posts", clock.world.posts)
    else:
        del clock.world.posts[1:]
    with pytest.raises(InvariantError, match="a table of the kernel is too small"):
        clock.run(None, 1.0, 1e6)


def test_a_station_that_is_full_takes_nobody() -> None:
    world = world_of(orphans(1)[1])
    station = world.stations[1]
    for _ in range(station.capacity):
        join(world, 1, EventKind.DATABASE_TIMER, 0, 0, 1.0)
        assert world.state[0].overrun == 0
    before = [(job.finish_s, job.number) for job in world.jobs]
    join(world, 1, EventKind.DATABASE_TIMER, 0, 0, 1.0)
    assert world.state[0].overrun == 1
    assert [(job.finish_s, job.number) for job in world.jobs] == before
    assert station.count == station.capacity


def test_posts_that_find_no_room_are_written_nowhere() -> None:
    world = world_of(orphans(1)[1])
    world.state[0].posted = len(world.posts) - 1
    post(world, 1.0, EventKind.THOUGHT, 1)
    assert world.state[0].overrun == 0
    post(world, 2.0, EventKind.THOUGHT, 2)
    assert (world.state[0].overrun, world.state[0].posted, world.posts[-1].subject) == (1, len(world.posts), 1)


def test_a_death_posts_at_most_once_for_each_caller() -> None:
    world = world_of(deployment_of(1, 8), trace_of(Unit(0.0, (update(),)), threads=200))
    for caller in world.callers:
        caller.place = Place.IN_DATABASE
    pod_dies(world, 0)
    assert world.state[0].posted == len(world.callers)
    assert most_joins(world) == 200


# Narrow fields ------------------------------------------------------------------------------------------------------


def test_kinds_of_events_fit_into_an_entry_of_the_agenda() -> None:
    assert [kind.value for kind in EventKind] == list(range(len(EventKind)))
    assert max(EventKind) <= KIND_MASK
    # The sequence has the bits that are left, and is looked at after each call into the kernel.
    sequence_bits = 63 - KIND_MASK.bit_length() - SUBJECT_MASK.bit_length()
    assert 2**sequence_bits >= 2 * compiled_clock.MOST_POSTS


def test_a_run_with_too_many_events_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_clock, "MOST_POSTS", 20)
    with pytest.raises(InputError, match="more than 20 events"):
        simulate(*orphans(3), engine="compiled")


@CLOCKS
def test_a_run_with_more_attempts_than_have_numbers_is_refused(
    kind: type[Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert np.iinfo(LAYOUTS["callers"]["unit"]).max == paging.MOST_ATTEMPTS == 2**31 - 1
    monkeypatch.setattr(paging, "MOST_ATTEMPTS", 11)
    trace, deployment, _ = orphans(2)
    kind(replace(trace, patience=Patience(100.0, 1, 1.0, 2.0)), deployment).load()
    with pytest.raises(InputError, match="more than 11 attempts"):
        kind(replace(trace, patience=Patience(100.0, 2, 1.0, 2.0)), deployment).load()


@pytest.mark.parametrize("attempts", [0, 10])
def test_attempts_and_pods_are_kept_whole(attempts: int) -> None:
    assert {paging.KEPT[name] for name in ("attempts", "pod")} == {np.int32}
    trace = trace_of(
        Unit(0.0, (update(fails=True),)), patience=Patience(3600.0, attempts, 0.0001, 1.0), duration_s=60.0
    )
    outcomes = simulate(trace, deployment_of(server=ServerSettings(segregation=False, breaker_threshold=1_000_000)))
    assert outcomes.attempts.tolist() == [attempts + 1]


# Kernels that check every access ------------------------------------------------------------------------------------

CHECKED = """
import sys
sys.path[:0] = ["tests"]
from test_clocks import scenario
from test_room import orphans
from ojp_sizing.simulation.compiled_clock import CompiledClock
from ojp_sizing.simulation.kernel_cache import CHECKS_BOUNDS

assert CHECKS_BOUNDS
CompiledClock.page_bits = 5
for number in (*range(30), *range(80, 92)):
    trace, deployment, disruption, warm = scenario(number)
    CompiledClock(trace, deployment, warm=warm, checked=True).run(disruption, 0.5, 1e6)
CompiledClock(*orphans(30)[:2], checked=True).run(orphans(30)[2], 0.5, 1e6)
for name, field, value in (("jvms", "kind", 7), ("callers", "next", -3), ("stations", "offset", 10**6)):
    clock = CompiledClock(*orphans(1)[:2])
    getattr(clock.world, name)[field][:] = value
    try:
        clock.run(None, 1.0, 1e6)
    except IndexError as error:
        print(name, *error.args)
    else:
        print(name, "was not noticed")
"""


def test_no_access_of_a_kernel_is_outside_of_its_table() -> None:
    """In a process of its own, whose kernels look at every index, as three broken ones show."""
    root = Path(__file__).parent.parent
    environment = {**os.environ, "OJP_SIZING_BOUNDSCHECK": "1"}
    found = subprocess.run(
        [sys.executable, "-c", CHECKED], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "jvms Table(pools) 7 1",
        "callers Table(callers) -3 4",
        "stations Table(jobs) 1000000 8",
    ]
