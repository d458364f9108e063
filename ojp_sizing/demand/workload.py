"""What arrives: statement classes, units of work, and the client JVMs that send them.

A *unit of work* is what an application does between asking for a JDBC connection and closing it.
One request of ``--peak-rps`` is one unit of work. All times are seconds; names and SQL are untrusted text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Literal

from ojp_sizing.demand.arrivals import Arrivals, Poisson
from ojp_sizing.deployment.constants import constant_table

Lane = Literal["fast", "slow"]
#: A class is slow where its mean is at least this many times the mean of all class means
#: (reference section 3.1, CODE+RUN): the rule of OJP's own classifier, applied to the stated means.
SLOW_RATIO = 2.0
#: Below this mean of means OJP never segregates (reference section 3.1).
SEGREGATION_FLOOR_S = 0.001


@dataclass(frozen=True, slots=True)
class Duration:
    """A distribution of times: its family, mean (s) and coefficient of variation (ignored for ``constant``).

    ``exponential`` has a coefficient of variation of 1 whatever ``cv`` says.
    """

    mean_s: float
    cv: float = 1.0
    family: Literal["lognormal", "exponential", "constant"] = "lognormal"


@dataclass(frozen=True, slots=True)
class StatementClass:
    """One SQL text. OJP's breaker and classifier know it by the hash of this text (reference sections 3 and 4).

    ``share`` weighs the class where a unit of work draws its statements; ``lane`` overrides the side on which
    its latency is judged (None: OJP's own rule on the stated means); ``error_share`` is the fraction of
    executions that the database refuses.

    A ``batch`` sends ``additions`` addBatch RPCs, each a full executeUpdate through slots, classifier and breaker, and
    then one executeBatch, which passes by all three, as does a ``call`` (callResource; reference 1.4, 1.5, CODE). A write
    with ``session`` makes a session as a read does: generated keys, temporary tables, SET, PREPARE (reference 1.3).
    ``fetches`` are further RPCs for the result of a read, on the session's connection: LOBs, rows one by one.
    """

    name: str
    sql: str
    kind: Literal["read", "write", "batch", "call"]
    database_time: Duration
    share: float = 0.0
    rows: int = 1
    lane: Lane | None = None
    error_share: float = 0.0
    session: bool = False
    additions: int = 0
    fetches: int = 0

    @property
    def makes_session(self) -> bool:
        """Whether the connection is kept from this statement to the close (reference 1.3): all but a plain update."""
        return self.kind != "write" or self.session


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """Open a connection, run the statements in order, close.

    ``statements`` is either the names in order, or a number of statements drawn by the classes' shares.
    ``think`` is the client's own processing after each statement, before it sends the next RPC. ``calls`` are calls on
    the Connection before its first statement (isValid, isolation, metadata: each one RPC that makes a session). ``xa``: a
    distributed transaction over an XA connection, which replaces ``transaction``.
    """

    name: str
    share: float
    statements: tuple[str, ...] | int = 1
    transaction: bool = False
    think: Duration = Duration(constant_table()["think_s"].value, 1.0, "exponential")
    calls: int = 0
    xa: bool = False


@dataclass(frozen=True, slots=True)
class Clients:
    """The application side: ``jvms`` processes with ``threads`` blocking worker threads each.

    ``pools``: into how many kinds the JVMs fall that differ in URL order, credentials, datasource or JDBC parameters; each
    kind has a pool of full size on every pod (reference 5, CODE). JVM j is of kind ``j % pools``.
    """

    jvms: int = 16
    threads: int = 200
    pools: int = 1


@dataclass(frozen=True, slots=True)
class Patience:
    """What users do when they wait too long: each attempt is given up after ``timeout_s``, and tried again up to
    ``retries`` times, ``back_off_s * factor**k`` (with a jitter of half to all of it) after the k-th failure.

    The driver has no deadline (reference 1.1): the abandoned attempt goes on and holds what it holds.
    """

    timeout_s: float = inf
    retries: int = 0
    back_off_s: float = constant_table()["retry_back_off_s"].value
    factor: float = constant_table()["retry_factor"].value


@dataclass(frozen=True, slots=True)
class Network:
    """One-way latency between client and pod: lognormal with this median (s) and log standard deviation."""

    one_way_s: float = constant_table()["network_one_way_s"].value
    sigma: float = constant_table()["network_sigma"].value


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything about demand except its rate. ``constants``: rows of ``data/constants.csv`` that its file sets."""

    name: str
    statements: tuple[StatementClass, ...]
    units: tuple[UnitOfWork, ...]
    description: str = ""
    source: str = ""
    arrivals: Arrivals = field(default_factory=Poisson)
    clients: Clients = field(default_factory=Clients)
    network: Network = field(default_factory=Network)
    patience: Patience = field(default_factory=Patience)
    constants: tuple[tuple[str, float], ...] = ()

    def lane_of(self, statement: StatementClass) -> Lane:
        """The side on which a statement's latency is judged: its own word, or OJP's rule on the stated means.

        The mean of means is that of the texts that OJP times: it never sees a call, and of a batch only its additions.
        """
        if statement.lane is not None:
            return statement.lane
        timed_s = [0.0 if s.kind == "batch" else s.database_time.mean_s for s in self.statements if s.kind != "call"]
        mean_of_means_s = sum(timed_s) / max(1, len(timed_s))
        slow = mean_of_means_s > SEGREGATION_FLOOR_S and (
            statement.database_time.mean_s >= SLOW_RATIO * mean_of_means_s
        )
        return "slow" if slow else "fast"
