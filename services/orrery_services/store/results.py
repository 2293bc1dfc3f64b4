"""Chunks as rows: what a chain computed, next to what it computed it from."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pyarrow as pa
from orrery_kernels.columns import SOURCE_COLUMNS, TICK_SCHEMA

from orrery_services.errors import DivergenceError, OutsideError
from orrery_services.protocol import facts, marks
from orrery_services.protocol.facts import CHAIN, INPUT, RESULT, Place
from orrery_services.protocol.marks import Mark

from . import reading

CHUNKS_AT_ONCE = 64
_TYPES = {"double": pa.float64(), "int64": pa.int64(), "int32": pa.int32(), "int8": pa.int8()}
_PLACE = [
    pa.field("tick_partition", pa.int32()),
    pa.field("tick_offset", pa.int64()),
    pa.field("tick_row", pa.int32()),
    pa.field("fact", pa.string()),
]


class ChainInfo(NamedTuple):
    """What a chain is, as its fact says."""

    id: str
    digest: str
    steps: list[dict[str, Any]]
    inputs: list[str]
    outputs: pa.Schema


class Chunk(NamedTuple):
    """One accepted message: its rows, and what the chain made of them, row by row."""

    place: Place
    ordinal: int
    rows: pa.RecordBatch
    outputs: pa.RecordBatch
    fact: bytes  # id of the result chunk


def chain_info(connection: psycopg.Connection, name: str) -> ChainInfo:
    """Return the chain behind a human name or an id. Raises OutsideError when it is not known."""
    names = reading.chain_names(connection)
    chain = names.get(name, name)
    row = reading.fact_by_key(connection, f"{CHAIN}/{chain}")
    if row is None:
        known = ", ".join(names) or "none has computed anything yet"
        raise OutsideError(f"the chain must be one of: {known}; was {name!r}")
    told = json.loads(facts.data_of(row.payload, reading.fetch_piece(connection, row.stream)))
    fields = [pa.field(column, _type(kind)) for column, kind in told["outputs"]]
    return ChainInfo(chain, told["digest"], told["steps"], told["inputs"], pa.schema(fields))


def _type(name: str) -> pa.DataType:
    return _TYPES.get(name) or pa.type_for_alias(name)


def schema(chain: ChainInfo) -> pa.Schema:
    """Return the columns of `orrery read`: where from, where, what, the inputs, the outputs."""
    sources = [TICK_SCHEMA.field(name) for name in SOURCE_COLUMNS]
    known = [TICK_SCHEMA.field(name) for name in ("symbol", "ts_event_ns")]
    inputs = [TICK_SCHEMA.field(n) for n in chain.inputs if n not in ("symbol", "ts_event_ns")]
    return pa.schema([*sources, *_PLACE, *known, *inputs, *chain.outputs])


def chunks(
    connection: psycopg.Connection,
    chain: ChainInfo,
    partition: int,
    first: Mark,
    stop: int | None = None,
    symbol: str | None = None,
) -> Iterator[Chunk]:
    """Yield the chunks of a partition from a mark on, in log order; `symbol`: those that have it.

    Raises DivergenceError at a quarantined one: neither of two contents is served.
    """
    bad = set(reading.quarantined(connection))
    fetch = reading.fetch_piece(connection, partition)
    group: list[tuple[Any, reading.Row]] = []
    for link, row in reading.inputs_from(connection, partition, first, stop):
        if symbol is not None and not _has(row, fetch, symbol):
            continue
        group.append((link, row))
        if len(group) == CHUNKS_AT_ONCE:
            yield from _join(connection, chain, group, bad)
            group = []
    yield from _join(connection, chain, group, bad)


def _join(
    connection: psycopg.Connection,
    chain: ChainInfo,
    group: list[tuple[Any, reading.Row]],
    bad: set[str],
) -> Iterator[Chunk]:
    found = reading.results_of(connection, chain.id, [link.place for link, _ in group])
    # Beyond the mark a result may not have arrived.
    pairs = [(link, row, found[link.place]) for link, row in group if link.place in found]
    for _, row, result in pairs:
        if bad & {row.key, result.key}:
            raise DivergenceError(
                f"{result.key} must have one content, but has two: `orrery settle` lists them"
            )
    if not pairs:
        return
    fetch = reading.fetch_piece(connection, pairs[0][1].stream)
    counts, rows = facts.many_rows_of([row.payload for _, row, _ in pairs], fetch)
    _, outputs = facts.many_rows_of([x.payload for *_, x in pairs], fetch, chain.outputs)
    begin = 0
    for (link, _, result), count in zip(pairs, counts, strict=True):
        parts = rows.slice(begin, count), outputs.slice(begin, count)
        yield Chunk(link.place, link.ordinal, *parts, result.id)
        begin += count


def chunks_between(
    connection: psycopg.Connection,
    chain: ChainInfo,
    partition: int,
    log_id: str,
    offsets: tuple[int, int],
    many: int,
    newest: bool = False,
) -> list[Chunk]:
    """Return at most `many` chunks with offsets in [low, high): the first ones, or the newest."""
    low, high = (facts.place_key(RESULT, Place(log_id, partition, at), chain.id) for at in offsets)
    statement = _NEWEST_KEYS if newest else _FIRST_KEYS
    keys = sorted(key for (key,) in connection.execute(statement, (low, high, many)))
    inputs = {facts.place_key(INPUT, facts.place_of(key)): None for key in keys}
    held = reading.facts_by_keys(connection, list(inputs))
    group = [
        (marks.link_of(key, held[key].payload), held[key]) for key in sorted(inputs) if key in held
    ]
    return list(_join(connection, chain, group, set(reading.quarantined(connection))))


def _has(row: reading.Row, fetch: facts.FetchPiece, symbol: str) -> bool:
    symbols = facts.column_of(row.payload, fetch, TICK_SCHEMA, "symbol")
    return symbol in symbols.unique().to_pylist()


def as_rows(chunk: Chunk, columns: pa.Schema) -> pa.RecordBatch:
    """Return a chunk in the columns of `orrery read`."""
    count = chunk.rows.num_rows
    place = {
        "tick_partition": pa.array([chunk.place.partition] * count, pa.int32()),
        "tick_offset": pa.array([chunk.place.offset] * count, pa.int64()),
        "tick_row": pa.array(range(count), pa.int32()),
        "fact": pa.array([chunk.fact.hex()] * count),
    }
    outputs = set(chunk.outputs.schema.names)
    arrays = []
    for field in columns:
        if field.name in place:
            arrays.append(place[field.name])
        elif field.name in outputs:
            arrays.append(chunk.outputs.column(field.name))
        else:
            arrays.append(chunk.rows.column(field.name))
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


_FIRST_KEYS = "SELECT key FROM facts WHERE key >= %s AND key < %s ORDER BY key LIMIT %s"
_NEWEST_KEYS = "SELECT key FROM facts WHERE key >= %s AND key < %s ORDER BY key DESC LIMIT %s"
