"""Every case against theory; the oracles against published values and each other; the page against the results."""

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
from alike import differences
from numpy.random import default_rng

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.theory.queues import mg1_wait_s, mmc_wait_s

from . import running
from .cases import (
    CONSTANT,
    DE_SMIT_INSIDE,
    DE_SMIT_NO_WAIT,
    DE_SMIT_WAIT,
    ERLANG,
    EXPONENTIAL,
    GROENVELD,
    HYPEREXPONENTIAL,
    QUEUES,
    SERVICE_S,
    Queue,
    Service,
    Station,
)
from .oracles import (
    Patience,
    Phases,
    constant_service,
    first_come_first_served,
    hyperexponential_wait_cdf,
    mmc_wait_cdf,
    phase_service,
)
from .page import RESULTS, ROOT, documents, read_results, results_text
from .running import AGAIN, REPLICATIONS, Customers, Floats, Result, customers, replication, run_case, run_customers

COMMITTED = read_results(RESULTS.read_text(encoding="utf-8"))
CASES = [pytest.param(queue, load, id=f"{queue.name} at {load:g}") for queue in QUEUES for load in queue.loads]


def by_name(name: str) -> Queue:
    return next(queue for queue in QUEUES if queue.name == name)


def committed(queue: Queue, load: float) -> list[Result]:
    """The page's results of a case. A case with two lanes has its own load in each."""
    rows = iter(COMMITTED)
    for case in (case for q in QUEUES for case in [(q, at) for at in q.loads]):
        mine = [next(rows) for _ in running.theory(*case)]
        if case == (queue, load):
            return mine
    raise AssertionError(f"no results of {queue.name} at {load:g}: run `make verification`")


# Means and distributions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("queue", "load"), CASES)
def test_the_model_is_the_one_that_agreed_with_theory(queue: Queue, load: float) -> None:
    """A few of the replications: all of them take minutes, and ``make verification`` makes them anew."""
    kept = committed(queue, load)
    assert all(len(result.means) == REPLICATIONS for result in kept)
    for number in range(AGAIN):
        found = replication(queue, load, number)
        # Another processor's logarithm may differ in the last bit.
        assert [found[result.measure].mean for result in kept] == pytest.approx(
            [result.means[number] for result in kept], rel=1e-4
        )


def test_the_model_agreed_with_theory_in_every_case() -> None:
    assert [(result.queue, result.load, result.measure) for result in COMMITTED if not result.passes] == []


def test_a_case_is_judged_as_the_page_says() -> None:
    """One of them whole, from its replications to its verdict."""
    queue, load = by_name("M/M/3"), 0.8
    found = run_case(queue, load)
    assert all(result.passes for result in found), found
    for mine, shown in zip(found, committed(queue, load), strict=True):
        assert [mine.theory, mine.mean, mine.low, mine.high, *mine.means] == pytest.approx(
            [shown.theory, shown.mean, shown.low, shown.high, *shown.means], rel=1e-4
        )


