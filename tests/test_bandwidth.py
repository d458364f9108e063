"""A pod's CPU under its limit: closed forms of the throttled case, and a slow and obvious twin that lives every period."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from heapq import heappop, heappush
from math import ceil, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Statement, Unit, deployment_of, run, take_posts, trace_of, world_of

from ojp_sizing.behaviour.agenda import settle_all
from ojp_sizing.behaviour.kinds import EventKind
from ojp_sizing.behaviour.records import NOBODY
from ojp_sizing.behaviour.sharing import halt, join, take_finished, timer_fired
from ojp_sizing.behaviour.world import World
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.simulation.building import GOLDEN

PERIOD = Fraction(1, 10)
#: Times of the tests are whole numbers of these, so that work often ends exactly with a quota or a period.
TICK = Fraction(1, 1000)

ticks = st.integers(0, 400).map(lambda n: n * TICK)
works = st.integers(1, 900).map(lambda n: n * TICK)
phases = st.integers(0, 99).map(lambda n: n * TICK)
limits = st.integers(1, 40).map(lambda n: n * PERIOD)
cores = st.integers(1, 4)


def station_of(limit: Fraction, cores: int, phase: Fraction) -> World:
    """A pod's CPU at rest, whose periods begin at ``phase`` after 0 (mod 100 ms)."""
    deployment = deployment_of()
    constants = replace(deployment.constants, node_cores=float(cores))
    world = world_of(replace(deployment, limit_cores=float(limit), constants=constants))
    station = world.stations[0]
    if station.quota_s < inf:
        station.phase_s = float(phase - PERIOD)
        station.refill_s = float(phase) if phase else float(PERIOD)
        station.period = 0 if phase else 1
    return world


def finishes(
    world: World, jobs: Sequence[tuple[Fraction, Fraction]], halts: Sequence[tuple[Fraction, Fraction]] = ()
) -> list[float]:
    """When each job ``(arrival, work)`` is done, by the transitions; every job stands still during ``halts``."""
    agenda = [(float(at), 0, -1, job) for job, (at, _) in enumerate(jobs)]
    agenda += [(float(at), 0, -2, number) for number, (at, _) in enumerate(halts)]
    agenda.sort()
    done = [inf] * len(jobs)
    sequence = 1
    while agenda:
        now_s, _, kind, subject = heappop(agenda)
        world.state[0].now = now_s
        if kind == -1:
            join(world, 0, EventKind.CPU_TIMER, subject, 0, float(jobs[subject][1]))
        elif kind == -2:
            halt(world, 0, EventKind.CPU_TIMER, float(halts[subject][1]))
        elif timer_fired(world, 0, EventKind.CPU_TIMER):
            while True:
                job, _ = take_finished(world, 0, EventKind.CPU_TIMER)
                if job == NOBODY:
                    break
                done[job] = now_s
        for time_s, kind, subject in take_posts(world):
            heappush(agenda, (time_s, sequence, kind, subject))
            sequence += 1
    return done


def lived_through(
    limit: Fraction, cores: int, phase: Fraction, jobs: Sequence[tuple[Fraction, Fraction]]
) -> tuple[list[Fraction], Fraction]:
    """The same from boundary to boundary in exact arithmetic, and the time for which somebody waited in vain."""
    quota = limit * PERIOD
    now, left, boundary = Fraction(0), quota, phase or PERIOD
    waiting = sorted(((at, job) for job, (at, _) in enumerate(jobs)), reverse=True)
    inside: dict[int, Fraction] = {}
    done = [Fraction(0)] * len(jobs)
    throttled = Fraction(0)
    while waiting or inside:
        rate = min(Fraction(1), Fraction(cores, len(inside))) if inside and left > 0 else Fraction(0)
        times = [boundary - now]
        if waiting:
            times.append(waiting[-1][0] - now)
        if rate:
            times += [left / (rate * len(inside)), min(inside.values()) / rate]
        step = min(times)
        if inside and not rate:
            throttled += step
        now += step
        left -= step * rate * len(inside)
        inside = {job: work - step * rate for job, work in inside.items()}
        for job in [job for job, work in inside.items() if work == 0]:
            done[job] = now
            del inside[job]
        if now == boundary:
            left, boundary = quota, boundary + PERIOD
        while waiting and waiting[-1][0] == now:
            job = waiting.pop()[1]
            inside[job] = jobs[job][1]
    return done, throttled


def supplied_by(work: Fraction, limit: Fraction, busy: Fraction, arrival: Fraction, phase: Fraction) -> Fraction:
    """Closed form: when ``busy`` cores, idle before ``arrival``, have done so much work under the limit.

    What the present period still gives, then whole periods of a quota each, then the rest.
    """
    quota = min(limit, busy) * PERIOD
    boundary = phase + ceil((arrival - phase) / PERIOD) * PERIOD
    if boundary == arrival:
        boundary += PERIOD
    first = min(limit * PERIOD, busy * (boundary - arrival))
    if work <= first:
        return arrival + work / busy
    whole = ceil((work - first) / quota) - 1
    return boundary + whole * PERIOD + (work - first - whole * quota) / busy


