"""Control groups (Linux, cgroup v1): a server's CPU limit as Kubernetes sets it, and who goes first where cores are short."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import getpid
from pathlib import Path

from ojp_sizing.errors import InputError

_HIERARCHY = Path("/sys/fs/cgroup/cpu")
PERIOD_S = 0.1
#: Weights where cores are short. A limited server mustn't take what PostgreSQL and the load generator need: a node in
#: production has cores for them.
SERVER_SHARES, REST_SHARES = 1024, 8192


@dataclass(frozen=True, slots=True)
class Group:
    """A control group of this run."""

    path: Path

    @property
    def enter(self) -> list[str]:
        """Words before a command's: it is in the group from its first instruction on, so that a JVM sees the limit."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs")]

    def throttled(self) -> dict[str, float]:
        """Periods in which it ran, those in which it was stopped, and for how long its cores stood still in all (s)."""
        lines = (line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        told = {name: int(value) for name, value in lines}
        return {
            "periods": told["nr_periods"],
            "throttled": told["nr_throttled"],
            "stood_still_s": round(told["throttled_time"] / 1e9, 3),
        }


def own_group() -> Path:
    """The group of this process, beneath which those of a run are made."""
    found = re.search(r"^\d+:(?:\w+,)*cpu(?:,\w+)*:/(.*)$", Path("/proc/self/cgroup").read_text(), re.M)
    return _HIERARCHY / found[1] if found else _HIERARCHY


@contextmanager
def group(name: str, shares: int, limit_cores: float | None = None) -> Iterator[Group]:
    """A group that is gone afterwards. Whatever runs in it must have ended by then."""
    for left in own_group().glob("ojp-validate-*"):
        _remove_if_dead(left)
    path = own_group() / f"ojp-validate-{getpid()}-{name}"
    try:
        path.mkdir()
        (path / "cpu.shares").write_text(str(shares))
        if limit_cores is not None:
            (path / "cpu.cfs_period_us").write_text(str(round(PERIOD_S * 1e6)))
            (path / "cpu.cfs_quota_us").write_text(str(round(limit_cores * PERIOD_S * 1e6)))
    except OSError:
        _remove(path)
        raise InputError(
            "CPU limit", f"no control group can be made in {_HIERARCHY}", "run as root, cgroup v1"
        ) from None
    try:
        yield Group(path)
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    """Processes that have been killed are gone some instants later."""
    for _ in range(100):
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)


def _remove_if_dead(path: Path) -> None:
    """What a run left behind that was killed without a chance to clean up; its processes die with it (setpriv)."""
    if not Path(f"/proc/{path.name.split('-')[2]}").exists():
        _remove(path)
