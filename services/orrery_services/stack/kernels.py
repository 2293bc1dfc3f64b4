"""Compile the kernels that universes name, before anybody waits for them; images are built with it.

    python -m orrery_services.stack.kernels k8s/nodes/*/universe.toml

into the cache of the lab (ORRERY_CACHE). A kernel named later is compiled when first used.
"""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from orrery_kernels.engine.build import build


def kernels_of(universes: Iterable[Path]) -> list[str]:
    """Return the names of all kernels in the chains of these files, each once."""
    names: set[str] = set()
    for path in universes:
        chains = tomllib.loads(path.read_text()).get("chains", {})
        names.update(step["kernel"] for steps in chains.values() for step in steps)
    return sorted(names)


if __name__ == "__main__":
    named = kernels_of(map(Path, sys.argv[1:]))
    sys.stdout.write(f"{build(named)} pieces compiled for {', '.join(named)}\n")
