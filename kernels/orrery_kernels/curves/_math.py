"""exp and log from + - * / and integer operations, so that every processor gives the same bits.

A C library picks another code path on another processor; these have one. Both are without branches,
so that a loop over scenarios becomes vector code and each lane still has the bits of a lone call.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # 32 bits, so that k * _LN2_HIGH is exact
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the low bits
_EXP_MAX = 700.0  # beyond it a discount factor is no number a market can mean

# Polynomial of degree 11 for exp on |r| <= ln(2)/2, by interpolation in Chebyshev nodes with 50
# digits: relative error 4.2e-18 before rounding.
_E2, _E3, _E4, _E5 = (
    0.5000000000000019,
    0.1666666666666668,
    0.04166666666648809,
    0.008333333333319601,
)
_E6, _E7, _E8 = 0.0013888888952315155, 0.00019841269890047406, 2.480148548192088e-05
_E9, _E10, _E11 = 2.7557240918265525e-06, 2.7632639789868395e-07, 2.5110037721946562e-08

# log(1 + f) as in fdlibm's e_log.c (Sun, 1993).
_L1, _L2, _L3, _L4 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
)
_L5, _L6, _L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01


@intrinsic
def _bits(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _number(context, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@njit
def exp(x):
    """Return e**x, within 1 ulp; arguments beyond +-700 count as +-700."""
    x = -_EXP_MAX if x < -_EXP_MAX else x
    x = _EXP_MAX if x > _EXP_MAX else x
    shifted = x * _LOG2E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    r2 = r * r
    r4 = r2 * r2
    low = (_E2 + _E3 * r) + r2 * (_E4 + _E5 * r)
    high = ((_E6 + _E7 * r) + r2 * (_E8 + _E9 * r)) + r4 * (_E10 + _E11 * r)
    value = 1.0 + (r + r2 * (low + r4 * high))
    return value * _number((_bits(shifted) + 1023) << 52)


@njit
def log(x):
    """Return ln x for a normal x > 0, within 1 ulp."""
    bits = _bits(x) + (0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
    k = float((bits >> 52) - 1023)
    f = _number((bits & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (_L2 + w * (_L4 + w * _L6))
    odd = z * (_L1 + w * (_L3 + w * (_L5 + w * _L7)))
    half = 0.5 * f * f
    return k * _LN2_HIGH - ((half - (s * (half + (even + odd)) + k * _LN2_LOW)) - f)
