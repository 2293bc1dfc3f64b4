"""Who may write the next batch: several packers on one log, and a net that fails them."""

import itertools
import json
import random
from collections import Counter

import pytest
from orrery_kernels.partition import partition_of
from orrery_services.packer.sequencer import LABELS_IN_FLIGHT_MAX, Sequencer
from orrery_services.packer.steps import Run
from orrery_services.protocol import dead_letters, fold, ticks
from orrery_services.protocol.rules import ALL_RULES

P = 2
SYMBOLS = {p: [s for s in map(str, range(50)) if partition_of(s, P) == p] for p in range(P)}


def row(number: int, partition: int, good: bool = True) -> bytes:
    price = number + 1 if good else "oops"
    return json.dumps({"symbol": SYMBOLS[partition][0], "price": price, "size": 1}).encode()


def run(rows: list, first: int = 0) -> Run:
    """`rows` are (value, headers)."""
    values = [value for value, _ in rows]
    headers = {i: held for i, (_, held) in enumerate(rows) if held}
    offsets = list(range(first, first + len(rows)))
    return Run("trades", "L", offsets, values, [0] * len(rows), [None] * len(rows), headers)


def fresh(partition: int = 0, **more) -> Sequencer:
    sequencer = Sequencer(partition, P, **more)
    sequencer.caught_up()
    return sequencer


def test_batches_are_chained_without_waiting_up_to_a_bound():
    sequencer = fresh()
    sends = []

    while sequencer.wants_rows():
        at = len(sends)
        sends += sequencer.pack([run([(row(at, 0), None)], at)])

    chain = [ticks.parse(s.value, s.headers) for s in sends]
    assert len(sends) == LABELS_IN_FLIGHT_MAX
    assert all(one.next == two.base for one, two in itertools.pairwise(chain))


def test_a_batch_too_large_for_a_message_leaves_all_as_it_was(monkeypatch):
    monkeypatch.setattr(ticks, "VALUE_BYTES_MAX", 4_000)
    sequencer = fresh()
    rows = [(row(at, 0), None) for at in range(2_000)]

    with pytest.raises(ticks.TooLarge, match=r"at most 4000 bytes, was \d+ \(2000 rows\)"):
        sequencer.pack([run(rows)])
    assert sequencer.idle() and not sequencer.counts

    one = sequencer.pack([run(rows[:100])])[0]
    assert ticks.parse(one.value, one.headers).base == {}


def test_reports_in_order_let_it_go_on():
    sequencer = fresh()
    one = sequencer.pack([run([(row(0, 0), None)])])[0]
    two = sequencer.pack([run([(row(1, 0), None)], 1)])[0]

    sequencer.delivered(one.token, 0)
    sequencer.delivered(two.token, 1)

    assert sequencer.idle()
    assert sequencer.position == 2
    assert not sequencer.must_fold()


def test_somebody_elses_batch_between_makes_it_read_and_fold_again():
    mine, theirs = fresh(), fresh()
    other = theirs.pack([run([(row(0, 0), None), (row(1, 0), None)])])[0]
    own = mine.pack([run([(row(0, 0), None)])])[0]

    mine.delivered(own.token, 1)
    assert mine.unread == 1
    mine.saw(0, ticks.parse(other.value, other.headers))

    assert mine.must_fold()
    assert mine.counts["overtaken"] == 1
    mine.caught_up()
    assert mine.head == ticks.parse(other.value, other.headers).next


def test_a_users_own_batch_between_changes_nothing():
    sequencer = fresh()
    send = sequencer.pack([run([(row(0, 0), None)])])[0]

    sequencer.delivered(send.token, 1)
    sequencer.saw(0, ticks.parse(b"whatever", []))

    assert sequencer.wants_rows()
    assert sequencer.idle()


def test_a_failed_send_makes_it_fold_and_late_reports_are_nothing():
    sequencer = fresh()
    one = sequencer.pack([run([(row(0, 0), None)])])[0]
    two = sequencer.pack([run([(row(1, 0), None)], 1)])[0]

    sequencer.failed(one.token)
    assert sequencer.must_fold()
    sequencer.caught_up()

    assert sequencer.delivered(two.token, 5) == []
    assert sequencer.head == {}
    assert sequencer.wants_rows()


def test_moved_rows_and_dead_letters_are_acknowledged_before_the_label():
    sequencer = fresh()
    rows = [(row(0, 1), None), (row(1, 1), None), (row(2, 0, good=False), None), (row(3, 0), None)]

    first = sequencer.pack([run(rows)])
    assert sorted(send.topic for send in first) == [dead_letters.TOPIC, "trades"]
    assert not sequencer.wants_rows()
    moved, dead = sorted(first, key=lambda send: send.topic, reverse=True)
    assert sequencer.delivered(dead.token, 0) == []
    second = sequencer.delivered(moved.token, 0)
    label = sequencer.delivered(second[0].token, 1)

    assert [send.topic for send in second] == ["trades"]
    assert [send.topic for send in label] == ["ticks"]


def test_a_cut_moves_the_vector_and_carries_no_row():
    sequencer = fresh()

    marker = sequencer.cut(4, 400)[0]

    message = ticks.parse(marker.value, marker.headers)
    assert message.next == {"cut": 4, "cut_ns": 400}
    assert ticks.decode(message).num_rows == 0
    assert sequencer.cut(4, 400) == []


# ---- a small world: two packers a partition, and a net that fails, repeats and delays ----


TURNS_MAX = 1500


