"""Error function, normal distribution and log-gamma from + - * / sqrt and our own exp and log."""

from __future__ import annotations

from orrery_kernels.engine.functions import exp, log
from orrery_kernels.engine.step import bits_of, float_of, inf, nan, pure, sqrt

_TWO_PER_SQRT_PI = 1.1283791670955126
_SQRT_HALF = 0.7071067811865476
_SQRT_TWO_PI = 2.5066282746310002
_HALF_LN_TWO_PI = 0.9189385332046727
_UPPER_HALF = -134217728  # keeps the upper 26 bits of a number's fraction


@pure
def _erf_near(x):
    """Return erf for |x| < 1: (2 / sqrt pi) sum (-1)^n x^(2n+1) / (n! (2n+1))."""
    z = x * x
    power = 1.0
    total = 0.0
    for n in range(1, 21):
        power = -power * z / n
        total += power / (2 * n + 1)
    return _TWO_PER_SQRT_PI * (x + x * total)


@pure
def _erfc_far(x):
    """Return erfc for x >= 1: exp(-x^2) / x times a Chebyshev fit of x exp(x^2) erfc(x)."""
    y = ((x - 3.0) / (x + 3.0) - 0.25) / 0.75
    z = y * y
    even = 7.964595432731861e-08 + z * (
        -9.104701575672306e-09 + z * (1.0047292610071426e-09 + z * -7.631163677145652e-11)
    )
    even = -0.0019275631204810416 + z * (
        2.5338909403520804e-05
        + z * (4.724578147084095e-06 + z * (-6.960833244543864e-07 + z * even))
    )
    even = 0.5535231886653431 + z * (-0.03995258281752435 + z * (-0.015785901749452633 + z * even))
    odd = 1.868299612434209e-09 + z * (
        3.4139198992982304e-11 + z * (1.109069204133936e-12 + z * -1.4379184996850243e-12)
    )
    odd = 0.00032022234852121774 + z * (
        -2.968253511998753e-05
        + z * (1.6380135350522116e-06 + z * (-7.119427217819072e-08 + z * odd))
    )
    odd = 0.032325511271496604 + z * (0.029186202095380333 + z * (0.006499181794323636 + z * odd))
    high = float_of(bits_of(x) & _UPPER_HALF)  # so that high * high is exact
    return exp(-high * high) * exp((high - x) * (high + x)) / x * (even + y * odd)


@pure
def erf(x):
    """Return the error function, within 2 ulp."""
    if abs(x) < 1.0:
        return _erf_near(x)
    if x != x:
        return nan
    far = 1.0 - _erfc_far(min(abs(x), 30.0))
    return far if x > 0.0 else -far


@pure
def erfc(x):
    """Return 1 - erf(x) without losing the tail, within 4 ulp."""
    if x != x:
        return nan
    if abs(x) < 1.0:
        return 1.0 - _erf_near(x)
    far = _erfc_far(min(abs(x), 30.0))
    return far if x > 0.0 else 2.0 - far


@pure
def norm_pdf(x):
    """Return the density of the standard normal distribution."""
    return exp(-0.5 * x * x) / _SQRT_TWO_PI


@pure
def norm_cdf(x):
    """Return the probability that a standard normal number is at most x."""
    return 0.5 * erfc(-x * _SQRT_HALF)


@pure
def norm_inv(q):
    """Return x with norm_cdf(x) = q, 0 < q < 1; -inf at 0, inf at 1.

    Hastings' approximation (Abramowitz & Stegun 26.2.23), then two steps of Halley's method.

    >>> norm_inv(0.5), norm_inv(0.975)
    (0.0, 1.959963984540054)
    """
    if not (q > 0.0 and q < 1.0):
        return -inf if q == 0.0 else (inf if q == 1.0 else nan)
    low = min(q, 1.0 - q)
    t = sqrt(-2.0 * log(low))
    x = (2.515517 + t * (0.802853 + t * 0.010328)) / (
        1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    ) - t
    for _ in range(2):
        miss = (norm_cdf(x) - low) / norm_pdf(x)
        x -= miss / (1.0 + 0.5 * x * miss)
    if q == 0.5:
        return 0.0
    return x if q < 0.5 else -x


@pure
def lgamma(x):
    """Return ln gamma(x) for x > 0, within 1e-14 absolute or relative; NaN at or below 0.

    Stirling's series from 12 upwards, the recurrence below.
    """
    if not x > 0.0:
        return nan
    product = 1.0
    y = x
    for _ in range(12):
        if y >= 12.0:
            break
        product *= y
        y += 1.0
    r = 1.0 / y
    z = r * r
    series = r * (
        1.0 / 12.0
        + z
        * (
            -1.0 / 360.0
            + z * (1.0 / 1260.0 + z * (-1.0 / 1680.0 + z * (1.0 / 1188.0 - z * (691.0 / 360360.0))))
        )
    )
    return ((y - 0.5) * log(y) - y) + (_HALF_LN_TWO_PI + series) - log(product)
