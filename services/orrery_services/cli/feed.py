"""orrery feed: play a capture, a table or a generated market into the row topics."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from . import common


def register(app: typer.Typer) -> None:
    app.command()(feed)


def feed(
    file: Annotated[
        Path | None,
        typer.Argument(help="A capture or a table; may be gzipped.", show_default=False),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="binance, coinbase, jsonl, csv, parquet, curves or ore."),
    ] = None,
    speed: Annotated[
        str, typer.Option(help="1 as it was received, 10 ten times as fast, max at once.")
    ] = "1",
    loop: Annotated[bool, typer.Option("--loop", help="Again and again; time goes on.")] = False,
    venue: Annotated[
        str | None,
        typer.Option(help="Behind the ticker: SYMBOL.VENUE; default: as the format says."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="The generated market, endless.")] = False,
    rate: Annotated[
        float | None, typer.Option(help="Rows a second of the generated market.", min=0.001)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the generated market.")] = None,
    many: Annotated[int | None, typer.Option("-n", help="Stop after so many rows.", min=1)] = None,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Send rows and say what became of them. Ctrl-C ends it in good order."""
    from .. import bus
    from ..feed import app, files
    from ..process import stop_on_signals

    if demo == (file is not None):
        raise ConfigError("orrery feed takes a FILE or --demo, one of the two")
    settings = common.settings_of(node)
    if file is None:
        found = app.generated(settings, rate, seed)
    else:
        form = form or files.guess(file)
        found = app.repeated(lambda: files.rows(file, form, venue)) if loop else (
            files.rows(file, form, venue)
        )  # fmt: skip
    stop = stop_on_signals(app.FLUSH_SECONDS_MAX)
    began = time.monotonic()
    feeding = app.Feed(bus.producer(settings.kafka, linger_ms=5), stop, lambda: None)
    feeding.play(app.first(found, many) if many else found, _speed(speed))
    left = feeding.flush()
    document = {
        "sent": dict(feeding.counts),
        "skipped": dict(feeding.skipped),
        "failed": dict(feeding.failed),
        "unacknowledged": left,
        "seconds": round(time.monotonic() - began, 3),
    }
    common.show(document, as_json, _print)
    raise typer.Exit(common.FAILED if left else common.OK)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        if (speed := float(text)) > 0:
            return speed
    except ValueError:
        pass
    raise ConfigError(f"--speed must be a number above 0 or max, was {text!r}")


def _print(document: dict[str, Any]) -> None:
    rows = sum(document["sent"].values())
    rate = rows / max(document["seconds"], 1e-9)
    parts = ", ".join(f"{count:,} {topic}" for topic, count in document["sent"].items())
    typer.echo(f"{rows:,} rows ({parts or 'none'}) in {document['seconds']:.1f} s, {rate:,.0f}/s")
    for reason, count in sorted(document["skipped"].items()):
        typer.echo(f"  left out: {count:,} {reason}")
    for reason, count in sorted(document["failed"].items()):
        common.complain(f"  not sent: {count:,} {reason}")
    if document["unacknowledged"]:
        common.complain(f"  {document['unacknowledged']:,} rows were not acknowledged")
