"""docs/stories.md and its figures from runs of the model: ``python -m scripts.make_stories``, the same bytes every time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ojp_sizing as ojp
from ojp_sizing.behaviour.kinds import ENDINGS, Ending
from ojp_sizing.deployment.disruption import DatabaseTrouble
from tests.verification.page import COLOURS, Drawing, table

ROOT = Path(__file__).resolve().parent.parent
SEED = 1
#: When the trouble of every story begins (s).
BEGIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a story: what was different in it, and what came of it."""

    name: str
    outcomes: ojp.Outcomes

    @property
    def hazards(self) -> dict[str, int]:
        """How often each trap was met."""
        return {hazard.name: hazard.count for hazard in self.outcomes.hazards}

    @property
    def good(self) -> NDArray[np.float64]:
        """Units that ended well, in each whole second (per s)."""
        o = self.outcomes
        ended_s = (o.arrival_s + o.latency_s)[o.outcome == Ending.OK]
        return np.histogram(ended_s, np.arange(int(o.end_s) + 1))[0].astype(np.float64)

    def column(self, table_name: str, field: str) -> NDArray[np.float64]:
        """A sampled field at whole seconds: (seconds, rows)."""
        return self.outcomes.samples[table_name][field].astype(np.float64)

    def rate(self, field: str) -> NDArray[np.float64]:
        """What each pod counted in each second: (seconds - 1, pods). A new process counts from where the old one ended."""
        return np.maximum(0.0, np.diff(self.column("pods", field), axis=0))


def _workload(texts: int, mean_s: float, statements: int) -> ojp.Workload:
    classes = tuple(
        ojp.StatementClass(f"q{i}", f"q{i}", "read", ojp.Duration(mean_s, family="constant"), share=1.0)
        for i in range(texts)
    )
    return ojp.Workload("story", classes, (ojp.UnitOfWork("unit", 1.0, statements),), clients=ojp.Clients(8, 50))


def convoy() -> list[Run]:
    """One pod, 400 client threads, a database that is 20 times slower for 3 s; 200 executor threads, then 500."""
    trace = ojp.sample_trace(_workload(4, 0.010, 1), 500, 90, SEED)
    trouble = DatabaseTrouble(BEGIN_S, 3.0, slowdown=20.0)
    runs = []
    for threads in (200, 500):
        server = ojp.ServerSettings(thread_pool_size=threads, segregation=False)
        deployment = ojp.Deployment(1, 4.0, ojp.ClientPool(20, 20), server, ojp.Database(cores=32))
        runs.append(
            Run(f"threadPoolSize {threads}", ojp.simulate(trace, deployment, trouble, recovery_s=1e6, tail_s=0.0))
        )
    return runs


def classifier() -> list[Run]:
    """One pod with 7 connections, ten texts of 20 ms, a database that is 30 times slower for 4 s."""
    trace = ojp.sample_trace(_workload(10, 0.020, 2), 40, 240, SEED)
    trouble = DatabaseTrouble(BEGIN_S, 4.0, slowdown=30.0)
    settings = ojp.ServerSettings(thread_pool_size=500)
    variants = {
        "as it was": settings,
        "interval 0": replace(settings, update_global_average_s=0.0),
        "segregation off": replace(settings, segregation=False),
    }
    deployment = ojp.Deployment(1, 4.0, ojp.ClientPool(7, 7), database=ojp.Database(cores=32))
    return [
        Run(name, ojp.simulate(trace, replace(deployment, server=server), trouble, recovery_s=1e6, tail_s=0.0))
        for name, server in variants.items()
    ]


def rolling() -> list[Run]:
    """web-oltp at 1,200 units/s: three replicas with 30 connections, nine with 28 (4 a pod for 9, 8 and 7 pods), and these
    with pools that are built before clients reach a pod that is back."""
    trace = ojp.sample_trace(ojp.read_workload("web-oltp"), 1200, 200, SEED)
    runs = []
    for replicas, cores, pool, warm in ((3, 4.0, 30, False), (9, 2.0, 28, False), (9, 2.0, 28, True)):
        server = ojp.ServerSettings(segregation=False)
        deployment = ojp.Deployment(
            replicas, cores, ojp.ClientPool(pool, 5), server, ojp.Database(cores=32), warm_pools=warm
        )
        update = ojp.sample_rolling_update(deployment, BEGIN_S, SEED)
        outcomes = ojp.simulate(trace, deployment, update, recovery_s=30, tail_s=0.0)
        runs.append(Run(f"{replicas} replicas, maximumPoolSize {pool}{', warm pools' * warm}", outcomes))
    return runs


# Figures ------------------------------------------------------------------------------------------------------------

Curves = Sequence[tuple[str, NDArray[np.float64]]]


