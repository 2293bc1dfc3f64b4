"""What a watch tells: late, twice, out of order, or not at all."""

import queue
import threading
import time

from orrery_services.errors import OutsideError
from orrery_services.hotswap import app

from .objects import a_pod


def news(*pods) -> "queue.Queue":
    made: queue.Queue = queue.Queue()
    for pod in pods:
        made.put(("domino-0", pod))
    return made


def seen(version: int, uid: str = "u1") -> dict:
    return a_pod(resourceVersion=str(version), uid=uid)


def test_of_several_news_the_latest_counts():
    latest: dict = {}

    assert app.drain(news(seen(7), seen(8), seen(9)), latest, 0.0) == ["domino-0"] * 3

    assert latest["domino-0"]["metadata"]["resourceVersion"] == "9"


def test_a_watch_that_tells_of_an_older_state_is_not_believed():
    latest = {"domino-0": seen(10)}

    assert app.drain(news(seen(9)), latest, 0.0) == []

    assert latest["domino-0"]["metadata"]["resourceVersion"] == "10"


def test_the_same_state_twice_is_a_reason_to_look_and_nothing_more():
    latest = {"domino-0": seen(10)}

    assert app.drain(news(seen(10)), latest, 0.0) == ["domino-0"]


def test_another_pod_of_the_name_counts_whatever_its_version():
    latest = {"domino-0": seen(10)}

    app.drain(news(seen(4, "u2")), latest, 0.0)

    assert latest["domino-0"]["metadata"]["uid"] == "u2"


def test_a_pod_that_is_gone_is_news():
    latest = {"domino-0": seen(10)}

    assert app.drain(news(None), latest, 0.0) == ["domino-0"]

    assert latest["domino-0"] is None


class Breaking:
    """A port whose first watch breaks in the middle."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def watch(self, name: str, seconds: float):
        self.asked.append(seconds)
        yield seen(len(self.asked))
        if len(self.asked) == 1:
            raise OutsideError("the connection was reset")
        time.sleep(60)


def test_a_watch_that_breaks_is_begun_anew_and_every_one_ends_by_itself(monkeypatch):
    monkeypatch.setattr(app, "RETRY_SECONDS", 0.05)
    port, told, stop = Breaking(), news(), threading.Event()
    threading.Thread(target=app.watch, args=(port, "domino-0", told, stop), daemon=True).start()

    versions = [told.get(timeout=5)[1]["metadata"]["resourceVersion"] for _ in range(2)]

    stop.set()
    assert versions == ["1", "2"]
    assert port.asked[:2] == [app.RESYNC_SECONDS] * 2
