"""Sending one message: it is with the broker, or the sender is told in plain words."""

import pytest
from orrery_services import bus
from orrery_services.errors import OutsideError

NOBODY = "127.0.0.1:1"


def test_a_message_that_no_broker_took_is_told_and_not_waited_for_for_ever():
    producer = bus.producer(NOBODY)

    with pytest.raises(OutsideError, match=r"dead-letters must take a message.*within 0\.3 s"):
        bus.send_now(producer, "dead-letters", b"{}", seconds_max=0.3)
    producer.purge()


def test_a_message_that_can_never_be_sent_is_told_at_once():
    producer = bus.producer(NOBODY)

    with pytest.raises(OutsideError, match=r"trades must take a message, but: .*too large"):
        bus.send_now(producer, "trades", bytes(17_000_000))


def test_a_broker_that_is_away_is_seen_though_nothing_fails(monkeypatch):
    monkeypatch.setattr(bus, "LOGS_SECONDS", 0)
    monkeypatch.setattr(bus, "LOGS_REQUEST_SECONDS_MAX", 0.1)
    watch = bus.LogsWatch(NOBODY, {"trades": "log"})

    said = [(watch.look(), watch.away())[1] for _ in range(3)]

    assert said == [False, True, True], "one answer may be late"


def test_a_broker_that_does_not_answer_is_told_in_plain_words():
    with pytest.raises(OutsideError) as told:
        bus.log_ids(bus.admin(NOBODY), ["trades"], 0.3)

    assert "the broker must answer within 0.3 s" in str(told.value)
    assert "orrery doctor" in str(told.value) and "KafkaError{" not in str(told.value)
