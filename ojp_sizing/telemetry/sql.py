"""What a statement's text tells without the database: its verb, what sends it, and a name. The text is never run."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ojp_sizing.demand.workload import normalised_sql

READS = frozenset({"select", "values", "table"})
WRITES = frozenset({"insert", "update", "delete", "merge", "replace", "do"})
CALLS = frozenset({"call"})
COMMITS = frozenset({"commit", "end"})
ENDS = COMMITS | {"rollback", "abort"}
BEGINS = frozenset({"begin", "start"})
#: Further words of transactions, which are no end of one.
WITHIN = frozenset({"savepoint", "release"})

#: Why a statement with one of these verbs is no statement of an application.
LEFT_OUT: dict[str, frozenset[str]] = {
    "maintenance, definitions and copies": frozenset(
        [
            "vacuum",
            "analyze",
            "analyse",
            "reindex",
            "cluster",
            "checkpoint",
            "refresh",
            "create",
            "alter",
            "drop",
            "grant",
            "revoke",
            "comment",
            "truncate",
            "copy",
            "security",
            "reassign",
            "import",
            "optimize",
            "load",
        ]
    ),
    "settings, prepared statements and cursors": frozenset(
        [
            "set",
            "show",
            "reset",
            "discard",
            "deallocate",
            "prepare",
            "execute",
            "listen",
            "unlisten",
            "notify",
            "lock",
            "fetch",
            "move",
            "close",
            "declare",
            "use",
            "kill",
            "explain",
            "describe",
            "desc",
            "flush",
        ]
    ),
}
CATALOG = "queries on the catalogs and statistics"
_PREFIX = re.compile(r"(?:\s+|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_MONITORING = re.compile(
    r"\b(?:pg_catalog\.|information_schema\.|performance_schema\.|pg_stat|pg_class\b|pg_settings\b|pg_database\b)"
    r"|`?(?:performance_schema|information_schema)`? ?\. ?",
    re.IGNORECASE,
)
_TARGET = re.compile(r"\b(?:from|into|update|call)\s+(?:only\s+)?([\w.\"`]+)", re.IGNORECASE)
_CHANGING = re.compile(r"\b(?:insert\s+into|update|delete\s+from|merge\s+into)\b", re.IGNORECASE)
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)
#: Where to look for words: a text of a megabyte is a list of values.
_LOOKED_AT = 20_000


def verb(text: str) -> str:
    """The first word, in lower case, behind blanks, comments and parentheses."""
    prefix = _PREFIX.match(text[:_LOOKED_AT])
    word = re.compile(r"[A-Za-z]*").match(text, prefix.end() if prefix else 0)
    return word[0].lower() if word else ""


def reason_left_out(text: str) -> str | None:
    """Why a text is no statement of an application; None where it is one, or the begin or end of a transaction."""
    first = verb(text)
    for reason, verbs in LEFT_OUT.items():
        if first in verbs:
            return reason
    if first in ENDS | BEGINS | WITHIN:
        return None
    if first not in READS | WRITES | CALLS | {"with"}:
        return "no statement that JDBC would send"
    return CATALOG if first != "do" and _MONITORING.search(text[:_LOOKED_AT]) else None


def kind_of(text: str) -> Literal["read", "write", "call"]:
    """How JDBC sends it."""
    first = verb(text)
    if first in CALLS:
        return "call"
    changes = first in WRITES or (first == "with" and _CHANGING.search(text[:_LOOKED_AT]))
    return "write" if changes else "read"


def sends_rows(text: str) -> bool:
    """Whether its rows go to the client. For a write the statistics count the rows changed, of which only the number does."""
    return kind_of(text) != "write" or bool(_RETURNING.search(text[:_LOOKED_AT]))


def hidden(text: str) -> str:
    """A text in its place that tells its verb, what it sends and which one it is, and nothing else."""
    own = f"{zlib.crc32(normalised_sql(text).encode('utf-8', 'replace')):08x}"
    if verb(text) in ENDS | BEGINS | WITHIN or reason_left_out(text):
        return text
    first = "insert" if kind_of(text) == "write" and verb(text) == "with" else verb(text)
    return f"{first} /* text {own} left out */" + (
        " returning" if kind_of(text) == "write" and sends_rows(text) else ""
    )


def names_of(texts: Sequence[str]) -> list[str]:
    """For each text the shortest of three names that no other text shares."""
    forms = [_forms(text) for text in texts]
    uses = [Counter(form[i] for form in forms) for i in range(3)]
    return [next((form[i] for i in range(2) if uses[i][form[i]] == 1), form[2]) for form in forms]


def _forms(text: str) -> tuple[str, str, str]:
    prefix = _PREFIX.match(text)
    words = re.findall(r"\w+", text[prefix.end() if prefix else 0 :][:200], re.ASCII)
    target = _TARGET.search(text[:_LOOKED_AT])
    parts = [verb(text)] + ([target[1]] if target else [])
    short = re.sub(r"\W+", "_", "_".join(parts), flags=re.ASCII).strip("_").lower()[:40]
    own = f"{zlib.crc32(normalised_sql(text).encode('utf-8', 'replace')):08x}"
    return short, f"{short}_{words[1].lower()[:14]}" if len(words) > 1 else short, f"{short}_{own}"
