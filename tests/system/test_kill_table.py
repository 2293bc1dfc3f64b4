"""Two nodes, a market that flows, and everything killed, cut off, repeated or lost in turn.

The same list of rows is the judge all the time: what was acknowledged is held by both nodes, once.
What it left in the logs is judged once more, to the bit, by test_oracle.

Every run plays the kills (KILLS). `make soak` plays the whole table ten times in shuffled order
(ORRERY_TEST_SEED repeats such a run), ORRERY_TEST_ROUNDS=1 once, in the order in which it stands.
"""

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jsonschema
import psycopg
import pytest
from orrery_services import bus, failpoints
from orrery_services.errors import OutsideError
from orrery_services.protocol import dead_letters
from orrery_services.stack import Stack, faults
from orrery_services.store import reading

from tests.system.command import orrery, until_well
from tests.system.flow import Flow, Held, Key

NODES = ("n1", "n2")
CHAIN = "default"
SOAK = os.environ.get("ORRERY_TEST_SOAK") == "1"
SEED = int(os.environ.get("ORRERY_TEST_SEED") or (time.time_ns() % 10**6 if SOAK else 1))
WHOLE = SOAK or "ORRERY_TEST_ROUNDS" in os.environ
ROUNDS = int(os.environ.get("ORRERY_TEST_ROUNDS") or (10 if SOAK else 1))
pytestmark = pytest.mark.real
BACK_SECONDS_MAX = 300.0  # until what was killed is ready again
HELD_SECONDS_MAX = 300.0  # from there until both nodes hold what was acknowledged
COMMAND_SECONDS_MAX = 240.0 * ROUNDS
PAUSED_SECONDS = 8.0  # longer than a packer's session: its partitions are given away
ROWS_PER_TRANSACTION = 20
# Into another table than the flow's: whoever inserts holds its table's lock to the commit.
INSERT = (
    "INSERT INTO quotes (symbol, ts_event_ns, bid, ask, bid_size, ask_size) "
    "VALUES (%s, %s, 100, 101, 1, 1)"
)

done: Counter[str] = Counter()  # faults that really happened


class Road:
    """The stack, what flows through it, and what each node holds of that."""

    def __init__(self, stack: Stack, tmp: Path):
        self.stack, self.tmp = stack, tmp
        self.flow = Flow(stack.settings("n1"), SEED)
        self.held = {node: Held(stack.settings(node), CHAIN) for node in NODES}
        self.armed_in = Path(stack.plan.env[failpoints.FOLDER])

    def wait_until_held(self, goal: set[Key] | None = None) -> None:
        """Wait until both nodes hold every one of these rows, and no row twice."""
        goal = self.flow.sent() if goal is None else goal
        deadline = time.monotonic() + HELD_SECONDS_MAX
        for held in self.held.values():
            why = ""
            while True:
                try:
                    held.look()
                except (psycopg.OperationalError, OutsideError) as cause:  # killed just now
                    why = f"; {cause}"
                missing = goal - held.rows.keys()
                if not missing:
                    break
                assert time.monotonic() < deadline, (
                    f"{held.name} lacks {len(missing)} of {len(goal)} acknowledged rows after "
                    f"{HELD_SECONDS_MAX:.0f} s, such as {min(missing)}{why}"
                )
                time.sleep(0.2)
            assert held.twice() == set()

    def arm(self, part: str, place: str) -> Path:
        """Have the process of a part die at a place of its code; return the trace of its death."""
        file = self.armed_in / f"{part}.{place}"
        fired = file.with_name(file.name + failpoints.FIRED)
        fired.unlink(missing_ok=True)
        file.touch()
        return fired


class killed:
    """See that a part has ended and that another process of it is ready."""

    def __init__(self, road: Road, part: str):
        self.stack, self.part = road.stack, part

    def __enter__(self) -> None:
        self.before = self.stack.parts()[self.part]["pid"]

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.stack.wait(seconds_max=BACK_SECONDS_MAX)
            assert self.stack.parts()[self.part]["pid"] not in (self.before, None)


# ---- the faults ----

PLACES = {
    "packer": ("before ticks", "before trades", "before dead-letters", "delivered"),
    "analytics": ("in a transaction", "behind a commit", "recovered"),
    "replication": ("in a transaction", "behind a commit", "behind a heartbeat"),
}


