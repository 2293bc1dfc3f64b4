"""The same chain, runner and decisions on plain processes, with a controller that dies."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from orrery_services import scratch
from orrery_services.config import load_settings
from orrery_services.errors import OutsideError
from orrery_services.hotswap import kubelet, local, pods, processes
from orrery_services.protocol import stages

from .pool import Pool, append, processes_below, shell_chain, wait_until

LEAVING_SECONDS = 10  # who finds its gate shut must have begun before it can leave
DEATHS_MAX = 30
KILLS = int(os.environ.get("ORRERY_TEST_KILLS", "200"))


@pytest.fixture
def pool(tmp_path):
    made = Pool(tmp_path)
    made.start()
    yield made
    made.stop()
    wait_until(lambda: made.processes() == [], LEAVING_SECONDS)  # stopping ends every container


def test_a_chain_goes_through_two_slots_and_its_record_says_what_came_of_each(pool):
    run = pool.ask(shell_chain([append("a"), append("b"), append("c")]), "r1")

    event = pool.end_of(run)

    assert event["kind"] == "completed"
    assert pool.output(event) == b"in:abc"
    assert [entry["slot"] for entry in event["stages"]] == ["a", "b", "a"]
    assert event["stages"][1]["inputs"] == [event["stages"][0]["output"]]
    assert all(entry["swap_ms"] > 0 and entry["run_ms"] > 0 for entry in event["stages"])


def test_the_same_question_again_is_answered_without_swapping_anything(pool):
    read = shell_chain([append("a"), append("b")])
    first = pool.end_of(pool.ask(read, "r1"))
    wait_until(lambda: pool.pod() and not pods.annotations(pool.pod()).get("run"))
    uid = pool.pod()["metadata"]["uid"]

    again = pool.end_of(pool.ask(read, "r2"))

    assert again["result"] == first["result"]
    assert [entry["reused"] for entry in again["stages"]] == [True, True]
    assert pool.pod()["metadata"]["uid"] == uid


def test_a_changed_stage_runs_and_those_before_it_are_skipped(pool):
    pool.end_of(pool.ask(shell_chain([append("a"), append("b"), append("c")]), "r1"))

    event = pool.end_of(pool.ask(shell_chain([append("a"), append("b"), append("z")]), "r2"))

    assert [entry["reused"] for entry in event["stages"]] == [True, True, False]
    assert pool.output(event) == b"in:abz"


def test_an_audit_computes_everything_again_and_finds_the_same(pool):
    read = shell_chain([append("a"), append("b")], mode="overlapped")
    first = pool.end_of(pool.ask(read, "r1"))

    audit = pool.end_of(pool.ask(read, "r2", reuse=False))

    assert [entry["reused"] for entry in audit["stages"]] == [False, False]
    assert audit["result"] == first["result"]


def test_an_overlapped_chain_gives_the_same_bytes(pool):
    scripts = [append(letter) for letter in "abcde"]

    event = pool.end_of(pool.ask(shell_chain(scripts, mode="overlapped"), "r1"))

    assert event["kind"] == "completed"
    assert pool.output(event) == b"in:abcde"


def test_a_stage_that_fails_for_good_ends_the_run_with_its_last_words_and_frees_the_pod(pool):
    read = shell_chain([append("a"), "echo no quotes; exit 70", append("c")])

    event = pool.end_of(pool.ask(read, "r1"))
    after = pool.end_of(pool.ask(shell_chain([append("z")]), "r2"))

    assert event["kind"] == "failed"
    found = event["result"]
    assert (found["stage"], found["class"], found["exit_code"]) == (2, "permanent", 70)
    assert "no quotes" in found["why"]
    assert after["kind"] == "completed"


def test_a_stage_that_fails_once_is_repeated(pool, tmp_path):
    mark = tmp_path / "tried"
    script = f"test -e {mark} || {{ touch {mark}; exit 1; }}; {append('b')}"

    event = pool.end_of(pool.ask(shell_chain([append("a"), script]), "r1"))

    assert event["kind"] == "completed"
    assert pool.output(event) == b"in:ab"


def test_a_program_that_is_not_there_is_a_missing_image(pool, monkeypatch):
    monkeypatch.setattr("orrery_services.hotswap.steps.IMAGE_SECONDS", 1.0)
    pool.stop()
    pool.start()
    read = shell_chain([append("a")])
    bad = read.stages[0]._replace(image='command:1:["no-such-program"]')

    event = pool.end_of(pool.ask(read._replace(stages=(bad,)), "r1"))

    assert event["result"]["class"] == "image"


def test_a_stage_past_its_deadline_does_not_hold_the_pod(pool):
    event = pool.end_of(pool.ask(shell_chain(["sleep 600"], deadline_s=0.5), "r1"))

    assert event["result"]["class"] == "deadline"


def test_a_killed_stage_counts_as_out_of_memory_and_is_tried_once_more(pool):
    event = pool.end_of(pool.ask(shell_chain(["kill -9 $$"]), "r1"))

    assert (event["result"]["class"], event["result"]["exit_code"]) == ("resource", stages.KILLED)


def test_a_runner_killed_hard_takes_its_stage_along_and_the_stage_is_repeated(pool, tmp_path):
    mark = tmp_path / "tried"
    script = f"test -e {mark} || {{ touch {mark}; sleep 300; }}; {append('b')}"
    run = pool.ask(shell_chain([script]), "r1")
    wait_until(mark.exists)
    sleeping = pool.processes()

    hand = pool.port()._read("domino-0")["hands"]["slot-a"]
    os.kill(hand["pid"], signal.SIGKILL)

    assert pool.end_of(run)["kind"] == "completed"
    assert len(sleeping) > len(pool.processes()) - 1


def test_a_runner_that_does_not_leave_is_ended_hard_and_the_swap_goes_on(
    pool, tmp_path, monkeypatch
):
    monkeypatch.setattr("orrery_services.hotswap.kubelet.GRACE_SECONDS", 0.5)
    pool.stop()
    pool.start()
    go, begun = tmp_path / "go", tmp_path / "begun"
    wait = f"touch {begun}; while ! test -e {go}; do sleep 0.05; done; {append('b')}"
    run = pool.ask(shell_chain([append("a"), wait, append("c")]), "r1")
    wait_until(begun.exists)
    (parked,) = [
        pid
        for pid in pool.processes()
        if b"ORRERY_TOKEN=r1/1/1" in Path(f"/proc/{pid}/environ").read_bytes()
    ]
    os.kill(parked, signal.SIGSTOP)
    go.touch()

    event = pool.end_of(run)

    assert pool.output(event) == b"in:abc"
    assert processes.born(parked) == 0


def test_a_controller_stopped_in_the_middle_goes_on_where_it_was(pool, tmp_path):
    go = tmp_path / "go"
    script = f"while ! test -e {go}; do sleep 0.05; done; {append('b')}"
    run = pool.ask(shell_chain([append("a"), script]), "r1")
    wait_until(lambda: pool.pod() and pods.annotations(pool.pod()).get("step") == "2")

    pool.stop()
    go.touch()
    pool.start()

    event = pool.end_of(run)
    assert pool.output(event) == b"in:ab"
    assert event["attempt"] == 1


def test_a_lost_pod_is_a_new_attempt_that_finds_what_was_done(pool, tmp_path):
    go = tmp_path / "go"
    script = f"while ! test -e {go}; do sleep 0.05; done; {append('b')}"
    run = pool.ask(shell_chain([append("a"), script]), "r1")
    wait_until(lambda: pool.pod() and pods.annotations(pool.pod()).get("step") == "2")

    pool.port().delete("domino-0", pool.pod()["metadata"]["uid"])
    go.touch()

    event = pool.end_of(run)
    assert (event["kind"], event["attempt"]) == ("completed", 2)
    assert [entry["reused"] for entry in event["stages"]] == [True, False]


def test_two_controllers_do_no_harm(pool):
    other = Pool(pool.folder)
    other.start()
    runs = [pool.ask(shell_chain([append(x), append("b")]), f"r{x}") for x in "12345"]

    events = [pool.end_of(run) for run in runs]

    assert [pool.output(event) for event in events] == [f"in:{x}b".encode() for x in "12345"]
    assert all(len(pool.ends(run)) == 1 for run in runs)
    other.kill()


def test_runs_are_dealt_to_pods_by_their_name_and_run_side_by_side(tmp_path):
    pool = Pool(tmp_path, pods=2)
    pool.start()

    runs = [pool.ask(shell_chain([append(x)]), f"r{x}") for x in "123456"]

    assert {pool.end_of(run)["kind"] for run in runs} == {"completed"}
    used = {event["result"]["pod"] for run in runs for event in pool.runs.events(run)[:1]}
    assert used == {"domino-0", "domino-1"}
    pool.stop()


@pytest.mark.timeout(1200)
def test_a_controller_killed_at_random_moments_loses_nothing_and_doubles_nothing(tmp_path):
    """Every stage leaves a line in a log outside when it begins and when it ends."""
    dice = random.Random(7)
    pool, log = Pool(tmp_path), tmp_path / "effects"
    log.touch()
    kills, number = 0, 0
    while kills < KILLS:
        number += 1
        mode = "overlapped" if number % 2 else "serial"
        scripts = [
            f"echo begin {number}/{stage} >> {log}; {append(letter)}; "
            f"echo end {number}/{stage} >> {log}"
            for stage, letter in enumerate("abc", 1)
        ]
        run = pool.ask(shell_chain(scripts, mode), f"r{number}", f"in{number}:".encode())
        while not pool.ends(run) and kills < KILLS:
            pool.start()
            time.sleep(dice.expovariate(1 / 0.3))
            pool.kill()
            kills += 1
        pool.start()
        event = pool.end_of(run)
        pool.kill()
        assert event["kind"] == "completed", str(event)
        assert pool.output(event) == f"in{number}:abc".encode()
        assert len(pool.ends(run)) == 1
    pool.stop()
    check_effects(log.read_text().split("\n")[:-1], number)
    wait_until(lambda: pool.processes() == [], LEAVING_SECONDS)


def test_what_containers_are_given_is_no_setting_that_their_node_does_not_know(tmp_path):
    """A memo in front of Postgres reads its settings from the same environment."""
    place = kubelet.Place(tmp_path, tmp_path, tmp_path)
    pod = kubelet.new_record("p", "u", processes.PLACEHOLDER, processes.MEMO, 0)["pod"]
    runtime, given = processes.Processes(cgroups=False), set()
    for container in (processes.MEMO, "slot-a"):
        env = kubelet.env_of(container, pod, place)
        hand, _ = runtime.start(a_launch(tmp_path, "")._replace(env=env, container=container))
        path = Path(f"/proc/{hand['pid']}/environ")
        wait_until(path.read_bytes)  # empty while the process becomes another program
        told = path.read_bytes().decode().split("\0")
        given |= {line.partition("=")[0] for line in told} - os.environ.keys()
        os.kill(hand["pid"], signal.SIGKILL)

    assert {"ORRERY_GATE_RECORD", "ORRERY_SLOT", "ORRERY_MEMO_FOLDER"} <= given
    load_settings("n1", {**os.environ, **dict.fromkeys(given - {""}, "")})


class DiesAtTheGate(processes.Processes):
    """Ends its controller when it has written down a start and would open the gate: each once."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def start(self, launch):
        hand, open_gate = super().start(launch)
        mark = self._folder / f"died-{launch.uid}-{launch.container}-{launch.number}"

        def die_once() -> None:
            if mark.exists():
                open_gate()
            else:
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        return hand, die_once


