"""A harness of real servers in a process of its own, for tests that interrupt it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.real_server.artifacts import ROOT


@contextmanager
def harness_of(script: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process that runs a script, and the first line that it says; waited for at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        yield harness, harness.stdout.readline().strip()
