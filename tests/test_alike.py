"""What the comparison of pages lets pass, and what it doesn't."""

import pytest
from alike import differences

pytestmark = pytest.mark.fast

ROW = "| `kill` | 3,595 units | p99 +1.5 % | 13 pods, 0.3.1-beta | #1b6ca8"


@pytest.mark.parametrize(
    ("old", "new"),
    [("+1.5 %", "+1.6 %"), ("3,595", "3,600"), ("| p99", "|  p99"), ("+1.5", "+1.51")],
)
def test_a_rounding_is_no_difference(old: str, new: str) -> None:
    assert differences(ROW.replace(old, new), ROW) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+1.5 %", "+1.7 %"),
        ("+1.5 %", "-1.5 %"),
        ("3,595", "3,640"),
        ("13 pods", "14 pods"),
        ("0.3.1", "0.3.2"),
        ("units", "calls"),
        ("`kill`", "`stop`"),
        ("#1b6ca8", "#1b6ca9"),
        ("units", "units unless"),
        ("1.5 %", "no end"),
    ],
)
def test_anything_else_is(old: str, new: str) -> None:
    assert differences(ROW.replace(old, new), ROW)


def test_a_figure_may_move_by_a_pixel_and_keeps_its_parts() -> None:
    kept = '<path d="M40 280V9"/><polyline points="83.2,92.0 84.8,90.6" stroke="#1b6ca8"/>'
    assert differences(kept.replace("92.0", "91.9").replace("280", "281"), kept, whole=1) == []
    assert differences(kept.replace("V9", "V10"), kept, whole=1) == []
    assert differences(kept.replace("V9", "V10"), kept)
    assert differences(kept.replace("84.8", "87.8"), kept, whole=1)
    assert differences(kept.replace(" 84.8,90.6", ""), kept, whole=1)


def test_a_difference_says_where() -> None:
    [line] = differences(ROW.replace("13 pods", "14 pods"), ROW)
    assert line.endswith("**13**, made anew: 14")
    assert "% |" in line
