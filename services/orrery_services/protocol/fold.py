"""The one way anybody reads `ticks`: in order, and the log decides which messages count.

A message with a base is accepted iff its base equals the current vector; then its next becomes
current. A message without a base (a user's own batch) is accepted where it lies, iff it decodes and
every row passes the packer's validation and belongs to this partition. Any other is ignored and
counted. So two packers, a zombie, a repeated or reordered send lead every reader to the same
messages.
"""

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from . import ticks, vectors

NOT_NEXT = "does not continue the log"
RowCheck = Callable[[pa.RecordBatch], str | None]  # the reason why a user's batch is refused


class Position(NamedTuple):
    """Where a reader of one partition is: also what a mark stores."""

    offset: int = 0  # of the next message to read
    ordinal: int = 0  # of the next message to be accepted
    vector: vectors.Vector = {}  # noqa: RUF012 - nothing changes a vector in place


class Accepted(NamedTuple):
    """One message that counts: one chunk."""

    offset: int
    ordinal: int
    base: vectors.Vector
    next: vectors.Vector
    labelled: bool  # False: a user's own batch
    rows: pa.RecordBatch


class Ignored(NamedTuple):
    offset: int
    reason: str


def take(
    at: Position, offset: int, message: ticks.TickMessage | ticks.BadTicks, check: RowCheck
) -> tuple[Position, Accepted | Ignored]:
    """Return where the reader stands after the message at `offset`, and what the message was.

    A labelled message that continues the log but does not decode is not ignored but fatal: every
    reader would have to skip it, and its rows are lost only if the packer moved on. BadTicks
    propagates then.
    """
    if offset < at.offset:
        raise ValueError(f"the log is read forward: at {at.offset}, was given {offset}")
    after = at._replace(offset=offset + 1)
    if isinstance(message, ticks.BadTicks):
        return after, Ignored(offset, str(message))
    if message.base is None:
        return _take_unlabelled(at, after, offset, message, check)
    if message.base != at.vector:
        return after, Ignored(offset, NOT_NEXT)
    rows = ticks.decode(message)
    accepted = Accepted(offset, at.ordinal, at.vector, message.next, True, rows)
    return Position(offset + 1, at.ordinal + 1, message.next), accepted


def _take_unlabelled(
    at: Position, after: Position, offset: int, message: ticks.TickMessage, check: RowCheck
) -> tuple[Position, Accepted | Ignored]:
    try:
        rows = ticks.decode(message)
    except ticks.BadTicks as cause:
        return after, Ignored(offset, str(cause))
    if reason := check(rows):
        return after, Ignored(offset, reason)
    accepted = Accepted(offset, at.ordinal, at.vector, at.vector, False, rows)
    return Position(offset + 1, at.ordinal + 1, at.vector), accepted
