"""What a partition holds at a cut: its market quotes and the state of its symbols, as trees."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from blake3 import blake3
from orrery_kernels.columns import KIND_MARKET_QUOTE
from orrery_kernels.snapshot.buckets import VALUE_BYTES_MAX
from orrery_kernels.snapshot.canonical import encode
from orrery_kernels.snapshot.tree import CANONICAL, Built, build

from ..protocol import snapshots, vectors
from ..protocol.facts import Fact, Place

_READ = ("value", "ts_event_ns", "source_topic", "source_partition", "source_offset")


class Quote(NamedTuple):
    """The last market quote of an instrument, and the row that it came in."""

    value: float
    ts_event_ns: int | None
    topic: str | None  # None: a batch straight to `ticks`
    partition: int | None
    offset: int | None
    ticks_offset: int


@dataclass
class Market:
    """What a partition remembers between two cuts, beside the state of its chain."""

    quotes: dict[str, Quote] = field(default_factory=dict)
    late: int = 0  # rows since the last cut whose event time lies before it
    late_from_ns: int | None = None
    pieces: frozenset[bytes] = frozenset()  # of the trees of the last cut, which are held

    def see(
        self, rows: pa.RecordBatch, base: vectors.Vector, ticks_offset: int | np.ndarray
    ) -> None:
        """Take the rows of one accepted message; of several between two cuts, an offset a row."""
        found = np.flatnonzero(rows["kind"].to_numpy() == KIND_MARKET_QUOTE)
        if len(found):
            few = rows.take(pa.array(found))
            cells = [few[name].to_pylist() for name in _READ]
            cells.append(np.broadcast_to(ticks_offset, rows.num_rows)[found].tolist())
            for symbol, *cell in zip(few["symbol"].to_pylist(), *cells, strict=True):
                self.quotes[symbol] = Quote(*cell)
        cut_ns = base.get(vectors.CUT_NS)
        if cut_ns is not None and rows.num_rows:
            self._count_late(rows["ts_event_ns"], cut_ns)

    def _count_late(self, times: pa.Array, cut_ns: int) -> None:
        late = (times.drop_null() if times.null_count else times).to_numpy()
        late = late[late < cut_ns]
        if len(late):
            self.late += len(late)
            known = (self.late_from_ns,) if self.late_from_ns is not None else ()
            self.late_from_ns = min([int(late.min()), *known])

    def stored(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        quotes = {name: list(quote) for name, quote in sorted(self.quotes.items())}
        return {"quotes": quotes, "late": self.late, "late_from_ns": self.late_from_ns}


def restored(stored: dict[str, Any] | None) -> Market:
    """Return the market of a checkpoint. The next cut writes all its pieces."""
    if stored is None:
        return Market()
    quotes = {name: Quote(*cells) for name, cells in stored["quotes"].items()}
    return Market(quotes, stored["late"], stored["late_from_ns"])


def warm() -> None:
    """Compile what trees need, or find it compiled: nobody waits for it at the first cut."""
    build(["a"], [b"1"], CANONICAL)


def cut_facts(
    market: Market, state: Any, place: Place, chain: str, following: vectors.Vector, rows: int
) -> list[Fact]:
    """Return the facts of one partition at a cut: the pieces that are new, then the leaf."""
    trees = {
        snapshots.STATE: _state_tree(state),
        snapshots.QUOTES: _tree({n: encode(q.value) for n, q in market.quotes.items()}),
        snapshots.QUOTE_ROWS: _tree({n: _row(q) for n, q in market.quotes.items()}),
    }
    number = following[vectors.CUT]
    leaf = snapshots.Leaf(
        number, state.digest.hex(), place.log_id, place.offset, following, rows,
        market.late, market.late_from_ns, {name: t.root.hex() for name, t in trees.items()},
    )  # fmt: skip
    pieces = {name for tree in trees.values() for name in tree.pieces}
    new = {
        name: tree.pieces[name]
        for tree in trees.values()
        for name in tree.pieces
        if name not in market.pieces
    }
    market.pieces, market.late, market.late_from_ns = frozenset(pieces), 0, None
    return [
        *snapshots.pack_facts(new, place.partition, number),
        *snapshots.leaf_fact(leaf, chain, place.partition),
    ]


def _row(quote: Quote) -> bytes:
    found = quote._asdict()
    del found["value"]
    return encode(found)


def _tree(leaves: dict[str, bytes]) -> Built:
    return build(list(leaves), list(leaves.values()), CANONICAL)


def _state_tree(state: Any) -> Built:
    """Return the tree of the symbols' records; of records too wide for a leaf, of their digests."""
    names, records = state.table_of_records()
    if records.shape[1] <= VALUE_BYTES_MAX:
        return build(names, records, state.digest)
    named = blake3(b"orrery: digests of records" + state.digest).digest()
    return build(names, [blake3(record.tobytes()).digest() for record in records], named)
