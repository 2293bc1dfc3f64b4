"""orrery log adopt, orrery log renew: going on when a topic's log is another one, or lost its end.

Offsets of one log are never given twice. A topic that was deleted and made anew has another log,
which each node adopts. A log that ends below what was read of it would give offsets a second time:
it is not gone on with, its topic is made anew.
"""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ServiceError
from . import common

if TYPE_CHECKING:
    import psycopg

    from ..config import Settings

WAIT_SECONDS_MAX = 30.0


def adopt(
    topic: Annotated[str, typer.Argument(help="A topic that was made anew.")],
    node: common.Node = None,
) -> None:
    """Go on with another log of a topic: one that was made anew."""
    from .. import bus, store
    from ..store import heartbeats, reading

    settings = common.settings_of(node)
    log_id = bus.log_ids(bus.admin(settings.kafka), [topic])[topic]
    with store.connect(settings.postgres("writer")) as connection:
        known = reading.logs(connection, topic)
        if log_id in known:
            typer.echo(f"{topic} is the log {log_id} already: nothing to adopt")
            return
        heartbeats.adopt(connection, topic, log_id)
    typer.echo(f"{topic}: adopted {log_id} behind {known[-1] if known else 'nothing'}")
    typer.echo(f"on every other node: orrery log adopt {topic} --node …; then restart its services")


def renew(
    topic: Annotated[str, typer.Argument(help="A topic whose log lost its end, or expired.")],
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also when messages wait in it: they are given up.")
    ] = False,
    node: common.Node = None,
) -> None:
    """Delete a topic, make it anew, and adopt its log. What the nodes hold stays held."""
    from .. import store
    from ..stack import topics

    settings = common.settings_of(node)
    if topic not in (declared := topics.declared(settings.root)):
        raise ServiceError(f"the topic must be one of {', '.join(declared)}, was {topic!r}")
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    with store.connect(settings.postgres("reader")) as connection:
        while (waiting := _waiting(settings, connection, topic)) and not anyway:
            if time.monotonic() > deadline:
                break
            time.sleep(1)  # what other nodes computed is on its way
    if waiting and not anyway:
        said = ", ".join(f"{count:,} in partition {p}" for p, count in waiting.items())
        raise ServiceError(
            f"{topic} must be read to its end before it is deleted, but messages wait: {said}; "
            "let the services run until they are through, or give them up with --anyway"
        )
    topics.make_anew(settings, topic)
    adopt(topic, node)


def _waiting(settings: "Settings", connection: "psycopg.Connection", topic: str) -> dict[int, int]:
    """Return how many messages lie behind what this node's marks cover, by partition.

    Only messages that nobody could send again count: facts and cuts are held by the nodes.
    """
    from .. import bus
    from ..protocol import rows, ticks, vectors
    from ..store import reading

    if topic not in (*rows.ROW_TOPICS, ticks.TOPIC):
        return {}
    log_id = bus.log_ids(bus.admin(settings.kafka), [topic])[topic]
    reader = bus.LogReader(settings.kafka, "orrery-renew")
    found = {}
    for partition in range(settings.partitions):
        mark = reading.newest_mark(connection, partition)
        if topic == ticks.TOPIC:
            known = mark.offset if mark.log_id == log_id else 0
        else:
            known = vectors.next_offset(mark.vector, topic, log_id)
        low, end = reader.ends(topic, partition)
        if end > max(low, known):
            found[partition] = end - max(low, known)
    reader.close()
    return found
