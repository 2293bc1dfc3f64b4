"""A log of one partition, written by hand, and the worker that reads it."""

import functools
from collections.abc import Iterable

import pyarrow as pa
from orrery_kernels import Chain
from orrery_kernels.columns import KIND_MARKET_QUOTE, KIND_TRADE, TICK_SCHEMA
from orrery_services.analytics import steps
from orrery_services.protocol import cuts, facts, snapshots, ticks
from orrery_services.protocol.rows import NO_ROWS

LOG = "loglogloglogloglogloglo"
EVERY_ROWS = 10**6
NODE = "n1"


@functools.cache
def chain(alpha: float = 0.3) -> Chain:
    return Chain([{"kernel": "vwap"}, {"kernel": "ewma", "column": "price", "alpha": alpha}])


def rows(symbols: Iterable[str], values: Iterable[float], at_ns: int, kind: int) -> pa.RecordBatch:
    symbols, values = list(symbols), list(values)
    count = len(symbols)
    columns = {
        "kind": pa.array([kind] * count, pa.int8()),
        "symbol": pa.array(symbols),
        "ts_event_ns": pa.array([at_ns] * count, pa.int64()),
        "source_topic": pa.array(["some"] * count),
        "source_partition": pa.array([0] * count, pa.int32()),
        "source_offset": pa.array(range(count), pa.int64()),
    }
    if kind == KIND_MARKET_QUOTE:
        columns["value"] = pa.array(values)
    else:
        columns |= {"price": pa.array(values), "size": pa.array([1.0] * count)}
    arrays = [columns.get(f.name, pa.nulls(count, f.type)) for f in TICK_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=TICK_SCHEMA)


class Log:
    """Messages of `ticks`, each behind the one before."""

    def __init__(self) -> None:
        self.vector: dict[str, int] = {}
        self.messages: list[ticks.TickMessage] = []

    def _append(self, batch: pa.RecordBatch, moved: dict[str, int]) -> "Log":
        following = {**self.vector, **moved}
        labels = ticks.headers(self.vector, following)
        self.messages.append(ticks.parse(ticks.encode(batch), labels))
        self.vector = following
        return self

    def trades(self, at_ns: int = 0, **prices: float) -> "Log":
        seen = self.vector.get("row:trades:t", 0) + len(prices)
        return self._append(
            rows(prices, prices.values(), at_ns, KIND_TRADE), {"row:trades:t": seen}
        )

    def quotes(self, at_ns: int = 0, **values: float) -> "Log":
        seen = self.vector.get("row:market_quotes:m", 0) + len(values)
        batch = rows(values, values.values(), at_ns, KIND_MARKET_QUOTE)
        return self._append(batch, {"row:market_quotes:m": seen})

    def cut(self, number: int, at_ns: int = 0) -> "Log":
        return self._append(NO_ROWS, {"cut": number, "cut_ns": at_ns})


def fresh(of: Chain | None = None) -> steps.Work:
    return steps.begin(of or chain(), LOG, 0, None)


def take(work: steps.Work, log: Log, every_rows: int = EVERY_ROWS) -> list[facts.Fact]:
    """Let a worker read on to the end of a log; return what it writes."""
    found: list[facts.Fact] = []
    for offset in range(work.position.offset, len(log.messages)):
        found += steps.take(work, offset, log.messages[offset], lambda _: None, every_rows)[0]
    return found


def leaves(made: Iterable[facts.Fact]) -> list[snapshots.Leaf]:
    return [snapshots.leaf_of(data(fact)) for fact in made if fact.kind == snapshots.LEAF]


def pieces(made: Iterable[facts.Fact]) -> list[bytes]:
    """Return the pieces of trees in the packs among facts."""
    packs = [data(fact) for fact in made if fact.kind == snapshots.PACK]
    return [piece for pack in packs for _, piece in snapshots.pieces_of(pack)]


def data(fact: facts.Fact) -> bytes:
    return facts.data_of(fact.payload, lambda name: b"")


def cut(number: int, at_ns: int = 0, of: Chain | None = None) -> cuts.Cut:
    name = facts.chain_id((of or chain()).digest)
    return cuts.Cut(number, f"by hand#{number}", "by hand", at_ns, NODE, {"default": name})
