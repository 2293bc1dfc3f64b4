"""Reading back what a partition's work goes on from: mark, checkpoint, stored input."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pyarrow as pa

from .. import failpoints
from ..protocol import body_loops, facts, marks
from ..protocol.marks import Mark
from ..store import low, reading
from . import steps

INPUTS_AT_ONCE, INPUTS_BYTES_MAX = 256, 4 << 20  # stored chunks decoded and computed together
ByItself = Callable[[list[marks.Link], list[int]], list[bool]]  # of chunks and their counts of rows


def recover(connection: psycopg.Connection, chain: Any, log_id: str, partition: int) -> steps.Work:
    """Return the work at the node's mark: the last checkpoint below it, and the input since."""
    name = facts.chain_id(chain.digest)
    mark = mark_of(connection, name, partition)
    work = at_checkpoint(connection, chain, partition, mark.ordinal)
    if not work.position.ordinal and (gone := low.low_of(connection, partition)):
        raise facts.BadFact(
            f"chain {name} must be computed from the first row on, but {gone.text}; a chain that "
            "was not computed before they went has no beginning on this node"
        )
    for _ in cuts_behind(connection, work, mark.ordinal):
        pass  # what a cut made is held
    if work.position.ordinal != mark.ordinal:
        raise facts.BadFact(
            f"input chunk {work.position.ordinal} of partition {partition} must be held: "
            f"the mark of {name} is {mark.ordinal}"
        )
    steps.start(work, mark, log_id)
    failpoints.reach("recovered")
    return work


def at_checkpoint(
    connection: psycopg.Connection, chain: Any, partition: int, ordinal: int
) -> steps.Work:
    """Return the work at the last checkpoint that is not behind an ordinal.

    One with a piece that another node wrote and that has not arrived is passed over.
    """
    name = facts.chain_id(chain.digest)
    for row in reading.checkpoints(connection, name, partition, ordinal):
        with contextlib.suppress(facts.MissingPiece):
            return _restored(connection, chain, partition, row)
    return steps.begin(chain, "", partition, None)


def _restored(
    connection: psycopg.Connection, chain: Any, partition: int, row: reading.Row
) -> steps.Work:
    fetch = reading.fetch_piece(connection, partition)
    data = facts.data_of(row.payload, fetch)
    position, rows, pieces, market = steps.checkpoint_of(row.payload, data)
    buckets = {
        bucket: b"".join(facts.data_of(fetch(name), fetch) for name in ids)
        for bucket, ids in pieces.items()
    }
    checkpoint = steps.Checkpoint(position, rows, pieces, buckets, market)
    return steps.begin(chain, facts.place_of(row.key).log_id, partition, checkpoint)


def inputs_of(
    connection: psycopg.Connection, work: steps.Work, stop: int | None = None
) -> Iterator[tuple[marks.Link, reading.Row]]:
    """Yield the stored input chunks from where the work stands, up to a hole or an ordinal."""
    first = Mark(work.log_id, *work.position)
    return reading.inputs_from(connection, work.partition, first, stop)


def cuts_behind(
    connection: psycopg.Connection, work: steps.Work, stop: int
) -> Iterator[facts.Fact]:
    """Replay stored input up to an ordinal, many chunks at once; yield the facts of every cut."""

    def cuts(links: list[marks.Link], _: list[int]) -> list[bool]:
        return [steps.is_cut(link) for link in links]

    for alone, links, counts, rows in _stretches(connection, work, stop, cuts):
        if alone:
            yield from steps.replay(work, links[0], rows)
        else:
            steps.replay_many(work, links, counts, rows)


def recomputed(
    connection: psycopg.Connection, work: steps.Work, stop: int, every_rows: int
) -> Iterator[tuple[marks.Link, list[facts.Fact]]]:
    """Recompute stored input up to an ordinal, many chunks at once; yield what each makes."""
    by_itself = partial(steps.stands_alone, work, every_rows=every_rows)
    for alone, links, counts, rows in _stretches(connection, work, stop, by_itself):
        if alone:
            yield links[0], steps.recompute(work, links[0], rows, every_rows)
        else:
            yield from zip(links, steps.recompute_many(work, links, counts, rows), strict=True)


def _stretches(
    connection: psycopg.Connection, work: steps.Work, stop: int, by_itself: ByItself
) -> Iterator[tuple[bool, list[marks.Link], list[int], pa.RecordBatch]]:
    """Yield stored input up to an ordinal in stretches to be computed at once: whether it is one
    chunk that stands alone, the links, how many rows each has, and the rows end to end.

    The work is expected to be past a stretch when the next one is asked for.
    """
    fetch = reading.fetch_piece(connection, work.partition)
    for group in _groups(inputs_of(connection, work, stop)):
        links = [link for link, _ in group]
        payloads = [row.payload for _, row in group]
        counts, rows = facts.many_rows_of(payloads, fetch, decode=body_loops.decode)
        alone, first, begin = by_itself(links, counts), 0, 0
        while first < len(links):
            last = first + 1
            while not alone[first] and last < len(links) and not alone[last]:
                last += 1
            many = sum(counts[first:last])
            yield alone[first], links[first:last], counts[first:last], rows.slice(begin, many)
            first, begin = last, begin + many


def _groups(
    inputs: Iterator[tuple[marks.Link, reading.Row]],
) -> Iterator[list[tuple[marks.Link, reading.Row]]]:
    """Yield chunks that follow each other: many small ones, or one that is large."""
    group, size = [], 0
    for one in inputs:
        group.append(one)
        size += len(one[1].payload)
        if len(group) == INPUTS_AT_ONCE or size >= INPUTS_BYTES_MAX:
            yield group
            group, size = [], 0
    if group:
        yield group


def rows_of(connection: psycopg.Connection, row: reading.Row) -> pa.RecordBatch:
    return facts.rows_of(row.payload, reading.fetch_piece(connection, row.stream))


def mark_of(connection: psycopg.Connection, chain: str, partition: int) -> Mark:
    return reading.marks(connection).get((chain, partition), Mark())
