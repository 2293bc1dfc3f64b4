"""The runner with real processes: what a container does that was given a stage."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from orrery_services import gate, scratch
from orrery_services.hotswap import work
from orrery_services.protocol import stages

SECONDS_MAX = 120.0
ECHO = ["sh", "-c", "tr a-z A-Z < $ORRERY_INPUT > $ORRERY_OUTPUT; echo said"]


class Slot:
    """A slot: the runner with a scratch, as a container runtime would start it."""

    def __init__(self, folder: Path) -> None:
        self.scratch = str(folder / "scratch")
        self.log = folder / "termination"
        self.running: list[subprocess.Popen] = []
        self.put(0, b"hello")

    def put(self, stage: int, data: bytes) -> str:
        """Leave an output of a stage in the scratch."""
        folder = Path(scratch.stage_folder(self.scratch, "r", stage))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x").write_bytes(data)
        path = str(folder / "x")
        return scratch.finish_stage(self.scratch, "r", stage, path, {"token": "", "key": ""})[
            "output"
        ]

    def start(self, argv: list[str], token: str = "r/1/1", **order) -> subprocess.Popen:
        inputs = [[stages.parse_token(token).stage - 1, None]] if token else []
        whole = {"code": "x", "inputs": inputs, "deadline_s": SECONDS_MAX, **order}
        env = {
            **os.environ,
            "ORRERY_SCRATCH": self.scratch,
            "ORRERY_SLOT": "a",
            "ORRERY_TOKEN": token,
            "ORRERY_ORDER": json.dumps(whole) if token else "",
            "ORRERY_TERMINATION_LOG": str(self.log),
        }
        command = [sys.executable, "-m", "orrery_services.hotswap.runner", "--", *argv]
        child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.running.append(child)
        return child

    def done(self, stage: int = 1, seconds: float = SECONDS_MAX) -> stages.Marker:
        wait_until(lambda: scratch.is_done(self.scratch, "r", stage), seconds)
        return scratch.read_marker(self.scratch, "r", stage)

    def output(self, stage: int = 1) -> bytes:
        marker = scratch.read_marker(self.scratch, "r", stage)
        return Path(scratch.output_path(self.scratch, "r", stage, marker["output"])).read_bytes()

    def said(self) -> dict:
        return json.loads(self.log.read_text())


def wait_until(true, seconds: float = SECONDS_MAX) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "not within time"
        time.sleep(0.01)


@pytest.fixture
def slot(tmp_path):
    made = Slot(tmp_path)
    yield made
    for child in made.running:
        child.kill()
        child.communicate()


def test_a_stage_reads_what_the_one_before_left_and_leaves_output_then_marker(slot):
    child = slot.start(ECHO)

    marker = slot.done()

    assert slot.output() == b"HELLO"
    assert marker["token"] == "r/1/1"
    assert marker["output_bytes"] == 5
    assert marker["inputs"] == [scratch.read_marker(slot.scratch, "r", 0)["output"]]
    assert marker["key"] == stages.stage_key("x", {}, marker["inputs"])
    assert marker["peak_rss_bytes"] > 0
    assert child.poll() is None, "it parks: a container that ends is not swapped by a kubelet"


def test_a_parked_runner_leaves_at_once_and_well_when_it_is_swapped_away(slot):
    child = slot.start(ECHO)
    slot.done()
    wait_until(lambda: scratch.slot_done(slot.scratch, "a") == (True, "r/1/1"))

    child.terminate()

    assert child.wait(SECONDS_MAX) == 0, "by a handler of its own"
    assert scratch.slot_done(slot.scratch, "a") == (False, "")


def test_started_again_it_does_not_run_the_stage_again(slot):
    slot.start(ECHO)
    first = slot.done()
    slot.running[0].kill()

    again = slot.start(["sh", "-c", "echo other > $ORRERY_OUTPUT"], token="r/1/2")
    wait_until(lambda: scratch.slot_done(slot.scratch, "a") == (True, "r/1/2"))

    assert scratch.read_marker(slot.scratch, "r", 1) == first
    assert again.poll() is None


def test_without_a_token_it_is_the_placeholder(slot):
    child = slot.start([], token="")

    wait_until(lambda: scratch.slot_done(slot.scratch, "a") == (True, ""))

    child.send_signal(signal.SIGTERM)
    assert child.wait(SECONDS_MAX) == 0


@pytest.mark.parametrize(
    ("command", "code", "kind"),
    [
        (["sh", "-c", "exit 3"], 3, "transient"),
        (["sh", "-c", "exit 64"], 64, "permanent"),
        (["sh", "-c", "exit 78"], 78, "permanent"),
        (["sh", "-c", "kill -9 $$"], 137, "resource"),
        (["true"], 65, "permanent"),
        (["sh", "-c", "ln -s /etc/hostname $ORRERY_OUTPUT"], 65, "permanent"),
        (["sh", "-c", "mkdir $ORRERY_OUTPUT"], 65, "permanent"),
        (["/etc/hostname"], 78, "permanent"),
        (["no-such-program"], 78, "permanent"),
        ([], 78, "permanent"),
    ],
)
def test_how_a_stage_fails_is_told_by_exit_code_and_message(slot, command, code, kind):
    child = slot.start(command)

    assert child.wait(SECONDS_MAX) == code
    said = slot.said()
    assert (said["token"], said["exit"], said["class"]) == ("r/1/1", code, kind)
    assert said["why"]
    assert not scratch.is_done(slot.scratch, "r", 1)


def test_the_last_words_of_a_stage_reach_the_message_and_its_log_the_scratch(slot):
    child = slot.start(["sh", "-c", "echo curve has no quotes >&2; exit 70"])

    assert child.wait(SECONDS_MAX) == 70
    assert "curve has no quotes" in slot.said()["why"]
    assert b"curve has no quotes" in child.stdout.read()
    log = Path(scratch.stage_folder(slot.scratch, "r", 1)) / "log"
    assert "curve has no quotes" in log.read_text()


def test_a_stage_past_its_deadline_is_ended_with_all_it_started(slot):
    child = slot.start(["sh", "-c", "sleep 60 & echo $!; wait"], deadline_s=3.0)

    assert child.wait(SECONDS_MAX) == stages.DEADLINE
    assert "not done within 3.0 s" in slot.said()["why"]
    grandchild = int(child.stdout.readline())
    wait_until(lambda: not Path(f"/proc/{grandchild}").exists() or is_zombie(grandchild))


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_swapped_away_in_the_middle_it_leaves_no_output_and_says_so(slot):
    child = slot.start(["sh", "-c", "echo begun; echo half > $ORRERY_OUTPUT; sleep 60"])
    assert child.stdout.readline() == b"begun\n"

    child.terminate()

    assert child.wait(SECONDS_MAX) == stages.ENDED
    assert not scratch.is_done(slot.scratch, "r", 1)
    assert scratch.slot_done(slot.scratch, "a") == (False, "")


def test_what_a_killed_attempt_left_half_written_does_not_reach_the_next_one(slot):
    first = slot.start(["sh", "-c", "echo half > $ORRERY_OUTPUT; echo begun; sleep 60"])
    assert first.stdout.readline() == b"begun\n"
    first.kill()
    first.wait(SECONDS_MAX)

    slot.start(["sh", "-c", "cat $ORRERY_INPUT >> $ORRERY_OUTPUT"], token="r/1/2")
    slot.done()

    assert slot.output() == b"hello"


def test_preloaded_it_waits_for_the_stage_before_and_then_runs_at_once(slot):
    child = slot.start(ECHO, token="r/2/1")
    time.sleep(0.3)
    assert not scratch.is_done(slot.scratch, "r", 2)
    assert child.poll() is None

    slot.put(1, b"late")
    slot.done(2)

    assert slot.output(2) == b"LATE"


def test_a_preloaded_runner_that_waits_can_be_swapped_away(slot):
    child = slot.start(ECHO, token="r/2/1")
    wait_until(lambda: scratch.slot_done(slot.scratch, "a") == (False, "r/2/1"))

    child.terminate()

    assert child.wait(SECONDS_MAX) == stages.ENDED


def test_an_input_other_than_the_one_ordered_is_refused_for_good(slot):
    child = slot.start(ECHO, inputs=[[0, "ab" * 32]])

    assert child.wait(SECONDS_MAX) == 66
    assert "must be abababab" in slot.said()["why"]


def test_an_input_that_is_nowhere_is_worth_another_try(slot):
    child = slot.start(ECHO, token="r/3/1", inputs=[[2, "ab" * 32]])

    assert child.wait(SECONDS_MAX) == stages.UNAVAILABLE


@pytest.mark.parametrize("token", ["r/1", "../1/1", "r/one/1", "R R/1/1"])
def test_a_token_that_makes_no_sense_is_refused_for_good(slot, token):
    child = slot.start(ECHO, token="r/1/1")
    child.kill()
    env_token = {"ORRERY_TOKEN": token, "ORRERY_SCRATCH": slot.scratch, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "orrery_services.hotswap.runner", "--", "true"],
        env={**env_token, "ORRERY_TERMINATION_LOG": str(slot.log)},
        timeout=SECONDS_MAX,
        capture_output=True,
        check=False,
    )

    assert done.returncode == stages.BAD_ORDER
    assert "a token must be" in slot.said()["why"]


def test_a_stage_sees_its_parameters_and_not_the_orders_of_the_controller(slot):
    slot.start(["sh", "-c", "env | sort > $ORRERY_OUTPUT"], parameters={"tenor": "10Y", "n": 3})
    slot.done()

    seen = slot.output().decode()
    assert 'ORRERY_PARAMETERS={"n":3,"tenor":"10Y"}' in seen
    assert "ORRERY_RUN=r\n" in seen
    assert "ORRERY_ORDER" not in seen
    assert "ORRERY_TOKEN" not in seen


def test_a_parked_runner_is_small(slot):
    child = slot.start(ECHO)
    slot.done()
    wait_until(lambda: scratch.slot_done(slot.scratch, "a")[0])

    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
    )

    assert int(status["RssAnon"].split()[0]) < 9 * 1024, "kB of its own"
    assert int(status["Threads"]) == 1


def at_a_gate(slot, record: Path) -> tuple[subprocess.Popen, int]:
    """Return a runner that waits at its gate, and the end of the pipe that would open it."""
    read, write = os.pipe()
    env = {
        **os.environ,
        "ORRERY_SCRATCH": slot.scratch,
        "ORRERY_GATE_FD": str(read),
        "ORRERY_GATE_RECORD": str(record),
        "ORRERY_GATE_NAME": "slot-a",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "orrery_services.hotswap.runner", "--", "true"],
        env=env,
        pass_fds=(read,),
    )
    slot.running.append(child)
    os.close(read)
    return child, write


def test_whoever_dies_before_writing_the_runner_down_leaves_nobody_behind(slot, tmp_path):
    child, write = at_a_gate(slot, tmp_path / "pod.json")

    os.close(write)

    assert child.wait(SECONDS_MAX) == 0


@pytest.mark.parametrize("other", [{"pid": 1}, {"born": 1}, {"state": "ended"}])
def test_a_runner_that_a_record_takes_for_another_leaves_too(slot, tmp_path, other):
    child, write = at_a_gate(slot, tmp_path / "pod.json")
    hand = {"state": "running", "pid": child.pid, "born": gate.born(child.pid), **other}
    (tmp_path / "pod.json").write_text(json.dumps({"hands": {"slot-a": hand}}))

    os.close(write)

    assert child.wait(SECONDS_MAX) == 0


def test_a_runner_that_was_written_down_begins_though_its_gate_was_never_opened(slot, tmp_path):
    child, write = at_a_gate(slot, tmp_path / "pod.json")
    hand = {"state": "running", "pid": child.pid, "born": gate.born(child.pid)}
    (tmp_path / "pod.json").write_text(json.dumps({"hands": {"slot-a": hand}}))

    os.close(write)

    wait_until(lambda: scratch.slot_token(slot.scratch, "a") == "")
    assert child.poll() is None


def test_a_stage_that_talks_without_end_is_ended_at_its_deadline_and_fills_no_disk(slot, tmp_path):
    """`yes` fills a pipe as fast as it is read."""
    with (tmp_path / "said").open("wb") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "orrery_services.hotswap.runner", "--", "yes"],
            env={
                **os.environ,
                "ORRERY_SCRATCH": slot.scratch,
                "ORRERY_TOKEN": "r/1/1",
                "ORRERY_ORDER": json.dumps({"code": "x", "inputs": [[0, None]], "deadline_s": 3.0}),
                "ORRERY_TERMINATION_LOG": str(slot.log),
            },
            stdout=said,
        )
        slot.running.append(child)

        assert child.wait(SECONDS_MAX) == stages.DEADLINE

    log = Path(scratch.stage_folder(slot.scratch, "r", 1)) / "log"
    for path in (log, tmp_path / "said"):
        assert path.stat().st_size < 1.1 * 2**20
        assert path.read_bytes().endswith(b"the rest is not kept]\n")


def test_a_log_that_cannot_be_written_costs_the_log_and_not_the_stage(slot):
    folder = Path(scratch.stage_folder(slot.scratch, "r", 1))
    folder.mkdir(parents=True)
    (folder / "log").symlink_to("/dev/full")

    slot.start(ECHO)
    slot.done()

    assert slot.output() == b"HELLO"


def test_a_folder_that_an_earlier_attempt_left_is_no_obstacle(slot):
    (Path(scratch.stage_folder(slot.scratch, "r", 1)) / "output.tmp" / "x").mkdir(parents=True)

    slot.start(ECHO)
    slot.done()

    assert slot.output() == b"HELLO"


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_who_asks_for_help_at_a_terminal_gets_it_instead_of_a_placeholder(word):
    said = subprocess.run(
        [str(Path(sys.executable).with_name("orrery")), "stage", word],
        timeout=SECONDS_MAX, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip

    assert said.startswith("Usage: orrery stage [-- CMD...]")


def can_have_pids_of_its_own() -> bool:
    done = subprocess.run(["unshare", "-pf", "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(not can_have_pids_of_its_own(), reason="no right to a pid namespace")
def test_what_a_stage_left_running_elsewhere_goes_when_it_is_done(slot, tmp_path):
    """As in a container, where the runner is process 1 and nobody else would end it."""
    stray = f"setsid sh -c 'touch {tmp_path}/begun; sleep 300' & "
    wait = f"while ! test -e {tmp_path}/begun; do sleep 0.02; done; "
    runner = f"{sys.executable} -m orrery_services.hotswap.runner -- sh -c"
    child = subprocess.Popen(
        ["unshare", "-pf", "--kill-child", *runner.split(), stray + wait + "echo 1>$ORRERY_OUTPUT"],
        env={
            **os.environ,
            "ORRERY_SCRATCH": slot.scratch,
            "ORRERY_TOKEN": "r/1/1",
            "ORRERY_ORDER": json.dumps(
                {"code": "x", "inputs": [[0, None]], "deadline_s": SECONDS_MAX}
            ),
            "ORRERY_TERMINATION_LOG": str(slot.log),
        },
    )
    slot.running.append(child)

    slot.done()

    wait_until(lambda: not strays(tmp_path))


def strays(folder: Path) -> list[int]:
    """Return sleeping processes whose scratch is below a folder, but for runners."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            env, said = (path / "environ").read_bytes(), (path / "cmdline").read_bytes()
            if str(folder).encode() in env and said.startswith(b"sleep"):
                found.append(int(path.name))
    return found


def test_a_stage_waits_for_the_one_before_for_as_long_as_that_one_may_take(slot, monkeypatch):
    """Three attempts of a day each, on a clock of its own."""
    days = [0.0]

    def sleep(_: float) -> None:
        days[0] += 0.25
        if days[0] == 3.0:
            slot.put(1, b"at last")

    clock = SimpleNamespace(monotonic=lambda: days[0] * 86_400, sleep=sleep)
    monkeypatch.setattr(work, "time", clock)

    work.wait_for_inputs(slot.scratch, stages.Token("r", 2, 1), {"inputs": [[1, None]]})

    assert scratch.is_done(slot.scratch, "r", 1)
