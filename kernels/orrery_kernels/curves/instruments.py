"""The instruments a curve is built from. Each has the id of its market quote.

Quotes are decimals (0.043 for 4.3 %); a future's quote is its price (95.7); a basis is a decimal
spread. An instrument knows no date of its own unless it has one: dates follow from `as_of`.
"""

from dataclasses import dataclass

from orrery_kernels.curves.conventions import Index, SwapConvention
from orrery_kernels.curves.dates import DateLike


@dataclass(frozen=True)
class Deposit:
    """Simple interest from spot (or `spot_lag` business days from now) over `tenor`."""

    id: str
    tenor: str
    index: Index
    spot_lag: int | None = None


@dataclass(frozen=True)
class Fra:
    """A forward rate on `index` that starts `start` after spot.

    ends: "index" ends at the maturity of the deposit that starts then; "spot" ends a whole tenor
    after spot. The two are up to three days apart.
    """

    id: str
    start: str
    index: Index
    ends: str = "index"


@dataclass(frozen=True)
class OvernightFuture:
    """A future on an overnight index: compounded over 3 months, or averaged over one.

    month: "2026-12", the month in which the reference period starts. convexity: the future's rate
    minus the forward rate, decimal (see convexity.py).
    """

    id: str
    month: str
    months: int
    index: Index
    convexity: float = 0.0


@dataclass(frozen=True)
class Ois:
    """A fixed rate against a compounded overnight rate; `start` and `end` override the tenor."""

    id: str
    tenor: str
    convention: SwapConvention
    start: DateLike | None = None
    end: DateLike | None = None


@dataclass(frozen=True)
class Swap:
    """A fixed rate against a term rate."""

    id: str
    tenor: str
    convention: SwapConvention
    start: DateLike | None = None
    end: DateLike | None = None


@dataclass(frozen=True)
class TenorBasis:
    """The leg of `base` plus the quoted spread against that of `other`; either may be overnight."""

    id: str
    tenor: str
    base: SwapConvention
    other: SwapConvention


Instrument = Deposit | Fra | OvernightFuture | Ois | Swap | TenorBasis
