"""Memory of a pod of plain processes: a cgroup where one may be made, else what wait4 says.

<pod>/slots/slot-a, <pod>/slots/slot-b, <pod>/memo      so that slots are counted with and without
the memo
"""

import contextlib
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
V1_LIMIT, V1_PEAK, V1_NOW = (
    "memory.limit_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.usage_in_bytes",
)
V2_LIMIT, V2_PEAK, V2_NOW = "memory.max", "memory.peak", "memory.current"
WITHOUT_GROUP = "wait4, per stage"


class Group:
    """The memory cgroup of one pod. Missing files mean missing numbers, never an error."""

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        self.source = f"cgroup v{version}"
        self._limit, self._peak, self._now = (
            (V1_LIMIT, V1_PEAK, V1_NOW) if version == 1 else (V2_LIMIT, V2_PEAK, V2_NOW)
        )

    def _folder(self, container: str) -> Path:
        return (
            self.path / "slots" / container
            if container.startswith("slot-")
            else self.path / container
        )

    def add(self, container: str, pid: int, limit_bytes: int) -> None:
        """Put a process that has not done anything yet into the group of its container."""
        folder = self._folder(container)
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            self.limit(container, limit_bytes)
            (folder / "cgroup.procs").write_text(str(pid))

    def limit(self, container: str, limit_bytes: int) -> None:
        with contextlib.suppress(OSError):
            text = str(limit_bytes) if limit_bytes else ("-1" if self._limit == V1_LIMIT else "max")
            (self._folder(container) / self._limit).write_text(text)

    def peak_bytes(self, part: str = "") -> int:
        """Return the greatest memory so far: of the pod, or of `slots`, `memo`, `slots/slot-a`."""
        return self._read(self.path / part / self._peak)

    def now_bytes(self, part: str = "") -> int:
        return self._read(self.path / part / self._now)

    def _read(self, path: Path) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text())
        return 0

    def remove(self) -> None:
        """Remove the group once its processes are gone."""
        for folder, _, _ in os.walk(self.path, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def make_group(name: str, parent: Path | None = None) -> Group | None:
    """Return a new memory cgroup below our own, None where that is not allowed."""
    found = (parent, 1 if "memory" in parent.parts else 2) if parent else own_group()
    if found is None:
        return None
    above, version = found
    path = above / name
    try:
        path.mkdir(exist_ok=True)
        if version == 1:
            with contextlib.suppress(OSError):  # long since the only way
                (path / "memory.use_hierarchy").write_text("1")
        else:
            (path / "cgroup.subtree_control").write_text("+memory")
        (path / "slots").mkdir(exist_ok=True)
        if version == 2:
            (path / "slots" / "cgroup.subtree_control").write_text("+memory")
        (path / "slots" / (V1_LIMIT if version == 1 else V2_LIMIT)).read_text()
    except OSError:
        Group(path, version).remove()
        return None
    return Group(path, version)


def own_group() -> tuple[Path, int] | None:
    """Return the memory cgroup below which ours can be made, and its version.

    In version 2 a group that holds processes cannot have groups with memory below it, so it is
    the one above.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                return _existing(ROOT / "memory", path), 1
        if (ROOT / "cgroup.controllers").exists():
            path = next(
                line[3:]
                for line in Path("/proc/self/cgroup").read_text().splitlines()
                if line.startswith("0::")
            )
            here = _existing(ROOT, path)
            return (here if here == ROOT else here.parent), 2
    return None


def _existing(root: Path, path: str) -> Path:
    below = root / path.lstrip("/")
    return below if below.is_dir() else root
