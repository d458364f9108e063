"""Where compiled kernels are kept between runs.

numba's own disk cache looks only at the file that holds the decorated function, and would go on using a kernel made from
yesterday's transitions. So the directory is named by a hash of every source that the kernel is made of.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba import njit

#: Whether every access to a table of the world is checked, which numba's own NUMBA_BOUNDSCHECK doesn't do for them. Such
#: kernels aren't kept: the errors that they raise have values of their own, which numba can't write to the disk.
CHECKS_BOUNDS = os.environ.get("OJP_SIZING_BOUNDSCHECK") == "1"

_PACKAGE = Path(__file__).parent.parent
_HASH = re.compile("[0-9a-f]{16}")
#: Of the directories that aren't this one's so many are kept, so long after their last use.
KEPT, KEPT_S = 3, 30 * 86_400.0
#: All that were used so lately are kept.
LATELY_S = 86_400.0
#: The kernels that have been declared.
_names: list[str] = []


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
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ojp-sizing"
    directory = root / source_hash(kernel_sources())
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            prune(root, directory.name)
        # Its time is that of its last use.
        os.utime(directory)
    except OSError:
        return None
    return directory if os.access(directory, os.W_OK) else None


def prune(root: Path, current: str) -> None:
    """Remove what other states of the sources have left: all but the newest few, and those that weren't used for long.

    One that was used lately stays: other versions may be at work side by side. Nothing else in there is touched.
    """
    others = []
    for entry in os.scandir(root):
        with suppress(FileNotFoundError):  # another process may be at the same
            if _HASH.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False) and entry.name != current:
                others.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
    others.sort(reverse=True)
    now = time.time()
    for position, (used, path) in enumerate(others):
        if now - used > (KEPT_S if position < KEPT else LATELY_S):
            # Whoever works with it after all makes anew what is missing.
            shutil.rmtree(path, ignore_errors=True)


def has_kernels() -> bool:
    """Whether all kernels are on disk already, so that the first run need not compile."""
    directory = cache_directory()
    return directory is not None and all(any(directory.rglob(f"*.{name}-*.nbc")) for name in _names)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the GIL, and keep the result in the cache directory where there is one."""
    _names.append(function.__name__)
    directory = None if CHECKS_BOUNDS else cache_directory()
    if directory is None:
        return njit(nogil=True)(function)  # type: ignore[no-any-return]
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(directory)
    try:
        return njit(nogil=True, cache=True)(function)  # type: ignore[no-any-return]
    finally:
        numba.config.CACHE_DIR = before
