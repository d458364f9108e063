"""The two clocks are one model: equal bit for bit; and what a run must keep whatever happens in it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, SeedSequence, default_rng
from simpy import Event
from worlds import Unit, deployment_of, run, trace_of, update

from ojp_sizing.behaviour.kinds import ENDINGS, Ending, Place, Rpc, Side
from ojp_sizing.behaviour.records import NOBODY
from ojp_sizing.behaviour.world import LAYOUTS, World
from ojp_sizing.demand.trace import Trace, sample_trace
from ojp_sizing.demand.workload import Clients, Duration, Network, Patience, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import (
    SERVER_VERSIONS,
    ClientPool,
    Database,
    Deployment,
    GarbageCollection,
    ServerSettings,
)
from ojp_sizing.deployment.disruption import DatabaseTrouble, Disruption, PodLoss, RollingUpdate, Several
from ojp_sizing.deployment.situations import SITUATIONS
from ojp_sizing.deployment.versions import traits_of
from ojp_sizing.measurement.objectives import Objectives
from ojp_sizing.simulation.clock import SAMPLED, Clock
from ojp_sizing.simulation.compiled_clock import CompiledClock
from ojp_sizing.simulation.invariants import InvariantError, audit
from ojp_sizing.simulation.kernel_cache import kernel_sources, source_hash
from ojp_sizing.simulation.outcomes import HAZARD_NAMES, Outcomes
from ojp_sizing.simulation.simpy_clock import SimpyClock
from ojp_sizing.sizing.evaluate import Task, run_task

SCENARIOS = range(140)
#: These are of 0.3.x; the others of the later versions in turn, which don't have XA here.
EARLY = range(80)
EARLY_VERSIONS = tuple(version for version in SERVER_VERSIONS if traits_of(version).models_xa)
LATER_VERSIONS = tuple(version for version in SERVER_VERSIONS if version not in EARLY_VERSIONS)
MOST_UNITS = 500
#: Behind the last arrival, every wait of these scenarios is over well before this.
DRAIN_S = 600.0
#: The clocks are compared until so long after all has ended. The quiet from there on is compared in one of so many scenarios.
QUIET_S, WHOLE = 30.0, 10

# Scenarios ----------------------------------------------------------------------------------------------------------


def some_workload(rng: Generator) -> Workload:
    errors = 0.15 if rng.random() < 0.3 else 0.0
    slow_s = float(rng.uniform(0.05, 0.6))
    statements = (
        StatementClass("point", "select 1", "read", Duration(float(rng.uniform(0.001, 0.01)), 1.5), share=5, rows=3),
        StatementClass("mark", "update 1", "write", Duration(0.004, 1.0, "exponential"), share=3, error_share=errors),
        StatementClass("list", "select 2", "read", Duration(0.006, 1.0, "constant"), share=2, rows=400),
        StatementClass(
            "report", "select 3", "read", Duration(slow_s, 0.7), share=1, rows=5000, fetches=int(rng.integers(3))
        ),
        StatementClass("keyed", "insert 1", "write", Duration(0.004, 1.0), share=1, session=True, error_share=errors),
        StatementClass("procedure", "call 1", "call", Duration(0.01, 1.0), share=1, error_share=errors),
    )
    units = (
        UnitOfWork("mixed", 5, int(rng.integers(1, 4)), think=Duration(0.002, 1.0, "exponential")),
        UnitOfWork(
            "fixed", 2, ("mark", "mark", "point"), think=Duration(float(rng.choice([0.0, 0.5])), 1.0, "exponential")
        ),
        UnitOfWork("order", 2, ("point", "mark"), transaction=True, think=Duration(0.01, 2.0)),
        UnitOfWork("empty", 0.3, 0, transaction=True),
        UnitOfWork("framework", 0.5, ("mark", "keyed"), calls=2),
        *([UnitOfWork("distributed", 1, ("point", "mark"), xa=True)] if rng.random() < 0.5 else []),
    )
    jvms = int(rng.integers(1, 4))
    clients = Clients(jvms, int(rng.integers(4, 40)), min(jvms, int(rng.choice([1, 1, 2]))))
    network = Network(float(rng.choice([0.0, 0.00025, 0.003])), 0.5)
    return Workload("some", statements, units, clients=clients, network=network)


def some_deployment(rng: Generator, replicas: int) -> Deployment:
    threads = int(rng.choice([3, 8, 40, 200]))
    server = ServerSettings(
        threads,
        bool(rng.random() < 0.7),
        int(rng.choice([0, 20, 50, 100], p=[0.1, 0.5, 0.3, 0.1])),
        float(rng.choice([0.0, 0.3, 10.0])),
        float(rng.uniform(0.4, 3.0)),
        float(rng.uniform(0.4, 3.0)),
        float(rng.choice([0.0, 2.0, 300.0])),
        3,
        float(rng.uniform(0.5, 3.0)),
    )
    constants = replace(
        default_constants(),
        health_interval_s=float(rng.uniform(1.0, 5.0)),
        connection_open_s=float(rng.choice([0.015, 2.0])),
        connection_open_cpu_s=(0.0, 0.01, 0.5)[threads % 3],
        pool_build_s=float(rng.choice([0.015, 0.3])),
        pool_build_cpu_s=float(rng.choice([0.0, 0.03, 0.5])),
        slot_handover_s=float(rng.choice([0.0, 0.0002])),
        error_leak_probability=float(rng.choice([0.0, 0.3])),
        call_hang_s=float(rng.uniform(1.0, 6.0)),
        connect_hang_s=float(rng.uniform(1.0, 4.0)),
    )
    return Deployment(
        replicas,
        float(rng.choice([0.1, 0.5, 2.0])),
        ClientPool(
            int(rng.choice([2, 6, 20, 40])),
            int(rng.integers(0, 9)),
            float(rng.uniform(0.2, 2.0)),
            int(rng.choice([4, 50])),
            1.0,
        ),
        server,
        Database(float(rng.choice([1.0, 8.0, inf])), float(rng.choice([30.0, inf, inf]))),
        str(rng.choice(list(EARLY_VERSIONS))),
        constants,
        warm_pools=bool(rng.random() < 0.3),
    )


def in_containers(deployment: Deployment, rng: Generator) -> Deployment:
    """The same with CPU limits, memory limits and collections that are felt, or some of them."""
    constants = replace(deployment.constants, node_cores=float(rng.choice([1.0, 3.0, 8.0])))
    limit_bytes = inf
    if rng.random() < 0.8:
        idle = constants.heap_base_bytes + constants.native_base_bytes
        threads = constants.native_per_thread_bytes * deployment.server.thread_pool_size
        connections = constants.heap_per_connection_bytes * deployment.pool_per_pod * float(rng.choice([0.4, 1.0]))
        limit_bytes = idle + threads + connections + float(rng.choice([0.1e6, 0.3e6, 3e6]))
    collector = GarbageCollection(float(rng.uniform(1e6, 1e7)), 0.01) if rng.random() < 0.6 else None
    limit_cores = float(rng.choice([deployment.limit_cores, 0.2]))
    return replace(
        deployment,
        limit_cores=limit_cores,
        constants=constants,
        memory_limit_bytes=limit_bytes,
        garbage_collection=collector,
    )


def some_disruption(rng: Generator, replicas: int) -> Disruption:
    kind = rng.integers(5)
    if kind == 0:
        return None
    if kind in (1, 2):
        losses = [
            PodLoss(
                int(pod), float(rng.uniform(0.5, 3.0)), float(rng.choice([0.02, 4.0, 9.0])), 1.0, 1.0,
                rng.choice(["killed", "stopped", "vanished"]), float(rng.uniform(0.1, 3.0)),
            )
            for pod in rng.permutation(replicas)
        ]  # fmt: skip
        return losses[0] if kind == 1 else Several(tuple(losses[:2]))
    if kind == 3:
        return DatabaseTrouble(
            float(rng.uniform(0.5, 3.0)),
            float(rng.uniform(1.0, 20.0)),
            float(rng.choice([1.0, 8.0])),
            bool(rng.random() < 0.7),
        )
    restart_s, ready_s = rng.uniform(0.3, 6.0, replicas), rng.uniform(0.0, 2.0, replicas)
    return RollingUpdate(
        1.0, tuple(restart_s.tolist()), tuple(ready_s.tolist()), float(rng.uniform(0.1, 3.0)), replicas
    )


@cache
def scenario(number: int) -> tuple[Trace, Deployment, Disruption, bool]:
    """A small run of any kind, overload included; arrivals end long before the run does."""
    rng = default_rng([2026, number])
    workload = some_workload(rng)
    if number not in EARLY:
        workload = replace(workload, units=tuple(unit for unit in workload.units if not unit.xa))
    replicas = int(rng.integers(1, 5))
    rate = float(rng.choice([20.0, 80.0, 240.0]))
    trace = sample_trace(workload, rate, min(20.0, 0.8 * MOST_UNITS / rate), SeedSequence([7, number]))
    trace = replace(trace, duration_s=trace.duration_s + DRAIN_S)
    demand = rng.random()
    if demand < 0.2:
        trace = replace(trace, patience=Patience(float(rng.choice([0.3, 2.0, inf])), int(rng.integers(4)), 0.1, 1.7))
    elif demand < 0.35:
        trace = replace(trace, closed=True, gap_s=rng.exponential(0.2, len(trace.arrival_s)))
    deployment = some_deployment(rng, replicas)
    if number not in EARLY:
        deployment = replace(deployment, version=LATER_VERSIONS[number % len(LATER_VERSIONS)])
    if number % 2:
        deployment = in_containers(deployment, default_rng([2028, number]))
    return trace, deployment, some_disruption(rng, replicas), bool(rng.random() < 0.7)


def run_clock(kind: type[Clock], number: int, until_s: float = inf) -> tuple[Clock, Outcomes]:
    trace, deployment, disruption, warm = scenario(number)
    clock = kind(replace(trace, duration_s=min(trace.duration_s, until_s)), deployment, warm=warm)
    return clock, clock.run(disruption, 0.5, 1e6)


@cache
def compiled_run(number: int) -> tuple[Clock, Outcomes]:
    return run_clock(CompiledClock, number)


@pytest.fixture(scope="module", autouse=True)
def _forgotten_afterwards() -> Iterator[None]:
    """The runs of all scenarios are some gigabytes, and other modules need them no more."""
    yield
    compiled_run.cache_clear()


# Equality -----------------------------------------------------------------------------------------------------------


def bits(array: np.ndarray) -> dict[str, tuple[Any, bytes]]:
    """An array's shape, type and bytes, by field (the padding between fields has no meaning)."""
    names = array.dtype.names
    columns = {"": array} if names is None else {name: array[name] for name in names}
    return {name: (column.shape, column.dtype.str.encode() + column.tobytes()) for name, column in columns.items()}


