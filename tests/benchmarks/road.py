"""Speed of the road, on real parts: python -m tests.benchmarks.road [--seconds 10] [--only a,d]

Two nodes, every service, one machine. Nothing here decides whether a test passes.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orrery_services.stack import Stack, free_port_base, make_plan

from . import road_chains, road_latency, road_throughput
from .road_table import PAGE, Table

NODES = ("n1", "n2")
# In this order: each leaves the stack as the next one wants it.
PARTS = {
    "memory": road_latency.memory,
    "capture": road_latency.capture,
    "steady": road_latency.steady,
    "takeover": road_latency.takeover,
    "rows": road_throughput.rows,
    "batches": road_throughput.batches,
    "rival": road_throughput.rival,
}


@contextmanager
def a_stack(table: Table) -> Iterator[Stack]:
    """Start two nodes with the chains of this benchmark, and leave nothing of them behind."""
    folder = Path(tempfile.mkdtemp(prefix="orrery-bench-"))
    folder.chmod(0o755)
    road_chains.write_nodes(folder / "nodes", NODES)
    os.environ["ORRERY_NODES_DIR"] = str(folder / "nodes")
    made = Stack(
        make_plan(folder / "home", NODES, port_base=free_port_base(NODES), demo=False, tsdb=True)
    )
    try:
        road_latency.up(made, table)
        yield made
    finally:
        made.down()
        made.clean()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="of measuring, each row")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--no-page", action="store_true", help=f"leave {PAGE.name} as it is")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"--only must name {', '.join(PARTS)}, was {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the stack goes down all the same
    table = Table()
    with a_stack(table) as stack:
        for name, part in PARTS.items():
            if name in wanted:
                part(stack, table, arguments.seconds)
    if not arguments.no_page:
        table.keep(arguments.seconds)


if __name__ == "__main__":
    main()
