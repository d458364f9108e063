"""Arrivals: each process has the rate and the shape that it states, and longer runs begin with shorter ones."""

from __future__ import annotations

import pickle
from dataclasses import replace
from heapq import heapify, heapreplace
from math import ceil, exp, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence, default_rng
from scipy import stats

from ojp_sizing.demand.arrivals import Arrivals, Bursts, Closed, DailyProfile, Poisson, Replay, open_arrivals, until
from ojp_sizing.demand.recording import MOST_RECORDED, parse_recording
from ojp_sizing.demand.trace import Trace, sample_trace
from ojp_sizing.demand.workload import Clients, Duration, StatementClass, UnitOfWork, Workload
from ojp_sizing.errors import InputError

pytestmark = pytest.mark.fast

HOUR_S = 3600.0
STATEMENTS = (
    StatementClass("point", "select 1", "read", Duration(0.002), share=1),
    StatementClass("load", "insert into t values (?)", "batch", Duration(0.02), additions=3),
)
UNITS = (UnitOfWork("page", 0.7, 2), UnitOfWork("load", 0.3, ("load", "point")))
DAY = DailyProfile(((0.0, 0.2), (9 * HOUR_S, 0.5), (11 * HOUR_S, 1.0), (20 * HOUR_S, 0.4)))


def workload_of(arrivals: Arrivals, clients: Clients | None = None) -> Workload:
    return Workload("w", STATEMENTS, UNITS, arrivals=arrivals, clients=clients or Clients(4, 10))


def sampled(arrivals: Arrivals, rate: float, duration_s: float, *seed: int, clients: Clients | None = None) -> Trace:
    return sample_trace(workload_of(arrivals, clients), rate, duration_s, SeedSequence(seed))


def assert_mean(values: np.ndarray, expected: float) -> None:
    """The expected mean lies in the 99.9 % interval, which is narrower than a tenth of it."""
    half = stats.t.ppf(0.9995, len(values) - 1) * np.std(values, ddof=1) / sqrt(len(values))
    assert abs(values.mean() - expected) <= half
    assert half < 0.1 * expected


# Every process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arrivals", [Poisson(), Bursts(20.0, 2.0, 0.2), Bursts(300.0, 5.0, 0.1), Closed(), Closed(0.05)]
)
def test_a_longer_trace_begins_with_the_shorter_one(arrivals: Arrivals) -> None:
    for seed in range(5):
        short, long = (sampled(arrivals, 300.0, duration_s, seed) for duration_s in (11.0, 90.0))
        units, statements = len(short.arrival_s), len(short.text)
        assert 0 < units < len(long.arrival_s)
        for name in ("arrival_s", "gap_s", "jvm", "kind", "first", "count", "slow"):
            assert getattr(short, name).tobytes() == getattr(long, name)[:units].tobytes(), name
        for name in ("text", "called", "keeps", "fails", "database_s", "think_s"):
            assert getattr(short, name).tobytes() == getattr(long, name)[:statements].tobytes(), name


@pytest.mark.parametrize("arrivals", [Bursts(20.0, 2.0, 0.2), DAY])
def test_arrivals_are_in_order_and_in_the_run(arrivals: Arrivals) -> None:
    trace = sampled(arrivals, 200.0, 40.0, 3)
    assert (np.diff(trace.arrival_s) > 0).all()
    assert trace.arrival_s[0] > 0
    assert trace.arrival_s[-1] < 40
    assert not trace.closed
    assert not trace.gap_s.any()


# Bursts -------------------------------------------------------------------------------------------------------------


def dispersion(window_s: float, bursts: Bursts) -> float:
    """The index of dispersion of counts of one window, from the covariance of the rate (Cox and Isham 1980, 3.3)."""
    changes = 1 / bursts.mean_s / (1 - bursts.share)
    decay = changes * window_s
    return 1 + (bursts.dispersion - 1) * (1 - (1 - exp(-decay)) / decay)


