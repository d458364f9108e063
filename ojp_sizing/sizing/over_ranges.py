"""Inputs that are only known as ranges: a size at their mids, held against their ends, and sized again where it doesn't hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

from ojp_sizing.demand.ranges import settled_workload
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.sizing.evidence import Bench, Evaluation, Rejection, explore
from ojp_sizing.sizing.question import Question
from ojp_sizing.sizing.screen import expected_use
from ojp_sizing.sizing.space import first_guess
from ojp_sizing.uncertain import Range, WholeRange, ranges_in, settled

Chosen = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class End:
    """One input at one end of its range (``is_high``), all others at their mids.

    ``outcome``: what a few runs of the deployment showed there. ``cost_move``: how the cost of what closed forms would try
    first moves from where all are at their mids; inf where they leave nothing. ``use``: of the deployment's busier one of CPU
    and connections, by closed forms.
    """

    name: str
    value: float
    is_high: bool
    outcome: Evaluation | Rejection
    cost_move: float
    use: float

    @property
    def broke(self) -> bool:
        """Whether a limit was broken."""
        return isinstance(self.outcome, Rejection)

    @property
    def hardness(self) -> tuple[bool, float, float, bool]:
        """What makes one end harder than another: a broken limit and by how much, then cost, then use; high, where none tells.

        Figures of runs that broke nothing would tell by chance.
        """
        excess = self.outcome.excess if isinstance(self.outcome, Rejection) else self.cost_move
        return self.broke, excess, round(self.use, 9), self.is_high


@dataclass(frozen=True, slots=True)
class OverRanges:
    """What an answer over ranges rests on.

    ``asked``: the question with its ranges. ``ends``: of the deployment that was sized ``at_mids`` and costs
    ``cost_at_mids`` (None: of a given one). ``hard``: the harder end of each input. ``decides``: the input that is worth
    measuring first. ``resized``: the answer was sized at the hard ends of all. ``broken_ends``: where it broke a limit
    after all.
    """

    asked: Question
    inputs: Mapping[str, Range | WholeRange]
    ends: tuple[End, ...]
    hard: Chosen
    decides: str
    at_mids: Deployment | None
    cost_at_mids: float | None
    resized: bool = False
    broken_ends: tuple[End, ...] = ()


def inputs_of(question: Question) -> dict[str, Range | WholeRange]:
    """Every input of a question that is a range, by its path; of constants what is in force."""
    found = dict(ranges_in(question.workload))
    if isinstance(question.rate, Range):
        found["rate"] = question.rate
    found |= ranges_in(question.known, "constants")
    return found


def settled_question(question: Question, chosen: Chosen) -> Question:
    """The question with each range at the value that is chosen for it, or else at its mid."""
    return replace(
        question,
        workload=settled_workload(question.workload, chosen),
        rate=float(settled(question.rate, chosen, "rate")),
        constants=settled(question.known, chosen, "constants"),
    )


def ends_of(bench: Bench, question: Question, deployment: Deployment) -> tuple[End, ...]:
    """The deployment with each input of ``question`` at its low end, and at its high one."""
    at_mids = first_guess(settled_question(question, {}))
    base = question.cost(at_mids) if at_mids else inf
    found: list[End] = []
    for name, ends in inputs_of(question).items():
        for is_high, value in enumerate((ends.low, ends.high)):
            there = settled_question(question, {name: value})
            outcome = explore(replace(bench, question=there), settled_deployment(deployment, there))
            guess = first_guess(there)
            move = there.cost(guess) - base if guess and base < inf else inf
            use = expected_use(there, deployment).share
            found.append(End(name, value, bool(is_high), outcome, move, use))
    return tuple(found)


def settled_deployment(deployment: Deployment, question: Question) -> Deployment:
    """The same, by the constants of a question without ranges."""
    return replace(deployment, constants=question.known)


def over_ranges(
    question: Question, ends: tuple[End, ...], at_mids: Deployment | None, cost: float | None
) -> OverRanges:
    """What the ends say: the harder one of each input, and the input whose harder end is the hardest."""
    hard: dict[str, End] = {}
    for end in ends:
        if end.name not in hard or end.hardness > hard[end.name].hardness:
            hard[end.name] = end
    decides = max(hard.values(), key=lambda end: end.hardness).name
    return OverRanges(
        question, inputs_of(question), ends, {name: end.value for name, end in hard.items()}, decides, at_mids, cost
    )
