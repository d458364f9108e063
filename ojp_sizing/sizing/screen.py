"""Closed forms: they prune what no simulation can show to do, and say what to try first. They approve nothing."""

from __future__ import annotations

from math import ceil, inf, sqrt

from ojp_sizing.behaviour.arithmetic import share_of_pool, split_slots
from ojp_sizing.deployment.constants import Constants
from ojp_sizing.deployment.deployment import Database, Deployment
from ojp_sizing.measurement.known_error import RESOURCES, Use, is_disputed, may_collapse
from ojp_sizing.sizing.question import Question
from ojp_sizing.theory.offered import LEAST_FREE, least_pod_cores, opening_s, pod_cores, pod_rpcs_per_s, stay_of
from ojp_sizing.theory.queues import servers_for

#: ``ceil(P / N)`` below this breaks OJP (reference 11: with one slot there is no fast lane).
LEAST_POOL_PER_POD = 2


def database_of(question: Question) -> Database:
    """The database as given. Where cores aren't: the target use at steady peak, and few statements that find all busy."""
    if question.database.cores < inf:
        return question.database
    known, busy = question.known, question.rate * question.load.database_s
    cores = max(ceil(busy / known.database_target_use), servers_for(busy, known.database_waiting_share))
    return Database(float(cores), question.database.max_connections)


def pod_cpu_cores(question: Question, pods: int, rate: float | None = None) -> float:
    """Offered CPU load of one pod while ``pods`` share the work: connects don't divide (reference 1.4). At the question's rate
    where no other is stated."""
    return pod_cores(question.load, question.rate if rate is None else rate, pods, question.known)


def young_pod_cores(question: Question, pods: int) -> float:
    """The same of a pod that comes back, once its warm-up has ended: what its code still costs beyond that, compiler and all."""
    known = question.known
    young_s = (known.young_cpu_s + known.compile_cpu_s) / sqrt(known.warm_up_calls + 1.0)
    return pod_cpu_cores(question, pods) + pod_rpcs_per_s(question.load, question.rate, pods) * young_s


def connections_per_pod(question: Question, replicas: int, segregation: bool) -> tuple[int, int]:
    """``(connections of one pod, slowSlotPercentage)`` that the closed forms ask for.

    Connections by Erlang C with one pod gone, so that callers wait for at most half of the limit on fast units, at their p99;
    with segregation at least the slots that its two lanes want.
    """
    known, load = question.known, question.load
    survivors = max(1, replicas - 1)
    waiting = question.burst_rate / survivors * known.slot_stretch
    fast = servers_for(waiting * load.fast_slot_s, known.slot_waiting_share)
    slow = servers_for(waiting * load.slow_slot_s, known.slot_waiting_share) if load.slow_slot_s > 0 else 1
    # Connections are held between statements too; slots alone don't cover that (reference 1.2).
    held = question.burst_rate * load.hold_s / survivors
    longest_s = max(stay_of(question.workload, unit).mean_s for unit in question.workload.units)
    total = max(
        servers_for(held, known.long_waiting_share) if longest_s > known.long_stay_s else 0,
        servers_for(held, known.pool_waiting_share, load.hold_s, question.objectives.fast_p99_s / 2),
        LEAST_POOL_PER_POD,
        fast + slow if segregation else 0,
    )
    percentage = min(90, max(1, ceil(100 * slow / (fast + slow))))
    while segregation and split_slots(total, percentage)[1] < slow:
        percentage += 1
    return total, percentage


def undivided_pool(per_pod: int, replicas: int) -> int | None:
    """The ``maximumPoolSize`` with this share of a pod that stays the same while up to two pods are missing, if there is one.

    Then clients that disagree about a pod change nothing: no pool is shrunk, and none loses its connections
    (reference 5). ``ceil(P / k) = m`` for k from N - 2 to N needs ``(m - 1) N < P <= m (N - 2)``, so ``m < N / 2``.
    """
    size = per_pod * (replicas - 2)
    return size if size > 0 and share_of_pool(size, replicas) == per_pod else None


def threads_of(question: Question, replicas: int, limit_cores: float, pool_size: int, warm_pools: bool) -> int:
    """Executor threads: one for every caller that can pile up while a pool is opened anew.

    When clients disagree about a pod, survivors shrink and evict their whole pool (reference 5); a pod that returns has
    few connections. One adder opens them one at a time, and callers wait meanwhile, each on a thread: were there fewer
    threads, the closes that free connections would wait behind them (reference 1.3: a convoy). Where pools are cold, every
    unit waits while a pod's threads all build one (``_stall_s``), and then they come to the others at once: so many threads
    more, which build pools in their turn. More threads than client threads serve nobody.
    """
    constants, load, clients = question.known, question.load, question.workload.clients
    survivors = max(1, replicas - 2)
    rate = question.burst_rate / survivors
    small = pod_cpu_cores(question, survivors)
    each_s = opening_s(constants, max(LEAST_FREE * limit_cores, limit_cores - small))
    waits_s = load.statements * each_s * (rate * load.hold_s + 1)
    most = clients.jvms * clients.threads
    threads = 0
    while True:
        waiting = constants.stall_margin * min(rate * waits_s, most / survivors)
        wanted = share_of_pool(pool_size, survivors) + waiting + small + 4.0 * sqrt(small)
        enough = min(max(ceil(constants.least_threads), ceil(wanted / 50) * 50), most + clients.jvms)
        if warm_pools or enough <= threads:
            return enough
        threads = enough
        waits_s = max(waits_s, _stall_s(threads, limit_cores, constants))


def _stall_s(threads: int, limit_cores: float, constants: Constants) -> float:
    """How long every client waits for a cold pod that comes back, while each of its threads builds a pool (reference 1.1)."""
    return constants.pool_build_s + threads * constants.pool_build_cpu_s / limit_cores


def expected_use(question: Question, deployment: Deployment) -> Use:
    """Use of the busier one of CPU and connections at steady peak, in the mean and without waits."""
    held = question.rate * question.load.hold_s / deployment.replicas / deployment.pool_per_pod
    cpu = pod_cpu_cores(question, deployment.replicas) / deployment.limit_cores
    return Use(RESOURCES["cpu_use"], cpu) if cpu > held else Use(RESOURCES["connections_use"], held)


def disputed(question: Question, deployment: Deployment) -> bool:
    """Whether its pools are emptied in every update, as long as clients disagree.

    Real servers collapsed with such pools; where use is low nobody has measured it, so that others come first.
    """
    return is_disputed(not deployment.stays_undivided, question.workload.clients.jvms)


def collapses(question: Question, deployment: Deployment, use: float | None = None) -> bool:
    """Whether real servers collapsed over an update of such a kind, so that no run of the model can show that this does.

    ``use`` of its busiest resource, else by the closed forms.
    """
    share = expected_use(question, deployment).share if use is None else use
    return may_collapse(not deployment.stays_undivided, question.workload.clients.jvms, share)


def impossible(question: Question, deployment: Deployment) -> str:
    """Why no simulation can show that this deployment does, or "" where one may.

    A bound, not an estimate: the mean load of a resource at steady peak, waits left out, is all that it has or more, so that its
    queue grows without end (Loynes 1962).
    """
    load = question.load
    loads = (
        ("the database's cores", question.rate * load.database_s, deployment.database.cores),
        ("a pod's CPU", least_pod_cores(load, question.rate, deployment.replicas), deployment.limit_cores),
        ("a pod's connections", question.rate * load.hold_s / deployment.replicas, deployment.pool_per_pod),
    )
    return next((f"{what}: {asked:.3g} of {there:g} in the mean" for what, asked, there in loads if asked >= there), "")
