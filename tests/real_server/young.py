"""What calls cost a server whose process is new: CPU by what it has answered since its start, at several rates and sizes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from ojp_sizing.deployment.constants import default_constants
from ojp_sizing.deployment.deployment import ClientPool
from tests.real_server.call_rates import (
    CHANNELS,
    HOLDING,
    MOST_OTHERS,
    SIZES,
    Calls,
    Law,
    Phase,
    Place,
    Played,
    Size,
    Times,
    between,
    expect,
    look,
    mean_calls,
    place_for,
    send,
    without_jit_s,
)
from tests.real_server.measure import machine
from tests.real_server.recorded import DATA, SEED, read_json, write_json
from tests.real_server.stage import LIMITED_BY, stage, versions

FOLDER = DATA / "young"
PREDICTION, RECORD = FOLDER / "prediction.json", FOLDER / "measured.json"
ASKS = "Core seconds of a call on a real server, by what its process has answered since its start"

#: Units of a pod that is started anew: most are short, some are transactions.
MIX = ("query", "query", "query", "transaction")
#: Looks are close where things change fast: so many times so long, one after the other.
LOOKS_S = (*[0.1] * 10, *[1.0] * 19, *[3.0] * 10, *[5.0] * 4)
#: A client drains between two looks.
PAUSE_S, START_S = 0.05, 12.0


@dataclass(frozen=True, slots=True)
class Course:
    """A server that has just started, and how many units come to it in a second."""

    size: Size
    rate_per_s: float


_QUARTER, _HALF, _ONE, _TWO = SIZES
COURSES = (
    Course(_QUARTER, 10.0),
    Course(_HALF, 30.0),
    Course(_ONE, 10.0),
    Course(_ONE, 100.0),
    Course(_TWO, 100.0),
    Course(_TWO, 500.0),
)


def longest_s(courses: Sequence[Course] = COURSES, looks_s: Sequence[float] = LOOKS_S) -> float:
    """How long all of it takes."""
    return len(courses) * (START_S + sum(looks_s) + PAUSE_S * len(looks_s))


# The prediction --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Youth:
    """What a new process needs beyond what its calls cost it later, JIT included: ``most_s`` core seconds in all, of which the
    first ``calls`` calls take half (``most_s * n / (n + calls)`` after n of them)."""

    most_s: float
    calls: float

    def used_s(self, calls: float) -> float:
        """Core seconds that the first ``calls`` calls take beyond what they cost later."""
        return self.most_s * calls / (calls + self.calls)


#: From rough trials: a server with some 100 calls in a second took 5.7 ms a unit in its first 10 s, 2.5 at 30 s, 1.15 at 70 s.
ROUGH = Youth(most_s=15.0, calls=2000.0)
#: What is told, before and after: after about so many calls.
AT = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)


def prediction(youth: Youth) -> dict[str, Any]:
    """What each course should take beyond the cost of calls of a server that has run for long."""
    return {
        "asks": ASKS,
        "by_law": {
            "says": "most * n / (n + calls) core seconds more for the first n calls, compiler and all, whatever size and rate",
            **asdict(youth),
            "from": "rough trials of 2026-11-30 on a machine that others used as well",
        },
        "extra_cpu_s": {str(calls): round(youth.used_s(calls), 4) for calls in AT},
    }  # fmt: skip


def predict_young() -> None:
    """Write ``prediction.json``."""
    write_json(PREDICTION, prediction(ROUGH))


# The measurement -------------------------------------------------------------------------------------------------


def measure_young(
    port: int,
    tell: Callable[[str], None],
    courses: Sequence[Course] = COURSES,
    looks_s: Sequence[float] = LOOKS_S,
    path: Path = RECORD,
) -> None:
    """A new server for each course. What is measured is written down course by course."""
    document: dict[str, Any] = {
        "asks": ASKS, "measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(),
        "versions": versions(), "settings": "OJP's defaults (pool of 20, segregation), the JVM's defaults",
        "limited_by": {"quota": LIMITED_BY, "cores": "taskset"}, "mix": "+".join(MIX), "most_others": MOST_OTHERS,
        "courses": [],
    }  # fmt: skip
    tell(f"some {longest_s(courses, looks_s) / 60.0:.1f} minutes")
    with stage(port, ClientPool()) as scene:
        for course in courses:
            with place_for(scene, course.size, Times()) as place:
                measured = _measured(place, course, looks_s)
            document["courses"].append(measured)
            tell(_line(measured))
            write_json(path, document)


def _measured(place: Place, course: Course, looks_s: Sequence[float]) -> dict[str, Any]:
    """Looks at one server from its first calls on: each says what was used, and answered, since the one before."""
    phase = Phase("+".join(MIX), course.rate_per_s, HOLDING)
    began = before = look(place)
    looks = []
    for number, span_s in enumerate(looks_s):
        counted = _sent(place, phase, span_s, SEED + number)
        after = look(place)
        used = between(before, after)
        before = after
        looks.append({
            "calls": sum(counted[name] for name in counted if name in _METHODS), "rows": counted["rows"],
            **{name: counted[name] for name in ("units", "failed", "skipped", "due")},
            **{name: round(value, 4) for name, value in used.items() if not name.startswith("database")},
        })  # fmt: skip
    others = between(began, before)
    return {
        "size": course.size.name, "cores": course.size.cores, "rate_per_s": course.rate_per_s,
        "start_s": place.node.started_s, "until_first_look_cpu_s": round(began.used["cpu_s"], 4),
        "calls_until_first_look": 3 * CHANNELS, "looks": looks,
        "disturbed": others["others_cpu_s"] > MOST_OTHERS * others["looked_s"] * (os.cpu_count() or 1),
    }  # fmt: skip


_METHODS = ("connect", "executeQuery", "executeUpdate", "startTransaction", "commitTransaction", "terminateSession")


def _sent(place: Place, phase: Phase, span_s: float, seed: int) -> dict[str, Any]:
    """Units for a while, and all of their answers."""
    send(place, phase, Times(0.0, span_s), seed)
    expect(place, "BEGIN")
    expect(place, "END")
    told: dict[str, Any] = json.loads(expect(place, "{"))
    return told


def _line(measured: dict[str, Any]) -> str:
    looks = measured["looks"]
    calls = sum(each["calls"] for each in looks)
    last = looks[len(looks) // 2 :]
    return (
        f"{measured['size']} {measured['rate_per_s']:g}/s: {calls} calls, {sum(each['cpu_s'] for each in looks):.2f} core s "
        f"(JIT {sum(each['jit_cpu_s'] for each in looks):.2f}); second half "
        f"{1e3 * sum(each['cpu_s'] for each in last) / max(1, sum(each['calls'] for each in last)):.3f} ms per call; skipped "
        f"{sum(each['skipped'] for each in looks)}" + (" DISTURBED" if measured["disturbed"] else "")
    )


# What it says ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extra:
    """What a server of a size took beyond what its calls cost it later, after so many of them: core seconds; and each over
    twice the root of the calls, the sum of 1 / sqrt(n)."""

    size: str
    rate_per_s: float
    calls: int
    handlers_s: float
    compiler_s: float

    @property
    def young_cpu_s(self) -> float:
        """Of its handlers."""
        return self.handlers_s / (2.0 * sqrt(self.calls))

    @property
    def compile_cpu_s(self) -> float:
        """Of its compiler."""
        return self.compiler_s / (2.0 * sqrt(self.calls))


def extras(path: Path = RECORD) -> list[list[Extra]]:
    """Of each undisturbed course, at the looks after so many calls; a call is taken to cost later what the model's law says."""
    law, unit = Law.of(default_constants()), mean_calls(MIX)
    return [_of_course(course, law, unit) for course in read_json(path)["courses"] if not course["disturbed"]]


def _of_course(course: dict[str, Any], law: Law, unit: Calls) -> list[Extra]:
    calls_per_s = course["rate_per_s"] * unit.number
    later_s = (
        Played(course["size"], "", course["rate_per_s"], CHANNELS, calls_per_s, 1.0, 1.0, unit).by(law) / calls_per_s
    )
    calls, handlers_s, compiler_s = course["calls_until_first_look"], 0.0, 0.0
    found: list[Extra] = []
    for each in course["looks"]:
        begun = calls
        calls += each["calls"]
        handlers_s += without_jit_s(each) - later_s * each["calls"]
        compiler_s += each["jit_cpu_s"]
        if any(begun < at <= calls for at in AT) or each is course["looks"][-1]:
            found.append(Extra(course["size"], course["rate_per_s"], calls, handlers_s, compiler_s))
    return found
