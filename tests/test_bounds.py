"""Python is held to the bounds of the files: every field and argument of the public names, with odd values in each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from numpy.random import SeedSequence, default_rng

import ojp_sizing as ojp
from ojp_sizing.bounds import Checked
from ojp_sizing.demand.trace import stream_of
from ojp_sizing.demand.workload import check_whole
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import GarbageCollection
from ojp_sizing.deployment.disruption import DatabaseTrouble, Several
from ojp_sizing.deployment.reading import parse_deployment
from ojp_sizing.simulation.simulate import MOST_TAIL_S

WEB = ojp.read_workload("web-oltp")
TWO = ojp.Deployment(2, 1.0)
UPDATE = ojp.RollingUpdate(1.0, (1.0, 1.0), (1.0, 1.0), 30.0, 2)
TRACE = ojp.sample_trace(WEB, 20.0, 1.0, 1)
#: One value of every class that a user makes.
GOOD: list[Any] = [
    ojp.Bursts(5.0, 1.0, 0.2),
    ojp.ClientPool(),
    ojp.Clients(),
    ojp.Closed(1.0),
    ojp.DailyProfile(((0.0, 0.5), (40_000.0, 1.0))),
    ojp.Database(),
    TWO,
    ojp.Duration(0.01),
    ojp.Network(),
    ojp.Objectives(),
    ojp.Patience(),
    ojp.PodLoss(0, 1.0, 1.0, 1.0),
    ojp.Poisson(),
    ojp.Replay("r.csv", (0.0, 1.0), (0, 0), (0, 0)),
    UPDATE,
    ojp.ServerSettings(),
    WEB.statements[0],
    WEB.units[0],
    WEB,
    default_constants(),
    ojp.Question(WEB, 5.0),
    ojp.Execution(),
    ojp.Prices(),
    GarbageCollection(1e6, 0.01),
    DatabaseTrouble(1.0, 1.0),
    Several((ojp.PodLoss(0, 1.0, 1.0, 1.0),)),
]
#: Public classes that only the tool makes.
ANSWERS = {
    "DemandPoint", "Estimate", "Judged", "Outcomes", "Recommendation", "RiskPoint", "Situation", "Table", "Trace", "Watched",
}  # fmt: skip
ODD = [nan, inf, -inf, -1, -0.5, 10**400, True, "5", "", "\u202e5\n", None, [], (), {}, object(), np.nan, b"x"]


def refused(make: Callable[[], object]) -> str:
    with pytest.raises(ojp.InputError) as caught:
        make()
    message = str(caught.value)
    assert caught.value.fix
    assert message.isprintable()
    return message


def test_every_public_class_of_input_is_walked_through() -> None:
    public = {name for name in ojp.__all__ if is_dataclass(getattr(ojp, name))}
    assert public - ANSWERS <= {type(one).__name__ for one in GOOD}


@pytest.mark.parametrize("good", GOOD, ids=lambda good: type(good).__name__)
def test_an_odd_value_in_a_field_is_taken_or_refused_in_one_line(good: Any) -> None:
    kind = type(good).__name__
    for field in fields(good):
        for odd in ODD:
            try:
                changed = replace(good, **{field.name: odd})
            except ojp.InputError as error:
                # A text in the place of a workload is the name of one.
                named = kind == "Question" and field.name == "workload" and isinstance(odd, str)
                assert error.place.startswith(kind) or named, (field.name, odd)
                assert error.fix
                assert str(error).isprintable()
            else:
                assert changed is not None


@pytest.mark.parametrize("good", GOOD, ids=lambda good: type(good).__name__)
def test_a_number_is_neither_nan_nor_text_nor_a_flag(good: Any) -> None:
    for field in fields(good):
        value = getattr(good, field.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            for odd in (nan, "5", True, -1e9):
                message = refused(lambda field=field, odd=odd: replace(good, **{field.name: odd}))
                assert message.startswith(f"{type(good).__name__}.{field.name}: "), (field.name, odd)
                assert "write" in message


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: ojp.ServerSettings(slow_slot_percentage=150),
            "ServerSettings.slow_slot_percentage: 150 is above 100: the first connect fails, and the pool then runs without"
            " slots; write 0 to 100 % (ojp.server.slowQuerySegregation.slowSlotPercentage, reference 2 and 9, CODE+RUN)",
        ),
        (lambda: ojp.ClientPool(0), "ClientPool.maximum_size: 0 is below 1; write 1 to 100,000 connections"),
        (lambda: ojp.ServerSettings(thread_pool_size=0), "ServerSettings.thread_pool_size: 0 is below 1; write 1 to 10,000"),
        (lambda: ojp.ServerSettings(200.5), "ServerSettings.thread_pool_size: 200.5 is not a whole number"),  # type: ignore
        (
            lambda: ojp.Duration(0.01, family="erlang"),  # type: ignore[arg-type]
            "Duration.family: 'erlang' is not known here; write one of 'lognormal', 'exponential', 'constant'",
        ),
        (lambda: ojp.simulate(TRACE, TWO, engine="simpyy"), "engine: 'simpyy' is not known here; write one of 'auto'"),  # type: ignore
        (
            lambda: ojp.Deployment(2, 1.0, version="0.5.2"),
            "Deployment.version: no server '0.5.2' is modelled; write one of 0.3.0-beta, 0.3.1-beta, 0.3.2-snapshot",
        ),
        (lambda: ojp.Deployment(2, 1.0, version="0.1.0-beta"), "no server '0.1.0-beta' is modelled"),
        (lambda: ojp.Deployment(0, 1.0), "Deployment.replicas: 0 is below 1; write 1 to 1,000 pods"),
        (lambda: ojp.Deployment(2, 0), "Deployment.limit_cores: 0 is not above 0; write more than 0 and at most 4096 cores"),
        (lambda: ojp.Deployment(2, inf), "Deployment.limit_cores: inf is not taken"),
        (lambda: ojp.Deployment(2, 1.0, database="pg"), "Deployment.database: 'pg' is not of type Database"),  # type: ignore
        (lambda: ojp.Database(0), "Database.cores: 0 is not above 0"),
        (lambda: ojp.Clients(2, pools=3), "Clients.pools: more kinds than the 2 JVMs; write at most 2"),
        (lambda: ojp.Patience(0.0), "Patience.timeout_s: a timeout of 0"),
        (lambda: ojp.Bursts(0.5, 1.0, 0.1), "Bursts.dispersion: below 1 nothing bursts"),
        (lambda: ojp.Bursts(5.0, 1.0, 1.0), "Bursts.share: bursts never or always"),
        (lambda: ojp.Closed(0.0), "Closed.pause_s: clients without a pause have no rate"),
        (lambda: ojp.DailyProfile(()), "DailyProfile.points: no points"),
        (lambda: ojp.DailyProfile(((5.0, 1.0), (1.0, 0.2))), "DailyProfile.points: no points, or not in order"),
        (lambda: ojp.DailyProfile(((0.0, 0.5),)), "DailyProfile.points: the highest factor is 0.5, not 1"),
        (lambda: ojp.Replay("r.csv", (1.0, 0.5)), "Replay.at_s: not the instants of a recording"),
        (lambda: ojp.Replay("r.csv", (0.0, nan)), "Replay.at_s: not the instants of a recording"),
        (lambda: ojp.Replay("r.csv", (0.0, 1.0), units=(0,)), "Replay.units: not a number for each arrival"),
        (lambda: replace(WEB.statements[0], sql="  "), "StatementClass.sql: the SQL text is empty"),
        (lambda: replace(WEB.statements[0], kind="batch"), "StatementClass.additions: a batch of 0 additions"),
        (lambda: replace(WEB.units[0], xa=True, transaction=True), "UnitOfWork.xa: xa and transaction exclude each other"),
        (lambda: replace(WEB, units=()), "Workload.units: 0 entries; write 1 to 1000"),
        (lambda: replace(WEB, units=(ojp.UnitOfWork("u", 1, ("nobody",)),)), "units[0].statements[0]: no statement 'nobody'"),
        (lambda: replace(WEB, units=(ojp.UnitOfWork("u", 0.0),)), "Workload.units[].share: the shares add up to 0"),
        (lambda: replace(WEB, units=2 * WEB.units[:1]), "Workload.units[1].name: the same name as units[0].name"),
        (lambda: replace(WEB, constants=(("think", 1.0),)), "Workload.constants.think: no such constant"),
        (
            lambda: replace(WEB, arrivals=ojp.Replay("r.csv", (0.0, 1.0), (0, 99))),
            f"Workload.arrivals.units: 99 is not one of {len(WEB.units)}",
        ),
        (lambda: replace(default_constants(), health_interval_s=0.0), "Constants.health_interval_s: 0.0 is below 0.1"),
        (lambda: default_constants().with_values([("cpu", 1.0)], "f"), "constants.cpu: no such constant"),
        (lambda: default_constants().with_values([("statement_cpu_s", 0.0)], "f"), "constants.statement_cpu_s: 0.0 is below"),
        (lambda: ojp.Objectives(failed_share=2), "Objectives.failed_share: 2 is above 1; write 0 to 1"),
        (lambda: ojp.Objectives(recovery_s=5), "Objectives.recovery_s: 5 is below 45; write 45 to 86400 s"),
        (lambda: replace(UPDATE, pods=3), "RollingUpdate.pods: 3 of 2 pods"),
        (lambda: replace(UPDATE, ready_s=(1.0,)), "RollingUpdate: restart_s, ready_s and most_away_s differ in length"),
        (lambda: ojp.simulate(TRACE, TWO, ojp.PodLoss(2, 1.0, 1.0, 1.0)), "there is no pod 2 in a deployment of 2"),
        (lambda: ojp.simulate(TRACE, ojp.Deployment(3, 1.0), UPDATE), "times of 2 pods for a deployment of 3"),
        (lambda: ojp.simulate(TRACE, TWO, "loss"), "disruption: 'loss' is not of type PodLoss"),  # type: ignore[arg-type]
        (lambda: ojp.simulate(WEB, TWO), "trace: a value of type Workload is not of type Trace or Stream"),  # type: ignore
        (lambda: ojp.simulate(TRACE, TWO, sample_every_s=0.0), "sample_every_s: 0.0 is not above 0"),
        (lambda: ojp.simulate(TRACE, TWO, tail_s=-1.0), "tail_s: -1.0 is below 0"),
        (lambda: ojp.simulate(TRACE, TWO, well_within_s=(2.0, 1.0)), "well_within_s: 2.0 to 1.0 s is no span"),
        (lambda: ojp.sample_trace(WEB, 0, 1.0, 1), "rate: 0 is not above 0; write more than 0 and at most 10000000"),
        (lambda: ojp.sample_trace(WEB, 5.0, inf, 1), "duration_s: inf is not taken"),
        (lambda: ojp.sample_trace(WEB, 5.0, 1.0, -1), "seed: -1 is no seed; write a whole number of 0 or more"),
        (lambda: ojp.sample_trace(WEB, 5.0, 1.0, 1.5), "seed: 1.5 is no seed"),  # type: ignore[arg-type]
        (lambda: ojp.sample_trace(WEB, 5.0, 1.0, True), "seed: True is no seed"),
        (lambda: ojp.sample_trace("web-oltp", 5.0, 1.0, 1), "workload: 'web-oltp' is not of type Workload"),  # type: ignore
        (lambda: ojp.sample_pod_loss(TWO, -1.0, 1), "at_s: -1.0 is below 0"),
        (lambda: ojp.sample_pod_loss(TWO, 1.0, "1"), "rng: '1' is no seed"),  # type: ignore[arg-type]
        (lambda: ojp.sample_rolling_update(5, 1.0, 1), "deployment: 5 is not of type Deployment"),  # type: ignore[arg-type]
        (lambda: ojp.read_workload(5), "workload: 5 is not the name of a file"),  # type: ignore[arg-type]
        (lambda: ojp.read_deployment(None), "deployment: None is not the name of a file"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_a_file_could_not_say_python_does_not_take(make: Callable[[], object], words: str) -> None:
    assert words in refused(make)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(({"rate": odd}, "Question.rate: ") for odd in (nan, inf, 0, -5, "5k", True, 1e9, None)),
        *(({"seed": odd}, "Execution.seed: ") for odd in (-1, 1.5, True, "1", 2**63, None)),
        *(({"workers": odd}, "Execution.workers: ") for odd in (0, -1, 1.5, "two", 1025)),
        ({"least_replicas": 5, "most_replicas": 4}, "Question.least_replicas: 5 is above most_replicas, 4"),
        ({"least_replicas": 0}, "Question.least_replicas: 0 is below 1"),
        ({"most_replicas": 5000}, "Question.most_replicas: 5000 is above 1,000"),
        ({"budget_s": -1}, "Execution.budget_s: -1 is below 0"),
        ({"budget_s": nan}, "Execution.budget_s: nan is not a number"),
        ({"engine": "warp"}, "Execution.engine: 'warp' is not known here; write one of 'auto', 'simpy', 'compiled'"),
        ({"looks": (1,)}, "Execution.looks[0]: 1 is below 2"),
        ({"segregation": True}, "Question.segregation: True is not known here; write one of 'either', 'on', 'off'"),
        ({"also": "node-lost"}, "Question.also: 'node-lost' is not a tuple"),
        ({"also": ["node-lost"]}, "Question.also[0]: 'node-lost' is not of type Situation"),
        ({"objectives": 5}, "Question.objectives: 5 is not of type Objectives"),
        ({"database": "pg"}, "Question.database: 'pg' is not of type Database"),
        ({"constants": {}}, "Question.constants: a value of type dict is not of type Constants"),
        (
            {"constants": replace(default_constants(), connect_cpu_s=0.0)},
            "Question.constants.connect_cpu_s: 0.0 is below 0.000001",
        ),
        ({"scheduler": 5}, "Execution.scheduler: 5 is not text"),
        ({"version": "0.5.2"}, "version: no server '0.5.2' is modelled"),
        ({"workload": 5}, "Question.workload: "),
        ({"workload": "web-olpt"}, "web-olpt: no such file; did you mean 'web-oltp'?"),
        (
            {"workload": replace(WEB, units=tuple(replace(unit, share=2 * unit.share) for unit in WEB.units))},
            "Workload.units[].share: the shares add up to 2, not 1; divide each share by that sum",
        ),
    ],
)  # fmt: skip
def test_size_refuses_before_it_works(arguments: dict[str, Any], words: str) -> None:
    named = {field.name for field in fields(ojp.Execution)}
    asked = {"workload": "web-oltp", "rate": 20.0} | {k: v for k, v in arguments.items() if k not in named}
    how = {k: v for k, v in arguments.items() if k in named}
    assert refused(lambda: ojp.size(ojp.Question(**asked), ojp.Execution(**how))).startswith(words)


def test_check_takes_a_deployment_that_can_be_sized() -> None:
    question = ojp.Question("web-oltp", 5.0)  # type: ignore[arg-type]
    assert refused(lambda: ojp.check(question, "values.yaml")).startswith("deployment: ")  # type: ignore[arg-type]
    assert refused(lambda: ojp.check(5.0, TWO)).startswith("question: 5.0 is not of type Question")  # type: ignore[arg-type]
    assert refused(lambda: ojp.size(question, "fast")).startswith("execution: ")  # type: ignore[arg-type]
    free = replace(TWO, constants=replace(default_constants(), statement_cpu_s=0.0))
    assert refused(lambda: ojp.check(question, free)).startswith("Question.constants.statement_cpu_s: 0.0 is below")


def test_what_numpy_gives_is_kept_as_pythons_own() -> None:
    pool = ojp.ClientPool(np.int64(30), np.int32(5), np.float32(0.5))  # type: ignore[arg-type]
    assert pool == ojp.ClientPool(30, 5, 0.5)
    assert {type(getattr(pool, field.name)) for field in fields(pool)} == {int, float}
    assert type(ojp.ServerSettings(segregation=np.bool_(False)).segregation) is bool  # type: ignore[arg-type]
    assert type(ojp.Execution(seed=np.uint8(3)).seed) is int  # type: ignore[arg-type]


def test_lists_are_kept_as_tuples() -> None:
    listed = replace(WEB, statements=list(WEB.statements), units=list(WEB.units))  # type: ignore[arg-type]
    assert listed == WEB
    assert hash(listed) == hash(WEB)


def test_a_percentage_that_nothing_reads_may_be_any_and_is_warned_of() -> None:
    off = ojp.ServerSettings(segregation=False, slow_slot_percentage=150)
    assert refused(lambda: replace(off, segregation=True)).startswith(
        "ServerSettings.slow_slot_percentage: 150 is above 100"
    )
    text = (
        "version: 0.3.1-beta\nreplicaCount: 3\nresources: {limits: {cpu: 2}}\n"
        "server: {slowQuerySegregation: {enabled: false, slowSlotPercentage: 150}}\n"
    )
    deployment, warnings = parse_deployment(text).judged()
    assert deployment.server.slow_slot_percentage == 150
    assert "percentage-unused" in {warning.name for warning in warnings}


def test_the_files_own_bounds_are_those_of_the_fields() -> None:
    """The same figure beyond a bound: in a file, and in Python."""
    text = (
        "version: 0.3.1-beta\nreplicaCount: {0}\nresources: {{limits: {{cpu: 2}}}}\nserver: {{threadPoolSize: {1}}}\n"
    )
    for replicas, threads, fine in (
        (1, 1, True),
        (1000, 10_000, True),
        (1001, 9, False),
        (9, 10_001, False),
        (0, 9, False),
    ):
        made: list[Callable[[], object]] = [
            lambda replicas=replicas, threads=threads: ojp.Deployment(
                replicas, 2.0, server=ojp.ServerSettings(threads)
            ),
            lambda replicas=replicas, threads=threads: ojp.Deployment(
                parse_deployment(text.format(replicas, threads)).replicas or 0, 2.0
            ),
        ]
        for make in made:
            if fine:
                make()
            else:
                refused(make)


def test_weights_are_for_simulations_and_shares_for_sizings() -> None:
    weights = replace(WEB, units=tuple(replace(unit, share=3 * unit.share) for unit in WEB.units))
    check_whole(WEB)
    assert refused(lambda: check_whole(weights)).startswith("Workload.units[].share: the shares add up to 3")
    one, other = (ojp.sample_trace(workload, 50.0, 2.0, 1) for workload in (WEB, weights))
    assert one.arrival_s.tolist() == other.arrival_s.tolist()


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_a_plain_number_is_the_seed_of_the_same_draws(seed: int) -> None:
    for sample in (ojp.sample_trace, stream_of):
        whole = [sample(WEB, 50.0, 2.0, given) for given in (seed, SeedSequence(seed), np.uint64(seed))]
        pieces = [list(one.pieces(64)) for one in whole]
        for other in pieces[1:]:
            for mine, theirs in zip(pieces[0], other, strict=True):
                assert mine.database_s.tolist() == theirs.database_s.tolist()
                assert mine.arrival_s.tolist() == theirs.arrival_s.tolist()
    assert ojp.sample_pod_loss(TWO, 1.0, seed) == ojp.sample_pod_loss(TWO, 1.0, default_rng(seed))
    assert ojp.sample_rolling_update(TWO, 1.0, seed) == ojp.sample_rolling_update(TWO, 1.0, default_rng(seed))


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_units_that_are_due_at_the_end_of_a_plain_trace_end(engine: Any) -> None:
    trace = ojp.sample_trace(WEB, 200.0, 2.0, 3)
    deployment = ojp.Deployment(2, 4.0, ojp.ClientPool(60, 60))
    cut = ojp.simulate(trace, deployment, engine=engine, tail_s=0.0)
    whole = ojp.simulate(trace, deployment, engine=engine)
    assert (cut.outcome == -1).any()
    assert not (whole.outcome == -1).any()
    assert whole.arrived == len(trace.arrival_s)
    assert trace.duration_s < whole.end_s < trace.duration_s + MOST_TAIL_S
    ended = cut.outcome >= 0
    assert (whole.latency_s[: cut.arrived][ended] == cut.latency_s[ended]).all()
    stream = ojp.simulate(stream_of(WEB, 200.0, 2.0, 3), deployment, engine=engine)
    assert stream.latency_s.tolist() == whole.latency_s.tolist()


def test_a_plain_run_that_never_ends_is_bounded_and_a_closed_one_ends_with_its_trace() -> None:
    hang = ojp.simulate(TRACE, replace(TWO, database=ojp.Database(1e-6)))
    assert hang.end_s == TRACE.duration_s + MOST_TAIL_S
    closed = ojp.sample_trace(replace(WEB, arrivals=ojp.Closed()), 20.0, 2.0, 1)
    assert ojp.simulate(closed, TWO).end_s == 2.0


def test_checking_costs_little() -> None:
    """A search makes thousands: by the number of Python calls, not by the clock."""
    import cProfile
    import pstats

    server, pool, database, constants = ojp.ServerSettings(), ojp.ClientPool(), ojp.Database(), default_constants()
    ojp.Deployment(3, 2.0, pool, server, database, constants=constants)
    profile = cProfile.Profile()
    profile.enable()
    ojp.Deployment(3, 2.0, pool, server, database, constants=constants)
    profile.disable()
    assert pstats.Stats(profile).total_calls < 100  # type: ignore[attr-defined]


def test_bounds_import_nothing_higher() -> None:
    script = "import sys, ojp_sizing.bounds; print(sorted(m for m in sys.modules if m.startswith('ojp_sizing')))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(eval(result.stdout)) <= {  # noqa: S307 - a list of names, made by the line above
        "ojp_sizing", "ojp_sizing.bounds", "ojp_sizing.errors", "ojp_sizing.quantities", "ojp_sizing.uncertain",
    }  # fmt: skip


def test_a_checked_class_is_frozen_and_small() -> None:
    for good in GOOD:
        if isinstance(good, Checked):
            assert not hasattr(good, "__dict__")
            assert type(good).__hash__ is not None
