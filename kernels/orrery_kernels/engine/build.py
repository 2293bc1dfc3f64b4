"""Compile the whole catalog once: python -m orrery_kernels.engine.build [processes]

Images and `make` run it, so that a fresh process has its kernels in milliseconds.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from orrery_kernels.engine import catalog, codegen, loader, native
from orrery_kernels.engine.program import NATIVE, RUNS

PROCESSES_MAX = 8


def compile_kernel(name: str) -> tuple[str, bytes, bytes]:
    """Return (name, source digest, object) of one kernel."""
    from orrery_kernels.engine import jit

    if name.startswith(NATIVE):
        source = native.sources()[name.removeprefix(NATIVE)]
    else:
        kernel = catalog.kernels()[name.removesuffix(RUNS)].definition
        source = codegen.generate(kernel, runs=name.endswith(RUNS))
    return (
        name,
        source.digest,
        jit.object_code(jit.compile_source(source), loader.symbol(source.digest)),
    )


def build(processes: int = 2) -> str:
    """Compile every kernel over `processes` and return the folder of the catalog."""
    names = [*(NATIVE + name for name in native.sources()), *catalog.kernels()]
    names += [name + RUNS for name in catalog.kernels()]
    workers = max(1, min(processes, PROCESSES_MAX, len(names)))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        made = pool.map(compile_kernel, names, chunksize=4)
        objects = {name: (digest, code) for name, digest, code in made}
    return str(loader.install_catalog(objects))


if __name__ == "__main__":
    sys.stdout.write(build(int(sys.argv[1]) if len(sys.argv) > 1 else 2) + "\n")