def all_has_ended_s(outcomes: Outcomes) -> float:
    """When the last unit has ended, and the last pod has come back."""
    units = slice(outcomes.arrived)
    ended_s = (outcomes.arrival_s[units] + outcomes.latency_s[units] + outcomes.thought_s[units]).max()
    return max(float(ended_s), *(change.time_s for change in outcomes.changes), (outcomes.window_s or (0.0, 0.0))[1])


@pytest.mark.parametrize("number", SCENARIOS)
def test_simpy_and_compiled_clock_agree_bit_for_bit(number: int) -> None:
    until_s = all_has_ended_s(compiled_run(number)[1]) + QUIET_S if number % WHOLE else inf
    (reference, expected), (compiled, found) = (
        run_clock(kind, number, until_s) for kind in (SimpyClock, CompiledClock)
    )
    assert (expected.outcome != Ending.UNFINISHED).all()
    assert len(expected.arrival_s) <= MOST_UNITS
    for field in ("arrival_s", "began_s", "latency_s", "thought_s", "outcome", "slow", "pod", "sample_s"):
        assert bits(getattr(expected, field)) == bits(getattr(found, field)), field
    for field in ("end_s", "arrived", "changes", "window_s", "events"):
        assert getattr(expected, field) == getattr(found, field), field
    assert set(expected.samples) == set(found.samples) == set(SAMPLED)
    for name, records in expected.samples.items():
        assert bits(records) == bits(found.samples[name]), name
    assert expected.hazards == found.hazards
    assert bits(expected.attempts) == bits(found.attempts)
    for name in ("callers", "memories", "breakers", "links", "jobs"):
        assert bits(reference._records(name)) == bits(compiled._records(name)), name


