"""Stops, restarts, reboots, full disks and strangers: what is no failure of any stage."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from orrery_services.hotswap import kubelet, local, pods, processes
from orrery_services.protocol import stages

from .pool import Pool, append, processes_below, shell_chain, wait_until

LEAVING_SECONDS = 10


class Containers:
    """A runtime in memory: a container runs until it is ended. Stubborn: until it is hard."""

    name, placeholder, memo = "fake", "idle", "memo"

    def __init__(self, stubborn: bool = False) -> None:
        self.stubborn = stubborn
        self.codes: dict[str, int] = {}  # of those that ended, by id
        self.started: list[str] = []
        self.asked: list[tuple[str, bool]] = []  # pods whose containers were to end, and how

    def has(self, image: str) -> bool:
        return True

    def prepare(self, launch: processes.Launch) -> None:
        pass

    def start(self, launch: processes.Launch) -> tuple[dict[str, Any], Any]:
        self.started.append(launch.container)
        return {"pod": launch.pod, "boot": processes.boot_id()}, lambda: None

    def poll(self, hand: dict[str, Any]) -> int | None:
        return self.codes.get(hand["id"])

    def end(self, hand: dict[str, Any], hard: bool = False) -> None:
        self.asked.append((hand["pod"], hard))
        if hard or not self.stubborn:
            self.codes[hand["id"]] = 128 + 9 if hard else 128 + 15

    def message(self, hand: dict[str, Any]) -> str:
        return ""

    def forget(self, uid: str) -> None:
        pass


# --- What a kubelet notes of it ---------------------------------------------------------------


class Node:
    """One pod under the rules of a kubelet, at any time that a test names."""

    def __init__(self, folder: Path) -> None:
        self.runtime, self.place = Containers(), kubelet.Place(folder, folder, folder)
        self.record = kubelet.new_record("domino-0", "u1", "idle", "memo", 0)
        folder.mkdir(exist_ok=True)

    def look(self, now: float) -> pods.Pod:
        kubelet.act(self.record, self.runtime, self.place, now, lambda: None)
        return pods.look(self.record["pod"])

    def with_a_stage(self, at: float, until: float) -> pods.Slot:
        """Bring the pod up, then swap a stage into slot a."""
        self.patch(at, until)
        for _ in ("end", "start"):
            slot = self.look(at).slots["a"]
        assert slot.settled and slot.image == "stage-1"
        return slot

    def patch(self, at: float, until: float) -> None:
        slot = self.back(at)
        assert slot.settled
        swap = pods.Swap(1, slot.container_id, slot.restarts, at, until)
        noted = {"token-a": "r/1/1", "swap-a": stages.canonical(swap._asdict())}
        annotations = self.record["pod"]["metadata"]["annotations"]
        annotations |= {pods.PREFIX + key: text for key, text in noted.items()}
        self.record["pod"]["spec"]["containers"][0]["image"] = "stage-1"

    def back(self, now: float) -> pods.Slot:
        """Look until the memo is there again, and what waits for it."""
        self.look(now)
        (self.place.volume / "memo-port").write_text("4001")
        for _ in ("memo", "slots"):
            slot = self.look(now).slots["a"]
        return slot

    def stop(self, now: float) -> None:
        while not kubelet.end_all(self.record, self.runtime, now):
            pass

    def lose_power(self, now: float) -> None:
        for hand in self.record["hands"].values():
            hand["boot"] = "another life of the machine"
            self.runtime.codes.setdefault(hand["id"], stages.KILLED)


@pytest.mark.parametrize("interrupt", [Node.stop, Node.lose_power])
def test_a_stage_that_is_cut_off_has_not_failed_and_begins_anew_with_all_its_time(
    tmp_path, interrupt
):
    node = Node(tmp_path)
    before = node.with_a_stage(at=1000.0, until=1160.0)

    for away_until in (2000.0, 3000.0, 4000.0):
        interrupt(node, away_until - 900.0)
        after = node.back(away_until)

        assert after.settled and after.container_id != before.container_id
        assert (after.failures, after.restarts) == (0, before.restarts)
        assert (after.swap.at, after.swap.until) == (away_until, away_until + 160.0)


@pytest.mark.parametrize("interrupt", [Node.stop, Node.lose_power])
def test_time_away_counts_neither_before_a_stage_was_started_nor_before_its_repeat(
    tmp_path, interrupt
):
    patched, failed = Node(tmp_path / "patched"), Node(tmp_path / "failed")
    patched.patch(at=1000.0, until=1160.0)
    failed.with_a_stage(at=1000.0, until=1160.0)
    failed.runtime.codes[failed.record["hands"]["slot-a"]["id"]] = 1
    failed.look(1001.0)

    for node, failures in ((patched, 0), (failed, 1)):
        interrupt(node, 1001.1)
        after = node.back(5000.0)

        assert (after.settled, after.failures, after.swap.until) == (True, failures, 5160.0)


def test_a_memo_that_took_another_port_is_noted_there_and_no_slot_starts_before(tmp_path):
    node = Node(tmp_path)
    node.with_a_stage(at=1000.0, until=1160.0)
    node.stop(1001.0)

    node.look(2000.0)
    assert node.runtime.started[-1] == "memo"
    assert "memo-port" not in pods.annotations(node.record["pod"])

    (tmp_path / "memo-port").write_text("4002")
    for _ in ("note", "start"):
        slot = node.look(2001.0).slots["a"]

    assert pods.annotations(node.record["pod"])["memo-port"] == "4002"
    assert slot.settled


# --- Who ends containers, and when ------------------------------------------------------------


def a_port(folder: Path, runtime: Any) -> local.LocalPods:
    return local.LocalPods(folder / "pods", runtime, folder / "memo")


def test_what_was_closed_is_not_started_again_by_a_look_that_comes_late(tmp_path):
    runtime = Containers()
    port = a_port(tmp_path, runtime)
    port.reconcile("domino-0")

    port.close()
    port.reconcile("domino-0")

    assert runtime.started == ["memo"]


def test_all_pods_are_asked_to_end_before_one_is_waited_for(tmp_path, monkeypatch):
    """Who stops us may not wait for long: what was not asked by then would go on for ever."""
    monkeypatch.setattr(kubelet, "GRACE_SECONDS", 0.05)
    runtime, names = Containers(stubborn=True), {"domino-0", "domino-1"}
    port = a_port(tmp_path, runtime)
    for name in names:
        port.reconcile(name)

    port.close()

    assert [hard for _, hard in runtime.asked] == [False, False, True, True]
    assert {pod for pod, _ in runtime.asked[:2]} == names


def test_who_does_not_hold_the_lease_leaves_without_ending_what_is_anothers(tmp_path):
    runtime = Containers()
    first, second = a_port(tmp_path, runtime), a_port(tmp_path, runtime)
    first.reconcile("domino-0")

    second.close()
    assert runtime.asked == []

    first.close()
    assert runtime.asked == [("domino-0", False)]


class FullDisk(local.LocalPods):
    """No start can be written down, until there is room."""

    full = True

    def _keep(self, name: str, record: dict[str, Any]) -> Any:
        if self.full and any(hand["state"] == "running" for hand in record["hands"].values()):
            raise OSError(errno.ENOSPC, "No space left on device")
        return super()._keep(name, record)


def test_a_start_that_cannot_be_written_down_is_tried_again_with_the_same_process(tmp_path):
    port = FullDisk(tmp_path / "pods", processes.Processes(cgroups=False), tmp_path / "memo")
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            port.reconcile("domino-0")
    waiting = processes_below(tmp_path)
    assert len(waiting) <= 1

    port.full = False
    port.reconcile("domino-0")

    started = port._read("domino-0")["hands"]["memo"]["pid"]
    assert waiting in ([started], [])  # not seen while it becomes another program
    port.close()
    wait_until(lambda: processes_below(tmp_path) == [], LEAVING_SECONDS)


# --- The same with processes ------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path):
    made = Pool(tmp_path)
    yield made
    made.stop()
    wait_until(lambda: made.processes() == [], LEAVING_SECONDS)


class Waiting:
    """A run of one stage that notes each beginning and waits for a file."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool, self.begun, self.go = pool, folder / "begun", folder / "go"
        self.begun.touch()
        wait = f"echo x >> {self.begun}; while ! test -e {self.go}; do sleep 0.05; done"
        self.run = pool.ask(shell_chain([f"{wait}; {append('a')}"]), "r1")

    def begins(self) -> None:
        """Start the controller and wait until the stage is at work once more."""
        before = self.begun.stat().st_size
        self.pool.start()
        wait_until(lambda: self.begun.stat().st_size > before or self.pool.ends(self.run))

    def ends(self) -> dict[str, Any]:
        self.go.touch()
        self.pool.start()
        return self.pool.end_of(self.run)


def lose_power(pool: Pool) -> None:
    """End everything at once, and have the machine live another life."""
    pool.kill()
    path = pool.folder / "pods" / "domino-0" / processes.RECORD
    record, runtime = json.loads(path.read_text()), processes.Processes(cgroups=False)
    for hand in record["hands"].values():
        runtime.end(hand, hard=True)
        hand["boot"] = "another life of the machine"
    wait_until(lambda: pool.processes() == [], LEAVING_SECONDS)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("interrupt", [Pool.stop, lose_power])
def test_a_run_outlives_more_interruptions_than_a_stage_may_have_failures(
    pool, tmp_path, interrupt
):
    waiting = Waiting(pool, tmp_path)
    for _ in range(3):
        waiting.begins()
        interrupt(pool)

    event = waiting.ends()

    assert event["kind"] == "completed", event["result"]
    assert (event["attempt"], pool.output(event)) == (1, b"in:a")