def test_a_controller_that_dies_between_record_and_gate_costs_no_stage_a_failure(tmp_path):
    """At every start of everything: a stage may fail for memory once, and not a second time."""
    pool, log = Pool(tmp_path), tmp_path / "effects"
    runtime = lambda: DiesAtTheGate(tmp_path)  # noqa: E731
    pool.port = lambda: local.LocalPods(tmp_path / "pods", runtime(), tmp_path / "memo")
    scripts = [f"echo {letter} >> {log}; {append(letter)}" for letter in "abc"]
    run = pool.ask(shell_chain(scripts), "r1")
    deaths = 0
    while not pool.ends(run):
        pool.start()
        wait_until(lambda: pool.ends(run) or pool.is_dead())
        deaths += not pool.ends(run)
        assert deaths < DEATHS_MAX, "nothing begins"
    pool.stop()

    assert pool.output(pool.ends(run)[0]) == b"in:abc"
    assert log.read_text().split() == ["a", "b", "c"]
    assert deaths >= len(["memo", "slot-a", "slot-b", "a", "b", "c"])
    wait_until(lambda: pool.processes() == [], LEAVING_SECONDS)


def check_effects(lines: list[str], runs: int) -> None:
    """Killing the controller kills no stage: each began once and ended once."""
    for number in range(1, runs + 1):
        for stage in (1, 2, 3):
            for word in ("begin", "end"):
                assert lines.count(f"{word} {number}/{stage}") == 1, (word, number, stage)


