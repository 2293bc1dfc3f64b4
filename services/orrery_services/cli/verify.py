"""orrery verify: recompute stored results from stored input, and compare names."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated, Any, NamedTuple

import typer
from orrery_kernels import Chain

from .. import compiled, store
from ..analytics import recovery
from ..errors import OutsideError
from ..node import Node
from ..protocol import facts
from ..protocol.marks import Link, Mark
from ..store import low, reading, results
from . import common

DIFFERENCES_SHOWN_MAX = 20
CHUNKS_AT_ONCE = 256
CHUNKS_ALONE_MAX = 4000  # a few seconds: more are worth the start of other processes
PROCESSES_MAX = 8


class Part(NamedTuple):
    """One partition of one chain, from an ordinal up to its mark."""

    node: str | None
    chain: str
    partition: int
    mark: Mark
    first: int


class Found(NamedTuple):
    chunks: int
    checkpoints: int
    differ: list[str]
    expired: tuple[low.Low, bytes] | None = None  # and the root over the names of what is gone


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    node: common.Node = None,
    chain: Annotated[str | None, typer.Option("--chain", help="Only this chain.")] = None,
    last: Annotated[
        int | None, typer.Option("--last", help="Only the last chunks of a partition.", min=1)
    ] = None,
    as_json: common.Json = False,
) -> None:
    """Recompute results from stored input, from the checkpoint before; say how many differ."""
    with Node(settings=common.settings_of(node)) as found:
        parts = list(_parts(found, node, chain, last))
        document = {"node": found.name, "chunks": 0, "checkpoints": 0, "differ": [], "expired": []}
    for done, one in enumerate(_recomputed(parts), 1):
        document["chunks"] += one.chunks
        document["checkpoints"] += one.checkpoints
        document["differ"] += one.differ
        document["expired"] += [_told(*one.expired)] if one.expired else []
        if sys.stderr.isatty():
            count = f"{done} of {len(parts)} partitions, {document['chunks']:,} chunks"
            typer.echo(f"\r{count}", nl=False, err=True)
    if sys.stderr.isatty():
        typer.echo(err=True)
    common.show(document, as_json, _print)
    if document["differ"]:
        raise typer.Exit(common.FAILED)
    raise typer.Exit(common.OK if document["chunks"] else common.DEGRADED)


def _parts(found: Node, node: str | None, chain: str | None, last: int | None) -> Iterator[Part]:
    names = [chain] if chain else sorted(store.chain_names(found.connection))
    if not names:
        raise OutsideError(f"{found.name} must have a chain, but has computed nothing yet")
    marks = sorted(store.marks(found.connection).items())
    for name in names:
        info = results.chain_info(found.connection, name)
        for (held, partition), mark in marks:
            if held == info.id:
                first = 0 if last is None else max(0, mark.ordinal - last)
                yield Part(node, name, partition, mark, first)


def _recomputed(parts: Sequence[Part]) -> Iterator[Found]:
    """Recompute the parts: here when they are few chunks, else over all processors."""
    if sum(part.mark.ordinal - part.first for part in parts) <= CHUNKS_ALONE_MAX:
        yield from map(_part, parts)
        return
    with ProcessPoolExecutor(min(PROCESSES_MAX, os.cpu_count() or 1), get_context("spawn")) as pool:
        yield from pool.map(_part, parts)


def _part(part: Part) -> Found:
    compiled.keep_loops()  # each of these processes would compile them anew
    with Node(settings=common.settings_of(part.node)) as node:
        chain = _chain(node, part.chain)
        return verify_partition(node, chain, part.partition, part.mark, part.first)


def _chain(node: Node, name: str) -> Chain:
    info = results.chain_info(node.connection, name)
    chain = Chain(info.steps)
    if chain.digest.hex() != info.digest:
        raise OutsideError(
            f"chain {name!r} must be {info.digest[:16]} to be recomputed, but this installation "
            f"makes {chain.digest.hex()[:16]} of its steps: another numeric version"
        )
    return chain


def verify_partition(node: Node, chain: Chain, partition: int, mark: Mark, first: int) -> Found:
    """Recompute the chunks from ordinal `first` to the mark, and the checkpoints between."""
    connection = node.connection
    gone = low.low_of(connection, partition)
    first = max(first, gone.mark.ordinal) if gone else first
    work = recovery.at_checkpoint(connection, chain, partition, first)
    every = node.settings.limits.checkpoint_rows
    chunks = checkpoints = 0
    differ: list[str] = []
    group: list[tuple[Link, list[facts.Fact]]] = []
    for link, made in recovery.recomputed(connection, work, mark.ordinal, every):
        if link.ordinal >= first:
            group.append((link, made))
        if len(group) >= CHUNKS_AT_ONCE:
            differ += _compare(connection, group)
            chunks, checkpoints = chunks + len(group), checkpoints + _checkpoints(group)
            group = []
    differ += _compare(connection, group)
    chunks, checkpoints = chunks + len(group), checkpoints + _checkpoints(group)
    if work.position.ordinal != mark.ordinal:
        differ.append(f"input {work.position.ordinal} of partition {partition} is not held")
    below = (gone, low.root_below(connection, facts.chain_id(chain.digest), gone)) if gone else None
    return Found(chunks, checkpoints, differ, below)


def _told(gone: low.Low, root: bytes) -> dict[str, Any]:
    return {
        "partition": gone.partition, "below": gone.mark.offset, "ordinal": gone.mark.ordinal,
        "on": gone.expired_on, "root": root.hex(), "text": gone.text,
    }  # fmt: skip


def _checkpoints(group: list[tuple[Link, list[facts.Fact]]]) -> int:
    return sum(fact.kind == facts.CHECKPOINT for _, made in group for fact in made)


def _compare(connection: Any, group: list[tuple[Link, list[facts.Fact]]]) -> list[str]:
    """Return the keys whose stored name is not the one just computed. No checkpoint is a must."""
    made = {fact.key: fact for _, facts_ in group for fact in facts_}
    held = reading.ids_of(connection, list(made))
    return [
        key
        for key, fact in made.items()
        if held.get(key, None if fact.kind == facts.RESULT else fact.id) != fact.id
    ]


def _print(document: dict[str, Any]) -> None:
    for key in document["differ"][:DIFFERENCES_SHOWN_MAX]:
        typer.echo(f"differs: {key}")
    for gone in document["expired"]:
        typer.echo(f"{gone['text']} (root {gone['root'][:16]}…): recomputed from there")
    typer.echo(
        f"{document['node']}: {document['chunks']:,} chunks recomputed, "
        f"{len(document['differ']):,} differ"
    )
