"""The packer, the worker and the replicator: shells around the product's steps, in small steps."""

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
from orrery_services.analytics import steps as work_steps
from orrery_services.packer.sequencer import Send, Sequencer
from orrery_services.protocol import facts, fold, ticks
from orrery_services.protocol.batches import check_batch
from orrery_services.protocol.marks import Mark
from orrery_services.replication import steps
from orrery_services.store import heartbeats
from orrery_services.store.receiving import Receipt

from .database import Database
from .edge import message_of
from .world import CHAIN, LOG_ID, NODES, TOPICS, Broken, Message, P, Process, World

TICKS_LOG = LOG_ID["ticks"]
CHECKPOINT_ROWS = 8
BEHIND_MAX = 60  # facts not read yet while gaps are looked for


def parse(world: World, p: int, offset: int) -> ticks.TickMessage | ticks.BadTicks:
    message = world.logs["ticks", p][offset]
    try:
        return ticks.parse(message.value, message.headers)
    except ticks.BadTicks as bad:
        return bad


# ---- the packer ----


def packer(self: Process, p: int) -> Iterator[None]:
    world, rng = self.world, self.world.rng
    while (mark := world.db[rng.choice(NODES)].marks[p]).offset < world.low["ticks", p]:
        yield
    one = Sequencer(p, P, mark.offset, mark.vector, world.rules)
    reports: list[tuple[int, int | None]] = []
    while True:
        if reports:
            token, offset = reports.pop(0)
            self.at = "a report"
            if offset is None:
                one.failed(token)
            else:
                yield from _send(self, p, one.delivered(token, offset), reports)
        elif one.must_fold() or one.unread is not None:
            world.fired["a packer is overtaken"] += bool(one.counts["overtaken"])
            one.counts["overtaken"] = 0
            end = world.end("ticks", p) if one.must_fold() else one.unread
            for offset in range(one.position, end):
                one.saw(offset, parse(world, p, offset))
            one.read_to(end)
            if one.must_fold():
                one.caught_up()
            self.at = "a fold"
        elif one.wants_rows():
            runs = [world.rows(t, p, one.head, rng.randint(0, 6)) for t in TOPICS]
            if any(runs):
                sends = one.pack([run for run in runs if run])
                self.at = "packing"
                yield
                yield from _send(self, p, sends, reports)
        for name in ("repeated_captured", "repeated_moved"):
            world.fired[name] += one.counts.pop(name, 0)
        yield


def _send(self: Process, p: int, sends: list[Send], reports: list) -> Iterator[None]:
    """Produce one by one: a process may die between two."""
    world = self.world

    def report(token: int, offset: int | None) -> None:
        reports.append((token, offset))

    for send in sends:
        message = Message(send.key, send.value, list(send.headers), world.now)
        world.send(send.topic, send.partition, message, "", partial(report, send.token))
        kind = {"ticks": "a label", "dead-letters": "a dead letter"}
        self.at = f"sending {kind.get(send.topic, 'a moved row')}"
        yield


# ---- the worker ----


@lru_cache(maxsize=4096)
def rows_of(payload: bytes, fetch: Any = None) -> pa.RecordBatch:
    return facts.rows_of(payload, fetch)


def recover(db: Database, p: int) -> work_steps.Work:
    """Rule 8: the last checkpoint at or below the mark, and the stored input since."""
    mark, checkpoint = db.marks[p], None
    if (found := db.checkpoint(p, mark.ordinal)) is not None:
        fetch = db.fetch(p)
        data = facts.data_of(found.payload, fetch)
        position, rows, pieces, market = work_steps.checkpoint_of(found.payload, data)
        buckets = {
            bucket: b"".join(facts.data_of(fetch(name), fetch) for name in names)
            for bucket, names in pieces.items()
        }
        checkpoint = work_steps.Checkpoint(position, rows, pieces, buckets, market)
    work = work_steps.begin(CHAIN, TICKS_LOG if checkpoint else "", p, checkpoint)
    for link, fact in db.inputs(p, Mark(work.log_id, *work.position), mark.ordinal):
        work_steps.replay(work, link, rows_of(fact.payload))
    if work.position.ordinal != mark.ordinal:
        raise Broken("the mark covers an input chunk that is not held")
    work_steps.start(work, mark, TICKS_LOG)
    return work


