"""``ckernel.c`` compiled by gcc, on a trace's arrays as they are."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from ctypes import POINTER, Structure, c_double, c_int32, c_int64
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.deployment import Deployment

SOURCE = Path(__file__).with_name("ckernel.c")

WHOLE = (
    "units", "jvms", "client_threads", "latencies", "texts", "pods", "threads", "connections", "breaker_threshold",
)  # fmt: skip
REAL = (
    "duration_s", "node_cores", "database_cores", "connection_timeout_s", "breaker_open_s", "health_interval_s",
    "statement_cpu_s", "small_rpc_cpu_s", "connect_cpu_s", "row_cpu_s", "commit_database_s",
    "hand_over_cpu_s", "wake_cpu_s", "wake_after_s",
)  # fmt: skip
REALS = ("arrival_s", "database_s", "think_s", "latencies_s", "health_phase_s")
WHOLES = ("jvm", "first", "count", "transaction", "text", "rows", "writes")


class _Run(Structure):
    """The struct of this name in ``ckernel.c``, field for field."""

    _fields_ = (
        [(name, c_int64) for name in WHOLE]
        + [(name, c_double) for name in REAL]
        + [(name, POINTER(c_double)) for name in REALS]
        + [(name, POINTER(c_int32)) for name in WHOLES]
        + [("latency_s", POINTER(c_double)), ("outcome", POINTER(c_int32))]
    )


#: Latencies (s, inf: unfinished), endings, number of events.
Kernel = Callable[[Trace, Deployment], tuple[NDArray[np.float64], NDArray[np.int32], int]]


def compile_kernel(directory: Path) -> Kernel | None:
    """Compile into this directory; None where there is no gcc."""
    if shutil.which("gcc") is None:
        return None
    library = directory / "ckernel.so"
    # Without -ffp-contract=off gcc may round a product and a sum once where Python rounds twice.
    options = ("-O2", "-ffp-contract=off", "-Wall", "-Werror", "-shared", "-fPIC")
    subprocess.run(["gcc", *options, "-o", library, SOURCE, "-lm"], check=True)
    run_kernel = ctypes.CDLL(str(library)).run
    run_kernel.restype = c_int64

    def kernel(trace: Trace, deployment: Deployment) -> tuple[NDArray[np.float64], NDArray[np.int32], int]:
        constants, server, units = deployment.constants, deployment.server, len(trace.arrival_s)
        latency_s, outcome = np.full(units, inf), np.zeros(units, np.int32)
        columns = {name: np.ascontiguousarray(getattr(trace, name), np.float64) for name in REALS}
        columns |= {name: np.ascontiguousarray(getattr(trace, name), np.int32) for name in WHOLES}
        columns |= {"latency_s": latency_s, "outcome": outcome}
        run = _Run(
            units=units,
            jvms=trace.jvms,
            client_threads=trace.threads,
            latencies=len(trace.latencies_s),
            texts=len(trace.typical_ms),
            pods=deployment.replicas,
            threads=server.thread_pool_size,
            connections=deployment.pool_per_pod,
            breaker_threshold=server.breaker_threshold,
            duration_s=trace.duration_s,
            node_cores=constants.node_cores,
            database_cores=deployment.database.cores,
            connection_timeout_s=deployment.pool.connection_timeout_s,
            breaker_open_s=server.breaker_open_s,
            health_interval_s=constants.health_interval_s,
            statement_cpu_s=constants.statement_cpu_s,
            small_rpc_cpu_s=constants.small_rpc_cpu_s,
            connect_cpu_s=constants.connect_cpu_s,
            row_cpu_s=constants.row_block_cpu_s / 100.0,
            commit_database_s=constants.commit_database_s,
            hand_over_cpu_s=constants.hand_over_cpu_s,
            wake_cpu_s=constants.wake_cpu_s,
            wake_after_s=constants.wake_after_s,
            **{
                name: column.ctypes.data_as(POINTER(c_double if column.dtype == np.float64 else c_int32))
                for name, column in columns.items()
            },
        )
        events = run_kernel(ctypes.byref(run))
        return latency_s, outcome, events

    return kernel
