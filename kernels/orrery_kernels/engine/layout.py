"""Where things are: the words of a kernel's argument block and the bytes of a symbol's record."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from orrery_kernels.engine.spec import Kernel, f64, i64

VERSION = 1  # of the generated code and of how it is compiled; part of every digest

# Words of the argument block that every kernel has; inputs, outputs and constants follow.
IDS, STATE, STRIDE, KINDS, KINDS_STEP, KIND, SKIPPED, ROWS = range(8)
FIRST = 8
NULL_I64 = -(2**63)  # what a null whole number is loaded as


@dataclass(frozen=True)
class Layout:
    """Where things are in a kernel's argument block and in a symbol's record."""

    inputs: dict[str, int]  # argument -> word
    outputs: list[int]  # as numbers, each; then once more the i64 ones, exact
    constants: dict[str, tuple[int, str]]  # parameter -> word, i64 | f64 | table
    scalars: dict[tuple[str, ...], tuple[int, str]]  # path -> byte offset, kind
    rings: dict[tuple[str, ...], tuple[int, str]]  # path -> word that holds its byte offset
    words: int

    @property
    def scalar_bytes(self) -> int:
        return 8 * len(self.scalars)


def layout_of(kernel: Kernel) -> Layout:
    """Return the layout; constants are typed by a trial binding of the defaults."""
    word = FIRST
    inputs = {}
    for item in kernel.inputs:
        inputs[item.name], word = word, word + 1
    outputs = list(range(word, word + len(kernel.outputs) + len(kernel.whole_outputs)))
    word += len(outputs)
    constants = {}
    for name, kind in constant_kinds(kernel).items():
        constants[name], word = (word, kind), word + 1
    scalars = {path: (8 * k, kind) for k, (path, kind) in enumerate(kernel.state.scalars())}
    rings = {}
    for path, spec in kernel.state.rings():
        rings[path], word = (word, spec.kind), word + 1
    return Layout(inputs, outputs, constants, scalars, rings, word)


def constant_kinds(kernel: Kernel) -> dict[str, str]:
    """Return parameter or constant -> i64, f64 or table."""
    kinds = {}
    for name, value in vars(kernel.bind({})).items():
        spec = kernel.params.get(name)
        if isinstance(value, list | tuple):
            kinds[name] = "table"
        elif spec is not None:
            kinds[name] = i64 if spec.whole or spec.choices else f64
        else:
            kinds[name] = i64 if isinstance(value, int) else f64
    return kinds


def record_bytes(kernel: Kernel, p: SimpleNamespace) -> tuple[int, int, list[int]]:
    """Return (bytes used, stride, byte offset of each ring) of one symbol's record."""
    offset = 8 * len(kernel.state.scalars())
    rings = []
    for _, spec in kernel.state.rings():
        rings.append(offset)
        offset += 8 * spec.length(p)
    if offset <= 64:
        stride = 16
        while stride < offset:
            stride *= 2
    else:
        stride = (offset + 63) // 64 * 64
    return offset, stride, rings
