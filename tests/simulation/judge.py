"""The oracle: its own reading of the raw logs, in plain Python, and what must be equal at the end.

It shares no fold, no validation and no arithmetic with the product; only the formats are the same.
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

import pyarrow as pa
from orrery_kernels.columns import SOURCE_COLUMNS, TICK_SCHEMA
from orrery_services.protocol import facts

from .database import NAME, Database
from .world import CHAIN, LOG_ID, TOPICS, Broken, P, World, home

Place = tuple[str, int, int]  # topic, partition, offset
Rows = list[dict]


def compare(world: World) -> None:
    """At any moment: below the lower of two marks there is nothing to tell two nodes apart by."""
    for one, two in combinations(world.db.values(), 2):
        for p in range(P):
            low = min(one.marks[p].offset, two.marks[p].offset)
            if _chunks(one, p, low) != _chunks(two, p, low):
                raise Broken("false DIVERGED at the lower mark")


def _chunks(db: Database, p: int, low: int) -> set[tuple[str, bytes]]:
    found = set()
    for kind, middle in (("in", ""), ("out", f"{NAME}/")):
        for offset, link in db.links[p].items():
            key = f"{kind}/{middle}{link.place.log_id}/{p}/{offset:012d}"
            if offset < low and key in db.facts:
                found.add((key, db.facts[key].fact.id))
    return found


def judge(world: World) -> None:
    for db in world.db.values():
        _every_row_once(world, db)
    _every_offset_is_accounted_for(world)
    for p in range(P):
        accepted = list(_read_ticks(world, p))
        _bit_for_bit(world, p, accepted)
    _all_rows_are_packed(world)
    for one, two in combinations(world.db.values(), 2):
        if {k: r.fact.id for k, r in one.facts.items()} != {
            k: r.fact.id for k, r in two.facts.items()
        }:
            raise Broken("the nodes hold different facts")
        for source in {*one.numbers, *two.numbers}:
            mine, yours = one.numbers.get(source, {}), two.numbers.get(source, {})
            if mine != yours or set(mine) != set(range(1, len(mine) + 1)):
                raise Broken(f"arrivals of {source} have a gap")


def _inputs(db: Database) -> list[pa.RecordBatch]:
    return [decoded(r.fact.payload) for key, r in db.facts.items() if key.startswith("in/")]


@lru_cache(maxsize=4096)
def decoded(payload: bytes, schema: pa.Schema = TICK_SCHEMA) -> pa.RecordBatch:
    return facts.rows_of(payload, None, schema)


def _every_row_once(world: World, db: Database) -> None:
    counted = Counter(uid for batch in _inputs(db) for uid in batch["ts_event_ns"].to_pylist())
    if twice := sorted(u for u, times in counted.items() if times > 1):
        raise Broken(f"{db.node} counts rows twice: {twice[:3]}")
    good = world.good()
    if foreign := sorted(set(counted) - good):
        raise Broken(f"{db.node} counts rows that must not count: {foreign[:3]}")
    if lost := sorted(good - set(counted)):
        raise Broken(f"{db.node} lost rows: {lost[:3]}")


def _every_offset_is_accounted_for(world: World) -> None:
    """Source offsets = chunk rows + dead letters + moved rows + repeats of what counts already."""
    db = next(iter(world.db.values()))
    rows = {
        place
        for batch in _inputs(db)
        for place in zip(*(batch[name].to_pylist() for name in SOURCE_COLUMNS), strict=True)
    }
    dead = {}
    for message in world.logs["dead-letters", 0]:
        letter = json.loads(message.value)["refused"]
        dead[letter["topic"], letter["partition"], letter["offset"]] = letter
    moved = set()
    for topic in TOPICS:
        for p in range(P):
            for message in world.logs[topic, p]:
                origin = dict(message.headers).get("moved")
                if origin:
                    name, _, partition, offset = origin.decode().split("/")
                    moved.add((name, int(partition), int(offset)))
    refused = set()
    for topic in TOPICS:
        for p in range(P):
            for offset, message in enumerate(world.logs[topic, p]):
                place = topic, p, offset
                ways = (place in rows) + (place in dead) + (place in moved)
                if ways > 1:
                    raise Broken(f"{place} went {ways} ways")
                if not ways and not message.headers:
                    raise Broken(f"{place} is nowhere")
                if place in dead:
                    refused.add(message.value)
    if refused != world.bad():
        raise Broken("what was refused is not what had to be refused")


def _read_ticks(world: World, p: int) -> Iterator[tuple[int, Rows]]:
    """Yield offset and rows of what counts, by the rules of the log alone."""
    vector: dict = {}
    last: dict[str, int] = {}
    for offset, message in enumerate(world.logs["ticks", p]):
        found = dict(message.headers)
        if "base" not in found:
            rows = _user_rows(message.value)
            if rows and rows[0]["ts_event_ns"] in world.user_rows and home(rows[0]["symbol"]) == p:
                yield offset, rows
        elif json.loads(found["base"]) == vector:
            vector = json.loads(found["next"])
            rows = pa.ipc.read_record_batch(pa.py_buffer(message.value), TICK_SCHEMA).to_pylist()
            for row in rows:
                if (
                    home(row["symbol"]) != p
                    or last.get(row["source_topic"], -1) >= row["source_offset"]
                ):
                    raise Broken("rows of one source are out of order, or on a foreign partition")
                last[row["source_topic"]] = row["source_offset"]
            yield offset, rows


def _user_rows(value: bytes) -> Rows:
    try:
        return pa.ipc.open_stream(value).read_all().to_pylist()
    except (pa.ArrowException, OSError):
        return []


def _oracle(accepted: list[tuple[int, Rows]]) -> Iterator[tuple[int, list[dict]]]:
    """Yield offset and results: an exponentially weighted mean of prices and one of bids."""
    means: dict[tuple[str, str], float] = {}
    for offset, rows in accepted:
        results = []
        for row in rows:
            result: dict[str, float | None] = {}
            for column, alpha in (("price", 0.06), ("bid", 0.3)):
                x, key = row[column], (row["symbol"], column)
                if x is not None:
                    before = means.get(key)
                    means[key] = x if before is None else (1.0 - alpha) * before + alpha * x
                result[f"{column}_ewma"] = None if x is None else means[key]
            results.append(result)
        yield offset, results


def _bit_for_bit(world: World, p: int, accepted: list[tuple[int, Rows]]) -> None:
    start = f"out/{NAME}/{LOG_ID['ticks']}/{p}/"
    for offset, want in _oracle(accepted):
        for db in world.db.values():
            held = db.facts.get(f"{start}{offset:012d}")
            if held is None:
                raise Broken(f"{db.node}: the result of ticks {p}/{offset} is missing")
            if decoded(held.fact.payload, CHAIN.output_schema).to_pylist() != want:
                raise Broken(f"{db.node}: the result of ticks {p}/{offset} is not the oracle's")
    for db in world.db.values():
        if db.marks[p].ordinal != len(accepted):
            raise Broken(f"{db.node}: the mark of {p} is {db.marks[p].ordinal}")
        results = sum(key.startswith(start) for key in db.facts)
        if results != len(accepted):
            raise Broken(f"{db.node} has {results} results of {p}, not {len(accepted)}")


def _all_rows_are_packed(world: World) -> None:
    for db in world.db.values():
        for p in range(P):
            for topic in TOPICS:
                packed = db.marks[p].vector.get(f"row:{topic}:{LOG_ID[topic]}", 0)
                if packed != world.end(topic, p):
                    raise Broken(f"{topic}/{p} is packed up to {packed}")
