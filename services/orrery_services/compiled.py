"""Machine code of the lab's plain loops, kept between processes: half a minute less at a start.

numba notices a change in the file of a loop, not in a file that the loop calls into: so what is
kept lies in a folder named by the content of all of them, beside the engine's (ORRERY_CACHE, else
~/.cache/orrery). NUMBA_CACHE_DIR names another one.
"""

import functools
import importlib
import importlib.util
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

LOOPS = (
    "snapshot.digest", "snapshot.buckets", "curves._points", "curves._interpolate",
    "curves._local", "curves._global",
)  # fmt: skip
LOOPS_HERE = ("protocol.body_loops",)


@functools.cache
def keep_loops() -> None:
    """Let numba keep, and find, the loops that people outside the lab call; once a process."""
    from numba.core import config

    if not config.CACHE_DIR:
        first, *shipped = _folders()
        config.CACHE_DIR = str(first)
        _take(first, shipped)
    named = [f"orrery_kernels.{name}" for name in LOOPS]
    for name in [*named, *(f"orrery_services.{name}" for name in LOOPS_HERE)]:
        for loop in vars(importlib.import_module(name)).values():
            if hasattr(loop, "enable_caching") and "no_cpython_wrapper" not in loop.targetoptions:
                loop.enable_caching()


def _folders() -> list[Path]:
    """Return where loops are kept: the first is written to, an image ships the others."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    named = [part for part in os.environ.get("ORRERY_CACHE", "").split(os.pathsep) if part]
    return [Path(cache) / "loops" / _digest() for cache in named or [Path(base) / "orrery"]]


def _take(folder: Path, shipped: list[Path]) -> None:
    """Begin with a copy of what is shipped: numba reads only from where it may write.

    It appears whole or not at all: processes of one container begin together.
    """
    other = next((one for one in shipped if one.is_dir()), None)
    if other is None or folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copy = shutil.copytree(other, Path(scratch) / "loops")
        with suppress(OSError):  # another process was first: its copy is the same
            copy.rename(folder)


def _digest() -> str:
    lab = Path(importlib.util.find_spec("orrery_kernels").origin).parent
    hasher = blake3()
    for folder in sorted({name.split(".")[0] for name in LOOPS}):
        for path in sorted((lab / folder).glob("*.py")):
            hasher.update(path.read_bytes())
    for name in LOOPS_HERE:
        path = Path(__file__).parent / f"{name.replace('.', '/')}.py"
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]
