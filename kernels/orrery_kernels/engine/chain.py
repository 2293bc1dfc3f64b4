"""A chain: kernels in order over one stream of ticks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from orrery_kernels.columns import KIND_NAMES
from orrery_kernels.engine.ingress import number_of
from orrery_kernels.engine.oracle import OracleKernel
from orrery_kernels.engine.plan import Instance, canonical, chain_digest, plan_steps
from orrery_kernels.engine.program import program_of
from orrery_kernels.engine.session import Session
from orrery_kernels.engine.spec import at_least_one, f64, i64, text
from orrery_kernels.engine.state import ChainState
from orrery_kernels.engine.symbols import SYMBOLS_MAX
from orrery_kernels.errors import ColumnError, ParameterError, StateError

TYPES = {"f64": pa.float64(), "i8": pa.int8(), "i32": pa.int32(), "i64": pa.int64()}


class Chain:
    """Kernels in order, computed together, state kept per symbol.

    Args:
        steps: each {"kernel": name, parameter: value, column: name, "output": name}.
        symbol_column: the key. A batch without the column "symbol" is one series; another one that
            is named must be there. None: one series whatever the batch has.
        place: where the steps were written, for error messages.

    >>> import pyarrow as pa
    >>> chain = Chain([{"kernel": "ewma", "alpha": 0.5}])
    >>> batch = pa.RecordBatch.from_pydict({"symbol": ["A", "A"], "price": [1.0, 2.0]})
    >>> chain.run(chain.new_state(), batch).to_pydict()
    {'ewma': [1.0, 1.5]}
    """

    def __init__(
        self,
        steps: Sequence[Mapping[str, Any]],
        symbol_column: str | None = "symbol",
        place: str = "",
    ):
        self.symbol_column, self.place = symbol_column, place or "chain"
        self.steps = [_checked(step, place) for step in steps]
        self.instances = plan_steps(self.steps, place)
        self.shown = [i for i in self.instances if not i.hidden]
        self.unique: list[Instance] = []  # equal kernels over equal columns are computed once
        self.reads: list[
            list[str | tuple[int, int]]
        ] = []  # per unique: column, or (kernel, output)
        self.made: dict[str, tuple[int, int]] = {}  # output column -> (kernel, output)
        self.inputs = self._wire()
        programs = [program_of(i.kernel) for i in self.unique]
        self.addresses = [p.address for p in programs]
        digests = {i.kernel.name: p.digest for i, p in zip(self.unique, programs, strict=True)}
        self.digest = chain_digest(self.instances, digests)
        outputs = [
            (n, o.kind)
            for i in self.shown
            for n, o in zip(i.outputs, i.kernel.outputs, strict=True)
        ]
        self.output_schema = pa.schema([pa.field(name, TYPES[kind]) for name, kind in outputs])
        self.has_whole_outputs = any(kind != f64 for _, kind in outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Chain, (self.steps, self.symbol_column, self.place)

    def _wire(self) -> list[str]:
        """Find which columns come from earlier kernels; return those that the batch must have."""
        places: dict[tuple[Any, ...], int] = {}
        inputs: dict[str, None] = {}
        for instance in self.instances:
            reads = [self.made.get(c, c) for c in instance.columns]
            self._must_be_whole(instance, reads)
            key = (instance.key, tuple(reads))
            if key not in places:
                places[key] = len(self.unique)
                self.unique.append(instance)
                self.reads.append(reads)
            for o, name in enumerate(instance.outputs):
                self.made[name] = (places[key], o)
            inputs.update((c, None) for c in reads if isinstance(c, str))
        return list(inputs)

    def _must_be_whole(self, instance: Instance, reads: list[str | tuple[int, int]]) -> None:
        for item, read in zip(instance.kernel.inputs, reads, strict=True):
            if item.kind == i64 and isinstance(read, tuple):
                source = self.unique[read[0]].kernel
                if read[1] not in source.whole_outputs:
                    was = f"{source.outputs[read[1]].name!r} of {source.name}"
                    raise ColumnError(
                        f"{item.name} must be whole numbers, was {was} ({instance.kernel.name})"
                    )

    def new_state(
        self,
        symbols_max: int = SYMBOLS_MAX,
        when_full: str = "refuse",
        on_evict: Callable[[bytes], object] | None = None,
    ) -> ChainState:
        """Return an empty state of at most `symbols_max` symbols.

        Args:
            when_full: what one symbol more does. "refuse": an error, nothing of its batch is
                folded. "evict": those seen longest ago go, are counted in `evicted`, and start
                anew when they come back.
            on_evict: is given the packed state of those that go; `restore` brings them back. Where
                it raises, nothing of the batch is folded; given again, so are those that went.
        """
        sizes = [i.size[:2] for i in self.unique]
        return ChainState(self.digest, sizes, symbols_max, when_full, on_evict)

    def restore(self, buckets: Mapping[int, bytes], **bound: Any) -> ChainState:
        """Return the state that `buckets` hold (see ChainState.buckets); `bound` as new_state's."""
        state = self.new_state(**bound)
        state.restore(buckets)
        return state

    def run(
        self, state: ChainState, batch: pa.RecordBatch, threads: int | None = None
    ) -> pa.RecordBatch:
        """Fold `batch` into `state`; return the outputs only, as many rows in the same order.

        Large batches use all processors, or `threads` of them; the bits are the same.
        """
        if not isinstance(batch, pa.RecordBatch):
            raise ColumnError(
                f"a batch must be a pyarrow RecordBatch, was {type(batch).__name__} ({self.place})"
            )
        if threads is not None:
            threads = at_least_one("threads", threads, self.place)
        session = state.session
        if session is None or session.chain is not self:
            session = self._session(state)
        return session.run(batch, threads)

    def tick(self, state: ChainState, symbol: str | None, values: Sequence[float | None]) -> Any:
        """Fold one row, numbers in the order of `inputs`; return the output(s), None for null."""
        return self.ticker(state)(symbol, values)

    def ticker(self, state: ChainState) -> Callable[[str | None, Sequence[float | None]], Any]:
        """Return `tick` for one state, for many ticks in a row."""
        return self._session(state).ticker.tick

    def spread_ticker(self, state: ChainState) -> Callable[..., Any]:
        """Return `ticker` with the values as arguments: (symbol, value, ...) -> outputs."""
        return self._session(state).ticker.spread()

    def _session(self, state: ChainState) -> Session:
        session = state.session
        if session is None or session.chain is not self:
            if state.digest != self.digest:
                raise StateError("the state belongs to another chain; use chain.new_state()")
            session = state.session = Session(self, state)
        return session

    def oracle(self) -> ChainOracle:
        """Return the same chain in plain Python, with its own empty state."""
        return ChainOracle(self)