# Were the model wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["M/M/3", "M/D/3", "M/H2/1", "M/E2/3", "M/M/2+D", "M/M/1-PS"])
@pytest.mark.parametrize("load", [0.6, 0.9])
def test_a_model_that_serves_three_percent_longer_is_seen(
    name: str, load: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = running.run_customers

    def longer(queue: Queue, arrival_s: Floats, service_s: Floats, *rest: Any) -> Customers:
        run = right(queue, arrival_s, 1.03 * service_s, *rest)
        return replace(run, service_s=service_s, latency_s=run.latency_s - 0.03 * service_s)

    monkeypatch.setattr(running, "run_customers", longer)
    assert not any(result.passes for result in run_case(by_name(name), load))


@pytest.mark.parametrize("name", ["M/M/3", "M/M/15", "M/M/3, threads", "M/M/2+D", "M/H2/3-PS"])
def test_a_model_with_one_server_more_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = running.run_customers

    def more(queue: Queue, *rest: Any) -> Customers:
        return right(replace(queue, servers=queue.servers + 1), *rest)

    monkeypatch.setattr(running, "run_customers", more)
    assert not any(result.passes for result in run_case(by_name(name), 0.8))


def test_a_wrong_distribution_with_the_right_mean_is_seen() -> None:
    rng = default_rng(3)
    assert running.fit(rng.standard_exponential(5000), lambda x: 1 - np.exp(-x)).passes
    assert not running.fit(rng.standard_gamma(0.8, 5000) / 0.8, lambda x: 1 - np.exp(-x)).passes


# Customer by customer -----------------------------------------------------------------------------------------------

SERVICES = (CONSTANT, ERLANG, EXPONENTIAL, HYPEREXPONENTIAL)


def queue_of(station: Station, service: Service, servers: int, slow_servers: int = 0) -> Queue:
    return Queue("", "", station, service, servers, "", slow_servers=slow_servers)


@pytest.mark.parametrize(("engine", "count"), [("compiled", 40_000), ("simpy", 1500)])
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.letter)
@pytest.mark.parametrize("servers", [1, 4, 15])
@pytest.mark.parametrize(
    ("station", "together"),
    # RPCs that reach a pod at the same instant leave its CPU together, in any order; threads take units in theirs.
    [(Station.CONNECTIONS, False), (Station.THREADS, False), (Station.THREADS, True)],
    ids=["connections", "threads", "threads, arrivals together"],
)
def test_every_wait_is_that_of_kiefer_and_wolfowitz(
    station: Station, servers: int, service: Service, together: bool, engine: str, count: int
) -> None:
    rng = default_rng([servers, count])
    arrival_s = np.cumsum(rng.standard_exponential(count)) * SERVICE_S / (0.95 * servers)
    if together:
        arrival_s = np.floor(arrival_s / SERVICE_S * 2) * SERVICE_S / 2
    service_s = service.draw(rng, count) * SERVICE_S
    run = run_customers(queue_of(station, service, servers), arrival_s, service_s, np.zeros(count, np.bool_), engine)
    expected_s = first_come_first_served(arrival_s, service_s, servers) + service_s
    assert (run.outcome == Ending.OK).all()
    assert np.abs(run.latency_s - expected_s).max() < 1e-9
    assert (expected_s > service_s + SERVICE_S / 10).mean() > 0.3


@pytest.mark.parametrize(("engine", "count"), [("compiled", 40_000), ("simpy", 1500)])
def test_each_lane_is_a_queue_of_its_own(engine: str, count: int) -> None:
    rng = default_rng(count)
    queue = queue_of(Station.SLOTS, EXPONENTIAL, 3, 2)
    arrival_s = np.cumsum(rng.standard_exponential(count)) * SERVICE_S / 4.75
    service_s = rng.standard_exponential(count) * SERVICE_S
    slow = rng.random(count) < 0.4
    run = run_customers(queue, arrival_s, service_s, slow, engine)
    for lane, slots in ((~slow, 3), (slow, 2)):
        expected_s = first_come_first_served(arrival_s[lane], service_s[lane], slots) + service_s[lane]
        assert np.abs(run.latency_s[lane] - expected_s).max() < 1e-9


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_both_clocks_end_alike(queue: Queue) -> None:
    compiled, simpy = (customers(queue, 0.9, 2000, default_rng(7), engine) for engine in ("compiled", "simpy"))
    assert np.array_equal(compiled.latency_s, simpy.latency_s)
    assert np.array_equal(compiled.outcome, simpy.outcome)


# Oracles ------------------------------------------------------------------------------------------------------------


def test_the_exact_solution_has_de_smits_values() -> None:
    exact = phase_service(15, 13.5, HYPEREXPONENTIAL.phases)
    assert exact.mean_wait == pytest.approx(DE_SMIT_WAIT, abs=0.5e-4)
    assert exact.mean_wait == pytest.approx(1.11606, abs=5e-5)
    assert exact.no_wait == pytest.approx(DE_SMIT_NO_WAIT, abs=0.5e-4)
    assert exact.mean_inside == pytest.approx(DE_SMIT_INSIDE, abs=0.5e-3)


@pytest.mark.parametrize("load", [load for load in GROENVELD if load <= 0.8])
def test_the_exact_solution_has_groenvelds_values(load: float) -> None:
    for servers, published in enumerate(GROENVELD[load], 1):
        exact = phase_service(servers, load * servers, ERLANG.phases).mean_wait
        assert exact == pytest.approx(published, abs=0.0051)