class Over(Exception):
    """The worker begins anew from the node's mark."""


def worker(self: Process, n: str, p: int) -> Iterator[None]:
    world, rules = self.world, self.world.rules
    check = partial(check_batch, partition=p, partitions=P)
    while True:
        db = world.db[n]
        low = world.low["ticks", p]
        work = recover(db, p)
        self.at = "recovery"
        try:
            for link, fact in list(db.inputs(p, Mark(TICKS_LOG, *work.position))):
                early = db.last(p)
                found = work_steps.recompute(work, link, rows_of(fact.payload), CHECKPOINT_ROWS)
                world.fired["stored input is computed"] += 1
                yield from _commit(self, db, work, found, [link], early)
            if not work_steps.may_start(Mark(TICKS_LOG, *work.position), low, TICKS_LOG, rules):
                world.fired["a node waits to be refilled"] += 1
                yield
                continue
            work.position = work.position._replace(offset=max(work.position.offset, low))
            yield from _fold(self, work, check)
        except Over:
            world.fired["a worker goes back to its node's mark"] += 1
            yield


def _fold(self: Process, work: work_steps.Work, check: fold.RowCheck) -> Iterator[None]:
    """Catch up, then take what stock Faust delivers: from the group's committed offset on."""
    world, (n, p) = self.world, self.args
    rng, rules = world.rng, world.rules
    resume = world.committed[p]
    world.fired["the committed offset is ahead of the node"] += resume > work.position.offset
    yield
    if rules.catch_up_before_first_event:
        end = world.end("ticks", p)
        while work.position.offset < end:
            yield from _some(self, work, check, end)
        yield  # meanwhile the log grows, and the owner before commits
    else:
        work.position = work.position._replace(offset=max(resume, work.position.offset))
    at = rng.choice((resume, world.committed[p]))
    while True:
        if at >= world.end("ticks", p):
            yield
            continue
        mark = world.db[n].marks[p]
        if not rules.fold_what_is_held and work.position.offset <= at < mark.offset:
            work_steps.start(work, mark, TICKS_LOG)
        stretch = work_steps.stretch(work.position, at, rules)
        if stretch is not None:
            world.fired["a delivery lies beyond the fold"] += work.position.offset < at
            if stretch.start > work.position.offset:
                work.position = work.position._replace(offset=stretch.start)
            while work.position.offset < stretch.stop:
                yield from _some(self, work, check, stretch.stop)
        at += 1


def _some(self: Process, work: work_steps.Work, check: fold.RowCheck, stop: int) -> Iterator[None]:
    """Fold and compute a few messages, then write them in one transaction."""
    world, (n, p), found = self.world, self.args, []
    db, many = world.db[n], world.rng.randint(1, 3)
    early, at = db.last(p), work.position.offset
    for offset in range(at, min(at + many, stop)):
        try:
            given, what = work_steps.take(
                work, offset, parse(world, p, offset), check, CHECKPOINT_ROWS, world.rules
            )
        except ticks.BadTicks as cause:
            raise Broken(f"a labelled message does not decode: {cause}") from cause
        if isinstance(what, fold.Ignored):
            kind = "not next" if what.reason == fold.NOT_NEXT else "refused"
            world.fired[f"a message of ticks is ignored: {kind}"] += 1
        found += given
    self.at = "computing"
    yield
    yield from _commit(self, db, work, found, work_steps.links(found), early)
    world.committed[p] = max(world.committed[p], work.position.offset)


def _commit(
    self: Process, before: Database, work: work_steps.Work, found: list, links: list, early: int
) -> Iterator[None]:
    world, (n, p) = self.world, self.args
    db = world.db[n]
    world.fired["a worker meets another disk"] += db is not before
    if found:
        mark = db.commit(p, found, links, early if db is before else None, world.rules)
        world.moves += 1
        self.at = "writing"
        yield
        if work_steps.must_start_over(work.position, mark, world.rules):
            raise Over


# ---- the replicator ----


def replicator(self: Process, n: str) -> Iterator[None]:
    """Restarts itself when the disk or the incarnation under it is another one."""
    while True:
        yield from _replicate(self, n, self.world.db[n], self.world.db[n].origin)


