"""No root is needed: the same code brings everything up as an ordinary user and takes it down."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from orrery_services.config import find_root
from orrery_services.stack import jars, processes
from orrery_services.stack.part import User
from orrery_services.stack.postgres import reachable

from tests.system.conftest import claim_ports

pytestmark = pytest.mark.real
USER = "nobody"
PYTHON = Path("/usr/bin/python3")
SECONDS_MAX = 600
UP = """
import sys
from pathlib import Path
from orrery_services.stack import Stack, make_plan
stack = Stack(make_plan(Path(sys.argv[1]), ("n1",), int(sys.argv[2]), services=(), demo=False))
print(stack.up(print))
"""
DOWN = """
import sys
from pathlib import Path
from orrery_services.stack import Stack
print(Stack.of(Path(sys.argv[1])).down(print))
"""


def why_not() -> str | None:
    if os.geteuid() != 0:
        return "this run is that of an ordinary user itself"
    if not shutil.which("runuser"):
        return "there is no runuser to become an ordinary user"
    minor = [str(PYTHON), "-c", "import sys; print(*sys.version_info[:2])"]
    if subprocess.run(minor, capture_output=True, text=True).stdout.split() != [
        str(part) for part in sys.version_info[:2]
    ]:
        return f"{PYTHON} is of another version than the environment's Python"
    if not reachable(Path(importlib.util.find_spec("psycopg").origin).parent, whoever()):
        return "the environment lies where an ordinary user may not go"
    return None


def whoever() -> User:
    found = pwd.getpwnam(USER)
    return User(found.pw_uid, found.pw_gid)


def as_user(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python as the ordinary user with an empty environment and a home of its own."""
    site = Path(importlib.util.find_spec("psycopg").origin).parents[1]
    root = find_root()
    env = {
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{site}:{root / 'services'}:{root / 'kernels'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = [f"{name}={value}" for name, value in env.items()]
    command = ["runuser", "-u", USER, "--", "env", "-i", *words, str(PYTHON), "-c", code]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=SECONDS_MAX, cwd="/"
    )


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
def test_an_ordinary_user_brings_everything_up_and_takes_it_down(short_tmp):
    folder = short_tmp / "ordinary"
    cache = folder / ".cache" / "orrery"
    cache.mkdir(parents=True)
    fetched = jars.ensure(find_root(), print)
    shutil.copytree(fetched, cache / fetched.name)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, *whoever())
    home = folder / "home"

    base, claim = claim_ports(("n1",))
    up = as_user(UP, folder, str(home), str(base))
    running = processes.children_of_stack(home)
    owners = {Path(f"/proc/{process.pid}").stat().st_uid for process in running}
    down = as_user(DOWN, folder, str(home))
    claim.close()

    assert up.stdout.endswith("True\n"), up.stdout + up.stderr
    assert owners == {whoever().uid}
    assert down.stdout.endswith("True\n"), down.stdout + down.stderr
    assert processes.children_of_stack(home) == []