def a_launch(folder: Path, token: str) -> processes.Launch:
    env = {"ORRERY_SCRATCH": str(folder), "ORRERY_SLOT": "a", "ORRERY_TOKEN": token}
    return processes.Launch("p", "u", "slot-a", 2, processes.PLACEHOLDER, env, folder, 0)


def test_what_was_prepared_does_nothing_before_it_is_started(tmp_path):
    runtime = processes.Processes(cgroups=False)
    runtime.prepare(a_launch(tmp_path, ""))
    time.sleep(0.5)
    assert scratch.slot_token(str(tmp_path), "a") is None

    hand, open_gate = runtime.start(a_launch(tmp_path, ""))
    open_gate()

    wait_until(lambda: scratch.slot_token(str(tmp_path), "a") == "")
    runtime.end(hand)
    wait_until(lambda: runtime.poll(hand) == 0)


def test_what_was_prepared_for_something_else_leaves_and_the_other_is_started(tmp_path):
    runtime = processes.Processes(cgroups=False)
    runtime.prepare(a_launch(tmp_path, "r/1/1"))
    wait_until(lambda: processes_below(tmp_path))
    (wrong,) = processes_below(tmp_path)

    hand, open_gate = runtime.start(a_launch(tmp_path, ""))
    open_gate()

    wait_until(lambda: scratch.slot_token(str(tmp_path), "a") == "")
    wait_until(lambda: processes_below(tmp_path) == [hand["pid"]])
    assert hand["pid"] != wrong
    runtime.end(hand)
    wait_until(lambda: runtime.poll(hand) == 0)


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_a_container_that_cannot_be_started_leaves_no_descriptor_open(tmp_path):
    runtime, before = processes.Processes(cgroups=False), descriptors()

    for _ in range(3):
        with pytest.raises(OSError, match="too long"):
            runtime.start(a_launch(tmp_path, "x" * (140 << 10)))

    assert descriptors() <= before


