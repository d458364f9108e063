"""Statements and their rate from a running PostgreSQL: the difference of two looks at ``pg_stat_statements``.

Each look is one short read-only transaction; between them nobody is connected. A member of ``pg_read_all_stats`` sees all that is
needed. Passwords come from ``PGPASSWORD`` or a pgpass file, as libpq takes them, and are neither printed nor kept. Needs psycopg
(``pip install 'ojp-sizing[postgres]'``), which is loaded here alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import format_duration, shown
from ojp_sizing.reading import read_text
from ojp_sizing.telemetry.records import Record, Records

FORMAT = "ojp-size snapshot 1"
MOST_SNAPSHOT_BYTES = 128 * 2**20
CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S = 10, 30
#: More texts than this of one server are no statistics.
_MOST_ROWS = 100_000
#: Names before PostgreSQL 13, and what stands in where a column isn't there.
_COLUMNS = (
    ("queryid", ("queryid",), "0"),
    ("userid", ("userid",), "0"),
    ("toplevel", ("toplevel",), "true"),
    ("query", ("query",), "''"),
    ("calls", ("calls",), "0"),
    ("rows", ("rows",), "0"),
    ("mean_ms", ("mean_exec_time", "mean_time"), "0"),
    ("deviation_ms", ("stddev_exec_time", "stddev_time"), "NULL"),
)


@dataclass(frozen=True, slots=True)
class Counted:
    """One row of the view: who ran which text how often, and the moments of its times (ms)."""

    userid: int
    queryid: int
    toplevel: bool
    query: str
    calls: int
    rows: int
    mean_ms: float
    deviation_ms: float | None

    @property
    def key(self) -> tuple[int, int, bool]:
        return self.userid, self.queryid, self.toplevel


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A look at a database's statistics. Instants are seconds since 1970, by the server's clock.

    ``started_s``, ``reset_s``: when the server was started, and its statistics reset. ``dropped``: how often texts were
    dropped from them for want of room. ``transactions``, ``sessions``: of the database, since its own reset. ``reserved``: what
    of ``max_connections`` only superusers and reserved roles may use. ``cores``: None where the server can't be asked.
    """

    at_s: float
    database: str
    version: int
    started_s: float
    reset_s: float
    dropped: int
    transactions: int
    sessions: int | None
    max_connections: int
    reserved: int
    cores: float | None
    is_nested_tracked: bool
    rows: tuple[Counted, ...]


# --- a look ----------------------------------------------------------------------------------------------------------


def take_snapshot(dsn: str, place: str = "--dsn") -> Snapshot:
    """One look. Raises InputError, without anything secret, where the server can't be reached or asked."""
    psycopg = _driver()
    wanted = _connection(psycopg, dsn, place)
    try:
        with psycopg.connect(**wanted) as connection:
            connection.read_only = True
            return _look(psycopg, connection, place)
    except psycopg.Error as error:
        raise _refusal(psycopg, error, place) from None


def _driver() -> ModuleType:
    try:
        import psycopg  # noqa: PLC0415 - an extra, and half a second
    except ImportError as error:
        raise InputError("fit postgres", "psycopg is missing", "pip install 'ojp-sizing[postgres]'") from error
    return psycopg


def _connection(psycopg: ModuleType, dsn: str, place: str) -> dict[str, Any]:
    try:
        wanted: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        # libpq repeats what it can't read, which may be a password.
        raise InputError(place, "not a connection string", "write postgresql://user@host:5432/database") from None
    if wanted.get("password") or wanted.get("sslpassword"):
        fix = "set PGPASSWORD, or write a line into ~/.pgpass"
        raise InputError(place, "a password on the command line is seen by everybody on the machine", fix)
    return wanted | {
        "connect_timeout": wanted.get("connect_timeout", CONNECT_TIMEOUT_S),
        "application_name": "ojp-size fit",
        "autocommit": False,
    }


def _refusal(psycopg: ModuleType, error: Any, place: str) -> InputError:
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if isinstance(error, psycopg.errors.QueryCanceled):
        return InputError(place, f"takes more than {STATEMENT_TIMEOUT_S} s to answer", "try at a quieter hour")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return InputError(place, shown(first)[1:-1], "grant pg_read_all_stats to this role")
    if isinstance(error, psycopg.errors.ObjectNotInPrerequisiteState):
        return InputError(place, "pg_stat_statements is not loaded", "add it to shared_preload_libraries and restart")
    # The host, the port and the role are named in the first line; never the password.
    said = first if len(first) <= 200 else f"{first[:197]}..."
    plain = "".join(c if c.isprintable() else "?" for c in said)
    return InputError(place, plain, "check the address, the role and PGPASSWORD or ~/.pgpass")


