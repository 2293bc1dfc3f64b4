"""What a domino may touch: arithmetic, its inputs, and what cannot change under it.

A domino's code is walked through everything it calls. Names are judged here: a module or a callable
is allowed by this list or it is refused, so that a result is a pure function of its inputs.
"""

import builtins
import re
from types import ModuleType
from typing import Any

from orrery_kernels.errors import SealError

# Modules, with all below them, from which everything may be used that is not refused here.
_MODULES = {
    "abc",
    "bisect",
    "collections",
    "copy",
    "dataclasses",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "llvmlite",
    "math",
    "numbers",
    "numba",
    "numpy",
    "operator",
    "orrery_kernels",
    "pyarrow",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "zlib",
}
_WHY_NAMES = {
    "clock": {"time", "datetime", "sched", "calendar", "zoneinfo"},
    "chance": {"random", "secrets", "uuid", "numpy.random"},
    "the outside": {
        "asyncio", "ctypes", "glob", "http", "importlib", "io", "logging", "multiprocessing", "os",
        "pathlib", "pickle", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys",
        "tempfile", "threading", "urllib", "pyarrow.fs", "pyarrow.parquet", "pyarrow.csv",
        "pyarrow.flight", "pyarrow.dataset", "pyarrow.json", "numpy.ctypeslib", "numpy.f2py",
        "numpy.testing", "llvmlite.binding", "numba.cuda",
    },
}  # fmt: skip
# The C library, BLAS and vector units round these differently from one processor to the next.
_ROUNDING = {
    "math": {
        "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "erf",
        "erfc", "exp", "exp2", "expm1", "gamma", "lgamma", "log", "log10", "log1p", "log2", "pow",
        "sin", "sinh", "sumprod", "tan", "tanh",
    },
    "numpy": {
        "acos", "acosh", "angle", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
        "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bartlett", "blackman", "cbrt",
        "cdouble", "clongdouble", "complex128", "complex256", "complex64", "convolve", "corrcoef",
        "correlate", "cos", "cosh", "cov", "csingle", "dot", "einsum", "emath", "exp", "exp2",
        "expm1", "fft", "float128", "float_power", "geomspace", "hamming", "hanning", "hypot", "i0",
        "inner", "interp", "kaiser", "linalg", "log", "log10", "log1p", "log2", "logaddexp",
        "logaddexp2", "logspace", "longdouble", "matmul", "matvec", "poly", "polyfit", "polymul",
        "polynomial", "pow", "power", "roots", "sin", "sinc", "sinh", "tan", "tanh", "tensordot",
        "vdot", "vecdot", "vecmat",
    },
    "pyarrow.compute": {
        "acos", "acosh", "approximate_median", "asin", "asinh", "atan", "atan2", "atanh", "cos",
        "cosh", "cumulative_mean", "exp", "expm1", "kurtosis", "ln", "log10", "log1p", "log2",
        "logb", "mean", "power", "product", "quantile", "random", "sin", "sinh", "skew", "stddev",
        "sum", "tan", "tanh", "tdigest", "variance",
    },
}  # fmt: skip
_INSTEAD = "use exp, log and power of orrery_kernels.domino.arithmetic, or a loop"
# What memory held before, and which of equals comes first, is chance. The lab fills what it takes.
_LEFT_OVER = {
    "numpy": {"empty", "empty_like"},
    "pyarrow": {"allocate_buffer"},
}
_UNSTABLE = {
    "numpy": {"argpartition", "argsort", "partition"},
    "pyarrow.compute": {"select_k_unstable"},
}
_BUILDS = {
    "zlib": {"compress", "compressobj"},
    "numpy": {"get_include", "show_config", "show_runtime"},
}
_OUTSIDE = {
    "numpy": {
        "datetime64",
        "fromfile",
        "genfromtxt",
        "load",
        "loadtxt",
        "memmap",
        "save",
        "savetxt",
        "savez",
    },
    "operator": {"attrgetter", "methodcaller"},
    "pyarrow.compute": {"assume_timezone", "local_timestamp", "strftime"},  # a table of time zones
    "pyarrow": {"OSFile", "memory_map", "input_stream", "output_stream", "create_memory_map"},
}
_BUILTINS_REFUSED = {
    "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "globals", "hash", "id",
    "input", "locals", "open", "print", "setattr", "vars",
}  # fmt: skip
_SETS = {"set", "frozenset"}
_BY_NAME = {"getattr", "hasattr"}  # nobody sees what they reach
# Of a value whose type nobody knows beforehand: methods, and operators in bytecode.
_SET_METHODS = {"difference", "intersection", "keys", "symmetric_difference", "union"}
_METHODS = {
    "argpartition": _UNSTABLE, "argsort": _UNSTABLE, "dot": _ROUNDING, "matmul": _ROUNDING,
}  # fmt: skip
_OPERATORS = {"@": "a product of matrices", "**": "a power"}
# numpy reads the clock for "now" and "today" as one of these types
_CLOCK = re.compile(r"[<>=|]?M8(\[.*)?|datetime64(\[.*)?")
_WIDE = re.compile(r"complex(64|128|256)?|float128|c?longdouble")
ATTRIBUTES_REFUSED = {
    "__builtins__", "__class__", "__code__", "__dict__", "__getattribute__", "__globals__",
    "__hash__", "__reduce__", "__reduce_ex__", "__self__", "__subclasses__", "now", "popen",
    "setflags", "system", "to_parquet", "today", "tofile", "utcnow", "write_bytes", "write_text",
}  # fmt: skip