@pytest.mark.parametrize(
    ("bursts", "rate"),
    [(Bursts(5.0, 0.5, 0.5), 20.0), (Bursts(20.0, 2.0, 0.2), 10.0), (Bursts(100.0, 1.0, 0.05), 5.0)],
)
def test_bursts_have_the_stated_rate_and_dispersion(bursts: Bursts, rate: float) -> None:
    duration_s, window_s = 20_000.0, 100.0
    rates, indices = [], []
    for seed in range(30):
        blocks = open_arrivals(bursts, rate, duration_s, default_rng([9, seed]), default_rng([10, seed]))
        times = np.concatenate(list(until(blocks, duration_s)))
        counts, _ = np.histogram(times, np.arange(0, duration_s + 1, window_s))
        rates.append(len(times) / duration_s)
        # About the true mean, so that neighbours' likeness doesn't bias it.
        indices.append(np.mean((counts - rate * window_s) ** 2) / (rate * window_s))
    assert_mean(np.array(rates), rate)
    assert_mean(np.array(indices), dispersion(window_s, bursts))
    assert dispersion(window_s, bursts) == pytest.approx(bursts.dispersion, rel=0.03)


@given(st.floats(1, 1e4), st.floats(0.01, 100), st.floats(0.01, 0.99), st.floats(0.1, 1e5))
def test_the_rates_of_bursts(index: float, mean_s: float, share: float, rate: float) -> None:
    """Heffes and Lucantoni's formula, in their own terms, gives the index back; or no rates do."""
    try:
        burst, calm = Bursts(index, mean_s, share).rates(rate)
    except InputError as error:
        most = 1 + 2 * mean_s * (1 - share) ** 2 * rate / share
        assert most < index
        assert "longer bursts, or a smaller share" in error.fix
        fixed = float(error.fix.split()[1])
        assert most - 0.01 <= fixed <= most
        assert Bursts(fixed, mean_s, share).rates(rate)[1] >= 0
        return
    leave, begin = 1 / mean_s, share / mean_s / (1 - share)
    assert calm >= 0
    assert share * burst + (1 - share) * calm == pytest.approx(rate)
    mean_flow = burst * begin + calm * leave
    found = 1 + 2 * leave * begin * (burst - calm) ** 2 / ((leave + begin) ** 2 * mean_flow)
    assert found == pytest.approx(index)


def test_bursts_of_dispersion_1_are_poisson() -> None:
    assert Bursts(1.0, 2.0, 0.2).rates(50.0) == (50.0, 50.0)


def test_too_much_dispersion_names_the_mend() -> None:
    with pytest.raises(
        InputError, match=r"^arrivals\.bursts\.dispersion: bursts of 2s in 0.2 of the time reach at most 129 "
    ):
        sampled(Bursts(129.1, 2.0, 0.2), 10.0, 5.0, 1)


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(InputError("here", "wrong", "fix it")))  # noqa: S301 - our own bytes
    assert (str(error), error.place, error.fix) == ("here: wrong; fix it", "here", "fix it")


# A daily profile ----------------------------------------------------------------------------------------------------


def test_a_whole_day_has_the_integral_of_its_profile() -> None:
    # Trapezes: 0.35 x 9 h, 0.75 x 2 h, 0.7 x 9 h, 0.3 x 4 h over midnight.
    expected = 2.0 * HOUR_S * (0.35 * 9 + 0.75 * 2 + 0.7 * 9 + 0.3 * 4)
    counts = np.array([len(sampled(DAY, 2.0, 24 * HOUR_S, 5, seed).arrival_s) for seed in range(10)])
    assert_mean(counts, expected)


def test_a_run_is_the_window_around_the_peak() -> None:
    times = np.concatenate([sampled(DAY, 20.0, 4 * HOUR_S, 6, seed).arrival_s for seed in range(4)]) / HOUR_S
    # From 9:00 to 13:00: 0.5 to 1 in two hours, then down by 0.6 in nine.
    found, _ = np.histogram(times, [0, 1, 2, 3, 4])
    factors = np.array([0.625, 0.875, 1 - 0.6 / 18, 1 - 0.6 / 6])
    assert stats.chisquare(found, found.sum() * factors / factors.sum()).pvalue > 1e-3
    assert found.sum() == pytest.approx(4 * 20 * HOUR_S * factors.sum(), rel=0.02)


def test_the_peak_is_the_first_of_the_highest_points() -> None:
    assert DailyProfile(((0.0, 0.1), (100.0, 1.0), (900.0, 1.0))).peak_s == 100.0


def test_the_day_is_a_circle() -> None:
    profile = DailyProfile(((6 * HOUR_S, 0.0), (18 * HOUR_S, 1.0)))
    assert profile.factor(np.array([0.0, 12.0, 24.0, 30.0]) * HOUR_S) == pytest.approx([0.5, 0.5, 0.5, 0.0])


# A recording --------------------------------------------------------------------------------------------------------


