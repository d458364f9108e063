"""What tells OJP's versions apart, rule by rule: the smallest world in which each trait makes a difference."""

from __future__ import annotations

import csv
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from worlds import Unit, deployment_of, lost, run, select, trace_of, update, world_of

from ojp_sizing.behaviour.classifier import is_slow, record_time
from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import Deployment, ServerSettings
from ojp_sizing.deployment.disruption import PodLoss
from ojp_sizing.deployment.versions import Traits, row_for, traits_of, versions
from ojp_sizing.errors import InputError
from ojp_sizing.measurement.known_error import measured_ranges
from ojp_sizing.theory.offered import bare_latency_s, mean_load, pod_cores
from scripts.make_upgrade import WORDS, sized_rows, traits_table
from tests.real_server.artifacts import ROOT
from tests.test_cli import run as cli
from tests.test_theory import ONE_QUERY, ONE_UPDATE, workload_of

OLD, ANCHOR, ONE, DRAINING = "0.3.1-beta", "0.4.21-beta", "1.0.0", "1.1.0"
LATER = tuple(name for name in versions() if not traits_of(name).models_xa)
#: Versions whose drivers ask the pods once only.
CACHED = tuple(name for name in versions() if traits_of(name).connect_cached)
LEAKY = replace(default_constants(), error_leak_probability=1.0)


def rpcs(deployment: Deployment, *units: Unit) -> list[int]:
    """How many RPCs each pod has served, before any health check."""
    world, outcomes = run(trace_of(*units, duration_s=4.0), deployment)
    assert set(outcomes.outcome.tolist()) == {Ending.OK}
    return [pod.rpcs for pod in world.pods]


# The table -----------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_version_with_status_and_source() -> None:
    with (ROOT / "data" / "versions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["version"] for row in rows] == list(versions())
    assert set(rows[0]) == {"version", *(field.name for field in fields(Traits))}
    for row in rows:
        assert row["status"] in {"CODE", "MEASURED", "INFER"}
        assert row["source"]


def test_only_versions_that_were_measured_are_called_measured() -> None:
    called = [name for name in versions() if traits_of(name).status == "MEASURED"]
    assert called == list(dict.fromkeys(row.server for row in measured_ranges())) == [OLD, ANCHOR]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("0.3.1", OLD),
        ("v0.4.21", ANCHOR),
        ("0.4.21-beta", ANCHOR),
        ("0.4.22-SNAPSHOT", ANCHOR),
        ("0.4.5", "0.4.1-beta"),
        ("0.4.17", "0.4.16-beta"),
        ("1.0", ONE),
        ("1.0.1", ONE),
        ("1.1.0-RC2", DRAINING),
        ("0.5.2-beta", None),
        ("1.2.0", None),
        ("2", None),
        ("latest", None),
        ("sha256:0123abcd", None),
        ("", None),
    ],
)
def test_a_version_is_taken_for_the_newest_known_one_of_its_line(text: str, row: str | None) -> None:
    assert row_for(text) == row


# The driver ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", versions())
def test_a_query_calls_every_pod_until_connects_are_cached(version: str) -> None:
    """Query, close of the result, terminate: three; and a connect to each pod before 0.4.7 (later versions 1.2)."""
    deployment = deployment_of(3, 21, version=version)
    each = 0 if version in CACHED else 1
    assert sorted(rpcs(deployment, Unit(0.0, (select(),)))) == [each, each, 3 + each]


@pytest.mark.parametrize("version", versions())
def test_a_plain_update_is_one_call_where_its_close_sends_nothing(version: str) -> None:
    deployment = deployment_of(3, 21, version=version)
    # Before 0.4.7 a connect to each and a terminate to each.
    expected = [0, 0, 1] if version in CACHED else [2, 2, 3]
    assert sorted(rpcs(deployment, Unit(0.0, (update(),)))) == expected


def test_a_new_jvm_calls_every_pod_once() -> None:
    """A world without history: pools are built by the first getConnection(), one for each pod (0.4.1 on)."""
    units = [Unit(0.0, (update(),)) for _ in range(5)] + [Unit(3.0, (update(),))]
    world, outcomes = run(trace_of(*units, duration_s=4.5), deployment_of(2, version=ANCHOR), warm=False)
    assert set(outcomes.outcome.tolist()) == {Ending.OK}
    assert [(pool.created, pool.orphaned) for pool in world.pools] == [(1, 0), (1, 0)]
    # Five connects to each; six updates in turn.
    assert [pod.rpcs for pod in world.pods] == [8, 8]