def is_library(module: str) -> bool:
    """Return whether a module is one whose code is known by its version, and not walked."""
    root = module.split(".")[0]
    return root == "builtins" or (root in _MODULES and root != "orrery_kernels")


def judge_home(name: str) -> str | None:
    """Return why nothing that lives in a module may be used, or None."""
    for why, names in _WHY_NAMES.items():
        if any(name == refused or name.startswith(refused + ".") for refused in names):
            return f"it reaches for {why} ({name})"
    return None


def judge_module(name: str) -> str | None:
    """Return why a module must not be used by name, or None."""
    known = name.split(".")[0] in _MODULES
    return judge_home(name) or (None if known else f"{name!r} is not on the list of pure modules")


def judge_member(module: str, name: str, inside_lab: bool) -> str | None:
    """Return why `module.name` must not be used, or None."""
    if module == "builtins":
        if name in _BUILTINS_REFUSED:
            return f"{name}() reads or changes what is not an input"
        if name in _SETS and not inside_lab:
            return f"{name}() has an order of its own: use dict.fromkeys or sorted"
        if name in _BY_NAME and not inside_lab:
            return f"{name}() reaches what nobody can see: write the name of the attribute"
        return _rounds(f"{name}()") if name in ("pow", "complex") else None
    if name in _OUTSIDE.get(module, ()):
        return f"it reaches for the outside ({module}.{name})"
    if name in _ROUNDING.get(module, ()):
        return _rounds(f"{module}.{name}")
    if name in _UNSTABLE.get(module, ()):
        return _is_unstable(f"{module}.{name}")
    if name in _LEFT_OVER.get(module, ()) and not inside_lab:
        return f"{module}.{name} holds what was in memory before: use zeros, or full"
    if name in _BUILDS.get(module, ()):
        return f"{module}.{name} gives other bytes with another build: use the values themselves"
    return None


def judge_method(name: str) -> str | None:
    """Return why a method of this name must not be called outside the lab, or None."""
    if name in _SET_METHODS:
        return f".{name} makes what has an order of its own: use the mapping itself, or sorted"
    if name in _METHODS:
        return _rounds(f".{name}") if _METHODS[name] is _ROUNDING else _is_unstable(f".{name}")
    return "the groups of .group_by come in any order: use a loop" if name == "group_by" else None


def judge_operator(symbol: str) -> str | None:
    """Return why an operator must not be used outside the lab, or None.

    >>> judge_operator("**=").partition(":")[0]
    'a power (**=) rounds differently from one processor to the next'
    """
    what = _OPERATORS.get(symbol.removesuffix("="))
    return _rounds(f"{what} ({symbol})") if what else None


def _rounds(what: str) -> str:
    return f"{what} rounds differently from one processor to the next: {_INSTEAD}"


def _is_unstable(what: str) -> str:
    return (
        f"{what} orders equals differently from one processor to the next: use "
        "numpy.lexsort((values,)), which keeps their order, or sorted"
    )


def judge_literal(value: Any) -> str | None:
    """Return why a constant must not be used, or None: vector units fuse products of complex
    numbers, and the widest float of a machine is its own."""
    if isinstance(value, complex):
        return _rounds(f"a complex number ({value})")
    if not isinstance(value, str):
        return None
    if _CLOCK.fullmatch(value):
        return f"it reaches for clock: {value!r} may mean now; days are whole numbers in the lab"
    return _rounds(f"a type ({value!r})") if _WIDE.fullmatch(value) else None


def is_builtin(name: str, value: Any) -> bool:
    return getattr(builtins, name, None) is value


def member_module(value: Any, reached_by: ModuleType | None) -> str:
    """Return the module a callable belongs to, as people write it."""
    module = getattr(value, "__module__", None) or (reached_by.__name__ if reached_by else "")
    if module.startswith("_") and not module.startswith("__"):
        module = module[1:]  # the half of a library that is written in C: _bisect, _heapq
    inside_numpy = module.startswith("numpy") and not module.startswith("numpy.random")
    return "numpy" if inside_numpy else module


def refuse(domino: str, where: str, why: str) -> SealError:
    remedy = "" if ": use " in why else ". Give it as an input or a parameter"
    return SealError(
        f"a domino must depend on its inputs alone, {domino!r} does not: {why} ({where}){remedy}"
    )
