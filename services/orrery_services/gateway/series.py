"""The time-series store, fed behind the facts; what it has no time for is counted and left out."""

from collections.abc import Iterable, Iterator

import psycopg
from prometheus_client import Counter

from .. import store, tsdb
from ..protocol.marks import Mark
from ..store import low, results
from ..store.results import Chunk
from . import domino_series, projections, steps
from .projections import SERIES, Stretch

CHUNKS_AT_ONCE = 64
SMOOTHING = 0.3  # how much the chunks seen last say of how large those that wait are
SYMBOLS_MAX = 10_000  # labels of one node; more would make the store unusable
SKIPPED = Counter("orrery_tsdb_skipped_chunks", "Chunks left out because the store fell behind.")
UNLABELLED = Counter("orrery_tsdb_unlabelled_points", "Points of symbols beyond the bound.")


class Series:
    """Turns chunks into series of a bounded number of symbols."""

    def __init__(self, url: str, node: str):
        self.url, self._node = url, node
        self._symbols: set[str] = set()
        self._a_chunk: dict[str, float] = {}  # chain -> samples of one, by those seen last

    def show(self, connection: psycopg.Connection, stretch: Stretch, samples_max: int) -> bool:
        """Project the next chunks; jump ahead when more wait than hold some `samples_max`."""
        chain = stretch.chain.id
        chunks_max = max(1, int(samples_max / self._a_chunk.get(chain, 1.0)))
        if stretch.high - stretch.low > chunks_max:
            SKIPPED.inc(stretch.high - chunks_max - stretch.low)
            stretch = stretch._replace(low=stretch.high - chunks_max)
        offsets = (stretch.low, stretch.high)
        found = results.chunks_between(
            connection, stretch.chain, stretch.partition, stretch.log_id, offsets, CHUNKS_AT_ONCE
        )
        done = len(found) < CHUNKS_AT_ONCE
        samples = self.write(chain, found, _name(connection, chain))
        if found:
            mean = samples / len(found)
            before = self._a_chunk.get(chain, mean)
            self._a_chunk[chain] = max(1.0, before + SMOOTHING * (mean - before))
        at = stretch.high if done else found[-1].place.offset + 1
        projections.move(connection, SERIES, stretch, at)
        return done

    def write(self, chain: str, chunks: Iterable[Chunk], name: str) -> int:
        """Send the series of chunks; return how many samples."""
        return tsdb.write(self.url, self._series(chain, chunks, name))

    def _series(self, chain: str, chunks: Iterable[Chunk], name: str) -> Iterator[tsdb.Series]:
        for chunk in chunks:
            for one in steps.points(chunk.rows, chunk.outputs):
                if not self._may(one.symbol):
                    UNLABELLED.inc(len(one.values))
                    continue
                labels = {
                    "__name__": f"orrery_{one.output}",
                    "node": self._node,
                    "chain": name,
                    "symbol": one.symbol,
                }
                yield tsdb.Series(labels, one.values, one.times_ms)

    def _may(self, symbol: str) -> bool:
        if symbol in self._symbols:
            return True
        if len(self._symbols) >= SYMBOLS_MAX:
            return False
        self._symbols.add(symbol)
        return True


def rebuild(connection: psycopg.Connection, url: str, node: str) -> int:
    """Forget everything of this node in the store and write it again from facts; count samples."""
    tsdb.forget(url, f'{{node="{node}"}}')
    series, samples = Series(url, node), 0
    for (chain, partition), mark in sorted(store.marks(connection).items()):
        info = results.chain_info(connection, chain)
        gone = low.low_of(connection, partition)
        first = gone.mark if gone else Mark()
        found = results.chunks(connection, info, partition, first, mark.ordinal)
        samples += series.write(chain, found, _name(connection, chain))
    return samples + domino_series.rebuild(connection, url, node)


def _name(connection: psycopg.Connection, chain: str) -> str:
    names = {held: name for name, held in store.chain_names(connection).items()}
    return names.get(chain, chain)
