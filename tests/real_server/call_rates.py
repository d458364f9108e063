"""What a call costs a real server, by how many come in a second: plain calls at rising rates, on servers of four sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from ojp_sizing.deployment.constants import Constants, default_constants
from ojp_sizing.deployment.deployment import ClientPool, ServerSettings
from tests.real_server.artifacts import java_home
from tests.real_server.measure import machine, wait_until_ready
from tests.real_server.postgres import PASSWORD, USER
from tests.real_server.processes import busy_s, cpu_s, running, threads_cpu_s
from tests.real_server.recorded import DATA, SEED, read_json, write_json
from tests.real_server.servers import Node, servers
from tests.real_server.stage import LIMITED_BY, Stage, stage, versions

FOLDER = DATA / "call-rates"
PREDICTION, RECORD, SHARED_RECORD = (FOLDER / f"{name}.json" for name in ("prediction", "measured", "shared"))
ASKS = "Core seconds of a call on a real server, by the rate of calls"

# What is played --------------------------------------------------------------------------------------------------

CHANNELS = 16
#: Mixes whose units read no rows.
WITHOUT_ROWS = ("connect", "connect-terminate", "query", "transaction")


@dataclass(frozen=True, slots=True)
class Size:
    """A server: the cores that it may use, by a quota or by ``taskset``, and how long it is warmed up.

    ``shared``: others work on the machine, too: a process for each core, half of the time, through more memory than caches hold.
    """

    name: str
    cores: float
    quota: bool
    warm_s: float
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """Units of one mix, as Poisson arrivals or (no rate) in a closed loop; ``outstanding``: the most under way."""

    mix: str
    rate_per_s: float | None
    outstanding: int
    channels: int = CHANNELS


@dataclass(frozen=True, slots=True)
class Times:
    """How long things take; of ``Size.warm_s`` this share."""

    settle_s: float = 1.5
    phase_s: float = 8.0
    idle_s: float = 5.0
    warm_share: float = 1.0


SIZES = (
    Size("quota 0.25", 0.25, True, 120.0),
    Size("quota 0.5", 0.5, True, 120.0),
    Size("1 core", 1.0, False, 60.0),
    Size("2 cores", 2.0, False, 60.0),
)
SHARED = (Size("2 cores, shared", 2.0, False, 60.0, True),)
CONNECT_RATES = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0)
UNIT_RATES, CHANNEL_RATES = (50.0, 200.0, 600.0), (200.0, 1000.0)
#: Units that keep a connection: fewer than the pool has, so that none waits for one. Others: as many as the server has threads.
HOLDING, NOT_HOLDING, CLOSED = 16, 200, 64
MIXES = ("connect-terminate", "query", "transaction", "rows-100")
WARM_UP = Phase("+".join(("connect", *MIXES)), None, HOLDING)
#: A phase is too much for its size, and the last of its ladder, where the server used more than this share of its cores
#: without JIT, or the client skipped more than that of its units: compiling for a while is no reason to stop.
MOST_USE, MOST_SKIPPED = 0.85, 0.10
#: Other programs may use this share of the machine's cores; beyond it a phase is disturbed, and should be repeated.
MOST_OTHERS = 0.10
#: How long a client's JVM and a server's take to be there, and a phase to drain: to tell how long all of it takes.
START_S, DRAIN_S = 8.0, 0.3


def ladders() -> list[list[Phase]]:
    """Phases of rising rate; one that is too much for a size is its ladder's last."""
    found = [[Phase("connect", rate, NOT_HOLDING) for rate in CONNECT_RATES], [Phase("connect", None, CLOSED)]]
    for mix in MIXES:
        most = NOT_HOLDING if mix == "connect-terminate" else HOLDING
        found.append([Phase(mix, rate, most) for rate in UNIT_RATES])
    found += [[Phase("connect", rate, NOT_HOLDING, channels) for rate in CHANNEL_RATES] for channels in (1, CHANNELS)]
    return found


def longest_s(sizes: Sequence[Size] = SIZES, times: Times = Times()) -> float:
    """How long a measurement takes in which every ladder is climbed to its top."""
    phase_s = times.settle_s + times.phase_s + DRAIN_S
    each_s = START_S + times.idle_s + phase_s * sum(map(len, ladders()))
    return sum(each_s + size.warm_s * times.warm_share for size in sizes)


