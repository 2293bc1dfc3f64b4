"""orrery tsdb rebuild: forget the node's series and write them again from facts."""

import typer

from .. import tsdb as store_of_series
from ..errors import OutsideError
from ..gateway import series
from ..node import Node
from . import common


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="The time-series store: a projection.")
    group.command("rebuild")(rebuild)
    group.callback()(_group)
    app.add_typer(group, name="tsdb")


def _group() -> None:
    """The time-series store is written behind the facts, and can always be made again from them."""


def rebuild(node: common.Node = None, as_json: common.Json = False) -> None:
    """Write every series of a node again from its facts."""
    with Node(settings=common.settings_of(node)) as found:
        url = found.settings.tsdb
        if not url:
            raise OutsideError(f"{found.name} has no time-series store; set tsdb in universe.toml")
        if not store_of_series.is_there(url):
            raise OutsideError(f"the time-series store must answer at {url}")
        samples = series.rebuild(found.connection, url, found.name)
    document = {"node": found.name, "samples": samples}
    common.show(document, as_json, lambda d: typer.echo(f"{d['node']}: {samples:,} samples"))
