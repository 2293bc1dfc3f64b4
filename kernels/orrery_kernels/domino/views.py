"""What a domino is given: values that cannot be changed, and that remember being read."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import pyarrow as pa

from orrery_kernels.errors import DominoError

NAME = "name"  # the first column of Rows, and of what is made of them


class Rows(pa.RecordBatch):
    """What an input is annotated with that is all leaves of a pattern as one record batch, `name`
    and the columns that the annotation declares: see by_row.py."""


class Leaves(Mapping[str, Any]):
    """The leaves that a pattern means, by name; a value is read when it is asked for.

    `reads` holds the names whose values were asked for, `listed` is True once the names were;
    `section` is that of all of them, None when the pattern spans several and names are paths.
    """

    def __init__(
        self,
        where: str,
        names: list[str],
        value_of: Callable[[str], Any],
        section: str | None = None,
    ) -> None:
        self._where = where
        self.section = section
        self._names = names
        self._value_of = value_of
        self._values: dict[str, Any] = {}
        self._known = dict.fromkeys(names)
        self.reads: dict[str, bool] = {}  # name -> whether it is there
        self.listed = False

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self.reads[name] = name in self._known
            if name not in self._known:
                raise KeyError(
                    f"{name!r} is not among the {len(self._names)} leaves of {self._where}"
                )
            self._values[name] = freeze(self._value_of(name))
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        self.reads.setdefault(str(name), name in self._known)
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        self.listed = True
        return iter(self._names)

    def __len__(self) -> int:
        self.listed = True
        return len(self._names)


class FrozenDict(dict):
    """A dict that refuses to be changed."""

    def _refuse(self, *args: Any, **named: Any) -> NoReturn:
        raise DominoError("a domino must not change its input: copy the dict first (dict(x))")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class FrozenList(list):
    """A list that refuses to be changed."""

    def _refuse(self, *args: Any, **named: Any) -> NoReturn:
        raise DominoError("a domino must not change its input: copy the list first (list(x))")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse


def freeze(value: Any) -> Any:
    """Return the value with every dict and list in it made unchangeable.

    Arrays that were read from bytes cannot be written to anyway; objects are compared with their
    bytes after the run.
    """
    if isinstance(value, dict):
        return FrozenDict((key, freeze(item)) for key, item in value.items())
    if isinstance(value, list):
        return FrozenList(map(freeze, value))
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(freeze, value))
    return value
