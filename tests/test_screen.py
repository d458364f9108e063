"""The closed-form screen: its bound never turns away what a simulation would show to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from numpy.random import default_rng
from ojp_sizing.sizing.candidates import Demand, first_guess, impossible, likely_rung, pod_cpu_cores, rungs_of
from ojp_sizing.sizing.candidates import candidates as candidates_of

from ojp_sizing import check, read_workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool, Database, Deployment, ServerSettings
from ojp_sizing.measurement.objectives import Objectives, Verdict

CONSTANTS = default_constants()
PRESETS = ("web-oltp", "reporting-mix", "pgbench-measured")
LOOSE = Objectives(fast_p99_s=0.2)
SERVER = ServerSettings(thread_pool_size=200, segregation=False, breaker_open_s=5.0)


def roomy(demand: Demand, replicas: int) -> Deployment:
    """Twice what the closed forms ask for of everything."""
    load = demand.load(CONSTANTS)
    return Deployment(
        replicas,
        2.0 * pod_cpu_cores(demand, load, replicas),
        ClientPool(replicas * (2 + int(2.0 * demand.rate * load.hold_s / replicas))),
        SERVER,
        Database(2.0 * demand.rate * load.database_s),
    )


def short_of(demand: Demand, deployment: Deployment, what: str, use: float) -> Deployment:
    """The same where the mean load of one resource is so much of what there is."""
    load = demand.load(CONSTANTS)
    if what == "the database's cores":
        return replace(deployment, database=Database(demand.rate * load.database_s / use))
    if what == "a pod's CPU":
        return replace(deployment, limit_cores=pod_cpu_cores(demand, load, deployment.replicas) / use)
    per_pod = int(demand.rate * load.hold_s / deployment.replicas / use)
    return replace(deployment, pool=ClientPool(deployment.replicas * max(1, per_pod)))


@pytest.mark.parametrize("what", ["the database's cores", "a pod's CPU", "a pod's connections"])
@pytest.mark.parametrize("preset", PRESETS)
def test_what_the_bound_turns_away_no_simulation_shows_to_do(preset: str, what: str) -> None:
    """A little over the bound, where it could be wrong; far over it nobody would doubt."""
    rng = default_rng(len(preset) + 10 * len(what))
    for use in (1.06, 1.2):
        demand = Demand(read_workload(preset), float(rng.uniform(150, 400)), Database())
        # Connections are whole: on one pod their use can be set closely enough.
        replicas = 1 if what == "a pod's connections" else int(rng.integers(1, 5))
        deployment = short_of(demand, roomy(demand, replicas), what, use)
        reason = impossible(demand, deployment)
        assert reason.startswith(what)
        assert check(demand.workload, demand.rate, deployment).verdict is not Verdict.MET


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_simulation_shows_to_do_the_bound_lets_pass(preset: str) -> None:
    shown = 0
    for replicas, rate in ((5, 120.0), (6, 300.0)):
        demand = Demand(read_workload(preset), rate, Database())
        guess = first_guess(demand, CONSTANTS, replicas, 12)
        assert guess is not None
        for limit_cores in (1.0, 2.0):
            deployment = replace(guess.deployment, limit_cores=limit_cores)
            met = check(demand.workload, rate, deployment, objectives=LOOSE).verdict is Verdict.MET
            shown += met
            assert not met or impossible(demand, deployment) == ""
    assert shown > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_the_first_guess_is_the_rung_where_the_search_begins(preset: str) -> None:
    demand = Demand(read_workload(preset), 500.0, Database())
    ladder = rungs_of(candidates_of(demand, CONSTANTS, 3, 100, segregation=False))
    assert [rung[0].deployment.replicas for rung in ladder] == sorted(r[0].deployment.replicas for r in ladder)
    guess = first_guess(demand, CONSTANTS, 3, 100)
    assert guess == ladder[likely_rung(ladder)][0]
    assert guess.deployment.stays_undivided


def test_where_nothing_passes_there_is_no_guess() -> None:
    demand = Demand(read_workload("web-oltp"), 1000.0, Database(cores=4.0))
    assert first_guess(demand, CONSTANTS, 3, 100) is None
