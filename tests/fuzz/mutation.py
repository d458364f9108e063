"""Odd inputs from good ones: bytes, lines, numbers, values and whole encodings, by a seeded generator."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from numpy.random import Generator

#: Words that readers of numbers, YAML, CSV, paths and terminals have stumbled over.
WORDS = (
    "", " ", "nan", ".nan", "inf", "-inf", ".inf", "1e999", "1e-999", "-0", "-1", "0", "1", "0.0", "9" * 30, "9" * 5000,
    "1e3", "0x10", "0o17", "1_000", "12:30", "1,000", "1;2", "99999999999999999999", "2147483648", "1.5", "1.5.5", "+5", "5.",
    "\u0665", "\uff15", "\u00bd", "5\u00a0ms", "\u202e5", "\u200b", "\u2028", "\u0085", "caf\u00e9", "\U0001f600", "\x1b[31m",
    "\0", "\ufeff", "\r", "\r\n", "\n", "\t", "\\", "'", '"', "`", "~", "null", "true", "yes", "no", "True", "&a 1", "*a",
    "<<: *a", "!!python/object/apply:os.system [ls]", "!x", "%YAML 1.1", "---", "...", "- ", "? ", ": ", "[", "]", "{", "}",
    "[" * 3000, "{a: " * 100, "|", ">", "#", "@", "$", "${HOME}", "$(id)", "{{ .Values.x }}", "%s", "%n", "../..", "/", ".",
    "/dev/null", "/dev/zero", "-", "--", "--help", "5ms", "5 ms", "5m", "1h", "50%", "200%", "2Gi", "1Qi", "500m", "1us", "0s",
    "86401s", "3600s", "fast", "slow", "read", "lognormal", "exponential", "constant", "select 1", "web-oltp", "a" * 300,
)  # fmt: skip
NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
VALUE = re.compile(rb"(?<=[:=,] )?[^\s:,{}\[\]=]+")
ENCODINGS = ("utf-16", "utf-32", "latin-1", "cp1252", "utf-8-sig")


def pick(rng: Generator, choices: Sequence[bytes]) -> bytes:
    return choices[int(rng.integers(len(choices)))]


def word(rng: Generator) -> str:
    return WORDS[int(rng.integers(len(WORDS)))]


def _at(rng: Generator, text: bytes) -> int:
    return int(rng.integers(len(text) + 1))


def _span(rng: Generator, text: bytes) -> tuple[int, int]:
    begin = _at(rng, text)
    return begin, min(len(text), begin + int(rng.integers(1, 40)))


def _flip(rng: Generator, text: bytes) -> bytes:
    at = _at(rng, text)
    return text[:at] + bytes([int(rng.integers(256))]) + text[at + 1 :]


def _cut(rng: Generator, text: bytes) -> bytes:
    begin, end = _span(rng, text)
    return text[:begin] + text[end:]


def _truncate(rng: Generator, text: bytes) -> bytes:
    return text[: _at(rng, text)]


def _twice(rng: Generator, text: bytes) -> bytes:
    begin, end = _span(rng, text)
    return text[:end] + text[begin:end] * int(rng.integers(1, 4)) + text[end:]


def _insert(rng: Generator, text: bytes) -> bytes:
    at = _at(rng, text)
    return text[:at] + word(rng).encode() + text[at:]


def _replace(rng: Generator, text: bytes, pattern: re.Pattern[bytes]) -> bytes:
    found = list(pattern.finditer(text))
    if not found:
        return _insert(rng, text)
    match = found[int(rng.integers(len(found)))]
    return text[: match.start()] + word(rng).encode() + text[match.end() :]


def _number(rng: Generator, text: bytes) -> bytes:
    return _replace(rng, text, NUMBER)


def _value(rng: Generator, text: bytes) -> bytes:
    return _replace(rng, text, VALUE)


def _near(rng: Generator, text: bytes) -> bytes:
    """A number that may still be right."""
    found = list(NUMBER.finditer(text))
    if not found:
        return text
    match = found[int(rng.integers(len(found)))]
    near = b"%g" % float(rng.choice([0, 1, 2, 0.5, 100, 1e3, float(match[0][:18]) * 10.0, float(match[0][:18]) / 10.0]))
    return text[: match.start()] + near + text[match.end() :]


def _lines(rng: Generator, text: bytes) -> bytes:
    """A line twice (a key, too), or two that change places."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    one, other = (int(rng.integers(len(lines))) for _ in range(2))
    if rng.random() < 0.5:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines.insert(other, lines[one])
    return b"".join(lines)


def _line_ends(rng: Generator, text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n" if rng.random() < 0.5 else b"\r")


def _encoded(rng: Generator, text: bytes) -> bytes:
    encoding = ENCODINGS[int(rng.integers(len(ENCODINGS)))]
    return text.decode("utf-8", "replace").encode(encoding, "replace")


MUTATIONS: tuple[Callable[[Generator, bytes], bytes], ...] = (
    _flip, _cut, _truncate, _twice, _insert, _number, _number, _number, _value, _value, _value, _near, _near, _near, _lines,
    _line_ends, _encoded,
)  # fmt: skip


def mutated(rng: Generator, text: bytes) -> bytes:
    """One to three mutations; one in twenty stays as it is."""
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.05, 0.55, 0.25, 0.15]))):
        text = MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, text)
    return text
