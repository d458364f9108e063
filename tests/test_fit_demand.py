"""Demand over time from files and from a real Prometheus: every layout, recovery, and servers in trouble."""

import base64
import csv
import datetime as dt
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_server import DAY, Forwarder, Server, ojp_history, running, wait_for, write_history

from ojp_sizing.demand.arrivals import Bursts, DailyProfile, Poisson, Replay, open_arrivals, until
from ojp_sizing.demand.reading import parse_workload
from ojp_sizing.demand.recording import parse_recording
from ojp_sizing.errors import InputError
from ojp_sizing.telemetry.demand import fit_demand, quantile_range, spread_of
from ojp_sizing.telemetry.intervals import ends_of
from ojp_sizing.telemetry.ojp_metrics import ojp_load
from ojp_sizing.telemetry.prometheus import prometheus_at
from ojp_sizing.telemetry.series import Series, read_series, series_of_points

# --- arrivals in every layout ---------------------------------------------------------------------------------------

NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
#: 60 s of 20 arrivals a second, 47 ms apart and more, with microseconds.
ARRIVALS = [NOON + dt.timedelta(seconds=0.05 * n + 0.007215) for n in range(1200)]
LAYOUTS: dict[str, tuple[str, Callable[[dt.datetime], str], float]] = {
    "iso": ("at", lambda at: at.isoformat(), 0),
    "epoch s": ("at", lambda at: f"{at.timestamp():.6f}", 2e-6),
    "epoch ms": ("at", lambda at: f"{at.timestamp() * 1e3:.0f}", 1e-3),
    "epoch us": ("ts", lambda at: f"{at.timestamp() * 1e6:.0f}", 2e-6),
    "postgres log": ("at", lambda at: at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC", 1e-3),
    "postgres": ("at", lambda at: at.strftime("%Y-%m-%d %H:%M:%S.%f") + "+00", 0),
    "access log": ("at", lambda at: at.strftime("%d/%b/%Y:%H:%M:%S +0000"), 0.06),
    "log4j": ("at", lambda at: at.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3], 1e-3),
    "another name": ("Timestamp", lambda at: at.isoformat(), 0),
    "whole seconds": ("time", lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"), 0.06),
}


def csv_of(header: list[str], rows: list[list[object]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_recording_in_every_layout(name: str) -> None:
    header, write, apart_s = LAYOUTS[name]
    text = csv_of([header], [[write(at)] for at in ARRIVALS])
    found = parse_recording(text, "r.csv", "r.csv", ["u"], 1)
    wanted = np.array([(at - ARRIVALS[0]).total_seconds() for at in ARRIVALS])
    assert np.abs(np.array(found.at_s) - wanted).max() <= apart_s + 1e-6
    assert isinstance(found, Replay)


RATES = [20 + 10 * (n % 7) for n in range(60)]
MINUTES = [NOON + dt.timedelta(minutes=n) for n in range(60)]
GRAFANA = csv_of(
    ["Time", "ojp requests"], [[at.strftime("%Y-%m-%d %H:%M:%S"), r] for at, r in zip(MINUTES, RATES, strict=True)]
)
COUNTS = csv_of(
    ["at", "count"], [[at.strftime("%Y-%m-%d %H:%M:%S"), r * 60] for at, r in zip(MINUTES, RATES, strict=True)]
)
MATRIX = json.dumps(
    {
        "status": "success",
        "data": {
            "resultType": "matrix",
            "result": [
                {"metric": {}, "values": [[at.timestamp(), str(r)] for at, r in zip(MINUTES, RATES, strict=True)]}
            ],
        },
    }
)
RUNNING_TOTAL = json.dumps(
    {
        "data": {
            "result": [
                {
                    "metric": {"__name__": "http_requests_total", "pod": pod},
                    # Started anew after 30 minutes.
                    "values": [[at.timestamp(), str(r)] for at, r in zip(MINUTES, totals, strict=True)],
                }
                for pod, totals in (
                    ("a", np.cumsum(RATES) * 30),
                    ("b", np.concatenate([np.cumsum(RATES[:30]), np.cumsum(RATES[30:])]) * 30),
                )
            ]
        }
    }
)


@pytest.mark.parametrize(
    ("name", "text"), [("Grafana", GRAFANA), ("counts", COUNTS), ("JSON", MATRIX), ("total", RUNNING_TOTAL)]
)
def test_rates_in_every_layout(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "rates"
    file.write_text(text, encoding="utf-8")
    series = read_series(file)
    assert series.step_s == 60
    rates = series.counts / 60
    assert list(rates) == pytest.approx(RATES[1:] if name == "total" else RATES)
    found = fit_demand(series)
    assert (found.busiest, ends_of(found.peak)) == (80, (80, 80, 80))
    assert found.arrivals == Poisson()
    with pytest.raises(InputError, match="'ojp-size fit demand' makes arrivals"):
        parse_recording(text, "r", "r", ["u"], 1)


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ('127.0.0.1 - - [{at:%d/%b/%Y:%H:%M:%S} +0000] "GET / HTTP/1.1" 200 5', ""),
        ("{at:%Y-%m-%d %H:%M:%S}.123 UTC [77] LOG:  execute S_1: select 1", "\tfrom orders\n"),
        ("{at:%Y-%m-%dT%H:%M:%S}Z INFO opened", "  at java.lang.Thread\n"),
    ],
)
def test_logs_are_counted(line: str, rest: str, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("".join(line.format(at=at) + "\n" + rest for at in ARRIVALS), encoding="utf-8")
    found = fit_demand(read_series(file), 10)
    assert found.mean == pytest.approx(20, rel=0.01)
    assert "is taken for one arrival" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an instant on 0 of 0 lines; save a range query's JSON"),
        ("hello\n" * 100, "an instant on 0 of 100 lines"),
        ('{"status": "error", "values": 1}', "no answer to a range query"),
        ('{"data": {"result": [{"metric": {}, "values": [[1, "x"]]}]}}', "no answer to a range query"),
        ('{"data": {"result": [{"metric": {}, "values": [[1, "1"], [2, "1"]]}]}}', "2 points in time"),
        (
            '{"data": {"result": [{"metric": {}, "values": [[1, "1"], [2, "1"], [3, "1"], [9e15, "1"]]}]}}',
            "points lie too far apart",
        ),
        ('{"data": {"result": [{"metric": {}, "values": [[1, "NaN"], [2, "NaN"], [3, "NaN"]]}]}}', "no number in it"),
        ('{"data": {"result": [{"metric": {}, "values": [[1, "-1"], [2, "0"], [3, "0"]]}]}}', "values below 0"),
        ("Time,x\n2026-01-01,1\n2026-01-02,y\n", "'x': 'y' is not a number"),
        ("Time,x\nnever,1\n", "row 2: Time: 'never' is no time"),
        ("[1]", "not a list of objects"),
    ],
)
def test_files_that_hold_no_demand(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "demand"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_series(file)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200), st.sampled_from([b"", b"Time,x\n", b'{"values": ', b"2026-03-02 12:00:00 "]))
def test_any_file(tmp_path_factory: pytest.TempPathFactory, rest: bytes, first: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(first + rest)
    try:
        fit_demand(read_series(file))
    except InputError as error:
        assert str(error).isprintable()


# --- recovery -------------------------------------------------------------------------------------------------------


def sampled(arrivals: Poisson | Bursts, rate: float, length_s: float, seed: int) -> Series:
    rng, changes = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    times = np.concatenate(list(until(open_arrivals(arrivals, rate, length_s, rng, changes), length_s)))
    return Series("sampled", 0.0, 1.0, np.bincount(times.astype(int)).astype(float), times)


def test_bursts_are_found_again() -> None:
    found = spread_of(sampled(Bursts(20.0, 2.0, 0.2), 50, 3600, 1))
    assert found is not None
    low, mid, high = ends_of(found.dispersion)
    assert low <= 20 <= high
    assert mid == pytest.approx(20, rel=0.3)
    assert found.forgets_s / 0.8 == pytest.approx(2.0, rel=0.3)
    fitted = fit_demand(sampled(Bursts(20.0, 2.0, 0.2), 50, 3600, 1)).arrivals
    assert isinstance(fitted, Bursts)
    assert fitted.rates(50.0)[0] > 70


def test_poisson_is_none() -> None:
    assert fit_demand(sampled(Poisson(), 50, 3600, 2)).arrivals == Poisson()


def test_a_peak_of_few_days_is_less_sure() -> None:
    minutes = np.arange(14 * 1440) / 1440 * 2 * np.pi
    days = 40 + 20 * np.sin(minutes) + np.random.default_rng(1).normal(0, 2, len(minutes))
    one, all_of_them = (ends_of(quantile_range(days[:n], 0.99)) for n in (1440, len(days)))
    assert one[2] - one[0] > all_of_them[2] - all_of_them[0]
    assert all_of_them[0] < np.quantile(days, 0.99) < all_of_them[2]


def test_gaps_are_no_quiet_minutes() -> None:
    points = [(60.0 * n, 5.0) for n in range(100) if not 20 <= n < 40]
    found = series_of_points([points], "x", "rate")
    assert found.covered_s == 80 * 60
    assert fit_demand(found).mean == pytest.approx(5)


# --- a real Prometheus ----------------------------------------------------------------------------------------------

PER_UNIT = {"executeQuery": 2.0, "executeUpdate": 0.5, "startTransaction": 0.3, "terminateSession": 1.0}


@pytest.fixture(scope="module")
def units() -> np.ndarray:
    hours = np.arange(1440) / 60
    return 40 + 25 * np.sin((hours - 5) / 24 * 2 * np.pi) + np.random.default_rng(2).normal(0, 2, 1440)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, units: np.ndarray) -> Iterator[Server]:
    """A day of two pods, one of which is started anew, with half an hour in which nobody scraped."""
    directory = tmp_path_factory.mktemp("prometheus")
    write_history(directory, ojp_history(units, PER_UNIT, resets={0: 700}, gap=range(900, 930)))
    with running(directory) as found:
        yield found


