"""What as-of joins are made of.

One merge in order of time: right rows are taken in as time passes them and remembered per key, so
that no left row sees a later one unless `direction` asks for it. Keys are numbered by the engine's
hash table, columns of eight bytes a row copied by native code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orrery_kernels.engine import i64, ingress, words
from orrery_kernels.engine.matching import Join
from orrery_kernels.engine.plan import find_column
from orrery_kernels.engine.program import native_call
from orrery_kernels.engine.symbols import Symbols
from orrery_kernels.engine.words import Word
from orrery_kernels.errors import ColumnError, OrderError, ParameterError

Data = pa.RecordBatch | pa.Table
DIRECTIONS = ("backward", "forward", "nearest")
_ALWAYS = np.iinfo(np.int64).max  # a tolerance that nothing exceeds
BEFORE_ALL = np.iinfo(np.int64).min
NO_RIGHT, NO_LEFT, FIRST_KEY = 0, 1, 2  # numbers of rows without a key; of the first real one
_NO_PART = -1  # the number of a part that is null
ROWS_MAX = 1_000_000


@dataclass(frozen=True)
class Rules:
    """What a join was asked for; checked when made."""

    on: str = "ts_event_ns"
    by: str | Sequence[str] | None = "symbol"
    tolerance: int | None = None
    direction: str = "backward"
    strict: bool = False
    suffix: str = "_right"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ParameterError(
                f"direction must be one of {', '.join(DIRECTIONS)}, was {self.direction!r}"
            )
        if not isinstance(self.suffix, str) or not isinstance(self.strict, bool):
            raise ParameterError(
                "suffix must be text and strict True or False,"
                f" was {self.suffix!r}, {self.strict!r}"
            )
        by = [] if self.by is None else [self.by] if isinstance(self.by, str) else self.by
        if not isinstance(by, Sequence) or not all(isinstance(name, str) for name in by):
            raise ParameterError(f"by must name columns, was {self.by!r}")
        if self.tolerance is not None and not _is_whole(self.tolerance):
            raise ParameterError(
                "tolerance must be a whole number of nanoseconds in [0, inf),"
                f" was {self.tolerance!r}"
            )

    @property
    def reach(self) -> int:
        return _ALWAYS if self.tolerance is None else min(int(self.tolerance), _ALWAYS)

    def keys(self, *sides: pa.Schema) -> list[str]:
        """Return the key columns; `symbol` is one where either side has it, as for kernels."""
        if self.by is None or (self.by == "symbol" and not any("symbol" in s.names for s in sides)):
            return []
        return [self.by] if isinstance(self.by, str) else list(self.by)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | float | np.integer) and value >= 0 and value % 1 == 0


class Keys:
    """Keys as numbers, in order of first appearance, by the engine's hash table.

    A key of several columns is the numbers of its parts, each in a table of its own.
    """

    def __init__(self) -> None:
        self.parts: list[Keys] = []
        self.control = np.zeros(words.WORDS, np.int64)
        self.table = Symbols(self.control)
        self.array = np.zeros(words.ARRAY_BYTES // 8, np.int64)
        self.control[Word.ARRAY] = self.array.ctypes.data

    def __len__(self) -> int:
        return len(self.table) + FIRST_KEY

    def numbers(self, batch: pa.RecordBatch, names: Sequence[str], without: int) -> np.ndarray:
        """Return the number of each row's key, int32; `without` where it has none."""
        if not names:
            return np.full(batch.num_rows, FIRST_KEY, np.int32)
        columns = [batch.column(find_column(batch.schema.names, n, "asof_join")) for n in names]
        return self._numbered(self._as_one(columns, names), without)

    def _as_one(self, columns: Sequence[pa.Array], names: Sequence[str]) -> pa.Array:
        """Return keys as a column of text; of several the bytes of their numbers pass as such."""
        first = columns[0]
        if len(columns) == 1:
            return first if ingress.key_mode(first.type) else ingress.keys(first, names[0])
        self.parts = self.parts or [Keys() for _ in names]
        numbers = np.empty((len(first), len(columns)), np.int32)
        for k, (keys, column, name) in enumerate(zip(self.parts, columns, names, strict=True)):
            numbers[:, k] = keys._numbered(keys._as_one([column], [name]), _NO_PART)
        there = None
        if numbers.size and numbers.min() == _NO_PART:
            there = pa.array((numbers != _NO_PART).all(axis=1)).buffers()[1]
        ends = np.arange(0, numbers.nbytes + 1, numbers.itemsize * len(columns), np.int32)
        buffers = [there, pa.py_buffer(ends), pa.py_buffer(numbers)]
        return pa.Array.from_buffers(pa.string(), len(first), buffers)

    def _numbered(self, column: pa.Array, without: int) -> np.ndarray:
        mode = ingress.key_mode(column.type)
        ids = np.empty(len(column), np.int32)
        remap = np.full(len(column.dictionary) if mode == 2 else 0, -2, np.int32)
        c = self.control
        c[Word.KEY_MODE], c[Word.REMAP], c[Word.ROW_IDS] = mode, remap.ctypes.data, ids.ctypes.data
        only = pa.RecordBatch.from_arrays([column], ["key"])
        only._export_to_c(self.array.ctypes.data)
        reached = native_call("encode")(c.ctypes.data, 0, len(ids))
        while reached < len(ids):
            self.table.grow(
                2 * self.table.capacity if self.table.is_full() else self.table.capacity
            )
            remap[:] = -2
            reached = native_call("encode")(c.ctypes.data, reached, len(ids))
        pa.RecordBatch._import_from_c(self.array.ctypes.data, only.schema)  # and so released
        ids[ids < 0] = without - FIRST_KEY
        return ids + np.int32(FIRST_KEY)