def figure(title: str, panels: Sequence[tuple[str, Curves]]) -> str:
    """A panel below the other for each (heading, curves by second); the scale of each begins at 0."""
    left, width, inner_h, step = 60.0, 560.0, 110.0, 165.0
    drawing = Drawing(left + width + 170, 40 + step * len(panels), title)
    drawing.text(14, 22, title, bold=True, size=14)
    for index, (heading, curves) in enumerate(panels):
        top = 62 + step * index
        seconds = max(len(values) for _, values in curves)
        most = max(1.0, *(float(values.max()) for _, values in curves))
        drawing.text(left, top - 8, heading, bold=True)
        for part in (0.0, 0.5, 1.0):
            y = top + inner_h * (1 - part)
            drawing.line([(left, y), (left + width, y)], "#cccccc", 0.7)
            drawing.text(left - 6, y + 4, f"{part * most:,.0f}", anchor="end", size=11)
        for second in range(0, seconds + 1, 10 if seconds <= 120 else 20):
            drawing.text(left + second / seconds * width, top + inner_h + 15, f"{second}", anchor="middle", size=11)
        drawing.text(left + width + 24, top + inner_h + 15, "seconds", size=11)
        for place, (name, values) in enumerate(curves):
            colour = COLOURS[place % len(COLOURS)]
            drawing.line(
                [(left + i / seconds * width, top + inner_h * (1 - v / most)) for i, v in enumerate(values)],
                colour,
                1.5,
            )
            drawing.line(
                [(left + width + 12, top + 8 + 18 * place), (left + width + 30, top + 8 + 18 * place)], colour, 2
            )
            drawing.text(left + width + 36, top + 12 + 18 * place, name, size=11)
    return str(drawing)


def rows_of(runs: Sequence[Run]) -> str:
    """What came of each run."""
    rows = []
    for run in runs:
        o = run.outcomes
        outcome = o.outcome[: o.arrived]
        failed = [f"{ENDINGS[i]} {n:,}" for i in range(1, len(ENDINGS)) if (n := int((outcome == i).sum()))]
        traps = ", ".join(f"`{name}` {count:,}" for name, count in run.hazards.items())
        good = f"{int((outcome == Ending.OK).sum()):,} of {o.arrived:,}"
        rows.append([run.name, good, "; ".join(failed) or "none", f"{int((outcome < 0).sum()):,}", traps or "none"])
    return table(["run", "units that ended well", "failed", "unfinished at the end", "traps met"], rows)


def documents() -> dict[str, str]:
    """Every file that the command writes, by its path in the repository."""
    return written(convoy(), classifier(), rolling())


