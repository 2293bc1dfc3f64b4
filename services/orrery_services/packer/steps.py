"""What becomes of the rows of one partition: kept, sent home, refused, or dropped as seen before.

`pack` is a pure function of the vector where the log stands and of the messages behind it. It
decides nothing by time, by what else runs, or by what it did before.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from orrery_kernels.columns import TICK_SCHEMA
from orrery_kernels.partition import partition_of

from ..protocol import dead_letters, fields, labels, rows, vectors
from ..protocol.labels import Headers, Place
from ..protocol.rules import ALL_RULES, Rules

MOVED_BYTES_MAX = 1_000_000  # with its key and headers the row must still fit one message
LIVES_MAX = 256  # captured tables of one incarnation each, over all nodes and all time


class Run(NamedTuple):
    """Consecutive messages of one partition of one row topic, in order."""

    topic: str
    log_id: str
    offsets: Sequence[int]
    values: Sequence[bytes | None]
    timestamps_ms: Sequence[int]
    keys: Sequence[bytes | None]  # only a dead letter shows them
    headers: Mapping[int, Headers] = {}  # index -> headers, of the messages that have some

    def since(self, offset: int) -> "Run":
        """Return the part at or behind `offset`."""
        first = int(np.searchsorted(self.offsets, offset))
        if not first:
            return self
        headers = {i - first: held for i, held in self.headers.items() if i >= first}
        return Run(
            self.topic,
            self.log_id,
            self.offsets[first:],
            self.values[first:],
            self.timestamps_ms[first:],
            self.keys[first:],
            headers,
        )


class Moved(NamedTuple):
    """A misplaced row on its way home."""

    origin: Place
    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Packed(NamedTuple):
    """One batch: the place it claims in the log, its rows, and what must be sent before it."""

    base: vectors.Vector
    next: vectors.Vector
    rows: pa.RecordBatch
    moved: list[Moved]
    dead: list[dead_letters.DeadLetter]
    repeated_captured: int
    repeated_moved: int


class _Judged(NamedTuple):
    """What became of one run: the columns of the kept rows, and how they are merged."""

    run: Run
    kept: np.ndarray  # index into the run
    columns: dict[str, pa.Array]


class _Tally:
    """What one call of `pack` gathers over its runs."""

    def __init__(self, base: vectors.Vector, partition: int, partitions: int, rules: Rules):
        self.next = dict(base)
        self.partition, self.partitions, self.rules = partition, partitions, rules
        self.moved: list[Moved] = []
        self.dead: list[dead_letters.DeadLetter] = []
        self.repeated_captured = self.repeated_moved = 0


def pack(
    base: vectors.Vector,
    runs: Sequence[Run],
    partition: int,
    partitions: int,
    rules: Rules = ALL_RULES,
) -> Packed:
    """Return the batch that follows `base` when `runs` are read; what lies below it is left out."""
    tally = _Tally(base, partition, partitions, rules)
    judged = []
    for run in sorted(runs, key=lambda run: run.topic):
        fresh = run.since(vectors.next_offset(tally.next, run.topic, run.log_id))
        if fresh.offsets:
            judged.append(_judge(fresh, tally))
            tally.next[vectors.row_key(run.topic, run.log_id)] = fresh.offsets[-1] + 1
    batch = _merge([part for part in judged if len(part.kept)], partition)
    return Packed(
        dict(base), tally.next, batch, tally.moved, tally.dead,
        tally.repeated_captured, tally.repeated_moved,
    )  # fmt: skip


def _judge(run: Run, tally: _Tally) -> _Judged:
    read = rows.read_rows(rows.KIND_OF_TOPIC[run.topic], run.values)
    refused = dict(read.refused)
    dropped = {i for i in sorted(run.headers) if _seen_before(run, i, refused, tally)}
    for i in sorted(refused):
        if i not in dropped:
            tally.dead.append(_dead_letter(run, i, refused[i], tally.partition))
    home = rows.by_symbol(
        read.columns["symbol"], lambda s: partition_of(s, tally.partitions), np.int32
    )
    stays = home == tally.partition
    if dropped or len(refused) > len(read.refused):
        out = np.isin(read.index, list(dropped | refused.keys()))
        _send_home(run, read, home, np.flatnonzero(~stays & ~out), tally)
        stays &= ~out
    else:
        _send_home(run, read, home, np.flatnonzero(~stays), tally)
    if stays.all():
        return _Judged(run, read.index, read.columns)
    at = np.flatnonzero(stays)
    columns = {name: column.take(pa.array(at)) for name, column in read.columns.items()}
    return _Judged(run, read.index[at], columns)


def _seen_before(run: Run, i: int, refused: dict[int, str], tally: _Tally) -> bool:
    """Compare a moved or captured row with the position of its source, and note it there.

    A moved row is judged by where it was moved from and by nothing else: its captured id took
    another road and says nothing here.
    """
    rules = tally.rules
    try:
        origin = labels.moved_from(run.headers[i], tally.partitions)
        row = labels.captured(run.headers[i], run.values[i])
    except fields.Refused as reason:
        refused[i] = str(reason)
        return False
    checks = []
    if origin:
        source = vectors.moved_key(origin.topic, origin.log_id, origin.partition)
        checks.append((source, origin.offset, rules.compare_moved_origins))
    if row and not (origin and rules.moved_row_judged_by_origin_alone):
        checks.append((row.source, row.id, rules.compare_captured_ids))
    if any(
        heed and at <= tally.next.get(source, vectors.NOTHING_SEEN) for source, at, heed in checks
    ):
        tally.repeated_moved += bool(origin)
        tally.repeated_captured += not origin
        return True
    for source, at, _ in checks:
        sources_max = len(rows.ROW_TOPICS) * tally.partitions + LIVES_MAX
        if source not in tally.next and len(tally.next) >= sources_max:
            refused[i] = f"a partition has at most {sources_max} sources, not also {source}"
            return False
        tally.next[source] = at
    return False


def _dead_letter(run: Run, i: int, reason: str, partition: int) -> dead_letters.DeadLetter:
    place = Place(run.topic, run.log_id, partition, run.offsets[i])
    return dead_letters.letter(
        place, reason, run.values[i], run.keys[i], run.headers.get(i, ()), run.timestamps_ms[i]
    )


def _send_home(
    run: Run, read: rows.Rows, home: np.ndarray, which: np.ndarray, tally: _Tally
) -> None:
    """Note the rows that belong to another partition, in order."""
    for at in which.tolist():
        i = int(read.index[at])
        if len(run.values[i]) > MOVED_BYTES_MAX:
            rule = (
                f"a row on a wrong partition must have at most {MOVED_BYTES_MAX} bytes to be moved"
            )
            tally.dead.append(_dead_letter(run, i, rule, tally.partition))
            continue
        origin = Place(run.topic, run.log_id, tally.partition, run.offsets[i])
        kept = labels.header(run.headers.get(i, ()), labels.CAPTURED)
        headers = [(labels.MOVED, str(origin).encode())]
        if kept is not None:
            headers.append((labels.CAPTURED, kept))
        key = read.columns["symbol"][at].as_py().encode()
        tally.moved.append(Moved(origin, run.topic, int(home[at]), key, run.values[i], headers))


def _merge(parts: list[_Judged], partition: int) -> pa.RecordBatch:
    """Return the kept rows of all topics as one batch: by Kafka's time, in order within a topic."""
    if not parts:
        return rows.NO_ROWS
    batches = [_batch(part, partition) for part in parts]
    if len(batches) == 1:
        return batches[0]
    times = [
        np.maximum.accumulate(np.array(list(part.run.timestamps_ms), np.int64)[part.kept])
        for part in parts
    ]
    order = np.argsort(np.concatenate(times), kind="stable")
    joined = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    return joined.take(pa.array(order))


def _batch(part: _Judged, partition: int) -> pa.RecordBatch:
    """Return the rows of one topic in the tick schema."""
    count = len(part.kept)
    columns = dict(part.columns)
    columns["kind"] = _same(rows.KIND_OF_TOPIC[part.run.topic], count, pa.int8())
    columns["source_topic"] = _same(part.run.topic, count, pa.string())
    columns["source_partition"] = _same(partition, count, pa.int32())
    columns["source_offset"] = pa.array(np.asarray(part.run.offsets, np.int64)[part.kept])
    return pa.RecordBatch.from_arrays(
        [
            columns[field.name] if field.name in columns else _same(None, count, field.type)
            for field in TICK_SCHEMA
        ],
        schema=TICK_SCHEMA,
    )


@lru_cache(maxsize=1024)  # arrays do not change, and small batches are built often
def _same(value: object, count: int, kind: pa.DataType) -> pa.Array:
    return pa.nulls(count, kind) if value is None else pa.repeat(pa.scalar(value, kind), count)
