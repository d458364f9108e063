"""Pages, tables and figures that are made anew against those that are kept: words are the same, numbers nearly.

The last bit of a logarithm, of a least-squares fit or of a random time is the processor's and its libraries'. What is made of
them is therefore not the same letter by letter on every machine, and needn't be: a drift of the model shows in numbers
that differ by more than a rounding.
"""

from __future__ import annotations

import re

#: A colour is a word, and so is whatever has no digit.
_TOKEN = re.compile(r"#\w+|(?P<number>[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)|[^\s\d#+-]+|[#+-]")
#: Relative tolerance of a number. One unit of its last decimal is allowed besides: it was rounded near an edge.
TOLERANCE = 0.01


def differences(made: str, kept: str, *, whole: int = 0, tolerance: float = TOLERANCE) -> list[str]:
    """Where two texts differ, one line each; empty where they are alike. White space doesn't count.

    Numbers with decimals may differ by one in the last of them, or by ``tolerance`` of their size; whole numbers by the
    latter, or by ``whole`` (pixels of a figure): so counts below 100 are the same.
    """
    mine, theirs = ([(m[0], m["number"] is not None) for m in _TOKEN.finditer(text)] for text in (made, kept))
    found = [
        f"{' '.join(token for token, _ in theirs[max(0, at - 8) : at])} **{old}**, made anew: {new}"
        for at, ((new, number), (old, was_number)) in enumerate(zip(mine, theirs, strict=False))
        if new != old and not (number and was_number and _near(new, old, whole, tolerance))
    ]
    if len(mine) != len(theirs):
        found.append(f"{len(theirs)} words and numbers, made anew: {len(mine)}")
    return found


def _near(new: str, old: str, whole: int, tolerance: float) -> bool:
    decimals = min(_decimals(new), _decimals(old))
    step = 10.0**-decimals if decimals else float(whole)
    one, other = (float(text.replace(",", "")) for text in (new, old))
    # A thousandth more, since a tenth is none in binary.
    return abs(one - other) <= 1.001 * max(step, tolerance * abs(other))


def _decimals(number: str) -> int:
    digits, _, exponent = number.partition("e")
    return max(0, len(digits.partition(".")[2]) - int(exponent or 0))
