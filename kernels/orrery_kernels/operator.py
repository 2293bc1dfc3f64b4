"""Operators: stages over a keyed stream, pulled lazily, that know when rows must change places.

Each reads from its source, so a chain of operators is a list; `plan` shows it as stages that are
plain data, and runs them over any number of key partitions with the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orrery_kernels.engine import catalog
from orrery_kernels.engine.chain import Chain
from orrery_kernels.engine.ingress import keys, takeable
from orrery_kernels.engine.plan import find_column
from orrery_kernels.engine.spec import Kernel, at_least_one
from orrery_kernels.engine.surface import run_over, schema_with_outputs
from orrery_kernels.errors import ParameterError
from orrery_kernels.partition import partition_of
from orrery_kernels.stream import Stream, batches_of


class KernelOperator:
    """One kernel over a source of batches, keyed by a column.

    Args:
        source: a Stream, another operator, any iterable of record batches; None: fed by hand.
    """

    def __init__(
        self,
        definition: Kernel,
        step: Mapping[str, Any],
        source: Iterable[pa.RecordBatch] | None = None,
        symbol_column: str = "symbol",
    ):
        if not isinstance(symbol_column, str):
            raise ParameterError(
                f"symbol_column must name a column, was {symbol_column!r} ({definition.name})"
            )
        self.definition, self.symbol_column = definition, symbol_column
        self.source = None if source is None else batches_of(source)
        self._began: bytes | None = None  # the state with which an iteration began
        plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in step.items()}
        self.step = {"kernel": definition.name, **plain}  # as a plan has it, in JSON too
        self.chain = Chain([self.step], symbol_column, definition.name)
        self.state = self.chain.new_state()

    def __repr__(self) -> str:
        return f"{self.definition.name}_operator({self.step}, key={self.symbol_column!r})"

    def process_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return `batch` with the outputs appended: as many rows, in the same order."""
        return run_over(self.chain, self.state, batch)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the source's batches with the outputs; a source read again gives the same again."""
        if self.source is None:
            raise ParameterError(
                f"{self.definition.name} operator must have a source; give source=stream"
            )
        if self._began is None:
            self._began = self.state_bytes()
        elif _can_be_read_again(self.source):
            self.state = self.chain.restore({0: self._began})
        state = self.state  # this reading's own: another one may begin before it ends
        for batch in self.source:
            yield run_over(self.chain, state, batch)

    def requires_shuffle(self) -> bool:
        """Return whether rows must be brought together by key before this stage.

        Never before a kernel without state, nor after a stage with the same key.
        """
        if not self.definition.state.fields:
            return False
        return _key_of(self.source) != self.symbol_column

    def get_partition_keys(self) -> list[str]:
        return [self.symbol_column] if self.definition.state.fields else []

    def state_bytes(self) -> bytes:
        """Return the state of all keys, canonical and versioned."""
        return self.state.to_bytes()

    def restore(self, data: bytes) -> None:
        """Go on from `state_bytes()` of an equal operator."""
        self.state, self._began = self.chain.restore({0: data}), None

    def begins_empty(self) -> bool:
        """Return whether iterating anew begins with no state: none restored, none fed by hand."""
        began = self.state_bytes() if self._began is None else self._began
        return began == self.chain.new_state().to_bytes()

    def __reduce__(self) -> tuple[Any, ...]:
        public = catalog.lookup(self.definition.name)
        step = {name: value for name, value in self.step.items() if name != "kernel"}
        return _made_again, (public, step, self.source, self.symbol_column, self.state_bytes())

    @property
    def skipped(self) -> int:
        """Rows skipped for a null, NaN or infinite input since this operator was made."""
        return int(self.state.skipped[0])


def _made_again(
    public: Any, step: Mapping[str, Any], source: Any, key: str | None, data: bytes
) -> KernelOperator:
    """Return the operator that was pickled or copied, with a state of its own."""
    operator = KernelOperator(public.definition, step, source, key)
    operator.restore(data)
    return operator


def _behind(source: Any) -> Any:
    """Return what a stream without stages reads: rows come out of it as they went in."""
    while isinstance(source, Stream) and not source.stages:
        source = source.source
    return source


def _can_be_read_again(source: Any) -> bool:
    while isinstance(source, KernelOperator | Stream):
        source = source.source
    return not isinstance(source, Iterator)


def _key_of(source: Any) -> str | None:
    """Return the key by which the rows of `source` are already together, None for none."""
    source = _behind(source)
    while isinstance(source, KernelOperator):
        if source.definition.state.fields:
            return source.symbol_column
        source = _behind(source.source)
    return getattr(source, "key_column", None)


