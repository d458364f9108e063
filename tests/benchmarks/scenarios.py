"""The plain request path that every contestant runs: three scenarios of one workload, at any length.

Plain: no slots, no XA, no disruption, pods without a CPU limit, pools of full size. What is left is what almost every event
of a run is: connects, threads, shared CPU, connections with a limit to the wait, the database, thinking, closing.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import SeedSequence

from ojp_sizing import ClientPool, Database, Deployment, ServerSettings, read_workload, sample_trace
from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.constants import default_constants


@dataclass(frozen=True, slots=True)
class Scenario:
    """A cluster and its demand. ``node_cores``: of each pod; ``client_threads``: of each of 16 client JVMs."""

    name: str
    rate: float
    replicas: int
    node_cores: float
    connections: int
    database_cores: float
    threads: int = 200
    client_threads: int = 200
    connection_timeout_s: float = 10.0
    breaker_open_s: float = 60.0

    @property
    def deployment(self) -> Deployment:
        constants = replace(default_constants(), node_cores=self.node_cores)
        return Deployment(
            self.replicas,
            self.node_cores,
            ClientPool(self.connections, 5, self.connection_timeout_s),
            ServerSettings(self.threads, segregation=False, breaker_open_s=self.breaker_open_s),
            Database(self.database_cores),
            constants=constants,
        )

    def trace(self, duration_s: float, seed: int = 1) -> Trace:
        """Arrivals are whole multiples of 2^-30 s: the pauses between them are then exact, and so is their sum."""
        workload = read_workload("web-oltp")
        workload = replace(workload, clients=replace(workload.clients, threads=self.client_threads))
        trace = sample_trace(workload, self.rate, duration_s, SeedSequence(seed))
        return replace(trace, arrival_s=np.round(trace.arrival_s * 2.0**30) / 2.0**30)


ORDINARY = Scenario("ordinary", 500.0, 3, 4.0, 60, 8.0)
#: More CPU is asked for than there is: queues before threads and clients grow.
OVERLOADED = Scenario("overloaded", 2000.0, 2, 0.25, 160, 16.0, threads=40, client_threads=12)
#: Too few connections: waits end at their limit, breakers open and close again.
TIMING_OUT = Scenario(
    "timing out", 600.0, 3, 4.0, 6, 8.0, client_threads=12, connection_timeout_s=0.1, breaker_open_s=0.3
)
SCENARIOS = (ORDINARY, OVERLOADED, TIMING_OUT)
