"""Slots and connections that lock each other: named where it is near, as real servers had it."""

from __future__ import annotations

import pytest

import ojp_sizing as ojp
from ojp_sizing.sizing.locking import lock_warnings
from ojp_sizing.sizing.question import Question
from tests.real_server.experiments import Experiment
from tests.real_server.locks import CELLS, RECORD, locks
from tests.real_server.recorded import read_json
from tests.real_server.report_cells import lock_cells

pytestmark = pytest.mark.fast

STEADY = {cell.name.rpartition("/")[2]: cell for cell in CELLS if not cell.bursts}


def warned(cell: Experiment) -> bool:
    deployment = ojp.Deployment(cell.nodes, 2.0, cell.pool, cell.server)
    return bool(lock_warnings(Question(cell.workload, cell.bands[0].rate), deployment))


@pytest.mark.parametrize("name", ["two-6-70", "two-20-80", "two-20-90", "transactions-50"])
def test_the_trap_is_named_where_real_servers_lock_or_may(name: str) -> None:
    assert warned(STEADY[name])


@pytest.mark.parametrize("name", [name for name in STEADY if name.endswith("-off")])
def test_without_segregation_nothing_locks(name: str) -> None:
    assert not warned(STEADY[name])


@pytest.mark.parametrize("name", ["two-6-50", "two-12-of-6-90", "transactions-100", "slow-oltp-20", "slow-oltp-40"])
def test_twice_the_pool_or_transactions_alone_are_far_from_it(name: str) -> None:
    assert not warned(STEADY[name])


def test_the_warning_has_the_three_ways_out() -> None:
    cell = STEADY["two-6-70"]
    deployment = ojp.Deployment(1, 2.0, cell.pool, cell.server)
    (finding,) = lock_warnings(Question(cell.workload, 16.4), deployment)
    assert finding.text.startswith("a stall of 200 ms brings some 7 callers into a pod; from some 11 on (")
    assert [
        way in finding.fix for way in ("more connections", "no statement outside of a session", "Segregation off")
    ] == [True] * 3


def test_every_cell_that_was_measured_is_named_where_it_locked() -> None:
    """No lock on a real server without a warning before it."""
    found = read_json(RECORD)["cells"]
    for name, cell in STEADY.items():
        if name in found and found[name]["locked"]:
            assert warned(cell)


def test_the_model_locks_where_real_servers_did() -> None:
    """Asked: in nine of ten cells, by the predictions and by the model as it is now."""
    cells = lock_cells()
    assert len(cells) >= 20
    before = [told["locked"] == found["locked"] for _, told, found, _ in cells]
    now = [locks(verdict) == found["locked"] for _, _, found, verdict in cells]
    assert sum(before) >= 0.9 * len(cells)
    assert sum(now) >= 0.9 * len(cells)
