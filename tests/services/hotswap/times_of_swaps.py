"""How long a swap takes, and what a stage costs that is known: on processes, or on an engine.

    python -m tests.services.hotswap.times_of_swaps
    DOCKER_HOST=unix:///… python -m tests.services.hotswap.times_of_swaps IMAGE

Stages do no work, so that only what is around them is seen.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from orrery_services.hotswap import app, pods

from .memory_of_containers import EnginePool, times
from .pool import Pool, append, shell_chain, wait_until

RUNS, KNOWN_RUNS = 10, 40


def spread(found: Sequence[float]) -> str:
    """Return median and 95th percentile of milliseconds."""
    ordered = sorted(found)
    return f"p50 {statistics.median(ordered):.0f} p95 {ordered[int(len(ordered) * 0.95)]:.0f} ms"


def swaps(pool: Pool, mode: str) -> str:
    """Run five stages RUNS times."""
    chain = shell_chain([append(letter) for letter in "abcde"], mode)
    gaps, around, patched = [], [], []
    for number in range(RUNS):
        event = pool.end_of(pool.ask(chain, f"{mode}-{number}", reuse=False))
        found, cost = times(event)
        gaps += found
        around.append(cost)
        patched += [entry["swap_ms"] for entry in event["stages"]]
    return (
        f"{mode:10} done -> next running {spread(gaps)}; patch -> runner at work "
        f"{spread(patched)}; around a stage {spread(around)}"
    )


def known_stages(pool: Pool) -> str:
    """Time the turn that finds eight stages known, and writes the end of the run down."""
    chain = shell_chain([append(letter) for letter in "abcdefgh"])
    pool.end_of(pool.ask(chain, "first"))
    wait_until(lambda: is_idle(pods.look(pool.pod())))
    pool.kill()
    port, took = pool.port(), []
    controller = app.Controller(port, pool.runs, pool.names)
    for number in range(KNOWN_RUNS):
        run, pod = pool.ask(chain, f"again-{number}"), port.get("domino-0")
        began = time.perf_counter()
        controller.turn(pod)
        took.append((time.perf_counter() - began) * 1e3)
        assert pool.ends(run)[0]["kind"] == "completed"
    pool.start()
    return f"eight known stages: {spread(took)}, {statistics.median(took) / 8:.1f} ms a stage"


def is_idle(pod: pods.Pod) -> bool:
    return pod.run is None and not pod.deleting and all(s.up for s in pod.slots.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("image", nargs="?", default="")
    image = parser.parse_args().image
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as folder:
        pool = EnginePool(Path(folder), image) if image else Pool(Path(folder))
        pool.start()
        try:
            for mode in ("serial", "overlapped"):
                print(swaps(pool, mode), flush=True)
            if not image:
                print(known_stages(pool))
        finally:
            pool.stop()


if __name__ == "__main__":
    main()
