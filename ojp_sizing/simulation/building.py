"""From a trace and a deployment to a world at rest: the same values as objects (SimPy) or as record arrays (compiled)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.arithmetic import share_of_pool, slots_of, split_slots
from ojp_sizing.behaviour.classifier import LEAST_SAMPLES
from ojp_sizing.behaviour.kinds import Trap
from ojp_sizing.behaviour.record import new_rows
from ojp_sizing.behaviour.records import NOBODY
from ojp_sizing.behaviour.world import TABLES, World
from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.errors import InputError

Records = NDArray[np.void]
#: From filled record arrays to what a clock works on.
Storage = Callable[[str, Records], Sequence[Any]]

#: The tables into which the trace is loaded.
PAGED = ("pages", "units", "statements")

#: Traits of a version that the kernel reads as they are.
_TRAITS = (
    "checks_in_connect", "connect_cached", "closes_all", "calls_mark_down", "pool_build_locked", "pool_rebuilt_before_up",
    "health_pushed", "remembers_view", "admission_always_on", "session_permits", "session_takes_slots", "queue_depth",
    "admission_fails_breaker", "missing_pool_fails_breaker", "slots_follow_pool", "breaker_per_pool", "drains", "eager_close",
)  # fmt: skip

#: Fractional part of the golden ratio.
GOLDEN = (sqrt(5.0) - 1.0) / 2.0


def as_records(name: str, records: Records) -> Any:
    """The compiled clock's storage: the arrays as they are."""
    return records


def as_objects(name: str, records: Records) -> list[Any]:
    """SimPy's storage: one slotted object per record."""
    objects = [TABLES[name]() for _ in range(len(records))]
    fill(objects, records)
    return objects


def fill(objects: list[Any], records: Records) -> None:
    """Give each object the values of its record."""
    for field in records.dtype.names or ():
        for item, value in zip(objects, records[field].tolist(), strict=True):
            setattr(item, field, value)


