"""What goes wrong, one thing at a time: crashes, pauses, overlapping owners, disks, retention."""

from orrery_services.protocol import labels
from orrery_services.replication.steps import Evidence, why_restored

from .database import Database
from .edge import facts_source, trades_source
from .parts import numbered, packer, worker
from .world import NODES, REST, TOPICS, P, Process, World

KINDS = (
    *("crash", "crash", "pause", "pause", "owners", "owners", "packers", "source"),
    *("retention", "retention", "backup", "disk"),
)
DISK_KINDS = ("disk", "disk", "disk", "disk", "retention", "retention", "backup", "crash", "owners")
NEVER_STOPPED = ("feed", "network", "inserts")


def fault(world: World) -> None:
    kind = world.rng.choice(DISK_KINDS if world.disks else KINDS)
    if kind in ("crash", "pause"):
        _stop(world, kind)
    elif kind == "owners":
        _owners(world)
    elif kind == "packers":
        _packers(world)
    elif kind == "source":
        start, n = world.rng.choice((trades_source, facts_source)), world.rng.choice(NODES)
        if sum(q.start is start for q in world.processes) < 2 * len(NODES):
            world.processes.append(Process(world, start, (n,)))
            world.fired["two tasks of one source"] += 1
    elif kind == "retention":
        _retention(world)
    elif kind == "backup":
        n = world.rng.choice(NODES)
        world.backup[n] = world.db[n].clone()
    elif world.rng.random() < 0.5:
        _disk(world)


def _stop(world: World, kind: str) -> None:
    rng = world.rng
    one = rng.choice([q for q in world.processes if q.kind not in NEVER_STOPPED])
    if kind == "pause":
        one.asleep = world.now + rng.choice((20, 100, 300))
        world.fired[f"pause of {one.kind}"] += 1
        return
    place = f" after {one.at}" if one.kind in ("packer", "worker", "replicator") else ""
    world.fired[f"crash of {one.kind}{place}"] += 1
    if one.kind.endswith("_source"):
        key = one.kind.removesuffix("_source"), one.args[0]
        world.flushed[key] = 0 if rng.random() < 0.2 else rng.randint(0, world.flushed[key])
    one.crash()


def _owners(world: World) -> None:
    p = world.rng.randrange(P)
    old = [q for q in world.processes if q.kind == "worker" and q.args[1] == p]
    overlap = world.rng.random() < 0.5 and len(old) < 2
    if not overlap:
        world.processes = [q for q in world.processes if q not in old]
    world.processes.append(Process(world, worker, (world.computing(), p)))
    world.fired["a rebalance, two owners at once" if overlap else "a rebalance"] += 1


def _packers(world: World) -> None:
    p = world.rng.randrange(P)
    mine = [q for q in world.processes if q.kind == "packer" and q.args == (p,)]
    if len(mine) == 1:
        world.processes.append(Process(world, packer, (p,)))
    else:
        world.processes.remove(world.rng.choice(mine))
    world.fired["a second packer begins or ends"] += 1


def _retention(world: World) -> None:
    """A fact leaves the topic when every node holds it and a heartbeat has named it."""
    s, keep = world.rng.randrange(P), world.rng.choice((0, 0, 5, 20))
    log = world.logs["facts", s]
    while world.low["facts", s] < len(log) - keep:
        one = log[world.low["facts", s]].about
        source = one.source()
        held = all(one.oseq in db.numbers.get(source, ()) for db in world.db.values())
        if not held or one.oseq > world.heard[source]:
            break
        world.low["facts", s] += 1
        world.fired["a fact expires from the topic"] += 1
    reached = min(db.marks[s].offset for db in world.db.values())
    world.low["ticks", s] = max(world.low["ticks", s], world.rng.randint(0, reached))


def _safe_to_lose(world: World, n: str) -> bool:
    """Assumed: no disk goes with the only good copy of what the topics cannot give back."""
    others = [db for m, db in world.db.items() if m != n]
    gone = [
        message.about
        for s in range(P)
        for message in world.logs["facts", s][: world.low["facts", s]]
    ]
    return all(
        any(one.oseq in db.numbers.get(one.source(), ()) for db in others)
        for one in (*gone, *world.damaged)
    ) and all(any(db.marks[p].offset >= world.low["ticks", p] for db in others) for p in range(P))


def rest(world: World) -> None:
    """Nothing flows: all that was written arrives and expires; then n1's disk is an old one."""
    if world.now == REST.start:
        world.backup["n1"] = world.db["n1"].clone()
    elif world.now == REST.stop - 1 and _safe_to_lose(world, "n1"):
        world.fired["an old disk after all has expired"] += 1
        _change_disk(world, "n1", "a backup, same timeline")
    elif world.now % 8 == 0:
        _retention(world)


def _disk(world: World) -> None:
    n = world.rng.choice(NODES)
    if _safe_to_lose(world, n):
        ways = ("a disk is lost", "a backup, new timeline", "a backup, same timeline")
        _change_disk(world, n, world.rng.choice(ways))


def _change_disk(world: World, n: str, how: str) -> None:
    if how == "a disk is lost":
        kept = world.db[n].incarnation
        new = world.rules.new_incarnation_on_empty_disk
        world.db[n] = Database(n, world.incarnation() if new else kept, world.fired)
        world.backup[n] = world.db[n].clone()
    else:
        _restore(world, n, how.endswith("new timeline"))
    world.flushed["trades", n] = world.flushed["facts", n] = 0
    for one in world.processes:
        if one.kind == "worker" and one.args[0] == n and world.rng.random() < 0.5:
            one.crash()  # the others only meet a database that answers again
    world.fired[how] += 1


def _restore(world: World, n: str, timeline: bool) -> None:
    """A backup comes back; before anybody numbers facts, the node looks at what others saw."""
    db = world.db[n] = world.backup[n].clone()
    world.fired["one backup is restored twice"] += world.restored.get(n) is world.backup[n]
    world.restored[n] = world.backup[n]
    world.fired["a send outlives its disk"] += any(f.sender == n for f in world.flying)
    if world.rules.wait_for_the_old_connector:
        for flight in [f for f in world.flying if f.sender == n]:
            world.flying.remove(flight)
            flight.state = "failed"
    why = why_restored(_evidence(world, db), world.rules)
    world.fired["a restored disk is known by what others saw"] += bool(why) and not timeline
    if why or timeline:
        random = world.rules.incarnation_is_random
        db.begin(world.incarnation() if random else numbered(db))


def _evidence(world: World, db: Database) -> Evidence:
    in_topic: dict[int, int] = {}
    for s in range(P):
        for message in world.logs["facts", s][world.low["facts", s] :]:
            if message.about.origin == db.origin:
                in_topic[s] = max(in_topic.get(s, 0), message.about.oseq)
    named = {s: world.heard[db.origin, s] for s in range(P)}
    seen = 0
    for topic in TOPICS:
        for p in range(P):
            for message in world.logs[topic, p]:
                if message.headers and b"id" in message.value:
                    row = labels.captured(message.headers, message.value)
                    if row and row.incarnation == db.incarnation:
                        seen = max(seen, row.id)
    own = {s: db.last(s) for s in range(P)}
    ids = {"trades": db.last_id[db.incarnation]}
    return Evidence(own, in_topic, named, ids, {"trades": seen})
