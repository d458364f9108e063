"""One OJP server: which room answers an RPC that has a thread and its CPU (reference 1.2, 1.5).

``executor`` gives it the thread and takes it back, ``connect`` and ``statement`` do its work, ``lifecycle`` begins and ends the
process.
"""

from __future__ import annotations

from ojp_sizing.behaviour.connect import BUILDS_POOL, connect, pool_stands
from ojp_sizing.behaviour.executor import finish, settle_pod
from ojp_sizing.behaviour.kinds import Ending, EventKind, Rpc
from ojp_sizing.behaviour.pool import connection_computed, learn_view, return_connection
from ojp_sizing.behaviour.records import ADDER, COMPILER, NOBODY
from ojp_sizing.behaviour.sharing import take_finished, timer_fired
from ojp_sizing.behaviour.slots import give_permit_back
from ojp_sizing.behaviour.statement import admit, answered, begin_session, enter_database, lose_session
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.warming import compile_on
from ojp_sizing.behaviour.world import World


@transition
def cpu_timer(w: World, pod: int) -> None:
    """The pod's CPU has finished somebody's work."""
    if not timer_fired(w, pod, EventKind.CPU_TIMER):
        return
    settle_pod(w, pod)
    while True:
        caller, token = take_finished(w, pod, EventKind.CPU_TIMER)
        if caller == NOBODY:
            break
        if caller == ADDER:
            connection_computed(w, token)
        elif caller == COMPILER:
            w.pods[pod].compiles = 0
            compile_on(w, pod)
        elif w.callers[caller].responding == 0:
            _handle(w, caller)
        elif w.callers[caller].responding == BUILDS_POOL:
            pool_stands(w, caller)
        else:
            answered(w, caller)


@transition
def _handle(w: World, caller: int) -> None:
    """The thread has read the request."""
    c = w.callers[caller]
    rpc = c.rpc
    if (rpc >= Rpc.QUERY and rpc != Rpc.TERMINATE and rpc < Rpc.XA_START) or rpc == Rpc.PUSH:
        # Every RPC but connect, heartbeat, terminate and XA's own carries the client's view of the cluster (reference 5, CODE).
        learn_view(w, caller)
    if c.pinned != NOBODY and c.incarnation != w.pods[c.pod].incarnation:
        lose_session(w, caller)
    elif rpc == Rpc.CONNECT:
        connect(w, caller)
    elif rpc == Rpc.QUERY or rpc == Rpc.UPDATE:
        admit(w, caller)
    elif rpc == Rpc.START_TRANSACTION or rpc == Rpc.CALL or rpc == Rpc.CALL_STATEMENT:
        begin_session(w, caller)
    elif rpc == Rpc.COMMIT or rpc == Rpc.ROLLBACK or rpc == Rpc.XA_PREPARE or rpc == Rpc.XA_COMMIT:
        enter_database(w, caller, w.settings[0].commit_database_s)
    else:
        if rpc == Rpc.TERMINATE and c.holds == 1:
            return_connection(w, caller)
        if rpc == Rpc.TERMINATE:
            give_permit_back(w, caller)
        finish(w, caller, Ending.OK)
