"""orrery converge: the roots of every node, how much was compared, and which ranges differ."""

import time
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from ..node import Node
from ..protocol import leaves
from ..protocol.leaves import Block
from ..protocol.marks import Mark
from ..store import leaves as stored
from ..store import low, reading
from . import common, nodes

RANGES_SHOWN_MAX = 20

Wait = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for what a node had at the start.", min=0)
]


def register(app: typer.Typer) -> None:
    app.command()(converge)


def converge(wait: Wait = 5.0, as_json: common.Json = False) -> None:
    """Compare what the nodes hold, at the lower of their marks."""
    with nodes.opened() as (found, away):
        document = compare(found, away, wait)
    common.show(document, as_json, _print)
    if document["state"] == "DIVERGED":
        raise typer.Exit(common.FAILED)
    agree = document["state"] == "CONVERGED" and not away  # nobody knows about who was not asked
    raise typer.Exit(common.OK if agree else common.DEGRADED)


def compare(found: list[Node], away: dict[str, str], wait: float) -> dict[str, Any]:
    """Return roots, counts and differences as JSON can hold them."""
    marks, goal, lacking, seconds = nodes.level(found, wait)
    parts = [
        _chunks(found, slot, {name: of.get(slot, Mark()) for name, of in marks.items()})
        for slot in sorted(goal)
    ]
    if len({node.settings.partitions for node in found}) == 1:
        parts.append(_others(found, found[0].settings.partitions, wait))
    diverged = {node.name: reading.quarantined(node.connection) for node in found}
    compared = sum(part["compared"] for part in parts) if len(found) > 1 else 0
    different = sum(len(part["differ"]) for part in parts) + sum(map(len, diverged.values()))
    behind = lacking + sum(part.get("behind", 0) for part in parts)
    return {
        "state": leaves.verdict(compared, different, behind),
        "facts_compared": compared,
        "facts_behind": behind,
        "seconds_behind": round(seconds, 1),
        "roots": {node.name: _root_of(parts, node.name) for node in found},
        "away": away,
        "diverged": diverged,
        "expired": {node.name: _expired(node) for node in found},
        "parts": parts,
    }


def _expired(node: Node) -> list[str]:
    """Return what is said of every partition of which rows have expired: names are compared."""
    each = (low.low_of(node.connection, p) for p in range(node.settings.partitions))
    return [gone.text for gone in each if gone]


def _root_of(parts: list[dict[str, Any]], node: str) -> str:
    found = [Block("", "", 0, bytes.fromhex(part["roots"][node])) for part in parts]
    return leaves.root(found).hex()


def _chunks(found: list[Node], slot: tuple[str, int], marks: dict[str, Mark]) -> dict[str, Any]:
    low = leaves.lower(marks.values())
    held = {
        node.name: list(leaves.blocks(stored.of_chunks(node.connection, *slot, low)))
        for node in found
    }
    return {"chain": slot[0], "partition": slot[1], "ordinal": low.ordinal, **_compared(held)}


def _others(found: list[Node], stream: int, seconds_max: float) -> dict[str, Any]:
    """Compare the facts that have no mark, at a moment when the same has arrived everywhere.

    They come with every cut of a market that goes on: a moment between two cuts is waited for.
    """
    deadline = time.monotonic() + seconds_max
    while True:
        with ExitStack() as moment:
            for node in found:
                moment.enter_context(reading.one_moment(node.connection))
            behind = _behind([stored.vector(node.connection, stream) for node in found])
            if not behind:
                held = {
                    node.name: list(leaves.blocks(stored.of_stream(node.connection, stream)))
                    for node in found
                }
                return {"stream": stream, "behind": 0, **_compared(held)}
        if time.monotonic() >= deadline:
            nothing = {node.name: [] for node in found}
            return {"stream": stream, "behind": behind, **_compared(nothing)}
        time.sleep(nodes.LOOK_SECONDS)


def _behind(vectors: list[dict[str, int]]) -> int:
    """Return how many facts the nodes lack of what any of them holds."""
    origins = set().union(*vectors)
    top = {origin: max(vector.get(origin, 0) for vector in vectors) for origin in origins}
    return sum(top[o] - vector.get(o, 0) for vector in vectors for o in origins)


def _compared(held: dict[str, list[Block]]) -> dict[str, Any]:
    first, *rest = held.values()
    differ = sorted({pair for other in rest for pair in leaves.differing(first, other)})
    return {
        "compared": min(sum(block.leaves for block in blocks) for blocks in held.values()),
        "roots": {name: leaves.root(blocks).hex() for name, blocks in held.items()},
        "differ": [list(pair) for pair in differ[:RANGES_SHOWN_MAX]],
    }


def _print(document: dict[str, Any]) -> None:
    for node, root in document["roots"].items():
        typer.echo(f"{node:<10} {root[:16]}…")
    for node, why in document["away"].items():
        typer.echo(f"{node:<10} away: {why}")
    for part in document["parts"]:
        for first, last in part["differ"]:
            typer.echo(f"differ     {first} .. {last}")
    for node, keys in document["diverged"].items():
        for key in keys[:RANGES_SHOWN_MAX]:
            typer.echo(f"{node:<10} has two contents for {key}: `orrery settle` lists them")
    for node, texts in document["expired"].items():
        for text in texts:
            typer.echo(f"{node:<10} {text} and compared")
    state = document["state"]
    if state == "CATCHING UP":
        seconds = document["seconds_behind"]  # of what has marks; the rest names no pace
        state += f" ({document['facts_behind']:,} facts{f', {seconds} seconds' if seconds else ''})"
    typer.echo(f"{state}: {document['facts_compared']:,} facts compared")
