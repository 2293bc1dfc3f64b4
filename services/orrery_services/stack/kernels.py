"""Compile what universes will need, before anybody waits for it; images are built with it.

    python -m orrery_services.stack.kernels k8s/nodes/*/universe.toml

into the cache of the lab (ORRERY_CACHE): the kernels of their chains, the loops of trees and of
curves. A kernel named later is compiled when first used.
"""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from orrery_kernels.columns import TICK_SCHEMA
from orrery_kernels.curves.build import build_curve
from orrery_kernels.curves.config import CurveConfig
from orrery_kernels.curves.dominoes import ois_instruments
from orrery_kernels.engine.build import build
from orrery_kernels.engine.plan import plan_steps
from orrery_kernels.risk.dominoes import swap_ladder, swap_value

from .. import compiled
from ..analytics import market
from ..protocol import body, body_loops

QUOTES = {"USD-SOFR-OIS-1Y": 0.04, "USD-SOFR-OIS-2Y": 0.039, "USD-SOFR-OIS-10Y": 0.038}


def kernels_of(universes: Iterable[Path]) -> list[str]:
    """Return the names of all kernels that run in the chains of these files, each once."""
    names: set[str] = set()
    for path in universes:
        chains = tomllib.loads(path.read_text()).get("chains", {})
        for name, steps in chains.items():
            parts = plan_steps(steps, f"{path}, chain {name!r}")
            names.update(part.kernel.name for part in parts)
    return sorted(names)


def compile_loops() -> None:
    """Compile the loops of bodies, trees, curves and their risk by making one of each."""
    compiled.keep_loops()
    market.warm()
    row = pa.RecordBatch.from_pylist([{"symbol": "A", "kind": 0}], TICK_SCHEMA)
    body_loops.decode([body.encode(row)], TICK_SCHEMA)
    instruments = ois_instruments("USD-SOFR", tuple(QUOTES))
    curve = build_curve("2026-01-05", instruments, QUOTES, CurveConfig("USD-SOFR"))
    trades = [["warm", "pays", "spot", "2Y", 1.0, 0.04]]
    swap_value.function(curve, trades=trades), swap_ladder.function(curve, trades=trades)


if __name__ == "__main__":
    named = kernels_of(map(Path, sys.argv[1:]))
    sys.stdout.write(f"{build(named)} pieces compiled for {', '.join(named)}\n")
    compile_loops()
