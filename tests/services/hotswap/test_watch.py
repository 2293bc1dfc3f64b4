"""What a watch tells: late, twice, out of order, or not at all."""

import queue
import threading
import time
import zlib
from collections import deque

import pytest
from orrery_services.errors import OutsideError
from orrery_services.hotswap import app, chain, steps, watching
from orrery_services.hotswap.port import Conflict, Refused
from orrery_services.hotswap.runs import FileRuns

from .objects import IDLE_IMAGE, a_marker, a_pod, a_pod_at, a_run, container, evicted, trail
from .test_decide import crashed


def news(*pods) -> "queue.Queue":
    made: queue.Queue = queue.Queue()
    for pod in pods:
        made.put(("domino-0", pod))
    return made


def seen(version: int, uid: str = "u1") -> dict:
    return a_pod(resourceVersion=str(version), uid=uid)


def test_of_several_news_the_latest_counts():
    latest: dict = {}

    assert watching.drain(news(seen(7), seen(8), seen(9)), latest, 0.0, deque()) == ["domino-0"] * 3

    assert latest["domino-0"]["metadata"]["resourceVersion"] == "9"


def test_a_watch_that_tells_of_an_older_state_is_not_believed():
    latest = {"domino-0": seen(10)}

    assert watching.drain(news(seen(9)), latest, 0.0, deque()) == []

    assert latest["domino-0"]["metadata"]["resourceVersion"] == "10"


def test_the_same_state_twice_is_a_reason_to_look_and_nothing_more():
    latest = {"domino-0": seen(10)}

    assert watching.drain(news(seen(10)), latest, 0.0, deque()) == ["domino-0"]


def test_another_pod_of_the_name_counts_whatever_its_version():
    latest = {"domino-0": seen(10)}

    watching.drain(news(seen(4, "u2")), latest, 0.0, deque())

    assert latest["domino-0"]["metadata"]["uid"] == "u2"


def test_a_pod_that_is_gone_is_news():
    latest = {"domino-0": seen(10)}

    assert watching.drain(news(None), latest, 0.0, deque()) == ["domino-0"]

    assert latest["domino-0"] is None


def test_a_pod_that_was_evicted_and_removed_at_once_is_put_aside():
    latest, ended, gone = {"domino-0": seen(10)}, deque(), evicted(seen(11))

    assert watching.drain(news(seen(10), gone, None), latest, 0.0, ended) == ["domino-0"] * 3

    assert (latest["domino-0"], list(ended)) == (None, [gone])


class Breaking:
    """A port whose first watch breaks in the middle."""

    def __init__(self, cause: Exception) -> None:
        self.asked: list[float] = []
        self.cause = cause

    def watch(self, name: str, seconds: float):
        self.asked.append(seconds)
        yield seen(len(self.asked))
        if len(self.asked) == 1:
            raise self.cause
        time.sleep(60)


@pytest.mark.parametrize(
    "cause",
    [
        OutsideError("the connection was reset"),
        Refused("403 pods is forbidden: the role is not bound yet"),
        Conflict("404 the namespace is not there yet"),
        ValueError("half a line of JSON"),
        OSError(24, "too many open files"),
    ],
)
def test_a_watch_that_breaks_is_begun_anew_and_every_one_ends_by_itself(monkeypatch, cause):
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.05)
    port, told, stop = Breaking(cause), news(), threading.Event()
    threading.Thread(
        target=watching.watch, args=(port, "domino-0", told, stop), daemon=True
    ).start()

    versions = [told.get(timeout=60)[1]["metadata"]["resourceVersion"] for _ in range(2)]

    stop.set()
    assert versions == ["1", "2"]
    assert port.asked[:2] == [watching.RESYNC_SECONDS] * 2


def test_a_controller_that_is_refused_says_that_it_is_not_ready_and_why(monkeypatch, tmp_path):
    monkeypatch.setattr(watching, "RETRY_SECONDS", 1.5)
    port, stop = Breaking(Refused("403 pods is forbidden")), threading.Event()
    controller = app.Controller(port, FileRuns(tmp_path), ["domino-0"], lambda _: None)
    said: list[str] = []

    def beat() -> None:
        if controller.trouble() not in said[-1:]:
            said.append(controller.trouble())
        if said[-2:] == ["403 pods is forbidden", ""]:
            stop.set()

    thread = threading.Thread(target=controller.run, args=(stop, beat))
    thread.start()
    thread.join(60)
    stop.set()

    assert said[-2:] == ["403 pods is forbidden", ""]


class Ending:
    """A port whose watches end at once, as those of a server do that has too many."""

    def __init__(self) -> None:
        self.asked = 0

    def watch(self, name: str, seconds: float):
        self.asked += 1
        yield seen(self.asked)


