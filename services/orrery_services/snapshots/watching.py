"""What triggers look at: how many events the packers have read, and market quotes as they come."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import structlog
from confluent_kafka import TopicPartition
from orrery_kernels.columns import KIND_MARKET_QUOTE
from orrery_kernels.snapshot import snapshot as trees
from orrery_kernels.snapshot.canonical import decode

from .. import bus
from ..config import Settings
from ..errors import ConfigError, OutsideError
from ..protocol import fields, rows, vectors
from ..protocol import snapshots as rules
from ..store import reading, snapshots
from . import steps

MARKET_QUOTES = "market_quotes"
YEARS_AHEAD = 2
log = structlog.get_logger()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Watch:
    """Looks only at what a declared trigger needs."""

    def __init__(self, settings: Settings, connection: psycopg.Connection, kinds: set[str]):
        self._settings, self._connection, self._kinds = settings, connection, kinds
        self._made: snapshots.Made | None = None
        self._observed = steps.Observed()
        self._now: dict[str, float] = {}
        self._consumer = None
        if "change" in kinds:
            self._consumer = bus.consumer(settings.kafka, f"orrery-quotes-{settings.node}")
            self._log_id = bus.log_ids(bus.admin(settings.kafka), [MARKET_QUOTES])[MARKET_QUOTES]

    def look(self) -> steps.Observed:
        if not self._kinds & {"count", "change"}:
            return self._observed
        newest = snapshots.newest(self._connection)
        if newest != self._made:
            self._made = newest
            self._begin_at(newest)
        if "count" in self._kinds:
            newest_marks: dict[int, vectors.Vector] = {}
            for (_, partition), mark in sorted(
                reading.marks(self._connection).items(), key=lambda item: item[1].ordinal
            ):
                newest_marks[partition] = mark.vector
            events = steps.events_in(list(newest_marks.values()))
            self._observed = self._observed._replace(events=events)
        if self._consumer is not None:
            self._read_quotes()
        return self._observed

    def _begin_at(self, made: snapshots.Made | None) -> None:
        """Compare with the newest snapshot from now on, and read quotes from its cut."""
        if made is None:
            return
        snapshot, fetch = snapshots.open_snapshot(self._connection, made.id)
        places = {n: place for n, place in snapshot.cut.items() if n.startswith("ticks/")}
        at_cut: dict[str, float] = {}
        if self._consumer is not None:
            bodies = trees.leaves(snapshot, rules.QUOTES, fetch)
            at_cut = {name: decode(body) for name, body in bodies.items()}
            self._now = dict(at_cut)
            self._consumer.assign(
                [self._from(int(name.split("/")[1]), place) for name, place in places.items()]
            )
        events = steps.events_in([place["vector"] for place in places.values()])
        self._observed = steps.Observed(events, events, self._now, at_cut, made.number)

    def _from(self, partition: int, place: Mapping[str, Any]) -> TopicPartition:
        """Return where to read on behind a cut: of quotes that have left the log since, those that
        came later tell as much."""
        wanted = vectors.next_offset(place["vector"], MARKET_QUOTES, self._log_id)
        low, _ = bus.ends_of(self._consumer, MARKET_QUOTES, partition)
        if low > wanted:
            log.warning("quotes left the log unseen", partition=partition, offsets=low - wanted)
        return TopicPartition(MARKET_QUOTES, partition, max(low, wanted))

    def _read_quotes(self) -> None:
        for message in self._consumer.consume(1000, 0):
            if (error := message.error()) is not None:
                if error.fatal() or not error.retriable():
                    raise OutsideError(f"reading {MARKET_QUOTES}: {error}")
                continue
            try:
                quote = rows.read_row(KIND_MARKET_QUOTE, message.value())
            except fields.Refused:
                continue  # the packer says why
            self._now[quote.symbol] = quote.value

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()


def offsets_of(zone: str, now: datetime) -> list[tuple[int, int]]:
    """Return (from UTC ns, seconds to add to UTC) of a zone, from two years ago to in two years."""
    try:
        place = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as cause:
        raise ConfigError(
            f"a schedule must name a time zone of the tz database, was {zone!r}"
        ) from cause
    at, end = now - timedelta(days=366 * YEARS_AHEAD), now + timedelta(days=366 * YEARS_AHEAD)
    found: list[tuple[int, int]] = []
    while at < end:
        seconds = int(at.astimezone(place).utcoffset().total_seconds())
        if not found or found[-1][1] != seconds:
            found.append((_ns(_change(place, at, seconds) if found else at), seconds))
        at += timedelta(days=1)
    return found


def _change(zone: ZoneInfo, after: datetime, seconds: int) -> datetime:
    """Return the second in the day before `after` at which the offset became `seconds`."""
    low, high = after - timedelta(days=1), after
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if int(middle.astimezone(zone).utcoffset().total_seconds()) == seconds:
            high = middle
        else:
            low = middle
    return high


def _ns(moment: datetime) -> int:
    return round((moment - _EPOCH).total_seconds()) * 1_000_000_000
