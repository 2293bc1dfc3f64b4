"""`make test`: every part of the suite in turn, then one summary with what was skipped and why.

A part is a folder below tests/, or half of one. Each runs in a process of its own: one that dies
takes no other along. Those that keep one processor busy run two at a time, before the others.

Real servers, and processes that are killed at random, can be late for one test on a busy machine. A
file of theirs with a failure is run once more, on servers of its own; what passes then is told by
name at the end, because it is a race that somebody has to look for. What fails twice has failed,
and so has a part in which much failed.
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
WITH_PROCESSES = ("services", "swaps", "servers", "system", "compose")
SECOND_TRIES_MAX = 2  # files of a part; where more fail, it was no bad luck
# The longest first.
ONE_PROCESSOR = ("services", "servers", "swaps", "lab", "contracts", "kube", "tidy")
NO_TESTS = 5  # pytest's exit code


class Result(NamedTuple):
    part: str
    passed: int
    failed: int
    skipped: Counter  # reason -> times
    seconds: float
    unsteady: list[str]  # failed, and passed at the second try


class Report(NamedTuple):
    passed: list[str]  # names that pytest takes
    failed: list[str]
    skipped: Counter


def run(part: str, at_once: bool = True) -> Result:
    """Run one part. What it says is shown as it comes, or (`at_once` False) when it has ended."""
    began = time.monotonic()
    title = f"\n===== {part}"
    print(title if at_once else f"{part} began", flush=True)
    report, said = tests(PARTS[part], at_once)
    if not at_once:
        print(f"{title}\n{said}", end="", flush=True)
    unsteady: list[str] = []
    files = sorted({name.split("::")[0] for name in report.failed})
    known = all((ROOT / file).is_file() for file in files)
    if part in WITH_PROCESSES and known and 0 < len(files) <= SECOND_TRIES_MAX:
        print(f"\n===== {part}: {', '.join(files)} once more", flush=True)
        again, said = tests(files, at_once)
        print(said or "", end="", flush=True)
        unsteady = [name for name in report.failed if name in again.passed]
        still = [name for name in report.failed if name not in again.passed]
        report.passed.extend(unsteady)
        report = report._replace(failed=[*dict.fromkeys([*still, *again.failed])])
    counts = len(report.passed), len(report.failed), report.skipped
    return Result(part, *counts, time.monotonic() - began, unsteady)


def tests(what: list[str], at_once: bool) -> tuple[Report, str | None]:
    """Let pytest run, and return its report and what it said, where that is not shown at once."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *what, f"--junitxml={file}"]
        kept = {} if at_once else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, cwd=ROOT, text=True, **kept)
        report = read(file)
    if done.returncode not in (0, NO_TESTS) and not report.failed:
        report.failed.append(f"{what[0]} ended with {done.returncode} before it could say why")
    return report, done.stdout


def read(file: Path) -> Report:
    """Return what a JUnit report says; a test that failed and could not clean up failed once."""
    report = Report([], [], Counter())
    if not file.exists():
        return report
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            if name not in report.failed:
                report.failed.append(name)
        elif skip is not None:
            report.skipped[skip.get("message") or "no reason given"] += 1
        else:
            report.passed.append(name)
    return report


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
    unsteady = [name for result in results for name in result.unsteady]
    for name in unsteady:
        print(f"failed, and passed at the second try: {name}")
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    print(
        f"{passed} passed ({len(unsteady)} of them at the second try), "
        f"{failed} failed, {skipped.total()} skipped"
    )
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
