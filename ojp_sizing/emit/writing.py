"""Writes a set of files, all of them or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown

_PLACE = "--output"
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
    """The directory, or the nearest one above it that exists, must be one that we may write into."""
    if "\0" in str(directory):
        raise InputError(_PLACE, f"{shown(str(directory))} is not the name of a directory", "choose another directory")
    try:
        for existing in (directory, *directory.parents):
            if existing.is_dir():
                if not os.access(existing, os.W_OK | os.X_OK):
                    raise InputError(_PLACE, f"{shown(str(existing))} is not writable", "choose another directory")
                return
            if os.path.lexists(existing):
                raise InputError(_PLACE, f"{shown(str(existing))} is not a directory", "choose another directory")
    except OSError as error:  # a name that is too long, for one
        raise _error(directory, error) from error


def _planned(path: Path, content: bytes) -> Written:
    if not os.path.lexists(path):
        return Written(path, "created")
    if path.is_symlink() or not path.is_file():
        raise InputError(_PLACE, f"{shown(str(path))} is not a plain file", "move it away or choose another directory")
    size = path.stat().st_size
    same = size == len(content) and size <= _MOST_COMPARED and path.read_bytes() == content
    return Written(path, "unchanged" if same else "replaced")


def _plan(directory: Path, contents: Mapping[str, bytes], force: bool) -> list[Written]:
    for name in contents:
        if Path(name).name != name or name in ("", ".", "..") or "\0" in name:
            raise ValueError(f"{name!r} is not the name of a file")
    check_target(directory)
    plan = [_planned(directory / name, content) for name, content in contents.items()]
    differing = [written.path.name for written in plan if written.change == "replaced"]
    if differing and not force:
        problem = f"{shown(str(directory))} has other contents in {', '.join(differing)}"
        raise InputError(_PLACE, problem, "add --force to replace, or choose another directory")
    return plan


def _replace_all(plan: list[Written], contents: Mapping[str, bytes], staging: Path) -> None:
    """Every file is complete on the disk before the first one moves; what moved is moved back if another can't."""
    fresh, kept = staging / "new", staging / "old"
    fresh.mkdir()
    kept.mkdir()
    for written in plan:
        with (fresh / written.path.name).open("wb") as file:
            file.write(contents[written.path.name])
            file.flush()
            os.fsync(file.fileno())
        if written.change == "replaced":
            shutil.copy2(written.path, kept / written.path.name)
            shutil.copymode(written.path, fresh / written.path.name)
    moved: list[Written] = []
    try:
        for written in plan:
            # Listed first: an interruption between the two leaves a file that the way back can handle.
            moved.append(written)
            (fresh / written.path.name).replace(written.path)
    except BaseException:
        for written in moved:
            if written.change == "replaced":
                (kept / written.path.name).replace(written.path)
            elif not (fresh / written.path.name).exists():
                written.path.unlink(missing_ok=True)
        raise


def write_files(directory: Path, files: Mapping[str, str], force: bool) -> list[Written]:
    """Write ``files`` (name to text) into ``directory``, which is made where it is missing.

    Everything is checked before anything is written. Files that say the same already are left alone; others are
    replaced only with ``force``. Text is written as UTF-8 and ends with a line break.
    """
    contents = {name: (text if text.endswith("\n") else text + "\n").encode() for name, text in files.items()}
    try:
        plan = _plan(directory, contents, force)
        changes = [written for written in plan if written.change != "unchanged"]
        if changes:
            directory.mkdir(parents=True, exist_ok=True)
            # Inside the directory, because a rename is atomic only within one file system.
            with tempfile.TemporaryDirectory(prefix=".ojp-sizing-", dir=directory) as staging:
                _replace_all(changes, contents, Path(staging))
    except OSError as error:
        raise _error(directory, error) from error
    return plan
