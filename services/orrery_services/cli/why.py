"""orrery why RESULT: what a number is made of, down to the rows in the log."""

from typing import Annotated, Any

import typer

from ..node import Node
from ..protocol.declarations import RUN
from . import common


def register(app: typer.Typer) -> None:
    app.command()(why)


def why(
    result: Annotated[
        str, typer.Argument(help="curve/USD-SOFR, …@latest or …@SNAPSHOT; run/ID: a swapped run.")
    ],
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Print the tree of a result: domino, code, parameters, inputs, leaves, rows, offsets, LSN."""
    if result.startswith(RUN):
        from ..hotswap import lineage

        settings = common.settings_of(node)
        common.show(lineage.why(settings, result), as_json, _print_run)
        return
    from ..dominoes import asking

    with Node(settings=common.settings_of(node)) as found:
        document = asking.why(found.connection, result)
    common.show(document, as_json, _print)


def _print_run(document: dict[str, Any]) -> None:
    from ..hotswap.lineage import lines

    typer.echo("\n".join(lines(document)))


def _print(document: dict[str, Any]) -> None:
    from orrery_kernels.domino.explain import why_lines

    run = document["run"]
    typer.echo(
        f"{run['chain']} on {run['snapshot'][:12]}, cut {run['cut']}, by {run['node']}, "
        f"attempt {run['attempt']}, lsn {run['lsn']}"
    )
    if not run["code_is_as_then"]:
        typer.echo("its code or declaration has changed since: code shown is that of now")
    for line in why_lines(document):
        typer.echo(line)