def test_groenvelds_last_row_is_some_percent_low() -> None:
    for servers, published in list(enumerate(GROENVELD[0.9], 1))[1:]:
        exact = phase_service(servers, 0.9 * servers, ERLANG.phases).mean_wait
        assert 0.97 < published / exact < 0.985


@pytest.mark.parametrize("load", [0.3, 0.9, 0.95])
@pytest.mark.parametrize("servers", [1, 3, 15])
def test_the_oracles_agree_where_they_meet(servers: int, load: float) -> None:
    rate = load * servers
    memoryless = phase_service(servers, rate, Phases(1.0, (1.0, 1.0), 0.0))
    assert memoryless.mean_wait == pytest.approx(mmc_wait_s(rate, 1.0, servers), rel=1e-8)
    assert memoryless.no_wait == pytest.approx(float(mmc_wait_cdf(servers, rate)(np.zeros(1))[0]), abs=1e-9)
    # Patience without end is none.
    assert Patience(servers, rate, 2000.0).mean_wait == pytest.approx(mmc_wait_s(rate, 1.0, servers), rel=1e-9)
    constant = constant_service(servers, rate)
    assert constant.wait_cdf(np.zeros(1))[0] == pytest.approx(constant.chances[:servers].sum(), abs=1e-9)
    if servers == 1:
        assert constant.mean_wait == pytest.approx(mg1_wait_s(rate, 1.0, 0.0), rel=1e-8)
        for service in (ERLANG, HYPEREXPONENTIAL):
            exact = phase_service(1, rate, service.phases).mean_wait
            assert exact == pytest.approx(mg1_wait_s(rate, 1.0, sqrt(service.scv)), rel=1e-8)


@pytest.mark.parametrize(
    ("cdf", "mean"),
    [
        (constant_service(1, 0.8).wait_cdf, mg1_wait_s(0.8, 1.0, 0.0)),
        (constant_service(3, 2.4).wait_cdf, constant_service(3, 2.4).mean_wait),
        (hyperexponential_wait_cdf(HYPEREXPONENTIAL.phases, 0.8), mg1_wait_s(0.8, 1.0, sqrt(5))),
        (Patience(2, 1.6, 1.0).wait_cdf, Patience(2, 1.6, 1.0).mean_wait),
        (mmc_wait_cdf(3, 2.4), mmc_wait_s(2.4, 1.0, 3)),
    ],
)
def test_a_distributions_mean_is_the_mean(cdf: running.Cdf, mean: float) -> None:
    x = np.linspace(0.0, 1.0, 200_001) ** 2 * 400 * max(mean, 0.1)
    assert np.trapezoid(1 - cdf(x[::50] if mean < 10 else x), x[::50] if mean < 10 else x) == pytest.approx(
        mean, rel=1e-3
    )


def test_patience_keeps_the_servers_as_busy_as_arrivals_allow() -> None:
    # Those who are served are those whom busy servers finish: a (1 - p) = E[busy] <= c.
    exact = Patience(2, 3.0, 50.0)
    assert 3.0 * (1 - exact.gives_up) == pytest.approx(2.0, rel=1e-9)
    assert Patience(2, 2.0, 1.0).gives_up == pytest.approx(Patience(2, 2.0 + 1e-7, 1.0).gives_up, rel=1e-5)


# The page -----------------------------------------------------------------------------------------------------------


def test_the_page_and_its_figures_show_the_results() -> None:
    assert results_text(COMMITTED) == RESULTS.read_text(encoding="utf-8")
    for path, content in documents(COMMITTED).items():
        kept = (ROOT / path).read_text(encoding="utf-8")
        assert differences(content, kept, whole=path.endswith(".svg"), tolerance=1e-4) == [], (
            f"{path}: run `make verification`"
        )


def test_the_results_are_of_these_cases() -> None:
    expected = [
        (queue.name, exact.load, measure, pytest.approx(exact.value, rel=1e-5))
        for queue in QUEUES
        for load in queue.loads
        for measure, exact in running.theory(queue, load).items()
    ]
    assert [(r.queue, r.load, r.measure, r.theory) for r in COMMITTED] == expected
