"""Does without pandas: pyarrow imports it wherever it is installed, 30 MB and a second."""

import importlib.abc
import sys


class _NoPandas(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("this process does without pandas", name=name)


def without_pandas() -> None:
    """Make `import pandas` fail in this process, and pyarrow take that for absent."""
    sys.meta_path.insert(0, _NoPandas())