class ChainOracle:
    """The chain run by the interpreter, row by row."""

    def __init__(self, chain: Chain):
        self.chain = chain
        self.kernels = [OracleKernel(i.kernel, i.p) for i in chain.unique]

    def run(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the outputs for each row (a dict of its columns, None for null)."""
        return [self._row(row) for row in rows]

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        chain, made = self.chain, []
        symbol = row.get(chain.symbol_column, "")
        for oracle, instance, reads in zip(self.kernels, chain.unique, chain.reads, strict=True):
            wanted = instance.rows == "any" or "kind" not in row
            other = not wanted and _name_of(row["kind"]) != instance.rows
            if other or (symbol is None and instance.kernel.state.fields):
                made.append([None] * len(instance.outputs))
                continue
            values = [
                _number(made[r[0]][r[1]] if isinstance(r, tuple) else _value(row, r), item.read_as)
                for r, item in zip(reads, instance.kernel.inputs, strict=True)
            ]
            made.append(oracle.tick(symbol, values))
        out = {}
        for instance in chain.shown:
            for name, spec in zip(instance.outputs, instance.kernel.outputs, strict=True):
                at, o = chain.made[name]
                value = made[at][o]
                out[name] = value if value is None or spec.kind == f64 else int(value)
        return out


def _checked(step: Any, place: str) -> dict[str, Any]:
    if not isinstance(step, Mapping):
        raise ParameterError(
            f"a step must be {{'kernel': name, parameter: value, ...}}, was {step!r}"
            + (f" ({place})" if place else "")
        )
    return dict(step)


def _name_of(kind: int | str | None) -> str | None:
    return KIND_NAMES[kind] if isinstance(kind, int) else kind


def _value(row: Mapping[str, Any], column: str) -> float | int | None:
    name = column if column in row else next(n for n in row if canonical(n) == canonical(column))
    return row[name]


def _number(value: float | int | str | None, kind: str) -> float | int | None:
    if value is None:
        return None
    if kind == text and isinstance(value, str):
        return number_of(value)
    return float(value) if kind == f64 else int(value)
