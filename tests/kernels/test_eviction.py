"""A state with a bound that evicts: the symbol seen longest ago goes, at the same row always."""

from __future__ import annotations

import pyarrow as pa
import pytest
from orrery_kernels import Chain
from orrery_kernels.engine import catalog
from orrery_kernels.errors import ParameterError, StateError

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


@pytest.mark.parametrize(
    "bound", [{"symbols_max": n} for n in (0, 1.5, "9", None)] + [{"when_full": "forget"}]
)
def test_a_bound_must_be_one_that_can_be_kept(bound: dict) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(bound))} must be"):
        Chain([{"kernel": "ewma"}]).new_state(**bound)


@pytest.mark.parametrize("symbols", [["nobody"], ["A", "A"]])
def test_only_what_is_held_is_evicted_and_once(symbols: list[str]) -> None:
    chain = Chain([{"kernel": "ewma"}])
    state = chain.new_state()
    chain.run(state, pa.record_batch({"symbol": ["A", "B"], "price": [1.0, 2.0]}))

    with pytest.raises(ParameterError, match=f"must be held, each once, was '{symbols[0]}'"):
        state.evict(symbols)

    assert (state.symbols, state.evicted) == (["A", "B"], 0)


class Full(Exception):
    pass


class Taking:
    """An on_evict that keeps what goes, but for the one that it refuses."""

    def __init__(self, refused: int = 0) -> None:
        self.gone: list[bytes] = []
        self.refused = refused

    def __call__(self, packed: bytes) -> None:
        self.gone.append(packed)
        if len(self.gone) == self.refused:
            raise Full("disk")


def held(state: object) -> tuple:
    return state.to_bytes(), state.symbols, state.evicted, state.rows, state.skipped.tolist()


@pytest.mark.parametrize("refusing", [1, 2, 5])
@pytest.mark.parametrize("name", ["ewma", "rolling_median", "midprice"])
def test_where_what_goes_is_not_taken_nothing_of_the_batch_is_folded(
    name: str, refusing: int
) -> None:
    chain = Chain([{"kernel": name, **small_parameters(catalog.kernels()[name].definition)}])
    batch, bound = stream(name), {"symbols_max": SYMBOLS_MAX, "when_full": "evict"}
    whole, wanted = folded(chain, [batch], **bound)
    taking = Taking()
    state = chain.new_state(**bound, on_evict=taking)
    parts, before = [chain.run(state, batch.slice(0, 30))], held(state)
    taking.refused = len(taking.gone) + refusing

    with pytest.raises(StateError, match=r"S\d\.X; nothing of the batch was folded") as told:
        chain.run(state, batch.slice(30))

    assert held(state) == before
    assert isinstance(told.value.__cause__, Full)
    parts.append(chain.run(state, batch.slice(30)))  # it is taken now
    assert_same(pa.Table.from_batches(parts), whole, batch)
    assert held(state) == held(wanted)


def test_where_what_goes_is_not_taken_a_tick_is_not_folded() -> None:
    chain, taking = Chain([{"kernel": "ewma"}]), Taking(1)
    state = chain.new_state(2, "evict", taking)
    chain.tick(state, "A", (1.0,))
    chain.tick(state, "B", (2.0,))
    before = held(state)

    with pytest.raises(StateError, match="on_evict must take the state of symbols"):
        chain.tick(state, "C", (3.0,))

    assert held(state) == before
    assert chain.tick(state, "C", (3.0,)) == 3.0
    assert (state.symbols, taking.gone[1]) == (["B", "C"], taking.gone[0])


def test_where_what_goes_is_not_taken_nothing_is_restored() -> None:
    chain = Chain([{"kernel": "ewma"}])
    other = chain.new_state(2, "evict")
    chain.run(other, pa.record_batch({"symbol": ["C", "D"], "price": [1.0, 2.0]}))
    state = chain.new_state(2, "evict", Taking(2))
    chain.run(state, pa.record_batch({"symbol": ["A", "B"], "price": [1.0, 2.0]}))
    before = held(state)

    with pytest.raises(StateError, match="on_evict must take the state of symbols"):
        state.restore({0: other.to_bytes()})

    assert held(state) == before
