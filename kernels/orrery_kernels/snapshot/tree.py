"""A Merkle tree over named leaves: same contents, same root, whatever happened before.

    root:    "R" | version u8 | bits u8 | leaves u64 | kind of the values, 32 bytes | digests below
    branch:  "N" | 16 digests of what lies below
    bucket:  see buckets.py

Every piece is named by the BLAKE3-256 of its bytes, so two trees share what they have in common and
a piece can be kept, sent and checked alone. A tree is its root's digest; functions that read one
take `fetch`, which returns a piece by its digest (any mapping's __getitem__). Nothing is changed in
place: what makes a new tree returns the new root and the new pieces.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.buckets import (
    PER_BUCKET,
    VALUE_BYTES_MAX,
    bits_for,
    bucket_of,
    buckets_of,
    change_bucket,
    fill_buckets,
    find_in_bucket,
    pack_bucket,
    read_bucket,
)
from orrery_kernels.snapshot.digest import (
    DIGEST_BYTES,
    digest,
    digest_all,
    digest_many,
    digest_shares,
)

Fetch = Callable[[bytes], bytes]

VERSION = 1
FANOUT_BITS = 4
FANOUT = 1 << FANOUT_BITS
_LAST = FANOUT - 1
# digest(b"orrery: values in canonical bytes, version 1"), written out: an import compiles nothing.
CANONICAL = bytes.fromhex("77d29bb210011c861ef520275e1b411ca6a04ab92b185fe38b481b89744edceb")
_ROOT = struct.Struct("<cBBQ32s")
_COUNTED = 5  # bytes of a bucket that hold its tag and count
BRANCH_BYTES = 1 + FANOUT * DIGEST_BYTES


class Root(NamedTuple):
    """What a root says: number of leaves, kind of their values, digests of what lies below."""

    bits: int
    count: int
    kind: bytes
    below: list[bytes]


class Built(NamedTuple):
    """A new tree: its root's digest, and every piece that its making brought."""

    root: bytes
    pieces: Mapping[bytes, bytes]