@dataclass
class Side:
    """The times (int64, in order) and keys (int32) of some rows."""

    times: np.ndarray
    ids: np.ndarray

    @classmethod
    def of(
        cls, batch: pa.RecordBatch, rules: Rules, keys: Keys, names: Sequence[str], without: int
    ) -> Side:
        """Take a side apart. Raises OrderError where time runs backwards."""
        name = find_column(batch.schema.names, rules.on, "asof_join")
        array = ingress.numbers(batch.column(name), i64, name)
        ids = keys.numbers(batch, names, without)
        if array.null_count:
            ids[array.is_null().to_numpy(zero_copy_only=False)] = without
            array = pa.array(np.maximum.accumulate(array.fill_null(BEFORE_ALL).to_numpy()))
        times = array.to_numpy()
        if (times[1:] < times[:-1]).any():
            row = int(np.flatnonzero(times[1:] < times[:-1])[0]) + 1
            raise OrderError(
                f"rows must be in order of {name!r}, row {row} has {times[row]} after "
                f"{times[row - 1]}; sort them before"
            )
        return cls(times, ids)


class Merge:
    """Left rows against right rows that are taken in as time passes them."""

    def __init__(self, rules: Rules, forward: bool = False):
        self.block = np.zeros(len(Join), np.int64)
        self.last = np.zeros((0, 2), np.int64)
        b = self.block
        b[Join.STRICT], b[Join.TOLERANCE] = int(rules.strict), rules.reach
        b[Join.SIGN] = -1 if forward else 1

    def found(self, left: Side, right: Side, keys: int) -> np.ndarray:
        """Return the right row of each left row, -1 for none; goes on from the last call."""
        if keys > len(self.last):
            last = np.zeros((2 * keys, 2), np.int64)
            last[: len(self.last)] = self.last
            self.last = last
        out = np.empty(len(left.times), np.int64)
        b = self.block
        b[Join.LEFT], b[Join.LEFT_IDS] = left.times.ctypes.data, left.ids.ctypes.data
        b[Join.RIGHT], b[Join.RIGHT_IDS] = right.times.ctypes.data, right.ids.ctypes.data
        b[Join.RIGHT_ROWS], b[Join.LAST] = len(right.times), self.last.ctypes.data
        b[Join.FOUND] = out.ctypes.data
        native_call("asof")(b.ctypes.data, 0, len(out))
        return out


