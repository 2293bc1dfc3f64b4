"""When a row's facts were committed, as Postgres stamps each transaction (track_commit_timestamp).

Read when all is over: nothing asks the nodes while they are measured. The stamp is taken just
before the WAL is flushed, so what a commit alone takes is told beside it.
"""

import time
from bisect import bisect_right
from collections import defaultdict
from statistics import median
from typing import NamedTuple

import psycopg
from orrery_services import bus
from orrery_services.protocol import facts, marks, vectors
from orrery_services.stack import Stack

from .road_rows import Sent

ALONE = 20  # commits of nothing but a message


class Chunk(NamedTuple):
    """An input chunk with its result: the next offset of `trades` behind it, when it was held."""

    next: int
    at: float  # time.time()


def latency_ms(
    stack: Stack, chain_digest: bytes, sent: list[Sent]
) -> tuple[list[float], list[float]]:
    """Return from produced to committed: in the first node, and in the last; sorted."""
    wall = time.time() - time.perf_counter()  # `sent` was noted by the other clock
    held = [_chunks(stack, node, facts.chain_id(chain_digest)) for node in stack.plan.nodes]
    first, last = [], []
    for row in sent:
        times = [_when(node[row.partition], row.offset) - row.at - wall for node in held]
        first.append(min(times) * 1e3)
        last.append(max(times) * 1e3)
    return sorted(first), sorted(last)


def _chunks(stack: Stack, node: str, chain: str) -> dict[int, list[Chunk]]:
    settings = stack.settings(node)
    log_id = bus.log_ids(bus.admin(settings.kafka), ["trades"])["trades"]
    key = vectors.row_key("trades", log_id)
    found: dict[int, list[Chunk]] = defaultdict(list)
    with psycopg.connect(settings.postgres("reader")) as connection:
        for fact, head, at in connection.execute(_COMMITTED, (facts.HEAD_BYTES, chain)):
            link = marks.link_of(fact, bytes(head))
            if key in link.changed:
                found[link.place.partition].append(Chunk(link.changed[key], at))
    return {partition: sorted(chunks) for partition, chunks in found.items()}


def _when(chunks: list[Chunk], offset: int) -> float:
    return chunks[bisect_right(chunks, offset, key=lambda chunk: chunk.next)].at


def alone_ms(stack: Stack) -> float:
    """Return what a commit with nothing before it takes: a round trip and the flush of the WAL."""
    taken = []
    settings = stack.settings(stack.plan.nodes[0])
    with psycopg.connect(settings.postgres("writer"), autocommit=True) as connection:
        for _ in range(ALONE):
            began = time.perf_counter()
            connection.execute("SELECT pg_logical_emit_message(true, 'bench', '')")
            taken.append((time.perf_counter() - began) * 1e3)
    return median(taken)


_COMMITTED = """
    SELECT i.key, substring(i.payload FOR %s), extract(epoch FROM greatest(
        pg_xact_commit_timestamp(i.xmin), pg_xact_commit_timestamp(o.xmin)))::float8
    FROM facts i JOIN facts o ON o.key = 'out/' || %s || substr(i.key, 3)
    WHERE i.kind = 'in' AND o.kind = 'out'"""