def ojp_size(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}
    return subprocess.run(
        [sys.executable, "-m", "ojp_sizing", *arguments],
        env=clean | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


WHEN = ("--range", "1d", "--end", "2026-03-03T00:00:00Z")


def test_ojps_own_metric(server: Server, units: np.ndarray, tmp_path: Path) -> None:
    load = ojp_load(prometheus_at(server.url), DAY, DAY + 86400, 60.0)
    assert load is not None
    assert (load.pods, float(load.statements_per_unit)) == (2.0, pytest.approx(2.5, rel=0.01))
    low, mid, high = ends_of(load.transactions)
    assert low <= 0.3 <= high
    assert mid == pytest.approx(0.3, rel=0.01)
    rates = load.units.counts / 60
    seen = np.isfinite(rates)
    assert 1400 <= seen.sum() < 1440
    assert rates[seen].mean() == pytest.approx(units.mean(), rel=0.02)
    peak = ends_of(fit_demand(load.units).peak)
    assert peak[0] <= np.quantile(units, 0.99) <= peak[2]
    query = load.latency["executeQuery"]
    assert (query.mean_s, query.p50_s, query.p99_s) == pytest.approx((0.008, 0.005, 0.05), rel=0.02)

    drawn = tmp_path / "drawn.yaml"
    drawn.write_text(
        "name: d\nstatements: [{name: q, sql: select 1, kind: read, share: 1, database_time: 2ms}]\nunits: [{name: u}]\n"
    )
    output = ("--workload", str(drawn), "--output", str(tmp_path / "w.yaml"))
    ran = ojp_size("fit", "prometheus", "--url", server.url, *WHEN, *output)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("peak: --peak-rps ")
    written = (tmp_path / "w.yaml").read_text()
    workload = parse_workload(written)
    assert isinstance(workload.arrivals, DailyProfile)
    assert sum(unit.share * unit.statements for unit in workload.units) == pytest.approx(2.5, rel=0.01)
    assert sum(unit.share for unit in workload.units if unit.transaction) == pytest.approx(0.3, rel=0.01)
    assert all(f"# {line}" in written for line in ran.stdout.splitlines()[:-1])


def test_any_other_query(server: Server) -> None:
    query = 'sum(rate(rpc_server_duration_milliseconds_count{rpc_method="executeQuery"}[5m]))'
    ran = ojp_size("fit", "prometheus", "--url", server.url, *WHEN, "--query", query, "--workload", "pgbench-measured")
    assert ran.returncode == 0, ran.stderr
    assert "name: pgbench-measured" in ran.stdout
    assert 110 < float(ran.stderr.split("--peak-rps ")[1].split("..")[1]) < 150


def test_long_ranges_come_in_chunks(server: Server) -> None:
    forwarder = Forwarder(server.port, 0, 0)
    found = prometheus_at(forwarder.url).query_range("vector(1)", DAY, DAY + 25_000, 1.0)
    forwarder.close()
    assert [len(track.points) for track in found] == [25_001]
    assert len(forwarder.seen) == 3


@pytest.mark.parametrize("after", [0, 150, 3000])
def test_an_answer_that_breaks_off_is_asked_for_again(server: Server, after: int) -> None:
    whole, broken = (Forwarder(server.port, cut, after) for cut in (0, 2))
    asked = ("rpc_server_duration_milliseconds_count", DAY, DAY + 7200, 60.0)
    assert prometheus_at(broken.url).query_range(*asked) == prometheus_at(whole.url).query_range(*asked)
    assert len(broken.seen) == 3
    never = Forwarder(server.port, 99, after)
    ran = ojp_size("fit", "prometheus", "--url", never.url, *WHEN)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("ojp-size: --url: broke off amid its answer")
    for forwarder in (whole, broken, never):
        forwarder.close()


def test_a_server_that_restarts_is_waited_for(server: Server) -> None:
    server.stop()
    address = prometheus_at(server.url)
    with pytest.raises(InputError, match="can't be reached: Connection refused; check that it is up"):
        address.query("vector(1)", DAY)
    server.start()
    assert address.query("vector(1)", DAY)[0].points == ((DAY, 1.0),)
    wait_for(server)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--query", "up{"], "refuses the query (HTTP 400): '"),
        (["--query", "1"], "3 points"),
        (["--query", "sum(nothing)"], "0 points in time"),
        (["--selector", 'namespace="elsewhere"'], "no rpc_server_duration_milliseconds in the last 1d"),
        (["--selector", 'a="b"} or vector(1'], "--selector: not a list of label matches"),
        (["--end", "2020-01-01"], "no rpc_server_duration_milliseconds in the last 1d"),
        (["--end", "then"], "--end: 'then' is no time"),
        (["--range", "9y"], "--range"),
        (["--window", "0"], "--window: shorter than a second"),
        (["--percentile", "0"], "--percentile: a share of 0"),
    ],
)
def test_bad_questions(server: Server, arguments: list[str], words: str) -> None:
    ran = ojp_size("fit", "prometheus", "--url", server.url, *WHEN, *arguments)
    if arguments == ["--query", "1"]:
        assert ran.returncode == 0  # a number is a series everywhere
        return
    assert (ran.returncode, ran.stdout) == (2, "")
    assert words in ran.stderr
    assert ran.stderr.count("\n") == 1


