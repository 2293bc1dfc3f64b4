"""The engine: what holds for a state and its columns, whatever the kernel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from orrery_kernels import Chain
from orrery_kernels.engine import parallel
from orrery_kernels.errors import ColumnError, StateError

BEYOND = 1_760_000_000_000_000_123  # a time in ns: doubles near it are 256 apart


def prices(symbols: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"symbol": symbols, "price": [1.0 + k for k in range(len(symbols))]}
    )


def test_whole_numbers_come_out_exact_beyond_two_to_the_53() -> None:
    step = {"kernel": "clock_skew_align", "local_ns": "local_ns", "remote_ns": "remote_ns"}
    chain = Chain([step])
    local, remote = [BEYOND + 7, BEYOND + 12, None], [BEYOND, BEYOND + 10, BEYOND]
    batch = pa.RecordBatch.from_pydict({"local_ns": local, "remote_ns": remote})

    out = chain.run(chain.new_state(), batch)
    rows = chain.oracle().run(batch.to_pylist())
    ticked = chain.tick(chain.new_state(), "", (BEYOND + 7, BEYOND))

    assert out["ts_aligned_ns"].to_pylist() == [BEYOND + 7, BEYOND + 12, None]
    assert [row["ts_aligned_ns"] for row in rows] == out["ts_aligned_ns"].to_pylist()
    assert ticked == (7, BEYOND + 7)


def test_an_exact_time_goes_exact_into_the_next_kernel() -> None:
    step = {"kernel": "clock_skew_align", "output": ["offset", "aligned"]}
    again = {**step, "local_ns": "aligned", "output": ["offset_again", "aligned_again"]}
    chain = Chain([step, again])
    batch = pa.RecordBatch.from_pydict({"ts_recv_ns": [BEYOND + 7], "ts_event_ns": [BEYOND]})

    out = chain.run(chain.new_state(), batch)

    assert out["aligned_again"].to_pylist() == [BEYOND + 7]


def test_a_number_with_a_fraction_is_no_time() -> None:
    with pytest.raises(ColumnError, match="whole numbers"):
        Chain([{"kernel": "ewma"}, {"kernel": "clock_skew_align", "local_ns": "ewma"}])


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_a_batch_with_one_symbol_too_many_is_refused_whole(as_dictionary: bool) -> None:
    chain = Chain([{"kernel": "ewma"}])
    state, twin = chain.new_state(symbols_max=3), chain.new_state()
    for each in (state, twin):
        chain.run(each, prices(["A", "B"]))
    before = state.to_bytes()
    batch = prices(["B", "C", "A", "C", "D", "A"])
    if as_dictionary:
        batch = batch.set_column(0, "symbol", batch["symbol"].dictionary_encode())

    with pytest.raises(StateError, match="at most 3 symbols"):
        chain.run(state, batch)

    assert state.to_bytes() == before
    assert chain.run(state, prices(["C", "A"])).equals(chain.run(twin, prices(["C", "A"])))
    assert state.to_bytes() == twin.to_bytes()


def test_a_full_state_goes_on_when_its_idlest_symbols_have_been_evicted() -> None:
    chain = Chain([{"kernel": "ewma"}])
    state, twin = chain.new_state(symbols_max=3), chain.new_state()
    for each in (state, twin):
        chain.run(each, prices(["A", "B", "B", "C", "C"]))

    packed = state.evict(state.idlest(1))
    later = chain.run(state, prices(["D", "C"]))

    assert (state.symbols, state.evicted) == (["B", "C", "D"], 1)
    assert later.equals(chain.run(twin, prices(["D", "C"])))
    state.evict(["D"])
    state.restore({0: packed})
    assert state.symbols == ["A", "B", "C"]


def test_memory_grows_with_the_symbols_that_came() -> None:
    chain = Chain([{"kernel": "rolling_zscore", "window": 100}])
    state = chain.new_state()

    sizes = []
    for count in (10, 1_000, 10_000):
        chain.run(state, prices([f"S{k}" for k in range(count)]))
        sizes.append(sum(r.rows.nbytes for r in state.records) / count)

    record = state.record_bytes
    assert sizes[1] < 2.5 * record
    assert sizes[2] < 2.5 * record


def test_ticks_and_batches_may_be_mixed_and_are_counted() -> None:
    chain = Chain([{"kernel": "ewma", "alpha": 0.5}])
    state, twin = chain.new_state(), chain.new_state()
    names = [f"S{k}" for k in range(200)]

    for k, name in enumerate(names):
        chain.tick(state, name, (1.0 + k,))
    chain.run(state, prices(names))
    for k, name in enumerate(names):
        chain.tick(state, name, (3.0 + k,))

    for start in (1.0, 1.0, 3.0):
        values = np.arange(200) + start
        chain.run(twin, pa.RecordBatch.from_pydict({"symbol": names, "price": values}))
    assert state.rows == 600
    assert state.to_bytes() == twin.to_bytes()


def test_a_kernel_without_a_state_reads_rows_without_a_symbol_however_long_they_run() -> None:
    rows = 5_000
    chain = Chain([{"kernel": "ta_medprice"}])
    batch = pa.RecordBatch.from_pydict(
        {
            "symbol": pa.array(["A"] * 100 + [None] * (rows - 100), pa.string()),
            "high": np.full(rows, 3.0),
            "low": np.full(rows, 1.0),
        }
    )

    out = chain.run(chain.new_state(), batch)

    assert out["ta_medprice"].to_pylist() == [2.0] * rows


def damaged(data: bytes) -> dict[str, bytes]:
    at = data.index(b"A")
    return {
        "of something else": b"junk",
        "cut in its head": data[:20],
        "cut in a record": data[:-3],
        "longer than it says": data + b"x",
        "of more symbols": data[:36] + b"\xff\xff\xff\xff" + data[40:],
        "with a name that is no text": data[:at] + b"\xff" + data[at + 1 :],
    }


def test_a_damaged_state_is_refused_whole() -> None:
    chain = Chain([{"kernel": "ewma"}])
    state = chain.new_state()
    chain.run(state, prices(["A", "B"]))

    for _, data in damaged(state.to_bytes()).items():
        held = chain.new_state()
        chain.run(held, prices(["X"]))
        before = held.to_bytes()

        with pytest.raises(StateError, match="bucket 7"):
            held.restore({7: data})

        assert held.to_bytes() == before


TEN = [
    {"kernel": name, "column": "price", "output": f"{name}_{k}"}
    for k in (1, 2)
    for name in ("ewma", "ema", "lag", "diff", "rolling_max")
]


def two_of_each() -> Chain:
    return Chain(
        [{**step, "k": 2} if step["output"] in ("lag_2", "diff_2") else step for step in TEN]
    )


def test_equal_kernels_over_equal_columns_are_computed_once() -> None:
    chain = two_of_each()

    out = chain.run(chain.new_state(), prices(["A"] * 5))

    assert (len(chain.instances), len(chain.unique)) == (10, 7)
    assert out["ewma_1"].equals(out["ewma_2"])
    assert not out["lag_1"].equals(out["lag_2"])


@pytest.mark.parametrize(("rows", "helped"), [(10_000, False), (120_000, True)])
def test_only_large_batches_are_dealt_to_threads(
    rows: int, helped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, asked = two_of_each(), []
    pool = parallel._pool
    monkeypatch.setattr(parallel, "_pool", lambda: asked.append(rows) or pool())

    chain.run(chain.new_state(), prices(["A", "B"] * (rows // 2)), threads=2)

    assert bool(asked) == helped


def test_outputs_that_are_held_stay_as_they_were() -> None:
    chain = Chain([{"kernel": "ewma"}, {"kernel": "rolling_max", "window": 3}])
    state, twin = chain.new_state(), chain.new_state()
    batches = [prices([f"S{k % 7}" for k in range(rows)]) for rows in (1, 300, 5_000, 2, 300) * 5]

    at_once = [chain.run(twin, batch)["ewma"].to_pylist()[:1] for batch in batches]

    held = [chain.run(state, batch).column("ewma").slice(0, 1) for batch in batches]

    assert [column.to_pylist() for column in held] == at_once


def test_one_chain_serves_many_threads_each_with_a_state_of_its_own() -> None:
    chain = two_of_each()
    batches = [prices([f"S{k % 50}" for k in range(rows)]) for rows in (3, 900, 5_000)] * 5

    def fold(_: int) -> list[pa.RecordBatch]:
        state = chain.new_state()
        return [chain.run(state, batch) for batch in batches]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fold, range(4)))

    assert all(each == found[0] for each in found)
