"""What differs between two trees, found by going down only where digests differ."""

from collections.abc import Iterator
from typing import NamedTuple

from orrery_kernels.snapshot.buckets import changed_in_bucket
from orrery_kernels.snapshot.digest import DIGEST_BYTES
from orrery_kernels.snapshot.tree import Fetch, items, read_root


class Change(NamedTuple):
    """One leaf that differs; None where it is absent."""

    name: str
    before: bytes | None
    after: bytes | None


def diff(before: bytes, after: bytes, fetch: Fetch) -> Iterator[Change]:
    """Yield the leaves that differ between two trees, in the same order on every node.

    Costs O(changed * log n) while both trees have the same number of buckets, else O(n).
    """
    if before == after:
        return
    old, new = read_root(fetch(before)), read_root(fetch(after))
    if old.bits != new.bits:
        yield from _diff_whole(dict(items(before, fetch)), dict(items(after, fetch)))
        return
    pairs = [(a, b) for a, b in zip(old.below, new.below, strict=True) if a != b]
    while pairs:
        below = []
        for a, b in pairs:
            was, now = fetch(a), fetch(b)
            if was[:1] == b"B":
                for name, value, other in changed_in_bucket(was, now):
                    yield Change(name.decode(), value, other)
                continue
            below += _unequal(was, now)
        pairs = below


def _unequal(was: bytes, now: bytes) -> list[tuple[bytes, bytes]]:
    """Return the pairs of digests that differ between two branches."""
    # As one number each, so that equal digests cost nothing: at most a few of sixteen differ.
    mixed = int.from_bytes(was, "little") ^ int.from_bytes(now, "little")
    found = []
    while mixed:
        at = ((mixed.bit_length() - 9) // (8 * DIGEST_BYTES)) * DIGEST_BYTES + 1
        found.append((was[at : at + DIGEST_BYTES], now[at : at + DIGEST_BYTES]))
        mixed &= (1 << 8 * at) - 1
    return found[::-1]


def _diff_whole(was: dict[str, bytes], now: dict[str, bytes]) -> Iterator[Change]:
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield Change(name, was.get(name), now.get(name))
