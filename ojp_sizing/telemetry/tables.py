"""Exports of any program into one shape: named columns, rows of text. What the columns mean is ``columns.py``'s.

Three kinds of layout are told apart by how they begin: JSON, records of one ``name | value`` a line (psql's ``\\x``, MySQL's
``\\G``), and lines of cells: CSV with any delimiter, and the tables that psql and MySQL draw. The text is untrusted.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown
from ojp_sizing.reading import read_bytes

MOST_EXPORT_BYTES = 64 * 2**20
MOST_ROWS = 1_000_000
_DELIMITERS = ",;\t|"
#: Lines of a drawn table without a cell: ``----+----``, ``+----+``, ``|---|:--|``.
_RULE = re.compile(r"\s*[|+:]?[-=]+(?:[-=+|: ]*[-=+|:])?\s*")
_COUNT = re.compile(r"\(\d+ [^\W\d]+\)|\d+ rows? in set.*")
_RECORD = re.compile(r"-\[ [^\W\d]+ \d+ \][-+]*|\*{3,} \d+\. row \*{3,}")
_EXPORT_ANEW = "export with COPY ... (FORMAT csv, HEADER)"

#: Whether a column of this name is one that the caller looks for.
Knows = Callable[[str], bool]
#: A row's number in the file (a line, or an entry) and its cells, as many as there are columns; None: nothing there.
Row = tuple[int, tuple[str | None, ...]]


@dataclass(frozen=True, slots=True)
class Table:
    """An export: ``columns`` as it names them, and its rows. ``delimiter`` stood between cells; empty for JSON and records."""

    place: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    delimiter: str
    notes: tuple[str, ...] = ()


def read_table(path: Path, knows: Knows) -> Table:
    """The table in a file of at most 64 MiB. ``knows`` chooses among delimiters. Raises InputError where there is none."""
    text, place, notes = read_any_text(path)
    return parse_table(text, place, knows, notes)


def read_any_text(path: Path) -> tuple[str, str, tuple[str, ...]]:
    """The text of a file in UTF-8, UTF-16 or else Windows-1252, how messages name it, and what had to be assumed."""
    raw, place = read_bytes(path, most_bytes=MOST_EXPORT_BYTES)
    notes: tuple[str, ...] = ()
    try:
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            text = raw.decode("utf-16")
        elif raw[:64:2].count(0) + raw[1:64:2].count(0) > len(raw[:64]) // 4:
            text = raw.decode("utf-16-le" if raw[1:2] == b"\0" else "utf-16-be")
        else:
            text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        try:
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            raise InputError(place, f"not text at byte {error.start}", "save the file as UTF-8") from error
        notes = ("the file is not UTF-8: read as Windows-1252",)
    return text, place, notes


def parse_table(text: str, place: str, knows: Knows, notes: tuple[str, ...] = ()) -> Table:
    """The table in a text."""
    text = text.lstrip("\ufeff \t\r\n")
    if not text:
        raise InputError(place, "not CSV: it is empty", _EXPORT_ANEW)
    if text[:1] in ("[", "{"):
        columns, rows, delimiter = *_from_json(text, place), ""
    elif _RECORD.match(text):
        columns, rows, delimiter = *_from_records(text), ""
    else:
        columns, rows, delimiter = _from_lines(text, place, knows)
    for name in columns:
        if name and columns.count(name) > 1 and knows(name):
            raise InputError(place, f"two columns {shown(name)}", "export each once")
    return Table(place, columns, tuple(rows), delimiter, notes)


# --- JSON and records ------------------------------------------------------------------------------------------------


def _from_json(text: str, place: str) -> tuple[tuple[str, ...], list[Row]]:
    """A list of objects, one that stands under a key, or an object a line."""

    def read(part: str) -> object:
        # Numbers stay text, so that nobody but figures.py reads one.
        return json.loads(part, parse_float=str, parse_int=str, parse_constant=str)

    try:
        try:
            tree = read(text)
        except json.JSONDecodeError:
            tree = [read(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise InputError(place, f"not JSON: {shown(str(error))}", "export a list of objects, or CSV") from error
    if isinstance(tree, dict):
        lists = [value for value in tree.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        tree = lists[0] if len(lists) == 1 else [tree]
    if not isinstance(tree, list) or not all(isinstance(entry, dict) for entry in tree):
        raise InputError(place, "JSON, but not a list of objects", "export one object for each statement")
    return _as_rows(tree)


def _as_rows(entries: Sequence[dict[str, object]]) -> tuple[tuple[str, ...], list[Row]]:
    columns = tuple(dict.fromkeys(name for entry in entries for name in entry))
    return columns, [(n, tuple(_cell(entry.get(c)) for c in columns)) for n, entry in enumerate(entries, 1)]


def _cell(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else None


def _from_records(text: str) -> tuple[tuple[str, ...], list[Row]]:
    """psql's ``name | value`` or MySQL's ``name: value``, a line each, under a heading for each record."""
    entries: list[dict[str, object]] = []
    last = ""
    for line in text.splitlines():
        if _RECORD.fullmatch(line.strip()):
            entries.append({})
            continue
        match = re.match(r"\s*(\w[\w ./()]*?)\s*(?:\|\s?|:\s)(.*)", line)
        if match and not (match[1] in entries[-1] and last):
            last = match[1]
            entries[-1][last] = match[2].rstrip().removesuffix("+").rstrip() if "|" in line else match[2]
        elif last and line.strip() and not _COUNT.fullmatch(line.strip()):
            more = line.split("|", 1)[-1].strip().removesuffix("+")
            entries[-1][last] = f"{entries[-1][last]}\n{more}"
    return _as_rows(entries)


# --- lines of cells --------------------------------------------------------------------------------------------------


def _from_lines(text: str, place: str, knows: Knows) -> tuple[tuple[str, ...], list[Row], str]:
    """CSV, or a table that a client has drawn: the delimiter under which the header has the most known names."""
    if "\0" in text:
        raise InputError(place, "not text: it holds NUL characters", _EXPORT_ANEW)
    lines = text.splitlines(keepends=True)
    drawn = any(_RULE.fullmatch(line) for line in lines[:3])
    start = next((i for i, line in enumerate(lines[:3]) if not _RULE.fullmatch(line) and "sep=" not in line[:5]), 0)
    header = lines[start]
    found = ((sum(map(knows, _split(header, d))), len(_split(header, d)), d) for d in _DELIMITERS)
    *_, delimiter = max(found, key=lambda known: known[:2])
    if drawn or delimiter == "|":
        return *_from_bars(lines[start:], place, knows), "|"
    body = "".join(lines[start:])
    return *_from_csv(body, start, place, delimiter), delimiter


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == "|":
        return [cell.strip() for cell in line.strip().strip("|").split("|")]
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _from_csv(text: str, skipped: int, place: str, delimiter: str) -> tuple[tuple[str, ...], list[Row]]:
    csv.field_size_limit(MOST_EXPORT_BYTES)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        for cells in reader:
            if not any(cells) or (len(cells) == 1 < len(columns) and _COUNT.fullmatch(cells[0].strip())):
                continue
            line = reader.line_num + skipped
            if len(rows) == MOST_ROWS:
                raise InputError(place, f"more than {MOST_ROWS:,} rows", "export the busiest hour alone")
            if len(cells) != len(columns):
                what = "rows with more fields than the header" if len(cells) > len(columns) else "a row is cut short"
                raise InputError(f"{place}: line {line}", f"{what}: {len(cells)} under {len(columns)}", _EXPORT_ANEW)
            rows.append((line, tuple(cells)))
    except csv.Error as error:
        raise InputError(place, f"not CSV: {shown(str(error))}", _EXPORT_ANEW) from error
    return columns, rows


def _from_bars(lines: Sequence[str], place: str, knows: Knows) -> tuple[tuple[str, ...], list[Row]]:
    """``a | b`` of psql and MySQL. Only SQL holds bars and line breaks: the rest of its row tells where it ends."""
    columns = tuple(_split(lines[0], "|"))
    # The widest of the cells that may hold a bar is the text of a statement: the first column of a known text, or the last.
    text_at = next((i for i, name in enumerate(columns) if knows(name) and _holds_sql(name)), len(columns) - 1)
    rows: list[Row] = []
    for number, cells in _bar_rows(lines, len(columns)):
        if len(cells) < len(columns):
            raise InputError(
                f"{place}: line {number}", f"{len(cells)} cells under {len(columns)} columns", _EXPORT_ANEW
            )
        wide = len(cells) - len(columns) + 1
        merged = (*cells[:text_at], "|".join(cells[text_at : text_at + wide]), *cells[text_at + wide :])
        if rows and merged[text_at].strip() and not any(c.strip() for i, c in enumerate(merged) if i != text_at):
            # psql goes on with a text of several lines under empty cells, and MySQL's client under nothing.
            first, before = rows[-1]
            joined = (
                f"{(before[text_at] or '').removesuffix('+').rstrip()}\n{merged[text_at].strip().removesuffix('+')}"
            )
            rows[-1] = first, (*before[:text_at], joined, *before[text_at + 1 :])
        else:
            rows.append((number, tuple(cell.strip() for cell in merged)))
    return columns, rows


def _holds_sql(name: str) -> bool:
    return any(part in name.lower() for part in ("query", "sql", "text", "qry", "statement"))


def _bar_rows(lines: Sequence[str], width: int) -> Iterator[tuple[int, list[str]]]:
    """Rows of at least ``width`` cells: a line with fewer goes on in the next one (psql's unaligned output)."""
    open_line, since = "", 0
    for number, line in enumerate(lines[1:], 2):
        bare = line.rstrip("\r\n")
        if not open_line and (not bare.strip() or _RULE.fullmatch(bare) or _COUNT.fullmatch(bare.strip())):
            continue
        since = since or number
        open_line = f"{open_line}\n{bare}" if open_line else bare
        outer = open_line.lstrip().startswith("|") and open_line.rstrip().endswith("|") and open_line.count("|") > width
        cells = (open_line.strip()[1:-1] if outer else open_line).split("|")
        if len(cells) >= width:
            yield since, cells
            open_line, since = "", 0
    if open_line.strip() and not _COUNT.fullmatch(open_line.strip().splitlines()[-1].strip()):
        yield since, open_line.split("|")
