"""Row topics to `ticks`, on the real broker and the real database."""

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from functools import partial

import psycopg
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from orrery_kernels.partition import partition_of
from orrery_services import bus
from orrery_services.protocol import dead_letters, fold, ticks
from orrery_services.protocol.batches import check_batch
from orrery_services.stack import faults, topics
from orrery_services.stack.part import NotReady, http_ok

from tests.ports import free_port
from tests.system import command
from tests.system.batches import own_batch, stream_of

pytestmark = pytest.mark.real
SECONDS_MAX = 120
BAD = {
    "oops": b'{"symbol":"%s","price":"oops","size":1}',
    "no json": b"{%s",
    "infinite": b'{"symbol":"%s","price":"Infinity","size":1}',
    "no number": b'{"symbol":"%s","price":NaN,"size":1}',
    "negative": b'{"symbol":"%s","price":-1,"size":1}',
    "zero size": b'{"symbol":"%s","price":1,"size":0}',
    "missing field": b'{"symbol":"%s","price":1}',
    "wrong type": b'{"symbol":7,"price":1,"size":1,"note":"%s"}',
    "empty symbol": b'{"symbol":"","price":1,"size":1,"note":"%s"}',
    "long symbol": b'{"symbol":"' + b"S" * 5000 + b'","price":1,"size":1,"note":"%s"}',
    "injection": b'{"symbol":"x\'); DROP TABLE--","price":1,"size":1,"note":"%s"}',
    "emoji": '{"symbol":"🚀","price":1,"size":1,"note":"%s"}'.encode(),
    "unseen": b'{"symbol":"__debezium_unavailable_value","price":1,"size":1,"note":"%s"}',
}
TOMBSTONE = None  # has no bytes by which to find it: it is known by its key


def accepted(settings) -> tuple[list[dict], int]:
    """Return every accepted row of every partition in log order, and how many batches were not."""
    reader, found, ignored = bus.LogReader(settings.kafka, "test"), [], 0
    for p in range(settings.partitions):
        at = fold.Position()
        low, end = reader.ends("ticks", p)
        for message in reader.read("ticks", p, low, end):
            try:
                told = ticks.parse(message.value(), message.headers())
            except ticks.BadTicks as bad:
                told = bad
            check = partial(check_batch, partition=p, partitions=settings.partitions)
            at, taken = fold.take(at, message.offset(), told, check)
            if isinstance(taken, fold.Accepted):
                found += [row | {"partition": p} for row in taken.rows.to_pylist()]
            else:
                ignored += 1
    reader.close()
    return found, ignored


def wait_for(settings, tag: str, count: int) -> list[dict]:
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        rows = [row for row in accepted(settings)[0] if row["symbol"].startswith(tag)]
        if len(rows) >= count or time.monotonic() > deadline:
            return rows
        time.sleep(0.3)


def letters_of(settings, tag: str = "") -> list[dead_letters.DeadLetter]:
    reader = bus.LogReader(settings.kafka, "test")
    low, end = reader.ends(dead_letters.TOPIC, 0)
    values = [m.value() for m in reader.read(dead_letters.TOPIC, 0, low, end)]
    reader.close()
    found, _ = dead_letters.read(values)
    return [
        letter for letter in found.values()
        if tag.encode() in (letter.value or letter.key or b"")
    ]  # fmt: skip


@pytest.fixture
def tag() -> str:
    return f"T{uuid.uuid4().hex[:8]}-"


def produce(
    settings, values: list[tuple[str, bytes | None]], partitioner: str = "murmur2_random"
) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka, "partitioner": partitioner})
    for key, value in values:
        producer.produce("trades", value, key)
    assert producer.flush(SECONDS_MAX) == 0


def wait_ready(port: int) -> None:
    deadline, ready = time.monotonic() + SECONDS_MAX, http_ok(f"http://127.0.0.1:{port}/readyz")
    while True:
        try:
            return ready()
        except NotReady as why:
            assert time.monotonic() < deadline, f"not ready within {SECONDS_MAX} s: {why}"
        time.sleep(0.1)


def trades(tag: str, count: int) -> list[tuple[str, bytes]]:
    return [
        (
            f"{tag}{i % 20}",
            json.dumps({"symbol": f"{tag}{i % 20}", "price": i + 1, "size": 1}).encode(),
        )
        for i in range(count)
    ]


def test_rows_of_clients_with_two_partitioners_count_once_each_in_order_and_at_home(stack, tag):
    settings = stack.settings("n1")
    values = trades(tag, 2000)

    produce(settings, values[0::2])
    produce(settings, values[1::2], "consistent_random")
    rows = wait_for(settings, tag, 2000)

    assert sorted(row["price"] for row in rows) == [float(i + 1) for i in range(2000)]
    assert all(row["partition"] == partition_of(row["symbol"], settings.partitions) for row in rows)
    for name in {row["symbol"] for row in rows}:
        prices = [row["price"] for row in rows if row["symbol"] == name]
        for half in (0, 1):  # what one client sent stays in its order
            mine = [price for price in prices if (price - 1) % 2 == half]
            assert mine == sorted(mine)


