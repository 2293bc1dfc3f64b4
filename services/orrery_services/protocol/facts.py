"""A fact: bytes that were written once, under the name of their content.

    id      = BLAKE3-256 over kind, natural key, meta and body, each with its length
    payload = version u8 · form u8 · meta (length varint, canonical JSON) · body as it is stored

Forms: RAW and ZSTD hold the body; TREE holds its length and the ids of its pieces, for bodies too
large for one row, and is then itself what the id covers; GONE is what gc leaves of a body: its
name, meta, and when it went. Whether a body is a tree depends on its
uncompressed size alone, so that another version of zstd names no fact anew. The meta stays
uncompressed: what moves a mark is read without the rest.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import zstandard
from blake3 import blake3
from orrery_kernels.columns import TICK_SCHEMA

from . import bodies, body, ticks, vectors

VERSION = 1
RAW, ZSTD, TREE, GONE = range(4)
ROW_BYTES_MAX = 512 * 1024
BODY_BYTES_MAX = 470 * 1024  # of one row, uncompressed; meta and head take the rest
META_BYTES_MAX = 40 * 1024  # holds the changed entries of a vector
HEAD_BYTES = META_BYTES_MAX + 16  # of a payload: enough to read any meta
KEY_BYTES_MAX = 2_048  # an index of Postgres takes little more
TREE_BYTES_MAX = 256 * 1024 * 1024
DIGEST_BYTES = 32
ZSTD_LEVEL = 1
OFFSET_DIGITS = 12
UNRECORDED = "a day that was not recorded"

INPUT, RESULT, CHECKPOINT, PIECE, CHAIN = "in", "out", "ckpt", "piece", "chain"

FetchPiece = Callable[[bytes], bytes]  # id of a piece -> its payload


class BadFact(ValueError):
    """The bytes are not the fact that their name says."""


class MissingPiece(BadFact):
    """A piece of a tree is not held: it has not arrived yet."""


class Fact(NamedTuple):
    id: bytes
    kind: str
    stream: int
    key: str
    payload: bytes


class Place(NamedTuple):
    """Where a message lies in `ticks`."""

    log_id: str
    partition: int
    offset: int


def chain_id(digest: bytes) -> str:
    """Return the 16 characters (96 bits) by which a chain is named in keys and groups.

    >>> chain_id(bytes(32))
    'AAAAAAAAAAAAAAAA'
    """
    return base64.urlsafe_b64encode(digest[:12]).decode()


def place_key(kind: str, place: Place, chain: str | None = None) -> str:
    """Return the natural key of a chunk; keys of one partition sort as its log does.

    >>> place_key("in", Place("xyz", 3, 17))
    'in/xyz/3/000000000017'
    """
    middle = (chain, place.log_id) if chain else (place.log_id,)
    return "/".join((kind, *middle, str(place.partition), f"{place.offset:0{OFFSET_DIGITS}d}"))


def place_of(key: str) -> Place:
    """Return the place that a chunk's natural key names."""
    log_id, partition, offset = key.split("/")[-3:]
    return Place(log_id, int(partition), int(offset))


def digest(kind: str, key: str, meta: bytes, form: int, data: bytes) -> bytes:
    """Return the name of a fact. `form` is TREE or RAW: compression does not show."""
    hasher = blake3(b"orrery fact 1" + bytes((form,)))
    for part in (kind.encode(), key.encode(), meta, data):
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()


def plain_fact(
    kind: str, stream: int, key: str, meta: Mapping[str, Any], data: bytes
) -> list[Fact]:
    """Return the fact of any bytes: alone, or behind its pieces when too large for one row."""
    packed = json.dumps(dict(meta), sort_keys=True, separators=(",", ":")).encode()
    if len(packed) > META_BYTES_MAX:
        raise BadFact(
            f"the meta of a fact must be <= {META_BYTES_MAX} bytes, was {len(packed)} ({key})"
        )
    if len(data) <= BODY_BYTES_MAX:
        form, stored = _compress(data)
        name = digest(kind, key, packed, RAW, data)
        return [Fact(name, kind, stream, key, _payload(form, packed, stored))]
    if len(data) > TREE_BYTES_MAX:
        raise BadFact(f"a fact must be <= {TREE_BYTES_MAX} bytes, was {len(data)} ({key})")
    pieces = [
        piece(stream, data[at : at + BODY_BYTES_MAX]) for at in range(0, len(data), BODY_BYTES_MAX)
    ]
    tree = body.varint(len(data)) + b"".join(part.id for part in pieces)
    name = digest(kind, key, packed, TREE, tree)
    return [*pieces, Fact(name, kind, stream, key, _payload(TREE, packed, tree))]


def piece(stream: int, data: bytes) -> Fact:
    """Return part of something larger. Its key is its content, so equal parts are one fact."""
    name = blake3(b"orrery piece 1" + stream.to_bytes(4, "little") + data).digest()
    form, stored = _compress(data)
    return Fact(name, PIECE, stream, piece_key(stream, name), _payload(form, b"{}", stored))