def matched(left: Side, right: Side, keys: int, rules: Rules) -> np.ndarray:
    """Return the right row of each left row, -1 for none; of two equally near the one before."""
    if rules.direction != "nearest":
        return Merge(rules, rules.direction == "forward").found(left, right, keys)
    before, after = (Merge(rules, forward).found(left, right, keys) for forward in (False, True))
    if not len(right.times):
        return before
    nearer = right.times[after] - left.times < left.times - right.times[before]
    return np.where((after >= 0) & ((before < 0) | nearer), after, before)


def with_right(
    left: pa.RecordBatch, right: pa.RecordBatch, found: np.ndarray, rules: Rules
) -> pa.RecordBatch:
    """Return the left columns, then those of the right rows found; the keys stand once."""
    keys = rules.keys(left.schema, right.schema)
    fields = [f for f in right.schema if f.name not in keys]
    taken = _Taking(found)
    columns = [taken.from_column(right.column(f.name)) for f in fields]
    names = [f.name + rules.suffix if f.name in left.schema.names else f.name for f in fields]
    for name in names:
        if name in left.schema.names or names.count(name) > 1:
            raise ColumnError(f"column {name!r} must be new; give another suffix")
    schema = pa.schema(
        [*left.schema, *(pa.field(n, f.type) for n, f in zip(names, fields, strict=True))],
        left.schema.metadata,
    )
    return pa.RecordBatch.from_arrays([*left.columns, *columns], schema=schema)


class _Taking:
    """Rows of columns by number, null where the number is -1."""

    def __init__(self, found: np.ndarray):
        self.rows = len(found)
        self.block = np.zeros(len(Join), np.int64)
        self.found = found
        self.block[Join.FOUND] = found.ctypes.data
        self.valid = self._buffer((self.rows + 63) // 64 * 8)
        self.missing = native_call("bitmap")(self.block.ctypes.data, 0, self.rows)

    def _buffer(self, size: int) -> pa.Buffer:
        buffer = pa.allocate_buffer(size)
        self.block[Join.TARGET] = buffer.address
        return buffer

    def from_column(self, column: pa.Array) -> pa.Array:
        wide = pa.types.is_primitive(column.type) and column.type.bit_width == 64
        if not len(column):
            return pa.nulls(self.rows, column.type)
        if column.null_count or not wide:
            plain = ingress.takeable(column)
            taken = plain.take(pa.array(self.found, mask=self.found < 0))
            return taken if plain is column else taken.cast(column.type)
        self.block[Join.SOURCE] = column.buffers()[1].address + 8 * column.offset
        data = self._buffer(8 * self.rows)
        native_call("gather")(self.block.ctypes.data, 0, self.rows)
        valid = self.valid if self.missing else None
        return pa.Array.from_buffers(column.type, self.rows, [valid, data], self.missing)


def together(before: pa.RecordBatch, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return both as one; ColumnError where their columns differ."""
    if not batch.schema.equals(before.schema):
        raise ColumnError(
            f"columns of a stream must stay {before.schema.to_string()!r},"
            f" were {batch.schema.to_string()!r}"
        )
    return pa.concat_batches([before, batch])


def one_batch(data: Data) -> pa.RecordBatch:
    """Return a table as one batch; ColumnError for anything else."""
    if isinstance(data, pa.RecordBatch):
        return data
    if not isinstance(data, pa.Table):
        raise ColumnError(f"data must be a pyarrow RecordBatch or Table, was {type(data).__name__}")
    batches = data.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], data.schema)


def join_batches(left: pa.RecordBatch, right: pa.RecordBatch, rules: Rules) -> pa.RecordBatch:
    """Return the join of two batches in order of time."""
    keys, names = Keys(), rules.keys(left.schema, right.schema)
    there = Side.of(right, rules, keys, names, NO_RIGHT)
    here = Side.of(left, rules, keys, names, NO_LEFT)
    return with_right(left, right, matched(here, there, len(keys), rules), rules)
