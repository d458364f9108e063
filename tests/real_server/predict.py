"""What the model says of an experiment: the same trace, settings and disruption, on the model's own clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from simpy import Environment

from ojp_sizing.behaviour.kinds import ENDINGS, Ending
from ojp_sizing.behaviour.pool import resize_pool
from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.deployment import Deployment, ServerSettings
from ojp_sizing.deployment.disruption import Disruption, PodLoss, Several, warm_up_s
from ojp_sizing.simulation.outcomes import Outcomes
from ojp_sizing.simulation.simpy_clock import SimpyClock
from ojp_sizing.simulation.simulate import clock_class
from tests.real_server.experiments import Experiment, Resize

#: Of the machine on which servers with a limit were measured: they can't run on more at once.
MACHINE_CORES = 2.0
#: Quantiles that are kept of a distribution, for the figures.
LEVELS = np.concatenate([np.arange(1, 99) / 100, [0.99, 0.995, 0.999]])


def constants_of(experiment: Experiment, values: Mapping[str, float]) -> Constants:
    """The model's constants; a part that isn't OJP's has none of OJP's CPU."""
    constants = default_constants()
    if experiment.route != "ojp":
        constants = replace(
            constants, statement_cpu_s=0.0, small_rpc_cpu_s=0.0, connect_cpu_s=0.0, row_block_cpu_s=0.0,
            hand_over_cpu_s=0.0, wake_cpu_s=0.0, young_cpu_s=0.0, compile_cpu_s=0.0, connection_open_cpu_s=0.0,
        )  # fmt: skip
    elif experiment.gated:
        constants = replace(constants, warm_up_calls=float(experiment.warm_calls))
    return replace(constants, **values)


def deployment_of(experiment: Experiment, values: Mapping[str, float] | None = None) -> Deployment:
    """What the model is told of an experiment; ``values``: other constants."""
    server = experiment.server
    if experiment.route == "pool":  # a pool alone: nothing else gates, and a query holds its connection to the end
        server = ServerSettings(thread_pool_size=5000, segregation=False, breaker_threshold=1_000_000)
    limit_cores, known = 2.0, dict(values or {})
    if experiment.limit_cores is not None:
        limit_cores, known = experiment.limit_cores, {"node_cores": MACHINE_CORES} | known
    return Deployment(
        experiment.nodes, limit_cores, experiment.pool, server, version=experiment.version,
        constants=constants_of(experiment, known), warm_pools=experiment.gated,
    )  # fmt: skip


def simulate_experiment(
    experiment: Experiment,
    trace: Trace,
    *,
    values: Mapping[str, float] | None = None,
    lends_after_s: float | None = None,
) -> Outcomes:
    """Run the model. ``values``: other constants. ``lends_after_s``: both lanes of slots were used before the run, and lend from
    then on while nobody comes; None: they were used by the warm-up if it had a text for each, and never otherwise.
    """
    deployment = deployment_of(experiment, values)
    # A pool that is resized from outside needs the clock whose world is Python's; both say the same, bit for bit.
    clock = clock_class("simpy" if experiment.resizes else "auto")(trace, deployment, warm=experiment.warm)
    workload, idle_s = experiment.workload, experiment.server.idle_timeout_s
    if lends_after_s is None and experiment.warm and "slow" in map(workload.lane_of, workload.statements):
        lends_after_s = idle_s
    if lends_after_s is not None:
        lanes = clock.read("lanes", 0, len(clock.world.lanes))
        lanes["used"], lanes["last_arrival_s"] = 1, lends_after_s - idle_s
        clock.write("lanes", 0, lanes)
    if isinstance(clock, SimpyClock):
        for resize in experiment.resizes:
            clock.env.process(_resize(clock, clock.env, resize))
    return clock.run(disruption_of(experiment), 1.0, recovery_s=1e6)


def _resize(clock: SimpyClock, env: Environment, resize: Resize) -> Any:
    """Process: the pool's share changes at an instant, as a new view of the cluster would change it."""
    yield env.timeout(resize.at_s)
    settings = clock.world.settings[0]
    settings.pool_size, settings.pool_idle = resize.maximum, resize.minimum_idle
    clock.world.state[0].now = env.now
    resize_pool(clock.world, 0, 1)
    clock._put_posts()


#: From the start of a server's process to its listening: without a limit by a trial of the harness, among other work; with one
#: core by ``starts``.
START_S, LIMITED_START_S = 1.2, 0.7
#: From there to the opening of its gate: a fresh JVM has had the pool built by one connection (a trial: 1.1 to 1.6 s).
GATE_S = 1.5


def disruption_of(experiment: Experiment) -> Disruption:
    """Processes that end and are started again. A process that is frozen has no counterpart in the model."""
    losses, start_s = [], START_S if experiment.limit_cores is None else LIMITED_START_S
    if experiment.gated:
        start_s += GATE_S + warm_up_s(deployment_of(experiment))
    for signal in experiment.signals:
        if signal.what in ("KILL", "TERM"):
            back = [
                later for later in experiment.signals if later.what in ("start", "open") and later.node == signal.node
            ]
            how: Literal["killed", "stopped"] = "killed" if signal.what == "KILL" else "stopped"
            away_s = back[0].at_s - signal.at_s + (start_s if back[0].what == "start" else 0.0)
            losses.append(PodLoss(signal.node, signal.at_s, away_s, 0.0, 0.0, how))
    return Several(tuple(losses)) if len(losses) > 1 else losses[0] if losses else None


def summary(latency_s: NDArray[np.float64], failed: Mapping[str, int], duration_s: float) -> dict[str, Any]:
    """What is compared. ``latency_s``: of the units that ended well."""
    quantiles = np.quantile(latency_s, LEVELS, method="inverted_cdf") if len(latency_s) else np.array([])
    at = {0.5: "p50_s", 0.95: "p95_s", 0.99: "p99_s"}
    named = {name: round(float(quantiles[np.argmin(abs(LEVELS - q))]), 6) for q, name in at.items() if len(quantiles)}
    return {
        "ok": len(latency_s),
        "throughput": round(len(latency_s) / duration_s, 3),
        "failed": {name: int(count) for name, count in sorted(failed.items()) if count},
        **named,
        "quantiles_s": [round(value, 5) for value in quantiles.tolist()],
    }


def predicted(experiment: Experiment, trace: Trace, outcomes: Outcomes) -> dict[str, Any]:
    """The summary of a simulated run."""
    ok = outcomes.outcome == Ending.OK
    endings = {name: int((outcomes.outcome == code).sum()) for code, name in enumerate(ENDINGS) if code != Ending.OK}
    endings["unfinished"] = int((outcomes.outcome < 0).sum())
    told = summary(outcomes.latency_s[ok], endings, experiment.duration_s)
    if experiment.route == "ojp":
        pools = outcomes.samples["pools"][np.searchsorted(outcomes.sample_s, experiment.duration_s) - 1]
        told["connections"] = int((pools["open"] + pools["orphaned"]).sum())
        least = [max(1, minimum) for minimum in pools["minimum"].tolist()]
        told["pools_built"] = [
            int(pool["created"]) + int(pool["orphaned"]) // idle for pool, idle in zip(pools, least, strict=True)
        ]
    return told
