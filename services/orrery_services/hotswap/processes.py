"""Containers that are plain processes: the runner of a slot in a session of its own, and the memo.

An image is `command:<stage>:<argv as JSON>`; without argv it is the placeholder. A process starts
behind a gate that opens once it has been written down (see gate): nobody is forgotten.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..gate import born, stat
from ..protocol import stages
from . import memory

PLACEHOLDER = "command:0:[]"
MEMO = "memo"
RECORD = "pod.json"  # in the folder of a pod: what is written down of it
LOG_BYTES_MAX = 8 << 20

Hand = dict[str, Any]  # what is written down of a container; JSON


class Launch(NamedTuple):
    """What is to be started."""

    pod: str
    uid: str
    container: str
    number: int  # the how-manieth start of this container
    image: str
    env: dict[str, str]
    folder: Path
    memory_bytes: int


class Processes:
    """Starts, looks after and ends plain processes. After a restart it finds them again by pid."""

    name = "process"
    placeholder = PLACEHOLDER
    memo = MEMO

    def __init__(self, cgroups: bool = True) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._prepared: dict[tuple[str, str], tuple[Launch, Hand, int]] = {}
        self._groups: dict[str, memory.Group | None] = {}
        self._cgroups = cgroups

    def has(self, image: str) -> bool:
        """Whether an image can be started here."""
        if image == MEMO:
            return True
        argv = command_of(image)
        return argv is not None and (not argv or shutil.which(argv[0]) is not None)

    def prepare(self, launch: Launch) -> None:
        """Have a process wait behind its gate by the time it is to start."""
        place = launch.uid, launch.container
        if place in self._prepared and self._prepared[place][0] == launch:
            return
        self._dismiss(place)
        self._prepared[place] = (launch, *self._wait_at_gate(launch))

    def _dismiss(self, place: tuple[str, str]) -> None:
        """Shut the gate of one that was prepared: it leaves."""
        if place in self._prepared:
            _, hand, write = self._prepared.pop(place)
            os.close(write)
            self._children[hand["pid"]].kill()  # it has done nothing yet
            self.leave(hand)

    def start(self, launch: Launch) -> tuple[Hand, Callable[[], None]]:
        """Return a container that waits, and what opens its gate."""
        self.prepare(launch)
        place = launch.uid, launch.container
        _, hand, write = self._prepared[place]
        Path(hand["said"]).unlink(missing_ok=True)

        def open_gate() -> None:
            del self._prepared[place]  # until now: who cannot write it down finds it the next time
            with contextlib.suppress(BrokenPipeError):
                os.write(write, b"1")
            os.close(write)

        return hand, open_gate

    def _wait_at_gate(self, launch: Launch) -> tuple[Hand, int]:
        read, write = os.pipe()
        said = launch.folder / f"{launch.container}.ended"
        env = {
            **os.environ,
            **launch.env,
            "ORRERY_GATE_FD": str(read),
            "ORRERY_GATE_RECORD": str(launch.folder / RECORD),
            "ORRERY_GATE_NAME": launch.container,
            "ORRERY_TERMINATION_LOG": str(said),
        }
        try:
            with open_log(launch.folder / f"{launch.container}.log") as log:
                child = subprocess.Popen(
                    argv_of(launch.image),
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(read,),
                    start_new_session=True,
                    cwd=launch.folder,
                )
        except OSError:
            os.close(write)
            raise
        finally:
            os.close(read)
        self._children[child.pid] = child
        if group := self._group(launch.uid):
            group.add(launch.container, child.pid, launch.memory_bytes)
        hand = {"pid": child.pid, "born": born(child.pid), "boot": boot_id(), "said": str(said)}
        return hand, write

    def leave(self, hand: Hand) -> None:
        """Do not wait for a container that is on its way out; it is buried later."""
        if child := self._children.pop(hand["pid"], None):
            self._leaving.append(child)
        self._leaving = [child for child in self._leaving if child.poll() is None]

    def _group(self, uid: str) -> memory.Group | None:
        if uid not in self._groups:
            made = memory.make_group(f"orrery-{uid[:12]}") if self._cgroups else None
            self._groups[uid] = made
        return self._groups[uid]

    def poll(self, hand: Hand) -> int | None:
        """Return the exit code, None while it runs."""
        child = self._children.get(hand["pid"])
        if child is not None:
            code = child.poll()
            if code is None:
                return None
            del self._children[hand["pid"]]
            code = code if code >= 0 else 128 - code
        elif is_alive(hand):
            return None
        else:
            code = self._said(hand).get("exit", stages.KILLED)
        if code:
            end_session(hand)
        return code

    def end(self, hand: Hand, hard: bool = False) -> None:
        """Ask a container to end, or end it."""
        if hard:
            end_session(hand)
        if is_alive(hand):
            with contextlib.suppress(ProcessLookupError):
                os.kill(hand["pid"], signal.SIGKILL if hard else signal.SIGTERM)

    def message(self, hand: Hand) -> str:
        return self._said(hand).get("why", "")

    def _said(self, hand: Hand) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            return json.loads(Path(hand["said"]).read_text())
        return {}

    def resize(self, uid: str, container: str, memory_bytes: int) -> None:
        if group := self._group(uid):
            group.limit(container, memory_bytes)

    def measure(self, uid: str) -> dict[str, Any]:
        """Return the peak of the pod, with and without its memo, and who counted."""
        group = self._group(uid)
        if group is None:
            return {"source": memory.WITHOUT_GROUP}
        return {
            "source": group.source,
            "peak_bytes": group.peak_bytes(),
            "slots_peak_bytes": group.peak_bytes("slots"),
        }

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for place in [each for each in self._prepared if each[0] == uid]:
            self._dismiss(place)
        group = self._group(uid)  # one that was made before this controller began goes as well
        del self._groups[uid]
        if group:
            group.remove()


def command_of(image: str) -> list[str] | None:
    """Return the command that an image stands for, None when it is none.

    >>> command_of('command:2:["sh","-c","true"]'), command_of("registry/x@sha256:ab")
    (['sh', '-c', 'true'], None)
    """
    kind, _, rest = image.partition(":")
    number, _, text = rest.partition(":")
    if kind != "command" or not number.isdigit():
        return None
    with contextlib.suppress(ValueError):
        argv = json.loads(text)
        if isinstance(argv, list) and all(isinstance(part, str) for part in argv):
            return argv
    return None


def argv_of(image: str) -> list[str]:
    if image == MEMO:
        return [sys.executable, "-m", "orrery_services.memo"]
    return [
        sys.executable,
        "-m",
        "orrery_services.hotswap.runner",
        "--",
        *(command_of(image) or []),
    ]


def open_log(path: Path) -> Any:
    """Open the log of a container for appending; a long one is begun anew."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES_MAX:
            path.unlink()
    return path.open("ab")


def boot_id() -> str:
    """Return what names this life of the machine: pids and ticks begin anew with each."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def is_alive(hand: Hand) -> bool:
    return 0 != hand["born"] == born(hand["pid"]) and hand.get("boot", boot_id()) == boot_id()


def end_session(hand: Hand) -> None:
    """Kill what a runner that was killed hard left behind, wherever in its session.

    A number is not given again while somebody is left in the session of that number: when another
    process has it, or the machine was started anew, whoever is there is none of ours.
    """
    leader = hand["pid"]
    if hand.get("boot", boot_id()) != boot_id() or born(leader) not in (0, hand["born"]):
        return
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != leader:
            fields = stat(int(path.name))
            if fields and int(fields[3]) == leader and fields[0] != "Z":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(path.name), signal.SIGKILL)
