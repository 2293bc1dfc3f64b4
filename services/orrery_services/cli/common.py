"""What every command shares: exit codes, --json, the node option, plain words on a failure.

@app.command()
def status(node: Node = None, as_json: Json = False) -> None:
    settings = settings_of(node)
    ...
    show(document, as_json, render)      # JSON for programs, `render(document)` for people
    raise typer.Exit(DEGRADED)           # when it is so
"""

import getpass
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..config import Settings, find_root, load_settings

OK, FAILED, USAGE, DEGRADED = 0, 1, 2, 3

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Node = Annotated[
    str | None, typer.Option("--node", help="Which node; default: ORRERY_NODE, else the first.")
]

console = Console(highlight=False, soft_wrap=True)


def settings_of(node: str | None) -> Settings:
    return load_settings(node)


def person() -> str:
    """Return who types, as facts name them; in a container a user need not have a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def home() -> Path:
    """Return the folder of everything that `make up` makes."""
    return Path(os.environ.get("ORRERY_HOME") or find_root() / ".orrery").absolute()


def show(document: Any, as_json: bool, render: Callable[[Any], None]) -> None:
    """Print a document for a program or for a person."""
    if as_json:
        json.dump(_as_json(document), sys.stdout, indent=2, default=str, allow_nan=False)
        sys.stdout.write("\n")
    else:
        render(document)


def _as_json(value: Any) -> Any:
    """Return a document without what JSON has no word for: NaN and infinities are null."""
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and value - value != 0.0 else value


def complain(text: str) -> None:
    """Say what is wrong, on stderr, in one piece."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="red", markup=False)