def test_before_0_4_1_each_first_connect_builds_a_pool() -> None:
    units = [Unit(0.0, (update(),)) for _ in range(5)]
    for version, orphans in (("0.4.0-beta", 4), ("0.4.1-beta", 0)):
        world, _ = run(trace_of(*units, duration_s=4.5), deployment_of(1, version=version), warm=False)
        assert (world.pools[0].created, world.pools[0].orphaned) == (1, orphans)


def test_a_dead_pod_is_a_black_hole_until_the_tick() -> None:
    """A failed statement marks nothing down, and a pod without sessions has the fewest (later versions 6.2, INFER)."""
    keeps_busy = Unit(0.5, (select(think_s=4.0),))
    units = [keeps_busy, *(Unit(2.0 + n / 10, (select(),)) for n in range(20)), Unit(7.0, (select(),))]
    # The JVM's tick comes at second 4.95.
    _, outcomes = run(trace_of(*units), deployment_of(2, 40, version=ANCHOR), lost(1, 1.0, 100.0))
    found = outcomes.outcome.tolist()
    assert found[0] == Ending.OK
    assert set(found[1:21]) == {Ending.UNAVAILABLE}
    assert found[21] == Ending.OK


def test_a_returned_pod_counts_as_up_when_its_pool_is_there_again() -> None:
    for version, failures in ((OLD, {Ending.NO_DATASOURCE}), (ANCHOR, set())):
        units = [Unit(n / 10, (update(),)) for n in range(250)]
        deployment = deployment_of(2, version=version, connection_open_s=0.1)
        world, outcomes = run(trace_of(*units, duration_s=40.0), deployment, lost(1, 1.0, 6.0))
        late = outcomes.arrival_s > 7.5
        assert set(outcomes.outcome[late].tolist()) - {Ending.OK} <= failures
        assert world.pools[1].created == 1


def test_a_change_of_a_client_s_view_is_pushed_to_idle_pods() -> None:
    """Nobody sends a statement, and the survivor's pool grows all the same from 0.4.7 on."""
    for version, maximum in (("0.4.1-beta", 10), (ANCHOR, 20)):
        world, _ = run(
            trace_of(Unit(30.0, (update(),)), duration_s=20.0), deployment_of(2, version=version), lost(1, 1.0, 90.0)
        )
        assert world.pools[0].maximum == maximum


# Admission -----------------------------------------------------------------------------------------------------------


def test_with_segregation_off_a_session_keeps_a_permit_and_others_wait_for_one() -> None:
    units = (Unit(0.0, (select(think_s=3.0),)), Unit(1.0, (update(),)))
    world, outcomes = run(trace_of(*units, duration_s=2.0), deployment_of(1, 1, version=ANCHOR))
    assert (world.lanes[0].free, world.lanes[0].waiting, world.pools[0].waiting) == (0, 1, 0)
    world, outcomes = run(trace_of(*units, duration_s=9.0), deployment_of(1, 1, version=ANCHOR))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.OK]
    assert outcomes.latency_s[1] == pytest.approx(2.0)
    assert (world.lanes[0].free, world.lanes[0].leaked, world.pods[0].sessions) == (1, 0, 0)


def test_who_waits_too_long_for_a_permit_doesn_t_open_the_breaker() -> None:
    units = [
        Unit(0.0, (select(think_s=30.0),)),
        *(Unit(1.0 + n, (update(),)) for n in range(2)),
        Unit(40.0, (update(),)),
    ]
    deployment = replace(
        deployment_of(1, 1, version=ANCHOR, connection_timeout_s=5.0),
        server=ServerSettings(200, False, breaker_threshold=1),
    )
    assert run(trace_of(*units), deployment)[1].outcome.tolist() == [
        Ending.OK,
        Ending.SLOT_TIMEOUT,
        Ending.SLOT_TIMEOUT,
        Ending.OK,
    ]
    counts = replace(deployment, version="0.4.15-beta", pool=replace(deployment.pool, maximum_size=1))
    holds = [Unit(0.0, (update(20.0),)), Unit(1.0, (update(),)), Unit(8.0, (update(),))]
    assert run(trace_of(*holds), counts)[1].outcome.tolist() == [Ending.OK, Ending.SLOT_TIMEOUT, Ending.BREAKER_OPEN]


def test_who_finds_too_many_waiting_is_refused_at_once() -> None:
    units = [Unit(0.0, (select(think_s=3.0),)), *(Unit(1.0 + n / 10, (update(),)) for n in range(4))]
    _, outcomes = run(trace_of(*units), deployment_of(1, 1, version=ANCHOR))
    assert outcomes.outcome.tolist() == [Ending.OK, Ending.OK, Ending.OK, Ending.OVERLOADED, Ending.OVERLOADED]
    assert outcomes.latency_s[3:].tolist() == [0.0, 0.0]
    assert run(trace_of(*units), deployment_of(1, 1, version="0.4.14-beta"))[1].outcome.tolist() == [Ending.OK] * 5


