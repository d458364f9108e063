"""pgbench's tables and its two built-in units, as JDBC sends them; and what PostgreSQL's own statistics say of them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.real_server.postgres import DATABASE, PASSWORD, USER, Postgres, programs
from tests.real_server.processes import LOOPBACK

#: A million accounts, 100 tellers, 10 branches.
SCALE = 10
STATISTICS = {"shared_preload_libraries": "pg_stat_statements", "shared_buffers": "256MB"}
TABLES = {"shared_buffers": "256MB"}

#: Text (the name that ``ojp_sizing.telemetry`` gives it) -> (SQL, what is drawn for its parameters).
TEXTS = {
    "select_pgbench_accounts": ("SELECT abalance FROM pgbench_accounts WHERE aid = ?", ("aid",)),
    "update_pgbench_accounts": (
        "UPDATE pgbench_accounts SET abalance = abalance + ? WHERE aid = ?", ("delta", "aid"),
    ),
    "update_pgbench_tellers": ("UPDATE pgbench_tellers SET tbalance = tbalance + ? WHERE tid = ?", ("delta", "tid")),
    "update_pgbench_branches": ("UPDATE pgbench_branches SET bbalance = bbalance + ? WHERE bid = ?", ("delta", "bid")),
    "insert_pgbench_history": (
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (?, ?, ?, ?, CURRENT_TIMESTAMP)",
        ("tid", "bid", "aid", "delta"),
    ),
    "sleep": ("SELECT 1 AS slept FROM pg_sleep(? / 1000.0)", ("ms",)),
}  # fmt: skip
NAMES = tuple(TEXTS)
#: Unit -> its texts. The second one is a transaction.
UNITS: dict[str, tuple[str, ...]] = {
    "select_only": ("select_pgbench_accounts",),
    "tpcb_like": (
        "update_pgbench_accounts", "select_pgbench_accounts", "update_pgbench_tellers", "update_pgbench_branches",
        "insert_pgbench_history",
    ),
}  # fmt: skip
SLEEP_S = 0.020
_RANGES = {
    "ms": (round(1000 * SLEEP_S), round(1000 * SLEEP_S)),
    "aid": (1, 100_000 * SCALE),
    "tid": (1, 10 * SCALE),
    "bid": (1, SCALE),
    "delta": (-5000, 5000),
}

_EXPORT = """COPY (SELECT query, calls, rows, total_exec_time, mean_exec_time, stddev_exec_time FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query !~ '^(/\\*|COPY|SET|SHOW)'
      AND query !~ 'pg_stat_statements' ORDER BY calls DESC, query) TO STDOUT WITH (FORMAT csv, HEADER)"""


def make_tables(database: Postgres, room: Path) -> None:
    """``pgbench --initialize``."""
    words = [f"--scale={SCALE}", "--initialize", "--quiet", "-h", LOOPBACK, "-p", str(database.port), "-U", USER]
    subprocess.run(
        [programs() / "pgbench", *words, DATABASE],
        env={"PGPASSWORD": PASSWORD}, cwd=room, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    database.psql("checkpoint")


def write_texts(path: Path) -> None:
    """One text a line, in the order of ``NAMES``."""
    path.write_text("".join(sql + "\n" for sql, _ in TEXTS.values()))


def write_trace(
    path: Path,
    due_s: NDArray[np.float64],
    kind: NDArray[np.int64],
    rng: Generator,
    units: Mapping[str, tuple[str, ...]] = UNITS,
) -> None:
    """What the load generator plays: kinds of ``units`` by their number, with parameters as pgbench draws them."""
    kinds = [rows(0, due_s, texts, len(texts) > 1, rng, kind == number) for number, texts in enumerate(units.values())]
    lines = sorted((row for of_kind in kinds for row in of_kind), key=lambda row: int(row.partition(",")[0]))
    path.write_text("\n".join(["unit,due_s,transaction,text,write,sleep_s,think_s,jvm,numbers", *lines]) + "\n")


def rows(
    first: int,
    due_s: NDArray[np.float64],
    texts: tuple[str, ...],
    transaction: bool,
    rng: Generator,
    kept: NDArray[np.bool_] | None = None,
) -> list[str]:
    """Lines of a trace for units of these texts, numbered from ``first`` on; only those that are ``kept``."""
    drawn = {name: rng.integers(low, high, len(due_s), endpoint=True).tolist() for name, (low, high) in _RANGES.items()}
    lines = []
    for unit, due in enumerate(due_s.tolist()):
        if kept is not None and not kept[unit]:
            continue
        for name in texts or (None,):
            number, write, parameters = (-1, 0, ("aid",)) if name is None else _told(name)
            numbers = ";".join(str(drawn[parameter][unit]) for parameter in parameters)
            lines.append(f"{first + unit},{due:.6f},{int(transaction)},{number},{write},0.0,0.0,0,{numbers}")
    return lines


def _told(name: str) -> tuple[int, int, tuple[str, ...]]:
    return NAMES.index(name), int(not name.startswith(("select", "sleep"))), TEXTS[name][1]


def begin_statistics(database: Postgres) -> None:
    """What has been counted so far is forgotten; the extension is made where it isn't there yet."""
    database.psql("create extension if not exists pg_stat_statements")
    database.psql("select pg_stat_statements_reset()")


def commit_s(database: Postgres) -> float:
    """Mean time of a COMMIT so far."""
    return round(
        float(database.psql("select avg(mean_exec_time) from pg_stat_statements where query = 'COMMIT'")) / 1e3, 9
    )


def export_statistics(database: Postgres) -> str:
    """``pg_stat_statements`` as CSV, as docs/workload.md tells a user to export it."""
    return database.psql(_EXPORT) + "\n"
