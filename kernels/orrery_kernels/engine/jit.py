"""From generated text to machine code, by numba and LLVM. Imported only to compile."""

from __future__ import annotations

import re
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import cfunc, njit

from orrery_kernels.engine import loader, machine
from orrery_kernels.engine.codegen import Source
from orrery_kernels.errors import StepError

# No fused multiply-add, no vector library: every target gives the same bits.
_CPU = {"x86_64": ("x86-64", ""), "x86_64_v3": ("x86-64-v3", "-fma")}  # processor, features
_PLAIN = ("generic", "")
numba.config.CPU_NAME, numba.config.CPU_FEATURES = _CPU.get(loader.targets()[0], _PLAIN)
numba.config.DISABLE_INTEL_SVML = 1
_MEMORY = {"memmove", "memcpy", "memset"}  # all that compiled kernels may call
# What lets LLVM round a product and a sum once, or change their order, where a processor can.
_LOOSE = re.compile(
    r"@llvm\.fm(?:a|uladd)\."
    r"|\bf(?:add|sub|mul|div|neg) (?:\w+ )*?(?:fast|contract|reassoc|arcp|afn)\b"
)

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_functions: dict[str, Any] = {}  # pure helpers by name, one compile each
_kept: list[Any] = []  # compiled code must outlive its address


def compile_source(source: Source) -> Any:
    """Return numba's C function for `source`; its `address` is ready to be called."""
    names: dict[str, Any] = dict(machine.WORDS)
    for name, text in source.helpers.items():
        names[name] = _helper(name, text, names)
    exec(compile(source.text, f"<{source.name}>", "exec"), names)
    try:
        compiled = cfunc("int64(int64, int64, int64)", **_OPTIONS)(names[source.name])
    except numba.core.errors.NumbaError as error:
        raise StepError(f"{source.name[2:]} does not compile: {error}") from None
    _kept.append(compiled)
    return compiled


def object_code(compiled: Any, symbol: str, cpu: str | None = None) -> bytes:
    """Return position-independent machine code in which the kernel is called `symbol`."""
    return target_machine(cpu).emit_object(llvm.parse_assembly(kernel_ir(compiled, symbol)))


def kernel_ir(compiled: Any, symbol: str) -> str:
    """Return the LLVM text of one kernel, with our wrapper for numba's, which knows Python."""
    wrapper, inner = compiled._wrapper_name, compiled._wrapper_name.removeprefix("cfunc.")
    kept = []
    for block in re.split(
        r"^(?=define |declare |@|attributes |!|; Function)",
        compiled._library.get_llvm_str(),
        flags=re.M,
    ):
        if not re.match(rf'define [^\n]*@"?{re.escape(wrapper)}"?\(', block):
            kept.append(
                re.sub(r"^define (?!internal)(linkonce_odr |weak_odr )?", "define internal ", block)
            )
    entry = f"""
define i64 @{symbol}(i64 %args, i64 %lo, i64 %hi) {{
  %result = alloca i64, align 8
  %raised = alloca ptr, align 8
  %status = call i32 @{inner}(ptr %result, ptr %raised, i64 %args, i64 %lo, i64 %hi)
  %nulls = load i64, ptr %result, align 8
  ret i64 %nulls
}}
"""
    module = llvm.parse_assembly("".join(kept) + entry)
    module.triple = llvm.get_process_triple()
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    builder = llvm.create_pass_builder(target_machine(), llvm.create_pipeline_tuning_options(2))
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    text = str(module)
    called = set(re.findall(r'call [^\n]*?@"?([\w.]+)"?\(', text))
    outside = {f.name for f in module.functions if f.is_declaration} & called
    strange = {n for n in outside if not n.startswith("llvm.")} - _MEMORY
    if strange:
        raise StepError(f"{symbol} must call nothing outside, calls {', '.join(sorted(strange))}")
    must_round(symbol, text)
    return text


def must_round(symbol: str, text: str) -> None:
    """Raise StepError where LLVM may leave a rounding out: on some processors it then would."""
    if loose := _LOOSE.search(text):
        raise StepError(f"{symbol} must round after each operation, has {loose[0]!r}")


def target_machine(cpu: str | None = None, features: str = "") -> Any:
    """Return the code generator for `cpu`; None: for the target we compile for."""
    if cpu is None:
        cpu, features = _CPU.get(loader.targets()[0], _PLAIN)
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default"
    )


def _helper(name: str, text: str, known: dict[str, Any]) -> Any:
    if _functions.get(name, (None, ""))[1] != text:
        names = dict(known)
        exec(compile(text, f"<{name}>", "exec"), names)
        _functions[name] = (njit(names[name], **_OPTIONS), text)
    return _functions[name][0]
