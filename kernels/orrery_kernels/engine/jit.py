"""The development path: generated text through numba, in this process."""

from __future__ import annotations

from typing import Any

from orrery_kernels.engine.codegen import Source

_OPTIONS = {"nogil": True, "error_model": "numpy"}
_functions: dict[str, Any] = {}  # pure helpers by name, one compile each
_kept: list[Any] = []  # compiled code must outlive its address


def compile_source(source: Source) -> int:
    """Return the address of the compiled loop of `source`."""
    compiled = compiled_function(source)
    _kept.append(compiled)
    return compiled.address


def compiled_function(source: Source) -> Any:
    """Return numba's C function for `source`."""
    import numba
    from numba import cfunc

    numba.config.CPU_NAME, numba.config.CPU_FEATURES = "generic", ""
    numba.config.DISABLE_INTEL_SVML = 1
    from orrery_kernels.engine import machine

    names: dict[str, Any] = dict(machine.WORDS)
    for name, text in source.helpers.items():
        names[name] = _helper(name, text, names)
    exec(compile(source.text, f"<{source.name}>", "exec"), names)
    return cfunc("int64(int64, int64, int64)", **_OPTIONS)(names[source.name])


def _helper(name: str, text: str, known: dict[str, Any]) -> Any:
    from numba import njit

    if _functions.get(name, (None, ""))[1] != text:
        names = dict(known)
        exec(compile(text, f"<{name}>", "exec"), names)
        _functions[name] = (njit(names[name], **_OPTIONS), text)
    return _functions[name][0]
