"""Canonical bytes of arrays and record batches: what they hold, not how they lie in memory.

A slice, a chunked or a dictionary-encoded column has the bytes of the plain column with the same
values. Values under a null are zero; every NaN is one NaN. What is read back is read-only.
"""

import re
import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from orrery_kernels.errors import SnapshotError

_SIZE = struct.Struct("<Q")
_NUMPY_KINDS = "biuf"
_WIDTHS = {
    str(t): (t, dtype)
    for t, dtype in [
        (pa.int8(), "i1"),
        (pa.int16(), "<i2"),
        (pa.int32(), "<i4"),
        (pa.int64(), "<i8"),
        (pa.uint8(), "u1"),
        (pa.uint16(), "<u2"),
        (pa.uint32(), "<u4"),
        (pa.uint64(), "<u8"),
        (pa.float32(), "<f4"),
        (pa.float64(), "<f8"),
        (pa.date32(), "<i4"),
        (pa.date64(), "<i8"),
    ]
}
_TEXTS = {
    str(t): (t, dtype)
    for t, dtype in [
        (pa.string(), "<i4"),
        (pa.binary(), "<i4"),
        (pa.large_string(), "<i8"),
        (pa.large_binary(), "<i8"),
    ]
}
_INSTANT = re.compile(r"(timestamp|duration|time32|time64)\[(s|ms|us|ns)(?:, tz=(.+))?\]")


