"""Where a packer begins: at the newest mark that its node stores, in a log that the node knows."""

import psycopg

from .. import bus, store
from ..config import Settings
from ..errors import LogLost, ends_early
from ..protocol import cuts, rows, vectors
from ..protocol.marks import Mark
from ..store import heartbeats
from .sequencer import TICKS

TOPICS = (*rows.ROW_TOPICS, TICKS, cuts.TOPIC)


def logs(settings: Settings) -> dict[str, str]:
    """Return the log id of every topic. Raises OutsideError when the node means another.

    A topic that was made anew has another log: its offsets mean something else, so whoever goes
    on from an old position must be told to.
    """
    found = bus.log_ids(bus.admin(settings.kafka), TOPICS)
    with store.connect(settings.postgres("writer")) as connection:
        for topic, log_id in found.items():
            heartbeats.adopt_first(connection, topic, log_id)
    return found


def mark(connection: psycopg.Connection, partition: int, ticks_log: str) -> Mark:
    """Return the mark from which to fold: of this log, or the last of an older one at its begin."""
    newest = store.newest_mark(connection, partition)
    if newest.log_id in ("", ticks_log):
        return newest._replace(log_id=ticks_log)
    return newest._replace(log_id=ticks_log, offset=0)


def check_reach(reader: bus.LogReader, partition: int, at: Mark) -> str | None:
    """Return why the partition must wait, or None. Raises LogLost when the log is too short."""
    low, end = reader.ends(TICKS, partition)
    if at.offset > end:
        raise ends_early(TICKS, partition, at.offset, end)
    if at.offset < low:
        return (
            f"the mark of partition {partition} is {at.offset}, {TICKS} begins at {low}: "
            "waiting until the facts of other nodes have brought the mark into the log"
        )
    return None


def check_rows(
    reader: bus.LogReader, partition: int, logs_now: dict[str, str], vector: vectors.Vector
) -> dict[str, int]:
    """Return the offset at which each row topic is read on. Raises LogLost instead of a gap."""
    starts = {}
    for topic in rows.ROW_TOPICS:
        want = vectors.next_offset(vector, topic, logs_now[topic])
        low, end = reader.ends(topic, partition)
        if want > end:
            raise ends_early(topic, partition, want, end)
        if want < low and want > 0:
            raise LogLost(
                f"{topic}/{partition} must still hold offset {want}, begins at {low}: rows "
                "expired before they were packed; raise data.log_retention_hours, and "
                f"`orrery log renew {topic} --anyway` makes the topic anew without what is left"
            )
        starts[topic] = max(want, low)
    return starts
