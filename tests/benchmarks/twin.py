"""The request path of OJP as SimPy's manual would have it: a process per unit of work, ``Resource``, ``|`` and interrupts.

An independent text: of the model it knows the trace and the deployment, and nothing of ``behaviour``. It covers
the plain path of ``scenarios``: no slots, sessions that pods lose, resizing, XA or retries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpy import Environment, Event, Interrupt, Resource

from ojp_sizing.demand.trace import Trace
from ojp_sizing.deployment.deployment import Deployment

Process = Generator[Event, Any, Any]

#: Endings, by their numbers in an Outcomes.
UNFINISHED, OK, BREAKER_OPEN, CONNECTION_TIMEOUT = -1, 0, 5, 7


class SharedCores:
    """Processor sharing: n jobs on c cores run at ``min(1, c / n)`` each."""

    def __init__(self, env: Environment, cores: float) -> None:
        self.env, self.cores = env, cores
        self.jobs: list[tuple[float, int, Event]] = []
        self.virtual_s, self.since_s = 0.0, 0.0
        self.numbers = count()
        self.process = env.process(self.serve())

    def work(self, work_s: float) -> Event:
        """A job; the event is its end."""
        self.settle()
        done = self.env.event()
        heappush(self.jobs, (self.virtual_s + work_s, next(self.numbers), done))
        self.process.interrupt()
        return done

    def settle(self) -> None:
        if self.jobs:
            busy = min(len(self.jobs), self.cores)
            self.virtual_s += busy * (self.env.now - self.since_s) / len(self.jobs)
        self.since_s = self.env.now

    def serve(self) -> Process:
        while True:
            try:
                if self.jobs:
                    left_s = max(0.0, self.jobs[0][0] - self.virtual_s) * len(self.jobs)
                    yield self.env.timeout(left_s / min(len(self.jobs), self.cores))
                else:
                    yield self.env.event()
                self.settle()
                while self.jobs and self.jobs[0][0] - self.virtual_s <= 1e-10:
                    heappop(self.jobs)[2].succeed()
            except Interrupt:
                pass


class Pod:
    """One server: executor, CPU, pool, and a breaker for each SQL text."""

    def __init__(self, env: Environment, deployment: Deployment) -> None:
        self.env, self.server = env, deployment.server
        self.executor = Resource(env, deployment.server.thread_pool_size)
        self.cpu = SharedCores(env, deployment.constants.node_cores)
        self.pool = Resource(env, deployment.pool_per_pod)
        self.constants = deployment.constants
        self.called_s = -inf
        self.failures: dict[int, int] = defaultdict(int)
        self.open_until_s: dict[int, float] = {}

    def waking_s(self) -> float:
        """What it takes to have a call that has just come taken up: nothing where it must wait for a thread."""
        pause_s, self.called_s = self.env.now - self.called_s, self.env.now
        if self.executor.count == self.executor.capacity:
            return 0.0
        handed_s = self.constants.hand_over_cpu_s / (1.0 + len(self.cpu.jobs) / self.cpu.cores)
        return float(handed_s + self.constants.wake_cpu_s * min(1.0, pause_s / self.constants.wake_after_s))

    def turns_away(self, text: int) -> bool:
        return self.failures[text] >= self.server.breaker_threshold and self.env.now <= self.open_until_s[text]

    def fails(self, text: int) -> None:
        if not self.turns_away(text):
            self.failures[text] += 1
            self.open_until_s[text] = self.env.now + self.server.breaker_open_s


class Unit:
    """A unit of work at its client, and its handlers on the pods."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster, self.number, self.env = cluster, number, cluster.env
        self.constants = cluster.deployment.constants
        self.pod: Pod | None = None
        self.connection: Any = None
        self.sent = 0
        self.waking_s = 0.0

    def run(self) -> Process:
        cluster, trace, env = self.cluster, self.cluster.trace, self.env
        jvm = int(trace.jvm[self.number])
        with cluster.client_threads[jvm].request() as thread:
            yield thread
            if env.now - cluster.checked_s[jvm] >= self.constants.health_interval_s:
                cluster.checked_s[jvm] = env.now
                yield from self.ask_every_pod(self.small)
            yield from self.ask_every_pod(self.connect)
            self.thought_s, status = 0.0, OK
            transaction = trace.transaction[self.number] == 1
            if transaction:
                status = yield from self.call(self.start_transaction)
            first = int(trace.first[self.number])
            for number in range(first, first + int(trace.count[self.number])):
                if status == OK:
                    status = yield from self.execute(number)
            if transaction and self.pod:
                # A commit, or a rollback after an error.
                yield from self.call(self.end_transaction)
            cluster.outcome[self.number] = status
            cluster.latency_s[self.number] = env.now - trace.arrival_s[self.number] - self.thought_s
            if self.pod:
                yield from self.call(self.terminate)
            else:
                yield from self.ask_every_pod(self.connect)

    def execute(self, number: int) -> Process:
        trace = self.cluster.trace
        status = yield from self.call(self.statement, number)
        if status == OK:
            think_s = float(trace.think_s[number])
            self.thought_s += think_s
            yield self.env.timeout(think_s)
            if not trace.writes[number]:
                yield from self.call(self.small)
        return status

    # The network ----------------------------------------------------------------------------------------------------

    def ask_every_pod(self, handler: Any) -> Process:
        """Heartbeat, connect or terminate: one pod after the other."""
        for pod in self.cluster.pods:
            yield from self.rpc(pod, handler)

    def call(self, handler: Any, *arguments: Any) -> Process:
        """An RPC to the session's pod, or to the one whose turn it is."""
        pod = self.pod or self.cluster.next_pod(int(self.cluster.trace.jvm[self.number]))
        status = yield from self.rpc(pod, handler, *arguments)
        if self.connection:
            self.pod = pod
        return status

    def rpc(self, pod: Pod, handler: Any, *arguments: Any) -> Process:
        yield self.message()
        self.waking_s = pod.waking_s()
        with pod.executor.request() as thread:
            yield thread
            status = yield from handler(pod, *arguments)
        yield self.message()
        return status

    def message(self) -> Event:
        latencies_s = self.cluster.latencies_s
        self.sent += 1
        return self.env.timeout(latencies_s[(self.number * 4423 + self.sent) % len(latencies_s)])

    # What a handler does on its thread ------------------------------------------------------------------------------

    def work(self, pod: Pod, work_s: float) -> Event:
        """The first work of an RPC has its waking with it."""
        waking_s, self.waking_s = self.waking_s, 0.0
        return pod.cpu.work(waking_s + work_s)

    def small(self, pod: Pod) -> Process:
        yield self.work(pod, self.constants.small_rpc_cpu_s)
        return OK

    def connect(self, pod: Pod) -> Process:
        yield self.work(pod, self.constants.connect_cpu_s)
        return OK

    def start_transaction(self, pod: Pod) -> Process:
        yield from self.small(pod)
        return (yield from self.borrow(pod))

    def end_transaction(self, pod: Pod) -> Process:
        yield from self.small(pod)
        yield self.cluster.database.work(self.constants.commit_database_s)
        return OK

    def terminate(self, pod: Pod) -> Process:
        yield from self.connect(pod)
        self.give_back(pod)
        return OK

    def statement(self, pod: Pod, number: int) -> Process:
        trace, constants = self.cluster.trace, self.constants
        text = int(trace.text[number])
        yield self.work(pod, constants.statement_cpu_s / 2)
        if pod.turns_away(text):
            return BREAKER_OPEN
        if not self.connection and (yield from self.borrow(pod)) != OK:
            pod.fails(text)
            return CONNECTION_TIMEOUT
        yield self.cluster.database.work(float(trace.database_s[number]))
        yield pod.cpu.work(constants.statement_cpu_s / 2 + constants.row_block_cpu_s / 100 * float(trace.rows[number]))
        pod.failures[text] = 0
        if trace.writes[number] and not self.pod:
            self.give_back(pod)
        return OK

    def borrow(self, pod: Pod) -> Process:
        request = pod.pool.request()
        yield request | self.env.timeout(self.cluster.deployment.pool.connection_timeout_s)
        if not request.triggered:
            request.cancel()
            return CONNECTION_TIMEOUT
        self.connection = request
        return OK

    def give_back(self, pod: Pod) -> None:
        pod.pool.release(self.connection)
        self.connection = None


