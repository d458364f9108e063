"""Queues of hundreds of thousands of customers are loaded in pages of the size that they have outside of the tests."""

import pytest

from ojp_sizing.simulation.clock import Clock


@pytest.fixture(autouse=True)
def pages_of_their_usual_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "page_bits", 12)
