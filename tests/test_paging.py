"""A run keeps what is under way: that changes nothing of what comes out, however few units are loaded at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import SeedSequence, default_rng
from worlds import Unit, deployment_of, select, trace_of, update

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.arrivals import Arrivals, Bursts, Closed, DailyProfile, Poisson, Replay
from ojp_sizing.demand.reading import read_workload
from ojp_sizing.demand.trace import OF_STATEMENTS, OF_UNITS, Stream, Trace, sample_trace, stream_of
from ojp_sizing.demand.workload import Clients, Patience, Workload
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.deployment.disruption import Disruption, PodLoss
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.objectives import Objectives
from ojp_sizing.simulation.clock import Clock
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.simulation.simpy_clock import SimpyClock
from ojp_sizing.simulation.simulate import clock_class, simulate
from ojp_sizing.sizing import evaluate
from ojp_sizing.sizing.evaluate import Task, run_task

RATE, RUN_S = 150.0, 8.0
WEB = replace(read_workload("web-oltp"), clients=Clients(4, 10))
DEPLOYMENT = Deployment(3, 0.5, ClientPool(12, 2, 1.0), ServerSettings(20, segregation=False), Database(4.0))
LOSS = PodLoss(1, 1.0, 1.5, 0.5)
DAY = DailyProfile(((0.0, 0.2), (40_000.0, 1.0), (40_020.0, 0.3), (70_000.0, 0.4)))
RECORDING = Replay("r.csv", tuple(np.cumsum(default_rng(5).exponential(1 / RATE, 9000)).tolist()))
IMPATIENT = Patience(0.02, 2, 0.05, 2.0)
DEMANDS: tuple[tuple[Arrivals, Patience], ...] = (
    (Poisson(), Patience()),
    (Poisson(), Patience(30.0, 0)),
    (Poisson(), IMPATIENT),
    (Bursts(5.0, 0.5, 0.3), Patience()),
    (DAY, Patience()),
    (RECORDING, IMPATIENT),
    (Closed(), Patience()),
)
COLUMNS = ("arrival_s", "began_s", "latency_s", "thought_s", "outcome", "slow", "pod", "attempts")


def workload_of(arrivals: Arrivals, patience: Patience) -> Workload:
    return replace(WEB, arrivals=arrivals, patience=patience)


def run(
    demand: Trace | Stream, kind: type[Clock], disruption: Disruption = LOSS, deployment: Deployment = DEPLOYMENT
) -> tuple[Clock, Outcomes]:
    clock = kind(demand, deployment)
    return clock, clock.run(disruption, 1.0, 3.0, 1.0)


def assert_same(one: Outcomes, other: Outcomes) -> None:
    for name in COLUMNS:
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert (one.arrived, one.end_s, one.events, one.changes) == (
        other.arrived,
        other.end_s,
        other.events,
        other.changes,
    )
    assert one.hazards == other.hazards


@pytest.mark.parametrize("size", [1, 100, 8192])
@pytest.mark.parametrize(("arrivals", "patience"), DEMANDS)
def test_the_pieces_are_the_trace(arrivals: Arrivals, patience: Patience, size: int) -> None:
    workload = workload_of(arrivals, patience)
    whole = sample_trace(workload, RATE, RUN_S, SeedSequence(3))
    stream = stream_of(workload, RATE, RUN_S, SeedSequence(3))
    for demand in (whole, stream):
        pieces = list(demand.pieces(size))
        assert {len(piece.arrival_s) for piece in pieces[:-1]} <= {size}
        assert sum(len(piece.arrival_s) for piece in pieces) == len(whole.arrival_s) > 500
        for name in {*OF_UNITS, *OF_STATEMENTS} - {"first"}:
            assert (
                np.concatenate([getattr(piece, name) for piece in pieces]).tobytes() == getattr(whole, name).tobytes()
            )
        assert all(np.array_equal(piece.first, np.cumsum(piece.count) - piece.count) for piece in pieces)


@pytest.mark.parametrize("bits", [0, 3, 12])
@pytest.mark.parametrize(("arrivals", "patience"), DEMANDS)
def test_neither_pages_nor_streaming_change_a_run(
    arrivals: Arrivals, patience: Patience, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload, kind = workload_of(arrivals, patience), clock_class("auto")
    trace = sample_trace(workload, RATE, RUN_S, SeedSequence(3))
    monkeypatch.setattr(Clock, "page_bits", 20)
    _, expected = run(trace, kind)
    assert expected.arrived > 500
    assert expected.attempts.max() == 1 + patience.retries
    monkeypatch.setattr(Clock, "page_bits", bits)
    assert_same(run(trace, kind)[1], expected)
    assert_same(run(stream_of(workload, RATE, RUN_S, SeedSequence(3)), kind)[1], expected)


@pytest.mark.parametrize(("arrivals", "patience"), DEMANDS[2:3] + DEMANDS[6:])
def test_the_reference_clock_loads_the_same(arrivals: Arrivals, patience: Patience) -> None:
    stream = stream_of(workload_of(arrivals, patience), RATE, RUN_S, SeedSequence(3))
    assert_same(run(stream, SimpyClock)[1], run(stream, clock_class("auto"))[1])


@pytest.mark.parametrize("arrivals", [Poisson(), Bursts(5.0, 0.5, 0.3), Closed()])
def test_a_stream_that_goes_on_lasts_as_long_as_the_run(arrivals: Arrivals) -> None:
    workload = workload_of(arrivals, Patience())
    goes_on = stream_of(workload, RATE, 0.1, SeedSequence(3), goes_on=True)
    _, found = run(goes_on, clock_class("auto"))
    assert found.window_s == (1.0, 3.0)
    assert 6.0 <= found.end_s <= 7.0
    assert found.arrival_s[-1] > 5.9
    # A trace that is long enough gives the same; of the closed loop's, too, what is due by the end.
    assert_same(run(sample_trace(workload, RATE, 60.0, SeedSequence(3)), clock_class("auto"))[1], found)


@pytest.mark.parametrize("patience", [Patience(), Patience(30.0), Patience(0.08, 2, 0.05, 2.0)])
def test_a_longer_run_takes_no_more_rows(patience: Patience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "page_bits", 5)
    workload, deployment = workload_of(Poisson(), patience), replace(DEPLOYMENT, limit_cores=2.0)
    rows, arrived = [], []
    for duration_s in (10.0, 80.0):
        stream = stream_of(workload, RATE, duration_s, SeedSequence(3))
        clock, outcomes = run(stream, clock_class("auto"), None, deployment)
        assert outcomes.attempts.max() == 1 + patience.retries
        rows.append((len(clock._records("units")), len(clock._records("statements"))))
        arrived.append(outcomes.arrived)
    assert arrived[1] > 7 * arrived[0]
    # Some more where more were once under way, or a page's statements were more than any before it had.
    assert all(long <= 2 * short for short, long in zip(*rows, strict=True))
    assert rows[1][0] < arrived[1] / 8


def test_a_unit_that_stays_keeps_its_page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "page_bits", 2)
    units = [Unit(0.0, (update(900.0),)), *(Unit(1.0 + k, (select(0.1),)) for k in range(200))]
    clock, outcomes = run(trace_of(*units), SimpyClock, None, deployment_of())
    assert outcomes.outcome.tolist() == [Ending.OK] * 201
    assert outcomes.latency_s[0] == 900.0
    assert len(clock._records("units")) <= 5 * 4


def test_patience_that_ends_after_the_page_has_gone_finds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "page_bits", 0)
    units = [Unit(float(k), (select(5.0 if k == 7 else 0.1),)) for k in range(20)]
    _, outcomes = run(trace_of(*units, patience=Patience(3.0)), SimpyClock, None, deployment_of())
    assert outcomes.outcome.tolist() == [Ending.OK] * 7 + [Ending.GIVEN_UP] + [Ending.OK] * 12


def test_no_attempt_is_left_when_all_have_ended() -> None:
    trace = sample_trace(workload_of(Poisson(), IMPATIENT), RATE, RUN_S, SeedSequence(3))
    clock = clock_class("auto")(replace(trace, duration_s=600.0), DEPLOYMENT)
    assert clock.run(LOSS, 1.0, 1e6).attempts.max() == 3
    pages = clock._records("pages")
    assert len(pages) > 5
    assert (pages["left"] == 0).all()


def test_a_recording_that_ends_too_early_is_replayed_from_an_earlier_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its busiest part is its last, which is too short where less is allowed for than the disruption takes."""
    quiet, busy = np.arange(0.0, 200.0, 0.1), np.arange(200.0, 225.0, 0.05)
    recording = Replay("r.csv", tuple(np.concatenate([quiet, busy]).tolist()))
    workload = replace(WEB, arrivals=recording)
    monkeypatch.setattr(evaluate, "STOP_S", -20.0)
    lengths: list[float] = []

    def noted(demand: Trace | Stream, *rest: object, **settings: object) -> Outcomes:
        lengths.append(demand.head.duration_s)
        return simulate(demand, *rest, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "simulate", noted)
    task = Task(workload, recording.peak, DEPLOYMENT, Situation.POD_LOST, Objectives(), 1, 0, "auto")
    replication = run_task(task)
    assert len(lengths) == 2
    assert lengths[0] < lengths[1]
    assert replication.value("recovered_failed_share") >= 0.0
