"""docker-compose.yml on a real engine of its own, once per run: engine, images, up, down."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS_MAX = 1500
PORTS = (
    "KAFKA",
    "CONNECT",
    "N1_POSTGRES",
    "N2_POSTGRES",
    "N1_TSDB",
    "N2_TSDB",
    "N1_PAGE",
    "N2_PAGE",
)


def shell(line: str, seconds_max: float = SECONDS_MAX, **env: str) -> subprocess.CompletedProcess:
    """Run a line of bash with the engine's address and programs on PATH."""
    command = ["bash", "-c", f'. "{HERE}/env.sh"; cd "$REPO"; {line}']
    return subprocess.run(
        command, env=os.environ | env, capture_output=True, text=True, timeout=seconds_max
    )


@dataclass
class Compose:
    env: dict[str, str]

    def run(self, line: str, seconds_max: float = SECONDS_MAX) -> str:
        done = self.tried(line, seconds_max)
        assert done.returncode == 0, (
            f"docker compose {line}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        )
        return done.stdout

    def tried(self, line: str, seconds_max: float = SECONDS_MAX) -> subprocess.CompletedProcess:
        return shell(f"docker compose {line}", seconds_max, **self.env)

    def orrery(self, words: str, seconds_max: float = 300) -> subprocess.CompletedProcess:
        """Run the command line as a user of Compose does."""
        return self.tried(f"run --rm -T cli {words}", seconds_max)

    def state(self, service: str) -> dict:
        return json.loads(self.run(f"ps -a --format json {service}").splitlines()[0])


def free_ports() -> dict[str, str]:
    found: set[int] = set()
    while len(found) < len(PORTS):
        found.add(free_port())
    return {f"ORRERY_{name}_PORT": str(port) for name, port in zip(PORTS, found, strict=True)}


@contextlib.contextmanager
def engine_up() -> Iterator[None]:
    """The engine with the stand-in images in it, stopped afterwards; one user at a time."""
    if os.geteuid() != 0:
        pytest.skip("an engine of its own needs root")
    if any(shutil.which(tool) is None for tool in ("apt-get", "mvn", "go")):
        pytest.skip("the stand-in images are made with apt-get, mvn and go; not all are on PATH")
    folder = shell("echo $W").stdout.strip()
    with Path(folder, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run on this machine would stop it under us
        try:
            for script in ("engine.sh get", "parts.sh", "engine.sh start", "images.sh"):
                done = shell(f"{HERE}/{script}")
                if done.returncode != 0:
                    pytest.fail(f"{script}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
            yield
        finally:
            shell(f"{HERE}/engine.sh stop")


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    with engine_up():
        yield


@pytest.fixture(scope="session")
def compose(engine: None) -> Iterator[Compose]:
    made = Compose(free_ports() | {"COMPOSE_PROJECT_NAME": f"orrery-test-{os.getpid()}"})
    made.run("build -q n1-secrets")
    try:
        made.run("up -d --wait --wait-timeout 900")
        yield made
    finally:
        made.run("down -v --timeout 30")
