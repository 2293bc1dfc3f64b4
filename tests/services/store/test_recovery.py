"""What a worker reads back from its node is the state that it had."""

import psycopg
import pytest
from orrery_services import store
from orrery_services.analytics import recovery, steps
from orrery_services.cli import verify
from orrery_services.node import Node
from orrery_services.protocol.marks import Mark
from orrery_services.store import heartbeats, leaves, ledger, results

from ..analytics.test_steps import EVERY_ROWS, LENGTHS, LOG, MESSAGES, chain, fresh, take

NAME = steps.facts.chain_id(chain().digest)
STEPS = [{"kernel": "vwap"}, {"kernel": "ewma", "column": "price", "alpha": 0.3}]


@pytest.fixture
def filled(writer):
    """A node that holds all but the last message."""
    heartbeats.adopt_first(writer, "ticks", LOG)
    store.commit(writer, steps.chain_fact(chain(), STEPS, 8))
    writer.execute("INSERT INTO chain_names (name, chain) VALUES ('default', %s)", (NAME,))
    work = fresh()
    for offset, message in enumerate(MESSAGES[:-1]):
        made = take(work, offset, message)
        store.commit(writer, made, [ledger.Move(NAME, 0, steps.links(made))])
    return writer


class Held(Node):
    """A node on a connection that a test has."""

    def __init__(self, connection):
        self._connection, self.name = connection, "n1"
        self.settings = type("Settings", (), {"partitions": 1})()
        self.settings.limits = type("Limits", (), {"checkpoint_rows": EVERY_ROWS})()


def test_a_worker_goes_on_from_its_nodes_mark_bit_for_bit(filled):
    last = len(MESSAGES) - 1
    undisturbed = fresh()
    expected = [take(undisturbed, n, message) for n, message in enumerate(MESSAGES)][last]

    work = recovery.recover(filled, chain(), LOG, 0)

    assert work.position.ordinal == last
    assert take(work, last, MESSAGES[last]) == expected


def test_recovery_reads_no_further_back_than_the_last_checkpoint(filled):
    work = recovery.at_checkpoint(filled, chain(), 0, ordinal=6)
    before = recovery.at_checkpoint(filled, chain(), 0, ordinal=4)

    assert (work.position.ordinal, work.rows) == (5, sum(LENGTHS[:5]))
    assert (before.position.ordinal, before.rows) == (3, sum(LENGTHS[:3]))


def test_a_checkpoint_whose_pieces_have_not_all_arrived_is_passed_over(filled, server, database):
    with psycopg.connect(server.conninfo(database), autocommit=True) as admin:
        admin.execute(
            "DELETE FROM facts WHERE oseq = (SELECT max(oseq) FROM facts WHERE kind = 'piece')"
        )

    work = recovery.at_checkpoint(filled, chain(), 0, ordinal=6)

    assert work.position.ordinal == 3
    assert recovery.recover(filled, chain(), LOG, 0).position.ordinal == len(MESSAGES) - 1


def test_a_new_chain_starts_empty_and_finds_the_stored_input(filled):
    other = verify.Chain([{"kernel": "vwap"}])

    work = recovery.recover(filled, other, LOG, 0)
    found = [link.ordinal for link, _ in recovery.inputs_of(filled, work)]

    assert work.position.ordinal == 0
    assert found == list(range(len(MESSAGES) - 1))


def test_stored_results_verify(filled):
    found = verify.verify_partition(Held(filled), chain(), 0, store.marks(filled)[NAME, 0], 0)

    assert found == verify.Found(len(MESSAGES) - 1, 2, [])


def test_a_result_that_is_not_what_the_chain_makes_is_found(filled, server, database):
    key = f"out/{NAME}/{LOG}/0/000000000004"
    with store.connect(server.conninfo(database)) as admin:
        admin.execute("UPDATE facts SET id = %s WHERE key = %s", (bytes(32), key))

    found = verify.verify_partition(Held(filled), chain(), 0, store.marks(filled)[NAME, 0], 0)

    assert found.differ == [key]


def test_an_input_that_is_gone_is_found(filled, server, database):
    with store.connect(server.conninfo(database)) as admin:
        admin.execute("DELETE FROM facts WHERE key = %s", (f"in/{LOG}/0/000000000003",))

    found = verify.verify_partition(Held(filled), chain(), 0, store.marks(filled)[NAME, 0], 0)

    assert found.differ == ["input 3 of partition 0 is not held"]


def test_reading_gives_the_contracts_columns_in_log_order(filled):
    table = Held(filled).read("default", "A.X")

    names = ["source_topic", "source_partition", "source_offset", "tick_partition",
             "tick_offset", "tick_row", "fact", "symbol", "ts_event_ns"]  # fmt: skip
    outputs = results.chain_info(filled, "default").outputs.names
    assert table.column_names[:9] == names
    assert table.column_names[-len(outputs) :] == outputs
    assert "price" in table.column_names and "size" in table.column_names
    log = list(zip(table["tick_offset"].to_pylist(), table["tick_row"].to_pylist(), strict=True))
    assert log == sorted(set(log))
    assert table.num_rows == sum(LENGTHS[:-1]) // 2
    assert set(table["symbol"].to_pylist()) == {"A.X"}


def test_reading_can_be_bounded_by_event_time(filled):
    whole = Held(filled).read("default", "A.X")["ts_event_ns"].to_pylist()

    part = Held(filled).read("default", "A.X", from_ns=4, to_ns=9)["ts_event_ns"].to_pylist()

    assert part == [at for at in whole if 4 <= at < 9]


def test_a_quarantined_result_is_not_served(filled):
    key = f"out/{NAME}/{LOG}/0/000000000004"
    filled.execute("INSERT INTO divergences VALUES (%s, '', '', 'out', 'n2.x', 0, 1, '')", (key,))

    with pytest.raises(Exception, match=r"must have one content.*orrery settle"):
        Held(filled).read("default", "A.X")


def test_leaves_end_at_the_mark(filled):
    low = Mark(LOG, 3, 3)

    found = [leaf.key for leaf in leaves.of_chunks(filled, NAME, 0, low)]

    assert [key.rsplit("/", 1)[-1] for key in found] == ["000000000000", "000000000001",
                                                         "000000000002"] * 2  # fmt: skip
