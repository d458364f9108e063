"""What is asked, and how the work is carried out: two frozen values that everything else follows from."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf
from typing import Annotated, ClassVar, Literal

from ojp_sizing.bounds import RATE, SEED, Checked, Number, bound_of, told_as
from ojp_sizing.demand.arrivals import Bursts
from ojp_sizing.demand.ranges import check_ends
from ojp_sizing.demand.reading import read_workload
from ojp_sizing.demand.workload import Clients, Workload, check_whole
from ojp_sizing.deployment.constants import Constants, check_constants, default_constants
from ojp_sizing.deployment.deployment import DEFAULT_VERSION, Database, Deployment
from ojp_sizing.deployment.ledger import connections_at_most
from ojp_sizing.deployment.situations import Situation, always
from ojp_sizing.deployment.versions import Traits, row_for, traits_of
from ojp_sizing.measurement.objectives import Objectives
from ojp_sizing.quantities import MOST_SECONDS
from ojp_sizing.simulation.simulate import Engine
from ojp_sizing.sizing.resources import memory_of
from ojp_sizing.theory.offered import UnitLoad, mean_load

GIB = 2.0**30
#: The least number of pods that survives a rolling update with one to spare (reference 7.3: two can be missing).
LEAST_REPLICAS = 3
MOST_REPLICAS = 100

REPLICAS = Number(1, 1000, whole=True)
#: What a month of something may cost.
PRICE = Number(0.0, 1e12)

#: Whether something is to be so, is not to be so, or may be either.
Choice = Literal["either", "on", "off"]


@dataclass(frozen=True, slots=True)
class Prices(Checked):
    """What a core, a GiB and a database connection cost for a month; None: as the constants table trades them for a core.

    Without any, costs are in *core equivalents*: a core is 1.
    """

    core: Annotated[float, PRICE] | None = None
    gib: Annotated[float, PRICE] | None = None
    connection: Annotated[float, PRICE] | None = None

    @property
    def in_money(self) -> bool:
        """Whether costs are in the user's money."""
        return (self.core, self.gib, self.connection) != (None, None, None)

    def of(self, constants: Constants) -> tuple[float, float, float]:
        """A core, a GiB, a connection."""
        core = 1.0 if self.core is None else self.core
        gib = core / constants.gib_per_core if self.gib is None else self.gib
        connection = constants.connection_bytes / GIB * gib if self.connection is None else self.connection
        return core, gib, connection


