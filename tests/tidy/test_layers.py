"""The arrow of imports, as pyproject.toml draws it; and steps of services, which touch nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {"faust", "confluent_kafka", "psycopg", "httpx", "time", "random", "os", "socket"}
STEPS = sorted((ROOT / "services").rglob("steps.py"))


def test_imports_follow_the_arrow():
    linter = Path(sys.executable).with_name("lint-imports")

    found = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert found.returncode == 0, found.stdout


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.parent.name)
def test_steps_know_no_outside(path):
    assert imported(path) & OUTSIDE == set()
