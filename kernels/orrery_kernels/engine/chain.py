"""A chain: kernels in order over one stream of ticks."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orrery_kernels.columns import KIND_NAMES
from orrery_kernels.engine import codegen, egress, ingress
from orrery_kernels.engine.oracle import OracleKernel
from orrery_kernels.engine.plan import Instance, canonical, chain_digest, find_column, plan_steps
from orrery_kernels.engine.program import program_of
from orrery_kernels.engine.spec import f64, i64
from orrery_kernels.engine.state import ChainState
from orrery_kernels.errors import StateError

_STEP = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class Chain:
    """Kernels in order, computed together, state kept per symbol.

    Args:
        steps: each {"kernel": name, parameter: value, column: name, "output": name}.
        symbol_column: the key; a batch without it is one series.
        place: where the steps were written, for error messages.

    >>> import pyarrow as pa
    >>> chain = Chain([{"kernel": "ewma", "alpha": 0.5}])
    >>> batch = pa.RecordBatch.from_pydict({"symbol": ["A", "A"], "price": [1.0, 2.0]})
    >>> chain.run(chain.new_state(), batch).to_pydict()
    {'ewma': [1.0, 1.5]}
    """

    def __init__(
        self, steps: Sequence[Mapping[str, Any]], symbol_column: str = "symbol", place: str = ""
    ):
        self.symbol_column = symbol_column
        self.steps = [dict(step) for step in steps]
        self.instances = plan_steps(self.steps, place)
        self._unique: list[Instance] = []
        self._place_of: dict[tuple[Any, ...], int] = {}
        self._wire()
        programs = [program_of(i.kernel) for i in self._unique]
        digests = {i.kernel.name: p.digest for i, p in zip(self._unique, programs, strict=True)}
        self.digest = chain_digest(self.instances, digests)
        self._functions = [_STEP(p.address) for p in programs]
        self.output_schema = pa.schema(
            [
                pa.field(name, egress.TYPES[spec.kind])
                for i in self.instances
                for name, spec in zip(i.outputs, i.kernel.outputs, strict=True)
            ]
        )

    def _wire(self) -> None:
        """Find which columns come from the batch and which from an earlier kernel; compute equals once."""
        self._made: dict[str, tuple[int, int]] = {}  # output column -> (unique kernel, output)
        self._reads: list[list[str | tuple[int, int]]] = []
        inputs: dict[str, None] = {}
        for instance in self.instances:
            reads = [self._made.get(c, c) for c in instance.columns]
            key = (instance.key, tuple(reads))
            if key not in self._place_of:
                self._place_of[key] = len(self._unique)
                self._unique.append(instance)
                self._reads.append(reads)
            k = self._place_of[key]
            for o, name in enumerate(instance.outputs):
                self._made[name] = (k, o)
            inputs.update((c, None) for c in reads if isinstance(c, str))
        self.inputs = list(inputs)

    def new_state(self) -> ChainState:
        return ChainState(self.digest, [i.size[:2] for i in self._unique])

    def restore(self, buckets: Mapping[int, bytes]) -> ChainState:
        """Return the state that `buckets` hold (see ChainState.buckets)."""
        state = self.new_state()
        state.restore(buckets)
        return state

    def run(self, state: ChainState, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Fold `batch` into `state`; return the outputs only, as many rows in the same order."""
        if state.digest != self.digest:
            raise StateError("the state belongs to another chain; use chain.new_state()")
        rows = batch.num_rows
        columns = self._columns(batch)
        names = batch.schema.names
        keys = batch.column(self.symbol_column) if self.symbol_column in names else None
        kinds = batch.column("kind") if "kind" in names else None
        ids = ingress.symbol_ids(state, keys, rows)
        kind = (
            ingress.Column(kinds.buffers()[1].address + kinds.offset, kinds)
            if kinds is not None and rows
            else None
        )
        results: list[np.ndarray] = []
        nulls: list[list[int]] = []
        for k in range(len(self._unique)):
            block = np.empty((len(self._unique[k].outputs), rows), np.float64)
            args = self._arguments(k, state, ids, kind, columns, results, block)
            self._functions[k](args.ctypes.data, 0, rows)
            state.skipped[k] += args[codegen.SKIPPED]
            nulls.append([int(np.count_nonzero(out != out)) for out in block])
            results.append(block)
        arrays = []
        for instance in self.instances:
            for name, spec in zip(instance.outputs, instance.kernel.outputs, strict=True):
                at, o = self._made[name]
                arrays.append(egress.arrow_array(results[at][o], nulls[at][o], spec.kind))
        return pa.RecordBatch.from_arrays(arrays, schema=self.output_schema)

    def _columns(self, batch: pa.RecordBatch) -> dict[tuple[str, str], ingress.Column]:
        """Return the columns of the batch that are read, by (name, kind)."""
        found: dict[tuple[str, str], ingress.Column] = {}
        names = batch.schema.names
        for instance, reads in zip(self._unique, self._reads, strict=True):
            for item, read in zip(instance.kernel.inputs, reads, strict=True):
                if isinstance(read, str) and (read, item.kind) not in found:
                    column = find_column(names, read, instance.kernel.name)
                    found[read, item.kind] = ingress.numbers(
                        batch.column(column), item.kind, column
                    )
        return found

    def _arguments(
        self,
        k: int,
        state: ChainState,
        ids: np.ndarray,
        kinds: ingress.Column | None,
        columns: Mapping[tuple[str, str], ingress.Column],
        results: Sequence[np.ndarray],
        block: np.ndarray,
    ) -> np.ndarray:
        instance, layout = self._unique[k], self._unique[k].layout
        args = np.zeros(layout.words, np.int64)
        args[codegen.IDS], args[codegen.STATE] = ids.ctypes.data, state.records[k].address
        args[codegen.STRIDE] = state.records[k].stride
        if kinds is None or instance.rows == "any":
            args[codegen.KINDS], args[codegen.KIND] = _ANY.ctypes.data, 0
        else:
            args[codegen.KINDS], args[codegen.KINDS_STEP] = kinds.address, 1
            args[codegen.KIND] = KIND_NAMES.index(instance.rows)
        for item, read in zip(instance.kernel.inputs, self._reads[k], strict=True):
            word = layout.inputs[item.name]
            if isinstance(read, str):
                args[word] = columns[read, item.kind].address
            else:
                args[word] = results[read[0]][read[1]].ctypes.data
        for word, out in zip(layout.outputs, block, strict=True):
            args[word] = out.ctypes.data
        self._constants(instance, layout, args)
        return args

    def _constants(self, instance: Instance, layout: codegen.Layout, args: np.ndarray) -> None:
        tables = iter(instance.tables)
        for name, (word, kind) in layout.constants.items():
            value = getattr(instance.p, name)
            if kind == "table":
                args[word] = next(tables).ctypes.data
            elif kind == f64:
                args.view(np.float64)[word] = value
            else:
                args[word] = value
        for (word, _), offset in zip(layout.rings.values(), instance.size[2], strict=True):
            args[word] = offset

    def tick(self, state: ChainState, symbol: str | None, values: Sequence[float | None]) -> Any:
        """Fold one row given as numbers, in the order of `inputs`; return the output(s), None for null."""
        columns = [pa.array([v], pa.int64() if type(v) is int else pa.float64()) for v in values]
        row = pa.RecordBatch.from_arrays(
            [pa.array([symbol], pa.string()), *columns], [self.symbol_column, *self.inputs]
        )
        out = tuple(column[0].as_py() for column in self.run(state, row).columns)
        return out[0] if len(out) == 1 else out

    def oracle(self) -> ChainOracle:
        """Return the same chain in plain Python, with its own empty state."""
        return ChainOracle(self)


