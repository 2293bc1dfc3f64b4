"""orrery show <fact>: what a fact is, by the first digits of its id or by its natural key."""

from typing import Annotated, Any

import typer

from ..errors import ConfigError, OutsideError
from ..node import Node
from ..protocol import facts
from ..store import reading, results
from . import common

DIGITS_MIN = 4
ROWS_SHOWN_MAX = 20


def register(app: typer.Typer) -> None:
    app.command()(show)


def show(
    fact: Annotated[str, typer.Argument(help="The first digits of an id, or a key.")],
    rows: Annotated[int, typer.Option("--rows", help="Rows to print.", min=0)] = ROWS_SHOWN_MAX,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Print one fact: where it comes from, whether its content is what its name says, its rows."""
    with Node(settings=common.settings_of(node)) as found:
        document = describe(found, find(found, fact), rows)
    common.show(document, as_json, _print)


def find(node: Node, text: str) -> reading.Row:
    """Return the one fact that is meant. Raises ConfigError when there is none, or several."""
    if "/" in text:
        row = reading.fact_by_key(node.connection, text)
        found = [row] if row else []
    else:
        if len(text) < DIGITS_MIN or not set(text) <= set("0123456789abcdef"):
            raise ConfigError(f"an id is at least {DIGITS_MIN} hex digits, was {text!r}")
        found = reading.facts_named(node.connection, text)
    if not found:
        raise OutsideError(f"{node.name} must hold a fact {text}, but has none")
    if len(found) > 1:
        listed = ", ".join(row.id.hex()[: len(text) + 6] for row in found)
        raise ConfigError(f"{text} must mean one fact, but means {listed}")
    return found[0]


def describe(node: Node, row: reading.Row, rows: int) -> dict[str, Any]:
    fetch = reading.fetch_piece(node.connection, row.stream)
    try:
        facts.check(row.fact())
        right = True
    except facts.BadFact:
        right = False
    meta = facts.meta_of(row.payload)
    return {
        "id": row.id.hex(),
        "kind": row.kind,
        "key": row.key,
        "origin": row.origin,
        "stream": row.stream,
        "oseq": row.oseq,
        "bytes": len(row.payload),
        "content_is_right": right,
        "quarantined": row.key in reading.quarantined(node.connection),
        "meta": meta,
        "pieces": [name.hex() for name in facts.pieces_of(row.payload)],
        "rows": _rows(node, row, fetch)[:rows],
    }


def _rows(node: Node, row: reading.Row, fetch: facts.FetchPiece) -> list[dict[str, Any]]:
    if row.kind == facts.INPUT:
        return facts.rows_of(row.payload, fetch).to_pylist()
    if row.kind == facts.RESULT:
        chain = results.chain_info(node.connection, row.key.split("/")[1])
        return facts.rows_of(row.payload, fetch, chain.outputs).to_pylist()
    if row.kind in (facts.CHAIN, facts.CHECKPOINT):
        import json

        return [json.loads(facts.data_of(row.payload, fetch))]
    return []


def _print(document: dict[str, Any]) -> None:
    for name, value in document.items():
        if name != "rows" and value not in ([], {}):
            typer.echo(f"{name:<17} {value}")
    for row in document["rows"]:
        kept = {name: value for name, value in row.items() if value is not None}
        typer.echo("  " + "  ".join(f"{name}={value}" for name, value in kept.items()))