def test_bad_rows_become_dead_letters_with_a_reason_and_cost_no_other(stack, tag):
    settings = stack.settings("n1")
    bad = [(f"{tag}0", value % f"{tag}0".encode()) for value in BAD.values()]
    bad.append((f"{tag}0", TOMBSTONE))
    good = trades(tag, 100)
    before = refused_rows(stack)

    produce(settings, [*good[:50], *bad, *good[50:]])

    assert len(wait_for(settings, tag, 100)) == 100
    letters = letters_of(settings, tag)
    assert len(letters) == len(bad)
    assert any("price must be a decimal number" in letter.reason for letter in letters)
    assert any("was a tombstone" in letter.reason for letter in letters)
    wait_until(lambda: refused_rows(stack) >= before + len(bad), "the counters to tell it")


def refused_rows(stack) -> float:
    """Return what the packers of both nodes count as refused."""
    total = 0.0
    for node in stack.plan.nodes:
        url = f"{stack.settings(node).metrics_url('packer')}/metrics"
        with urllib.request.urlopen(url, timeout=SECONDS_MAX) as answer:
            lines = answer.read().decode().splitlines()
        told = (line for line in lines if line.startswith("orrery_dead_letters_total{"))
        total += sum(float(line.rsplit(" ", 1)[1]) for line in told)
    return total


def test_a_dead_letter_is_sent_again_once_and_says_as_what(stack, tag):
    settings = stack.settings("n1")
    produce(settings, [(f"{tag}0", BAD["oops"] % f"{tag}0".encode())])
    wait_for_letters(settings, tag, 1)
    (letter,) = letters_of(settings, tag)

    first = command.run(stack, "dead-letters", "replay", letter.id)
    again = command.run(stack, "dead-letters", "replay", letter.id)
    wait_for_letters(settings, tag, 2)
    told = {one["id"]: one for one in command.orrery(stack, "dead-letters")}

    assert "1 of 1 sent again" in first.stdout, first.stdout + first.stderr
    assert "0 of 1 sent again" in again.stdout and "it was sent again before" in again.stdout
    assert told[letter.id]["replayed_as"] in told, "it is as bad as it was"
    assert told[letter.id]["replayed_as"] != letter.id


def test_a_batch_that_is_none_is_a_dead_letter_and_the_next_one_is_computed(stack, tag):
    settings = stack.settings("n1")
    symbol = f"{tag}0"
    home = partition_of(symbol, settings.partitions)
    good = own_batch(symbol, [10.0, 11.0])
    other = pa.RecordBatch.from_pydict({"symbol": [symbol], "price": [1.0]})
    bad = {
        "must be an Arrow batch": good[: len(good) // 2],
        "the schema must be that of ticks": stream_of(other),
        "a tombstone": None,
    }
    before = {letter.id for letter in letters_of(settings)}
    producer = Producer({"bootstrap.servers": settings.kafka})

    for value in [*bad.values(), good]:
        producer.produce("ticks", value, symbol, home)
    assert producer.flush(SECONDS_MAX) == 0
    read = ("read", "--chain", "default", "--symbol", symbol, "--format", "json")
    wait_until(lambda: command.run(stack, *read).stdout.count('"vwap"') >= 2, "the good one")

    fresh = [letter for letter in letters_of(settings) if letter.id not in before]
    assert [letter.topic for letter in fresh] == ["ticks"] * len(bad)
    for words in bad:
        assert any(words in letter.reason for letter in fresh), (words, fresh)


def wait_for_letters(settings, tag: str, count: int) -> None:
    wait_until(lambda: len(letters_of(settings, tag)) >= count, f"{count} dead letters")


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS_MAX} s: {what}"
        time.sleep(0.3)


def test_rows_inserted_in_postgres_arrive_once_and_copy_is_refused(stack, tag):
    settings = stack.settings("n1")
    with psycopg.connect(settings.postgres("writer"), autocommit=True) as connection:
        connection.cursor().executemany(
            "INSERT INTO trades (symbol, price, size, side) VALUES (%s, %s, %s, 'buy')",
            [(f"{tag}{i % 3}", f"{i + 1}.50", 1) for i in range(300)],
        )
        with (
            pytest.raises(psycopg.errors.Error, match="COPY FROM not supported"),
            connection.cursor().copy("COPY trades (symbol, price, size) FROM STDIN") as copy,
        ):
            copy.write_row(("A", 1, 1))
        for price in ("NaN", "Infinity", "-1"):
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(
                    "INSERT INTO trades (symbol, price, size) VALUES (%s, %s, 1)", (tag, price)
                )

    rows = wait_for(settings, tag, 300)

    assert sorted(row["price"] for row in rows) == [i + 1.5 for i in range(300)]


