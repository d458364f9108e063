"""The database's side of the bargain: how many connections a deployment can have open at once (reference 5)."""

from __future__ import annotations

from ojp_sizing.behaviour.arithmetic import share_of_pool


def connections_at_most(pool_size: int, replicas: int) -> int:
    """Open connections at the worst instant: rounding up, and the overlap when pods return.

    While clients miss m pods, the others grow to ``ceil(P / (N - m))`` each; a pod that returns opens its share before
    anybody has told the others to shrink (reference 5, CODE+RUN: 27 for P = 20, N = 3). A rolling update can miss two
    at once (reference 7.3), one of which is stopping with what it had grown to while the other was away.
    """
    worst = replicas * share_of_pool(pool_size, replicas)
    for missing in range(1, min(2, replicas - 1) + 1):
        survivors = replicas - missing
        returning = share_of_pool(pool_size, survivors + 1)
        worst = max(worst, survivors * share_of_pool(pool_size, survivors) + missing * returning)
    return worst
