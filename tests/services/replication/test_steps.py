"""Messages, gaps, asks and old disks, as plain decisions."""

import base64

import pytest
from orrery_services.protocol import facts
from orrery_services.protocol.arrivals import Range
from orrery_services.protocol.facts import BadFact
from orrery_services.protocol.rules import ALL_RULES
from orrery_services.replication import steps

S = 1_000_000_000
FACT = facts.plain_fact("run", 3, "run/1", {}, b"body")[0]
DELIVERY = steps.Delivery("n2.abc", 7, FACT)
SOURCE = ("n2.abc", 3)


def parse(**changed: bytes | None) -> steps.Delivery:
    headers = dict(steps.headers_of(DELIVERY)) | changed
    given = [(name, data) for name, data in headers.items() if data is not None]
    return steps.parse(b"run/1", FACT.payload, given, 3)


def test_what_is_sent_again_reads_as_it_came():
    assert parse() == DELIVERY


@pytest.mark.parametrize("form", [FACT.id, base64.b64encode(FACT.id), FACT.id.hex().encode()])
def test_an_id_is_read_in_every_form_that_a_converter_writes(form):
    assert parse(id=form).fact.id == FACT.id


@pytest.mark.parametrize(
    "changed",
    [{"id": None}, {"origin": None}, {"kind": None}, {"oseq": None}, {"oseq": b"0"},
     {"oseq": b"x"}, {"id": b"short"}, {"origin": b""}, {"origin": b"\xff"},
     {"origin": b"n2\0"}],
)  # fmt: skip
def test_a_message_that_is_no_fact_says_why(changed):
    with pytest.raises(BadFact):
        parse(**changed)


def test_a_gap_is_looked_for_in_the_topic_first_then_asked_for_then_ever_less_often():
    watch, missing = steps.GapWatch(), {SOURCE: [Range(3, 4)]}
    seen = []
    for second in range(70):
        read, ask = watch.look(missing, second * S)
        seen += [(second, "read") for _ in read] + [(second, "ask") for _ in ask]

    assert seen[:4] == [(2, "read"), (4, "ask"), (8, "read"), (16, "ask")]
    assert len(seen) == 6
    assert watch.oldest_ns(69 * S) == 69 * S


def test_a_gap_that_was_filled_is_forgotten():
    watch = steps.GapWatch()
    watch.look({SOURCE: [Range(3, 4)]}, 0)

    watch.look({}, S)

    assert watch.gaps == {}


def test_an_ask_reads_as_it_was_sent():
    asks = steps.asks_for({SOURCE: [Range(3, 4), Range(9, 9)]}, [SOURCE], "n1")

    assert [steps.parse_ask(steps.pack_ask(ask)) for ask in asks] == asks
    assert [(ask.low, ask.high) for ask in asks] == [(3, 4), (9, 9)]


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{}", b'{"origin":1}', b"\xff"])
def test_what_is_no_ask_is_refused(value):
    with pytest.raises(ValueError, match=r".+"):
        steps.parse_ask(value)


@pytest.mark.parametrize("odd", [{"origin": 5}, {"origin": "n2\0"}, {"asker": None}])
def test_an_ask_that_does_not_name_origin_and_asker_is_refused(odd):
    value = steps.pack_ask(ask(1, 2)._replace(**odd))

    with pytest.raises(ValueError, match="must name origin and asker"):
        steps.parse_ask(value)


def ask(low: int, high: int, asker: str = "n1") -> steps.Ask:
    return steps.Ask(*SOURCE, low, high, asker)


def test_the_writer_answers_at_once_and_others_only_when_nobody_did():
    writer, other = steps.Answers("n2", 100), steps.Answers("n3", 100)
    writer.want(ask(3, 4), 0)
    other.want(ask(3, 4), 0)

    other.saw((*SOURCE, 3))

    assert writer.take_due(0) == [(*SOURCE, 3), (*SOURCE, 4)]
    assert other.take_due(S) == []
    assert other.take_due(2 * S) == [(*SOURCE, 4)]


def test_the_same_ask_again_is_answered_once_in_a_while():
    answers = steps.Answers("n2", 100)
    answers.want(ask(3, 3), 0)
    answers.take_due(0)

    answers.want(ask(3, 3), S)
    early = answers.take_due(S)
    answers.want(ask(3, 3), 20 * S)

    assert early == []
    assert answers.take_due(20 * S) == [(*SOURCE, 3)]


def test_nobody_answers_himself_and_nobody_answers_without_bound():
    answers = steps.Answers("n2", 10)

    assert answers.want(ask(1, 5, asker="n2"), 0) == 0
    assert answers.want(ask(1, 1000), 0) == 990
    assert len(answers.take_due(0)) == 10


def evidence(**changed) -> steps.Evidence:
    same = {"own": {0: 5}, "in_topic": {0: 5}, "named_by_peers": {0: 5},
            "own_ids": {"trades": 9}, "seen_ids": {"trades": 9}}  # fmt: skip
    return steps.Evidence(**(same | changed))


def test_a_disk_that_remembers_everything_is_the_same():
    assert steps.why_restored(evidence()) is None


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"in_topic": {0: 6}}, None),
        ({"named_by_peers": {1: 1}}, "peers_show_a_restored_disk"),
        ({"seen_ids": {"trades": 10}}, "row_ids_show_a_restored_disk"),
    ],
)
def test_a_disk_that_the_world_has_seen_more_of_is_an_old_one(changed, rule):
    assert steps.why_restored(evidence(**changed))
    if rule:
        assert steps.why_restored(evidence(**changed), ALL_RULES.without(rule)) is None
