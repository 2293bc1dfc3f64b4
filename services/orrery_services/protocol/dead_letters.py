"""A row that was refused: its place, the reason, and its bytes, as one message of `dead-letters`.

The id is the place, so a dead letter that was written twice is one when it is read.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from blake3 import blake3

from .labels import Headers, Place

TOPIC = "dead-letters"
BYTES_MAX = 65_536  # of the original that are kept
SIDE_BYTES_MAX = 1024  # of its key, and of each of its headers
HEADERS_MAX = 32


class DeadLetter(msgspec.Struct, frozen=True):
    """What is stored. `value` is None for a tombstone; cut to BYTES_MAX when `size` is larger."""

    id: str  # topic/partition/offset
    topic: str
    log_id: str
    partition: int
    offset: int
    timestamp_ms: int  # Kafka's time of the refused message
    reason: str
    digest: str  # BLAKE3-256 of the whole value
    size: int  # bytes of the whole value
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = []


class Replayed(msgspec.Struct, frozen=True):
    """That somebody sent the bytes of a dead letter again, and where they are now (`as_id`)."""

    id: str
    as_id: str
    log_id: str = ""  # of the dead letter's place; notes of before do not say it


class Sealed(NamedTuple):
    """One message ready to be sent."""

    key: bytes
    value: bytes


def letter(
    place: Place,
    reason: str,
    value: bytes | None,
    key: bytes | None = None,
    headers: Headers = (),
    timestamp_ms: int = 0,
) -> DeadLetter:
    """Return the dead letter of one refused message."""
    whole = value or b""
    return DeadLetter(
        id=f"{place.topic}/{place.partition}/{place.offset}",
        topic=place.topic,
        log_id=place.log_id,
        partition=place.partition,
        offset=place.offset,
        timestamp_ms=timestamp_ms,
        reason=reason,
        digest=blake3(whole).hexdigest(),
        size=len(whole),
        key=_cut(key, SIDE_BYTES_MAX),
        value=_cut(value, BYTES_MAX),
        headers=[(n[:64], _cut(data, SIDE_BYTES_MAX)) for n, data in headers[:HEADERS_MAX]],
    )


def name_of(letter: DeadLetter) -> str:
    """Return what no other dead letter is called, whatever logs its topic has had."""
    return f"{letter.log_id}:{letter.id}"


def _cut(data: bytes | None, bytes_max: int) -> bytes | None:
    return None if data is None else bytes(data[:bytes_max])


def seal(record: DeadLetter | Replayed) -> Sealed:
    """Return key and value for the topic `dead-letters`."""
    kind = "replayed" if isinstance(record, Replayed) else "refused"
    return Sealed(record.id.encode(), msgspec.json.encode({kind: record}))


class _Envelope(msgspec.Struct):
    refused: DeadLetter | None = None
    replayed: Replayed | None = None


def read(values: Iterable[bytes | None]) -> tuple[dict[str, DeadLetter], dict[str, str]]:
    """Return the dead letters, each once, and the places of those that were sent again, both by
    `log_id:id`: a topic that was made anew gives its offsets a second time.

    What is no dead letter was written by somebody else into this topic, and is left out.
    """
    letters: dict[str, DeadLetter] = {}
    replayed: dict[str, str] = {}
    last: dict[str, str] = {}  # id -> the log whose letter came last under it
    for value in values:
        try:
            found = msgspec.json.decode(value or b"", type=_Envelope)
        except (msgspec.DecodeError, ValueError):
            continue
        if found.refused:
            letters.setdefault(name_of(found.refused), found.refused)
            last[found.refused.id] = found.refused.log_id
        elif found.replayed:
            note = found.replayed
            log_id = note.log_id or last.get(note.id, "")
            replayed[f"{log_id}:{note.id}"] = note.as_id
    return letters, replayed
