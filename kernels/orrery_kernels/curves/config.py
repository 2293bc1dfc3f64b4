"""How a curve is built, as one frozen value that goes into memo keys."""

from dataclasses import dataclass

from orrery_kernels.curves import _interpolate
from orrery_kernels.curves.dates import DateLike
from orrery_kernels.errors import ParameterError

INTERPOLATIONS = {
    "log_linear": _interpolate.LOG_LINEAR,  # of discount factors: flat forwards
    "linear_zero": _interpolate.LINEAR_ZERO,  # of continuously compounded zero rates
    "log_cubic": _interpolate.LOG_CUBIC,  # natural spline of log discount factors
    "monotone_convex": _interpolate.MONOTONE_CONVEX,
}
EXTRAPOLATIONS = {
    "flat_forward": _interpolate.FLAT_FORWARD,
    "flat_zero": _interpolate.FLAT_ZERO,
    "fail": _interpolate.FLAT_FORWARD,
}
PILLARS = ("last", "maturity")
FORWARDS = ("free", "positive")


@dataclass(frozen=True)
class Turn:
    """Discount factors after `date` (strictly) are multiplied by `factor`."""

    date: DateLike
    factor: float


@dataclass(frozen=True)
class CurveConfig:
    """name: of the index this curve projects, or of the curve.

    discount: name of the curve that discounts, "" for this one. pillar: "last" puts a node on the
    last date an instrument depends on (its payment), "maturity" on the end of its last accrual.
    forwards: "positive" holds the node forwards of monotone convex in [0, 2 * discrete].
    quote_band: rates outside are refused; it is what catches a percent passed as a decimal.
    """

    name: str
    interpolation: str = "log_linear"
    extrapolation: str = "flat_forward"
    pillar: str = "last"
    forwards: str = "free"
    discount: str = ""
    turns: tuple[Turn, ...] = ()
    quote_band: tuple[float, float] = (-0.05, 0.50)

    def __post_init__(self) -> None:
        for field, allowed in (
            ("interpolation", INTERPOLATIONS),
            ("extrapolation", EXTRAPOLATIONS),
            ("pillar", PILLARS),
            ("forwards", FORWARDS),
        ):
            value = getattr(self, field)
            if value not in allowed:
                names = ", ".join(allowed)
                rule = f"{field} must be one of {names}, was {value!r}"
                raise ParameterError(f"{rule} (curve {self.name})")
        for turn in self.turns:
            if not 0.5 < turn.factor < 2.0:
                raise ParameterError(
                    f"the factor of a turn must be in (0.5, 2), was {turn.factor} "
                    f"(curve {self.name})"
                )
