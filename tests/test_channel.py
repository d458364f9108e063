"""A client's channel to a pod that refused it: it rests longer each time, and hides a pod that listens again (reference 6)."""

from itertools import accumulate, pairwise
from math import inf

import numpy as np
import pytest
from worlds import Unit, deployment_of, lost, run, trace_of, update, world_of

from ojp_sizing.behaviour.channel import LONGEST_REST_S, REST_JITTER, goes_through, is_refused, make_channel

pytestmark = pytest.mark.fast


def test_a_channel_that_is_refused_tries_again_after_1_s_and_each_time_1_6_times_later_up_to_2_minutes() -> None:
    world = world_of(deployment_of(2))
    link, state = world.links[1], world.state[0]
    tries_s = []
    for _ in range(16):
        is_refused(world, 1)
        tries_s.append(link.tries_s)
        state.now = link.tries_s
    rests_s = [min(LONGEST_REST_S, 1.6**k) for k in range(16)]
    assert tries_s == pytest.approx(list(accumulate(rests_s)))
    assert world.links[0].tries_s == inf


def test_a_refused_call_while_it_rests_changes_nothing() -> None:
    world = world_of(deployment_of(2))
    is_refused(world, 1)
    world.state[0].now = 0.9
    is_refused(world, 1)
    assert world.links[1].tries_s == 1.0


@pytest.mark.parametrize(("listens_s", "through_s"), [(0.5, 1.0), (1.1, 2.6), (2.6, 2.6), (3.0, 5.16)])
def test_it_finds_the_pod_at_its_next_try(listens_s: float, through_s: float) -> None:
    world = world_of(deployment_of(2))
    is_refused(world, 1)
    for now, goes in ((through_s - 1e-6, False), (through_s + 1e-6, True)):
        world.state[0].now = now
        assert goes_through(world, 1, listens_s) is goes
    assert world.links[1].tries_s == inf


def test_a_new_channel_goes_through_at_once() -> None:
    world = world_of(deployment_of(2))
    is_refused(world, 1)
    make_channel(world, 1)
    assert goes_through(world, 1, 0.0)


def test_rests_are_drawn_within_a_fifth() -> None:
    world = world_of(deployment_of(2, 20))
    drawn = np.random.default_rng(1).random(64)
    world = world._replace(chances=drawn.tolist())
    firsts = []
    for index in range(2):
        is_refused(world, index)
        firsts.append(world.links[index].tries_s)
    assert all(1.0 - REST_JITTER <= first <= 1.0 + REST_JITTER for first in firsts)
    assert len(set(firsts)) == 2


def _found_s(every_s: float, absent_s: float) -> float:
    """When a JVM that asks for a connection so often believes in pod 1 for good again; it is away from second 1 on."""
    units = [Unit(0.5 + every_s * number, (update(),)) for number in range(int(60.0 / every_s))]
    trace = trace_of(*units, duration_s=62.0)
    _, outcomes = run(trace, deployment_of(2), lost(1, 1.0, absent_s), sample_every_s=0.25)
    missing = outcomes.sample_s[outcomes.samples["jvms"]["up"][:, 0] < 2]
    return float(missing[-1]) + 0.25 - (1.0 + absent_s)


def test_a_jvm_that_calls_often_finds_a_returned_pod_within_5_s_by_a_new_channel() -> None:
    assert [_found_s(0.5, absent_s) <= 5.5 for absent_s in (11.0, 14.3, 20.0, 21.0)] == [True] * 4


def test_a_jvm_that_calls_seldom_waits_for_its_old_channel() -> None:
    """It calls every 5.5 s: each call's health check comes before the new channel, fails while the old one rests, and so
    puts the new one off. Refused at 6 s, the channel tries at 7, 8.6, 11.16, 15.26, 21.81 and 32.3 s."""
    assert _found_s(5.5, 20.0) == pytest.approx(22.5 - 21.0, abs=0.5)
    assert _found_s(5.5, 21.0) == pytest.approx(33.5 - 22.0, abs=0.5)


def test_often_and_seldom_are_told_apart_by_nothing_but_the_calls() -> None:
    found = [_found_s(every_s, 21.0) for every_s in (0.5, 5.5)]
    assert all(later > sooner + 5.0 for sooner, later in pairwise(found))
