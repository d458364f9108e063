"""From a trace and a deployment to a world at rest: the same values as objects (SimPy) or as record arrays (compiled)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.world import LAYOUTS, NOBODY, UNFINISHED, World
from ojp_sizing.demand.trace import Trace, trace_columns
from ojp_sizing.deployment.deployment import SERVER_VERSIONS, Deployment

Records = NDArray[np.void]
#: From filled record arrays to what a clock works on.
Storage = Callable[[str, Records], Sequence[Any]]

#: Fractional part of the golden ratio.
GOLDEN = (sqrt(5.0) - 1.0) / 2.0

_CLASSES = {name: type(name.title(), (), {"__slots__": layout.names or ()}) for name, layout in LAYOUTS.items()}


def as_records(name: str, records: Records) -> Any:
    """The compiled clock's storage: the arrays as they are."""
    return records


def as_objects(name: str, records: Records) -> list[Any]:
    """SimPy's storage: one slotted object per record."""
    cls, fields = _CLASSES[name], records.dtype.names or ()
    objects = [cls() for _ in range(len(records))]
    for field in fields:
        for item, value in zip(objects, records[field].tolist(), strict=True):
            setattr(item, field, value)
    return objects


def _view_keys(pods: int) -> NDArray[np.int64]:
    """A key per pod; a set of pods is the XOR of its keys, so that two views compare in one step whatever N is.

    Splitmix64 (Steele, Lea, Flood 2014) of the pod's number: fixed, so that runs repeat. Two different sets share a
    value with probability 2^-63.
    """
    x = np.arange(1, pods + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def build_world(trace: Trace, deployment: Deployment, storage: Storage, *, warm: bool = True) -> World:
    """A world at time 0, nobody inside.

    ``warm``: as after days of light load: pools built and open, classifiers have learned the stated means. Cold:
    as after a first installation.
    """
    constants, server, pool = deployment.constants, deployment.server, deployment.pool
    collector = deployment.garbage_collection
    replicas, texts = deployment.replicas, len(trace.typical_ms)
    fast_slots, slow_slots = deployment.slots_per_pod
    threads_in_all = trace.jvms * trace.threads

    def new(name: str, size: int) -> Records:
        return np.zeros(size, LAYOUTS[name])

    settings = new("settings", 1)
    values: dict[str, float] = {
        "replicas": replicas, "texts": texts, "segregation": server.segregation,
        "tracks_sessions": SERVER_VERSIONS[deployment.version], "threads": server.thread_pool_size,
        "pool_size": pool.maximum_size, "pool_idle": pool.minimum_idle, "fast_slots": fast_slots,
        "slow_slots": slow_slots, "idle_timeout_s": server.idle_timeout_s,
        "fast_slot_timeout_s": server.fast_slot_timeout_s, "slow_slot_timeout_s": server.slow_slot_timeout_s,
        "connection_timeout_s": pool.connection_timeout_s, "connection_open_s": constants.connection_open_s,
        "connection_pause_s": constants.connection_pause_s,
        "global_average_s": server.update_global_average_s, "breaker_threshold": max(1, server.breaker_threshold),
        "breaker_open_s": server.breaker_open_s, "health_interval_s": constants.health_interval_s,
        "statement_cpu_s": constants.statement_cpu_s, "small_rpc_cpu_s": constants.small_rpc_cpu_s,
        "row_cpu_s": constants.row_block_cpu_s / 100.0, "commit_database_s": constants.commit_database_s,
        "cpu_period_s": constants.cpu_period_s,
        "watches_memory": deployment.memory_limit_bytes < inf or collector is not None,
        "memory_limit_bytes": deployment.memory_limit_bytes,
        "memory_base_bytes": constants.heap_base_bytes + constants.native_base_bytes
        + constants.native_per_thread_bytes * server.thread_pool_size,
        "heap_per_connection_bytes": constants.heap_per_connection_bytes,
        "heap_per_request_bytes": constants.heap_per_request_bytes, "heap_per_row_bytes": constants.heap_per_row_bytes,
        "young_bytes": collector.young_bytes if collector else inf,
        "collection_cpu_s": collector.pause_s if collector else 0.0,
    }  # fmt: skip
    for field, value in values.items():
        settings[field] = value

    state = new("state", 1)
    state["told"] = NOBODY

    pods = new("pods", replicas)
    pods["threads_free"] = server.thread_pool_size
    pods["key"] = _view_keys(replicas)
    whole_view = int(np.bitwise_xor.reduce(pods["key"]))

    pools = new("pools", replicas)
    pools["opening_due"] = inf
    pools["timer_due"] = inf

    lanes = new("lanes", 2 * replicas)
    lanes["total"][0::2], lanes["total"][1::2] = fast_slots, slow_slots
    lanes["free"] = lanes["total"]
    lanes["timeout_s"][0::2], lanes["timeout_s"][1::2] = server.fast_slot_timeout_s, server.slow_slot_timeout_s
    lanes["timer_due"] = inf

    memories = new("memories", replicas * texts)
    if warm:
        pools["created"] = 1
        pools["maximum"] = pools["open"] = pools["idle"] = deployment.pool_per_pod
        pools["minimum"] = min(deployment.pool_per_pod, -(-pool.minimum_idle // replicas))
        state["connections"] = state["connections_peak"] = replicas * deployment.pool_per_pod
        memories["seen"] = 1
        answer_cpu_s = constants.statement_cpu_s / 2 + trace.typical_rows * constants.row_block_cpu_s / 100
        learned_ms = trace.typical_ms + answer_cpu_s * 1000.0
        memories["average_ms"] = np.tile(learned_ms, replicas)
        pods["overall_ms"] = learned_ms.mean()

    stations = new("stations", replicas + 1)
    stations["cores"][:replicas] = max(deployment.limit_cores, constants.node_cores)
    stations["cores"][replicas] = deployment.database.cores
    stations["quota_s"] = stations["refill_s"] = inf
    if deployment.limit_cores < constants.node_cores:
        stations["quota_s"][:replicas] = deployment.limit_cores * constants.cpu_period_s
        # Each pod's periods begin at a time of their own, as evenly spread as can be for any N (the golden ratio).
        stations["phase_s"][:replicas] = -constants.cpu_period_s * (np.arange(replicas) * GOLDEN % 1.0)
        stations["refill_s"][:replicas] = stations["phase_s"][:replicas] + constants.cpu_period_s
    stations["left_s"] = stations["quota_s"]
    stations["due_s"] = inf
    # A pod runs at most its threads; the database also finishes statements of pods that died. A client thread has
    # one statement at a time, so that orphans per restart are at most the threads.
    stations["capacity"][:replicas] = server.thread_pool_size
    stations["capacity"][replicas] = min(threads_in_all, replicas * server.thread_pool_size) * 3 + 16
    stations["offset"] = np.cumsum(stations["capacity"]) - stations["capacity"]

    jvms = new("jvms", trace.jvms)
    jvms["free"] = trace.threads
    jvms["belief"], jvms["up"] = whole_view, replicas
    links = new("links", trace.jvms * replicas)
    links["up"] = 1
    links["failed_s"] = -inf

    callers = new("callers", threads_in_all + trace.jvms)
    numbers = np.arange(threads_in_all)
    callers["jvm"][:threads_in_all] = numbers // trace.threads
    callers["jvm"][threads_in_all:] = np.arange(trace.jvms)
    # Health threads have no unit; numbers of their own for their draws, whatever the trace's length.
    callers["unit"][threads_in_all:] = -1 - np.arange(trace.jvms)
    callers["pinned"] = callers["lane"] = NOBODY
    # The idle threads of a JVM form a stack: each links to the next, the last to nobody.
    last = numbers % trace.threads == trace.threads - 1
    callers["next"][:threads_in_all] = np.where(last, NOBODY, numbers + 1)
    jvms["idle"] = np.arange(trace.jvms) * trace.threads

    columns = trace_columns(trace)
    units = new("units", len(trace.arrival_s))
    statements = new("statements", len(trace.text))
    for name, records in (("units", units), ("statements", statements)):
        for field, column in columns[name].items():
            records[field] = column
    units["outcome"] = UNFINISHED
    units["began_s"] = units["finished_s"] = inf
    units["pod"] = NOBODY

    built = {
        "settings": settings, "state": state, "posts": new("posts", len(callers) + 4 * replicas + 64), "pods": pods,
        "pools": pools, "lanes": lanes, "memories": memories, "stations": stations,
        "jobs": new("jobs", int(stations["capacity"].sum())), "jvms": jvms, "links": links, "units": units,
        "statements": statements, "callers": callers,
    }  # fmt: skip
    latencies: Any = trace.latencies_s if storage is as_records else trace.latencies_s.tolist()
    return World(**{name: storage(name, records) for name, records in built.items()}, latencies_s=latencies)
