"""The numbers of an answer by name: what a series, a table or a comparison shows of it."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orrery_kernels.domino.views import NAME

POINTS_MAX = 1000  # of one answer; a larger one is no series


def points_of(value: Any) -> dict[str, float]:
    """Return the numbers in a value, by their place in it; objects may say `points()` themselves.

    >>> points_of({"A": 1, "B": [2.0, "x"]}), points_of(3.5)
    ({'A': 1.0, 'B/0': 2.0}, {'': 3.5})
    """
    found: dict[str, float] = {}
    _collect(value, "", found)
    return found


def moved(before: Any, after: Any) -> tuple[str, float] | None:
    """Return the number that moved most from one answer to the other, and by how much.

    >>> moved({"A": 1.0, "B": 2.0}, {"A": 1.5, "B": 1.0})
    ('B', -1.0)
    """
    was, now = points_of(before), points_of(after)
    steps = {name: now[name] - was[name] for name in sorted(was.keys() & now.keys())}
    return max(steps.items(), key=lambda item: abs(item[1])) if steps else None


def _collect(value: Any, name: str, found: dict[str, float]) -> None:
    if len(found) >= POINTS_MAX:
        return
    if hasattr(value, "points"):
        value = value.points()
    if isinstance(value, bool | str | bytes | None):
        return
    if isinstance(value, int | float | np.number):
        found[name] = float(value)
        return
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, pa.RecordBatch):
        value = _by_name(value)
    if isinstance(value, list | tuple | np.ndarray):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            _collect(item, f"{name}/{key}" if name else str(key), found)


def _by_name(rows: pa.RecordBatch) -> Any:
    """Return rows by their names, if they have some; of one number each that number."""
    few = rows.slice(0, POINTS_MAX + 1).to_pydict()
    names, columns = few.pop(NAME, None), list(few.values())
    if names is None:
        return few
    if len(columns) == 1:
        return dict(zip(names, columns[0], strict=True))
    cells = zip(*columns, strict=True)
    return {name: dict(zip(few, row, strict=True)) for name, row in zip(names, cells, strict=True)}
