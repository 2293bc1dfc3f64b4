"""The stack itself: started twice, killed, on taken ports, and gone without a trace.

One node and no services: these tests are about slots and processes. Servers that are killed while
rows flow are the kill table's.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from orrery_services import cdc, connect
from orrery_services.config import ROLES, Section
from orrery_services.errors import OutsideError, PortTaken
from orrery_services.stack import (
    Stack,
    control,
    faults,
    make_plan,
    postgres,
    processes,
    topics,
)
from orrery_services.stack.supervisor import KEEP_SECONDS
from orrery_services.store import identity

from tests.system import command

pytestmark = pytest.mark.real
NODE = "n1"
SECONDS_MAX = 120.0


@pytest.fixture(scope="module")
def servers(short_tmp, request) -> Iterator[Stack]:
    """One sky and one node without services."""
    start, remove = request.getfixturevalue("start_and_remove")
    made = start(short_tmp / "servers", (NODE,), services=())
    yield made
    remove(made)


def look(stack: Stack) -> None:
    """Do what the replication service does before anybody may insert: say who the database is."""
    with faults.admin(stack, NODE) as admin:
        if identity.who(admin) is None:
            identity.begin(admin, NODE, identity.EMPTY_DISK)
        identity.looked_at(admin, identity.server(admin))


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for what must come. While its own group settles Connect answers nothing useful."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        with contextlib.suppress(OutsideError):
            if condition():
                return
        assert time.monotonic() < deadline, f"not within {SECONDS_MAX:.0f} s: {what}"
        time.sleep(0.1)


def insert_trades(stack: Stack, symbol: str, count: int) -> None:
    look(stack)
    with psycopg.connect(stack.settings(NODE).postgres("writer"), autocommit=True) as writer:
        for number in range(count):
            writer.execute(
                "INSERT INTO trades (symbol, price, size) VALUES (%s, %s, 1)",
                [symbol, f"{100 + number}.50"],
            )


def captured(stack: Stack, symbol: str) -> list[bytes]:
    """Return every message of `trades` with this key, in order of partition and offset."""
    consumer = Consumer({"bootstrap.servers": stack.settings(NODE).kafka, "group.id": "none"})
    partitions = [TopicPartition("trades", p, 0) for p in range(stack.settings(NODE).partitions)]
    left = {p.partition: consumer.get_watermark_offsets(p, SECONDS_MAX)[1] for p in partitions}
    consumer.assign([p for p in partitions if left[p.partition]])
    remaining, found = sum(left.values()), []
    while remaining:
        message = consumer.poll(SECONDS_MAX)
        assert message is not None, "the broker must give what it says it has"
        assert message.error() is None
        remaining -= 1
        if message.key() == symbol.encode():
            found.append(message.value())
    consumer.close()
    return found


def test_a_topic_is_kept_for_as_long_as_is_declared_now(servers):
    settings = servers.settings(NODE)
    hours = settings.data.log_retention_hours
    data = Section("data", {**settings.data, "log_retention_hours": hours + 1})
    changed = dataclasses.replace(settings, data=data)

    assert f"set retention.ms of ticks to {(hours + 1) * topics.HOUR_MS}" in topics.ensure(changed)
    assert topics.ensure(changed) == ""
    assert "of ticks" in topics.ensure(settings)


def test_the_second_up_changes_nothing_and_says_so(servers):
    before = {name: part["pid"] for name, part in servers.parts().items()}

    assert servers.up() is False
    assert {name: part["pid"] for name, part in servers.parts().items()} == before


def test_the_command_says_that_it_is_up_already(servers):
    told = command.run(servers, "up")

    assert told.returncode == 0, told.stderr
    assert "is up already" in told.stdout
    assert f"127.0.0.1:{servers.plan.ports['kafka']}" in told.stdout


def test_a_row_inserted_in_postgres_arrives_in_its_topic_as_it_was_written(servers):
    insert_trades(servers, "ROW.TEST", 3)

    wait_until(lambda: len(captured(servers, "ROW.TEST")) == 3, "three rows in the topic")
    first = captured(servers, "ROW.TEST")[0]
    assert b'"price":"100.50"' in first
    assert b'"symbol":"ROW.TEST"' in first


def test_rows_committed_while_a_slot_is_gone_arrive_all_the_same(servers):
    wait_until(lambda: is_marked(servers), "the slot is one of ours")
    insert_trades(servers, "SLOT.TEST", 2)
    wait_until(lambda: len(set(captured(servers, "SLOT.TEST"))) == 2, "what came before")

    faults.drop_slot(servers, NODE)
    insert_trades(servers, "SLOT.TEST", 5)

    wait_until(lambda: len(ids(servers, "SLOT.TEST")) == 7, "all seven rows")
    wait_until(lambda: is_marked(servers), "the new slot is one of ours")


def is_marked(stack: Stack) -> bool:
    settings = stack.settings(NODE)
    with faults.admin(stack, NODE) as admin:
        slot = cdc.slot(admin, "source")
    config = connect.config(settings, "source")
    return bool(slot and slot.ours and slot.active and config and config[cdc.MARK] == "false")


def ids(stack: Stack, symbol: str) -> set[bytes]:
    return {value.split(b",")[0] for value in captured(stack, symbol)}


def test_a_stopped_part_stays_down_until_it_is_started(servers):
    faults.stop(servers, "n1.tsdb")
    time.sleep(1.0)
    assert servers.parts()["n1.tsdb"]["state"] in ("stopped", "left out")

    faults.start(servers, "n1.tsdb")
    servers.wait(["n1.tsdb"], SECONDS_MAX)


def test_passwords_are_in_files_of_mode_600_and_in_no_command_line_and_no_log(servers):
    folder = servers.plan.secrets(NODE)
    passwords = [(folder / role).read_text() for role in ROLES]

    assert all(stat.S_IMODE((folder / role).stat().st_mode) == 0o600 for role in ROLES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(set(passwords)) == len(ROLES)
    lines = [processes.command_line(p.pid) for p in processes.children_of_stack(servers.plan.home)]
    logs = [path.read_text(errors="replace") for path in servers.plan.home.glob("logs/*")]
    shown = [str(connect.config(servers.settings(NODE), name)) for name in connect.NAMES]
    assert len(lines) > 3
    for text in lines + logs + shown:
        assert not any(password in text for password in passwords)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("writer", "UPDATE facts SET kind = 'x'"),
        ("writer", "DELETE FROM facts"),
        ("writer", "TRUNCATE facts"),
        ("writer", "COPY trades (symbol, price, size) FROM STDIN"),
        ("writer", "COPY facts FROM STDIN"),
        ("writer", "CREATE TABLE mine (a int)"),
        ("writer", "DROP TABLE trades"),
        ("reader", "INSERT INTO trades (symbol, price, size) VALUES ('A', 1, 1)"),
        ("reader", "CREATE TABLE mine (a int)"),
        ("cdc", "INSERT INTO trades (symbol, price, size) VALUES ('A', 1, 1)"),
        ("cdc", "SELECT * FROM marks"),
        ("reader", "SELECT pg_read_file('/etc/passwd')"),
    ],
)
def test_a_role_may_not_do_what_is_not_its_work(servers, role, statement):
    refused = (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)
    with (
        psycopg.connect(servers.settings(NODE).postgres(role)) as connection,
        pytest.raises(refused),
    ):
        connection.execute(statement)


def test_postgres_listens_on_loopback_alone_and_wants_a_password(servers):
    with faults.admin(servers, NODE) as admin:
        assert admin.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
    port = servers.plan.ports["n1.postgres"]
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(f"host=127.0.0.1 port={port} user=orrery_admin dbname=orrery passfile=/no")


def test_a_taken_port_is_named_with_who_has_it_and_how_to_move(short_tmp):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        home = short_tmp / "taken"
        stack = Stack(make_plan(home, (NODE,), port_base=29_000, ports={"kafka": port}))

        with pytest.raises(PortTaken, match=rf"{port} \(kafka\) is held by pid {os.getpid()}"):
            stack.up()

    assert stack.parts() is None
    assert processes.children_of_stack(home) == []


def test_after_kill_9_of_the_supervisor_up_recovers_with_the_data(servers):
    insert_trades(servers, "KEPT.TEST", 2)
    pid = control.ask(servers.plan.run, do="status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: processes.find(pid) is None or servers.parts() is None, "it is gone")
    assert processes.children_of_stack(servers.plan.home), "its children must have been left behind"
    told: list[str] = []

    assert servers.up(told.append) is True

    assert any("a killed supervisor left behind" in line for line in told)
    for part in ("kafka", "connect", "n1.postgres"):
        assert any(part in line and line.endswith("ready") for line in told), "progress is shown"
    wait_until(lambda: len(ids(servers, "KEPT.TEST")) == 2, "rows from before")
    insert_trades(servers, "AFTER.TEST", 1)
    wait_until(lambda: captured(servers, "AFTER.TEST"), "rows from after")


def test_after_a_loss_of_power_up_recovers_though_another_program_has_the_old_number(servers):
    """Nobody could say good-bye; and once the machine is up again, other programs run."""
    insert_trades(servers, "POWER.TEST", 2)
    running = processes.children_of_stack(servers.plan.home)
    for process in sorted(running, key=lambda one: one.started):  # the supervisor first
        process.send(signal.SIGKILL)
    wait_until(lambda: not processes.children_of_stack(servers.plan.home), "all of it is gone")
    lock = postgres.data_folder(servers.plan, NODE) / "postmaster.pid"
    _, rest = lock.read_text().split("\n", 1)

    with subprocess.Popen(["sleep", "600"], **postgres.as_user(postgres.run_as())) as other:
        lock.write_text(f"{other.pid}\n{rest}")
        try:
            assert servers.up() is True
        finally:
            other.kill()

    wait_until(lambda: len(ids(servers, "POWER.TEST")) == 2, "rows from before")
    insert_trades(servers, "ON.TEST", 1)
    wait_until(lambda: captured(servers, "ON.TEST"), "rows from after")


def test_a_slot_stays_the_one_it_was_when_connect_is_killed(servers):
    def decoded() -> int:
        with faults.admin(servers, NODE) as admin:
            return admin.execute("SELECT total_txns FROM pg_stat_replication_slots").fetchone()[0]

    known = decoded()
    insert_trades(servers, "SLOT.TEST", 20)  # a transaction each
    wait_until(lambda: decoded() >= known + 20, "they are decoded")
    before = decoded()

    faults.kill(servers, "connect")
    servers.wait()
    insert_trades(servers, "BEHIND.TEST", 1)
    wait_until(lambda: captured(servers, "BEHIND.TEST"), "the row")
    time.sleep(2 * KEEP_SECONDS)

    assert decoded() > before, "a slot made anew counts from nothing"


def test_a_connector_that_somebody_left_halfway_through_its_new_beginning_is_begun_again(servers):
    settings = servers.settings(NODE)
    current = connect.config(settings, "source")
    connect.put(settings, "source", current | {cdc.BEGINS: "true"})
    connect.stop(settings, "source")

    wait_until(lambda: connect.state(settings, "source")[0] == "RUNNING", "it runs")
    wait_until(
        lambda: cdc.BEGINS not in (connect.config(settings, "source") or cdc.BEGINS), "it streams"
    )
    insert_trades(servers, "HALFWAY.TEST", 2)
    wait_until(lambda: captured(servers, "HALFWAY.TEST"), "rows from after")


def test_a_connector_that_somebody_stopped_stays_stopped(servers):
    settings = servers.settings(NODE)
    connect.stop(settings, "source")
    wait_until(lambda: connect.state(settings, "source")[0] == "STOPPED", "it is stopped")

    time.sleep(3 * KEEP_SECONDS)
    state, _ = connect.state(settings, "source")
    connect.resume(settings, "source")

    assert state == "STOPPED"
    wait_until(lambda: connect.state(settings, "source")[0] == "RUNNING", "it runs")


def test_an_empty_disk_and_a_backup_put_back_give_a_working_node(servers, short_tmp):
    insert_trades(servers, "BACKUP.TEST", 1)
    faults.backup(servers, NODE, short_tmp / "backup")
    insert_trades(servers, "LATER.TEST", 1)

    faults.wipe(servers, NODE)
    with faults.admin(servers, NODE) as admin:
        assert admin.execute("SELECT count(*) FROM trades").fetchone() == (0,)

    faults.restore(servers, NODE, short_tmp / "backup")
    with faults.admin(servers, NODE) as admin:
        found = admin.execute("SELECT DISTINCT symbol FROM trades").fetchall()
    assert ("BACKUP.TEST",) in found
    assert ("LATER.TEST",) not in found


def test_a_home_deleted_under_it_ends_everything(short_tmp, request):
    start, _ = request.getfixturevalue("start_and_remove")
    home = short_tmp / "deleted"
    start(home, (NODE,), services=())
    assert len(processes.children_of_stack(home)) >= 3

    shutil.rmtree(home, ignore_errors=True)

    wait_until(lambda: not processes.children_of_stack(home), "every part ended")


def test_down_leaves_no_process_and_clean_leaves_no_file(servers):
    """The last of these tests: afterwards there are no servers."""
    home = servers.plan.home
    running = [part["pid"] for part in servers.parts().values() if part["pid"]]
    assert len(running) >= 3

    assert servers.down() is True

    assert processes.children_of_stack(home) == []
    assert not any(processes.find(pid) for pid in running)
    assert servers.down() is False
    servers.clean()
    assert not home.exists()
