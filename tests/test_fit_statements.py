"""From an export of statement statistics to a workload: every layout, the recorded one, bad ones, and a real server's."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alike import differences
from hypothesis import given, settings
from hypothesis import strategies as st

from ojp_sizing.demand.ranges import settled_workload
from ojp_sizing.demand.reading import parse_workload, workload_yaml
from ojp_sizing.demand.workload import Workload
from ojp_sizing.errors import InputError
from ojp_sizing.telemetry.records import of_database, read_records
from ojp_sizing.telemetry.statements import StatementFit, TextClass, fit_statements, fitted
from ojp_sizing.telemetry.words import statement_lines, with_head
from ojp_sizing.uncertain import Range

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "data" / "measured" / "pgbench"
PG_BIN = Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin"))
HEADER = "query,calls,rows,mean_exec_time,stddev_exec_time\n"
UNITS = "units:\n  - {name: u, count: 100, statements: [select_a]}\n  - {name: v, count: 50, statements: [update_b]}\n"


CASES = Path(__file__).parent / "cases" / "statements"


def fit(export: Path, units: Path | None = None, databases: tuple[str, ...] = ()) -> StatementFit:
    return fit_statements(of_database(read_records(export), databases, "--database"), units)


def at_mids(found: StatementFit) -> Workload:
    return settled_workload(found.workload, {})


def read(directory: Path, rows: str, units: str | None = None) -> Workload:
    export, composition = directory / "export.csv", directory / "units.yaml"
    export.write_text(HEADER + rows, encoding="utf-8")
    if units is not None:
        composition.write_text(units, encoding="utf-8")
    return at_mids(fit(export, composition if units is not None else None))


# --- one export in every layout -------------------------------------------------------------------------------------

#: Statements as (kind, calls, mean ms, cv, rows); what the layouts below say otherwise, and what is noted of it.
SHOP = (("read", 90_000, 2.0, 0.75, 1), ("write", 9_000, 3.0, 0.667, 0), ("read", 100, 900.0, 0.333, 365))
NO_CV, NO_MEAN, NO_ROWS = "no standard deviation: ", "no mean: total", "no rows: 1"
OTHERWISE: dict[str, tuple[dict[str, tuple[object, ...]], tuple[str, ...]]] = {
    "b-no-stddev.csv": ({"cv": (1, 1, 1)}, (NO_CV,)),
    "c-total-only.csv": ({"cv": (1, 1, 1)}, (NO_CV, NO_MEAN)),
    "d-pghero.csv": ({"cv": (1, 1, 1), "rows": (1, 0, 1)}, (NO_CV, NO_MEAN, NO_ROWS)),
    "q-hidden.csv": ({}, ("left out: 4 calls, 4e-05 s in the database (0.00%, 0.00%): hidden texts",)),
    "r-null-stddev.csv": ({"cv": (0.75, 0.667, 1)}, ("no standard deviation in 1 of 3 rows",)),
    "s-nan.csv": ({"cv": (0.75, 0.667, 1)}, ("no standard deviation in 1 of 3 rows",)),
    # Each of the three took 3 minutes in all.
    "u-heroku.csv": ({"ms": (2, 20, 1800), "cv": (1, 1, 1), "rows": (1, 0, 1)}, (NO_CV, NO_MEAN, NO_ROWS)),
    "v-pi.csv": ({"cv": (1, 1, 1)}, (NO_CV, "only calls per second")),
    "w-seconds.csv": ({"ms": (2, 2, 2), "cv": (0.5, 0.5, 0.5)}, ()),
}


@pytest.mark.parametrize("path", sorted(CASES.iterdir()), ids=lambda path: path.name)
def test_one_export_in_every_layout(path: Path) -> None:
    changed, noted = OTHERWISE.get(path.name, ({}, ()))
    found = fit(path)
    workload = at_mids(found)
    kinds, calls, means_ms, cvs, rows = zip(*SHOP, strict=True)
    assert [s.name for s in workload.statements] == ["select_orders_from", "update_orders", "select_orders_day"]
    assert tuple(s.kind for s in workload.statements) == kinds
    assert [s.share for s in workload.statements] == pytest.approx([n / sum(calls) for n in calls])
    assert [1e3 * s.database_time.mean_s for s in workload.statements] == pytest.approx(changed.get("ms", means_ms))
    assert [s.database_time.cv for s in workload.statements] == pytest.approx(changed.get("cv", cvs), abs=0.0006)
    assert tuple(s.rows for s in workload.statements) == changed.get("rows", rows)
    said = "\n".join(statement_lines(found))
    assert all(words in said for words in noted), said
    if "no standard deviation" not in "".join(noted):
        assert "no standard deviation" not in said
    assert parse_workload(with_head(found.workload, "x", statement_lines(found))) == found.workload


def test_there_are_all_23_layouts() -> None:
    assert "".join(path.name[0] for path in sorted(CASES.iterdir())) == "abcdefghijklmnopqrstuvw"


STATEMENTS = [("select a from t", 300, 2.0), ("update t set a = $1", 100, 4.0)]
DRAWN = {
    "psql": """\
      query      | calls | mean_exec_time
