"""One value, one string of bytes: type-tagged, length-prefixed, and readable back.

    N  none              F, f  false, true     I  integer, two's complement
    D  float64 by bits   S  text in UTF-8      Y  bytes
    L  list              T  tuple              M  mapping, by the bytes of its keys
    A  numpy array       C  arrow array        B  arrow record batch     W  arrow table
    O  an object of a declared class: its name, then to_bytes() or its fields

Each tag is followed by the length of what it covers (uint32, little-endian), so no two values can
share their bytes: 1, 1.0, "1", b"1", [1] and (1,) all differ. Every NaN is the one quiet NaN; -0.0
is not 0.0, because it computes differently.
"""

import dataclasses
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot import columns
from orrery_kernels.snapshot.digest import digest

DEPTH_MAX = 64
_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<cI")
_FLOAT = struct.Struct("<d")
_BODY_MAX = 1 << 31
NAN_BYTES = bytes.fromhex("000000000000f87f")


def encode(value: Any) -> bytes:
    """Return the canonical bytes of `value`. Raises SnapshotError on a type that has none.

    >>> encode(1), encode("1")
    (b'I\\x01\\x00\\x00\\x00\\x01', b'S\\x01\\x00\\x00\\x001')
    """
    return _encode(value, 0)


def decode(data: bytes, classes: Sequence[type] = ()) -> Any:
    """Return the value that `encode` wrote; `classes` are those whose objects may be in it.

    Raises SnapshotError on bytes that `encode` would not have written in this place.
    """
    try:
        value, end = _decode(bytes(data), 0, classes, 0)
    except SnapshotError:
        raise
    except (ValueError, TypeError, OverflowError, struct.error, pa.ArrowException) as error:
        raise SnapshotError(f"bytes must be those of a value: {error}") from error
    if end != len(data):
        raise SnapshotError(f"a value must end with its bytes, {len(data) - end} were left over")
    return value


def value_digest(value: Any) -> bytes:
    """Return the BLAKE3-256 of the canonical bytes."""
    return digest(encode(value))


def _encode(value: Any, depth: int) -> bytes:
    if depth > DEPTH_MAX:
        raise SnapshotError(f"a value may be nested {DEPTH_MAX} deep, this one is deeper")
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            tag, body = write(value, depth)
            break
    else:
        tag, body = _write_object(value, depth)
    if len(body) >= _BODY_MAX:
        raise SnapshotError(f"a value must be smaller than 2 GiB, was {len(body)} bytes")
    return _HEAD.pack(tag, len(body)) + body


def _write_int(value: int, depth: int) -> tuple[bytes, bytes]:
    value = int(value)
    return b"I", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _write_float(value: float, depth: int) -> tuple[bytes, bytes]:
    value = float(value)
    return b"D", NAN_BYTES if value != value else _FLOAT.pack(value)


def _write_text(value: str, depth: int) -> tuple[bytes, bytes]:
    try:
        return b"S", value.encode()
    except UnicodeEncodeError as error:
        raise SnapshotError(f"text must be valid Unicode, was {value[:40]!r}") from error


def _write_items(value: Sequence, depth: int) -> bytes:
    return b"".join(_encode(item, depth + 1) for item in value)


def _write_mapping(value: Mapping, depth: int) -> tuple[bytes, bytes]:
    pairs = {_encode(key, depth + 1): _encode(item, depth + 1) for key, item in value.items()}
    if len(pairs) != len(value):
        raise SnapshotError("the keys of a mapping must differ in their canonical bytes")
    return b"M", b"".join(key + pairs[key] for key in sorted(pairs))


