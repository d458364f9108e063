"""Writes a set of files, all of them or none.

What is new is complete on the disk, in a hidden directory beside, before any of it moves into its place, and so is a way
back. A run that is killed amid the moves leaves that, and the next one goes it (``check_target``, ``write_files``). Files are
not swapped with their whole directory: it may be a mount or somebody's working directory, and has other files.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PLACE = "--output"
_UNFINISHED = ".ojp-sizing-unfinished-"
#: Writing takes milliseconds, so that whoever else writes into the same directory is waited for.
_PATIENCE_S = 5.0
#: A target that is larger can't be one of ours, so it isn't read for comparison.
_MOST_COMPARED = 2**24


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one file."""

    path: Path
    change: Literal["created", "replaced", "unchanged"]


def _error(directory: Path, error: OSError) -> InputError:
    problem = f"{shown(str(directory))} can't be written: {error.strerror or error}"
    return InputError(_PLACE, problem, "choose another directory")


def check_target(directory: Path) -> None:
    """The directory, or the nearest one above it that exists, must be one that we may write into.

    Where a run was killed while it wrote there, the files that were there before are put back.
    """
    if "\0" in str(directory):
        raise InputError(_PLACE, f"{shown(str(directory))} is not the name of a directory", "choose another directory")
    try:
        # A name that is too long, for one, is no directory that could be made.
        with suppress(FileNotFoundError, NotADirectoryError):
            directory.lstat()
        _check_writable(directory)
        with _alone(directory):
            pass
    except OSError as error:
        raise _error(directory, error) from error