def test_a_recording_comes_back_as_it_was() -> None:
    rng = default_rng(1)
    at_s = np.concatenate([[0.0], np.cumsum(rng.exponential(0.5, 100))])
    units, jvms = tuple(rng.integers(2, size=101).tolist()), tuple(rng.integers(4, size=101).tolist())
    recording = Replay("r.csv", tuple(at_s.tolist()), units, jvms)
    trace = sampled(recording, recording.peak, at_s[-1], 1)
    # The window is half open: all but the last arrival.
    assert trace.arrival_s == pytest.approx(at_s[:-1], abs=1e-9)
    assert trace.kind.tolist() == list(units[:-1])
    assert trace.jvm.tolist() == list(jvms[:-1])
    other = sampled(recording, recording.peak, at_s[-1], 2)
    assert trace.arrival_s.tobytes() == other.arrival_s.tobytes()
    assert trace.database_s[0] != other.database_s[0]


def test_a_recording_is_scaled_by_its_busiest_minute_and_cut_to_its_busiest_part() -> None:
    quiet, busy = np.arange(0, 300, 1.0), np.arange(100.005, 170, 0.1)
    recording = Replay("r.csv", tuple(np.sort(np.concatenate([quiet, busy])).tolist()))
    assert recording.peak == pytest.approx(11.0, abs=0.02)
    # Ten times as fast: 6 s of the run are that minute.
    trace = sampled(recording, 10 * recording.peak, 6.0, 1)
    assert len(trace.arrival_s) == pytest.approx(660, abs=1)
    assert trace.arrival_s[0] == 0
    assert trace.arrival_s[-1] < 6
    assert set(trace.jvm.tolist()) == {0, 1, 2, 3}
    assert set(trace.kind.tolist()) == {0, 1}


def test_a_run_longer_than_the_recording_is_refused() -> None:
    recording = Replay("r.csv", tuple(np.arange(0, 101, 1.0).tolist()))
    assert len(sampled(recording, 2.0, 50.0, 1).arrival_s) == 100
    with pytest.raises(
        InputError, match=r"^r.csv: the recording lasts 100s, at 2 units/s 50s, and a run takes 60s; record 120s "
    ):
        sampled(recording, 2.0, 60.0, 1)


@given(st.lists(st.floats(0, 1e5), min_size=2, max_size=60), st.floats(0.1, 1e4), st.floats(0.01, 1))
def test_no_window_of_a_recording_has_more_than_the_one_replayed(gaps: list[float], rate: float, part: float) -> None:
    at_s = np.cumsum([0.0, *gaps])
    if at_s[-1] < 1e-3:
        return
    recording = Replay("r.csv", tuple(at_s.tolist()))
    faster = rate / recording.peak
    duration_s = part * at_s[-1] / faster * (1 - 1e-9)
    trace = sampled(recording, rate, duration_s, 1)
    window_s = duration_s * faster
    assert (np.diff(trace.arrival_s) >= 0).all()
    counts = [((at_s >= begin) & (at_s < begin + window_s)).sum() for begin in at_s if begin + window_s <= at_s[-1]]
    assert len(trace.arrival_s) == max(counts, default=0)


def recorded(text: str) -> Replay:
    return parse_recording(text, "r.csv", "r.csv", ["page", "load"], 4)


def test_what_a_recording_means() -> None:
    assert recorded("at\n5\n3.25\n10\n") == Replay("r.csv", (0.0, 1.75, 6.75))
    assert recorded('jvm,at,unit\n3,7,"load"\n0,5,page\n') == Replay("r.csv", (0.0, 2.0), (0, 1), (0, 3))
    iso = "at\n2026-03-01T12:00:00.250Z\n2026-03-01T12:00:00\n2026-03-01T13:00:01+01:00\n"
    assert recorded(iso).at_s == pytest.approx((0.0, 0.25, 1.0), abs=1e-6)


