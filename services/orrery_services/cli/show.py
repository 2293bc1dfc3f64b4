"""orrery show: a snapshot, one of its leaves (ID:path), or a fact by id or natural key."""

from typing import Annotated, Any

import typer
from orrery_kernels.errors import SnapshotError

from ..errors import ConfigError, OutsideError
from ..node import Node
from ..protocol import facts
from ..store import reading, results
from . import common

ROWS_SHOWN_MAX = 20


def register(app: typer.Typer) -> None:
    app.command()(show)


def show(
    what: Annotated[
        str,
        typer.Argument(help="The first digits of an id, a tag, SNAPSHOT:path, or a fact's key."),
    ],
    rows: Annotated[int, typer.Option("--rows", help="Rows to print.", min=0)] = ROWS_SHOWN_MAX,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Print one thing: where it comes from, and whether its content is what its name says."""
    with Node(settings=common.settings_of(node)) as found:
        held = reading.fact_by_key(found.connection, what) if "/" in what else None
        if held is not None:  # before all else: the key of a move holds an '@'
            document = describe(found, held, rows)
        elif ":" in what:
            document = leaf_of(found, *what.split(":", 1))
        elif "@" in what:
            document = result_of(found, what)
        elif (id_ := snapshot_meant(found, what)) is not None:
            document = snapshot_of(found, id_)
        else:
            document = describe(found, find(found, what), rows)
    common.show(document, as_json, _print)


def snapshot_meant(node: Node, text: str) -> bytes | None:
    """Return the snapshot that a text means, None when it means something else."""
    from ..store import refs

    try:
        return refs.resolve(node.connection, text)
    except SnapshotError:
        if "/" in text or set(text.lower()) <= refs.DIGITS:
            return None  # a fact's key or id: that search says what is nearest
        raise


def snapshot_of(node: Node, id_: bytes) -> dict[str, Any]:
    """Return what a manifest says, and the records that name it."""
    from ..store import refs, snapshots

    opened, _ = snapshots.open_snapshot(node.connection, id_)
    number = opened.cut["number"]
    records = snapshots.records(node.connection, refs.origin(node.connection), number, number + 1)
    record = next(records, None)
    return {
        "id": id_.hex(),
        "kind": "snapshot",
        "number": number,
        "parent": record.parent.hex() if record and record.parent else None,
        "trigger": record.trigger if record else None,
        "lsn": record.lsn if record else None,
        "slice": record.slice if record else "",
        "sections": {name: [r.hex() for r in roots] for name, roots in opened.sections.items()},
        "cut": dict(opened.cut),
        "schemas": {name: digest.hex() for name, digest in opened.schemas.items()},
        "code": {name: digest.hex() for name, digest in opened.code.items()},
        "rows": [],
    }


def leaf_of(node: Node, text: str, path: str) -> dict[str, Any]:
    """Return one leaf of a snapshot. Raises SnapshotError naming the nearest paths."""
    from difflib import get_close_matches

    from orrery_kernels.domino.market import Market
    from orrery_kernels.snapshot.snapshot import leaves

    from .diff import shown

    frozen = node.snapshot(text)
    if path.split("/")[0] not in {name.split("/")[0] for name in frozen.content.sections}:
        return result_of(node, f"{text}:{path}")
    body = frozen.leaf(path)
    if body is None:
        section, _ = frozen.content.locate(path)
        known = [f"{section}/{name}" for name in leaves(frozen.content, section, frozen.fetch)]
        near = ", ".join(get_close_matches(path, known, 3, 0.3) or known[:3]) or "none"
        raise SnapshotError(f"{frozen.id.hex()[:12]} must hold {path!r}, nearest: {near}")
    market = Market(frozen.content, frozen.fetch)
    value = shown(market, path, body)
    document = {"snapshot": frozen.id.hex(), "path": path, "value": value, "rows": []}
    section, name = frozen.content.locate(path)
    if section == "quotes":
        row = f"quote_rows/{name}"
        document["row"] = shown(market, row, frozen.leaf(row))
    return document


def result_of(node: Node, text: str) -> dict[str, Any]:
    """Return what a domino found: task@latest, task@SNAPSHOT. Raises OutsideError, with what is."""
    from orrery_kernels.domino.points import points_of

    from ..store import domino_values

    run, task = domino_values.find_run(node.connection, text)
    value = domino_values.value_of(node.connection, run, task)
    points = [{"point": name, "value": number} for name, number in points_of(value).items()]
    return {
        "snapshot": run.snapshot, "path": task, "type": type(value).__name__,
        "digest": run.step(task).output, "node": run.node, "rows": points,
    }  # fmt: skip


def find(node: Node, text: str) -> reading.Row:
    """Return the one fact that is meant. Raises ConfigError when there is none, or several."""
    from ..store import refs

    if "/" in text:
        row = reading.fact_by_key(node.connection, text)
        found = [row] if row else []
    else:
        if not refs.is_id_like(text):
            few, most = refs.DIGITS_MIN, refs.DIGITS_MAX
            raise ConfigError(f"an id is {few} to {most} hex digits, was {text!r}")
        found = reading.facts_named(node.connection, text.lower())
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
