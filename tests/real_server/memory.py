"""What a server's memory is made of, and the smallest limit with which it holds its load.

``parts``: what lives after a full collection, and the JVM's own account of native memory, by calls inside, threads and rows that
nobody has read yet. ``limits``: four sizes under load at once, with smaller and smaller heaps; then ten minutes in the limit that
the smallest good one needs, and some in nine tenths of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.random import SeedSequence, default_rng

from ojp_sizing.demand.workload import Duration, StatementClass, UnitOfWork, Workload
from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool, Deployment, ServerSettings
from ojp_sizing.errors import InputError
from ojp_sizing.sizing.resources import Memory, memory_of
from tests.real_server.artifacts import DRIVER, LIBRARIES, compiled, jar, java_home
from tests.real_server.groups import REST_SHARES, group
from tests.real_server.measure import machine, wait_until_ready
from tests.real_server.postgres import PASSWORD, USER, Postgres, postgres
from tests.real_server.processes import resident_bytes, running
from tests.real_server.recorded import DATA, SEED, read_json, write_json
from tests.real_server.servers import Node, servers
from tests.real_server.stage import LIMITED_BY, versions

FOLDER = DATA / "memory"
PREDICTION, PARTS, LIMITS = FOLDER / "prediction.json", FOLDER / "parts.json", FOLDER / "limits.json"
ASKS = "What is a server's memory made of, and with which smallest limit does it hold its load?"
MIB = 2**20

# Parts -----------------------------------------------------------------------------------------------------------

#: Heap of the servers whose parts are told, MiB, and the collector that a pod below two cores has.
HEAP_MIB = 512
_TRACKED = ("-XX:NativeMemoryTracking=summary", "-XX:+UseSerialGC", f"-Xms{HEAP_MIB}m", f"-Xmx{HEAP_MIB}m")
#: Calls inside at once, on a pool of ``CALLS_POOL``: the others wait for a connection in their threads.
CALLS, CALLS_POOL = (0, 50, 200, 400), 60
#: Results that are held, and rows in each; a row has a number and three texts of 32 characters.
RESULTS, ROWS = 8, (1, 1_000, 10_000, 50_000)
_ROW_SQL = "select g, md5(g::text), md5((g + 1)::text), md5((g + 2)::text) from generate_series(1, {rows}) g"
#: A look is that of a server which has had its code compiled by so many connections for so long.
WARM_S, WARM_CONNECTIONS = 20.0, 4


def measure_parts(port: int, tell: Callable[[str], None]) -> None:
    """A server for each state, first new, then warm, then in that state."""
    states = [{"calls": calls, "rows": 0} for calls in CALLS] + [{"calls": RESULTS, "rows": rows} for rows in ROWS]
    looks = []
    for state in states:
        with TemporaryDirectory(prefix="ojp-validate-") as room:
            looks.append(state | _looks(Path(room), port, **state))
        tell(f"{state}: {looks[-1]}")
    document = {
        "measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(), "versions": versions(),
        "limit_cores": 1.0, "flags": " ".join(_TRACKED), "pool": CALLS_POOL, "row": _ROW_SQL, "results": RESULTS,
        "states": looks,
    }  # fmt: skip
    write_json(PARTS, document)


def _looks(room: Path, port: int, calls: int, rows: int) -> dict[str, Any]:
    with ExitStack() as stack:
        database = stack.enter_context(postgres(room, port))
        path = _class_path(room, ClientPool(CALLS_POOL, 5, 60.0))
        settings = ServerSettings(thread_pool_size=max(CALLS), segregation=False)
        [node] = stack.enter_context(servers(settings, [port + 1], room, limit_cores=1.0, options=_TRACKED))
        url = f"jdbc:ojp[localhost:{port + 1}]_postgresql://{database.address}"
        told = {"new": _look(node)}
        _warm(room, path, url)
        told["warm"] = _look(node)
        if calls:
            sql = _ROW_SQL.format(rows=rows) if rows else "select pg_sleep(120)"
            holder = [java_home(17) / "bin" / "java", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
            words = ["-cp", path, "Holder", url, USER, PASSWORD, str(calls), "30" if rows else "6", sql]
            held = running([*holder, *words], room / "holder.log", stdin=subprocess.PIPE, output=subprocess.PIPE)
            wait_until_ready(stack.enter_context(held), room)
            time.sleep(2.0)
        return told | {"then": _look(node)}


def _look(node: Node) -> dict[str, Any]:
    """Resident memory, then what lives after a full collection, and native memory by its use; all in bytes."""
    assert node.process is not None
    resident = resident_bytes(node.process.pid)
    for _ in range(2):
        _jcmd(node, "GC.run")
    used_kib = [int(used) for used in re.findall(r"total \d+K, used (\d+)K", _jcmd(node, "GC.heap_info"))]
    account = _jcmd(node, "VM.native_memory", "summary", "scale=KB")
    native = {
        name.strip(): 1024 * int(committed)
        for name, committed in re.findall(r"^-\s+(.+?) \(reserved=\d+KB, committed=(\d+)KB", account, re.M)
    }
    native.pop("Java Heap", None)
    threads = re.search(r"\(threads #(\d+)\)", account) or re.search(r"\(thread #(\d+)\)", account)
    return {
        "resident_bytes": resident, "live_heap_bytes": 1024 * sum(used_kib), "native_bytes": sum(native.values()),
        "native": {name: size for name, size in native.items() if size >= MIB}, "threads": int(threads[1]) if threads else None,
        "resident_after_collection_bytes": resident_bytes(node.process.pid),
    }  # fmt: skip


def _jcmd(node: Node, *words: str) -> str:
    assert node.process is not None
    command = [java_home(21) / "bin" / "jcmd", str(node.process.pid), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def _class_path(room: Path, pool: ClientPool) -> str:
    classes = room / "classes"
    if not classes.exists():
        compiled(room)
    own = room / f"pool-{pool.maximum_size}"
    own.mkdir(exist_ok=True)
    (own / "ojp.properties").write_text(
        f"ojp.connection.pool.maximumPoolSize={pool.maximum_size}\nojp.connection.pool.minimumIdle={pool.minimum_idle}\n"
        f"ojp.connection.pool.connectionTimeout={round(pool.connection_timeout_s * 1000)}\n"
    )
    return os.pathsep.join(map(str, (own, classes, jar(DRIVER), *map(jar, LIBRARIES))))


def _warm(room: Path, path: str, url: str) -> None:
    (room / "warm.sql").write_text("select ?::float8\n")
    (room / "warm.csv").write_text("unit,due_s,transaction,text,write,sleep_s,think_s\n0,0.0,0,-1,0,0.0,0.0\n")
    words = {
        "--url": url, "--user": USER, "--password": PASSWORD, "--texts": room / "warm.sql", "--trace": room / "warm.csv",
        "--out": room / "warm-units.csv", "--threads": 1, "--until": 1.0, "--warm": WARM_CONNECTIONS,
        "--settle": WARM_S, "--settle-threads": WARM_CONNECTIONS,
    }  # fmt: skip
    command = [java_home(17) / "bin" / "java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", path]
    command += ["LoadGenerator", *(str(word) for pair in words.items() for word in pair)]
    with running(command, room / "warm.log", stdin=subprocess.PIPE, output=subprocess.PIPE) as client:
        wait_until_ready(client, room)


# Limits ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Size:
    """A server and its load: units of one query of ``rows`` rows that takes 20 ms in the database."""

    name: str
    limit_cores: float
    connections: int
    threads: int
    units_per_s: float
    rows: int


SIZES = (
    Size("quarter", 0.25, 6, 200, 40.0, 1),
    Size("half", 0.5, 20, 200, 120.0, 1),
    Size("one", 1.0, 60, 400, 250.0, 1),
    Size("one-rows", 1.0, 20, 200, 25.0, 2_000),
)
#: Heaps that are tried, MiB; the first is that of the answers before this was measured.
HEAPS_MIB = (448, 96, 64, 48, 32, 24, 16)
#: A try, and how much of it comes before the first unit that counts.
TRY_S, SETTLE_S, LONG_S = 75.0, 30.0, 600.0
#: p99 may be so many times that of the largest heap, and pauses may take that share of the time: where it is 1 % p99 is one.
MOST_P99, MOST_PAUSED = 1.1, 0.0075
#: Above the peak of what was resident: the limit of the long run; and the limit that should be too small.
ABOVE, BELOW = 1.02, 0.9


def recommended(size: Size) -> Memory:
    """What the constants in force ask for."""
    text = StatementClass("t0", "select 1", "read", Duration(0.02, 1.0, "constant"), share=1.0, rows=size.rows)
    workload = Workload("memory", (text,), (UnitOfWork("unit", 1.0, ("t0",)),))
    server = ServerSettings(thread_pool_size=size.threads, segregation=False)
    pool = ClientPool(size.connections, min(5, size.connections))
    return memory_of(workload, Deployment(1, size.limit_cores, pool, server))


def predict_memory() -> None:
    """Write what the constants of that day say of each size, to be held against what is found."""
    found = {size.name: {"size": asdict(size), "memory": asdict(recommended(size))} for size in SIZES}
    names = ("base", "per_connection", "per_request", "per_row")
    constants = {f"heap_{name}_bytes": getattr(default_constants(), f"heap_{name}_bytes") for name in names}
    native = {name: getattr(default_constants(), name) for name in ("native_base_bytes", "native_per_thread_bytes")}
    write_json(PREDICTION, {"asks": ASKS, "constants": constants | native, "sizes": found})


def measure_limits(port: int, tell: Callable[[str], None]) -> None:
    """All sizes at once: heaps from the largest to the smallest; then the smallest good one in its limit, and below it."""
    tries: dict[str, list[dict[str, Any]]] = {size.name: [] for size in SIZES}
    document: dict[str, Any] = {
        "measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(), "versions": versions(),
        "limited_by": LIMITED_BY + "; memory by a control group of its own", "sizes": [asdict(size) for size in SIZES],
        "tries": tries,
    }  # fmt: skip
    known = read_json(LIMITS) if LIMITS.exists() else {"tries": {}}
    for heap_mib in HEAPS_MIB if not any(known["tries"].values()) else ():
        found = _play(port, {size.name: (heap_mib, None) for size in SIZES}, TRY_S)
        for name, one in found.items():
            tries[name].append(one)
        tell(f"{heap_mib} MiB: {found}")
        write_json(LIMITS, document)
    document["tries"] = tries = known["tries"] or tries
    smallest = {name: smallest_good(of_size) for name, of_size in tries.items()}
    limits = {name: (one["heap_mib"], round(one["peak_bytes"] * ABOVE)) for name, one in smallest.items()}
    for label, factor, duration_s in (("below", BELOW, TRY_S), ("long", 1.0, LONG_S)):
        given = {name: (heap_mib, round(limit * factor)) for name, (heap_mib, limit) in limits.items()}
        document[label] = _play(port, given, duration_s)
        tell(f"{label}: {document[label]}")
        write_json(LIMITS, document)


def smallest_good(tries: list[dict[str, Any]]) -> dict[str, Any]:
    """The smallest heap with which nothing failed, and no collection was seen in p99."""
    largest = max(tries, key=lambda one: int(one["heap_mib"]))
    good = [one for one in tries if is_good(one, largest)] or [largest]
    return min(good, key=lambda one: int(one["heap_mib"]))


def is_good(one: Mapping[str, Any], largest: Mapping[str, Any]) -> bool:
    """Whether a run held its load as the one with the largest heap did."""
    if one["ended"] or one["failed"] or one["p99_s"] is None:
        return False
    return bool(one["p99_s"] <= MOST_P99 * largest["p99_s"] and one["paused_share"] <= MOST_PAUSED)


def _play(port: int, given: Mapping[str, tuple[int, int | None]], duration_s: float) -> dict[str, dict[str, Any]]:
    """Each size with a heap (MiB) and a limit (bytes; None: none)."""
    with TemporaryDirectory(prefix="ojp-validate-") as directory, ExitStack() as stack:
        room = Path(directory)
        rest = stack.enter_context(group("rest", REST_SHARES))
        database = stack.enter_context(postgres(room, port, enter=rest.enter))
        runs = [
            stack.enter_context(_run(room, port, number, size, database, rest.enter, *given[size.name], duration_s))
            for number, size in enumerate(SIZES)
        ]
        zero = time.time() + 1.0
        for run in runs:
            run.begin(zero)
        time.sleep(max(0.0, zero + SETTLE_S - time.time()))
        for run in runs:
            run.settled = len(run.collections())
        time.sleep(max(0.0, zero + duration_s + 3.0 - time.time()))
        return {run.size.name: run.end() for run in runs}


@dataclass(slots=True)
class _Run:
    size: Size
    heap_mib: int
    limit_bytes: int | None
    node: Node
    client: subprocess.Popen[str]
    room: Path
    group: Path
    duration_s: float
    is_ready: bool = True
    settled: int = 0
    """So many lines of the collector's log come before what counts."""

    def collections(self) -> list[str]:
        return (self.room / "gc.log").read_text().splitlines()

    def begin(self, zero: float) -> None:
        if not self.is_ready:
            return
        assert self.client.stdin is not None
        self.client.stdin.write(f"{round(zero * 1000)}\n")
        self.client.stdin.flush()

    def end(self) -> dict[str, Any]:
        """What became of it. Peaks are of what no other process can have back: resident memory, not files."""
        if self.is_ready:
            self.client.wait(60.0)
        ended = self.node.process is None or self.node.process.poll() is not None
        status = "" if ended or self.node.process is None else Path(f"/proc/{self.node.process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        kills = re.search(r"oom_kill (\d+)", (self.group / "memory.oom_control").read_text())
        text = (self.room / "units.csv").read_text() if (self.room / "units.csv").exists() else ""
        rows = [line.split(",") for line in text.splitlines()[1:]]
        counted = [row for row in rows if float(row[1]) >= SETTLE_S]
        took_s = [float(row[4]) - float(row[1]) for row in counted if not row[6]]
        pauses = [line for line in self.collections()[self.settled :] if re.search(r"Pause .* [\d.]+ms$", line)]
        pauses_ms = [float(line.removesuffix("ms").rpartition(" ")[2]) for line in pauses]
        return {
            "heap_mib": self.heap_mib, "limit_bytes": self.limit_bytes, "ended": ended,
            "killed": int(kills[1]) if kills else None, "peak_bytes": 1024 * int(peak[1]) if peak else None,
            "units": len(counted), "failed": sum(1 for row in counted if row[6]),
            "p50_s": round(float(np.quantile(took_s, 0.5)), 5) if took_s else None,
            "p99_s": round(float(np.quantile(took_s, 0.99)), 5) if took_s else None,
            "pauses": len(pauses_ms), "full_collections": sum("Pause Full" in line for line in pauses),
            "longest_pause_ms": max(pauses_ms, default=0.0),
            "paused_share": round(sum(pauses_ms) / 1000.0 / (self.duration_s - SETTLE_S), 6),
        }  # fmt: skip


@contextmanager
def _run(
    room: Path, port: int, number: int, size: Size, database: Postgres, enter: list[str], heap_mib: int,
    limit_bytes: int | None, duration_s: float,
) -> Iterator[_Run]:  # fmt: skip
    own = room / size.name
    own.mkdir()
    compiled_once = room / "classes"
    if not compiled_once.exists():
        compiled(room)
    (own / "classes").symlink_to(compiled_once)
    path = _class_path(own, ClientPool(size.connections, min(5, size.connections)))
    server_port = port + 1 + number
    options = (
        f"-Xms{heap_mib}m", f"-Xmx{heap_mib}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError",
        f"-Xlog:gc:file={own / 'gc.log'}:uptime",
    )  # fmt: skip
    settings = ServerSettings(thread_pool_size=size.threads, segregation=False)
    with ExitStack() as stack:
        limited = stack.enter_context(_memory_group(size.name, limit_bytes))
        [node] = stack.enter_context(
            servers(settings, [server_port], own, limit_cores=size.limit_cores, options=options, enter=_enter(limited))
        )
        url = f"jdbc:ojp[localhost:{server_port}]_postgresql://{database.address}"
        (own / "texts.sql").write_text(f"{_ROW_SQL.format(rows=size.rows)}, pg_sleep(?::float8)\n")
        rng = default_rng(SeedSequence(SEED, spawn_key=(number,)))
        due_s = np.cumsum(rng.exponential(1.0 / size.units_per_s, round(size.units_per_s * duration_s)))
        lines = [f"{unit},{at:.6f},0,0,0,0.02,0.0" for unit, at in enumerate(due_s[due_s < duration_s].tolist())]
        (own / "trace.csv").write_text("\n".join(["unit,due_s,transaction,text,write,sleep_s,think_s", *lines]) + "\n")
        words = {
            "--url": url, "--user": USER, "--password": PASSWORD, "--texts": own / "texts.sql", "--trace": own / "trace.csv",
            "--out": own / "units.csv", "--threads": 200, "--until": duration_s + 2.0, "--warm": min(4, size.connections),
            "--settle": 15.0, "--settle-threads": 2,
        }  # fmt: skip
        quiet = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-Xmx256m", "-XX:+UseSerialGC"]
        command = [*enter, java_home(17) / "bin" / "java", *quiet, "-cp", path, "LoadGenerator"]
        command += [str(word) for pair in words.items() for word in pair]
        client = stack.enter_context(
            running(command, own / "client.log", stdin=subprocess.PIPE, output=subprocess.PIPE)
        )
        run = _Run(size, heap_mib, limit_bytes, node, client, own, limited, duration_s)
        try:
            wait_until_ready(client, own)
        except RuntimeError:  # the server was killed while it was warmed up
            run.is_ready = False
        yield run


_HIERARCHY = Path("/sys/fs/cgroup/memory")


@contextmanager
def _memory_group(name: str, limit_bytes: int | None) -> Iterator[Path]:
    """A control group (cgroup v1) in which the kernel ends what takes more than the limit."""
    found = re.search(r"^\d+:memory:/(.*)$", Path("/proc/self/cgroup").read_text(), re.M)
    path = _HIERARCHY / (found[1] if found else "") / f"ojp-validate-{os.getpid()}-{name}"
    try:
        path.mkdir()
        if limit_bytes is not None:
            (path / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError:
        with suppress(OSError):
            path.rmdir()
        raise InputError(
            "memory limit", f"no control group can be made in {_HIERARCHY}", "run as root, cgroup v1"
        ) from None
    try:
        yield path
    finally:
        for _ in range(100):
            try:
                path.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def _enter(path: Path) -> tuple[str, ...]:
    """Words before a command's: it is in the group from its first instruction on."""
    return "sh", "-c", 'echo $$ > "$0" && exec "$@"', str(path / "cgroup.procs")
