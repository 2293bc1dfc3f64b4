"""A state with a bound that evicts: the symbol seen longest ago goes, at the same row always."""

from __future__ import annotations

import pyarrow as pa
import pytest
from orrery_kernels import Chain
from orrery_kernels.engine import catalog
from orrery_kernels.errors import ParameterError

from tests.kernels.inputs import small_parameters, ticks
from tests.kernels.test_laws import assert_same, bits, cut

SYMBOLS_MAX = 3
ROWS = 300


def stream(name: str) -> pa.RecordBatch:
    """Return ticks of eight symbols of which few are busy at a time."""
    rows = ticks(catalog.kernels()[name].definition, ROWS, symbols=8)
    names = [f"S{(k // 25 + k * k % 3 + 4 * (k % 17 == 0)) % 8}.X" for k in range(ROWS)]
    names[40] = None
    return rows.set_column(0, "symbol", pa.array(names))


def lives(symbols: list[str | None]) -> list[str | None]:
    """Return each row's symbol with the number of its life: a new one after each eviction."""
    held: dict[str, None] = {}  # in order of the newest row
    life: dict[str, int] = {}
    found = []
    for symbol in symbols:
        if symbol is not None:
            if symbol not in held and len(held) == SYMBOLS_MAX:
                del held[next(iter(held))]
            life[symbol] = life.get(symbol, 0) + (symbol not in held)
            held.pop(symbol, None)
            held[symbol] = None
        found.append(None if symbol is None else f"{symbol}#{life[symbol]}")
    return found


def folded(chain: Chain, batches: list[pa.RecordBatch], **bound: object) -> tuple:
    state = chain.new_state(**bound)
    out = [chain.run(state, batch) for batch in batches]
    return pa.Table.from_batches(out, chain.output_schema), state


@pytest.mark.parametrize("name", catalog.kernels())
def test_a_symbol_that_was_evicted_starts_anew_wherever_the_stream_is_cut(name: str) -> None:
    chain = Chain([{"kernel": name, **small_parameters(catalog.kernels()[name].definition)}])
    batch = stream(name)
    bound = {"symbols_max": SYMBOLS_MAX, "when_full": "evict"}

    whole, state = folded(chain, [batch], **bound)
    parts, state_of_parts = folded(chain, cut(batch, list(range(7, ROWS, 7))), **bound)
    half, first = folded(chain, [batch.slice(0, 131)], **bound)
    later = chain.run(chain.restore(first.buckets(16), **bound), batch.slice(131))

    relabelled = batch.set_column(0, "symbol", pa.array(lives(batch["symbol"].to_pylist())))
    assert_same(whole, folded(chain, [relabelled])[0], batch)
    assert_same(parts, whole, batch)
    assert_same(pa.concat_tables([half, pa.Table.from_batches([later])]), whole, batch)
    assert state.to_bytes() == state_of_parts.to_bytes()
    assert state.evicted == state_of_parts.evicted > 10
    assert len(state.symbols) == SYMBOLS_MAX


def test_ticks_evict_as_batches_do() -> None:
    chain = Chain([{"kernel": "ewma"}])
    batch = stream("ewma")
    whole, state = folded(chain, [batch], symbols_max=SYMBOLS_MAX, when_full="evict")
    ticked = chain.new_state(SYMBOLS_MAX, "evict")

    got = [chain.tick(ticked, row["symbol"], (row["price"],)) for row in batch.to_pylist()]

    assert got == whole["ewma"].to_pylist()
    assert ticked.to_bytes() == state.to_bytes()


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_what_goes_is_counted_handed_over_and_can_be_brought_back(as_dictionary: bool) -> None:
    chain, gone = Chain([{"kernel": "ewma"}]), []
    state = chain.new_state(2, "evict", gone.append)
    keys = pa.array(["A", "B", "A", "C", "C"])
    keys = keys.dictionary_encode() if as_dictionary else keys
    batch = pa.record_batch({"symbol": keys, "price": [1.0, 2.0, 3.0, 4.0, 5.0]})

    out = chain.run(state, batch)

    assert bits(pa.Table.from_batches([out]))[0].shape == (5,)
    assert (state.symbols, state.evicted, len(gone)) == (["A", "C"], 1, 1)
    assert chain.restore({0: gone[0]}, when_full="evict").symbols == ["B"]


@pytest.mark.parametrize("bound", [{"symbols_max": 0}, {"when_full": "forget"}])
def test_a_bound_must_be_one_that_can_be_kept(bound: dict) -> None:
    with pytest.raises(ParameterError, match="symbols_max must be"):
        Chain([{"kernel": "ewma"}]).new_state(**bound)


@pytest.mark.parametrize("symbols", [["nobody"], ["A", "A"]])
def test_only_what_is_held_is_evicted_and_once(symbols: list[str]) -> None:
    chain = Chain([{"kernel": "ewma"}])
    state = chain.new_state()
    chain.run(state, pa.record_batch({"symbol": ["A", "B"], "price": [1.0, 2.0]}))

    with pytest.raises(ParameterError, match=f"must be held, each once, was '{symbols[0]}'"):
        state.evict(symbols)

    assert (state.symbols, state.evicted) == (["A", "B"], 0)
