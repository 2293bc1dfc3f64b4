"""What tests of snapshots and dominoes on the real stack share: cuts, replayed facts."""

import functools
from collections.abc import Iterator

from orrery_kernels import Chain
from orrery_services import bus, store
from orrery_services.analytics import steps as work_steps
from orrery_services.config import Settings
from orrery_services.protocol import cuts, facts, ticks
from orrery_services.protocol.batches import check_batch
from orrery_services.snapshots import steps
from orrery_services.stack import Stack
from orrery_services.store import snapshots

SECONDS_MAX = 240
NODES = ("n1", "n2")


def made(stack: Stack, node: str) -> dict[int, bytes]:
    """Return the snapshots of a node by the number of their cut."""
    with store.connect(stack.settings(node).postgres("reader")) as connection:
        return {one.number: one.id for one in snapshots.made_after(connection, 0, 10**6)}


def fired(settings: Settings) -> list[cuts.Cut]:
    """Return the cuts that count, as the topic says."""
    reader, seen = bus.LogReader(settings.kafka, "test"), steps.Seen()
    low, end = reader.ends(cuts.TOPIC, 0)
    found = [cuts.decode(m.value()) for m in reader.read(cuts.TOPIC, 0, low, end)]
    reader.close()
    return [cut for cut in found if seen.take(cut)]


def replayed(settings: Settings, chain: Chain, log_id: str, partition: int) -> Iterator[facts.Fact]:
    """Yield the facts that a worker makes who reads the whole log of a partition in one go."""
    check = functools.partial(check_batch, partition=partition, partitions=settings.partitions)
    work, reader = (
        work_steps.begin(chain, log_id, partition, None),
        bus.LogReader(settings.kafka, "test"),
    )
    low, end = reader.ends("ticks", partition)
    for message in reader.read("ticks", partition, low, end):
        try:
            told = ticks.parse(message.value(), message.headers())
        except ticks.BadTicks as bad:
            told = bad
        yield from work_steps.take(work, message.offset(), told, check, 10**9)[0]
    reader.close()
