"""The compiled loop of a kernel: from the built catalog, from the cache, or compiled now."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from orrery_kernels.engine import codegen, loader
from orrery_kernels.engine.spec import Kernel


@dataclass(frozen=True)
class Program:
    """Machine code `k(args, lo, hi)` at an address, and the digest of the source it came from."""

    address: int
    digest: bytes


_programs: WeakKeyDictionary[Kernel, Program] = WeakKeyDictionary()


def program_of(kernel: Kernel) -> Program:
    """Return the program of `kernel`, compiling it when nobody has before."""
    if kernel not in _programs:
        _programs[kernel] = _from_catalog(kernel) or _from_source(kernel)
    return _programs[kernel]


def _from_catalog(kernel: Kernel) -> Program | None:
    if not kernel.function.__module__.startswith("orrery_kernels.ticks."):
        return None
    found = loader.catalog().get(kernel.name)
    return Program(*found) if found else None


def _from_source(kernel: Kernel) -> Program:
    source = codegen.generate(kernel)
    address = loader.find(source.digest)
    if address is None:
        from orrery_kernels.engine import jit

        compiled = jit.compile_source(source)
        loader.keep(source.digest, jit.object_code(compiled, loader.symbol(source.digest)))
        address = compiled.address
    return Program(address, source.digest)
