"""What the world sees of a kernel: functions, instances and a page of text, all generated."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import pyarrow as pa

from orrery_kernels.engine import catalog
from orrery_kernels.engine.chain import Chain
from orrery_kernels.engine.spec import Kernel
from orrery_kernels.errors import ColumnError, ParameterError

Data = pa.RecordBatch | pa.Table


class StageMemory:
    """What a stage of a stream remembers: an instance per call of a kernel in it, in order."""

    def __init__(self) -> None:
        self.instances: list[tuple[Any, Instance]] = []
        self.calls = 0

    def instance(
        self, definition: Kernel, step: Mapping[str, Any], symbol_column: str | None
    ) -> Instance:
        key = (definition.name, repr(sorted(step.items())), symbol_column)
        at, self.calls = self.calls, self.calls + 1
        if at == len(self.instances):
            self.instances.append((key, Instance(definition, step, symbol_column)))
        held, instance = self.instances[at]
        if held != key:
            raise ParameterError(
                "a stage must call the same kernels for every batch,"
                f" was {held[0]} and then {key[0]}; choose before the stream, not inside map"
            )
        return instance


stage_memory: ContextVar[StageMemory | None] = ContextVar("stage_memory", default=None)


class Instance:
    """A kernel with its parameters and its own state, keyed by symbol.

    Call it with a batch, tick it with numbers, or give it to Stream.map.
    """

    def __init__(
        self, definition: Kernel, step: Mapping[str, Any], symbol_column: str | None = "symbol"
    ):
        self.definition, self.step = definition, dict(step)
        self.chain = Chain([{"kernel": definition.name, **step}], symbol_column, definition.name)
        self._use(self.chain.new_state())

    def _use(self, state: Any) -> None:
        self.state = state
        self.__dict__.pop("tick", None)

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.step.items())
        return f"{self.definition.name}({given})"

    def __call__(self, data: Data) -> Data:
        """Return `data` with the output columns; the state goes on from the call before.

        A table is folded chunk by chunk: where one is refused, those before it have been folded.
        """
        return run_over(self.chain, self.state, data)

    def __reduce__(self) -> tuple[Any, ...]:
        public = catalog.lookup(self.definition.name)
        return _made_again, (public, self.step, self.chain.symbol_column, self.state_bytes())

    @property
    def skipped(self) -> int:
        """Rows skipped for a null, NaN or infinite input since this instance was made."""
        return int(self.state.skipped[0])

    def tick(self, symbol: str | None, *values: float) -> Any:
        """Fold one tick, values in the order of the inputs; return the output, None for null."""
        self.tick = self.chain.spread_ticker(self.state)  # from now on without the way through here
        return self.tick(symbol, *values)

    def state_bytes(self) -> bytes:
        """Return the state of all symbols, canonical and versioned."""
        return self.state.to_bytes()

    def restore(self, data: bytes) -> None:
        """Go on from `state_bytes()` of an equal instance."""
        self._use(self.chain.restore({0: data}))


def _made_again(public: Any, step: Mapping[str, Any], key: str | None, data: bytes) -> Instance:
    """Return the instance that was pickled or copied, with a state of its own."""
    instance = Instance(public.definition, step, key)
    instance.restore(data)
    return instance


def run_over(chain: Chain, state: Any, data: Data) -> Data:
    """Return `data` with the chain's outputs appended, folding its batches in order."""
    if not isinstance(data, pa.RecordBatch | pa.Table):
        raise ColumnError(
            f"data must be a pyarrow RecordBatch or Table, was {type(data).__name__}"
            f" ({chain.place}); pyarrow.table(data) takes data frames and dictionaries"
        )
    schema = schema_with_outputs(chain, data.schema)
    if isinstance(data, pa.Table):
        return pa.Table.from_batches([run_over(chain, state, b) for b in data.to_batches()], schema)
    out = chain.run(state, data)
    return pa.RecordBatch.from_arrays([*data.columns, *out.columns], schema=schema)


def schema_with_outputs(chain: Chain, schema: pa.Schema) -> pa.Schema:
    """Return `schema` with the chain's outputs; ColumnError where it has one of their names."""
    for name in chain.output_schema.names:
        if name in schema.names:
            raise ColumnError(
                f"output {name!r} must be new, was in the batch already ({chain.place});"
                " use output='...'"
            )
    return pa.schema([*schema, *chain.output_schema], schema.metadata)