def test_the_scenarios_reach_every_ending_and_every_kind_of_disruption() -> None:
    endings = set().union(*(set(compiled_run(number)[1].outcome.tolist()) for number in SCENARIOS))
    assert endings - {Ending.UNFINISHED} == set(range(len(ENDINGS)))
    kinds = {(type(scenario(number)[2]), scenario(number)[1].server.segregation) for number in SCENARIOS}
    disruptions = (type(None), PodLoss, RollingUpdate, DatabaseTrouble, Several)
    assert kinds == {(kind, on) for kind in disruptions for on in (True, False)}
    met = {hazard.name for number in SCENARIOS for hazard in compiled_run(number)[1].hazards}
    assert met == set(HAZARD_NAMES)
    assert {scenario(number)[1].version for number in SCENARIOS} == set(SERVER_VERSIONS)
    lent = [compiled_run(number)[1].samples["pods"]["borrowed"].max() for number in SCENARIOS]
    assert max(lent) > 0
    throttled = [compiled_run(number)[1].samples["stations"]["throttled_s"][-1, :-1].max() for number in SCENARIOS]
    assert sum(seconds > 0.1 for seconds in throttled) > 5
    for field in ("kills", "collections"):
        assert sum(compiled_run(number)[1].samples["pods"][field].max() > 0 for number in SCENARIOS) > 3, field
    killed = [(change.state, type(scenario(n)[2])) for n in SCENARIOS for change in compiled_run(n)[1].changes]
    assert {("out of memory", kind) for kind in (type(None), PodLoss, RollingUpdate)} <= set(killed)


