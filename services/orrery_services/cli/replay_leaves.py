"""The leaves of cuts made again from stored input chunks, over all processors where that pays."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple, TypeVar

from orrery_kernels import Chain

from .. import compiled, store
from ..analytics import recovery
from ..config import Settings
from ..node import Node
from ..protocol import facts
from ..protocol import snapshots as rules
from ..protocol.marks import Mark
from ..store import low, reading, results, snapshots

CHUNKS_ALONE_MAX = 60_000  # ten seconds: more are worth the start of another process
PROCESSES_MAX = 8
T = TypeVar("T")


class Part(NamedTuple):
    """One partition of one chain, by its id: the input chunks from an ordinal on, and the leaves
    in them."""

    chain: str
    partition: int
    first: int
    stop: int
    keys: tuple[str, ...]


Judged = list[tuple[str, bool]]  # key of a leaf, and whether its rows make what is held


def parts_of(node: Node, numbers: Collection[int]) -> tuple[list[Part], list[str]]:
    """Return what is to be recomputed for some cuts, each with the chains that it names, and what
    is said of those whose rows have expired: of them nothing is recomputed."""
    marks, by_chain = store.marks(node.connection), defaultdict(list)
    for number, cut in sorted(snapshots.cuts_of(node.connection, numbers).items()):
        for chain in sorted(set(cut.chains.values())):
            by_chain[chain].append(number)
    found, expired = [], []
    for chain, ordered in sorted(by_chain.items()):
        for partition in range(node.settings.partitions):
            gone = low.low_of(node.connection, partition)
            asked = ordered if gone else [ordered[0], ordered[-1]]
            at = {n: _marker(node.connection, chain, partition, n) for n in asked}
            lost = {n for n in asked if gone and (at[n] or 0) < gone.mark.ordinal}
            if lost:
                expired.append(f"{gone.text}: {len(lost)} leaves were not made again")
            if left := [n for n in ordered if n not in lost]:
                mark = marks.get((chain, partition), Mark()).ordinal
                stop = mark if at[left[-1]] is None else at[left[-1]] + 1
                keys = tuple(rules.leaf_key(chain, partition, number) for number in left)
                found.append(Part(chain, partition, at[left[0]] or 0, stop, keys))
    return found, expired


def _marker(connection: Any, chain: str, partition: int, number: int) -> int | None:
    """Return the ordinal of the input chunk that is a cut's marker: a state before it will do."""
    row = reading.fact_by_key(connection, rules.leaf_key(chain, partition, number))
    if row is None:
        return None
    leaf = rules.leaf_of(facts.data_of(row.payload, reading.fetch_piece(connection, row.stream)))
    place = facts.Place(leaf.log, partition, leaf.offset)
    links = reading.links_from(connection, [facts.place_key(facts.INPUT, place)])
    return links[0].ordinal if links else None


def recomputed(
    node: Node, parts: Sequence[Part], meanwhile: Callable[[], T]
) -> tuple[list[Judged], T]:
    """Recompute the parts, in their order, and do something else that takes its time."""
    processes = min(PROCESSES_MAX, os.cpu_count() or 1) - 1
    if not processes or sum(part.stop - part.first for part in parts) <= CHUNKS_ALONE_MAX:
        return [judged(node, part) for part in parts], meanwhile()
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        futures = [pool.submit(_apart, node.settings, part) for part in parts]
        here = {at: judged(node, part) for at, part in _taken_back(futures, parts)}
        found = meanwhile()
        every = enumerate(futures)
        return [here[at] if at in here else f.result() for at, f in every], found


def _taken_back(futures: Sequence[Future], parts: Sequence[Part]) -> Any:
    """Yield the last part that nobody has begun, until there is none: this process works too."""
    for at in reversed(range(len(parts))):
        if futures[at].cancel():
            yield at, parts[at]


def _apart(settings: Settings, part: Part) -> Judged:
    compiled.keep_loops()
    with Node(settings=settings) as node:
        return judged(node, part)


def judged(node: Node, part: Part) -> Judged:
    """Recompute the leaves of a part and compare their names with those that are held."""
    connection = node.connection
    chain = Chain(results.chain_info(connection, part.chain).steps)
    held, left = reading.ids_of(connection, part.keys), dict.fromkeys(part.keys)
    work = recovery.at_checkpoint(connection, chain, part.partition, part.first)
    found: Judged = []
    for fact in recovery.cuts_behind(connection, work, part.stop):
        if fact.key in left:
            del left[fact.key]
            found.append((fact.key, held.get(fact.key) == fact.id))
    return found + [(key, False) for key in left]
