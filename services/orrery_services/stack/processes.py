"""Processes as the kernel shows them: who they are, who listens, who was left behind.

Every child of a stack carries ORRERY_STACK=<home> in its environment, so that what a killed
supervisor left behind is found. A pid alone is no name: it is reused; pid and start time are one.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

MARK = "ORRERY_STACK"
PROC = Path("/proc")


class Process(NamedTuple):
    pid: int
    started: int  # clock ticks since boot

    def alive(self) -> bool:
        """Return whether this very process still runs (a zombie does not)."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.started and found[0] not in "ZX"

    def send(self, number: signal.Signals) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def find(pid: int) -> Process | None:
    found = _stat(pid)
    return Process(pid, found[1]) if found else None


def command_line(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def children_of_stack(home: Path, besides: Iterable[int] = ()) -> list[Process]:
    """Return every live process that a supervisor of `home` started, but for those named."""
    mark = f"{MARK}={home}".encode()
    skip = {os.getpid(), *besides}
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) in skip:
            continue
        try:
            marked = mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        process = find(int(entry.name))
        if marked and process and process.alive():
            found.append(process)
    return found


def end(processes: list[Process], seconds_max: float, first: signal.Signals) -> None:
    """Ask with `first`, wait, then kill what is still there."""
    for process in processes:
        process.send(first)
    deadline = time.monotonic() + seconds_max
    while any(process.alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in processes:
        process.send(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(process.alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def memory_pss_bytes(pid: int) -> int:
    """Return the proportional share of memory, 0 where the kernel does not tell."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in text.splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[0] == "Pss:"), 0)


def listener(port: int) -> str:
    """Return who listens on a port, as well as this user may know."""
    inodes = _listening_inodes(port)
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or not inodes:
            continue
        if any(link in inodes for link in _open_files(entry)):
            return f"pid {entry.name} ({command_line(int(entry.name))[:80]})"
    return "another program" + (" (of another user)" if inodes else "")


def _open_files(process: Path) -> Iterator[str]:
    """Yield what the files of a process are, but for those that are closed while we look."""
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(link.readlink())


def _listening_inodes(port: int) -> set[str]:
    wanted, listen = f":{port:04X}", "0A"
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / table).read_text().splitlines()[1:]:
                words = line.split()
                if words[1].endswith(wanted) and words[3] == listen:
                    inodes.add(f"socket:[{words[9]}]")
    return inodes


def _stat(pid: int) -> tuple[str, int] | None:
    """Return (state, start time) of a process, None where there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    words = text.rsplit(")", 1)[1].split()  # the name before it may hold anything
    return words[0], int(words[19])
