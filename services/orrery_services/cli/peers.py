"""What the declared peers hold, as their last heartbeats in the topic `facts` name it."""

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import Message

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
            begin = max(low, end - TAIL_MAX)
            found, old = _heard(reader.read(FACTS, stream, begin, end), begin_ms, stream)
            held = found | held
            end = low if old else begin  # what lies before an old one is older still
    finally:
        reader.close()
    return Peers(
        {p: held[p] for p in declared if p in held}, [p for p in declared if p not in held]
    )


def _heard(
    messages: Iterable[Message], begin_ms: int, stream: int
) -> tuple[dict[str, heartbeats.Held], bool]:
    """Return what nodes hold by the last heartbeat of each, and whether messages were too old."""
    held: dict[str, heartbeats.Held] = {}
    old = False
    for message in messages:
        if message.timestamp()[1] < begin_ms:
            old = True
            continue
        with contextlib.suppress(BadFact, ValueError):
            found = steps.parse(message.key(), message.value(), message.headers(), stream)
            if found.fact.kind == steps.HEARTBEAT:
                held[identity.node_of(found.origin)] = heartbeats.read_whole(found.fact)
    return held, old