-----------------+-------+----------------
 select a       +|   300 |            2.0
 from t          |       |
 update t set a  |   100 |            4.0
(2 Zeilen)
""",
    "psql, records": """\
-[ RECORD 1 ]--+-------------
query          | select a    +
               | from t
calls          | 300
mean_exec_time | 2.0
-[ RECORD 2 ]--+-------------
query          | update t set a
calls          | 100
mean_exec_time | 4.0
""",
    "psql, unaligned, a text of two lines with a bar": (
        "calls|query|mean_exec_time\n300|select a\nfrom t|2.0\n100|update t set a = b || c|4.0\n(2 rows)\n"
    ),
    "mysql": """\
+----------------+------------+----------------+
| DIGEST_TEXT    | COUNT_STAR | SUM_TIMER_WAIT |
+----------------+------------+----------------+
| SELECT `a`     |        300 |   600000000000 |
| UPDATE `t` SET |        100 |   400000000000 |
+----------------+------------+----------------+
2 rows in set (0.00 sec)
""",
    "mysql, records": """\
*************************** 1. row ***************************
   DIGEST_TEXT: SELECT `a` FROM `t`
    COUNT_STAR: 300
SUM_TIMER_WAIT: 600000000000
*************************** 2. row ***************************
   DIGEST_TEXT: UPDATE `t` SET `a` = ?
    COUNT_STAR: 100
