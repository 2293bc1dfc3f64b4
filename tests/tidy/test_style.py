"""Style of the rooms that are clean: what `make lint` asks of all."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *(ROOT / "kernels").rglob("*.py"),
    *(ROOT / "tests" / "kernels").glob("*.py"),
    *(ROOT / "tests" / "lab").glob("*.py"),
    ROOT / "tests" / "benchmarks" / "kernels.py",
]


@pytest.mark.parametrize("asked", [["check"], ["format", "--check"]], ids=["lint", "layout"])
def test_ruff_finds_nothing(asked: list[str]) -> None:
    command = [sys.executable, "-m", "ruff", *asked, "--no-cache", *FILES]

    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert found.returncode == 0, found.stdout
