"""The compiled loop of a kernel: from the built catalog, from the cache, or compiled now."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from orrery_kernels.engine import loader
from orrery_kernels.engine.spec import Kernel

if TYPE_CHECKING:
    from orrery_kernels.engine.codegen import Source

# What every compiled piece looks like from outside: three words in, one out. The interpreter's lock
# is given up meanwhile (_CALL) or kept, which is quicker for a few rows (_QUICK; its arguments are
# c_void_p and c_int64, which need no converting).
_CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_QUICK = ctypes.PYFUNCTYPE(ctypes.c_int64)
NATIVE = "native."  # prefix of the native functions in the built catalog
RUNS = ".runs"  # suffix of the loops over runs


@dataclass(frozen=True)
class Program:
    """Machine code `k(args, lo, hi)` at an address, and the digest of the source it came from."""

    address: int
    digest: bytes


_programs: WeakKeyDictionary[Kernel, dict[bool, Program]] = WeakKeyDictionary()


def program_of(kernel: Kernel, runs: bool = False) -> Program:
    """Return the program of `kernel`, over rows or over runs, compiled if nobody has before."""
    held = _programs.setdefault(kernel, {})
    runs = runs and bool(kernel.state.fields)
    if runs not in held:
        held[runs] = _from_catalog(kernel, runs) or _from_text(kernel, runs)
    return held[runs]


@cache
def native_address(name: str) -> int:
    """Return the address of one of the native functions of native.py."""
    found = loader.built(NATIVE + name)
    if found:
        return found[0]
    from orrery_kernels.engine import native  # only what was not built needs its text

    return _from_source(native.sources()[name]).address


@cache
def native_call(name: str, quick: bool = False) -> Callable[..., int]:
    """Return a native function as a Python callable; `quick` keeps the interpreter's lock."""
    return (_QUICK if quick else _CALL)(native_address(name))


def _from_catalog(kernel: Kernel, runs: bool) -> Program | None:
    if not kernel.function.__module__.startswith("orrery_kernels.ticks."):
        return None
    found = loader.built(kernel.name + (RUNS if runs else ""))
    return Program(*found) if found else None


def _from_text(kernel: Kernel, runs: bool) -> Program:
    from orrery_kernels.engine import codegen

    return _from_source(codegen.generate(kernel, runs))


def _from_source(source: Source) -> Program:
    address = loader.find(source.digest)
    if address is None:
        from orrery_kernels.engine import jit

        compiled = jit.compile_source(source)
        loader.keep(source.digest, jit.object_code(compiled, loader.symbol(source.digest)))
        address = compiled.address
    return Program(address, source.digest)
