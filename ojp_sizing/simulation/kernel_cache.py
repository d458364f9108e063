"""Where compiled kernels are kept between runs.

numba's own disk cache looks only at the file that holds the decorated function, and would go on using a kernel made from
yesterday's transitions. So the directory is named by a hash of every source that the kernel is made of.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba import njit

#: Whether every access to a table of the world is checked, which numba's own NUMBA_BOUNDSCHECK doesn't do for them. Such
#: kernels aren't kept: the errors that they raise have values of their own, which numba can't write to the disk.
CHECKS_BOUNDS = os.environ.get("OJP_SIZING_BOUNDSCHECK") == "1"

_PACKAGE = Path(__file__).parent.parent


def kernel_sources() -> list[Path]:
    """Every file whose text can end up in a kernel, in a fixed order."""
    return sorted([*(_PACKAGE / "behaviour").glob("*.py"), *(_PACKAGE / "simulation").glob("compiled_*.py")])


def source_hash(sources: list[Path]) -> str:
    """A name for this state of the sources and the versions that compile them."""
    digest = sha256(f"{numba.__version__} {sys.version}".encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def cache_directory() -> Path | None:
    """The directory for this state of the sources, made if need be; None where nothing can be written."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = root / "ojp-sizing" / source_hash(kernel_sources())
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return directory if os.access(directory, os.W_OK) else None


def has_kernels() -> bool:
    """Whether the kernels are on disk already, so that the first run need not compile."""
    directory = cache_directory()
    return directory is not None and any(directory.rglob("*.nbc"))


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the GIL, and keep the result in the cache directory where there is one."""
    directory = None if CHECKS_BOUNDS else cache_directory()
    if directory is None:
        return njit(nogil=True)(function)  # type: ignore[no-any-return]
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(directory)
    try:
        return njit(nogil=True, cache=True)(function)  # type: ignore[no-any-return]
    finally:
        numba.config.CACHE_DIR = before
