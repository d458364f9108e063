"""Who runs the replications: the caller's own thread, the cores of this machine, or a Dask cluster.

Every task is complete in itself, and results come in the order asked: they are the same whoever does the work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar
from warnings import catch_warnings

from ojp_sizing.ending import deaf_to_ctrl_c, end_with
from ojp_sizing.errors import InputError
from ojp_sizing.simulation.simulate import Engine, clock_class

T = TypeVar("T")
R = TypeVar("R")


class Workers(Protocol):
    """Those who do tasks."""

    def map(self, do: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """``do`` of every task, in the order of the tasks, each as soon as it and those before it are done.

        ``do`` is a function of a module and tasks can be pickled. The first error ends the work and is raised.
        """
        ...


class Caller:
    """The caller's own thread."""

    def map(self, do: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        return map(do, tasks)


@dataclass(frozen=True, slots=True)
class Cores:
    """So many threads or processes of this machine, by joblib."""

    count: int
    backend: Literal["threading", "loky"]

    def map(self, do: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        return self._by_threads(do, tasks) if self.backend == "threading" else self._by_processes(do, tasks)

    def _by_threads(self, do: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        from joblib import Parallel, delayed  # noqa: PLC0415 - only where there is work to share

        results = Parallel(self.count, "threading", return_as="generator", batch_size=1)(
            delayed(do)(task) for task in tasks
        )
        try:
            for result in results:  # noqa: UP028 - "yield from" would close them before the warning is caught
                yield result
        except GeneratorExit:
            # Whoever asked has gone; joblib warns of the work that was in vain.
            with catch_warnings(action="ignore"):
                results.close()
            raise

    def _by_processes(self, do: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        from joblib.externals.loky import get_reusable_executor  # noqa: PLC0415

        _start_trackers()
        # By themselves they end with this process, which may be killed at any instant.
        executor = get_reusable_executor(self.count, timeout=300, initializer=end_with, initargs=(os.getpid(),))
        with deaf_to_ctrl_c():
            futures = [executor.submit(do, task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        finally:
            # Nobody waits for the rest.
            if not all(future.done() for future in futures):
                _end(executor)


def _start_trackers() -> None:
    """multiprocessing's helpers, which remove semaphores that are left behind; where something was killed, in silence.

    Not amid the start of the workers: there they would let Ctrl-C through to them.
    """
    from multiprocessing import resource_tracker  # noqa: PLC0415

    from joblib.externals.loky.backend import resource_tracker as lokys  # noqa: PLC0415

    sys.warnoptions.append("ignore")  # goes along on their command lines
    try:
        resource_tracker.ensure_running()
        lokys.ensure_running()
    finally:
        sys.warnoptions.remove("ignore")


@contextmanager
def workers_for(engine: Engine, count: int | None = None, scheduler: str | None = None) -> Iterator[Workers]:
    """So many workers of this machine, None: one for each core that may be used; or those of a Dask scheduler's cluster.

    Here they are threads for the compiled clock, which leaves the GIL alone; processes for SimPy; for one, the caller's
    own thread. Raises InputError where the scheduler can't be used.
    """
    if scheduler is not None:
        from ojp_sizing.sizing.cluster import joined  # noqa: PLC0415

        if count is not None:
            raise InputError("--workers", "a cluster has the workers that it has", "leave out --workers or --scheduler")
        with joined(scheduler) as cluster:
            yield cluster
        return
    if count is None:
        from joblib import cpu_count  # noqa: PLC0415

        count = cpu_count()
    if count == 1:
        yield Caller()
    elif clock_class(engine).name == "compiled":
        yield Cores(count, "threading")
    else:
        with _ended_processes():
            yield Cores(count, "loky")


@contextmanager
def _ended_processes() -> Iterator[None]:
    """Processes are kept for the next work; after an error there is none, and they must not outlive the caller."""
    try:
        yield
    except BaseException:
        from joblib.externals.loky import get_reusable_executor  # noqa: PLC0415

        _end(get_reusable_executor(reuse=True))
        raise


def _end(executor: Any) -> None:
    """With its processes, amid their work. Its own way of doing so stumbles over what has only just been submitted."""
    for process in list((executor._processes or {}).values()):
        process.terminate()
    executor.shutdown(wait=True)
