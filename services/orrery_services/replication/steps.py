"""What a replicator decides, without touching anything: messages, gaps, asks, restored disks."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..protocol import facts
from ..protocol.arrivals import Range
from ..protocol.facts import BadFact, Fact
from ..protocol.rules import ALL_RULES, Rules

HEARTBEAT = "heartbeat"
PATIENCE_NS = 2_000_000_000  # what is missing for less is merely late
BACK_OFF_NS_MAX = 60_000_000_000
ANSWERED_MAX = 10_000  # numbers remembered as answered lately
ANSWER_AGAIN_NS = 10_000_000_000
OTHERS_WAIT_NS = 1_500_000_000  # a node that did not write a fact lets the one that did answer

Source = tuple[str, int]  # (origin, stream)
Headers = Iterable[tuple[str, bytes]]


class Delivery(NamedTuple):
    """One message of `facts`: a fact, or a heartbeat, under the number it was given."""

    origin: str
    oseq: int
    fact: Fact

    def source(self) -> Source:
        return self.origin, self.fact.stream


class Ask(NamedTuple):
    """Somebody misses numbers low..high of a source."""

    origin: str
    stream: int
    low: int
    high: int
    asker: str


def parse(key: bytes | None, value: bytes | None, headers: Headers | None, stream: int) -> Delivery:
    """Return what a message of `facts` says; its content is not checked yet. Raises BadFact."""
    found = {name: bytes(data or b"") for name, data in headers or ()}
    try:
        origin, kind = found["origin"].decode(), found["kind"].decode()
        oseq = int(found["oseq"])
        fact = Fact(_id(found["id"]), kind, stream, (key or b"").decode(), bytes(value or b""))
    except (KeyError, ValueError) as cause:
        raise BadFact(f"a fact must carry id, kind, origin and oseq: {cause!r}") from cause
    if not origin or "\0" in origin or not 0 < oseq < 1 << 62:
        raise BadFact(f"a fact must have an origin and a number from 1, was {origin!r} {oseq}")
    return Delivery(origin, oseq, fact)


def headers_of(delivery: Delivery) -> list[tuple[str, bytes]]:
    """Return the headers with which a fact is sent again: the same that its origin gave it."""
    fact = delivery.fact
    return [
        ("id", base64.b64encode(fact.id)),
        ("kind", fact.kind.encode()),
        ("origin", delivery.origin.encode()),
        ("stream", str(fact.stream).encode()),
        ("oseq", str(delivery.oseq).encode()),
    ]


def _id(data: bytes) -> bytes:
    """Return the 32 bytes of an id: as they are, in base64 (how Connect writes them) or in hex."""
    text = data.strip(b'"')
    if len(text) == facts.DIGEST_BYTES:
        return text
    try:
        found = base64.b64decode(text, validate=True)
        if len(found) == facts.DIGEST_BYTES:
            return found
    except binascii.Error:
        pass
    found = bytes.fromhex(text.decode())
    if len(found) != facts.DIGEST_BYTES:
        raise ValueError(f"an id has {facts.DIGEST_BYTES} bytes, was {data[:80]!r}")
    return found


# ---- gaps ----


@dataclass
class Gap:
    """What is known about the hole of one source."""

    since_ns: int
    next_ns: int
    pause_ns: int = PATIENCE_NS
    reads: bool = True  # the next remedy: read the topic again, else ask


@dataclass
class GapWatch:
    """Decides when a gap is looked for: in the topic, then at the peers, ever less often."""

    gaps: dict[Source, Gap] = field(default_factory=dict)

    def look(
        self, missing: Mapping[Source, list[Range]], now_ns: int
    ) -> tuple[list[Source], list[Source]]:
        """Return the sources to read the topic again for, and those to ask peers for."""
        for source in set(self.gaps) - set(missing):
            del self.gaps[source]
        read, ask = [], []
        for source in sorted(missing):
            gap = self.gaps.setdefault(source, Gap(now_ns, now_ns + PATIENCE_NS))
            if now_ns < gap.next_ns:
                continue
            (read if gap.reads else ask).append(source)
            gap.reads = not gap.reads
            gap.next_ns = now_ns + gap.pause_ns
            gap.pause_ns = min(2 * gap.pause_ns, BACK_OFF_NS_MAX)
        return read, ask

    def oldest_ns(self, now_ns: int) -> int:
        """Return the age of the oldest gap."""
        return max((now_ns - gap.since_ns for gap in self.gaps.values()), default=0)


def asks_for(
    missing: Mapping[Source, list[Range]], sources: Iterable[Source], asker: str
) -> list[Ask]:
    return [Ask(*source, gap.low, gap.high, asker) for source in sources for gap in missing[source]]


def pack_ask(ask: Ask) -> bytes:
    return json.dumps(ask._asdict(), sort_keys=True, separators=(",", ":")).encode()


def parse_ask(value: bytes | None) -> Ask:
    """Return what a message of `asks` wants. Raises ValueError on anything else."""
    found = json.loads(value or b"null")
    if not isinstance(found, dict) or set(found) != set(Ask._fields):
        raise ValueError(f"an ask must have {', '.join(Ask._fields)}, was {(value or b'')[:80]!r}")
    ask = Ask(**found)
    if not all(isinstance(name, str) and "\0" not in name for name in (ask.origin, ask.asker)):
        raise ValueError(f"an ask must name origin and asker, was {(value or b'')[:80]!r}")
    numbers = (ask.stream, ask.low, ask.high)
    if not all(type(number) is int for number in numbers) or not 0 < ask.low <= ask.high:
        raise ValueError(f"an ask must name numbers from 1, was {numbers}")
    return ask


@dataclass
class Answers:
    """Which numbers to send again, and when: each at most once in a while, the writer first."""

    node: str
    numbers_max: int
    due: dict[tuple[str, int, int], int] = field(default_factory=dict)
    answered: dict[tuple[str, int, int], int] = field(default_factory=dict)

    def want(self, ask: Ask, now_ns: int) -> int:
        """Take up an ask; return how many of its numbers were left out, because there are many."""
        if ask.asker == self.node:
            return 0
        mine = ask.origin.split(".", 1)[0] == self.node
        at = now_ns + (0 if mine else OTHERS_WAIT_NS)
        for oseq in range(ask.low, ask.high + 1):
            if len(self.due) >= self.numbers_max:
                return ask.high - oseq + 1
            label = ask.origin, ask.stream, oseq
            if now_ns - self.answered.get(label, -ANSWER_AGAIN_NS) >= ANSWER_AGAIN_NS:
                self.due.setdefault(label, at)
        return 0

    def saw(self, label: tuple[str, int, int]) -> None:
        """Somebody sent it: no need any more."""
        self.due.pop(label, None)

    def take_due(self, now_ns: int) -> list[tuple[str, int, int]]:
        """Return the labels to answer now."""
        ready = [label for label, at in self.due.items() if at <= now_ns]
        for label in ready:
            del self.due[label]
            self.answered[label] = now_ns
        while len(self.answered) > ANSWERED_MAX:
            del self.answered[next(iter(self.answered))]
        return sorted(ready)


# ---- is this an old disk? ----


class Evidence(NamedTuple):
    """What the world has seen of this incarnation, and what the database remembers itself."""

    own: Mapping[int, int]  # stream -> greatest oseq in facts
    in_topic: Mapping[int, int]
    named_by_peers: Mapping[int, int]
    own_ids: Mapping[str, int]  # captured table -> greatest row id
    seen_ids: Mapping[str, int]


def why_restored(evidence: Evidence, rules: Rules = ALL_RULES) -> str | None:
    """Return what shows that this database is older than what it has done, or None."""
    places = [("the topic facts holds", evidence.in_topic)]
    if rules.peers_show_a_restored_disk:
        places.append(("a peer holds", evidence.named_by_peers))
    for where, seen in places:
        for stream, oseq in sorted(seen.items()):
            here = evidence.own.get(stream, 0)
            if oseq > here:
                return f"{where} number {oseq} of stream {stream}, this disk {here}"
    if rules.row_ids_show_a_restored_disk:
        for table, seen_id in sorted(evidence.seen_ids.items()):
            here = evidence.own_ids.get(table, 0)
            if seen_id > here:
                return f"row {seen_id} of {table} was sent, this disk has {here}"
    return None