def die_at_places(number: int, road: Road) -> None:
    """One packer, one worker and one replicator die, each at another place, at the same time."""
    fired = {}
    for turn, (service, places) in enumerate(PLACES.items()):
        part, place = f"{NODES[(number + turn) % 2]}.{service}", places[number % len(places)]
        fired[f"{service} {place}"] = road.arm(part, place)
        if place == "recovered":
            faults.kill(road.stack, part)
    deadline = time.monotonic() + BACK_SECONDS_MAX
    while waiting := [name for name, file in fired.items() if not file.exists()]:
        assert time.monotonic() < deadline, f"nobody came to the places {waiting}"
        time.sleep(0.05)
    done.update(list(fired))
    road.stack.wait(seconds_max=BACK_SECONDS_MAX)


def kill_connect_in_a_transaction(road: Road) -> None:
    keys = [road.flow.next_key() for _ in range(ROWS_PER_TRANSACTION)]
    half = len(keys) // 2
    with psycopg.connect(road.stack.settings("n1").postgres("writer")) as writer:
        writer.cursor().executemany(INSERT, keys[:half])
        with killed(road, "connect"):
            faults.kill(road.stack, "connect")
            writer.cursor().executemany(INSERT, keys[half:])
            writer.commit()
    road.flow.note(set(keys))


def kill_connect_behind_a_commit(road: Road) -> None:
    keys = [road.flow.next_key() for _ in range(ROWS_PER_TRANSACTION)]
    with killed(road, "connect"):
        with psycopg.connect(road.stack.settings("n2").postgres("writer")) as writer:
            writer.cursor().executemany(INSERT, keys)
        faults.kill(road.stack, "connect")
    road.flow.note(set(keys))


def kill_the_broker(road: Road) -> None:
    with killed(road, "kafka"):
        faults.kill(road.stack, "kafka")


def stop_postgres(road: Road) -> None:
    with killed(road, "n1.postgres"):
        faults.stop_postgres_immediate(road.stack, "n1")


def pause_a_packer(road: Road) -> None:
    """The other packer takes over its partitions; then it wakes and goes on where it was."""
    faults.pause(road.stack, "n2.packer")
    try:
        time.sleep(PAUSED_SECONDS)
    finally:
        faults.resume(road.stack, "n2.packer")


def drop_the_slot(road: Road) -> None:
    faults.drop_slot(road.stack, "n1")


def take_the_sky_away(road: Road) -> None:
    """No broker, no Connect: what was there is served, and rows inserted meanwhile arrive."""
    for part in ("connect", "kafka"):
        faults.stop(road.stack, part)
    try:
        before = len(road.flow.sent())
        while len(road.flow.sent()) < before + 5:  # only the table takes rows now
            time.sleep(0.1)
        for held in road.held.values():
            held.look()
    finally:
        for part in ("kafka", "connect"):
            faults.start(road.stack, part)
    road.stack.wait(seconds_max=BACK_SECONDS_MAX)


def repeat_everything(road: Road) -> None:
    """Every message of ticks and of facts lands once more, as its producer sent it."""
    settings = road.stack.settings("n1")
    reader = bus.LogReader(settings.kafka, "test")
    producer = bus.producer(settings.kafka)
    for topic, partitions in (("ticks", settings.partitions), ("facts", settings.partitions + 1)):
        for partition in range(partitions):
            for message in reader.read(topic, partition, *reader.ends(topic, partition)):
                producer.produce(
                    topic, message.value(), message.key(), partition, headers=message.headers()
                )
                producer.poll(0)
    assert producer.flush(60) == 0
    reader.close()


def lose_a_disk(road: Road) -> None:
    faults.wipe(road.stack, "n2")


def restore_an_old_backup(road: Road) -> None:
    backup = road.tmp / f"backup-{done['restore an old backup']}"
    faults.backup(road.stack, "n2", backup)
    road.stack.wait(seconds_max=BACK_SECONDS_MAX)
    before = len(road.flow.sent())
    while len(road.flow.sent()) < before + 100:
        time.sleep(0.1)
    road.wait_until_held()
    faults.restore(road.stack, "n2", backup)
    road.stack.wait(seconds_max=BACK_SECONDS_MAX)


