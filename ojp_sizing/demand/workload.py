"""What arrives: statement classes, units of work, and the client JVMs that send them.

A *unit of work* is what an application does between asking for a JDBC connection and closing it.
One request of ``--peak-rps`` is one unit of work. All times are seconds; names and SQL are untrusted text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import fsum, inf
from typing import Annotated, Any, Literal

from ojp_sizing.behaviour.arithmetic import SEGREGATION_FLOOR_S, slow_by_mean
from ojp_sizing.bounds import LINE, NAME, SHARE, TIME, Checked, Demanded, Number, said
from ojp_sizing.demand.arrivals import Arrivals, Poisson, Replay
from ojp_sizing.deployment.constants import check_constant, constant_table
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown
from ojp_sizing.showing import Shown

Lane = Literal["fast", "slow"]
#: Bounds of this tool: beyond them a figure is a slip of the pen.
MOST_SQL_BYTES = 64 * 1024
MOST_STEPS = 1000
SHARE_TOLERANCE = 1e-6


def normalised_sql(sql: str) -> str:
    """The text that OJP hashes: lower case, trimmed, white space collapsed (reference section 3.1)."""
    # Java's trim() takes off every character up to the blank, its \s matches these six.
    trimmed = sql.lower().strip("".join(map(chr, range(0x21))))
    return re.sub(r"[ \t\n\v\f\r]+", " ", trimmed)


class _Sql:
    """Any text of Unicode that isn't blank, 64 KiB at most."""

    def take(self, value: Any, place: str) -> str:
        if not isinstance(value, str):
            raise InputError(place, f"{said(value)} is not text", "write the statement as the application sends it")
        if not value.strip():
            raise InputError(place, "the SQL text is empty", "write the statement as the application sends it")
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise InputError(place, "the SQL text is not Unicode", "remove the lone surrogate") from error
        if size > MOST_SQL_BYTES:
            raise InputError(place, f"the SQL text has {size:,} bytes", f"shorten it to {MOST_SQL_BYTES:,} at most")
        return value


class _Steps:
    """The statements of a unit: a number to draw, or the names in order."""

    def take(self, value: Any, place: str) -> tuple[str, ...] | int:
        if not isinstance(value, (tuple, list)):
            return int(Number(0, MOST_STEPS, whole=True).take(value, place))
        if len(value) > MOST_STEPS:
            raise InputError(place, f"a list of {len(value)} statements", f"name 1 to {MOST_STEPS}")
        return tuple(NAME.take(name, f"{place}[{step}]") for step, name in enumerate(value))


SQL, STEPS = _Sql(), _Steps()
#: Of the whole in a file; for a simulation alone any weights do.
WEIGHT = Number(0.0, 1e9, "share")


@dataclass(frozen=True, slots=True)
class Duration(Demanded):
    """A distribution of times: its family, mean (s) and coefficient of variation (ignored for ``constant``).

    ``exponential`` has a coefficient of variation of 1 whatever ``cv`` says.
    """

    mean_s: Annotated[float, TIME]
    cv: Annotated[float, Number(0.0, 100.0)] = 1.0
    family: Literal["lognormal", "exponential", "constant"] = "lognormal"


@dataclass(frozen=True, slots=True)
class StatementClass(Demanded):
    """One SQL text. OJP's breaker and classifier know it by the hash of this text (reference sections 3 and 4).

    ``share`` weighs the class where a unit of work draws its statements; ``lane`` overrides the side on which
    its latency is judged (None: OJP's own rule on the stated means); ``error_share`` is the fraction of
    executions that the database refuses.

    A ``batch`` sends ``additions`` addBatch RPCs, each a full executeUpdate through slots, classifier and breaker, and
    then one executeBatch, which passes by all three, as does a ``call`` (callResource; reference 1.4, 1.5, CODE). A write
    with ``session`` makes a session as a read does: generated keys, temporary tables, SET, PREPARE (reference 1.3).
    ``fetches`` are further RPCs for the result of a read, on the session's connection: LOBs, rows one by one.
    """

    name: Annotated[str, NAME]
    sql: Annotated[str, SQL]
    kind: Literal["read", "write", "batch", "call"]
    database_time: Duration
    share: Annotated[float, WEIGHT] = 0.0
    rows: Annotated[int, Number(0, 1_000_000, whole=True)] = 1
    lane: Lane | None = None
    error_share: Annotated[float, SHARE] = 0.0
    session: bool = False
    additions: Annotated[int, Number(0, 1000, whole=True)] = 0
    fetches: Annotated[int, Number(0, 10_000, whole=True)] = 0

    def agree(self) -> None:
        if self.kind == "batch" and not self.additions:
            raise self.refuse("additions", "a batch of 0 additions", "write 1 to 1000")
        for name, kind in (("additions", "batch"), ("session", "write"), ("fetches", "read")):
            if getattr(self, name) and self.kind != kind:
                raise self.refuse(name, f"a {self.kind} has none", f"remove it, or write 'kind: {kind}'")

    @property
    def makes_session(self) -> bool:
        """Whether the connection is kept from this statement to the close (reference 1.3): all but a plain update."""
        return self.kind != "write" or self.session


