"""Chains of stages in one pod of a real kubelet: five swaps, and everything that can go wrong."""

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from orrery_services.config import Settings
from orrery_services.hotswap import drivers
from orrery_services.hotswap.app import Controller

from tests.kube.asking import (
    ENDED_SECONDS_MAX,
    FIVE,
    SPACE,
    ask,
    assert_completed_once,
    digest_of,
    end_of,
    idle_pod,
)
from tests.kube.cluster import eventually
from tests.kube.whole import Whole

pytestmark = [pytest.mark.kube, pytest.mark.timeout(2400)]

RUNS = 4  # of each chain: twenty swaps
KILLS_SECONDS_MAX = float(os.environ.get("ORRERY_TEST_KILLS_SECONDS", "60"))


@pytest.fixture
def nobody_controls(solo: Whole) -> Iterator[None]:
    """The cluster's own controller is away, so that a test can be the controller."""
    solo.cluster.kubectl(*SPACE, "scale", "deployment/hotswap", "--replicas=0")
    gone = ("wait", "--for=delete", "pod", "-l", "app=hotswap", "--timeout=60s")
    solo.cluster.kubectl(*SPACE, *gone)
    yield
    solo.cluster.kubectl(*SPACE, "scale", "deployment/hotswap", "--replicas=1")


def tell_times(mode: str, events: list[dict]) -> None:
    # The first stage of a run comes into a pod that was made a moment ago.
    swaps = sorted(entry["swap_ms"] for event in events for entry in event["stages"][1:])
    gaps = sorted(
        (after["running_ns"] - before["marked_ns"]) / 1e6
        for event in events
        for before, after in itertools.pairwise(event["stages"])
    )
    for what, found in (("patch -> runner at work", swaps), ("done -> next running", gaps)):
        p95 = found[int(len(found) * 0.95)]
        print(f"\n{mode}: {what} p50 {statistics.median(found):.0f} ms, p95 {p95:.0f}", end="")
    print(f", {len(swaps)} swaps")


@pytest.fixture
def at_rest(solo: Whole) -> Iterator[None]:
    """What has no part in a swap is away, so that its time is that of a swap and not of a queue."""
    away = ("feed", "packer", "gateway"), ("analytics", "replication", "snapshots", "dominoes")
    away = [f"deployment/{name}" for name in away[0]] + [f"statefulset/{name}" for name in away[1]]
    solo.cluster.kubectl(*SPACE, "scale", "--replicas=0", *away)
    time.sleep(15)
    yield
    solo.cluster.kubectl(*SPACE, "scale", "--replicas=1", *away)
    solo.wait_ready("orrery-n1")


def test_five_stages_run_in_the_two_slots_of_one_pod(
    at_rest: None, solo: Whole, settings: Settings
):
    for name in ("daisy", "working", "overlapped", "working_overlapped"):
        data = [f"{name} {number}\n" for number in range(RUNS)]
        runs = [ask(settings, name, text) for text in data]

        events = [
            assert_completed_once(settings, run, text, FIVE)
            for run, text in zip(runs, data, strict=True)
        ]

        slots = [[entry["slot"] for entry in event["stages"]] for event in events]
        assert slots == [["a", "b", "a", "b", "a"]] * RUNS
        tell_times(name, events)


def test_what_the_memo_knows_is_not_swapped_in(solo: Whole, settings: Settings):
    first = ask(settings, "daisy", "again\n")
    assert_completed_once(settings, first, "again\n", FIVE)
    uid = idle_pod(solo)["metadata"]["uid"]

    event = end_of(settings, ask(settings, "daisy", "again\n", reuse=True))

    assert all(entry.get("reused") for entry in event["stages"]), event["stages"]
    assert event["result"]["output"] == digest_of("again\n", FIVE)
    assert idle_pod(solo)["metadata"]["uid"] == uid


def test_a_bad_exit_and_a_stage_killed_for_memory_are_tried_again(solo: Whole, settings: Settings):
    run = ask(settings, "weak", "weak\n")

    assert_completed_once(settings, run, "weak\n", ["one", "two", "three"])


@pytest.mark.parametrize(
    ("name", "stage", "kind", "exit_code"),
    [
        ("broken", 2, "permanent", 65),
        ("greedy", 1, "resource", 137),
        ("forbidden", 1, "refused", 0),
        ("missing", 2, "image", 0),
    ],
)
def test_what_cannot_succeed_ends_with_its_class_and_frees_the_pod(
    solo: Whole, settings: Settings, name: str, stage: int, kind: str, exit_code: int
):
    result = end_of(settings, ask(settings, name, f"{name}\n"))["result"]

    told = result["status"], result["stage"], result["class"], result["exit_code"]
    assert told == ("failed", stage, kind, exit_code), result
    idle_pod(solo)


