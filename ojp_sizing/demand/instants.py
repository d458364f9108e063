"""Instants as logs, monitoring tools and databases write them, as seconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown

_EPOCH = datetime.fromtimestamp(0, UTC)
#: From so many seconds on (the year 5138) a plain number counts smaller parts, and how many of them make a second.
_PARTS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
_NUMBER = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,9})?")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
#: ``02/Mar/2026:11:00:00 +0000`` of access logs.
_ACCESS_LOG = re.compile(
    r"([0-9]{2})/([A-Za-z]{3})/([0-9]{4}):([0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?)(?: ?([+-][0-9]{2}:?[0-9]{2}))?"
)
#: ``2026-03-02 11:00:00.007 CET``: which offset a zone's letters mean isn't said; they are the same on every line.
_ZONE = re.compile(r"(.*[0-9]) ?(?:[A-Z]{2,5})")
#: Such instants in the lines of a log, wherever they stand.
IN_A_LINE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?(?: ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)\b)?"
    r"|[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?(?: [+-][0-9]{4})?"
)


def parse_instant(text: str) -> float:
    """Seconds since 1970 (of a plain number: since whatever it counts from); without an offset UTC. Raises InputError."""
    bare = text.strip()
    if _NUMBER.fullmatch(bare):
        value = float(bare)
        return value / next((parts for least, parts in _PARTS if value >= least), 1.0)
    if log := _ACCESS_LOG.fullmatch(bare):
        day, month, year, clock, offset = log.groups()
        if month.lower() in _MONTHS:
            bare = f"{year}-{_MONTHS.index(month.lower()) + 1:02}-{day}T{clock}{offset or ''}"
    if zone := _ZONE.fullmatch(bare):
        bare = zone[1]
    try:
        instant = datetime.fromisoformat(bare)
        return ((instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
    except (ValueError, OverflowError) as error:
        raise InputError("", f"{shown(text)} is no time", "write seconds, or 2026-03-01T12:00:00.250Z") from error