def test_rows_of_one_instant_keep_their_order() -> None:
    assert recorded("at,unit\n2,page\n1,load\n1,page\n2,load\n").units == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: no column 'at'; begin with a header"),
        ("1\n2\n", "line 1: '1' is no column of a recording; write at,unit,jvm"),
        ("at,units\n", "line 1: 'units' is no column"),
        ("at,at\n", "line 1: 'at' is no column"),
        ("at,unit\n1,page\n2\n", "line 3: 1 fields under a header of 2"),
        ("at\n1\n\n2\n", "line 3: 0 fields under a header of 1"),
        ("at\n1\n-2\n", "line 3: '-2' is no time; write seconds"),
        ("at\nnan\n", "line 2: 'nan' is no time"),
        ("at\n1e3\n", "line 2: '1e3' is no time"),
        ("at\n=cmd()\n", "line 2: '=cmd()' is no time"),
        ("at,unit\n1,pag\n", "line 2: unit: no unit 'pag'; known: page, load"),
        ("at,jvm\n1,4\n", "line 2: jvm: '4' is not a whole number from 0 to 3"),
        ("at\n1\n", "fewer than two instants; record a minute or more"),
        ("at\n1\n1\n", "fewer than two instants"),
        ('at\n"1\n', "not CSV: "),
        ("at\n" + "1\n" * (MOST_RECORDED + 1), "more than 1,000,000 arrivals"),
    ],
)
def test_bad_recordings(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        recorded(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("r.csv: ")
    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(st.text(max_size=100), st.sampled_from(["", "at\n", "at,unit\n1,", "at,unit,jvm\n"]))
def test_any_text_is_a_recording_or_refused_in_one_line(text: str, header: str) -> None:
    try:
        assert recorded(header + text).at_s[0] == 0
    except InputError as error:
        assert str(error).isprintable()


# A closed loop ------------------------------------------------------------------------------------------------------


def begun(trace: Trace, answer_s: float) -> np.ndarray:
    """Instants at which the clients begin units, if every answer takes the same time."""
    clients, begun_s = trace.jvms * trace.threads, []
    due_s = trace.gap_s[:clients].tolist()
    heapify(due_s)
    for gap_s in trace.gap_s[clients:].tolist():
        if due_s[0] >= trace.duration_s:
            return np.array(begun_s)
        begun_s.append(due_s[0])
        heapreplace(due_s, due_s[0] + answer_s + gap_s)
    raise AssertionError("the units ran out")


@pytest.mark.parametrize(("arrivals", "rate"), [(Closed(), 200.0), (Closed(0.1), 90.0), (Closed(), 0.5)])
def test_the_units_of_a_closed_loop_outlast_the_run(arrivals: Closed, rate: float) -> None:
    for seed in range(20):
        trace = sampled(arrivals, rate, 30.0, seed)
        assert trace.closed
        assert len(begun(trace, 0.0)) > 0.5 * rate * 30.0 - 8
        assert len(trace.arrival_s) == len(trace.gap_s)
        assert not trace.arrival_s.any()


def test_a_closed_loop_obeys_the_response_time_law() -> None:
    """Throughput = clients / (pause + answer), and without answers the rate (Denning and Buzen 1978)."""
    for answer_s, expected in ((0.0, 100.0), (0.4, 40 / (0.4 + 0.4))):
        begins = [begun(sampled(Closed(), 100.0, 200.0, 7, seed), answer_s) for seed in range(10)]
        assert_mean(np.array([(times > 20).sum() / 180 for times in begins]), expected)


def test_the_pause_and_the_clients_of_a_closed_loop() -> None:
    assert Closed().population(100.0, 4, 10) == (10, 0.4)
    # 100/s with pauses of 0.2 s are 20 clients: 5 threads of each of the 4 JVMs.
    assert Closed(0.2).population(100.0, 4, 10) == (5, 0.2)
    # 21 clients are 6 threads of each: the pause is stretched, the rate stays.
    assert Closed(0.21).population(100.0, 4, 10) == (6, 0.24)
    assert Closed(0.4).population(100.0, 4, 10) == (10, 0.4)
    trace = sampled(Closed(0.2), 100.0, 30.0, 1)
    assert (trace.jvms, trace.threads) == (4, 5)
    assert_mean(trace.gap_s, 0.2)
    with pytest.raises(
        InputError, match=r"^arrivals\.closed\.pause: 100 units/s with pauses of 500ms take 50 clients, "
    ):
        Closed(0.5).population(100.0, 4, 10)


@given(st.floats(0.01, 1e5), st.integers(1, 100), st.integers(1, 1000), st.floats(1e-6, 1e3))
def test_a_closed_loop_keeps_the_rate(rate: float, jvms: int, threads: int, pause_s: float) -> None:
    try:
        some, mean_s = Closed(pause_s).population(rate, jvms, threads)
    except InputError:
        assert rate * pause_s > jvms * threads
        return
    assert 1 <= some <= threads
    assert jvms * some / mean_s == pytest.approx(rate)
    assert mean_s >= pause_s * (1 - 1e-9)
    assert (some - 1) * jvms < ceil(rate * pause_s) or some == 1


# Statements that are several RPCs -----------------------------------------------------------------------------------


def test_a_batch_is_its_additions_and_an_execution() -> None:
    trace = sampled(Poisson(), 100.0, 90.0, 1)
    load = np.flatnonzero(trace.kind == 1)
    assert set(trace.count[trace.kind == 0].tolist()) == {2}
    assert set(trace.count[load].tolist()) == {5}
    assert (trace.first[1:] == np.cumsum(trace.count)[:-1]).all()
    assert trace.first[-1] + trace.count[-1] == len(trace.text)
    rpcs = trace.first[load][:, None] + np.arange(5)
    for name, expected in {
        "text": [1, 1, 1, 1, 0],
        "writes": [1, 1, 1, 1, 0],
        "keeps": [1, 1, 1, 0, 0],
        "called": [0, 0, 0, 1, 0],
        "rows": [0, 0, 0, 1, 1],
    }.items():
        assert (getattr(trace, name)[rpcs] == expected).all(), name
    assert (trace.database_s[rpcs[:, :3]] == 0).all()
    assert (trace.think_s[rpcs[:, :3]] == 0).all()
    assert_mean(trace.database_s[rpcs[:, 3]], 0.02)
    assert (trace.think_s[rpcs[:, 3:]] > 0).all()
    assert trace.typical_ms.tolist() == [2.0, 0.0]


def test_only_the_execution_of_a_batch_fails() -> None:
    statements = (replace(STATEMENTS[1], error_share=1.0),)
    workload = Workload("w", statements, (UnitOfWork("load", 1, ("load",)),))
    trace = sample_trace(workload, 10.0, 10.0, SeedSequence(1))
    assert trace.fails.reshape(-1, 4).mean(axis=0).tolist() == [0, 0, 0, 1]


def test_other_kinds_of_statements_and_units() -> None:
    statements = (
        StatementClass("report", "call report(?)", "call", Duration(0.5), rows=30),
        StatementClass("rows", "select blob", "read", Duration(0.004), rows=7, fetches=3),
        StatementClass("keys", "insert into k", "write", Duration(0.001), rows=0, session=True),
        StatementClass("mark", "update t", "write", Duration(0.003), rows=0),
    )
    names = tuple(s.name for s in statements)
    units = (UnitOfWork("all", 0.5, names, calls=2), UnitOfWork("xa", 0.5, names, xa=True))
    trace = sample_trace(Workload("w", statements, units, clients=Clients(6, 5, pools=3)), 50.0, 10.0, SeedSequence(2))
    for name, expected in {
        "text": [0, 0, 1, 2],
        "called": [1, 0, 0, 0],
        "writes": [1, 0, 1, 1],
        "keeps": [0, 0, 1, 0],
        "fetches": [0, 3, 0, 0],
        "rows": [30, 7, 0, 0],
    }.items():
        assert (getattr(trace, name).reshape(-1, 4) == expected).all(), name
    assert trace.typical_ms == pytest.approx([4.0, 1.0, 3.0])
    assert trace.typical_rows.tolist() == [7, 0, 0]
    assert (trace.calls == np.where(trace.kind == 0, 2, 0)).all()
    assert (trace.xa == trace.kind).all()
    assert trace.pools == 3


def test_a_workload_of_calls_alone() -> None:
    statements = (StatementClass("report", "call report(?)", "call", Duration(0.5), share=1),)
    workload = Workload("w", statements, (UnitOfWork("one", 1, 1),))
    trace = sample_trace(workload, 50.0, 10.0, SeedSequence(2))
    assert trace.typical_ms.tolist() == [0.0]
    assert not trace.slow.any()


def test_calls_and_batches_do_not_move_the_rule_that_finds_slow_statements() -> None:
    reads = tuple(StatementClass(f"r{i}", f"select {i}", "read", Duration(0.004)) for i in range(3))
    slow = StatementClass("report", "select report", "read", Duration(0.016))
    call = StatementClass("night", "call night()", "call", Duration(2.0))
    workload = Workload("w", (*reads, slow, call), (UnitOfWork("u", 1, ("r0",)),))
    assert [workload.lane_of(s) for s in workload.statements] == ["fast", "fast", "fast", "slow", "slow"]
