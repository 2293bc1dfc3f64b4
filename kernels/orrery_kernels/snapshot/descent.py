"""What differs between two trees, found by going down only where digests differ."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from orrery_kernels.snapshot.buckets import changed_in_bucket
from orrery_kernels.snapshot.digest import DIGEST_BYTES
from orrery_kernels.snapshot.tree import FANOUT, Fetch, items, read_root


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
        was, now = [fetch(a) for a, _ in pairs], [fetch(b) for _, b in pairs]
        if was[0][:1] == b"B":
            for one, other in zip(was, now, strict=True):
                for name, value, later in changed_in_bucket(one, other):
                    yield Change(name.decode(), value, later)
            return
        pairs = _unequal_below(was, now)


def _unequal_below(was: list[bytes], now: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the pairs of digests that differ between the branches of one level."""
    one, other = (
        np.frombuffer(b"".join([body[1:] for body in bodies]), np.uint64) for bodies in (was, now)
    )
    differ = (one != other).reshape(-1, DIGEST_BYTES // one.itemsize).any(axis=1)
    found = []
    for place in np.flatnonzero(differ).tolist():
        branch, at = place // FANOUT, 1 + place % FANOUT * DIGEST_BYTES
        found.append((was[branch][at : at + DIGEST_BYTES], now[branch][at : at + DIGEST_BYTES]))
    return found


def _diff_whole(was: dict[str, bytes], now: dict[str, bytes]) -> Iterator[Change]:
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield Change(name, was.get(name), now.get(name))
