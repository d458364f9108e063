"""Workers of a Dask cluster.

Dask runs the tasks of a lost worker again. Since a task draws from its own seeds, its result is the same wherever and
however often it is run, as long as every worker runs the same program: that is checked.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from warnings import catch_warnings

from numpy.random import default_rng

import ojp_sizing
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown

T = TypeVar("T")
R = TypeVar("R")

PLACE = "--scheduler"
ADDRESS = re.compile(r"tcp://(\[[0-9a-f:.]+\]|[a-z0-9._-]+):([0-9]{1,5})", re.IGNORECASE)
#: For the scheduler to answer, and for a first worker to be there.
PATIENCE_S = 5.0
#: After so long without a result it is asked whether there are workers at all.
LOST_S = 20.0
#: Those of Dask's loggers that have a level of their own; the rest follow the first.
LOGGERS = ("distributed", "distributed.client")


@cache
def program() -> str:
    """What results depend on beside the task, in two digests: this package's sources, and random numbers as drawn here.

    Those depend on numpy's version, and in their last bits on the kind of processor and on the C library.
    """
    package = Path(ojp_sizing.__file__).parent
    sources = sha256()
    for path in sorted(package.rglob("*.py")):
        sources.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    rng = default_rng(0)
    draws = sha256(rng.exponential(size=10_000).tobytes() + rng.lognormal(size=10_000).tobytes())
    return f"{ojp_sizing.__version__}, sources {sources.hexdigest()[:8]}, draws {draws.hexdigest()[:8]}"


def run_alike(task: T, do: Callable[[T], R], wanted: str) -> R:
    """On a worker, which may have joined after the others were looked at."""
    if program() != wanted:
        raise _differs("a worker", program(), wanted)
    return do(task)


def _differs(who: str, theirs: str, wanted: str) -> InputError:
    different = f"{who} has another ojp-sizing or numpy: {shown(theirs)}, here {wanted}"
    return InputError(PLACE, different, "install the same everywhere, on machines of the same kind")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The workers of a Dask cluster, by a ``distributed.Client``."""

    client: Any

    def map(self, do: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        with catch_warnings(action="ignore"):  # of tasks that are large, as recordings are
            futures = self.client.map(run_alike, tasks, do=do, wanted=program(), pure=False)
        for future in futures:
            yield self._result(future)

    def _result(self, future: Any) -> Any:
        from distributed import KilledWorker  # noqa: PLC0415 - an extra

        while True:
            try:
                return future.result(timeout=LOST_S)
            except TimeoutError:
                # Dask would wait for another worker for ever.
                _find_worker(self.client)
            except CancelledError:
                raise InputError(PLACE, "the connection to the scheduler was lost", "look into its log") from None
            except KilledWorker as error:
                died = f"{error.allowed_failures + 1} workers died at the same task"
                raise InputError(PLACE, died, "look into their logs; they may be short of memory") from None


@contextmanager
def joined(address: str) -> Iterator[Cluster]:
    """The cluster of the scheduler at ``tcp://host:port``. Raises InputError where it can't be used."""
    parts = ADDRESS.fullmatch(address)
    if not parts or not 0 < int(parts[2]) < 2**16:
        raise InputError(
            PLACE, f"{shown(address)} is no address of a scheduler", "write for example tcp://10.0.0.7:8786"
        )
    try:
        from distributed import Client  # noqa: PLC0415 - an extra, and heavy
    except ModuleNotFoundError:
        raise InputError(PLACE, "a Dask cluster needs distributed", "install 'ojp-sizing[distributed]'") from None
    with _quiet():
        try:
            # A Client would wait for ever where another service listens. The thread: this one may have a loop, as notebooks do.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, _reach(address)).result()
            with catch_warnings(action="ignore"):  # of versions of other packages
                client = Client(address, timeout=PATIENCE_S, set_as_default=False)
        except OSError:
            silent = f"no Dask scheduler answered at {address} within {PATIENCE_S:g} s"
            raise InputError(PLACE, silent, "start one: dask scheduler") from None
        try:
            _check_programs(client)
            yield Cluster(client)
        finally:
            client.close(timeout=PATIENCE_S)


async def _reach(address: str) -> None:
    """Shake hands with the scheduler, or raise OSError."""
    from distributed import connect  # noqa: PLC0415

    async with asyncio.timeout(PATIENCE_S):
        await (await connect(address, timeout=PATIENCE_S)).close()


def _find_worker(client: Any) -> None:
    """Raise InputError where there is none, and none comes."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError:
        address = client.scheduler.address
        raise InputError(PLACE, f"{address} has no worker", f"start some: dask worker {address}") from None


def _check_programs(client: Any) -> None:
    """Scheduler and workers run what runs here."""
    _find_worker(client)
    try:
        theirs = {"the scheduler": client.run_on_scheduler(program)}
    except Exception as error:  # what it can't load is an answer too
        theirs = {"the scheduler": error}
    theirs |= {f"worker {worker}": answer for worker, answer in client.run(program, on_error="return").items()}
    for who, answer in theirs.items():
        if isinstance(answer, Exception):
            raise InputError(
                PLACE, f"{who} can't load ojp-sizing: {shown(str(answer))}", "install it there"
            ) from answer
        if answer != program():
            raise _differs(who, answer, program())


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's log stays unsaid: what matters is raised as an InputError."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