@given(work=works, limit=limits, arrival=ticks, phase=phases)
@settings(max_examples=300, deadline=None)
def test_a_lone_handler_ends_by_the_arithmetic_of_periods(
    work: Fraction, limit: Fraction, arrival: Fraction, phase: Fraction
) -> None:
    expected = supplied_by(work, limit, Fraction(1), arrival, phase)
    assert finishes(station_of(limit, 4, phase), [(arrival, work)]) == pytest.approx([float(expected)], abs=1e-8)


def test_a_tenth_of_a_core_gives_10_ms_in_100() -> None:
    # 25 ms of work that comes with a period: 10 ms, stands 90, 10 ms, stands 90, 5 ms.
    world = station_of(Fraction(1, 10), 8, Fraction(0))
    assert finishes(world, [(Fraction(0), Fraction(25, 1000))]) == pytest.approx([0.205])
    assert world.stations[0].throttled_s == pytest.approx(0.180)
    assert world.stations[0].busy_s == pytest.approx(0.025)


@given(jobs=st.integers(1, 12), work=works, limit=limits, node_cores=cores, arrival=ticks, phase=phases)
@settings(max_examples=300, deadline=None)
def test_equal_jobs_that_come_together_end_together(
    jobs: int, work: Fraction, limit: Fraction, node_cores: int, arrival: Fraction, phase: Fraction
) -> None:
    limit = min(limit, Fraction(node_cores))
    busy = Fraction(min(jobs, node_cores))
    expected = supplied_by(jobs * work, limit, busy, arrival, phase)
    found = finishes(station_of(limit, node_cores, phase), [(arrival, work)] * jobs)
    assert found == pytest.approx([float(expected)] * jobs, abs=1e-8)


@given(
    jobs=st.lists(st.tuples(st.integers(0, 900).map(lambda n: n * TICK), works), min_size=1, max_size=8),
    limit=limits,
    node_cores=cores,
    phase=phases,
)
@settings(max_examples=200, deadline=None)
def test_any_jobs_end_as_in_a_life_of_every_period(
    jobs: list[tuple[Fraction, Fraction]], limit: Fraction, node_cores: int, phase: Fraction
) -> None:
    limit = min(limit, Fraction(node_cores))
    expected, throttled = lived_through(limit, node_cores, phase, jobs)
    world = station_of(limit, node_cores, phase)
    assert finishes(world, jobs) == pytest.approx([float(end) for end in expected], abs=1e-7)
    assert world.stations[0].throttled_s == pytest.approx(float(throttled), abs=1e-7)
    assert world.stations[0].busy_s == pytest.approx(float(sum(work for _, work in jobs)), abs=1e-7)


@given(jobs=st.lists(st.tuples(ticks, works), min_size=1, max_size=8), node_cores=cores)
@settings(max_examples=100, deadline=None)
def test_a_limit_of_all_cores_is_processor_sharing(jobs: list[tuple[Fraction, Fraction]], node_cores: int) -> None:
    expected, throttled = lived_through(Fraction(1000), node_cores, Fraction(0), jobs)
    world = station_of(Fraction(node_cores), node_cores, Fraction(0))
    assert world.stations[0].quota_s == inf
    assert finishes(world, jobs) == pytest.approx([float(end) for end in expected], abs=1e-7)
    assert throttled == world.stations[0].throttled_s == 0


@given(work=works, pause=works, limit=limits, node_cores=cores, arrival=ticks, phase=phases)
@settings(max_examples=200, deadline=None)
def test_a_handler_that_stands_still_for_a_pause_ends_as_after_the_work_of_both(
    work: Fraction, pause: Fraction, limit: Fraction, node_cores: int, arrival: Fraction, phase: Fraction
) -> None:
    # The pause is one core's work, under the same quota; the handler is one core's too.
    expected = supplied_by(pause + work, limit, Fraction(1), arrival, phase)
    found = finishes(station_of(limit, node_cores, phase), [(arrival, work)], [(arrival, pause)])
    assert found == pytest.approx([float(expected)], abs=1e-8)


@given(
    jobs=st.lists(st.tuples(ticks, works), min_size=1, max_size=6),
    halts=st.lists(st.tuples(ticks, works), min_size=1, max_size=3),
    node_cores=cores,
)
@settings(max_examples=100, deadline=None)
def test_pauses_stop_every_job_and_nothing_is_lost(
    jobs: list[tuple[Fraction, Fraction]], halts: list[tuple[Fraction, Fraction]], node_cores: int
) -> None:
    world = station_of(Fraction(node_cores), node_cores, Fraction(0))
    # Pauses as intervals of time: one core does them, and later ones wait for earlier ones.
    intervals: list[tuple[Fraction, Fraction]] = []
    for at, work in sorted(halts):
        begin = max(at, intervals[-1][1]) if intervals else at
        intervals.append((begin, begin + work))

    def running(time: Fraction) -> Fraction:
        return time - sum((min(max(time, begin), end) - begin for begin, end in intervals), Fraction(0))

    # Sharing in the time that is no pause.
    expected, _ = lived_through(Fraction(1000), node_cores, Fraction(0), [(running(at), work) for at, work in jobs])
    found = finishes(world, jobs, halts)
    assert [float(running(Fraction(end))) for end in found] == pytest.approx([float(e) for e in expected], abs=1e-7)
    assert world.stations[0].busy_s == pytest.approx(float(sum(work for _, work in [*jobs, *halts])), abs=1e-7)


