"""The refs of results move with the run that found them. Nothing here loads numba: the children of
controllers write the ends of swapped runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache

import psycopg
from orrery_kernels.snapshot import refs as decisions

from orrery_services.protocol import facts
from orrery_services.protocol import snapshots as rules
from orrery_services.protocol.domino_runs import DominoRun
from orrery_services.protocol.snapshots import Ref

LOCK_CLASS = 0x0FAC8  # of advisory locks: one per name
RESULTS = "results"  # the name under which the refs of all results are locked: they move together


def standing_of(connection: psycopg.Connection, names: Sequence[str]) -> list[Ref]:
    """Return the last moves of refs of these names, of every incarnation of every origin."""
    return read_refs(connection.execute(_STANDING_OF, (list(names),)))


@contextmanager
def following(
    connection: psycopg.Connection, run: DominoRun, stream: int
) -> Iterator[list[facts.Fact]]:
    """Give the facts that move this node's refs to what a run found: to be written while this is
    open, in the incarnation that the run names. One process of the node at a time is between
    reading where they are and writing."""
    found = {step.task: step.output for step in run.steps if step.output}
    with locked(connection, RESULTS):
        given = standing_of(connection, list(found))
        yield _moves_to(run, found, given, run.origin, stream)


def _moves_to(
    run: DominoRun, found: Mapping[str, str], given: Iterable[Ref], own: str, stream: int
) -> list[facts.Fact]:
    last: dict[tuple[str, str], decisions.Ref] = {}
    for ref in map(as_decided, given):
        before = last.get((ref.origin, ref.name))
        if before is None or before.move < ref.move:
            last[ref.origin, ref.name] = ref
    made: list[facts.Fact] = []
    for name, output in found.items():
        to = bytes.fromhex(output)
        moved = decisions.follow(last.values(), run.node, name, to, run.number)
        if moved is not None:
            by = f"{run.chain}, {run.asked}"
            ref = Ref(
                run.node, name, output, run.number, moved.move, run.snapshot, by, run.ended_ns
            )
            made += rules.ref_fact(ref, own, stream)
    return made


def read_refs(cursor: psycopg.Cursor) -> list[Ref]:
    """Return the refs in rows of (what its key begins with, payload)."""
    return [_ref(bytes(payload)) for _, payload in cursor]


@lru_cache(maxsize=4096)
def _ref(payload: bytes) -> Ref:
    """Return the move in a payload: the same few are asked for at every run."""
    return rules.ref_of(facts.data_of(payload, _no_pieces))


def as_decided(ref: Ref) -> decisions.Ref:
    return decisions.Ref(ref.node, ref.name, bytes.fromhex(ref.target), ref.number, ref.move)


@contextmanager
def locked(connection: psycopg.Connection, name: str) -> Iterator[None]:
    key = (LOCK_CLASS, name)
    connection.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", key)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)


def _no_pieces(_: bytes) -> bytes:
    raise facts.BadFact("a ref must fit one row")


_STANDING_OF = """
    SELECT p.prefix, f.payload
    FROM (SELECT origin FROM incarnations UNION SELECT origin FROM origins) o,
        unnest(%s::text[]) AS n (name),
        LATERAL (SELECT 'ref/' || o.origin || '/' || n.name || '@' AS prefix) p,
        LATERAL (SELECT payload FROM facts
                 WHERE key >= p.prefix COLLATE "C" AND key < (p.prefix || '~') COLLATE "C"
                 ORDER BY key DESC LIMIT 1) f"""
