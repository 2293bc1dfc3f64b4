"""orrery trade: send one trade and follow it, hop by hop, with the milliseconds since the start."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

import typer

from ..errors import ConfigError, OutsideError
from . import common

POLL_SECONDS = 0.002


class Hop(NamedTuple):
    hop: str
    what: str
    ms: float


def register(app: typer.Typer) -> None:
    # A negative number is a value here, not an option: the packer refuses it with a reason.
    app.command(context_settings={"ignore_unknown_options": True})(trade)


def trade(
    symbol: Annotated[str, typer.Argument(help="SYMBOL.VENUE, used as it is.")],
    price: Annotated[str, typer.Argument(help="A decimal.")],
    size: Annotated[str, typer.Argument(help="A decimal.")],
    side: Annotated[str | None, typer.Option(help="buy or sell: the aggressor's.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to follow it.", min=0.1)] = 30.0,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Send one trade and print a line per hop: topic, batch, facts, mark, other nodes."""
    from .trade_road import Road

    if side not in (None, "buy", "sell"):
        raise ConfigError(f"--side must be buy or sell, was {side!r}")
    with Road(common.settings_of(node), seconds) as road:
        hops = _told(road.send(symbol, price, size, side), as_json)
    common.show([hop._asdict() for hop in hops], as_json, lambda _: None)
    if road.refused:
        raise typer.Exit(common.FAILED)


def _told(found: Iterator[Hop], as_json: bool) -> list[Hop]:
    hops = []
    for hop in found:
        hops.append(hop)
        if not as_json:
            typer.echo(f"{hop.ms:9.1f} ms  {hop.hop:<8} {hop.what}")
    return hops


def wait_for(look: Callable[[], Any], what: str, deadline: float) -> Any:
    """Return what `look` finds. Raises OutsideError, which names the hop, when it finds nothing."""
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise OutsideError(
                f"the trade must reach {what}, but did not in time; `orrery status` shows where "
                "the road is blocked"
            )
        time.sleep(POLL_SECONDS)