def _check_writable(directory: Path) -> None:
    existing = _nearest(directory)
    if not existing.is_dir():
        raise InputError(_PLACE, f"{shown(str(existing))} is not a directory", "choose another directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(_PLACE, f"{shown(str(existing))} is not writable", "choose another directory")


def _nearest(directory: Path) -> Path:
    """The directory, or the nearest path above it that exists."""
    return next(path for path in (directory, *directory.parents) if os.path.lexists(path))


@contextmanager
def _alone(directory: Path) -> Iterator[Path]:
    """No other run writes into the directory, or where it will be made: its nearest one that exists, which is yielded."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        base = _nearest(directory)
        opened = os.open(base, os.O_RDONLY) if fcntl else -1
        try:
            if _lock(opened, give_up, base):
                for staging in base.glob(f"{_UNFINISHED}*"):
                    _undo(staging, base)
            # Another run may have made the directory meanwhile.
            if _nearest(directory) == base:
                yield base
                return
        finally:
            if fcntl:
                os.close(opened)


def _lock(opened: int, give_up: float, base: Path) -> bool:
    """Whether it is locked: there are file systems that have no locks. Raises InputError where another run doesn't end."""
    while fcntl:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                problem = f"another run writes into {shown(str(base))}"
                raise InputError(_PLACE, problem, "wait for its end, or choose another directory") from None
            time.sleep(0.02)
        except OSError:
            break
        else:
            return True
    return False


#: Stands for the "/" of a name while the file waits in a flat directory.
_BELOW = "%"


def _inside(directory: Path, path: Path) -> str:
    """The name by which a file was given."""
    return path.relative_to(directory).as_posix()


def _flat(directory: Path, path: Path) -> str:
    return _inside(directory, path).replace("/", _BELOW)


def _planned(path: Path, content: bytes, directory: Path) -> Written:
    for parent in path.relative_to(directory).parents:
        folder = directory / parent
        if parent.name and os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
            problem = f"{shown(str(folder))} is not a plain directory"
            raise InputError(_PLACE, problem, "move it away or choose another directory")
    if not os.path.lexists(path):
        return Written(path, "created")
    if path.is_symlink() or not path.is_file():
        raise InputError(_PLACE, f"{shown(str(path))} is not a plain file", "move it away or choose another directory")
    size = path.stat().st_size
    same = size == len(content) and size <= _MOST_COMPARED and path.read_bytes() == content
    return Written(path, "unchanged" if same else "replaced")


def _plan(directory: Path, contents: Mapping[str, bytes], force: bool) -> list[Written]:
    plan = [_planned(directory / name, content, directory) for name, content in contents.items()]
    differing = [_inside(directory, written.path) for written in plan if written.change == "replaced"]
    if differing and not force:
        problem = f"{shown(str(directory))} has other contents in {', '.join(differing)}"
        raise InputError(_PLACE, problem, "add --force to replace, or choose another directory")
    return plan


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    """Names are on the disk too, where the system does that for directories."""
    with suppress(OSError):
        opened = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _make_directory(base: Path, directory: Path, contents: Mapping[str, bytes], staging: Path) -> None:
    """With all of its files, and those above it, in one rename."""
    inner = directory.relative_to(base)
    if ".." in inner.parts:
        raise InputError(_PLACE, f"{shown(str(directory))} leads through what doesn't exist", "write it without ..")
    fresh = staging.joinpath(*inner.parts[1:])
    fresh.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        _write(fresh / name, content)
        _sync((fresh / name).parent)
    _sync(fresh)
    staging.rename(base / inner.parts[0])
    _sync(base)


def _replace_all(plan: list[Written], contents: Mapping[str, bytes], directory: Path, staging: Path) -> None:
    """``new`` has every file, then ``old`` too: what will be replaced, or a directory for what wasn't there."""
    fresh, kept = staging / "new", staging / "old"
    names = {written.path: _flat(directory, written.path) for written in plan}
    fresh.mkdir()
    for written in plan:
        _write(fresh / names[written.path], contents[_inside(directory, written.path)])
        if written.change == "replaced":
            shutil.copymode(written.path, fresh / names[written.path])
    kept.mkdir()
    for written in plan:
        if written.change == "replaced":
            _keep(written.path, kept / names[written.path])
        else:
            (kept / names[written.path]).mkdir()
    for changed in (fresh, kept, staging, directory):
        _sync(changed)
    for written in plan:
        written.path.parent.mkdir(parents=True, exist_ok=True)
        (fresh / names[written.path]).replace(written.path)
    for folder in {directory, *(written.path.parent for written in plan)}:
        _sync(folder)
    # The instant from which on the new ones stand.
    kept.rename(staging / "done")


def _keep(path: Path, copy: Path) -> None:
    try:
        os.link(path, copy)
    except OSError:  # a file system without links
        shutil.copy2(path, copy)


def _undo(staging: Path, directory: Path) -> None:
    """Put back what was there before the moves, as far as nobody has edited it since, and remove the rest.

    It may be killed too: what has been put back is neither in ``new`` nor in ``old``.
    """
    kept = staging / "old"
    if kept.is_dir():
        began_ns = kept.stat().st_mtime_ns
        for old in list(kept.iterdir()):
            path = directory / old.name.replace(_BELOW, "/")
            has_moved = not os.path.lexists(staging / "new" / old.name)
            if has_moved and not (os.path.lexists(path) and path.lstat().st_mtime_ns > began_ns):
                if old.is_dir():
                    path.unlink(missing_ok=True)
                else:
                    old.replace(path)
            for folder in path.relative_to(directory).parents:
                if folder.name:  # made for a file that isn't there any more
                    with suppress(OSError):
                        (directory / folder).rmdir()
        kept.rename(staging / "done")
    shutil.rmtree(staging)


def write_files(directory: Path, files: Mapping[str, str], force: bool) -> list[Written]:
    """Write ``files`` (name, with "/" where it lies below, to text) into ``directory``, which is made where it is missing.

    Everything is checked before anything is written. Files that say the same already are left alone; others are
    replaced only with ``force``. Text is written as UTF-8 and ends with a line break.
    """
    contents = {name: (text if text.endswith("\n") else text + "\n").encode() for name, text in files.items()}
    for name in contents:
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or any(c in name for c in ("\0", "\\", _BELOW)):
            raise ValueError(f"{name!r} is not the name of a file")
    _check_writable(directory)
    try:
        with _alone(directory) as base:
            plan = _plan(directory, contents, force)
            changes = [written for written in plan if written.change != "unchanged"]
            if changes:
                # Beside the files, because a rename is atomic only within one file system.
                staging = base / f"{_UNFINISHED}{secrets.token_hex(4)}"
                staging.mkdir()
                try:
                    if base == directory:
                        _replace_all(changes, contents, directory, staging)
                    else:
                        _make_directory(base, directory, contents, staging)
                except BaseException:
                    _undo(staging, base)
                    raise
                shutil.rmtree(staging, ignore_errors=True)
            return plan
    except OSError as error:
        raise _error(directory, error) from error
