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


FAUST = {"faust", "mode", "aiokafka"}


def of_faust(tree: ast.AST) -> set[str]:
    """Return the names that a module has from Faust and what it stands on."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name for a in node.names if a.name.split(".")[0] in FAUST}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FAUST:
            names |= {a.asname or a.name for a in node.names}
    return names


def root_of(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_faust_is_used_as_it_is():
    """No private name of it is touched, nothing of it is replaced, no method of it overridden."""
    found = []
    for path in sorted((ROOT / "services").rglob("*.py")):
        tree = ast.parse(path.read_text())
        if not (theirs := of_faust(tree)):
            continue
        theirs |= {"app", "stream", "event"}  # what Faust gives us
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and root_of(node) in theirs:
                if private(node.attr) or isinstance(node.ctx, ast.Store | ast.Del):
                    found.append(f"{path.name}:{node.lineno} touches {node.attr}")
            elif isinstance(node, ast.ClassDef) and {root_of(base) for base in node.bases} & theirs:
                methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
                found += [f"{path.name}: {node.name}.{name}" for name in methods if private(name)]

    assert found == []
    assert of_faust(ast.parse((ROOT / "services/orrery_services/analytics/app.py").read_text()))