# Conservation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end_s", [0.7, 2.6, 9.0])
@pytest.mark.parametrize("number", SCENARIOS)
def test_units_are_conserved_wherever_a_run_is_cut(number: int, end_s: float) -> None:
    trace, deployment, disruption, warm = scenario(number)
    clock = CompiledClock(replace(trace, duration_s=end_s), deployment, warm=warm)
    outcomes = clock.run(disruption, 0.5, 1e6)
    assert ((outcomes.latency_s < inf) == (outcomes.outcome != Ending.UNFINISHED)).all()
    ended = (outcomes.outcome != Ending.UNFINISHED).sum()
    if trace.patience == Patience() and not trace.closed:
        jvms = clock._records("jvms")
        inside = (trace.threads - jvms["free"] + jvms["waiting"]).sum()
        # A thread is kept until terminate's answer, after its unit has ended for the user.
        terminating = (clock._records("callers")["rpc"] == Rpc.TERMINATE) & (
            clock._records("callers")["place"] != Place.AT_CLIENT
        )
        assert outcomes.arrived == np.searchsorted(trace.arrival_s, end_s)
        assert outcomes.arrived <= ended + inside <= outcomes.arrived + terminating.sum()
    assert ended <= outcomes.arrived <= len(trace.arrival_s)


@pytest.mark.parametrize("number", SCENARIOS)
def test_every_unit_ends_once_a_run_has_drained(number: int) -> None:
    _, outcomes = compiled_run(number)
    assert outcomes.arrived == len(outcomes.outcome) == (outcomes.outcome >= Ending.OK).sum()
    assert (outcomes.latency_s > -1e-9).all()
    assert (outcomes.attempts <= 1 + scenario(number)[0].patience.retries).all()


@pytest.mark.parametrize("number", SCENARIOS)
def test_what_lives_in_a_pod_fits_into_its_memory_limit(number: int) -> None:
    clock, outcomes = compiled_run(number)
    s = clock._records("settings")[0]
    pods, pools = outcomes.samples["pods"], outcomes.samples["pools"]
    alive = s["memory_base_bytes"] + s["heap_per_row_bytes"] * pods["buffered_rows"]
    connections = (pools["open"] + pools["direct"] + pools["orphaned"]).reshape(*pods.shape, -1).sum(axis=2)
    alive += s["heap_per_connection_bytes"] * connections + s["heap_per_request_bytes"] * pods["inside"]
    assert (pods["buffered_rows"] >= 0).all()
    assert (pods["buffered_rows"][-1] == 0).all()
    # A run begins with its pools open, whether or not they fit; the first RPC finds that out.
    assert (alive <= s["memory_limit_bytes"])[pods["rpcs"] > 0].all()


