"""The oracle: another program that reads the raw logs and says what every node must hold.

It shares no fold, no validation and no compiled loop with the services; only the formats are the
same. The chain is run by the interpreter, one row after the other.
"""

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from orrery_kernels import Chain
from orrery_kernels.columns import KIND_MARKET_QUOTE, KIND_QUOTE, KIND_TRADE, TICK_SCHEMA
from orrery_kernels.partition import partition_of
from orrery_services import bus, store
from orrery_services.config import Settings
from orrery_services.protocol.marks import Mark
from orrery_services.store import results

KINDS = {"trades": KIND_TRADE, "quotes": KIND_QUOTE, "market_quotes": KIND_MARKET_QUOTE}
POSITIVE = {"trades": ("price", "size"), "quotes": ("bid", "ask"), "market_quotes": ()}
OTHERS = {"trades": (), "quotes": ("bid_size", "ask_size"), "market_quotes": ("value",)}
SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,63}")  # of the rows that tests mean to count
DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
Place = tuple[str, int, int]  # topic, partition, offset
Row = dict[str, Any]


class Raw(NamedTuple):
    value: bytes | None
    headers: dict[str, bytes]


class Batch(NamedTuple):
    """A message of `ticks` that counts."""

    offset: int
    rows: list[Row]
    packed: dict[str, int]  # row topic -> the offset behind the last that was read of it


def read(settings: Settings, topic: str, partition: int) -> dict[int, Raw]:
    """Return every message of a partition by its offset."""
    reader = bus.LogReader(settings.kafka, "oracle")
    found = reader.read(topic, partition, *reader.ends(topic, partition))
    told = {m.offset(): Raw(m.value(), dict(m.headers() or ())) for m in found}
    reader.close()
    return told


def raw_rows(settings: Settings) -> dict[Place, Raw]:
    return {
        (topic, partition, offset): message
        for topic in KINDS
        for partition in range(settings.partitions)
        for offset, message in read(settings, topic, partition).items()
    }


def refused(settings: Settings) -> set[Place]:
    """Return the places of the rows that are dead letters."""
    found = set()
    for message in read(settings, "dead-letters", 0).values():
        letter = json.loads(message.value).get("refused")
        if letter and letter["topic"] in KINDS:
            found.add((letter["topic"], letter["partition"], letter["offset"]))
    return found


def accepted(settings: Settings, partition: int) -> list[Batch]:
    """Return what counts, by the one rule of the log: a message must continue the vector, or be
    a user's own and good."""
    vector: dict[str, int] = {}
    packed: dict[str, int] = {}
    found = []
    for offset, message in read(settings, "ticks", partition).items():
        if "base" not in message.headers:
            if rows := own_rows(message.value):
                found.append(Batch(offset, rows, packed))
            continue
        if json.loads(message.headers["base"]) != vector:
            continue
        vector = json.loads(message.headers["next"])
        batch = pa.ipc.read_record_batch(pa.py_buffer(message.value), TICK_SCHEMA)
        packed = {key.split(":")[1]: at for key, at in vector.items() if key.startswith("row:")}
        found.append(Batch(offset, batch.to_pylist(), packed))
    return found


def logs(settings: Settings) -> tuple[dict[Place, Raw], dict[int, list[Batch]]] | None:
    """Return the raw rows, and what counts by partition; None while there are rows to pack.

    What counts is read first: so nothing is in it that is not among the raw rows yet.
    """
    batches = {p: accepted(settings, p) for p in range(settings.partitions)}
    raw = raw_rows(settings)
    for topic, partition, offset in raw:
        if not batches[partition] or batches[partition][-1].packed.get(topic, 0) <= offset:
            return None
    return raw, batches


