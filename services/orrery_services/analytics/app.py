"""The Faust shell: one agent, one stream per partition of `ticks`, a group per chain.

Faust acknowledges an event whose agent raised. So events are acknowledged by hand, each when its
chunk is committed, and an agent or a commit that fails ends this process: whoever gets the
partition next begins at a mark.
"""

import asyncio
import functools
import os
import threading
from typing import Any

import faust
import mode
import structlog
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from .. import metrics
from ..config import Settings
from ..errors import OutsideError
from ..protocol import facts
from .lane import TICKS
from .worker import Worker, load_chain

RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0  # between two looks at the ends of the log
POLL_SECONDS = 0.05
STREAM_MESSAGES_MAX = 16  # of a partition, waiting in memory; each may hold thousands of rows
FETCH_BYTES_MAX = 4 * 1024 * 1024
RESTARTS_MAX = 1000  # of streams, at once and a second: a rebalance restarts one per partition
log = structlog.get_logger()


class Supervisor(mode.OneForOneSupervisor):
    """Faust takes a stream that a rebalance cancels for crashed, and forgives one at a time."""

    def __init__(self, *services: Any, **options: Any):
        bounds = {"max_restarts": RESTARTS_MAX, "over": RESTARTS_MAX}
        super().__init__(*services, **options | bounds)


def make_app(settings: Settings, worker: Worker) -> faust.App:
    """Return the Faust application of one chain. It holds no arithmetic and no state."""
    scratch = settings.home / "run" / "faust" / settings.node  # Faust wants one
    scratch.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        f"orrery-chain-{facts.chain_id(worker.chain.digest)}",
        broker=f"kafka://{settings.kafka.replace(',', ';kafka://')}",
        store="memory://",
        datadir=str(scratch),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES_MAX,
        broker_session_timeout=6,
        broker_heartbeat_interval=1,
        broker_request_timeout=20,
        broker_commit_interval=1.0,
        stream_wait_empty=False,
        stream_buffer_maxsize=STREAM_MESSAGES_MAX,
        value_serializer="raw",
        key_serializer="raw",
    )
    ticks = app.topic(TICKS, key_type=bytes, value_type=bytes)

    @app.agent(ticks, isolated_partitions=True, supervisor_strategy=Supervisor)
    async def compute(stream: faust.Stream) -> None:
        async for event in stream.noack().events():
            with _ends_the_process():
                message = event.message
                worker.heard[message.partition] = message.timestamp
                committed = await worker.deliver(
                    message.partition, message.offset, event.value, message.headers
                )
                if committed is None:
                    event.ack()
                else:
                    committed.add_done_callback(functools.partial(_acknowledge, event))

    @app.timer(LOOK_SECONDS)
    async def look() -> None:
        with _ends_the_process():
            await worker.look(functools.partial(_end_heard, app))

    @app.on_partitions_assigned.connect
    async def assigned(_: Any, assigned: set, **__: Any) -> None:
        metrics.REBALANCES.inc()
        worker.assign({place.partition for place in assigned if place.topic == TICKS})

    @app.on_partitions_revoked.connect
    async def revoked(_: Any, revoked: set, **__: Any) -> None:
        worker.revoke({place.partition for place in revoked if place.topic == TICKS})

    return app


def _end_heard(app: faust.App, partition: int) -> int | None:
    """Return the end of a partition as the last fetch told it."""
    try:
        return app.consumer.highwater(TP(TICKS, partition))
    except (ConsumerNotStarted, AssertionError):  # aiokafka asserts that we hold it still
        return None


def _acknowledge(event: faust.EventT, committed: asyncio.Future) -> None:
    with _ends_the_process():
        committed.result()
        event.ack()


class _ends_the_process:
    """Ends the process at once when the block fails: nothing of it is acknowledged."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, cause: BaseException | None, _: object) -> None:
        if cause is None or isinstance(cause, asyncio.CancelledError | GeneratorExit):
            return
        log.critical("an agent failed: the worker stops", error=kind.__name__, exc_info=cause)
        os._exit(1)


async def serve(
    settings: Settings, worker: Worker, health: metrics.Health, stop: threading.Event
) -> int:
    """Run the application until told to stop. Return the exit code."""
    app = make_app(settings, worker)
    await app.start()
    while not stop.is_set() and not app.crashed:
        health.beat()
        worker.report(health)
        await asyncio.sleep(POLL_SECONDS)
    if app.crashed:  # it may wait for itself for ever, and whoever has its partitions waits with it
        log.critical("the application crashed: the worker stops", reason=str(app.crash_reason))
        os._exit(1)
    await app.stop()
    worker.close()
    return 0


def main(settings: Settings, health: metrics.Health, stop: threading.Event) -> int:
    """Compute this node's chain until told to stop."""
    chain = load_chain(settings)
    worker = None
    while worker is None and not stop.is_set():
        health.beat()
        try:
            worker = Worker(settings, chain)
        except OutsideError as cause:
            health.not_ready(str(cause))
            log.warning("waiting", reason=str(cause))
            stop.wait(RETRY_SECONDS)
    if worker is None:
        return 0
    return asyncio.run(serve(settings, worker, health, stop))
