"""Whether two nodes hold the same: roots over what they hold, compared where both can have it.

A leaf is (natural key, digest), never origin or number: those say by which road a fact came. Leaves
are in the order of keys, 1,024 to a block; a partition only grows at its end, so a full block never
changes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from blake3 import blake3

from .marks import Mark

LEAVES_A_BLOCK = 1024


class Leaf(NamedTuple):
    key: str
    id: bytes


class Block(NamedTuple):
    """Up to 1,024 leaves: where they begin and end, and the digest of all of them."""

    first: str
    last: str
    leaves: int
    digest: bytes


def blocks(leaves: Iterable[Leaf]) -> Iterator[Block]:
    """Yield the blocks of leaves that come in the order of their keys."""
    held: list[Leaf] = []
    for leaf in leaves:
        held.append(leaf)
        if len(held) == LEAVES_A_BLOCK:
            yield _block(held)
            held = []
    if held:
        yield _block(held)


def _block(leaves: Sequence[Leaf]) -> Block:
    hasher = blake3(b"orrery block 1")
    for leaf in leaves:
        key = leaf.key.encode()
        hasher.update(len(key).to_bytes(4, "little") + key + leaf.id)
    return Block(leaves[0].key, leaves[-1].key, len(leaves), hasher.digest())


def root(found: Iterable[Block]) -> bytes:
    """Return the root of a Merkle tree over blocks. An odd one moves up as it is."""
    level = [block.digest for block in found]
    if not level:
        return blake3(b"orrery root 1 of nothing").digest()
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [
            blake3(b"orrery node 1" + b"".join(p)).digest() if len(p) == 2 else p[0] for p in pairs
        ]
    return level[0]


def differing(one: Sequence[Block], other: Sequence[Block]) -> list[tuple[str, str]]:
    """Return the ranges of keys, first and last, in which two lists of blocks differ."""
    found = []
    for i in range(max(len(one), len(other))):
        here, there = one[i : i + 1], other[i : i + 1]
        if [b.digest for b in here] != [b.digest for b in there]:
            both = [*here, *there]
            found.append((min(b.first for b in both), max(b.last for b in both)))
    return found


def lower(marks: Iterable[Mark]) -> Mark:
    """Return the mark at which several nodes can be compared: the lowest."""
    return min(marks, key=lambda mark: mark.ordinal)


def verdict(compared: int, different: int, behind: int) -> str:
    """Return the one word. Nothing compared is not converged.

    >>> verdict(0, 0, 0), verdict(10, 0, 3), verdict(10, 1, 3), verdict(10, 0, 0)
    ('NOTHING COMPARED', 'CATCHING UP', 'DIVERGED', 'CONVERGED')
    """
    if different:
        return "DIVERGED"
    if behind:
        return "CATCHING UP"
    return "CONVERGED" if compared else "NOTHING COMPARED"
