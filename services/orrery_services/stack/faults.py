"""What a person or a test can do to a running stack: kill, pause, stop, wipe, restore.

Whatever is killed is started again by the supervisor; what is stopped stays down until `start`.
"""

import shutil
import signal
import time
from pathlib import Path

import psycopg

from .. import cdc
from . import control, postgres, processes
from .stack import Stack

_BATCH_HEAD_BYTES = 12  # of a batch in a segment: its offset, and how many bytes follow
END_SECONDS_MAX = 30.0


def send(stack: Stack, part: str, number: signal.Signals) -> None:
    control.ask(stack.plan.run, do="signal", part=part, signal=number.name)


def kill(stack: Stack, part: str) -> None:
    """kill -9; the supervisor starts it again."""
    _send_and_see_it_end(stack, part, signal.SIGKILL)


def pause(stack: Stack, part: str) -> None:
    """Stop a process in its tracks (SIGSTOP): it owns what it owned and says nothing."""
    send(stack, part, signal.SIGSTOP)


def resume(stack: Stack, part: str) -> None:
    send(stack, part, signal.SIGCONT)


def stop(stack: Stack, part: str) -> None:
    """Stop in good order and keep it down."""
    control.ask(stack.plan.run, do="stop", part=part)


def start(stack: Stack, part: str) -> None:
    control.ask(stack.plan.run, do="start", part=part)


def stop_postgres_immediate(stack: Stack, node: str) -> None:
    """As a power cut for the database: no checkpoint, recovery at the start that follows."""
    _send_and_see_it_end(stack, f"{node}.postgres", signal.SIGQUIT)


def _send_and_see_it_end(stack: Stack, part: str, number: signal.Signals) -> None:
    process = processes.find((stack.parts() or {})[part]["pid"])
    send(stack, part, number)
    deadline = time.monotonic() + END_SECONDS_MAX
    while process and process.alive() and time.monotonic() < deadline:
        time.sleep(0.02)


def admin(stack: Stack, node: str) -> psycopg.Connection:
    """Return a superuser's connection, to break what no service may."""
    return psycopg.connect(postgres.admin_conninfo(stack.plan, node), autocommit=True)


def drop_slot(stack: Stack, node: str, slot: str = "orrery") -> None:
    """Drop a replication slot under its reader."""
    with admin(stack, node) as connection:
        cdc.drop_slot(connection, slot)


def reset_connector(stack: Stack, node: str, name: str) -> None:
    """Let a connector forget how far it was: everything comes once more."""
    with admin(stack, node) as connection:
        cdc.begin_anew(stack.settings(node), name, connection)


def lose_tail(stack: Stack, topic: str, partition: int) -> None:
    """Let the broker's disk forget the newer half of a partition, as a loss of power may."""
    stop(stack, "kafka")
    for segment in (stack.plan.home / "sky" / "kafka" / f"{topic}-{partition}").glob("*.log"):
        data, ends = segment.read_bytes(), [0]
        while (at := ends[-1] + _BATCH_HEAD_BYTES) <= len(data):
            ends.append(at + int.from_bytes(data[at - 4 : at], "big"))
        with segment.open("r+b") as file:
            file.truncate(ends[len(ends) // 2])
    (stack.plan.home / "sky" / "kafka" / ".kafka_cleanshutdown").unlink(missing_ok=True)
    start(stack, "kafka")


def backup(stack: Stack, node: str, to: Path) -> None:
    """Copy a node's database, stopped in good order for the time of it."""
    with _node_stopped(stack, node):
        shutil.copytree(postgres.data_folder(stack.plan, node), to, symlinks=True)


def restore(stack: Stack, node: str, backup_folder: Path) -> None:
    """Put a node's disk back to a backup, as after an accident: all that came since is gone."""
    with _node_stopped(stack, node):
        _replace(stack, node, backup_folder)


def wipe(stack: Stack, node: str) -> None:
    """Give a node an empty disk."""
    with _node_stopped(stack, node):
        _replace(stack, node, None)


def parts_of(stack: Stack, node: str) -> list[str]:
    return [name for name in stack.parts() or {} if name.startswith(f"{node}.")]


class _node_stopped:
    """Stop every part of a node, services first; start and wait for them again."""

    def __init__(self, stack: Stack, node: str):
        self.stack, self.node = stack, node
        parts = stack.parts() or {}
        self.names = [n for n in parts_of(stack, node) if parts[n]["state"] != "left out"]

    def __enter__(self) -> None:
        for name in reversed(self.names):
            stop(self.stack, name)

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            start(self.stack, name)
        self.stack.wait(self.names)


def _replace(stack: Stack, node: str, source: Path | None) -> None:
    data = postgres.data_folder(stack.plan, node)
    shutil.rmtree(data)
    if source is None:
        return
    shutil.copytree(source, data, symlinks=True)
    data.chmod(0o700)
    user = postgres.run_as()
    if user is not None:
        for path in [data, *data.rglob("*")]:
            shutil.chown(path, user.uid, user.gid)