def test_watches_that_end_at_once_are_not_begun_without_a_pause(monkeypatch):
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.2)
    port, stop = Ending(), threading.Event()
    thread = threading.Thread(target=watching.watch, args=(port, "domino-0", news(), stop))
    began = time.monotonic()
    thread.start()

    while port.asked < 2 and time.monotonic() - began < 60:
        time.sleep(0.1)

    stop.set()
    thread.join(60)
    assert 2 <= port.asked <= 1 + (time.monotonic() - began) / watching.RETRY_SECONDS


class Memo:
    """A memo as the controller sees it: it answers, is silent, or has something left to keep."""

    def __init__(self, silent: bool = False, unkept: int = 0) -> None:
        self.silent, self.unkept, self.asked = silent, unkept, 0

    def _answer(self, *_: object) -> None:
        self.asked += 1
        if self.silent:
            raise OSError("timed out")

    lookup = runner = marker = _answer

    def flush(self, run: str) -> dict[str, int]:
        self._answer()
        return {"unkept": self.unkept}


class Port:
    """A port that notes what is done to the pod."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def get(self, name: str):
        return None

    def delete(self, name: str, uid: str) -> None:
        self.deleted.append(uid)


def a_controller(folder, memo, now: float = 1000.0) -> app.Controller:
    return app.Controller(Port(), FileRuns(folder), ["domino-0"], lambda _: memo, lambda: now)


def test_a_silent_memo_is_waited_for_once_in_a_turn(tmp_path):
    memo = Memo(silent=True)
    controller = a_controller(tmp_path, memo)
    controller._runs.request(a_run())

    pause = controller.turn(a_pod())

    assert memo.asked == 1
    assert pause >= app.RETRY_SECONDS, "nor asked, and told of, twenty times a second"


def test_a_memo_that_does_not_answer_once_fails_no_stage_whose_time_is_up(tmp_path):
    pod, late = a_pod_at(1, container("slot-a", 2)), 1161.0

    silent = a_controller(tmp_path, Memo(silent=True), late)._decide(pod)
    told = a_controller(tmp_path, Memo(), late)._decide(pod)

    assert isinstance(silent, steps.Wait), "it may be done: nobody could say"
    assert told.why == "failed: deadline"


def test_a_pod_that_came_up_at_another_address_is_asked_there(tmp_path):
    asked = []
    runs = FileRuns(tmp_path)
    controller = app.Controller(Port(), runs, ["domino-0"], lambda p: asked.append(p) or Memo())
    runs.request(a_run())
    before, after = a_pod(), a_pod()
    before["status"]["podIP"], after["status"]["podIP"] = "10.0.0.1", "10.0.0.2"

    for pod in (before, before, after):
        controller.turn(pod)

    assert [pod["status"]["podIP"] for pod in asked] == ["10.0.0.1", "10.0.0.2"]


def test_a_memo_that_took_another_port_is_asked_there(tmp_path):
    asked = []
    runs = FileRuns(tmp_path)
    controller = app.Controller(Port(), runs, ["domino-0"], lambda p: asked.append(p) or Memo())
    runs.request(a_run())
    before, after = a_pod({"memo-port": "4001"}), a_pod({"memo-port": "4002"})

    for pod in (before, before, after):
        controller.turn(pod)

    assert asked == [before, after]


def test_a_pod_that_makes_no_sense_does_not_stop_the_controller(tmp_path):
    controller = a_controller(tmp_path, Memo())
    controller._latest = {"domino-0": a_pod({"run": "no JSON at all"})}

    assert controller._turn_safely("domino-0") == app.RETRY_SECONDS
    assert "must be as this release writes it" in controller.trouble()


def test_a_run_that_a_pod_has_is_not_given_to_another_one_when_the_pool_grows(tmp_path):
    names = ["domino-0", "domino-1"]
    controller = app.Controller(Port(), FileRuns(tmp_path), names, lambda _: Memo())
    run = next(
        run
        for run in (a_run(id=f"run-{n}") for n in range(20))
        if zlib.crc32(run.id.encode()) % 2 == 1
    )
    controller._runs.request(run)
    assert controller.wanted("domino-1").id == run.id

    controller._latest = {"domino-0": a_pod({"run": chain.encode_run(run)}), "domino-1": a_pod()}

    assert controller.wanted("domino-1") is None
    controller._latest["domino-0"] = a_pod()
    assert controller.wanted("domino-1").id == run.id


def test_a_request_of_another_release_holds_up_none_of_the_others(tmp_path):
    runs = FileRuns(tmp_path)
    newer = chain.encode_run(a_run(id="run-0")).replace('"attempt"', '"colour":1,"attempt"')
    (tmp_path / "requests" / "run-0.json").write_text(newer)
    (tmp_path / "requests" / "run-00.json").write_text("{")
    runs.request(a_run(id="run-1"))

    assert [run.id for run in runs.open_runs()] == ["run-1"]
    assert [run.id for run in runs.history()] == ["run-1"]


class Away(FileRuns):
    """Events cannot be written for a while."""

    away = True

    def emit(self, event: dict) -> bool:
        if self.away:
            raise OutsideError("Postgres is away")
        return super().emit(event)


def test_why_a_pod_was_evicted_is_written_down_before_it_is_freed_and_once(tmp_path):
    runs, run = Away(tmp_path), a_run(id="run-1")
    controller = app.Controller(Port(), runs, ["domino-0"], lambda _: Memo())
    runs.request(run)
    pod = evicted(a_pod_at(1, container("slot-a", 2), run))

    with pytest.raises(OutsideError):
        controller.turn(pod)
    assert controller._port.deleted == []
    runs.away = False
    controller.turn(pod)
    controller.turn(pod)

    assert [event["kind"] for event in runs.events("run-1")] == ["started", "lost"]
    why = runs.events("run-1")[-1]["result"]["why"]
    assert why.startswith('Evicted: Usage of EmptyDir volume "scratch"')
    assert controller._port.deleted == ["u1", "u1"]
    assert [open_run.attempt for open_run in runs.open_runs()] == [2]


def test_a_run_that_was_evicted_three_times_ends_in_the_words_of_the_kubelet(tmp_path):
    runs = FileRuns(tmp_path)
    controller = app.Controller(Port(), runs, ["domino-0"], lambda _: Memo())
    runs.request(a_run(id="run-1"))
    for attempt in (1, 2, 3):
        pod = a_pod_at(1, container("slot-a", 2), a_run(id="run-1", attempt=attempt))
        controller.turn(evicted({**pod, "metadata": {**pod["metadata"], "uid": f"u{attempt}"}}))

    controller.turn(a_pod(uid="u4"))

    end = runs.events("run-1")[-1]
    assert (end["kind"], end["result"]["class"]) == ("failed", "evicted")
    assert end["result"]["why"].startswith("Usage of EmptyDir volume")


def a_completed_pod(marked_ns: int) -> dict:
    done = [{**trail(1)[0], "marked_ns": marked_ns, "key": a_marker(1)["key"]}]
    noted = {
        "run": chain.encode_run(a_run(1)),
        "step": "1",
        "trail": steps.stages.canonical(done),
        "placeholder": IDLE_IMAGE,
        "result": '{"status":"completed","output":"' + "1" * 64 + '"}',
    }
    return a_pod(noted)


def test_a_run_is_not_told_as_completed_nor_its_pod_freed_before_its_outputs_are_kept(tmp_path):
    memo = Memo(unkept=1)
    controller = a_controller(tmp_path, memo)
    controller._runs.request(a_run(1))
    pod = a_completed_pod(marked_ns=999 * 10**9)

    assert controller.turn(pod) == app.RETRY_SECONDS
    assert (controller._port.deleted, len(controller._runs.open_runs())) == ([], 1)
    memo.unkept = 0
    assert controller.turn(pod) == 0.0

    assert (controller._port.deleted, controller._runs.open_runs()) == (["u1"], [])


@pytest.mark.parametrize("memo", [Memo(unkept=1), Memo(silent=True)])
def test_outputs_that_nobody_can_keep_do_not_hold_a_pod_for_ever(tmp_path, memo):
    controller = a_controller(tmp_path, memo, now=1000.0 + app.KEEP_SECONDS)

    controller.turn(a_completed_pod(marked_ns=999 * 10**9))

    assert controller._port.deleted == ["u1"]


class Listed(Port):
    """A port to a pod of before an upgrade: its placeholder is on no list of images any more."""

    def __init__(self, pod: dict) -> None:
        super().__init__()
        self.pod = pod

    def get(self, name: str) -> dict:
        return self.pod

    def patch(self, name: str, version: str, annotations: dict, images: dict) -> dict:
        if IDLE_IMAGE in images.values():
            raise Refused("403 the image of a slot must be one that the ConfigMap images lists")
        meta = self.pod["metadata"]
        noted = {**meta["annotations"], **annotations}
        self.pod = {**self.pod, "metadata": {**meta, "annotations": noted}}
        return self.pod


def test_a_failed_run_ends_as_what_it_was_also_where_its_placeholder_is_not_listed_any_more(
    tmp_path,
):
    runs, run = FileRuns(tmp_path), a_run(id="run-1")
    runs.request(run)
    port = Listed(a_pod_at(1, crashed(65, 1), run))
    controller = app.Controller(port, runs, ["domino-0"], lambda _: Memo())

    for _ in range(5):
        controller._latest["domino-0"] = port.pod
        controller._turn_safely("domino-0")

    end = runs.events("run-1")[-1]
    told = end["result"]["class"], end["result"]["exit_code"]
    assert (end["kind"], *told) == ("failed", "permanent", 65)
    assert runs.open_runs() == [] and port.deleted
