"""An abridged disruption stands for the whole: the same length, the same measures, at a fraction of the work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import SeedSequence, default_rng

from ojp_sizing import read_workload, sample_trace, simulate
from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.arrivals import Bursts
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.deployment.disruption import PodLoss, RollingUpdate
from ojp_sizing.deployment.situations import SITUATIONS, Situation
from ojp_sizing.measurement.measure import Replication, measure
from ojp_sizing.measurement.objectives import Objectives
from ojp_sizing.sizing.abridge import abridged, can_be_abridged, transients_of
from ojp_sizing.sizing.evaluate import DisruptedRun, Task, run_task
from ojp_sizing.theory.offered import LEAD_S

WEB = read_workload("web-oltp")
RATE = 400.0
SERVER = ServerSettings(thread_pool_size=200, segregation=False, breaker_open_s=5.0)
#: A pool that is the same while pods are missing, one that is divided anew, and too little CPU without a pod.
DEPLOYMENTS = {
    "undivided": Deployment(7, 1.0, ClientPool(15, 5), SERVER, Database(8.0), warm_pools=True),
    "divided": Deployment(5, 1.0, ClientPool(20, 5), SERVER, Database(8.0), warm_pools=True),
    "hot": Deployment(5, 0.5, ClientPool(40, 5), SERVER, Database(8.0), warm_pools=True),
}
DEPLOYMENTS["cold"] = replace(DEPLOYMENTS["undivided"], limit_cores=6.0, warm_pools=False)


def run_of(deployment: Deployment, situation: Situation, number: int) -> DisruptedRun:
    task = Task(WEB, RATE, deployment, situation, Objectives(), 3, number, "auto")
    whole = situation.sample(deployment, LEAD_S, default_rng(SeedSequence(3, spawn_key=(number, 1))))
    return DisruptedRun(task, deployment, whole, SeedSequence(3, spawn_key=(number, 0)))


def both(deployment: Deployment, situation: Situation, number: int) -> tuple[Replication, Replication]:
    run = run_of(deployment, situation, number)
    short = abridged(run.whole, run.transients, 5.0)
    assert short != run.whole
    return run.replication(run.whole, run.late_s)[0], run.replication(short, run.early_s)[0]


@pytest.mark.parametrize(
    ("name", "situation"),
    [
        ("undivided", Situation.ROLLING_UPDATE),
        *(
            (name, situation)
            for name in ("undivided", "divided", "hot")
            for situation in (Situation.POD_LOST, SITUATIONS["two-pods-lost"])
        ),
    ],
)
def test_an_abridged_disruption_measures_what_the_whole_does(name: str, situation: Situation) -> None:
    pairs = [both(DEPLOYMENTS[name], situation, number) for number in range(8)]
    wholes, shorts = measure([whole for whole, _ in pairs]), measure([short for _, short in pairs])
    # It is less work, and stands for the same time.
    assert sum(short.units for _, short in pairs) < 0.7 * sum(whole.units for whole, _ in pairs)
    assert shorts["window_s"].value == pytest.approx(wholes["window_s"].value, rel=0.1)
    for measured in ("fast_p50_s", "fast_p99_s", "failed_share", "cpu_cores", "connections_use", "database_cores"):
        whole, short = wholes[measured], shorts[measured]
        # Their intervals meet; what is steady agrees closely.
        assert short.low <= whole.high, measured
        assert whole.low <= short.high, measured
    assert shorts["cpu_cores"].value == pytest.approx(wholes["cpu_cores"].value, rel=0.03)
    # Clients ask again every 5 s, and drift apart meanwhile: after a short absence more of them come at once.
    assert 0.65 <= shorts["open_connections"].value / wholes["open_connections"].value <= 2.0


def test_an_update_of_two_pods_that_is_not_cut_weighs_nothing_anew() -> None:
    deployment = replace(DEPLOYMENTS["undivided"], replicas=2)
    run = run_of(deployment, Situation.ROLLING_UPDATE, 0)
    short = abridged(run.whole, run.transients, 1000.0)
    assert isinstance(short, RollingUpdate)
    assert short.pods == 2
    (whole, _), (again, _) = run.replication(run.whole, run.late_s), run.replication(short, run.late_s)
    # All but the stops' mean, which stands for what each took.
    assert again.counts["failed_share"].total == pytest.approx(whole.counts["failed_share"].total, rel=1e-3)
    assert again.values["fast_p99_s"] == pytest.approx(whole.values["fast_p99_s"], rel=1e-3)


def test_transients_that_outlast_the_absence_leave_it_whole() -> None:
    """OJP's default keeps a breaker open for 60 s, longer than a pod is away."""
    deployment = replace(DEPLOYMENTS["divided"], server=replace(SERVER, breaker_open_s=60.0))
    run = run_of(deployment, Situation.ROLLING_UPDATE, 0)
    short = abridged(run.whole, run.transients, 5.0)
    assert isinstance(run.whole, RollingUpdate)
    assert isinstance(short, RollingUpdate)
    last = len(short.restart_s) - 1
    assert all(away_s > 60.0 for away_s in short.most_away_s[:last])
    assert short.lasts_s() == pytest.approx(run.whole.lasts_s() * 2 / 5, rel=0.6)