def _write_object(value: Any, depth: int) -> tuple[bytes, bytes]:
    name = _encode(type(value).__name__, depth)
    if hasattr(type(value), "to_bytes") and hasattr(type(value), "from_bytes"):
        return b"O", name + _encode(value.to_bytes(), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return b"O", name + _encode(fields, depth + 1)
    raise SnapshotError(
        f"a value must be a number, text, bytes, list, tuple, mapping, array, record batch, a "
        f"dataclass or an object with to_bytes and from_bytes, was {type(value).__name__}"
    )


# In order: a bool is an int as well, and a Table must not be taken for something simpler.
_WRITERS = (
    (type(None), lambda value, depth: (b"N", b"")),
    ((bool, np.bool_), lambda value, depth: (b"f" if value else b"F", b"")),
    ((int, np.integer), _write_int),
    ((float, np.floating), _write_float),
    (str, _write_text),
    (bytes, lambda value, depth: (b"Y", value)),
    (list, lambda value, depth: (b"L", _write_items(value, depth))),
    (tuple, lambda value, depth: (b"T", _write_items(value, depth))),
    (Mapping, _write_mapping),
    (np.ndarray, lambda value, depth: (b"A", columns.write_numpy(value))),
    ((pa.Array, pa.ChunkedArray), lambda value, depth: (b"C", columns.write_array(value))),
    (pa.RecordBatch, lambda value, depth: (b"B", columns.write_batch(value))),
    (pa.Table, lambda value, depth: (b"W", columns.write_batch(value))),
)


def _decode(data: bytes, at: int, classes: Sequence[type], depth: int) -> tuple[Any, int]:
    if at + _HEAD.size > len(data) or depth > DEPTH_MAX + 1:
        raise SnapshotError(f"a value is cut off or nested too deep at byte {at}")
    tag, length = _HEAD.unpack_from(data, at)
    start, end = at + _HEAD.size, at + _HEAD.size + length
    if end > len(data):
        raise SnapshotError(f"{length} bytes must follow byte {start}, {len(data) - start} do")
    if tag not in _READERS:
        raise SnapshotError(f"no value begins with the tag {tag!r} (byte {at})")
    return _READERS[tag](data[start:end], classes, depth + 1), end


def _read_float(body: bytes, classes: Sequence[type], depth: int) -> float:
    if len(body) != _FLOAT.size:
        raise SnapshotError(f"a float must be 8 bytes, was {len(body)}")
    return _FLOAT.unpack(body)[0]


def _read_text(body: bytes, classes: Sequence[type], depth: int) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise SnapshotError(f"text must be UTF-8, was {body[:40]!r}") from error


def _read_items(body: bytes, classes: Sequence[type], depth: int) -> list:
    items, at = [], 0
    while at < len(body):
        item, at = _decode(body, at, classes, depth)
        items.append(item)
    return items


def _read_mapping(body: bytes, classes: Sequence[type], depth: int) -> dict:
    items = _read_items(body, classes, depth)
    return dict(zip(items[::2], items[1::2], strict=True))


def _read_object(body: bytes, classes: Sequence[type], depth: int) -> Any:
    name, at = _decode(body, 0, classes, depth)
    found = next((c for c in classes if c.__name__ == name), None)
    if found is None:
        known = ", ".join(c.__name__ for c in classes) or "none"
        raise SnapshotError(f"the class {name!r} must be declared to be read, declared: {known}")
    content, _ = _decode(body, at, classes, depth)
    return found.from_bytes(content) if isinstance(content, bytes) else found(**content)


_READERS = {
    b"N": lambda body, classes, depth: None,
    b"F": lambda body, classes, depth: False,
    b"f": lambda body, classes, depth: True,
    b"I": lambda body, classes, depth: int.from_bytes(body, "little", signed=True),
    b"D": _read_float,
    b"S": _read_text,
    b"Y": lambda body, classes, depth: body,
    b"L": _read_items,
    b"T": lambda body, classes, depth: tuple(_read_items(body, classes, depth)),
    b"M": _read_mapping,
    b"A": lambda body, classes, depth: columns.read_numpy(body),
    b"C": lambda body, classes, depth: columns.read_array(body),
    b"B": lambda body, classes, depth: columns.read_batch(body),
    b"W": lambda body, classes, depth: pa.Table.from_batches([columns.read_batch(body)]),
    b"O": _read_object,
}