def own_rows(value: bytes | None) -> list[Row]:
    """Return the rows of a user's own batch; none of one that must be refused."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(value or b"")) as reader:
            rows = reader.read_all().to_pylist() if reader.schema == TICK_SCHEMA else []
    except (pa.ArrowException, OSError):
        return []
    topics = {kind: topic for topic, kind in KINDS.items()}
    for row in rows:
        numbers = POSITIVE.get(topics.get(row["kind"]), ())
        if not numbers or not SYMBOL.fullmatch(row["symbol"] or ""):
            return []
        if not all((row[name] or 0) > 0 for name in numbers):
            return []
    return rows


def row_of(topic: str, value: bytes | None) -> Row | None:
    """Return what a raw row says, None when it must be refused."""
    try:
        told = json.loads(value or b"", parse_constant=lambda _: {})
        symbol = told["symbol"]
        if not SYMBOL.fullmatch(symbol):
            return None
        row = {name: number(told[name]) for name in (*POSITIVE[topic], *OTHERS[topic])}
    except (ValueError, KeyError, TypeError):
        return None
    if any(row[name] <= 0 for name in POSITIVE[topic]):
        return None
    return {"kind": KINDS[topic], "symbol": symbol, **row}


def number(value: object) -> float:
    if isinstance(value, str) and not DECIMAL.fullmatch(value):
        raise ValueError(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(value)
    return float(value)


def identity(message: Raw) -> tuple | None:
    """Return by what a row that came again is known: where it was moved from, or its id."""
    if moved := message.headers.get("moved"):
        return ("moved", moved)
    if table := message.headers.get("captured"):
        told = json.loads(message.value)
        return ("captured", table, told["incarnation"], told["id"])
    return None


def misplaced(raw: dict[Place, Raw]) -> set[Place]:
    """Return the places from which rows were sent home."""
    found = set()
    for message in raw.values():
        if moved := message.headers.get("moved"):
            topic, _, partition, offset = moved.decode().split("/")
            found.add((topic, int(partition), int(offset)))
    return found


def unaccounted(
    raw: dict[Place, Raw], batches: dict[int, list[Batch]], dead: set[Place]
) -> list[str]:
    """Return what is wrong with: source offsets = rows + dead letters + moved rows + repeats."""
    rows = Counter(
        (row["source_topic"], row["source_partition"], row["source_offset"])
        for found in batches.values() for batch in found for row in batch.rows
        if row["source_topic"]
    )  # fmt: skip
    moved = misplaced(raw)
    wrong = [f"{place} counts {times} times" for place, times in rows.items() if times > 1]
    wrong += [f"{place} is in no row topic" for place in rows.keys() - raw.keys()]
    taken = {
        identity(message) for place, message in raw.items()
        if place in rows or place in dead or place in moved
    }  # fmt: skip
    for place, message in raw.items():
        ways = (place in rows) + (place in dead) + (place in moved)
        good = row_of(place[0], message.value) is not None
        if ways > 1:
            wrong.append(f"{place} went {ways} ways")
        elif not ways and (identity(message) is None or identity(message) not in taken):
            wrong.append(f"{place} is nowhere: {message}")
        elif ways and good is (place in dead):
            wrong.append(f"{place} is {'refused' if good else 'taken'}: {message}")
    return wrong


def out_of_order(batches: dict[int, list[Batch]]) -> list[str]:
    """Return the rows that are not at home, or come before one that their source had before."""
    wrong = []
    for partition, found in batches.items():
        last: dict[str, int] = {}
        for row in (row for batch in found for row in batch.rows):
            if partition_of(row["symbol"], len(batches)) != partition:
                wrong.append(f"{row['symbol']} is not at home in {partition}")
            if not row["source_topic"]:
                continue  # a user's own has its place in the log alone
            if last.get(row["source_topic"], -1) >= row["source_offset"]:
                wrong.append(f"{row} is behind {last}")
            last[row["source_topic"]] = row["source_offset"]
    return wrong


def wanted(chain: Chain, found: list[Batch], raw: dict[Place, Raw]) -> Iterator[list[Row]]:
    """Yield what the chain makes of every batch: of the raw rows, in the order of the log."""
    oracle = chain.oracle()
    for batch in found:
        rows = [dict.fromkeys(chain.inputs) | _said(row, raw) for row in batch.rows]
        yield oracle.run(rows)


def _said(row: Row, raw: dict[Place, Raw]) -> Row:
    """Return a row as it was sent: of a user's own batch, as it lies in the log."""
    place = row["source_topic"], row["source_partition"], row["source_offset"]
    return row_of(place[0], raw[place].value) or {} if place[0] else row


def held(settings: Settings, name: str, partition: int, ordinals: int) -> dict[int, list[Row]]:
    """Return the results that a node holds, by the offset of their batch."""
    with store.connect(settings.postgres("reader")) as connection:
        info = results.chain_info(connection, name)
        chunks = results.chunks(connection, info, partition, Mark(), ordinals)
        return {chunk.place.offset: chunk.outputs.to_pylist() for chunk in chunks}


def bits(rows: list[Row]) -> list[tuple]:
    """Return results so that equal means: the same bits."""
    return [
        tuple(struct.pack("<d", x) if isinstance(x, float) else x for x in row.values())
        for row in rows
    ]