SUM_TIMER_WAIT: 400000000000
2 rows in set (0.00 sec)
""",
    "mysql, batch": "digest_text\tcount_star\tsum_timer_wait\nSELECT `a`\t300\t600000000000\nUPDATE `t`\t100\t400000000000\n",
    "sys.statement_analysis": "query,db,exec_count,avg_latency\nSELECT `a`,shop,300,2.00 ms\nUPDATE `t`,shop,100,4.00 ms\n",
    "markdown": "| query | calls | mean_time |\n|---|---:|---:|\n| select a | 300 | 2 |\n| update t | 100 | 4 |\n",
    "JSON lines": '{"query": "select a", "calls": 300, "mean_time": 2}\n{"query": "update t", "calls": 100, "mean_time": 4}\n',
    "JSON under a key": (
        '{"rows": [{"query": "select a", "calls": 300, "mean_time": 2},'
        ' {"query": "update t", "calls": 100, "mean_time": 4}]}'
    ),
    "a unit in the name": "query,calls,total_time_s\nselect a,300,0.6\nupdate t,100,0.4\n",
    "both marks": 'query;calls;mean_time\nselect a;300;"2,0"\nupdate t;100;4,000\n',
}


@pytest.mark.parametrize("name", DRAWN)
def test_other_tables(name: str, tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.write_text(DRAWN[name], encoding="utf-8")
    workload = at_mids(fit(export))
    assert [(s.kind, s.share, s.database_time.mean_s) for s in workload.statements] == [
        ("read", 0.75, pytest.approx(0.002)),
        ("write", 0.25, pytest.approx(0.004)),
    ]
    if "two lines" in name:
        assert [s.sql for s in workload.statements] == ["select a\nfrom t", "update t set a = b || c"]
    if name.startswith("psql"):
        assert workload.statements[0].sql.split() == ["select", "a", "from", "t"]


# --- what no client sent --------------------------------------------------------------------------------------------


def test_statements_inside_of_functions_count_once(tmp_path: Path) -> None:
    export = tmp_path / "e.csv"
    export.write_text(
        "query,toplevel,calls,mean_exec_time\ncall settle($1),t,100,50\nselect a,f,5000,0.9\nselect b,t,100,1\n"
        "DO $$ begin end $$,true,50,30\n"
    )
    found = fit(export)
    assert [(s.name, s.kind) for s in found.workload.statements] == [
        ("call_settle", "call"), ("select", "read"), ("do", "write"),
    ]  # fmt: skip
    first = next(iter(statement_lines(found)))
    assert first == (
        "left out: 5,000 calls, 4.5 s in the database: ran inside of functions: their time is in the call that ran them"
    )


def test_where_most_would_be_left_out_it_is_refused(tmp_path: Path) -> None:
    export = tmp_path / "e.csv"
    export.write_text("query,calls,mean_exec_time\nselect a,100,1\nvacuum t,1,900\ncopy t to stdout,1,99\n")
    with pytest.raises(InputError) as caught:
        fit(export)
    assert "2% of the calls and 91% of the time would be left out, most of it maintenance" in str(caught.value)
    assert len(fit_statements(read_records(export), None, 1.0).left_out) == 1


def test_several_databases_are_asked_about(tmp_path: Path) -> None:
    export = tmp_path / "e.csv"
    export.write_text("datname,query,calls,mean_exec_time\nshop,select a,75,1\nstock,select b,25,1\n,select c,1,1\n")
    with pytest.raises(InputError) as caught:
        fit(export)
    assert "'shop' (74% of the calls), 'stock' (25% of the calls)" in str(caught.value)
    assert {s.sql for s in fit(export, None, ("stock",)).workload.statements} == {"select b", "select c"}
    with pytest.raises(InputError, match="no database 'x'"):
        fit(export, None, ("x",))


def test_thousands_of_texts_become_some(tmp_path: Path) -> None:
    export = tmp_path / "e.csv"
    rows = [f"select f{n}($1),{1 + (n < 150) * 10_000},1" for n in range(3000)]
    rows += [f"delete from t{n},1,1" for n in range(300)]  # noqa: S608 - text
    rows.append('"insert into big values (' + "x" * 10**6 + ')",500,2')
    export.write_text("query,calls,mean_exec_time\n" + "\n".join(rows) + "\n")
    found = fit(export)
    names = [s.name for s in found.workload.statements]
    assert len(names) <= 200
    assert sum(name.startswith("rare_") for name in names) == 2
    assert sum(one.calls for one in found.classes) == pytest.approx(sum(float(r.rsplit(",", 2)[1]) for r in rows))
    assert max(len(s.sql) for s in found.workload.statements) < 2100
    said = "\n".join(statement_lines(found))
    assert "rare texts" in said
    assert "1 texts of more than 2,000 characters are cut" in said


def test_fewer_calls_make_wider_ranges() -> None:
    few, many = (at_ends(float(calls)) for calls in (20, 2000))
    assert all(a / b > 3 for a, b in zip(few, many, strict=True))


def at_ends(calls: float) -> list[float]:
    mean, cv, share = fitted(TextClass("select 1", calls, 0.002, 1.0, 1.0, 0.0), 10 * calls, are_counts=True)
    return [found.high / found.low - 1 for found in (mean, cv, share) if isinstance(found, Range)]


# --- the recorded one -----------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_the_preset_is_what_was_measured() -> None:
    found = at_mids(fit(MEASURED / "pg_stat_statements.csv", MEASURED / "units.yaml"))
    preset = ROOT / "data" / "workloads" / "pgbench-measured.yaml"
    assert differences(workload_yaml(found), preset.read_text(encoding="utf-8"), tolerance=1e-6) == []
    assert [
        (u.name, u.transaction, len(u.statements) if isinstance(u.statements, tuple) else 0) for u in found.units
    ] == [
        ("select_only", False, 1),
        ("tpcb_like", True, 5),
        ("report", False, 1),
    ]
    slow = [s for s in found.statements if found.lane_of(s) == "slow"]
    assert [s.name for s in slow] == ["select_pgbench_accounts_bid"]
    assert 0.01 < slow[0].database_time.mean_s < 0.1


def test_the_counts_are_those_that_pgbench_printed() -> None:
    printed = (MEASURED / "pgbench.txt").read_text(encoding="utf-8")
    units = (MEASURED / "units.yaml").read_text(encoding="utf-8")
    counts = [line.split()[1] for line in printed.splitlines() if " transactions (" in line]
    assert len(counts) == 3
    assert [line.split()[1] for line in units.splitlines() if "count:" in line] == counts


# --- what is made of the rows ---------------------------------------------------------------------------------------


@pytest.mark.fast
def test_rows_become_classes(tmp_path: Path) -> None:
    rows = """\
