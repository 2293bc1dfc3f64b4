"""orrery settle: where one name has two contents, say which one stays."""

from typing import Annotated, Any

import typer

from . import common

SHORT = 12


def register(app: typer.Typer) -> None:
    app.command()(settle)


def settle(
    key: Annotated[str, typer.Argument(help="As `orrery converge` tells it.")],
    stays: Annotated[
        str | None,
        typer.Option("--as", help="First digits of the id that stays; default: only list them."),
    ] = None,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """List the contents of a key on a node, or let one of them stay. Each node is told apart.

    `orrery verify` says on which node the content is the one that is recomputed.
    """
    from .. import clock, store
    from ..store import refs, settling

    settings = common.settings_of(node)
    role = "owner" if stays else "reader"
    with store.connect(settings.postgres(role), attempts_max=2) as connection:
        found = settling.contents(connection, key)
        document = {"node": settings.node, "key": key, "contents": [_told(one) for one in found]}
        if stays:
            chosen = settling.settle(connection, key, stays)
            id_ = chosen.fact.id.hex()
            event = {"what": "settled", "by": common.person(), "node": settings.node, "key": key}
            event |= {"at_ns": clock.wall_ns(), "as": id_, "was_held": chosen.held}
            refs.write_events(connection, settings.partitions, [event])
            document["stays"] = id_
    common.show(document, as_json, _print)
    if not found:
        raise typer.Exit(common.FAILED)


def _told(one: Any) -> dict[str, Any]:
    by = f"{one.origin.split('.')[0]}, number {one.oseq}" if one.oseq else "this node"
    return {"id": one.fact.id.hex(), "kind": one.fact.kind, "by": by, "held": one.held}


def _print(document: dict[str, Any]) -> None:
    for one in document["contents"]:
        word = "held" if one["held"] else "beside"
        typer.echo(f"{document['node']:<10} {word:<6} {one['id'][:SHORT]}  by {one['by']}")
    if not document["contents"]:
        typer.echo(f"{document['node']:<10} has no two contents for {document['key']}")
    if "stays" in document:
        typer.echo(f"{document['node']:<10} stays  {document['stays'][:SHORT]}")