@dataclass(frozen=True, slots=True)
class UnitOfWork(Demanded):
    """Open a connection, run the statements in order, close.

    ``statements`` is either the names in order, or a number of statements drawn by the classes' shares.
    ``think`` is the client's own processing after each statement, before it sends the next RPC. ``calls`` are calls on
    the Connection before its first statement (isValid, isolation, metadata: each one RPC that makes a session). ``xa``: a
    distributed transaction over an XA connection, which replaces ``transaction``.
    """

    name: Annotated[str, NAME]
    share: Annotated[float, WEIGHT]
    statements: Annotated[tuple[str, ...] | int, STEPS] = 1
    transaction: bool = False
    think: Duration = Duration(constant_table()["think_s"].value, 1.0, "exponential")
    calls: Annotated[int, Number(0, 1000, whole=True)] = 0
    xa: bool = False

    def agree(self) -> None:
        if self.xa and self.transaction:
            fix = "an XA unit is a transaction already: remove 'transaction'"
            raise self.refuse("xa", "xa and transaction exclude each other", fix)


@dataclass(frozen=True, slots=True)
class Clients(Demanded):
    """The application side: ``jvms`` processes with ``threads`` blocking worker threads each.

    ``pools``: into how many kinds the JVMs fall that differ in URL order, credentials, datasource or JDBC parameters; each
    kind has a pool of full size on every pod (reference 5, CODE). JVM j is of kind ``j % pools``.
    """

    jvms: Annotated[int, Number(1, 10_000, whole=True)] = 16
    threads: Annotated[int, Number(1, 100_000, whole=True)] = 200
    pools: Annotated[int, Number(1, 100, whole=True)] = 1

    def agree(self) -> None:
        if self.pools > self.jvms:
            raise self.refuse("pools", f"more kinds than the {self.jvms} JVMs", f"write at most {self.jvms}")


@dataclass(frozen=True, slots=True)
class Patience(Demanded):
    """What users do when they wait too long: each attempt is given up after ``timeout_s``, and tried again up to
    ``retries`` times, ``back_off_s * factor**k`` (with a jitter of half to all of it) after the k-th failure.

    The driver has no deadline (reference 1.1): the abandoned attempt goes on and holds what it holds.
    """

    timeout_s: Annotated[float, Number(0.0, 3600.0, "s", infinite=True)] = inf
    retries: Annotated[int, Number(0, 10, whole=True)] = 0
    back_off_s: Annotated[float, TIME] = constant_table()["retry_back_off_s"].value
    factor: Annotated[float, Number(0.0, 10.0)] = constant_table()["retry_factor"].value

    def agree(self) -> None:
        if self.timeout_s == 0:
            raise self.refuse("timeout_s", "a timeout of 0", "write 1us or more, or leave it out to wait for ever")
        if self.factor < 1:
            raise self.refuse("factor", "the pauses between attempts shrink", "write 1 or more")


@dataclass(frozen=True, slots=True)
class Network(Demanded):
    """One-way latency between client and pod: lognormal with this median (s) and log standard deviation."""

    one_way_s: Annotated[float, TIME] = constant_table()["network_one_way_s"].value
    sigma: Annotated[float, Number(0.0, 5.0)] = constant_table()["network_sigma"].value


