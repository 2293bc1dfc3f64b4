"""orrery replay SNAPSHOT --verify: make it all again from stored bytes, and compare names."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..errors import ConfigError
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

    connection = node.connection
    last = snapshots.made_as(connection, refs.resolve(connection, snapshot))
    first = snapshots.made_as(connection, refs.resolve(connection, since)) if since else last
    if last is None or first is None:
        raise ConfigError(f"{node.name} must have made the snapshot itself to replay its rows")
    fetch = pieces.fetcher(connection)
    made = [m for m in snapshots.made_after(connection, first.number - 1, 10**6)
            if m.number <= last.number]  # fmt: skip
    leaves, differ, expired = 0, [], []
    for key, equal in _leaves(node, made, expired):
        leaves += 1
        differ += [] if equal else [f"leaf {key}: its rows make another"]
    results = []
    for one in made:
        differ += _manifest(node, one)
        results += _results(node, one, fetch)
    differ += [_told(result) for result in results if not result["equal"]]
    return {
        "node": node.name, "snapshot": last.id.hex(), "snapshots": len(made), "leaves": leaves,
        "results": len(results), "expired": expired, "differ": differ,
        "first_difference": next(iter(differ), None),
    }  # fmt: skip


def _leaves(node: Node, made: list[Any], expired: list[str]) -> Iterator[tuple[str, bool]]:
    """Recompute the leaves of these cuts from stored input chunks; yield (key, equal).

    Of cuts below what gc left of the rows nothing is recomputed: `expired` is told so.
    """
    from orrery_kernels import Chain

    from .. import store
    from ..analytics import recovery
    from ..protocol import snapshots as rules
    from ..protocol.marks import Mark
    from ..store import low, reading, results

    connection, numbers = node.connection, {one.number for one in made}
    marks = store.marks(connection)
    for name in sorted(_chains(node, made[-1])):
        info = results.chain_info(connection, name)
        chain = Chain(info.steps)
        for partition in range(node.settings.partitions):
            gone = low.low_of(connection, partition)
            begins = {
                n: _ordinal_below(connection, rules, info.id, partition, n)
                for n in (sorted(numbers) if gone else [made[0].number])
            }
            lost = {n for n, ordinal in begins.items() if gone and ordinal < gone.mark.ordinal}
            if lost:
                expired.append(f"{gone.text}: {len(lost)} leaves were not made again")
            if lost == numbers:
                continue
            keys = {rules.leaf_key(info.id, partition, number) for number in numbers - lost}
            held, left = reading.ids_of(connection, sorted(keys)), set(keys)
            mark = marks.get((info.id, partition), Mark())
            first = min(ordinal for n, ordinal in begins.items() if n not in lost)
            work = recovery.at_checkpoint(connection, chain, partition, first)
            for fact in recovery.cuts_behind(connection, work, mark.ordinal):
                if fact.key in left:
                    left.discard(fact.key)
                    yield fact.key, held.get(fact.key) == fact.id
                if not left:
                    break
            yield from ((key, False) for key in sorted(left))


def _chains(node: Node, made: Any) -> list[str]:
    from ..protocol.snapshots import STATE
    from ..store import snapshots

    opened, _ = snapshots.open_snapshot(node.connection, made.id)
    return [s.removeprefix(f"{STATE}/") for s in opened.sections if s.startswith(f"{STATE}/")]


def _ordinal_below(connection: Any, rules: Any, chain: str, partition: int, number: int) -> int:
    """Return the ordinal of the input chunk that is a cut's marker: a state before it will do."""
    from ..protocol import facts
    from ..store import reading

    row = reading.fact_by_key(connection, rules.leaf_key(chain, partition, number))
    if row is None:
        return 0
    leaf = rules.leaf_of(facts.data_of(row.payload, reading.fetch_piece(connection, row.stream)))
    place = facts.Place(leaf.log, partition, leaf.offset)
    marker = reading.fact_by_key(connection, facts.place_key(facts.INPUT, place))
    return facts.meta_of(marker.payload)["ordinal"] if marker else 0


def _manifest(node: Node, made: Any) -> list[str]:
    """Freeze a snapshot again from its leaves and compare its id."""
    from orrery_kernels.snapshot.snapshot import freeze

    from ..protocol import snapshots as rules
    from ..store import snapshots

    connection, partitions = node.connection, node.settings.partitions
    cut = next(iter(snapshots.cuts_after(connection, made.number - 1)), None)
    if cut is None or cut.number != made.number:
        return [f"snapshot {made.id.hex()[:12]}: its cut {made.number} is not held"]
    leaves = snapshots.leaves_of(connection, cut, partitions)
    missing = [key for key in rules.wanted(cut, partitions) if key not in leaves]
    if missing:
        return [f"snapshot {made.id.hex()[:12]}: the leaf {missing[0]} is not held"]
    opened, _ = snapshots.open_snapshot(connection, made.id)
    calendars = opened.sections.get(rules.CALENDARS, ())  # those of then
    again = freeze(**rules.parts_of(cut, leaves, partitions, calendars)).id
    return [] if again == made.id else [
        f"snapshot {made.id.hex()[:12]}: its leaves make {again.hex()[:12]}"
    ]  # fmt: skip


def _results(node: Node, made: Any, fetch: Any) -> list[dict[str, Any]]:
    from ..dominoes import asking

    return [
        {**found, "snapshot": made.id.hex()}
        for found in asking.replay(node.connection, made.id, fetch)
    ]


def _told(result: dict[str, Any]) -> str:
    return (
        f"result {result['task']}@{result['snapshot'][:12]} of {result['chain']}: held "
        f"{(result.get('held') or 'none')[:12]}, came {(result.get('came') or 'none')[:12]} "
        f"({result['why']})"
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
