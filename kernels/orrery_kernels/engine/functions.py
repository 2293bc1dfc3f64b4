"""Elementary functions from + - * / sqrt and integer operations only.

The C library's log, exp, sin ... give other bits on a processor with fused multiply-add than on one
without; these give the same everywhere, compiled or interpreted.
"""

from __future__ import annotations

from orrery_kernels.engine.step import bits_of, float_of, inf, nan, pure

_LN2_HIGH = 6.93147180369123816490e-01  # 33 bits, so that k * _LN2_HIGH is exact
_LN2_LOW = 1.90821492927058770002e-10
_TWO54 = 18014398509481984.0
_LARGEST = 1.7976931348623157e308
_SMALLEST_NORMAL = 2.2250738585072014e-308


@pure
def log(x):
    """Return the natural logarithm, within 1 ulp; -inf at 0, NaN below.

    x = 2**k m with m in [sqrt(1/2), sqrt 2); ln m = 2 artanh(f / (2 + f)), f = m - 1, by its series.

    >>> log(1.0), log(10.0)
    (0.0, 2.302585092994046)
    """
    if not x > 0.0:
        return -inf if x == 0.0 else nan
    if x > _LARGEST:
        return inf
    scaled = x * _TWO54 if x < _SMALLEST_NORMAL else x
    bits = bits_of(scaled)
    k = ((bits + 0x00095F6400000000) >> 52) - 1023
    m = float_of(bits - (k << 52))
    e = float(k - 54 if x < _SMALLEST_NORMAL else k)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (0.4 + w * (2.0 / 9.0 + w * (2.0 / 13.0 + w * (2.0 / 17.0 + w * (2.0 / 21.0)))))
    even = z * (2.0 / 3.0 + w * (2.0 / 7.0 + w * (2.0 / 11.0 + w * (2.0 / 15.0 + w * (2.0 / 19.0)))))
    half = 0.5 * f * f
    return e * _LN2_HIGH - ((half - (s * (half + (even + odd)) + e * _LN2_LOW)) - f)
