"""The rows of many bodies at once: of those of a few rows, value by value.

Gives what `body.decode` of each gives. Columns of one row cost far more to make than to read.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from . import body, few

TEXT, REAL, WHOLE = range(3)
_FLOAT, _INTEGER = struct.Struct("<d"), struct.Struct("<q")


def decode(bodies: Sequence[bytes], schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows of many bodies end to end. Raises BadBody as `body.decode` does."""
    batches: list[pa.RecordBatch] = []
    kinds, bits = kinds_of(schema), bits_of(schema)
    rows: list[Sequence[Any]] = []
    for data in bodies:
        if (row := _only_row(data, kinds)) is not None:
            rows.append(row)
        elif body.rows_in(data) <= few.VALUES_MAX:
            rows += _few_rows(data, schema, kinds, bits)
        else:
            batches += [_from_rows(rows, schema), body.decode(data, schema)]
            rows = []
    return pa.concat_batches([*batches, _from_rows(rows, schema)])


@lru_cache(maxsize=64)
def kinds_of(schema: pa.Schema) -> tuple[int, ...]:
    known = {pa.string(): TEXT, pa.float64(): REAL}
    return tuple(known.get(kind, WHOLE) for kind in schema.types)


@lru_cache(maxsize=64)
def bits_of(schema: pa.Schema) -> tuple[int, ...]:
    """Return the width of every whole number, 0 of other columns."""
    kinds = zip(kinds_of(schema), schema.types, strict=True)
    return tuple(type_.bit_width if kind == WHOLE else 0 for kind, type_ in kinds)


def _from_rows(rows: list[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    cells = zip(*rows, strict=True) if rows else [()] * len(schema)
    try:
        columns = [pa.array(cell, kind) for cell, kind in zip(cells, schema.types, strict=True)]
    except (pa.ArrowException, OverflowError) as cause:
        raise body.BadBody(f"values must be of their columns' types: {cause}") from cause
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _only_row(data: bytes, kinds: Sequence[int]) -> list[Any] | None:
    """Return the row of a body of one, None when it has more, or lengths over 127, or is damaged.

    Of one row every column is constant, and what is null is not there.
    """
    row: list[Any] = [None] * len(kinds)
    if not data or data[0] != 1:
        return None
    at, end = 1, len(data)
    while at < end:
        if at + 3 > end or data[at] >= len(kinds) or data[at + 1] or data[at + 2] > 0x7F:
            return None
        index, at, size = data[at], at + 3, data[at + 2]
        kind = kinds[index]
        if at + size > end or row[index] is not None or (kind != TEXT and size != _FLOAT.size):
            return None
        if kind == REAL:
            (row[index],) = _FLOAT.unpack_from(data, at)
        elif kind == WHOLE:
            (row[index],) = _INTEGER.unpack_from(data, at)
        else:
            row[index] = data[at : at + size].decode(errors="replace")
            if "\ufffd" in row[index]:
                return None  # or damaged: who reads it column by column says so
        at += size
    return row


def _few_rows(
    data: bytes, schema: pa.Schema, kinds: Sequence[int], bits: Sequence[int]
) -> list[tuple[Any, ...]]:
    """Return the rows of a body of a few."""
    count, at = body.read_varint(data, 0)
    many, end = len(kinds), len(data)
    columns: list[Sequence[Any]] = [()] * many
    while at < end:
        if at + 2 > end or data[at] >= many or columns[data[at]]:
            raise body.BadBody(f"a column must be one of {many}, and once, at byte {at}")
        index, form = data[at], data[at + 1]
        short = at + 2 < end and data[at + 2] <= 0x7F
        length, at = (data[at + 2], at + 3) if short else body.read_varint(data, at + 2)
        part = data[at : at + length]
        try:
            columns[index] = _few_values(part, form, count, kinds[index], bits[index])
        except (ValueError, LookupError, StopIteration, struct.error) as cause:
            raise body.BadBody(f"column {schema.names[index]!r} must decode: {cause}") from cause
        at += length
    nothing = (None,) * count
    return list(zip(*[column or nothing for column in columns], strict=True))


def _few_values(data: bytes, form: int, rows: int, kind: int, bits: int) -> list[Any]:
    if form & body.HAS_NULLS:
        size = (rows + 7) // 8
        there = int.from_bytes(data[:size], "little")
        form &= ~body.HAS_NULLS
        values = iter(_few_values(data[size:], form, there.bit_count(), kind, bits))
        return [next(values) if there >> row & 1 else None for row in range(rows)]
    if kind == TEXT:
        return _few_strings(data, form, rows)
    return _few_floats(data, form, rows) if kind == REAL else _few_integers(data, form, rows, bits)


def _few_floats(data: bytes, form: int, count: int) -> list[float]:
    if form == body.CONSTANT:
        return list(_FLOAT.unpack_from(data)) * count
    return [_FLOAT.unpack(data[row : 8 * count : count])[0] for row in range(count)]


def _few_integers(data: bytes, form: int, count: int, bits: int = 64) -> list[int]:
    (value,) = _INTEGER.unpack_from(data)
    if form == body.CONSTANT:
        return [value] * count
    steps = _few_steps(data[9:], data[8], count - 1)
    return [value, *((value := _wrapped(value + step, bits)) for step in steps)]


def _few_steps(data: bytes, width: int, count: int) -> list[int]:
    end = width * count
    if len(data) < end:
        raise body.BadBody(f"{count} steps of {width} bytes must be there, were {len(data)} bytes")
    return [int.from_bytes(data[at:end:count], "little", signed=True) for at in range(count)]


def _wrapped(value: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def _few_strings(data: bytes, form: int, count: int) -> list[str]:
    if form == body.CONSTANT:
        return [data.decode()] * count
    if form == body.WORDS:
        return _few_words(data, count)
    many, at = body.read_varint(data, 0)
    length, at = body.read_varint(data, at)
    words = _few_words(data[at + 1 : at + 1 + length], many)
    return [words[i] for i in _few_steps(data[at + 1 + length :], data[at], count)]


def _few_words(data: bytes, count: int) -> list[str]:
    size, at = body.read_varint(data, 1)
    lengths = _few_integers(data[at : at + size], data[0], count)
    at += size
    if min(lengths) < 0 or sum(lengths) != len(data) - at:
        raise body.BadBody("the lengths of words must add up to their text")
    return [data[at : (at := at + length)].decode() for length in lengths]
