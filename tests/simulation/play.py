"""One seed: faults for a while, then none until nothing moves any more, then the judge."""

from collections import Counter

from orrery_services.protocol.rules import ALL_RULES, Rules

from .database import Database
from .edge import facts_source, feed, inserts, trades_source
from .faults import fault, rest
from .judge import compare, judge
from .parts import packer, replicator, worker
from .world import NODES, REST, STEP_NS, Broken, P, Process, World, network

STEPS = 500  # steps of single processes while faults last
ROUNDS_MAX = 1000  # one step of everybody: in these all must come to rest
ROUND_NS = 500_000_000
AT_REST = 12  # rounds in which nothing moved


def play(
    seed: int, rules: Rules = ALL_RULES, disks: bool = False
) -> tuple[str | None, Counter[str]]:
    """Return what broke, or None, and how often each fault fired."""
    world = _begin(seed, rules, disks)
    try:
        _suffer(world)
        _heal(world)
        judge(world)
        world.fired["facts verified"] += sum(len(db.facts) for db in world.db.values())
    except Broken as why:
        return str(why), world.fired
    return None, world.fired


def _begin(seed: int, rules: Rules, disks: bool) -> World:
    world = World(seed, rules, disks)
    for n in NODES:
        world.db[n] = Database(n, world.incarnation(), world.fired)
        world.backup[n] = world.db[n].clone()
    starts = [(feed,), (feed,), (network,)]
    for n in NODES:
        starts += [(replicator, n), (trades_source, n), (facts_source, n), (inserts, n)]
    for p in range(P):
        starts += [(packer, p), (worker, world.computing(), p)]
    world.processes = [Process(world, start, tuple(args)) for start, *args in starts]
    return world


def _suffer(world: World) -> None:
    rng = world.rng
    steps = REST.stop + STEPS if world.rests else STEPS
    for world.now in range(steps):
        world.now_ns += STEP_NS
        if world.rests and world.now in REST:
            rest(world)
        elif rng.random() < 0.06:
            fault(world)
        one = rng.choice(world.processes)
        if one.asleep <= world.now:
            if world.disks and world.eager and one.kind in ("worker", "inserts"):
                world.backup[one.args[0]] = world.db[one.args[0]].clone()  # just before a commit
            next(one.run)
        if world.now % 50 == 0:
            compare(world)
        if world.eager and world.now % 25 == 0:
            n = rng.choice(NODES)
            world.backup[n] = world.db[n].clone()


def _heal(world: World) -> None:
    """The faults end; zombies wake up, and the group settles on one owner."""
    world.faults = False
    owners = {q.args[1]: q for q in world.processes if q.kind == "worker"}
    idle = 0
    for now in range(ROUNDS_MAX):
        before = world.moves
        world.now, world.now_ns = world.now + 1, world.now_ns + ROUND_NS
        if now == 10:
            world.processes = [
                q for q in world.processes if q.kind != "worker" or owners[q.args[1]] is q
            ]
        for one in world.rng.sample(world.processes, len(world.processes)):
            next(one.run)
        if now % 16 == 0:
            compare(world)
        waiting = any(db.missing(world.rules) for db in world.db.values())
        idle = 0 if waiting or world.flying or world.moves != before else idle + 1
        if idle > AT_REST:
            return
    raise Broken("never at rest")
