"""What a call costs by rate: the plan, the prediction, and the fit of the law to made-up data; without Java."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.real_server import call_rates
from tests.real_server.call_rates import CALLS, KINDS, SIZES, Costs, Fit, WakeLaw, fit_law, fits, ladders
from tests.real_server.recorded import read_json, write_json

LAW = WakeLaw(c0_s=0.1e-3, wake_s=0.6e-3, tau_s=2e-3)
RATES = np.array([50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0])
IDLE_CORES, JIT_CORES, SECONDS = 0.01, 0.3, 8.0


def test_all_of_it_takes_less_than_25_minutes() -> None:
    assert call_rates.longest_s() < 25 * 60


def test_every_mix_that_is_played_has_its_calls_counted() -> None:
    assert {phase.mix for ladder in ladders() for phase in ladder} == set(CALLS)


def test_ladders_rise() -> None:
    for ladder in ladders():
        rates = [phase.rate_per_s or 0.0 for phase in ladder]
        assert rates == sorted(rates)


def test_the_prediction_is_what_the_code_makes_of_the_numbers_that_it_tells() -> None:
    """The model's constants may change later: the prediction keeps those of its day."""
    kept = read_json(call_rates.PREDICTION)
    costs = Costs(**{name: kept["by_constants"][name] for name in Costs.__dataclass_fields__})
    law = WakeLaw(**{name: kept["by_wake_law"][name] for name in WakeLaw.__dataclass_fields__})
    assert kept == call_rates.prediction(costs, law)
    assert law == call_rates.ROUGH


def test_the_prediction_of_a_phase_by_hand() -> None:
    told = call_rates.prediction(Costs(0.4e-3, 0.1e-3, 0.3e-3, 0.2e-3), LAW)
    two_cores = told["sizes"][-1]["phases"]
    [query] = [phase for phase in two_cores if phase["mix"] == "query" and phase["rate_per_s"] == 200.0]
    constant_s = 2 * 0.4e-3 + 0.3e-3 + 0.01 * 0.2e-3
    assert query["calls_per_s"] == 600.0
    assert query["by_constants"]["unit_cpu_s"] == pytest.approx(constant_s, abs=1e-9)
    law_s = constant_s * 0.1e-3 / 0.4e-3 + 3 * 0.6e-3 * np.exp(-600.0 * 2e-3)
    assert query["by_wake_law"]["cores"] == pytest.approx(200.0 * law_s, abs=1e-6)
    assert max(phase["by_constants"].get("cores", 0.0) for phase in told["sizes"][0]["phases"]) == 0.25


def test_the_fit_finds_the_law_that_made_the_data() -> None:
    found = fit_law(RATES, np.array([LAW.cost_s(rate) for rate in RATES]))
    assert (found.c0_s, found.wake_s, found.tau_s) == pytest.approx((LAW.c0_s, LAW.wake_s, LAW.tau_s), rel=1e-4)


def test_the_fit_bears_noise() -> None:
    noise = 1.0 + 0.03 * np.random.default_rng(7).standard_normal(len(RATES))
    found = fit_law(RATES, noise * np.array([LAW.cost_s(rate) for rate in RATES]))
    assert (found.c0_s, found.wake_s, found.tau_s) == pytest.approx((LAW.c0_s, LAW.wake_s, LAW.tau_s), rel=0.3)


def test_a_cost_that_is_the_same_at_every_rate_is_one_that_nothing_is_added_to() -> None:
    found = fit_law(RATES, np.full(len(RATES), 0.2e-3))
    assert [found.cost_s(rate) for rate in RATES] == pytest.approx([0.2e-3] * len(RATES), rel=1e-2)


def _phase(rate_per_s: float | None, cost_s: float, channels: int = 16, disturbed: bool = False) -> dict[str, Any]:
    answered_per_s = rate_per_s or 6000.0
    cores = IDLE_CORES + answered_per_s * cost_s
    threads = dict.fromkeys((f"{kind}_cpu_s" for kind in KINDS), 0.0)
    return {
        "mix": "connect", "rate_per_s": rate_per_s, "outstanding": 200, "channels": channels,
        "disturbed": disturbed, "too_much": False, "calls": {"connect": answered_per_s * SECONDS}, "seconds": SECONDS,
        "looked_s": SECONDS, **threads,
        "workers_cpu_s": cores * SECONDS, "jit_cpu_s": JIT_CORES * SECONDS,
    }  # fmt: skip


def _fit_of(tmp_path: Path, phases: list[dict[str, Any]]) -> dict[str, Fit]:
    idle = _phase(1.0, 0.0) | {"mix": "idle"}
    write_json(tmp_path / "measured.json", {"sizes": [{"size": SIZES[0].name, "idle": idle, "phases": phases}]})
    return fits(tmp_path / "measured.json")


def test_a_record_is_fitted_without_jit_idling_and_disturbed_phases(tmp_path: Path) -> None:
    phases = [_phase(rate, LAW.cost_s(rate)) for rate in RATES]
    phases.append(_phase(300.0, 5.0 * LAW.cost_s(300.0), disturbed=True))
    phases.append(_phase(None, 2.0 * LAW.c0_s))
    phases.append(_phase(200.0, 0.5 * LAW.cost_s(200.0), channels=1))
    phases.append(_phase(5000.0, 1.5 * LAW.c0_s) | {"too_much": True})
    phases.append(_phase(200.0, LAW.cost_s(200.0)) | {"mix": "query"})
    fit = _fit_of(tmp_path, phases)[SIZES[0].name]
    assert fit.law.tau_s == pytest.approx(LAW.tau_s, rel=1e-3)
    assert [phase.fitted for phase in fit.phases] == [True] * len(RATES) + [False] * 3
    assert [phase.error for phase in fit.phases[: len(RATES)]] == pytest.approx([0.0] * len(RATES), abs=1e-3)
    closed, one_channel, too_much = fit.phases[-3:]
    assert closed.error == pytest.approx(-0.5, abs=1e-2)
    assert one_channel.error == pytest.approx(1.0, abs=1e-2)
    assert too_much.error == pytest.approx(1 / 1.5 - 1, abs=1e-2)


def test_a_size_with_too_few_phases_has_no_law(tmp_path: Path) -> None:
    assert _fit_of(tmp_path, [_phase(rate, LAW.cost_s(rate)) for rate in RATES[:2]]) == {}