class ChainOracle:
    """The chain run by the interpreter, row by row."""

    def __init__(self, chain: Chain):
        self.chain = chain
        self.kernels = [OracleKernel(i.kernel, i.p) for i in chain._unique]

    def run(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the outputs for each row (a dict of its columns, None for null)."""
        return [self._row(row) for row in rows]

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        chain, made = self.chain, []
        symbol = row.get(chain.symbol_column, "")
        for oracle, instance, reads in zip(self.kernels, chain._unique, chain._reads, strict=True):
            kind = row.get("kind")
            other = (
                kind is not None and instance.rows != "any" and KIND_NAMES[kind] != instance.rows
            )
            if other or symbol is None:
                made.append([None] * len(instance.outputs))
                continue
            values = [
                made[r[0]][r[1]] if isinstance(r, tuple) else _value(row, r, item.kind)
                for r, item in zip(reads, instance.kernel.inputs, strict=True)
            ]
            made.append(oracle.tick(symbol, values))
        out = {}
        for instance in chain.instances:
            for name, spec in zip(instance.outputs, instance.kernel.outputs, strict=True):
                at, o = chain._made[name]
                value = made[at][o]
                out[name] = value if value is None or spec.kind == f64 else int(value)
        return out


def _value(row: Mapping[str, Any], column: str, kind: str) -> float | int | None:
    name = column if column in row else next(n for n in row if canonical(n) == canonical(column))
    value = row[name]
    if value is None:
        return None
    return int(value) if kind == i64 else float(value)


_ANY = np.zeros(1, np.int8)