@pytest.mark.parametrize("number", SCENARIOS)
def test_everything_is_back_when_a_run_has_drained(number: int) -> None:
    clock, _ = compiled_run(number)
    pods, pools, lanes, jvms = (clock._records(name) for name in ("pods", "pools", "lanes", "jvms"))
    threads = scenario(number)[1].server.thread_pool_size
    heartbeats = pods["inside"]  # the run may end within a health check
    assert (heartbeats <= len(jvms)).all()
    assert (pods["threads_free"] == threads - heartbeats).all()
    assert (lanes["free"] == lanes["total"] - lanes["leaked"]).all()
    assert (lanes["borrowed"] == 0).all()
    assert (lanes["waiting"] == 0).all()
    assert (pools["in_use"] == pools["leaked"]).all()
    assert (pools["direct"] == 0).all()
    assert (pools["waiting"] == 0).all()
    assert (pools["open"] <= np.maximum(pools["maximum"], pools["leaked"])).all()
    assert (jvms["free"] == (0 if clock.trace.closed else clock.trace.threads)).all()
    assert clock._records("stations")["count"][-1] == 0
    assert (clock._records("pages")["left"] == 0).all()


#: A table, a field, how it is broken, and the law that must say so.
BROKEN = (
    ("pods", "threads_free", 1, "a thread is lost"),
    ("pods", "threads_free", -1000, "a thread is lent twice"),
    ("pods", "inside", 1, "an RPC inside a pod"),
    ("lanes", "free", 1, "a slot is given back twice"),
    ("lanes", "free", -1000, "a slot is lent twice"),
    ("lanes", "waiting", 1, "a waiter for a slot is lost"),
    ("pools", "in_use", 1, "a connection is l"),
    ("pools", "waiting", 1, "a waiter for a connection is lost"),
    ("pools", "orphaned", 1, "the database counts other connections"),
    ("state", "connections", 1, "the database counts other connections"),
    ("jvms", "up", 1, "counts other pods"),
    ("jvms", "belief", 1, "a client's view"),
    ("hazards", "last_s", 1e9, "in the future"),
)


@pytest.mark.parametrize(("table", "field", "change", "law"), BROKEN)
def test_the_laws_notice_what_is_broken(table: str, field: str, change: float, law: str) -> None:
    trace, deployment, disruption, warm = scenario(2)
    clock = CompiledClock(replace(trace, duration_s=2.6), deployment, warm=warm, checked=True)
    clock.run(disruption, 0.5, 1e6)
    audit(clock._records)

    def records(name: str) -> np.ndarray:
        found = clock._records(name).copy()
        if name == table:
            found[field][0] = change if name == "hazards" else found[field][0] + change
            found = found if name != "hazards" else _met(found)
        return found

    with pytest.raises(InvariantError, match=law):
        audit(records)


def test_the_laws_notice_a_queue_out_of_order() -> None:
    trace = trace_of(*(Unit(0.1 * k, (update(5.0),)) for k in range(8)), duration_s=2.0, threads=8)
    world, _ = run(trace, deployment_of(1, 2, server=ServerSettings(segregation=False)))
    pool = world.pools[0]
    assert pool.waiting > 2
    audit(lambda name: as_record_array(world, name))
    world.callers[pool.head].queued_s = 1.9
    with pytest.raises(InvariantError, match="first in, first out"):
        audit(lambda name: as_record_array(world, name))


def _met(hazards: np.ndarray) -> np.ndarray:
    hazards["count"][0] = 1
    return hazards


def as_record_array(world: World, name: str) -> np.ndarray:
    rows = getattr(world, name)
    records = np.zeros(len(rows), LAYOUTS[name])
    for field in LAYOUTS[name].names or ():
        records[field] = [getattr(row, field) for row in rows]
    return records


