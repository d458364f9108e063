"""The stories' traps are met, their fixes remove them, and the page shows what the runs give."""

import pytest
from alike import differences

from scripts.make_stories import ROOT, Run, classifier, convoy, rolling, written

Stories = tuple[list[Run], list[Run], list[Run]]


@pytest.fixture(scope="module")
def stories() -> Stories:
    return convoy(), classifier(), rolling()


def test_more_threads_than_callers_end_the_convoy(stories: Stories) -> None:
    jam, fixed = stories[0]
    assert "convoy" in jam.hazards
    assert "convoy" not in fixed.hazards
    assert jam.good[20:].mean() < 50
    assert fixed.good[20:].mean() > 450


def test_the_classifier_trap_takes_segregation_off(stories: Stories) -> None:
    trap, fresh, off = stories[1]
    assert {"everything_slow", "locked"} <= trap.hazards.keys()
    assert "everything_slow" not in fresh.hazards
    assert "locked" in fresh.hazards
    assert not {"locked", "breaker_opened"} & off.hazards.keys()
    assert trap.rate("classed_slow").sum() > 0 == off.rate("classed_slow").sum()
    assert trap.good[20:].mean() < 20
    assert off.good[20:].mean() > 38


def test_more_replicas_with_an_undivided_pool_keep_pods_and_pools(stories: Stories) -> None:
    three, cold, warm = stories[2]
    traps = {"one_pod_left", "pool_emptied", "pool_flaps"}
    assert traps | {"convoy"} <= three.hazards.keys()
    assert "one_pod_left" not in cold.hazards
    # Beside that it takes pools that are built before clients reach a pod.
    assert {"pool_orphaned", "convoy"} <= cold.hazards.keys()
    assert cold.good[-20:].mean() < 600
    assert not warm.hazards.keys()
    assert warm.good[2:-3].min() > 1000


def test_the_page_is_what_the_runs_give(stories: Stories) -> None:
    for path, content in written(*stories).items():
        kept = (ROOT / path).read_text(encoding="utf-8")
        assert differences(content, kept, whole=path.endswith(".svg")) == [], path