@dataclass(frozen=True, slots=True)
class Question(Checked):
    """A demand (``rate``: units of work per second), what is given, what is to hold, and what may vary at which price.

    ``workload`` may be a preset's name. ``warm_pools``: whether a pod that comes back has its pools built before clients reach
    it ("either": only where the objectives need it). ``segregation``: OJP's slow and fast slots. ``constants`` None: the
    table's with the workload's own over them. ``also``: situations beside those that are always judged.
    ``client_jvms``: instead of the workload's number. ``growth``: of the rate, a month (above 0 to 1). Raises InputError for a
    space that admits nothing.
    """

    may_be_ranges: ClassVar[Container[str]] = ("rate",)

    workload: Workload
    rate: Annotated[float, RATE]
    database: Database = field(default_factory=Database)
    objectives: Objectives = field(default_factory=Objectives)
    version: str = DEFAULT_VERSION
    least_replicas: Annotated[int, REPLICAS] = LEAST_REPLICAS
    most_replicas: Annotated[int, REPLICAS] = MOST_REPLICAS
    segregation: Choice = "either"
    warm_pools: Choice = "either"
    also: tuple[Situation, ...] = ()
    prices: Prices = field(default_factory=Prices)
    constants: Constants | None = None
    client_jvms: Annotated[int, bound_of(Clients, "jvms")] | None = None
    growth: Annotated[float, Number(0.0, 1.0, "share", above=True)] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.workload, str):
            object.__setattr__(self, "workload", read_workload(self.workload))
        if self.client_jvms is not None:
            with told_as(lambda field: "Question.client_jvms"):
                clients = replace(self.workload.clients, jvms=self.client_jvms)
            object.__setattr__(self, "workload", replace(self.workload, clients=clients))
        Checked.__post_init__(self)
        if self.constants is None:
            object.__setattr__(self, "constants", constants_of(self.workload))

    def agree(self) -> None:
        check_whole(self.workload)
        check_ends(self.workload)
        if self.constants is not None:
            check_constants(self.constants, "Question.constants")
        object.__setattr__(self, "version", row_for(self.version) or self.version)
        if self.least_replicas > self.most_replicas:
            problem = f"{self.least_replicas} is above most_replicas, {self.most_replicas}: no deployment is left"
            raise self.refuse("least_replicas", problem, f"write 1 to {self.most_replicas}")

    @property
    def known(self) -> Constants:
        """The constants in force."""
        assert self.constants is not None  # noqa: S101 - set on creation
        return self.constants

    @property
    def situations(self) -> tuple[Situation, ...]:
        """In what a deployment is judged."""
        return tuple(dict.fromkeys((*always(), *self.also)))

    @property
    def load(self) -> UnitLoad:
        """The mean unit's demand."""
        return mean_load(self.workload, self.known, self.traits)

    @property
    def traits(self) -> Traits:
        """How the server and driver of the question's version act."""
        return traits_of(self.version)

    @property
    def burst_rate(self) -> float:
        """The rate that arrivals have for some time (units/s): within a burst where they come in bursts, else the rate."""
        arrivals = self.workload.arrivals
        return arrivals.rates(self.rate)[0] if isinstance(arrivals, Bursts) else self.rate

    def cost(self, deployment: Deployment) -> float:
        """CPU limits and memory of all pods, and the database's connections; see ``Prices`` for the unit.

        Limits, not requests: the answer holds only where the limit can be had.
        """
        core, gib, connection = self.prices.of(deployment.constants)
        stated = deployment.memory_limit_bytes
        memory = stated if stated < inf else memory_of(self.workload, deployment).limit
        connections = connections_at_most(deployment.pool.maximum_size, deployment.replicas)
        return deployment.replicas * (deployment.limit_cores * core + memory / GIB * gib) + connections * connection


@dataclass(frozen=True, slots=True)
class Execution(Checked):
    """How a run is carried out. The answer depends on ``seed``, ``looks``, ``precision`` and, where it is used up, ``budget_s``.

    ``workers`` None: one per core; ``scheduler``: that of a Dask cluster, ``tcp://host:port``. ``looks``: after how many
    replications of steady peak the intervals are looked at; more make them narrower. ``explain``: simulate the neighbours, the
    prices of the knobs and what the folk formulas would deploy, too. ``precision`` "high": judge also what comes near to a
    limit where runs are dear, however many runs it takes.
    """

    seed: Annotated[int, SEED] = 1
    engine: Engine = "auto"
    workers: Annotated[int, Number(1, 1024, whole=True)] | None = None
    scheduler: str | None = None
    budget_s: Annotated[float, Number(0.0, MOST_SECONDS, "s", infinite=True)] = inf
    looks: tuple[Annotated[int, Number(2, 1000, whole=True)], ...] = (5, 10)
    explain: bool = False
    precision: Literal["normal", "high"] = "normal"

    def agree(self) -> None:
        if not self.looks or any(after <= before for before, after in pairwise(self.looks)):
            raise self.refuse("looks", "each must be above the one before it", "write for example (5, 10)")


def constants_of(workload: Workload, file: str = "") -> Constants:
    """The table's values with those that the workload sets, by the name of its file where that is known."""
    return default_constants().with_values(workload.constants, file or f"workload {workload.name}")


def cold(deployment: Deployment) -> Deployment:
    """The same with pools that the first clients build, as OJP does it by itself."""
    return replace(deployment, warm_pools=False)
