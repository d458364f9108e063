"""The formulas that people use today, to show beside the answer what they'd have said (reference 10.1, PREDICTED)."""

from __future__ import annotations

from math import ceil


def folk_replicas(peak_rate: float) -> int:
    """``ceil(qps / 8000) * 1.5``, rounded up."""
    return ceil(ceil(peak_rate / 8000) * 1.5)


def folk_cores_per_pod(peak_rate: float, replicas: int) -> int:
    """``max(4, ceil(QPS / 1500))`` on each server's share."""
    return max(4, ceil(peak_rate / replicas / 1500))


def folk_pool(database_cores: float, spindles: int = 1) -> int:
    """``cores * 2 + spindles``."""
    return ceil(database_cores * 2 + spindles)
