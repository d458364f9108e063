"""Workload files: what they mean, that they read back, and that bad ones end in one line with the fix."""

import math
import os
import re
import string
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence

from ojp_sizing.demand.arrivals import Bursts, Closed, DailyProfile, Poisson, Replay
from ojp_sizing.demand.reading import (
    parse_workload,
    preset_names,
    read_workload,
    workload_yaml,
)
from ojp_sizing.demand.recording import MOST_RECORDING_BYTES
from ojp_sizing.demand.trace import sample_trace
from ojp_sizing.demand.workload import (
    Clients,
    Duration,
    Network,
    Patience,
    StatementClass,
    UnitOfWork,
    Workload,
    normalised_sql,
)
from ojp_sizing.errors import InputError

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
GOOD = """\
name: shop
statements:
  - {name: a, sql: select 1, kind: read, share: 0.7, database_time: 2ms}
  - {name: b, sql: update t, kind: write, share: 0.3, database_time: {mean: 3ms, cv: 0.5}}
units:
  - {name: page, share: 0.9, statements: 2}
  - {name: pay, share: 0.1, statements: [a, b], transaction: true, think: 0}
"""


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_workload(text, "w.yaml")
    message = str(caught.value)
    assert message.startswith("w.yaml")
    assert message.isprintable()
    assert len(message) < 400
    return message


def test_what_a_file_means() -> None:
    workload = parse_workload(GOOD, "w.yaml")
    assert workload == Workload(
        name="shop",
        statements=(
            StatementClass("a", "select 1", "read", Duration(0.002, 1.0, "lognormal"), share=0.7),
            StatementClass("b", "update t", "write", Duration(0.003, 0.5, "lognormal"), share=0.3),
        ),
        units=(
            UnitOfWork("page", 0.9, 2, think=Duration(0.002, 1.0, "exponential")),
            UnitOfWork("pay", 0.1, ("a", "b"), transaction=True, think=Duration(0.0, 1.0, "constant")),
        ),
    )


def test_defaults_are_those_of_the_dataclasses() -> None:
    text = "name: x\nstatements: [{name: a, sql: q, kind: read, share: 1, database_time: 1ms}]\nunits: [{name: u}]"
    workload = parse_workload(text)
    assert workload.statements == (StatementClass("a", "q", "read", Duration(0.001), share=1.0),)
    assert workload.units == (UnitOfWork("u", 1.0),)
    assert (workload.clients, workload.network) == (Clients(), Network())


def test_arrivals_and_patience() -> None:
    def read(lines: str) -> Workload:
        return parse_workload(GOOD + lines)

    assert read("arrivals: poisson").arrivals == Poisson()
    assert read("arrivals: {bursts: {dispersion: 20, mean: 2s, share: 20%}}").arrivals == Bursts(20.0, 2.0, 0.2)
    profile = read("arrivals: {profile: {11:00: 1, 00:00: 20%, 18:30: 0.6}}").arrivals
    assert profile == DailyProfile(((0.0, 0.2), (39_600.0, 1.0), (66_600.0, 0.6)))
    assert read("arrivals: closed").arrivals == read("arrivals: {closed: {}}").arrivals == Closed()
    assert read("arrivals: {closed: {pause: 1s}}").arrivals == Closed(1.0)
    assert read("clients: {timeout: 5s, retries: 2}").patience == Patience(5.0, 2, 0.1, 2.0)
    assert read("clients: {retries: 1, back_off: 1s, factor: 1}").patience == Patience(math.inf, 1, 1.0, 1.0)
    assert read("clients: {jvms: 4, pools: 2}").clients == Clients(4, pools=2)
    assert parse_workload(GOOD).patience == Patience()


def test_a_recording_is_read_beside_its_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "traces").mkdir()
    recording = tmp_path / "traces" / "monday.csv"
    recording.write_text("at,unit,jvm\n10,page,3\n11.5,pay,0\n", encoding="utf-8")
    path = tmp_path / "w.yaml"
    path.write_text(GOOD + "arrivals: {replay: traces/monday.csv}\n", encoding="utf-8")
    workload = read_workload(path)
    assert workload.arrivals == Replay("traces/monday.csv", (0.0, 1.5), (0, 1), (3, 0))
    assert parse_workload(workload_yaml(workload), folder=tmp_path) == workload
    monkeypatch.chdir(tmp_path)
    assert parse_workload(workload_yaml(workload)) == workload
    recording.write_text("at,unit\n10,page\n11.5,buy\n", encoding="utf-8")
    assert f"{recording}: line 3: unit: no unit 'buy'; known: page, pay" in refused_file(path)
    recording.unlink()
    assert f"{recording}: no such file; a recording is looked for beside its workload" in refused_file(path)
    os.mkfifo(recording)
    assert "not a regular file" in refused_file(path)


