"""Slots and connections that wait for each other, with segregation on (reference 1.2): who can, and where it is near.

It takes some P + F callers inside a pod at once (P connections, F fast slots): first statements hold every slot and wait
for connections, sessions hold every connection and wait for slots. Real servers locked so in steady load and over bursts,
and got over stalls that brought more (docs/validation-details.md): so many are needed, and not always enough.
"""

from __future__ import annotations

from ojp_sizing.demand.workload import UnitOfWork, Workload
from ojp_sizing.deployment.deployment import Deployment
from ojp_sizing.deployment.rules import Action, Finding
from ojp_sizing.sizing.question import Question
from ojp_sizing.theory.offered import statements_of

#: A pod that stands still for so long, for its collector, its compiler or its CPU quota, is nothing rare.
STALL_S = 0.2
#: Near: units inside in the mean, and those that come in a stall, are this share of P + F or more. Of the cells that were
#: measured those at 0.68 and above locked, but for one at 0.69; those at 0.48 and below didn't.
NEAR = 0.6


def can_lock(workload: Workload) -> bool:
    """Whether slots and connections can lock each other with segregation on (reference 1.2).

    That takes callers that hold a slot and wait for a connection, first statements outside of any session, and callers that
    hold a connection and wait for a slot, statements inside a session. Transactions alone, or single statements alone, can't.
    """

    def opens_by_statement(unit: UnitOfWork) -> bool:
        return not (unit.transaction or unit.xa or unit.calls)

    def has_statements_inside(unit: UnitOfWork) -> bool:
        return not opens_by_statement(unit) or sum(number for _, number in statements_of(workload, unit)) > 1

    return any(map(opens_by_statement, workload.units)) and any(map(has_statements_inside, workload.units))


def lock_warnings(question: Question, deployment: Deployment) -> tuple[Finding, ...]:
    """The trap and the three ways out, where it is near."""
    if not deployment.server.segregation or not can_lock(question.workload):
        return ()
    rate = question.rate / deployment.replicas
    callers = rate * (question.load.hold_s + STALL_S)
    enough = deployment.pool_per_pod + deployment.slots_per_pod[0]
    if callers < NEAR * enough:
        return ()
    text = (
        f"a stall of {1e3 * STALL_S:.0f} ms brings some {callers:.0f} callers into a pod; from some {enough} on (its connections"
        " and its fast slots) slots and connections can lock each other for good"
    )
    fix = (
        "use more connections, or no statement outside of a session beside sessions (begin a transaction first), or turn"
        " slowQuerySegregation off"
    )
    source = "reference 1.2, MEASURED: docs/validation.md"
    return (Finding("lock-near", Action.WARN, "server.slowQuerySegregation", text, fix, source),)
