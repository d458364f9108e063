"""``make bench``: figures measured side by side in one run, as ratios. Nothing here passes or fails.

The machines that this runs on are shared: quote the ratios, and the seconds only with the machine and the date.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from numpy.random import SeedSequence

from ojp_sizing import ClientPool, Database, Deployment, ServerSettings, read_workload, sample_trace, simulate
from ojp_sizing.simulation.simulate import Engine

REPEATS = 3


def seconds(work: Callable[[], object]) -> float:
    """Median wall time of a few calls."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def clocks() -> None:
    """The same run on both clocks."""
    workload = read_workload("web-oltp")
    deployment = Deployment(
        5, 2.0, ClientPool(30), ServerSettings(thread_pool_size=200, segregation=False), Database(8.0)
    )
    trace = sample_trace(workload, 500.0, 20.0, SeedSequence(1))

    def run(engine: Engine) -> Callable[[], object]:
        return lambda: simulate(trace, deployment, engine=engine)

    events = simulate(trace, deployment).events
    compiled_s, simpy_s = seconds(run("compiled")), seconds(run("simpy"))
    print(f"SimPy clock over compiled clock, same {events:,} events: {simpy_s / compiled_s:.1f} times as long")
    print(f"  compiled: {events / compiled_s / 1e6:.1f} million events/s, SimPy: {events / simpy_s / 1e6:.2f} million")


def fleet() -> None:
    """Cost of an event against the demand and the size of the fleet."""
    workload = read_workload("web-oltp")
    costs: dict[tuple[int, float], float] = {}
    for replicas, rate in ((3, 500.0), (13, 5000.0), (24, 10000.0)):
        limit = 4.0 if rate < 10000 else 8.0
        deployment = Deployment(
            replicas, limit, ClientPool(replicas * 16), ServerSettings(500, segregation=False), Database(rate / 120)
        )
        trace = sample_trace(workload, rate, 10000.0 / rate, SeedSequence(1))
        events = simulate(trace, deployment).events
        costs[replicas, rate] = seconds(lambda d=deployment, t=trace: simulate(t, d)) / events
    base = next(iter(costs.values()))
    for (replicas, rate), cost_s in costs.items():
        print(f"cost of an event, {replicas} pods at {rate:,.0f}/s: {cost_s / base:.2f} of that with 3 pods at 500/s")


def command_line() -> None:
    """``ojp-size`` as a process: help, and the default run with its kernels on disk."""
    with tempfile.TemporaryDirectory() as directory:

        def run(*arguments: str) -> float:
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "ojp_sizing.cli", *arguments],
                cwd=directory,
                capture_output=True,
                check=True,
            )
            return time.perf_counter() - began

        run("--help")
        help_s = statistics.median(run("--help") for _ in range(REPEATS))
        python_s = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
        print(f"ojp-size --help over an empty Python: {help_s / python_s:.1f} times as long ({help_s:.2f} s)")
        small_s, default_s = run("--peak-rps", "500", "--output", "a"), run("--peak-rps", "5000", "--output", "b")
        print(f"ojp-size --peak-rps 5000 over 500: {default_s / small_s:.1f} times as long ({default_s:.0f} s)")


if __name__ == "__main__":
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    clocks()
    fleet()
    command_line()
