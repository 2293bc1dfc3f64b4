"""orrery diff A B: which leaves differ between two snapshots, and which results because of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..node import Node
from . import common

if TYPE_CHECKING:
    from orrery_kernels.domino.market import Market

SHOWN_MAX = 40


def register(app: typer.Typer) -> None:
    app.command()(diff)


def diff(
    before: Annotated[str, typer.Argument(help="A snapshot: short id, tag, ref.")],
    after: Annotated[str, typer.Argument(help="Another; default: latest.")] = "latest",
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Say what changed. A state is shown by its size: its numbers are in `orrery read`."""
    from ..dominoes import asking
    from ..store import refs

    with Node(settings=common.settings_of(node)) as found:
        ids = [refs.resolve(found.connection, text) for text in (before, after)]
        document = {
            "before": ids[0].hex(),
            "after": ids[1].hex(),
            "leaves": list(changed(found, *ids)),
            "results": asking.compare(found.connection, *ids),
        }
    common.show(document, as_json, _print)


def changed(node: Node, before: bytes, after: bytes) -> list[dict[str, Any]]:
    """Return the leaves that differ between two snapshots, by path."""
    from orrery_kernels.domino.explain import changed_leaves
    from orrery_kernels.domino.market import Market

    from ..store import snapshots

    one, fetch = snapshots.open_snapshot(node.connection, before)
    other, _ = snapshots.open_snapshot(node.connection, after, fetch)
    was, now = Market(one, fetch), Market(other, fetch)
    return [
        {"path": path, "before": shown(was, path, change.before),
         "after": shown(now, path, change.after)}
        for path, change in changed_leaves(one, other, fetch)
    ]  # fmt: skip


def shown(market: "Market", path: str, body: bytes | None) -> Any:
    """Return a leaf for people: its value, of a state its bytes and how many rows it has seen; of
    one that is too wide for a leaf the digest, which is the leaf."""
    from orrery_kernels.snapshot.canonical import decode

    if body is None:
        return None
    if not path.startswith("state/"):
        return decode(body)
    if not market.holds_values(market.snapshot.locate(path)[0]):
        return {"state_digest": body.hex()}
    return {"state_bytes": len(body), "rows": int.from_bytes(body[:8], "little")}


def _print(document: dict[str, Any]) -> None:
    leaves = document["leaves"]
    typer.echo(
        f"{document['before'][:12]} .. {document['after'][:12]}  {len(leaves)} leaves differ"
    )
    for leaf in leaves[:SHOWN_MAX]:
        typer.echo(f"  {leaf['path']:<40} {leaf['before']} -> {leaf['after']}")
    if len(leaves) > SHOWN_MAX:
        typer.echo(f"  … {len(leaves) - SHOWN_MAX} more (--json has all)")
    for result in document["results"]:
        far = result["moved"]
        by = f"  {far['point'] or 'value'} {far['by']:+.6g}" if far else ""
        typer.echo(f"  {result['task']:<40} {result['action']}: {result['why']}{by}")
