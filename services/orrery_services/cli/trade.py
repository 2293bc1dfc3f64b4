"""orrery trade: send one trade and follow it, hop by hop, with the milliseconds since the start."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

import typer

from ..errors import ConfigError, OutsideError
from . import common

POLL_SECONDS = 0.002
TELL_SECONDS = 2.0
WAIT_SECONDS_MAX = 300.0  # at one hop, whatever moves


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
    seconds: Annotated[
        float, typer.Option(help="How long to wait at a hop where nothing moves.", min=0.1)
    ] = 30.0,
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


class Left(NamedTuple):
    """What lies before the trade at a hop, and which services there are still coming up."""

    count: int | None  # of `unit`; None: not known
    unit: str
    coming_up: list[str]

    def said(self) -> str:
        before = [f"{self.count:,} {self.unit} before it"] if self.count else []
        return "; ".join([*before, *self.coming_up]) or "nothing known before it"


def wait_for(
    look: Callable[[], Any], what: str, still_seconds_max: float, left: Callable[[], Left]
) -> Any:
    """Return what `look` finds, and tell every few seconds what is still before the trade.

    Patience lasts as long as something moves or a service comes up, but never for ever. Raises
    OutsideError, which names the hop and what it waits for.
    """
    began = moved = time.monotonic()
    tell_at, least = began + TELL_SECONDS, None
    while True:
        if found := look():
            return found
        now = time.monotonic()
        if now >= tell_at:
            tell_at, at_hop = now + TELL_SECONDS, left()
            typer.echo(f"   waiting  {what}: {at_hop.said()}", err=True)
            fewer = at_hop.count is not None and (least is None or at_hop.count < least)
            if fewer or at_hop.coming_up:
                least, moved = at_hop.count, now
        if now > min(moved + still_seconds_max, began + WAIT_SECONDS_MAX):
            raise OutsideError(
                f"the trade must reach {what}, but did not within {now - began:.0f} s "
                f"({left().said()}); `orrery status` shows where the road is blocked"
            )
        time.sleep(POLL_SECONDS)
