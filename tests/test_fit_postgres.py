"""A workload and its rate from a running PostgreSQL 15 under pgbench, and from servers in trouble."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_server import free_port

from ojp_sizing.demand.ranges import settled_workload
from ojp_sizing.demand.reading import parse_workload
from ojp_sizing.errors import InputError
from ojp_sizing.telemetry.intervals import ends_of
from ojp_sizing.telemetry.postgres import (
    Counted,
    Snapshot,
    between,
    read_snapshot,
    snapshot_text,
    take_snapshot,
    without_texts,
)
from ojp_sizing.telemetry.statements import fit_statements
from tests.real_server.postgres import PASSWORD, USER, Postgres, postgres, programs

STATISTICS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"}
#: One unit: a quick read, a slow one in every tenth, and a function that runs a statement of its own.
SCRIPTS = {
    "quick": ("begin;\nselect v from t where v = 1;\nupdate t set v = v where v = 1;\ncommit;\n", 9),
    "slow": ("select pg_sleep(0.02);\nselect tell();\n", 1),
}


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with (
        tempfile.TemporaryDirectory(prefix="ojp-") as room,
        postgres(Path(room), free_port(), more=STATISTICS) as found,
    ):
        found.psql("create extension pg_stat_statements")
        found.psql("create table t (v int); insert into t select generate_series(1, 100); create index on t (v)")
        found.psql("create function tell() returns bigint language sql as 'select count(*) from t where v < 50'")
        found.psql("create role watcher login password 'seen by nobody' in role pg_read_all_stats")
        found.psql("create role stranger login password 'seen by nobody'")
        found.psql("create database empty")
        yield found


def dsn(database: Postgres, user: str = "watcher", name: str = "postgres") -> str:
    return f"postgresql://{user}@127.0.0.1:{database.port}/{name}"


SECRET = "seen by nobody"  # noqa: S105 - of the role below


def ojp_size(*arguments: str, password: str = SECRET) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(
        [sys.executable, "-m", "ojp_sizing", "fit", "postgres", *arguments],
        env=os.environ | {"PGPASSWORD": password}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "by nobody" not in ran.stdout + ran.stderr
    return ran


def bench(database: Postgres, directory: Path, rate: int, seconds: int) -> int:
    """Transactions that pgbench ran."""
    scripts = []
    for name, (text, weight) in SCRIPTS.items():
        (directory / name).write_text(text)
        scripts += ["-f", f"{directory / name}@{weight}"]
    ran = subprocess.run(
        [str(programs() / "pgbench"), "-h", "127.0.0.1", "-p", str(database.port), "-U", USER, "-n", "-c", "4", "-R", str(rate),
         "-T", str(seconds), "-M", "extended", *scripts, "postgres"],
        env=os.environ | {"PGPASSWORD": PASSWORD}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = re.search(r"number of transactions actually processed: (\d+)", ran.stdout)
    assert found
    return int(found[1])


def test_what_ran_between_two_looks(database: Postgres, tmp_path: Path) -> None:
    kept, output = tmp_path / "look.json", tmp_path / "w.yaml"
    # What ran before is in neither.
    database.psql("select v from t where v = 1")
    saved = ojp_size("--dsn", dsn(database), "--save", str(kept))
    assert (saved.returncode, saved.stderr) == (0, "")
    units = bench(database, tmp_path, 200, 4)
    ran = ojp_size("--dsn", dsn(database), "--since", str(kept), "--output", str(output))
    assert ran.returncode == 0, ran.stderr

    workload = parse_workload(output.read_text())
    by_sql = {re.sub(r"\s+", " ", s.sql): s for s in settled_workload(workload, {}).statements}
    assert set(by_sql) == {
        "select v from t where v = $1", "update t set v = v where v = $1", "select pg_sleep($1)", "select tell()",
    }  # fmt: skip
    assert 0.02 < by_sql["select pg_sleep($1)"].database_time.mean_s < 0.03
    assert by_sql["select v from t where v = $1"].database_time.mean_s < 0.005
    # 9 of 10 units have two statements and so has the tenth.
    assert by_sql["select tell()"].share == pytest.approx(0.05, abs=0.02)
    said = ran.stdout.splitlines()
    assert any(line.startswith("left out:") and "ran inside of functions" in line for line in said)
    assert "server: --db-max-connections 1000 (3 of them reserved)" in said
    assert not any("--db-cores" in line for line in said), "a watcher may not read the server's files"
    (rate,) = (line for line in said if line.startswith("rate: "))
    low, high = (float(end) for end in (rate.split("--peak-rps ")[1].split()[0].split("..")[0::2]))
    seconds = float(re.search(r"mean of ([\d.]+)s", rate)[1])  # type: ignore[index]
    assert low <= 2 * units / seconds / workload.units[0].statements <= high  # type: ignore[operator]
    assert "drawn by share, in a transaction" in ran.stdout


def test_waiting_between_two_looks(database: Postgres, tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "ojp_sizing", "fit", "postgres", "--dsn", dsn(database), "--window", "4s", "--no-sql"],
        env=os.environ | {"PGPASSWORD": "seen by nobody"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    bench(database, tmp_path, 100, 5)
    out, told = running.communicate(timeout=60)
    assert running.returncode == 0, told
    assert told.startswith("looked once; looking again in 4s\n")
    workload = parse_workload(out)
    assert len(workload.statements) == 4
    assert "from t where" not in out
    assert "pg_sleep" not in out
    assert all("left out" in s.sql for s in workload.statements)


def test_a_superuser_is_told_the_cores(database: Postgres) -> None:
    os.environ["PGPASSWORD"] = PASSWORD
    try:
        assert take_snapshot(dsn(database, USER)).cores == os.cpu_count()
    finally:
        del os.environ["PGPASSWORD"]


def test_nothing_is_written_to_the_server(database: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    seen = []
    execute = psycopg.Cursor.execute

    def watch(self: psycopg.Cursor, query: object, *more: object) -> object:
        seen.append(self.connection.read_only)
        return execute(self, query, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(psycopg.Cursor, "execute", watch)
    take_snapshot(dsn(database, USER))
    assert seen
    assert all(seen)
    assert database.psql("select count(*) from pg_stat_activity where application_name = 'ojp-size fit'") == "0"


@pytest.mark.parametrize(
    ("arguments", "password", "words"),
    [
        (["--dsn", "{watcher}"], "wrong", 'password authentication failed for user "watcher"; check the address'),
        (["--dsn", "{empty}"], "seen by nobody", "no extension pg_stat_statements; CREATE EXTENSION"),
        (["--dsn", "{nowhere}"], "", "Connection refused"),
        (["--dsn", "postgresql://u:by%20nobody@h/d"], "", "a password on the command line is seen by everybody"),
        (["--dsn", "by nobody"], "", "--dsn: not a connection string"),
        (["--dsn", "{watcher}", "--since", "/etc/hostname"], "seen by nobody", "not a snapshot"),
        (["--dsn", "{watcher}", "--window", "0s"], "seen by nobody", "--window"),
        (["--dsn", "{watcher}", "--save", "x", "--no-sql"], "seen by nobody", "--no-sql: a look without texts"),
        (["--dsn", "{watcher}", "--window", "10ms"], "seen by nobody", "no SELECT, INSERT"),
        (["--dsn", "{stranger}", "--window", "1s"], "seen by nobody", "hidden SQL texts"),
    ],
)
def test_trouble(database: Postgres, arguments: list[str], password: str, words: str, tmp_path: Path) -> None:
    addresses = {
        "{watcher}": dsn(database), "{empty}": dsn(database, name="empty"), "{stranger}": dsn(database, "stranger"),
        "{nowhere}": f"postgresql://x@127.0.0.1:{free_port()}/x",
    }  # fmt: skip
    filled = [addresses.get(word, word) for word in arguments]
    if "hidden" in words:
        running = subprocess.Popen(
            [str(programs() / "pgbench"), "-h", "127.0.0.1", "-p", str(database.port), "-U", USER, "-n", "-T", "3",
             "-f", str(script(tmp_path)), "postgres"],
            env=os.environ | {"PGPASSWORD": PASSWORD}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    ran = ojp_size(*filled, password=password)
    if "hidden" in words:
        running.wait(20)
    assert ran.returncode == 2, ran.stdout
    assert words in ran.stderr
    lines = ran.stderr.replace("looked once; looking again in 10ms\n", "").replace(
        "looked once; looking again in 1s\n", ""
    )
    assert lines.count("\n") == 1
    assert not ran.stdout


def script(directory: Path) -> Path:
    found = directory / "script"
    found.write_text("select v from t where v = 1;\n")
    return found


# --- two looks that don't belong together ---------------------------------------------------------------------------

ROW = Counted(10, 1, True, "select 1 from t", 100, 100, 2.0, 1.0)
FIRST = Snapshot(1000.0, "d", 150000, 1.0, 2.0, 0, 10, 5, 100, 3, None, False, (ROW,))


def later(**changes: object) -> Snapshot:
    return replace(FIRST, **({"at_s": 1100.0, "rows": (replace(ROW, calls=300),)} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (later(started_s=50.0), "the server was restarted between the two"),
        (later(reset_s=500.0), "the statistics were reset between the two"),
        (later(rows=(replace(ROW, calls=99),)), "a text was called more often before"),
        (later(rows=(ROW,)), "no statement was called within 100s"),
        (later(at_s=900.0), "the first is no older than the second"),
        (later(database="e"), "the first was of 'd', this one is of 'e'"),
    ],
)
def test_looks_that_do_not_belong_together(last: Snapshot, words: str) -> None:
    with pytest.raises(InputError, match=words):
        between(FIRST, last, "x")


def test_moments_of_the_difference() -> None:
    # 100 calls of 2 +- 1 ms before, and 300 of 4 +- 3 since: mean 3.5, second moment (100*5 + 300*25) / 400 = 20.
    now = replace(ROW, calls=400, rows=700, mean_ms=3.5, deviation_ms=(20 - 3.5**2) ** 0.5)
    found = between(FIRST, later(rows=(now,), dropped=2, transactions=40), "x")
    (record,) = found.records
    assert (record.calls, record.rows) == (300, 600)
    assert (record.mean_s, record.deviation_s) == pytest.approx((0.004, 0.003))
    assert (found.window_s, found.transactions) == (100, 30)
    assert "dropped from the statistics 2 times" in found.notes[0]
    # The database counted 30 transactions for 300 calls, and no COMMIT is in the statistics.
    fit = fit_statements(found)
    assert (fit.workload.units[0].statements, fit.workload.units[0].transaction) == (10, True)
    low, mid, high = ends_of(fit.units_per_s)  # type: ignore[arg-type]
    assert (mid, low < 0.25, high > 0.35) == (0.3, True, True)


def test_a_look_is_kept_whole(tmp_path: Path) -> None:
    hostile = replace(ROW, query="select '\x1b[31m' -- </script> !!python/object:os.system\n{{7*7}}")
    kept = tmp_path / "look.json"
    kept.write_text(snapshot_text(replace(FIRST, rows=(hostile,))))
    assert read_snapshot(kept) == replace(FIRST, rows=(hostile,))
    assert kept.read_text().isascii()
    tree = json.loads(kept.read_text())
    for damaged in ({**tree, "at_s": "x"}, {**tree, "rows": 5}, {**tree, "rows": [{}]}, {"format": "other"}, [], 5):
        kept.write_text(json.dumps(damaged))
        with pytest.raises(InputError, match="not a snapshot"):
            read_snapshot(kept)


def test_texts_are_left_out() -> None:
    texts = (
        "select 1 from t",
        "insert into t values (1) returning v",
        "with d as (delete from t) select 1",
        "call f()",
    )
    rows = tuple(replace(ROW, query=text, queryid=n) for n, text in enumerate(texts))
    last = later(rows=tuple(replace(row, calls=200) for row in rows))
    records = between(replace(FIRST, rows=rows), last, "x")
    with_texts, without = (fit_statements(found).workload for found in (records, without_texts(records)))
    assert sorted((s.kind, s.share, s.rows) for s in without.statements) == sorted(
        (s.kind, s.share, s.rows) for s in with_texts.statements
    )
    assert not any(" t" in s.sql for s in without.statements if "text" not in s.sql)
