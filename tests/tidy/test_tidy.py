"""Style as a test: what a reviewer would otherwise have to say twice."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
LINE_WIDTH_MAX = 100
FILE_BYTES_MAX = 512 * 1024

# The mission fixes the seven rooms; beside them only what a root must have.
ROOT_ENTRIES = {
    ".ci", ".dockerignore", ".env", ".gitignore", "ARCHITECTURE.md", "CHANGELOG.md",
    "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "connectors",
    "docker-compose.yml",
    "docs", "k8s", "kernels", "pyproject.toml", "schemas", "services", "tests",
}  # fmt: skip


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


PYTHON = [path for path in tracked() if path.suffix == ".py"]
PRODUCT = [path for path in PYTHON if path.parts[0] in ("kernels", "services")]
PROSE = [path for path in tracked() if path.suffix == ".md"]


def test_the_root_holds_the_fixed_rooms_and_nothing_else():
    entries = {path.parts[0] for path in tracked()}

    assert entries - ROOT_ENTRIES == set()


def _lines_of(node: ast.AST) -> int:
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node):
        lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    return lines


@pytest.mark.parametrize("path", PRODUCT, ids=str)
def test_no_function_and_no_module_is_too_long_to_hold_in_the_head(path):
    text = (ROOT / path).read_text()
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    lines = {node.name: _lines_of(node) for node in functions}
    long = {name: many for name, many in lines.items() if many > FUNCTION_LINES_MAX}
    assert long == {}
    assert text.count("\n") <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", PRODUCT, ids=str)
def test_a_module_says_in_its_first_line_what_it_is_for(path):
    tree = ast.parse((ROOT / path).read_text())

    assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"


def test_no_file_carries_an_unfinished_mark():
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|NotImplemented" + r"Error)\b")
    found = {str(path) for path in PYTHON + PROSE if marks.search((ROOT / path).read_text())}

    assert found == set()


PICTURES = {"docs/page.png"}  # of what a person sees; nothing else is binary


def test_every_file_is_small_enough_to_be_read_and_is_no_binary():
    large = {
        str(path): size
        for path in tracked()
        if (size := (ROOT / path).stat().st_size) > FILE_BYTES_MAX
    }
    binary = {str(path) for path in tracked() if b"\0" in (ROOT / path).read_bytes()[:4096]}

    assert large == {}
    assert binary == PICTURES


_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in headings}


@pytest.mark.parametrize("path", PROSE, ids=str)
def test_every_link_in_the_documents_leads_somewhere(path):
    dead = []
    for link in _LINK.findall((ROOT / path).read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        there = (ROOT / path.parent / target).resolve() if target else ROOT / path
        wanted = anchor if there.exists() and there.suffix == ".md" else ""
        lacks = wanted and wanted not in _anchors(there)
        if not there.exists() or lacks:
            dead.append(link)

    assert dead == []


_ROOMS = "kernels|services|tests|schemas|connectors|k8s|docs"
_CODE_NAME = re.compile(rf"`((?:{_ROOMS})/[\w./-]+)(?::(\w+))?`")


@pytest.mark.parametrize("path", PROSE, ids=str)
def test_every_file_and_function_named_in_the_documents_exists(path):
    missing = []
    for name, symbol in _CODE_NAME.findall((ROOT / path).read_text()):
        there = ROOT / name
        if not there.exists() or (symbol and not re.search(rf"\b{symbol}\b", there.read_text())):
            missing.append(f"{name}:{symbol}" if symbol else name)

    assert missing == []