class World:
    def __init__(self, seed: int, rules=ALL_RULES):
        self.rng = random.Random(seed)
        self.rows: dict[int, list] = {p: [] for p in range(P)}
        self.log: dict[int, list] = {p: [] for p in range(P)}
        self.dead: list = []
        self.flying: list = []
        self.rules = rules
        self.happened: Counter = Counter()
        self.packers = [Sequencer(p, P, rules=rules) for p in range(P) for _ in range(2)]
        self.queues: dict[int, list] = {}
        self.gone: list[Sequencer] = []

    def land(self, send, sequencer) -> int:
        log = {"ticks": self.log.get(send.partition), "trades": self.rows.get(send.partition)}.get(
            send.topic, self.dead
        )
        log.append((send.value, send.headers))
        return len(log) - 1

    def crash(self, i: int) -> None:
        self.happened["crash"] += 1
        old = self.packers[i]
        self.queues.pop(id(old), None)
        self.gone.append(old)  # its reports come to nobody
        self.packers[i] = Sequencer(old.partition, P, rules=self.rules)

    def deliver(self, faults: bool) -> None:
        if not self.flying:
            return
        i = self.rng.randrange(len(self.flying)) if faults and self.rng.random() < 0.4 else 0
        send, sequencer = self.flying.pop(i)
        if faults and self.rng.random() < 0.1:
            self.happened["failed, lands later"] += 1
            sequencer.failed(send.token)
            self.flying.append((send, sequencer))
            return
        offset = self.land(send, sequencer)
        if faults and self.rng.random() < 0.1:
            self.happened["twice"] += 1
            self.flying.append((send, sequencer))
        if sequencer not in self.gone:
            self.fly(sequencer, sequencer.delivered(send.token, offset))

    def fly(self, sequencer: Sequencer, sends: list) -> None:
        """Hand sends to the net one at a time, in `turn`: a crash forgets the rest."""
        self.queues.setdefault(id(sequencer), []).extend(sends)

    def turn(self, sequencer: Sequencer) -> bool:
        log = self.log[sequencer.partition]
        if queue := self.queues.get(id(sequencer)):
            self.flying.append((queue.pop(0), sequencer))
            return True
        if sequencer.must_fold():
            for at in range(sequencer.position, len(log)):
                sequencer.saw(at, ticks.parse(*log[at]))
            sequencer.caught_up()
            self.happened["fold"] += 1
        if sequencer.unread is not None:
            for at in range(sequencer.position, sequencer.unread):
                sequencer.saw(at, ticks.parse(*log[at]))
        if not sequencer.wants_rows():
            return True
        first = sequencer.head.get("row:trades:L", 0)
        rows = self.rows[sequencer.partition][first : first + self.rng.randint(2, 8)]
        if rows:
            self.fly(sequencer, sequencer.pack([run(rows, first)]))
        return bool(rows)

    def play(self, count: int) -> None:
        number = 0
        for _ in range(TURNS_MAX):
            if number == count and not self.flying:
                break
            if number < count and self.rng.random() < 0.3:
                number += 1
                home = self.rng.randrange(P)
                p = self.rng.randrange(P) if self.rng.random() < 0.4 else home
                self.rows[p].append((row(number, home, self.rng.random() > 0.1), None))
            if number < count and self.rng.random() < 0.05:
                self.crash(self.rng.randrange(len(self.packers)))
            self.turn(self.rng.choice(self.packers))
            self.deliver(faults=number < count)
        for _ in range(TURNS_MAX):
            busy = [self.turn(sequencer) for sequencer in self.packers]
            for _ in range(len(self.flying)):
                self.deliver(faults=False)
                busy.append(True)
            if not any(busy):
                return
        raise AssertionError("never at rest")

    def accepted(self) -> list[float]:
        """Return the price of every row that any reader accepts, in the order of the logs."""
        prices = []
        for p in range(P):
            at = fold.Position()
            for offset, message in enumerate(self.log[p]):
                at, taken = fold.take(at, offset, ticks.parse(*message), lambda _: "no")
                if isinstance(taken, fold.Accepted):
                    prices += taken.rows["price"].to_pylist()
                else:
                    self.happened["ignored"] += 1
        return prices


def judge(world: World, count: int) -> str | None:
    """Say what is wrong: every row once, in `ticks` or in the dead letters."""
    counted = Counter(world.accepted())
    letters, _ = dead_letters.read(value for value, _ in world.dead)
    if twice := [price for price, n in counted.items() if n > 1]:
        return f"counted twice: {twice}"
    if len(counted) + len(letters) != count:
        return f"{count} rows, {len(counted)} counted, {len(letters)} refused"
    return None


SEEDS = 40


def test_whatever_happens_every_row_counts_once():
    happened = Counter()
    for seed in range(SEEDS):
        world = World(seed)
        world.play(60)
        happened += world.happened
        assert judge(world, 60) is None, f"seed {seed}"

    assert {"crash", "failed, lands later", "twice", "fold"} <= happened.keys()


@pytest.mark.parametrize(
    "rule",
    ["accept_only_what_continues", "compare_moved_origins", "moved_rows_before_label",
     "moved_rows_in_order", "dead_letters_before_label"],
)  # fmt: skip
def test_without_a_rule_rows_are_lost_or_counted_twice(rule):
    for seed in range(300):
        world = World(seed, ALL_RULES.without(rule))
        try:
            world.play(60)
        except AssertionError:
            return
        if judge(world, 60):
            return
    pytest.fail(f"nobody misses {rule}")
