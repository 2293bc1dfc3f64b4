"""Columns in: Arrow arrays as the plain numbers a kernel reads. Null becomes NaN."""

from __future__ import annotations

import pyarrow as pa

from orrery_kernels.engine import words
from orrery_kernels.engine.spec import f64, i64
from orrery_kernels.errors import ColumnError

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


# What native code reads as it is: Arrow type -> how, for a number and for an exact whole number.
_DIRECT = {
    f64: {
        pa.float64(): words.F64,
        pa.int64(): words.I64_F64,
        pa.int32(): words.I32_F64,
        pa.int8(): words.I8_F64,
        pa.float32(): words.F32_F64,
    },
    i64: {pa.int64(): words.I64_RAW, pa.int32(): words.I32_RAW, pa.int8(): words.I8_RAW},
}


def code_of(kind: str, arrow: pa.DataType) -> int | None:
    """Return how native code loads a column, None when it must be converted before."""
    return _DIRECT[kind].get(arrow)


def numbers(array: pa.Array, kind: str, name: str) -> pa.Array:
    """Return `array` converted to f64 or int64, by the conversion declared for its type."""
    return _whole(array, name) if kind == i64 else _as_float(array, name)


def key_mode(arrow: pa.DataType) -> int | None:
    """Return how native code reads a key column, None when it must become text before."""
    if arrow == pa.string():
        return 1
    dictionary = pa.types.is_dictionary(arrow)
    if dictionary and arrow.index_type == pa.int32() and arrow.value_type == pa.string():
        return 2
    return None


def keys(array: pa.Array) -> pa.Array:
    """Return a key column as text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.string())


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
    import pyarrow.compute as pc  # here: it costs more to import than a first batch to compute

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


def _whole(array: pa.Array, name: str) -> pa.Array:
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
    return array