def test_a_huge_recording_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "r.csv").open("wb") as file:
        file.truncate(MOST_RECORDING_BYTES + 1)
    path = tmp_path / "w.yaml"
    path.write_text(GOOD + "arrivals: {replay: r.csv}", encoding="utf-8")
    assert "67,108,865 bytes; the limit is 64MiB" in refused_file(path)


def test_a_key_without_value_counts_as_left_out() -> None:
    assert parse_workload(GOOD + "clients:\ndescription: ~\nnetwork: {sigma: null}\n") == parse_workload(GOOD)


def test_text_stays_text() -> None:
    """The traps of YAML 1.1: no type is guessed, every field reads its own text."""
    text = (
        GOOD.replace("name: shop", "name: no").replace("name: page", "name: 12:30").replace("share: 0.7", "share: 7e-1")
    )
    workload = parse_workload(text)
    assert (workload.name, workload.units[0].name, workload.statements[0].share) == ("no", "12:30", 0.7)


def test_the_example_of_the_manual() -> None:
    manual = (ROOT / "docs" / "workload.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(name:.*?)```", manual, re.DOTALL)
    assert example is not None
    workload = parse_workload(example[1], "docs/workload.md")
    assert [workload.lane_of(s) for s in workload.statements] == ["fast", "fast", "fast", "fast", "slow"]
    assert workload.units[1].think == Duration(0.003, 1.0, "constant")
    for field in re.findall(r"\w+(?=:)", re.sub(r"#.*|\".*?\"", "", example[1])):
        assert f"`{field}" in manual or f".{field}`" in manual or f"`{field}`" in manual, field


def test_the_arrivals_of_the_manual(tmp_path: Path) -> None:
    manual = (ROOT / "docs" / "workload.md").read_text(encoding="utf-8")
    (recording,) = re.findall(r"```csv\n(.*?)```", manual, re.DOTALL)
    (tmp_path / "monday.csv").write_text(recording, encoding="utf-8")
    example, *snippets = re.findall(r"```yaml\n((?:name|arrivals|clients).*?)```", manual, re.DOTALL)
    base = re.sub(r"^(arrivals|clients):.*\n", "", example, flags=re.MULTILINE)
    read = [parse_workload(base + snippet, "docs/workload.md", tmp_path) for snippet in snippets]
    kinds = [type(workload.arrivals) for workload in read]
    assert kinds == [Bursts, DailyProfile, Replay, Closed, Poisson]
    replay = read[2].arrivals
    assert isinstance(replay, Replay)
    assert replay.at_s == pytest.approx((0.0, 0.081, 0.167), abs=1e-6)
    assert (replay.file, replay.units, replay.jvms) == ("monday.csv", (0, 1, 0), (0, 3, 1))
    assert read[-1].patience == Patience(5.0, 2, 0.1, 2.0)
    for workload in (read[0], read[1], read[3]):
        trace = sample_trace(workload, 500.0, 30.0, SeedSequence(1))
        assert len(trace.arrival_s) == pytest.approx(15_000, rel=0.4)


# --- presets --------------------------------------------------------------------------------------------------------


def database_time_s(workload: Workload) -> float:
    """Mean database time of one unit of work."""
    means = {s.name: s.database_time.mean_s for s in workload.statements}
    drawn = sum(s.share * s.database_time.mean_s for s in workload.statements)
    return sum(
        u.share * (u.statements * drawn if isinstance(u.statements, int) else sum(means[name] for name in u.statements))
        for u in workload.units
    )


@pytest.mark.parametrize(
    ("name", "slow", "least_s", "most_s"),
    [
        ("web-oltp", {"sales_by_day", "best_customers"}, 0.004, 0.005),
        ("reporting-mix", {"revenue_by_month", "ageing_of_debts"}, 0.03, 0.06),
        ("pgbench-measured", {"select_pgbench_accounts_bid"}, 0.001, 0.01),
    ],
)
def test_presets(name: str, slow: set[str], least_s: float, most_s: float) -> None:
    workload = read_workload(name)
    assert workload.name == name
    assert workload.source.split()[0].strip(".") in {"assumed", "measured"}
    assert {s.name for s in workload.statements if workload.lane_of(s) == "slow"} == slow
    assert len(slow) < len(workload.statements) / 2
    assert least_s < database_time_s(workload) < most_s
    assert parse_workload(workload_yaml(workload)) == workload


