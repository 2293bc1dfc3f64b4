"""Runs of chains on the test cluster: asked for, waited for, looked at."""

from blake3 import blake3
from orrery_services.cli import run_status
from orrery_services.config import Settings
from orrery_services.hotswap import drivers

from tests.kube.cluster import eventually
from tests.kube.whole import Whole

FIVE = ["one", "two", "three", "four", "five"]
ENDED_SECONDS_MAX = 300
SPACE = ("-n", "orrery-n1")


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


def idle_pod(solo: Whole) -> dict:
    def idle() -> dict | None:
        pod = solo.cluster.get(*SPACE, "pod", "domino-0")
        slots = pod["status"].get("containerStatuses", [])
        run = pod["metadata"].get("annotations", {}).get("hotswap.orrery/run")
        ready = bool(slots) and all(slot["ready"] for slot in slots)
        return pod if ready and not run and "deletionTimestamp" not in pod["metadata"] else None

    return eventually(idle, 120, "the pool is idle")
