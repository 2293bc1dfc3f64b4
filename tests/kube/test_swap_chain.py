"""Chains of stages in one pod of a real kubelet: five swaps, and everything that can go wrong."""

import itertools
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import yaml
from blake3 import blake3
from orrery_services.cli import run_status
from orrery_services.config import Settings, load_settings
from orrery_services.hotswap import drivers
from orrery_services.hotswap.app import Controller

from tests.kube.cluster import eventually
from tests.kube.whole import Whole, outside_env

pytestmark = [pytest.mark.kube, pytest.mark.timeout(2400)]

FIVE = ["one", "two", "three", "four", "five"]
ENDED_SECONDS_MAX = 300
SPACE = ("-n", "orrery-n1")


@pytest.fixture(scope="module")
def settings(solo: Whole) -> Iterator[Settings]:
    """Settings of a controller beside the cluster: the account, role and policy of the real one."""
    cluster = solo.cluster
    config = yaml.safe_load((cluster.root / "admin.kubeconfig").read_text())
    token = cluster.kubectl(*SPACE, "create", "token", "hotswap", "--duration=2h").strip()
    config["users"][0]["user"] = {"token": token}
    path = solo.tree / "hotswap.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    env = outside_env(solo, "n1") | {
        "ORRERY_HOTSWAP_DRIVER": "kubernetes",
        "ORRERY_HOTSWAP_NAMESPACE": "orrery-n1",
        "KUBECONFIG": str(path),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, text in env.items():
            patch.setenv(name, text)
        yield load_settings()


@pytest.fixture
def nobody_controls(solo: Whole) -> Iterator[None]:
    """The cluster's own controller is away, so that a test can be the controller."""
    solo.cluster.kubectl(*SPACE, "scale", "deployment/hotswap", "--replicas=0")
    gone = ("wait", "--for=delete", "pod", "-l", "app=hotswap", "--timeout=60s")
    solo.cluster.kubectl(*SPACE, *gone)
    yield
    solo.cluster.kubectl(*SPACE, "scale", "deployment/hotswap", "--replicas=1")


def ask(settings: Settings, name: str, data: str, reuse: bool = False):
    return run_status.ask(settings, name, "test", data.encode(), reuse=reuse)


def end_of(settings: Settings, run) -> dict:
    event = run_status.outcome(settings, run.id, ENDED_SECONDS_MAX)
    assert event, f"{run.id} must end within {ENDED_SECONDS_MAX} s"
    return event


def digest_of(data: str, steps: list[str]) -> str:
    return blake3((data + "".join(f"{step}\n" for step in steps)).encode()).hexdigest()


def assert_completed_once(settings: Settings, run, data: str, steps: list[str]) -> dict:
    event = end_of(settings, run)
    assert event["kind"] == "completed", event
    assert event["result"]["output"] == digest_of(data, steps)
    assert [entry["name"] for entry in event["stages"]] == steps
    kinds = [each["kind"] for each in drivers.open_runs(settings).events(run.id)]
    assert kinds == ["started", "completed"], kinds
    return event


def tell_times(mode: str, event: dict) -> None:
    stages = event["stages"]
    gaps = [
        (after["running_ns"] - before["ended_ns"]) / 1e6
        for before, after in itertools.pairwise(stages)
    ]
    swaps = [entry["swap_ms"] for entry in stages]
    print(
        f"\n{mode}: patch -> runner at work p50 {statistics.median(swaps):.0f} ms, "
        f"max {max(swaps):.0f}; done -> next running p50 {statistics.median(gaps):.0f} ms, "
        f"max {max(gaps):.0f}; whole run "
        f"{(stages[-1]['ended_ns'] - stages[0]['started_ns']) / 1e9:.1f} s"
    )


@pytest.mark.parametrize("name", ["daisy", "overlapped"])
def test_five_stages_run_in_the_two_slots_of_one_pod(solo: Whole, settings: Settings, name: str):
    run = ask(settings, name, f"{name}\n")

    event = assert_completed_once(settings, run, f"{name}\n", FIVE)

    assert [entry["slot"] for entry in event["stages"]] == ["a", "b", "a", "b", "a"]
    tell_times(name, event)


def test_what_the_memo_knows_is_not_swapped_in(solo: Whole, settings: Settings):
    first = ask(settings, "daisy", "again\n")
    assert_completed_once(settings, first, "again\n", FIVE)
    uid = idle_pod(solo)["metadata"]["uid"]

    event = end_of(settings, ask(settings, "daisy", "again\n", reuse=True))

    assert all(entry.get("reused") for entry in event["stages"]), event["stages"]
    assert event["result"]["output"] == digest_of("again\n", FIVE)
    assert idle_pod(solo)["metadata"]["uid"] == uid


def idle_pod(solo: Whole) -> dict:
    def idle() -> dict | None:
        pod = solo.cluster.get(*SPACE, "pod", "domino-0")
        slots = pod["status"].get("containerStatuses", [])
        run = pod["metadata"].get("annotations", {}).get("hotswap.orrery/run")
        ready = bool(slots) and all(slot["ready"] for slot in slots)
        return pod if ready and not run and "deletionTimestamp" not in pod["metadata"] else None

    return eventually(idle, 120, "the pool is idle")


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
    dice, kills = random.Random(seed), 0
    run = ask(settings, "overlapped", f"killed {seed}\n")
    runs, until = drivers.open_runs(settings), time.monotonic() + ENDED_SECONDS_MAX

    while not any(each["kind"] == "completed" for each in runs.events(run.id)):
        assert time.monotonic() < until, f"seed {seed}, {kills} kills"
        command = [sys.executable, "-m", "orrery_services.hotswap"]
        controller = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(2.0, 12.0))
        controller.send_signal(signal.SIGKILL)
        controller.wait()
        kills += 1

    print(f"\nseed {seed}: killed {kills} times")
    assert_completed_once(settings, run, f"killed {seed}\n", FIVE)


def test_two_controllers_at_once_do_everything_once(solo: Whole, settings: Settings):
    idle_pod(solo)
    command = [sys.executable, "-m", "orrery_services.hotswap"]
    second = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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


def test_who_waits_costs_little(solo: Whole):
    idle_pod(solo)

    def used(pod: str, container: str) -> tuple[float, float]:
        program = "import os; print(open('/proc/1/stat').read(), open('/proc/1/statm').read())"
        inside = ("exec", pod, "-c", container, "--", "python", "-c", program)
        fields = solo.cluster.kubectl(*SPACE, *inside).rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / 100
        return seconds, int(fields[-6]) * 4096 / 1e6

    for pod, container in (("deployment/hotswap", "service"), ("domino-0", "memo")):
        before, began = used(pod, container)[0], time.monotonic()
        time.sleep(20)
        seconds, megabytes = used(pod, container)
        share = (seconds - before) / (time.monotonic() - began)
        print(f"\n{container} of {pod}, idle: {megabytes:.0f} MB, {share:.2%} of a core")
        assert megabytes <= 60, container
