"""Untrusted YAML files into checked values: what every reader of a file shares.

The text is taken event by event into mappings, lists and *text*: no YAML type is ever guessed, so that ``no``, ``1e3``,
``12:30`` and ``.nan`` are text like any other until the field they stand in reads them. Tags, anchors and aliases are
refused where they occur, and depth is counted, before anything is built from them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from ojp_sizing.bounds import LINE, MOST_NAME, MOST_TIME_S, NAME, bound_of, told_as
from ojp_sizing.deployment.constants import WORKLOAD_FIELDS, constant_table, parse_constant
from ojp_sizing.errors import InputError
from ojp_sizing.quantities import (
    format_bytes,
    format_number,
    parse_duration,
    parse_fraction,
    parse_number,
    parse_whole,
    shown,
)
from ojp_sizing.uncertain import N, parse_range

MOST_FILE_BYTES = 2**20
MOST_DEPTH = 20
MOST_NODES = 50_000
MOST_ENTRIES = 1000
#: Longer paths are told shortened.
MOST_PATH = 500

# --- files -> text ---------------------------------------------------------------------------------------------------


def read_bytes(
    path: Path, mend_missing: str = "check the path", most_bytes: int = MOST_FILE_BYTES
) -> tuple[bytes, str]:
    """What a regular file holds, and how to name it in messages; a file above the limit is refused unread."""
    place = str(path) if str(path).isprintable() and len(str(path)) <= MOST_PATH else shown(str(path))
    try:
        if path.is_dir():
            raise InputError(place, "is a directory", "name a file")
        if not path.exists():
            raise InputError(place, "no such file", mend_missing)
        # A pipe or a device would make us wait, or never end.
        if not path.is_file():
            raise InputError(place, "is not a regular file", "name a file")
        size = path.stat().st_size
        if size > most_bytes:
            raise InputError(place, f"{size:,} bytes", f"the limit is {format_bytes(most_bytes)}B")
        with path.open("rb") as file:
            return file.read(most_bytes + 1), place
    except OSError as error:
        raise InputError(place, f"cannot be read: {error.strerror}", mend_missing) from error


def read_text(
    path: Path, mend_missing: str = "check the path", most_bytes: int = MOST_FILE_BYTES, encoding: str = "utf-8-sig"
) -> tuple[str, str]:
    """The same, decoded."""
    raw, place = read_bytes(path, mend_missing, most_bytes)
    try:
        return raw.decode(encoding), place
    except UnicodeDecodeError as error:
        raise InputError(place, f"not UTF-8 at byte {error.start}", "save the file as UTF-8") from error


# --- text -> mappings, lists and text -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Frame:
    """A mapping or list being filled; ``key`` is the key of a mapping whose value comes next."""

    node: dict[str, object] | list[object]
    path: str
    key: str | None = None
    anchor: str = ""
    began: int = 0

    def next_path(self) -> str:
        """Where the next value goes, as ``units[0].share``."""
        if isinstance(self.node, list):
            return f"{self.path}[{len(self.node)}]"
        return self.path if self.key is None else join_path(self.path, self.key)

    def put(self, value: object, place: str) -> None:
        if isinstance(self.node, list):
            self.node.append(value)
        elif self.key is not None:
            self.node[self.key], self.key = value, None
        elif not isinstance(value, str):
            raise InputError(at(place, self.path), "a key is not plain text", "write 'key: value'")
        elif value in self.node:
            raise InputError(at(place, join_path(self.path, value)), "the key occurs twice", "remove one of the two")
        else:
            self.key = value


def join_path(path: str, key: str) -> str:
    """A YAML path with one more key; what is no plain name is quoted."""
    name = key if re.fullmatch(r"[\w.-]{1,48}", key) else shown(key)
    return f"{path}.{name}" if path and name else path or name


def at(place: str, path: str) -> str:
    """A place in a file, for an ``InputError``."""
    return f"{place}: {path}" if path else place


def _events(text: str, place: str, guide: str) -> Iterator[Event]:
    """The parser's events. Whatever it trips over is one line: it also raises built-in errors on odd escapes."""
    events = iter(YAML(typ="safe", pure=True).parse(text))
    try:
        yield from events
    except (YAMLError, ValueError, ArithmeticError, LookupError, AssertionError, NotImplementedError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else ""
        reason = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read")
        raise InputError(at(place, where), f"not YAML: {shown(reason)}", f"see {guide}") from error


def _refuse_devices(event: Event, place: str) -> None:
    """Anchors, aliases and tags make a file mean something else than it shows; our files need none."""
    if getattr(event, "anchor", None) is not None:
        raise InputError(place, "anchors and aliases are not taken", "write the value out")
    if getattr(event, "tag", None) is not None:
        raise InputError(place, "YAML tags are not taken", "remove the '!...'")


def _scalar(event: ScalarEvent) -> str | None:
    plain = event.implicit[0]
    return None if plain and event.value in {"", "~", "null", "Null", "NULL"} else str(event.value)


@dataclass(slots=True)
class _Anchors:
    """What anchors stand for, and how much each is when it is written out. ``None`` where they are not taken."""

    nodes: dict[str, object] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def keep(self, name: str, node: object, size: int) -> None:
        self.nodes[name], self.sizes[name] = node, size

    def find(self, name: str, place: str) -> tuple[object, int]:
        if name not in self.nodes:
            raise InputError(place, f"no anchor {shown(name)} above it", "write the value out")
        return self.nodes[name], self.sizes[name]


def _merged(node: dict[str, object], place: str) -> None:
    """The mappings behind ``<<`` below the mapping's own keys; of several the first wins."""
    behind = node.pop("<<")
    for one in behind if isinstance(behind, list) else [behind]:
        if not isinstance(one, dict):
            raise InputError(place, "<< is no mapping", "write '<<: *name' of a mapping")
        for key, value in one.items():
            node.setdefault(key, value)


class _Builder:
    """Puts each value, key or opened mapping or list where it belongs. The outermost frame is the list of documents."""

    def __init__(self, place: str, guide: str, anchors: _Anchors | None, lines: dict[str, int] | None) -> None:
        self.place, self.guide, self.anchors, self.lines = place, guide, anchors, lines
        self.documents: list[object] = []
        self.frames = [_Frame(self.documents, "")]
        #: Values so far, aliases written out.
        self.count = 0

    def take(self, event: NodeEvent) -> None:
        frame = self.frames[-1]
        if len(self.frames) == 1:
            if isinstance(event, ScalarEvent) and _scalar(event) is None:
                return  # a document without anything in it
            if self.documents:
                raise InputError(self.place, "several YAML documents", "keep one document per file")
        path = frame.next_path() if len(self.frames) > 1 else ""
        place = at(self.place, path or f"line {event.start_mark.line + 1}")
        anchor = self._anchor(event, place)
        self._counted(1)
        if isinstance(event, AliasEvent):
            node, size = self.anchors.find(str(event.anchor), place)  # type: ignore[union-attr]
            self._counted(size)
            frame.put(node, self.place)
        elif isinstance(event, ScalarEvent):
            is_key = isinstance(frame.node, dict) and frame.key is None
            frame.put(_scalar(event), self.place)
            if is_key and self.lines is not None:
                self.lines.setdefault(frame.next_path(), event.start_mark.line + 1)
            if anchor and self.anchors is not None:
                self.anchors.keep(anchor, _scalar(event), 1)
        else:
            if len(self.frames) > MOST_DEPTH:
                raise InputError(at(self.place, path), f"nested deeper than {MOST_DEPTH} levels", f"see {self.guide}")
            opened: dict[str, object] | list[object] = {} if isinstance(event, MappingStartEvent) else []
            frame.put(opened, self.place)
            self.frames.append(_Frame(opened, path, anchor=anchor, began=self.count))

    def end(self) -> None:
        """The innermost mapping or list is whole."""
        frame = self.frames.pop()
        if self.anchors is not None:
            if isinstance(frame.node, dict) and "<<" in frame.node:
                _merged(frame.node, at(self.place, frame.path))
            if frame.anchor:
                self.anchors.keep(frame.anchor, frame.node, 1 + self.count - frame.began)

    def _counted(self, values: int) -> None:
        self.count += values
        if self.count > MOST_NODES:
            raise InputError(self.place, f"more than {MOST_NODES:,} entries", "merge statements that are alike")

    def _anchor(self, event: NodeEvent, place: str) -> str:
        if self.anchors is None or getattr(event, "tag", None) is not None:
            _refuse_devices(event, place)
        return str(getattr(event, "anchor", None) or "")


def load_tree(
    text: str,
    place: str,
    guide: str = "docs/workload.md",
    *,
    aliases: bool = False,
    lines: dict[str, int] | None = None,
) -> dict[str, object]:
    """One YAML mapping as nested mappings, lists, text and None, or an ``InputError`` that may lead to the guide.

    ``aliases``: anchors, aliases and ``<<`` are taken, as long as the file is no larger with them written out. ``lines`` is
    filled with the line of each key by its path.
    """
    if len(text) > MOST_FILE_BYTES:
        raise InputError(place, "more than 1 MiB", "such a file is a few KiB")
    builder = _Builder(place, guide, _Anchors() if aliases else None, lines)
    for event in _events(text, place, guide):
        if isinstance(event, CollectionEndEvent):
            builder.end()
        elif isinstance(event, NodeEvent):
            builder.take(event)
    root = builder.documents[0] if builder.documents else None
    if not isinstance(root, dict):
        raise InputError(place, "not a mapping of keys to values", f"start with 'name: ...'; see {guide}")
    return root


# --- mappings and text -> checked values ----------------------------------------------------------------------------


def text_of(value: object) -> str:
    """One value, as written."""
    if not isinstance(value, str):
        raise InputError("", "empty or not a single value", "write one value")
    return value


def name_of(value: object) -> str:
    """1 to 64 printable characters."""
    return NAME.take(text_of(value), "")


def line_of(value: object) -> str:
    """One line of printable text; line breaks count as blanks."""
    return LINE.take(re.sub(r"\s*\n\s*", " ", text_of(value).strip()), "")


def flag_of(value: object) -> bool:
    """``true`` or ``false``."""
    text = text_of(value)
    if text not in {"true", "false"}:
        raise InputError("", f"{shown(text)} is neither true nor false", "write true or false")
    return text == "true"


def time_of(value: object) -> float:
    """Seconds, from a duration with its unit; an hour at most."""
    return parse_duration(text_of(value), "", most_s=MOST_TIME_S)


def fraction_of(value: object) -> float:
    """A part of the whole, 0 to 1."""
    return parse_fraction(text_of(value), "")


def whole_number(least: int, most: int) -> PlainValidator:
    """Reads a whole number within these bounds."""
    return PlainValidator(lambda value: parse_whole(text_of(value), "", least, most))


def ranged(read: Callable[[str], N]) -> PlainValidator:
    """Reads what ``read`` does, or three of them as a range, ``low..mid..high``."""
    return PlainValidator(lambda value: parse_range(text_of(value), read))


def number_of(kind: type, name: str) -> PlainValidator:
    """Reads a number by the bound that is declared beside this field, or a range; times have a unit, shares may be in %."""
    bound = bound_of(kind, name)
    if bound.whole:
        return ranged(lambda text: parse_whole(text, "", bound.least, bound.most))
    if bound.unit == "share":
        return ranged(fraction_of)
    parse = parse_duration if bound.unit == "s" else parse_number
    return ranged(lambda text: parse(text, "", min(bound.most, MOST_TIME_S if bound.unit == "s" else inf)))


def constants_of(value: object) -> tuple[tuple[str, float], ...]:
    """``constants:`` of a workload or deployment file: values by row of ``data/constants.csv``, in its order."""
    if not isinstance(value, dict):
        raise InputError("", "not a mapping of names to values", "write for example 'statement_cpu_s: 0.5ms'")
    table = constant_table()
    for name in value:
        if name not in table:
            raise InputError(
                join_path("", name), "no such constant", f"{did_you_mean(name, list(table))} See data/constants.csv"
            )
        if name in WORKLOAD_FIELDS:
            raise InputError(name, "belongs to the workload", f"write {WORKLOAD_FIELDS[name]} in the workload file")
    return tuple(
        (name, parse_range(text_of(value[name]), partial(parse_constant, name, place=name), name))
        for name in table
        if value.get(name) is not None
    )


Name = Annotated[str, PlainValidator(name_of)]
Line = Annotated[str, PlainValidator(line_of)]
Time = Annotated[float, ranged(time_of)]
Fraction = Annotated[float, ranged(fraction_of)]
SetConstants = Annotated[tuple[tuple[str, float], ...], PlainValidator(constants_of)]


class Edge(BaseModel):
    """A mapping of the file. A key without a value counts as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: object) -> object:
        known = list(cls.model_fields)
        if not isinstance(data, dict):
            raise InputError("", "not a mapping of keys to values", f"known keys: {', '.join(known)}")
        for key in data:
            if key not in known:
                raise InputError(join_path("", key), "unknown key", did_you_mean(key, known))
        return {key: value for key, value in data.items() if value is not None}

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        """The bounds are those of the value that the mapping stands for; the keys are its fields without their unit."""
        with told_as(lambda field: field.removesuffix("_s")):
            self.made()
        return self

    def made(self) -> object:
        """The value that it stands for, if it is one of its own. Raises InputError at ``Class.field``."""


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The fix for an unknown word: the one that it resembles, or those that are known."""
    close = difflib.get_close_matches(word[:MOST_NAME], known, 1, cutoff=0.5)
    return f"did you mean {shown(close[0])}?" if close else f"known: {', '.join(known[:12])}"


def input_error(error: ValidationError, place: str, guide: str = "docs/workload.md") -> InputError:
    """The first thing wrong, at its YAML path."""
    first = error.errors(include_url=False)[0]
    path = ""
    for step in first["loc"]:
        path = f"{path}[{step}]" if isinstance(step, int) else join_path(path, step)
    context = first.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InputError):
        return InputError(at(place, f"{path}.{cause.place}".strip(".")), cause.problem, cause.fix)
    fixes = {
        "missing": ("missing", "add it"),
        "literal_error": (f"{shown(str(first['input']))} is not known here", f"write {context.get('expected')}"),
        "list_type": ("not a list", "start each entry with '- '"),
        "too_short": ("an empty list", "write at least one entry"),
        "too_long": ("too long a list", f"write at most {MOST_ENTRIES} entries"),
    }
    problem, fix = fixes.get(first["type"], (shown(first["msg"]), f"see {guide}"))
    return InputError(at(place, path), problem, fix)


# --- and back to YAML ------------------------------------------------------------------------------------------------

#: Words that other YAML readers take for something else than text.
_TRAPS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def yaml_text(text: str) -> str:
    """Any text as a YAML scalar that every reader takes for that text."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text) and text.lower() not in _TRAPS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def yaml_constants(values: Iterable[tuple[str, float]]) -> Iterator[str]:
    """The lines of ``constants:`` that read back as these values; none for none."""
    lines = [f"  {name}: {format_number(value)} # {constant_table()[name].unit}" for name, value in values]
    if lines:
        yield "# Instead of the values of data/constants.csv."
        yield "constants:"
        yield from lines
