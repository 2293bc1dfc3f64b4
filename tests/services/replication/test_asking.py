"""Looking for gaps: a topic that is read again may be long, and the process lives meanwhile."""

from types import SimpleNamespace

import pytest
from orrery_services.protocol.arrivals import Range
from orrery_services.protocol.rules import ALL_RULES
from orrery_services.replication import asking, steps

MESSAGES = 1_000
S = 1_000_000_000
ODD = SimpleNamespace(key=lambda: b"k", value=lambda: b"", headers=lambda: None)


@pytest.fixture
def beats() -> list[None]:
    return []


@pytest.fixture
def asker(beats, monkeypatch) -> asking.Asking:
    """Asks on behalf of a node that misses a number which the topic does not hold."""
    made = asking.Asking.__new__(asking.Asking)
    made._identity, made._settings = SimpleNamespace(origin="n1.x"), SimpleNamespace(node="n1")
    made._connection, made._rules = None, ALL_RULES
    made._watch, made._beat = steps.GapWatch(), lambda: beats.append(None)
    made._reader = SimpleNamespace(
        ends=lambda topic, partition: (0, MESSAGES), read=lambda *_: [ODD] * MESSAGES
    )
    made._producer = SimpleNamespace(poll=lambda _: 0)
    missing = {("n2.x", 0): [Range(1, 1)]}
    monkeypatch.setattr(asking.heartbeats, "missing", lambda *_: missing)
    monkeypatch.setattr(asking.mended, "wanted", lambda _: {})
    return made


def test_a_topic_is_read_again_with_a_beat_for_every_message(asker, beats):
    for now_ns in (0, 3 * S):
        assert list(asker.look(now_ns, near_end=True)) == []

    assert len(beats) == MESSAGES
