"""orrery config show: every setting, its value, and where it came from."""

from typing import Any

import typer

from ..config import leaves, universe_schema
from . import common


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Look at the settings of a node.")
    group.command("show")(show)
    app.add_typer(group, name="config")


def show(node: common.Node = None, as_json: common.Json = False) -> None:
    """Print every setting with its value, its origin and what it means."""
    settings = common.settings_of(node)
    meaning = {key: part["description"] for key, part in leaves(universe_schema(settings.root))}
    document = {
        key: {
            "value": settings.values[key],
            "origin": settings.origins[key],
            "meaning": meaning.get(key, ""),
        }
        for key in sorted(settings.values)
    }
    common.show(document, as_json, _table)


def _table(document: dict[str, dict[str, Any]]) -> None:
    width = max(map(len, document))
    for key, entry in document.items():
        value = entry["value"]
        if isinstance(value, dict | list) and value:
            value = f"{len(value)} entries"
        typer.echo(f"{key:<{width}}  {value!s:<28}  {entry['origin']}")
