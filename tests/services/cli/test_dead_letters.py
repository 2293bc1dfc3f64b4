"""orrery dead-letters replay sends each refused row once."""

import signal
from types import SimpleNamespace

import pytest
from orrery_services import bus, process
from orrery_services.cli import dead_letters as cli
from orrery_services.protocol import dead_letters
from orrery_services.protocol.labels import Place


@pytest.fixture
def topics(monkeypatch, request):
    """What is sent, by topic, in place of a broker."""
    sent: dict[str, list[bytes]] = {"trades": [], dead_letters.TOPIC: []}

    def send_now(_, topic, value, *__):
        sent[topic].append(value)
        place = topic, 0, len(sent[topic]) - 1
        return SimpleNamespace(**{
            name: lambda part=part: part
            for name, part in zip(("topic", "partition", "offset"), place, strict=True)
        })  # fmt: skip

    monkeypatch.setattr(bus, "producer", lambda _: None)
    monkeypatch.setattr(bus, "send_now", send_now)
    monkeypatch.setattr(cli.common, "settings_of", lambda _: SimpleNamespace(kafka=""))
    for number in (signal.SIGINT, signal.SIGTERM):  # given back behind the test
        before = signal.getsignal(number)
        request.addfinalizer(lambda number=number, before=before: signal.signal(number, before))
    monkeypatch.setattr(cli, "read_all", lambda _: dead_letters.read(sent[dead_letters.TOPIC]))
    return sent


def refuse(topics, log_id: str, value: bytes) -> None:
    letter = dead_letters.letter(Place("trades", log_id, 0, 5), "no price", value)
    topics[dead_letters.TOPIC].append(dead_letters.seal(letter).value)


def test_a_row_at_the_place_of_one_that_was_sent_before_its_topic_was_made_anew_is_sent(topics):
    for log_id, value in (("old", b"1"), ("new", b"2")):
        refuse(topics, log_id, value)
        for _ in range(2):
            cli.replay()

    assert topics["trades"] == [b"1", b"2"]


def test_who_presses_ctrl_c_finds_every_row_that_was_sent_noted(topics, monkeypatch):
    for log_id, value in (("a", b"1"), ("b", b"2")):
        refuse(topics, log_id, value)
    send = bus.send_now
    unarmed = SimpleNamespace(start=lambda: None)  # the last resort would end this very process
    monkeypatch.setattr(process.threading, "Timer", lambda *_: unarmed)

    def interrupted(_, topic, *rest):
        if topic == "trades":
            signal.raise_signal(signal.SIGINT)
        return send(_, topic, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(bus, "send_now", interrupted)
        cli.replay()
    assert topics["trades"] == [b"1"]

    cli.replay()
    assert topics["trades"] == [b"1", b"2"]
