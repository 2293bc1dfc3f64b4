"""What Kafka's headers say about a message of a row topic: where it came from.

    captured   the table from which Debezium took the row; its flat value has `incarnation` and `id`
    moved      topic/log id/partition/offset from which a packer sent a misplaced row home

Only who writes to the topic can put them there; one that makes no sense is a reason for refusal.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from . import fields, vectors
from .rows import ROW_TOPICS

CAPTURED = "captured"
MOVED = "moved"
Headers = Sequence[tuple[str, bytes | None]]

_LOG_ID = re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class Place(NamedTuple):
    """One message of one log."""

    topic: str
    log_id: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.log_id}/{self.partition}/{self.offset}"


class Captured(NamedTuple):
    """One row of one table of one life of a database."""

    incarnation: str
    table: str
    id: int

    @property
    def source(self) -> str:
        return vectors.captured_key(self.incarnation, self.table)


class _Identity(msgspec.Struct):
    incarnation: str
    id: int


_IDENTITY = msgspec.json.Decoder(_Identity)


def header(headers: Headers, name: str) -> bytes | None:
    """Return the last header of that name, or None."""
    return next((bytes(data or b"") for key, data in reversed(headers) if key == name), None)


def moved_from(headers: Headers, partitions: int) -> Place | None:
    """Return where a misplaced row came from, or None. Raises Refused when it makes no sense."""
    data = header(headers, MOVED)
    if data is None:
        return None
    parts = data.decode("ascii", "replace").split("/")
    if (
        len(parts) == 4
        and parts[0] in ROW_TOPICS
        and _LOG_ID.fullmatch(parts[1])
        and all(re.fullmatch(r"\d{1,18}", part, re.ASCII) for part in parts[2:])
        and int(parts[2]) < partitions
    ):
        return Place(parts[0], parts[1], int(parts[2]), int(parts[3]))
    raise fields.Refused(
        f"the header {MOVED} must be topic/log id/partition/offset, was {fields.shown(data)}"
    )


def captured(headers: Headers, value: bytes | None) -> Captured | None:
    """Return which row of which table this is, or None. Raises Refused when it makes no sense."""
    data = header(headers, CAPTURED)
    if data is None:
        return None
    table = data.decode("ascii", "replace").strip('"')  # some header converters add quotes
    if table not in ROW_TOPICS:
        raise fields.Refused(
            f"the header {CAPTURED} must name a row topic, was {fields.shown(data)}"
        )
    try:
        found = _IDENTITY.decode(value if value is not None else b"")
    except fields.UNREADABLE as cause:
        raise fields.Refused(
            f"a captured row must have incarnation (text) and id (integer): {cause}"
        ) from None
    if not _UUID.fullmatch(found.incarnation) or not 0 <= found.id <= fields.TIME_NS_MAX:
        raise fields.Refused(
            "a captured row must have a uuid as incarnation and an id from 0, "
            f"was {fields.shown(found.incarnation)} and {found.id}"
        )
    return Captured(found.incarnation, table, found.id)
