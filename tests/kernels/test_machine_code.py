"""The compiled code: no fused multiply-add, nothing called outside, same bits on any target."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import pyarrow as pa
import pytest
from orrery_kernels import Chain
from orrery_kernels.engine import catalog, codegen, jit, loader
from orrery_kernels.engine.program import program_of
from orrery_kernels.errors import StepError

from tests.kernels.inputs import small_parameters, ticks

# One of each shape: elementwise, recursive, windowed, two-stacked, transcendental, ordered.
NAMES = ["midprice", "ewma", "rolling_zscore", "ofi", "log_returns", "rolling_max", "realized_var"]
NAMES += ["boxcox", "kalman_hedge_ratio", "rolling_median", "ta_mama"]
_STEP = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def fold_with(name: str, address: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return what the kernel gives when its code is at `address`."""
    kernel = catalog.kernels()[name].definition
    chain = Chain([{"kernel": name, **small_parameters(kernel)}])
    chain.addresses = [address]
    return chain.run(chain.new_state(), batch, threads=1)


def loaded(module: Any, machine: Any) -> Any:
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("runs", [False, True], ids=["rows", "runs"])
def test_every_way_to_compile_gives_the_same_bits(name: str, runs: bool) -> None:
    kernel = catalog.kernels()[name].definition
    batch = ticks(kernel, 600)
    chain = Chain([{"kernel": name, **small_parameters(kernel)}])
    want = chain.run(chain.new_state(), batch, threads=1)
    compiled = jit.compile_source(codegen.generate(kernel, runs))
    text = jit.kernel_ir(compiled, "k_test")
    host = set(llvm.get_host_cpu_features().flatten().split(","))
    fused = "x86-64-v3" if "+fma" in host and "+avx2" in host else None

    assert fold_with(name, compiled.address, batch).equals(want)
    plain = "x86-64" if "x86" in llvm.get_process_triple() else None
    for cpu, features in ((None, ""), (plain, ""), (fused, ""), (fused, "-fma")):
        engine = loaded(llvm.parse_assembly(text), jit.target_machine(cpu, features))
        got = fold_with(name, engine.get_function_address("k_test"), batch)
        assert got.equals(want), f"other bits on {cpu} {features}"


@pytest.mark.parametrize("name", NAMES)
def test_no_fused_multiply_add_is_emitted_for_a_processor_that_has_it(name: str) -> None:
    compiled = jit.compile_source(codegen.generate(catalog.kernels()[name].definition))
    module = llvm.parse_assembly(jit.kernel_ir(compiled, "k_test"))

    assembly = jit.target_machine(
        "x86-64-v4" if "x86" in llvm.get_process_triple() else None
    ).emit_assembly(module)

    assert "fmadd" not in assembly
    assert "fmsub" not in assembly


@pytest.mark.parametrize("flag", ["contract", "reassoc", "arcp"])
def test_a_piece_that_leaves_the_rounding_to_the_compiler_is_refused(
    flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(jit._OPTIONS, "fastmath", {flag})
    compiled = jit.compile_source(codegen.generate(catalog.kernels()["ewma"].definition))

    with pytest.raises(StepError, match=f"must round after each operation, has 'f.* {flag}'"):
        jit.object_code(compiled, "k_test")


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("%4 = tail call double @llvm.fma.f64(double %1, double %2, double %3)", True),
        ("%4 = call <2 x double> @llvm.fmuladd.v2f64(<2 x double> %1, <2 x double> %2)", True),
        ("%4 = fmul nnan contract double %1, %2", True),
        ("%4 = fadd fast <2 x double> %1, %2", True),
        ("%4 = fmul double %contract, %fast", False),
        ("%4 = call double @llvm.fabs.f64(double %1)", False),
    ],
)
def test_whatever_may_be_fused_is_seen(line: str, refused: bool) -> None:
    if not refused:
        jit.must_round("k_test", line)
        return
    with pytest.raises(StepError, match="k_test must round after each operation"):
        jit.must_round("k_test", line)


