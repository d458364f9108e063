"""The question: its cost and prices, and what is no question, in one line and with nothing written."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ojp_sizing import ClientPool, Database, Deployment, InputError, Objectives, Prices, Question, read_workload, size
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.deployment.situations import SITUATIONS, Situation
from ojp_sizing.sizing.resources import memory_of
from ojp_sizing.sizing.strategy import shapes_of

CONSTANTS = default_constants()
WEB = read_workload("web-oltp")
DEPLOYMENT = Deployment(5, 0.5, ClientPool(6, 3))
GIB = 2**30


def test_a_presets_name_is_a_workload_and_its_constants_are_in_force() -> None:
    assert Question("web-oltp", 120).workload == WEB  # type: ignore[arg-type]
    slow = replace(WEB, constants=(("statement_cpu_s", 0.5),))
    assert Question(slow, 120).known.statement_cpu_s == 0.5
    assert Question(WEB, 120).known == CONSTANTS


def test_the_three_situations_are_always_there_and_others_once() -> None:
    question = Question(WEB, 120, also=(SITUATIONS["node-lost"], Situation.STEADY, SITUATIONS["node-lost"]))
    assert set(question.situations) == {
        Situation.STEADY, Situation.POD_LOST, Situation.ROLLING_UPDATE, SITUATIONS["node-lost"]
    }  # fmt: skip
    assert len(question.situations) == 4


# Cost --------------------------------------------------------------------------------------------------------------------


def test_cost_is_that_of_cores_memory_and_connections() -> None:
    gib = 5 * memory_of(WEB, DEPLOYMENT).limit / GIB
    connections = connections_at_most(6, 5)
    assert Question(WEB, 120, prices=Prices(core=20.0, gib=3.0, connection=0.5)).cost(DEPLOYMENT) == pytest.approx(
        20.0 * 2.5 + 3.0 * gib + 0.5 * connections
    )
    assert Question(WEB, 120, prices=Prices(core=1.0, gib=0.0, connection=0.0)).cost(DEPLOYMENT) == pytest.approx(2.5)
    assert Question(WEB, 120, prices=Prices(core=0.0, gib=0.0, connection=2.0)).cost(DEPLOYMENT) == 2.0 * connections


def test_without_prices_a_core_is_1_and_the_table_trades_the_rest_for_it() -> None:
    assert not Prices().in_money
    assert Prices(gib=1.0).in_money
    core, gib, connection = Prices().of(CONSTANTS)
    assert (core, gib) == (1.0, 1.0 / CONSTANTS.gib_per_core)
    assert connection == pytest.approx(CONSTANTS.connection_bytes / GIB / CONSTANTS.gib_per_core)
    # A price of a core alone scales the whole.
    in_money = Question(WEB, 120, prices=Prices(core=30.0)).cost(DEPLOYMENT)
    assert in_money == pytest.approx(30.0 * Question(WEB, 120).cost(DEPLOYMENT))


@given(st.integers(1, 40), st.integers(1, 400), st.sampled_from([0.25, 1.0, 4.0]))
def test_more_of_anything_never_costs_less(replicas: int, pool: int, limit: float) -> None:
    question = Question(WEB, 120)
    one = Deployment(replicas, limit, ClientPool(pool, 1))
    for more in (replace(one, limit_cores=2 * limit), replace(one, pool=ClientPool(pool + replicas, 1))):
        assert question.cost(more) > question.cost(one)


# What is no question -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["core", "gib", "connection"])
@pytest.mark.parametrize("price", [-1.0, -1e-9, nan, inf])
def test_a_price_below_zero_or_without_a_value_is_none(name: str, price: float) -> None:
    with pytest.raises(InputError, match=rf"Prices\.{name}: "):
        Prices(**{name: price})


@pytest.mark.parametrize("risk", [0.0, -0.1, 0.51, 1.0, nan])
def test_a_risk_that_nobody_could_show_is_refused(risk: float) -> None:
    with pytest.raises(InputError, match=r"Objectives\.risk: "):
        Objectives(risk=risk)


def test_a_risk_up_to_a_half_is_one() -> None:
    assert Objectives(risk=0.5).risk == 0.5
    assert Objectives(risk=0.001).risk == 0.001


def test_replicas_whose_least_is_above_the_most_are_refused() -> None:
    with pytest.raises(InputError, match=r"Question\.least_replicas: 7 is above most_replicas, 6"):
        Question(WEB, 120, least_replicas=7, most_replicas=6)
    with pytest.raises(InputError, match=r"Question\.least_replicas: 0 is below 1"):
        Question(WEB, 120, least_replicas=0)


@pytest.mark.parametrize("rate", [0.0, -5.0, nan, inf])
def test_a_rate_must_be_above_zero(rate: float) -> None:
    with pytest.raises(InputError, match=r"Question\.rate: "):
        Question(WEB, rate)


def test_a_database_without_room_for_the_smallest_pools_is_named() -> None:
    with pytest.raises(InputError, match=r"--db-max-connections: 11 .*write \d+ or more") as caught:
        size(Question(WEB, 20, Database(max_connections=11.0)))
    least = int(str(caught.value).split("write ")[1].split()[0])
    # With that there are deployments, with one less there is none.
    for connections, some in ((least, True), (least - 1, False)):
        question = Question(WEB, 0.01, Database(max_connections=float(connections)))
        assert bool(shapes_of(question, segregation=False, warm_pools=True)) == some


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("--risk", "0"), "--risk"),
        (("--risk", "51%"), "--risk"),
        (("--risk", "1"), "--risk"),
        (("--risk", "-1%"), "--risk"),
        (("--risk", "nan"), "--risk"),
        (("--price-core", "-1"), "--price-core"),
        (("--price-core", "nan"), "--price-core"),
        (("--price-gib", "-0.01"), "--price-gib"),
        (("--price-connection", "inf"), "--price-connection"),
        (("--min-replicas", "7", "--max-replicas", "6"), "--max-replicas"),
        (("--min-replicas", "0"), "--min-replicas"),
        (("--db-max-connections", "11"), "--db-max-connections"),
        (("--segregation", "maybe"), "--segregation"),
        (("--client-jvms", "0"), "--client-jvms"),
        (("--also", "earthquake"), "--also"),
        (("--disruption-fast-p99", "300"), "--disruption-fast-p99"),
    ],
)
def test_on_the_command_line_it_is_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], place: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "ojp_sizing", "--peak-rps", "20", *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2, result.stdout
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert place in line
    assert list(tmp_path.iterdir()) == []
