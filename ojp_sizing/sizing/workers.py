"""Who runs the replications: the caller's own thread, the cores of this machine, or a Dask cluster.

Every task is complete in itself, and results come in the order asked: they are the same whoever does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar
from warnings import catch_warnings

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
        from joblib import Parallel, delayed  # noqa: PLC0415 - only where there is work to share

        # max_nbytes: tasks are pickled, not put into files for the workers to map.
        parallel = Parallel(self.count, self.backend, return_as="generator", batch_size=1, max_nbytes=None)
        results = parallel(delayed(do)(task) for task in tasks)
        try:
            for result in results:  # noqa: UP028 - "yield from" would close them before the warning is caught
                yield result
        except GeneratorExit:
            # Whoever asked has gone; joblib warns of the work that was in vain.
            with catch_warnings(action="ignore"):
                results.close()
            raise


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
    """joblib keeps its processes for the next work; after an error there is none, and they must not outlive the caller."""
    try:
        yield
    except BaseException:
        from joblib.externals.loky import get_reusable_executor  # noqa: PLC0415

        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise
