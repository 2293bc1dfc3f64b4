"""One message of the topic `ticks`: an Arrow batch and the place it claims in the log.

The value is one encapsulated Arrow IPC record batch when the header `schema` names the tick schema
by its digest (what the packer writes: no schema is repeated), else an IPC stream that carries its
own schema (what a user may produce). Headers: base, next (vectors; absent on a user's own batch),
schema (hex digest).
"""

from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa
from blake3 import blake3
from orrery_kernels.columns import TICK_SCHEMA

from . import vectors

TOPIC = "ticks"
SCHEMA_DIGEST = blake3(TICK_SCHEMA.serialize().to_pybytes()).hexdigest()[:16]
ROWS_PER_BATCH_MAX = 65_536
VALUE_BYTES_MAX = 900 * 1024  # the topic takes 1 MiB, headers with it
COMPRESS_ROWS_MIN = 64  # below, the frames of sixteen columns cost more than they save

# No threads for the columns of a batch: waking them costs more than they save.
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_READ = pa.ipc.IpcReadOptions(use_threads=False)
_SCHEMA = TICK_SCHEMA.serialize().to_pybytes()
_SCHEMA_BYTES = len(_SCHEMA)  # a stream is schema, batches, end
_END_BYTES = 8


class TickMessage(NamedTuple):
    """What a message claims. `value` is still bytes: who does not count is never decoded."""

    base: vectors.Vector | None  # None: a user's own batch, taken where it lies
    next: vectors.Vector | None
    schema: str | None
    value: bytes


class BadTicks(ValueError):
    """The bytes are not a batch of ticks."""


class TooLarge(ValueError):
    """A batch does not fit one message."""


def parse(value: bytes | None, headers: Iterable[tuple[str, bytes]] | None) -> TickMessage:
    """Return the message behind Kafka's value and headers. Raises BadTicks if it is none."""
    found = {key: bytes(data) for key, data in headers or ()}
    if value is None:
        raise BadTicks("a message of ticks must have a value, was a tombstone")
    if ("base" in found) != ("next" in found):
        raise BadTicks("a message has both base and next or neither")
    try:
        base = vectors.decode(found["base"]) if "base" in found else None
        following = vectors.decode(found["next"]) if "next" in found else None
    except ValueError as cause:
        raise BadTicks(str(cause)) from cause
    schema = found["schema"].decode("ascii", "replace") if "schema" in found else None
    return TickMessage(base, following, schema, bytes(value))


def headers(base: vectors.Vector, following: vectors.Vector) -> list[tuple[str, bytes]]:
    """Return the headers of a labelled batch."""
    return [
        ("base", vectors.encode(base)),
        ("next", vectors.encode(following)),
        ("schema", SCHEMA_DIGEST.encode()),
    ]


def encode(batch: pa.RecordBatch) -> bytes:
    """Return the value of a labelled batch: columns that are all null compress to nothing.

    Raises TooLarge; one row always fits.
    """
    value = _encode(batch)
    if len(value) > VALUE_BYTES_MAX and batch.num_rows > 1:
        raise TooLarge(
            f"a batch of ticks must take at most {VALUE_BYTES_MAX} bytes, was {len(value)} "
            f"({batch.num_rows} rows)"
        )
    return value


def _encode(batch: pa.RecordBatch) -> bytes:
    if batch.num_rows < COMPRESS_ROWS_MIN:
        return batch.serialize().to_pybytes()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TICK_SCHEMA, options=_LZ4) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()[_SCHEMA_BYTES:-_END_BYTES]


def decode(message: TickMessage) -> pa.RecordBatch:
    """Return the rows, in the tick schema. Raises BadTicks on truncated bytes or another schema."""
    try:
        if message.schema == SCHEMA_DIGEST:
            batch = _decode_batch(message.value)
        else:
            batch = _decode_stream(message.value)
        batch.validate(full=True)
    except BadTicks:
        raise
    except (pa.ArrowException, ValueError, OSError, EOFError) as cause:
        raise BadTicks(f"the value must be an Arrow batch of ticks: {cause}") from cause
    if batch.num_rows > ROWS_PER_BATCH_MAX:
        raise BadTicks(f"a batch holds at most {ROWS_PER_BATCH_MAX} rows, was {batch.num_rows}")
    return batch


def _decode_batch(value: bytes) -> pa.RecordBatch:
    """Return the batch that a value begins with; it is read as a stream for the sake of _READ."""
    with pa.ipc.open_stream(pa.py_buffer(_SCHEMA + value), options=_READ) as reader:
        for batch in reader:
            return batch
    raise BadTicks("the value must be an Arrow batch of ticks, but holds none")


def _decode_stream(value: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(pa.py_buffer(value), options=_READ) as reader:
        if not reader.schema.equals(TICK_SCHEMA):
            raise BadTicks(f"the schema must be that of ticks, was {reader.schema.names}")
        batches = list(reader)
    if len(batches) != 1:
        raise BadTicks(f"a message holds one record batch, was {len(batches)}")
    return batches[0]
