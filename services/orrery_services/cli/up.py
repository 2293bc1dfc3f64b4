"""orrery up, down, clean: the whole stack on this machine."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..config import node_names
from ..errors import StackError
from ..stack import Plan, Stack, make_plan
from ..stack.plan import PORT_BASE
from . import common

Ports = Annotated[
    list[str] | None, typer.Option("--port", help="Move one port: kafka=9092, n1.postgres=5432.")
]


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(clean)


def up(
    port_base: Annotated[int, typer.Option(help="First port; all others follow.")] = PORT_BASE,
    port: Ports = None,
    nodes: Annotated[str, typer.Option(help="Which nodes, a,b; default: all declared.")] = "",
    demo: Annotated[bool, typer.Option(help="Let the generated market flow.")] = True,
    tsdb: Annotated[bool, typer.Option(help="Run the time-series store.")] = True,
) -> None:
    """Start one sky and its nodes, wait until all is healthy, and say where to look."""
    began = time.monotonic()
    stack = Stack(_plan(common.home(), port_base, port or [], nodes, demo, tsdb))
    started = stack.up(typer.echo)
    verb = f"is up after {time.monotonic() - began:.1f} s" if started else "is up already"
    typer.echo(f"\norrery {verb}: one sky, nodes {', '.join(stack.plan.nodes)}")
    _endpoints(stack)
    _left_out(stack)
    _next()


def down() -> None:
    """Stop everything that `up` started; data stay."""
    stack = Stack.of(common.home())
    if stack is None or not stack.down(typer.echo):
        typer.echo("nothing runs here")
        return
    typer.echo("orrery is down; `make up` goes on where it was, `make clean` removes the data")


def clean() -> None:
    """Stop everything and remove the data, logs and passwords."""
    home = common.home()
    stack = Stack.of(home)
    if stack is None:
        typer.echo(f"nothing to remove in {home}")
        return
    stack.down(typer.echo)
    stack.clean()
    typer.echo(f"removed {home}")


def _plan(home: Path, base: int, ports: list[str], nodes: str, demo: bool, tsdb: bool) -> Plan:
    moved = {}
    for text in ports:
        name, _, number = text.partition("=")
        if not number.isdigit():
            raise StackError(f"--port must be name=number, was {text!r}")
        moved[name] = int(number)
    wanted = [name for name in nodes.split(",") if name]
    unknown = [name for name in wanted if name not in node_names()]
    if unknown:
        raise StackError(f"nodes must be among {', '.join(node_names())}, was {unknown[0]!r}")
    asked = make_plan(home, wanted, base, moved, demo=demo, tsdb=tsdb)
    running = Stack.of(home)
    if running is None or running.parts() is None:
        return asked
    if (asked.ports, asked.nodes) != (running.plan.ports, running.plan.nodes) and (
        ports or wanted or base != PORT_BASE
    ):
        raise StackError(f"ports and nodes cannot move while it runs ({home}): `make down` first")
    return running.plan


def _endpoints(stack: Stack) -> None:
    ports = stack.plan.ports
    typer.echo(
        f"  sky   kafka 127.0.0.1:{ports['kafka']}   connect http://127.0.0.1:{ports['connect']}"
    )
    for node in stack.plan.nodes:
        settings = stack.settings(node)
        typer.echo(f"  {node}    page {settings.gateway_url()}   tsdb {settings.tsdb or 'none'}")
        typer.echo(f"        psql '{settings.postgres_url('reader')}'")
    typer.echo(f"  logs  {stack.plan.home / 'logs'}")


def _left_out(stack: Stack) -> None:
    parts = stack.parts() or {}
    reasons: dict[str, list[str]] = {}
    for name, part in parts.items():
        if part["state"] == "left out" and not (name == "feed" and not stack.plan.demo):
            reasons.setdefault(part["why"], []).append(name)
    for why, names in reasons.items():
        typer.echo(f"  without {', '.join(names)}: {why}")


def _next() -> None:
    typer.echo(
        "\ntry\n"
        "  .venv/bin/orrery trade BTCUSDT.DEMO 61650.10 0.5   # follow one trade along the road\n"
        "  .venv/bin/orrery status                            # lag per hop, and one word\n"
        "  .venv/bin/orrery read --chain default --symbol BTCUSDT.DEMO --format csv"
    )
