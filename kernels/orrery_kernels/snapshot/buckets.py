"""The leaves of a tree lie in buckets chosen by a hash of their name, four to eight to a bucket.

The number of buckets follows from the number of leaves alone, and names are in order within each:
the same contents make the same bytes, whatever the order in which they came.

    bucket:  "B" | count u32 | ends of names u32[count] | ends of values u32[count] | names | values
"""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.digest import read_only
from orrery_kernels.snapshot.memory import (
    compare_bytes,
    copy_bytes,
    load_u32,
    load_u64,
    store_u32,
)
from orrery_kernels.snapshot.shares import in_turn_or_at_once, shares_of

PER_BUCKET = 8
VALUE_BYTES_MAX = 1 << 16
_HEAD_BYTES = 5
_TAG = ord("B")
_COUNT = struct.Struct("<I")
# FNV-1a by words of eight bytes (Fowler, Noll, Vo, 1991), then the finaliser of splitmix64 (Steele,
# Lea, Flood, 2014): the first alone leaves the top bits of short names poorly mixed.
_FNV_BASIS, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1
_ZERO = np.zeros(1, np.int64)
_NONE = read_only(_ZERO)
_PART_BITS = 9  # buckets in a part of the scratch memory: 512
_RECORD_HEAD = 12


Pair = tuple[bytes, bytes | None, bytes | None]


class Bucket(NamedTuple):
    """One bucket taken apart."""

    names: list[bytes]
    values: list[bytes]


