"""All partitions of one worker: each is caught up before its first event."""

import asyncio
import functools
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from orrery_kernels import Chain

from .. import bus, clock, compiled, metrics, store
from ..config import Settings
from ..errors import ConfigError
from ..protocol import facts
from ..protocol.batches import check_batch
from ..protocol.rules import rules_from
from ..store import heartbeats
from . import market, naming, steps
from .committer import Committer, connect
from .lane import FLIGHTS_MAX, TICKS, Lane, refuser

CHAIN = "ORRERY_CHAIN"  # the chain of this process, when the node declares several
RECOVER_PAUSE_SECONDS = 0.5
log = structlog.get_logger()


def load_chain(settings: Settings) -> Chain:
    """Return the chain that this process computes, compiled before it joins its group."""
    compiled.keep_loops()
    market.warm()
    name = chain_name(settings)
    chain = Chain(settings.chains[name])
    log.info("chain", name=name, chain=facts.chain_id(chain.digest))
    return chain


def chain_name(settings: Settings) -> str:
    name = os.environ.get(CHAIN) or next(iter(settings.chains))
    if name not in settings.chains:
        known = ", ".join(settings.chains)
        raise ConfigError(f"{CHAIN} must be one of {known}, was {name!r} ({settings.universe})")
    return name


class Worker:
    """Lives in the event loop; what blocks runs in threads, one per lane at a time."""

    def __init__(self, settings: Settings, chain: Chain):
        self.chain, self._settings = chain, settings
        self._rules = rules_from(os.environ)
        logs = bus.log_ids(bus.admin(settings.kafka), [TICKS])
        self._log_id, self._logs_watch = logs[TICKS], bus.LogsWatch(settings.kafka, logs)
        self._connection = connect(settings.postgres("writer"))
        heartbeats.adopt_first(self._connection, TICKS, self._log_id)
        limits = settings.limits
        self._committer = Committer(
            settings.postgres("writer"),
            limits.commit_rows_max,
            limits.commit_wait_ms_max / 1000,
            self._rules,
        )
        self._reader = bus.LogReader(settings.kafka, "orrery-analytics")
        self._producer = bus.producer(settings.kafka)
        self._blocking = asyncio.Lock()  # reader and connection serve one thread at a time
        self._lanes: dict[int, Lane] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task] = set()
        self._looked_at: dict[int, int | None] = {}  # partition -> where its fold was
        self.heard: dict[int, float] = {}  # partition -> Kafka's time of the last delivery, seconds
        self._started = self._connection.execute("SELECT now()").fetchone()[0]
        self._declare()

    def _declare(self) -> None:
        """Write down what the chain is, and give it its human name when nobody has it."""
        name = chain_name(self._settings)
        fact = steps.chain_fact(self.chain, self._settings.chains[name], self._settings.partitions)
        store.commit(self._connection, fact, [], self._rules)
        naming.claim(self._connection, name, facts.chain_id(self.chain.digest))

    # ---- who holds what ----

    def assign(self, partitions: set[int]) -> None:
        """Hold these partitions too: each begins anew, from the node's mark."""
        for partition in sorted(partitions):
            self._lanes[partition] = self._lane(partition)
            self._locks[partition] = asyncio.Lock()
            self.heard[partition] = clock.wall_ns() / 1e9
            task = asyncio.create_task(self._bring_up(partition))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        log.info("assigned", partitions=sorted(partitions))

    def revoke(self, partitions: set[int]) -> None:
        for partition in partitions:
            self._lanes.pop(partition, None)
            self._locks.pop(partition, None)
        log.info("revoked", partitions=sorted(partitions))

    def _lane(self, partition: int) -> Lane:
        check = functools.partial(
            check_batch, partition=partition, partitions=self._settings.partitions
        )
        return Lane(
            self.chain, (self._log_id, partition), self._committer, self._reader, check,
            refuser(self._producer), self._settings.limits.checkpoint_rows, self._rules,
        )  # fmt: skip

    def _ended(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (cause := task.exception()):
            log.critical("a partition failed: the worker stops", exc_info=cause)
            os._exit(1)

    async def _bring_up(self, partition: int) -> None:
        lane, lock = self._lanes.get(partition), self._locks.get(partition)
        if lane and lock:
            async with lock:
                await self._level(lane)

    # ---- work ----

    async def deliver(
        self, partition: int, offset: int, value: bytes | None, headers: Any
    ) -> asyncio.Future | None:
        """Fold and compute up to one delivered message; return its commit, None if there is none.

        Waits only while too many chunks of the partition are on their way.
        """
        lane, lock = self._lanes.get(partition), self._locks.get(partition)
        if lane is None or lock is None:
            return None  # revoked meanwhile: whoever has it now reads it
        async with lock:
            await self._land(lane, FLIGHTS_MAX - 1)
            if lane.work is None and not await self._level(lane):
                return None
            stretch = lane.stretch(offset)
            if stretch is None:
                return None
            if stretch.start < offset:
                await self._level(lane, offset)
            if lane.work is None or lane.stretch(offset) is None:
                return None
            flight = lane.take(offset, value, headers)
        return asyncio.wrap_future(flight.committed) if flight else None

    async def _land(self, lane: Lane, flights_max: int = 0) -> None:
        """Wait until at most so many chunks of a lane are on their way."""
        while len(lane.flights) > flights_max:
            await asyncio.wrap_future(lane.flights[0].committed)
            lane.settle()
        lane.settle()

    async def look(self, end_heard: Callable[[int], int | None]) -> None:
        """Where no delivery has moved the fold since the last look, read the log to its end.

        `end_heard` is the end of a partition as the deliveries told it: asking takes a while.
        """
        await self._run(self._logs_watch.look)
        now, late = clock.wall_ns() / 1e9, [0.0]
        for partition, lane in list(self._lanes.items()):
            lock = self._locks.get(partition)
            if lock is None or lock.locked():
                continue
            async with lock:
                lane.settle()
                at, end = lane.offset(), end_heard(partition)
                if at is None or at == self._looked_at.get(partition):
                    _, end = await self._run(self._reader.ends, TICKS, partition)
                    if at is None or at != end:
                        await self._level(lane)
                self._looked_at[partition] = lane.offset()
                behind = (end or 0) - (lane.offset() or 0)
                metrics.LAG_ROWS.labels(f"analytics-{partition}").set(max(0, behind))
                if behind > 0:
                    late.append(now - self.heard[partition])
        metrics.LAG_SECONDS.labels("analytics").set(max(late))
        metrics.STOPPED.set(sum(bool(lane.stands) for lane in self._lanes.values()))
        await self._run(naming.take_over, self._connection, *self._named())

    async def _level(self, lane: Lane, end: int | None = None) -> bool:
        """Bring a lane to the end of the log, or to `end`; False when it must wait for facts."""
        await self._land(lane)
        while self._lanes.get(lane.partition) is lane:
            if lane.work is None and not await self._run(lane.recover, self._connection):
                return False
            if lane.work is not None and await self._run(lane.catch_up, end):
                return lane.work is not None
        return False

    async def _run(self, function: Any, *arguments: Any) -> Any:
        async with self._blocking:
            return await asyncio.to_thread(function, *arguments)

    def _named(self) -> tuple[str, str, int, datetime]:
        name = chain_name(self._settings)
        chain = facts.chain_id(self.chain.digest)
        return name, chain, self._settings.partitions, self._started

    def report(self, health: metrics.Health) -> None:
        behind = [p for p, lane in self._lanes.items() if lane.work is None]
        stands = next((lane.stands for lane in self._lanes.values() if lane.stands), "")
        if stands:
            health.not_ready(stands)
        elif behind:
            health.not_ready(f"catching up partitions {behind}")
        else:
            health.ready()

    def close(self) -> None:
        self._committer.close()
        self._producer.flush(1.0)
        self._reader.close()
        self._connection.close()
