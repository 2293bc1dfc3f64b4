"""Sine, cosine and arc tangent from + - * / and integer operations only (see functions.py)."""

from __future__ import annotations

from orrery_kernels.engine.functions import _ROUND
from orrery_kernels.engine.step import nan, pure

PI = 3.141592653589793
_HALF_PI = 1.5707963267948966
_HALF_PI_REST = 6.123233995736766e-17
_PER_HALF_PI = 0.6366197723675814
_HALF_PI_1 = 1.57079632673412561417e00  # pi / 2 in three parts of 33 bits
_HALF_PI_2 = 6.07710050630396597660e-11
_HALF_PI_3 = 2.02226624879595063154e-21
_FARTHEST = 1647099.0  # 2**20 * pi / 2: beyond it too few digits are left


@pure
def _sin_near(r, tail):
    """Return the sine of r + tail, |r| <= pi / 4, by its Taylor series."""
    z = r * r
    even = -1.0 / 6.0 + z * (
        1.0 / 120.0
        + z
        * (
            -1.0 / 5040.0
            + z
            * (
                1.0 / 362880.0
                + z
                * (
                    -1.0 / 39916800.0
                    + z
                    * (
                        1.0 / 6227020800.0
                        + z * (-1.0 / 1307674368000.0 + z * (1.0 / 355687428096000.0))
                    )
                )
            )
        )
    )
    return r + (r * z * even + tail * (1.0 - 0.5 * z))


@pure
def _cos_near(r, tail):
    """Return the cosine of r + tail, |r| <= pi / 4, by its Taylor series."""
    z = r * r
    rest = 1.0 / 24.0 + z * (
        -1.0 / 720.0
        + z
        * (
            1.0 / 40320.0
            + z
            * (
                -1.0 / 3628800.0
                + z
                * (
                    1.0 / 479001600.0
                    + z
                    * (
                        -1.0 / 87178291200.0
                        + z * (1.0 / 20922789888000.0 + z * (-1.0 / 6402373705728000.0))
                    )
                )
            )
        )
    )
    half = 0.5 * z
    c = 1.0 - half
    return c + (((1.0 - c) - half) + (z * z * rest - r * tail))


@pure
def _turned(x, quarter):
    """Return sin(x + quarter * pi / 2); NaN beyond +-1.6e6."""
    if not abs(x) <= _FARTHEST:
        return nan
    n = (x * _PER_HALF_PI + _ROUND) - _ROUND
    a = x - n * _HALF_PI_1
    b = n * _HALF_PI_2
    high = a - b
    low = ((a - high) - b) - n * _HALF_PI_3
    r = high + low
    tail = (high - r) + low
    q = (int(n) + quarter) & 3
    value = _cos_near(r, tail) if q & 1 == 1 else _sin_near(r, tail)
    return -value if q >= 2 else value


@pure
def sin(x):
    """Return the sine, within 1 ulp for |x| <= 1.6e6, NaN beyond."""
    return _turned(x, 0)


@pure
def cos(x):
    """Return the cosine, within 1 ulp for |x| <= 1.6e6, NaN beyond."""
    return _turned(x, 1)


@pure
def atan(x):
    """Return the arc tangent, within 2 ulp.

    atan a = atan c + atan((a - c) / (1 + a c)) with c the nearest quarter; above 1 by
    pi/2 - atan 1/a.
    """
    if x != x:
        return nan
    far = abs(x) > 1.0
    a = 1.0 / abs(x) if far else abs(x)
    quarter = int(4.0 * a + 0.5)
    c = 0.25 * float(quarter)
    at_c = 0.0
    if quarter == 1:
        at_c = 0.24497866312686414
    if quarter == 2:
        at_c = 0.4636476090008061
    if quarter == 3:
        at_c = 0.6435011087932844
    if quarter == 4:
        at_c = 0.7853981633974483
    t = (a - c) / (1.0 + a * c)
    z = t * t
    series = z * (
        -1.0 / 3.0
        + z
        * (
            0.2
            + z
            * (
                -1.0 / 7.0
                + z
                * (
                    1.0 / 9.0
                    + z * (-1.0 / 11.0 + z * (1.0 / 13.0 + z * (-1.0 / 15.0 + z * (1.0 / 17.0))))
                )
            )
        )
    )
    angle = at_c + (t + t * series)
    if far:
        angle = (_HALF_PI - angle) + _HALF_PI_REST
    return angle if x >= 0.0 else -angle
