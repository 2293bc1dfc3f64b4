"""The few operations a compiled step needs below the level of Python. Imported only to compile."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64, _I32, _I8, _F64 = ir.IntType(64), ir.IntType(32), ir.IntType(8), ir.DoubleType()
_F32 = ir.FloatType()

NAN = math.nan
INF = math.inf


def _place(builder: Any, base: Any, offset: Any, kind: Any) -> Any:
    pointer = builder.inttoptr(base, _I8.as_pointer())
    return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())


def _loader(kind: Any, numba_type: Any, widen: str = "") -> Any:
    @intrinsic
    def load(context, base, offset):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            value = builder.load(_place(builder, *arguments, kind))
            if widen:
                return getattr(builder, widen)(value, _F64 if widen == "fpext" else _I64)
            return value

        return numba_type(types.int64, types.int64), generate

    return load


ldf = _loader(_F64, types.float64)
ldi = _loader(_I64, types.int64)
ldf32 = _loader(_F32, types.float64, "fpext")
ldi32 = _loader(_I32, types.int64, "sext")
ldu32 = _loader(_I32, types.int64, "zext")
ldi8 = _loader(_I8, types.int64, "sext")
ldu8 = _loader(_I8, types.int64, "zext")


def _narrow_storer(kind: Any) -> Any:
    @intrinsic
    def store(context, base, offset, value):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            builder.store(builder.trunc(arguments[2], kind), _place(builder, *arguments[:2], kind))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    return store


sti32 = _narrow_storer(_I32)
sti8 = _narrow_storer(_I8)


def _number(context: Any, builder: Any, value: Any, given: Any, wanted: Any) -> Any:
    return context.cast(builder, value, given, wanted)


@intrinsic
def stf(context, base, offset, value):  # type: ignore[no-untyped-def]
    """Store a number as f64."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number = _number(context, builder, arguments[2], value, types.float64)
        builder.store(number, _place(builder, arguments[0], arguments[1], _F64))
        return context.get_dummy_value()

    if not isinstance(value, types.Float | types.Integer | types.Boolean | types.Literal):
        return None
    return types.void(types.int64, types.int64, value), generate


@intrinsic
def sti(context, base, offset, value):  # type: ignore[no-untyped-def]
    """Store an integer; a float is refused."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number = _number(context, builder, arguments[2], value, types.int64)
        builder.store(number, _place(builder, arguments[0], arguments[1], _I64))
        return context.get_dummy_value()

    if isinstance(value, types.Float):
        raise TypeError("an integer field of the state is set to a number with a fraction")
    return types.void(types.int64, types.int64, value), generate


@intrinsic
def as_f64(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _number(context, builder, arguments[0], value, types.float64)

    return types.float64(value), generate


@intrinsic
def as_i64(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _number(context, builder, arguments[0], value, types.int64)

    if isinstance(value, types.Float):
        raise TypeError("an integer field of the state is set to a number with a fraction")
    return types.int64(value), generate


@intrinsic
def select(context, condition, yes, no):  # type: ignore[no-untyped-def]
    whole = not isinstance(yes, types.Float) and not isinstance(no, types.Float)
    both = types.int64 if whole else types.float64

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        test = context.cast(builder, arguments[0], condition, types.boolean)
        a = _number(context, builder, arguments[1], yes, both)
        b = _number(context, builder, arguments[2], no, both)
        return builder.select(test, a, b)

    return both(condition, yes, no), generate


def _chooser(order: str) -> Any:
    @intrinsic
    def choose(context, a, b):  # type: ignore[no-untyped-def]
        """As Python's: b if b is beyond a, else a."""
        whole = not isinstance(a, types.Float) and not isinstance(b, types.Float)
        both = types.int64 if whole else types.float64

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            x = _number(context, builder, arguments[0], a, both)
            y = _number(context, builder, arguments[1], b, both)
            compare = builder.icmp_signed if whole else builder.fcmp_ordered
            return builder.select(compare(order, y, x), y, x)

        return both(a, b), generate

    return choose


min2 = _chooser("<")
max2 = _chooser(">")


@intrinsic
def sqrt(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number = _number(context, builder, arguments[0], value, types.float64)
        root = builder.module.declare_intrinsic("llvm.sqrt", [_F64])
        return builder.call(root, [number])

    return types.float64(value), generate


@intrinsic
def is_finite(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number = _number(context, builder, arguments[0], value, types.float64)
        zero = builder.fsub(number, number)
        return builder.fcmp_ordered("==", zero, ir.Constant(_F64, 0.0))

    return types.boolean(value), generate


@intrinsic
def finite_or_nan(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        zero = builder.fsub(arguments[0], arguments[0])
        finite = builder.fcmp_ordered("==", zero, ir.Constant(_F64, 0.0))
        return builder.select(finite, arguments[0], ir.Constant(_F64, math.nan))

    return types.float64(types.float64), generate


@intrinsic
def bits_of(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(_number(context, builder, arguments[0], value, types.float64), _I64)

    return types.int64(value), generate


@intrinsic
def float_of(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(_number(context, builder, arguments[0], value, types.int64), _F64)

    return types.float64(value), generate


@intrinsic
def to_int(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number = _number(context, builder, arguments[0], value, types.float64)
        limit = ir.Constant(_F64, 4.611686018427388e18)
        low = builder.fcmp_ordered(">", number, ir.Constant(_F64, -4.611686018427388e18))
        fits = builder.and_(low, builder.fcmp_ordered("<", number, limit))
        safe = builder.select(fits, number, ir.Constant(_F64, 0.0))
        return builder.fptosi(safe, _I64)

    if isinstance(value, types.Integer | types.Boolean):
        return types.int64(value), lambda c, b, s, a: _number(c, b, a[0], value, types.int64)
    return types.int64(value), generate


@intrinsic
def prefetch(context, address):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = builder.inttoptr(arguments[0], _I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(call, [pointer, _I32(1), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def call_step(context, function, args, lo, hi):  # type: ignore[no-untyped-def]
    """Call a compiled kernel by its address."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(_I64, [_I64, _I64, _I64])
        pointer = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.call(pointer, arguments[1:])

    return types.int64(types.int64, types.int64, types.int64, types.int64), generate


WORDS = {
    "NAN": NAN, "INF": INF, "ldf": ldf, "ldi": ldi, "ldf32": ldf32, "ldi32": ldi32, "ldu32": ldu32,
    "ldi8": ldi8, "ldu8": ldu8, "stf": stf, "sti32": sti32, "sti8": sti8,
    "sti": sti, "as_f64": as_f64, "as_i64": as_i64, "select": select, "min2": min2, "max2": max2,
    "sqrt": sqrt,
    "is_finite": is_finite, "finite_or_nan": finite_or_nan, "bits_of": bits_of,
    "float_of": float_of, "to_int": to_int,
    "prefetch": prefetch, "call_step": call_step,
}  # fmt: skip
