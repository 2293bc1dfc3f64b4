"""As-of joins of two streams, in any direction: a left row is answered once nothing that may still
come can change its answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from orrery_kernels.engine import function, i64, ingress
from orrery_kernels.engine.plan import find_column
from orrery_kernels.engine.spec import at_least_one
from orrery_kernels.errors import OrderError, ParameterError, StateError
from orrery_kernels.ticks.asof import (
    FIRST_KEY,
    NO_RIGHT,
    ROWS_MAX,
    Data,
    Keys,
    Rules,
    join_batches,
    one_batch,
    together,
)


class _Waiting:
    """Rows of one side in order of time, as far as they are still needed."""

    def __init__(self, side: str, on: str):
        self.side, self.on = side, on
        self.rows: pa.RecordBatch | None = None
        self.times = np.zeros(0, np.int64)
        self.newest: int | None = None  # time of the newest row that ever came

    def push(self, batch: pa.RecordBatch) -> None:
        name = find_column(batch.schema.names, self.on, "asof_join_streaming")
        times = ingress.numbers(batch.column(name), i64, name)
        if times.null_count:
            raise OrderError(f"{name!r} must be there in every row of a stream, was null")
        fresh = times.to_numpy()
        before = [] if self.newest is None else [self.newest]
        backwards = np.flatnonzero(np.diff(np.concatenate([before, fresh]).astype(np.int64)) < 0)
        if len(backwards):
            row = int(backwards[0]) + 1 - len(before)
            raise OrderError(
                f"{self.side} rows must be in order of {name!r}, row {row} has {fresh[row]} after"
                f" {fresh[row - 1] if row else before[0]}; sort them before"
            )
        self.rows = batch if self.rows is None else together(self.rows, batch)
        self.times = np.concatenate([self.times, fresh])
        self.newest = int(fresh[-1]) if len(fresh) else self.newest

    def take(self, rows: np.ndarray | slice) -> None:
        """Keep these rows and forget the others."""
        self.times = self.times[rows]
        if isinstance(rows, slice):
            self.rows = self.rows.slice(rows.start)
        else:
            self.rows = self.rows.take(pa.array(rows))


@function
class StreamingAsofJoinKernel:
    """An as-of join of two streams that both come in batches, in any direction.

    Every push returns the left rows decided by it, in their order, or None: backward once a later
    right row has come, forward and nearest (which need a tolerance) once a right row beyond it has.
    What comes out depends on the rows of both streams alone, not on when they came.

    Args:
        rows_max: rows of either side kept waiting. Beyond it the oldest right rows are evicted and
            counted in `evicted`, the oldest left rows answered with what is known and counted in
            `undecided`.

    >>> join = StreamingAsofJoinKernel(by=None)
    >>> join.push_left(pa.record_batch({"ts_event_ns": [5, 9], "price": [1.0, 2.0]}))
    >>> quotes = pa.record_batch({"ts_event_ns": [4, 6], "bid": [0.9, 1.1]})
    >>> join.push_right(quotes)["bid"].to_pylist()
    [0.9]
    >>> join.finish()["bid"].to_pylist()
    [1.1]
    """

    def __init__(
        self, on: str = "ts_event_ns", by: str | Sequence[str] | None = "symbol",
        tolerance: int | None = None, direction: str = "backward", strict: bool = False,
        suffix: str = "_right", rows_max: int = ROWS_MAX,
    ):  # fmt: skip
        self.rules = Rules(on, by, tolerance, direction, strict, suffix)
        if direction != "backward" and tolerance is None:
            raise ParameterError(
                f"direction {direction!r} needs a tolerance in a stream: without one a row could"
                " wait for ever"
            )
        self.rows_max = at_least_one("rows_max", rows_max)
        self.left, self.right = _Waiting("left", on), _Waiting("right", on)
        self.evicted = self.undecided = 0

    @property
    def waiting(self) -> int:
        """How many left rows are not decided yet."""
        return len(self.left.times)

    def push_left(self, left: Data) -> pa.RecordBatch | None:
        self.left.push(one_batch(left))
        return self._decided()

    def push_right(self, right: Data) -> pa.RecordBatch | None:
        self.right.push(one_batch(right))
        return self._decided()

    def finish(self) -> pa.RecordBatch | None:
        """Return what is left: no more right rows will come."""
        return self._answer(self.waiting)

    def _decided(self) -> pa.RecordBatch | None:
        count = 0
        if self.right.newest is not None:
            backward = self.rules.direction == "backward"
            edge = self.right.newest - (0 if backward else self.rules.reach)
            side = "right" if backward and self.rules.strict else "left"
            count = int(np.searchsorted(self.left.times, edge, side))
        over = self.waiting - self.rows_max
        if over > count:
            self.undecided += over - count
            count = over
        return self._answer(count)

    def _answer(self, count: int) -> pa.RecordBatch | None:
        out = None
        if count:
            if self.right.rows is None:
                raise StateError(
                    "no right batch has come, so its columns are unknown; push one, if without rows"
                )
            out = join_batches(self.left.rows.slice(0, count), self.right.rows, self.rules)
            reached = int(self.left.times[count - 1])
            self.left.take(slice(count, None))
            self._forget(int(self.left.times[0]) if self.waiting else reached)
        elif len(self.right.times) > self.rows_max:
            self._forget(int(self.left.times[0]) if self.waiting else int(self.right.times[0]))
        return out

    def _forget(self, time: int) -> None:
        """Forget right rows that no left row from `time` on can ask for."""
        passed = int(np.searchsorted(self.right.times, time, "left"))
        if 2 * passed > len(self.right.times) or len(self.right.times) > self.rows_max:
            kept = np.arange(passed, len(self.right.times))
            if self.rules.direction != "forward":
                kept = np.concatenate([self._newest(passed, time), kept])
            over = max(0, len(kept) - self.rows_max)
            self.evicted += over
            self.right.take(kept[over:])

    def _newest(self, passed: int, time: int) -> np.ndarray:
        """Return the last of the first `passed` right rows of each key, as far as still near."""
        rows, keys = self.right.rows.slice(0, passed), Keys()
        numbers = keys.numbers(rows, self.rules.keys(rows.schema), NO_RIGHT)
        last = np.full(len(keys) + 1, -1)
        last[numbers] = np.arange(passed)
        found = np.sort(last[FIRST_KEY:])
        found = found[found >= 0]
        return found[time - self.right.times[found] <= self.rules.reach]


@function
def asof_join_streaming(
    left: Iterable[pa.RecordBatch], right: Iterable[pa.RecordBatch], on: str = "ts_event_ns",
    by: str | Sequence[str] | None = "symbol", tolerance: int | None = None,
    direction: str = "backward", strict: bool = False, suffix: str = "_right",
    rows_max: int = ROWS_MAX,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """Yield the left stream joined with the right one, as asof_join would join their tables.

    Right batches are pulled only as far as left rows need them, so the result is the same however
    the two are cut and whenever they come. Memory: see StreamingAsofJoinKernel.

    >>> trades = [pa.record_batch({"ts_event_ns": [t], "price": [1.0]}) for t in (5, 9)]
    >>> quotes = [pa.record_batch({"ts_event_ns": [t], "bid": [t / 10]}) for t in (4, 6, 9, 11)]
    >>> [b["bid"].to_pylist() for b in asof_join_streaming(trades, quotes)]
    [[0.4], [0.9]]
    """
    join = StreamingAsofJoinKernel(on, by, tolerance, direction, strict, suffix, rows_max)
    pulled = iter(right)
    for batch in left:
        out = join.push_left(batch)
        if out is not None:
            yield out
        while join.waiting:
            more = next(pulled, None)
            out = join.finish() if more is None else join.push_right(more)
            if out is not None:
                yield out
            if more is None:
                break