def test_all_presets_are_tested() -> None:
    assert preset_names() == ["pgbench-measured", "reporting-mix", "web-oltp"]


# --- bad files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("share: 0.7", "shrae: 0.7", "statements[0].shrae: unknown key; did you mean 'share'?"),
        ("name: shop", "nmae: shop", ": nmae: unknown key; did you mean 'name'?"),
        ("name: shop", "name: shop\nzzz: 1", "zzz: unknown key; known: name, description"),
        ("cv: 0.5", "cw: 0.5", "statements[1].database_time.cw: unknown key; did you mean 'cv'?"),
        ("name: shop", "name: shop\nname: shop", ": name: the key occurs twice; remove one"),
        ("share: 0.7", "share: 0.7, share: 0.7", "statements[0].share: the key occurs twice"),
        ("share: 0.9", "share: 0.8", "units[].share: the shares add up to 0.9, not 1"),
        ("share: 0.9", "share: 0", "units[].share: the shares add up to 0.1, not 1"),
        ("share: 0.7", "share: 0.6", "statements[].share: the shares add up to 0.9, not 1"),
        ("share: 0.7", "share: .nan", "statements[0].share: '.nan' is not a fraction"),
        ("share: 0.7", "share: .inf", "statements[0].share: '.inf' is not a fraction"),
        ("share: 0.7", "share: -0.7", "statements[0].share: '-0.7' is below zero"),
        ("share: 0.7", "share: true", "statements[0].share: 'true' is not a fraction"),
        ("share: 0.7", "share: 1.7", "statements[0].share: '1.7' is above the most that makes sense, 1"),
        ("share: 0.7", "share: [0.7]", "statements[0].share: empty or not a single value"),
        (
            "database_time: 2ms",
            "database_time: 2",
            "statements[0].database_time.mean: '2' has no unit; write 2ms or 2s",
        ),
        ("database_time: 2ms", "database_time: 0", "statements[0].database_time: a mean of 0; write 1us or more"),
        ("database_time: 2ms", "database_time: 2h", "above the most that makes sense, 3,600"),
        (", database_time: 2ms", "", "statements[0].database_time: missing; add it"),
        ("cv: 0.5", "cv: 101", "statements[1].database_time.cv: '101' is above"),
        (
            "cv: 0.5",
            "family: gamma",
            "statements[1].database_time.family: 'gamma' is not known here; write 'lognormal'",
        ),
        ("think: 0", "think: {mean: 0, family: exponential}", "units[1].think: a mean of 0 has no exponential"),
        (
            "kind: read",
            "kind: raed",
            "statements[0].kind: 'raed' is not known here; write 'read', 'write', 'batch' or 'call'",
        ),
        ("transaction: true", "transaction: yes", "units[1].transaction: 'yes' is neither true nor false"),
        ("[a, b]", "[a, bb]", "units[1].statements[1]: no statement 'bb'; did you mean 'b'?"),
        ("[a, b]", "[]", "units[1].statements: a list of 0 statements"),
        ("[a, b]", "[a, ~]", "units[1].statements: empty or not a single value"),
        ("statements: 2", "statements: 0", "units[0].statements: '0' is not a whole number from 1 to 1000"),
        ("statements: 2", "statements: 1.5", "units[0].statements: '1.5' is not a whole number"),
        ("name: b", "name: a", "statements[1].name: the same name as statements[0].name"),
        ("name: pay", "name: page", "units[1].name: the same name as units[0].name"),
        ("update t", "' SELECT \t 1 '", "statements[1].sql: the same SQL text as statements[0].sql"),
        ("name: page", 'name: "pa\\nge"', "units[0].name: 'pa\\nge' is not a name"),
        ("name: page", 'name: "\\x1b[31m"', "units[0].name: '\\x1b[31m' is not a name"),
        ("name: page", f"name: {'x' * 65}", "units[0].name: 'xxx"),
        ("name: page", "name: ''", "units[0].name: '' is not a name"),
        ("select 1", f"'{'x' * 65537}'", "statements[0].sql: the SQL text has 65,537 bytes"),
        ("select 1", "'  '", "statements[0].sql: the SQL text is empty"),
        ("name: shop", 'name: shop\nsource: "a\\0b"', "source: 'a\\x00b' is not a line of text"),
        (
            "name: shop",
            "name: shop\narrivals: bursts",
            "arrivals: 'bursts' is not known here; write poisson, closed, or",
        ),
        ("name: shop", "name: shop\nclients: {jvms: 0}", "clients.jvms: '0' is not a whole number from 1 to 10000"),
        ("name: shop", "name: shop\nclients: {jvms: 1e3}", "clients.jvms: '1e3' is not a whole number"),
        ("name: shop", "name: shop\nnetwork: [1]", "network: not a mapping of keys to values; known keys: one_way"),
        ("name: shop", "name: !!python/object/apply:os.system [ls]", ": name: YAML tags are not taken"),
        ("name: shop", "name: !mine shop", ": name: YAML tags are not taken"),
        ("name: shop", "name: ! shop", ": name: YAML tags are not taken"),
        ("name: shop", "name: &x shop\nsource: *x", ": name: anchors and aliases are not taken"),
        ("name: shop", "name: *x", ": name: anchors and aliases are not taken"),
        ("name: shop", "<<: {name: shop}", "'<<': unknown key"),
        ("name: shop", "? [a]\n: b", "a key is not plain text"),
        ("name: shop", "name: shop: x", "line 1: not YAML"),
        ("name: shop", 'name: "\\UFFFFFFFF"', "not YAML"),
        ("name: shop", "name: shop\0", "not YAML"),
        ("name: shop", "name: '\ud800'", "not YAML"),
        ("kind: read", "kind: batch", "statements[0].additions: a batch of 0 additions; write 1 to 1000"),
        ("kind: read", "kind: batch, additions: 1001", "additions: '1001' is not a whole number from 0 to 1000"),
        ("kind: read", "kind: read, additions: 2", "statements[0].additions: a read has none; remove it, or write"),
        ("kind: read", "kind: call, session: true", "statements[0].session: a call has none; remove it"),
        ("kind: read", "kind: write, fetches: 1", "statements[0].fetches: a write has none; remove it"),
        ("kind: read", "kind: read, fetches: 10001", "fetches: '10001' is not a whole number from 0 to 10000"),
        ("statements: 2", "statements: 2, calls: 1001", "units[0].calls: '1001' is not a whole number from 0 to 1000"),
        ("transaction: true", "transaction: true, xa: true", "units[1].xa: xa and transaction exclude each other"),
        ("transaction: true", "xa: 1", "units[1].xa: '1' is neither true nor false"),
        *(
            ("name: shop", f"name: shop\narrivals: {arrivals}", f"w.yaml: arrivals{words}")
            for arrivals, words in [
                ("{}", ": not one kind of arrivals; write bursts, profile, replay or closed"),
                ("{bursts: }", ": not one kind of arrivals"),
                ("{closed: {}, replay: x}", ": not one kind of arrivals"),
                ("{burst: {}}", ".burst: unknown key; did you mean 'bursts'?"),
                ("[closed]", ": not a mapping of keys to values; known keys: poisson, bursts, profile"),
                ("{bursts: {mean: 2s, share: 20%}}", ".bursts.dispersion: missing; add it"),
                ("{bursts: {dispersion: 0.9, mean: 2s, share: 20%}}", ".bursts.dispersion: below 1 nothing bursts"),
                ("{bursts: {dispersion: 9, mean: 0, share: 20%}}", ".bursts.mean: a mean of 0; write 1us"),
                ("{bursts: {dispersion: 9, mean: 2s, share: 0}}", ".bursts.share: bursts never or always"),
                ("{bursts: {dispersion: 9, mean: 2s, share: 1}}", ".bursts.share: bursts never or always"),
                ("{bursts: {dispersion: 9, mean: 2s, share: 2}}", ".bursts.share: '2' is above the most"),
                ("{profile: {}}", ".profile: not a mapping of 1 to 1,440 times of day to factors"),
                ("{profile: [1, 2]}", ".profile: not a mapping of 1 to 1,440 times of day"),
                ('{profile: {"24:00": 1}}', ".profile.'24:00': not a time of day; write for example 09:30"),
                ('{profile: {"9:00": 1}}', ".profile.'9:00': not a time of day"),
                ('{profile: {"09:00": 1.1}}', ".profile.'09:00': '1.1' is above the most"),
                ('{profile: {"09:00": }}', ".profile.'09:00': empty or not a single value"),
                ('{profile: {"09:00": 0.9}}', ".profile: the highest factor is 0.9, not 1; divide"),
                ("{closed: {pause: 0}}", ".closed.pause: clients without a pause have no rate"),
                ("{closed: {pause: 2h}}", ".closed.pause: '2h' is above the most"),
                ("{closed: 1s}", ".closed: not a mapping of keys to values; known keys: pause"),
                ("{replay: ' '}", ".replay: no file is named; write its name"),
            ]
        ),
        *(
            ("name: shop", f"name: shop\nclients: {{{clients}}}", f"w.yaml: clients{words}")
            for clients, words in [
                ("jvms: 2, pools: 3", ".pools: more kinds than the 2 JVMs; write at most 2"),
                ("pools: 101", ".pools: '101' is not a whole number from 1 to 100"),
                ("timeout: 0", ".timeout: a timeout of 0; write 1us or more"),
                ("timeout: 5", ".timeout: '5' has no unit; write 5ms or 5s"),
                ("retries: 11", ".retries: '11' is not a whole number from 0 to 10"),
                ("back_off: 1s", ".back_off: without retries it does nothing; write for example 'retries: 2'"),
                ("timeout: 1s, retries: 0, factor: 2", ".factor: without retries it does nothing"),
                ("retries: 2, factor: 0.5", ".factor: the pauses between attempts shrink; write 1 or more"),
                ("retries: 2, factor: 11", ".factor: '11' is above the most"),
            ]
        ),
    ],
)
def test_bad_fields(old: str, new: str, words: str) -> None:
    assert old in GOOD
    assert words in refusal(GOOD.replace(old, new, 1))


