"""Does without packages that others import wherever they are installed: pyarrow takes pandas along
(30 MB and a second), numba takes scipy (7 MB), structlog takes rich (4 MB)."""

import importlib.abc
import sys


class _Without(importlib.abc.MetaPathFinder):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, *_: object) -> None:
        if name in self._names:
            raise ModuleNotFoundError(f"this process does without {name}", name=name)


def without(*names: str) -> None:
    """Make the import of packages fail in this process, so that others take them for absent."""
    sys.meta_path.insert(0, _Without(names))