def _look(psycopg: ModuleType, connection: Any, place: str) -> Snapshot:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
        # What we ask never waits for a lock of the application, or makes it wait.
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        found = cursor.execute(
            "SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'pg_stat_statements'"
        ).fetchone()
        if found is None:
            fix = "CREATE EXTENSION pg_stat_statements in this database"
            raise InputError(place, "no extension pg_stat_statements", fix)
        schema = psycopg.sql.Identifier(found[0])
        settings = _settings(cursor)
        facts = cursor.execute(
            "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8, current_database(),"
            " extract(epoch FROM pg_catalog.pg_postmaster_start_time())::float8"
        ).fetchone()
        reset_s, dropped = _info(psycopg, cursor, schema)
        transactions, sessions = _database(cursor)
        rows = _rows(psycopg, cursor, schema)
        cores = _cores(cursor)
    reserved = int(settings["superuser_reserved_connections"]) + int(settings.get("reserved_connections", 0))
    return Snapshot(
        facts[0], str(facts[1]), int(settings["server_version_num"]), facts[2], reset_s, dropped, transactions, sessions,
        int(settings["max_connections"]), reserved, cores, settings.get("pg_stat_statements.track") == "all", rows,
    )  # fmt: skip


def _settings(cursor: Any) -> dict[str, str]:
    names = (
        "server_version_num", "max_connections", "superuser_reserved_connections", "reserved_connections",
        "pg_stat_statements.track",
    )  # fmt: skip
    rows = cursor.execute("SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)", (list(names),))
    return {str(name): str(setting) for name, setting in rows.fetchall()}


def _info(psycopg: ModuleType, cursor: Any, schema: Any) -> tuple[float, int]:
    """When the statistics were reset, and how often texts were dropped; told from PostgreSQL 14 on."""
    there = cursor.execute("SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'pg_stat_statements_info'").fetchone()
    if there is None:
        return 0.0, 0
    query = psycopg.sql.SQL("SELECT extract(epoch FROM stats_reset)::float8, dealloc FROM {}.pg_stat_statements_info")
    reset_s, dropped = cursor.execute(query.format(schema)).fetchone()
    return float(reset_s or 0.0), int(dropped)


def _database(cursor: Any) -> tuple[int, int | None]:
    columns = _columns_of(cursor, "pg_stat_database")
    sessions = "sessions" if "sessions" in columns else "NULL"
    query = (
        f"SELECT xact_commit + xact_rollback, {sessions} FROM pg_catalog.pg_stat_database"  # noqa: S608 - our own words
        " WHERE datname = current_database()"
    )
    transactions, opened = cursor.execute(query).fetchone()
    return int(transactions), None if opened is None else int(opened)


def _columns_of(cursor: Any, view: str) -> set[str]:
    rows = cursor.execute(
        "SELECT a.attname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
        " WHERE c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped",
        (view,),
    )
    return {str(name) for (name,) in rows.fetchall()}


def _rows(psycopg: ModuleType, cursor: Any, schema: Any) -> tuple[Counted, ...]:
    there = _columns_of(cursor, "pg_stat_statements")
    parts = [next((name for name in names if name in there), instead) for _, names, instead in _COLUMNS]
    query = psycopg.sql.SQL(
        f"SELECT {', '.join(parts)} FROM {{}}.pg_stat_statements"  # noqa: S608 - our own words
        " WHERE dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) AND calls > 0"
        f" LIMIT {_MOST_ROWS}"
    )
    found = cursor.execute(query.format(schema)).fetchall()
    rows = (
        Counted(
            int(row["userid"]), int(row["queryid"] or 0), bool(row["toplevel"]), str(row["query"] or ""),
            int(row["calls"]), int(row["rows"]), float(row["mean_ms"]),
            None if row["deviation_ms"] is None else float(row["deviation_ms"]),
        )
        for row in (dict(zip((name for name, _, _ in _COLUMNS), values, strict=True)) for values in found)
    )  # fmt: skip
    return _hidden_as_one(rows)


def _hidden_as_one(rows: Iterable[Counted]) -> tuple[Counted, ...]:
    """Of a text that this role may not see it may not see the number either: all of one user's are one row."""
    found: dict[tuple[int, int, bool], Counted] = {}
    for row in rows:
        before = found.get(row.key)
        if before is not None:
            calls = before.calls + row.calls
            mean_ms = (before.calls * before.mean_ms + row.calls * row.mean_ms) / calls
            row = replace(row, calls=calls, rows=before.rows + row.rows, mean_ms=mean_ms, deviation_ms=None)  # noqa: PLW2901
        found[row.key] = row
    return tuple(found.values())


def _cores(cursor: Any) -> float | None:
    """The machine's, where this role may read the server's files; a container's limit isn't seen."""
    allowed = cursor.execute(
        "SELECT pg_catalog.pg_has_role(current_user, 'pg_read_server_files', 'usage')"
        " AND pg_catalog.has_function_privilege(current_user, 'pg_catalog.pg_read_file(text,bigint,bigint,boolean)', 'execute')"
    ).fetchone()
    if not allowed[0]:
        return None
    text = cursor.execute("SELECT pg_catalog.pg_read_file('/proc/cpuinfo', 0, 1048576, true)").fetchone()[0]
    count = sum(1 for line in (text or "").splitlines() if line.startswith("processor"))
    return float(count) or None


