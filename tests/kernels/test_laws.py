"""The laws: what holds for every kernel, found by discovery. `pytest -k <name>`: those of one."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from orrery_kernels import Chain
from orrery_kernels.engine import catalog
from orrery_kernels.engine.program import program_of
from orrery_kernels.engine.spec import Kernel

from tests.kernels.inputs import small_parameters, ticks

NAMES = list(catalog.kernels())
ROWS = 400
FEW = settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

every_kernel = pytest.mark.parametrize("name", NAMES)


def kernel_of(name: str) -> Kernel:
    return catalog.kernels()[name].definition


@cache
def chain_of(name: str) -> Chain:
    return Chain([{"kernel": name, **small_parameters(kernel_of(name))}])


@lru_cache(maxsize=64)
def batch_of(name: str, rows: int = ROWS, symbols: int = 4, missing: float = 0.0) -> pa.RecordBatch:
    return ticks(kernel_of(name), rows, symbols, missing=missing)


def fold(chain: Chain, batches: list[pa.RecordBatch]) -> tuple[pa.Table, bytes]:
    """Return the outputs of `batches` in order, and the bytes of the state after them."""
    state = chain.new_state()
    out = [chain.run(state, batch) for batch in batches]
    return pa.Table.from_batches(out, chain.output_schema), state.to_bytes()


def alone(name: str, batch: pa.RecordBatch) -> pa.Table:
    return fold(chain_of(name), [batch])[0]


def bits(table: pa.Table) -> list[np.ndarray]:
    """Return each column as bits, null as a bit pattern of its own."""
    found = []
    for column in table.columns:
        array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        values = (
            array.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
        )
        found.append(np.where(values != values, np.int64(-1), values.view(np.int64)))
    return found


def assert_same(got: pa.Table, want: pa.Table, beside: pa.RecordBatch) -> None:
    """Fail with a small table of the first rows that differ."""
    for name, a, b in zip(want.schema.names, bits(got), bits(want), strict=True):
        if len(a) == len(b) and (a == b).all():
            continue
        assert len(a) == len(b), f"{name}: {len(a)} rows, must be {len(b)}"
        first = int(np.flatnonzero(a != b)[0])
        lines = []
        for row in range(max(0, first - 3), min(len(a), first + 3)):
            mark = ">" if a[row] != b[row] else " "
            lines.append(f"{mark} {row} {beside.slice(row, 1).to_pylist()[0]}")
            lines.append(f"      {name}: was {got[name][row]}, must be {want[name][row]}")
        pytest.fail("\n".join(lines), pytrace=False)


def cut(batch: pa.RecordBatch, places: list[int]) -> list[pa.RecordBatch]:
    edges = [0, *sorted(places), batch.num_rows]
    return [batch.slice(a, b - a) for a, b in pairwise(edges)]


@every_kernel
@pytest.mark.parametrize("size", [1, 7, 64, 997])
def test_however_the_stream_is_cut_the_bits_are_the_same(name: str, size: int) -> None:
    rows = 2_000 if size == 997 else ROWS
    batch = batch_of(name, rows, missing=0.05)
    whole, state = fold(chain_of(name), [batch])

    parts, state_of_parts = fold(chain_of(name), cut(batch, list(range(size, rows, size))))

    assert_same(parts, whole, batch)
    assert state_of_parts == state


@every_kernel
@FEW
@given(places=st.lists(st.integers(0, ROWS), max_size=12))
def test_cut_anywhere_the_bits_are_the_same(name: str, places: list[int]) -> None:
    batch = batch_of(name)

    parts, _ = fold(chain_of(name), cut(batch, places))

    assert_same(parts, alone(name, batch), batch)


@every_kernel
def test_compiled_and_plain_python_give_the_same_bits(name: str) -> None:
    batch, chain = batch_of(name, missing=0.03), chain_of(name)

    rows = chain.oracle().run(batch.to_pylist())

    want = pa.Table.from_pylist(rows, chain.output_schema)
    assert_same(alone(name, batch), want, batch)


@pytest.mark.parametrize(("missing", "rows"), [(0.03, 20), (0.0, 70)])
@every_kernel
def test_the_loop_over_runs_gives_the_bits_of_the_loop_over_rows(
    name: str, missing: float, rows: int
) -> None:
    kernel = kernel_of(name)
    batch = batch_of(name, missing=missing)
    symbols = [int(s[1]) for s in batch["symbol"].to_pylist()]
    batch = batch.take(pa.array(np.argsort(np.arange(ROWS) // (4 * rows) * 4 + symbols)))
    over_runs = Chain([{"kernel": name, **small_parameters(kernel)}])
    over_runs.addresses = [program_of(kernel, runs=True).address]

    got, state = fold(over_runs, [batch])

    want, state_of_rows = fold(chain_of(name), [batch])
    assert_same(got, want, batch)
    assert state == state_of_rows


@every_kernel
def test_a_hundred_thousand_symbols_each_get_what_one_gets(name: str) -> None:
    count = 100_000
    rows = ticks(kernel_of(name), 2, symbols=1).drop_columns(["symbol"])
    want = alone(name, rows)
    symbols = pa.DictionaryArray.from_arrays(
        np.arange(2 * count, dtype=np.int32) % count, [f"S{k}" for k in range(count)]
    )
    batch = rows.take(pa.array(np.repeat([0, 1], count))).append_column("symbol", symbols)

    out = pa.Table.from_batches([chain_of(name).run(chain_of(name).new_state(), batch)])

    for got, one in zip(bits(out), bits(want), strict=True):
        assert (got[:count] == one[0]).all()
        assert (got[count:] == one[1]).all()


@every_kernel
def test_something_comes_out(name: str) -> None:
    out = alone(name, batch_of(name))

    for column in out.columns:
        assert column.null_count < ROWS, "every row is null; the law suite needs other inputs"


@every_kernel
def test_symbols_interleaved_are_as_symbols_alone(name: str) -> None:
    batch = batch_of(name)
    out = alone(name, batch)

    for symbol in ("S0.X", "S3.X"):
        mine = pa.array([s == symbol for s in batch.column("symbol").to_pylist()])
        only = batch.filter(mine)
        assert_same(alone(name, only), out.filter(mine), only)


@every_kernel
def test_a_state_restored_at_any_row_goes_on_the_same(name: str) -> None:
    batch, chain = batch_of(name), chain_of(name)
    whole, _ = fold(chain, [batch])

    for row in (0, 1, 57, 203, ROWS - 1):
        state = chain.new_state()
        chain.run(state, batch.slice(0, row))
        later = chain.restore(state.buckets(16))
        rest = chain.run(later, batch.slice(row))
        assert_same(pa.Table.from_batches([rest]), whole.slice(row), batch.slice(row))


@every_kernel
def test_ticks_one_by_one_give_the_bits_of_the_batch(name: str) -> None:
    batch, chain = batch_of(name).slice(0, 120), chain_of(name)
    symbols = [None if k % 11 == 0 else s for k, s in enumerate(batch["symbol"].to_pylist())]
    batch = batch.set_column(0, "symbol", pa.array(symbols))
    state = chain.new_state()

    rows = []
    for row in batch.to_pylist():
        got = chain.tick(state, row["symbol"], [row[c] for c in chain.inputs])
        rows.append(
            dict(
                zip(
                    chain.output_schema.names,
                    got if isinstance(got, tuple) else (got,),
                    strict=True,
                )
            )
        )

    assert_same(pa.Table.from_pylist(rows, chain.output_schema), alone(name, batch), batch)


@every_kernel
def test_later_rows_change_nothing_before_them(name: str) -> None:
    batch = batch_of(name)
    other = ticks(kernel_of(name), ROWS, seed=99)

    for row in (1, 100, 333):
        changed = pa.Table.from_batches([batch.slice(0, row), other.slice(row)]).combine_chunks()
        out = alone(name, changed.to_batches()[0])
        assert_same(out.slice(0, row), alone(name, batch).slice(0, row), batch)


@every_kernel
@pytest.mark.parametrize("bad", [None, np.nan, np.inf, -np.inf])
def test_a_row_without_a_number_is_skipped(name: str, bad: float | None) -> None:
    kernel, chain = kernel_of(name), chain_of(name)
    needed = [x for x in kernel.inputs if not x.optional]
    if not needed or (bad is not None and needed[0].kind == "i64"):
        needed = [x for x in needed if x.kind == "f64"]
        if not needed:
            assert bad is not None or all(x.optional for x in kernel.inputs)
            return
    batch = batch_of(name).slice(0, 200)
    column = needed[0].column
    holes = {3, 50, 51, 150}
    values = [bad if i in holes else v for i, v in enumerate(batch.column(column).to_pylist())]
    at = batch.schema.get_field_index(column)
    holed = batch.set_column(
        at, batch.schema.field(at), pa.array(values, batch.schema.field(at).type)
    )

    state = chain.new_state()
    out = pa.Table.from_batches([chain.run(state, holed)])

    whole = [i for i in range(200) if i not in holes]
    clean = batch.take(pa.array(whole))
    assert_same(out.take(whole), alone(name, clean), clean)
    assert all(c.take(sorted(holes)).null_count == len(holes) for c in out.columns)
    assert state.skipped.tolist() == [len(holes)]


@every_kernel
def test_rows_of_another_kind_pass_by_uncounted(name: str) -> None:
    chain = chain_of(name)
    rows = chain.instances[0].rows
    batch = batch_of(name)
    mine = {"trade": 0, "quote": 1, "market_quote": 2, "any": 0}[rows]
    kinds = np.where(np.arange(ROWS) % 3 == 0, (mine + 1) % 3, mine).astype(np.int8)
    state = chain.new_state()

    out = pa.Table.from_batches([chain.run(state, batch.append_column("kind", pa.array(kinds)))])

    seen = np.flatnonzero((kinds == mine) | (rows == "any"))
    only = batch.take(pa.array(seen))
    assert_same(out.take(seen), alone(name, only), only)
    if rows != "any":
        assert all(c.null_count >= ROWS - len(seen) for c in out.columns)
    assert state.skipped.tolist() == [0]


@every_kernel
def test_an_empty_batch_keeps_the_schema(name: str) -> None:
    chain = chain_of(name)

    out = chain.run(chain.new_state(), batch_of(name).slice(0, 0))

    assert out.num_rows == 0
    assert out.schema == chain.output_schema


@every_kernel
def test_one_symbol_without_a_symbol_column(name: str) -> None:
    batch = ticks(kernel_of(name), 150, symbols=1)

    out = alone(name, batch.drop_columns(["symbol"]))

    assert_same(out, alone(name, batch), batch)


@every_kernel
def test_inputs_are_left_untouched(name: str) -> None:
    batch = batch_of(name, missing=0.05)
    before = batch.serialize().to_pybytes()

    alone(name, batch)

    assert batch.serialize().to_pybytes() == before


@every_kernel
def test_a_constant_series_gives_numbers_or_nulls(name: str) -> None:
    row = batch_of(name).slice(5, 1)
    batch = pa.Table.from_batches([row] * 60).combine_chunks().to_batches()[0]

    out = alone(name, batch)

    for column in out.columns:
        values = column.cast(pa.float64(), safe=False).drop_null().to_numpy()
        assert np.isfinite(values).all()


@every_kernel
def test_what_left_the_memory_leaves_no_trace(name: str) -> None:
    kernel, chain = kernel_of(name), chain_of(name)
    if kernel.memory is None:
        assert kernel.state.fields, "a kernel without state remembers nothing: say memory=1"
        return
    memory = ticks_remembered(kernel, chain)
    clean = ticks(kernel, memory + 60, symbols=1)
    for shock in (1e16, -1e16, 1e9, 1e-9):
        before = shocked(kernel, ticks(kernel, 3 * memory + 7, symbols=1, seed=5), shock)
        both = pa.Table.from_batches([before, clean]).combine_chunks().to_batches()[0]

        after = alone(name, both).slice(before.num_rows + memory)

        assert_close(after, alone(name, clean).slice(memory))


def ticks_remembered(kernel: Kernel, chain: Chain) -> int:
    p = chain.instances[0].p
    if callable(kernel.memory):
        return int(kernel.memory(p))
    return (
        int(getattr(p, kernel.memory))
        if isinstance(kernel.memory, str)
        else int(kernel.memory or 0)
    )


def shocked(kernel: Kernel, batch: pa.RecordBatch, shock: float) -> pa.RecordBatch:
    """Return `batch` with one row, a third from its end, in which every number is `shock`."""
    row = batch.num_rows * 2 // 3
    columns: dict[str, Any] = batch.to_pydict()
    for item in kernel.inputs:
        if item.kind == "f64" and not item.column.startswith("ts_"):
            columns[item.column][row] = shock
    return pa.RecordBatch.from_pydict(columns, batch.schema)


def assert_close(got: pa.Table, want: pa.Table, relative: float = 1e-9) -> None:
    for name in want.schema.names:
        a = got[name].cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
        b = want[name].cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
        scale = float(np.nanmax(np.abs(b), initial=0.0))
        np.testing.assert_allclose(a, b, rtol=relative, atol=relative * scale, err_msg=name)


@every_kernel
def test_outputs_scale_as_promised(name: str) -> None:
    kernel = kernel_of(name)
    if kernel.scale is None:
        return
    exponents, exponent = kernel.scale
    factor = 4.0  # a power of two: exact
    batch = batch_of(name)

    out = alone(name, moved(batch, kernel, exponents, lambda v, e: v * factor**e))

    want = alone(name, batch)
    for column, power in zip(want.schema.names, per_output(exponent, want), strict=True):
        if power is not None:
            assert_close(
                out.select([column]), scaled_table(want.select([column]), factor**power), 1e-12
            )


@every_kernel
def test_outputs_shift_as_promised(name: str) -> None:
    kernel = kernel_of(name)
    if kernel.shift is None:
        return
    weights, weight = kernel.shift
    batch = batch_of(name)

    out = alone(name, moved(batch, kernel, weights, lambda v, w: v + 64.0 * w))

    want = alone(name, batch)
    for column, amount in zip(want.schema.names, per_output(weight, want), strict=True):
        if amount is None:
            continue
        a = out[column].cast(pa.float64()).fill_null(np.nan).to_numpy()
        b = want[column].cast(pa.float64()).fill_null(np.nan).to_numpy() + 64.0 * amount
        np.testing.assert_allclose(
            a, b, rtol=1e-7, atol=1e-7 * (1.0 + np.nanmax(np.abs(b), initial=0.0))
        )


def per_output(promise: Any, table: pa.Table) -> list[Any]:
    """Return the promise for each output: one number for all, or one each (None: no promise)."""
    return list(promise) if isinstance(promise, tuple) else [promise] * table.num_columns


def moved(batch: pa.RecordBatch, kernel: Kernel, by: Any, move: Any) -> pa.RecordBatch:
    column_of = {x.name: x.column for x in kernel.inputs}
    for argument, amount in by.items():
        at = batch.schema.get_field_index(column_of[argument])
        values = batch.column(at).to_numpy(zero_copy_only=False)
        batch = batch.set_column(at, batch.schema.field(at), pa.array(move(values, amount)))
    return batch


def scaled_table(table: pa.Table, factor: float) -> pa.Table:
    columns = [
        pa.array(c.cast(pa.float64()).to_numpy() * factor, from_pandas=True) for c in table.columns
    ]
    return pa.table(columns, names=table.schema.names)


@every_kernel
def test_the_docstring_says_what_a_quant_must_know(name: str) -> None:
    text = kernel_of(name).function.__doc__ or ""

    for part in ("Formula:", "Units:", "Warm-up:", "Source:"):
        found = re.search(rf"^\s*{part}(.*(?:\n\s{{8,}}\S.*)*)", text, re.MULTILINE)
        assert found and found[1].strip(), f"the docstring of {name} must have a line {part}"
    first = text.strip().split("\n\n")[0]
    assert first.endswith("."), "the first paragraph must be a sentence"


@every_kernel
def test_parameters_are_checked_against_their_rule(name: str) -> None:
    kernel = kernel_of(name)

    for parameter, spec in kernel.params.items():
        wrong = "no such word" if spec.choices else float("nan")
        with pytest.raises(ValueError, match=parameter):
            kernel.bind({parameter: wrong})


def test_every_family_can_be_imported() -> None:
    assert catalog.broken() == {}