@dataclass(frozen=True)
class Stage:
    """Kernels with one key, run together: plain data that another machine can be told to run."""

    key: str | None  # None: no state, any partitioning will do
    shuffle: bool  # rows must be brought together by `key` before it
    steps: tuple[Mapping[str, Any], ...]


class Plan:
    """The stages of a chain of operators, in the order rows pass them."""

    def __init__(self, stages: list[Stage], source: Iterable[pa.RecordBatch] | None):
        self.stages, self.source = stages, source

    def __repr__(self) -> str:
        lines = []
        for k, stage in enumerate(self.stages, 1):
            names = ", ".join(s["kernel"] for s in stage.steps)
            before = f"shuffle by {stage.key}, then " if stage.shuffle else ""
            lines.append(
                f"{k}. {before}{names}" + (f" keyed by {stage.key}" if stage.key else " (no state)")
            )
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the stages as JSON; `Plan.from_json(text, source)` is the same plan."""
        return json.dumps([asdict(s) for s in self.stages], sort_keys=True)

    @classmethod
    def from_json(cls, text: str, source: Iterable[pa.RecordBatch] | None) -> Plan:
        try:
            rows = json.loads(text)
            stages = [Stage(r["key"], r["shuffle"], tuple(r["steps"])) for r in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise ParameterError(
                f"a plan must be a list of stages {{key, shuffle, steps}}: {error!r}, {text[:80]!r}"
            ) from None
        return cls(stages, source)

    def run(self, partitions: int = 1) -> Iterator[pa.RecordBatch]:
        """Yield the source's batches with every stage's outputs, over `partitions` of each key.

        Rows go to the partition of murmur2(key), as in Kafka, and come back in their order.
        """
        if self.source is None:
            raise ParameterError(
                "a plan must have a source to run; give the first operator source=..."
            )
        count = at_least_one("partitions", partitions)
        running = [_RunningStage(stage, count) for stage in self.stages]
        for batch in self.source:
            for stage in running:
                batch = stage.process(batch)
            yield batch


class _RunningStage:
    """A stage with one state for each partition of its key."""

    def __init__(self, stage: Stage, partitions: int):
        self.stage = stage
        self.chain = Chain(stage.steps, stage.key or "symbol")
        self.states = [self.chain.new_state() for _ in range(partitions if stage.key else 1)]

    def process(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        key = self.stage.key
        if len(self.states) == 1 or key is None or key not in batch.schema.names:
            return run_over(self.chain, self.states[0], batch)
        schema = schema_with_outputs(self.chain, batch.schema)
        rows = self._rows_read(batch, key)
        names = keys(batch.column(key), key).to_pylist()
        homes = np.array(
            [0 if k is None else partition_of(k, len(self.states)) for k in names], int
        )
        order, parts = np.argsort(homes, kind="stable"), []
        for p, state in enumerate(self.states):
            mine = rows.take(pa.array(order[homes[order] == p]))
            parts.append(self.chain.run(state, mine))
        together = pa.Table.from_batches(parts, self.chain.output_schema).columns
        back = pa.array(np.argsort(order))
        out = [column.combine_chunks().take(back) for column in together]
        return pa.RecordBatch.from_arrays([*batch.columns, *out], schema=schema)

    def _rows_read(self, batch: pa.RecordBatch, key: str) -> pa.RecordBatch:
        """Return what the chain reads of `batch`, of types that rows can be taken from."""
        names, place = batch.schema.names, self.chain.place
        wanted = {find_column(names, name, place): None for name in (key, *self.chain.inputs)}
        wanted.update({"kind": None} if "kind" in names else {})
        return pa.RecordBatch.from_pydict({n: takeable(batch.column(n)) for n in wanted})


def plan(operator: KernelOperator) -> Plan:
    """Return the stages of the chain that ends in `operator`.

    A plan holds no state: ParameterError where an operator has one to go on from.
    """
    line: list[KernelOperator] = []
    at = _behind(operator)
    if not isinstance(at, KernelOperator):
        raise ParameterError(f"plan needs an operator, ewma.operator(source), was {operator!r}")
    while isinstance(at, KernelOperator):
        if not at.begins_empty():
            raise ParameterError(
                f"a plan begins without state, but {at!r} has some to go on from;"
                " iterate over the operator, or plan one that was not restored or fed"
            )
        line.append(at)
        at = _behind(at.source)
    stages: list[Stage] = []
    for op in reversed(line):
        key = op.symbol_column if op.definition.state.fields else None
        last = stages[-1] if stages else None
        if last is not None and (key is None or last.key in (None, key)):
            joined = last.key or key
            shuffle = last.shuffle or (
                last.key is None and key is not None and op.requires_shuffle()
            )
            stages[-1] = Stage(joined, shuffle, (*last.steps, op.step))
        else:
            stages.append(Stage(key, op.requires_shuffle(), (op.step,)))
    return Plan(stages, at)
