"""What the time-series store is sent, and what is left out when it falls behind."""

from types import SimpleNamespace

import pytest
from orrery_services.gateway import series
from orrery_services.gateway.projections import Stretch

SAMPLES_MAX = 200_000


class Store:
    """A node whose chunks hold so many samples each, and how far its series were projected."""

    def __init__(self, samples: int, monkeypatch):
        self.at, self.written = 0, []
        self.series = series.Series("http://127.0.0.1:1", "n1")
        self.series.write = lambda _, found, __: self.written.extend(found) or samples * len(found)
        monkeypatch.setattr(series.results, "chunks_between", self.chunks)
        monkeypatch.setattr(series, "_name", lambda *_: "default")
        monkeypatch.setattr(series.projections, "move", self.move)

    def chunks(self, _, __, ___, ____, offsets: tuple[int, int], count: int) -> list:
        places = range(offsets[0], min(offsets[1], offsets[0] + count))
        return [SimpleNamespace(place=SimpleNamespace(offset=at)) for at in places]

    def move(self, _, __, ___, to: int) -> None:
        self.at = to

    def show(self, high: int) -> None:
        while self.at < high:
            stretch = Stretch(SimpleNamespace(id="c"), 0, "L", self.at, high)
            self.series.show(None, stretch, SAMPLES_MAX)


@pytest.fixture
def skipped():
    before = series.SKIPPED._value.get()
    return lambda: series.SKIPPED._value.get() - before


def test_many_small_chunks_that_wait_are_all_sent(monkeypatch, skipped):
    """A busy moment of a quiet market must not cost its series a hole."""
    store = Store(samples=20, monkeypatch=monkeypatch)
    store.show(64)

    store.show(5_000)

    assert (len(store.written), skipped()) == (5_000, 0)


def test_of_large_ones_the_newest_are_sent_and_the_rest_is_counted(monkeypatch, skipped):
    store = Store(samples=50_000, monkeypatch=monkeypatch)
    store.show(64)

    store.show(5_000)

    kept = SAMPLES_MAX // 50_000
    assert [chunk.place.offset for chunk in store.written[64:]] == list(range(5_000 - kept, 5_000))
    assert skipped() == 5_000 - 64 - kept
