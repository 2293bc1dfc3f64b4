"""The table of kernels in kernels/README.md: python -m tests.kernels.table writes it anew."""

from __future__ import annotations

import inspect
from pathlib import Path

from orrery_kernels.engine import catalog

README = Path(__file__).parents[2] / "kernels" / "README.md"
BEGIN, END = "<!-- kernels: begin -->", "<!-- kernels: end -->"


def table() -> str:
    """Return every kernel and function, by family, as Markdown."""
    rows: dict[str, list[str]] = {}
    for name, public in catalog.kernels().items():
        kernel = public.definition
        reads = ", ".join(x.column for x in kernel.inputs)
        writes = ", ".join(o.name for o in kernel.outputs)
        line = f"| `{name}` | {reads} | {writes} | {_first_line(kernel.function)} |"
        rows.setdefault(kernel.function.__module__.rsplit(".", 1)[1], []).append(line)
    for name, plain in catalog.functions().items():
        given = ", ".join(inspect.signature(plain).parameters)
        line = f"| `{name}` | {given} | | {_first_line(plain)} |"
        rows.setdefault(plain.__module__.rsplit(".", 1)[1], []).append(line)
    head = "| name | reads | writes | |\n| --- | --- | --- | --- |\n"
    return "\n".join(f"\n### {f}\n\n{head}" + "\n".join(rows[f]) for f in sorted(rows)) + "\n"


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").split("\n")[0].replace("|", "\\|")


def written() -> str:
    """Return the table as README.md has it."""
    return README.read_text().split(BEGIN)[1].split(END)[0]


def write() -> None:
    text = README.read_text()
    if BEGIN not in text:
        text += f"\n## The kernels\n{BEGIN}{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(before + BEGIN + table() + END + after)


if __name__ == "__main__":
    write()
