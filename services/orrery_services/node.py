"""A node, to read from: `Node("n1").read(chain="default", symbol="…") -> pyarrow.Table`."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from orrery_kernels.partition import partition_of

from . import store
from .config import Settings, load_settings
from .errors import ConfigError
from .protocol.marks import Mark
from .store import low, results


class Node:
    """Reads one node's own store. Opens a connection of the reader's role when first needed."""

    def __init__(
        self,
        name: str | None = None,
        settings: Settings | None = None,
        env: Mapping[str, str] = os.environ,
    ):
        self.settings = settings or load_settings(name, env)
        self.name = self.settings.node
        self._connection: psycopg.Connection | None = None

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = store.connect(self.settings.postgres("reader"), attempts_max=2)
        return self._connection

    def read(
        self,
        chain: str,
        symbol: str,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> pa.Table:
        """Return the rows of a symbol in log order, inputs and outputs side by side.

        With `from_ns` or `to_ns`: those whose event time is in [from_ns, to_ns). Rows that have
        expired are not among them: `expired` says where what is held begins.
        """
        batches = list(self.batches(chain, symbol, from_ns, to_ns))
        return pa.Table.from_batches(batches, self.schema(chain))

    def expired(self, symbol: str) -> low.Low | None:
        """Return where the held rows of a symbol's partition begin, None when all are held."""
        return low.low_of(self.connection, partition_of(symbol, self.settings.partitions))

    def snapshot(self, text: str = "latest") -> "Snapshot":
        """Return a snapshot by short id, tag or ref."""
        from .store import refs

        return Snapshot(self.connection, refs.resolve(self.connection, text))

    def schema(self, chain: str) -> pa.Schema:
        return results.schema(results.chain_info(self.connection, chain))

    def batches(
        self, chain: str, symbol: str, from_ns: int | None = None, to_ns: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the same rows chunk by chunk."""
        info = results.chain_info(self.connection, chain)
        columns = results.schema(info)
        partition = partition_of(symbol, self.settings.partitions)
        mark = store.marks(self.connection).get((info.id, partition), Mark())
        gone = self.expired(symbol)
        found = results.chunks(
            self.connection, info, partition, gone.mark if gone else Mark(), mark.ordinal,
            symbol=symbol,
        )  # fmt: skip
        for chunk in found:
            rows = results.as_rows(chunk, columns)
            rows = rows.filter(pc.equal(rows["symbol"], symbol))
            rows = _within(rows, from_ns, to_ns)
            if rows.num_rows:
                yield rows

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Snapshot:
    """A frozen market: `node.snapshot("eod-2026-11-21").table("quotes") -> pyarrow.Table`."""

    def __init__(self, connection: psycopg.Connection, id_: bytes):
        from .store import snapshots

        self.id, self._connection = id_, connection
        self.content, self.fetch = snapshots.open_snapshot(connection, id_)

    def leaf(self, path: str) -> bytes | None:
        """Return the bytes of the leaf at a path such as quotes/USD-SOFR-OIS-10Y, or None."""
        from orrery_kernels.snapshot.snapshot import leaf

        return leaf(self.content, path, self.fetch)

    def result(self, task: str) -> Any:
        """Return what a domino found on this snapshot: a curve, a ladder, a number."""
        from .store import domino_values

        run, _ = domino_values.find_run(self._connection, f"{self.id.hex()}:{task}")
        return domino_values.value_of(self._connection, run, task)

    def curve(self, name: str) -> Any:
        """Return a curve, e.g. curve("USD-SOFR")."""
        return self.result(f"curve/{name}")

    def table(self, section: str) -> pa.Table:
        """Return the leaves of a section, by name: `name` and its value, of a state `state`; what
        a leaf itself calls `name` is `own_name`."""
        from orrery_kernels.snapshot.canonical import decode
        from orrery_kernels.snapshot.snapshot import leaves

        if section not in self.content.sections:
            known = ", ".join(sorted(self.content.sections))
            raise ConfigError(f"a section must be one of {known}, was {section!r}")
        found = leaves(self.content, section, self.fetch)
        names = pa.array(list(found), pa.string())
        if section.startswith("state/"):
            return pa.table({"name": names, "state": pa.array(found.values(), pa.binary())})
        values = [decode(body) for body in found.values()]
        if values and isinstance(values[0], dict):
            keys = dict.fromkeys(key for value in values for key in value)
            columns = {
                "own_name" if key == "name" else key: [value.get(key) for value in values]
                for key in keys
            }
            return pa.table({"name": names, **columns})
        return pa.table({"name": names, "value": pa.array(values, pa.float64())})


def _within(rows: pa.RecordBatch, from_ns: int | None, to_ns: int | None) -> pa.RecordBatch:
    if from_ns is not None:
        rows = rows.filter(pc.greater_equal(rows["ts_event_ns"], from_ns))
    if to_ns is not None:
        rows = rows.filter(pc.less(rows["ts_event_ns"], to_ns))
    return rows
