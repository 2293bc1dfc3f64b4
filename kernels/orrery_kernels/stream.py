"""Streams: batches in order, mapped stage by stage, pulled lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from orrery_kernels.engine.spec import at_least_one
from orrery_kernels.engine.surface import StageMemory, stage_memory
from orrery_kernels.errors import ColumnError, ParameterError

BATCH_ROWS = 10_000


class Stream:
    """An ordered stream of record batches.

    A kernel called inside `map` keeps its state from batch to batch, so results are the same for
    every batch size. Iterating anew starts anew, with empty state, if the source can be read again.

    >>> from orrery_kernels import Stream, ewma
    >>> table = pa.table({"symbol": ["A", "A", "A"], "price": [1.0, 2.0, 3.0]})
    >>> stream = Stream.from_table(table, batch_size=1).map(lambda b: ewma(b, alpha=0.5))
    >>> [batch["ewma"][0].as_py() for batch in stream]
    [1.0, 1.5, 2.25]
    """

    def __init__(self, source: Iterable[pa.RecordBatch], stages: tuple[Any, ...] = ()):
        self.source, self.stages = batches_of(source), stages

    @classmethod
    def from_table(cls, table: pa.Table | pa.RecordBatch, batch_size: int = BATCH_ROWS) -> Stream:
        """Return the rows of `table` in batches of at most `batch_size`."""
        batch_size = at_least_one("batch_size", batch_size)
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        if not isinstance(table, pa.Table):
            raise ColumnError(
                f"table must be a pyarrow Table or RecordBatch, was {type(table).__name__};"
                " pyarrow.table(data) takes data frames and dictionaries"
            )
        batches = table.to_batches(max_chunksize=batch_size)
        return cls(batches or [pa.RecordBatch.from_pylist([], table.schema)])

    @classmethod
    def from_batches(cls, batches: Iterable[pa.RecordBatch]) -> Stream:
        """Return a stream over batches as they come; an iterator can be read once."""
        return cls(batches)

    def map(self, function: Callable[[pa.RecordBatch], pa.RecordBatch]) -> Stream:
        """Return the stream of `function(batch)`: any function, or an instance: ewma(alpha=0.1)."""
        if not callable(function):
            raise ParameterError(f"map needs a function of a batch, was {function!r}")
        return Stream(self.source, (*self.stages, function))

    def filter(self, keep: Callable[[pa.RecordBatch], Any]) -> Stream:
        """Return the stream of the rows for which `keep(batch)`, a boolean array, is true."""
        return self.map(lambda batch: batch.filter(keep(batch)))

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        memories = [StageMemory() for _ in self.stages]
        for batch in self.source:
            for k, memory in enumerate(memories):
                batch = _staged(self.stages[k], memory, batch)
                if batch is None:
                    raise ParameterError(
                        f"map's function must return a batch, was None (stage {k + 1})"
                    )
            yield batch

    def to_table(self) -> pa.Table:
        """Return all batches as one table; a stream without batches gives an error that says so."""
        batches = list(self)
        if not batches:
            raise ParameterError("a stream without batches has no schema; iterate over it instead")
        return pa.Table.from_batches([b for batch in batches for b in _in_batches(batch)])


def batches_of(source: Any) -> Iterable[pa.RecordBatch]:
    """Return a source that can be read batch by batch; ParameterError for anything else."""
    if not isinstance(source, Iterable):  # as a table is not
        raise ParameterError(
            "a source must be a stream, an operator or record batches in order,"
            f" was {type(source).__name__}; of a table: Stream.from_table(table)"
        )
    return source


def _in_batches(data: pa.RecordBatch | pa.Table) -> list[pa.RecordBatch]:
    return data.to_batches() if isinstance(data, pa.Table) else [data]


def _staged(function: Callable[[Any], Any], memory: StageMemory, batch: pa.RecordBatch) -> Any:
    memory.calls = 0
    token = stage_memory.set(memory)
    try:
        return function(batch)
    finally:
        stage_memory.reset(token)
