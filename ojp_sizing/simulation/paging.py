"""The part of a demand that a run has in its tables, and what is kept of the rest.

Units are loaded a page at a time, before the first of them is due. A page whose units have all ended leaves its rows to
another; of its units one short row each is kept. So a run takes as much memory as units are under way, whatever its length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ojp_sizing.behaviour.kinds import Ending
from ojp_sizing.behaviour.record import new_rows
from ojp_sizing.behaviour.records import Page, Statement, Unit
from ojp_sizing.demand.trace import Trace
from ojp_sizing.errors import InputError
from ojp_sizing.simulation.building import Records
from ojp_sizing.simulation.outcomes import LONG_THINK_S, counts_at

#: What is kept of a unit, by column.
KEPT: dict[str, type[np.generic]] = {
    "arrival_s": np.float64, "began_s": np.float64, "latency_s": np.float64, "thought_s": np.float64, "attempts": np.int32,
    "pod": np.int32, "outcome": np.int8, "slow": np.bool_,
}  # fmt: skip
#: The highest number of an attempt, in the narrow fields of a caller and of a unit.
MOST_ATTEMPTS = int(np.iinfo(Unit.layout["number"]).max)
Kept = dict[str, NDArray[Any]]


class Tables(Protocol):
    """The tables of a world, whatever it stores them in."""

    def read(self, name: str, first: int, count: int) -> Records:
        """So many rows as records, to be read at once."""
        ...

    def write(self, name: str, first: int, records: Records) -> None:
        """Put records from row ``first`` on, in a table that grows if need be."""
        ...


class _Blocks:
    """Rows of a table that grows, lent in blocks of a few sizes, which are at most an eighth too large."""

    def __init__(self) -> None:
        self._free: dict[int, list[int]] = defaultdict(list)
        self._end = 0

    def take(self, rows: int) -> int:
        """The first of so many rows."""
        size = _size(rows)
        if self._free[size]:
            return self._free[size].pop()
        self._end += size
        return self._end - size

    def give_back(self, first: int, rows: int) -> None:
        self._free[_size(rows)].append(first)


def _size(rows: int) -> int:
    """So many rows, rounded up to four binary digits."""
    step = 1 << max(0, rows.bit_length() - 4)
    return -(-rows // step) * step


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    """Where a page's units and statements are, and what of its units isn't in the tables."""

    number: int
    begin: int
    units: int
    first_row: int
    first_statement: int
    statements: int
    slow: NDArray[np.bool_]


def _long_thoughts(callers: Records) -> dict[int, float]:
    """How long each attempt's client has thought, or will have when it is done (s), by its number, where that is long."""
    long = callers["thought_s"] > LONG_THINK_S
    return dict(zip(callers["unit"][long].tolist(), callers["thought_s"][long].tolist(), strict=True))


