"""Speed of snapshots, dominoes, memo and curves, rivals in the same run.

    python -m tests.benchmarks.frozen [--only memo,trees,chain,curves,replay] [--no-page]

Prints the table and keeps it in docs/benchmarks.md.
"""

import argparse
import time

from orrery_services import compiled

from . import curves, dominoes, replay, road_table, snapshots

PARTS = {
    "memo": snapshots.hits,
    "trees": snapshots.trees,
    "chain": dominoes.measure,
    "curves": curves.measure,
    "replay": replay.measure,
}


class Table(road_table.Table):
    heading = "## Snapshots, dominoes, curves"

    def text(self, _: float = 0.0) -> str:
        lines = [
            self.heading, "",
            f"Measured {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC on "
            f"{road_table.machine()}, one process (replay and chain: a Postgres and its clients), "
            "the best of several rounds unless said, rivals in turn with us in the same run. "
            "`load` is the load average of the last minute when the row was measured.", "",
            "| work | goal | measured | load |", "|---|---|---|---|",
            *[row.line() for row in self.rows], "",
        ]  # fmt: skip
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--no-page", action="store_true", help="leave docs/benchmarks.md as it is")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"--only must name {', '.join(PARTS)}, was {', '.join(sorted(unknown))}")
    compiled.keep_loops()
    table = Table()
    for name, part in PARTS.items():
        if name in wanted:
            part(table)
    if not arguments.no_page:
        table.keep(0.0)


if __name__ == "__main__":
    main()
