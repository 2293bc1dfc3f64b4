"""How a kernel is written: the decorators, and the few words a step may use besides arithmetic.

A step is ordinary Python and runs as such (the oracle); the same text is compiled to a loop.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import math
import struct as _struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import FunctionType
from typing import Any

from orrery_kernels.engine.spec import (
    OUTPUT_TYPES,
    ROWS,
    Composed,
    Input,
    Kernel,
    Output,
    Param,
    Size,
    Struct,
    f64,
    i64,
    optional,
    struct,
    text,
)
from orrery_kernels.errors import StepError

nan = math.nan
inf = math.inf


class Primitive:
    """A word that the compiler knows and Python runs."""

    def __init__(self, name: str, function: Callable[..., Any]):
        self.name, self.function, self.__doc__ = name, function, function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class Helper:
    """A function that kernels call: `inline` (may touch state) or `pure` (numbers only)."""

    def __init__(self, function: FunctionType, pure: bool):
        self.function, self.pure = function, pure
        linecache.getlines(function.__code__.co_filename)  # the text as it was imported
        self.name, self.__doc__ = function.__name__, function.__doc__
        self._python: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._python is None:
            from orrery_kernels.engine.oracle import as_python

            self._python = as_python(self.function)
        return self._python(*arguments)


def inline(function: FunctionType) -> Helper:
    """Make `function` a helper whose text is copied into the kernels that call it.

    Its arguments may be numbers, rings or structs of the state.
    """
    return Helper(function, pure=False)


def pure(function: FunctionType) -> Helper:
    """Make `function` a helper from numbers to one number; it may also use bits and shifts."""
    return Helper(function, pure=True)


def _sqrt(x: float) -> float:
    """Return the correctly rounded square root; NaN below zero."""
    return math.sqrt(x) if x >= 0.0 else nan


def _is_finite(x: float) -> bool:
    return x - x == 0.0


def _select(condition: bool, yes: Any, no: Any) -> Any:
    """Return `yes` or `no` without a branch; both are computed."""
    return yes if condition else no


def _bits_of(x: float) -> int:
    return int.from_bytes(_struct.pack("<d", x), "little", signed=True)


def _float_of(bits: int) -> float:
    return _struct.unpack("<d", (bits & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"))[0]


def to_int(x: float) -> int:
    """Return x cut towards zero; 0 where x is not within +-2**62."""
    return int(x) if isinstance(x, int) or -4.611686018427388e18 < x < 4.611686018427388e18 else 0


sqrt = Primitive("sqrt", _sqrt)
is_finite = Primitive("is_finite", _is_finite)
select = Primitive("select", _select)
bits_of = Primitive("bits_of", _bits_of)
float_of = Primitive("float_of", _float_of)


@lru_cache(maxsize=256)
def _functions(filename: str) -> Mapping[int, ast.FunctionDef]:
    tree = ast.parse("".join(linecache.getlines(filename)))
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            found[first] = node
    return found


def tree_of(function: FunctionType) -> ast.FunctionDef:
    """Return the parsed text of `function`, with the line numbers of its file."""
    code = function.__code__
    node = _functions(code.co_filename).get(code.co_firstlineno)
    if node is None:
        node = ast.parse(inspect.cleandoc(inspect.getsource(function))).body[0]
    if not isinstance(node, ast.FunctionDef):
        raise StepError(f"{function.__name__} must be a plain `def`")
    return node


def kernel(
    *,
    rows: str = "any",
    state: Mapping[str, Any] | Struct | None = None,
    params: Mapping[str, Param] | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: str | Sequence[str] | Mapping[str, str] | None = None,
    let: Mapping[str, Callable[[Any], Any]] | None = None,
    rules: Mapping[str, Callable[[Any], bool]] | None = None,
    memory: Size | None = None,
    scale: tuple[Mapping[str, float], Any] | None = None,
    shift: tuple[Mapping[str, float], Any] | None = None,
    composed: Composed | None = None,
) -> Callable[[FunctionType], Any]:
    """Make a kernel of a step. Its arguments: `s` state, `p` parameters, the rest are columns.

    Args:
        rows: kind of row it reads: trade, quote, market_quote or any.
        state: name -> i64, f64, ring(size) or a struct such as moments("window").
        params: name -> param(default, interval, doc).
        inputs: argument -> default column, where it is not the argument's own name.
        outputs: name(s) of the columns written, or name -> f64, i8, i32, i64; default: its own.
        let: name -> function of the parameters, computed once; a list becomes a table p.name[i].
        rules: text -> function of the parameters that must hold.
        memory: after so many ticks the past no longer matters (a law checks it).
        scale: ({input: exponent}, output exponent): inputs times k**e give outputs times k**o.
        shift: ({input: weight}, output weight): inputs plus c*w give outputs plus c*o.
        composed: (further parameters, steps): with them it may stand for several kernels.
    """

    def make(function: FunctionType) -> Any:
        from orrery_kernels.engine.surface import publish

        linecache.getlines(function.__code__.co_filename)  # the text as it was imported
        if rows not in ROWS:
            raise StepError(
                f"rows must be one of {', '.join(ROWS)}, was {rows!r} ({function.__name__})"
            )
        layout = state if isinstance(state, Struct) else struct(**(state or {}))
        return publish(
            Kernel(
                name=function.__name__,
                function=function,
                rows=rows,
                inputs=_inputs_of(function, inputs or {}),
                outputs=_outputs_of(function.__name__, outputs),
                state=layout,
                params=dict(params or {}),
                let=dict(let or {}),
                rules=tuple((rules or {}).items()),
                memory=memory,
                scale=scale,
                shift=shift,
                composed=composed,
            )
        )

    return make


def _inputs_of(function: FunctionType, columns: Mapping[str, str]) -> tuple[Input, ...]:
    code = function.__code__
    names = [n for n in code.co_varnames[: code.co_argcount] if n not in ("s", "p")]
    kinds = {n: str(k) for n, k in function.__annotations__.items()}
    for name in columns:
        if name not in names:
            raise StepError(
                f"inputs names {name!r}, which is not an argument of {function.__name__}"
            )
    return tuple(_input(n, columns.get(n, n), kinds.get(n, f64), function.__name__) for n in names)


def _input(name: str, column: str, annotation: str, kernel_name: str) -> Input:
    if annotation not in (f64, i64, text, optional):
        raise StepError(
            f"{name} must be f64, i64, text or optional, was {annotation} ({kernel_name})"
        )
    kind = i64 if annotation in (i64, text) else f64
    return Input(name, column, kind, annotation == optional, annotation == text)


def _outputs_of(name: str, outputs: Any) -> tuple[Output, ...]:
    if outputs is None:
        return (Output(name),)
    if isinstance(outputs, str):
        return (Output(outputs),)
    kinds = outputs if isinstance(outputs, Mapping) else dict.fromkeys(outputs, f64)
    for column, kind in kinds.items():
        if kind not in OUTPUT_TYPES:
            raise StepError(
                f"output {column!r} must be one of {OUTPUT_TYPES}, was {kind!r} ({name})"
            )
    return tuple(Output(column, kind) for column, kind in kinds.items())