def piece_key(stream: int, name: bytes) -> str:
    return f"piece/{stream}/{name.hex()}"


def input_chunk(
    place: Place, ordinal: int, changed: vectors.Vector, rows: pa.RecordBatch
) -> list[Fact]:
    """Return the fact of one accepted message.

    `changed` holds the entries of its next vector that differ from its base. With the ordinal they
    travel along, so that a replica can move its mark without the log.
    """
    meta = {"ordinal": ordinal, "changed": changed, "schema": ticks.SCHEMA_DIGEST}
    key = place_key(INPUT, place)
    return plain_fact(INPUT, place.partition, key, meta, body.encode(rows))


def result_chunk(place: Place, chain: str, outputs: pa.RecordBatch) -> list[Fact]:
    """Return the fact of a chain's outputs for one accepted message. The chain names the schema."""
    key = place_key(RESULT, place, chain)
    meta = {"schema": schema_digest(outputs.schema)}
    return plain_fact(RESULT, place.partition, key, meta, body.encode(outputs))


@lru_cache(maxsize=256)
def schema_digest(schema: pa.Schema) -> str:
    return blake3(schema.serialize().to_pybytes()).hexdigest()[:16]


def meta_of(payload: bytes) -> dict[str, Any]:
    """Return the meta of a payload, or of its first HEAD_BYTES."""
    _, meta, _ = _split(payload)
    return msgspec.json.decode(meta)


def gone(payload: bytes, at_ns: int) -> bytes:
    """Return what stays of a payload when its body goes: its meta, and when it went."""
    return _payload(GONE, _split(payload)[1], body.varint(at_ns))


def expired(payload: bytes) -> str | None:
    """Return the UTC day on which gc removed a body, None while it is there.

    Of one that went before days were kept this says so in the day's place.
    """
    form, _, stored = _split(payload)
    if form != GONE:
        return None
    if not stored:
        return UNRECORDED
    at_ns, _ = body.read_varint(stored, 0)
    return datetime.fromtimestamp(at_ns / 1e9, UTC).date().isoformat()


def data_of(payload: bytes, fetch: FetchPiece) -> bytes:
    """Return the body behind a payload, its pieces fetched by name."""
    form, _, stored = _split(payload)
    return _data_of(form, stored, payload, fetch)


def _data_of(form: int, stored: bytes, payload: bytes, fetch: FetchPiece) -> bytes:
    if form == GONE:
        raise BadFact(f"the body must be held, but expired on {expired(payload)}: gc removed it")
    if form != TREE:
        return _decompress(form, stored)
    size, names = _tree(stored)
    if size > TREE_BYTES_MAX:
        raise BadFact(f"a fact must be <= {TREE_BYTES_MAX} bytes, says {size}")
    data = b"".join(data_of(fetch(name), _no_deeper) for name in names)
    if len(data) != size:
        raise BadFact(f"the pieces must make {size} bytes, were {len(data)}")
    return data


def pieces_of(payload: bytes) -> list[bytes]:
    """Return the ids of the pieces that a payload points to."""
    form, _, stored = _split(payload)
    return _tree(stored)[1] if form == TREE else []


def rows_of(payload: bytes, fetch: FetchPiece, schema: pa.Schema = TICK_SCHEMA) -> pa.RecordBatch:
    """Return the rows of a chunk. Raises BadFact when they are of another schema."""
    _check_schema(payload, schema)
    return body.decode(data_of(payload, fetch), schema)


def many_rows_of(
    payloads: Sequence[bytes],
    fetch: FetchPiece,
    schema: pa.Schema = TICK_SCHEMA,
    decode: Callable[[Sequence[bytes], pa.Schema], pa.RecordBatch] = bodies.decode,
) -> tuple[list[int], pa.RecordBatch]:
    """Return how many rows each chunk has, and all of them end to end. Raises BadFact when one is
    of another schema. decode: `body_loops.decode` is the same, sooner, for who has numba loaded."""
    named = f'"schema":"{_named(schema)}"}}'.encode()  # the meta is canonical, and it comes last
    held = []
    for payload in payloads:
        form, meta, stored = _split(payload)
        if not meta.endswith(named):
            _check_schema(payload, schema)
        held.append(_data_of(form, stored, payload, fetch))
    return [body.rows_in(data) for data in held], decode(held, schema)


def _check_schema(payload: bytes, schema: pa.Schema) -> None:
    named, expected = meta_of(payload).get("schema"), _named(schema)
    if named != expected:
        raise BadFact(f"the schema of a chunk must be {expected}, was {named}")


def _named(schema: pa.Schema) -> str:
    return ticks.SCHEMA_DIGEST if schema is TICK_SCHEMA else schema_digest(schema)