KILLS: dict[str, Callable[[Road], None]] = {
    **{f"die at places, {n}": partial(die_at_places, n) for n in range(len(PLACES["packer"]))},
    "kill Connect in a transaction": kill_connect_in_a_transaction,
    "kill the broker": kill_the_broker,
    "stop Postgres without a checkpoint": stop_postgres,
}
FAULTS = KILLS if not WHOLE else {
    **KILLS,
    "kill Connect behind a commit": kill_connect_behind_a_commit,
    "pause a packer and wake it": pause_a_packer,
    "drop the slot": drop_the_slot,
    "take the sky away": take_the_sky_away,
    "repeat everything": repeat_everything,
    "lose a disk": lose_a_disk,
    "restore an old backup": restore_an_old_backup,
}  # fmt: skip


def table() -> list[str]:
    order, names = random.Random(SEED), []
    for _ in range(ROUNDS):
        names += order.sample(list(FAULTS), len(FAULTS)) if SOAK else list(FAULTS)
    return names


# ---- the tests, in this order ----


@pytest.fixture(scope="module")
def road(stack: Stack, short_tmp: Path, request: pytest.FixtureRequest) -> Iterator[Road]:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nORRERY_TEST_SEED={SEED}", file=sys.stderr, flush=True)  # through a worker too
    made = Road(stack, short_tmp)
    made.flow.start()
    yield made
    for held in made.held.values():
        held.close()


@pytest.fixture(scope="module")
def quiet(road: Road) -> Road:
    """The same road when nothing flows and nothing fails any more."""
    road.flow.finish()
    road.stack.wait(seconds_max=BACK_SECONDS_MAX)
    road.wait_until_held()
    return road


@pytest.mark.parametrize("fault", table())
def test_both_nodes_hold_every_acknowledged_row_once_after(road, fault):
    FAULTS[fault](road)
    done[fault] += 1

    road.wait_until_held()
    assert road.flow.is_alive()


def test_every_fault_happened_and_every_place_was_died_at(road):
    assert {name: done[name] for name in FAULTS} == Counter(table())
    places = [f"{service} {place}" for service, places in PLACES.items() for place in places]
    assert min(done[place] for place in places) >= ROUNDS


def test_read_from_the_beginning_both_nodes_hold_the_same_rows_and_no_other(quiet):
    found = {node: Held(quiet.stack.settings(node), CHAIN) for node in NODES}
    for node in found.values():
        node.look()
        node.close()

    flow = quiet.flow
    assert len(flow.acknowledged) > 1000
    assert set(found["n1"].rows) == set(found["n2"].rows)
    for node in found.values():
        assert node.twice() == set()
        assert flow.acknowledged - set(node.rows) == set()
        assert set(node.rows) - flow.acknowledged - flow.unsure == set()


def test_bad_rows_are_dead_letters_and_nothing_else_is(quiet):
    bad = quiet.flow.bad
    assert len(bad) > 10

    deadline = time.monotonic() + HELD_SECONDS_MAX  # the last row of a partition may be a bad one
    while len(mine := refused(quiet.stack)) < len(bad) and time.monotonic() < deadline:
        time.sleep(0.2)

    assert Counter(mine) == Counter(bad)


def refused(stack: Stack) -> list[bytes]:
    """Return the rows of the flow that are dead letters."""
    reader = bus.LogReader(stack.settings("n1").kafka, "test")
    messages = reader.read(dead_letters.TOPIC, 0, *reader.ends(dead_letters.TOPIC, 0))
    letters, _ = dead_letters.read(message.value() for message in messages)
    reader.close()
    return [value for letter in letters.values() if b".KILL" in (value := letter.value or b"")]


@pytest.mark.parametrize("node", NODES if WHOLE else NODES[1:])  # test_oracle looks at both
def test_recomputed_results_have_the_names_that_are_stored(quiet, node):
    told = orrery(quiet.stack, "verify", "--node", node, seconds_max=COMMAND_SECONDS_MAX)

    assert told["chunks"] > 100
    assert told["differ"] == []


def test_the_nodes_have_converged(quiet):
    told = until_well(quiet.stack, "converge", "--wait", "60")

    assert told["state"] == "CONVERGED"
    assert told["facts_compared"] > 100
    assert told["away"] == {}
    assert len(set(told["roots"].values())) == 1


def test_status_is_of_its_schema(quiet):
    schema = json.loads((quiet.stack.plan.root / "schemas/events/status.json").read_text())

    told = until_well(quiet.stack, "status")

    jsonschema.validate(told, schema)
    assert told["state"] == "CONVERGED"


def test_no_natural_key_has_two_contents(quiet):
    for node in NODES:
        with psycopg.connect(quiet.stack.settings(node).postgres("reader")) as connection:
            assert reading.quarantined(connection) == []
