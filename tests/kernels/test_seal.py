"""The seal of the lab: nothing reaches outside, and the same ticks give the same bytes anywhere."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from orrery_kernels import Chain
from orrery_kernels.engine import catalog

from tests.kernels.inputs import small_parameters, ticks

LAB = Path(__file__).parents[2] / "kernels" / "orrery_kernels"
DOOR = LAB / "engine" / "loader.py"
FORBIDDEN = {
    "os", "io", "time", "random", "secrets", "uuid", "socket", "subprocess", "logging", "pathlib",
    "tempfile", "shutil", "http", "urllib", "requests", "asyncio",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("path", sorted(LAB.rglob("*.py")), ids=lambda p: str(p.relative_to(LAB)))
def test_no_module_of_the_lab_imports_the_world(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}

    if path != DOOR:
        assert not roots & FORBIDDEN
    assert not {n for n in imported(path) if n.startswith(("numpy.random", "pyarrow.parquet"))}


def test_only_the_lab_and_its_three_libraries_are_needed() -> None:
    allowed = {"numpy", "numba", "pyarrow", "llvmlite", "orrery_kernels", "__future__"}

    roots = {n.split(".")[0] for p in LAB.rglob("*.py") for n in imported(p) if n}

    assert roots <= allowed | set(sys.stdlib_module_names)


_RUN_ALL = """
import hashlib, json, sys
import pyarrow as pa
from orrery_kernels import Chain
from orrery_kernels.engine import catalog
from tests.kernels.inputs import small_parameters, ticks

jobs = []
for name, public in catalog.kernels().items():
    chain = Chain([{"kernel": name, **small_parameters(public.definition)}])
    batch = ticks(public.definition, 200)
    chain.run(chain.new_state(), batch)
    jobs.append((name, chain, batch))

reached = []
def watch(event, arguments):
    outside = ("open", "socket", "subprocess", "os", "shutil", "tempfile")
    if watching and event.split(".")[0] in outside:
        reached.append((event, str(arguments)[:80]))

watching = True
sys.addaudithook(watch)
found = {}
for name, chain, batch in jobs:
    state = chain.new_state()
    out = chain.run(state, batch)
    data = chain.digest + state.to_bytes() + repr(out.to_pydict()).encode()
    found[name] = hashlib.blake2b(data, digest_size=8).hexdigest()
watching = False
print(json.dumps([found, reached]))
"""


def run_all(seed: str) -> tuple[dict[str, str], list[str]]:
    root = LAB.parents[1]
    path = os.pathsep.join([str(root / "kernels"), str(root)])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
    command = [sys.executable, "-c", _RUN_ALL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, reached = json.loads(done.stdout)
    return found, reached


def test_another_hash_seed_gives_the_same_bytes_and_nothing_is_opened() -> None:
    (one, reached), (other, _) = run_all("1"), run_all("2")

    assert one == other
    assert reached == [], "a kernel reached outside while it ran"


def test_a_hundred_thousand_symbols_fit_and_stay_apart() -> None:
    count = 100_000
    names = [f"S{k}" for k in range(count)]
    batch = pa.RecordBatch.from_pydict(
        {"symbol": names * 2, "price": [float(k) for k in range(count)] * 2}
    )
    chain = Chain([{"kernel": "ewma", "alpha": 0.5}, {"kernel": "rolling_zscore", "window": 3}])
    state = chain.new_state()

    out = chain.run(state, batch)

    assert out["ewma"].to_pylist() == batch["price"].to_pylist()
    assert len(state.symbols) == count
    assert state.rows == 2 * count


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_no_bit_of_any_kernel(threads: int) -> None:
    steps, inputs = [], {}
    for name, public in catalog.kernels().items():
        kernel = public.definition
        outputs = [f"{name}_{k}" for k in range(len(kernel.outputs))]
        steps.append({"kernel": name, **small_parameters(kernel), "output": outputs})
        whole = ticks(kernel, 40_000, symbols=50)
        inputs.update({c: whole[c] for c in whole.schema.names if c not in inputs})
    batch = pa.RecordBatch.from_pydict(inputs)
    chain = Chain(steps)
    alone, together = chain.new_state(), chain.new_state()

    want = chain.run(alone, batch, threads=1)
    got = chain.run(together, batch, threads=threads)

    assert got.equals(want)
    assert together.to_bytes() == alone.to_bytes()


def test_what_was_evicted_can_be_brought_back() -> None:
    chain = Chain([{"kernel": "ewma"}])
    state = chain.new_state()
    batch = pa.RecordBatch.from_pydict({"symbol": ["A", "B", "C"], "price": [1.0, 2.0, 3.0]})
    chain.run(state, batch)
    before = state.to_bytes()

    packed = state.evict(["B"])

    assert state.symbols == ["A", "C"]
    state.restore({0: packed})
    assert state.to_bytes() == before


def test_changed_buckets_are_those_touched_since() -> None:
    chain = Chain([{"kernel": "ewma"}])
    state = chain.new_state()
    names = [f"S{k}" for k in range(40)]
    chain.run(state, pa.RecordBatch.from_pydict({"symbol": names, "price": [1.0] * 40}))
    state.clear_dirty()

    chain.run(state, pa.RecordBatch.from_pydict({"symbol": ["S7"], "price": [2.0]}))

    changed = state.dirty_buckets(16)
    assert len(changed) == 1
    assert changed.items() <= state.buckets(16).items()
