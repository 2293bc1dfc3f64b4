"""The one body of a table of columns: the bytes a fact is named by.

    rows varint, then of each column that is not all null:
    index u8 · form u8 · length varint · (which rows are null: bits, if some are) · data

Nulls take no room, a NaN has one spelling, integers are stored as differences in the narrowest
width, floats byte plane by byte plane (which is what makes them compress). The form is a function
of the values alone, so equal columns have equal bytes, in whatever slices they came. The schema is
not repeated: it has a digest.
"""

from collections.abc import Container

import numpy as np
import pyarrow as pa

from . import few
from .few import CONSTANT, DICTIONARY, DIFFERENCES, PLANES, WORDS, varint

HAS_NULLS = 0x80
WIDTHS = ((1, np.int8), (2, np.int16), (4, np.int32), (8, np.int64))
NUMBERS = {
    pa.int8(): np.dtype(np.int8),
    pa.int32(): np.dtype(np.int32),
    pa.int64(): np.dtype(np.int64),
    pa.float64(): np.dtype(np.float64),
}
ROWS_MAX = 1 << 20
_NAN = np.float64("nan").view(np.uint64)


class BadBody(ValueError):
    """The bytes are no body of this schema."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the integer at `at` and where the next thing begins."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise BadBody(f"a number must end within the bytes, byte {at} of {len(data)}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def encode(batch: pa.RecordBatch) -> bytes:
    """Return the body of a batch."""
    rows = batch.num_rows
    parts = [varint(rows)]
    for index, column in enumerate(batch.columns):
        nulls = column.null_count
        if nulls == rows:
            continue
        form, data = _encode_few(column) if rows <= few.VALUES_MAX else _encode_column(column)
        parts += (bytes((index, form)), varint(len(data)), data)
    return b"".join(parts)


def decode(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """Return the batch behind a body. Raises BadBody when the bytes are not one of this schema."""
    rows, columns = _read_columns(data, schema, range(len(schema)))
    filled = [
        columns[index] if index in columns else pa.nulls(rows, kind)
        for index, kind in enumerate(schema.types)
    ]
    return pa.RecordBatch.from_arrays(filled, schema=schema)


def rows_in(data: bytes) -> int:
    return read_varint(data, 0)[0]


def decode_column(data: bytes, schema: pa.Schema, name: str) -> pa.Array:
    """Return one column of a body: the others are not even looked at."""
    index = schema.get_field_index(name)
    rows, columns = _read_columns(data, schema, (index,))
    return columns.get(index, pa.nulls(rows, schema.types[index]))


def _read_columns(
    data: bytes, schema: pa.Schema, wanted: Container[int]
) -> tuple[int, dict[int, pa.Array]]:
    data = bytes(data)
    rows, at = read_varint(data, 0)
    if rows > ROWS_MAX:
        raise BadBody(f"a body holds at most {ROWS_MAX} rows, was {rows}")
    columns: dict[int, pa.Array] = {}
    while at < len(data):
        if at + 2 > len(data) or data[at] >= len(schema):
            raise BadBody(f"a column must be one of {len(schema)}, at byte {at}")
        index, form = data[at], data[at + 1]
        length, at = read_varint(data, at + 2)
        if index in wanted:
            try:
                columns[index] = _decode_column(
                    data[at : at + length], form, rows, schema.types[index]
                )
            except (ValueError, IndexError, KeyError, pa.ArrowException) as cause:
                raise BadBody(f"column {schema.names[index]!r} must decode: {cause}") from cause
        at += length
    return rows, columns


def _validity(column: pa.Array) -> np.ndarray:
    bits = np.frombuffer(column.buffers()[0], np.uint8)
    last = column.offset + len(column)
    return np.unpackbits(bits, count=last, bitorder="little")[column.offset :].view(bool)


def _encode_few(column: pa.Array) -> tuple[int, bytes]:
    values = column.to_pylist()
    there = [value for value in values if value is not None]
    form, data = few.encode(there, _bits(column.type))
    if len(there) == len(values):
        return form, data
    valid = sum((value is not None) << row for row, value in enumerate(values))
    return form | HAS_NULLS, valid.to_bytes((len(values) + 7) // 8, "little") + data


def _encode_column(column: pa.Array) -> tuple[int, bytes]:
    if not column.null_count:
        return _encode_values(column, None)
    valid = _validity(column)
    form, data = _encode_values(column, valid)
    return form | HAS_NULLS, np.packbits(valid, bitorder="little").tobytes() + data


def _bits(kind: pa.DataType) -> int:
    """Return how wide a number is, 0 for text. Raises TypeError on anything else."""
    if pa.types.is_string(kind):
        return 0
    if kind not in NUMBERS:
        raise TypeError(f"a column must hold numbers or text, was {kind}")
    return kind.bit_width


def _encode_values(column: pa.Array, valid: np.ndarray | None) -> tuple[int, bytes]:
    """Return form and data of the values that are not null."""
    kind = column.type
    if not _bits(kind):
        return _encode_strings(column if valid is None else column.drop_null())
    values = np.frombuffer(column.buffers()[1], NUMBERS[kind])
    values = values[column.offset : column.offset + len(column)]
    if valid is not None:
        values = values[valid]
    return _encode_floats(values) if values.dtype.kind == "f" else _encode_integers(values)


def _encode_floats(values: np.ndarray) -> tuple[int, bytes]:
    bits = values.view(np.uint64)
    if np.isnan(values).any():
        bits = np.where(np.isnan(values), _NAN, bits)
    if bits[0] == bits[-1] and (bits == bits[0]).all():
        return CONSTANT, bits[:1].tobytes()
    return PLANES, _planes(bits)


def _encode_integers(values: np.ndarray) -> tuple[int, bytes]:
    first = int(values[0]).to_bytes(8, "little", signed=True)
    if values[0] == values[-1] and (values == values[0]).all():
        return CONSTANT, first
    if values.dtype.itemsize == 1:
        values = values.astype(np.int16)
    steps = values[1:] - values[:-1]  # 64 bits wrap, and unwrap on reading
    width, kind = _narrowest(int(steps.min()), int(steps.max()))
    return DIFFERENCES, first + bytes((width,)) + _planes(steps.astype(kind, copy=False))


def _encode_strings(column: pa.StringArray) -> tuple[int, bytes]:
    coded = column.dictionary_encode()
    words, count = coded.dictionary, len(column)
    if len(words) == 1:
        return CONSTANT, words[0].as_buffer().to_pybytes()
    if len(words) * 2 > count:
        return WORDS, _encode_words(column)
    width, kind = _narrowest(0, len(words))
    indices = coded.indices.to_numpy().astype(kind)
    listed = _encode_words(words)
    head = varint(len(words)) + varint(len(listed)) + bytes((width,))
    return DICTIONARY, head + listed + _planes(indices)


def _encode_words(words: pa.StringArray) -> bytes:
    offsets = np.frombuffer(words.buffers()[1], np.int32)[
        words.offset : words.offset + len(words) + 1
    ]
    text = memoryview(words.buffers()[2] or b"")[offsets[0] : offsets[-1]]
    form, lengths = _encode_integers(offsets[1:] - offsets[:-1])
    return bytes((form,)) + varint(len(lengths)) + lengths + bytes(text)


def _decode_column(data: bytes, form: int, rows: int, kind: pa.DataType) -> pa.Array:
    valid, bits, count = None, None, rows
    if form & HAS_NULLS:
        size = (rows + 7) // 8
        bits = np.frombuffer(data[:size], np.uint8)
        valid = np.unpackbits(bits, count=rows, bitorder="little").astype(bool)
        count, data = int(valid.sum()), data[size:]
    if valid is None or pa.types.is_string(kind):
        values = _decode_values(data, form & ~HAS_NULLS, count, kind)
        if valid is None:
            return values
        return values.take(pa.array(np.where(valid, np.cumsum(valid) - 1, 0), mask=~valid))
    full = np.zeros(rows, NUMBERS[kind])
    full[valid] = _decode_numbers(data, form & ~HAS_NULLS, count, kind)
    return pa.Array.from_buffers(kind, rows, [pa.py_buffer(bits.tobytes()), pa.py_buffer(full)])


def _decode_values(data: bytes, form: int, count: int, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return _decode_strings(data, form, count)
    values = np.ascontiguousarray(_decode_numbers(data, form, count, kind))
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(values)])


def _decode_numbers(data: bytes, form: int, count: int, kind: pa.DataType) -> np.ndarray:
    if not pa.types.is_floating(kind):
        return _decode_integers(data, form, count).astype(NUMBERS[kind], copy=False)
    if form == CONSTANT:
        return np.repeat(np.frombuffer(data, np.float64, 1), count)
    return _from_planes(data, np.dtype(np.float64), count)


def _decode_integers(data: bytes, form: int, count: int) -> np.ndarray:
    first = np.frombuffer(data, np.int64, 1)
    if form == CONSTANT:
        return np.repeat(first, count)
    kind = np.dtype(dict(WIDTHS)[data[8]])
    steps = _from_planes(data[9:], kind, count - 1)
    return np.cumsum(np.concatenate((first, steps)), dtype=np.int64)


def _decode_strings(data: bytes, form: int, count: int) -> pa.StringArray:
    if form == CONSTANT:
        return pa.array([data.decode()]).take(pa.array(np.zeros(count, np.int32)))
    if form == WORDS:
        return _decode_words(data, count)
    many, at = read_varint(data, 0)
    length, at = read_varint(data, at)
    kind = np.dtype(dict(WIDTHS)[data[at]])
    words = _decode_words(data[at + 1 : at + 1 + length], many)
    indices = _from_planes(data[at + 1 + length :], kind, count)
    return words.take(pa.array(indices))


def _decode_words(data: bytes, count: int) -> pa.StringArray:
    size, at = read_varint(data, 1)
    lengths = _decode_integers(data[at : at + size], data[0], count)
    text = data[at + size :]
    if (lengths < 0).any() or int(lengths.sum()) != len(text):
        raise BadBody("the lengths of words must add up to their text")
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    words = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))
    words.validate(full=True)
    return words


def _narrowest(low: int, high: int) -> tuple[int, type]:
    for width, kind in WIDTHS:
        if -(1 << (8 * width - 1)) <= low and high < 1 << (8 * width - 1):
            return width, kind
    raise OverflowError(f"{low}..{high} must fit 64 bits")


def _planes(values: np.ndarray) -> bytes:
    """Return all first bytes, then all second bytes, and so on (little endian)."""
    width = values.dtype.itemsize
    if width == 1 or len(values) < 2:
        return values.tobytes()
    return values.view(np.uint8).reshape(-1, width).T.tobytes()


def _from_planes(data: bytes, kind: np.dtype, count: int) -> np.ndarray:
    planes = np.frombuffer(data, np.uint8, count * kind.itemsize)
    return np.ascontiguousarray(planes.reshape(kind.itemsize, count).T).view(kind).reshape(count)
