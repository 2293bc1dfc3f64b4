"""`orrery`: every verb is a file beside this one with `register(app)`, and one line in VERBS.

Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded. A reading command has --json.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orrery_kernels.errors import OrreryError

from ..errors import ConfigError, OutsideError, ServiceError, StackError
from ..lean import without

if TYPE_CHECKING:
    import typer

# One line a verb, in the order in which `orrery --help` lists them.
VERBS = [
    "up",
    "node",
    "feed",
    "trade",
    "status",
    "read",
    "snapshot",
    "log",
    "show",
    "diff",
    "run",
    "why",
    "replay",
    "history",
    "tag",
    "gc",
    "verify",
    "converge",
    "settle",
    "dead_letters",
    "tsdb",
    "doctor",
    "config",
    "route",
]
HOMES = {"down": "up", "clean": "up"}  # verbs that live in the file of another
ALONE = ("up", "node", "doctor", "config", "route")  # modules that need nothing to run
OUTSIDE = ("psycopg", "confluent_kafka", "cimpl", "httpx")  # clients of what may be away


def main() -> None:
    """Run the command line and leave with its exit code."""
    if sys.argv[1:2] == ["stage"]:  # the first process of a container: it stays small
        from .stage import exec_stage

        exec_stage(sys.argv[2:])
    without("pandas")
    debug = "--debug" in sys.argv
    try:
        _check_text(sys.argv[1:])
        _expect_stack(sys.argv[1:])
        make_app(sys.argv[1:])()
    except ConfigError as cause:
        _fail(cause, 2, debug)
    except (ServiceError, OrreryError) as cause:
        _fail(cause, 1, debug)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as cause:
        if type(cause).__module__.split(".")[0] not in OUTSIDE:
            raise
        said = " ".join(str(cause).split())
        _fail(OutsideError(f"{said}; `orrery status` shows what is away"), 1, debug)


def modules(arguments: Sequence[str]) -> list[str]:
    """Return the modules needed: the one of the verb that is called, or all to list them.

    >>> modules(["--debug", "dead-letters", "--json"]), modules(["down"])
    (['dead_letters'], ['up'])
    """
    words = [word.replace("-", "_") for word in arguments if not word.startswith("-")]
    module = HOMES.get(words[0], words[0]) if words else ""
    return [module] if module in VERBS else VERBS


def make_app(arguments: Sequence[str] = ()) -> "typer.Typer":
    """Return the command line with the verb of `arguments` in it, or with every verb."""
    import typer

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
        debug: bool = typer.Option(False, "--debug", help="Show tracebacks of failures."),
    ) -> None:
        if debug:
            os.environ["ORRERY_LOG_LEVEL"] = "DEBUG"

    for verb in modules(arguments):
        importlib.import_module(f"orrery_services.cli.{verb}").register(app)
    return app


def _check_text(arguments: Sequence[str]) -> None:
    """Raise ConfigError for what no terminal in UTF-8 types: no text could be compared with it."""
    for text in arguments:
        if not text.isascii() and text != text.encode(errors="replace").decode():
            raise ConfigError(f"arguments must be UTF-8, {text[:40]!a} is not")


def _expect_stack(arguments: Sequence[str]) -> None:
    """Raise StackError at once where a command would wait for what nobody has started."""
    found = modules(arguments)
    if len(found) > 1 or found[0] in ALONE or {"-h", "--help"} & set(arguments):
        return
    from ..config import load_settings, stack_socket

    settings = load_settings()
    told_where = {settings.origins["kafka"], settings.origins["postgres.port"]}
    if told_where <= {"default", "running stack"} and not stack_socket(settings.home).exists():
        raise StackError(f"a stack must run in {settings.home}, but none does: `make up` starts it")


def _fail(cause: Exception, code: int, debug: bool) -> None:
    if debug:
        raise cause
    from .common import complain

    complain(f"orrery: {cause}")
    sys.exit(code)
