"""Machine code of the lab's plain loops, kept between processes: half a minute less at a start.

numba notices a change in the file of a loop, not in a file that the loop calls into: so what is
kept lies in a folder named by the content of the whole lab, beside the engine's (ORRERY_CACHE, else
~/.cache/orrery). NUMBA_CACHE_DIR names another one.
"""

import importlib
import importlib.util
import os
from pathlib import Path

from blake3 import blake3

LOOPS = (
    "snapshot.digest", "snapshot.buckets", "curves._points", "curves._interpolate",
    "curves._local", "curves._global",
)  # fmt: skip


def keep_loops() -> None:
    """Let numba keep, and find, the loops that people outside the lab call."""
    from numba.core import config

    config.CACHE_DIR = config.CACHE_DIR or str(_folder())
    for name in LOOPS:
        for loop in vars(importlib.import_module(f"orrery_kernels.{name}")).values():
            if hasattr(loop, "enable_caching") and "no_cpython_wrapper" not in loop.targetoptions:
                loop.enable_caching()


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("ORRERY_CACHE", "").split(os.pathsep)[0] or Path(base) / "orrery"
    return Path(cache) / "loops" / _lab_digest()


def _lab_digest() -> str:
    lab = Path(importlib.util.find_spec("orrery_kernels").origin).parent
    hasher = blake3()
    for path in sorted(lab.rglob("*.py")):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]