# The prediction --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of a unit, by the constant that the model charges; ``row_blocks`` are blocks of 100 rows."""

    connect: float
    small: float
    statements: float
    row_blocks: float

    @property
    def number(self) -> float:
        """All of them. A block of rows is no call."""
        return self.connect + self.small + self.statements

    def cpu_s(self, costs: Costs) -> float:
        """Core seconds of a unit at a constant cost per call."""
        return (
            self.connect * costs.connect_cpu_s
            + self.small * costs.small_rpc_cpu_s
            + self.statements * costs.statement_cpu_s
            + self.row_blocks * costs.row_block_cpu_s
        )


def mean_calls(names: Sequence[str]) -> Calls:
    """Calls of the mean of these units."""
    each = [CALLS[name] for name in names]
    return Calls(*(sum(getattr(calls, of.name) for calls in each) / len(each) for of in fields(Calls)))


#: To the model terminateSession costs what connect does. No unit closes its ResultSet: terminateSession does.
CALLS = {
    "connect": Calls(1, 0, 0, 0.0),
    "connect-terminate": Calls(2, 0, 0, 0.0),
    "query": Calls(2, 0, 1, 0.01),
    "transaction": Calls(2, 2, 2, 0.01),
    "rows-100": Calls(2, 0, 1, 1.0),
}


@dataclass(frozen=True, slots=True)
class Costs:
    """The model's constants of calls, core seconds."""

    connect_cpu_s: float
    small_rpc_cpu_s: float
    statement_cpu_s: float
    row_block_cpu_s: float

    @classmethod
    def of(cls, constants: Constants) -> Self:
        """Those in force."""
        return cls(*(getattr(constants, field.name) for field in fields(cls)))


@dataclass(frozen=True, slots=True)
class WakeLaw:
    """A call that comes when there was none for ``tau_s`` costs ``wake_s`` more; calls come as a Poisson process."""

    c0_s: float
    wake_s: float
    tau_s: float

    def woken_s(self, calls_per_s: float) -> float:
        """What waking adds to a call, core seconds, in the mean."""
        return self.wake_s * float(np.exp(-calls_per_s * self.tau_s))

    def cost_s(self, calls_per_s: float) -> float:
        """Core seconds of a call."""
        return self.c0_s + self.woken_s(calls_per_s)


#: Of connects on two cores, JIT left out: rough trials of 2026-11-30 on a machine that others used as well.
ROUGH = WakeLaw(c0_s=0.085e-3, wake_s=0.75e-3, tau_s=1.2e-3)


def prediction(costs: Costs, law: WakeLaw) -> dict[str, Any]:
    """What each phase should use: at a constant cost per call, and by the law."""
    return {
        "asks": ASKS,
        "by_constants": {"says": "each call costs the same at every rate (the model today)", **asdict(costs)},
        "by_wake_law": {
            "says": "c0 + wake * exp(-R * tau) for a call where R calls come in a second, all kinds together",
            **asdict(law),
            "from": "rough trials of 2026-11-30: connects on 2 cores, JIT left out, others used the machine as well",
            "of_other_calls": "c0 in the proportion of the constants; wake and tau the same, as if each call came by itself",
            "of_other_sizes": "the same on every size",
        },
        "closed_loop": "the rate isn't predicted; the law says that nothing is woken",
        "sizes": [
            {"size": size.name, "cores": size.cores, "phases": [_predicted(size, p, costs, law) for p in _phases()]}
            for size in SIZES
        ],
    }


def _phases() -> list[Phase]:
    return [phase for ladder in ladders() for phase in ladder]


def _predicted(size: Size, phase: Phase, costs: Costs, law: WakeLaw) -> dict[str, Any]:
    calls = CALLS[phase.mix]
    constant_s = calls.cpu_s(costs)
    bare_s = constant_s * law.c0_s / costs.connect_cpu_s
    if phase.rate_per_s is None:
        return {**asdict(phase), "by_constants": _used(constant_s), "by_wake_law": _used(bare_s)}
    calls_per_s = calls.number * phase.rate_per_s
    law_s = bare_s + calls.number * law.woken_s(calls_per_s)
    return {
        **asdict(phase),
        "calls_per_s": calls_per_s,
        "by_constants": _used(constant_s, phase.rate_per_s, size.cores),
        "by_wake_law": _used(law_s, phase.rate_per_s, size.cores),
    }


def _used(unit_cpu_s: float, rate_per_s: float | None = None, most_cores: float = 0.0) -> dict[str, float]:
    """Core seconds of a unit; and cores, which are no more than the server may use."""
    told = {"unit_cpu_s": round(unit_cpu_s, 9)}
    if rate_per_s is not None:
        told["cores"] = round(min(most_cores, rate_per_s * unit_cpu_s), 6)
    return told