@dataclass(frozen=True, slots=True)
class Workload(Checked, Shown):
    """Everything about demand except its rate. ``constants``: rows of ``data/constants.csv`` that its file sets.

    A simulation takes shares as weights. What is to be sized must be whole besides, as in a file (``check_whole``).
    """

    name: Annotated[str, NAME]
    statements: tuple[StatementClass, ...]
    units: tuple[UnitOfWork, ...]
    description: Annotated[str, LINE] = ""
    source: Annotated[str, LINE] = ""
    arrivals: Arrivals = field(default_factory=Poisson)
    clients: Clients = field(default_factory=Clients)
    network: Network = field(default_factory=Network)
    patience: Patience = field(default_factory=Patience)
    constants: tuple[tuple[str, float], ...] = ()

    def agree(self) -> None:
        statements, units = self.statements, self.units
        for name, entries in (("statements", statements), ("units", units)):
            if not 1 <= len(entries) <= MOST_STEPS:
                raise self.refuse(name, f"{len(entries)} entries", f"write 1 to {MOST_STEPS}")
        rename = "give each its own name"
        self._are_unlike("statements", "name", (s.name for s in statements), "name", rename)
        self._are_unlike("units", "name", (u.name for u in units), "name", rename)
        merge = "merge the two: OJP tells statements apart by this text alone, whatever its case and white space"
        self._are_unlike("statements", "sql", (normalised_sql(s.sql) for s in statements), "SQL text", merge)
        self._name_what_is_there()
        self._fit_a_recording()
        for name, value in self.constants:
            check_constant(name, value, f"Workload.constants.{name}")

    def _are_unlike(self, entries: str, key: str, values: Iterable[str], what: str, fix: str) -> None:
        first: dict[str, int] = {}
        for index, value in enumerate(values):
            if value in first:
                raise self.refuse(
                    f"{entries}[{index}].{key}", f"the same {what} as {entries}[{first[value]}].{key}", fix
                )
            first[value] = index

    def _name_what_is_there(self) -> None:
        known = [s.name for s in self.statements]
        for index, unit in enumerate(self.units):
            if isinstance(unit.statements, int):
                continue
            for step, name in enumerate(unit.statements):
                if name not in known:
                    path = f"units[{index}].statements[{step}]"
                    close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
                    fix = f"did you mean {shown(close[0])}?" if close else f"known: {', '.join(known[:12])}"
                    raise self.refuse(path, f"no statement {shown(name)}", fix)
        draws = any(isinstance(unit.statements, int) and unit.statements for unit in self.units)
        for entries, mine in (("units", self.units), *((("statements", self.statements),) if draws else ())):
            if not any(one.share for one in mine):
                raise self.refuse(f"{entries}[].share", "the shares add up to 0, not 1", "write how often each comes")

    def _fit_a_recording(self) -> None:
        """A recording names units and JVMs by their number."""
        if isinstance(self.arrivals, Replay):
            units, jvms = (self.arrivals.units, len(self.units)), (self.arrivals.jvms, self.clients.jvms)
            for name, (numbers, there) in {"units": units, "jvms": jvms}.items():
                if numbers and max(numbers) >= there:
                    problem = f"{max(numbers)} is not one of {there}"
                    raise self.refuse(f"arrivals.{name}", problem, f"write 0 to {there - 1}")

    def lane_of(self, statement: StatementClass) -> Lane:
        """The side on which a statement's latency is judged: its own word, or OJP's classifier's rule on the stated means.

        The mean of means is that of the texts that OJP times: it never sees a call, and of a batch only its additions.
        """
        if statement.lane is not None:
            return statement.lane
        timed_s = [0.0 if s.kind == "batch" else s.database_time.mean_s for s in self.statements if s.kind != "call"]
        mean_of_means_s = sum(timed_s) / max(1, len(timed_s))
        slow = slow_by_mean(statement.database_time.mean_s, mean_of_means_s, SEGREGATION_FLOOR_S)
        return "slow" if slow else "fast"


def check_whole(workload: Workload) -> None:
    """What closed forms and the rule of the lanes need besides: shares of 1 in all, and no statement that nobody runs.

    Raises InputError at ``Workload.field``.
    """
    for index, statement in enumerate(workload.statements):
        if statement.database_time.mean_s == 0:
            raise workload.refuse(f"statements[{index}].database_time", "a mean of 0", "write 1us or more")
        _check_time(workload, statement.database_time, f"statements[{index}].database_time")
    for index, unit in enumerate(workload.units):
        _check_time(workload, unit.think, f"units[{index}].think")
    _check_sum(workload, "units", (unit.share for unit in workload.units))
    run = set[str]()
    for index, unit in enumerate(workload.units):
        if not unit.statements:
            fix = f"name 1 to {MOST_STEPS}"
            raise workload.refuse(f"units[{index}].statements", "a list of 0 statements", fix)
        if isinstance(unit.statements, int):
            _check_sum(workload, "statements", (s.share for s in workload.statements))
            run.update(s.name for s in workload.statements if s.share > 0)
        else:
            run.update(unit.statements)
    for index, statement in enumerate(workload.statements):
        if statement.name not in run:
            # It would still count in the mean of means by which OJP tells slow from fast.
            fix = "name it in a unit, give it a share that a unit draws from, or remove it"
            raise workload.refuse(f"statements[{index}]", f"no unit runs {shown(statement.name)}", fix)


def _check_time(workload: Workload, time: Duration, path: str) -> None:
    if time.mean_s == 0 and time.family != "constant":
        raise workload.refuse(path, f"a mean of 0 has no {time.family} distribution", "write the family 'constant'")


def _check_sum(workload: Workload, entries: str, shares: Iterable[float]) -> None:
    total = fsum(shares)
    if abs(total - 1) > SHARE_TOLERANCE:
        problem = f"the shares add up to {total:.7g}, not 1"
        raise workload.refuse(f"{entries}[].share", problem, "divide each share by that sum")
