"""Which peers gc waits for: those whose heartbeats lie in the log of facts, however far back."""

import json
from types import SimpleNamespace

import pytest
from orrery_services.cli import peers
from orrery_services.protocol import facts
from orrery_services.replication import steps

STREAM = 4
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def heartbeat(node: str, hours_ago: float, number: int) -> SimpleNamespace:
    """Return a message in which a node names so many of its own facts."""
    origin = f"{node}.x"
    body = json.dumps({origin: {"0": number}}).encode()
    fact = facts.plain_fact("heartbeat", STREAM, f"heartbeat/{origin}", {}, body)[-1]
    headers = steps.headers_of(steps.Delivery(origin, number, fact))
    return SimpleNamespace(
        timestamp=lambda: (1, NOW_MS - int(hours_ago * HOUR_MS)),
        key=lambda: fact.key.encode(),
        value=lambda: fact.payload,
        headers=lambda: headers,
    )


class Log(list):
    """Messages in place of a broker's; it is its own reader."""

    def ends(self, *_: object) -> tuple[int, int]:
        return 0, len(self)

    def read(self, _: str, __: int, start: int, end: int) -> list[SimpleNamespace]:
        return self[start:end]

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("hours_max", "silent"), [(168, []), (2, ["n2"])])
def test_a_peer_that_was_heard_within_its_hours_is_waited_for_whatever_came_since(
    monkeypatch, hours_max, silent
):
    talk = [heartbeat("n3", 1 - at / 100, 10 + at) for at in range(50)]
    log = Log([heartbeat("n2", 5, 6), heartbeat("n3", 4, 1), heartbeat("n2", 3, 7), *talk])
    monkeypatch.setattr(peers, "TAIL_MAX", 20)
    monkeypatch.setattr(peers.bus, "LogReader", lambda *_: log)
    settings = SimpleNamespace(
        values={"data.retention.peer_silent_hours_max": hours_max},
        partitions=STREAM, kafka="", peers=("n2", "n3"),
    )  # fmt: skip

    found = peers.peers_of(settings, NOW_MS * 1_000_000)

    heard = {"n2": {"n2.x": {"0": 7}}, "n3": {"n3.x": {"0": 59}}}
    assert found.silent == silent
    assert found.held == {node: named for node, named in heard.items() if node not in silent}