def _view_keys(pods: int) -> NDArray[np.int64]:
    """A key per pod; a set of pods is the XOR of its keys, so that two views compare in one step whatever N is.

    Splitmix64 (Steele, Lea, Flood 2014) of the pod's number: fixed, so that runs repeat. Two different sets share a
    value with probability 2^-63.
    """
    x = np.arange(1, pods + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _lanes(deployment: Deployment, xa: bool) -> dict[str, float]:
    """Slots and times of one pool's segregation; an XA pool has slots also where segregation is off.

    Then its slow lane keeps one slot without any patience, and the classifier is made anew at every statement
    (0.3.1, CODE).
    """
    server, pool = deployment.server, deployment.pool
    traits = deployment.traits
    total, percentage = deployment.pool_per_pod, server.slow_slot_percentage
    fast, slow = slots_of(total, percentage, server.segregation, traits.admission_always_on)
    times = {
        "fast_timeout_s": server.fast_slot_timeout_s, "slow_timeout_s": server.slow_slot_timeout_s,
        "idle_timeout_s": server.idle_timeout_s, "global_average_s": server.update_global_average_s,
    }  # fmt: skip
    if traits.admission_always_on and traits.admission_wait == "connection" and not server.segregation:
        times["fast_timeout_s"] = pool.connection_timeout_s
    if xa:
        total = share_of_pool(pool.xa_transactions, deployment.replicas)
        fast, slow = split_slots(total, percentage if server.segregation else 0)
        if not server.segregation:
            times = {
                "fast_timeout_s": pool.xa_start_timeout_s, "slow_timeout_s": 0.0, "idle_timeout_s": 0.0,
                "global_average_s": 0.0,
            }  # fmt: skip
    return {"fast": fast, "slow": slow, **times}


def build_world(
    trace: Trace, deployment: Deployment, storage: Storage, *, warm: bool = True, page_bits: int = 12
) -> World:
    """A world at time 0, nobody inside; of the trace it has what its units share, and none of them is loaded.

    ``warm``: as after days of light load: pools built and open, classifiers have learned the stated means. Cold:
    as after a first installation.
    """
    constants, server, pool = deployment.constants, deployment.server, deployment.pool
    collector = deployment.garbage_collection
    replicas, texts = deployment.replicas, len(trace.typical_ms)
    sources = trace.pools + trace.has_xa
    traits = deployment.traits
    if trace.has_xa and not traits.models_xa:
        raise InputError(
            "units", f"XA isn't modelled for OJP {deployment.version}", "write version: 0.3.1-beta, or no XA unit"
        )
    threads_in_all = trace.jvms * trace.threads

    values: dict[str, float] = {
        "replicas": replicas, "texts": texts, "page_bits": page_bits, "sources": sources,
        "xa_source": trace.pools if trace.has_xa else NOBODY, "segregation": server.segregation,
        "tracks_sessions": 2 if traits.counts_sessions == "all" else trace.has_xa,
        **{name: getattr(traits, name) for name in _TRAITS},
        "fail_fast": traits.fail_fast_borrow_s > 0,
        "borrow_timeout_s": traits.fail_fast_borrow_s or pool.connection_timeout_s,
        "relative_baseline": traits.classifier == "relative_baseline",
        "slow_slot_percentage": server.slow_slot_percentage,
        "threads": server.thread_pool_size, "pool_size": pool.maximum_size, "pool_idle": pool.minimum_idle,
        "connection_limit": deployment.database.max_connections,
        "connection_open_s": constants.connection_open_s,
        "connection_open_cpu_s": constants.connection_open_cpu_s,
        "connection_pause_s": constants.connection_pause_s, "pool_build_s": constants.pool_build_s,
        "pool_build_cpu_s": constants.pool_build_cpu_s, "warm_pools": deployment.warm_pools,
        "breaker_threshold": max(1, server.breaker_threshold),
        "breaker_open_s": server.breaker_open_s, "health_interval_s": constants.health_interval_s,
        "statement_cpu_s": constants.statement_cpu_s, "small_rpc_cpu_s": constants.small_rpc_cpu_s,
        "connect_cpu_s": constants.connect_cpu_s,
        **{
            name: getattr(constants, name)
            for name in (
                "hand_over_cpu_s", "wake_cpu_s", "wake_after_s", "young_cpu_s", "compile_cpu_s", "warm_up_calls",
            )
        },
        "row_cpu_s": constants.row_block_cpu_s / 100.0, "commit_database_s": constants.commit_database_s,
        "slot_handover_s": constants.slot_handover_s, "leak_probability": constants.error_leak_probability,
        "call_hang_s": constants.call_hang_s, "connect_hang_s": constants.connect_hang_s, "closed": trace.closed,
        "timeout_s": trace.patience.timeout_s, "retries": trace.patience.retries,
        "back_off_s": trace.patience.back_off_s, "back_off_factor": trace.patience.factor,
        "cpu_period_s": constants.cpu_period_s,
        "watches_memory": deployment.memory_limit_bytes < inf or collector is not None,
        "memory_limit_bytes": deployment.memory_limit_bytes,
        "memory_base_bytes": constants.heap_base_bytes + constants.native_base_bytes
        + constants.native_per_thread_bytes * server.thread_pool_size,
        "heap_per_connection_bytes": constants.heap_per_connection_bytes,
        "heap_per_request_bytes": constants.heap_per_request_bytes,
        "heap_per_row_bytes": constants.heap_per_row_bytes + constants.native_per_row_bytes,
        "young_bytes": collector.young_bytes if collector else inf,
        "collection_cpu_s": collector.pause_s if collector else 0.0,
    }  # fmt: skip
    settings = new_rows(TABLES["settings"], 1, **values)

    def new(name: str, rows: int, **given: Any) -> Records:
        return new_rows(TABLES[name], rows, settings, **given)

    state = new("state", 1)
    pods = new("pods", replicas, key=_view_keys(replicas))
    whole_view = int(np.bitwise_xor.reduce(pods["key"]))

    numbers = np.arange(replicas * sources)
    kinds = (_lanes(deployment, False), _lanes(deployment, True))
    xa = (numbers % sources >= trace.pools).astype(int)

    def of_kind(*names: str) -> NDArray[np.float64]:
        """These values of each pool, side by side."""
        values = np.array([[kind[name] for name in names] for kind in kinds], np.float64)
        return np.concatenate([np.zeros(0), *values[xa]])

    pools = new(
        "pools", len(numbers), pod=numbers // sources, idle_timeout_s=of_kind("idle_timeout_s"),
        global_average_s=of_kind("global_average_s"),
    )  # fmt: skip
    lanes = new(
        "lanes", 2 * len(pools), total=of_kind("fast", "slow"), timeout_s=of_kind("fast_timeout_s", "slow_timeout_s")
    )

    memories = new("memories", len(pools) * texts)
    if warm:
        pods["loaded_s"], pods["answered"] = -inf, inf
        pooled = xa == 0
        pools["created"] = 1
        pools["maximum"][pooled] = pools["open"][pooled] = pools["idle"][pooled] = deployment.pool_per_pod
        pools["minimum"][pooled] = min(deployment.pool_per_pod, share_of_pool(pool.minimum_idle, replicas))
        state["connections"] = state["connections_peak"] = pools["open"].sum()
        memories["seen"] = 1
        memories["samples"] = LEAST_SAMPLES
        answer_cpu_s = constants.statement_cpu_s / 2 + trace.typical_rows * constants.row_block_cpu_s / 100
        learned_ms = trace.typical_ms + answer_cpu_s * 1000.0
        memories["average_ms"] = np.tile(learned_ms, len(pools))
        pools["overall_ms"] = learned_ms.mean()

    cores = np.full(replicas + 1, max(deployment.limit_cores, constants.node_cores))
    cores[replicas] = deployment.database.cores
    quota_s, phase_s, refill_s = np.full(replicas + 1, inf), np.zeros(replicas + 1), np.full(replicas + 1, inf)
    if deployment.limit_cores < constants.node_cores:
        quota_s[:replicas] = deployment.limit_cores * constants.cpu_period_s
        # Each pod's periods begin at a time of their own, as evenly spread as can be for any N (the golden ratio).
        phase_s[:replicas] = -constants.cpu_period_s * (np.arange(replicas) * GOLDEN % 1.0)
        refill_s[:replicas] = phase_s[:replicas] + constants.cpu_period_s
    # A pod runs at most its threads, a piece of its compiler's work, and an opening of each pool. The database begins with room
    # for all that can be under way while no pod has died, and for those of the next event; where statements of pods that died
    # are on top of them its room grows (``database``).
    capacity = np.full(replicas + 1, server.thread_pool_size + 1 + sources)
    joins = min(server.thread_pool_size, threads_in_all + trace.jvms)
    capacity[replicas] = min(threads_in_all, replicas * server.thread_pool_size) + joins
    stations = new(
        "stations", replicas + 1, cores=cores, offset=np.cumsum(capacity) - capacity, capacity=capacity, quota_s=quota_s,
        phase_s=phase_s, refill_s=refill_s,
    )  # fmt: skip

    clients = np.arange(trace.jvms)
    jvms = new(
        "jvms", trace.jvms, free=trace.threads, idle=clients * trace.threads, turn=trace.turns, belief=whole_view,
        kind=clients % trace.pools, connected=warm,
        # In the phase in which a thread for it would be, as after days of traffic.
        checked_s=(trace.health_phase_s - 1.0) * constants.health_interval_s,
    )  # fmt: skip
    links = new("links", trace.jvms * replicas)

    numbers = np.arange(threads_in_all)
    callers = new("callers", threads_in_all + trace.jvms, jvm=np.append(numbers // trace.threads, clients))
    # Health threads have no unit; numbers of their own for their draws, whatever the trace's length.
    callers["unit"][threads_in_all:] = -1 - clients
    # The idle threads of a JVM form a stack: each links to the next, the last to nobody.
    last = numbers % trace.threads == trace.threads - 1
    callers["next"][:threads_in_all] = np.where(last, NOBODY, numbers + 1)

    if trace.closed:
        # Every client begins with a unit of its own.
        callers["unit"][:threads_in_all] = numbers * (1 + trace.patience.retries)
        jvms["idle"], jvms["free"] = NOBODY, 0
    hazards = new("hazards", len(Trap))

    # What one event posts: of each caller it may touch its answer, the jobs and the permits that its end lets others have;
    # of each pool its adder, its queue's timers, and a halt of its pod.
    posts = new("posts", 6 * len(callers) + 6 * len(pools) + 64)

    built = {
        "settings": settings, "state": state, "posts": posts, "pods": pods,
        "pools": pools, "lanes": lanes, "memories": memories, "breakers": new("breakers", len(pools) * texts),
        "stations": stations,
        "jobs": new("jobs", int(stations["capacity"].sum())), "jvms": jvms, "links": links,
        **{name: new(name, 0) for name in PAGED}, "callers": callers, "hazards": hazards,
    }  # fmt: skip
    draws = {name: getattr(trace, name) for name in ("latencies_s", "chances")}
    if storage is not as_records:
        draws = {name: column.tolist() for name, column in draws.items()}
    return World(**{name: storage(name, records) for name, records in built.items()}, **draws)
