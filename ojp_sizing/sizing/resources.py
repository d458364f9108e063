"""From measured use to Kubernetes requests and limits, and to the heap inside the memory limit."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.deployment import Deployment, share_of_pool

MIB = 2**20
#: Memory is rounded up to this, CPU requests to ``CPU_STEP_CORES``.
MEMORY_STEP_BYTES = 64 * MIB
CPU_STEP_CORES = 0.1


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one pod, part by part; ``heap`` is the sum of its parts times the headroom, rounded up."""

    base: int
    connections: int
    requests: int
    results: int
    heap: int
    native: int
    limit: int


@dataclass(frozen=True, slots=True)
class Resources:
    """What one pod asks of its node. Memory is requested in full: a JVM does not give its heap back."""

    request_cores: float
    limit_cores: float
    memory: Memory


def _round_up(value: float, step: int) -> int:
    return ceil(value / step) * step


def memory_of(workload: Workload, deployment: Deployment) -> Memory:
    """Heap and native memory of one pod (all rates PREDICTED: the constants table).

    RPCs inside are as many as threads; connections are those of a pod that shares the pool with N - 2 others gone, result
    buffers those of every slot with the largest result of its lane, or without slots of every connection with the largest
    result. What is more than that takes from the headroom; the simulations of a sizing run with this limit.
    """
    constants = deployment.constants
    largest_pool = share_of_pool(deployment.pool.maximum_size, max(1, deployment.replicas - 2))
    fast_slots, slow_slots = deployment.slots_per_pod
    rows = {
        lane: max((s.rows for s in workload.statements if workload.lane_of(s) == lane), default=0)
        for lane in ("fast", "slow")
    }
    base = int(constants.heap_base_bytes)
    connections = ceil(constants.heap_per_connection_bytes * largest_pool)
    requests = ceil(constants.heap_per_request_bytes * deployment.server.thread_pool_size)
    buffered = fast_slots * rows["fast"] + slow_slots * rows["slow"]
    if not deployment.server.segregation:
        buffered = largest_pool * max(rows.values())
    results = ceil(constants.heap_per_row_bytes * buffered)
    heap = _round_up(constants.heap_headroom * (base + connections + requests + results), MEMORY_STEP_BYTES)
    native = ceil(constants.native_base_bytes + constants.native_per_thread_bytes * deployment.server.thread_pool_size)
    return Memory(base, connections, requests, results, heap, native, _round_up(heap + native, MEMORY_STEP_BYTES))


def request_cores(steady_cores: float, deployment: Deployment) -> float:
    """CPU request: use at steady peak over the target use, at most the limit."""
    steps = ceil(steady_cores / deployment.constants.cpu_target_use / CPU_STEP_CORES - 1e-9)
    return min(deployment.limit_cores, max(1, steps) * CPU_STEP_CORES)
