"""orrery log: the newest facts of a node, newest first, by short id."""

from typing import Annotated, Any

import typer

from ..node import Node
from . import common

SHORT = 10  # hex digits shown of an id


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True, help="The newest facts; and adopting logs.")
    group.callback()(log)
    group.command("adopt")(adopt)
    app.add_typer(group, name="log")


def log(
    context: typer.Context,
    many: Annotated[int, typer.Option("-n", help="How many.", min=1, max=100_000)] = 20,
    kind: Annotated[str | None, typer.Option("--kind", help="in, out, ckpt, chain, …")] = None,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Print the newest facts of every stream."""
    if context.invoked_subcommand:
        return
    with Node(settings=common.settings_of(node)) as found:
        asked = {"kind": kind, "many": many, "streams": found.settings.partitions}
        rows = found.connection.execute(_NEWEST, asked).fetchall()
    names = ("id", "kind", "origin", "stream", "oseq", "key", "bytes")
    document = [dict(zip(names, row, strict=True)) for row in rows]
    common.show(document, as_json, _print)


def adopt(
    topic: Annotated[str, typer.Argument(help="A topic that was made anew.")],
    node: common.Node = None,
) -> None:
    """Go on with another log of a topic: a new generation of it begins."""
    from .. import bus, store
    from ..store import heartbeats, reading

    settings = common.settings_of(node)
    log_id = bus.log_ids(bus.admin(settings.kafka), [topic])[topic]
    with store.connect(settings.postgres("writer")) as connection:
        known = reading.logs(connection, topic)
        if log_id in known:
            typer.echo(f"{topic} is the log {log_id} already: nothing to adopt")
            return
        heartbeats.adopt(connection, topic, log_id)
    typer.echo(f"{topic}: adopted {log_id} behind {known[-1] if known else 'nothing'}")
    typer.echo("do the same on every node, then restart its services")


def _print(document: list[dict[str, Any]]) -> None:
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
        LATERAL (SELECT * FROM facts f WHERE f.origin = o.origin AND f.stream = s
                 AND (%(kind)s::text IS NULL OR f.kind = %(kind)s)
                 ORDER BY f.oseq DESC LIMIT %(many)s) f
    ORDER BY f.key DESC LIMIT %(many)s"""
