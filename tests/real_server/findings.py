"""What the recorded measurements say: errors of the model, quantities that claims are about, and measured constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import inf, nan, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.real_server.claims import Claim
from tests.real_server.experiments import EXPERIMENTS, WARMED_SERVERS, Experiment
from tests.real_server.first_pools import RECORD as FIRST_POOLS
from tests.real_server.later import ALL
from tests.real_server.predict import predicted, simulate_experiment
from tests.real_server.recorded import folder, read_columns, read_json
from tests.real_server.told import told_trace

#: What the issue of this work asks for: relative error of (throughput, p50, p95, p99); p50 and p95 up to this load.
LIMITS = {"throughput": 0.02, "p50_s": 0.10, "p95_s": 0.10, "p99_s": 0.20}
LIMIT_LOAD = 0.8
WARMED = tuple(experiment.name for experiment in WARMED_SERVERS)


@dataclass(frozen=True, slots=True)
class Compared:
    """One run: what was predicted before it, what the model says now, and what was measured. Times in s."""

    experiment: str
    number: int
    rate: float
    load: float | None
    before: dict[str, Any]
    now: dict[str, Any]
    measured: dict[str, Any]

    def error(self, of: str, *, committed: bool = False) -> float:
        """Relative error of the model against what was measured."""
        told, found = (self.before if committed else self.now)[of], self.measured[of]
        return float(told / found - 1.0)


def measured(name: str) -> bool:
    """Whether an experiment has been run."""
    return (folder(ALL[name]) / "measured.json").exists()


@cache
def compare(name: str) -> tuple[Compared, ...]:
    """Every band of a measured experiment that the model can be asked about, with the model as it is now."""
    experiment = ALL[name]
    before, found = (read_json(folder(experiment) / f"{part}.json")["bands"] for part in ("prediction", "measured"))
    return tuple(
        Compared(name, number, band.rate, band.load, before[number], _now(experiment, number), found[number])
        for number, band in enumerate(experiment.bands)
    )


def _now(experiment: Experiment, number: int) -> dict[str, Any]:
    trace = told_trace(experiment, number)
    return predicted(experiment, trace, simulate_experiment(experiment, trace))


def columns(name: str, part: str = "measured", number: int = 0) -> dict[str, NDArray[Any]]:
    """A recorded table of an experiment."""
    return read_columns(folder(ALL[name]) / f"{part}-{number}.csv.xz")


# Quantities ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured value with the 95 % interval of its median (equal where it is one observation)."""

    value: float
    low: float
    high: float
    observations: int


def median(values: NDArray[np.float64]) -> Quantity:
    """Median with the interval between two order statistics (Conover, Practical Nonparametric Statistics, 3.2)."""
    ordered, n = np.sort(values), len(values)
    if n == 0:
        return Quantity(nan, nan, nan, 0)
    half = 1.96 * sqrt(n) / 2
    low, high = int(np.floor(n / 2 - half)), int(np.ceil(n / 2 + half))
    return Quantity(float(np.median(ordered)), float(ordered[max(0, low)]), float(ordered[min(n - 1, high)]), n)


def _one(value: float) -> Quantity:
    return Quantity(float(value), float(value), float(value), 1)


def opens_ms() -> NDArray[np.float64]:
    """Times to open a connection to PostgreSQL, ms."""
    units = columns("generator")
    return np.asarray(units["connected_us"] - units["started_us"], dtype=np.float64) / 1000.0


