"""orrery snapshot: freeze the market now, by hand, and say what was frozen."""

import secrets
import time
from typing import Annotated, Any

import typer

from ..errors import OutsideError
from ..node import Node
from . import common

POLL_SECONDS = 0.02
SHORT = 12  # hex digits shown of an id


def register(app: typer.Typer) -> None:
    app.command()(snapshot)


def snapshot(
    seconds_max: Annotated[
        float, typer.Option("--wait", help="Give up after so many seconds.", min=0.1)
    ] = 30.0,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Cut the log of every partition now, and wait for the snapshot on this node."""
    from .. import clock
    from ..snapshots import app, cutting, steps
    from ..store import snapshots

    with Node(settings=common.settings_of(node)) as found:
        chains = app.chains_of(found.connection, found.settings)
        if not chains:
            raise OutsideError(f"{found.name} must compute a chain, but has computed nothing yet")
        deadline = time.monotonic() + seconds_max
        static = steps.static_root(found.settings.values["data.static"])
        firing = f"by hand#{found.name}-{secrets.token_hex(8)}"
        wanted = cutting.Wanted(firing, "by hand", clock.wall_ns(), chains, static)
        newest = snapshots.newest_cut(found.connection)
        cut = cutting.cut_now(found.settings, wanted, newest, seconds_max)
        document = _wait(found, cut.number, deadline)
    common.show(document, as_json, print_one)


def _wait(node: Node, number: int, deadline: float) -> dict[str, Any]:
    from ..store import snapshots

    while time.monotonic() < deadline:
        made = snapshots.made_after(node.connection, number - 1, 1)
        if made and made[0].number == number:
            return described(node, made[0])
        time.sleep(POLL_SECONDS)
    raise OutsideError(
        f"cut {number} is in the log, but {node.name} does not hold a leaf of every partition yet: "
        "are its services snapshots, packer and analytics up? `orrery status` says"
    )


def described(node: Node, made: Any) -> dict[str, Any]:
    """Return what a line about a snapshot says."""
    from orrery_kernels.snapshot.descent import diff
    from orrery_kernels.snapshot.snapshot import leaf_count

    from .. import clock
    from ..store import refs, snapshots

    connection = node.connection
    opened, fetch = snapshots.open_snapshot(connection, made.id)
    changed = None
    if made.parent is not None:
        before, _ = snapshots.open_snapshot(connection, made.parent, fetch)
        changed = {
            section: sum(1 for a, b in zip(before.sections[section], roots, strict=True)
                         for _ in diff(a, b, fetch))
            for section, roots in opened.sections.items()
            if len(before.sections.get(section, ())) == len(roots)
        }  # fmt: skip
    record = next(
        snapshots.records(connection, refs.origin(connection), made.number, made.number + 1), None
    )
    return {
        "id": made.id.hex(),
        "number": made.number,
        "at": clock.iso(made.at_ns),
        "trigger": made.trigger,
        "parent": made.parent.hex() if made.parent else None,
        "leaves": leaf_count(opened, fetch),
        "changed": changed,
        "lsn": record.lsn if record else None,
        "slice": record.slice if record else "",
        "offsets": {
            p: v["offset"] for p, v in sorted(opened.cut.items()) if p.startswith("ticks/")
        },
    }


def print_one(found: dict[str, Any]) -> None:
    since = ""
    if found["parent"]:
        changes = ", ".join(f"{n} {name}" for name, n in (found["changed"] or {}).items() if n)
        since = f", changed since {found['parent'][:SHORT]}: {changes or 'nothing'}"
    offsets = list(found["offsets"].values())
    typer.echo(
        f"snap {found['id'][:SHORT]}  {found['at'][:23]}  {found['trigger']}  "
        f"{found['leaves']:,} leaves{since}"
    )
    typer.echo(
        f"     cut {found['number']}  ticks[0..{len(offsets) - 1}]="
        f"{','.join(map(str, offsets))}  lsn {found['lsn']}"
    )
