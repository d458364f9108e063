"""The forwarder that is a gate of the experiments behind gates (tests/real_server), and what docs/restarts.md shows of them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_server import forward
from tests.real_server.experiments import EXPERIMENTS, WARMED_SERVERS, Experiment
from tests.real_server.processes import LOOPBACK, send, wait_for_port
from tests.real_server.recorded import draw_trace


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(10.0)
        yield listener


@pytest.fixture
def gate(server: socket.socket) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A gate's port and its process."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(Path(forward.__file__)), f"{LOOPBACK}:{port}", str(server.getsockname()[1])]
    with subprocess.Popen(command, text=True, start_new_session=True) as process:
        wait_for_port(port, process, 10.0)
        server.accept()[0].close()  # of the look whether it listens
        yield port, process
        send(process, signal.SIGKILL)


def _pair(port: int, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection((LOOPBACK, port), 10.0)
    return client, server.accept()[0]


def test_a_gate_lets_both_ends_talk_and_cuts_one_when_the_other_ends(
    gate: tuple[int, subprocess.Popen[str]], server: socket.socket
) -> None:
    client, behind = _pair(gate[0], server)
    with client:
        client.sendall(b"a" * 100_000)
        assert behind.recv(100_000, socket.MSG_WAITALL) == b"a" * 100_000
        behind.sendall(b"answer")
        assert client.recv(6, socket.MSG_WAITALL) == b"answer"
        behind.close()  # as a process that ends
        assert client.recv(1) == b""


def test_a_gate_that_shuts_refuses_while_who_is_in_goes_on(
    gate: tuple[int, subprocess.Popen[str]], server: socket.socket
) -> None:
    port, process = gate
    client, behind = _pair(port, server)
    with client, behind:
        process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 10.0
        while time.monotonic() < until:
            with socket.socket() as late:
                if late.connect_ex((LOOPBACK, port)):
                    break
                time.sleep(0.01)
        else:
            pytest.fail("it still lets clients in")
        client.sendall(b"still here")
        assert behind.recv(10, socket.MSG_WAITALL) == b"still here"
    assert process.wait(10.0) == 0  # it ends with the last of them


def test_a_gate_before_nobody_cuts_who_comes(gate: tuple[int, subprocess.Popen[str]], server: socket.socket) -> None:
    server.close()
    with socket.create_connection((LOOPBACK, gate[0]), 10.0) as client:
        assert client.recv(1) == b""


@pytest.mark.parametrize("experiment", WARMED_SERVERS, ids=lambda experiment: experiment.name)
def test_only_the_gate_is_another(experiment: Experiment) -> None:
    """What is measured with and without the fix has the same arrivals, settings and signals."""
    warmed, plain = experiment, EXPERIMENTS[experiment.name.removesuffix("-warmed")]
    one, other = (draw_trace(of, of.bands[0]) for of in (warmed, plain))
    assert (one.arrival_s == other.arrival_s).all()
    assert (one.database_s == other.database_s).all()
    for name in ("workload", "bands", "duration_s", "pool", "server", "nodes", "signals", "limit_cores", "settle_s"):
        assert getattr(warmed, name) == getattr(plain, name), name
    assert warmed.gated
    assert not plain.gated