@pytest.mark.parametrize("limit", [Fraction(1, 10), Fraction(3, 2), Fraction(39, 10)])
def test_the_long_run_rate_is_the_limit(limit: Fraction) -> None:
    jobs = [(Fraction(0), Fraction(1 + job % 7, 10)) for job in range(200)]
    world = station_of(limit, 8, Fraction(1, 30))
    end_s = max(finishes(world, jobs))
    done_s = float(sum(work for _, work in jobs))
    assert done_s / end_s == pytest.approx(float(limit), rel=2 * 0.1 / end_s)
    # Eight cores are busy except where the pod stands still.
    assert done_s / 8 + world.stations[0].throttled_s == pytest.approx(end_s, abs=0.1)


def test_no_event_belongs_to_a_period() -> None:
    def events(limit_cores: float) -> int:
        trace = trace_of(Unit(0.5, (Statement(rows=100, writes=True),)), duration_s=4.0)
        return run(trace, pod_of(limit_cores, row_s=0.01))[1].events

    # A second of work: at once, or in 30 periods.
    assert events(0.3) == events(8.0)


def test_settling_a_station_at_any_time_changes_nothing() -> None:
    world = station_of(Fraction(1, 2), 2, Fraction(1, 100))
    join(world, 0, EventKind.CPU_TIMER, 0, 0, 0.4)
    join(world, 0, EventKind.CPU_TIMER, 1, 0, 0.2)
    for step in range(1, 31):
        world.state[0].now = step * 0.017
        settle_all(world)
    station = world.stations[0]
    # 10 ms with a full quota of 50 ms, then five periods from 0.01 to 0.51 (busy 25 ms in each, on two cores).
    assert station.busy_s == pytest.approx(0.02 + 5 * 0.05)
    assert station.throttled_s == pytest.approx(5 * 0.075)
    assert station.virtual_s == pytest.approx(station.busy_s / 2)


# In a run -----------------------------------------------------------------------------------------------------------


def pod_of(limit_cores: float, *, node_cores: float = 8.0, row_s: float = 0.001, replicas: int = 1) -> Deployment:
    """Pods on which a row costs CPU, and nothing else."""
    deployment = deployment_of(replicas, pool=100)
    constants = replace(deployment.constants, row_block_cpu_s=100 * row_s, node_cores=node_cores)
    return replace(deployment, limit_cores=limit_cores, constants=constants)


@given(rows=st.integers(1, 900), limit=st.integers(1, 9), at=ticks)
@settings(max_examples=50, deadline=None)
def test_a_lone_statement_takes_its_database_time_and_its_periods(rows: int, limit: int, at: Fraction) -> None:
    database_s = Fraction(20, 1000)
    unit = Unit(float(at), (Statement(float(database_s), rows=rows, writes=True),))
    _, outcomes = run(trace_of(unit, duration_s=20.0), pod_of(limit / 10))
    end = supplied_by(rows * TICK, Fraction(limit, 10), Fraction(1), at + database_s, Fraction(0))
    assert outcomes.latency_s == pytest.approx([float(end - at)], abs=1e-8)


@pytest.mark.parametrize(("gap", "rows", "limit"), [(40, 20, 3), (40, 12, 3), (130, 60, 2), (7, 9, 9)])
def test_regular_statements_queue_for_quota_as_in_a_life_of_every_period(gap: int, rows: int, limit: int) -> None:
    # D/D/1 with vacations: the offered load is below the limit in the second case only.
    jobs = [(n * gap * TICK, rows * TICK) for n in range(40)]
    units = [Unit(float(at), (Statement(rows=rows, writes=True),)) for at, _ in jobs]
    _, outcomes = run(trace_of(*units, duration_s=60.0), pod_of(limit / 10))
    ends, _ = lived_through(Fraction(limit, 10), 8, Fraction(0), jobs)
    assert outcomes.latency_s == pytest.approx(
        [float(end - at) for end, (at, _) in zip(ends, jobs, strict=True)], abs=1e-7
    )


def test_each_pod_has_a_phase_of_its_own() -> None:
    world = world_of(pod_of(0.5, replicas=20))
    phases_s = [station.phase_s for station in world.stations[:20]]
    assert phases_s == pytest.approx([-0.1 * (pod * GOLDEN % 1) for pod in range(20)])
    gaps = sorted(later - earlier for earlier, later in zip(sorted(phases_s), sorted(phases_s)[1:], strict=False))
    assert gaps[0] > 0.1 / 20 / 3
    assert world.stations[20].quota_s == world.stations[20].refill_s == inf
