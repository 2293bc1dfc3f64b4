"""orrery read: the rows of one symbol, inputs and outputs side by side, in log order."""

import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import typer

from ..errors import ConfigError
from ..node import Node
from . import common

FORMATS = ("arrow", "parquet", "csv", "json")

Moment = Annotated[
    str | None, typer.Option(help="Event time: 2026-11-25T09:30:00Z, or integer nanoseconds.")
]


def register(app: typer.Typer) -> None:
    app.command()(read)


def read(
    symbol: Annotated[str, typer.Option("--symbol", help="As it was produced, verbatim.")],
    chain: Annotated[str, typer.Option("--chain", help="Name or id of a chain.")] = "default",
    form: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))] = "csv",
    node: common.Node = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="First event time, ISO or ns.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Event time to stop before.")] = None,
    as_json: common.Json = False,
) -> None:
    """Print the results of a chain for one symbol."""
    form = "json" if as_json else form
    if form not in FORMATS:
        raise ConfigError(f"--format must be one of {', '.join(FORMATS)}, was {form!r}")
    with Node(settings=common.settings_of(node)) as found:
        schema = found.schema(chain)
        if gone := found.expired(symbol):
            common.complain(f"{gone.text}: what is read begins there")
        batches = found.batches(chain, symbol, nanoseconds(from_), nanoseconds(to))
        write(batches, schema, form, sys.stdout.buffer)


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, form: str, sink: BinaryIO) -> None:
    """Write batches to a sink as they come; no rows are no failure."""
    if form == "json":
        for batch in batches:
            for row in batch.to_pylist():
                sink.write(_line(row))
    elif form == "csv":
        with pa.csv.CSVWriter(sink, schema) as writer:
            for batch in batches:
                writer.write(batch)
    elif form == "arrow":
        with pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write(batch)
    else:
        with pa.parquet.ParquetWriter(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    sink.flush()


def _line(row: dict[str, object]) -> bytes:
    import msgspec

    return msgspec.json.encode(row) + b"\n"


def nanoseconds(text: str | None) -> int | None:
    """Return a moment as UTC nanoseconds; one that 64 bits do not hold is the nearest they do.

    >>> nanoseconds("2023-11-14T22:13:20.5Z")
    1700000000500000000
    """
    if text is None:
        return None
    if re.fullmatch(r"-?\d{1,18}|-?[1-8]\d{18}", text):  # what 64 bits hold
        return int(text)
    whole, fraction = re.subn(r"\.(\d{1,9})", "", text)[0], re.search(r"\.(\d{1,9})", text)
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError:
        raise ConfigError(f"a time must be ISO 8601 or integer nanoseconds, was {text!r}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    at_ns = seconds * 1_000_000_000 + int(fraction[1].ljust(9, "0") if fraction else 0)
    return max(-(2**63), min(at_ns, 2**63 - 1))
