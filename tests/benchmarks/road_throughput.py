"""How much fits through: rows and batches waiting in the log, until their facts are committed."""

import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

from orrery_kernels.engine.chain import Chain
from orrery_services.stack import Stack, faults

from .road_chains import CHAINS, OUTPUTS
from .road_cpu import Cpu
from .road_latency import wal_bytes
from .road_marks import Watch, ends
from .road_rows import BATCH_ROWS, preload, produce_batches
from .road_rows import batches as made_batches
from .road_table import Table

PRELOADED_PER_SECOND = 200_000  # of measuring
BATCH_ROWS_PER_SECOND = {"one": 500_000, "ten": 200_000}
WAIT_SECONDS_MAX = 120
RIVAL_SECONDS_MAX = 60  # to start
INSTALL_SECONDS_MAX = 300
QUIX = "quixstreams==3.28.1"
measured: dict[str, float] = {}


def rows(stack: Stack, table: Table, seconds: float) -> None:
    """Fill `trades` while nobody packs, then let them."""
    settings, count = stack.settings("n1"), int(PRELOADED_PER_SECOND * seconds)
    packers = [f"{node}.packer" for node in stack.plan.nodes]
    for part in packers:
        faults.stop(stack, part)
    preload(settings.kafka, count)
    end = ends(settings.kafka, "trades", settings.partitions)
    wal = wal_bytes(stack)
    with Watch(stack, Chain(CHAINS["ten"]).digest, 0.05) as watch, Cpu(stack) as cpu:
        for part in packers:
            faults.start(stack, part)
        stack.wait(packers)
        start = time.perf_counter()  # what was packed before is not counted
        there = watch.level("trades", end, WAIT_SECONDS_MAX)
    if not there:
        table.add("JSON rows -> durable facts, ten kernels", ">= 200,000 rows/s", "not in time")
        return
    counted = watch.behind("trades", end, start)
    owners, level = watch.done("trades", end)
    measured["rows"] = counted / (owners - start)
    table.add(
        f"{counted:,} JSON rows waiting in `trades` -> facts on the owner, ten kernels",
        ">= 200,000 rows/s", f"{measured['rows']:,.0f} rows/s",
    )  # fmt: skip
    table.add("   the other node level after", "<= 60 s", f"{level - owners:.1f} s")
    table.add("   CPU of all parts a row, until both are level", "", cpu.said(count))
    used = sum(wal_bytes(stack).values()) - sum(wal.values())
    each = used / count / len(stack.plan.nodes)
    table.add(
        "all WAL of one node per row and output value, full chunks", "<= 16 bytes",
        f"{each / OUTPUTS['ten']:.1f} bytes ({each:.0f} a row)",
    )  # fmt: skip


def batches(stack: Stack, table: Table, seconds: float) -> None:
    """Produce Arrow batches to `ticks`, for each chain while the other rests."""
    settings = stack.settings("n1")
    made = made_batches(settings.partitions)
    parts = {
        name: [f"{n}.analytics{more}" for n in stack.plan.nodes]
        for name, more in (("ten", ""), ("one", ".one.1"))
    }
    for name, goal, other in (("one", "1,000,000", "ten"), ("ten", "300,000", "one")):
        for part in parts[other]:
            faults.stop(stack, part)
        for part in parts[name]:
            faults.start(stack, part)
        stack.wait(parts[name])
        count = int(BATCH_ROWS_PER_SECOND[name] * seconds) // BATCH_ROWS
        with Watch(stack, Chain(CHAINS[name]).digest, 0.05) as watch, Cpu(stack) as cpu:
            before = ends(settings.kafka, "ticks", settings.partitions)
            watch.level("ticks", before, WAIT_SECONDS_MAX)
            start = time.perf_counter()
            produce_batches(settings.kafka, made, count)
            end = ends(settings.kafka, "ticks", settings.partitions)
            there = watch.level("ticks", end, WAIT_SECONDS_MAX)
        said = "not in time"
        if there:
            owners, level = watch.done("ticks", end)
            said = (
                f"{count * BATCH_ROWS / (owners - start):,.0f} rows/s "
                f"(other node level {level - owners:.1f} s after; "
                f"CPU {cpu.said(count * BATCH_ROWS)})"
            )
        table.add(
            f"{count} Arrow batches of {BATCH_ROWS:,} rows sent to `ticks` -> facts, "
            f"{OUTPUTS[name]} output{'s' if OUTPUTS[name] > 1 else ''}",
            f">= {goal} rows/s", said,
        )  # fmt: skip


def rival(stack: Stack, table: Table, seconds: float) -> None:
    """Let others read the same rows from the same broker, and have both cores to themselves."""
    settings = stack.settings("n1")
    if "rows" not in measured:
        preload(settings.kafka, int(PRELOADED_PER_SECOND * seconds))
    for name in stack.parts() or {}:
        if name.endswith((".packer", ".replication")) or ".analytics" in name:
            faults.stop(stack, name)

    def faust() -> list[str]:
        return [sys.executable, "-m", "tests.benchmarks.rival_faust", f"kafka://{settings.kafka}"]

    def quix() -> list[str]:
        return [str(_quix()), str(Path(__file__).parent / "rival_quix.py"), settings.kafka]

    for name, times, command in (("a stock Faust agent", 25, faust), ("quixstreams", 3, quix)):
        work = f"{name}, a row a message, one average in memory"
        try:
            theirs = _theirs(command(), seconds)
        except subprocess.SubprocessError as cause:
            why = getattr(cause, "stderr", None) or str(cause)
            table.add(work, f"ours >= {times}x", f"did not run: {str(why).strip()[-200:]}")
            continue
        ratio = f", ours {measured['rows'] / theirs:.1f}x" if "rows" in measured else ""
        table.add(work, f"ours >= {times}x", f"{theirs:,.0f} rows/s{ratio}")


def _theirs(command: list[str], seconds: float) -> float:
    done = subprocess.run(
        [*command, str(seconds)], capture_output=True, text=True, check=True,
        timeout=seconds + RIVAL_SECONDS_MAX,
    )  # fmt: skip
    found = re.findall(r"^\d+\.\d+$", done.stdout, re.MULTILINE)  # a rival may print more
    if not found:
        raise subprocess.SubprocessError(f"no figure in {done.stdout[-100:]!r}")
    return float(found[-1])


def _quix() -> Path:
    """Return the Python of an environment with quixstreams alone, made once in the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "orrery" / QUIX.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", QUIX]
        subprocess.run(install, check=True, timeout=INSTALL_SECONDS_MAX)
        (folder / "done").touch()
    return python
