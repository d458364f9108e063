"""A real Prometheus on the loopback, with a history that is written into it: ``scripts/need_prometheus.sh`` gets it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
#: 2 March 2026, 00:00 UTC.
DAY = 1772409600.0
SCRAPE_S = 60.0


def program(name: str) -> str:
    """Where a program of Prometheus lies; a test fails without it."""
    unpacked = ROOT / ".tools" / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
    assert found, "Prometheus is needed: sh scripts/need_prometheus.sh"
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Server:
    """A running one."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes]
    arguments: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def start(self) -> None:
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def write_history(directory: Path, lines: Iterable[str]) -> None:
    """OpenMetrics text as blocks of a database, by promtool."""
    directory.mkdir(parents=True, exist_ok=True)
    text = directory / "history.om"
    text.write_text("\n".join([*lines, "# EOF"]) + "\n", encoding="utf-8")
    made = subprocess.run(
        [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(text), str(directory / "data")],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr


@contextmanager
def running(directory: Path, web_config: str | None = None) -> Iterator[Server]:
    """Over the history in a directory."""
    config, port = directory / "prometheus.yml", free_port()
    config.write_text("global: {}\n")
    arguments = [
        program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y", "--log.level=error",
    ]  # fmt: skip
    if web_config is not None:
        (directory / "web.yml").write_text(web_config)
        arguments.append(f"--web.config.file={directory / 'web.yml'}")
    server = Server(directory, port, None, arguments)  # type: ignore[arg-type]
    server.start()
    try:
        wait_for(server, is_open=web_config is None)
        yield server
    finally:
        server.stop()


def wait_for(server: Server, is_open: bool = True) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.process.poll() is None, "Prometheus has ended"
        with suppress(OSError):
            if is_open:
                urllib.request.urlopen(f"{server.url}/-/ready", timeout=2).close()  # noqa: S310
            else:
                socket.create_connection(("127.0.0.1", server.port), 2).close()
            return
        time.sleep(0.1)
    raise AssertionError("Prometheus doesn't answer")


# --- a history of OJP's pods -----------------------------------------------------------------------------------------


def ojp_history(
    units_per_s: NDArray[np.float64],
    per_unit: Mapping[str, float],
    pods: int = 2,
    resets: Mapping[int, int] | None = None,
    gap: range = range(0),
    cpu: NDArray[np.float64] | None = None,
    start_s: float = DAY,
) -> Iterator[str]:
    """Counters of OJP's histogram as scraped once a minute; ``connect`` of each unit goes to every pod.

    ``resets``: by pod the scrape at which it has been started anew. ``gap``: scrapes that nobody made. ``cpu``: cores of each
    pod in each minute, as cAdvisor counts them.
    """
    grown = np.concatenate([[0.0], np.cumsum(units_per_s * SCRAPE_S)])
    at = start_s + SCRAPE_S * np.arange(len(grown))
    yield "# TYPE rpc_server_duration_milliseconds histogram"
    for pod in range(pods):
        for method, each in {"connect": float(pods), **per_unit}.items():
            total = np.floor(grown * each / pods)
            if resets and pod in resets:
                total = np.where(np.arange(len(total)) >= resets[pod], total - total[resets[pod]], total)
            labels = f'instance="ojp-{pod}:9159",rpc_method="{method}"'
            for index, (when, count) in enumerate(zip(at, total, strict=True)):
                if index in gap:
                    continue
                # Half of the calls take up to 5 ms, all but a hundredth up to 50.
                for edge, part in (("5.0", 0.5), ("50.0", 0.99), ("+Inf", 1.0)):
                    of_bucket = f'rpc_server_duration_milliseconds_bucket{{{labels},le="{edge}"}}'
                    yield f"{of_bucket} {np.floor(count * part):.0f} {when:.0f}"
                yield f"rpc_server_duration_milliseconds_count{{{labels}}} {count:.0f} {when:.0f}"
                yield f"rpc_server_duration_milliseconds_sum{{{labels}}} {count * 8.0:.0f} {when:.0f}"
    if cpu is not None:
        yield "# TYPE container_cpu_usage_seconds counter"
        used = np.concatenate([[0.0], np.cumsum(cpu * SCRAPE_S)])
        for pod in range(pods):
            for index, (when, seconds) in enumerate(zip(at, used, strict=True)):
                if index not in gap:
                    yield f'container_cpu_usage_seconds_total{{pod="ojp-{pod}",container="ojp-server"}} {seconds:.6f} {when:.0f}'


# --- what stands in between ------------------------------------------------------------------------------------------


def _whole_request(client: socket.socket) -> bytes:
    asked = b""
    while part := client.recv(65536):
        asked += part
        head, end, body = asked.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0
        )
        if end and len(body) >= length:
            break
    return asked


class Forwarder:
    """A way to the server that breaks: the first ``cut`` answers end after ``after`` bytes; what was sent is kept."""

    def __init__(self, port: int, cut: int, after: int) -> None:
        self.to, self.cut, self.after = port, cut, after
        self.seen: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                asked = _whole_request(client)
                self.seen.append(asked)
                with socket.create_connection(("127.0.0.1", self.to)) as server:
                    server.sendall(asked)
                    left = self.after if self.cut > 0 else 10**12
                    self.cut -= 1
                    while left > 0 and (part := server.recv(65536)):
                        client.sendall(part[:left])
                        left -= len(part)
