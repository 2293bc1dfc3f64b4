"""`make test`: every part of the suite in turn, then one summary with what was skipped and why.

A part is a folder below tests/. Each runs in a process of its own: one that dies takes no other
along.
"""

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TWO_AT_A_TIME = ["-n", "2", "--dist", "loadgroup"]
PARTS: dict[str, list[str]] = {
    "tidy": [],
    "kernels": TWO_AT_A_TIME,
    "lab": [],
    "services": [],
    "contracts": [],
    "simulation": TWO_AT_A_TIME,
    "system": [],
    "compose": [],
    "kube": [],
}
NO_TESTS = 5  # pytest's exit code


class Result(NamedTuple):
    part: str
    passed: int
    failed: int
    skipped: Counter  # reason -> times
    seconds: float


def run(part: str, options: list[str]) -> Result:
    began = time.monotonic()
    print(f"\n===== {part}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"tests/{part}", *options]
        code = subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT).returncode
        passed, failed, skipped = read(report)
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
    there = [name for name in chosen if any((ROOT / "tests" / name).rglob("test_*.py"))]
    return summary([run(name, PARTS[name]) for name in there])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
