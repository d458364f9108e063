"""ojp-size as a person runs it: exit codes, one-line errors, files, determinism."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from ojp_sizing import cli
from ojp_sizing.errors import InputError

ROOT = Path(__file__).parent.parent
OJP_SIZE = [sys.executable, "-m", "ojp_sizing"]
#: A demand small enough to be sized in seconds, and large enough to need a simulation.
SMALL = ("--peak-rps", "120")


def run(*arguments: str, cwd: Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OJP_SIZE, *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
    )


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    directory = tmp_path_factory.mktemp("sized")
    return directory, run(*SMALL, cwd=directory)


def test_an_answer_is_printed_verdict_first_with_files_and_the_helm_line(
    sized: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    directory, result = sized
    assert result.returncode == 0, result.stderr
    # Sixteen client JVMs: no real server was measured with so many.
    assert result.stdout.startswith("MET BY THE MODEL  ")
    assert result.stderr == ""
    first = " ".join(result.stdout.split())[:700]
    for words in ("0 of 29 updates broke a limit: at most 10 % do (95.1 % sure)", "by the model only"):
        assert words in first
    assert "\x1b" not in result.stdout
    for words in ("replicaCount", "slowSlotPercentage", "client maximumPoolSize", "one pod lost", "Why not smaller"):
        assert words in result.stdout
    assert "helm upgrade --install ojp-server" in result.stdout
    assert_against_a_real_server(result.stdout)
    files = {path.name for path in (directory / "ojp-sizing").iterdir()}
    assert {"values.yaml", "jvm-config.yaml", "ojp.properties", "jdbc-url.txt", "recommendation.json"} < files
    assert all(name in result.stdout for name in files)


def assert_against_a_real_server(out: str) -> None:
    """An answer has the row of its use beside it, or says that it has none."""
    assert "Against a real server (docs/validation.md)" in out
    words = " ".join(out.split())
    assert re.search(r"steady peak (?:busiest here: .+, \d+ % in use[;:] |nothing was simulated at steady peak)", words)
    assert re.search(
        r"restarts(?:, warm pools)? +(?:never measured here, with .+: )?where servers ended and came back at ", words
    )


def test_the_same_run_again_changes_nothing_and_gives_the_same_bytes(
    sized: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    directory, first = sized
    again = run(*SMALL, cwd=directory)
    assert again.returncode == 0
    assert "unchanged" in again.stdout
    assert again.stdout.replace("unchanged", "created") == first.stdout
    elsewhere = run(*SMALL, cwd=tmp_path)
    assert elsewhere.returncode == 0
    for path in (directory / "ojp-sizing").rglob("*.*"):
        assert (tmp_path / path.relative_to(directory)).read_bytes() == path.read_bytes()


def test_json_is_one_document_with_inputs_seed_versions_and_every_interval(
    sized: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    directory, _ = sized
    result = run(*SMALL, "--json", cwd=directory)
    document = json.loads(result.stdout)
    assert document == json.loads((directory / "ojp-sizing" / "recommendation.json").read_text())
    assert document["inputs"]["seed"] == 1
    assert document["versions"]["chart"] == "ojp-server 0.1.5"
    situations = document["answer"]["situations"]
    assert set(situations) == {"steady peak", "one pod lost", "rolling update"}
    for situation in situations.values():
        assert situation["verdict"] == "met by the model"
        assert "client JVMs: 16 here, measured up to 2" in situation["not_validated"]
        for measure in situation["measures"].values():
            assert set(measure) == {"value", "low", "high", "replications"}
    assert document["answer"]["deployment"]["replicas"] >= 3
    assert all(row["status"] for row in document["constants"].values())


def test_json_and_the_values_have_the_error_against_a_real_server_at_this_use(
    sized: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    directory, _ = sized
    document = json.loads((directory / "ojp-sizing" / "recommendation.json").read_text())
    told = document["real_server"]
    measures = document["answer"]["situations"]["steady peak"]["measures"]
    names = ["cpu_use", "connections_use", "threads_use"]
    if document["answer"]["deployment"]["server"]["segregation"]:
        names += ["fast_slots_use", "slow_slots_use"]
    assert told["busiest_at_steady_peak"]["use_share"] == round(max(measures[name]["value"] for name in names), 2)
    row = told["nearest_row"]
    assert row["load_share"][0] in told["measured_load_shares"]
    assert set(row["relative_error"]) == {"throughput", "p50", "p95", "p99"}
    assert (row["status"], row["server"]) == ("MEASURED", "0.3.1-beta")
    assert [restart["situation"] for restart in told["restarts"]] == ["restarts, warm pools"]
    words = " ".join((directory / "ojp-sizing" / "values.yaml").read_text().replace("\n#", " ").split())
    use = told["busiest_at_steady_peak"]
    assert f"steady peak: busiest here: {use['resource']}, {100 * use['use_share']:.0f} % in use" in words


def test_files_that_differ_are_kept_without_force(sized: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    directory, _ = sized
    values = directory / "ojp-sizing" / "values.yaml"
    before = values.read_bytes()
    values.write_bytes(b"mine: true\n")
    refused = run(*SMALL, cwd=directory)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert values.read_bytes() == b"mine: true\n"
    forced = run(*SMALL, "--force", cwd=directory)
    assert forced.returncode == 0
    assert values.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("--peak-rps", "-1"), "--peak-rps"),
        (("--peak-rps", "0"), "--peak-rps"),
        (("--peak-rps", "nan"), "--peak-rps"),
        (("--peak-rps", "1e99"), "--peak-rps"),
        (("--peak-rps", "5z"), "--peak-rps"),
        ((), "--peak-rps"),
        (("--peak-rps", "10", "--fast-p99", "50"), "--fast-p99"),
        (("--peak-rps", "10", "--fast-p99", "1ms"), "--fast-p99"),
        (("--peak-rps", "10", "--slow-p99", "10ms"), "--slow-p99"),
        (("--peak-rps", "10", "--failed", "200%"), "--failed"),
        (("--peak-rps", "10", "--recovery", "1s"), "--recovery"),
        (("--peak-rps", "10", "--disruption-factor", "0.5"), "--disruption-factor"),
        (("--peak-rps", "10", "--workload", "nosuch"), "nosuch"),
        (("--peak-rps", "10", "--deployment", "nosuch"), "nosuch"),
        (("--peak-rps", "10", "--deployment", ""), "is a directory"),
        (("--peak-rps", "10", "--db-cores", "many"), "--db-cores"),
        (("--peak-rps", "10", "--db-max-connections", "-4"), "--db-max-connections"),
        (("--peak-rps", "10", "--release", "Not A Name"), "release"),
        (("--peak-rps", "10", "--seed", "x"), "--seed"),
        (("--peak-rps", "10", "--engine", "warp"), "--engine"),
        (("--peak-rps", "10", "--no-such-flag"), "--no-such-flag"),
    ],
)
def test_bad_input_is_one_line_that_names_the_place(arguments: tuple[str, ...], place: str, tmp_path: Path) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert place in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrivals", "words"),
    [
        ("{replay: r.csv}", "r.csv: the recording lasts 2s, at 120 units/s "),
        (
            "{bursts: {dispersion: 2000, mean: 1s, share: 20%}}",
            "arrivals.bursts.dispersion: bursts of 1s in 0.2 of the",
        ),
        ("{closed: {pause: 60s}}", "arrivals.closed.pause: 120 units/s with pauses of 60s take 7,200 clients, but"),
    ],
)
@pytest.mark.parametrize("engine", ["simpy", "auto"])
def test_arrivals_that_cannot_have_the_rate_end_in_one_line(
    engine: str, arrivals: str, words: str, tmp_path: Path
) -> None:
    """The worker that finds it is another process or thread; nothing goes on behind the error."""
    (tmp_path / "r.csv").write_text("at\n0\n1\n2\n")
    statements = "statements: [{name: a, sql: q, kind: read, share: 1, database_time: 2ms}]"
    (tmp_path / "w.yaml").write_text(f"name: w\n{statements}\nunits: [{{name: u}}]\narrivals: {arrivals}\n")
    # Pipes stay open while any worker lives: the time-out would strike.
    result = run(*SMALL, "--workload", "w.yaml", "--engine", engine, cwd=tmp_path, timeout_s=60)
    assert result.returncode == 2
    assert result.stderr.startswith(f"ojp-size: {words}")
    assert len(result.stderr.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"r.csv", "w.yaml"}


def test_an_output_that_is_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    result = run("--peak-rps", "100000", "--output", "taken", cwd=tmp_path, timeout_s=30)
    assert result.returncode == 2
    assert "--output" in result.stderr


SMALL_DEPLOYMENT = """\
version: 0.3.1-beta
replicaCount: 6
resources: {limits: {cpu: 1}}
server: {threadPoolSize: 200, circuitBreakerTimeout: 5000, slowQuerySegregation: {enabled: false}}
client: {ojp.connection.pool.maximumPoolSize: 8, ojp.connection.pool.minimumIdle: 4}
database: {cores: 8}
"""


def test_a_given_deployment_is_judged_and_nothing_written(tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(SMALL_DEPLOYMENT + "constants: {statement_cpu_s: 0.6ms}\n")
    result = run(*SMALL, "--deployment", "d.yaml", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith(
        "MET BY THE MODEL  6 pods x 1 cores, pool 8, no segregation, 200 threads carry 120 units"
    )
    for words in (
        "As given (d.yaml)",
        "one pod lost",
        "1 of ",
        "constants set by you (d.yaml)",
        "No file was written.",
    ):
        assert words in " ".join(result.stdout.split()), words
    assert list(tmp_path.iterdir()) == [file]
    assert_against_a_real_server(result.stdout)
    document = json.loads(run(*SMALL, "--deployment", "d.yaml", "--json", cwd=tmp_path).stdout)
    assert document["verdict"] == "met by the model"
    assert set(document["judged"]["situations"]) == {"steady peak", "one pod lost", "rolling update"}
    assert document["constants"]["statement_cpu_s"] == {
        "value": 0.0006,
        "unit": "core seconds",
        "status": "SET",
        "source": "d.yaml",
    }
    assert document["constants"]["small_rpc_cpu_s"]["status"] == "MEASURED"
    # The record is enough to judge it again.
    file.write_text(document["inputs"]["deployment"])
    again = json.loads(run(*SMALL, "--deployment", "d.yaml", "--json", cwd=tmp_path).stdout)
    assert again["judged"] == document["judged"]


def test_a_given_deployment_that_misses_exits_3_with_every_situation_and_its_warnings(tmp_path: Path) -> None:
    text = SMALL_DEPLOYMENT.replace("replicaCount: 6", "replicaCount: 1").replace("Size: 8", "Size: 2")
    (tmp_path / "d.yaml").write_text(text.replace("database: {cores: 8}", ""))
    result = run(*SMALL, "--deployment", "d.yaml", "--json", cwd=tmp_path)
    assert result.returncode == 3, result.stdout + result.stderr
    document = json.loads(result.stdout)
    assert document["verdict"] == "not met"
    assert len(document["judged"]["situations"]) == 3
    assert document["real_server"]["busiest_at_steady_peak"]["resource"] == "connections"
    assert document["real_server"]["nearest_row"]["runs"] >= 1
    warnings = {warning["name"]: warning for warning in document["warnings"]}
    assert set(warnings) == {"no-database-cores", "idle-above-pool"}
    for warning in warnings.values():
        assert set(warning) == {"name", "action", "place", "text", "fix", "source"}
        assert all(warning.values())


def test_a_deployment_that_breaks_ojp_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(SMALL_DEPLOYMENT.replace("enabled: false", "slowSlotPercentage: 100"))
    result = run(*SMALL, "--deployment", "d.yaml", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "d.yaml: server.slowQuerySegregation.slowSlotPercentage: 100 leaves no fast slot" in result.stderr
    assert "(reference 2, CODE+RUN)" in result.stderr


def test_a_file_without_replicas_holds_for_the_search_and_the_answer_can_be_judged(tmp_path: Path) -> None:
    workload = (ROOT / "data" / "workloads" / "web-oltp.yaml").read_text(encoding="utf-8")
    (tmp_path / "w.yaml").write_text(workload + "\nconstants: {commit_database_s: 1ms, pod_start_s: 4s}\n")
    (tmp_path / "d.yaml").write_text("version: 0.3.2-snapshot\ndatabase: {cores: 8}\nconstants: {pod_start_s: 6s}\n")
    files = ("--workload", "w.yaml", "--deployment", "d.yaml")
    result = run(*SMALL, *files, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    document = json.loads(result.stdout)
    assert document["answer"]["deployment"]["version"] == "0.3.2-snapshot"
    assert document["answer"]["deployment"]["database"]["cores"] == 8
    in_force = {
        name: (row["value"], row["source"]) for name, row in document["constants"].items() if row["status"] == "SET"
    }
    assert in_force == {"commit_database_s": (0.001, "w.yaml"), "pod_start_s": (6, "d.yaml")}
    # What was written, given as it is: the same deployment, so the same measures.
    judged = run(
        *SMALL,
        "--workload",
        "w.yaml",
        "--deployment",
        "ojp-sizing/values.yaml",
        "--db-cores",
        "8",
        "--json",
        cwd=tmp_path,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
    given = json.loads(judged.stdout)
    assert given["inputs"]["files"] == ["ojp-sizing/values.yaml", "ojp-sizing/ojp.properties"]
    for key, value in given["judged"]["deployment"].items():
        assert document["answer"]["deployment"][key] == value, key


@pytest.mark.parametrize("bound", [("--db-cores", "1"), ("--db-max-connections", "30")])
def test_an_infeasible_ask_exits_3_writes_nothing_and_names_a_feasible_one(
    bound: tuple[str, str], tmp_path: Path
) -> None:
    result = run("--peak-rps", "2000", *bound, cwd=tmp_path)
    assert result.returncode == 3, result.stderr
    assert result.stdout.startswith("NOT MET")
    assert "closest request that might be met" in result.stdout
    assert_against_a_real_server(result.stdout)
    assert list(tmp_path.iterdir()) == []


def test_a_time_budget_that_is_used_up_is_undecided(tmp_path: Path) -> None:
    result = run("--peak-rps", "2000", "--time-budget", "1us", cwd=tmp_path)
    assert result.returncode == 4, result.stdout
    assert result.stdout.startswith("UNDECIDED")
    assert_against_a_real_server(result.stdout)
    assert list(tmp_path.iterdir()) == []


def test_interrupting_leaves_nothing_and_exits_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*OJP_SIZE, "--peak-rps", "20000"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fast
def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = (
        "numpy", "scipy", "pandas", "plotly", "numba", "simpy", "pydantic", "rich", "ruamel", "joblib", "distributed",
    )  # fmt: skip
    script = (
        "import sys\nfrom ojp_sizing.cli import command\n"
        "try:\n    command.main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "--peak-rps" in result.stdout
    assert result.stderr.strip() == "[]"


@pytest.fixture
def greet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that is a subcommand, ``greet``, of its own."""
    module = "greets_in_a_test"
    (tmp_path / f"{module}.py").write_text(
        "import click\n\n@click.command()\n@click.option('--name', required=True)\ndef command(name):\n"
        "    click.echo(f'hello {name}')\n    return 4\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.SUBCOMMANDS, "greet", cli.Subcommand(module, "Say hello."))
    monkeypatch.delitem(sys.modules, module, raising=False)
    return module


def test_a_subcommand_has_flags_of_its_own_and_returns_its_exit_code(
    greet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.command.main(["greet", "--name", "you"], standalone_mode=False)
    assert (ended.value.code, capsys.readouterr().out) == (4, "hello you\n")
    for arguments, line in (
        (["greet"], "Missing option '--name'. Try 'ojp-size greet --help'."),
        (["--seed", "3", "greet", "--name", "you"], "Missing option '--peak-rps'. Try 'ojp-size --help'."),
    ):
        with pytest.raises(click.MissingParameter) as missing:
            cli.command.main(arguments, standalone_mode=False)
        assert cli.told(missing.value) == line


def test_help_names_the_subcommands_and_loads_none(greet: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.command.main(["--help"], standalone_mode=False)
    assert re.search(r"^ +greet +Say hello\.$", capsys.readouterr().out, re.MULTILINE)
    assert greet not in sys.modules


def test_a_misspelt_subcommand_is_told_its_nearest_name_and_a_flag_before_one_its_place(greet: str) -> None:
    with pytest.raises(click.UsageError) as misspelt:
        cli.command.main(["gret", "--name", "you"], standalone_mode=False)
    assert cli.told(misspelt.value) == "No such subcommand: gret; did you mean 'greet'? Try 'ojp-size --help'."
    with pytest.raises(InputError, match="--peak-rps: stands before the subcommand; write it behind greet"):
        cli.command.main(["--peak-rps", "5", "greet", "--name", "you"], standalone_mode=False)


def test_a_read_only_cache_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the cache directory should be")
    environment = {**os.environ, "XDG_CACHE_HOME": str(blocked)}
    script = (
        "from ojp_sizing.simulation.kernel_cache import cache_directory, has_kernels\n"
        "print(cache_directory(), has_kernels())"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.strip() == "None False"


def interrupted_after(words: str, cwd: Path) -> tuple[int, str, str]:
    """Exit code and output of a sizing that is interrupted as soon as its terminal shows these words."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*OJP_SIZE, "--peak-rps", "2000"], cwd=cwd, stdout=subprocess.PIPE, stderr=theirs, text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while not re.search(words.encode(), seen):
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return process.returncode, out, seen.decode()


def test_an_interruption_prints_the_best_so_far_and_writes_nothing(tmp_path: Path) -> None:
    """The first words come before anything is simulated; so many disruptions are for the verdict on a contestant."""
    code, out, seen = interrupted_after(r"(rolling update|one pod lost) (1[1-9]|2\d)", tmp_path)
    assert code == 130
    assert seen.startswith("first guess, by closed forms and not simulated: ")
    assert out.startswith("INTERRUPTED  the best so far: UNDECIDED  ")
    for situation in ("steady peak", "one pod lost", "rolling update"):
        assert situation in out
    assert "no file was written" in seen
    assert list(tmp_path.iterdir()) == []


def test_the_first_that_is_met_stays_on_the_screen(tmp_path: Path) -> None:
    code, out, seen = interrupted_after("so far: met by the model with ", tmp_path)
    assert code == 130
    assert out.startswith("INTERRUPTED  the best so far: MET BY THE MODEL  ")
    assert "now what is beside it" in seen


def test_an_interruption_before_anything_is_known_says_so(tmp_path: Path) -> None:
    code, out, seen = interrupted_after("first guess", tmp_path)
    assert code == 130
    assert out == "" or out.startswith("INTERRUPTED  there is no answer yet")
    assert "no file was written" in seen
    assert list(tmp_path.iterdir()) == []


def test_explain_follows_a_unit_of_the_deployment_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(
        "replicaCount: 3\nimage:\n  tag: 0.3.1-beta\nresources:\n  limits:\n    cpu: 1\n"
    )
    asked = ("explain", *SMALL, "--deployment", "values.yaml")
    slowest = run(*asked, "--follow", "slowest", cwd=tmp_path)
    assert (slowest.returncode, slowest.stderr) == (0, "")
    assert re.match(r"Unit \d+, due at [\d.]+ s of a run: 120 units/s of web-oltp on 3 pods x 1 cores", slowest.stdout)
    assert "in the database, with" in slowest.stdout
    assert slowest.stdout.rstrip().endswith("ended: ok")
    number = slowest.stdout.split()[1].rstrip(",")
    assert run(*asked, "--follow", number, cwd=tmp_path).stdout == slowest.stdout
    none = run(*asked, "--follow", "failed", cwd=tmp_path)
    assert none.returncode == 2
    assert re.fullmatch(r"ojp-size: --follow: none of [\d,]+ units failed; write slowest, or a number\n", none.stderr)
    late = run(*asked, "--follow", "100000000", cwd=tmp_path)
    assert (late.returncode, late.stdout) == (3, "the run ended before unit 100000000 was due\n")
    misnamed = run(*asked, "--follow", "1", "--during", "lunch", cwd=tmp_path)
    assert misnamed.returncode == 2
    assert "Invalid value for '--during'" in misnamed.stderr
