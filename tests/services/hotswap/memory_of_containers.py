"""Peak memory of a chain of large stages in containers: all at once, serial, overlapped.

    DOCKER_HOST=unix:///… python -m tests.services.hotswap.memory_of_containers IMAGE

IMAGE is the stage image. Sampled from the containers' memory cgroups every SAMPLE_SECONDS, as a
kubelet counts: usage without the file cache that may go at any time. All at once: the same
commands, a container each, side by side.
"""

import argparse
import itertools
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from orrery_services.hotswap import chain, engine, local, memory

from .memory_of_chains import STAGE
from .pool import Pool, wait_until

SAMPLE_SECONDS = 0.01
HOLD_SECONDS = 3.0  # longer than containers take to start one after another
NAME_LENGTH = 64  # of a container; what builds images is there too


class EnginePool(Pool):
    """A pool whose slots are containers."""

    def __init__(self, folder: Path, image: str) -> None:
        super().__init__(folder)
        self.image = image

    def port(self) -> local.LocalPods:
        runtime = engine.Engine(self.image)
        return local.LocalPods(self.folder / "pods", runtime, self.folder / "memo")


class Sampler(threading.Thread):
    """Looks at the memory of every container of the engine, and keeps the highest sum."""

    def __init__(self, memo: Path | None = None) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = self.peak_with_memo_bytes = 0
        self._memo, self._done = memo, threading.Event()

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            slots = sum(working_set(path) for path in folders())
            memo = working_set(self._memo) if self._memo else 0
            self.peak_bytes = max(self.peak_bytes, slots)
            self.peak_with_memo_bytes = max(self.peak_with_memo_bytes, slots + memo)

    def stop(self) -> None:
        self._done.set()
        self.join()


def folders() -> list[Path]:
    """Return the cgroups of containers, by the names that Docker gives them."""
    version_1 = memory.ROOT / "memory" / "docker"
    found = (version_1 if version_1.exists() else memory.ROOT / "docker").glob("*/")
    return [path for path in found if len(path.name) == NAME_LENGTH]


def working_set(folder: Path) -> int:
    """Return bytes in use without file cache not touched lately; 0 for a group that is gone."""
    try:
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        name = memory.V1_NOW if (folder / memory.V1_NOW).exists() else memory.V2_NOW
        used = int((folder / name).read_text())
    except (OSError, ValueError):
        return 0
    return used - int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def command(megabytes: int, number: int) -> list[str]:
    return ["python", "-c", STAGE, str(megabytes), str(HOLD_SECONDS), str(number)]


def swapped(image: str, mode: str, stages: int, megabytes: int) -> dict[str, Any]:
    """Run the chain once; return peaks and times."""
    tasks = [{"name": f"s{n}", "command": command(megabytes, n)} for n in range(1, stages + 1)]
    read = chain.read_chain("big", {"run_in": "container", "mode": mode, "tasks": tasks})
    with tempfile.TemporaryDirectory() as folder:
        pool = EnginePool(Path(folder), image)
        pool.start()
        try:
            wait_until(lambda: pool.pod() and pool.pod()["status"].get("podIP"))
            group = memory.make_group(f"orrery-{pool.pod()['metadata']['uid'][:12]}")
            sampler = Sampler(group.path / "memo" if group else None)
            sampler.start()
            run = pool.ask(read, "r1", reuse=False)
            event = pool.end_of(run)
            sampler.stop()
        finally:
            pool.stop()
    assert event["kind"] == "completed", event
    return {"slots": sampler.peak_bytes, "pod": sampler.peak_with_memo_bytes, "event": event}


def all_at_once(image: str, stages: int, megabytes: int) -> dict[str, Any]:
    """Run the same commands side by side, a container each; return the peak."""
    runtime = engine.Engine(image)
    sampler = Sampler()
    sampler.start()
    made = []
    for number in range(stages):
        config = {
            "Image": image,
            "Entrypoint": ["sh", "-c", 'echo in >/tmp/in; exec "$@"', "-"],
            "Cmd": command(megabytes, number),
            "Env": ["ORRERY_INPUT=/tmp/in", "ORRERY_OUTPUT=/tmp/out"],
        }
        made.append(runtime._ask("POST", "/containers/create", config)[1]["Id"])
    for identity in made:
        runtime._start(identity)
    for identity in made:
        _, answer = runtime._ask("POST", f"/containers/{identity}/wait")
        assert answer["StatusCode"] == 0, answer
        runtime._ask("DELETE", f"/containers/{identity}?force=1")
    sampler.stop()
    return {"slots": sampler.peak_bytes, "pod": sampler.peak_bytes}


def times(event: dict[str, Any]) -> tuple[list[float], float]:
    """Return milliseconds from a marker to the next stage at work, and of the chain around one."""
    stages = event["stages"]
    gaps = [
        (after["running_ns"] - before["marked_ns"]) / 1e6
        for before, after in itertools.pairwise(stages)
    ]
    whole_ms = (stages[-1]["ended_ns"] - stages[0]["started_ns"]) / 1e6
    return gaps, (whole_ms - sum(entry["run_ms"] for entry in stages)) / len(stages)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--stages", type=int, default=4)
    wanted = parser.parse_args()
    size = wanted.megabytes * (1 << 20)
    assert os.environ.get("DOCKER_HOST"), "DOCKER_HOST must name the engine's socket"
    print(f"{wanted.stages} stages of {size / 1e6:.0f} MB in containers")
    for mode in ("all at once", "serial", "overlapped"):
        if mode == "all at once":
            found = all_at_once(wanted.image, wanted.stages, wanted.megabytes)
        else:
            found = swapped(wanted.image, mode, wanted.stages, wanted.megabytes)
        line = (
            f"{mode:12} slots {found['slots'] / 1e6:7.1f} MB = {found['slots'] / size:.2f} stages"
        )
        line += f", with the memo {found['pod'] / 1e6:7.1f} MB = {found['pod'] / size:.2f}"
        if "event" in found:
            gaps, around = times(found["event"])
            line += f"; done -> next running {json.dumps([round(gap) for gap in gaps])} ms"
            line += f", around a stage {around:.0f} ms"
        print(line, flush=True)


if __name__ == "__main__":
    main()
