"""orrery gc: remove the bodies of snapshots that nothing needs; their names stay."""

import getpass
from typing import Annotated, Any

import typer

from . import common

SHORT = 12


def register(app: typer.Typer) -> None:
    app.command()(gc)


def gc(
    keep: Annotated[
        str | None,
        typer.Option(help="'tags, last 1000, 30 days, one a day for 5 years'; default: universe."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Say of every snapshot whether it stays and why, and remove what does not."""
    from .. import clock, store
    from ..snapshots import collecting
    from ..store import pieces, refs
    from .peers import peers_of

    settings = common.settings_of(node)
    policy = keep or settings.values["data.retention.snapshots"]
    now_ns = clock.wall_ns()
    peers = peers_of(settings, now_ns)
    with store.connect(settings.postgres("writer"), attempts_max=2) as writer:
        pieces.index_rest(writer)
        plan = collecting.plan(writer, policy, peers.held, now_ns)
        document = plan.told() | {"dry_run": dry_run, "silent_peers": peers.silent}
        if plan.bodies and not dry_run:
            with store.connect(settings.postgres("gc"), attempts_max=2) as collector:
                collecting.remove(collector, plan.bodies, now_ns)
            event = {"what": "gc", "by": getpass.getuser(), "node": settings.node, "at_ns": now_ns}
            event |= {name: document[name] for name in ("policy", "packs", "answers", "bytes")}
            event["removed"] = sum(not one["keep"] for one in document["snapshots"])
            refs.write_events(writer, settings.partitions, [event])
    common.show(document, as_json, _print)


def _print(document: dict[str, Any]) -> None:
    for one in document["snapshots"]:
        word = "keeps" if one["keep"] else "goes "
        typer.echo(f"{word} {one['id'][:SHORT]}  cut {one['number']}  {one['why']}")
    verb = "would go" if document["dry_run"] else "went"
    typer.echo(
        f"{document['packs']:,} packs and {document['answers']:,} answers of "
        f"{document['bytes']:,} bytes {verb}; "
        f"{document['waiting']:,} wait for peers"
    )
    for peer in document["silent_peers"]:
        common.complain(f"peer {peer} has been silent too long: gc did not wait for it")