def test_every_turn_may_be_another_controllers(nobody_controls, solo: Whole, settings: Settings):
    idle_pod(solo)
    port, runs = drivers.open_pods(settings), drivers.open_published_runs(settings)
    run = ask(settings, "daisy", "turns\n")
    turns, until = 0, time.monotonic() + ENDED_SECONDS_MAX

    while not any(each["kind"] == "completed" for each in runs.events(run.id)):
        assert time.monotonic() < until, turns
        if pod := port.get("domino-0"):
            pause = Controller(port, runs, ["domino-0"]).turn(pod)  # one turn, then it is gone
            turns += 1
            time.sleep(min(pause, 0.2))

    assert_completed_once(settings, run, "turns\n", FIVE)
    assert turns > len(FIVE)


def test_a_controller_killed_at_random_moments_leaves_one_end(
    nobody_controls, solo: Whole, settings: Settings
):
    idle_pod(solo)
    seed = int(time.time())
    dice, kills, number = random.Random(seed), 0, 0
    runs, until = drivers.open_runs(settings), time.monotonic() + KILLS_SECONDS_MAX
    while time.monotonic() < until:
        number += 1
        data = f"killed {seed} {number}\n"
        run = ask(settings, "daisy" if number % 2 else "overlapped", data)
        while not any(each["kind"] == "completed" for each in runs.events(run.id)):
            assert time.monotonic() < until + ENDED_SECONDS_MAX, f"seed {seed}, {kills} kills"
            controller = begin_controller()
            time.sleep(dice.uniform(1.0, 6.0))
            controller.send_signal(signal.SIGKILL)
            controller.wait()
            kills += 1
        assert_completed_once(settings, run, data, FIVE)
    print(f"\nseed {seed}: killed {kills} times in {number} runs")


def begin_controller() -> subprocess.Popen:
    command = [sys.executable, "-m", "orrery_services.hotswap"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_two_controllers_at_once_do_everything_once(solo: Whole, settings: Settings):
    idle_pod(solo)
    second = begin_controller()
    try:
        run = ask(settings, "daisy", "two\n")

        assert_completed_once(settings, run, "two\n", FIVE)
    finally:
        second.kill()
        second.wait()


def test_the_demo_chain_of_dominoes_runs_by_swaps(solo: Whole):
    def ran() -> dict:
        done = solo.orrery("n1", "run swapped --json", pod="dominoes-0")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    event = eventually(ran, 300, "there is a snapshot of the demo market to run on")

    assert event["kind"] == "completed", event
    assert [entry["name"] for entry in event["stages"]] == ["day", "curve", "ladder"]
    print([f"{entry['name']} {entry['peak_rss_bytes'] / 1e6:.0f} MB" for entry in event["stages"]])


USED = """
import glob
fields = open("/proc/1/stat").read().rpartition(")")[2].split()
resident = int(open("/proc/1/statm").read().split()[1]) * 4096
group = "/sys/fs/cgroup/memory" if glob.glob("/sys/fs/cgroup/memory/*") else "/sys/fs/cgroup"
stat = dict(line.split() for line in open(group + "/memory.stat"))
names = glob.glob(group + "/memory.usage_in_bytes") or [group + "/memory.current"]
idle = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
print(int(fields[11]) + int(fields[12]), resident, int(open(names[0]).read()) - idle)
"""


def test_who_waits_costs_little(solo: Whole):
    idle_pod(solo)

    def used(pod: str, container: str) -> list[int]:
        inside = ("exec", "-i", pod, "-c", container, "--", "python", "-")
        return [int(text) for text in solo.cluster.kubectl(*SPACE, *inside, stdin=USED).split()]

    for pod, container in (("deployment/hotswap", "service"), ("domino-0", "memo")):
        before, began = used(pod, container)[0], time.monotonic()
        time.sleep(20)
        ticks, resident, working_set = used(pod, container)
        share = (ticks - before) / 100 / (time.monotonic() - began)
        print(
            f"\n{container} of {pod}, idle: {resident / 1e6:.0f} MB resident, "
            f"working set {working_set / 1e6:.0f} MB, {share:.2%} of a core"
        )
        assert resident <= 60e6, container
