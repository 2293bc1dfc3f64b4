"""The gate behind which a process of a pod waits until it has been written down.

A byte in the pipe opens it. Where whoever started us died, the pipe ends, and the record decides:
one that stands there begins all the same, because the next controller takes it for begun; one that
does not leaves, because nobody knows of it.
"""
# The runner waits with this module in memory, and pathlib alone is a megabyte.
# ruff: noqa: PTH123

import contextlib
import json
import os
from collections.abc import Mapping


def opens(env: Mapping[str, str]) -> bool:
    """Wait at the gate that an environment names; False when we are to leave.

    ORRERY_GATE_FD is the end of the pipe, ORRERY_GATE_RECORD the file in which we are written down
    under ORRERY_GATE_NAME. Without a gate there is nothing to wait for.
    """
    gate = int(env.get("ORRERY_GATE_FD") or -1)
    if gate < 0:
        return True
    opened = os.read(gate, 1) != b""
    os.close(gate)
    return opened or is_written_down(
        env.get("ORRERY_GATE_RECORD", ""), env.get("ORRERY_GATE_NAME", "")
    )


def is_written_down(path: str, name: str) -> bool:
    """Whether a record says that this very process runs under a name."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        with open(path, "rb") as file:
            hand = json.load(file)["hands"][name]
        me = os.getpid()
        return hand["state"] == "running" and (hand["pid"], hand["born"]) == (me, born(me))
    return False


def born(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when it is gone or a zombie."""
    fields = stat(pid)
    return 0 if not fields or fields[0] in ("Z", "X") else int(fields[19])


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on: a name may hold anything."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()
    return []
