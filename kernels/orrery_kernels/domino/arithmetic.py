"""exp, log and power for dominoes: the same bits on every processor, which a C library's are not.

Each within 1 unit in the last place, power as it says. What has no answer raises DominoError.
"""

from orrery_kernels.curves import _math
from orrery_kernels.errors import DominoError

EXPONENT_MAX = 700.0
NORMAL_MIN, NORMAL_MAX = 2.2250738585072014e-308, 1.7976931348623157e308
WHOLE_MAX = 1024  # of an exponent for which one multiplies


def exp(x: float) -> float:
    """Return e**x.

    >>> exp(0.0), round(exp(1.0), 14)
    (1.0, 2.71828182845905)
    """
    if not abs(x) <= EXPONENT_MAX:
        raise DominoError(f"x of exp(x) must be within +-{EXPONENT_MAX:g}, was {x}")
    return _math.exp(x)


def log(x: float) -> float:
    """Return ln x.

    >>> log(1.0), log(10.0)
    (0.0, 2.302585092994046)
    """
    if not NORMAL_MIN <= x <= NORMAL_MAX:
        raise DominoError(f"x of log(x) must be a normal number > 0, was {x}")
    return _math.log(x)


def power(x: float, y: float) -> float:
    """Return x**y: for a whole y of at most WHOLE_MAX by multiplying, else as e**(y ln x).

    The first loses half a unit in the last place a multiplication, the second |y ln x| + 2 units.

    >>> power(1.5, 3), power(2.0, -2), power(-3.0, 2), power(4.0, 0.5)
    (3.375, 0.25, 9.0, 2.0)
    """
    if not (abs(y) <= WHOLE_MAX and y == int(y)):
        return exp(y * log(x))
    product, square, left = 1.0, float(x), abs(int(y))
    while left:
        if left % 2:
            product = product * square
        square, left = square * square, left // 2
    return product if y >= 0 else 1.0 / product