def test_pods_that_are_lost_together_come_back_at_the_same_distance() -> None:
    run = run_of(DEPLOYMENTS["divided"], SITUATIONS["two-pods-lost"], 1)
    short = abridged(run.whole, run.transients, 5.0)
    before, after = ([part.away_s for part in parts] for parts in (run.whole.parts, short.parts))
    assert after[0] - after[1] == pytest.approx(before[0] - before[1])
    assert all(new < old for new, old in zip(after, before, strict=True))


def test_a_node_that_vanishes_and_demand_that_changes_are_simulated_whole() -> None:
    run = run_of(DEPLOYMENTS["divided"], SITUATIONS["node-lost"], 0)
    assert abridged(run.whole, run.transients, 5.0) == run.whole
    assert can_be_abridged(WEB)
    assert not can_be_abridged(replace(WEB, arrivals=Bursts(3.0, 5.0, 0.2)))


def test_where_connections_would_not_last_for_the_whole_update_the_whole_is_simulated() -> None:
    deployment = DEPLOYMENTS["undivided"]
    task = Task(WEB, RATE, deployment, Situation.ROLLING_UPDATE, Objectives(), 1, 0, "auto")
    free = run_task(task)
    assert free.values["simulated_window_s"] < 0.5 * free.values["window_s"]
    tight = replace(deployment, database=Database(8.0, max_connections=free.values["open_connections"] - 1))
    whole = run_task(replace(task, deployment=tight))
    assert whole.values["simulated_window_s"] == pytest.approx(whole.values["window_s"])


@pytest.mark.parametrize("name", ["divided", "hot", "cold"])
def test_where_each_pod_is_a_chance_of_a_collapse_the_whole_update_is_simulated(name: str) -> None:
    """The few that collapse (a convoy) do so at any of the pods; two of them would mostly not show it."""
    tasks = [
        Task(WEB, RATE, DEPLOYMENTS[name], Situation.ROLLING_UPDATE, Objectives(), 3, number, "auto")
        for number in range(4)
    ]
    for replication in [run_task(task) for task in tasks]:
        within = replication.value("fast_p99_s") < 0.05 and replication.value("failed_share") < 0.01
        assert not within or replication.values["simulated_window_s"] == pytest.approx(replication.values["window_s"])


def test_a_run_ends_when_all_that_is_measured_has_and_changes_nothing_of_it() -> None:
    deployment = DEPLOYMENTS["divided"]
    trace = sample_trace(WEB, RATE, 30.0, SeedSequence(2))
    loss = PodLoss(1, 2.0, 5.0, 1.0)
    long, short = (simulate(trace, deployment, loss, recovery_s=10.0 - tail_s, tail_s=tail_s) for tail_s in (0.0, 4.0))
    last_s = 8.0 + 6.0
    assert long.end_s == 18.0
    assert last_s <= short.end_s < 18.0
    due = int(np.searchsorted(trace.arrival_s, last_s))
    assert (short.outcome[:due] >= Ending.OK).all()
    assert (short.latency_s[:due] == long.latency_s[:due]).all()
    assert (short.outcome[:due] == long.outcome[:due]).all()


@pytest.mark.parametrize(("error_share", "well_after_s"), [(0.0, 3.0), (1.0, 9.0)])
def test_all_may_be_well_once_no_breaker_is_open_or_half_of_the_time_is_over(
    error_share: float, well_after_s: float
) -> None:
    """Where every statement fails, breakers open again and again."""
    statements = tuple(replace(statement, error_share=error_share) for statement in WEB.statements)
    trace = sample_trace(replace(WEB, statements=statements), RATE, 40.0, SeedSequence(2))
    loss = PodLoss(1, 2.0, 5.0, 1.0)
    outcomes = simulate(trace, DEPLOYMENTS["divided"], loss, recovery_s=2.0, well_within_s=(3.0, 9.0))
    assert outcomes.window_s == (2.0, 8.0)
    assert outcomes.well_s == pytest.approx(8.0 + well_after_s, abs=0.11)
    assert outcomes.end_s == pytest.approx(outcomes.well_s + 2.0)


def test_where_somebody_hangs_the_whole_tail_is_waited_for() -> None:
    deployment = Deployment(2, 1.0, ClientPool(2, 1), SERVER, Database(8.0))
    trace = sample_trace(WEB, 300.0, 20.0, SeedSequence(2))
    assert simulate(trace, deployment, tail_s=3.0).end_s == 20.0


def test_more_clients_take_longer_to_ask() -> None:
    few = transients_of(DEPLOYMENTS["divided"], WEB, 10.0)
    many = transients_of(DEPLOYMENTS["divided"], WEB, 1000.0)
    assert few.lost_s > many.lost_s
    assert few.back_s > many.back_s > many.lost_s