def test_from_0_4_16_to_0_4_20_a_session_needs_a_second_slot() -> None:
    """All permits are the sessions', and each of their next statements waits for one: until its time-out."""
    units = [Unit(0.0, (select(think_s=1.0), select()), transaction=True) for _ in range(2)]
    for version, ending in (("0.4.20-beta", Ending.SLOT_TIMEOUT), (ANCHOR, Ending.OK)):
        _, outcomes = run(trace_of(*units), deployment_of(1, 2, version=version, connection_timeout_s=5.0))
        assert set(outcomes.outcome.tolist()) == {ending}


def test_nothing_is_waited_for_where_every_connection_is_in_use() -> None:
    """A leaked connection leaves a permit without one: the next statement fails at once (later versions 1.6, 5.4)."""
    units = [Unit(0.0, (update(fails=True),)), Unit(1.0, (update(),))]
    deployment = replace(
        deployment_of(1, 1, version=ANCHOR), constants=replace(deployment_of().constants, error_leak_probability=1.0)
    )
    _, outcomes = run(trace_of(*units), deployment)
    assert outcomes.outcome.tolist() == [Ending.DATABASE_ERROR, Ending.CONNECTION_TIMEOUT]
    assert outcomes.latency_s[1] == 0.0
    # From 1.0 on an update that fails has given its connection back.
    assert run(trace_of(*units), replace(deployment, version=ONE))[1].outcome.tolist() == [
        Ending.DATABASE_ERROR,
        Ending.OK,
    ]


def test_a_failed_first_query_loses_its_permit_too() -> None:
    deployment = replace(
        deployment_of(1, 2, version=ANCHOR), constants=replace(deployment_of().constants, error_leak_probability=1.0)
    )
    world, _ = run(trace_of(Unit(0.0, (select(fails=True),))), deployment)
    assert (world.pools[0].leaked, world.lanes[0].leaked, world.lanes[0].free) == (1, 1, 1)


def test_a_lost_pod_takes_its_permits_along_but_for_1_1() -> None:
    """Three pods, a pool of 20: 7 permits each, while the survivors' pools grow to 10 (later versions 2.1)."""
    for version, permits in ((ANCHOR, 7), (ONE, 7), (DRAINING, 10)):
        world, _ = run(
            trace_of(Unit(8.0, (update(),)), duration_s=20.0), deployment_of(3, version=version), lost(2, 1.0, 90.0)
        )
        assert [(world.pools[pod].maximum, world.lanes[2 * pod].total) for pod in (0, 1)] == [(10, permits)] * 2


def test_the_breaker_is_the_pool_s_own_from_0_4_0_on() -> None:
    units = [Unit(float(n), (update(fails=True),), jvm=0) for n in range(3)] + [Unit(4.0, (update(),), jvm=1)]
    trace = trace_of(*units, jvms=2, pools=2)
    for version, ending in ((OLD, Ending.BREAKER_OPEN), ("0.4.0-beta", Ending.OK)):
        assert run(trace, deployment_of(version=version))[1].outcome.tolist()[-1] == ending


# Segregation ---------------------------------------------------------------------------------------------------------


def taught(averages_ms: list[float], runs: int = 40) -> list[bool]:
    """Which of these texts are slow after so many runs of each."""
    trace = trace_of(Unit(0.0, (update(),)), typical_ms=averages_ms)
    world = world_of(deployment_of(segregation=True, version=ANCHOR), trace, warm=False)
    for _ in range(runs):
        for text, elapsed_ms in enumerate(averages_ms):
            record_time(world, 0, text, elapsed_ms)
    world.state[0].now = 100.0
    return [is_slow(world, 0, text) for text in range(len(averages_ms))]


@pytest.mark.parametrize(("slow", "found"), [(1, 1), (5, 5), (6, 0), (9, 0)])
def test_slow_texts_are_found_while_half_or_more_are_fast(slow: int, found: int) -> None:
    """Ten texts, of 10 and of 900 ms (later versions 3, RUN)."""
    assert sum(taught([900.0] * slow + [10.0] * (10 - slow))) == found


def test_beside_texts_of_less_than_a_millisecond_nothing_is_slow() -> None:
    assert not any(taught([900.0] + [0.0] * 9))


def test_a_text_needs_20_runs_to_be_slow() -> None:
    assert not any(taught([900.0, 10.0, 10.0], runs=19))
    assert taught([900.0, 10.0, 10.0], runs=20) == [True, False, False]


