"""The steps of one unit of work as a table for the terminal: when, for how long, and what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

from rich import box
from rich.table import Table

from ojp_sizing.deployment.deployment import Deployment, describe
from ojp_sizing.deployment.situations import Situation
from ojp_sizing.simulation.following import Step
from ojp_sizing.sizing.question import Question


def follow_table(steps: Sequence[Step]) -> Table:
    """A row for each step, from the instant at which the unit was due."""
    due_s = steps[0].time_s
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("at, ms", "for, ms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what happens")
    ends_s = _ends_s(steps)
    for step, end_s in zip(steps, ends_s, strict=True):
        lasts = "" if step.place == "ended" else "no end" if end_s == inf else f"{(end_s - step.time_s) * 1e3:.3f}"
        table.add_row(f"{(step.time_s - due_s) * 1e3:.3f}", lasts, step_words(step))
    return table


def headline(unit: int, question: Question, deployment: Deployment, situation: Situation, steps: Sequence[Step]) -> str:
    """Which unit of which run, and how it ended."""
    of = f"{question.rate:,.6g} units/s of {question.workload.name} on {describe(deployment)}, {situation.words}"
    return f"Unit {unit}, due at {steps[0].time_s:.3f} s of a run: {of}"


def _ends_s(steps: Sequence[Step]) -> list[float]:
    """When each step is over: at the next one of its attempt."""
    ends_s = dict.fromkeys(range(len(steps)), inf)
    for attempt in {step.attempt for step in steps}:
        mine = [index for index, step in enumerate(steps) if step.attempt == attempt]
        ends_s |= {index: steps[following].time_s for index, following in pairwise(mine)}
    return list(ends_s.values())


def step_words(step: Step) -> str:
    """What a step is, in a sentence."""
    said = f"{step.rpc} to pod {step.pod}: " if step.rpc else ""
    again = f"try {step.attempt + 1}: " if step.attempt else ""
    return again + said + _place_words(step)


def _place_words(step: Step) -> str:
    others = f"{step.beside} other{'s' * (step.beside != 1)}"
    match step.place:
        case "client":
            return "the client works with the answer, or waits before it sends on"
        case "waits for a client thread":
            return "all threads of its JVM are busy; it waits for one"
        case "sent":
            return f"on its way; for the application the unit has ended: {step.reply}" if step.reply else "on its way"
        case "waits for a thread":
            return f"all {step.of:.0f} threads of the pod are busy; {others} wait for one"
        case "CPU":
            return f"on the pod's CPU, with {others}"
        case "waits for a slot":
            return f"waits for one of {step.of:.0f} {step.lane} slots; {others} wait"
        case "waits for a connection":
            return f"waits for one of {step.of:.0f} connections; {others} wait"
        case "database":
            return f"in the database, with {others}"
        case "builds":
            return "the pod opens its pool, or waits until that is open"
        case "answered":
            return f"the answer is on its way: {step.reply}"
        case _:
            return f"ended: {step.reply}" if step.reply else "the run ended first"
