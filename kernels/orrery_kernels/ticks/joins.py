"""As-of joins: each left row with the right row of its key that stood at that time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from orrery_kernels.engine import function, i64, ingress
from orrery_kernels.engine.matching import Join
from orrery_kernels.engine.plan import find_column
from orrery_kernels.engine.spec import at_least_one
from orrery_kernels.errors import OrderError, ParameterError, StateError
from orrery_kernels.ticks.asof import (
    BEFORE_ALL,
    FIRST_KEY,
    NO_LEFT,
    NO_RIGHT,
    ROWS_MAX,
    Data,
    Keys,
    Merge,
    Rules,
    Side,
    join_batches,
    one_batch,
    together,
    with_right,
)

_COMPACT_ROWS_MIN = 4_096


@function
def asof_join(
    left: Data, right: Data, on: str = "ts_event_ns", by: str | Sequence[str] | None = "symbol",
    tolerance: int | None = None, direction: str = "backward", strict: bool = False,
    suffix: str = "_right",
) -> Data:  # fmt: skip
    """Return the left rows, in their order, each with the right row of its key that stood then.

    Args:
        left, right: RecordBatch or Table, both in order of `on`.
        on: column of time: whole numbers, or timestamps, which count as nanoseconds.
        by: key column or columns; `symbol` where there is one. None: every row has one key. A row
            whose key or time is null finds nothing.
        tolerance: largest distance in time, in units of `on` (nanoseconds for timestamps).
        direction: "backward" the last row at or before, "forward" the first at or after, "nearest"
            the nearer of the two, at equal distance the one before.
        strict: a row of exactly the same time does not count.
    Returns: what `left` is; right columns that have a name of the left get `suffix`. Of right rows
        of one time the last counts backward, the first forward.
    Errors: OrderError where time runs backwards, ColumnError where a column is missing.
    Source: definition; the merge of two streams in order of time

    >>> trades = pa.record_batch({"ts_event_ns": [5, 9], "price": [1.0, 2.0]})
    >>> quotes = pa.record_batch({"ts_event_ns": [4, 6, 9], "bid": [0.9, 1.1, 1.9]})
    >>> asof_join(trades, quotes, strict=True)["bid"].to_pylist()
    [0.9, 1.1]
    """
    rules = Rules(on, by, tolerance, direction, strict, suffix)
    out = join_batches(one_batch(left), one_batch(right), rules)
    return pa.Table.from_batches([out]) if isinstance(left, pa.Table) else out


@function
def asof_join_table(
    batch: Data, table: Data, on: str = "ts_event_ns", by: str | Sequence[str] | None = "symbol",
    tolerance: int | None = None, direction: str = "backward", strict: bool = False,
    suffix: str = "_right",
) -> Data:  # fmt: skip
    """Return `batch` joined as by asof_join with a table in any order, which is sorted first.

    >>> trades = pa.record_batch({"ts_event_ns": [5, 9], "price": [1.0, 2.0]})
    >>> rates = pa.table({"ts_event_ns": [6, 4], "rate": [0.02, 0.01]})
    >>> asof_join_table(trades, rates)["rate"].to_pylist()
    [0.01, 0.02]
    """
    right = one_batch(table)
    name = find_column(right.schema.names, on, "asof_join_table")
    times = ingress.numbers(right.column(name), i64, name).fill_null(BEFORE_ALL).to_numpy()
    order = pa.array(np.argsort(times, kind="stable"))
    return asof_join(batch, right.take(order), on, by, tolerance, direction, strict, suffix)


@function
class AsofJoinKernel:
    """A backward as-of join kept going: `add` right rows as they come, `probe` with left rows.

    A probe costs what it brings and what has been added since: the last row of each key is
    remembered. A right row that comes late answers later left rows only; none is ever looked at
    ahead of its time.

    Args:
        rows_max: right rows kept; beyond it the oldest are evicted and counted in `evicted`, or,
            with when_full="refuse", StateError is raised and the rows are not taken.

    >>> join = AsofJoinKernel(by=None)
    >>> join.add(pa.record_batch({"ts_event_ns": [4, 6], "bid": [0.9, 1.1]}))
    >>> join.probe(pa.record_batch({"ts_event_ns": [5, 9]}))["bid"].to_pylist()
    [0.9, 1.1]
    """

    def __init__(
        self, on: str = "ts_event_ns", by: str | Sequence[str] | None = "symbol",
        tolerance: int | None = None, strict: bool = False, suffix: str = "_right",
        rows_max: int = ROWS_MAX, when_full: str = "evict",
    ):  # fmt: skip
        self.rules = Rules(on, by, tolerance, "backward", strict, suffix)
        if when_full not in ("evict", "refuse"):
            raise ParameterError(f"when_full must be 'evict' or 'refuse', was {when_full!r}")
        self.rows_max, self.when_full = at_least_one("rows_max", rows_max), when_full
        self.right: pa.RecordBatch | None = None
        self.there = Side(np.zeros(0, np.int64), np.zeros(0, np.int32))
        self.evicted = 0
        self._left_time = BEFORE_ALL
        self._compact_at = _COMPACT_ROWS_MIN

    def __len__(self) -> int:
        """Return how many right rows are remembered."""
        return 0 if self.right is None else self.right.num_rows

    def add(self, right: Data) -> None:
        """Take in right rows; not before those that came already."""
        batch, before = one_batch(right), (self.right, self.there)
        if self.right is None:
            self._start(batch, 0)
        else:
            whole = together(self.right, batch)
            side = Side.of(batch, self.rules, self.keys, self._names(batch), NO_RIGHT)
            if len(side.times) and len(self.there.times) and side.times[0] < self.there.times[-1]:
                raise OrderError(
                    f"right rows must be in order of {self.rules.on!r}, {side.times[0]} came after"
                    f" {self.there.times[-1]}"
                )
            self.right = whole
            self.there = Side(
                np.concatenate([self.there.times, side.times]),
                np.concatenate([self.there.ids, side.ids]),
            )
        if len(self) > min(self._compact_at, self.rows_max):
            try:
                self._compact()
            except StateError:
                self.right, self.there = before
                raise

    def probe(self, left: Data) -> pa.RecordBatch:
        """Return left rows with what stood at their time; not before those probed already."""
        batch = one_batch(left)
        if self.right is None:
            raise StateError("right rows must be added before the first probe, if only no rows")
        here = Side.of(batch, self.rules, self.keys, self._names(batch), NO_LEFT)
        if len(here.times):
            if here.times[0] < self._left_time:
                raise OrderError(
                    f"left rows must be in order of {self.rules.on!r}, {here.times[0]} came after"
                    f" {self._left_time}"
                )
            self._left_time = int(here.times[-1])
        found = self.merge.found(here, self.there, len(self.keys))
        return with_right(batch, self.right, found, self.rules)

    def _names(self, batch: pa.RecordBatch) -> list[str]:
        return self.rules.keys(batch.schema, self.right.schema)

    def _start(self, right: pa.RecordBatch, passed: int) -> None:
        """Begin anew with these right rows, of which time has passed the first `passed`."""
        keys = Keys()
        there = Side.of(right, self.rules, keys, self.rules.keys(right.schema), NO_RIGHT)
        self.right, self.keys, self.there, self.merge = right, keys, there, Merge(self.rules)
        nobody = Side(self.there.times[passed - 1 : passed], np.full(1, NO_LEFT, np.int32))
        if passed:
            until = Side(nobody.times + int(self.rules.strict), nobody.ids)
            self.merge.found(until, Side(self.there.times[:passed], self.there.ids), len(self.keys))

    def _compact(self) -> None:
        """Forget right rows that no left row can ask for, then the oldest beyond the bound."""
        passed = int(self.merge.block[Join.CURSOR])
        newest = self.merge.last[FIRST_KEY:, 0] - 1
        near = self._left_time - self.merge.last[FIRST_KEY:, 1] <= self.rules.reach
        kept = np.sort(newest[(newest >= 0) & near])
        ahead = len(self) - passed
        over = max(0, len(kept) + ahead - self.rows_max)
        if over and self.when_full == "refuse":
            raise StateError(
                f"right rows kept must be at most rows_max = {self.rows_max}, were"
                f" {len(kept) + ahead}; probe more often, or allow more"
            )
        self.evicted += over
        rows = np.concatenate([kept, np.arange(passed, len(self))])[over:]
        self._start(self.right.take(pa.array(rows)), max(0, len(kept) - over))
        self._compact_at = max(_COMPACT_ROWS_MIN, 2 * len(self))
