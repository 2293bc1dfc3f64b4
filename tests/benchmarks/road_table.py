"""The table: what was measured beside its goal, printed and kept in docs/benchmarks.md."""

import os
import re
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
HEADING = "## The road"
TARGETS = "`make bench`, `make bench-kernels` and `make bench-frozen`"
ROUNDS = 5  # of what other work on the machine disturbs
HEAD = f"# Benchmarks\n\nMeasured by {TARGETS}; never a timed test.\n"


class Row(NamedTuple):
    work: str
    goal: str
    measured: str
    load: float

    def line(self) -> str:
        return f"| {self.work} | {self.goal} | {self.measured} | {self.load:.1f} |"


class Table:
    heading = HEADING

    def __init__(self) -> None:
        self.rows: list[Row] = []
        print("| work | goal | measured | load |\n|---|---|---|---|", flush=True)

    def add(self, work: str, goal: str, measured: str) -> None:
        self.rows.append(Row(work, goal, measured, os.getloadavg()[0]))
        print(self.rows[-1].line(), flush=True)

    def text(self, seconds: float) -> str:
        lines = [
            self.heading, "",
            f"Measured {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC on {machine()}, two "
            f"nodes with every part on it, {seconds:g} s a row, the quietest of {ROUNDS} rounds "
            "for latencies (by the median, all medians beside it) and rates. `load` is the load "
            "average of the last minute when the row was measured. When a fact was committed is "
            "what Postgres stamped on its transaction, just before it wrote its log to disk.", "",
            "| work | goal | measured | load |", "|---|---|---|---|",
            *[row.line() for row in self.rows], "",
        ]  # fmt: skip
        return "\n".join(lines)

    def keep(self, seconds: float) -> None:
        """Put the table into its section of the page; the other sections stay."""
        page = PAGE.read_text() if PAGE.exists() else HEAD
        section = re.compile(rf"^{self.heading}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
        text = self.text(seconds)
        if section.search(page):
            page = section.sub(lambda _: text + "\n", page).rstrip("\n") + "\n"
        else:
            page = page.rstrip("\n") + "\n\n" + text
        PAGE.write_text(page)


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    name = model[1].strip() if model else "an unnamed CPU"
    return f"{os.cpu_count()} cores ({name}), {int(memory[1]) / 2**20:.0f} GiB"


def percentiles(sorted_ms: list[float]) -> str:
    if not sorted_ms:
        return "nothing arrived"
    return f"p50 {median(sorted_ms):.0f} ms, p99 {sorted_ms[int(len(sorted_ms) * 0.99)]:.0f} ms"


def medians(rounds: list[list[float]]) -> str:
    """Say the median of every round, so that one sees what the quietest was chosen from."""
    return "medians " + ", ".join(f"{median(found):.0f}" for found in rounds)