SECRET = "open sesame"  # noqa: S105 - of the server below
#: bcrypt of it.
HASHED = "$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW"


def test_secrets_and_certificates(tmp_path: Path) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0
    (tmp_path / "data").mkdir()
    config = f"tls_server_config: {{cert_file: cert.pem, key_file: key.pem}}\nbasic_auth_users: {{ojp: '{HASHED}'}}\n"
    with running(tmp_path, config) as server:
        url = server.url.replace("http:", "https:")
        asked = ("fit", "prometheus", "--url", url, *WHEN)
        trusted = {"SSL_CERT_FILE": str(tmp_path / "cert.pem")}
        named = {"PROMETHEUS_USER": "ojp", "PROMETHEUS_PASSWORD": SECRET}
        stranger = ojp_size(*asked, **named)
        nobody = ojp_size(*asked, **trusted)
        wrong = ojp_size(*asked, **trusted, **named | {"PROMETHEUS_PASSWORD": "shut sesame"})
        right = ojp_size(*asked, **trusted, **named)
    assert "the server's certificate can't be verified; name its authority in SSL_CERT_FILE" in stranger.stderr
    assert "doesn't let us in (HTTP 401); set PROMETHEUS_TOKEN, or PROMETHEUS_USER and" in nobody.stderr
    assert "doesn't let us in (HTTP 401)" in wrong.stderr
    assert "no rpc_server_duration_milliseconds in the last 1d" in right.stderr
    for ran in (stranger, nobody, wrong, right):
        assert ran.returncode == 2
        assert not any(
            word in ran.stdout + ran.stderr for word in ("sesame", base64.b64encode(b"ojp:open sesame").decode())
        )


