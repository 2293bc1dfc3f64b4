"""The JVM parts, copied once from Maven Central into a cache named by connectors/pom.xml."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ..errors import StackError

SECONDS_MAX = 900


def folder(root: Path) -> Path:
    """Return the cache folder of this pom, whether it is there or not."""
    digest = hashlib.sha256((root / "connectors" / "pom.xml").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "orrery" / f"jars-{digest}"


def ensure(root: Path, tell: Callable[[str], None]) -> Path:
    """Return the folder of jars, fetching them when it is not there. One process at a time."""
    target = folder(root)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            tell("fetching Kafka, Connect and Debezium from Maven Central (60 MB, once)")
            _fetch(root / "connectors" / "pom.xml", target)
    return target


def _fetch(pom: Path, target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            "Maven must be on PATH to fetch the JVM parts of the sky, but there is no `mvn`; "
            "install it (Debian: apt-get install maven) or run everything with `docker compose up`"
        )
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    command = [maven, "-B", "-q", "-f", str(pom), goal, "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={temporary}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX)
        if done.returncode != 0:
            raise StackError(f"mvn must copy {pom}, but said: {(done.stdout + done.stderr)[-600:]}")
        temporary.rename(target)
    except subprocess.TimeoutExpired as cause:
        raise StackError(f"mvn must copy {pom} within {SECONDS_MAX} s, but did not") from cause
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
