"""CPU time of every part of a stack, with the processes it started: what load hardly moves."""

import os
from collections import defaultdict
from pathlib import Path

from orrery_services.stack import Stack

TICKS = os.sysconf("SC_CLK_TCK")
SHOWN_SHARE_MIN = 0.05  # of the sum


class Cpu:
    """Counts from `with` to its end. A part that begins within is counted from its begin."""

    def __init__(self, stack: Stack):
        self._stack, self.seconds = stack, {}

    def __enter__(self) -> "Cpu":
        self._before = _now(self._stack)
        return self

    def __exit__(self, *_: object) -> None:
        for (name, pid), seconds in _now(self._stack).items():
            used = seconds - self._before.get((name, pid), 0.0)
            self.seconds[name] = self.seconds.get(name, 0.0) + used

    def said(self, rows: int) -> str:
        """Return microseconds a row: of all, and of the parts that take most."""
        kinds: dict[str, float] = defaultdict(float)
        for name, seconds in self.seconds.items():
            kinds[name.split(".")[1] if "." in name else name] += seconds * 1e6 / rows
        most = sorted(((us, kind) for kind, us in kinds.items()), reverse=True)
        total = sum(kinds.values())
        named = ", ".join(f"{kind} {us:.1f}" for us, kind in most if us > SHOWN_SHARE_MIN * total)
        return f"{total:.1f} us a row ({named})"


def _now(stack: Stack) -> dict[tuple[str, int], float]:
    """Return seconds by (part, pid): the process and all below it."""
    below: dict[int, list[int]] = defaultdict(list)
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(entry)):
            pid = int(entry.name)
            below[int(fields[1])].append(pid)
            used[pid] = (int(fields[11]) + int(fields[12])) / TICKS
    found = {}
    for name, part in (stack.parts() or {}).items():
        if part["pid"]:
            found[name, part["pid"]] = sum(used.get(pid, 0.0) for pid in _all(part["pid"], below))
    return found


def _all(pid: int, below: dict[int, list[int]]) -> list[int]:
    return [pid, *(each for child in below[pid] for each in _all(child, below))]


def _stat(process: Path) -> list[str]:
    """Return the fields behind the name: state, parent, …; nothing when it has ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
