"""The engine: from a step of a few lines to compiled loops, state, oracle and documentation.

Reading order: spec, step, lint, lower, codegen, jit, state, plan, chain, surface.
A family module of kernels imports what it needs from here.
"""

from orrery_kernels.engine.catalog import function
from orrery_kernels.engine.spec import choice, f64, i64, optional, param, ring, struct, text
from orrery_kernels.engine.step import (
    inf,
    inline,
    is_finite,
    kernel,
    nan,
    pure,
    select,
    sqrt,
)

__all__ = [
    "choice",
    "f64",
    "function",
    "i64",
    "inf",
    "inline",
    "is_finite",
    "kernel",
    "nan",
    "optional",
    "param",
    "pure",
    "ring",
    "select",
    "sqrt",
    "struct",
    "text",
]  # fmt: skip
