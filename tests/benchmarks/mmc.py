"""M/M/c, the same customers in Ciw, in salabim and in the model: each customer's wait is compared.

In the model the customers are units of one update each, and the servers the connections of a pod; everything else takes no
time (``tests/verification``). A customer of the other two is an arrival and an end of service; here it is the whole path of a
unit, with its connect and its close.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from tests.verification.cases import QUEUES, SERVICE_S, Queue
from tests.verification.running import run_customers

from .comparing import Row, side_by_side

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Customers:
    """Arrivals and services (s), in order of arrival; pauses between arrivals are exact."""

    arrival_s: Floats
    service_s: Floats

    @property
    def pauses_s(self) -> Floats:
        return np.diff(self.arrival_s, prepend=0.0)


def draw(servers: int, load: float, count: int, seed: int = 1) -> Customers:
    rng = default_rng(seed)
    arrival_s = np.cumsum(rng.standard_exponential(count)) * SERVICE_S / load / servers
    return Customers(np.round(arrival_s * 2.0**30) / 2.0**30, rng.standard_exponential(count) * SERVICE_S)


def in_model(servers: int, customers: Customers) -> Floats:
    """Waits of the customers (s), on the compiled clock."""
    queue: Queue = next(queue for queue in QUEUES if queue.name == f"M/M/{servers}")
    nobody = np.zeros(len(customers.arrival_s), np.bool_)
    run = run_customers(queue, customers.arrival_s, customers.service_s, nobody, "compiled")
    return run.latency_s - run.service_s


def in_ciw(servers: int, customers: Customers) -> Floats:
    """Waits of the customers (s)."""
    import ciw

    # A distribution of Ciw goes round; one pause more, that none is taken twice.
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*customers.pauses_s.tolist(), 1e9])],
        service_distributions=[ciw.dists.Sequential(customers.service_s.tolist())],
        number_of_servers=[servers],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(len(customers.arrival_s), method="Finish")
    records = sorted(simulation.get_all_records(), key=lambda record: record.id_number)
    return np.array([record.waiting_time for record in records], np.float64)


def in_salabim(servers: int, customers: Customers) -> Floats:
    """Waits of the customers (s)."""
    import salabim

    salabim.yieldless(False)
    waits_s = np.zeros(len(customers.arrival_s))
    env = salabim.Environment(trace=False)
    clerks = salabim.Resource("clerks", servers, monitor=False)

    class Customer(salabim.Component):  # type: ignore[misc]
        def setup(self, number: int, service_s: float) -> None:
            self.number, self.service_s = number, service_s

        def process(self):  # type: ignore[no-untyped-def]
            came_s = env.now()
            yield self.request(clerks)
            waits_s[self.number] = env.now() - came_s
            yield self.hold(self.service_s)

    class Arrivals(salabim.Component):  # type: ignore[misc]
        def process(self):  # type: ignore[no-untyped-def]
            columns = customers.pauses_s.tolist(), customers.service_s.tolist()
            for number, (pause_s, service_s) in enumerate(zip(*columns, strict=True)):
                yield self.hold(pause_s)
                Customer(number=number, service_s=service_s)

    Arrivals()
    env.run()
    return waits_s


SERVERS, LOAD = 3, 0.8
#: One run of the model is so short that it gets more customers; what is compared is the time for each.
FEW, MANY = 10_000, 200_000
TURNS = 3
#: Events of a customer: arrival and end of service; arrival, three each of connect and terminate, six of the update and the
#: client's pause after it, and a connection's hand-over where it has waited.
THEIR_EVENTS, OUR_EVENTS = 2, 14


def rows() -> Iterator[Row]:
    few, many = draw(SERVERS, LOAD, FEW), draw(SERVERS, LOAD, MANY)
    modelled_s = in_model(SERVERS, few)
    for name, other in (("ciw", in_ciw), ("salabim", in_salabim)):
        what = f"{name} over compiled clock, M/M/{SERVERS}"
        if find_spec(name) is None:
            yield Row(what, "not measured", remark=f"{name} isn't installed")
            continue
        assert np.allclose(other(SERVERS, few), modelled_s, rtol=0, atol=1e-9)
        over = side_by_side(lambda: other(SERVERS, few), lambda: in_model(SERVERS, many), TURNS)  # noqa: B023
        over = over.times(MANY / FEW)
        remark = f"{over.first_s / FEW * 1e6:.0f} and {over.second_s / FEW * 1e6:.1f} us a customer"
        yield Row(f"{what}, a customer", str(over), "100" if name == "ciw" else "", remark)
        yield Row(f"{what}, an event", str(over.times(OUR_EVENTS / THEIR_EVENTS)))