def test_two_packers_at_once_a_kill_and_one_that_wakes_count_every_row_once(stack, tag):
    """The stack's two packers share the partitions; a third joins, is paused, and wakes again."""
    settings = stack.settings("n1")
    port = free_port()
    env = {**os.environ, "ORRERY_HOME": str(stack.plan.home), "ORRERY_NODE": "n1",
           "ORRERY_METRICS_PORT": str(port),
           "ORRERY_LIMITS_SHUTDOWN_SECONDS_MAX": "60"}  # fmt: skip
    third = subprocess.Popen(
        [sys.executable, "-m", "orrery_services.packer"], env=env, stderr=subprocess.DEVNULL
    )
    values = trades(tag, 3000)
    try:
        wait_ready(port)  # one that is still starting shares nothing
        for round_ in range(6):
            produce(settings, values[round_ * 500 : (round_ + 1) * 500])
            if round_ == 1:
                time.sleep(3)
                third.send_signal(subprocess.signal.SIGSTOP)
            if round_ == 2:
                faults.kill(stack, "n2.packer")
            if round_ == 4:
                third.send_signal(subprocess.signal.SIGCONT)
        rows = wait_for(settings, tag, 3000)
    finally:
        third.send_signal(subprocess.signal.SIGCONT)
        third.terminate()
        assert third.wait(SECONDS_MAX) == 0
        stack.wait(["n2.packer"])

    assert sorted(row["price"] for row in rows) == [float(i + 1) for i in range(3000)]


def wait_until_one_says(stack, parts: list[str], words: str) -> None:
    """Wait until one of the parts is not ready for this reason."""
    asked = [http_ok(f"http://127.0.0.1:{stack.plan.ports[part]}/readyz") for part in parts]
    deadline, said = time.monotonic() + SECONDS_MAX, []
    while not any(words in why for why in said):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
        said = [why for ready in asked if (why := why_not(ready))]


def why_not(ready) -> str:
    try:
        ready()
    except NotReady as reason:
        return str(reason)
    return ""


def test_a_topic_made_anew_stops_who_packs_it_until_every_node_has_adopted_it(stack, tag):
    settings = stack.settings("n1")
    packers = [f"{node}.packer" for node in stack.plan.nodes]
    produce(settings, trades(tag, 100))
    assert len(wait_for(settings, tag, 100)) == 100

    topics.make_anew(settings, "trades")
    for part in packers:
        wait_until_one_says(stack, [part], "made anew")
    produce(settings, trades(f"{tag}N", 100))
    for node, part in zip(stack.plan.nodes, packers, strict=True):
        assert command.run(stack, "log", "adopt", "trades", "--node", node).returncode == 0
        faults.kill(stack, part)
    rows = wait_for(settings, tag, 200)

    assert sorted(row["price"] for row in rows) == sorted([float(i + 1) for i in range(100)] * 2)
    stack.wait()


def test_a_log_that_lost_its_end_stops_its_partition_alone_until_the_topic_is_renewed(stack, tag):
    settings = stack.settings("n1")
    packers = [f"{node}.packer" for node in stack.plan.nodes]
    lost = partition_of(f"{tag}0", settings.partitions)
    before, behind = trades(tag, 40), trades(f"{tag}N", 60)
    beside = [
        row for row in trades(f"{tag}O", 100) if partition_of(row[0], settings.partitions) != lost
    ]
    for row in before:  # a batch each, so that there is a half to lose
        produce(settings, [row])
    assert len(wait_for(settings, tag, len(before))) == len(before)

    faults.lose_tail(stack, "trades", lost)
    stack.wait(["kafka"])
    wait_until_one_says(stack, packers, "the log lost messages")  # those that were running
    for part in packers:
        faults.kill(stack, part)
    wait_until_one_says(stack, packers, "the log lost messages")  # and those that begin
    produce(settings, beside)
    assert len(wait_for(settings, f"{tag}O", len(beside))) == len(beside)
    assert command.run(stack, "log", "renew", "trades", "--node", "n1").returncode == 0
    assert command.run(stack, "log", "adopt", "trades", "--node", "n2").returncode == 0
    for part in packers:
        faults.kill(stack, part)
    produce(settings, behind)
    rows = wait_for(settings, tag, len(before) + len(beside) + len(behind))

    sent = [json.loads(value) for _, value in before + beside + behind]
    assert sorted((row["symbol"], row["price"]) for row in rows) == sorted(
        (row["symbol"], float(row["price"])) for row in sent
    )
    stack.wait()
