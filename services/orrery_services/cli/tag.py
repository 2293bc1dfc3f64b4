"""orrery tag <snapshot> <name>: a name that people give a snapshot, kept by gc."""

import getpass
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
    from ..store import refs, snapshots

    if not re.fullmatch(NAME, name, re.ASCII):
        raise ConfigError(f"a tag must match {NAME}, was {name!r}")
    settings = common.settings_of(node)
    with store.connect(settings.postgres("writer"), attempts_max=2) as connection:
        id_ = refs.resolve(connection, snapshot)
        opened, _ = snapshots.open_snapshot(connection, id_)
        expected = refs.now_at(connection, settings.node, TAG + name) if move else None
        wanted = Ref(
            settings.node, TAG + name, id_.hex(), opened.cut["number"], 0, id_.hex(),
            getpass.getuser(), clock.wall_ns(),
        )  # fmt: skip
        made = refs.move(connection, settings.partitions, wanted, expected)
    common.show(made._asdict(), as_json, _print)


def _print(made: dict[str, Any]) -> None:
    typer.echo(f"{made['node']}/{made['name']} -> {made['target'][:12]}  (move {made['move']})")
