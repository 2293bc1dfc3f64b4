"""Compile kernels once: python -m orrery_kernels.engine.build [--only ewma,vwap] [--processes 2]

Images and `make` run it, so that a fresh process has its kernels in milliseconds. What is there
already is not compiled again, nor what a build before an edit has of the same source.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from orrery_kernels.engine import catalog, codegen, loader, native
from orrery_kernels.engine.program import NATIVE, RUNS
from orrery_kernels.errors import ParameterError

PROCESSES_MAX = 8


def source_of(name: str) -> codegen.Source:
    """Return what is compiled for one piece: a kernel, its loop over runs, a native function."""
    if name.startswith(NATIVE):
        return native.sources()[name.removeprefix(NATIVE)]
    kernel = catalog.kernels()[name.removesuffix(RUNS)].definition
    return codegen.generate(kernel, runs=name.endswith(RUNS))


def compile_kernel(name: str) -> tuple[str, bytes, bytes]:
    """Return (name, source digest, object) of one kernel."""
    from orrery_kernels.engine import jit

    source = source_of(name)
    code = jit.object_code(jit.compile_source(source), loader.symbol(source.digest))
    return name, source.digest, code


def build(names: Iterable[str] | None = None, processes: int | None = None) -> int:
    """Compile the kernels `names` (default: all) and return how many pieces that took.

    Pieces are the two loops of each kernel (one where it has no state), and the native functions
    that every chain needs.
    """
    wanted = [*catalog.kernels()] if names is None else [*names]
    for name in wanted:
        if name not in catalog.kernels():
            raise ParameterError(f"a kernel of the catalog must be named, was {name!r}")
    pieces = [*(NATIVE + name for name in native.sources()), *wanted]
    pieces += [name + RUNS for name in wanted if catalog.kernels()[name].definition.state.fields]
    missing = {p: source_of(p).digest for p in pieces if p not in loader.catalog()}
    held = loader.adopt(missing) if missing else set()
    pieces = [piece for piece in missing if piece not in held]
    if pieces:
        objects = _compiled(pieces, processes or loader.processors())
        loader.install(objects, hashlib.blake2b(repr(pieces).encode(), digest_size=8).hexdigest())
    return len(pieces)


def _compiled(pieces: list[str], processes: int) -> dict[str, tuple[bytes, bytes]]:
    workers = min(processes, PROCESSES_MAX, len(pieces))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        made = pool.map(compile_kernel, pieces, chunksize=4)
        return {name: (digest, code) for name, digest, code in made}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", metavar="NAMES", help="kernels, parted by commas; default all")
    parser.add_argument("--processes", type=int, help="default: as many as processors")
    given = parser.parse_args()
    count = build(given.only and given.only.split(","), given.processes)
    sys.stdout.write(f"{count} pieces compiled into {loader.cache_folders()[0]}\n")


if __name__ == "__main__":
    main()
