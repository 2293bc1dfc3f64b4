"""Logarithm, exponential, powers and hyperbolics from + - * / sqrt and integer operations only.

The C library's log, exp, sin ... give other bits on a processor with fused multiply-add than on one
without; these give the same everywhere, compiled or interpreted. Errors are in units of the last
place (ulp), measured against 50 digits.
"""

from __future__ import annotations

from orrery_kernels.engine.step import bits_of, float_of, inf, nan, pure, sqrt

LN2 = 0.6931471805599453
_LN2_HIGH = 6.93147180369123816490e-01  # 33 bits, so that k * _LN2_HIGH is exact
_LN2_LOW = 1.90821492927058770002e-10
_PER_LN2 = 1.4426950408889634
_TWO54 = 18014398509481984.0
_LARGEST = 1.7976931348623157e308
_SMALLEST_NORMAL = 2.2250738585072014e-308
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding and taking it away rounds to a whole number


@pure
def log(x):
    """Return the natural logarithm, within 1 ulp; -inf at 0, NaN below.

    x = 2**k m with m in [sqrt(1/2), sqrt 2); ln m = 2 artanh(f / (2 + f)), f = m - 1, by
    its series.

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
    even = z * (
        2.0 / 3.0 + w * (2.0 / 7.0 + w * (2.0 / 11.0 + w * (2.0 / 15.0 + w * (2.0 / 19.0))))
    )
    half = 0.5 * f * f
    return e * _LN2_HIGH - ((half - (s * (half + (even + odd)) + e * _LN2_LOW)) - f)


@pure
def log1p(x):
    """Return ln(1 + x), within 2 ulp also where x is tiny."""
    u = 1.0 + x
    if u == 1.0:
        return x
    if u - u != 0.0:
        return u if u > 0.0 else nan
    return log(u) * (x / (u - 1.0)) if u > 0.0 else (-inf if u == 0.0 else nan)


@pure
def _exp_rest(r):
    """Return e**r - 1 - r for |r| <= 0.35: its Taylor series to r**14."""
    z = r * r
    odd = 1.0 / 6.0 + z * (
        1.0 / 120.0 + z * (1.0 / 5040.0 + z * (1.0 / 362880.0 + z * (1.0 / 39916800.0)))
    )
    even = 0.5 + z * (
        1.0 / 24.0
        + z * (1.0 / 720.0 + z * (1.0 / 40320.0 + z * (1.0 / 3628800.0 + z * (1.0 / 479001600.0))))
    )
    return z * (even + r * (odd + z * z * z * z * z * (1.0 / 6227020800.0)))


@pure
def _scaled(x, k):
    """Return x * 2**k for |k| <= 1100, rounded once."""
    half = k >> 1
    return (x * float_of((half + 1023) << 52)) * float_of((k - half + 1023) << 52)


@pure
def exp(x):
    """Return e**x, within 1 ulp; inf above 709.79, 0 below -745.14.

    x = k ln 2 + r with |r| <= ln(2) / 2, e**x = 2**k e**r.

    >>> exp(0.0), exp(1.0)
    (1.0, 2.718281828459045)
    """
    if x != x:
        return nan
    if x > 709.782712893384:
        return inf
    if x < -745.1332191019412:
        return 0.0
    n = (x * _PER_LN2 + _ROUND) - _ROUND
    high = x - n * _LN2_HIGH
    low = n * _LN2_LOW
    r = high - low
    tail = (high - r) - low
    e = 1.0 + (r + (_exp_rest(r) + tail))
    return _scaled(e, int(n))


@pure
def expm1(x):
    """Return e**x - 1, within 2 ulp also where x is tiny."""
    if x != x or x > 709.0 or x < -50.0:
        return exp(x) - 1.0
    n = (x * _PER_LN2 + _ROUND) - _ROUND
    high = x - n * _LN2_HIGH
    low = n * _LN2_LOW
    r = high - low
    e = r + (_exp_rest(r) + ((high - r) - low))
    if n == 0.0:
        return e
    two_n = _scaled(1.0, int(n))
    return two_n * e + (two_n - 1.0)


@pure
def power(x, y):
    """Return x**y for x >= 0, relative error below (2 + |y ln x|) ulp; NaN for x < 0."""
    if y == 0.0 or x == 1.0:
        return 1.0
    if not x > 0.0:
        if x == 0.0:
            return 0.0 if y > 0.0 else inf
        return nan
    return exp(y * log(x))


@pure
def sinh(x):
    """Return the hyperbolic sine, within 3 ulp."""
    a = abs(x)
    e = expm1(a)
    h = 0.5 * (e + e / (e + 1.0)) if a < 40.0 else 0.5 * exp(0.5 * a) * exp(0.5 * a)
    return h if x >= 0.0 else -h


@pure
def cosh(x):
    """Return the hyperbolic cosine, within 3 ulp."""
    a = abs(x)
    if a > 40.0:
        return 0.5 * exp(0.5 * a) * exp(0.5 * a)
    e = exp(a)
    return 0.5 * (e + 1.0 / e)


@pure
def tanh(x):
    """Return the hyperbolic tangent, within 3 ulp."""
    a = abs(x)
    if a > 22.0:
        return 1.0 if x > 0.0 else -1.0
    e = expm1(2.0 * a)
    t = e / (e + 2.0)
    return t if x >= 0.0 else -t


@pure
def floor(x):
    """Return the largest whole number not above x."""
    if not abs(x) < 4503599627370496.0:
        return x
    whole = float(int(x))
    return whole - 1.0 if whole > x else whole


@pure
def ceil(x):
    """Return the smallest whole number not below x."""
    return -floor(-x)


@pure
def sign(x):
    """Return -1, 0 or 1."""
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0)


@pure
def hypotenuse(a, b):
    """Return sqrt(a**2 + b**2)."""
    return sqrt(a * a + b * b)
