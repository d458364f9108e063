"""From an export of pg_stat_statements to a workload: the recorded one, bad ones, and a real server's."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alike import differences
from hypothesis import given, settings
from hypothesis import strategies as st

from ojp_sizing.demand.reading import parse_workload, workload_yaml
from ojp_sizing.demand.workload import Workload
from ojp_sizing.errors import InputError
from ojp_sizing.telemetry.pg_stat_statements import main, read_pg_stat_statements

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "data" / "measured" / "pgbench"
PG_BIN = Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin"))
HEADER = "query,calls,rows,mean_exec_time,stddev_exec_time\n"
UNITS = "units:\n  - {name: u, count: 100, statements: [select_a]}\n  - {name: v, count: 50, statements: [update_b]}\n"


def read(directory: Path, rows: str, units: str | None = None) -> Workload:
    export, composition = directory / "export.csv", directory / "units.yaml"
    export.write_text(HEADER + rows, encoding="utf-8")
    if units is None:
        return read_pg_stat_statements(export)
    composition.write_text(units, encoding="utf-8")
    return read_pg_stat_statements(str(export), composition)


def test_the_preset_is_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(MEASURED / "pg_stat_statements.csv"), str(MEASURED / "units.yaml")]) == 0
    printed = capsys.readouterr().out
    preset = ROOT / "data" / "workloads" / "pgbench-measured.yaml"
    assert differences(printed, preset.read_text(encoding="utf-8"), tolerance=1e-6) == []
    workload = parse_workload(printed)
    assert [
        (u.name, u.transaction, len(u.statements) if isinstance(u.statements, tuple) else 0) for u in workload.units
    ] == [
        ("select_only", False, 1),
        ("tpcb_like", True, 5),
        ("report", False, 1),
    ]
    slow = [s for s in workload.statements if workload.lane_of(s) == "slow"]
    assert [s.name for s in slow] == ["select_pgbench_accounts_bid"]
    assert 0.01 < slow[0].database_time.mean_s < 0.1


def test_the_counts_are_those_that_pgbench_printed() -> None:
    printed = (MEASURED / "pgbench.txt").read_text(encoding="utf-8")
    units = (MEASURED / "units.yaml").read_text(encoding="utf-8")
    counts = [line.split()[1] for line in printed.splitlines() if " transactions (" in line]
    assert len(counts) == 3
    assert [line.split()[1] for line in units.splitlines() if "count:" in line] == counts


# --- what is made of the rows ---------------------------------------------------------------------------------------


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
        (UNITS.replace("count: 100", "count: 90"), "units: 98 calls of 'select_a' in the CSV, but the units make 90"),
        (UNITS.replace("count: 100", "share: 1"), "units[0].count: '' is not a whole number"),
        (UNITS.replace("count: 100", "count: x"), "units[0].count: 'x' is not a whole number"),
        (UNITS.replace("count: 100", "count: [1]"), "units[0].count: "),
        (UNITS.replace("select_a", "update_b"), "units: no unit runs 'select_a'"),
        (UNITS.replace("[update_b]", "[update_b, updat_b]"), "units[1].statements[1]: no statement 'updat_b'; did you"),
        (UNITS + "statements: []", "statements: they come from the CSV"),
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
        ("query,calls\nx,1\n", "no column rows, mean_exec_time, stddev_exec_time"),
        (HEADER, "no SELECT, INSERT, UPDATE, DELETE or MERGE"),
        (HEADER + "begin,1,1,1,1\n", "no SELECT"),
        (HEADER + "select 1,1,1,1,1\nselect 2,x,1,1,1\n", "row 3: calls: not a number"),
        (HEADER + "select 1,1,1,-1,1\n", "row 2: mean_exec_time: not a number of 0 or more"),
        (HEADER + "select 1,1,1,nan,1\n", "row 2: mean_exec_time"),
        (HEADER + "select 1,1,1,1,inf\n", "row 2: stddev_exec_time"),
        (HEADER + "select 1,1,1,1,1e300\n", "row 2: stddev_exec_time"),
        (HEADER + 'select 1,1,1,1,1\n"select', "not CSV"),
        (HEADER + "select 1,1,1,1,1,1,1\n", "rows with more fields than the header"),
        (HEADER + "<insufficient privilege>,1,1,1,1\n", "hidden SQL texts; export as a member of pg_read_all_stats"),
        (HEADER + "select 1,1,1,9e6,1\n", "statements[0].database_time.mean: '9000s' is above"),
        (HEADER + "select '\0',1,1,1,1\n", ""),
    ],
)
def test_bad_exports(tmp_path: Path, text: str, words: str) -> None:
    export = tmp_path / "export.csv"
    export.write_text(text, encoding="utf-8")
    try:
        read_pg_stat_statements(export)
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
            read_pg_stat_statements(export)
        except InputError as error:
            assert str(error).isprintable()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err
    assert main([str(tmp_path / "none.csv")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none.csv'}: no such file; check the path\n"


def test_pandas_is_loaded_late() -> None:
    code = "import sys, ojp_sizing.telemetry.pg_stat_statements; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


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

    workload = read_pg_stat_statements(tmp_path / "out" / "pg_stat_statements.csv", tmp_path / "out" / "units.yaml")
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
