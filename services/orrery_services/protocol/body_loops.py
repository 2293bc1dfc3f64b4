"""The rows of many bodies in one compiled loop: for who has numba loaded and reads long logs.

Gives what `bodies.decode` gives. Bodies that the loop does not understand, damaged ones among them,
go there, which reads them or says what is wrong.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import njit

from . import bodies, body
from .few import CONSTANT, DICTIONARY, DIFFERENCES, PLANES, WORDS

_TEXT, _REAL, _WHOLE = bodies.TEXT, bodies.REAL, bodies.WHOLE
_NULLS, _FORM = body.HAS_NULLS, 0x7F
_ROWS_MAX = body.ROWS_MAX


def decode(found: Sequence[bytes], schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows of many bodies end to end. Raises BadBody as `bodies.decode` does."""
    known = all(pa.types.is_string(kind) or kind in body.NUMBERS for kind in schema.types)
    rows = _rows(found, schema) if known and found else None
    return bodies.decode(found, schema) if rows is None else rows


def _rows(found: Sequence[bytes], schema: pa.Schema) -> pa.RecordBatch | None:
    data = np.frombuffer(b"".join(found), np.uint8)
    starts = np.cumsum([0, *map(len, found)])
    firsts = np.zeros(len(starts), np.int64)
    if not _count(data, starts, firsts):
        return None
    kinds, bits = np.array(bodies.kinds_of(schema)), np.array(bodies.bits_of(schema))
    rows = int(firsts[-1])
    numbers, lengths = np.zeros((2, len(kinds), rows), np.int64)
    valid = np.zeros((len(kinds), rows), np.bool_)
    if not _read(data, starts, firsts, kinds, bits, numbers, lengths, valid):
        return None
    try:
        columns = [
            _column(data, type_, numbers[at], lengths[at], valid[at])
            for at, type_ in enumerate(schema.types)
        ]
    except pa.ArrowException:  # text that is not Unicode
        return None
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(
    data: np.ndarray, kind: pa.DataType, numbers: np.ndarray, lengths: np.ndarray, valid: np.ndarray
) -> pa.Array:
    count = len(valid)
    there = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    if not pa.types.is_string(kind):
        dtype = body.NUMBERS[kind]
        values = numbers.view(dtype) if dtype.kind == "f" else numbers.astype(dtype)
        return pa.Array.from_buffers(kind, count, [there, pa.py_buffer(values)])
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    text = np.empty(offsets[-1], np.uint8)
    _gather(data, numbers, lengths, text)
    column = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text), there)
    column.validate(full=True)
    return column


@njit(nogil=True)
def _varint(data, at, end):
    """Return a number and where the next thing begins; (-1, at) when it does not end."""
    value, shift = 0, 0
    while at < end and shift < 56:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return -1, at


@njit(nogil=True)
def _count(data, starts, firsts):
    """Fill in the first row of each body; False when one has no count that may be."""
    for i in range(starts.shape[0] - 1):
        rows, _ = _varint(data, starts[i], starts[i + 1])
        if rows < 0 or rows > _ROWS_MAX:
            return False
        firsts[i + 1] = firsts[i] + rows
    return True


@njit(nogil=True)
def _read(data, starts, firsts, kinds, bits, numbers, lengths, valid):
    """Read every body. numbers[column, row]: a whole number, the bits of a real one, or where a
    text begins; lengths: of texts. False when a body is not understood."""
    many = 0
    for i in range(firsts.shape[0] - 1):
        many = max(many, firsts[i + 1] - firsts[i])
    where, values, sizes = np.empty((3, many + 1), np.int64)
    begins, words = np.empty((2, data.shape[0] + 1), np.int64)
    for i in range(starts.shape[0] - 1):
        rows, end = firsts[i + 1] - firsts[i], starts[i + 1]
        _, at = _varint(data, starts[i], end)
        before = -1
        while at < end:
            if at + 3 > end or data[at] >= kinds.shape[0] or np.int64(data[at]) <= before:
                return False
            column, form = np.int64(data[at]), np.int64(data[at + 1])
            before = column
            size, at = _varint(data, at + 2, end)
            stop = at + size
            if size < 0 or stop > end:
                return False
            count, at = _places(data, at, stop, form, rows, where)
            form &= _FORM
            if count < 1:
                return False
            if kinds[column] == _TEXT:
                good = _texts(data, at, stop, form, count, values, sizes, begins, words)
            elif kinds[column] == _REAL:
                good = _reals(data, at, stop, form, count, values)
            else:
                good = _wholes(data, at, stop, form, count, values, bits[column])
            if not good:
                return False
            for k in range(count):
                row = firsts[i] + where[k]
                numbers[column, row], valid[column, row] = values[k], True
                if kinds[column] == _TEXT:
                    lengths[column, row] = sizes[k]
            at = stop
    return True


