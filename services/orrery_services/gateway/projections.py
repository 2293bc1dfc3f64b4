"""The tables `latest_rows` and `result_rows`: behind the marks, unlogged, bounded."""

from typing import NamedTuple

import psycopg

from ..protocol.marks import Mark
from ..store import results
from ..store.results import ChainInfo
from . import steps

CHUNKS_AT_ONCE = 64
RESULT_ROWS = 1000  # kept per chain and partition
ROWS, SERIES = "rows", "series"

Places = dict[tuple[str, str, int], int]  # (projection, chain, partition) -> next offset


class Stretch(NamedTuple):
    """What a projection has before it: offsets [low, high) of one log."""

    chain: ChainInfo
    partition: int
    log_id: str
    low: int
    high: int


def places(connection: psycopg.Connection) -> Places:
    """Return how far everything has been projected."""
    return {tuple(of): offset for *of, offset in connection.execute(_PLACES)}


def move(connection: psycopg.Connection, projection: str, stretch: Stretch, to: int) -> None:
    move_to(connection, projection, stretch.chain.id, stretch.partition, to)


def move_to(
    connection: psycopg.Connection, projection: str, chain: str, partition: int, to: int
) -> None:
    connection.execute(_MOVE, (projection, chain, partition, to))


def ahead(at: Places, projection: str, chain: str, partition: int, mark: Mark) -> int | None:
    """Return where a projection goes on below a mark, None when it is level with it."""
    low = at.get((projection, chain, partition), 0)
    low = 0 if low > mark.offset else low  # another log has begun
    return low if low < mark.offset else None


def show_rows(connection: psycopg.Connection, stretch: Stretch) -> bool:
    """Project the next chunks of a stretch; False when there is more."""
    offsets = (stretch.low, stretch.high)
    found = results.chunks_between(
        connection, stretch.chain, stretch.partition, stretch.log_id, offsets, CHUNKS_AT_ONCE
    )
    done = len(found) < CHUNKS_AT_ONCE
    last = steps.merge(steps.latest(c.place, c.rows, c.outputs) for c in found)
    rows: list[steps.Shown] = []
    for chunk in reversed(found):
        left = RESULT_ROWS - len(rows)
        if left <= 0:
            break
        rows += steps.last_rows(chunk.place, chunk.rows, chunk.outputs, left)
    with connection.transaction(), connection.cursor() as cursor:
        chain = stretch.chain.id
        if last:
            cursor.executemany(_LATEST, [_latest(chain, shown) for shown in last])
        if rows:
            cursor.executemany(_RESULT, [_result(chain, shown) for shown in rows])
            cursor.execute(_FORGET, (chain, stretch.partition) * 2 + (RESULT_ROWS,))
        move(connection, ROWS, stretch, stretch.high if done else found[-1].place.offset + 1)
    return done


def _latest(chain: str, shown: steps.Shown) -> tuple:
    place = shown.place
    return (
        chain, shown.symbol, shown.ts_event_ns, place.partition, place.offset, shown.row,
        steps.as_json(shown.outputs),
    )  # fmt: skip


def _result(chain: str, shown: steps.Shown) -> tuple:
    place = shown.place
    return (
        chain, place.partition, place.offset, shown.row, shown.symbol, shown.ts_event_ns,
        steps.as_json(shown.outputs),
    )  # fmt: skip


_PLACES = "SELECT projection, chain, partition, next_offset FROM projected"
_MOVE = """
    INSERT INTO projected (projection, chain, partition, next_offset) VALUES (%s, %s, %s, %s)
    ON CONFLICT (projection, chain, partition) DO UPDATE SET next_offset = excluded.next_offset"""
_LATEST = """
    INSERT INTO latest_rows AS l
        (chain, symbol, ts_event_ns, partition, tick_offset, tick_row, outputs)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (chain, symbol) DO UPDATE SET ts_event_ns = excluded.ts_event_ns,
        partition = excluded.partition, tick_offset = excluded.tick_offset,
        tick_row = excluded.tick_row, outputs = l.outputs || excluded.outputs"""
_RESULT = """
    INSERT INTO result_rows
        (chain, partition, tick_offset, tick_row, symbol, ts_event_ns, outputs)
    VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
_FORGET = """
    DELETE FROM result_rows WHERE chain = %s AND partition = %s
    AND (tick_offset, tick_row) < (
        SELECT tick_offset, tick_row FROM result_rows WHERE chain = %s AND partition = %s
        ORDER BY tick_offset DESC, tick_row DESC OFFSET %s LIMIT 1)"""
