"""The commands that put the files to work, for a POSIX shell."""

from __future__ import annotations

import shlex
from pathlib import Path

from ojp_sizing.emit.kustomize import IMAGE_FOLDER, PLUGIN_NAME, PLUGINS_FOLDER, SCRIPT_FILE, VALUES_FILE
from ojp_sizing.emit.release import CHART_NAME, CHART_REPOSITORY, CHART_VERSION, Release


def _inside(directory: Path, name: str) -> str:
    # A relative directory whose name begins with "-" must not be taken for an option.
    folder = f"./{directory}" if str(directory).startswith("-") else str(directory)
    return f"{folder.rstrip('/')}/{name}"


def first_commands(release: Release, directory: Path) -> str:
    """What must be there before the first pod starts, once: nothing where the release has no warm-up."""
    if not release.warm_up:
        return ""
    quote = shlex.quote
    return "\n".join(
        (
            f"docker build -t {quote(release.warm_up.image)} {quote(_inside(directory, IMAGE_FOLDER))} && \\",
            f"docker push {quote(release.warm_up.image)}",
            f"kubectl create namespace {quote(release.namespace)}",
            f"kubectl create secret generic {quote(release.secret_name)} --namespace {quote(release.namespace)} \\",
            '    --from-literal=OJP_USER="$OJP_USER" --from-literal=OJP_PASSWORD="$OJP_PASSWORD"',
        )
    )


def helm_command(release: Release, directory: Path, helm: int = 3) -> str:
    """The one command by which Helm 3 or Helm 4 installs or upgrades the release from the files in ``directory``."""
    quote = shlex.quote
    if helm == 3:
        before, renderer = "", f"sh --post-renderer-args {quote(_inside(directory, SCRIPT_FILE))}"
    else:
        plugins = quote(_inside(directory, PLUGINS_FOLDER))
        before, renderer = f'HELM_PLUGINS="$(helm env HELM_PLUGINS):"{plugins} \\\n', PLUGIN_NAME
    return "\n".join(
        (
            f"{before}helm upgrade --install {quote(release.name)} {CHART_NAME} --version {CHART_VERSION} \\",
            f"    --repo {quote(CHART_REPOSITORY)} \\",
            f"    --namespace {quote(release.namespace)} --create-namespace \\",
            f"    --values {quote(_inside(directory, VALUES_FILE))} --post-renderer {renderer}",
        )
    )


def commands(release: Release, directory: Path) -> dict[str, str]:
    """Every command by what it is for."""
    first = first_commands(release, directory)
    return {
        **({"Before the first time": first} if first else {}),
        "Apply, with Helm 3": helm_command(release, directory, 3),
        "Apply, with Helm 4": helm_command(release, directory, 4),
    }