def bits_for(count: int) -> int:
    """Return b such that 2**b buckets hold `count` leaves.

    >>> bits_for(8), bits_for(9), bits_for(1_000_000)
    (0, 1, 17)
    """
    return max(0, (count - 1) // PER_BUCKET).bit_length()


def bucket_of(name: bytes, bits: int) -> int:
    """Return the bucket of a name among 2**bits."""
    h = _FNV_BASIS ^ len(name)
    for at in range(0, len(name), 8):
        h = (h ^ int.from_bytes(name[at : at + 8], "little")) * _FNV_PRIME & _MASK
        h ^= h >> 32
    h = (h ^ h >> 30) * _MIX_1 & _MASK
    h = (h ^ h >> 27) * _MIX_2 & _MASK
    return (h ^ h >> 31) >> (64 - bits)


def buckets_of(names: Sequence[bytes], bits: int) -> list[int]:
    """Return the buckets of many names.

    >>> names = [b"A.X", b"a longer name"]
    >>> buckets_of(names, 8) == [bucket_of(name, 8) for name in names]
    True
    """
    lengths = np.fromiter(map(len, names), np.int64, len(names))
    found = np.empty(len(names), np.uint32)
    _find_buckets(np.frombuffer(b"".join(names), np.uint8), _running(lengths), bits, found)
    return found.tolist()


def pack_bucket(names: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    """Return the bytes of a bucket; names must be in order."""
    ends, at = [], 0
    for part in (names, values):
        at = 0
        for item in part:
            at += len(item)
            ends.append(at)
    head = b"B" + struct.pack(f"<{1 + len(ends)}I", len(names), *ends)
    return head + b"".join(names) + b"".join(values)


def read_bucket(body: bytes) -> Bucket:
    """Take a bucket apart. Raises SnapshotError when the bytes are not those of one."""
    if len(body) < _HEAD_BYTES or body[0] != _TAG:
        raise SnapshotError(f"a bucket must begin with 'B' and a count, was {body[:8]!r}")
    (count,) = _COUNT.unpack_from(body, 1)
    start = _HEAD_BYTES + 8 * count
    if start > len(body):
        raise SnapshotError(
            f"a bucket of {count} leaves must be over {start} bytes, was {len(body)}"
        )
    ends = struct.unpack_from(f"<{2 * count}I", body, _HEAD_BYTES)
    names = _cut(body, start, ends[:count])
    values = _cut(body, start + (ends[count - 1] if count else 0), ends[count:])
    return Bucket(names, values)


def find_in_bucket(body: bytes, name: bytes) -> bytes | None:
    """Return the value under `name`, or None."""
    place = _place_of(body, name)
    return None if place is None else body[slice(*place)]


def change_bucket(body: bytes, changes: Mapping[bytes, bytes | None]) -> bytes:
    """Return the bucket with some values replaced, added, or (None) removed."""
    if len(changes) == 1:
        ((name, value),) = changes.items()
        place = _place_of(body, name)
        if place and value is not None and len(value) == place[1] - place[0]:
            return b"".join((body[: place[0]], value, body[place[1] :]))
    leaves = dict(zip(*read_bucket(body), strict=True))
    for name, value in changes.items():
        if value is None:
            leaves.pop(name, None)
        else:
            leaves[name] = value
    names = sorted(leaves)
    return pack_bucket(names, [leaves[name] for name in names])


def changed_in_bucket(
    before: bytes, after: bytes
) -> list[tuple[bytes, bytes | None, bytes | None]]:
    """Return (name, value before, value after) of what differs, in order of name."""
    (count,) = _COUNT.unpack_from(before, 1)
    if len(before) == len(after) and count:
        (text,) = _COUNT.unpack_from(before, _HEAD_BYTES + 4 * count - 4)
        start = _HEAD_BYTES + 8 * count + text
        if before[:start] == after[:start]:
            return _changed_values(before, after, count, start)
    was_all, now_all = (dict(zip(*read_bucket(body), strict=True)) for body in (before, after))
    pairs = [(name, was_all.get(name), now_all.get(name)) for name in sorted(was_all | now_all)]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _changed_values(before: bytes, after: bytes, count: int, start: int) -> list[Pair]:
    """Find what differs between buckets of the same names and lengths, by halving."""
    ends = struct.unpack_from(f"<{2 * count}I", before, _HEAD_BYTES)
    names, found, first, at = start - ends[count - 1], [], 0, start
    while before[at:] != after[at:]:
        stop = count  # the first that differs lies in [first, stop)
        while stop - first > 1:
            middle = (first + stop) // 2
            end = start + ends[count + middle - 1]
            if before[at:end] == after[at:end]:
                first, at = middle, end
            else:
                stop = middle
        end = start + ends[count + first]
        name = before[names + (ends[first - 1] if first else 0) : names + ends[first]]
        found.append((name, before[at:end], after[at:end]))
        first, at = first + 1, end
    return found


def _place_of(body: bytes, name: bytes) -> tuple[int, int] | None:
    """Return where the value of `name` begins and ends in the bucket, or None."""
    (count,) = _COUNT.unpack_from(body, 1)
    ends = struct.unpack_from(f"<{2 * count}I", body, _HEAD_BYTES)
    text = _HEAD_BYTES + 8 * count
    values = text + (ends[count - 1] if count else 0)
    found = body.find(name, text, values)
    while found >= 0:
        # A hit may lie across two names, so its ends must be those of one.
        end = found - text + len(name)
        if end in ends[:count]:
            at = ends.index(end)
            if found - text == (ends[at - 1] if at else 0):
                return values + (ends[count + at - 1] if at else 0), values + ends[count + at]
        found = body.find(name, found + 1, values)
    return None


def _cut(body: bytes, start: int, ends: Sequence[int]) -> list[bytes]:
    items, at = [], start
    for end in ends:
        items.append(body[at : start + end])
        at = start + end
    if at > len(body):
        raise SnapshotError(f"a bucket is cut off: {len(body)} of {at} bytes are there")
    return items


def fill_buckets(
    names: pa.LargeStringArray, values: np.ndarray, value_ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lay all leaves out in buckets. Returns the bodies end to end, their offsets[buckets + 1].

    values: uint8, end to end; value_ends: int64[n + 1]. Names may come in any order; raises
    SnapshotError if one is doubled.
    """
    _, ends, text = names.buffers()
    count = len(names)
    name_ends = np.frombuffer(ends, np.int64)[names.offset :][: count + 1] if count else _NONE
    data = np.frombuffer(text, np.uint8) if text else np.frombuffer(b"", np.uint8)
    bits = bits_for(count)
    shift = min(bits, _PART_BITS)
    columns = data, name_ends, read_only(values), value_ends
    shares = shares_of(count)
    bucket = np.empty(count, np.uint32)
    counts, sizes = np.zeros((2, len(shares), 1 << (bits - shift)), np.int64)

    def measure(at: int) -> None:
        _measure(*columns, bits, *shares[at], bucket, counts[at], sizes[at])

    in_turn_or_at_once(measure, len(shares))
    begins = _running(sizes.sum(0))
    places = begins[:-1] + sizes.cumsum(0) - sizes
    scratch = np.empty(begins[-1], np.uint8)

    def scatter(at: int) -> None:
        _scatter(*columns, shift, *shares[at], bucket, places[at], scratch)

    in_turn_or_at_once(scatter, len(shares))
    lengths = sizes.sum(0) - (_RECORD_HEAD - 8) * counts.sum(0) + (_HEAD_BYTES << shift)
    ends_out = _running(lengths)
    offsets, out = np.empty((1 << bits) + 1, np.int64), np.empty(ends_out[-1], np.uint8)
    offsets[-1] = ends_out[-1]
    parts = shares_of(len(lengths), 1) if len(shares) > 1 else [(0, len(lengths))]

    def gather(at: int) -> int:
        return _gather(scratch, begins, shift, *parts[at], ends_out, offsets, out)

    doubled = max(in_turn_or_at_once(gather, len(parts)))
    if doubled >= 0:
        length = int.from_bytes(scratch[doubled : doubled + 4].tobytes(), "little")
        name = scratch[doubled + _RECORD_HEAD :][:length].tobytes().decode()
        raise SnapshotError(f"a name must occur once, {name!r} is doubled")
    return out, offsets


def _running(sizes: np.ndarray) -> np.ndarray:
    """Return where each of these begins when they lie end to end, and where the last one ends."""
    return np.concatenate((_ZERO, sizes.cumsum()))


# A million leaves in the order of their hashes are a million places far apart in memory. So they
# are first copied, as they come, to parts of 512 buckets, each of which fits a cache.


@njit(nogil=True)
def _measure(data, ends, values, value_ends, bits, first, stop, bucket, counts, sizes):
    """Find the buckets of some names, and how many leaves and bytes go to each part."""
    shift = min(bits, _PART_BITS)
    for i in range(first, stop):
        bucket[i] = _bucket(data, ends[i], ends[i + 1], bits)
        part = bucket[i] >> shift
        counts[part] += 1
        sizes[part] += _RECORD_HEAD + ends[i + 1] - ends[i] + value_ends[i + 1] - value_ends[i]


@njit(nogil=True)
def _bucket(data, start, end, bits):
    base = np.int64(data.ctypes.data)
    h = np.uint64(_FNV_BASIS) ^ np.uint64(end - start)
    for at in range(start, end, 8):
        word = np.uint64(0)
        if end - at >= 8:
            word = load_u64(base + at)
        else:
            for byte in range(end - at):
                word |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
        h = (h ^ word) * np.uint64(_FNV_PRIME)
        h ^= h >> np.uint64(32)
    h = (h ^ h >> np.uint64(30)) * np.uint64(_MIX_1)
    h = (h ^ h >> np.uint64(27)) * np.uint64(_MIX_2)
    h ^= h >> np.uint64(31)
    return h >> np.uint64(64 - bits) if bits else np.uint64(0)


@njit(nogil=True)
def _find_buckets(data, ends, bits, found):
    for i in range(found.shape[0]):
        found[i] = _bucket(data, ends[i], ends[i + 1], bits)


@njit(nogil=True)
def _scatter(data, ends, values, value_ends, shift, first, stop, bucket, places, scratch):
    """Copy some leaves to their parts: length of name, length of value, bucket, name, value."""
    names_at, values_at = np.int64(data.ctypes.data), np.int64(values.ctypes.data)
    to = np.int64(scratch.ctypes.data)
    for i in range(first, stop):
        part = bucket[i] >> shift
        at = to + places[part]
        name, value = ends[i + 1] - ends[i], value_ends[i + 1] - value_ends[i]
        store_u32(at, name)
        store_u32(at + 4, value)
        store_u32(at + 8, bucket[i])
        copy_bytes(at + _RECORD_HEAD, names_at + ends[i], name)
        copy_bytes(at + _RECORD_HEAD + name, values_at + value_ends[i], value)
        places[part] += _RECORD_HEAD + name + value


@njit(nogil=True)
def _gather(scratch, begins, shift, first, stop, ends_out, offsets, out):
    """Write bucket after bucket of some parts. Returns where a doubled name lies, or -1."""
    base, local = np.int64(scratch.ctypes.data), 1 << shift
    following, doubled = np.empty(local + 1, np.int64), np.int64(-1)
    for part in range(first, stop):
        order = _sort_part(base, begins[part], begins[part + 1], following, local)
        at, begin = ends_out[part], 0
        for b in range(local):
            count = following[b] - begin
            for rank in range(1, count):
                doubled = max(doubled, _insert_by_name(order, begin, rank, base))
            offsets[part * local + b] = at
            at = _write_bucket(base, order[begin : begin + count], out, at)
            begin += count
    return doubled


@njit(nogil=True)
def _sort_part(base, start, end, following, local):
    """Return the places of a part's records in order of their buckets; following[b]: end of b."""
    following[:] = 0
    at, count = start, 0
    while at < end:
        following[(load_u32(base + at + 8) & (local - 1)) + 1] += 1
        at += _RECORD_HEAD + load_u32(base + at) + load_u32(base + at + 4)
        count += 1
    for b in range(local):
        following[b + 1] += following[b]
    order = np.empty(count, np.int64)
    at = start
    while at < end:
        b = load_u32(base + at + 8) & (local - 1)
        order[following[b]] = at
        following[b] += 1
        at += _RECORD_HEAD + load_u32(base + at) + load_u32(base + at + 4)
    return order


@njit(nogil=True)
def _write_bucket(base, order, out, at):
    """Write one bucket of the records at these places, in their order. Returns where it ends."""
    to, count = np.int64(out.ctypes.data) + at, order.shape[0]
    out[at] = _TAG
    store_u32(to + 1, count)
    text = to + _HEAD_BYTES + 8 * count
    name_end = 0
    for rank in range(count):
        size = load_u32(base + order[rank])
        copy_bytes(text + name_end, base + order[rank] + _RECORD_HEAD, size)
        name_end += size
        store_u32(to + _HEAD_BYTES + 4 * rank, name_end)
    value_end = 0
    for rank in range(count):
        name, size = load_u32(base + order[rank]), load_u32(base + order[rank] + 4)
        copy_bytes(text + name_end + value_end, base + order[rank] + _RECORD_HEAD + name, size)
        value_end += size
        store_u32(to + _HEAD_BYTES + 4 * (count + rank), value_end)
    return at + _HEAD_BYTES + 8 * count + name_end + value_end


@njit(nogil=True)
def _insert_by_name(order, first, rank, base):
    """Move a record to its place among `rank` before it. Returns it if its name is there, or -1."""
    new = order[first + rank]
    size = load_u32(base + new)
    while rank > 0:
        old = order[first + rank - 1]
        other = load_u32(base + old)
        sign = compare_bytes(base + new + _RECORD_HEAD, base + old + _RECORD_HEAD, min(size, other))
        difference = np.int64(sign) if sign != 0 else size - other
        if difference >= 0:
            order[first + rank] = new
            return new if difference == 0 else np.int64(-1)
        order[first + rank] = old
        rank -= 1
    order[first] = new
    return np.int64(-1)
