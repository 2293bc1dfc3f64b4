"""orrery tag <snapshot> <name>: a name that people give a snapshot, kept by gc."""

from typing import Annotated, Any

import typer

from ..errors import ConfigError
from . import common

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def register(app: typer.Typer) -> None:
    app.command()(tag)


def tag(
    snapshot: Annotated[str, typer.Argument(help="Short id, tag, ref, or latest.")],
    name: Annotated[str, typer.Argument(help="The tag: letters, digits, . _ and -.")],
    move: Annotated[bool, typer.Option("--move", help="Move a tag that is there.")] = False,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Name a snapshot. A tag that is there moves only when told to, and keeps its history."""
    import re

    from .. import clock, store
    from ..protocol.snapshots import TAG, Ref
    from ..store import holds, pieces, refs, snapshots

    if not re.fullmatch(NAME, name, re.ASCII):
        raise ConfigError(f"a tag must match {NAME}, was {name!r}")
    if name == refs.LATEST or (len(name) == refs.DIGITS_MAX and refs.is_id_like(name)):
        raise ConfigError(f"a tag must not be {refs.LATEST!r} nor a whole id, was {name!r}")
    settings = common.settings_of(node)
    with store.connect(settings.postgres("writer"), attempts_max=2) as connection:
        id_ = refs.resolve(connection, snapshot)
        opened, _ = snapshots.open_snapshot(connection, id_)
        now = refs.now_at(connection, settings.node, TAG + name)
        if now and not move:
            raise ConfigError(
                f"the tag {name!r} must be free, but is at {now.hex()[:12]}: --move moves it"
            )
        wanted = Ref(
            settings.node, TAG + name, id_.hex(), opened.cut["number"], 0, id_.hex(),
            common.person(), clock.wall_ns(),
        )  # fmt: skip
        with holds.naming(connection):
            made = refs.move(connection, settings.partitions, wanted, now)
        roots = [root for roots in opened.sections.values() for root in roots]
        if not pieces.are_held(connection, roots):
            common.complain(
                f"{id_.hex()[:12]} has its name, but not all of its leaves are here: gc removed "
                "them, or they have not arrived yet"
            )
    common.show(made._asdict(), as_json, _print)


def _print(made: dict[str, Any]) -> None:
    typer.echo(f"{made['node']}/{made['name']} -> {made['target'][:12]}  (move {made['move']})")