class Cluster:
    """Pods, database and clients; after ``run`` the latency (s, inf: unfinished) and the ending of each unit."""

    def __init__(self, trace: Trace, deployment: Deployment) -> None:
        self.env = Environment()
        self.trace, self.deployment = trace, deployment
        self.pods = [Pod(self.env, deployment) for _ in range(deployment.replicas)]
        self.database = SharedCores(self.env, deployment.database.cores)
        self.client_threads = [Resource(self.env, trace.threads) for _ in range(trace.jvms)]
        self.checked_s = (trace.health_phase_s - 1.0) * deployment.constants.health_interval_s
        self.turns = [0] * trace.jvms
        self.latencies_s = trace.latencies_s.tolist()
        self.latency_s: NDArray[np.float64] = np.full(len(trace.arrival_s), inf)
        self.outcome: NDArray[np.int32] = np.full(len(trace.arrival_s), UNFINISHED, np.int32)

    def next_pod(self, jvm: int) -> Pod:
        self.turns[jvm] += 1
        return self.pods[(self.turns[jvm] - 1) % len(self.pods)]

    def arrivals(self) -> Process:
        for number, arrival_s in enumerate(self.trace.arrival_s.tolist()):
            yield self.env.timeout(arrival_s - self.env.now)
            self.env.process(Unit(self, number).run())

    def run(self) -> Cluster:
        self.env.process(self.arrivals())
        self.env.run(self.trace.duration_s)
        return self
