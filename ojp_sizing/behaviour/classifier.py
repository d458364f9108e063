"""The slow/fast classifier of one pod (reference section 3.1, CODE+RUN).

A text's average moves by a fifth towards each measured time (whole milliseconds of the wall clock, from the slot to
the last row, the wait for a connection included). The pod's overall average is the unweighted mean of the texts'
averages, made anew when a text is first seen and otherwise every 300 s; a text is slow at twice the overall average.
"""

from __future__ import annotations

from math import floor

from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World

#: Below this overall average nothing is slow (reference 3.1).
LEAST_OVERALL_MS = 1.0
SLOW_RATIO = 2.0


@transition
def wall_clock_ms(w: World) -> float:
    """The present as the server's millisecond clock shows it."""
    return floor(w.state[0].now * 1000.0) * 1.0


@transition
def is_slow(w: World, pod: int, text: int) -> bool:
    """Whether the pod sends this text to the slow lane now."""
    overall_ms = w.pods[pod].overall_ms
    memory = w.memories[pod * w.settings[0].texts + text]
    if memory.seen == 0 or overall_ms <= LEAST_OVERALL_MS:
        return False
    return memory.average_ms >= SLOW_RATIO * overall_ms


@transition
def record_time(w: World, pod: int, text: int, elapsed_ms: float) -> None:
    """Learn one execution, failed ones too."""
    texts = w.settings[0].texts
    memory = w.memories[pod * texts + text]
    first = memory.seen == 0
    memory.average_ms = elapsed_ms if first else (memory.average_ms * 4.0 + elapsed_ms) / 5.0
    memory.seen = 1
    # Java compares whole seconds of its clock, so that the interval can end up to a second early.
    since_s = floor(w.state[0].now) - floor(w.pods[pod].overall_at_s)
    if first or since_s >= w.settings[0].global_average_s:
        refresh_overall(w, pod)


@transition
def refresh_overall(w: World, pod: int) -> None:
    """Make the pod's overall average anew from the texts seen."""
    texts = w.settings[0].texts
    total_ms = 0.0
    seen = 0
    for text in range(texts):
        memory = w.memories[pod * texts + text]
        if memory.seen == 1:
            total_ms += memory.average_ms
            seen += 1
    w.pods[pod].overall_ms = total_ms / seen if seen > 0 else 0.0
    w.pods[pod].overall_at_s = w.state[0].now
