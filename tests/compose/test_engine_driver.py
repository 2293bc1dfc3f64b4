"""The hot swap on a real container engine: stages are containers, whatever ends them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from orrery_services.hotswap import chain

from tests.compose.conftest import shell
from tests.services.hotswap.memory_of_containers import EnginePool, times

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

IMAGE = "orrery/services-stage:dev"
APPEND = "cat $ORRERY_INPUT > $ORRERY_OUTPUT; printf %s {} >> $ORRERY_OUTPUT"


@pytest.fixture(scope="module")
def socket(engine: None) -> Iterator[None]:
    build = "docker build -q -f services/Dockerfile --build-arg PYTHON_IMAGE=python:3.11-slim"
    done = shell(f"{build} --target stage -t {IMAGE} . >&2 && echo $DOCKER_HOST")
    assert done.returncode == 0, done.stderr[-2000:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", done.stdout.strip())
        yield


@pytest.fixture
def pool(socket: None, tmp_path: Path) -> Iterator[EnginePool]:
    made = EnginePool(tmp_path, IMAGE)
    made.start()
    yield made
    made.stop()


def shell_chain(scripts: list[str], mode: str = "serial", **task) -> chain.Chain:
    tasks = [{"name": f"s{n}", "command": ["sh", "-c", s], **task} for n, s in enumerate(scripts)]
    return chain.read_chain("daisy", {"run_in": "container", "mode": mode, "tasks": tasks})


def left_over() -> list[str]:
    return shell("docker ps -aq --filter label=orrery.pod").stdout.split()


@pytest.mark.parametrize("mode", ["serial", "overlapped"])
def test_a_chain_of_five_runs_in_two_slots(pool: EnginePool, mode: str):
    run = pool.ask(shell_chain([APPEND.format(n) for n in range(5)], mode), "r1", reuse=False)

    event = pool.end_of(run)

    assert event["kind"] == "completed", event
    assert pool.output(event) == b"in:01234"
    gaps, around = times(event)
    print(f"\n{mode}: done -> next running {gaps} ms, around a stage {around:.0f} ms")


def test_a_stage_has_no_network_no_root_to_write_and_no_capability(pool: EnginePool):
    look = "{ ls /sys/class/net; touch /written 2>&1; grep CapEff /proc/self/status; } "
    run = pool.ask(shell_chain([look + "> $ORRERY_OUTPUT"]), "r1", reuse=False)

    text = pool.output(pool.end_of(run)).decode()

    assert text.split()[0] == "lo" and "eth0" not in text
    assert "Read-only file system" in text
    assert "CapEff:\t0000000000000000" in text


def test_a_failed_stage_is_told_by_its_class_and_last_words(pool: EnginePool):
    scripts = [APPEND.format(1), "echo the data are wrong >&2; exit 65"]
    run = pool.ask(shell_chain(scripts), "r1", reuse=False)

    result = pool.end_of(run)["result"]

    assert (result["class"], result["exit_code"], result["stage"]) == ("permanent", 65, 2)
    assert "the data are wrong" in result["why"]


def test_a_killed_controller_is_followed_by_one_that_finds_the_containers(pool: EnginePool):
    scripts = [f"sleep 1; {APPEND.format(n)}; echo . >> /scratch/begun-{n}" for n in range(3)]
    run = pool.ask(shell_chain(scripts), "r1", reuse=False)
    for _ in range(3):
        pool.kill()
        pool.start()

    event = pool.end_of(run)

    assert pool.output(event) == b"in:012"
    assert len(pool.ends(run)) == 1


def test_nothing_is_left_in_the_engine(socket: None, tmp_path: Path):
    pool = EnginePool(tmp_path, IMAGE)
    pool.start()
    pool.end_of(pool.ask(shell_chain([APPEND.format(1)]), "r1", reuse=False))
    pool.stop()

    assert left_over() == []