@pytest.mark.parametrize(
    ("url", "environment", "words"),
    [
        ("http://u:open@127.0.0.1:9", {}, "a name or password in an address ends in logs"),
        (
            "http://prometheus.example:9090",
            {"PROMETHEUS_TOKEN": SECRET},
            "a secret would go over the network in the clear",
        ),
        ("ftp://x", {}, "not an address of the kind https://host:9090"),
        ("http://x:port", {}, "not an address"),
        ("https://x", {"PROMETHEUS_TOKEN": "a\nb"}, "holds characters that no header may have"),
    ],
)
def test_bad_addresses(url: str, environment: dict[str, str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        prometheus_at(url, environment=environment)
    assert words in str(caught.value)
    assert "open" not in str(caught.value)


def test_a_redirect_gets_no_secret(server: Server, tmp_path: Path) -> None:
    """A server that sends us elsewhere: what we carry stays."""
    import http.server
    import threading

    elsewhere = Forwarder(server.port, 0, 0)

    class Sends(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(302)
            self.send_header("Location", elsewhere.url + self.path)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Sends) as sender:
        threading.Thread(target=sender.serve_forever, daemon=True).start()
        address = prometheus_at(f"http://127.0.0.1:{sender.server_port}", environment={"PROMETHEUS_TOKEN": SECRET})
        with pytest.raises(InputError, match="sends us elsewhere"):
            address.query("vector(1)", DAY)
        sender.shutdown()
    elsewhere.close()
    assert not elsewhere.seen
    assert SECRET not in repr(address)
