"""Streams from outside: importing this gives Stream `from_parquet` and `from_kafka`.

    import orrery_services.streams
    from orrery_kernels import Stream, ewma

    Stream.from_kafka("127.0.0.1:9092").map(lambda b: ewma(b, alpha=0.06))

The lab itself reads nothing. A stream made here can be iterated again, and begins anew then.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from orrery_kernels import Stream
from orrery_kernels.stream import BATCH_ROWS

from .bus import LogReader, admin
from .errors import OutsideError
from .protocol import fold, ticks
from .protocol.batches import check_batch

TICKS = "ticks"


class ParquetBatches:
    """The rows of Parquet files in their order, `batch_size` at a time; only one group is held."""

    def __init__(self, paths: Sequence[Path], columns: Sequence[str] | None, batch_size: int):
        self.paths, self.columns, self.batch_size = paths, columns, batch_size

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for path in self.paths:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(self.batch_size, columns=self.columns)


class TickBatches:
    """What counts of `ticks` up to its end, partition by partition, as every reader folds it."""

    def __init__(self, kafka: str, starts: Mapping[int, fold.Position]):
        self.kafka, self.starts = kafka, starts

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        partitions = len(admin(self.kafka).list_topics(TICKS, 15).topics[TICKS].partitions)
        if not partitions:
            raise OutsideError(f"the topic {TICKS} must be there, but is not; `make up` makes it")
        reader = LogReader(self.kafka, "stream")
        try:
            for partition in range(partitions):
                yield from self._partition(reader, partition, partitions)
        finally:
            reader.close()

    def _partition(
        self, reader: LogReader, partition: int, partitions: int
    ) -> Iterator[pa.RecordBatch]:
        first, end = reader.ends(TICKS, partition)
        at = self.starts.get(partition, fold.Position())
        if at.offset < first:
            raise OutsideError(
                f"{TICKS}/{partition} must be there from offset {at.offset}, begins at {first};"
                " give the position of a mark that is not older in `starts`"
            )
        check = partial(check_batch, partition=partition, partitions=partitions)
        for message in reader.read(TICKS, partition, at.offset, end):
            try:
                claimed = ticks.parse(message.value(), message.headers())
            except ticks.BadTicks as cause:
                claimed = cause
            at, what = fold.take(at, message.offset(), claimed, check)
            if isinstance(what, fold.Accepted):
                yield what.rows


def from_parquet(
    paths: str | Path | Sequence[str | Path],
    columns: Sequence[str] | None = None,
    batch_size: int = BATCH_ROWS,
) -> Stream:
    """Return the rows of one or more Parquet files, in the order given, as a stream."""
    several = [paths] if isinstance(paths, str | Path) else paths
    return Stream(ParquetBatches([Path(path) for path in several], columns, batch_size))


def from_kafka(kafka: str, starts: Mapping[int, fold.Position] | None = None) -> Stream:
    """Return the ticks that count, up to the end of the log, as a stream.

    Args:
        kafka: bootstrap servers. starts: partition -> position to begin at (a mark's); default the
            beginning of the log. Rows of one symbol are in order; partitions follow one another.
    """
    return Stream(TickBatches(kafka, starts or {}))


Stream.from_parquet = staticmethod(from_parquet)
Stream.from_kafka = staticmethod(from_kafka)
