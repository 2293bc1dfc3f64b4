"""One node's Postgres in memory. Every method that writes is one transaction.

What goes in, under which number, and how far the mark moves is decided by the same functions as in
the store; here are only the tables. That the locks make a transaction indivisible is for the tests
with a real server (tests/services/store).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from orrery_services.analytics.steps import checkpoint_of
from orrery_services.protocol import arrivals, facts, marks
from orrery_services.protocol.arrivals import Arrived, Range
from orrery_services.protocol.facts import CHECKPOINT, INPUT, RESULT, Fact
from orrery_services.protocol.marks import Link, Mark
from orrery_services.protocol.rules import Rules
from orrery_services.replication.steps import HEARTBEAT, Delivery
from orrery_services.store import receiving
from orrery_services.store.receiving import Receipt, Source

from .world import CHAIN, LOG_ID, Broken, P, World

NAME = facts.chain_id(CHAIN.digest)


class Database:
    def __init__(self, node: str, incarnation: str, fired: Counter[str]):
        self.node, self.fired = node, fired
        self.lives = 1
        self.facts: dict[str, Receipt] = {}  # natural key -> as it was first written
        self.numbers: dict[Source, dict[int, Fact]] = defaultdict(dict)  # facts and arrivals
        self.known: dict[Source, Arrived] = {}
        self.links: list[dict[int, Link]] = [{} for _ in range(P)]  # by offset
        self.marks = [Mark()] * P
        self.progress: dict[int, int] = {}
        self.wal: list[Delivery] = []  # what this node inserted itself
        self.table: list[tuple] = []
        self.last_id: Counter[str] = Counter()
        self.begin(incarnation)

    def begin(self, incarnation: str) -> None:
        """Begin a new incarnation: the old one becomes an origin like any other."""
        self.incarnation, self.origin = incarnation, f"{self.node}.{incarnation}"
        for source in self.numbers:
            if source[0] != self.origin:
                self.known.setdefault(source, Arrived())

    def clone(self) -> "Database":
        twin = Database(self.node, self.incarnation, self.fired)
        twin.lives = self.lives
        for name in ("facts", "known", "progress"):
            setattr(twin, name, dict(getattr(self, name)))
        for name in ("marks", "wal", "table"):
            setattr(twin, name, list(getattr(self, name)))
        twin.links = [dict(links) for links in self.links]
        twin.numbers = defaultdict(dict, {s: dict(held) for s, held in self.numbers.items()})
        twin.last_id = Counter(self.last_id)
        return twin

    # ---- the worker's transaction ----

    def last(self, p: int) -> int:
        return max(self.numbers.get((self.origin, p), ()), default=0)

    def commit(
        self, p: int, given: Sequence[Fact], links: Sequence[Link], early: int | None, rules: Rules
    ) -> Mark:
        """Write own facts, number them, move the mark."""
        last = self.last(p) if rules.number_under_lock or early is None else early
        there = {f.key: self.facts[f.key].fact.id for f in given if f.key in self.facts}
        writing = marks.number(given, there, last)
        if writing.divergences:
            raise Broken(f"false DIVERGED: {writing.divergences[0].came.key} on {self.node}")
        for oseq, fact in writing.insert:
            self._insert(Receipt(self.origin, oseq, fact))
            self.wal.append(Delivery(self.origin, oseq, fact))
        self.fired["a chunk is held already"] += len(writing.held)
        self.marks[p] = marks.advance(self.marks[p], links, {link.place for link in links}, rules)
        return self.marks[p]

    def _insert(self, one: Receipt) -> None:
        if one.oseq in self.numbers[one.source()]:
            raise Broken(f"two facts under one number {one.source()} {one.oseq}")
        self.numbers[one.source()][one.oseq] = one.fact
        self.facts[one.fact.key] = one
        if one.fact.kind == INPUT:
            link = marks.link_of(one.fact.key, one.fact.payload)
            self.links[link.place.partition][link.place.offset] = link

    # ---- the replicator's ----

    def receive(self, came: Sequence[Receipt], rules: Rules) -> None:
        """Write foreign facts, what arrives with them, and the marks that they move."""
        held = {
            r.fact.key: self.facts[r.fact.key].fact.id for r in came if r.fact.key in self.facts
        }
        known = {
            (*r.source(), r.oseq): (there.key, there.id)
            for r in came
            if (there := self.numbers[r.source()].get(r.oseq))
        }
        found = receiving.sort_out(came, held, known)
        if found.clashes:
            one = found.clashes[0].receipt
            raise Broken(f"two facts under one number {one.source()} {one.oseq}")
        if found.divergences:
            raise Broken(f"false DIVERGED: {found.divergences[0][1].came.key} on {self.node}")
        self.fired["a fact is delivered again"] += len(came) - sum(map(len, found))
        for one in found.new:
            self._insert(one)
        for one in found.plain if rules.record_every_arrival else ():
            self.numbers[one.source()][one.oseq] = one.fact
            self.fired["a fact arrives that is held"] += 1
        for one in came:
            self.known.setdefault(one.source(), Arrived())
        for p in {r.fact.stream for r in came if r.fact.stream < P}:
            self.advance(p, rules)

    def advance(self, p: int, rules: Rules) -> None:
        links = [link for off, link in sorted(self.links[p].items()) if off >= self.marks[p].offset]
        results = {
            link.place for link in links
            if facts.place_key(RESULT, link.place, NAME) in self.facts
        }  # fmt: skip
        self.marks[p] = marks.advance(self.marks[p], links, results, rules)

    def arrived(self, source: Source) -> tuple[Arrived, list[int]]:
        before = self.known[source]
        ahead = [n for n in self.numbers.get(source, ()) if n > before.contiguous]
        after = arrivals.arrive(before, ahead, ())
        return after, [n for n in ahead if n > after.contiguous]

    def settle(self) -> None:
        for source in self.known:
            self.known[source] = self.arrived(source)[0]

    def missing(self, rules: Rules) -> dict[Source, list[Range]]:
        found = {}
        for source in sorted(self.known):
            if source[0] != self.origin and (gaps := arrivals.gaps(*self.arrived(source), rules)):
                found[source] = gaps
        return found

    def hear(self, held: Mapping[str, Mapping[str, int]], rules: Rules) -> None:
        if not rules.heartbeat_names_the_last:
            return
        for origin, streams in held.items():
            for stream, oseq in streams.items():
                source = origin, int(stream)
                self.known[source] = arrivals.name(self.known.get(source, Arrived()), oseq)

    def beat(self, world: World) -> None:
        """Name the greatest number held of everybody, behind all that was written."""
        held: dict[str, dict[str, int]] = {}
        for (origin, stream), numbers in sorted(self.numbers.items()):
            if numbers:
                held.setdefault(origin, {})[str(stream)] = max(numbers)
        world.beats += 1
        data = json.dumps(held, sort_keys=True).encode()
        key = f"{HEARTBEAT}/{self.origin}"
        fact = facts.plain_fact(HEARTBEAT, P, key, {"at_ns": world.beats}, data)[-1]
        self.wal.append(Delivery(self.origin, world.beats, fact))

    # ---- reading ----

    def checkpoint(self, p: int, ordinal: int) -> Fact | None:
        start = f"{CHECKPOINT}/{NAME}/{LOG_ID['ticks']}/{p}/"
        keys = sorted((k for k in self.facts if k.startswith(start)), reverse=True)
        found = (self.facts[key].fact for key in keys)
        early = (f for f in found if facts.meta_of(f.payload)["ordinal"] <= ordinal)
        return next((f for f in early if self._is_whole(p, f)), None)

    def _is_whole(self, p: int, checkpoint: Fact) -> bool:
        """Whether its pieces have arrived too."""
        fetch = self.fetch(p)
        try:
            listed = checkpoint_of(checkpoint.payload, facts.data_of(checkpoint.payload, fetch))
            return all(fetch(name) for names in listed[2].values() for name in names)
        except KeyError:
            self.fired["a checkpoint lacks a piece"] += 1
            return False

    def fetch(self, p: int) -> facts.FetchPiece:
        return lambda name: self.facts[facts.piece_key(p, name)].fact.payload

    def inputs(self, p: int, first: Mark, stop: int | None = None) -> Iterator[tuple[Link, Fact]]:
        """Yield the held input chunks from a mark on, up to the first hole."""
        ordinal = first.ordinal
        for offset, link in sorted(self.links[p].items()):
            if offset < first.offset or link.ordinal < ordinal:
                continue
            if link.ordinal != ordinal or ordinal == stop:
                return
            ordinal += 1
            yield link, self.facts[facts.place_key(INPUT, link.place)].fact
