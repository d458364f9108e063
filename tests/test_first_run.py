"""The first run after an install: what is missing or takes time is said before, and what older ones have left goes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from ojp_sizing.simulation import compiled_clock
from ojp_sizing.simulation.kernel_cache import KEPT, KEPT_S, LATELY_S, cache_directory, has_kernels, prune
from ojp_sizing.simulation.simulate import PLAIN_OVER_COMPILED

ROOT = Path(__file__).parent.parent
NO_NUMBA = "import sys\nsys.modules['numba'] = None  # as if it couldn't be had\n"
SIMULATE = (
    "from numpy.random import SeedSequence\n"
    "from ojp_sizing import Deployment, read_workload, sample_trace, simulate\n"
    "for _ in range(2):\n"
    "    simulate(sample_trace(read_workload('web-oltp'), 5.0, 0.2, SeedSequence(1)), Deployment(3, 1.0))\n"
    "print('simulated', flush=True)\n"
)


def test_a_plain_install_has_the_compiled_clock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(requirement.startswith("numba") for requirement in project["dependencies"])
    assert "fast" not in project["optional-dependencies"]


def test_without_numba_the_price_is_said_before_the_run_and_once(tmp_path: Path) -> None:
    command = (
        f"{NO_NUMBA}sys.argv = ['ojp-size', '--peak-rps', '50', '--time-budget', '1us']\n"
        "from ojp_sizing.cli import main\nmain()"
    )
    for script, code in ((command, 4), (NO_NUMBA + SIMULATE, 0)):
        result = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == code, result.stderr
        (line,) = result.stderr.splitlines()
        assert line.startswith("ojp-sizing: numba isn't there: the plain clock takes some ")
        assert "numba isn't there" not in result.stdout


def test_the_price_is_the_measured_one() -> None:
    """Every row of the table has the stated number of times, to a tenth."""
    table = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    measured = [
        float(times) for times in re.findall(r"^\| SimPy clock over compiled clock, .*? \| ([0-9.]+)", table, re.M)
    ]
    assert len(measured) >= 3
    assert all(abs(times - PLAIN_OVER_COMPILED) <= 0.1 * times for times in measured)


def on_a_terminal(script: str, until: bytes, **environment: str) -> tuple[bytes, bytes]:
    """What a script says on standard error, a terminal, until these words or its end, and then on standard output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, **environment}
    )
    os.close(theirs)
    seen = b""
    try:
        while until not in seen:
            seen += os.read(ours, 4096)
    except OSError:  # the other end is closed
        pass
    else:
        process.kill()
    finally:
        out, _ = process.communicate()
        os.close(ours)
    return seen, out


def test_compiling_is_said_on_the_terminal_from_python_too(tmp_path: Path) -> None:
    seen, out = on_a_terminal(SIMULATE, b"20 s or more", XDG_CACHE_HOME=str(tmp_path))
    assert b"ojp-sizing: compiling the simulation, once after an install: " in seen
    assert out == b""


def test_with_kernels_on_disk_nothing_is_said() -> None:
    exec(SIMULATE.replace("print('simulated', flush=True)", ""), {})  # noqa: S102 - so that they are there
    assert has_kernels()
    assert on_a_terminal(SIMULATE, b"compiling") == (b"", b"simulated\n")


def test_kernels_are_there_when_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was ended amid compiling has left the first of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = cache_directory()
    assert directory is not None
    for name in ("_word", "_before", "_copy", "_push"):
        assert not has_kernels()
        (directory / f"{Path(compiled_clock.__file__).stem}.{name}-1.py.1.nbc").touch()
    assert not has_kernels()


def used(root: Path, name: str, ago_s: float) -> Path:
    directory = root / name
    (directory / "inner").mkdir(parents=True)
    (directory / "inner" / "kernel.nbc").touch()
    os.utime(directory, (time.time() - ago_s,) * 2)
    return directory


def test_old_caches_go_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "ojp-sizing"
    elsewhere = used(tmp_path, "elsewhere", 100 * KEPT_S)
    current = used(root, f"{0:016x}", 100 * KEPT_S)
    lately = [used(root, f"{n:016x}", 60.0 * n) for n in range(1, KEPT + 3)]
    older = [used(root, f"{n:016x}", LATELY_S + 60.0 * n) for n in range(20, 23)]
    foreign = [used(root, name, 100 * KEPT_S) for name in ("notes", "0123", "ABCDEF0123456789", "0123456789abcdef.d")]
    (root / "0123456789abcdef").touch()
    (root / f"{99:016x}").symlink_to(elsewhere)
    (older[0] / "inner" / "link").symlink_to(elsewhere)
    prune(root, current.name)
    assert all(directory.is_dir() for directory in (current, *lately, *foreign))
    assert not any(directory.exists() for directory in older)
    assert (root / "0123456789abcdef").is_file()
    assert (root / f"{99:016x}").is_symlink()
    assert (elsewhere / "inner" / "kernel.nbc").is_file()


def test_the_newest_few_stay_for_a_month(tmp_path: Path) -> None:
    few = [used(tmp_path, f"{n:016x}", KEPT_S - 60.0 * n) for n in range(1, KEPT + 2)]
    past = used(tmp_path, f"{90:016x}", KEPT_S + 60.0)
    prune(tmp_path, "current")
    assert [directory.exists() for directory in few] == [False] + [True] * KEPT
    assert not past.exists()


def test_a_new_state_of_the_sources_prunes_and_a_use_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old = used(tmp_path / "ojp-sizing", f"{1:016x}", 2 * KEPT_S)
    directory = cache_directory()
    assert directory is not None
    assert not old.exists()
    os.utime(directory, (0, 0))
    assert cache_directory() == directory
    assert time.time() - directory.stat().st_mtime < KEPT_S


def test_processes_prune_at_once(tmp_path: Path) -> None:
    for n in range(40):
        used(tmp_path, f"{n:016x}", 2 * KEPT_S)
    script = (
        "import sys\nfrom pathlib import Path\nfrom ojp_sizing.simulation.kernel_cache import prune\n"
        "input()\nprune(Path(sys.argv[1]), 'current')"
    )
    pruners = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for pruner in pruners:
        assert pruner.stdin is not None
        pruner.stdin.write("\n")
        pruner.stdin.flush()
    assert [pruner.wait(timeout=120) for pruner in pruners] == [0, 0, 0]
    for pruner in pruners:
        assert pruner.stdin is not None
        pruner.stdin.close()
    assert list(tmp_path.iterdir()) == []
