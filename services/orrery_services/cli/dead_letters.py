"""orrery dead-letters: what was refused and why; `replay` sends the original bytes again."""

from typing import Annotated, Any

import typer

from ..clock import iso
from ..errors import ConfigError
from ..protocol import dead_letters
from ..protocol.rows import ROW_TOPICS
from . import common

SHOWN_BYTES = 60


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        invoke_without_command=True, help="Rows that were refused: why, and sending them again."
    )
    group.callback()(show)
    group.command("replay")(replay)
    app.add_typer(group, name="dead-letters")


def show(
    context: typer.Context,
    many: Annotated[int, typer.Option("-n", help="How many, the newest.", min=1)] = 1000,
    node: common.Node = None,
    as_json: common.Json = False,
) -> None:
    """Print the newest refused rows, each once: place, reason, and the bytes that came."""
    if context.invoked_subcommand:
        return
    letters, replayed = read_all(common.settings_of(node).kafka)
    document = [_told(letter, replayed) for letter in list(letters.values())[-many:]]
    common.show(document, as_json, _print)


def replay(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="topic/partition/offset, as listed; default: all.", show_default=False),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was sent again before.")
    ] = False,
    node: common.Node = None,
) -> None:
    """Send the original bytes of refused rows to their topic again, each once, and note it.

    Ctrl-C ends it behind the note of the row that is being sent.
    """
    from .. import bus
    from ..process import stop_on_signals

    kafka = common.settings_of(node).kafka
    letters, replayed = read_all(kafka)
    wanted = [letter for letter in letters.values() if not ids or letter.id in ids]
    if unknown := set(ids or ()) - {letter.id for letter in wanted}:
        raise ConfigError(
            f"`orrery dead-letters` must list what is replayed, was {', '.join(sorted(unknown))}"
        )
    sent, producer = 0, bus.producer(kafka)
    stop = stop_on_signals(2 * bus.REQUEST_SECONDS_MAX)
    for letter in wanted:
        if stop.is_set():
            break
        if why := _not_to_send(letter, replayed, again):
            typer.echo(f"{letter.id}  left: {why}")
            continue
        place = _send(producer, letter)
        sent += 1
        typer.echo(f"{letter.id}  sent again as {place}")
    typer.echo(f"{sent:,} of {len(wanted):,} sent again")


def _not_to_send(
    letter: dead_letters.DeadLetter, replayed: dict[str, str], again: bool
) -> str | None:
    if letter.value is None:
        return "it had no value"
    if letter.size > len(letter.value):
        return f"only {len(letter.value):,} of its {letter.size:,} bytes were kept"
    if letter.topic not in ROW_TOPICS:
        return f"rows are not sent to {letter.topic}"
    if (place := replayed.get(dead_letters.name_of(letter))) and not again:
        return f"it was sent again before, as {place} (--again sends it once more)"
    return None


def _send(producer: Any, letter: dead_letters.DeadLetter) -> str:
    """Send one letter's bytes, then the note about it; both are acknowledged. Return the place."""
    from .. import bus

    headers = [(name, data) for name, data in letter.headers if name not in ("moved", "captured")]
    headers.append(("replayed", letter.id.encode()))
    sent = bus.send_now(producer, letter.topic, letter.value, letter.key, headers)
    place = f"{sent.topic()}/{sent.partition()}/{sent.offset()}"
    note = dead_letters.seal(dead_letters.Replayed(letter.id, place, letter.log_id))
    bus.send_now(producer, dead_letters.TOPIC, note.value, note.key)
    return place


def read_all(kafka: str) -> tuple[dict[str, dead_letters.DeadLetter], dict[str, str]]:
    """Return every dead letter once, oldest first, and what was sent again."""
    from .. import bus

    reader = bus.LogReader(kafka, "orrery-dead-letters")
    try:
        low, end = reader.ends(dead_letters.TOPIC, 0)
        found = reader.read(dead_letters.TOPIC, 0, low, end)
        return dead_letters.read(message.value() for message in found)
    finally:
        reader.close()


def _told(letter: dead_letters.DeadLetter, replayed: dict[str, str]) -> dict[str, Any]:
    return {
        "id": letter.id,
        "reason": letter.reason,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "log_id": letter.log_id,
        "time": iso(letter.timestamp_ms * 1_000_000),
        "key": None if letter.key is None else letter.key.decode(errors="replace"),
        "value": None if letter.value is None else letter.value.decode(errors="replace"),
        "size": letter.size,
        "digest": letter.digest,
        "replayed_as": replayed.get(dead_letters.name_of(letter)),
    }


def _print(document: list[dict[str, Any]]) -> None:
    if not document:
        typer.echo("no dead letters")
    for letter in document:
        typer.echo(f"{letter['id']}  {letter['time']}  {letter['reason']}")
        text = letter["value"]
        if text is not None:
            short = text if len(text) <= SHOWN_BYTES else f"{text[:SHOWN_BYTES]}…"
            sent = f"  (sent again as {letter['replayed_as']})" if letter["replayed_as"] else ""
            typer.echo(f"    {short!r}, {letter['size']:,} bytes{sent}")
