"""What compiled loops do with memory and arrays do not offer: copy, compare, read words."""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def copy_bytes(typingctx, to, source, count) -> tuple[types.Type, Callable]:
    """Copy `count` bytes between two addresses that do not overlap."""

    def codegen(context, builder, signature, args):
        to_at, source_at, size = args
        byte = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(
            builder, builder.inttoptr(to_at, byte), builder.inttoptr(source_at, byte), size, 1
        )
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def zero_block(typingctx, to) -> tuple[types.Type, Callable]:
    """Set 64 bytes to zero."""

    def codegen(context, builder, signature, args):
        block = ir.VectorType(ir.IntType(64), 8)
        at = builder.inttoptr(args[0], block.as_pointer())
        builder.store(ir.Constant(block, [0] * 8), at, align=1)
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@intrinsic
def store_u32(typingctx, to, number) -> tuple[types.Type, Callable]:
    """Write a number as four bytes, the low one first (every machine numba knows does so)."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(32)
        at = builder.inttoptr(args[0], word.as_pointer())
        builder.store(builder.trunc(args[1], word), at, align=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def load_u64(typingctx, source) -> tuple[types.Type, Callable]:
    """Read eight bytes as a number, the low one first."""

    def codegen(context, builder, signature, args):
        at = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load(at, align=1)

    return types.uint64(types.intp), codegen


@intrinsic
def load_u32(typingctx, source) -> tuple[types.Type, Callable]:
    """Read four bytes as a number, the low one first."""

    def codegen(context, builder, signature, args):
        at = builder.inttoptr(args[0], ir.IntType(32).as_pointer())
        return builder.zext(builder.load(at, align=1), ir.IntType(64))

    return types.int64(types.intp), codegen


@intrinsic
def compare_bytes(typingctx, one, other, count) -> tuple[types.Type, Callable]:
    """Return a number below, equal to or above 0, as C's memcmp does."""

    def codegen(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.IntType(32), [byte, byte, ir.IntType(64)])
        memcmp = cgutils.get_or_insert_function(builder.module, kind, "memcmp")
        left, right = (builder.inttoptr(address, byte) for address in args[:2])
        return builder.call(memcmp, [left, right, args[2]])

    return types.int32(types.intp, types.intp, types.intp), codegen