def column_of(payload: bytes, fetch: FetchPiece, schema: pa.Schema, name: str) -> pa.Array:
    """Return one column of a chunk."""
    return body.decode_column(data_of(payload, fetch), schema, name)


def check(fact: Fact) -> None:
    """Raise BadFact unless the payload is what the id names. A body that is gone says nothing."""
    form, meta, stored = _split(fact.payload)
    if form == GONE:
        return
    data = stored if form == TREE else _decompress(form, stored)
    if fact.kind == PIECE:
        found = blake3(b"orrery piece 1" + fact.stream.to_bytes(4, "little") + data).digest()
        if fact.key != piece_key(fact.stream, fact.id):
            raise BadFact(f"the key of a piece must be its content, was {fact.key}")
    else:
        found = digest(fact.kind, fact.key, meta, TREE if form == TREE else RAW, data)
    if found != fact.id:
        raise BadFact(f"{fact.key} must hash to {fact.id.hex()}, was {found.hex()}")


def check_named(fact: Fact) -> None:
    """Raise BadFact or ValueError unless kind and key are what the readers of chunks expect."""
    if "\0" in fact.kind + fact.key or len(fact.key.encode()) > KEY_BYTES_MAX:
        raise BadFact(
            f"a key must hold no NUL and at most {KEY_BYTES_MAX} bytes, was {fact.key[:80]!r}"
        )
    kind, *middle = fact.key.split("/")
    if INPUT not in (kind, fact.kind) and RESULT not in (kind, fact.kind):
        return
    chain = middle[0] if kind == RESULT and middle else None
    place = place_of(fact.key)
    if fact.kind != kind or fact.key != place_key(kind, place, chain):
        raise BadFact(f"the key of a chunk must name its place, was {fact.key!r}")
    if not place.offset < 1 << 63:
        raise BadFact(f"the offset of a chunk must fit 64 bits, was {place.offset}")
    if place.partition != fact.stream:
        raise BadFact(f"{fact.key} must come in stream {place.partition}, was {fact.stream}")
    if kind == INPUT:
        meta = meta_of(fact.payload)
        ordinal, changed = meta.get("ordinal"), meta.get("changed")
        whole = isinstance(changed, dict) and all(type(x) is int for x in changed.values())
        if type(ordinal) is not int or not whole:
            raise BadFact(f"{fact.key} must say in whole numbers its ordinal and what it changed")


def changed_entries(base: vectors.Vector, following: vectors.Vector) -> vectors.Vector:
    """Return what a message moves. A vector never loses an entry.

    >>> changed_entries({"a": 1, "b": 2}, {"a": 1, "b": 3})
    {'b': 3}
    """
    return {key: at for key, at in following.items() if base.get(key) != at}


def concat(facts: Iterable[list[Fact]]) -> list[Fact]:
    return [fact for group in facts for fact in group]


def _payload(form: int, meta: bytes, stored: bytes) -> bytes:
    return b"".join((bytes((VERSION, form)), body.varint(len(meta)), meta, stored))


def _split(payload: bytes) -> tuple[int, bytes, bytes]:
    if len(payload) < 3 or payload[0] != VERSION or payload[1] not in (RAW, ZSTD, TREE, GONE):
        raise BadFact(
            f"a payload must begin with version {VERSION} and a form, was {payload[:2]!r}"
        )
    size, at = body.read_varint(payload, 2)
    return payload[1], bytes(payload[at : at + size]), bytes(payload[at + size :])


def _tree(stored: bytes) -> tuple[int, list[bytes]]:
    size, at = body.read_varint(stored, 0)
    if (len(stored) - at) % DIGEST_BYTES:
        raise BadFact("a tree must hold whole ids")
    return size, [stored[i : i + DIGEST_BYTES] for i in range(at, len(stored), DIGEST_BYTES)]


def _compress(data: bytes) -> tuple[int, bytes]:
    squeezed = _zstd().compress(data)
    return (ZSTD, squeezed) if len(squeezed) < len(data) else (RAW, data)


@lru_cache(maxsize=64)
def _compressor_of(_: int) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL)


@lru_cache(maxsize=64)
def _decompressor_of(_: int) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor()


def _zstd() -> zstandard.ZstdCompressor:
    """Return this thread's compressor: making one costs more than a small body does."""
    return _compressor_of(threading.get_ident())


def _decompress(form: int, stored: bytes) -> bytes:
    if form == RAW:
        return stored
    try:
        if zstandard.frame_content_size(stored) > BODY_BYTES_MAX:
            raise BadFact(f"a body must be <= {BODY_BYTES_MAX} bytes in one row")
        return _decompressor_of(threading.get_ident()).decompress(
            stored, max_output_size=BODY_BYTES_MAX
        )
    except zstandard.ZstdError as cause:
        raise BadFact(f"the body must be zstd: {cause}") from cause


def _no_deeper(_: bytes) -> bytes:
    raise BadFact("a piece must hold bytes, was a tree")
