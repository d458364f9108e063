"""Every simulation of the suite holds the model's own laws against itself as it goes, and loads few units at a time."""

from collections.abc import Iterator

import pytest
from numpy.random import SeedSequence
from xdist import is_xdist_controller

from ojp_sizing import Deployment, read_workload, sample_trace, simulate
from ojp_sizing.deployment.disruption import PodLoss
from ojp_sizing.simulation.clock import Clock

AS_USED = {"checked": Clock.checked, "page_bits": Clock.page_bits}
Clock.checked = True
Clock.page_bits = 7


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile before there are workers: each would do it, and numba's index of its cache is for one writer at a time."""
    if is_xdist_controller(session):
        trace = sample_trace(read_workload("web-oltp"), 5.0, 1.0, SeedSequence(1))
        simulate(trace, Deployment(3, 1.0), PodLoss(0, 0.2, 0.2, 0.1), recovery_s=1.0, engine="compiled")


@pytest.fixture(scope="module")
def whole_answers() -> Iterator[None]:
    """For whole answers, of hundreds of runs each, as users make them: runs of every kind hold the laws elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AS_USED.items():
            patch.setattr(Clock, name, value)
        yield
