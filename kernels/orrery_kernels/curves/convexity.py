"""How far a future's rate lies above the forward rate, in closed form; decimals and years."""

from orrery_kernels.curves._math import exp
from orrery_kernels.errors import ParameterError


def ho_lee_convexity(volatility: float, start: float, end: float) -> float:
    """Return volatility^2 * start * end / 2: of daily settlement (Ho & Lee, 1986).

    `volatility` is of the short rate, absolute and annual; start and end of the rate's period in
    years.

    >>> ho_lee_convexity(0.01, 1.0, 1.25)
    6.25e-05
    """
    _check(volatility, start, end)
    return 0.5 * volatility * volatility * start * end


def hull_white_convexity(
    volatility: float, mean_reversion: float, start: float, end: float, future_rate: float
) -> float:
    """Return the future's rate minus the forward rate under Hull-White (Kirikos & Novak, 1997).

    `future_rate` is simple over the period; start and end in years, the period not yet begun.
    """
    _check(volatility, start, end)
    length = end - start
    over, until, twice = length, start, 2.0 * start
    if mean_reversion != 0.0:
        over = (1.0 - exp(-mean_reversion * length)) / mean_reversion
        until = (1.0 - exp(-mean_reversion * start)) / mean_reversion
        twice = (1.0 - exp(-2.0 * mean_reversion * start)) / mean_reversion
    half = 0.5 * volatility * volatility
    bias = half * twice * over * over + half * over * until * until
    return (1.0 - exp(-bias)) * (future_rate + 1.0 / length)


def _check(volatility: float, start: float, end: float) -> None:
    if volatility < 0.0:
        raise ParameterError(f"volatility must be 0 or more, was {volatility}")
    if not 0.0 <= start < end:
        raise ParameterError(f"a period must have 0 <= start < end, was {start} to {end} years")
