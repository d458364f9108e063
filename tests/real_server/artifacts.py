"""Jars and programs: fetched by Maven, whose settings know from where, checked, and kept out of the repository."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

from ojp_sizing.deployment.deployment import DEFAULT_VERSION
from ojp_sizing.errors import InputError

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".tools" / "real_server"
LIMIT_S = 300

#: Coordinate -> SHA-256. None: never seen, so that only the checksum published beside it is checked (Maven, strict).
PINS: dict[str, str | None] = {
    "org.openjproxy:ojp-server:0.3.1-beta:jar:shaded": None,
    "org.openjproxy:ojp-jdbc-driver:0.3.1-beta": "977a8bc75f22fd628dc55b6cebf49d8c89ad7e8fa0747c708721d758ad4ceee8",
    "com.zaxxer:HikariCP:6.2.1": "c659a083727ce9590277357b8c3f63fbae67207bb04beabc964c8f4f15307dbc",
    "org.postgresql:postgresql:42.7.8": "2a32a9dcbc42d67a50ad3a0de5efd102c8d2be46720045f2cbd6689f160ab7c7",
    "org.slf4j:slf4j-api:2.0.17": "7b751d952061954d5abfed7181c1f645d336091b679891591d63329c622eb832",
    "org.slf4j:slf4j-simple:2.0.17": "ddfea59ac074c6d3e24ac2c38622d2d963895e17f70b38ed4bdae4d780be6964",
}
SERVER, DRIVER, HIKARI, POSTGRESQL, SLF4J, SLF4J_SIMPLE = PINS
#: What the load generator is compiled against and runs with. Where OJP's driver comes before them it brings its own.
LIBRARIES = (HIKARI, POSTGRESQL, SLF4J, SLF4J_SIMPLE)


def jar(coordinate: str, cache: Path = CACHE) -> Path:
    """The jar of a coordinate ``group:artifact:version[:jar:classifier]``, fetched once and checked at every use."""
    _, artifact, version, *rest = coordinate.split(":")
    path = cache / ("-".join([artifact, version, *rest[1:]]) + ".jar")
    if not path.exists():
        _fetch(coordinate, cache)
    pin, found = PINS[coordinate], hashlib.sha256(path.read_bytes()).hexdigest()
    if pin is not None and found != pin:
        raise InputError(path.name, f"its SHA-256 is {found}, not {pin}", "delete it and run again")
    return path


def server_jar(version: str = DEFAULT_VERSION, cache: Path = CACHE) -> Path:
    """The server: the file that OJP_SERVER_JAR names, where it is set, else the published jar, which only 0.3.1 has."""
    if version == DEFAULT_VERSION and "OJP_SERVER_JAR" not in os.environ:
        return jar(SERVER, cache)
    return _named("OJP_SERVER_JAR", "ojp-server", version)


def driver_jar(version: str = DEFAULT_VERSION, cache: Path = CACHE) -> Path:
    """The clients' driver with all that it needs: 0.3.1's is published, of any other OJP_DRIVER_JAR names the file."""
    return jar(DRIVER, cache) if version == DEFAULT_VERSION else _named("OJP_DRIVER_JAR", "ojp-jdbc-driver", version)


def server_origin(version: str = DEFAULT_VERSION) -> str:
    """What a record says of the server's jar. OJP_SERVER_ORIGIN tells where a named one is from."""
    if version == DEFAULT_VERSION and "OJP_SERVER_JAR" not in os.environ:
        return f"{SERVER}, as published"
    return f"{_origin()}; SHA-256 {_checksum(server_jar(version))}"


def driver_origin(version: str = DEFAULT_VERSION) -> str:
    """What a record says of the driver's jar; a named one is from where the server is."""
    return DRIVER if version == DEFAULT_VERSION else f"{_origin()}; SHA-256 {_checksum(driver_jar(version))}"


def _origin() -> str:
    origin = os.environ.get("OJP_SERVER_ORIGIN")
    if not origin:
        raise InputError("OJP_SERVER_ORIGIN", "missing beside OJP_SERVER_JAR", "say what the jar was built from")
    return origin


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _named(variable: str, artifact: str, version: str) -> Path:
    """The jar that the environment names. It must hold this artifact of OJP in this version."""
    path = Path(os.environ.get(variable, ""))
    if not path.is_file():
        raise InputError(variable, "there is no such file", f"name the jar of {artifact} {version}, or unset it")
    with ZipFile(path) as archive:
        told = archive.read(f"META-INF/maven/org.openjproxy/{artifact}/pom.properties").decode().splitlines()
    if f"version={version}" not in told:
        found = next((line.partition("=")[2] for line in told if line.startswith("version=")), "unknown")
        raise InputError(variable, f"it is {artifact} {found}", f"name the jar of {artifact} {version}")
    return path.resolve()


def _fetch(coordinate: str, cache: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise InputError("mvn", "Maven is missing", "apt-get install maven")
    cache.mkdir(parents=True, exist_ok=True)
    command = [maven, "-B", "-C", "dependency:copy", f"-Dartifact={coordinate}", f"-DoutputDirectory={cache}"]
    result = subprocess.run(
        [*command, "-Dmdep.useBaseVersion=true"],
        cwd=cache, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    if result.returncode:
        found = re.search(r"(Could not find artifact|Failure to find|.* was not found)", result.stdout)
        problem = "Maven's repositories don't have it" if found else "Maven couldn't fetch it"
        raise InputError(coordinate, problem, f"see mvn dependency:get -Dartifact={coordinate}")


def java_home(at_least: int) -> Path:
    """A JDK of this version or later: JAVA_HOME, then the newest of the machine's usual places."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*"), key=_java_version, reverse=True)
    for home in homes:
        if (home / "bin" / "java").exists() and _java_version(home) >= at_least:
            return home
    raise InputError("java", f"no JDK of version {at_least} or later", "install one, or set JAVA_HOME")


def _java_version(home: Path) -> int:
    release = home / "release"
    found = re.search(r'JAVA_VERSION="(\d+)', release.read_text()) if release.exists() else None
    return int(found[1]) if found else 0


def compiled(room: Path) -> Path:
    """The class directory of the load generators and of the warm-up that docs/restarts.md shows, compiled into ``room``."""
    classes = room / "classes"
    classes.mkdir()
    path = os.pathsep.join(str(jar(library)) for library in (*LIBRARIES, DRIVER))
    sources = [*Path(__file__).parent.glob("java/*.java"), ROOT / "data" / "warm-up" / "WarmUp.java"]
    subprocess.run([java_home(17) / "bin" / "javac", "-d", classes, "-cp", path, *sources], check=True, timeout=LIMIT_S)
    return classes
