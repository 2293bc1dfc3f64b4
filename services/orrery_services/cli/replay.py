"""orrery replay SNAPSHOT --verify: make it all again from stored bytes, and compare names."""

from typing import Annotated, Any

import typer

from ..errors import ConfigError, DivergenceError
from ..node import Node
from . import common


def register(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    snapshot: Annotated[str, typer.Argument(help="A snapshot: short id, tag, ref, latest.")],
    since: Annotated[
        str | None, typer.Option("--since", help="Also every snapshot from this one on.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with what is held; exit 1 if it differs.")
    ] = False,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Recompute leaves from stored rows, the snapshot from its leaves, results without memo."""

    if not verify:
        raise ConfigError("replay writes nothing: say --verify to compare what comes out")
    with Node(settings=common.settings_of(node)) as found:
        document = verified(found, snapshot, since)
    common.show(document, as_json, _print)
    if document["first_difference"]:
        raise typer.Exit(common.FAILED)


def verified(node: Node, snapshot: str, since: str | None = None) -> dict[str, Any]:
    """Replay one snapshot, or all from `since` to it; say what was compared and what differs."""
    from ..store import pieces, refs, snapshots
    from . import replay_leaves

    connection = node.connection
    last = snapshots.made_as(connection, refs.resolve(connection, snapshot))
    first = snapshots.made_as(connection, refs.resolve(connection, since)) if since else last
    if last is None or first is None:
        raise ConfigError(f"{node.name} must have made the snapshot itself to replay its rows")
    if first.number > last.number:
        raise ConfigError(
            f"--since must not be behind the snapshot, was cut {first.number} of {last.number}"
        )
    fetch = pieces.fetcher(connection)
    most = last.number - first.number + 1
    made = [m for m in snapshots.made_after(connection, first.number - 1, most)
            if m.number <= last.number]  # fmt: skip
    parts, expired = replay_leaves.parts_of(node, {m.number for m in made})
    by_part, (others, found) = replay_leaves.recomputed(
        node, parts, lambda: _frozen_again(node, made, fetch)
    )
    results = [result for result in found if "expired" not in result]
    expired += [_gone(result) for result in found if "expired" in result]
    leaves = [judged for part in by_part for judged in part]
    differ = [f"leaf {key}: its rows make another" for key, equal in leaves if not equal]
    differ += others + [_told(result) for result in results if not result["equal"]]
    return {
        "node": node.name, "snapshot": last.id.hex(), "snapshots": len(made), "leaves": len(leaves),
        "results": len(results), "expired": expired, "differ": differ,
        "first_difference": next(iter(differ), None),
    }  # fmt: skip


def _frozen_again(
    node: Node, made: list[Any], fetch: Any
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return how snapshots differ that are frozen again from their leaves, and every result."""
    from ..dominoes import asking

    differ, found, market = [], [], None
    for one in made:
        differ += _manifest(node, one)
        results, market = asking.replay(node.connection, one.id, fetch, market)
        found += [{**result, "snapshot": one.id.hex()} for result in results]
    return differ, found


def _manifest(node: Node, made: Any) -> list[str]:
    """Freeze a snapshot again from its leaves and compare its id."""
    from orrery_kernels.snapshot.snapshot import freeze

    from ..protocol import snapshots as rules
    from ..store import snapshots

    connection, partitions = node.connection, node.settings.partitions
    cut = snapshots.cut_of(connection, made.number)
    if cut is None:
        return [f"snapshot {made.id.hex()[:12]}: its cut {made.number} is not held"]
    leaves = snapshots.leaves_of(connection, cut, partitions)
    missing = [key for key in rules.wanted(cut, partitions) if key not in leaves]
    if missing:
        return [f"snapshot {made.id.hex()[:12]}: the leaf {missing[0]} is not held"]
    opened, _ = snapshots.open_snapshot(connection, made.id)
    calendars = opened.sections.get(rules.CALENDARS, ())  # those of then
    try:
        again = freeze(**rules.parts_of(cut, leaves, partitions, calendars)).id
    except DivergenceError as cause:  # a leaf was settled otherwise since
        return [f"snapshot {made.id.hex()[:12]}: {cause}"]
    return [] if again == made.id else [
        f"snapshot {made.id.hex()[:12]}: its leaves make {again.hex()[:12]}"
    ]  # fmt: skip


def _told(result: dict[str, Any]) -> str:
    return (
        f"result {result['task']}@{result['snapshot'][:12]} of {result['chain']}: held "
        f"{(result.get('held') or 'none')[:12]}, came {(result.get('came') or 'none')[:12]} "
        f"({result['why']})"
    )


def _gone(result: dict[str, Any]) -> str:
    return (
        f"the leaves of {result['snapshot'][:12]} expired on {result['expired']}: the results of "
        f"{result['chain']} were not made again"
    )


def _print(document: dict[str, Any]) -> None:
    for text in document["differ"][:20]:
        typer.echo(f"differs: {text}")
    for text in document["expired"]:
        typer.echo(text)
    typer.echo(
        f"{document['node']}: {document['snapshots']:,} snapshots, {document['leaves']:,} leaves "
        f"and {document['results']:,} results made again, {len(document['differ'])} differ"
    )
