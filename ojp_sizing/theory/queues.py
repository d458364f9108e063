"""Closed forms of queueing theory: for the screen, and as the yardstick of the tests. Never in an answer.

Rates per second, times in s, loads in Erlang.
"""

from __future__ import annotations

from math import exp, inf


def erlang_b(servers: int, load: float) -> float:
    """Probability of loss in M/M/c/c, by the stable recursion."""
    blocked = 1.0
    for c in range(1, servers + 1):
        blocked = load * blocked / (c + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Probability of waiting in M/M/c; 1 where the queue isn't stable."""
    if load >= servers:
        return 1.0
    blocked = erlang_b(servers, load)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def mmc_wait_s(rate: float, service_s: float, servers: int) -> float:
    """Mean wait in M/M/c (Erlang C)."""
    load = rate * service_s
    if load >= servers:
        return inf
    return erlang_c(servers, load) * service_s / (servers - load)


def mg1_wait_s(rate: float, service_s: float, cv: float) -> float:
    """Mean wait in M/G/1 (Pollaczek and Khinchine)."""
    use = rate * service_s
    return inf if use >= 1 else use / (1 - use) * (1 + cv**2) / 2 * service_s


def processor_sharing_s(rate: float, service_s: float) -> float:
    """Mean time in M/G/1 with processor sharing: insensitive to the service's distribution (Kleinrock 1967)."""
    use = rate * service_s
    return inf if use >= 1 else service_s / (1 - use)


def mmc_waits_longer(load: float, service_s: float, servers: int, wait_s: float) -> float:
    """Probability of waiting longer than ``wait_s`` in M/M/c, first come first served (Erlang)."""
    return erlang_c(servers, load) * exp(-max(0.0, servers - load) * wait_s / service_s) if service_s > 0 else 0.0


def servers_for(load: float, waiting: float, service_s: float = 1.0, wait_s: float = 0.0) -> int:
    """The fewest servers at which at most the share ``waiting`` of arrivals waits for longer than ``wait_s`` (Erlang C)."""
    servers = int(load) + 1
    while mmc_waits_longer(load, service_s, servers, wait_s) > waiting:
        servers += 1
    return servers
