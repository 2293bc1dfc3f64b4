"""What the declared peers hold, as their last heartbeats in the topic `facts` name it."""

from typing import NamedTuple

from .. import bus
from ..config import Settings
from ..protocol.facts import BadFact
from ..replication import steps
from ..store import heartbeats, identity

FACTS = "facts"
TAIL_MAX = 20_000  # messages of the last stream that are read at a time, the newest ones first


class Peers(NamedTuple):
    held: dict[str, heartbeats.Held]  # by node, of peers that were heard lately
    silent: list[str]


def peers_of(settings: Settings, now_ns: int) -> Peers:
    """Read the end of the topic. A peer that was not heard within the declared time is silent."""
    hours = settings.values["data.retention.peer_silent_hours_max"]
    begin_ms = now_ns // 1_000_000 - hours * 3_600_000
    stream = settings.partitions
    declared = settings.peers
    held: dict[str, heartbeats.Held] = {}
    reader = bus.LogReader(settings.kafka, "orrery-gc")
    try:
        low, end = reader.ends(FACTS, stream)
        while low < end and not held.keys() >= set(declared):
            begin, is_last = max(low, end - TAIL_MAX), False
            newer, held = held, {}
            for message in reader.read(FACTS, stream, begin, end):
                if message.timestamp()[1] < begin_ms:
                    is_last = True  # what lies before is older still
                    continue
                try:
                    found = steps.parse(message.key(), message.value(), message.headers(), stream)
                    if found.fact.kind == steps.HEARTBEAT:
                        held[identity.node_of(found.origin)] = heartbeats.read_whole(found.fact)
                except (BadFact, ValueError):
                    continue
            held |= newer
            end = low if is_last else begin
    finally:
        reader.close()
    return Peers(
        {p: held[p] for p in declared if p in held}, [p for p in declared if p not in held]
    )
