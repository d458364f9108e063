"""``python -m tests.real_server [predict|measure|calibrate|cpu|first-pools|report|validate] [experiment ...]``."""

from __future__ import annotations

import argparse
import signal
import sys
from functools import partial

from ojp_sizing.ending import BY_SIGNAL
from ojp_sizing.errors import EXIT_BAD_INPUT, InputError
from tests.real_server.experiments import PARTS, SERVERS, Experiment
from tests.real_server.later import ALL, CPU
from tests.real_server.processes import interrupts_unwind

#: Experiments with a way of their own, and their calibrations.
ALONE = ("end-to-end", "quota-0.5", "quota-0.25", "cpu-bound-0.5", "cpu-bound-1", "memory", "starts", "openings")
#: Take as long as everything that ``validate`` does: only where they are named.
NAMED = (
    "call-rates",
    "call-rates-shared",
    "young",
    "locks",
    "lock-stalls",
    "many-clients",
    "memory-parts",
    "memory-limits",
    CPU,
)
CALIBRATIONS = ("statements", "calls", "most")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real_server", description=__doc__)
    parser.add_argument("step", choices=["predict", "measure", "calibrate", "cpu", "first-pools", "report", "validate"])
    parser.add_argument("experiments", nargs="*", help="names; all that can be run where none is given")
    parser.add_argument("--port", type=int, default=21059, help="the first of the ports that are used")
    given = parser.parse_args()
    known = CALIBRATIONS if given.step == "calibrate" else (*ALL, *ALONE, *NAMED)
    unknown = [name for name in given.experiments if name not in known]
    interrupts_unwind()
    try:
        if unknown:
            raise InputError(unknown[0], "no such experiment", f"there are {', '.join(known)}")
        chosen = [ALL[name] for name in given.experiments if name in ALL]
        if chosen or not given.experiments:
            _do(given.step, chosen, given.port)
        _do_alone(given.step, given.experiments, given.port)
    except InputError as problem:
        print(problem, file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return BY_SIGNAL + signal.SIGINT
    return 0


def _do_alone(step: str, names: list[str], port: int) -> None:
    """What has a way of its own; after all else where everything is validated anew."""
    from tests.real_server import cpu, end_to_end
    from tests.real_server.call_rates import SHARED, SHARED_RECORD, measure_call_rates, predict_call_rates
    from tests.real_server.course import measure_course, predict_course
    from tests.real_server.footprint import measure_memory, measure_openings, measure_starts
    from tests.real_server.later import CPU, CPU_ROUNDS, VERSION
    from tests.real_server.locks import STALLS, measure_locks, predict_locks
    from tests.real_server.many_clients import measure_many_clients, predict_many_clients
    from tests.real_server.memory import measure_limits, measure_parts, predict_memory
    from tests.real_server.recorded import DATA
    from tests.real_server.report_limited import COURSES
    from tests.real_server.young import measure_young, predict_young

    if step == "calibrate":
        for name in names or CALIBRATIONS:
            print(f"calibrate {name}", flush=True)
            getattr(end_to_end, f"calibrate_{name}")(port)
    if step == "predict":
        for course in COURSES:
            if not names or course.name in names:
                predict_course(course)
        if not names or "call-rates" in names:
            predict_call_rates()
        if not names or "young" in names:
            predict_young()
        if not names or "locks" in names:
            predict_locks()
        if not names or "many-clients" in names:
            predict_many_clients()
        if not names or {"memory-parts", "memory-limits"} & set(names):
            predict_memory()
        if not names or CPU in names:
            cpu.predict_cpu(VERSION, DATA / CPU / "prediction.json")
    if step in ("measure", "validate"):
        ways = {course.name: partial(measure_course, course) for course in COURSES}
        ways |= {"memory": measure_memory, "starts": measure_starts, "openings": measure_openings}
        tell = partial(print, flush=True)
        shared = partial(measure_call_rates, tell=tell, sizes=SHARED, path=SHARED_RECORD)
        ways |= {"call-rates": partial(measure_call_rates, tell=tell), "call-rates-shared": shared}
        ways |= {"young": partial(measure_young, tell=tell), "locks": partial(measure_locks, tell=tell)}
        ways[CPU] = partial(cpu.measure_cpu, version=VERSION, path=DATA / CPU / "measured.json", rounds=CPU_ROUNDS)
        ways["lock-stalls"] = partial(measure_locks, tell=tell, cells=STALLS)
        ways["many-clients"] = partial(measure_many_clients, tell=tell)
        ways |= {"memory-parts": partial(measure_parts, tell=tell), "memory-limits": partial(measure_limits, tell=tell)}
        for name in names if names or step == "measure" else ALONE:
            if name in ways:
                print(f"measure {name}", flush=True)
                ways[name](port)


def _do(step: str, chosen: list[Experiment], port: int) -> None:
    from tests.real_server.cpu import measure_cpu
    from tests.real_server.first_pools import measure_first_pools
    from tests.real_server.measure import measure
    from tests.real_server.prediction import predict
    from tests.real_server.report import report

    if step == "predict":
        for experiment in chosen or list(ALL.values()):
            print(f"predict {experiment.name}", flush=True)
            predict(experiment)
    if step in ("measure", "validate"):
        for experiment in chosen or PARTS:
            print(f"measure {experiment.name}: {experiment.asks}", flush=True)
            measure(experiment, port)
    if step == "cpu":
        measure_cpu(port)
    if step == "first-pools":
        measure_first_pools(port)
    if step in ("report", "validate"):
        report()
    if step == "validate" and not chosen:
        for experiment in SERVERS:
            print(f"measure {experiment.name}: {experiment.asks}", flush=True)
            measure(experiment, port)


if __name__ == "__main__":
    sys.exit(main())
