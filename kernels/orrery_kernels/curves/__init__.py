"""Interest-rate curves from market quotes, and what a desk reads off them.

Read in this order: instruments (what is quoted), equations (each as terms in discount factors),
plan (terms as arrays), _local and _global (the solvers), curve (what is read), build (the functions
a task graph calls).
"""

from orrery_kernels.curves.build import build_curve, curve_plan, par_quote
from orrery_kernels.curves.calendars import Calendar, calendar, joint
from orrery_kernels.curves.codec import from_bytes, to_bytes
from orrery_kernels.curves.config import CurveConfig, Turn
from orrery_kernels.curves.conventions import (
    ESTR_OIS,
    EUR_ESTR,
    EURIBOR_3M,
    EURIBOR_3M_SWAP,
    EURIBOR_6M,
    EURIBOR_6M_SWAP,
    GBP_SONIA,
    JPY_TONA,
    SOFR_OIS,
    SONIA_OIS,
    TONA_OIS,
    USD_SOFR,
    Index,
    SwapConvention,
)
from orrery_kernels.curves.curve import Curve
from orrery_kernels.curves.dates import as_date, iso
from orrery_kernels.curves.day_counts import year_fraction
from orrery_kernels.curves.instruments import Deposit, Fra, Ois, OvernightFuture, Swap, TenorBasis
from orrery_kernels.curves.plan import CurvePlan
from orrery_kernels.curves.schedules import schedule

__all__ = [
    "ESTR_OIS", "EURIBOR_3M", "EURIBOR_3M_SWAP", "EURIBOR_6M", "EURIBOR_6M_SWAP", "EUR_ESTR",
    "GBP_SONIA", "JPY_TONA", "SOFR_OIS", "SONIA_OIS", "TONA_OIS", "USD_SOFR",
    "Calendar", "Curve", "CurveConfig", "CurvePlan", "Deposit", "Fra", "Index", "Ois",
    "OvernightFuture", "Swap", "SwapConvention", "TenorBasis", "Turn",
    "as_date", "build_curve", "calendar", "curve_plan", "from_bytes", "iso", "joint", "par_quote",
    "schedule", "to_bytes", "year_fraction",
]  # fmt: skip
