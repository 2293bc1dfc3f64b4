"""`orrery`: every verb is a file beside this one with `register(app)`, and one line in VERBS.

Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded. A reading command has --json.
"""

import importlib
import os
import sys
from typing import Annotated

import typer

from ..errors import ConfigError, ServiceError
from .common import DEGRADED, FAILED, OK, USAGE, complain

__all__ = ["DEGRADED", "FAILED", "OK", "USAGE", "app", "main"]

# One line a verb, in the order in which `orrery --help` lists them.
VERBS = [
    "up",
    "status",
    "read",
    "log",
    "show",
    "verify",
    "converge",
    "tsdb",
    "doctor",
    "config",
]

app = typer.Typer(
    name="orrery",
    help="Events go in, facts come out, and every number can be replayed bit for bit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of failures.")] = False,
) -> None:
    if debug:
        os.environ["ORRERY_LOG_LEVEL"] = "DEBUG"


for verb in VERBS:
    importlib.import_module(f"orrery_services.cli.{verb}").register(app)


def main() -> None:
    """Run the command line and leave with its exit code."""
    debug = "--debug" in sys.argv
    try:
        app()
    except ConfigError as cause:
        _fail(cause, USAGE, debug)
    except ServiceError as cause:
        _fail(cause, FAILED, debug)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)


def _fail(cause: Exception, code: int, debug: bool) -> None:
    if debug:
        raise cause
    complain(f"orrery: {cause}")
    sys.exit(code)
