"""`make test`: every part of the suite in turn, then one summary with what was skipped and why.

A part is a folder below tests/, or half of one. Each runs in a process of its own: one that dies
takes no other along. Those that keep one processor busy run two at a time, before the others.
"""

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TWO_AT_A_TIME = ["-n", "2", "--dist", "loadgroup"]
SERVERS = [f"tests/system/test_{name}.py" for name in ("stack", "ordinary_user")]
SWAPS = ["tests/services/hotswap", "tests/services/memo"]
PARTS: dict[str, list[str]] = {  # what pytest is given, a place first
    "tidy": ["tests/tidy"],
    "kernels": ["tests/kernels", *TWO_AT_A_TIME],
    "lab": ["tests/lab"],
    "services": ["tests/services", *(f"--ignore={folder}" for folder in SWAPS)],
    "swaps": SWAPS,
    "contracts": ["tests/contracts"],
    "simulation": ["tests/simulation", *TWO_AT_A_TIME],
    "servers": SERVERS,  # stacks of their own, without services
    "system": ["tests/system", *(f"--ignore={file}" for file in SERVERS)],
    "compose": ["tests/compose"],
    "kube": ["tests/kube"],
}
# The longest first.
ONE_PROCESSOR = ("services", "servers", "swaps", "lab", "contracts", "kube", "tidy")
NO_TESTS = 5  # pytest's exit code


class Result(NamedTuple):
    part: str
    passed: int
    failed: int
    skipped: Counter  # reason -> times
    seconds: float


def run(part: str, at_once: bool = True) -> Result:
    """Run one part. What it says is shown as it comes, or (`at_once` False) when it has ended."""
    began = time.monotonic()
    title = f"\n===== {part}"
    print(title if at_once else f"{part} began", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *PARTS[part]]
        said = {} if at_once else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, text=True, **said)
        code = done.returncode
        passed, failed, skipped = read(report)
    if not at_once:
        print(f"{title}\n{done.stdout}", end="", flush=True)
    if code not in (0, NO_TESTS) and not failed:
        failed = 1  # it ended before it could say so
    return Result(part, passed, failed, skipped, time.monotonic() - began)


def read(report: Path) -> tuple[int, int, Counter]:
    """Return (passed, failed, reasons of skips) of a JUnit report."""
    if not report.exists():
        return 0, 0, Counter()
    passed = failed = 0
    skipped: Counter = Counter()
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif skip is not None:
            skipped[skip.get("message") or "no reason given"] += 1
        else:
            passed += 1
    return passed, failed, skipped


def summary(results: list[Result]) -> int:
    """Print the table, the skips with their reasons, one plain line; return an exit code."""
    print("\n===== summary")
    for result in results:
        counts = f"{result.passed:6} passed {result.failed:5} failed"
        skips = f"{result.skipped.total():5} skipped"
        print(f"{result.part:<12}{counts}{skips}{result.seconds:8.0f} s")
    skipped = sum((result.skipped for result in results), Counter())
    for reason, times in skipped.most_common():
        print(f"skipped {times} times: {reason}")
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    print(f"{passed} passed, {failed} failed, {skipped.total()} skipped")
    return 1 if failed or not passed else 0


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"a part must be one of {', '.join(PARTS)}, was {unknown[0]!r}", file=sys.stderr)
        return 2
    chosen = [name for name in PARTS if name in names or not names]
    there = [name for name in chosen if (ROOT / PARTS[name][0]).exists()]
    side_by_side = [name for name in ONE_PROCESSOR if name in there] if len(there) > 1 else []
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda name: run(name, at_once=False), side_by_side))
    results += [run(name) for name in there if name not in side_by_side]
    return summary(sorted(results, key=lambda result: [*PARTS].index(result.part)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
