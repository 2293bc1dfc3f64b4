"""Peak memory of a chain of large stages on plain processes: all at once, serial, overlapped.

    python -m tests.services.hotswap.memory_of_chains --megabytes 200 --stages 4

Counted by the kernel in a memory cgroup of the pod. All at once: the same commands side by side in
one group, as containers of one pod would be without swaps.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orrery_services.hotswap import chain, memory

from .pool import Pool, wait_until

HOLD_SECONDS = 0.3
STAGE = (
    "import os, sys, time, shutil; size = int(sys.argv[1]) << 20; held = bytearray(size); "
    "held[::4096] = b'x' * len(held[::4096]); time.sleep(float(sys.argv[2])); "
    "shutil.copyfile(os.environ['ORRERY_INPUT'], os.environ['ORRERY_OUTPUT'])"
)


def command(megabytes: int, number: int) -> list[str]:
    return [sys.executable, "-c", STAGE, str(megabytes), str(HOLD_SECONDS), str(number)]


def swapped(mode: str, stages: int, megabytes: int) -> dict[str, float]:
    """Return peak megabytes of the slots and of the whole pod, and the seconds a run took."""
    tasks = [{"name": f"s{n}", "command": command(megabytes, n)} for n in range(1, stages + 1)]
    read = chain.read_chain("big", {"run_in": "container", "mode": mode, "tasks": tasks})
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(Path(folder))
        pool.start()
        wait_until(lambda: pool.pod() and pool.pod()["status"].get("podIP"))
        uid = pool.pod()["metadata"]["uid"]
        group = memory.make_group(f"orrery-{uid[:12]}")
        run = pool.ask(read, "r1", reuse=False)
        peaks, began = (0, 0), time.monotonic()
        while not pool.ends(run):
            seen = (group.peak_bytes("slots"), group.peak_bytes()) if group else (0, 0)
            peaks = max(peaks[0], seen[0]), max(peaks[1], seen[1])
            time.sleep(0.02)
        seconds = time.monotonic() - began
        event = pool.end_of(run)
        assert event["kind"] == "completed", event
        stage_peak = max(entry["peak_rss_bytes"] for entry in event["stages"])
        pool.stop()
    return {
        "slots_mb": peaks[0] / 1e6,
        "pod_mb": peaks[1] / 1e6,
        "stage_mb": stage_peak / 1e6,
        "seconds": seconds,
    }


def all_at_once(stages: int, megabytes: int) -> dict[str, float]:
    """Return the peak of the same commands side by side."""
    group = memory.make_group(f"orrery-all-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").write_bytes(b"in")
        children, began = [], time.monotonic()
        for number in range(stages):
            output = str(Path(folder) / f"out{number}")
            env = {**os.environ, "ORRERY_INPUT": f"{folder}/in", "ORRERY_OUTPUT": output}
            child = subprocess.Popen(
                ["sh", "-c", 'read _; exec "$@"', "-", *command(megabytes, number)],
                env=env,
                stdin=subprocess.PIPE,
            )
            if group:
                group.add(f"slot-{number}", child.pid, 0)
            child.stdin.write(b"go\n")
            child.stdin.flush()
            children.append(child)
        for child in children:
            child.communicate()
        seconds = time.monotonic() - began
    peak = group.peak_bytes() if group else 0
    if group:
        group.remove()
    return {"slots_mb": peak / 1e6, "pod_mb": peak / 1e6, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--stages", type=int, default=4)
    wanted = parser.parse_args()
    size = wanted.megabytes * (1 << 20) / 1e6
    print(f"{wanted.stages} stages of {size:.0f} MB, {memory.own_group()}")
    print(f"{'':12} {'slots MB':>9} {'stages':>7} {'pod MB':>9} {'stages':>7} {'s':>6}")
    for name in ("all at once", "serial", "overlapped"):
        found = (
            all_at_once(wanted.stages, wanted.megabytes)
            if name == "all at once"
            else swapped(name, wanted.stages, wanted.megabytes)
        )
        print(
            f"{name:12} {found['slots_mb']:9.1f} {found['slots_mb'] / size:7.2f} "
            f"{found['pod_mb']:9.1f} {found['pod_mb'] / size:7.2f} {found['seconds']:6.1f}"
        )


if __name__ == "__main__":
    main()