def predict_call_rates() -> None:
    """Write ``prediction.json``."""
    write_json(PREDICTION, prediction(Costs.of(default_constants()), ROUGH))


# The measurement -------------------------------------------------------------------------------------------------

#: Kinds of the server's threads, by how their names begin. Without G1 the VM thread collects garbage.
THREADS = {
    "jit": ("C1 Compiler", "C2 Compiler"),
    "gc": ("GC Thread", "G1 ", "VM Thread"),
    "io": ("grpc-nio",),
    "workers": ("pool-",),
}
KINDS = (*THREADS, "other_threads")


#: Somebody else on the machine: 5 ms of work through 64 MiB, 5 ms of sleep.
NEIGHBOUR = """
import time, numpy
memory, at = numpy.zeros(8 << 20), 0
while True:
    until = time.monotonic() + 0.005
    while time.monotonic() < until:
        memory[at : at + 65536] += 1.0
        at = (at + 65536) % len(memory)
    time.sleep(0.005)
"""


@dataclass(frozen=True, slots=True)
class Place:
    """One server of a size, its client and its database."""

    size: Size
    stage: Stage
    node: Node
    client: subprocess.Popen[str]
    neighbours: Sequence[subprocess.Popen[str]]
    times: Times

    @property
    def server_pid(self) -> int:
        """The server's process."""
        assert self.node.process is not None
        return self.node.process.pid


def measure_call_rates(
    port: int,
    tell: Callable[[str], None],
    sizes: Sequence[Size] = SIZES,
    times: Times = Times(),
    path: Path = RECORD,
) -> None:
    """A new server for each size. What is measured is written down size by size."""
    document: dict[str, Any] = {
        "asks": ASKS, "measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(),
        "versions": versions(), "settings": "OJP's defaults (pool of 20, segregation), the JVM's defaults",
        "limited_by": {"quota": LIMITED_BY, "cores": "taskset"}, "times": asdict(times),
        "most_others": MOST_OTHERS, "most_use": MOST_USE, "most_skipped": MOST_SKIPPED, "sizes": [],
    }  # fmt: skip
    tell(f"at most {longest_s(sizes, times) / 60.0:.1f} minutes")
    with stage(port, ClientPool()) as scene:
        for size in sizes:
            with place_for(scene, size, times) as place:
                document["sizes"].append(_measured(place, tell))
            write_json(path, document)
    disturbed = sum(phase["disturbed"] for size in document["sizes"] for phase in size["phases"])
    tell(f"{disturbed} phases were disturbed by other programs")


