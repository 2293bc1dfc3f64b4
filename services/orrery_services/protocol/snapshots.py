"""The facts of snapshots: cut, leaf, pack, manifest, record, ref, event.

Of a cut every partition has one leaf fact a chain: the roots of its trees and the place in the log
below which the rows lie. The pieces of the trees travel in packs, ahead of the leaf: only pieces
that the tree of the cut before did not have.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from blake3 import blake3
from orrery_kernels.columns import TICK_SCHEMA

from ..errors import DivergenceError
from . import cuts, facts
from .declarations import AT
from .declarations import TAG as TAG
from .facts import Fact

CUT, LEAF, PACK, SNAPSHOT, RECORD = "cut", "leaf", "pack", "snapshot", "record"
REF, EVENT = "ref", "event"
NUMBER_DIGITS, MOVE_DIGITS, TIME_DIGITS = 12, 8, 20
PACK_BYTES_MAX = 256 * 1024
QUOTES, QUOTE_ROWS, STATE, CALENDARS = "quotes", "quote_rows", "state", "calendars"
STATIC = "static"
TICKS_DIGEST = blake3(TICK_SCHEMA.serialize().to_pybytes()).digest()
_SIZE = struct.Struct("<I")


class Leaf(NamedTuple):
    """What one partition held at a cut, as one chain's worker saw it."""

    number: int
    chain: str  # hex digest of the chain
    log: str
    offset: int  # of the marker in `ticks`
    vector: Mapping[str, int]  # behind the marker
    rows: int  # of the partition, up to the cut
    late: int  # rows since the cut before whose event time lies before it
    late_from_ns: int | None  # the earliest such time
    roots: Mapping[str, str]  # section -> hex


class Ref(NamedTuple):
    """One move of a ref, as it is kept: `refs.Ref` and what people ask of it."""

    node: str
    name: str
    target: str  # hex
    number: int  # of the cut to which the target belongs
    move: int
    snapshot: str  # hex: what the target was made from; of a tag the target itself
    by: str
    at_ns: int


def cut_key(number: int) -> str:
    return f"{CUT}/{number:0{NUMBER_DIGITS}d}"


def leaf_key(chain: str, partition: int, number: int) -> str:
    return f"{LEAF}/{chain}/{partition}/{number:0{NUMBER_DIGITS}d}"


def pack_prefix(partition: int, number: int) -> str:
    return f"{PACK}/{partition}/{number:0{NUMBER_DIGITS}d}/"


def snapshot_key(id_: bytes) -> str:
    return f"{SNAPSHOT}/{id_.hex()}"


def record_key(origin: str, number: int) -> str:
    return f"{RECORD}/{origin}/{number:0{NUMBER_DIGITS}d}"


def number_of(key: str) -> int:
    """Return the number at the end of the key of a cut, leaf or record."""
    return int(key.rsplit("/", 1)[1])


def cut_fact(cut: cuts.Cut, stream: int) -> list[Fact]:
    return facts.plain_fact(CUT, stream, cut_key(cut.number), {}, cuts.encode(cut))


def leaf_fact(leaf: Leaf, chain: str, partition: int) -> list[Fact]:
    key = leaf_key(chain, partition, leaf.number)
    return facts.plain_fact(LEAF, partition, key, {}, packed(leaf._asdict()))


def leaf_of(data: bytes) -> Leaf:
    return Leaf(**json.loads(data))


def pack_facts(pieces: Mapping[bytes, bytes], partition: int, number: int) -> list[Fact]:
    """Return the packs of pieces: in order of their names, so that equal pieces pack alike."""
    made: list[Fact] = []
    body: list[bytes] = []
    size = 0
    for name in sorted(pieces):
        piece = pieces[name]
        if body and size + len(piece) > PACK_BYTES_MAX:
            made += _pack(b"".join(body), partition, number)
            body, size = [], 0
        body += (_SIZE.pack(len(piece)), piece)
        size += len(piece)
    return made + _pack(b"".join(body), partition, number) if body else made


def _pack(data: bytes, partition: int, number: int) -> list[Fact]:
    key = pack_prefix(partition, number) + blake3(data).hexdigest()
    return facts.plain_fact(PACK, partition, key, {}, data)


