"""orrery log: the snapshots of a node, its refs, or its facts, newest first, by short id."""

from typing import Annotated, Any

import typer

from ..node import Node
from . import common, logs

SHORT = 12  # hex digits shown of an id
NAMES_MAX = 4  # of results whose refs stand at a snapshot
_TOLD = (("run", "run"), ("reuse", "reused"), ("fail", "failed"), ("skip", "skipped"))


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        invoke_without_command=True, help="Snapshots, refs or facts, newest first; logs made anew."
    )
    group.callback()(log)
    group.command("adopt")(logs.adopt)
    group.command("renew")(logs.renew)
    app.add_typer(group, name="log")


def log(
    context: typer.Context,
    many: Annotated[int, typer.Option("-n", help="How many.", min=1, max=100_000)] = 20,
    refs: Annotated[bool, typer.Option("--refs", help="Every move of every ref.")] = False,
    events: Annotated[
        bool, typer.Option("--events", help="What happened beside: skipped triggers, gc, …")
    ] = False,
    facts: Annotated[bool, typer.Option("--facts", help="Facts of every stream.")] = False,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Facts of this kind: in, out, ckpt, leaf, …")
    ] = None,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Print the newest snapshots, with parent, trigger and tags."""
    if context.invoked_subcommand:
        return
    with Node(settings=common.settings_of(node)) as found:
        if refs:
            common.show(_refs(found, many), as_json, _print_refs)
        elif events:
            common.show(_events(found, many), as_json, _print_events)
        elif facts or kind:
            common.show(_facts(found, many, kind), as_json, _print_facts)
        else:
            common.show(_snapshots(found, many), as_json, _print_snapshots)


def _snapshots(node: Node, many: int) -> list[dict[str, Any]]:
    from .. import clock
    from ..store import domino_runs, refs, snapshots

    connection = node.connection
    made = snapshots.made_before(connection, 2**62, many)
    low = made[-1].number if made else 0
    records = {r.number: r for r in snapshots.records(connection, refs.origin(connection), low)}
    tags: dict[str, list[str]] = {}
    for ref in refs.standing(connection):
        tags.setdefault(ref.snapshot, []).append(f"{ref.node}/{ref.name}")
    return [
        {
            "id": one.id.hex(),
            "number": one.number,
            "at": clock.iso(one.at_ns),
            "trigger": one.trigger,
            "parent": one.parent.hex() if one.parent else None,
            "refs": sorted(tags.get(one.id.hex(), [])),
            "lsn": records[one.number].lsn if one.number in records else None,
            "slice": records[one.number].slice if one.number in records else "",
            "dominoes": [
                {"chain": run.chain, "node": run.node, "attempt": run.attempt, **run.counts}
                for run in domino_runs.of_snapshot(connection, one.id.hex(), one.number)
            ],
        }
        for one in made
    ]


def _print_snapshots(document: list[dict[str, Any]]) -> None:
    for one in document:
        refs = f"  ({_some(one['refs'])})" if one["refs"] else ""
        parent = f"  after {one['parent'][:SHORT]}" if one["parent"] else ""
        late = "  with late rows" if one["slice"] else ""
        typer.echo(
            f"snap {one['id'][:SHORT]}  {one['at'][:23]}  cut {one['number']}  "
            f"{one['trigger']}{parent}{late}{refs}"
        )
        for run in one["dominoes"]:
            did = ", ".join(f"{run[what]} {told}" for what, told in _TOLD if what in run)
            typer.echo(f"     {run['chain']} on {run['node']}: {did}")


def _some(names: list[str]) -> str:
    """Return names as one shows them: tags ahead of results, a few of these."""
    tags = [name for name in names if "/tag/" in name]
    shown = tags + [name for name in names if name not in tags][:NAMES_MAX]
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def _refs(node: Node, many: int) -> list[dict[str, Any]]:
    from ..store import refs

    return [ref._asdict() for ref in refs.moves(node.connection, many)]


def _print_refs(document: list[dict[str, Any]]) -> None:
    from .. import clock

    for ref in document:
        typer.echo(
            f"{clock.iso(ref['at_ns'])[:23]}  {ref['node']}/{ref['name']} #{ref['move']} -> "
            f"{ref['target'][:SHORT]}  on {ref['snapshot'][:SHORT]}, cut {ref['number']}  "
            f"by {ref['by']}"
        )


def _events(node: Node, many: int) -> list[dict[str, Any]]:
    from ..store import refs

    return refs.events(node.connection, many)


def _print_events(document: list[dict[str, Any]]) -> None:
    from .. import clock

    for event in document:
        rest = {k: v for k, v in event.items() if k not in ("at_ns", "node", "by", "what")}
        said = "  ".join(f"{name}={value}" for name, value in rest.items())
        typer.echo(
            f"{clock.iso(event['at_ns'])[:23]}  {event['node']}  {event['what']} by {event['by']}"
            f"  {said}"
        )


def _facts(node: Node, many: int, kind: str | None) -> list[dict[str, Any]]:
    asked = {"kind": kind, "many": many, "streams": node.settings.partitions}
    rows = node.connection.execute(_NEWEST, asked).fetchall()
    names = ("id", "kind", "origin", "stream", "oseq", "key", "bytes")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _print_facts(document: list[dict[str, Any]]) -> None:
    for fact in document:
        origin = fact["origin"].split(".", 1)
        typer.echo(
            f"{fact['id'][:SHORT]}  {fact['kind']:<5} {origin[0]}.{origin[-1][:6]} "
            f"{fact['stream']}/{fact['oseq']:<8} {fact['bytes']:>7} B  {fact['key']}"
        )


_NEWEST = """
    SELECT encode(f.id, 'hex'), f.kind, f.origin, f.stream, f.oseq, f.key,
        octet_length(f.payload)
    FROM (SELECT origin FROM incarnations UNION SELECT origin FROM origins) o,
        generate_series(0, %(streams)s) s,
        LATERAL (SELECT *, row_number() OVER (ORDER BY f.oseq DESC) AS back
                 FROM facts f WHERE f.origin = o.origin AND f.stream = s
                 AND (%(kind)s::text IS NULL OR f.kind = %(kind)s)
                 ORDER BY f.oseq DESC LIMIT %(many)s) f
    ORDER BY f.back, f.key DESC LIMIT %(many)s"""