select * from a where x = $1,300,900,2,1
"SELECT  *
from A where x = $1",100,100,4,0
/* by: app */ update b set y = $1,100,5000,1.23456,0
insert into c values ($1) returning id,100,100,1,5
with d as (delete from e) select 1,100,0,0,0
(select 5),1,1,7,0
begin,600,0,0,0
vacuum a,1,0,900,0
select pg_stat_statements_reset(),1,1,1,0
select 1 from pg_catalog.pg_class,9,9,9,9
never,0,0,0,0
"""
    workload = read(tmp_path, rows)
    assert [(s.name, s.kind, s.rows) for s in workload.statements] == [
        ("select_a", "read", 2),
        ("update_b", "write", 0),
        ("insert_c", "write", 1),
        ("with_e", "write", 0),
        ("select", "read", 1),
    ]
    pooled, update, insert, *_, once = workload.statements
    # 300 of 2 +- 1 and 100 of 4 ms: mean 2.5, second moment (300*5 + 100*16) / 400 = 7.75.
    assert pooled.database_time.mean_s == 0.0025
    assert pooled.database_time.cv == pytest.approx(1.5**0.5 / 2.5, rel=1e-2)
    assert (update.database_time.mean_s, update.database_time.cv) == (0.001235, 0.0)
    assert (insert.database_time.cv, once.database_time.cv) == (5.0, 1.0)
    assert pooled.share == pytest.approx(400 / 701)
    assert (workload.units[0].statements, workload.units[0].transaction) == (1, False)
    assert parse_workload(workload_yaml(workload)) == workload


@pytest.mark.parametrize(
    ("ends", "statements", "transaction"),
    [("COMMIT,40,0,0,0\nROLLBACK,10,0,0,0", 6, True), ("END,300,0,0,0", 1, True), ("COMMIT,5,0,0,0", 1, False)],
)
def test_commits_tell_transactions(tmp_path: Path, ends: str, statements: int, transaction: bool) -> None:
    workload = read(tmp_path, f"select a,300,0,1,1\n{ends}\n")
    assert (workload.units[0].statements, workload.units[0].transaction) == (statements, transaction)
    assert "assumed - units of work" in workload.source


def test_statements_alike_get_their_own_names(tmp_path: Path) -> None:
    rows = 'select x from a,1,1,1,1\nselect y from a,1,1,1,1\n"select y, z from a",1,1,1,1\n'
    names = [s.name for s in read(tmp_path, rows).statements]
    assert names[0] == "select_a_x"
    assert len(set(names)) == 3
    assert [s.name for s in read(tmp_path, rows).statements] == names


ROWS = "select 1 from a,98,98,1,1\nupdate b,51,51,1,1\nselect 1 from rare,1,1,1,1\n"


def test_units_state_the_composition(tmp_path: Path) -> None:
    workload = read(tmp_path, ROWS, "name: mine\n" + UNITS)
    assert workload.name == "mine"
    assert [s.name for s in workload.statements] == ["select_a", "update_b"]
    assert [u.share for u in workload.units] == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (
            UNITS.replace("count: 100", "count: 90"),
            "units: 98 calls of 'select_a' in the export, but the units make 90",
        ),
        (UNITS.replace("count: 100", "share: 1"), "units[0].count: '' is not a whole number"),
        (UNITS.replace("count: 100", "count: x"), "units[0].count: 'x' is not a whole number"),
        (UNITS.replace("count: 100", "count: [1]"), "units[0].count: "),
        (UNITS.replace("select_a", "update_b"), "units: no unit runs 'select_a'"),
        (UNITS.replace("[update_b]", "[update_b, updat_b]"), "units[1].statements[1]: no statement 'updat_b'; did you"),
        (UNITS + "statements: []", "statements: they come from the export"),
        ("name: x", "units: missing"),
        ("units: 5", "units: not a list"),
        ("units: [5]", "units[0]: not a mapping"),
        ("units: []", "units: an empty list"),
        ("units: [{name: u}, {name: v}]", "units[].share: the shares add up to 2"),
    ],
)
def test_bad_units(tmp_path: Path, units: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, ROWS, units)
    assert words in str(caught.value)
    assert "units.yaml: " in str(caught.value)


# --- bad exports ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not CSV"),
        ("query,calls\nx,1\n", "no column for mean_exec_time or total_exec_time among 'query', 'calls'"),
        (HEADER, "no SELECT, INSERT, UPDATE, DELETE, MERGE or CALL"),
        (HEADER + "begin,1,1,1,1\n", "no SELECT"),
        (HEADER + "select 1,1,1,1,1\nselect 2,x,1,1,1\n", "row 3: calls: 'x' is not a number"),
        (HEADER + "select 1,1,1,-1,1\n", "row 2: mean_exec_time: '-1' is not a number of 0 or more"),
        (HEADER + "select 1,1,1,nan,1\n", "row 2: mean_exec_time"),
        (HEADER + "select 1,1,1,1,inf\n", "row 2: stddev_exec_time"),
        (HEADER + "select 1,1,1,1,1e300\n", "row 2: stddev_exec_time"),
        (HEADER + 'select 1,1,1,1,1\n"select', "not CSV"),
        (HEADER + "select 1,1,1,1,1,1,1\n", "rows with more fields than the header"),
        (
            HEADER + "<insufficient privilege>,1,1,1,1\n",
            "hidden SQL texts make 100.0% of the calls and 100% of the time; export as a member of pg_read_all_stats",
        ),
        (HEADER + "select 1,1,1,9e6,1\n", "statements[0].database_time.mean: '9000s' is above"),
        (HEADER + "select '\0',1,1,1,1\n", ""),
    ],
)
def test_bad_exports(tmp_path: Path, text: str, words: str) -> None:
    export = tmp_path / "export.csv"
    export.write_text(text, encoding="utf-8")
    try:
        fit(export)
    except InputError as error:
        assert words in str(error)
        assert str(error).startswith(str(export))
        assert str(error).isprintable()
    else:
        assert not words


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_export(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    export = tmp_path_factory.getbasetemp() / "any.csv"
    for content in (text, HEADER + text, HEADER + f'"select {text.replace(chr(34), "")}",1,1,1,1\n'):
        export.write_bytes(content.encode())
        try:
            fit(export)
        except InputError as error:
            assert str(error).isprintable()


# --- a real server --------------------------------------------------------------------------------------------------


@pytest.fixture
def server_room() -> Iterator[Path]:
    """A short path that the user postgres may enter (sockets allow 107 characters, pytest's own is private)."""
    if not (PG_BIN / "postgres").exists():
        pytest.fail(f"PostgreSQL 15 is needed and not in {PG_BIN}: apt-get install postgresql-15, or set PG_BIN")
    room = Path(tempfile.mkdtemp(prefix="ojp-"))
    room.chmod(0o755)
    yield room
    shutil.rmtree(room)


def environment(room: Path, **extra: str) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(room), "PG_BIN": str(PG_BIN), "SCALE": "3"} | extra


