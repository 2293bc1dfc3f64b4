"""Speed of `orrery replay --verify`: five minutes of capture, a snapshot every 5 s.

A node's Postgres is filled by the code of the services, in batches as the packer cuts them (10 ms),
with the chain of ticks and the chain of dominoes that `make up` declares. Only the replay is timed.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from orrery_kernels import Chain
from orrery_kernels.columns import KIND_NAMES, TICK_SCHEMA
from orrery_kernels.partition import partition_of
from orrery_services import store
from orrery_services.analytics import steps
from orrery_services.cli import replay
from orrery_services.config import Settings, load_settings
from orrery_services.dominoes.running import Runner
from orrery_services.dominoes.steps import Job
from orrery_services.node import Node
from orrery_services.protocol import cuts, facts, ticks
from orrery_services.protocol.rows import NO_ROWS
from orrery_services.snapshots.making import Making
from orrery_services.store import heartbeats, identity, ledger, snapshots

from tests import capture
from tests.benchmarks.road_table import Table
from tests.services.store.server import Server

LOG = "loglogloglogloglogloglo"
BATCH_NS = 10_000_000
MESSAGES_AT_ONCE = 2000
ROLES = ("orrery_writer", "orrery_reader")


def node(server: Server, folder: Path) -> Settings:
    """Return a node that has begun: n1 as `make up` declares it, on a database of its own."""
    database = server.new_database()
    for role in ROLES:
        (folder / role).write_text("trusted")
    settings = load_settings(
        env={
            "ORRERY_NODE": "n1", "ORRERY_SECRETS": str(folder), "ORRERY_HOME": str(folder),
            "ORRERY_POSTGRES_HOST": "127.0.0.1", "ORRERY_POSTGRES_PORT": str(server.port),
            "ORRERY_POSTGRES_DATABASE": database,
        }
    )  # fmt: skip
    with store.connect(settings.postgres("writer")) as writer:
        identity.begin(writer, "n1", identity.EMPTY_DISK)
        heartbeats.adopt_first(writer, "ticks", LOG)
    return settings


def messages(partitions: int) -> dict[int, list[ticks.TickMessage]]:
    """Return the log of every partition: rows in batches, and a marker at every cut."""
    found = {}
    by_partition: dict[int, list[capture.Row]] = defaultdict(list)
    for row in capture.rows():
        by_partition[partition_of(row.symbol, partitions)].append(row)
    for partition in range(partitions):
        found[partition] = list(_log(by_partition[partition], partition))
    return found


def _log(rows: list[capture.Row], partition: int) -> Iterator[ticks.TickMessage]:
    vector: dict[str, int] = {}
    times = iter([*enumerate(capture.cut_times(), 1), (None, 0)])
    number, cut_ns = next(times)
    batch: list[capture.Row] = []
    for row in [*rows, None]:
        window = batch and (row is None or row.at_ns // BATCH_NS != batch[0].at_ns // BATCH_NS)
        if window or (batch and number and row.at_ns >= cut_ns):
            moved = _moved(vector, batch)
            yield _message(_batch(batch, partition, vector), vector, moved)
            vector, batch = moved, []
        while number and (row is None or row.at_ns >= cut_ns):
            moved = {**vector, "cut": number, "cut_ns": cut_ns}
            yield _message(NO_ROWS, vector, moved)
            vector = moved
            number, cut_ns = next(times)
        if row is not None:
            batch.append(row)


def _moved(vector: dict[str, int], batch: list[capture.Row]) -> dict[str, int]:
    following = dict(vector)
    for row in batch:
        source = f"row:{row.topic}:{LOG}"
        following[source] = following.get(source, 0) + 1
    return following


def _message(batch: pa.RecordBatch, base: dict, following: dict) -> ticks.TickMessage:
    return ticks.parse(ticks.encode(batch), ticks.headers(base, following))


def _batch(rows: list[capture.Row], partition: int, vector: dict[str, int]) -> pa.RecordBatch:
    seen, listed = dict(vector), []
    for row in rows:
        source = f"row:{row.topic}:{LOG}"
        offset = seen[source] = seen.get(source, 0) + 1
        listed.append(
            {
                **row.message(), "kind": KIND_NAMES.index(row.topic.removesuffix("s")),
                "ts_recv_ns": row.at_ns + 1_000_000, "source_topic": row.topic,
                "source_partition": partition, "source_offset": offset - 1,
            }
        )  # fmt: skip
    return pa.RecordBatch.from_pylist(listed, TICK_SCHEMA)


def fill(settings: Settings, writer: Any) -> int:
    """Compute and keep what workers, snapshots and dominoes would; return the chunks."""
    declared = settings.chains["default"]
    chain = Chain(declared)
    name = facts.chain_id(chain.digest)
    store.commit(writer, steps.chain_fact(chain, declared, settings.partitions))
    writer.execute("INSERT INTO chain_names (name, chain) VALUES ('default', %s)", (name,))
    chunks = 0
    for partition, log in messages(settings.partitions).items():
        work = steps.begin(chain, LOG, partition, None)
        for first in range(0, len(log), MESSAGES_AT_ONCE):
            made: list[facts.Fact] = []
            for offset in range(first, min(first + MESSAGES_AT_ONCE, len(log))):
                made += steps.take(
                    work, offset, log[offset], lambda _: None, settings.limits.checkpoint_rows
                )[0]
            ledger.commit(writer, made, [ledger.Move(name, partition, steps.links(made))])
        chunks += len(log)
    _freeze(settings, writer, name)
    return chunks


def _freeze(settings: Settings, writer: Any, name: str) -> None:
    making = Making(settings, writer)
    making.add(
        [
            cuts.Cut(number, f"every 5s#{number}", "every 5s", at_ns, "n1", {"default": name})
            for number, at_ns in enumerate(capture.cut_times(), 1)
        ]
    )
    assert len(making.turn()) == len(capture.cut_times())
    runner = Runner(settings)
    for made in snapshots.made_after(writer, 0):
        done = runner.run(Job(made.number, "rates", made.id.hex()))
        assert not done.failed, done.steps
    runner.close()


def measure(table: Table) -> None:
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings = node(server, Path(folder))
            with store.connect(settings.postgres("writer")) as writer:
                chunks = fill(settings, writer)
            with Node(settings=settings) as reading:
                replay.verified(reading, "latest")  # compiles what is not compiled yet
                began = time.perf_counter()
                first = snapshots.made_after(reading.connection, 0, 1)[0].id.hex()
                found = replay.verified(reading, "latest", first)
                seconds = time.perf_counter() - began
    finally:
        server.remove()
    assert found["first_difference"] is None, found["differ"]
    table.add(
        f"replay --verify of {capture.SECONDS // 60} minutes ({capture.TRADES:,} trades, "
        f"{capture.QUOTES:,} quotes in {chunks:,} chunks; {found['snapshots']} snapshots, "
        f"{found['leaves']} leaves, {found['results']} results)",
        ">= 100x real time",
        f"{seconds:.2f} s, {capture.SECONDS / seconds:.0f}x",
    )