def pieces_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (place in the pack, piece) of every piece."""
    at = 0
    while at < len(data):
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        yield at, data[at : at + size]
        at += size


def manifest_fact(id_: bytes, manifest: bytes, number: int, stream: int) -> list[Fact]:
    return facts.plain_fact(SNAPSHOT, stream, snapshot_key(id_), {"number": number}, manifest)


def record_fact(record: bytes, origin: str, meta: Mapping[str, Any], stream: int) -> list[Fact]:
    """Return the fact of `Record.to_bytes()`; meta repeats number, snapshot and trigger."""
    return facts.plain_fact(RECORD, stream, record_key(origin, meta["number"]), meta, record)


def moves_prefix(origin: str, name: str) -> str:
    """Return what the keys of a ref's moves begin with. No name holds an '@', so that the moves of
    one lie together and no other's between them.

    >>> moves_prefix("n1.x", "curve/USD-SOFR")
    'ref/n1.x/curve/USD-SOFR@'
    """
    return f"{REF}/{origin}/{name}{AT}"


def ref_fact(ref: Ref, origin: str, stream: int) -> list[Fact]:
    key = f"{moves_prefix(origin, ref.name)}{ref.move:0{MOVE_DIGITS}d}"
    return facts.plain_fact(REF, stream, key, {}, packed(ref._asdict()))


def ref_of(data: bytes) -> Ref:
    return Ref(**json.loads(data))


def event_fact(event: Mapping[str, Any], origin: str, stream: int) -> list[Fact]:
    """Return the fact of something that happened once: `event` has what, at_ns, by and node."""
    data = packed(event)
    suffix = blake3(data).hexdigest()[:8]
    key = f"{EVENT}/{origin}/{event['at_ns']:0{TIME_DIGITS}d}/{suffix}"
    return facts.plain_fact(EVENT, stream, key, {}, data)


def packed(document: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(document), sort_keys=True, separators=(",", ":")).encode()


def parts_of(
    cut: cuts.Cut,
    found: Mapping[tuple[str, int], Leaf],
    partitions: int,
    calendars: Iterable[bytes],
) -> dict:
    """Return the arguments of `freeze` for a cut whose leaves (chain id, partition) are all held.

    calendars: the root of their tree; none in snapshots made before they had one. Raises
    DivergenceError when two chains' workers saw different quotes: then one was not exact.
    """
    names = sorted(cut.chains)
    sections = {
        f"{STATE}/{name}": _roots(found, cut.chains[name], STATE, partitions) for name in names
    }
    for section in (QUOTES, QUOTE_ROWS):
        sections[section] = _same_roots(cut, found, section, partitions)
    if roots := list(calendars):
        sections[CALENDARS] = roots
    if cut.static:
        sections[STATIC] = [bytes.fromhex(cut.static)]
    some = cut.chains[names[0]]
    places: dict[str, Any] = {"number": cut.number, "at_ns": cut.at_ns}
    for partition in range(partitions):
        leaf = found[some, partition]
        places[f"ticks/{partition}"] = {
            "log": leaf.log, "offset": leaf.offset, "vector": dict(leaf.vector),
        }  # fmt: skip
    code = {f"chain/{name}": bytes.fromhex(found[cut.chains[name], 0].chain) for name in names}
    return {
        "sections": sections, "cut": places, "schemas": {"ticks": TICKS_DIGEST}, "code": code,
    }  # fmt: skip


def _same_roots(
    cut: cuts.Cut, found: Mapping[tuple[str, int], Leaf], section: str, partitions: int
) -> list[bytes]:
    """Return the roots of a section that all chains have alike."""
    first, *others = (cut.chains[name] for name in sorted(cut.chains))
    roots = _roots(found, first, section, partitions)
    for chain in others:
        for partition, root in enumerate(_roots(found, chain, section, partitions)):
            if root != roots[partition]:
                keys = (leaf_key(one, partition, cut.number) for one in (first, chain))
                raise DivergenceError(
                    f"all chains must hold the same {section} at cut {cut.number}, but "
                    f"{' and '.join(keys)} differ: one is not what its rows make; "
                    "`orrery settle KEY` lists what there is of each, and lets one stay"
                )
    return roots


def _roots(
    found: Mapping[tuple[str, int], Leaf], chain: str, section: str, partitions: int
) -> list[bytes]:
    return [bytes.fromhex(found[chain, p].roots[section]) for p in range(partitions)]


def wanted(cut: cuts.Cut, partitions: int) -> Iterable[tuple[str, int]]:
    """Return the (chain id, partition) of every leaf that a cut's snapshot needs."""
    return [(chain, p) for chain in sorted(set(cut.chains.values())) for p in range(partitions)]
