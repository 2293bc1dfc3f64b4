"""The same world with cuts: packers that only write markers contend with those that pack rows."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

from blake3 import blake3
from orrery_kernels.snapshot.snapshot import thaw
from orrery_kernels.snapshot.tree import pieces_below
from orrery_services.analytics import steps as work_steps
from orrery_services.packer.sequencer import Sequencer
from orrery_services.protocol import cuts, facts, snapshots, vectors
from orrery_services.protocol.batches import check_batch
from orrery_services.protocol.rules import ALL_RULES
from orrery_services.snapshots import steps

from . import play as ordinary
from .database import NAME, Database
from .judge import judge
from .parts import TICKS_LOG, _send, parse
from .world import CHAIN, NODES, Broken, P, Process, World

EVERY = 60  # steps between two cuts
Leaves = dict[tuple[str, int], snapshots.Leaf]


def play(seed: int) -> tuple[str | None, Counter[str]]:
    """Return what broke, or None, and how often each fault fired."""
    world = ordinary._begin(seed, ALL_RULES, False)
    world.processes += [Process(world, cutter, (p,)) for p in range(P)]
    try:
        ordinary._suffer(world)
        ordinary._heal(world)
        judge(world)
        _judge_cuts(world)
    except Broken as why:
        return str(why), world.fired
    return None, world.fired


def due(world: World) -> int:
    """Return the number of the last cut that has been asked for; none is once faults are over."""
    return min(world.now, ordinary.STEPS - 1) // EVERY


def cutter(self: Process, p: int) -> Iterator[None]:
    """Fold, and write the marker of the next cut; it is overtaken whenever rows are packed."""
    world = self.world
    while (mark := world.db[world.rng.choice(NODES)].marks[p]).offset < world.low["ticks", p]:
        yield
    one, reports = Sequencer(p, P, mark.offset, mark.vector, world.rules), []
    while True:
        if reports:
            token, offset = reports.pop(0)
            one.failed(token) if offset is None else one.delivered(token, offset)
        elif one.must_fold() or one.unread is not None:
            end = world.end("ticks", p) if one.must_fold() else one.unread
            for offset in range(one.position, end):
                one.saw(offset, parse(world, p, offset))
            one.read_to(end)
            if one.must_fold():
                one.caught_up()
        elif one.wants_rows() and one.head.get(vectors.CUT, 0) < due(world):
            number = one.head.get(vectors.CUT, 0) + 1
            self.at = "cutting"
            yield
            yield from _send(self, p, one.cut(number, _at_ns(number)), reports)
            world.fired["a marker is sent"] += 1
        yield


def _at_ns(number: int) -> int:
    return number * EVERY


def _judge_cuts(world: World) -> None:
    """Every node makes the same snapshot of every cut, and so does who reads the log in one go."""
    wanted = due(world)
    again = _replayed(world)
    for number in range(1, wanted + 1):
        cut = cuts.Cut(number, f"#{number}", "by hand", _at_ns(number), "n1", {"default": NAME})
        expected = steps.complete(cut, again[number], P, None)
        for db in world.db.values():
            found = steps.complete(cut, _leaves(db, number), P, None)
            if found is None:
                raise Broken(f"{db.node} lost cut {number}")
            if found != expected:
                raise Broken(f"{db.node}: cut {number} is another snapshot than the log's")
            _all_pieces_are_held(db, found)
            world.fired["snapshots verified"] += 1


def _leaves(db: Database, number: int) -> Leaves:
    keys = {(NAME, p): snapshots.leaf_key(NAME, p, number) for p in range(P)}
    return {
        slot: snapshots.leaf_of(facts.data_of(db.facts[key].fact.payload, db.fetch(slot[1])))
        for slot, key in keys.items()
        if key in db.facts
    }


def _replayed(world: World) -> dict[int, Leaves]:
    found: dict[int, Leaves] = {}
    for p in range(P):
        work = work_steps.begin(CHAIN, TICKS_LOG, p, None)
        check = partial(check_batch, partition=p, partitions=P)
        for offset in range(world.end("ticks", p)):
            told = parse(world, p, offset)
            made, _ = work_steps.take(work, offset, told, check, 10**9)
            for fact in made:
                if fact.kind == snapshots.LEAF:
                    leaf = snapshots.leaf_of(facts.data_of(fact.payload, None))
                    found.setdefault(leaf.number, {})[NAME, p] = leaf
    return found


def _all_pieces_are_held(db: Database, found: steps.Complete) -> None:
    held = {
        blake3(piece).digest(): piece
        for key, one in db.facts.items()
        if key.startswith(f"{snapshots.PACK}/")
        for _, piece in snapshots.pieces_of(facts.data_of(one.fact.payload, None))
    }
    sections = dict(thaw(found.frozen.manifest).sections)
    del sections[snapshots.CALENDARS]  # every node has them, whatever happens
    level = [root for roots in sections.values() for root in roots]
    while level:
        if lost := [name for name in level if name not in held]:
            raise Broken(f"{db.node} lacks piece {lost[0].hex()[:12]}")
        level = [below for name in level for below in pieces_below(held[name])]