def write_numpy(array: np.ndarray) -> bytes:
    if array.dtype.kind not in _NUMPY_KINDS:
        raise SnapshotError(f"an array must hold bool, int or float, was {array.dtype}")
    plain = _one_nan(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
    shape = np.array(array.shape, "<i8").tobytes()
    return _frames(plain.dtype.str.encode(), shape, plain.tobytes())


def read_numpy(body: bytes) -> np.ndarray:
    name, shape, data = _unframe(body, 3)
    try:
        return np.frombuffer(data, np.dtype(name.decode())).reshape(np.frombuffer(shape, "<i8"))
    except (TypeError, ValueError) as error:
        raise SnapshotError(f"bytes of an array do not fit its type and shape: {error}") from error


def write_array(array: pa.Array | pa.ChunkedArray) -> bytes:
    array = _plain(array)
    return _frames(_type_name(array.type), *_parts(array))


def read_array(body: bytes) -> pa.Array:
    name, *parts = _unframe(body, 4)
    return _build(name.decode(), parts)


def write_batch(batch: pa.RecordBatch | pa.Table) -> bytes:
    frames = [_SIZE.pack(batch.num_rows)]
    for field, column in zip(batch.schema, batch.columns, strict=True):
        nullable = b"1" if field.nullable else b"0"
        frames += [field.name.encode(), nullable, write_array(column)]
    return _frames(*frames)


def read_batch(body: bytes) -> pa.RecordBatch:
    rows, *rest = _unframe(body, None)
    names, nullable = [n.decode() for n in rest[::3]], [n == b"1" for n in rest[1::3]]
    arrays = [read_array(column) for column in rest[2::3]]
    if any(len(array) != _SIZE.unpack(rows)[0] for array in arrays):
        raise SnapshotError("the columns of a record batch must be of one length")
    fields = [pa.field(n, a.type, y) for n, a, y in zip(names, arrays, nullable, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _frames(*parts: bytes) -> bytes:
    return b"".join(_SIZE.pack(len(part)) + part for part in parts)


def _unframe(body: bytes, count: int | None) -> list[bytes]:
    parts, at = [], 0
    while at + _SIZE.size <= len(body):
        (length,) = _SIZE.unpack_from(body, at)
        parts.append(body[at + _SIZE.size : at + _SIZE.size + length])
        at += _SIZE.size + length
    if at != len(body) or (count is not None and len(parts) != count):
        raise SnapshotError(f"bytes of an array are cut off: {len(body)} of {at} are there")
    return parts


def _one_nan(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f" or not np.isnan(array).any():
        return array
    return np.where(np.isnan(array), np.array(np.nan, array.dtype), array)


def _plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.chunks else pa.array([], array.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _type_name(kind: pa.DataType) -> bytes:
    name = str(kind)
    if name in _WIDTHS or name in _TEXTS or name == "bool" or _INSTANT.fullmatch(name):
        return name.encode()
    raise SnapshotError(f"a column must hold numbers, text, bytes, dates or instants, was {name}")


def _parts(array: pa.Array) -> tuple[bytes, bytes, bytes]:
    """Return validity bits (none if all valid), values or lengths, and the text."""
    valid = None
    if array.null_count:
        valid = np.asarray(array.is_valid())
    bits = b"" if valid is None else np.packbits(valid, bitorder="little").tobytes()
    name = str(array.type)
    if name == "bool":
        flags = np.asarray(array.fill_null(False)) if valid is not None else np.asarray(array)
        return bits, np.packbits(flags, bitorder="little").tobytes(), _SIZE.pack(len(array))
    if name in _TEXTS:
        return bits, *_text_parts(array, valid, _TEXTS[name][1])
    values = _window(array, 1, _numpy_type(name), 0)
    if valid is not None:
        values = np.where(valid, values, values.dtype.type(0))
    return bits, _one_nan(values).tobytes(), b""


def _text_parts(array: pa.Array, valid: np.ndarray | None, dtype: str) -> tuple[bytes, bytes]:
    if valid is not None:
        array = pa.array(array.to_pylist(), array.type).fill_null(_empty(array.type))
    offsets = _window(array, 1, dtype, 1) if len(array) else np.zeros(1, dtype)
    text = array.buffers()[2]
    data = memoryview(text)[int(offsets[0]) : int(offsets[-1])].tobytes() if text else b""
    return np.diff(offsets).astype("<u4").tobytes(), data


def _empty(kind: pa.DataType) -> str | bytes:
    return "" if "string" in str(kind) else b""


def _window(array: pa.Array, buffer: int, dtype: str, extra: int) -> np.ndarray:
    if not len(array):
        return np.zeros(0, dtype)
    whole = np.frombuffer(array.buffers()[buffer], dtype)
    return whole[array.offset : array.offset + len(array) + extra]


def _numpy_type(name: str) -> str:
    if name in _WIDTHS:
        return _WIDTHS[name][1]
    return "<i4" if name.startswith("time32") else "<i8"


def _arrow_type(name: str) -> pa.DataType:
    for table in (_WIDTHS, _TEXTS):
        if name in table:
            return table[name][0]
    if name == "bool":
        return pa.bool_()
    match = _INSTANT.fullmatch(name)
    if match is None:
        raise SnapshotError(f"no column has the type {name!r}")
    kind, unit, zone = match.groups()
    make: Callable = getattr(pa, kind)
    return make(unit, tz=zone) if zone else make(unit)


def _build(name: str, parts: list[bytes]) -> pa.Array:
    bits, values, text = parts
    kind = _arrow_type(name)
    if name == "bool":
        length = _SIZE.unpack(text)[0]
        buffers = [pa.py_buffer(values)]
    elif name in _TEXTS:
        lengths = np.frombuffer(values, "<u4")
        length = len(lengths)
        offsets = np.concatenate(([0], lengths.cumsum(dtype="i8"))).astype(_TEXTS[name][1])
        if offsets[-1] != len(text):
            raise SnapshotError(
                f"the lengths of a text column sum to {offsets[-1]}, not {len(text)}"
            )
        buffers = [pa.py_buffer(offsets), pa.py_buffer(text)]
    else:
        length = len(np.frombuffer(values, _numpy_type(name)))
        buffers = [pa.py_buffer(values)]
    array = pa.Array.from_buffers(kind, length, [pa.py_buffer(bits) if bits else None, *buffers])
    array.validate(full=True)
    return array