# --- kept in a file --------------------------------------------------------------------------------------------------


def snapshot_text(snapshot: Snapshot) -> str:
    """As JSON, for ``--since``."""
    return json.dumps({"format": FORMAT} | asdict(snapshot), indent=1, ensure_ascii=True)


def read_snapshot(path: str | Path) -> Snapshot:
    """One that was kept. Raises InputError where the file is something else."""
    text, place = read_text(Path(path), most_bytes=MOST_SNAPSHOT_BYTES)
    try:
        tree = json.loads(text)
        if tree.pop("format") != FORMAT:
            raise ValueError
        rows = tuple(
            Counted(int(r["userid"]), int(r["queryid"]), bool(r["toplevel"]), str(r["query"]), int(r["calls"]), int(r["rows"]),
                    float(r["mean_ms"]), None if r["deviation_ms"] is None else float(r["deviation_ms"]))
            for r in tree.pop("rows")
        )  # fmt: skip
        at_s, started_s, reset_s = (float(tree[name]) for name in ("at_s", "started_s", "reset_s"))
        if not (isfinite(at_s) and isfinite(started_s) and isfinite(reset_s)):
            raise ValueError
        counts = ("version", "dropped", "transactions", "max_connections", "reserved")
        numbers = {name: int(tree[name]) for name in counts}
        return Snapshot(
            at_s=at_s, started_s=started_s, reset_s=reset_s, **numbers, rows=rows,
            database=str(tree["database"]), is_nested_tracked=bool(tree["is_nested_tracked"]),
            sessions=None if tree["sessions"] is None else int(tree["sessions"]),
            cores=None if tree["cores"] is None else float(tree["cores"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(place, "not a snapshot of 'ojp-size fit postgres --save'", "take one anew") from error


# --- what happened between two ---------------------------------------------------------------------------------------


def between(first: Snapshot, last: Snapshot, place: str) -> Records:
    """What was called from one look to the next. Raises InputError where the two don't belong together."""
    window_s = last.at_s - first.at_s
    again = "take both again"
    if first.database != last.database:
        raise InputError(
            place, f"the first was of {shown(first.database)}, this one is of {shown(last.database)}", again
        )
    if abs(first.started_s - last.started_s) > 1:
        raise InputError(place, "the server was restarted between the two", again)
    if first.reset_s != last.reset_s:
        raise InputError(place, "the statistics were reset between the two", again)
    if not window_s > 0:
        raise InputError(place, "the first is no older than the second", again)
    before = {row.key: row for row in first.rows}
    records = [grown for row in last.rows if (grown := _grown(before.get(row.key), row, place)) is not None]
    if not records:
        problem = f"no statement was called within {format_duration(window_s, 3)}"
        raise InputError(place, problem, "look while the application runs, or for longer")
    notes = []
    if dropped := last.dropped - first.dropped:
        notes.append(f"texts were dropped from the statistics {dropped} times: raise pg_stat_statements.max")
    if last.version < 140_000 and last.is_nested_tracked:
        notes.append(
            "the server tracks what runs inside functions, and this version can't tell it apart: that counts twice"
        )
    transactions = last.transactions - first.transactions
    return Records(
        place, tuple(records), window_s, True, tuple(notes), float(transactions) if transactions > 0 else None
    )


def _grown(before: Counted | None, now: Counted, place: str) -> Record | None:
    if before is None:
        before = replace(now, calls=0, rows=0, mean_ms=0.0, deviation_ms=0.0 if now.deviation_ms is not None else None)
    calls = now.calls - before.calls
    if calls < 0:
        raise InputError(place, "a text was called more often before: its statistics were reset", "take both again")
    if calls == 0:
        return None
    total_ms = max(0.0, now.calls * now.mean_ms - before.calls * before.mean_ms)
    mean_ms = total_ms / calls
    deviation_ms = None
    if now.deviation_ms is not None and before.deviation_ms is not None:
        squares = _squares(now) - _squares(before)
        deviation_ms = max(0.0, squares / calls - mean_ms**2) ** 0.5
    rows = max(0, now.rows - before.rows)
    deviation_s = None if deviation_ms is None else deviation_ms / 1e3
    return Record(now.query, float(calls), mean_ms / 1e3, deviation_s, float(rows), now.toplevel)


def _squares(row: Counted) -> float:
    return row.calls * (row.mean_ms**2 + (row.deviation_ms or 0.0) ** 2)


def without_texts(records: Records) -> Records:
    """Each text by its verb and a number alone, the same each time."""
    from ojp_sizing.telemetry import sql  # noqa: PLC0415

    return replace(records, records=tuple(replace(r, text=sql.hidden(r.text)) for r in records.records))


def facts_of(first: Snapshot, last: Snapshot) -> Mapping[str, str]:
    """What the server says of itself, by the flag of ``ojp-size`` that takes it."""
    found = {"--db-max-connections": f"{last.max_connections} ({last.reserved} of them reserved)"}
    if last.cores:
        found["--db-cores"] = f"{last.cores:g} (the machine's; a container's limit isn't seen)"
    return found
