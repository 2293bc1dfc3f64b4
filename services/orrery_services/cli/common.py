"""What every command shares: exit codes, --json, the node option, plain words on a failure.

@app.command()
def status(node: Node = None, as_json: Json = False) -> None:
    settings = settings_of(node)
    ...
    show(document, as_json, render)      # JSON for programs, `render(document)` for people
    raise typer.Exit(DEGRADED)           # when it is so
"""

import json
import os
import sys
from collections.abc import Callable
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


def home() -> Path:
    """Return the folder of everything that `make up` makes."""
    return Path(os.environ.get("ORRERY_HOME") or find_root() / ".orrery").absolute()


def show(document: Any, as_json: bool, render: Callable[[Any], None]) -> None:
    """Print a document for a program or for a person."""
    if as_json:
        json.dump(document, sys.stdout, indent=2, default=str)
        sys.stdout.write("\n")
    else:
        render(document)


def complain(text: str) -> None:
    """Say what is wrong, on stderr, in one piece."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="red", markup=False)
