"""orrery gc: remove the bodies of snapshots that nothing needs; their names stay."""

from collections.abc import Callable
from typing import Annotated, Any

import psycopg
import typer
from orrery_kernels.errors import SnapshotError

from ..config import Settings
from ..errors import ConfigError
from . import common

SHORT = 12


def register(app: typer.Typer) -> None:
    app.command()(gc)


def gc(
    keep: Annotated[
        str | None,
        typer.Option(help="'tags, last 1000, 30 days, one a day for 5 years'; default: universe."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="How long rows keep their bodies: '30 days'; '': for ever.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Say of every snapshot whether it stays and why, and remove what does not."""
    from orrery_kernels.snapshot.retention import read_policy

    from .. import clock, store
    from ..snapshots import collecting, expiring
    from ..store import pieces, refs
    from .peers import peers_of

    settings = common.settings_of(node)
    policy = _said(settings, "snapshots", keep, "--keep", read_policy)
    age = _said(settings, "rows", rows, "--rows", lambda text: text and expiring.age_of(text))
    now_ns = clock.wall_ns()
    peers = peers_of(settings, now_ns)
    with store.connect(settings.postgres("writer"), attempts_max=2) as writer:
        plan = collecting.plan(writer, policy, peers.held, now_ns)
        old = _old_rows(writer, settings, peers.held, age, now_ns)
        document = plan.told() | {"dry_run": dry_run, "silent_peers": peers.silent}
        document |= {"rows": age, "expiring": [one.told() for one in old]}
        if (plan.bodies or old) and not dry_run:
            event = {"what": "gc", "by": common.person(), "node": settings.node, "at_ns": now_ns}
            told = ("policy", "packs", "answers", "bytes", "rows", "expiring")
            event |= {name: document[name] for name in told}
            event["removed"] = sum(not one["keep"] for one in document["snapshots"])
            with (
                store.connect(settings.postgres("gc"), attempts_max=2) as collector,
                pieces.removing(collector),
            ):
                collecting.condemn(collector, plan)
                refs.write_events(writer, settings.partitions, [event])  # before: it may be killed
                collecting.remove(collector, plan.bodies, now_ns)
                expiring.remove(collector, old, now_ns)
    common.show(document, as_json, _print)


def _said(
    settings: Settings, name: str, given: str | None, option: str, check: Callable[[str], object]
) -> str:
    """Return what was given or is declared. Raises ConfigError saying where it stands."""
    declared = settings.values[f"data.retention.{name}"]
    place = f"data.retention.{name} of {settings.universe}" if given is None else option
    text = declared if given is None else given
    try:
        check(text)
    except SnapshotError as cause:
        raise ConfigError(f"{cause} ({place})") from cause
    return text


def _old_rows(
    writer: psycopg.Connection, settings: Settings, peers: dict[str, Any], age: str, now_ns: int
) -> list[Any]:
    """Return what goes of the rows: below the checkpoints of every chain, declared or named."""
    if not age:
        return []
    from orrery_kernels import Chain

    from ..analytics import recovery
    from ..protocol.facts import chain_id
    from ..protocol.marks import Mark
    from ..snapshots import expiring
    from ..store import reading, results

    steps = [*settings.chains.values()]
    named = set(reading.chain_names(writer).values())
    chains = {chain_id(chain.digest): chain for chain in map(Chain, steps)}
    chains |= {id_: Chain(results.chain_info(writer, id_).steps) for id_ in named - chains.keys()}

    def begins(chain: str, partition: int, ordinal: int) -> Mark:
        work = recovery.at_checkpoint(writer, chains[chain], partition, ordinal)
        return Mark(work.log_id, *work.position)

    older_than_ns = now_ns - expiring.age_of(age)
    ids, partitions = sorted(chains), settings.partitions
    return expiring.plan(writer, ids, partitions, begins, peers, older_than_ns)


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
    if document["gone"]:
        typer.echo(f"{document['gone']:,} snapshots went before; their names stay")
    for one in document["expiring"]:
        typer.echo(
            f"rows of partition {one['partition']} below offset {one['below']:,}: "
            f"{one['chunks']:,} chunks of {one['bytes']:,} bytes {verb}"
        )
    for peer in document["silent_peers"]:
        common.complain(f"peer {peer} has been silent too long: gc did not wait for it")