def test_a_container_that_was_gone_before_its_birth_was_read_is_gone(tmp_path):
    child = subprocess.Popen(["true"])
    child.wait()
    hand = {"pid": child.pid, "born": 0, "boot": processes.boot_id(), "said": str(tmp_path / "x")}

    assert processes.Processes(cgroups=False).poll(hand) == stages.KILLED


def test_what_an_image_of_a_plain_process_stands_for():
    assert processes.command_of("command:1:[]") == []
    assert processes.command_of("registry/x@sha256:ab") is None
    assert processes.command_of("command:1:{}") is None


class Refusing(processes.Processes):
    """An engine that makes no container of one image."""

    def start(self, launch):
        if launch.image == BAD:
            raise OutsideError("the engine refuses it: 500 no such runtime")
        return super().start(launch)


BAD = 'command:1:["true"]'


def test_a_container_that_cannot_be_made_waits_with_the_reason_and_the_others_go_on(tmp_path):
    port = local.LocalPods(tmp_path / "pods", Refusing(cgroups=False), tmp_path / "memo")
    status = {}

    def looks(slot_a: str, slot_b: str) -> bool:
        port.reconcile("domino-0")
        status.update(port.get("domino-0")["status"])
        a, b = (s["state"].get("waiting", {}).get("reason", "up" if s["ready"] else "")
                for s in status["containerStatuses"])  # fmt: skip
        return (a, b) == (slot_a, slot_b)

    wait_until(lambda: looks("up", "up"))
    port.patch("domino-0", port.get("domino-0")["metadata"]["resourceVersion"], {}, {"slot-a": BAD})
    wait_until(lambda: looks("CreateContainerError", "up"))
    seen = pods.look(port.get("domino-0")).slots["a"]
    assert seen.message == "the engine refuses it: 500 no such runtime"

    back = {"slot-a": processes.PLACEHOLDER}
    port.patch("domino-0", port.get("domino-0")["metadata"]["resourceVersion"], {}, back)

    wait_until(lambda: looks("up", "up"))
    port.close()


@pytest.fixture
def stranger():
    """A session of somebody else: its first process, and one that this one started."""
    child = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    yield child.pid, int(child.stdout.readline())
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


@pytest.mark.parametrize("since", ["another process has the number", "the machine was restarted"])
def test_whoever_has_the_number_of_a_container_that_is_gone_is_left_in_peace(
    stranger, tmp_path, since
):
    leader, follower = stranger
    hand = {"pid": leader, "born": 1, "boot": processes.boot_id(), "said": str(tmp_path / "said")}
    if since == "the machine was restarted":
        hand |= {"born": processes.born(leader), "boot": "another"}
    runtime = processes.Processes(cgroups=False)

    assert runtime.poll(hand) == stages.KILLED
    runtime.end(hand)
    runtime.end(hand, hard=True)

    assert processes.born(leader) and processes.born(follower)
