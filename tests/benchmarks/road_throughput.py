"""How much fits through: rows and batches waiting in the log, until their facts are committed."""

import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import NamedTuple

from orrery_kernels.engine.chain import Chain
from orrery_services.stack import Stack, faults

from .road_chains import CHAINS, OUTPUTS
from .road_cpu import Cpu
from .road_latency import wal_bytes
from .road_marks import Watch, ends
from .road_rows import BATCH_ROWS, preload, produce_batches
from .road_rows import batches as made_batches
from .road_table import ROUNDS, Table

PRELOADED_PER_SECOND = 200_000  # of measuring
BATCH_ROWS_PER_SECOND = {"one": 500_000, "ten": 200_000}
WAIT_SECONDS_MAX = 120
RIVAL_SECONDS_MAX = 60  # to start
INSTALL_SECONDS_MAX = 300
QUIX = "quixstreams==3.28.1"
measured: dict[str, float] = {}


class Through(NamedTuple):
    """One round: how many a second, and what it cost."""

    per_second: float
    counted: int
    level_seconds: float  # until the other node has them as well
    cpu: str
    wal_bytes: float  # of one node, a row


def rows(stack: Stack, table: Table, seconds: float) -> None:
    """Fill `trades` while nobody packs, then let them."""
    count = int(PRELOADED_PER_SECOND * seconds)
    rounds = [found for _ in range(ROUNDS) if (found := _rows(stack, count))]
    if not rounds:
        table.add("JSON rows -> durable facts, ten kernels", ">= 200,000 rows/s", "not in time")
        return
    best = max(rounds)
    measured["rows"] = best.per_second
    table.add(
        f"{best.counted:,} JSON rows waiting in `trades` -> facts on the owner, ten kernels",
        ">= 200,000 rows/s", _of(rounds),
    )  # fmt: skip
    table.add("   the other node level after", "<= 60 s", f"{best.level_seconds:.1f} s")
    table.add("   CPU of all parts a row, until both are level", "", best.cpu)
    table.add(
        "all WAL of one node per row and output value, full chunks", "<= 16 bytes",
        f"{best.wal_bytes / OUTPUTS['ten']:.1f} bytes ({best.wal_bytes:.0f} a row)",
    )  # fmt: skip


def _of(rounds: list[Through]) -> str:
    each = ", ".join(f"{found.per_second:,.0f}" for found in rounds)
    return f"{max(rounds).per_second:,.0f} rows/s (of {each})"


def _rows(stack: Stack, count: int) -> Through | None:
    settings = stack.settings("n1")
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
        if not watch.level("trades", end, WAIT_SECONDS_MAX):
            return None
    counted = watch.behind("trades", end, start)
    owners, level = watch.done("trades", end)
    used = sum(wal_bytes(stack).values()) - sum(wal.values())
    each = used / count / len(stack.plan.nodes)
    return Through(counted / (owners - start), counted, level - owners, cpu.said(count), each)


def batches(stack: Stack, table: Table, seconds: float) -> None:
    """Produce Arrow batches to `ticks`, for each chain while the other rests."""
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
        rounds = [found for _ in range(ROUNDS) if (found := _batches(stack, name, count))]
        said = "not in time"
        if rounds:
            best = max(rounds)
            level = f"other node level {best.level_seconds:.1f} s after"
            said = f"{_of(rounds)}, {level}; CPU {best.cpu}"
        table.add(
            f"{count} Arrow batches of {BATCH_ROWS:,} rows sent to `ticks` -> facts, "
            f"{OUTPUTS[name]} output{'s' if OUTPUTS[name] > 1 else ''}",
            f">= {goal} rows/s", said,
        )  # fmt: skip


def _batches(stack: Stack, name: str, count: int) -> Through | None:
    settings, sent = stack.settings("n1"), count * BATCH_ROWS
    made = made_batches(settings.partitions)
    wal = wal_bytes(stack)
    with Watch(stack, Chain(CHAINS[name]).digest, 0.05) as watch, Cpu(stack) as cpu:
        before = ends(settings.kafka, "ticks", settings.partitions)
        watch.level("ticks", before, WAIT_SECONDS_MAX)
        start = time.perf_counter()
        produce_batches(settings.kafka, made, count)
        end = ends(settings.kafka, "ticks", settings.partitions)
        if not watch.level("ticks", end, WAIT_SECONDS_MAX):
            return None
    owners, level = watch.done("ticks", end)
    used = sum(wal_bytes(stack).values()) - sum(wal.values())
    each = used / sent / len(stack.plan.nodes)
    return Through(sent / (owners - start), sent, level - owners, cpu.said(sent), each)


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
            theirs = max(_theirs(command(), seconds) for _ in range(ROUNDS))
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