@njit(nogil=True)
def _places(data, at, stop, form, rows, where):
    """Find the rows that are not null; return how many, and where their values begin."""
    if not form & _NULLS:
        for row in range(rows):
            where[row] = row
        return rows, at
    size, count = (rows + 7) // 8, 0
    if at + size > stop or (rows % 8 and data[at + size - 1] >> (rows % 8)):
        return -1, at
    for row in range(rows):
        if data[at + row // 8] >> (row % 8) & 1:
            where[count] = row
            count += 1
    return count, at + size


@njit(nogil=True)
def _plane(data, at, width, count, k):
    """Return number k of `count` that lie byte plane by byte plane, with its sign."""
    value = np.int64(0)
    for byte in range(width):
        value |= np.int64(data[at + byte * count + k]) << (8 * byte)
    shift = 64 - 8 * width
    return value << shift >> shift


@njit(nogil=True)
def _reals(data, at, stop, form, count, values):
    """Read the bits of real numbers."""
    if form == CONSTANT and stop - at == 8:
        for k in range(count):
            values[k] = _plane(data, at, 8, 1, 0)
        return True
    if form != PLANES or stop - at != 8 * count:
        return False
    for k in range(count):
        values[k] = _plane(data, at, 8, count, k)
    return True


@njit(nogil=True)
def _wholes(data, at, stop, form, count, values, bits):
    """Read whole numbers of so many bits: a first one, and steps from each to the next."""
    if stop - at < 8:
        return False
    shift = 64 - bits
    first = _plane(data, at, 8, 1, 0)
    if first << shift >> shift != first:
        return False
    if form == CONSTANT:
        values[:count] = first
        return stop - at == 8
    if form != DIFFERENCES or stop - at < 9:
        return False
    width = np.int64(data[at + 8])
    known = width == 1 or width == 2 or width == 4 or width == 8
    if not known or stop - at != 9 + width * (count - 1):
        return False
    values[0] = first
    for k in range(count - 1):
        step = _plane(data, at + 9, width, count - 1, k)
        values[k + 1] = (values[k] + step) << shift >> shift
    return True


@njit(nogil=True)
def _texts(data, at, stop, form, count, values, sizes, begins, words):
    """Find where texts begin and how long they are."""
    if form == CONSTANT:
        for k in range(count):
            values[k], sizes[k] = at, stop - at
        return True
    if form == WORDS:
        return _words(data, at, stop, count, values, sizes)
    if form != DICTIONARY:
        return False
    many, at = _varint(data, at, stop)
    size, at = _varint(data, at, stop)
    if many < 1 or size < 0 or at + 1 + size > stop or many >= begins.shape[0]:
        return False
    width, last = np.int64(data[at]), at + 1 + size
    known = width == 1 or width == 2 or width == 4 or width == 8
    if not known or stop - last != width * count:
        return False
    if not _words(data, at + 1, last, many, begins, words):
        return False
    for k in range(count):
        word = _plane(data, last, width, count, k)
        if word < 0 or word >= many:
            return False
        values[k], sizes[k] = begins[word], words[word]
    return True


@njit(nogil=True)
def _words(data, at, stop, count, begins, sizes):
    """Find words that lie end to end behind their lengths."""
    if at >= stop:
        return False
    form = np.int64(data[at])
    size, at = _varint(data, at + 1, stop)
    if size < 0 or at + size > stop or not _wholes(data, at, at + size, form, count, sizes, 64):
        return False
    place = at + size
    for k in range(count):
        if sizes[k] < 0 or sizes[k] > stop - place:
            return False
        begins[k] = place
        place += sizes[k]
    return place == stop


@njit(nogil=True)
def _gather(data, begins, sizes, text):
    """Copy texts to lie end to end."""
    to = 0
    for k in range(sizes.shape[0]):
        for byte in range(sizes[k]):
            text[to + byte] = data[begins[k] + byte]
        to += sizes[k]