def test_a_statement_that_nothing_runs() -> None:
    text = GOOD.replace("statements: 2", "statements: [a]").replace("[a, b]", "[a]")
    assert "w.yaml: statements[1]: no unit runs 'b'; name it in a unit" in refusal(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a mapping"),
        ("just text", "not a mapping"),
        ("- a\n- b", "not a mapping"),
        (GOOD + "---\n" + GOOD, "several YAML documents"),
        ("name: x\nstatements: []\nunits: []", "statements: an empty list; write at least one"),
        ("name: x\nstatements: 5\nunits: []", "statements: not a list"),
        ("name: x\nstatements: [5]\nunits: []", "statements[0]: not a mapping"),
        ("name: x\nstatements: [~]\nunits: []", "statements[0]: not a mapping"),
        ("a: 1\nb: ]", "line 2: not YAML"),
        ("x" * (2**20 + 1), "more than 1 MiB"),
        ("a: [" + "1, " * 60_000 + "]", "more than 50,000 entries"),
    ],
)
def test_bad_documents(text: str, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "a:\n ", "? ", "[{a: "])
def test_depth_is_refused_at_once(opening: str) -> None:
    started = time.perf_counter()
    refusal(opening * (500_000 // len(opening)))
    assert time.perf_counter() - started < 5


def test_the_depth_in_the_message() -> None:
    assert "nested deeper than 20 levels" in refusal("a: " + "[" * 30)


# --- files ----------------------------------------------------------------------------------------------------------


def refused_file(path: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        read_workload(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "w.yaml"
    good.write_text("\ufeff" + GOOD, encoding="utf-8")
    assert read_workload(good) == read_workload(str(good)) == parse_workload(GOOD)
    assert "no such file; did you mean 'web-oltp'?" in refused_file("web-olpt")
    assert "no such file; known: pgbench-measured, " in refused_file(tmp_path / "other.yaml")
    assert "is a directory" in refused_file(tmp_path)
    assert "is a directory" in refused_file("")
    assert "no such file" in refused_file("a\0b\n")
    assert "cannot be read" in refused_file("x" * 5000)
    (tmp_path / "latin").write_bytes("name: caf\xe9".encode("latin-1"))
    assert "not UTF-8 at byte 9" in refused_file(tmp_path / "latin")
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused_file(tmp_path / "pipe")
    assert "not a regular file" in refused_file("/dev/zero")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(100 * 2**20)
    started = time.perf_counter()
    assert "104,857,600 bytes; the limit is 1MiB" in refused_file(huge)
    assert time.perf_counter() - started < 1


# --- properties -----------------------------------------------------------------------------------------------------

LETTERS = st.characters(min_codepoint=32, max_codepoint=0x2FFFF, exclude_categories=["Cs"])
NAMES = st.text(LETTERS, min_size=1, max_size=64).filter(lambda t: t.isprintable() and t == t.strip())
LINES = st.text(LETTERS, max_size=80).filter(lambda t: t.isprintable() and t == t.strip())
# Any Unicode text but lone surrogates.
SQL = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80).filter(str.strip)
CVS = st.floats(0, 100)
TIMES = st.builds(
    Duration, st.floats(1e-9, 3600), CVS, st.sampled_from(["lognormal", "exponential", "constant"])
) | st.builds(Duration, st.just(0.0), CVS, st.just("constant"))
COUNTS = st.integers(1, 1000)
ARRIVALS = st.one_of(
    st.just(Poisson()),
    st.builds(Bursts, st.floats(1, 1e6), st.floats(1e-6, 3600), st.floats(0.001, 0.999)),
    st.dictionaries(st.integers(1, 1439), st.floats(0, 1), max_size=30).map(
        lambda factors: DailyProfile(((0.0, 1.0), *((60.0 * minute, f) for minute, f in sorted(factors.items()))))
    ),
    st.builds(Closed, st.none() | st.floats(1e-6, 3600)),
)
PATIENCE = st.builds(Patience, st.just(math.inf) | st.floats(1e-6, 3600)) | st.builds(
    Patience, st.just(math.inf) | st.floats(1e-6, 3600), st.integers(1, 10), st.floats(0, 3600), st.floats(1, 10)
)


def shares(weights: list[float]) -> list[float]:
    return [weight / math.fsum(weights) for weight in weights]


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    texts = draw(st.lists(SQL, min_size=1, max_size=5, unique_by=normalised_sql))
    names = draw(st.lists(NAMES, min_size=len(texts), max_size=len(texts), unique=True))
    weights = shares([draw(st.floats(0.001, 1000)) for _ in texts])
    kinds = [draw(st.sampled_from(["read", "write", "batch", "call"])) for _ in texts]
    statements = tuple(
        StatementClass(
            name,
            sql,
            kind,
            draw(TIMES.filter(lambda t: t.mean_s > 0)),
            share,
            draw(st.integers(0, 1_000_000)),
            draw(st.sampled_from([None, "fast", "slow"])),
            draw(st.floats(0, 1)),
            session=kind == "write" and draw(st.booleans()),
            additions=draw(COUNTS) if kind == "batch" else 0,
            fetches=draw(st.integers(0, 10_000)) if kind == "read" else 0,
        )
        for name, sql, share, kind in zip(names, texts, weights, kinds, strict=True)
    )
    unit_names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    # The first unit draws, so that every statement is run.
    steps = [draw(COUNTS)] + [draw(st.lists(st.sampled_from(names), min_size=1).map(tuple)) for _ in unit_names[1:]]
    units = tuple(
        UnitOfWork(name, share, step, ends == "commit", draw(TIMES), draw(st.integers(0, 1000)), ends == "xa")
        for name, share, step, ends in zip(
            unit_names,
            shares([draw(COUNTS) for _ in unit_names]),
            steps,
            [draw(st.sampled_from(["", "commit", "xa"])) for _ in unit_names],
            strict=True,
        )
    )
    jvms = draw(st.integers(1, 10_000))
    clients = Clients(jvms, draw(st.integers(1, 100_000)), draw(st.integers(1, min(jvms, 100))))
    network = Network(draw(st.floats(0, 3600)), draw(st.floats(0, 5)))
    ways = draw(ARRIVALS), clients, network, draw(PATIENCE)
    return Workload(draw(NAMES), statements, units, draw(LINES), draw(LINES), *ways)


@settings(deadline=None)
@given(workloads())
def test_written_files_read_back_equal(workload: Workload) -> None:
    assert parse_workload(workload_yaml(workload)) == workload


def read_or_refused(text: str) -> None:
    try:
        workload = parse_workload(text, "w.yaml")
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert parse_workload(workload_yaml(workload)) == workload


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    read_or_refused(text)


YAML_PIECES = st.sampled_from(
    [
        *"[]{}:-?,&*!|>%@`\"'#~\\\n\t ",
        "- ",
        ": ",
        "---\n",
        "...\n",
        "\\x",
        "\\u12",
        "!!",
        "%TAG ",
        "%YAML 1.1\n",
        "null",
    ]
) | st.text(string.printable + "é\u2028\ud800\x00", max_size=3)


@settings(deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.lists(YAML_PIECES, max_size=8))
def test_damaged_files(start: int, length: int, pieces: list[str]) -> None:
    read_or_refused(GOOD[:start] + "".join(pieces) + GOOD[start + length :])


def test_normalised_sql() -> None:
    assert normalised_sql("\0 SELECT\t\n 'Bob'  FROM\u00a0t \x1f") == "select 'bob' from\u00a0t"