def test_a_real_server(server_room: Path, tmp_path: Path) -> None:
    variables = environment(server_room, MEASURE_S="4", WARMUP_S="1")
    script = [str(MEASURED / "measure.sh"), str(tmp_path / "out")]
    ran = subprocess.run(script, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not any(server_room.iterdir()), "the server left something behind"

    workload = at_mids(fit(tmp_path / "out" / "pg_stat_statements.csv", tmp_path / "out" / "units.yaml"))
    recorded = parse_workload((ROOT / "data" / "workloads" / "pgbench-measured.yaml").read_text(encoding="utf-8"))
    assert {(s.name, s.sql, s.kind) for s in workload.statements} == {
        (s.name, s.sql, s.kind) for s in recorded.statements
    }
    assert [(u.name, u.statements) for u in workload.units] == [(u.name, u.statements) for u in recorded.units]
    assert [s.name for s in workload.statements if workload.lane_of(s) == "slow"] == ["select_pgbench_accounts_bid"]


@pytest.mark.parametrize(("stop", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_measurement_cleans_up(
    server_room: Path, tmp_path: Path, stop: signal.Signals, status: int
) -> None:
    script = subprocess.Popen([str(MEASURED / "measure.sh"), str(tmp_path / "out")], env=environment(server_room))
    deadline = time.monotonic() + 60
    while not list(server_room.glob("*/warm-up.txt")):
        assert script.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server = int(next(server_room.glob("*/data/postmaster.pid")).read_text(encoding="utf-8").split()[0])
    script.send_signal(stop)
    assert script.wait(timeout=30) == status
    assert not any(server_room.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    assert not (tmp_path / "out").exists()
