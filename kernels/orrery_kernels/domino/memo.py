"""What has been computed before: key -> digest of the answer, digest -> bytes of the answer.

A key is the digest of everything the answer depends on: the code of the domino and of all it calls,
its parameters, where it reads and what it read, the versions that decide the bits. Equal keys,
equal bytes: two digests under one key mean that something was not deterministic.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from orrery_kernels.domino.chain import Task
from orrery_kernels.domino.market import Market
from orrery_kernels.domino.views import Leaves
from orrery_kernels.errors import DominoError
from orrery_kernels.snapshot.canonical import encode, value_digest
from orrery_kernels.snapshot.digest import digest

# For each input: the names whose leaves were read, or None for all of it.
ReadSet = tuple[tuple[str, ...] | None, ...]


_key = lru_cache(maxsize=1 << 14)(digest)  # the same keys are asked for at every snapshot


class Row(NamedTuple):
    """One line of the memo. coarse: digest of the answer rounded, where a tolerance is declared."""

    output: bytes
    coarse: bytes | None = None


class LostBody(DominoError):
    """The bytes of an answer are not here, or not what their name says; `output` is the name."""

    def __init__(self, output: bytes, why: str) -> None:
        super().__init__(f"the bytes {output.hex()[:12]} {why}")
        self.output = output


Lookup = Callable[[bytes], Row | None]


class Store(Protocol):
    """What a run needs to know of the memo; a service puts its own behind it."""

    def find(self, key: bytes) -> Row | None: ...
    def keep(self, key: bytes, row: Row, body: bytes) -> None: ...
    def keep_near(self, key: bytes, row: Row) -> None: ...
    def claim(self, key: bytes) -> Row | None: ...
    def body(self, output: bytes) -> bytes: ...
    def repair(self, output: bytes, body: bytes) -> None: ...
    def read_sets(self, fixed: bytes) -> Sequence[ReadSet]: ...
    def keep_read_set(self, fixed: bytes, read_set: ReadSet) -> None: ...


class Memo:
    """A memo in memory.

    What was found within a tolerance is remembered apart: it stops a wave here, and is never an
    answer for others, because they may have seen other inputs within the tolerance.
    """

    READ_SETS_MAX = 8  # per domino in its place; the oldest is forgotten
    NEAR_MAX = 4096

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.bodies: dict[bytes, bytes] = {}
        self._near: dict[bytes, Row] = {}
        self._read_sets: dict[bytes, dict[ReadSet, None]] = {}

    def find(self, key: bytes) -> Row | None:
        return self.rows.get(key) or self._near.get(key)

    def body(self, output: bytes) -> bytes:
        """Return the bytes of an answer. Raises LostBody when they are not here."""
        try:
            return self.bodies[output]
        except KeyError:
            raise LostBody(output, "are not in the memo") from None

    def repair(self, output: bytes, body: bytes) -> None:
        """Take bytes that were computed again in the place of lost ones."""
        self.bodies[output] = body

    def claim(self, key: bytes) -> Row | None:
        """Return the answer somebody else was just computing; None: it is the caller's to do."""
        return None

    def keep_near(self, key: bytes, row: Row) -> None:
        """Remember the answer for inputs that are equal within their tolerance."""
        self._near.setdefault(key, row)
        if len(self._near) > self.NEAR_MAX:
            del self._near[next(iter(self._near))]

    def keep(self, key: bytes, row: Row, body: bytes) -> None:
        """Remember an answer. Raises DominoError when another one is held under the key."""
        held = self.rows.setdefault(key, row)
        if held.output != row.output:
            raise DominoError(
                f"DIVERGED: one memo key must have one answer, {key.hex()[:12]} has "
                f"{held.output.hex()[:12]} and {row.output.hex()[:12]}: quarantine both and run "
                f"replay --verify"
            )
        self.bodies.setdefault(row.output, body)

    def read_sets(self, fixed: bytes) -> Sequence[ReadSet]:
        return list(self._read_sets.get(fixed, ()))

    def keep_read_set(self, fixed: bytes, read_set: ReadSet) -> None:
        held = self._read_sets.setdefault(fixed, {})
        held.pop(read_set, None)
        held[read_set] = None
        if len(held) > self.READ_SETS_MAX:
            del held[next(iter(held))]


def key_of(task: Task, inputs: Sequence[bytes]) -> bytes:
    """Return the memo key of a task over inputs of these digests, in order of its signature."""
    return _key(task.fixed + b"".join(inputs))


def narrow_key(
    task: Task, read_set: ReadSet, inputs: Sequence[bytes], market: Market
) -> bytes | None:
    """Return the key over what was actually read; None when one of the leaves is not there."""
    parts = []
    for read, names, whole in zip(task.reads, read_set, inputs, strict=True):
        if names is None:
            parts.append(whole)
            continue
        section = market.section_of(read.target)
        leaves = [market.leaf_digest(f"{section}/{name}") for name in names]
        if None in leaves:
            return None
        parts.append(digest(encode([list(names), leaves])))
    return digest(b"narrow" + task.fixed + b"".join(parts))


def read_set_of(arguments: Sequence[Any]) -> ReadSet | None:
    """Return what a run read, None when it read (or may have read) everything it was given."""
    sets = [_names_read(a) if isinstance(a, Leaves) else None for a in arguments]
    return tuple(sets) if any(names is not None for names in sets) else None


def _names_read(leaves: Leaves) -> tuple[str, ...] | None:
    if leaves.listed or leaves.section is None or not all(leaves.reads.values()):
        return None
    return tuple(sorted(leaves.reads))


def coarse_digest(value: Any, tolerance: float) -> bytes:
    """Return the digest of a value whose numbers are rounded to multiples of `tolerance`.

    >>> coarse_digest([1.00001, "x"], 1e-3) == coarse_digest([1.00002, "x"], 1e-3)
    True
    """
    return value_digest(["rounded", tolerance, _rounded(value, tolerance)])


def _rounded(value: Any, tolerance: float) -> Any:
    if hasattr(value, "rounded"):
        return value.rounded(tolerance)
    if isinstance(value, float):
        return _whole(value / tolerance)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.rint(value / tolerance)
    if isinstance(value, pa.RecordBatch):
        columns = zip(value.schema.names, value.columns, strict=True)
        return {
            name: [_rounded_column(column, tolerance), column.is_null()] for name, column in columns
        }
    if isinstance(value, Mapping):
        return {key: _rounded(item, tolerance) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item, tolerance) for item in value]
    return value


def _rounded_column(column: pa.Array, tolerance: float) -> Any:
    if not pa.types.is_floating(column.type):
        return column
    return _rounded(column.fill_null(0.0).to_numpy(zero_copy_only=False), tolerance)


def _whole(value: float) -> Any:
    finite = value - value == 0.0
    return round(value) if finite else value
