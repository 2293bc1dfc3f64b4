"""orrery route PATH: which universe answers, and why."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from orrery_services.config import load_settings
from orrery_services.errors import ConfigError
from orrery_services.protocol import routing


def route(
    path: Annotated[str, typer.Argument(help="domino/…, curve/…, slice/<name>/<seconds>, read/…")],
    node: Annotated[str | None, typer.Option(help="As seen from this node.")] = None,
    lead: Annotated[
        int, typer.Option(help="For a slice: seconds before the next one opens.", min=0)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say which universe answers a path, and why; for a slice, who must be ready for the next."""
    settings = load_settings(node)
    try:
        answer = routing.route(path, settings.routing, settings.node)
        ready = next_ones(path, settings.routing, lead, settings.node)
    except routing.BadRoute as cause:
        raise ConfigError(f"{cause} ({settings.universe})") from cause
    if as_json:
        told = {"path": path, **answer._asdict(), "ready": [one._asdict() for one in ready]}
        print(json.dumps(told))
        return
    print(f"{path} -> {answer.universe}   {answer.why}")
    for one in ready:
        print(f"ready before it closes: {one.universe} for slice {one.slice}, opens {one.opens_s}")


def next_ones(
    path: str, table: Mapping[str, Any], lead: int, here: str = routing.LOCAL
) -> list[routing.Provision]:
    """Return who must be ready for slices that open within `lead` seconds of the one asked for."""
    kind, _, name = path.partition("/")
    family, _, moment = name.rpartition("/")
    if kind != "slice":
        return []
    return [
        one._replace(universe=routing.route(f"slice/{family}/{one.opens_s}", table, here).universe)
        for one in routing.provisions(int(moment), table, lead)[1:]
    ]


def register(app: typer.Typer) -> None:
    app.command("route")(route)
