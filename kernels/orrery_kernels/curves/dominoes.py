"""Curves as dominoes: the quotes of a snapshot and the day that they have reached -> a curve.

The day is a domino of its own: a quote that comes again unchanged ends the wave there. Quotes are
named <index>-OIS-<tenor>, e.g. USD-SOFR-OIS-10Y, and are decimal rates.
"""

from typing import Annotated

from orrery_kernels.curves.build import build_curve
from orrery_kernels.curves.config import CurveConfig
from orrery_kernels.curves.conventions import (
    ESTR_OIS,
    SOFR_OIS,
    SONIA_OIS,
    TONA_OIS,
    SwapConvention,
)
from orrery_kernels.curves.curve import Curve
from orrery_kernels.curves.dates import iso
from orrery_kernels.curves.instruments import Ois
from orrery_kernels.domino.domino import domino
from orrery_kernels.domino.views import Leaves
from orrery_kernels.errors import CurveError

OIS_CONVENTIONS = {
    convention.index.name: convention for convention in (ESTR_OIS, SOFR_OIS, SONIA_OIS, TONA_OIS)
}
_DAY_NS = 86_400_000_000_000


@domino(version=3)
def quote_day(
    rows: Annotated[Leaves, "quote_rows/*"], *, quotes_min: int = 2, one_in: int = 3
) -> str:
    """Return the newest UTC date that one in `one_in` quotes have reached, and `quotes_min` at
    least, ISO; of fewer quotes: that all have. It is the snapshot's own day and no clock's.

    A count of all who reached a date never falls as quotes come, so that the day never goes back;
    and it takes a third of the quotes dated ahead by error to move it.
    """
    for name, least in (("quotes_min", quotes_min), ("one_in", one_in)):
        if least < 1:
            raise CurveError(f"{name} must be at least 1, was {least}")
    times = sorted((rows[name].get("ts_event_ns") or 0 for name in rows), reverse=True)
    dated = [time for time in times if time]
    if not dated:
        raise CurveError("one quote at least must say its event time: it is the day of the curve")
    wanted = max(quotes_min, -(-len(dated) // one_in))  # rounded up
    return iso(dated[min(wanted, len(dated)) - 1] // _DAY_NS)


@domino(version=1)
def ois_curve(
    quotes: Annotated[Leaves, "quotes/*"],
    day: str,
    *,
    index: str = "USD-SOFR",
    interpolation: str = "log_linear",
) -> Curve:
    """Return the curve of an overnight index on a day, from the quotes of its swaps."""
    instruments = ois_instruments(index, tuple(quotes))
    config = CurveConfig(index, interpolation)
    return build_curve(day, instruments, {one.id: quotes[one.id] for one in instruments}, config)


def ois_convention(index: str) -> SwapConvention:
    """Return how a swap on an overnight index is built. Raises CurveError naming those known."""
    if index not in OIS_CONVENTIONS:
        known = ", ".join(sorted(OIS_CONVENTIONS))
        raise CurveError(f"index must be one of {known}, was {index!r}")
    return OIS_CONVENTIONS[index]


def ois_instruments(index: str, quote_ids: tuple[str, ...]) -> list[Ois]:
    """Return the swaps that quotes named <index>-OIS-<tenor> mean; others belong elsewhere."""
    convention, start = ois_convention(index), f"{index}-OIS-"
    named = [quote for quote in quote_ids if quote.startswith(start)]
    if not named:
        raise CurveError(f"one quote at least must be named {start}<tenor>, were {quote_ids[:5]}")
    return [Ois(quote, quote.removeprefix(start), convention) for quote in named]