class Pieces(Mapping[bytes, bytes]):
    """The pieces of a tree built in bulk, cut out of one stretch of memory when asked for."""

    def __init__(self, levels: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        self._levels = levels
        self._places: dict[bytes, tuple[int, int]] | None = None

    def _index(self) -> dict[bytes, tuple[int, int]]:
        # Made at the first question: whoever only wants the root does not pay for it.
        if self._places is None:
            self._places = {
                name: (level, at)
                for level, (_, _, digests) in enumerate(self._levels)
                for at, name in enumerate(_split(digests.tobytes()))
            }
        return self._places

    def __getitem__(self, name: bytes) -> bytes:
        level, at = self._index()[name]
        data, offsets, _ = self._levels[level]
        return data[offsets[at] : offsets[at + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._index())

    def __len__(self) -> int:
        return len(self._index())


def build(names: list[str] | pa.Array, values: list[bytes] | np.ndarray, kind: bytes) -> Built:
    """Return the tree over names[i] -> values[i].

    values: a list of bytes, or uint8[n, width] for records of one width. kind: 32 bytes that say
    how to read a value (CANONICAL, or the digest of a record's layout). Names come in any order.
    Raises SnapshotError on a doubled name, a name that is not text, or a value over 64 KiB.

    >>> one = build(["b", "a"], [b"2", b"1"], CANONICAL)
    >>> one.root == build(["a", "b"], [b"1", b"2"], CANONICAL).root
    True
    """
    if len(kind) != DIGEST_BYTES:
        raise SnapshotError(f"the kind of values must be 32 bytes, was {len(kind)}")
    if len(names) != len(values):
        raise SnapshotError(f"every name must have a value, {len(names)} have {len(values)}")
    if len(names) <= PER_BUCKET and not isinstance(names, pa.Array):
        return _build_few(names, values, kind)
    data, ends = _flat(values)
    body, offsets = fill_buckets(_text(names), data, ends)
    return _stack(body, offsets, len(names), kind)


def _build_few(names: list[str], values: list[bytes] | np.ndarray, kind: bytes) -> Built:
    """Return the tree of so few leaves that one bucket holds them: the same bytes, sooner."""
    if isinstance(values, list):
        _check_width(max(map(len, values), default=0))
    held = {_name_bytes(name): value for name, value in zip(names, values, strict=True)}
    if len(held) < len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise SnapshotError(f"a name must occur once, {doubled!r} is doubled")
    ordered = sorted(held)
    bucket = pack_bucket(ordered, [bytes(held[name]) for name in ordered])
    root = _pack_root(0, len(names), kind, below := digest(bucket))
    return Built(name := digest(root), {below: bucket, name: root})


def update(root: bytes, changes: Mapping[str, bytes | None], fetch: Fetch) -> Built:
    """Return the tree with some values replaced, added, or (None) removed; only new pieces.

    Costs O(k log n) for k changes, except when the number of leaves passes 8 * 2**b: then the
    number of buckets changes and the tree is laid out anew.
    """
    top = read_root(fetch(root))
    wanted: dict[int, dict[bytes, bytes | None]] = {}
    keys = [_name_bytes(name) for name in changes]
    for at, key, value in zip(buckets_of(keys, top.bits), keys, changes.values(), strict=True):
        if value is not None and len(value) > VALUE_BYTES_MAX:
            raise SnapshotError(f"a value must be at most 64 KiB, that of {key!r} is {len(value)}")
        wanted.setdefault(at, {})[key] = value
    paths = _read_paths(top, wanted, fetch)
    count, changed = top.count, {}
    for at, some in wanted.items():
        before = paths[0][at]
        after = change_bucket(before, some)
        if after[:_COUNTED] != before[:_COUNTED]:
            count += _count(after) - _count(before)
        changed[at] = after
    if bits_for(count) != top.bits:
        return _lay_out_anew(root, changes, top.kind, fetch)
    return _rise(top, changed, paths, count)


def get(root: bytes, name: str, fetch: Fetch) -> bytes | None:
    """Return the value under `name`, or None."""
    top, key = read_root(fetch(root)), _name_bytes(name)
    at = bucket_of(key, top.bits)
    return find_in_bucket(_read_paths(top, [at], fetch)[0][at], key)


def items(root: bytes, fetch: Fetch) -> Iterator[tuple[str, bytes]]:
    """Yield every (name, value), bucket by bucket: the same order on every node."""
    for body in bodies(root, fetch):
        if body[:1] == b"B":
            names, values = read_bucket(body)
            yield from zip((name.decode() for name in names), values, strict=True)


def bodies(root: bytes, fetch: Fetch) -> Iterator[bytes]:
    """Yield every piece of the tree, a piece before what lies below it."""
    body = fetch(root)
    yield body
    for below in pieces_below(body):
        yield from bodies(below, fetch)


def pieces_below(body: bytes) -> list[bytes]:
    """Return the digests that a piece names; none for a bucket."""
    if body[:1] == b"R":
        return read_root(body).below
    if body[:1] == b"N":
        return _split(body[1:])
    return []


def read_root(body: bytes) -> Root:
    """Take a root apart. Raises SnapshotError when the bytes are not those of one."""
    if len(body) < _ROOT.size or body[:1] != b"R":
        raise SnapshotError(f"a root must begin with 'R', was {body[:8]!r}: is it another piece?")
    _, version, bits, count, kind = _ROOT.unpack_from(body)
    if version != VERSION:
        raise SnapshotError(f"a root must be of version {VERSION}, was {version}: use newer code")
    return Root(bits, count, kind, _split(body[_ROOT.size :]))


def _text(names: list[str] | pa.Array) -> pa.LargeStringArray:
    try:
        text = names if isinstance(names, pa.Array) else pa.array(names, pa.large_string())
        return text.cast(pa.large_string())
    except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
        raise SnapshotError(f"names must be text in valid Unicode: {error}") from error


def _name_bytes(name: str) -> bytes:
    try:
        return name.encode()
    except (UnicodeEncodeError, AttributeError) as error:
        was = repr(name)[:40]
        raise SnapshotError(f"names must be text in valid Unicode, was {was}") from error


def _flat(values: list[bytes] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(values, np.ndarray):
        width = values.shape[1]
        data = np.ascontiguousarray(values).reshape(-1)
        return data, np.arange(len(values) + 1, dtype=np.int64) * width
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    _check_width(int(lengths.max(initial=0)))
    data = np.frombuffer(b"".join(values), np.uint8)
    return data, np.concatenate((np.zeros(1, np.int64), lengths.cumsum()))


def _check_width(largest: int) -> None:
    if largest > VALUE_BYTES_MAX:
        raise SnapshotError(f"a value must be at most 64 KiB, the largest is {largest}")


def _stack(body: np.ndarray, offsets: np.ndarray, count: int, kind: bytes) -> Built:
    """Build the branches and the root over the buckets."""
    digests = digest_shares(body, offsets)
    levels = [(body, offsets, digests)]
    while len(digests) > FANOUT:
        branches = np.empty((len(digests) // FANOUT, BRANCH_BYTES), np.uint8)
        branches[:, 0] = ord("N")
        branches[:, 1:] = digests.reshape(len(branches), -1)
        offsets = np.arange(len(branches) + 1, dtype=np.int64) * BRANCH_BYTES
        digests = digest_many(branches.reshape(-1), offsets)
        levels.append((branches.reshape(-1), offsets, digests))
    root = _pack_root(bits_for(count), count, kind, digests.tobytes())
    name = digest(root)
    whole = np.array([0, len(root)])
    top = (np.frombuffer(root, np.uint8), whole, np.frombuffer(name, np.uint8))
    return Built(name, Pieces([*levels, top]))


def _pack_root(bits: int, count: int, kind: bytes, below: bytes) -> bytes:
    return _ROOT.pack(b"R", VERSION, bits, count, kind) + below


def _split(digests: bytes) -> list[bytes]:
    return [digests[i : i + DIGEST_BYTES] for i in range(0, len(digests), DIGEST_BYTES)]


def _count(bucket: bytes) -> int:
    return int.from_bytes(bucket[1:5], "little")


def _depth(bits: int) -> int:
    """Return the number of branch levels between the root and the buckets."""
    return max(0, (bits - 1) // FANOUT_BITS)


def _read_paths(top: Root, buckets, fetch: Fetch) -> list[dict[int, bytes]]:
    """Return by level (0 = buckets) and place the pieces on the way to some buckets."""
    levels: list[dict[int, bytes]] = []
    for level in range(_depth(top.bits), -1, -1):
        shift = FANOUT_BITS * level
        places = dict.fromkeys([bucket >> shift for bucket in buckets])
        if levels:
            above = levels[-1]
            names = [
                above[at >> FANOUT_BITS][
                    (slot := 1 + (at & _LAST) * DIGEST_BYTES) : slot + DIGEST_BYTES
                ]
                for at in places
            ]
        else:
            names = [top.below[at] for at in places]
        levels.append(dict(zip(places, map(fetch, names), strict=True)))
    return levels[::-1]


def _rise(top: Root, changed: dict[int, bytes], paths: list[dict[int, bytes]], count: int) -> Built:
    """Name the changed buckets and everything above them."""
    places, bodies = list(changed), list(changed.values())
    names = digest_all(bodies)
    pieces = dict(zip(names, bodies, strict=True))
    for before in paths[1:]:
        whole = _with_names(before, places, names)
        places = list(before)
        offsets = np.arange(len(places) + 1) * BRANCH_BYTES
        names = _split(digest_many(np.frombuffer(whole, np.uint8), offsets).tobytes())
        cuts = offsets.tolist()
        bodies = [whole[a:b] for a, b in pairwise(cuts)]
        pieces.update(zip(names, bodies, strict=True))
    below = list(top.below)
    for at, name in zip(places, names, strict=True):
        below[at] = name
    root = _pack_root(top.bits, count, top.kind, b"".join(below))
    name = digest(root)
    pieces[name] = root
    return Built(name, pieces)


def _with_names(before: Mapping[int, bytes], places: list[int], names: list[bytes]) -> bytes:
    """Return some branches end to end, with the new names of what lies at places below them."""
    row_of = {parent: row for row, parent in enumerate(before)}
    whole = bytearray(b"".join(before.values()))
    for at, name in zip(places, names, strict=True):
        slot = row_of[at >> FANOUT_BITS] * BRANCH_BYTES + 1 + (at & _LAST) * DIGEST_BYTES
        whole[slot : slot + DIGEST_BYTES] = name
    return bytes(whole)


def _lay_out_anew(
    root: bytes, changes: Mapping[str, bytes | None], kind: bytes, fetch: Fetch
) -> Built:
    leaves: dict[str, bytes | None] = {**dict(items(root, fetch)), **changes}
    names = sorted(name for name, value in leaves.items() if value is not None)
    return build(names, [leaves[name] for name in names], kind)


def proof(root: bytes, name: str, fetch: Fetch) -> list[bytes]:
    """Return the pieces that show what lies under `name`, or that nothing does: O(log n)."""
    body = fetch(root)
    top = read_root(body)
    bucket = bucket_of(_name_bytes(name), top.bits)
    levels = _read_paths(top, [bucket], fetch)
    return [body, *(piece for level in reversed(levels) for piece in level.values())]


def proved(root: bytes, name: str, pieces: list[bytes]) -> bytes | None:
    """Return the value that a proof shows under `name`, None if it shows that there is none.

    Needs nothing but the root. Raises SnapshotError when the pieces do not lead there.
    """
    held = {digest(piece): piece for piece in pieces}
    try:
        return get(root, name, held.__getitem__)
    except KeyError as error:
        raise SnapshotError(f"a proof must lead from the root to {name!r}, was not one") from error
