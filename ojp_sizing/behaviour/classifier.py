"""The slow/fast classifier of a pod, one for each of its pools (reference section 3.1, CODE+RUN).

A text's average moves by a fifth towards each measured time (whole milliseconds of the wall clock, from the slot to
the last row, the wait for a connection included). The overall average is the unweighted mean of the texts'
averages, made anew when a text is first seen and otherwise every 300 s; a text is slow at twice the overall average.
"""

from __future__ import annotations

from math import floor

from ojp_sizing.behaviour.arithmetic import SEGREGATION_FLOOR_S, slow_by_mean
from ojp_sizing.behaviour.kinds import Trap
from ojp_sizing.behaviour.records import BASELINE_S, Memory
from ojp_sizing.behaviour.transition import transition
from ojp_sizing.behaviour.world import World, note

LEAST_OVERALL_MS = 1000.0 * SEGREGATION_FLOOR_S
#: From 0.4.19 on (later versions 3, CODE+RUN): runs of a text before it is classed; least slow average;
#: and by how many times the baseline a text becomes slow, and stays it.
LEAST_SAMPLES, LEAST_SLOW_MS, ENTER_RATIO, LEAVE_RATIO = 20, 100.0, 5.0, 3.0

transition(slow_by_mean)


@transition
def wall_clock_ms(w: World) -> float:
    """The present as the server's millisecond clock shows it."""
    return floor(w.state[0].now * 1000.0) * 1.0


@transition
def is_slow(w: World, pool: int, text: int) -> bool:
    """Whether the pool sends this text to the slow lane now."""
    if w.settings[0].relative_baseline == 1:
        return _is_slow_by_baseline(w, pool, text)
    memory = w.memories[pool * w.settings[0].texts + text]
    return memory.seen == 1 and slow_by_mean(memory.average_ms, w.pools[pool].overall_ms, LEAST_OVERALL_MS)


@transition
def record_time(w: World, pool: int, text: int, elapsed_ms: float) -> None:
    """Learn one execution, failed ones too."""
    memory = w.memories[pool * w.settings[0].texts + text]
    first = memory.seen == 0
    relative = w.settings[0].relative_baseline == 1
    slow_before = not relative and is_slow(w, pool, text)
    memory.average_ms = elapsed_ms if first else (memory.average_ms * 4.0 + elapsed_ms) / 5.0
    memory.seen = 1
    memory.samples += 1
    if relative:
        return
    # Java compares whole seconds of its clock, so that the interval can end up to a second early.
    since_s = floor(w.state[0].now) - floor(w.pools[pool].overall_at_s)
    if first or since_s >= w.pools[pool].global_average_s:
        refresh_overall(w, pool)
    elif w.settings[0].segregation == 1 and not slow_before and is_slow(w, pool, text) and _everything_is_slow(w, pool):
        # Without segregation a class has no effect: XA statements alone take slots then, and refresh the overall average.
        note(w, Trap.EVERYTHING_SLOW)


@transition
def _is_slow_by_baseline(w: World, pool: int, text: int) -> bool:
    """From 0.4.19 on: at 100 ms and five times what half of the fast texts take, until it is at three times that (CODE+RUN)."""
    memory = w.memories[pool * w.settings[0].texts + text]
    if memory.samples < LEAST_SAMPLES:
        return False
    p = w.pools[pool]
    # Java compares whole seconds of its clock.
    if floor(w.state[0].now) - floor(p.baseline_at_s) >= BASELINE_S:
        _refresh_baseline(w, pool)
    if p.baseline_ms <= 0.0:
        return False
    if memory.flagged == 1:
        over = memory.average_ms > LEAVE_RATIO * p.baseline_ms
    else:
        over = memory.average_ms >= ENTER_RATIO * p.baseline_ms
    slow = memory.average_ms >= LEAST_SLOW_MS and over
    memory.flagged = 1 if slow else 0
    return slow


@transition
def _refresh_baseline(w: World, pool: int) -> None:
    """The nearest-rank median of the averages of texts with enough samples that aren't flagged; 0 without any."""
    texts = w.settings[0].texts
    first = pool * texts
    counted = 0
    for text in range(first, first + texts):
        counted += _counts(w.memories[text])
    rank = (counted + 1) // 2
    baseline_ms = 0.0
    for text in range(first, first + texts):
        mine = w.memories[text]
        if _counts(mine) == 1:
            below = 0
            same = 0
            for other in range(first, first + texts):
                if _counts(w.memories[other]) == 1:
                    below += 1 if w.memories[other].average_ms < mine.average_ms else 0
                    same += 1 if w.memories[other].average_ms == mine.average_ms else 0
            if below < rank <= below + same:
                baseline_ms = mine.average_ms
    w.pools[pool].baseline_ms = baseline_ms
    w.pools[pool].baseline_at_s = w.state[0].now


@transition
def _counts(memory: Memory) -> int:
    return 1 if memory.samples >= LEAST_SAMPLES and memory.average_ms > 0.0 and memory.flagged == 0 else 0


@transition
def refresh_overall(w: World, pool: int) -> None:
    """Make the overall average anew from the texts seen."""
    texts = w.settings[0].texts
    total_ms = 0.0
    seen = 0
    for text in range(texts):
        memory = w.memories[pool * texts + text]
        if memory.seen == 1:
            total_ms += memory.average_ms
            seen += 1
    w.pools[pool].overall_ms = total_ms / seen if seen > 0 else 0.0
    w.pools[pool].overall_at_s = w.state[0].now


@transition
def _everything_is_slow(w: World, pool: int) -> bool:
    """The metastable trap: no text that was seen is left in the fast lane (reference 3.1)."""
    for text in range(w.settings[0].texts):
        if w.memories[pool * w.settings[0].texts + text].seen == 1 and not is_slow(w, pool, text):
            return False
    return True
