"""The shell of the replicator: an odd message is said and passed over, and stops nobody."""

from types import SimpleNamespace

import pytest
from orrery_services.protocol import facts
from orrery_services.protocol.facts import Place
from orrery_services.protocol.rules import ALL_RULES
from orrery_services.replication import app, steps

PLACE = Place("logloglogloglogloglogl", 0, 17)
META = {"ordinal": 1, "changed": {}}


class Message:
    """A message of `facts` as its origin's connector writes it."""

    def __init__(self, offset: int, kind: str, key: str, body: bytes = b"{}"):
        self.at = offset
        self.fact = facts.plain_fact(kind, 0, key, META, body)[-1]

    def offset(self) -> int:
        return self.at

    def partition(self) -> int:
        return self.fact.stream

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at

    def key(self) -> bytes:
        return self.fact.key.encode()

    def value(self) -> bytes:
        return self.fact.payload

    def headers(self) -> list[tuple[str, bytes]]:
        return steps.headers_of(steps.Delivery("n2.x", self.at + 1, self.fact))


@pytest.fixture
def written() -> list[facts.Fact]:
    return []


@pytest.fixture
def replicator(written, monkeypatch) -> app.Replicator:
    """A replicator whose store is a list."""
    made = app.Replicator.__new__(app.Replicator)
    made.identity, made._rules = SimpleNamespace(origin="n1.x"), ALL_RULES
    made._asking = SimpleNamespace(saw=lambda _: None)
    made._places, made._plain = {}, None
    monkeypatch.setattr(
        made, "_write", lambda receipts: written.extend(one.fact for one in receipts)
    )
    return made


@pytest.mark.parametrize(
    ("kind", "key"),
    [("note", "note/a\0b"), ("out", "out"), ("in", facts.place_key("in", PLACE)[:-1] + "x")],
)
def test_what_no_reader_could_place_stays_missing_and_the_rest_is_written(
    replicator, written, kind, key
):
    good = Message(2, "in", facts.place_key("in", PLACE))

    replicator._receive([Message(1, kind, key), good])

    assert written == [good.fact]
    assert replicator._places == {0: 3}


def test_a_heartbeat_of_an_odd_stream_is_not_heard(replicator, monkeypatch):
    heard = []
    monkeypatch.setattr(app.heartbeats, "heard", lambda _, held, rules: heard.append(held))
    beats = [b'{"n2.x":{"a":1}}', b'{"n2.x":{"0":1}}']

    replicator._receive([Message(n, "heartbeat", "beat", body) for n, body in enumerate(beats)])

    assert heard == [{"n2.x": {"0": 1}}]