def _replicate(self: Process, n: str, db: Database, origin: str) -> Iterator[None]:
    world, rng, rules = self.world, self.world.rng, self.world.rules
    watch, answers = steps.GapWatch(), steps.Answers(n, 1000)
    for p in range(P):
        db.advance(p, rules)
    asked, seen = world.end("asks", 0), defaultdict(int)
    places = {s: max(world.low["facts", s], db.progress.get(s, 0)) for s in range(P + 1)}
    while True:
        for s in range(P + 1):
            at = max(places[s], world.low["facts", s])
            came = world.logs["facts", s][at : at + rng.randint(1, 12)]
            self.at = "reading"
            yield
            if world.db[n] is not db or db.origin != origin:
                return
            _take(world, db, s, came, answers, seen)
            places[s] = at + len(came)
            self.at = "writing"
            yield
            if world.db[n] is not db or db.origin != origin:
                return
        for message in world.logs["asks", 0][asked:]:
            answers.want(steps.parse_ask(message.value), world.now_ns)
        asked = world.end("asks", 0)
        for label in answers.take_due(world.now_ns):
            fact = db.numbers.get(label[:2], {}).get(label[2])
            if fact is not None:
                again = message_of(steps.Delivery(label[0], label[2], fact))
                world.append("facts", fact.stream, again)
                world.fired["an ask is answered"] += 1
        db.progress |= places
        db.settle()
        if any(oseq > db.last(s) for s, oseq in seen.items()):
            db.begin(_next_life(world, db))
            world.fired["an old disk is known by what others name"] += 1
            return
        if sum(world.end("facts", s) - places[s] for s in places) <= BEHIND_MAX:
            _look(world, db, watch)


def _take(
    world: World, db: Database, stream: int, came: list[Message], answers: steps.Answers, seen: dict
) -> None:
    receipts = []
    for message in came:
        one = checked(message.key, message.value, tuple(message.headers), stream)
        if one is None:
            continue
        answers.saw((*one.source(), one.oseq))
        if one.fact.kind == steps.HEARTBEAT:
            if one.origin != db.origin:
                held = named(one.fact)
                if world.rules.peers_show_a_restored_disk:
                    for s, oseq in held.get(db.origin, {}).items():
                        seen[int(s)] = max(seen[int(s)], oseq)
                db.hear(held, world.rules)
        elif one.origin == db.origin:
            seen[stream] = max(seen[stream], one.oseq)
        else:
            receipts.append(Receipt(*one))
    if receipts:
        world.moves += 1
        db.receive(receipts, world.rules)


@lru_cache(maxsize=8192)
def checked(key: bytes, value: bytes, headers: tuple, stream: int) -> steps.Delivery | None:
    try:
        one = steps.parse(key, value, headers, stream)
        facts.check(one.fact)
    except (facts.BadFact, ValueError):
        return None
    return one


@lru_cache(maxsize=1024)
def named(beat: facts.Fact) -> heartbeats.Held:
    return heartbeats.read(beat)


def _look(world: World, db: Database, watch: steps.GapWatch) -> None:
    missing = db.missing(world.rules)
    read, ask = watch.look(missing, world.now_ns)
    for origin, stream in read:
        world.fired["a gap: the topic is read again"] += 1
        found = []
        for message in world.logs["facts", stream][world.low["facts", stream] :]:
            one = checked(message.key, message.value, tuple(message.headers), stream)
            if one and one.origin == origin and one.fact.kind != steps.HEARTBEAT:
                wanted = missing[one.source()]
                found += [one] if any(r.low <= one.oseq <= r.high for r in wanted) else []
        db.receive([Receipt(*one) for one in found], world.rules)
    for one in steps.asks_for(missing, ask, db.node):
        world.fired["a gap: the peers are asked"] += 1
        world.append("asks", 0, Message(None, steps.pack_ask(one), []))


def _next_life(world: World, db: Database) -> str:
    return world.incarnation() if world.rules.incarnation_is_random else numbered(db)


def numbered(db: Database) -> str:
    """Return the incarnation of who only counts: a backup that is restored twice repeats it."""
    db.lives += 1
    return f"{db.lives:08x}-0000-4000-9000-{int(db.node[1:]):012x}"