class WatchedClock(SimpyClock):
    """Notes whether any event, or any post, is earlier than the present."""

    last_s = 0.0
    backwards = 0
    seen = 0

    def on_happening(self, event: Event) -> None:
        self.backwards += self.env.now < self.last_s
        self.last_s = self.env.now
        self.seen += 1
        super().on_happening(event)

    def _put_posts(self) -> None:
        posted = self.world.posts[: self.world.state[0].posted]
        self.backwards += sum(entry.time < self.env.now for entry in posted)
        super()._put_posts()


@pytest.mark.parametrize("number", SCENARIOS[:6])
def test_the_clock_never_goes_back(number: int) -> None:
    clock, outcomes = run_clock(WatchedClock, number)
    assert isinstance(clock, WatchedClock)
    assert clock.seen == outcomes.events > 500
    assert clock.backwards == 0
    assert clock.last_s >= outcomes.arrival_s.max()


# Randomness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(4))
def test_a_longer_trace_of_a_seed_begins_with_the_shorter_one(number: int) -> None:
    workload = some_workload(default_rng(number))
    short, long = (sample_trace(workload, 50.0, duration_s, SeedSequence(number)) for duration_s in (10.0, 37.0))
    units, statements = len(short.arrival_s), len(short.text)
    assert 0 < units < len(long.arrival_s)
    for field in ("arrival_s", "jvm", "kind", "first", "count", "transaction", "slow"):
        assert bits(getattr(short, field)) == bits(getattr(long, field)[:units]), field
    for field in ("text", "writes", "fails", "rows", "database_s", "think_s"):
        assert bits(getattr(short, field)) == bits(getattr(long, field)[:statements]), field
    for field in ("latencies_s", "health_phase_s", "typical_ms"):
        assert bits(getattr(short, field)) == bits(getattr(long, field)), field


def test_another_seed_gives_another_trace() -> None:
    workload = some_workload(default_rng(0))
    one, other = (sample_trace(workload, 50.0, 10.0, SeedSequence(seed)) for seed in (1, 2))
    assert one.arrival_s[0] != other.arrival_s[0]
    assert one.database_s[0] != other.database_s[0]


def test_a_run_repeats_itself() -> None:
    _, first = compiled_run(3)
    _, again = run_clock(CompiledClock, 3)
    assert bits(first.latency_s) == bits(again.latency_s)
    assert first.events == again.events


def test_one_and_two_workers_give_the_same_measures() -> None:
    workload = some_workload(default_rng(1))
    deployment = Deployment(2, 1.0)
    tasks = [
        Task(workload, 40.0, deployment, situation, Objectives(), 5, replication, "compiled")
        for situation in SITUATIONS.values()
        for replication in range(2)
    ]
    results = []
    for workers in (1, 2):
        with ThreadPoolExecutor(workers) as pool:
            results.append([repr(replication) for replication in pool.map(run_task, tasks)])
    assert results[0] == results[1]
    assert len(set(results[0])) == len(tasks)


# The cache of kernels -------------------------------------------------------------------------------------------------


def test_kernels_are_kept_by_the_hash_of_their_sources(tmp_path: Path) -> None:
    names = {path.name for path in kernel_sources()}
    assert {"pod.py", "driver.py", "slots.py", "transition.py", "compiled_clock.py", "compiled_world.py"} <= names
    copies = [tmp_path / path.name for path in kernel_sources()]
    for path, copy in zip(kernel_sources(), copies, strict=True):
        copy.write_bytes(path.read_bytes())
    assert source_hash(copies) == source_hash(kernel_sources())
    hashes = {source_hash(copies)}
    for copy in copies:
        with copy.open("ab") as file:
            file.write(b"#")
        hashes.add(source_hash(copies))
    copies[0].rename(tmp_path / "renamed.py")
    hashes.add(source_hash([tmp_path / "renamed.py", *copies[1:]]))
    assert len(hashes) == len(copies) + 2


def test_fast_and_slow_are_the_two_lanes_of_a_pod() -> None:
    clock, _ = compiled_run(0)
    deployment = scenario(0)[1]
    totals = clock._records("lanes")["total"]
    assert (totals[Side.FAST], totals[Side.SLOW]) == deployment.slots_per_pod
    assert clock._records("state")["told"][0] == NOBODY