@contextmanager
def place_for(scene: Stage, size: Size, times: Times) -> Iterator[Place]:
    """A server of this size, and a client that is ready."""
    cores, limit_cores = (None, size.cores) if size.quota else (round(size.cores), None)
    command = [*scene.rest.enter, str(java_home(17) / "bin" / "java"), "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]
    command += ["-Xmx512m", "-cp", scene.class_path, "CallLoad", str(scene.port + 1), scene.database.address]
    command += [USER, PASSWORD, str(CHANNELS)]
    with ExitStack() as stack:
        enter = stack.enter_context
        [node] = enter(servers(ServerSettings(), [scene.port + 1], scene.room, cores=cores, limit_cores=limit_cores))
        client = enter(running(command, scene.room / "client.log", stdin=subprocess.PIPE, output=subprocess.PIPE))
        wait_until_ready(client, scene.room)
        work = [sys.executable, "-c", NEIGHBOUR]
        number = (os.cpu_count() or 1) if size.shared else 0
        neighbours = [enter(running(work, scene.room / "neighbour.log")) for _ in range(number)]
        yield Place(size, scene, node, client, neighbours, times)


def _measured(place: Place, tell: Callable[[str], None]) -> dict[str, Any]:
    """Everything that is played on one server."""
    size, times = place.size, place.times
    tell(f"{size.name}: warm-up")
    warm = _played(place, WARM_UP, Times(0.0, size.warm_s * times.warm_share))
    tell(f"{size.name}: {_line(warm)}")
    before = look(place)
    time.sleep(times.idle_s)
    idle = between(before, look(place))
    phases: list[dict[str, Any]] = []
    for ladder in ladders():
        for phase in ladder:
            played = _played(place, phase, times, seed=SEED + len(phases))
            phases.append(played)
            tell(f"{size.name}: {_line(played)}")
            if played["too_much"]:
                break
    return {
        "size": size.name, "cores": size.cores, "start_s": place.node.started_s, "warm_up": warm, "idle": idle,
        "backends": len(place.stage.database.backends()), "phases": phases,
    }  # fmt: skip


def _played(place: Place, phase: Phase, times: Times, seed: int = SEED) -> dict[str, Any]:
    """One phase: what the client counted, and who used what CPU meanwhile."""
    send(place, phase, times, seed)
    expect(place, "BEGIN")
    before = look(place)
    expect(place, "END")
    used = between(before, look(place))
    counted = json.loads(expect(place, "{"))
    others = used["others_cpu_s"] / used["looked_s"]
    busy = without_jit_s(used) / used["looked_s"] > MOST_USE * place.size.cores
    return {
        **asdict(phase), **_told(counted), **used, "load_average": round(os.getloadavg()[0], 2),
        "disturbed": others > MOST_OTHERS * (os.cpu_count() or 1),
        "too_much": busy or counted["skipped"] > MOST_SKIPPED * counted["due"],
    }  # fmt: skip


def send(place: Place, phase: Phase, times: Times, seed: int) -> None:
    """Have the client play a phase."""
    words = (
        phase.mix, phase.rate_per_s or 0.0, phase.outstanding, times.settle_s, times.phase_s, seed, phase.channels,
    )  # fmt: skip
    assert place.client.stdin is not None
    place.client.stdin.write(" ".join(map(str, words)) + "\n")
    place.client.stdin.flush()


def expect(place: Place, word: str) -> str:
    """The client's next line. It ends by itself where calls have no answer, and so does its output."""
    assert place.client.stdout is not None
    line = place.client.stdout.readline()
    if not line.startswith(word):
        log = (place.stage.room / "client.log").read_text()[-2000:]
        raise RuntimeError(f"the client said {line!r} instead of {word}:\n{log}")
    return line


#: What the client counts beside its calls.
_OTHER_COUNTS = ("seconds", "units", "failed", "skipped", "rows", "due", "late_ns", "failures")


def _told(counted: dict[str, Any]) -> dict[str, Any]:
    late_s = counted["late_ns"] / 1e9 / counted["due"] if counted["due"] else 0.0
    return {
        "calls": {name: count for name, count in counted.items() if name not in _OTHER_COUNTS and count},
        **{name: counted[name] for name in ("seconds", "units", "failed", "failures", "skipped", "rows")},
        "late_mean_s": round(late_s, 6),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """What everybody has used up to now, core seconds; the server's threads by id."""

    used: dict[str, float]
    threads: dict[int, tuple[str, float]]


def look(place: Place) -> Look:
    used = {
        "looked_s": time.monotonic(),
        "cpu_s": cpu_s(place.server_pid),
        "client_cpu_s": cpu_s(place.client.pid),
        "database_cpu_s": place.stage.database.cpu_s(),
        "neighbours_cpu_s": sum(cpu_s(each.pid) for each in place.neighbours),
        "machine_cpu_s": busy_s(),
        **(place.node.group.throttled() if place.node.group else {}),
    }
    return Look(used, threads_cpu_s(place.server_pid))


def between(before: Look, after: Look) -> dict[str, float]:
    """What was used between two looks; ``others``: by whatever else runs on the machine.

    What threads used that ended meanwhile is in ``cpu_s`` only, which counts in ticks of 10 ms.
    """
    used = {name: round(value - before.used[name], 6) for name, value in after.used.items()}
    by_kind = dict.fromkeys(KINDS, 0.0)
    for number, (name, seconds) in after.threads.items():
        by_kind[_kind(name)] += seconds - before.threads.get(number, ("", 0.0))[1]
    known_s = sum(used[f"{who}cpu_s"] for who in ("", "client_", "database_", "neighbours_"))
    return {
        **used,
        "others_cpu_s": round(used["machine_cpu_s"] - known_s, 6),
        **{f"{kind}_cpu_s": round(seconds, 6) for kind, seconds in by_kind.items()},
    }


def _kind(thread: str) -> str:
    return next((kind for kind, beginnings in THREADS.items() if thread.startswith(beginnings)), "other_threads")


def _line(played: dict[str, Any]) -> str:
    """A phase, for who waits."""
    rate = "closed" if played["rate_per_s"] is None else f"{played['rate_per_s']:g}/s"
    calls, seconds = sum(played["calls"].values()), played["looked_s"]
    return (
        f"{played['mix']} {rate} on {played['channels']}: {calls / played['seconds']:.0f} calls/s, "
        f"{played['cpu_s'] / seconds:.3f} cores (JIT {played['jit_cpu_s'] / seconds:.3f}), "
        f"{1e3 * without_jit_s(played) / max(1, calls):.4f} ms per call, failed {played['failed']}, "
        f"skipped {played['skipped']}, others {played['others_cpu_s'] / seconds:.2f}"
        + (" DISTURBED" if played["disturbed"] else "")
    )


def without_jit_s(used: dict[str, Any]) -> float:
    """The CPU of all threads but those of the JIT compiler, by the scheduler's own count."""
    return float(sum(used[f"{kind}_cpu_s"] for kind in KINDS if kind != "jit"))


# What it says ----------------------------------------------------------------------------------------------------

#: From one call's reaching the server to the next one's of the same unit, which is sent when it has been answered: as waking sees
#: it. Not measured.
BETWEEN_S = 1e-3


@dataclass(frozen=True, slots=True)
class Law(Costs):
    """What the model charges (``behaviour.executor``): a call's work, handing it to a thread, and waking one that has paused."""

    hand_over_cpu_s: float
    wake_cpu_s: float
    wake_after_s: float


@dataclass(frozen=True, slots=True)
class Played:
    """A phase: what it used beyond an idle server, JIT left out; and what the law needs to know of it.

    ``calls`` of its mean unit; ``alone``: the share of the handing over that is paid.
    """

    size: str
    mix: str
    rate_per_s: float | None
    channels: int
    calls_per_s: float
    cores: float
    alone: float
    calls: Calls

    def by(self, law: Law) -> float:
        """Cores by the law: a call finds as many under way as a processor-sharing server has at the use that was measured."""
        calls = self.calls
        first, later = (
            -np.expm1(-self.calls_per_s * pause_s) / (self.calls_per_s * law.wake_after_s)
            for pause_s in (law.wake_after_s, min(BETWEEN_S, law.wake_after_s))
        )
        wakes = law.wake_cpu_s * (first + (calls.number - 1) * later)
        unit_s = calls.cpu_s(law) + calls.number * law.hand_over_cpu_s * self.alone + wakes
        return float(self.calls_per_s / calls.number * unit_s)

    def error(self, law: Law) -> float:
        """Relative: above 0 where the law says more."""
        return self.by(law) / self.cores - 1.0


def played(path: Path = RECORD) -> list[Played]:
    """Every phase that nobody disturbed, the warm-up's closed loop among them.

    One that was too much for its size is left out, unless it is a closed loop: calls that wait come in clumps.
    """
    return [
        _one(size, phase)
        for size in read_json(path)["sizes"]
        for phase in (size["warm_up"], *size["phases"])
        if not phase["disturbed"] and (phase["rate_per_s"] is None or not phase["too_much"])
    ]


def _one(size: dict[str, Any], phase: dict[str, Any]) -> Played:
    idle_cores, cores = (without_jit_s(used) / used["looked_s"] for used in (size["idle"], phase))
    calls_per_s = sum(phase["calls"].values()) / phase["seconds"]
    # A server with a quota may use all of the machine's cores until that is spent.
    there = max(1, round(size["cores"])) if "quota" not in size["size"] else 2
    closed = phase["outstanding"] if phase["rate_per_s"] is None else None
    alone = _alone(cores, there, closed)
    return Played(
        size["size"], phase["mix"], phase["rate_per_s"], phase["channels"], calls_per_s, cores - idle_cores, alone,
        mean_calls(phase["mix"].split("+")),
    )  # fmt: skip


def _alone(used_cores: float, there: int, outstanding: int | None) -> float:
    """The mean of 1 / (1 + k / cores) over the k calls that a new one finds under way: all others in a closed loop, else those
    of an M/M/c queue of this use."""
    if outstanding is not None:
        return 1.0 / (1.0 + (outstanding - 1) / there)
    inside = np.arange(400)
    weights = np.cumprod([1.0, *(min(used_cores, 0.99 * there) / np.minimum(inside[1:], there))])
    return float((weights / (1.0 + inside / there)).sum() / weights.sum())


def fit_law(phases: Sequence[Played]) -> Law:
    """Least squares of relative errors over phases on many channels, so that a dear call counts no more than a cheap one."""
    kept = [phase for phase in phases if phase.channels == CHANNELS]
    start = np.log([3e-5, 3e-5, 1e-4, 3e-5, 6e-5, 3e-4, 1e-2])
    bounds = np.log([1e-7] * 6 + [1e-4]), np.log([1e-2] * 6 + [1.0])

    def errors(logarithms: NDArray[np.float64]) -> NDArray[np.float64]:
        law = Law(*(float(value) for value in np.exp(logarithms)))
        return np.array([phase.error(law) for phase in kept])

    found = optimize.least_squares(errors, start, bounds=bounds, xtol=1e-10, ftol=1e-10)
    return Law(*(float(value) for value in np.exp(found.x)))
