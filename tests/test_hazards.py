"""Every trap of OJP has a smallest world that meets it, and a row of its own in ``data/hazards.csv``."""

from dataclasses import replace

import pytest
from worlds import Unit, deployment_of, lost, run, select, trace_of, update

from ojp_sizing.behaviour.transition import COMPILER
from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.deployment import Deployment, ServerSettings
from ojp_sizing.deployment.disruption import DatabaseTrouble, Disruption, PodLoss
from ojp_sizing.report.hazards import hazard_texts
from ojp_sizing.simulation.outcomes import HAZARD_NAMES
from ojp_sizing.simulation.simulate import Engine, simulate

pytestmark = pytest.mark.fast

ENGINES: tuple[Engine, ...] = ("simpy", "compiled") if COMPILER else ("simpy",)
SEGREGATED = ServerSettings(segregation=True)
HALVES = ServerSettings(segregation=True, slow_slot_percentage=50)
TWO_TEXTS = (20.0, 20.0)
ALL_SLOW = trace_of(Unit(0.0, (update(10.0),)))
ONE = trace_of(Unit(0.0, (update(0.5),)))
LEAKY = deployment_of()
LEAKY = replace(LEAKY, constants=replace(LEAKY.constants, error_leak_probability=1.0))
BACK = trace_of(Unit(2.0, (select(),)), *(Unit(15.0 + n, (select(),)) for n in range(4)))
AFTER_LOSS = trace_of(Unit(2.0, (select(),)))
OLD_VIEW = trace_of(
    Unit(0.0, (update(0.0, 2.5), update()), jvm=1), Unit(2.0, (update(),)), Unit(2.25, (update(),)), jvms=2
)
CONVOY = trace_of(
    Unit(0.0, (select(think_s=1.0),)), Unit(0.25, (update(text=1),)), Unit(0.5, (update(text=1),)), typical_ms=TWO_TEXTS
)
LOCKED = trace_of(
    Unit(0.0, (select(think_s=1.0), select())), Unit(0.0, (select(think_s=20.0),)), Unit(0.5, (update(),))
)

#: A trace, a deployment, what happens, and whether the world is warm.
WORLDS: dict[str, tuple[Trace, Deployment, Disruption, bool]] = {
    "breaker_opened": (trace_of(*(Unit(n, (update(fails=True),)) for n in range(3))), deployment_of(), None, True),
    "everything_slow": (ALL_SLOW, deployment_of(server=SEGREGATED), None, True),
    "lane_without_slot": (ONE, deployment_of(1, 1, server=SEGREGATED), None, True),
    "pool_of_one": (BACK, deployment_of(2, 2), lost(0, 1.0, 4.0), True),
    "pool_emptied": (BACK, deployment_of(2, 20), lost(0, 1.0, 4.0), True),
    "pool_flaps": (OLD_VIEW, deployment_of(3, 20), lost(2, 1.0, 100.0), True),
    "slots_below_pool": (AFTER_LOSS, deployment_of(2, 20, server=SEGREGATED), lost(0, 1.0, 100.0), True),
    "convoy": (CONVOY, deployment_of(1, 1, server=ServerSettings(2, False)), None, True),
    "locked": (LOCKED, deployment_of(1, 2, server=HALVES), None, True),
    "missing_datasource": (
        trace_of(Unit(0.0, (update(0.0, 20.0), update()))), deployment_of(2), lost(1, 1.0, 2.0), True,
    ),
    "connections_overshoot": (trace_of(Unit(0.0, (update(),), xa=True)), deployment_of(), None, True),
    "one_pod_left": (AFTER_LOSS, deployment_of(2), lost(0, 1.0, 100.0), True),
    "database_marks_pod_down": (
        trace_of(Unit(1.0, (update(),))), deployment_of(), DatabaseTrouble(0.5, 99.0, full=True), False,
    ),
    "connection_leaked": (trace_of(Unit(0.0, (update(fails=True),))), LEAKY, None, True),
    "call_hangs": (AFTER_LOSS, deployment_of(2), PodLoss(0, 1.0, 100.0, 0.0, 0.0, "vanished"), True),
    "pool_orphaned": (trace_of(*(Unit(0.0, (update(),)) for _ in range(2))), deployment_of(), None, False),
    "admission_full": (
        trace_of(*(Unit(0.0, (select(think_s=1.0),)) for _ in range(4))), deployment_of(1, 1, version="0.4.21-beta"), None, True,
    ),
    "memory_kill": (ONE, replace(deployment_of(), memory_limit_bytes=1e6), None, True),
}  # fmt: skip


def test_the_table_of_hazards_has_a_row_for_each_and_no_other() -> None:
    assert sorted(hazard_texts()) == sorted(HAZARD_NAMES) == sorted(WORLDS)


@pytest.mark.parametrize("name", HAZARD_NAMES)
def test_a_smallest_world_meets_the_hazard(name: str) -> None:
    trace, deployment, disruption, warm = WORLDS[name]
    _, outcomes = run(replace(trace, duration_s=45.0), deployment, disruption, sample_every_s=15.0, warm=warm)
    assert name in {hazard.name for hazard in outcomes.hazards}


def test_a_quiet_world_meets_none() -> None:
    assert run(trace_of(Unit(0.0, (update(0.02),))), deployment_of())[1].hazards == ()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("segregation", [True, False])
def test_a_class_is_a_trap_only_where_segregation_gives_it_an_effect(segregation: bool, engine: Engine) -> None:
    """Its fix is to turn segregation off: where it is off there is nothing to advise."""
    deployment = deployment_of(server=ServerSettings(segregation=segregation))
    outcomes = simulate(replace(ALL_SLOW, duration_s=45.0), deployment, engine=engine)
    assert ("everything_slow" in {hazard.name for hazard in outcomes.hazards}) == segregation
