"""Where rows and facts enter: producers, a table, and the change capture of table and facts."""

from collections.abc import Iterator

import msgspec
import pyarrow as pa
from orrery_kernels.columns import TICK_SCHEMA
from orrery_services.replication import steps

from .world import TOPICS, Message, P, Process, World, home


def feed(self: Process) -> Iterator[None]:
    world, rng = self.world, self.world.rng
    while True:
        if world.flowing() and rng.random() < 0.06:
            _user_batch(world)
        elif world.flowing():
            topic = rng.choice(TOPICS)
            symbol, value = world.row(topic)
            p = home(symbol) if rng.random() < 0.75 else rng.randrange(P)
            world.fired["a row on the wrong partition"] += p != home(symbol)
            world.append(topic, p, Message(symbol.encode(), value, [], world.now))
        yield


def _user_batch(world: World) -> None:
    """Produce an Arrow batch straight to `ticks`: sound, unsound, misplaced or cut off."""
    rng = world.rng
    symbol, value = world.row("trades")
    row = msgspec.json.decode(value) | {"kind": 0, "side": 0}
    sound = value not in world.refused
    row["size"] = float(row["size"])
    row["price"] = row["price"] if sound else -1.0
    p = home(symbol) if rng.random() < 0.8 else 1 - home(symbol)
    batch = pa.RecordBatch.from_pylist([row], schema=TICK_SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TICK_SCHEMA) as writer:
        writer.write_batch(batch)
    data = sink.getvalue().to_pybytes()
    cut = rng.random() < 0.1
    if sound and not cut and p == home(symbol):
        world.user_rows.add(row["ts_event_ns"])
    world.append("ticks", p, Message(None, data[: len(data) // 2] if cut else data, []))
    world.fired["a batch is produced straight to ticks"] += 1


def inserts(self: Process, n: str) -> Iterator[None]:
    """Rule 4: the id is taken under a lock that is held to the commit."""
    world, rng = self.world, self.world.rng
    still_open: list = []
    while True:
        db = world.db[n]
        if world.flowing() and n != world.idle_table and rng.random() < 0.6:
            db.last_id[db.incarnation] += 1
            identity = {"id": db.last_id[db.incarnation], "incarnation": db.incarnation}
            item = (identity["id"], db.incarnation, *world.row("trades", identity))
            if not world.rules.captured_id_under_lock and rng.random() < 0.3:
                still_open.append((db, item))
            else:
                db.table.append(item)
        elif still_open:
            into, item = still_open.pop()
            if into is world.db[n]:
                into.table.append(item)
        yield


def trades_source(self: Process, n: str) -> Iterator[None]:
    """Like Debezium: begins again somewhere before, or at the first row, in the order of ids."""
    world, rng = self.world, self.world.rng
    db, life, at = world.db[n], world.db[n].origin, world.flushed["trades", n]
    while True:
        if db is not world.db[n] or life != db.origin:
            db, life, at = world.db[n], world.db[n].origin, 0
            world.flushed["trades", n] = 0
        if at < len(db.table):
            id_, _, symbol, value = db.table[at]
            p = home(symbol) if id_ % 7 else 1 - home(symbol)  # key and value differ
            message = Message(b"k", value, [("captured", b"trades")], world.now)
            if world.disks and world.faults and rng.random() < 0.5:
                flight = world.send("trades", p, message, n)  # one that may outlive its disk
                while flight.state == "flying":
                    yield
                if db is not world.db[n] or life != db.origin or flight.state == "failed":
                    continue
            else:
                world.append("trades", p, message)
            if world.faults and rng.random() < 0.03:
                world.send("trades", p, message, n)
            at += 1
            if rng.random() < 0.3:
                world.flushed["trades", n] = at
        yield


def facts_source(self: Process, n: str) -> Iterator[None]:
    """The outbox: one at a time, in order; another disk or life means a new snapshot."""
    world, rng = self.world, self.world.rng
    db, life, at = world.db[n], world.db[n].origin, world.flushed["facts", n]
    while True:
        if db is not world.db[n] or life != db.origin:
            db, life, at = world.db[n], world.db[n].origin, 0
            world.flushed["facts", n] = 0
        if at < len(db.wal):
            one = db.wal[at]
            own = world.rules.snapshot_every_own_incarnation or one.origin == db.origin
            if own and world.faults and rng.random() < (0.3 if world.eager else 0.05):
                flight = world.send("facts", one.fact.stream, message_of(one), n)
                while flight.state == "flying":
                    yield
                if db is not world.db[n] or life != db.origin or flight.state == "failed":
                    continue
            elif own:
                world.append("facts", one.fact.stream, _perhaps_damaged(world, message_of(one)))
            at += 1
            if one.fact.kind == steps.HEARTBEAT:
                world.hear(one)
            if rng.random() < 0.3:
                world.flushed["facts", n] = at
        elif rng.random() < 0.15:
            db.beat(world)
        yield


def message_of(one: steps.Delivery) -> Message:
    return Message(one.fact.key.encode(), one.fact.payload, steps.headers_of(one), 0, one)


def _perhaps_damaged(world: World, message: Message) -> Message:
    """Once in a while a fact arrives damaged: then it stays missing."""
    if not world.faults or world.rng.random() > 0.01:
        return message
    world.fired["a fact arrives damaged"] += 1
    world.damaged.append(message.about)
    return message._replace(value=message.value[:-1] + bytes((message.value[-1] ^ 1,)))
