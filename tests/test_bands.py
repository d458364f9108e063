"""Which row of the errors against a real server stands beside an answer, in which words; and that a wheel has the table."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.measurement.intervals import Estimate
from ojp_sizing.measurement.known_error import (
    FIGURES,
    RESTARTS,
    STEADY,
    WARM_RESTARTS,
    Band,
    Error,
    Use,
    bands,
    nearest,
)
from ojp_sizing.measurement.objectives import Verdict
from ojp_sizing.report.bands import against, restart_words, steady_words
from ojp_sizing.sizing.evidence import Evaluation, SituationResult, busiest_of

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent


def band(load_from: float, load_to: float = 0.0, *, runs: int = 3, situation: str = STEADY, **errors: Error) -> Band:
    """A row; figures that aren't given are exact."""
    every = {figure: errors.get(figure, Error(0.0, 0.0)) for figure in FIGURES}
    load_to = load_to or load_from
    return Band(
        situation,
        "connections",
        load_from,
        load_to,
        runs,
        ("slots", "pool"),
        every,
        "0.3.1-beta",
        "2026-11-25",
        "MEASURED",
    )


LOW, MIDDLE, HIGH = ROWS = (band(0.3), band(0.6), band(0.8, 0.9))


def evaluation(segregation: bool = True, **uses: float) -> Evaluation:
    """Something that was simulated at steady peak, with these measures."""
    deployment = Deployment(3, 1.0, ClientPool(), ServerSettings(segregation=segregation))
    measures = {name: Estimate(use, use, use, 3) for name, use in uses.items()}
    steady = SituationResult(Situation.STEADY, measures, (), 3, 1000, {}, (), Verdict.MET)
    return Evaluation(deployment, (Situation.STEADY,), {Situation.STEADY: steady})


# The row -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "row", "outside"),
    [
        (0.0, LOW, "below"),
        (0.29, LOW, "below"),
        (0.3, LOW, ""),
        (0.44, LOW, ""),
        (0.45, MIDDLE, ""),  # as near to both
        (0.62, MIDDLE, ""),
        (0.7, HIGH, ""),
        (0.85, HIGH, ""),
        (0.9, HIGH, ""),
        (0.91, HIGH, "above"),
        (1.0, HIGH, "above"),
    ],
)
def test_the_row_is_the_one_whose_load_is_nearest(use: float, row: Band, outside: str) -> None:
    assert nearest(use, ROWS) == (row, outside)
    assert nearest(use, ROWS[::-1]) == (row, outside)


@given(st.integers(0, 100), st.sets(st.integers(1, 100), min_size=1))
def test_no_other_row_is_nearer_and_none_as_near_has_a_higher_load(use: int, loads: set[int]) -> None:
    rows = [band(load / 100) for load in sorted(loads)]
    row, outside = nearest(use / 100, rows)
    away = {load: abs(load - use) for load in loads}
    chosen = round(100 * row.load_from)
    assert away[chosen] == min(away.values())
    assert chosen == max(load for load in loads if away[load] == away[chosen])
    assert outside == ("above" if use > max(loads) else "below" if use < min(loads) else "")


def test_the_use_is_that_of_the_busiest_resource_at_steady_peak() -> None:
    uses = {"connections_use": 0.5, "threads_use": 0.2, "fast_slots_use": 0.7, "slow_slots_use": 0.1, "cpu_use": 0.61}
    assert busiest_of(evaluation(**uses)) == Use("fast slots", 0.7)
    # Without segregation nobody takes a slot, and a database or the worst second is no use of this kind.
    others = {"database_use": 0.99, "cpu_peak_cores": 4.0, "connections_peak": 20.0}
    assert busiest_of(evaluation(segregation=False, **uses, **others)) == Use("CPU limit", 0.61)
    assert busiest_of(evaluation(**{**uses, "fast_slots_use": nan})) == Use("CPU limit", 0.61)


def test_where_nothing_was_simulated_at_steady_peak_there_is_no_use() -> None:
    assert busiest_of(None) is None
    assert busiest_of(evaluation()) is None
    assert busiest_of(replace(evaluation(cpu_use=0.5), results={})) is None
    assert "no row can be picked; measured were loads of 30 %, 60 %, 80 to 90 %" in steady_words(None, ROWS)