class Paging:
    """The units of one run. ``loaded`` units are, or were, in the tables."""

    def __init__(self, head: Trace, pieces: Iterator[Trace], tables: Tables) -> None:
        self._head, self._pieces, self._tables = head, pieces, tables
        self._attempts = 1 + head.patience.retries
        self._rows, self._statements = _Blocks(), _Blocks()
        self._live: list[_Page] = []
        # One for each page; empty while it is live.
        self._kept: list[Kept] = []
        self.loaded = 0

    def load(self, arrived: int) -> None:
        """Load units until the one after the next that arrives is there, or all are."""
        while self.loaded < arrived + 2:
            piece = next(self._pieces, None)
            if piece is None:
                return
            self._clear()
            self._load(piece)

    def _load(self, piece: Trace) -> None:
        if piece.xa.any() and not self._head.has_xa:
            raise ValueError("a trace with XA units must say so")
        units, number = len(piece.arrival_s), len(self._kept)
        if (self.loaded + units) * self._attempts > MOST_ATTEMPTS:
            raise InputError(
                "the run",
                f"it has more than {MOST_ATTEMPTS:,} attempts at units of work",
                "make it shorter, or let fewer retries be made",
            )
        page = _Page(
            number,
            self.loaded,
            units,
            self._rows.take(units * self._attempts),
            self._statements.take(len(piece.text)),
            len(piece.text),
            piece.slow.copy(),
        )
        statements = new_rows(
            Statement, len(piece.text), **{field: getattr(piece, field) for field in Statement.fields}
        )
        self._tables.write("statements", page.first_statement, statements)
        self._tables.write("units", page.first_row, self._attempts_at(piece, page.first_statement))
        shift = page.first_row - self.loaded * self._attempts
        self._tables.write("pages", number, new_rows(Page, 1, shift=shift, left=units))
        self._live.append(page)
        self._kept.append({})
        self.loaded += units

    def _attempts_at(self, piece: Trace, first_statement: int) -> Records:
        """The attempts at a piece's units, those of a unit one after the other."""
        units, attempts = len(piece.arrival_s), self._attempts
        records = new_rows(Unit, (units, attempts))
        for field in ("arrival_s", "count", "jvm", "transaction", "calls", "xa", "gap_s"):
            records[field] = getattr(piece, field)[:, None]
        records["first"] = piece.first[:, None] + first_statement
        records["number"] = np.arange(units * attempts).reshape(units, attempts) + self.loaded * attempts
        records["arrival_s"][:, 1:] = inf
        if self._head.closed:
            clients = np.arange(self.loaded, self.loaded + units)
            begin = clients < self._head.jvms * self._head.threads
            records["arrival_s"] = inf
            records["arrival_s"][begin, 0] = piece.gap_s[begin]
            records["jvm"][begin] = (clients[begin] // self._head.threads)[:, None]
        return records.ravel()

    def _clear(self) -> None:
        """Keep what is to be kept of the pages with nobody left, and give back their rows."""
        left = self._tables.read("pages", 0, len(self._kept))["left"]
        for page in [page for page in self._live if left[page.number] == 0]:
            self._kept[page.number] = self._outcomes_of(page)
            self._live.remove(page)
            self._rows.give_back(page.first_row, page.units * self._attempts)
            self._statements.give_back(page.first_statement, page.statements)

    def _outcomes_of(self, page: _Page, thoughts_s: Mapping[int, float] = MappingProxyType({})) -> Kept:
        """Of each unit the attempt that succeeded, else the last one; ``thoughts_s`` by the attempts that are under way."""
        attempts = self._tables.read("units", page.first_row, page.units * self._attempts)
        attempts = attempts.reshape(page.units, self._attempts)
        begun = (attempts["arrival_s"][:, 1:] < inf).sum(axis=1)
        # Without retries, a view.
        units = attempts[:, 0] if self._attempts == 1 else attempts[np.arange(page.units), begun]
        due_s = attempts["arrival_s"][:, 0]
        finished = units["outcome"] >= Ending.OK
        # Of all attempts at a unit; of one that was given up none is known.
        thought_s = attempts["thought_s"].sum(axis=1)
        if thoughts_s:
            for unit in np.flatnonzero((units["outcome"] < Ending.OK) & (units["began_s"] < inf)).tolist():
                thought_s[unit] += thoughts_s.get(int(units["number"][unit]), 0.0)
        latency_s = np.full(page.units, inf)
        latency_s[finished] = units["finished_s"][finished] - due_s[finished] - thought_s[finished]
        found = {
            "arrival_s": due_s, "began_s": units["began_s"], "latency_s": latency_s, "thought_s": thought_s,
            "attempts": begun + 1, "pod": units["pod"], "outcome": units["outcome"], "slow": page.slow,
        }  # fmt: skip
        return {name: found[name].astype(kind) for name, kind in KEPT.items()}

    def due_s(self, units: int) -> NDArray[np.float64]:
        """When each of the first so many units is due, as far as they are loaded; none of them may have ended."""
        due_s = [self._outcomes_of(page)["arrival_s"] for page in self._live]
        return np.concatenate([np.zeros(0), *due_s])[:units]

    def have_ended(self, units: int, before_s: float, callers: Records) -> bool:
        """Whether each of the first so many units, which have arrived, has ended for its user, or counts no earlier than
        ``before_s``, since its client is thinking (``counts_at``)."""
        thoughts_s = _long_thoughts(callers)
        for page in self._live:
            found = self._outcomes_of(page, thoughts_s)
            waits = (found["outcome"] < Ending.OK) & (counts_at(found["arrival_s"], found["thought_s"]) < before_s)
            if waits[: max(0, units - page.begin)].any():
                return False
        return True

    def outcomes(self, callers: Records) -> Kept:
        """What is kept of all units that were loaded; to be asked once, at the end."""
        thoughts_s = _long_thoughts(callers)
        for page in self._live:
            self._kept[page.number] = self._outcomes_of(page, thoughts_s)
        # Column by column, so that never all of it is there twice.
        return {
            name: np.concatenate([np.zeros(0, kind), *(page.pop(name) for page in self._kept)])
            for name, kind in KEPT.items()
        }