def test_a_slow_text_stays_slow_until_three_times_the_baseline() -> None:
    trace = trace_of(Unit(0.0, (update(),)), typical_ms=(50.0, 50.0, 50.0))
    world = world_of(deployment_of(segregation=True, version=ANCHOR), trace, warm=False)
    for _ in range(30):
        for text, elapsed_ms in enumerate((500.0, 50.0, 50.0)):
            record_time(world, 0, text, elapsed_ms)
    world.state[0].now = 20.0
    assert is_slow(world, 0, 0)
    steps = 0
    while is_slow(world, 0, 0):
        record_time(world, 0, 0, 50.0)
        steps += 1
    # 50 + 450 * 0.8 ** n is above 150 until n = 7.
    assert steps == 7


# The end of a pod ----------------------------------------------------------------------------------------------------


def test_a_stopping_pod_of_1_1_lets_its_sessions_end_and_sends_others_away() -> None:
    """It has a session until second 9, and drains all that time; the tick finds that out at 4.95 s at the latest."""
    stopped = PodLoss(0, 0.5, 60.0, 0.0, 0.0, "stopped")
    keeps = Unit(0.0, (select(think_s=9.0), select()), transaction=True)
    others = [Unit(1.0 + n / 4, (select(think_s=0.5),)) for n in range(60)]
    lost_units = {}
    for version in (OLD, ANCHOR, ONE, DRAINING):
        _, outcomes = run(trace_of(keeps, *others, duration_s=30.0), deployment_of(2, version=version), stopped)
        lost_units[version] = int((outcomes.outcome != Ending.OK).sum())
    assert lost_units[DRAINING] == 0
    assert min(lost_units[version] for version in (OLD, ANCHOR, ONE)) > 0


def test_a_drained_pod_ends_with_its_last_session() -> None:
    units = (Unit(0.0, (select(think_s=3.0),)),)
    _, outcomes = run(
        trace_of(*units, duration_s=30.0),
        deployment_of(1, version=DRAINING),
        PodLoss(0, 0.5, 60.0, 0.0, 0.0, "stopped"),
    )
    assert outcomes.outcome.tolist() == [Ending.OK]
    assert [change.time_s for change in outcomes.changes if change.state == "down"] == [pytest.approx(3.0)]


# Around it -----------------------------------------------------------------------------------------------------------


def test_xa_is_refused_where_it_isn_t_modelled() -> None:
    trace = trace_of(Unit(0.0, (update(),), xa=True))
    for version in LATER:
        with pytest.raises(InputError, match="XA isn't modelled for OJP"):
            run(trace, deployment_of(version=version))


@pytest.mark.parametrize("unit", [ONE_QUERY, ONE_UPDATE], ids=lambda unit: unit.name)
def test_the_closed_forms_have_no_connects_where_they_are_cached(unit: object) -> None:
    workload: Workload = workload_of(unit)
    constants = default_constants()
    old, new = (mean_load(workload, constants, traits_of(version)) for version in (OLD, ANCHOR))
    assert old == mean_load(workload, constants)
    assert (new.every_pod_cpu_s, new.every_pod_rpcs, new.every_pod_visits, new.spread_visits) == (0, 0, 0, 1)
    assert new.spread_cpu_s == old.spread_cpu_s
    assert new.hold_s == old.hold_s
    assert pod_cores(new, 1000.0, 10, constants) < 0.5 * pod_cores(old, 1000.0, 10, constants)
    latencies_s = [
        bare_latency_s(workload, unit, "fast", 3, constants, traits_of(version)) for version in (OLD, ANCHOR)
    ]
    assert np.diff(latencies_s)[0] < 0


def test_the_page_has_every_trait_as_the_table_has_it() -> None:
    page = (ROOT / "docs" / "upgrade.md").read_text(encoding="utf-8")
    assert traits_table() in page
    assert WORDS.read_text(encoding="utf-8").split("## What the model says")[0] in page


def test_the_page_s_first_row_is_what_the_model_says() -> None:
    page = (ROOT / "docs" / "upgrade.md").read_text(encoding="utf-8")
    (row,) = sized_rows(("0.3.1-beta",))
    assert f"| {' | '.join(row)} |" in page


def test_the_command_line_says_what_a_version_is_taken_for(tmp_path: Path) -> None:
    small = ("--peak-rps", "20", "--max-replicas", "5", "--disruption-failed", "10%")
    taken = cli(*small, "--ojp-version", "0.4.17", cwd=tmp_path)
    assert taken.stderr == "ojp-size: 0.4.17 is taken for 0.4.16-beta, the newest before it whose source is known\n"
    assert "no server of this version was measured" in " ".join(taken.stdout.split())
    refused = cli(*small, "--ojp-version", "latest", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--ojp-version: no server 'latest' is modelled" in refused.stderr
