"""A pod's memory: what lives in it against the container's limit, and what is allocated against the young generation.

Alive are an idle server and its threads' stacks, every open connection, every RPC inside and every row of a result from
the database's answer to the last row handed to gRPC (reference 1.2, 10.1, 10.2; sizes PREDICTED). Garbage doesn't count
against the limit: a full heap is collected before anything ends. The rates of allocation are the same sizes, once for each
connection, RPC and row. Where neither a limit nor collections are asked for, nothing here is counted.
"""

from __future__ import annotations

from math import floor

from ojp_sizing.behaviour.kinds import EventKind
from ojp_sizing.behaviour.sharing import halt
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, post


@transition
def alive_bytes(w: World, pod: int) -> float:
    """Memory that no collection gives back."""
    s = w.settings[0]
    p = w.pods[pod]
    return (
        s.memory_base_bytes
        + s.heap_per_connection_bytes * _connections(w, pod)
        + s.heap_per_request_bytes * p.inside
        + s.heap_per_row_bytes * p.buffered_rows
    )


@transition
def _connections(w: World, pod: int) -> int:
    connections = 0
    for index in range(pod * w.settings[0].sources, (pod + 1) * w.settings[0].sources):
        pool = w.pools[index]
        connections += pool.open + pool.direct + pool.orphaned
    return connections


@transition
def _allocate(w: World, pod: int, size_bytes: float) -> None:
    s = w.settings[0]
    p = w.pods[pod]
    p.allocated_bytes += size_bytes
    if p.allocated_bytes >= s.young_bytes:
        collections = floor(p.allocated_bytes / s.young_bytes)
        p.allocated_bytes -= collections * s.young_bytes
        p.collections += collections
        halt(w, pod, EventKind.CPU_TIMER, collections * s.collection_cpu_s)
    if p.doomed == 0 and alive_bytes(w, pod) > s.memory_limit_bytes:
        p.doomed = 1
        post(w, w.state[0].now, EventKind.MEMORY_PASSED, pod)


@transition
def connections_come(w: World, pod: int, connections: int) -> None:
    """More connections are being opened; what the driver allocates for them is kept."""
    if w.settings[0].watches_memory == 1:
        _allocate(w, pod, w.settings[0].heap_per_connection_bytes * connections)


@transition
def request_comes(w: World, pod: int) -> None:
    """An RPC is inside now."""
    if w.settings[0].watches_memory == 1:
        _allocate(w, pod, w.settings[0].heap_per_request_bytes)


@transition
def result_comes(w: World, pod: int, rows: int) -> None:
    """The database has answered: the whole result is read, and nothing waits for its reader (reference 1.2, CODE)."""
    if w.settings[0].watches_memory == 1:
        w.pods[pod].buffered_rows += rows
        _allocate(w, pod, w.settings[0].heap_per_row_bytes * rows)


@transition
def result_goes(w: World, pod: int, rows: int) -> None:
    """The last row is handed over."""
    if w.settings[0].watches_memory == 1:
        w.pods[pod].buffered_rows -= rows