def grows(name: str, after_s: float, until_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(instants at which the pool had more connections than before, how many more)."""
    gauge = columns(name, "gauge")
    more = np.diff(gauge["total"])
    at_s = gauge["at_s"][1:]
    kept = (more > 0) & (at_s >= after_s) & (at_s < until_s)
    return at_s[kept], more[kept]


def _add_pause_ms() -> Quantity:
    at_s, _ = grows("pool-burst", 2.0, 4.0)
    between = median(np.diff(at_s) * 1000.0)
    open_ms = float(np.median(opens_ms()))
    return Quantity(between.value - open_ms, between.low - open_ms, between.high - open_ms, between.observations)


def _total_after_shrink() -> Quantity:
    gauge = columns("pool-resize", "gauge")
    return _one(gauge["total"][np.searchsorted(gauge["at_s"], 8.2) - 1])


def _shrink_hurts_ms() -> Quantity:
    units, due_s = columns("pool-resize"), columns("pool-resize")["due_us"] / 1e6
    waited_ms = (units["connected_us"] - units["started_us"]) / 1000.0

    def longest(from_s: float, to_s: float) -> float:
        return float(waited_ms[(due_s >= from_s) & (due_s < to_s)].max())

    return _one(longest(8.0, 9.0) - longest(7.0, 8.0))


def _took_s(name: str) -> NDArray[np.float64]:
    units = columns(name)
    ended = units["ended_us"] >= 0
    return np.where(ended, units["ended_us"] - units["started_us"], inf).astype(np.float64) / 1e6


def _hang_s(name: str) -> Quantity:
    """A call that hadn't ended when the run did took at least so long."""
    took_s = _took_s(name)
    experiment = EXPERIMENTS[name]
    seen_s = experiment.duration_s + experiment.tail_s - columns(name)["due_us"] / 1e6
    return _one(float(np.minimum(took_s, seen_s).max()))


def _first_connections_s(name: str) -> Quantity:
    """From the return of the endpoint to the first TCP connection there, by client; its waiting time if none came."""
    experiment = EXPERIMENTS[name]
    returned_s = max(endpoint.returns_s or 0.0 for endpoint in experiment.endpoints)
    came = read_json(folder(experiment) / "measured.json")["bands"][0]["tcp_connections_s"]
    returning = [came[i] for i in range(len(came)) if experiment.endpoints[i % experiment.nodes].returns_s is not None]
    end_s = experiment.duration_s + experiment.tail_s
    return median(np.array([(min(times) if times else end_s) - returned_s for times in returning]))


def _clients_back(name: str) -> Quantity:
    """Clients of which a call went to the returned endpoint within 10 s: it hangs there, since nobody answers."""
    units, trace = columns(name), columns(name, "trace")
    returned_s = max(endpoint.returns_s or 0.0 for endpoint in EXPERIMENTS[name].endpoints)
    since_s = units["due_us"] / 1e6 - returned_s
    hangs = (_took_s(name) > 1.0) & (since_s >= 0.0) & (since_s < 10.0)
    return _one(len(np.unique(trace["jvm"][hangs])))


def _connections_per_client(name: str) -> Quantity:
    came = read_json(folder(EXPERIMENTS[name]) / "measured.json")["bands"][0]["tcp_connections_s"]
    return median(np.array([len(times) for times in came[1::2]], dtype=np.float64))


def _connections(name: str) -> Quantity:
    came = read_json(folder(EXPERIMENTS[name]) / "measured.json")["bands"][0]["tcp_connections_s"]
    return _one(max(len(times) for times in came))


def _session_mib() -> Quantity:
    bands = read_json(folder(EXPERIMENTS["pool-hold"]) / "measured.json")["bands"]
    found = [size for band in bands for size in band["backends"]["private_bytes"]]
    return median(np.array(found, dtype=np.float64) / 2**20)


def _hanging_share() -> Quantity:
    took_s = _took_s("driver-lost")
    return _one(100.0 * float((took_s > 1.0).mean()))


def _server_facts(name: str) -> dict[str, Any]:
    band: dict[str, Any] = read_json(folder(EXPERIMENTS[name]) / "measured.json")["bands"][0]
    return band


def _pools_built(name: str, nodes: slice) -> Quantity:
    return median(np.array(_server_facts(name)["servers"]["pools_built"][nodes], dtype=np.float64))


def _connections_per_pool(name: str) -> Quantity:
    facts = _server_facts(name)
    return _one(facts["backends"]["count"] / sum(facts["servers"]["pools_built"]))


def _database_errors(name: str) -> Quantity:
    return _one(sum(count for kind, count in _server_facts(name)["failed"].items() if "division by zero" in kind))


def _starts_s() -> Quantity:
    bands = read_json(folder(EXPERIMENTS["first-connect"]) / "measured.json")["bands"]
    return median(np.array([started for band in bands for node in band["servers"]["start_s"] for started in node]))


def _first_connect_ms() -> Quantity:
    """By the servers' own metrics."""
    bands = read_json(folder(EXPERIMENTS["first-connect"]) / "measured.json")["bands"]
    return median(np.array([calls["connect"][1] for band in bands for calls in band["servers"]["calls"]]))


def first_pools(cores: int | None, server: Literal["cold", "warm"]) -> dict[int, list[dict[str, Any]]]:
    """What was measured of bursts of first connects, by how many there were at once."""
    starts = [start for start in read_json(FIRST_POOLS)["starts"] if start["cores"] == cores and server in start]
    bursts = [start[server] for start in starts]
    sizes = sorted({burst["connects"] for burst in bursts})
    return {connects: [burst for burst in bursts if burst["connects"] == connects] for connects in sizes}


def cold_pools_cpu_s() -> tuple[float, float, float]:
    """(a, b, root mean square of the relative errors): a + b n core seconds for n pools at once, server on one core.

    Least squares of relative errors: what a burst costs spreads in proportion to it.
    """
    bursts = [burst for some in first_pools(1, "cold").values() for burst in some]
    pools, used_s = (
        np.array([of(burst) for burst in bursts]) for of in (lambda b: b["pools"], lambda b: b["cpu_s"]["server"])
    )
    weighed = np.column_stack([1.0 / used_s, pools / used_s])
    (first, each), *_ = np.linalg.lstsq(weighed, np.ones(len(bursts)), rcond=None)
    off = weighed @ [first, each] - 1.0
    return float(first), float(each), float(np.sqrt(np.mean(off**2)))


def _failed(name: str) -> Quantity:
    return _one(sum(_server_facts(name)["failed"].values()))


@dataclass(frozen=True, slots=True)
class Comeback:
    """A server that was started again, s of the run: it listens, begins to build its first pool, has one, and so many."""

    listens_s: float
    asked_s: float
    built_s: float
    pools: int


def comebacks(name: str) -> list[Comeback]:
    """Each server that an experiment started again and that a client asked."""
    servers = _server_facts(name)["servers"]
    found = []
    for signal in EXPERIMENTS[name].signals:
        built = [
            (at, at - took) for at, took in servers["built_at_and_took_s"][signal.node] if at - took >= signal.at_s
        ]
        if signal.what == "start" and built:
            listens_s = signal.at_s + servers["start_s"][signal.node][1]
            found.append(Comeback(listens_s, min(begun for _, begun in built), min(at for at, _ in built), len(built)))
    return found


@cache
def lending_at_once(name: str) -> dict[str, Any]:
    """What the model says of an experiment whose slow slots are lent from its first second on."""
    experiment, trace = EXPERIMENTS[name], told_trace(EXPERIMENTS[name], 0)
    return predicted(experiment, trace, simulate_experiment(experiment, trace, lends_after_s=0.0))


def _failed_before(name: str) -> Quantity:
    """Failed units that were due before a server was back."""
    units = columns(name)
    back_s = min(signal.at_s for signal in EXPERIMENTS[name].signals if signal.what == "start")
    return _one(float(((units["error"] != "") & (units["due_us"] < back_s * 1e6)).sum()))


def _end_while_frozen() -> Quantity:
    """Share of the units due while a server is frozen that end well before it is thawed, %."""
    units = columns("freeze")
    frozen_s, thawed_s = (1e6 * signal.at_s for signal in EXPERIMENTS["freeze"].signals)
    due = (units["due_us"] >= frozen_s) & (units["due_us"] < thawed_s)
    ended = (units["error"] == "") & (units["due_us"] + units["ended_us"] < thawed_s)
    return _one(100.0 * float(ended[due].mean()))


QUANTITIES: dict[tuple[str, str], Callable[[], Quantity]] = {
    ("generator", "connection open, median"): lambda: median(opens_ms()),
    ("pool-burst", "interval between added connections less an open, median"): _add_pause_ms,
    ("pool-burst", "most connections in one interval"): lambda: _one(float(grows("pool-burst", 2.0, 4.0)[1].max())),
    ("pool-resize", "open connections 0.2 s after the shrink"): _total_after_shrink,
    ("pool-resize", "longest unit due within 1 s of the shrink, less that of the second before"): _shrink_hurts_ms,
    ("driver-refused", "longest getConnection"): lambda: _one(1000.0 * float(_took_s("driver-refused").max())),
    ("driver-refused", "getConnection, median"): lambda: median(1000.0 * _took_s("driver-refused")),
    ("driver-frozen", "getConnection"): lambda: _hang_s("driver-frozen"),
    ("driver-silent", "getConnection"): lambda: _hang_s("driver-silent"),
    ("driver-lost", "longest getConnection"): lambda: _hang_s("driver-lost"),
    ("driver-lost", "calls that took more than 1 s"): _hanging_share,
    ("driver-returns", "clients that were back within 10 s, of 1"): lambda: _clients_back("driver-returns"),
    ("driver-returns-late", "clients that were back within 10 s, of 1"): lambda: _clients_back("driver-returns-late"),
    ("driver-returns-many", "clients that were back within 10 s, of 6"): lambda: _clients_back("driver-returns-many"),
    ("driver-returns-busy", "clients that were back within 10 s, of 1"): lambda: _clients_back("driver-returns-busy"),
    ("driver-returns-many", "TCP connections of one client to the endpoint, median"): lambda: _connections_per_client(
        "driver-returns-many"
    ),
    ("generator", "connection open, the fastest tenth's slowest"): lambda: _one(float(np.quantile(opens_ms(), 0.1))),
    ("pool-hold", "private memory of a PostgreSQL session, median"): _session_mib,
    **{
        (name, f"first connection after the return{suffix}"): lambda name=name: _first_connections_s(name)  # type: ignore[misc]
        for name, suffix in (
            ("driver-returns", ""),
            ("driver-returns-late", ""),
            ("driver-returns-busy", ""),
            ("driver-returns-many", ", median"),
        )
    },
    **{
        (name, "TCP connections to the returned endpoint"): lambda name=name: _connections(name)  # type: ignore[misc]
        for name in ("driver-returns", "driver-returns-busy")
    },
    ("freeze", "units due while it is frozen that end meanwhile"): _end_while_frozen,
    ("first-connect", "process start to listening"): _starts_s,
    ("first-connect", "first connect on the server"): _first_connect_ms,
    ("first-connects-1", "pools built"): lambda: _pools_built("first-connects-1", slice(0, 1)),
    ("first-connects-3", "pools built on the first endpoint"): lambda: _pools_built("first-connects-3", slice(0, 1)),
    ("first-connects-3", "pools built on the other endpoints, median"): lambda: _pools_built(
        "first-connects-3", slice(1, 3)
    ),
    **{
        (name, "database connections at rest for each pool built"): lambda name=name: _connections_per_pool(name)  # type: ignore[misc]
        for name in ("first-connects-1", "first-connects-3")
    },
    **{
        (name, "database errors"): lambda name=name: _database_errors(name)  # type: ignore[misc]
        for name in ("leak-update", "leak-query", "breaker")
    },
    **{
        (name, what): lambda name=name, of=of: median(np.array([of(back) for back in comebacks(name)]))  # type: ignore[misc]
        for name in ("kill", "stop", "rolling", *WARMED)
        for what, of in (
            ("s from listening to the first connect", lambda back: back.asked_s - back.listens_s),
            ("s from the first connect to the first pool", lambda back: back.built_s - back.asked_s),
            ("pools built by a server that is back", lambda back: back.pools),
        )
    },
    **{
        (name, "failed units before a server is back"): lambda name=name: _failed_before(name)
        for name in ("kill", "stop")
    },  # type: ignore[misc]
    **{
        (name, "failed units"): lambda name=name: _failed(name)
        for name in ("kill", "stop", "rolling", "freeze", *WARMED)
    },  # type: ignore[misc]
}


def judged(claim: Claim) -> tuple[Quantity, str]:
    """What was measured, and whether the claim holds: by the whole interval, else it is undecided."""
    found = QUANTITIES[claim.experiment, claim.quantity]()
    if found.low >= claim.low and found.high <= claim.high:
        return found, "confirmed"
    if found.high < claim.low or found.low > claim.high:
        return found, "refuted"
    return found, "undecided"
