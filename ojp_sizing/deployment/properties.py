"""The text of a Java properties file, as ``java.util.Properties`` takes it (GENERAL): keys and values."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ojp_sizing.errors import InputError

#: Java's white space inside a line, and its line ends.
_BLANKS = " \t\f"
_LINE_END = re.compile(r"\r\n|\r|\n")
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_PIECE = re.compile(r"\\u([0-9a-fA-F]{4})|\\(.)|([^\\])", re.DOTALL)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations, without comments and empty ones; numbered from 1."""
    whole, first = "", 0
    for number, raw in enumerate([*_LINE_END.split(text), ""], start=1):
        line = raw.lstrip(_BLANKS)
        if not whole and (not line or line[0] in "#!"):
            continue
        first = first if whole else number
        # An odd number of backslashes at the end: the line goes on.
        goes_on = (len(line) - len(line.rstrip("\\"))) % 2 == 1
        whole += line[:-1] if goes_on else line
        if not goes_on:
            yield first, whole
            whole = ""
    if whole:
        yield first, whole


def _unescaped(text: str, place: str) -> str:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None or match[2] == "u":
            raise InputError(place, "a \\ that begins no escape", "write \\\\, or \\u with four digits")
        unicode, escaped, plain = match.groups()
        pieces.append(chr(int(unicode, 16)) if unicode else _ESCAPES.get(escaped, escaped) if escaped else plain)
        at = match.end()
    return "".join(pieces)


def parse_properties(text: str, place: str) -> dict[str, str]:
    """Values by key; a key that occurs twice is refused, though Java takes the last. ``place`` begins every message."""
    values: dict[str, str] = {}
    for number, line in _logical_lines(text):
        where = f"{place}: line {number}"
        # The key ends at the first separator that isn't escaped; one = or : and blanks around it belong to it.
        match = re.match(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", line, re.DOTALL)
        raw_key, raw_value = match.groups() if match else (line, "")
        key = _unescaped(raw_key, where)
        if key in values:
            raise InputError(where, "the key occurs twice", "remove one of the two")
        values[key] = _unescaped(raw_value, where)
    return values
