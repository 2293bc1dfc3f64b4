"""Which facts do two nodes not share? Roots of blocks, then a rateless sketch of the differing one.

Blocks: 1,024 leaves of a stream, in the order of their natural keys, have one root; nodes compare
roots. Sketch: a rateless invertible Bloom lookup table (Yang, Gilad, Alizadeh, 2024): a node
streams coded cells of its 64-bit ids until the other can work out the difference, some 1.35 cells
for each id in it. How many there are need not be known or guessed.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from orrery_kernels.errors import SnapshotError
from orrery_kernels.snapshot.digest import digest, digest_all, digest_many

BLOCK_LEAVES = 1024
CELLS_MAX = 1 << 20
_MASK = (1 << 64) - 1


class Leaf(NamedTuple):
    """A fact as it is compared: natural key and digest of its content, never where or when."""

    key: str
    digest: bytes


class Cell(NamedTuple):
    """Sums over the ids that fall into it: xor of the ids, xor of their checks, their number."""

    ids: int
    checks: int
    count: int


class Decoded(NamedTuple):
    """ids: only on the other side; mine: only on this side."""

    theirs: list[int]
    mine: list[int]


def block_roots(leaves: Iterable[Leaf]) -> list[bytes]:
    """Return one root per 1,024 leaves, in order of their keys.

    Two digests for one key raise SnapshotError: that is DIVERGED, and both are to be quarantined.
    """
    ordered = sorted(dict.fromkeys(leaves))
    for one, other in pairwise(ordered):
        if one.key == other.key:
            raise SnapshotError(
                f"DIVERGED: a natural key must have one content, {one.key!r} has "
                f"{one.digest.hex()[:12]} and {other.digest.hex()[:12]}: quarantine both"
            )
    names = [leaf.key.encode() for leaf in ordered]
    hashed = digest_all(
        [
            len(n).to_bytes(4, "little") + n + leaf.digest
            for n, leaf in zip(names, ordered, strict=True)
        ]
    )
    blocks = [hashed[i : i + BLOCK_LEAVES] for i in range(0, len(hashed), BLOCK_LEAVES)]
    return digest_all([b"".join(block) for block in blocks])


def ids_of(leaves: Iterable[Leaf], session: bytes) -> dict[int, Leaf]:
    """Return the 64-bit id of each leaf under a session key that no sender can foresee."""
    held = list(leaves)
    hashed = digest_all([session + leaf.key.encode() + leaf.digest for leaf in held])
    return {int.from_bytes(h[:8], "little"): leaf for h, leaf in zip(hashed, held, strict=True)}


def encode_cells(ids: Sequence[int], start: int, stop: int) -> list[Cell]:
    """Return cells start..stop-1 of the endless sketch of a set of ids."""
    if stop > CELLS_MAX:
        raise SnapshotError(f"a sketch must have at most {CELLS_MAX} cells, {stop} were asked for")
    held = np.array(sorted(ids), np.uint64)
    checks = _checks(held)
    sums = np.zeros((stop, 2), np.uint64)
    counts = np.zeros(stop, np.int64)
    at, state = np.zeros(len(held), np.int64), checks.copy()
    alive = np.arange(len(held))
    while len(alive):
        places = at[alive]
        np.bitwise_xor.at(sums[:, 0], places, held[alive])
        np.bitwise_xor.at(sums[:, 1], places, checks[alive])
        np.add.at(counts, places, 1)
        at[alive], state[alive] = _following(places, state[alive])
        alive = alive[at[alive] < stop]
    rows = zip(sums[start:].tolist(), counts[start:].tolist(), strict=True)
    return [Cell(pair[0], pair[1], count) for pair, count in rows]


def decode_cells(theirs: Sequence[Cell], ids: Sequence[int]) -> Decoded | None:
    """Return the difference to the other side's set, None if more cells are needed.

    theirs: their cells from 0 on; ids: those of this side. Never returns a wrong difference, save
    for a collision of 64-bit checks.
    """
    mine = encode_cells(ids, 0, len(theirs))
    cells = [
        [a.ids ^ b.ids, a.checks ^ b.checks, a.count - b.count]
        for a, b in zip(theirs, mine, strict=True)
    ]
    found: dict[int, int] = {}
    waiting = list(range(len(cells)))
    while waiting:
        ident, check, count = cells[waiting.pop()]
        if count not in (1, -1) or ident in found or _check(ident) != check:
            continue
        found[ident] = count
        for place in _places(ident, check, len(cells)):
            cells[place][0] ^= ident
            cells[place][1] ^= check
            cells[place][2] -= count
            waiting.append(place)
    if not cells or any(cell != [0, 0, 0] for cell in cells):
        return None
    return Decoded(
        sorted(i for i, side in found.items() if side > 0),
        sorted(i for i, side in found.items() if side < 0),
    )


def _checks(ids: np.ndarray) -> np.ndarray:
    if not len(ids):
        return np.zeros(0, np.uint64)
    hashed = digest_many(ids.astype("<u8").view(np.uint8), np.arange(len(ids) + 1) * 8)
    return np.ascontiguousarray(hashed[:, :8]).view("<u8").reshape(-1).astype(np.uint64)


def _check(ident: int) -> int:
    return int.from_bytes(digest(ident.to_bytes(8, "little"))[:8], "little")


def _following(places: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the next cell of each id: cell i holds an id with probability 1 / (1 + i / 2).

    The gap after cell i is (i + 1.5) * (2**16 / sqrt(r + 1) - 1) for a random r below 2**32, as in
    the paper; a square root is rounded the same way by every processor.
    """
    state = state * np.uint64(0xDA942042E4DD58B5)
    share = (state >> np.uint64(32)).astype(np.float64) + 1.0
    gap = np.ceil((places + 1.5) * (65536.0 / np.sqrt(share) - 1.0))
    return places + np.maximum(gap, 1.0).astype(np.int64), state


def _places(ident: int, check: int, stop: int) -> list[int]:
    places, at = [], np.zeros(1, np.int64)
    state = np.array([check], np.uint64)
    while at[0] < stop:
        places.append(int(at[0]))
        at, state = _following(at, state)
    return places
