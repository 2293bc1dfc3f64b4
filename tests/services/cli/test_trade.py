"""How long `orrery trade` waits at a hop."""

import pytest
from orrery_services.cli import trade
from orrery_services.cli.trade import Left
from orrery_services.errors import OutsideError

STILL_SECONDS = 0.2


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(trade, "TELL_SECONDS", 0.02)


def test_a_hop_with_a_backlog_is_waited_for_as_long_as_it_shrinks():
    looks, counts = iter([False] * 120 + [True]), iter(range(1000, 0, -1))

    assert trade.wait_for(
        lambda: next(looks), "a hop", 0.05, lambda: Left(next(counts), "rows", [])
    )


def test_a_service_that_is_coming_up_is_waited_for():
    looks = iter([False] * 120 + [True])
    folding = Left(None, "rows", ["n1 packer waits: folds the log"])

    assert trade.wait_for(lambda: next(looks), "a hop", 0.05, lambda: folding)


def test_where_nothing_moves_it_says_what_lies_before_the_trade(capsys):
    with pytest.raises(OutsideError, match=r"must reach a hop, .* \(7 rows before it\)"):
        trade.wait_for(lambda: None, "a hop", STILL_SECONDS, lambda: Left(7, "rows", []))

    assert "waiting  a hop: 7 rows before it" in capsys.readouterr().err


def test_nothing_is_waited_for_without_a_bound(monkeypatch):
    monkeypatch.setattr(trade, "WAIT_SECONDS_MAX", STILL_SECONDS)
    folding = Left(None, "rows", ["n1 packer waits: folds the log"])

    with pytest.raises(OutsideError, match="n1 packer waits: folds the log"):
        trade.wait_for(lambda: None, "a hop", 60.0, lambda: folding)