def publish(definition: Kernel) -> Any:
    """Return the public function of a kernel and make it known by name."""

    def public(
        data: Data | None = None, *columns: str, symbol_column: str | None = "symbol", **given: Any
    ) -> Any:
        if isinstance(data, str):
            data, columns = None, (data, *columns)
        step = _step(definition, columns, given)
        memory = stage_memory.get()
        if memory is not None:
            instance = memory.instance(definition, step, symbol_column)
        else:
            instance = Instance(definition, step, symbol_column)
        return instance if data is None else instance(data)

    def operator(
        source: Any = None, *columns: str, symbol_column: str = "symbol", **given: Any
    ) -> Any:
        from orrery_kernels.operator import KernelOperator

        step = _step(definition, columns, given)
        return KernelOperator(definition, step, source, symbol_column)

    public.__name__ = public.__qualname__ = definition.name
    public.__module__ = definition.function.__module__
    public.__doc__ = page(definition)
    public.__signature__ = _signature(definition, "data")  # type: ignore[attr-defined]
    public.definition = definition  # type: ignore[attr-defined]
    public.operator = operator  # type: ignore[attr-defined]
    operator.__name__ = operator.__qualname__ = f"create_{definition.name}_operator"
    about = f"Return {definition.name} as a stage over `source`, keyed by symbol_column."
    operator.__doc__ = f"{about}\n\n{public.__doc__}"
    operator.__signature__ = _signature(definition, "source")  # type: ignore[attr-defined]
    catalog.add_kernel(definition, public)
    return public


def _step(definition: Kernel, columns: tuple[str, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the step that a call asks for: columns by their places, the rest by name."""
    arguments = [x.name for x in definition.inputs]
    if len(columns) > len(arguments):
        raise ParameterError(
            f"{definition.name} reads {len(arguments)} columns ({', '.join(arguments)}),"
            f" was given {len(columns)}"
        )
    placed = dict(zip(arguments, columns, strict=False))
    for name in placed.keys() & given.keys():
        raise ParameterError(
            f"{name} must be given once, was {placed[name]!r} and {given[name]!r}"
            f" ({definition.name})"
        )
    return {**placed, **given}


def _signature(definition: Kernel, first: str) -> inspect.Signature:
    kind = inspect.Parameter
    parts = [kind(first, kind.POSITIONAL_OR_KEYWORD, default=None)]
    parts += [kind(x.name, kind.POSITIONAL_OR_KEYWORD, default=x.column) for x in definition.inputs]
    for name, spec in definition.given.items():
        default = None if isinstance(spec.default, str) and not spec.choices else spec.default
        parts.append(kind(name, kind.KEYWORD_ONLY, default=default))
    parts.append(kind("output", kind.KEYWORD_ONLY, default=None))
    parts.append(kind("symbol_column", kind.KEYWORD_ONLY, default="symbol"))
    return inspect.Signature(parts)


def page(definition: Kernel) -> str:
    """Return the page of a kernel: what its author wrote, then what its definition says."""
    lines = [inspect.cleandoc(definition.function.__doc__ or definition.name), "", "Columns read:"]
    for item in definition.inputs:
        kind = "whole number" if item.kind == "i64" else "number"
        kind += " or text" if item.text else ""
        lines.append(f"    {item.name}: {kind}, column {item.column!r} unless another is named")
    if definition.given:
        lines += ["", "Parameters:"]
    for name, spec in definition.given.items():
        rule = f"one of {', '.join(spec.choices)}" if spec.choices else f"in {spec.interval}"
        lines.append(f"    {name} = {spec.default}, {rule}{': ' + spec.doc if spec.doc else ''}")
    lines += [f"    {text} must hold" for text, _ in definition.rules]
    lines += ["", "Columns written:"]
    lines += [f"    {o.name}: {o.kind}" for o in definition.outputs]
    return "\n".join([*lines, "", *_calls(definition), "", *_conventions(definition)])


def _calls(definition: Kernel) -> list[str]:
    name = definition.name
    values = ", ".join(["symbol", *(x.name for x in definition.inputs)])
    return [
        "Calls:",
        f"    {name}(batch) returns the RecordBatch or Table with the columns written, under",
        "        other names by output='...'. It starts empty; inside Stream.map it goes on.",
        f"    {name}() is an instance with a state of its own, for a batch or",
        f"        .tick({values}); also .state_bytes(), .restore(), .skipped.",
        f"    {name}.operator(stream) is a stage keyed by symbol_column; see plan.",
    ]


def _conventions(definition: Kernel) -> list[str]:
    rows = "every row, or those on which its columns are filled"
    rows = rows if definition.rows == "any" else f"{definition.rows} rows"
    return [
        f"Where rows have a `kind` it reads {rows}; others pass by with null.",
        "Windows count the symbol's own ticks. A null, NaN or infinite input skips the tick: null",
        "out, state untouched, counted in `skipped`. Integers, float32, decimals, booleans and",
        "dictionaries of them are read as numbers, times as nanoseconds, buy and sell as +1 and",
        "-1. Same bits however the stream is cut.",
    ]
