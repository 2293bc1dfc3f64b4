"""orrery route PATH: which universe answers, and why."""

import json
from typing import Annotated

import typer

from orrery_services.config import load_settings
from orrery_services.errors import ConfigError
from orrery_services.protocol import routing


def route(
    path: Annotated[str, typer.Argument(help="domino/…, curve/…, slice/<name>/<seconds>, read/…")],
    node: Annotated[str | None, typer.Option(help="As seen from this node.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say which universe answers a path, and why."""
    settings = load_settings(node)
    try:
        answer = routing.route(path, settings.routing, settings.node)
    except routing.BadRoute as cause:
        raise ConfigError(f"{cause} ({settings.universe})") from cause
    if as_json:
        print(json.dumps({"path": path, **answer._asdict()}))
    else:
        print(f"{path} -> {answer.universe}   {answer.why}")


def register(app: typer.Typer) -> None:
    app.command("route")(route)
