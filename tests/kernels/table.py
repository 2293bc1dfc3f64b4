"""The table of kernels in kernels/README.md: python -m tests.kernels.table writes it anew.

What a row costs is measured by tests/benchmarks/kernel_costs.py, and kept from one writing to the
next.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

from orrery_kernels.engine import catalog

README = Path(__file__).parents[2] / "kernels" / "README.md"
BEGIN, END = "<!-- kernels: begin -->", "<!-- kernels: end -->"


def table(costs: Mapping[str, str]) -> str:
    """Return every kernel and function, by family, as Markdown; costs: kernel -> ns a row."""
    rows: dict[str, list[str]] = {}
    for name, public in catalog.kernels().items():
        kernel = public.definition
        reads = ", ".join(x.column for x in kernel.inputs)
        writes = ", ".join(o.name for o in kernel.outputs)
        about = f"{costs.get(name, '')} | {_summary(kernel.function)}"
        line = f"| `{name}` | {reads} | {writes} | {about} |"
        rows.setdefault(kernel.function.__module__.rsplit(".", 1)[1], []).append(line)
    for name, plain in catalog.functions().items():
        given = ", ".join(inspect.signature(plain).parameters)
        line = f"| `{name}` | {given} | | | {_summary(plain)} |"
        rows.setdefault(plain.__module__.rsplit(".", 1)[1], []).append(line)
    head = "| name | reads | writes | ns/row | |\n| --- | --- | --- | --- | --- |\n"
    return "\n".join(f"\n### {f}\n\n{head}" + "\n".join(rows[f]) for f in sorted(rows)) + "\n"


def measured() -> dict[str, str]:
    """Return kernel -> ns a row, as README.md has it."""
    return dict(re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| ([\d.]+) \|", written(), re.MULTILINE))


def _summary(function: object) -> str:
    first = (inspect.getdoc(function) or "").split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")


def written() -> str:
    """Return the table as README.md has it."""
    return README.read_text().split(BEGIN)[1].split(END)[0]


def write(costs: Mapping[str, str]) -> None:
    text = README.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(before + BEGIN + table(costs) + END + after)


if __name__ == "__main__":
    write(measured())
