"""Plain values and comments as YAML text that no parser can take for something else."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from ojp_sizing.emit.release import comment_text

Plain = bool | int | str | list["Plain"] | Mapping[str, "Plain"]

#: From here on Helm prints a bare number with an exponent (4.194304e+06). OJP can't read that and silently takes its
#: default, so such a number is emitted as a string.
LEAST_QUOTED = 1_000_000
_COMMENT_WIDTH = 100


def comment_lines(texts: Iterable[str], width: int = _COMMENT_WIDTH) -> list[str]:
    """Texts as lines of a comment, without the mark; a text that is too long is wrapped."""
    lines: list[str] = []
    for text in texts:
        lines += textwrap.wrap(comment_text(text), width, break_on_hyphens=False, break_long_words=False) or [""]
    return lines


def commented(texts: Iterable[str]) -> str:
    """Texts as whole comment lines of YAML, a shell script or a properties file."""
    return "".join(f"# {line}".rstrip() + "\n" for line in comment_lines(texts))


def node(value: Plain) -> object:
    """A value as it is to be written: strings and large numbers in double quotes, text of several lines as a block."""
    if isinstance(value, Mapping):
        return CommentedMap({key: node(inner) for key, inner in value.items()})
    if isinstance(value, list):
        return CommentedSeq([node(inner) for inner in value])
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < LEAST_QUOTED:
        return value
    text = str(value)
    return LiteralScalarString(text) if "\n" in text else DoubleQuotedScalarString(text)


def dumped(root: object) -> str:
    """A tree of ruamel's as text."""
    yaml = YAML()
    yaml.width = 10_000  # values are short; a folded one would only be harder to read
    body = io.StringIO()
    yaml.dump(root, body)
    return body.getvalue()


def document(comments: Iterable[str], value: Plain) -> str:
    """One YAML document under a comment."""
    return commented(comments) + dumped(node(value))