# Words ---------------------------------------------------------------------------------------------------------------


def test_the_words_have_the_use_the_load_both_errors_and_their_origin() -> None:
    row = band(0.6, p99=Error(-0.06, -0.694), throughput=Error(0.0, 14.912))
    assert steady_words(Use("connections", 0.62), [LOW, row]) == (
        "busiest here: connections, 62 % in use; no real server was measured at this use, the nearest is this: at 60 % load"
        " p99 under-predicted by 6 % (median of 3 runs, worst under-predicted by 69 %), throughput predicted to 0.5 % (median"
        " of 3 runs, worst over-predicted by 1,491 %) (slots, pool; OJP 0.3.1-beta, 2026-11-25)"
    )
    inside = steady_words(Use("connections", 0.62), [LOW, row, HIGH])
    assert inside.startswith(
        "busiest here: connections, 62 % in use; at 60 % load p99 under-predicted by 6 % (median of"
    )
    one = steady_words(Use("CPU limit", 0.9), [band(0.9, runs=1, p99=Error(0.513, 0.513))])
    assert "p99 over-predicted by 51 % (1 run), throughput predicted to 0.5 % (1 run) (" in one


def test_a_resource_that_was_never_the_bottleneck_is_said_to_be_none() -> None:
    row = band(0.6, p99=Error(-0.06, -0.694))
    words = steady_words(Use("slow slots", 0.62), [row], is_measured=False)
    assert words.startswith(
        "busiest here: slow slots, 62 % in use: never measured here; with connections as the busiest, at 60 %"
    )
    back = restart_words(band(0.4, situation=RESTARTS), Use("CPU limit", 0.6))
    assert back.startswith("never measured here, with CPU limit as the busiest; with connections: where servers ended")
    assert restart_words(band(0.4, situation=RESTARTS), Use("connections", 0.6)).startswith("where servers ended")


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ({"throughput": Error(0.01, 0.03)}, True),
        ({"p99": Error(-0.1, -0.21)}, True),
        ({"throughput": Error(-0.5, -0.6), "p99": Error(0.5, 0.9)}, False),
        ({}, False),
    ],
)
def test_restarts_are_called_a_best_case_only_where_the_model_is_kinder_than_a_real_server(
    errors: dict[str, Error], kind: bool
) -> None:
    words = restart_words(band(0.4, situation=RESTARTS, **errors))
    assert "where servers ended and came back at 40 % load throughput " in words
    assert ("best case" in words) == kind


def test_every_answer_has_a_word_on_the_steady_peak_and_one_on_restarts() -> None:
    for told in (evaluation(cpu_use=0.4), evaluation(connections_use=0.01), evaluation(threads_use=1.0)):
        assert list(against(told)) == [STEADY, RESTARTS]
        warm = replace(told, deployment=replace(told.deployment, warm_pools=True))
        assert list(against(warm)) == [STEADY, WARM_RESTARTS]
    assert list(against(None)) == [STEADY, RESTARTS, WARM_RESTARTS]
    assert all(row.status == "MEASURED" and row.runs >= 1 and row.experiments for row in bands())


# The package ---------------------------------------------------------------------------------------------------------


def test_a_wheel_has_the_table_and_reads_it(tmp_path: Path) -> None:
    """With every other file of data that the package opens."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    inside = tmp_path / "inside"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(inside)
    script = (
        "import json, ojp_sizing\n"
        "from ojp_sizing.demand.reading import read_workload\n"
        "from ojp_sizing.deployment.constants import constant_table\n"
        "from ojp_sizing.measurement.known_error import bands, measured_ranges\n"
        "from ojp_sizing.report.hazards import hazard_texts\n"
        "from ojp_sizing.settings import settings\n"
        "assert constant_table() and measured_ranges() and hazard_texts() and settings() and read_workload('web-oltp')\n"
        "print(json.dumps([ojp_sizing.__file__, [repr(row) for row in bands()]]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(inside)}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    place, rows = json.loads(result.stdout)
    assert Path(place).is_relative_to(inside)
    assert rows == [repr(row) for row in bands()]
