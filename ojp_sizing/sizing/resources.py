"""From measured use to Kubernetes requests and limits, and to the heap inside the memory limit."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ojp_sizing.behaviour.arithmetic import share_of_pool
from ojp_sizing.demand.workload import Workload
from ojp_sizing.deployment.deployment import Deployment

MIB = 2**20
#: Memory is rounded up to this; CPU requests to this, or to a twentieth of the limit where that is less.
MEMORY_STEP_BYTES = 64 * MIB
CPU_STEP_MILLI = 100


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
    """What one pod asks of its node, CPU in millicores. Memory is requested in full: a JVM does not give its heap back."""

    request_milli: int
    limit_milli: int
    memory: Memory

    @property
    def request_cores(self) -> float:
        return self.request_milli / 1000

    @property
    def limit_cores(self) -> float:
        return self.limit_milli / 1000


def _round_up(value: float, step: int) -> int:
    return ceil(value / step) * step


def memory_of(workload: Workload, deployment: Deployment) -> Memory:
    """Heap and native memory of one pod, by rates that were measured (the constants table).

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
    threads = constants.native_per_thread_bytes * deployment.server.thread_pool_size
    native = ceil(constants.native_base_bytes + threads + constants.native_per_row_bytes * buffered)
    return Memory(base, connections, requests, results, heap, native, _round_up(heap + native, MEMORY_STEP_BYTES))


def request_milli(steady_cores: float, deployment: Deployment) -> int:
    """CPU request: use at steady peak over the target use, rounded up; at most the limit."""
    limit = round(deployment.limit_cores * 1000)
    step = min(CPU_STEP_MILLI, max(1, limit // 20))
    wanted = ceil(steady_cores * 1000 / deployment.constants.cpu_target_use - 1e-6)
    return min(limit, max(step, _round_up(wanted, step)))
