"""A curve as it is read: log discount factors at nodes, and what lies between and beyond them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orrery_kernels.curves import _interpolate
from orrery_kernels.curves._math import exp, log
from orrery_kernels.curves._points import exp_of
from orrery_kernels.curves.config import EXTRAPOLATIONS, INTERPOLATIONS, CurveConfig
from orrery_kernels.curves.dates import DateLike, as_date, iso
from orrery_kernels.curves.day_counts import year_fraction
from orrery_kernels.errors import CurveError, ParameterError

COMPOUNDINGS = ("continuous", "annual", "simple")


@dataclass(frozen=True)
class Frame:
    """The part of a curve that stays when quotes move."""

    as_of: int
    config: CurveConfig
    node_dates: tuple[int, ...]  # node 0 is as_of
    quote_ids: tuple[str, ...]  # quote i belongs to node i + 1
    plan_digest: bytes  # of instruments, conventions, calendars, fixings

    @cached_property
    def times(self) -> np.ndarray:
        """Years (Act/365F) from as_of to each node."""
        return (np.array(self.node_dates, np.float64) - self.as_of) / 365.0

    @cached_property
    def turns(self) -> tuple[tuple[int, float], ...]:
        """(date, log of the factor), ascending."""
        return tuple(sorted((as_date(turn.date), log(turn.factor)) for turn in self.config.turns))

    @property
    def kind(self) -> int:
        return INTERPOLATIONS[self.config.interpolation]

    @property
    def positive(self) -> bool:
        return self.config.forwards == "positive"

    @property
    def extrapolation(self) -> int:
        return EXTRAPOLATIONS[self.config.extrapolation]

    def turned(self, date: int) -> float:
        """Return the log of all turns before `date`."""
        return sum((size for day, size in self.turns if day < date), 0.0)

    def checked_times(self, dates: np.ndarray) -> np.ndarray:
        """Return years to each date; refuse the past, and the future where the curve says so."""
        if dates.size and dates.min() < self.as_of:
            raise CurveError(
                f"a date must not be before {iso(self.as_of)}, was {iso(int(dates.min()))} "
                f"(curve {self.config.name})"
            )
        last = self.node_dates[-1]
        if self.config.extrapolation == "fail" and dates.size and dates.max() > last:
            raise CurveError(
                f"curve {self.config.name} ends on {iso(last)} and does not extrapolate, was asked "
                f"for {iso(int(dates.max()))} (set extrapolation, or add a longer instrument)"
            )
        return (dates - self.as_of) / 365.0


class Curve:
    """Discount factors from one date on. Immutable; equal inputs give equal bytes (see codec.py).

    log_discounts: (n + 1,) at the nodes, without turns. quotes: (n,) in the order of
    `frame.quote_ids`. jacobian: (n, n), d log_discounts[i + 1] / d quotes[j], or None.
    other_jacobians: of the curves this one was built on, by name: (n, dates) slopes with the dates.
    """

    __slots__ = ("_aux", "frame", "jacobian", "log_discounts", "others", "quotes")

    def __init__(self, frame: Frame, log_discounts, quotes, jacobian=None, others=()):
        self.frame, self.log_discounts, self.quotes = frame, log_discounts, quotes
        self.jacobian, self.others = jacobian, others
        self._aux: np.ndarray | None = None

    def to_bytes(self) -> bytes:
        """Return the canonical bytes (see codec.py)."""
        from orrery_kernels.curves import codec

        return codec.to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Curve":
        from orrery_kernels.curves import codec

        return codec.from_bytes(data)

    def rounded(self, tolerance: float) -> list:
        """Return what two curves share whose zero rates and quotes agree within `tolerance`."""
        zeros = -self.log_discounts[1:] / self.frame.times[1:]
        others = [other.rounded(tolerance) for other in self.others]
        grid = [np.rint(values / tolerance) for values in (zeros, self.quotes)]
        return [self.frame.plan_digest, list(self.frame.quote_ids), *grid, others]

    def points(self) -> dict[str, float]:
        """Return the continuously compounded zero rate at the node of each quote."""
        zeros = -self.log_discounts[1:] / self.frame.times[1:]
        return dict(zip(self.frame.quote_ids, zeros.tolist(), strict=True))

    @property
    def name(self) -> str:
        return self.frame.config.name

    @property
    def as_of(self) -> int:
        return self.frame.as_of

    def aux(self) -> np.ndarray:
        if self._aux is None:
            frame, aux = self.frame, np.zeros((2, len(self.frame.node_dates)))
            _interpolate.prepare(frame.kind, frame.positive, frame.times, self.log_discounts, aux)
            self._aux = aux
        return self._aux

    def log_discount_factors(self, dates: np.ndarray) -> np.ndarray:
        """Return the log discount factor at each date (integer days), turns included."""
        frame = self.frame
        times, out = frame.checked_times(dates), np.empty(dates.shape[0])
        aux = self.aux()
        _interpolate.read(
            frame.kind, frame.extrapolation, frame.times, self.log_discounts, aux, times, out
        )
        for day, size in frame.turns:
            out[dates > day] += size
        return out

    def discount_factors(self, dates: Sequence[DateLike] | np.ndarray) -> np.ndarray:
        """Return the discount factor at each date."""
        logs = self.log_discount_factors(_days(dates))
        out = np.empty_like(logs)
        exp_of(logs, out)
        return out

    def discount(self, date: DateLike) -> float:
        return float(self.discount_factors([date])[0])

    def zero_rate(
        self, date: DateLike, compounding: str = "continuous", day_count: str = "Act/365F"
    ) -> float:
        """Return the rate that compounds to the discount factor of `date`."""
        return self.forward_rate(self.as_of, date, day_count, compounding)

    def forward_rate(
        self,
        start: DateLike,
        end: DateLike,
        day_count: str = "Act/360",
        compounding: str = "simple",
    ) -> float:
        """Return the rate from `start` to `end` that the curve implies."""
        first, last = as_date(start), as_date(end)
        if last <= first:
            raise ParameterError(
                f"a forward must end after it starts, was {iso(first)} to {iso(last)}"
            )
        logs = self.log_discount_factors(np.array([first, last]))
        growth, years = float(logs[0] - logs[1]), year_fraction(day_count, first, last)
        if compounding == "continuous":
            return growth / years
        if compounding == "annual":
            return exp(growth / years) - 1.0
        if compounding == "simple":
            return (exp(growth) - 1.0) / years
        raise ParameterError(
            f"compounding must be one of {', '.join(COMPOUNDINGS)}, was {compounding!r}"
        )

    def weights(self, dates: np.ndarray) -> np.ndarray:
        """Return (dates, n): d log discount factor / d log_discounts at each node."""
        frame = self.frame
        times, out = (
            frame.checked_times(dates),
            np.empty((dates.shape[0], len(frame.node_dates) - 1)),
        )
        _interpolate.weights(
            frame.kind, frame.positive, frame.extrapolation, frame.times, self.log_discounts,
            self.aux(), times, out,
        )  # fmt: skip
        return out


def _days(dates: Sequence[DateLike] | np.ndarray) -> np.ndarray:
    if isinstance(dates, np.ndarray) and dates.dtype == np.int64:
        return dates
    return np.array([as_date(date) for date in dates], np.int64)
