"""How a capture keeps its pace, and where it stops."""

import pytest
from orrery_services.feed import app, steps

HOUR_NS = 3_600 * 10**9


@pytest.fixture
def waits(monkeypatch):
    """How long rows wait, by their receive times, at a moment that does not pass."""
    monkeypatch.setattr(app.clock, "monotonic_ns", lambda: 0)
    pace = app._Pace(1.0)
    return lambda *times_ns: [pace.ahead_seconds(at) for at in times_ns]


def test_rows_keep_their_distances(waits):
    assert waits(5 * HOUR_NS, 5 * HOUR_NS + 10**9, 6 * HOUR_NS) == [0.0, 1.0, 3600.0]


def test_one_time_that_is_far_ahead_holds_up_neither_its_row_nor_those_behind_it(waits):
    assert waits(0, 10**9, 10**22, 2 * 10**9) == [0.0, 1.0, 0.0, 2.0]


def test_a_market_that_was_shut_goes_on_with_its_second_row(waits):
    night_ns = 12 * HOUR_NS

    assert waits(0, night_ns, night_ns + 10**9, night_ns + 3 * 10**9) == [0.0, 0.0, 0.0, 2.0]


def test_so_many_rows_are_so_many_whatever_is_skipped_between():
    row, skipped = steps.Row("trades", "A.X", b"{}", None), steps.Skipped("a heartbeat")
    found = iter([skipped, row, skipped, row, row])

    assert list(app.first(found, 2)) == [skipped, row, skipped, row]
    assert list(found) == [row], "what comes behind is not asked for"
