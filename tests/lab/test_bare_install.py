"""`pip install .` and nothing else: the sealed lab in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BROUGHT = {"orrery-system", "numpy", "numba", "llvmlite", "pyarrow"}
TOOLS = {"pip", "setuptools"}  # what a new environment holds
INSTALL_SECONDS_MAX, RUN_SECONDS_MAX = 600, 600
FIRST_RESULT = """
import orrery_kernels, pyarrow as pa
from orrery_kernels.engine import catalog
batch = pa.RecordBatch.from_pydict({"symbol": ["A", "A", "B"], "price": [1.0, 2.0, 5.0]})
print(orrery_kernels.__file__)
print(orrery_kernels.ewma(batch, alpha=0.5)["ewma"].to_pylist(), dict(catalog.broken()))
"""


def run(*command: str | Path, cwd: Path = ROOT, seconds: int = RUN_SECONDS_MAX) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def pip(python: Path, *arguments: str) -> str:
    command = [python, "-m", "pip", "--disable-pip-version-check", *arguments]
    return run(*command, seconds=INSTALL_SECONDS_MAX)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the distribution installed, and no extra."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", folder)
    pip(folder / "bin" / "python", "install", "-q", ".")
    return folder / "bin" / "python"


def test_it_brings_three_libraries_and_what_they_need(python: Path) -> None:
    installed = json.loads(pip(python, "list", "--format=json"))

    assert {each["name"] for each in installed} - TOOLS == BROUGHT


def test_kernels_compute_there_and_every_family_is_there(python: Path, tmp_path: Path) -> None:
    where, said = run(python, "-I", "-c", FIRST_RESULT, cwd=tmp_path).splitlines()

    assert Path(where).is_relative_to(python.parents[1])
    assert said == "[1.0, 1.5, 5.0] {}"


def test_the_laws_hold_there(python: Path) -> None:
    pip(python, "install", "-q", "pytest", "hypothesis")
    options = ["-q", "-p", "no:cacheprovider", "-o", "pythonpath=.", "-k", "ewma or vwap"]

    said = run(python, "-m", "pytest", "tests/kernels/test_laws.py", *options)

    assert " passed" in said
    assert "failed" not in said
