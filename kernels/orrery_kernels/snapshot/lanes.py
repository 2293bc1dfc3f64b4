"""BLAKE3's compression function on eight independent blocks at once (O'Connor et al., 2020).

Each of the sixteen state words is one vector of eight lanes, so eight blocks cost little more than
one. The vectors are written as LLVM instructions: integers only, the same bits on every CPU.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
WORDS = 16
IV = (
    0x6A09E667,
    0xBB67AE85,
    0x3C6EF372,
    0xA54FF53A,
    0x510E527F,
    0x9B05688C,
    0x1F83D9AB,
    0x5BE0CD19,
)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_ROUNDS = 7
_COLUMNS_THEN_DIAGONALS = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)
_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, LANES)


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _pointer(builder: ir.IRBuilder, address: ir.Value, offset_bytes: int) -> ir.Value:
    moved = builder.add(address, ir.Constant(address.type, offset_bytes))
    return builder.inttoptr(moved, _VECTOR.as_pointer())


def _load(builder: ir.IRBuilder, address: ir.Value, offset_bytes: int) -> ir.Value:
    value = builder.load(_pointer(builder, address, offset_bytes))
    value.align = 4
    return value


def _store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, offset_bytes: int) -> None:
    builder.store(value, _pointer(builder, address, offset_bytes), align=4)


def _rotate_right(builder: ir.IRBuilder, value: ir.Value, bits: int) -> ir.Value:
    low = builder.lshr(value, _constant(bits))
    return builder.or_(low, builder.shl(value, _constant(32 - bits)))


def _shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, picks: tuple[int, ...]) -> ir.Value:
    mask = ir.Constant(_VECTOR, list(picks))
    return builder.shuffle_vector(a, b, mask)


def _transpose(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Turn eight rows (one per lane) of eight words into eight words of eight lanes."""
    low, high = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
    pairs = [
        _shuffle(builder, rows[i], rows[i + 1], picks)
        for i in range(0, LANES, 2)
        for picks in (low, high)
    ]
    first, second = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    fours = [
        _shuffle(builder, pairs[half + j], pairs[half + 2 + j], picks)
        for half in (0, 4)
        for j in (0, 1)
        for picks in (first, second)
    ]
    near, far = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)
    return [_shuffle(builder, fours[j], fours[4 + j], p) for p in (near, far) for j in range(4)]


def _mix(builder: ir.IRBuilder, v: list, at: tuple, x: ir.Value, y: ir.Value) -> None:
    a, b, c, d = at
    for message, turn_d, turn_b in ((x, 16, 12), (y, 8, 7)):
        v[a] = builder.add(builder.add(v[a], v[b]), message)
        v[d] = _rotate_right(builder, builder.xor(v[d], v[a]), turn_d)
        v[c] = builder.add(v[c], v[d])
        v[b] = _rotate_right(builder, builder.xor(v[b], v[c]), turn_b)


def _rounds(builder: ir.IRBuilder, v: list, m: list) -> None:
    for _ in range(_ROUNDS):
        for i, at in enumerate(_COLUMNS_THEN_DIAGONALS):
            _mix(builder, v, at, m[2 * i], m[2 * i + 1])
        m = [m[i] for i in _PERMUTATION]


@intrinsic
def compress8(typingctx, chain, blocks, tail) -> tuple[types.Type, Callable]:
    """Compress one 64-byte block per lane into the chaining values at `chain`, in place.

    All three are addresses. chain: uint32[8 words][8 lanes]. blocks: int64[8], where each lane's
    64 bytes lie. tail: uint32[4][8]: counter low, counter high, block length, flags of each lane.
    """

    def codegen(context, builder, signature, args):
        builder.call(_function(builder.module), args)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


def _function(module: ir.Module) -> ir.Function:
    """Return the function in `module`, written there once: unrolled it is long to compile."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 3)
    function = cgutils.get_or_insert_function(module, kind, "orrery_compress8")
    if function.is_declaration:
        function.linkage = "internal"
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block())
        _write_body(builder, *function.args)
        builder.ret_void()
    return function


def _write_body(
    builder: ir.IRBuilder, chain_at: ir.Value, blocks_at: ir.Value, tail_at: ir.Value
) -> None:
    lanes = []
    for lane in range(LANES):
        slot = builder.add(blocks_at, ir.Constant(blocks_at.type, 8 * lane))
        lanes.append(builder.load(builder.inttoptr(slot, blocks_at.type.as_pointer())))
    m = _transpose(builder, [_load(builder, lane, 0) for lane in lanes])
    m += _transpose(builder, [_load(builder, lane, 32) for lane in lanes])
    v = [_load(builder, chain_at, 32 * i) for i in range(8)]
    v += [_constant(IV[i]) for i in range(4)]
    v += [_load(builder, tail_at, 32 * i) for i in range(4)]
    _rounds(builder, v, m)
    for i in range(8):
        _store(builder, builder.xor(v[i], v[i + 8]), chain_at, 32 * i)
