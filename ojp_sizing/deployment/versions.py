"""What tells the servers' versions apart, as named traits: a row of ``data/versions.csv`` for each that changed one.

Behaviour reads traits, never a version's name. A version between two rows has the traits of the row before it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Literal

from ojp_sizing.data_files import data_path


@dataclass(frozen=True, slots=True)
class Traits:
    """How one version acts; the client's driver is that of the same version.

    ``counts_sessions``: sessions of which kind the driver counts when it chooses a pod. ``checks_in_connect``: it checks the
    pods' health inside getConnection() (else in a thread). ``connect_cached``: getConnection() calls no pod. ``closes_all``: a
    close without a session calls every pod. ``calls_mark_down``: a failed callResource marks its pod down.
    ``pool_build_locked``: one pool is built, others wait. ``pool_rebuilt_before_up``: a pod counts as up once its pool is there
    again. ``health_pushed``: a change of a client's view is sent to the pods at once. ``remembers_view``: a view that comes
    before the pool is applied when that is built.

    ``admission_always_on``: permits also without segregation. ``admission_wait``: for how long, the slots' time-out or the
    connection's. ``session_permits``: a session keeps its permit. ``session_takes_slots``: its statements take one besides.
    ``queue_depth``: so many wait for a lane at most, times its pod's permits (0: any number). ``admission_fails_breaker``,
    ``missing_pool_fails_breaker``: what counts as a failure of the statement. ``fail_fast_borrow_s``: a connection is waited
    for so long (0: the connection's time-out), and not at all where all are in use. ``slots_follow_pool``: they are resized with
    it. ``breaker_per_pool``: else one for all pools of a pod. ``drains``: a stopping pod lets its sessions end. ``eager_close``:
    a plain update gives its connection back even where it failed.

    Not simulated, and named: ``virtual_threads`` (no limit on threads), ``max_concurrent_requests``, ``client_throttle``.
    """

    counts_sessions: Literal["xa", "all"]
    checks_in_connect: bool
    connect_cached: bool
    closes_all: bool
    calls_mark_down: bool
    pool_build_locked: bool
    pool_rebuilt_before_up: bool
    health_pushed: bool
    remembers_view: bool
    admission_always_on: bool
    admission_wait: Literal["slot", "connection"]
    session_permits: bool
    session_takes_slots: bool
    queue_depth: int
    admission_fails_breaker: bool
    missing_pool_fails_breaker: bool
    fail_fast_borrow_s: float
    slots_follow_pool: bool
    breaker_per_pool: bool
    classifier: Literal["mean_of_means", "relative_baseline"]
    drains: bool
    eager_close: bool
    virtual_threads: bool
    max_concurrent_requests: int
    client_throttle: Literal["none", "combined", "reactive"]
    segregation_default: bool
    models_xa: bool
    status: str
    source: str


#: Traits that the model doesn't follow.
NOT_SIMULATED = ("virtual_threads", "max_concurrent_requests", "client_throttle")
#: What a row says beside how the version acts.
_ABOUT = ("segregation_default", "models_xa", "status", "source")


def differences(before: Traits, after: Traits) -> tuple[str, ...]:
    """Names of the traits that differ, in the table's order."""
    return tuple(
        field.name
        for field in fields(Traits)
        if field.name not in _ABOUT and getattr(before, field.name) != getattr(after, field.name)
    )


@cache
def versions() -> Mapping[str, Traits]:
    """By name, in the order of their release."""
    kinds = {field.name: str(field.type) for field in fields(Traits)}

    def typed(name: str, text: str) -> object:
        kind = kinds[name]
        return {"bool": lambda: text == "1", "int": lambda: int(text), "float": lambda: float(text)}.get(
            kind, lambda: text
        )()

    with data_path("versions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return MappingProxyType(
        {row["version"]: Traits(**{name: typed(name, row[name]) for name in kinds}) for row in rows}  # type: ignore[arg-type]
    )


def traits_of(version: str) -> Traits:
    """The traits of a version that has a row."""
    return versions()[version]


def row_for(text: str) -> str | None:
    """The row whose traits a version has: its own, or that of the newest before it in its line; None where there is none.

    A leading ``v`` and what follows the numbers (``-beta``, ``-RC2``) say nothing.
    """
    if text in versions():
        return text
    found = re.fullmatch(r"v?([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:[.-][A-Za-z0-9.-]{1,40})?", text)
    if found is None:
        return None
    asked = tuple(int(number or 0) for number in found.groups())
    rows = [(number_of(name), name) for name in versions() if not name.endswith("snapshot")]
    same_line = [name for number, name in sorted(rows) if number[:2] == asked[:2] and number <= asked]
    return same_line[-1] if same_line else None


def number_of(version: str) -> tuple[int, ...]:
    """Its three numbers, 0 where it has fewer."""
    return tuple(int(part) for part in [*re.findall(r"\d+", version), "0", "0", "0"][:3])