def file_of(digest: bytes) -> Path | None:
    """Return the file in the cache that has the machine code of a source."""
    for folder in loader.cache_folders():
        alone = folder / "kernel" / f"{digest.hex()}-{loader.targets()[0]}.so"
        if alone.exists():
            return alone
        for index in folder.glob("lib/*/*.json"):
            built = json.loads(index.read_text())
            ours = built.get("target") == loader.targets()[0]
            if ours and digest.hex() in built["kernels"].values():
                return index.parent / built["file"]
    return None


@cache
def disassembled(path: Path) -> dict[str, str]:
    """Return function -> its instructions, as text."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return dict(re.findall(r"^[0-9a-f]+ <(\w+)>:\n((?:.+\n)*)", text, re.MULTILINE))


FUSED = re.compile(r"\bv?fn?m(?:add|sub|la|ls)\w*")


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump, which comes with a linker")
@pytest.mark.skipif(not loader.cache_folders(), reason="ORRERY_CACHE=off keeps no object")
@pytest.mark.parametrize("name", catalog.kernels())
def test_no_object_of_a_kernel_has_a_fused_multiply_add(name: str) -> None:
    kernel = catalog.kernels()[name].definition
    for runs in {False, bool(kernel.state.fields)}:
        digest = program_of(kernel, runs).digest
        path = file_of(digest)
        assert path, f"{name} was compiled and is not in {loader.cache_folders()}"

        instructions = disassembled(path)[loader.symbol(digest)]

        assert "ret" in instructions
        assert not FUSED.findall(instructions)


def test_objects_can_be_loaded_without_a_linker(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = codegen.generate(catalog.kernels()["ewma"].definition)
    code = jit.object_code(jit.compile_source(source), loader.symbol(source.digest))
    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")

    loader.keep(source.digest, code)

    assert [p.suffix for p in (tmp_path / "kernel").iterdir()] == [".o"]
    address = loader.find(source.digest)
    batch = ticks(catalog.kernels()["ewma"].definition, 100)
    chain = Chain([{"kernel": "ewma"}])
    assert fold_with("ewma", address or 0, batch)["ewma"].equals(
        chain.run(chain.new_state(), batch)["ewma"]
    )


@pytest.mark.parametrize("path", ["", None], ids=["without a linker", "linked"])
def test_what_an_image_ships_is_read_beside_the_cache_that_is_written(
    path: str | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orrery_kernels.engine.build import compile_kernel

    name, digest, code = compile_kernel("midprice")
    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path / "shipped"))
    if path is not None:
        monkeypatch.setenv("PATH", path)
    loader.install({name: (digest, code)}, "some")
    monkeypatch.setenv("ORRERY_CACHE", f"{tmp_path / 'written'}:{tmp_path / 'shipped'}")

    library, held = loader.catalog.__wrapped__()["midprice"]
    loader.keep(digest, code)

    assert held == digest
    address = loader._address(library, loader.symbol(digest))
    batch = ticks(catalog.kernels()["midprice"].definition, 100)
    assert fold_with("midprice", address, batch)["midprice"].null_count == 0
    assert [p.name for p in (tmp_path / "written").iterdir()] == ["kernel"]
    assert [p.name for p in (tmp_path / "shipped").iterdir()] == ["lib"]


def test_an_edit_that_leaves_a_step_as_it_is_compiles_nothing_anew(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orrery_kernels.engine import build

    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path))
    pieces = {name: build.compile_kernel(name)[1:] for name in ("midprice", "quoted_spread")}
    loader.install(pieces, "before")
    monkeypatch.setattr(loader, "package_digest", lambda target: f"after an edit, for {target}")
    none_yet = loader.catalog.__wrapped__()

    adopted = loader.adopt({"midprice": pieces["midprice"][0], "quoted_spread": b"another step"})

    assert (none_yet, adopted) == ({}, {"midprice"})
    assert loader.catalog.__wrapped__().keys() == {"midprice"}
    batch = ticks(catalog.kernels()["midprice"].definition, 100)
    assert all(loader.find(digest) for digest, _ in pieces.values())
    address = loader.find(pieces["midprice"][0]) or 0
    assert fold_with("midprice", address, batch)["midprice"].null_count == 0