def written(jam: Sequence[Run], trap: Sequence[Run], update: Sequence[Run]) -> dict[str, str]:
    """The page and the figures of these runs."""
    jam_queue = jam[0].column("jvms", "waiting").sum(axis=1)
    jam_waiters = jam[0].column("pools", "waiting").sum(axis=1)
    stuck = int(np.argmax(jam[0].good == 0))
    still = int((jam[0].good[20:] == 0).sum())
    slow_share = trap[0].rate("classed_slow").sum(axis=1)
    trap_rest = [float(run.good[20:].mean()) for run in trap]
    first = update[0].outcomes.changes
    stops = [change.time_s for change in first if change.state == "stopping"]
    last_ready = max(change.time_s for change in first if change.state == "ready")
    before, after = (float(update[0].good[a:b].mean()) for a, b in ((2, 10), (int(last_ready), int(last_ready) + 29)))
    over_s = [max(change.time_s for change in run.outcomes.changes if change.state == "ready") for run in update[1:]]
    cold, warm = (float(run.good[int(end_s) :][:20].mean()) for run, end_s in zip(update[1:], over_s, strict=True))
    built = {hazard.name: hazard.count for hazard in update[1].outcomes.hazards}["pool_orphaned"]
    alone = {hazard.name: hazard.first_s for hazard in update[0].outcomes.hazards}["one_pod_left"]
    page = f"""# Three stories

Each is one run of the model with seed 1, so the numbers are examples, without intervals. None was measured on a running
OJP; the rules behind them are in [model.md](model.md). `make stories` writes this page and its figures. Tables name the
traps by their names in `data/hazards.csv`.

## The convoy

**What people saw.** The database was slow for 3 s. It has been well since, and the application stands still.

![Throughput and waiting](figures/stories-convoy.svg)

**What happened inside.** One pod, 20 connections, 200 threads (the default), 400 client threads, 500 queries/s of 10 ms.
From second 10 to 13 statements take 20 times as long. Callers pile up and wait for a connection, each on a thread of the
executor. In second {stuck} no unit ends any more. {jam_waiters.max():.0f} threads of 200 wait for a connection. The
20 connections are held by sessions that are done; the `terminate` that would free each of them stands in the executor's queue
behind the waiters, and {jam_queue.max():,.0f} units wait in the clients at most. Threads come free when a wait has lasted
10 s, and new waiters take them. After second 20, {still} of {len(jam[0].good) - 20} seconds see not one unit end.

**Why no formula says so.** Connections are busy to about a third, and threads hardly at all, before and after the slow
spell. Nothing is too small on average. The order of the queue makes the jam.

**The fix.** More threads than callers that can pile up: 500 for 400. The same run then works off its backlog.

{rows_of(jam)}

## The classifier trap

**What people saw.** Ten statements, all of 20 ms. The database was slow for 4 s. For minutes afterwards nearly everything fails,
although the database is well again.

![Throughput and statements in the slow lane](figures/stories-classifier.svg)

**What happened inside.** One pod, 7 connections: 6 fast slots and 1 slow one. 40 units/s of two queries each. In the slow
spell averages rise to more than twice the overall average, which isn't made anew for 300 s: all ten texts are slow, and
compete for one slot. Whoever has it waits for a connection; the connections are held by sessions that wait for the slot.
After 10 s the wait fails, and the 10 s are learned too, which keeps the texts slow. Up to {slow_share.max():.0f} statements/s
are sent to the slow lane. From second 20 on {trap_rest[0]:.1f} units/s end well, of 40.

**Why no formula says so.** 80 statements of 20 ms are 1.6 busy connections of 7. A formula has no memory of a bad spell.

**The fix.** `updateGlobalAvgInterval` 0 ends the misclassing: `everything_slow` isn't met any more. Here **it isn't
enough**: slots and connections still lock each other, in the fast lane, and {trap_rest[1]:.1f} units/s end well.
Segregation off fixes it: {trap_rest[2]:.1f} units/s. The classifier still learns that all is slow, but nobody asks it.

{rows_of(trap)}

## The update in which one pod carried everything

**What people saw.** A rolling update of three replicas, each Ready before the next was stopped. The service went down, and
didn't come back when the update was over.

![RPCs of each pod](figures/stories-rolling.svg)

**What happened inside.** web-oltp, 1,200 units/s. Pods are stopped at {", ".join(f"{s:.1f}" for s in stops)} s. The second stop
comes at the instant at which the first new pod is Ready, but clients look for a lost pod only every 10 s or so. At {alone:.1f} s
a client sees a single pod, and soon all do: it carries everything. Its pool is told to grow and to shrink by clients that
disagree, and is emptied; callers pile up on its 200 threads, and the convoy of the first story begins. {before:,.0f} units/s
ended well before the update; in the 29 s after the last pod was Ready ({last_ready:.1f} s) it is {after:,.0f}.

**Why no formula says so.** A plan for one pod lost has two left. Kubernetes and the clients look at different clocks, and
for some seconds two are missing.

**The fix has two parts.** More replicas, and a pool whose share doesn't change while two are missing: 28 connections are 4 a
pod for 9, 8 and 7 pods. No client is left with one pod. **That isn't enough**: the first pod that is back
has no pool, each call that comes meanwhile builds one ({built:,} in all that nobody ever closes), all clients wait for
it, and then they come to the others at once: in the 20 s after the last pod was Ready ({over_s[0]:.1f} s) {cold:,.0f} units/s end
well. With pools that one connection has built before clients reach a pod ([restarts.md](restarts.md)) no trap is met, nothing
is felt during the update, and in the 20 s after it ({over_s[1]:.1f} s) it is {warm:,.0f} units/s. It is more CPU, too (18
cores for 12).

{rows_of(update)}
"""
    return {
        "docs/stories.md": page,
        "docs/figures/stories-convoy.svg": figure(
            "The convoy: database slow from second 10 to 13",
            [
                ("Units that end well, per second", [(run.name, run.good) for run in jam]),
                (
                    "Threads waiting for a connection",
                    [(run.name, run.column("pools", "waiting").sum(axis=1)) for run in jam],
                ),
            ],
        ),
        "docs/figures/stories-classifier.svg": figure(
            "The classifier trap: database slow from second 10 to 14",
            [
                ("Units that end well, per second", [(run.name, run.good) for run in trap]),
                (
                    "Statements classed as slow, per second",
                    [(run.name, run.rate("classed_slow").sum(axis=1)) for run in trap],
                ),
            ],
        ),
        "docs/figures/stories-rolling.svg": figure(
            "Rolling update from second 10",
            [
                (f"{update[0].name}: RPCs of each pod, per second",
                 [(f"pod {pod}", values) for pod, values in enumerate(update[0].rate("rpcs").T)]),
                *((f"{run.name}: units that end well, per second", [("all pods", run.good)]) for run in update),
            ],
        ),
    }  # fmt: skip


def main() -> int:
    """Write the page and its figures."""
    for path, content in documents().items():
        (ROOT / path).write_text(content, encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
