"""Places where a test has a process killed. Nothing happens unless ORRERY_TEST_FAILPOINTS says so.

It names a folder. A test arms a place by making the file <folder>/<node>.<service>.<place> there;
whoever gets there next renames it, so that the test can count, and dies as by kill -9.
"""

import os
import signal
from pathlib import Path

FOLDER = "ORRERY_TEST_FAILPOINTS"
FIRED = ".fired"
_armed_in: Path | None = None
_who = ""


def set_up(node: str, service: str) -> None:
    global _armed_in, _who
    folder = os.environ.get(FOLDER)
    _armed_in, _who = Path(folder) if folder else None, f"{node}.{service}"


def reach(place: str) -> None:
    """Be at a place of the code, of which a test may want to see what comes after a kill there."""
    if _armed_in is None:
        return
    file = _armed_in / f"{_who}.{place}"
    try:
        file.rename(file.with_name(file.name + FIRED))
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
