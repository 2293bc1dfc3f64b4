"""Columns in: Arrow arrays as the plain numbers a kernel reads. Null becomes NaN."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orrery_kernels.engine.codegen import NULL_I64
from orrery_kernels.engine.spec import i64
from orrery_kernels.engine.state import ChainState
from orrery_kernels.errors import ColumnError

AHEAD = 64  # spare ids behind a batch, so that fetching ahead reads something
_SIDES = {
    "buy": 1.0,
    "b": 1.0,
    "bid": 1.0,
    "sell": -1.0,
    "s": -1.0,
    "ask": -1.0,
    "unknown": 0.0,
    "": 0.0,
}


@dataclass
class Column:
    """An address of 8-byte numbers, and what keeps it alive."""

    address: int
    keep: Any = field(repr=False, default=None)


def numbers(array: pa.Array, kind: str, name: str) -> Column:
    """Return `array` as f64 or i64 numbers, copied only where it must be converted."""
    if kind == i64:
        return _whole(array, name)
    if array.type == pa.float64() and not array.null_count:
        buffer = array.buffers()[1]
        return Column(buffer.address + 8 * array.offset if buffer else 0, array)
    values = _as_float(array, name)
    if values.null_count:
        values = pc.fill_null(values, np.nan)
    buffer = values.buffers()[1]
    return Column(buffer.address + 8 * values.offset if buffer else 0, values)


def _as_float(array: pa.Array, name: str) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _as_float(array.dictionary_decode(), name)
    if kind == pa.float64():
        return array
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _sides(array, name)
    if pa.types.is_temporal(kind):
        return _as_nanoseconds(array).cast(pa.float64(), safe=False)
    if pa.types.is_boolean(kind):
        return array.cast(pa.int8()).cast(pa.float64())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return array.cast(pa.float64(), safe=False)
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.float64())
    raise ColumnError(f"column {name!r} must hold numbers, was {kind}; cast it before")


def _sides(array: pa.Array, name: str) -> pa.Array:
    words = pc.utf8_lower(array.cast(pa.string())).dictionary_encode()
    known = []
    for word in words.dictionary.to_pylist():
        if word not in _SIDES:
            raise ColumnError(
                f"column {name!r} must hold numbers, or buy and sell, was {word!r}; cast it before"
            )
        known.append(_SIDES[word])
    return pa.array(known, pa.float64()).take(words.indices)


def _as_nanoseconds(array: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("ns", array.type.tz))
    elif pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("ns"))
    elif pa.types.is_duration(array.type):
        array = array.cast(pa.duration("ns"))
    elif pa.types.is_time(array.type):
        array = array.cast(pa.time64("ns"))
    return array.cast(pa.int64())


def _whole(array: pa.Array, name: str) -> Column:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _whole(array.dictionary_decode(), name)
    if pa.types.is_temporal(kind):
        array = _as_nanoseconds(array)
    elif pa.types.is_null(kind):
        array = pa.nulls(len(array), pa.int64())
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        try:
            array = array.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ColumnError(f"column {name!r} must hold whole numbers: {error}") from None
    else:
        raise ColumnError(
            f"column {name!r} must hold whole numbers or times, was {kind}; cast it before"
        )
    if array.null_count:
        array = pc.fill_null(array, NULL_I64)
    buffer = array.buffers()[1]
    return Column(buffer.address + 8 * array.offset if buffer else 0, array)


def symbol_ids(state: ChainState, array: pa.Array | None, rows: int) -> np.ndarray:
    """Return the record number of each row as int32, -1 where the symbol is null, and count the rows."""
    ids = np.zeros(rows + AHEAD, np.int32)
    if array is None:
        number = state.id_of("")
        ids[:rows] = number
        state.ticks[number] += rows
        state.dirty[number] |= rows > 0
        return ids
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    names = array.dictionary.cast(pa.string()).to_pylist()
    local = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    used = np.unique(local).tolist()  # an outside dictionary may hold names no row has
    remap = np.full(len(names) + 1, -1, np.int32)
    for k in used:
        if k >= 0 and names[k] is not None:
            remap[k] = state.id_of(names[k])
    ids[:rows] = remap[local]
    counts = np.bincount(ids[:rows][ids[:rows] >= 0], minlength=len(state.names))
    state.ticks[: len(counts)] += counts
    state.dirty[: len(counts)] |= counts > 0
    return ids
