"""Columns in: Arrow arrays as the plain numbers a kernel reads. Null becomes NaN."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from orrery_kernels.columns import KIND_NAMES
from orrery_kernels.engine import words
from orrery_kernels.engine.spec import f64, i64, text
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
_DIRECT[text] = _DIRECT[i64]


def code_of(kind: str, arrow: pa.DataType) -> int | None:
    """Return how native code loads a column, None when it must be converted before."""
    return _DIRECT[kind].get(arrow)


def numbers(array: pa.Array, kind: str, name: str) -> pa.Array:
    """Return `array` converted to f64 or int64, by the conversion declared for its type."""
    if kind == text:
        return _named(array, name)
    return _whole(array, name) if kind == i64 else _as_float(array, name)


def key_mode(arrow: pa.DataType) -> int | None:
    """Return how native code reads a key column, None when it must become text before."""
    if arrow == pa.string():
        return 1
    dictionary = pa.types.is_dictionary(arrow)
    if dictionary and arrow.index_type == pa.int32() and arrow.value_type == pa.string():
        return 2
    return None


def keys(array: pa.Array, name: str) -> pa.Array:
    """Return a key column as text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        return array.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise ColumnError(
            f"column {name!r} must hold keys that can be text, was {array.type}: {error};"
            " cast it before"
        ) from None


def takeable(array: pa.Array) -> pa.Array:
    """Return a column from which Arrow can take rows: views of text or bytes it cannot yet."""
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return array.cast(plain[array.type]) if array.type in plain else array


def kinds(array: pa.Array) -> pa.Array:
    """Return the kinds of rows as int8, -1 for null: numbers as they are, names by their place."""
    import pyarrow.compute as pc  # as for _sides

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        numbers = array if not _is_text(array.type) else _numbered(array.cast(pa.string()))
        return pc.fill_null(numbers.cast(pa.int8()), -1)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        names = ", ".join(f"{k} ({name})" for k, name in enumerate(KIND_NAMES))
        raise ColumnError(
            f"column 'kind' must hold {names}, or these names, was {array.type}: {error};"
            " rename it if it means something else"
        ) from None


def _numbered(names: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    found = pc.index_in(names, pa.array(KIND_NAMES))
    if found.null_count > names.null_count:
        unknown = names.filter(pc.and_(found.is_null(), names.is_valid()))[0]
        raise pa.ArrowInvalid(f"{unknown.as_py()!r} is not one of them")
    return found


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _as_float(array: pa.Array, name: str) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _as_float(array.dictionary_decode(), name)
    if kind == pa.float64():
        return array
    if _is_text(kind):
        return _sides(array, name)
    if pa.types.is_temporal(kind):
        return _as_nanoseconds(array, name).cast(pa.float64(), safe=False)
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


def side_of(word: str) -> float:
    """Return the number of one word for a side, as a column of them is read; ValueError if none."""
    side = _SIDES.get(word.lower())
    if side is None:
        raise ValueError(word)
    return side


def number_of(name: str) -> int:
    """Return a whole number in [0, 2**63) made of the letters of `name`, everywhere the same."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def _named(array: pa.Array, name: str) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        return _named(array.dictionary, name).take(array.indices)
    if not _is_text(array.type):
        return _whole(array, name)
    numbers = [None if x is None else number_of(x) for x in array.to_pylist()]
    return pa.array(numbers, pa.int64())


def _as_nanoseconds(array: pa.Array, name: str) -> pa.Array:
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        fine = pa.timestamp("ns", kind.tz if pa.types.is_timestamp(kind) else None)
    elif pa.types.is_duration(kind):
        fine = pa.duration("ns")
    elif pa.types.is_time(kind):
        fine = pa.time64("ns")
    else:
        raise ColumnError(f"column {name!r} must hold times, was {kind}; cast it before")
    try:
        return array.cast(fine).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise ColumnError(
            f"column {name!r} must hold times of 64-bit nanoseconds, years 1678 to 2261: {error}"
        ) from None


def _finite(array: pa.Array) -> pa.Array:
    """Return doubles with null in place of NaN and infinities, as whole numbers have them."""
    import pyarrow.compute as pc

    return pc.if_else(pc.is_finite(array), array, pa.scalar(None, pa.float64()))


def _whole(array: pa.Array, name: str) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _whole(array.dictionary_decode(), name)
    if pa.types.is_temporal(kind):
        array = _as_nanoseconds(array, name)
    elif pa.types.is_null(kind):
        array = pa.nulls(len(array), pa.int64())
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        if pa.types.is_floating(kind):
            array = _finite(array.cast(pa.float64()))
        try:
            array = array.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ColumnError(f"column {name!r} must hold whole numbers: {error}") from None
    else:
        raise ColumnError(
            f"column {name!r} must hold whole numbers or times, was {kind}; cast it before"
        )
    return array
